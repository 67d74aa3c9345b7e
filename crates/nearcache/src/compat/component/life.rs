//! The life cycle of a component, the same for async and blocking callers.
//!
//! 1. A component is open or closed; calls of a closed component fail and reach no server.
//! 2. It works with the configuration that it had when it was opened, until it is closed.
//! 3. If two callers open it at the same time, one of them does the work, and both get the result.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::bounded;
use super::resolve::{self, Options};
use super::{Context, Params, References};
use crate::cache::operation::Executor;
use crate::cache::{Builder, CacheOf};
use crate::codec::Raw;
use crate::error::{Error, ErrorKind, Result};
use crate::resilience::BreakerState;
use crate::ttl::{IntoTtl, Ttl};

pub(super) struct Life<M> {
    said: Mutex<Said<M>>,
    opened: Mutex<Option<Arc<Opened<M>>>>,
    opening: tokio::sync::Mutex<()>,
}

/// The configuration that will apply at the next opening.
struct Said<M> {
    params: Params,
    references: Option<References>,
    build: Option<Build<M>>,
}

/// What the application adds to the builder of the cache.
pub(super) type Build<M> = Arc<dyn Fn(Builder<M>) -> Builder<M> + Send + Sync>;

impl<M> Default for Said<M> {
    fn default() -> Self {
        Said {
            params: Params::default(),
            references: None,
            build: None,
        }
    }
}

/// What an open component works with.
struct Opened<M> {
    cache: CacheOf<M>,
    options: Options,
}

/// The pause before a call is retried. It grows by this much with each retry, up to the longest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(3);

impl<M> Default for Life<M> {
    fn default() -> Self {
        Life {
            said: Mutex::default(),
            opened: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
        }
    }
}

impl<M: Executor> Life<M> {
    pub(super) fn configure(&self, params: &Params) {
        let mut said = self.said.lock();
        said.params = params.clone().or(std::mem::take(&mut said.params));
    }

    pub(super) fn set_references(&self, references: &References) {
        self.said.lock().references = Some(references.clone());
    }

    pub(super) fn set_builder(&self, build: Build<M>) {
        self.said.lock().build = Some(build);
    }

    /// The cache of an open component.
    pub(super) fn cache(&self) -> Result<CacheOf<M>> {
        Ok(self.opened()?.cache.clone())
    }

    pub(super) fn is_open(&self) -> bool {
        self.opened.lock().is_some()
    }

    pub(super) async fn open(&self, context: &Context) -> Result<()> {
        let _one_at_a_time = self.opening.lock().await;
        if self.is_open() {
            return Ok(());
        }
        let opened = self.resolve(context).await;
        let opened = opened.map_err(|error| traced(error, context))?;
        *self.opened.lock() = Some(Arc::new(opened));
        Ok(())
    }

    async fn resolve(&self, context: &Context) -> Result<Opened<M>> {
        let (params, references, build) = {
            let said = self.said.lock();
            let (params, references) = (said.params.clone(), said.references.clone());
            (params, references, said.build.clone())
        };
        let settings = resolve::settings(&params, references.as_ref(), context).await?;
        let mut builder = settings.config.builder_of()?;
        if let Some(build) = build {
            builder = build(builder);
        }
        let cache: CacheOf<M> = builder.build()?;
        cache.core().client().guarded().learn(&bounded::ALL);
        Ok(Opened {
            cache,
            options: settings.options,
        })
    }

    pub(super) async fn close(&self, context: &Context) -> Result<()> {
        let Some(opened) = self.opened.lock().take() else {
            return Ok(());
        };
        let closed = opened.cache.core().close(None).await;
        closed.map_err(|error| traced(error, context))
    }

    pub(super) async fn store(
        &self,
        context: &Context,
        key: &str,
        value: Result<Option<Vec<u8>>>,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let outcome = self.store_or_remove(key, value, timeout).await;
        outcome.map_err(|error| traced(error, context))
    }

    async fn store_or_remove(
        &self,
        key: &str,
        value: Result<Option<Vec<u8>>>,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let opened = self.opened()?;
        let Some(value) = value? else {
            return opened.call(key, &Call::Remove).await.map(drop);
        };
        let ttl = match timeout {
            Some(time) if !time.is_zero() => time.into_ttl()?,
            _ => opened.options.timeout,
        };
        opened.call(key, &Call::Store(value, ttl)).await.map(drop)
    }

    pub(super) async fn retrieve(&self, context: &Context, key: &str) -> Result<Option<Vec<u8>>> {
        self.call(context, key, Call::Retrieve).await
    }

    pub(super) async fn remove(&self, context: &Context, key: &str) -> Result<Option<Vec<u8>>> {
        self.call(context, key, Call::Remove).await
    }

    async fn call(&self, context: &Context, key: &str, call: Call) -> Result<Option<Vec<u8>>> {
        let outcome = match self.opened() {
            Ok(opened) => opened.call(key, &call).await,
            Err(error) => Err(error),
        };
        outcome.map_err(|error| traced(error, context))
    }

    fn opened(&self) -> Result<Arc<Opened<M>>> {
        let opened = self.opened.lock().clone();
        opened.ok_or_else(|| Error::new(ErrorKind::NotOpen, "open it before it is used"))
    }

    pub(super) fn describe(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let said = self.said.lock();
        f.debug_struct(name)
            .field("params", &said.params)
            .field("references", &said.references)
            .field("opened", &self.opened.lock().as_deref())
            .finish()
    }
}

/// A call of the component on a key.
enum Call {
    Store(Vec<u8>, Ttl),
    Retrieve,
    Remove,
}

impl<M: Executor> fmt::Debug for Opened<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("cache", &self.cache)
            .field("options", &self.options)
            .finish()
    }
}

impl<M: Executor> Opened<M> {
    /// Makes the call, and retries it while the server cannot be reached, up to `retries` times.
    async fn call(&self, key: &str, call: &Call) -> Result<Option<Vec<u8>>> {
        let mut retried = 0;
        loop {
            match self.once(key.as_bytes(), call).await {
                Err(error)
                    if retried < self.options.retries
                        && matches!(error.kind(), ErrorKind::Connect | ErrorKind::Timeout)
                        // While the breaker is open, nobody waits for the server.
                        && self.cache.stats().breaker == BreakerState::Closed =>
                {
                    retried += 1;
                    tracing::debug!(%error, retried, "a component's call is retried");
                    let pause = (PAUSE * retried).min(LONGEST);
                    self.cache.core().client().runtime().sleep(pause).await;
                }
                outcome => return Ok(outcome?.map(|Raw(bytes)| bytes)),
            }
        }
    }

    async fn once(&self, key: &[u8], call: &Call) -> Result<Option<Raw>> {
        let (cache, core) = (&self.cache, self.cache.core());
        match (call, self.options.max_size) {
            (Call::Retrieve, _) => cache.get::<Raw>(key).start().await,
            (Call::Remove, 0) => cache.take::<Raw>(key).start().await,
            (Call::Remove, _) => bounded::remove(core, key).await,
            (Call::Store(value, ttl), 0) => {
                let value = Raw(value);
                cache.set(key, &value).ttl(*ttl).start().await?;
                Ok(None)
            }
            (Call::Store(value, ttl), most) => {
                bounded::store(core, key, value, *ttl, most).await?;
                Ok(None)
            }
        }
    }
}

fn traced(error: Error, context: &Context) -> Error {
    match context.trace() {
        Some(trace) => error.traced(trace),
        None => error,
    }
}
