//! The store in this process. It answers at once, so no limit applies, and nothing is ever lost.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use nearcache_embedded::{Connection, Store};
use parking_lot::Mutex;
use redis::{Cmd, Pipeline, Value};

use super::raw::Raw;
use super::target::Target;
use super::{Backend, BoxFuture, Common, Terms, Wall, checked};
use crate::error::{Error, ErrorKind, Result};
use crate::read_through::lease;
use crate::runtime::Runtime;

/// A client of an embedded store.
#[derive(Debug)]
pub(super) struct Embedded {
    /// Shared by all calls, none of which sees another's `MULTI`.
    client: Connection,
    common: Common,
    /// Keeps a named store alive as long as someone uses it.
    _store: Arc<Store>,
}

/// The stores that have a name, for as long as a cache uses them.
static NAMED: Mutex<Option<HashMap<String, Weak<Store>>>> = Mutex::new(None);

/// The store of that name, new if nobody has it.
pub(super) fn named(name: &str) -> Arc<Store> {
    let mut named = NAMED.lock();
    let stores = named.get_or_insert_default();
    if let Some(store) = stores.get(name).and_then(Weak::upgrade) {
        return store;
    }
    stores.retain(|_, store| store.strong_count() > 0);
    let store = Arc::new(Store::new());
    stores.insert(name.to_owned(), Arc::downgrade(&store));
    store
}

/// A backend over a store that the caller has.
pub(crate) fn over_store(
    store: &Store,
    target: &Target,
    runtime: Runtime,
) -> Result<Arc<dyn Backend>> {
    Ok(Arc::new(Embedded::new(
        Arc::new(store.clone()),
        target,
        runtime,
    )?))
}

impl Embedded {
    /// # Errors
    /// `InvalidConfig` for a database that the store does not have.
    pub(super) fn new(store: Arc<Store>, target: &Target, runtime: Runtime) -> Result<Self> {
        for script in lease::ALL {
            store.register(script.embedded);
        }
        #[cfg(feature = "component")]
        for script in crate::cache::bounded::ALL {
            store.register(script.embedded);
        }
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
        Ok(Embedded {
            client,
            common: Common {
                wall: Wall::Store(store.clock().clone()),
                ..Common::new(target, runtime)
            },
            _store: store,
        })
    }
}

impl Backend for Embedded {
    fn request<'a>(&'a self, command: &'a Cmd, _: Terms) -> BoxFuture<'a, Result<Value>> {
        Box::pin(async move {
            let reply = self.client.call(command);
            checked(reply).map_err(|error| error.on_host(&self.common.host))
        })
    }

    fn pipeline<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        _: Terms,
    ) -> BoxFuture<'a, Result<Vec<Value>>> {
        Box::pin(async move {
            if !pipeline.is_transaction() {
                return Ok(pipeline
                    .cmd_iter()
                    .map(|cmd| self.client.call(cmd))
                    .collect());
            }
            let replies = match checked(self.client.transaction(pipeline.cmd_iter())) {
                Ok(Value::Array(replies)) => Ok(replies),
                Ok(other) => Err(Error::unexpected("EXEC", &other)),
                Err(error) => Err(error),
            };
            replies.map_err(|error| error.on_host(&self.common.host))
        })
    }

    fn connection(&self, _limit: Duration) -> BoxFuture<'_, Result<Raw>> {
        Box::pin(async move { Ok(Raw::Embedded(self.client.clone())) })
    }

    fn disconnect(&self) {}

    fn common(&self) -> &Common {
        &self.common
    }
}
