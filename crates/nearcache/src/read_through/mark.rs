//! Marking entries stale, by key and by tag: soft expiry from now on.
//!
//! 1. A load that began before stores nothing: the mark deletes the lease of its key, or changes the version of its
//!    tag, and the epoch for loads that learn their tags only at their end.
//! 2. A mark that Redis did not acknowledge goes to the outbox as the invalidation of the same key or tag, which is
//!    more than was asked for, and never less. So does one of a user who may not run scripts, at once.

use redis::{Pipeline, Value};

use super::ReadThrough;
use super::change::{MARK, MARK_TAG};
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
                let mut pipeline = Pipeline::with_capacity(2);
                Invalidation::entry(key).add_to(&mut pipeline);
                self.invalidate_instead(&pipeline).await
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
                        let mut pipeline = Pipeline::with_capacity(tags.len());
                        for tag in tags {
                            let keyspace = self.client.keyspace();
                            Invalidation::tag(keyspace, &tag.version_key).add_to(&mut pipeline);
                        }
                        return self.invalidate_instead(&pipeline).await;
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

    async fn invalidate_instead(&self, pipeline: &Pipeline) -> Result<()> {
        for reply in self.client.pipeline(pipeline).await? {
            if let Value::ServerError(error) = &reply {
                return Err(Error::from_server(error).on_host(self.client.host()));
            }
        }
        Ok(())
    }
}
