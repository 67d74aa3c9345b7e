//! `ZUNION`, `ZINTER` and `ZDIFF`.

use std::fmt;
use std::marker::PhantomData;

use redis::{Cmd, Value};

use super::super::algebra::named;
use super::super::handle::{AsKey, Handle};
use super::super::member::Member;
use super::super::range::score;
use super::super::replies::{first, members, scored};
use super::super::write::Write;
use crate::cache::operation::{Async, CacheFuture, Pending, operation};
use crate::client::reply;
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::CallKeys;
use crate::keyspace::StoredKey;

/// Which score an element has that several sorted sets have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Aggregate {
    /// The sum of its scores.
    #[default]
    Sum,
    /// The lowest.
    Min,
    /// The highest.
    Max,
}

/// A pending union, intersection or difference of sorted sets.
#[must_use = "nothing is read until it is carried out, by `.await` or `.run()`"]
pub struct CombineSorted<T, M = Async> {
    handle: Handle<M>,
    verb: &'static str,
    command: &'static str,
    keys: Result<Vec<StoredKey>>,
    weights: Option<Vec<f64>>,
    aggregate: Option<Aggregate>,
    element: PhantomData<fn() -> T>,
}

impl<T, M> CombineSorted<T, M> {
    pub(super) fn new(
        handle: &Handle<M>,
        verb: &'static str,
        command: &'static str,
        keys: Result<Vec<StoredKey>>,
    ) -> Self {
        CombineSorted {
            handle: handle.clone(),
            verb,
            command,
            keys,
            weights: None,
            aggregate: None,
            element: PhantomData,
        }
    }

    /// What the scores of each sorted set are multiplied by before they are put together: one number for this one, and one
    /// for each of the others. (A difference has none.)
    pub fn weights(mut self, weights: impl IntoIterator<Item = f64>) -> Self {
        self.weights = Some(weights.into_iter().collect());
        self
    }

    /// Which score an element has that several have, instead of the sum. (A difference has none.)
    pub fn aggregate(mut self, aggregate: Aggregate) -> Self {
        self.aggregate = Some(aggregate);
        self
    }

    /// The number of keys, the keys, and the options.
    fn arguments(&self, command: &mut Cmd, keys: &[StoredKey]) -> Result<()> {
        let refused = |why: String| Err(Error::new(ErrorKind::InvalidConfig, why));
        command.arg(keys.len());
        for key in keys {
            command.arg(key);
        }
        let optional = self.weights.is_some() || self.aggregate.is_some();
        if self.command == "ZDIFF" && optional {
            return refused("a difference has no weights and no aggregate".into());
        }
        if let Some(weights) = &self.weights {
            if weights.len() != keys.len() {
                return refused(format!(
                    "{} weights for {} sorted sets; give one for each, this one first",
                    weights.len(),
                    keys.len()
                ));
            }
            command.arg("WEIGHTS");
            for weight in weights {
                command.arg(score(*weight)?);
            }
        }
        if let Some(aggregate) = self.aggregate {
            command.arg("AGGREGATE").arg(match aggregate {
                Aggregate::Sum => "SUM",
                Aggregate::Min => "MIN",
                Aggregate::Max => "MAX",
            });
        }
        Ok(())
    }
}

impl<T: Member, M> CombineSorted<T, M> {
    /// The elements with their scores.
    ///
    /// # Errors
    /// Those of [`SortedSet::range`](super::SortedSet::range).
    pub fn with_scores(self) -> Pending<'static, Vec<(T, f64)>, M> {
        let asked = self.ask(true, scored);
        Pending::new(asked)
    }

    /// Stores the elements with their scores at a key, in place of returning them, and returns how many there are
    /// (`ZUNIONSTORE`, `ZINTERSTORE`, `ZDIFFSTORE`). Whatever the key held is replaced, a value of another type too; if
    /// there are no elements, it is deleted. Counts as an invalidation of that key.
    ///
    /// # Errors
    /// Those of every verb of a structure (see [`structures`](crate::structures)).
    pub fn into(self, destination: impl AsKey) -> Write<u64, M> {
        let destination = self.handle.other(&destination);
        let asked = || {
            let keys = self.keys.clone()?;
            let mut command = redis::cmd(&format!("{}STORE", self.command));
            command.arg(destination.as_ref().map_err(Error::clone)?);
            self.arguments(&mut command, &keys)?;
            Ok((vec![command], keys))
        };
        let (commands, keys) = match asked() {
            Ok((commands, keys)) => (Ok(commands), keys),
            Err(error) => (Err(error), Vec::new()),
        };
        let parse = |replies| reply::count("ZSTORE", &first(replies));
        Write::at(&self.handle, destination, self.verb, commands, parse).reading(keys)
    }

    fn start(self) -> CacheFuture<'static, Vec<T>> {
        self.ask(false, members)
    }

    fn ask<R: Send + 'static>(
        self,
        with_scores: bool,
        parse: fn(&str, Value) -> Result<R>,
    ) -> CacheFuture<'static, R> {
        let core = self.handle.core().clone();
        let asked = || {
            let keys = self.keys.clone()?;
            let mut command = redis::cmd(self.command);
            self.arguments(&mut command, &keys)?;
            if with_scores {
                command.arg("WITHSCORES");
            }
            Ok((command, keys))
        };
        let (asked, verb, name) = (asked(), self.verb, self.command);
        CacheFuture::asking(async move {
            let (command, keys) = asked?;
            core.perform(verb, CallKeys::Stored(&keys), async |core| {
                let reply = core.client().request(&command).await;
                reply
                    .and_then(|reply| parse(name, reply))
                    .map_err(|error| named(error, &keys))
            })
            .await
        })
    }
}

operation!(CombineSorted<T: Member> -> Vec<T>);

impl<T, M> fmt::Debug for CombineSorted<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CombineSorted")
            .field("command", &self.command)
            .field("keys", &self.keys)
            .field("weights", &self.weights)
            .field("aggregate", &self.aggregate)
            .finish_non_exhaustive()
    }
}
