//! What every handle has: a clone of its cache, and its key.

use std::fmt;
use std::marker::PhantomData;

use redis::{Cmd, Value};

use super::write::{Step, Write, fenced};
use crate::cache::CacheOf;
use crate::cache::operation::{Marked, Pending};
use crate::client::Client;
use crate::client::batch::parts;
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::CallKeys;
use crate::keyspace::{Key, StoredKey};
use crate::read_through::ReadThrough;
use crate::read_through::delivery::Poison;

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

    /// A command with many elements, split: each part is one command.
    ///
    /// # Errors
    /// `InvalidKey`.
    pub(crate) fn in_parts(&self, name: &str, elements: &[Vec<u8>]) -> Result<Vec<Cmd>> {
        parts(elements, Vec::len)
            .map(|part| {
                let mut command = self.command(name)?;
                command.arg(part);
                Ok(command)
            })
            .collect()
    }

    /// A verb that changes nothing.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        verb: &'static str,
        command: Result<Cmd>,
        parse: impl FnOnce(Value) -> Result<T> + Send + 'static,
    ) -> Pending<'static, T, M> {
        self.reads(verb, command.map(|command| vec![command]), |replies| {
            parse(replies.into_iter().next().unwrap_or(Value::Nil))
        })
    }

    /// The same with several commands, one after the other, for a long list of elements.
    pub(crate) fn reads<T: Send + 'static>(
        &self,
        verb: &'static str,
        commands: Result<Vec<Cmd>>,
        parse: impl FnOnce(Vec<Value>) -> Result<T> + Send + 'static,
    ) -> Pending<'static, T, M> {
        let (core, key) = (self.core.clone(), self.key.clone());
        Pending::new(async move {
            let commands = commands?;
            core.perform(verb, CallKeys::One(key.as_bytes()), async |core| {
                let key = core.client().stored(key.as_bytes())?;
                let mut replies = Vec::with_capacity(commands.len());
                for command in &commands {
                    replies.push(core.client().read_for(&key, command).await?);
                }
                parse(replies).map_err(|error| error.for_key(&key))
            })
            .await
        })
    }

    /// A verb that changes the key: one step, or several for a long list of elements. Each fences the loads of the key
    /// in the same step. `parse` gets the reply of each.
    pub(crate) fn write<T: Send + 'static, S: Into<Step>>(
        &self,
        verb: &'static str,
        steps: Result<Vec<S>>,
        parse: impl FnOnce(Vec<Value>) -> Result<T> + Send + 'static,
    ) -> Write<T, M> {
        Write::new(self, verb, steps, parse)
    }

    /// A verb with one command that changes this key and another.
    pub(crate) fn write_both<T: Send + 'static>(
        &self,
        verb: &'static str,
        command: impl FnOnce(&StoredKey, &StoredKey) -> Result<Cmd>,
        other: Result<StoredKey>,
        parse: impl FnOnce(Value) -> Result<T> + Send + 'static,
    ) -> Pending<'static, T, M> {
        let core = self.core.clone();
        let asked = self.stored().and_then(|key| {
            let other = other?;
            Ok((command(&key, &other)?, [key, other]))
        });
        Pending::new(async move {
            let (command, keys) = asked?;
            core.perform(verb, CallKeys::Stored(&keys), async |core| {
                let _poisons = [Poison::key(core, &keys[0]), Poison::key(core, &keys[1])];
                let reply = fenced(core.client(), &keys, std::slice::from_ref(&command)).await;
                reply
                    .and_then(parse)
                    .map_err(|error| error.for_key(&keys[0]))
            })
            .await
        })
    }

    /// The stored forms of this key and of others.
    ///
    /// # Errors
    /// `InvalidKey`; `InvalidConfig` for a handle of another server.
    pub(crate) fn with_others(
        &self,
        others: impl IntoIterator<Item: AsKey>,
    ) -> Result<Vec<StoredKey>> {
        let others = others.into_iter().map(|other| self.other(&other));
        std::iter::once(self.stored()).chain(others).collect()
    }

    /// The stored form of another key.
    ///
    /// # Errors
    /// Those of [`with_others`](Self::with_others).
    pub(crate) fn other(&self, other: &impl AsKey) -> Result<StoredKey> {
        stored_key(other, self.client())
    }
}

