//! `ZPOPMIN` and `ZPOPMAX`.

use std::fmt;
use std::marker::PhantomData;

use redis::{Cmd, Value};

use super::super::handle::Handle;
use super::super::member::Member;
use super::super::replies::{first, list, scored};
use super::super::waiting::seconds;
use super::super::write::Write;
use crate::cache::operation::{Async, CacheFuture, Pending, operation};
use crate::error::Result;
use crate::ttl::IntoTtl;

/// A pending [`pop_min`](super::SortedSet::pop_min) or [`pop_max`](super::SortedSet::pop_max).
#[must_use = "nothing is taken until it is carried out, by `.await` or `.run()`"]
pub struct PopScored<T, M = Async> {
    handle: Handle<M>,
    max: bool,
    element: PhantomData<fn() -> T>,
}

impl<T: Member, M> PopScored<T, M> {
    pub(super) fn new(handle: &Handle<M>, max: bool) -> Self {
        PopScored {
            handle: handle.clone(),
            max,
            element: PhantomData,
        }
    }

    fn verb(&self) -> &'static str {
        if self.max {
            "sorted_set.pop_max"
        } else {
            "sorted_set.pop_min"
        }
    }

    fn command(&self) -> Result<Cmd> {
        let name = if self.max { "ZPOPMAX" } else { "ZPOPMIN" };
        self.handle.command(name)
    }

    /// Takes up to so many, the lowest or the highest first.
    ///
    /// # Errors
    /// Those of [`pop_min`](super::SortedSet::pop_min).
    pub fn count(self, elements: u32) -> Write<Vec<(T, f64)>, M> {
        let command = self.command().map(|mut command| {
            command.arg(elements);
            vec![command]
        });
        let parse = |replies| scored("ZPOP", first(replies));
        self.handle.write(self.verb(), command, parse)
    }

    /// Waits up to this time for an element, if there is none (`BZPOPMIN`, `BZPOPMAX`), as
    /// [`Pop::wait`](crate::structures::Pop::wait) does.
    ///
    /// # Errors
    /// Those of [`pop_min`](super::SortedSet::pop_min), and [`ErrorKind::InvalidTtl`](crate::ErrorKind::InvalidTtl) for a
    /// time that is none.
    pub fn wait(self, time: impl IntoTtl) -> Pending<'static, Option<(T, f64)>, M> {
        let name = if self.max { "BZPOPMAX" } else { "BZPOPMIN" };
        let command = seconds(time).and_then(|time| {
            let mut command = self.handle.command(name)?;
            command.arg(time);
            Ok(command)
        });
        self.handle.wait(self.verb(), command, back, |value| {
            // The key, the element, and its score.
            let pair = list("BZPOP", value)?.into_iter().skip(1).collect();
            Ok(scored("BZPOP", Value::Array(pair))?.pop())
        })
    }

    fn start(self) -> CacheFuture<'static, Option<(T, f64)>> {
        let command = self.command().map(|command| vec![command]);
        let parse = |replies| Ok(scored("ZPOP", first(replies))?.pop());
        self.handle.write(self.verb(), command, parse).start()
    }
}

/// What puts an element back, unless it has come again.
fn back(reply: &Value, _: &Cmd) -> Option<Cmd> {
    let Value::Array(parts) = reply else {
        return None;
    };
    let [Value::BulkString(key), Value::BulkString(item), score] = &parts[..] else {
        return None;
    };
    let score = super::super::replies::float("BZPOP", score).ok()??;
    let mut command = redis::cmd("ZADD");
    let score = super::super::range::score(score).ok()?;
    command.arg(&**key).arg("NX").arg(score).arg(&**item);
    Some(command)
}

operation!(PopScored<T: Member> -> Option<(T, f64)>);

impl<T, M> fmt::Debug for PopScored<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PopScored")
            .field("key", &self.handle)
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}
