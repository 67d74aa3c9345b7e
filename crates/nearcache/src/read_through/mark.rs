//! Marking entries stale, by key and by tag: soft expiry from now on.
//!
//! 1. A load that began before stores nothing: the mark deletes the lease of its key, or changes the version of its
//!    tag, and before it the epoch for loads that learn their tags only at their end.
//! 2. A mark that Redis did not acknowledge goes to the outbox as the invalidation of the same key or tag, which is
//!    more than was asked for, and never less. So does one of a user who may not run scripts, at once.

use redis::{Pipeline, Value};

use super::ReadThrough;
use super::change::{MARK, MARK_TAG};
use super::delivery;
use super::lease;
use super::tags::Tag;
use crate::client::reply;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::StoredKey;
use crate::resilience::Invalidation;
use crate::script::{self, Input};

impl ReadThrough {
    /// Marks the value of a key stale from now on.
    pub(crate) async fn mark(&self, key: &StoredKey) -> Result<()> {
        let now = self.client.unix_millis();
        let mut input = Input::default();
        input.key(key.as_bytes()).key(&key.lease());
        input
            .arg(&now.to_be_bytes())
            .arg(now.to_string().as_bytes());
        match self.client.run(&MARK, &input).await {
            Err(error) if error.kind() == ErrorKind::Denied => {
                delivery::remove(&self.client, &[Invalidation::entry(key)]).await
            }
            reply => reply::integer("MARK", &reply?).map(drop),
        }
    }

    /// Marks the entries that carry these tags stale from now on.
    pub(crate) async fn mark_tags(&self, tags: &[Tag]) -> Result<()> {
        let inputs: Vec<Input> = tags
            .iter()
            .map(|tag| {
                let mut input = Input::default();
                input.key(&tag.version_key).arg(&lease::random());
                input
            })
            .collect();
        if self.client.is_spread() {
            return self.mark_tags_apart(tags, &inputs).await;
        }
        let mut pipeline = Pipeline::with_capacity(1 + inputs.len());
        let epoch = self.client.keyspace().tag_epoch();
        pipeline.cmd("UNLINK").arg(epoch);
        for input in &inputs {
            pipeline.add_command(MARK_TAG.by_name(input));
        }
        let mut unknown = Vec::new();
        let replies = self.client.pipeline(&pipeline).await?.into_iter();
        for (index, reply) in replies.enumerate() {
            if let Value::ServerError(error) = &reply {
                let error = Error::from_server(error).on_host(self.client.host());
                match index.checked_sub(1).and_then(|index| inputs.get(index)) {
                    Some(input) if script::unknown(&error) => unknown.push(input.clone()),
                    Some(_) if error.kind() == ErrorKind::Denied => {
                        return self.remove_tags(tags).await;
                    }
                    _ => return Err(error),
                }
            }
        }
        if !unknown.is_empty() {
            for reply in self.client.run_many(&MARK_TAG, &unknown).await? {
                reply?;
            }
        }
        Ok(())
    }

    /// The same where the epoch and the versions are in several slots: the epoch is removed before any version moves.
    async fn mark_tags_apart(&self, tags: &[Tag], inputs: &[Input]) -> Result<()> {
        let servers = self.client.outbox().servers();
        let epoch = self.client.keyspace().tag_epoch();
        self.client.request(redis::cmd("UNLINK").arg(epoch)).await?;
        for reply in self.client.run_many(&MARK_TAG, inputs).await? {
            match reply {
                Err(error) if error.kind() == ErrorKind::Denied => {
                    return self.remove_tags(tags).await;
                }
                reply => drop(reply?),
            }
        }
        // A server that took another's place meanwhile may have lost the epoch's removal.
        if self.client.outbox().servers() != servers {
            return self.remove_tags(tags).await;
        }
        Ok(())
    }

    async fn remove_tags(&self, tags: &[Tag]) -> Result<()> {
        let keyspace = self.client.keyspace();
        let each = tags.iter();
        let all: Vec<_> = each
            .map(|tag| Invalidation::tag(keyspace, &tag.version_key))
            .collect();
        delivery::remove(&self.client, &all).await
    }
}