/// Another key of the same cache: its name as text or bytes, or a handle of it.
///
/// It cannot be implemented elsewhere.
pub trait AsKey: sealed::AsKey {}

impl<K: sealed::AsKey + ?Sized> AsKey for K {}

/// The stored form of a key.
///
/// # Errors
/// `InvalidKey`; `InvalidConfig` for a handle of another server.
pub(crate) fn stored_key(key: &impl AsKey, client: &Client) -> Result<StoredKey> {
    key.stored_for(client)
}

pub(crate) mod sealed {
    use super::{Client, Handle, Key, Result, StoredKey};

    #[allow(private_interfaces, reason = "it cannot be named outside this crate")]
    pub trait AsKey {
        fn stored_for(&self, client: &Client) -> Result<StoredKey>;
    }

    #[allow(private_interfaces, reason = "it cannot be named outside this crate")]
    impl<K: AsKey + ?Sized> AsKey for &K {
        fn stored_for(&self, client: &Client) -> Result<StoredKey> {
            K::stored_for(self, client)
        }
    }

    macro_rules! names {
        ($($name:ty),*) => {$(
            #[allow(private_interfaces, reason = "it cannot be named outside this crate")]
            impl AsKey for $name {
                fn stored_for(&self, client: &Client) -> Result<StoredKey> {
                    client.stored(self.as_ref())
                }
            }
        )*};
    }
    names!(str, String, [u8], Vec<u8>, Key);

    #[allow(private_interfaces, reason = "it cannot be named outside this crate")]
    impl<M> AsKey for Handle<M> {
        fn stored_for(&self, client: &Client) -> Result<StoredKey> {
            self.stored_beside(client)
        }
    }
}

impl<M> Handle<M> {
    /// The stored form, for a command of another cache: which may have another prefix, and must be of the same server.
    fn stored_beside(&self, client: &Client) -> Result<StoredKey> {
        let mine = self.client();
        let same =
            std::sync::Arc::ptr_eq(mine.guarded(), client.guarded()) && mine.db() == client.db();
        if !same {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                "the two structures are in different places; both must be on one server, in one database, and opened \
                 with the same URL",
            ));
        }
        self.stored()
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

/// What every handle has, besides its verbs.
macro_rules! handle {
    ($name:ident $(<$element:ident>)?) => {
        impl<$($element,)? M> $name<$($element,)? M> {
            fn at(cache: &$crate::cache::CacheOf<M>, key: impl AsRef<[u8]>) -> Self {
                $name {
                    handle: $crate::structures::handle::Handle::new(cache, key),
                    $(element: std::marker::PhantomData::<fn() -> $element>,)?
                }
            }

            /// Its key, without the prefix.
            pub fn key(&self) -> &$crate::keyspace::Key {
                self.handle.key()
            }
        }

        impl<$($element,)? M> Clone for $name<$($element,)? M> {
            fn clone(&self) -> Self {
                $name {
                    handle: self.handle.clone(),
                    $(element: std::marker::PhantomData::<fn() -> $element>,)?
                }
            }
        }

        impl<$($element,)? M> std::fmt::Debug for $name<$($element,)? M> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.handle).finish()
            }
        }

        #[allow(private_interfaces, reason = "it cannot be named outside this crate")]
        impl<$($element,)? M> $crate::structures::handle::sealed::AsKey for $name<$($element,)? M> {
            fn stored_for(
                &self,
                client: &$crate::client::Client,
            ) -> $crate::error::Result<$crate::keyspace::StoredKey> {
                self.handle.stored_for(client)
            }
        }
    };
}
pub(crate) use handle;
