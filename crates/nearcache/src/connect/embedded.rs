//! The store in this process. It answers at once, so no time limit applies. (One that is kept in a folder may wait for
//! the disk: a write that was begun is finished, whatever the limit.) Its memory is limited, unless the URL turns
//! that off: when it is full, the least used entries are evicted.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use nearcache_embedded::{Called, Connection, Event, Fsync, Policy, Store, Subscription};
use parking_lot::Mutex;
use redis::{Cmd, Pipeline, ProtocolVersion, Value};

use super::carrier::Carrier;
use super::raw::Dedicated;
use super::target::{Bounds, Place, Target};
use super::{Answer, Backend, BoxFuture, Common, LinkEvent, Terms, result_of};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Runtime;
use crate::script::Script;

/// A client of an embedded store.
#[derive(Debug)]
struct Embedded {
    /// Shared by all calls. No call sees the `MULTI` of another.
    client: Connection,
    /// What a connection of its own speaks: the highest protocol, as on a server, unless told.
    protocol: ProtocolVersion,
    /// Whether a caller that has to wait for the disk parks its thread.
    parks: bool,
    common: Arc<Common>,
    /// Keeps a named store alive.
    store: Arc<Store>,
    /// Tells of changes for as long as it is there, if that is asked for.
    #[cfg_attr(not(feature = "blocking"), allow(dead_code))]
    tells: Option<Subscription>,
}

/// The default memory limit of a store, in bytes.
const MAX_MEMORY: usize = 256 << 20;

/// The stores that have a name or a folder, as long as a cache uses them.
static NAMED: Mutex<Option<HashMap<String, Weak<Store>>>> = Mutex::new(None);

/// A new store without a name.
pub(super) fn private(bounds: Bounds) -> Arc<Store> {
    let policy = policy(bounds).unwrap_or(Policy::AllKeysLfu);
    let max_memory = max_memory(bounds).unwrap_or(MAX_MEMORY);
    Arc::new(
        Store::builder()
            .max_memory(max_memory)
            .policy(policy)
            .build(),
    )
}

/// The store of that name; a new one if no cache uses it.
///
/// # Errors
/// `InvalidConfig` if it is in use with other limits than the requested ones.
pub(super) fn named(name: &str, bounds: Bounds) -> Result<Arc<Store>> {
    shared(name, bounds, || Ok(private(bounds)))
}

/// The store that is kept in that folder, loaded if no cache uses it.
///
/// # Errors
/// `InvalidConfig` if it is in use with other limits than the requested ones, if another process has it open, or if
/// it cannot be loaded.
pub(super) fn kept(folder: &Path, bounds: Bounds) -> Result<Arc<Store>> {
    let cannot = |why: &dyn std::fmt::Display| {
        let place = Place::Folder {
            path: folder.to_owned(),
        };
        Error::new(
            ErrorKind::InvalidConfig,
            format!("{place} cannot be opened: {why}"),
        )
    };
    std::fs::create_dir_all(folder).map_err(|error| cannot(&error))?;
    // However it is written, it is one folder.
    let path = folder.canonicalize().map_err(|error| cannot(&error))?;
    shared(&path.to_string_lossy(), bounds, || {
        let fsync = match bounds.appendfsync {
            Some("always") => Fsync::Always,
            Some("no") => Fsync::No,
            _ => Fsync::EverySec,
        };
        let store = Store::builder()
            .max_memory(max_memory(bounds).unwrap_or(MAX_MEMORY))
            .policy(policy(bounds).unwrap_or(Policy::NoEviction))
            .persist(&path)
            .appendfsync(fsync)
            .open()
            .map_err(|error| cannot(&error))?;
        Ok(Arc::new(store))
    })
}

