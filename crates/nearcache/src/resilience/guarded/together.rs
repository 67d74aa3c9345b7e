//! Commands that are sent together: as a pipeline, or as steps that take effect together. In a Cluster, those of each node
//! go for themselves.

use std::time::Duration;

use redis::{Pipeline, Value};

use super::Guarded;
#[cfg(feature = "cluster")]
use super::{How, Servers};
#[cfg(feature = "cluster")]
use crate::connect::cluster::only_slot;
use crate::error::Result;
use crate::resilience::sendable::{By, Transaction};
#[cfg(feature = "cluster")]
use crate::resilience::spread::{self, Spread};
use crate::resilience::words::Steps;

impl Guarded {
    /// Sends commands together, within the limit, after what the outbox holds of their keys.
    pub(crate) async fn pipeline(
        &self,
        pipeline: &Pipeline,
        limit: Duration,
    ) -> Result<Vec<Value>> {
        self.pipeline_by(0, pipeline, limit).await
    }

    /// [`pipeline`](Guarded::pipeline), likewise.
    pub(crate) async fn pipeline_by(
        &self,
        sender: usize,
        pipeline: &Pipeline,
        limit: Duration,
    ) -> Result<Vec<Value>> {
        #[cfg(feature = "cluster")]
        if let Servers::Spread(spread) = &self.servers {
            return Box::pin(self.in_groups(spread, pipeline, limit, How::By(sender))).await;
        }
        self.in_order(&By(sender, pipeline), limit).await
    }

    /// Sends commands that take effect together, within the limit, after what the outbox holds of their keys.
    pub(crate) async fn steps(&self, steps: &Steps<'_>, limit: Duration) -> Result<Vec<Value>> {
        self.steps_by(0, steps, limit).await
    }

    /// [`steps`](Guarded::steps), likewise.
    pub(crate) async fn steps_by(
        &self,
        sender: usize,
        steps: &Steps<'_>,
        limit: Duration,
    ) -> Result<Vec<Value>> {
        #[cfg(feature = "cluster")]
        if let Servers::Spread(spread) = &self.servers
            && steps.slot().is_none()
        {
            let sent = async move {
                self.in_groups(spread, &steps.pipeline(), limit, How::By(sender))
                    .await
            };
            return Box::pin(sent).await;
        }
        self.in_order(&By(sender, steps), limit).await
    }

    /// Sends commands that a caller wants to take effect together or not at all.
    pub(crate) async fn transaction(
        &self,
        pipeline: &Pipeline,
        limit: Duration,
    ) -> Result<Vec<Value>> {
        self.in_order(&Transaction(pipeline), limit).await
    }

    /// Sends what goes to each node of a Cluster for itself, so that none waits for what the outbox holds of the others'
    /// keys.
    #[cfg(feature = "cluster")]
    pub(super) async fn in_groups(
        &self,
        spread: &Spread,
        pipeline: &Pipeline,
        limit: Duration,
        how: How,
    ) -> Result<Vec<Value>> {
        let (replica, sender) = match how {
            How::Reads => (true, 0),
            How::By(sender) => (false, sender),
        };
        let replica = |slot: Option<u16>| match replica {
            true => slot.and_then(|slot| spread.replica_of(slot)),
            false => None,
        };
        // What is sent most often.
        if let slot @ Some(_) = only_slot(pipeline.cmd_iter()) {
            let (replica, pipeline) = (replica(slot), By(sender, pipeline));
            return self.read_of(replica.as_ref(), &pipeline, limit).await;
        }
        let topology = spread.topology(limit).await?;
        let pieces = spread::Pieces::of(pipeline, &topology);
        if let Some(slot) = pieces.only_group() {
            let (replica, pipeline) = (replica(slot), By(sender, pipeline));
            return self.read_of(replica.as_ref(), &pipeline, limit).await;
        }
        let send = |group: spread::Group| {
            let replica = replica(group.slot);
            let read = async move {
                let group = By(sender, &group);
                self.read_of(replica.as_ref(), &group, limit).await
            };
            Box::pin(read) as crate::connect::BoxFuture<'_, _>
        };
        let outcomes = crate::runtime::all(pieces.groups().into_iter().map(send).collect()).await;
        pieces.concluded(outcomes)
    }
}
