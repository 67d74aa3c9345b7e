//! `ZADD` and its conditions.

use std::fmt;

use redis::{Cmd, Value};

use super::super::handle::Handle;
use super::super::member::{Element, element};
use super::super::range::score;
use super::super::write::{Timing, timed};
use crate::cache::operation::{Async, CacheFuture, operation};
use crate::client::batch::parts;
use crate::error::{Error, ErrorKind, Result};

/// A pending [`insert`](super::SortedSet::insert) or [`insert_many`](super::SortedSet::insert_many).
#[must_use = "nothing is added until it is carried out, by `.await` or `.run()`"]
pub struct Insert<R, M = Async> {
    handle: Handle<M>,
    verb: &'static str,
    pairs: Result<Vec<Pair>>,
    parse: fn(Vec<Value>) -> Result<R>,
    /// `NX` or `XX`.
    presence: Option<&'static str>,
    /// `GT` or `LT`.
    order: Option<&'static str>,
    /// Whether two options exclude each other.
    contradiction: bool,
    time: Timing,
}

/// A score and an element.
type Pair = (String, Vec<u8>);

pub(super) fn pairs<T>(
    items: impl IntoIterator<Item = (impl Element<T>, f64)>,
) -> Result<Vec<Pair>> {
    let items = items.into_iter();
    items
        .map(|(item, given)| Ok((score(given)?, element(&item)?)))
        .collect()
}

impl<R, M> Insert<R, M> {
    pub(super) fn new(
        handle: &Handle<M>,
        verb: &'static str,
        pairs: Result<Vec<Pair>>,
        parse: fn(Vec<Value>) -> Result<R>,
    ) -> Self {
        Insert {
            handle: handle.clone(),
            verb,
            pairs,
            parse,
            presence: None,
            order: None,
            contradiction: false,
            time: None,
        }
    }

    /// Gives an element that is there another score only if it is greater than its own. A new one is added (`GT`).
    pub fn only_if_greater(self) -> Self {
        self.ordered("GT")
    }

    /// Gives an element that is there another score only if it is less than its own. A new one is added (`LT`).
    pub fn only_if_less(self) -> Self {
        self.ordered("LT")
    }

    /// Only adds: an element that is there keeps its score (`NX`). It cannot be combined with another condition.
    pub fn only_if_absent(self) -> Self {
        self.present("NX")
    }

    /// Only changes the score of an element that is there (`XX`).
    pub fn only_if_present(self) -> Self {
        self.present("XX")
    }

    fn ordered(mut self, order: &'static str) -> Self {
        self.contradiction |= self.order.is_some_and(|other| other != order);
        self.order = Some(order);
        self
    }

    fn present(mut self, presence: &'static str) -> Self {
        self.contradiction |= self.presence.is_some_and(|other| other != presence);
        self.presence = Some(presence);
        self
    }

    fn commands(&self) -> Result<Vec<Cmd>> {
        let pairs = self.pairs.clone()?;
        if self.contradiction || (self.presence == Some("NX") && self.order.is_some()) {
            let why = "two conditions of an insert exclude each other; give one of them";
            return Err(Error::new(ErrorKind::InvalidConfig, why));
        }
        parts(&pairs, |(_, item)| item.len())
            .map(|part| {
                let mut command = self.handle.command("ZADD")?;
                command.arg(self.presence).arg(self.order).arg("CH");
                for (score, item) in part {
                    command.arg(score).arg(&**item);
                }
                Ok(command)
            })
            .collect()
    }
}

impl<R: Send + 'static, M> Insert<R, M> {
    fn start(self) -> CacheFuture<'static, R> {
        let write = self.handle.write(self.verb, self.commands(), self.parse);
        write.with_time(self.time).start()
    }
}

timed!(Insert<R>);
operation!(Insert<R: Send> -> R);

impl<R, M> fmt::Debug for Insert<R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Insert")
            .field("key", &self.handle)
            .field("presence", &self.presence)
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}
