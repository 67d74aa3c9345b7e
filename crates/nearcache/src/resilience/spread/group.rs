//! What of a pipeline goes to one node of a Cluster, in one go.
//!
//! A server of a Cluster takes a `MULTI` only if all its keys are in one slot. So of a pipeline whose commands take effect
//! together, those of each slot have a `MULTI` of their own, and all of these are sent at once.

use std::time::Instant;

use redis::{Cmd, Pipeline, Value};

use super::Spread;
use crate::connect::{Backend, Terms, change_nothing};
use crate::error::Result;
use crate::resilience::sendable::{Sendable, names_of};

/// The commands that are sent to a node together.
pub(in super::super) struct Group {
    /// A slot of its node; `None`: any node.
    pub(in super::super) slot: Option<u16>,
    transaction: bool,
    parts: Vec<Pipeline>,
    /// That of the last part.
    last: Option<u16>,
}

impl Group {
    pub(super) fn new(slot: Option<u16>, transaction: bool) -> Self {
        Group {
            slot,
            transaction,
            parts: Vec::new(),
            last: None,
        }
    }

    /// Adds a command about this slot. Of a transaction, those of a slot are added one after the other.
    pub(super) fn add(&mut self, slot: Option<u16>, command: Cmd) {
        if self.parts.is_empty() || (self.transaction && self.last != slot) {
            let mut part = Pipeline::new();
            if self.transaction {
                part.atomic();
            }
            self.parts.push(part);
            self.last = slot;
        }
        if let Some(part) = self.parts.last_mut() {
            part.add_command(command);
        }
    }

    /// The commands, in the order of their replies.
    fn commands(&self) -> impl Iterator<Item = &Cmd> {
        self.parts().iter().flat_map(Pipeline::cmd_iter)
    }

    /// One pipeline, or transactions of one slot each.
    pub(super) fn parts(&self) -> &[Pipeline] {
        &self.parts
    }
}

impl Sendable for Group {
    type Reply = Vec<Value>;

    async fn send(&self, backend: &dyn Backend, terms: Terms) -> Result<Vec<Value>> {
        match &self.parts[..] {
            [only] => backend.begin_together(only, terms).await,
            parts => backend.transactions(parts, terms).await,
        }
    }

    fn spread<'a>(
        &'a self,
        spread: &'a Spread,
        terms: Terms,
        begun: Option<Instant>,
    ) -> impl Future<Output = Result<Vec<Value>>> + Send + 'a {
        Box::pin(spread.group(self, terms, begun))
    }

    fn changes_nothing(&self) -> bool {
        change_nothing(self.commands())
    }

    fn is_answer(replies: &Vec<Value>) -> bool {
        Pipeline::is_answer(replies)
    }

    fn names(&self) -> Vec<&[u8]> {
        self.commands().flat_map(names_of).collect()
    }
}
