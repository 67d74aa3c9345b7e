//! What only reads: it may be answered by a replica, where that is asked for.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Pipeline, Value};

#[cfg(feature = "cluster")]
use super::How;
use super::order::LEAST;
use super::{Guarded, Servers};
#[cfg(feature = "sentinel")]
use crate::connect::Backend;
use crate::connect::Terms;
#[cfg(feature = "cluster")]
use crate::connect::cluster::{Route, route};
use crate::error::{ErrorKind, Result};
use crate::resilience::node::Node;
#[cfg(feature = "cluster")]
use crate::resilience::sendable::Routed;
use crate::resilience::sendable::Sendable;
use crate::resilience::words::Words;

impl Guarded {
    /// From now on, what only reads may go to this replica.
    #[cfg(feature = "sentinel")]
    pub(in crate::resilience) fn read_from(&self, replica: Arc<dyn Backend>, breaker: bool) {
        let _ = self.replica.set(Node::new(replica, breaker));
    }

    /// Whether a read may be answered by a replica, with what is older than what this process has written.
    pub(crate) fn reads_replicas(&self) -> bool {
        match &self.servers {
            Servers::One(_) => self.replica.get().is_some(),
            #[cfg(feature = "cluster")]
            Servers::Spread(spread) => spread.reads_replicas(),
        }
    }

    /// Sends a command that only reads. It may go to a replica, if that is asked for, and nothing waits in the outbox.
    /// If that replica does not answer within half of the limit, it goes to the primary.
    pub(crate) async fn read(&self, command: &Cmd, limit: Duration) -> Result<Value> {
        #[cfg(feature = "cluster")]
        if let Servers::Spread(spread) = &self.servers {
            let slot = match route(command) {
                Route::Slot(slot) => Some(slot),
                Route::Anywhere => None,
                Route::Parts(parts, join) => {
                    return self.in_parts(spread, parts, join, limit, How::Reads).await;
                }
            };
            let replica = slot.and_then(|slot| spread.replica_of(slot));
            let routed = Routed(slot, command);
            return self.read_of(replica.as_ref(), &routed, limit).await;
        }
        self.read_of(self.replica.get(), command, limit).await
    }

    /// The same for a command about one key that is given as its words.
    pub(crate) async fn read_words(&self, words: Words<'_>, limit: Duration) -> Result<Value> {
        #[cfg(feature = "cluster")]
        let replica_of_slot;
        let replica = match &self.servers {
            Servers::One(_) => self.replica.get(),
            #[cfg(feature = "cluster")]
            Servers::Spread(spread) => {
                let slot = match spread.reads_replicas() {
                    true => words.slot(),
                    false => None,
                };
                replica_of_slot = slot.and_then(|slot| spread.replica_of(slot));
                replica_of_slot.as_ref()
            }
        };
        self.read_of(replica, &words, limit).await
    }

    /// The same for commands that only read.
    pub(crate) async fn read_together(
        &self,
        pipeline: &Pipeline,
        limit: Duration,
    ) -> Result<Vec<Value>> {
        #[cfg(feature = "cluster")]
        if let Servers::Spread(spread) = &self.servers {
            return Box::pin(self.in_groups(spread, pipeline, limit, How::Reads)).await;
        }
        self.read_of(self.replica.get(), pipeline, limit).await
    }

    /// What this replica answers; or else the primary.
    pub(super) async fn read_of<S: Sendable>(
        &self,
        replica: Option<&Arc<Node>>,
        what: &S,
        mut limit: Duration,
    ) -> Result<S::Reply> {
        if let Some(replica) = replica
            && !self.outbox.is_waiting()
            && what.changes_nothing()
        {
            let begun = self.begin();
            let terms = Terms {
                limit: limit / 2,
                epoch: replica.backend().common().epoch().current(),
            };
            // Boxed, so that the future of a read of a primary is not larger.
            match Box::pin(replica.attempt(what, terms, begun)).await {
                Ok(reply) if S::is_answer(&reply) => return Ok(reply),
                Err(error) if error.kind() == ErrorKind::WrongType => return Err(error),
                _ => {
                    tracing::trace!(host = %replica.host(), "the primary is read from, because this replica does not answer");
                    limit = self.left_of(limit, begun).max(LEAST);
                }
            }
        }
        self.in_order(what, limit).await
    }
}
