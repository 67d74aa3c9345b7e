//! What a cache is made of, whoever calls it: where its keys lie, its defaults, the way to the
//! server, and what it counts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Pipeline, Value};

use super::stats::{Counters, Stats};
use crate::connect::target::Target;
use crate::connect::{Backend, Lease, LinkEvent};
use crate::error::{Error, Result};
use crate::keyspace::{Keyspace, StoredKey};
use crate::ttl::Ttl;

pub(crate) struct Core {
    lease: Lease,
    pub(super) target: Target,
    pub(super) keyspace: Keyspace,
    pub(super) default_ttl: Option<Ttl>,
    pub(super) ttl_jitter: f64,
    /// How long Redis may take for one call.
    pub(super) limit: Duration,
    pub(super) counters: Arc<Counters>,
    listener: u64,
}

/// What a cache is built from.
pub(super) struct Parts {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) target: Target,
    pub(super) keyspace: Keyspace,
    pub(super) default_ttl: Option<Ttl>,
    pub(super) ttl_jitter: f64,
    pub(super) limit: Duration,
}

impl Core {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            backend,
            target,
            keyspace,
            default_ttl,
            ttl_jitter,
            limit,
        } = parts;
        let counters = Arc::new(Counters::default());
        let count = Arc::clone(&counters);
        let listener = backend
            .common()
            .listeners()
            .add(Arc::new(move |event| match event {
                LinkEvent::Ready => count.connects.add(1),
                LinkEvent::Lost => count.losses.add(1),
            }));
        Core {
            lease: Lease::new(backend),
            target,
            keyspace,
            default_ttl,
            ttl_jitter,
            limit,
            counters,
            listener,
        }
    }

    /// # Errors
    /// `Closed`, once it was.
    pub(super) fn backend(&self) -> Result<&Arc<dyn Backend>> {
        self.lease.backend()
    }

    /// One command about one key.
    pub(super) async fn call(&self, command: &Cmd, key: &StoredKey) -> Result<Value> {
        let reply = self.backend()?.request(command, self.limit).await;
        reply.map_err(|error| error.for_key(key.user()))
    }

    pub(super) async fn pipeline(&self, pipeline: &Pipeline) -> Result<Vec<Value>> {
        self.backend()?.pipeline(pipeline, self.limit).await
    }

    pub(super) fn stored(&self, key: &[u8]) -> Result<StoredKey> {
        self.keyspace.stored(key)
    }

    pub(crate) fn close(&self) {
        self.lease.close();
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lease.is_open()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.counters.read()
    }

    /// `Debug` of the faces: where it goes, never the password.
    pub(crate) fn describe(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        f.debug_struct(name)
            .field("target", &self.target)
            .field("keyspace", &self.keyspace)
            .field("default_ttl", &self.default_ttl)
            .field("ttl_jitter", &self.ttl_jitter)
            .field("timeout", &self.limit)
            .field("open", &self.is_open())
            .finish()
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.lease.common().listeners().remove(self.listener);
    }
}

/// What a reply must be for the command that it answers.
pub(super) mod reply {
    use super::{Error, Result, Value};

    pub(in crate::cache) fn integer(command: &str, reply: &Value) -> Result<i64> {
        match reply {
            Value::Int(number) => Ok(*number),
            other => Err(Error::unexpected(command, other)),
        }
    }

    /// 1 and 0, as `DEL` and `EXPIRE` answer.
    pub(in crate::cache) fn flag(command: &str, reply: &Value) -> Result<bool> {
        Ok(integer(command, reply)? != 0)
    }

    pub(in crate::cache) fn count(command: &str, reply: &Value) -> Result<u64> {
        Ok(integer(command, reply)?.try_into().unwrap_or(0))
    }

    /// A string or nil.
    pub(in crate::cache) fn bytes(command: &str, reply: Value) -> Result<Option<Vec<u8>>> {
        match reply {
            Value::BulkString(bytes) => Ok(Some(bytes)),
            Value::Nil => Ok(None),
            other => Err(Error::unexpected(command, &other)),
        }
    }

    /// OK, or nil where a condition was not met.
    pub(in crate::cache) fn stored(command: &str, reply: &Value) -> Result<bool> {
        match reply {
            Value::Okay => Ok(true),
            Value::Nil => Ok(false),
            other => Err(Error::unexpected(command, other)),
        }
    }
}
