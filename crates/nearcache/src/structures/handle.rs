//! What every handle has: a clone of its cache, and its key.

use std::fmt;
use std::marker::PhantomData;

use redis::{Cmd, Value};

use super::write::Write;
use crate::cache::CacheOf;
use crate::cache::operation::{Marked, Pending};
use crate::client::Client;
use crate::error::Result;
use crate::hooks::CallKeys;
use crate::keyspace::{Key, StoredKey};
use crate::read_through::ReadThrough;

/// A key of a cache, which commands are sent for.
pub(crate) struct Handle<M> {
    core: ReadThrough,
    key: Key,
    mode: Marked<M>,
}

impl<M> Handle<M> {
    pub(crate) fn new(cache: &CacheOf<M>, key: impl AsRef<[u8]>) -> Self {
        Handle {
            core: cache.core().clone(),
            key: Key::from(key.as_ref()),
            mode: PhantomData,
        }
    }

    pub(crate) fn core(&self) -> &ReadThrough {
        &self.core
    }

    pub(crate) fn client(&self) -> &Client {
        self.core.client()
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// The key as it is in Redis.
    ///
    /// # Errors
    /// `InvalidKey`.
    pub(crate) fn stored(&self) -> Result<StoredKey> {
        self.client().stored(self.key.as_bytes())
    }

    /// A command for the key: its name, and the key.
    ///
    /// # Errors
    /// `InvalidKey`.
    pub(crate) fn command(&self, name: &str) -> Result<Cmd> {
        let mut command = redis::cmd(name);
        command.arg(self.stored()?);
        Ok(command)
    }

    /// A verb that changes nothing.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        verb: &'static str,
        command: Result<Cmd>,
        parse: impl FnOnce(Value) -> Result<T> + Send + 'static,
    ) -> Pending<'static, T, M> {
        let (core, key) = (self.core.clone(), self.key.clone());
        Pending::new(async move {
            let command = command?;
            core.perform(verb, CallKeys::One(key.as_bytes()), async |core| {
                let key = core.client().stored(key.as_bytes())?;
                let reply = core.client().request_for(&key, &command).await?;
                parse(reply).map_err(|error| error.for_key(&key))
            })
            .await
        })
    }

    /// A verb that changes the key: one command, or several for a long list of elements. Each fences the loads of
    /// the key in the same step. `parse` gets the reply of each.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        verb: &'static str,
        commands: Result<Vec<Cmd>>,
        parse: impl FnOnce(Vec<Value>) -> Result<T> + Send + 'static,
    ) -> Write<T, M> {
        Write::new(self, verb, commands, parse)
    }
}

impl<M> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Handle {
            core: self.core.clone(),
            key: self.key.clone(),
            mode: PhantomData,
        }
    }
}

/// What `Debug` of a handle shows: its key, or its hash if the cache shows no keys.
impl<M> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redact = self.client().keyspace().redacts();
        crate::keyspace::in_message(self.key.as_bytes(), redact).fmt(f)
    }
}
