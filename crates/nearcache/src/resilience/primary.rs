//! One primary of a place, for commands for all of its keys, such as a scan.

use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, Value};

use super::node::Node;
use super::sendable::Sendable;
use super::{Guarded, Outbox};
use crate::error::Result;

/// A primary. What is sent here goes to this one, whatever keys it names.
#[derive(Clone, Debug)]
pub(crate) struct Primary {
    pub(super) guarded: Arc<Guarded>,
    pub(super) node: Arc<Node>,
}

impl Primary {
    pub(super) fn outbox(&self) -> &Outbox {
        self.guarded.outbox()
    }

    /// The host, as it appears in messages.
    pub(crate) fn host(&self) -> &Arc<str> {
        self.node.host()
    }

    /// Sends commands together, without the outbox.
    pub(crate) async fn pipeline(
        &self,
        pipeline: &Pipeline,
        limit: Duration,
    ) -> Result<Vec<Value>> {
        self.directly(pipeline, limit).await
    }

    /// Sends without the outbox.
    pub(super) async fn directly<S: Sendable>(
        &self,
        what: &S,
        limit: Duration,
    ) -> Result<S::Reply> {
        let node = Some(&*self.node);
        self.guarded.directly_to(node, what, limit).await
    }
}