fn shared(
    name: &str,
    bounds: Bounds,
    open: impl FnOnce() -> Result<Arc<Store>>,
) -> Result<Arc<Store>> {
    let mut named = NAMED.lock();
    let stores = named.get_or_insert_default();
    if let Some(store) = stores.get(name).and_then(Weak::upgrade) {
        return has_bounds(&store, bounds).then(|| store.clone()).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidConfig,
                format!(
                    "memory://{name} is in use with maxmemory={} and policy={}; open it with the same \
                     bounds, or without any",
                    store.max_memory(),
                    store.policy()
                ),
            )
        });
    }
    stores.retain(|_, store| store.strong_count() > 0);
    let store = open()?;
    stores.insert(name.to_owned(), Arc::downgrade(&store));
    Ok(store)
}

fn policy(bounds: Bounds) -> Option<Policy> {
    bounds.policy?.parse().ok()
}

fn max_memory(bounds: Bounds) -> Option<usize> {
    let bytes = bounds.maxmemory?;
    Some(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Whether a store has the requested limits, if there are any.
fn has_bounds(store: &Store, bounds: Bounds) -> bool {
    max_memory(bounds).is_none_or(|bytes| bytes == store.max_memory())
        && policy(bounds).is_none_or(|policy| policy == store.policy())
}

/// A backend over the caller's store.
///
/// # Errors
/// `InvalidConfig` for a database that the store does not have.
pub(crate) fn over_store(
    store: &Store,
    target: &Target,
    runtime: Runtime,
) -> Result<Arc<dyn Backend>> {
    over(Arc::new(store.clone()), target, runtime)
}

pub(super) fn over(
    store: Arc<Store>,
    target: &Target,
    runtime: Runtime,
) -> Result<Arc<dyn Backend>> {
    let mut client = store.connect();
    client.select(i64::from(target.db)).map_err(|error| {
        Error::new(
            ErrorKind::InvalidConfig,
            format!("database {}: {error}", target.db),
        )
    })?;
    if let Some(protocol) = target.protocol {
        client.set_protocol(protocol.into());
    }
    let parks = runtime.parks();
    let common = Common::new(target, runtime).with_clock(store.clock().clone());
    let common = Arc::new(common);
    Ok(Arc::new(Embedded {
        tells: target
            .tracking
            .as_ref()
            .map(|_| tell(&store, target.db, &common)),
        client,
        protocol: target
            .protocol
            .map_or(ProtocolVersion::RESP3, ProtocolVersion::from),
        parks,
        common,
        store,
    }))
}

/// Tells the listeners of every change in a database, whoever makes it, before the command that makes it returns.
fn tell(store: &Store, db: u32, common: &Arc<Common>) -> Subscription {
    let listeners = Arc::downgrade(common);
    let subscription = store.subscribe(move |event| {
        let Some(common) = listeners.upgrade() else {
            return;
        };
        match event {
            Event::Changed { db: of, keys, .. } if *of == db => {
                let keys = keys.iter().map(|key| key.to_vec()).collect();
                common.tell(&LinkEvent::Invalidated { keys });
            }
            Event::Flushed { db: of, .. } if of.is_none_or(|of| of == db) => {
                common.tell(&LinkEvent::Flushed);
            }
            _ => {}
        }
    });
    common.carriers().put(None, Carrier::always());
    subscription
}

impl Embedded {
    /// The reply of what has run. A write to a store with `appendfsync=always` waits for the disk; nothing else waits.
    #[inline]
    fn answer<'a, T: Send + 'a>(
        &self,
        called: Called,
        read: fn(Value) -> Result<T>,
    ) -> Answer<'a, T> {
        match called.at_once() {
            Ok(reply) => Answer::Now(read(reply)),
            Err(called) if self.parks => Answer::Now(read(called.wait())),
            Err(called) => Answer::Later(Box::pin(async move { read(called.settled().await) })),
        }
    }
}

/// The replies of a transaction.
fn replies_of(reply: Value) -> Result<Vec<Value>> {
    match result_of(reply)? {
        Value::Array(replies) => Ok(replies),
        other => Err(Error::unexpected("EXEC", &other)),
    }
}

impl Backend for Embedded {
    fn request<'a>(&'a self, command: &'a Cmd, terms: Terms) -> BoxFuture<'a, Result<Value>> {
        self.begin(command, terms).boxed()
    }

    fn pipeline<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        terms: Terms,
    ) -> BoxFuture<'a, Result<Vec<Value>>> {
        self.begin_together(pipeline, terms).boxed()
    }

    #[inline]
    fn begin<'a>(&'a self, command: &'a Cmd, _: Terms) -> Answer<'a, Value> {
        self.answer(self.client.begin_call(command), result_of)
    }

    fn begin_together<'a>(&'a self, pipeline: &'a Pipeline, _: Terms) -> Answer<'a, Vec<Value>> {
        let commands = pipeline.cmd_iter();
        if pipeline.is_transaction() {
            return self.answer(self.client.begin_transaction(commands), replies_of);
        }
        // They wait for the disk once, if there is one.
        if self.is_at_once() {
            return Answer::Now(Ok(self.client.pipeline(commands)));
        }
        Answer::Later(Box::pin(async move {
            Ok(self.client.pipeline_async(pipeline.cmd_iter()).await)
        }))
    }

    #[inline]
    fn begin_words<'a>(&'a self, words: &'a [&'a [u8]], _: Terms) -> Answer<'a, Value> {
        self.answer(self.client.begin_words(words), result_of)
    }

    fn begin_steps<'a>(
        &'a self,
        words: &'a [&'a [u8]],
        ends: &'a [usize],
        _: Terms,
    ) -> Answer<'a, Vec<Value>> {
        let called = self.client.begin_transaction_of_words(words, ends);
        self.answer(called, replies_of)
    }

    fn is_at_once(&self) -> bool {
        self.parks || !self.client.is_kept()
    }

    fn learn(&self, scripts: &[&'static Script]) {
        for script in scripts {
            self.store.register(script.embedded);
        }
    }

    #[cfg(feature = "blocking")]
    fn in_mode(&self, mode: super::Mode) -> Option<Arc<dyn Backend>> {
        let common = Arc::new(self.common.for_runtime(mode.runtime()));
        let db = u32::try_from(self.client.db()).unwrap_or_default();
        Some(Arc::new(Embedded {
            tells: self.tells.as_ref().map(|_| tell(&self.store, db, &common)),
            client: self.client.clone(),
            protocol: self.protocol,
            parks: mode.runtime().parks(),
            common,
            store: Arc::clone(&self.store),
        }))
    }

    fn dedicated(&self, _limit: Duration) -> BoxFuture<'_, Result<Dedicated>> {
        Box::pin(async move {
            // Another client than the cache: it has a mailbox, subscriptions and tracking of its own.
            let mut connection = self.store.connect();
            let selected = connection.select(self.client.db());
            selected.map_err(Error::from_redis)?;
            connection.set_protocol(self.protocol);
            Ok(Dedicated::Embedded(connection))
        })
    }

    fn for_messages(&self, limit: Duration) -> BoxFuture<'_, Result<Dedicated>> {
        let opened = self.dedicated(limit);
        Box::pin(async move {
            let mut opened = opened.await?;
            if let Dedicated::Embedded(connection) = &mut opened {
                connection.set_protocol(redis::ProtocolVersion::RESP3);
            }
            Ok(opened)
        })
    }

    fn disconnect(&self) {}

    fn common(&self) -> &Common {
        &self.common
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn astore_is_bounded_unless_the_url_says_otherwise() {
        let store = private(Bounds::default());
        assert_eq!(store.max_memory(), 256 << 20);
        assert_eq!(store.policy(), Policy::AllKeysLfu);
        let unbounded = Bounds {
            maxmemory: Some(0),
            policy: Some("noeviction"),
            appendfsync: None,
        };
        assert_eq!(private(unbounded).max_memory(), 0);
    }
}
