//! One command: which servers of a Cluster it goes to, and after what.

use std::time::Duration;

use redis::{Cmd, Value};

use super::Guarded;
#[cfg(feature = "cluster")]
use super::{How, Servers};
#[cfg(feature = "cluster")]
use crate::connect::cluster::{Join, Part, Route, route};
use crate::error::Result;
use crate::resilience::sendable::By;
#[cfg(feature = "cluster")]
use crate::resilience::sendable::Routed;
#[cfg(feature = "cluster")]
use crate::resilience::spread::{self, Spread};
use crate::resilience::words::Words;

impl Guarded {
    /// Sends one command, within the limit, after what the outbox holds of its keys.
    pub(crate) async fn request(&self, command: &Cmd, limit: Duration) -> Result<Value> {
        self.request_by(0, command, limit).await
    }

    /// [`request`](Guarded::request), announced to all who keep copies but this one: it knows. 0: to all of them.
    pub(crate) async fn request_by(
        &self,
        sender: usize,
        command: &Cmd,
        limit: Duration,
    ) -> Result<Value> {
        #[cfg(feature = "cluster")]
        if let Servers::Spread(spread) = &self.servers {
            let slot = match route(command) {
                Route::Slot(slot) => Some(slot),
                Route::Anywhere => None,
                Route::Parts(parts, join) => {
                    let how = How::By(sender);
                    return self.in_parts(spread, parts, join, limit, how).await;
                }
            };
            let routed = Routed(slot, command);
            return self.in_order(&By(sender, &routed), limit).await;
        }
        self.in_order(&By(sender, command), limit).await
    }

    /// The same for a command about one key that is given as its words.
    pub(crate) async fn request_words(&self, words: Words<'_>, limit: Duration) -> Result<Value> {
        self.in_order(&words, limit).await
    }

    /// Sends the parts of a command whose keys are in several slots, as one command.
    ///
    /// Boxed, because it is large: without it, every call's future would be larger.
    #[cfg(feature = "cluster")]
    pub(super) fn in_parts<'a>(
        &'a self,
        spread: &'a Spread,
        parts: Vec<Part>,
        join: Join,
        limit: Duration,
        how: How,
    ) -> crate::connect::BoxFuture<'a, Result<Value>> {
        Box::pin(async move {
            let parts = spread::Parts::new(parts, join);
            let replies = self.in_groups(spread, parts.pipeline(), limit, how);
            parts.joined(replies.await?)
        })
    }
}
