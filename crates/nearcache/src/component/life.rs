//! The life of a component, whoever calls it.
//!
//! 1. It is open or not; calls of one that is not fail, and reach no server.
//! 2. What it was configured with before it was opened is what it works with until it is closed.
//! 3. Of two who open it at the same time one does, and both are told how that went.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::resolve::{self, Options};
use super::{Context, Params, References};
use crate::cache::bounded::{remove_bounded, store_bounded};
use crate::cache::operation::{Async, Close, Get, Set};
use crate::cache::{Builder, Core, verbs};
use crate::codec::Raw;
use crate::connect::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::resilience::BreakerState;
use crate::ttl::{IntoTtl, Ttl};

#[derive(Default)]
pub(super) struct Life {
    said: Mutex<Said>,
    opened: Mutex<Option<Arc<Opened>>>,
    opening: tokio::sync::Mutex<()>,
}

/// What it was told.
#[derive(Default)]
struct Said {
    params: Params,
    references: Option<References>,
}

/// What it works with.
#[derive(Debug)]
struct Opened {
    core: Core,
    options: Options,
}

/// How long to wait before a call is made anew: so much more each time, up to the longest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(3);

impl Life {
    pub(super) fn configure(&self, params: &Params) {
        let mut said = self.said.lock();
        said.params = params.clone().or(std::mem::take(&mut said.params));
    }

    pub(super) fn set_references(&self, references: &References) {
        self.said.lock().references = Some(references.clone());
    }

    pub(super) fn is_open(&self) -> bool {
        self.opened.lock().is_some()
    }

    pub(super) async fn open(&self, context: &Context, mode: Mode) -> Result<()> {
        let _one_at_a_time = self.opening.lock().await;
        if self.is_open() {
            return Ok(());
        }
        let opened = self.resolved(context, mode).await;
        let opened = opened.map_err(|error| traced(error, context))?;
        *self.opened.lock() = Some(Arc::new(opened));
        Ok(())
    }

    async fn resolved(&self, context: &Context, mode: Mode) -> Result<Opened> {
        let (params, references) = {
            let said = self.said.lock();
            (said.params.clone(), said.references.clone())
        };
        let settings = resolve::settings(&params, references.as_ref(), context).await?;
        let builder: Builder<Async> = settings.config.builder()?;
        Ok(Opened {
            core: builder.build_core(mode)?,
            options: settings.options,
        })
    }

    pub(super) async fn close(&self, context: &Context) -> Result<()> {
        let Some(opened) = self.opened.lock().take() else {
            return Ok(());
        };
        let closed = Close::<Async>::new(&opened.core).await;
        closed.map_err(|error| traced(error, context))
    }

    pub(super) async fn store(
        &self,
        context: &Context,
        key: &str,
        value: Result<Option<Vec<u8>>>,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let stored = self.stored(key, value, timeout).await;
        stored.map_err(|error| traced(error, context))
    }

    async fn stored(
        &self,
        key: &str,
        value: Result<Option<Vec<u8>>>,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let opened = self.opened()?;
        let Some(value) = value? else {
            return opened.done(key, &Call::Remove).await.map(drop);
        };
        let ttl = match timeout {
            Some(time) if !time.is_zero() => time.into_ttl()?,
            _ => opened.options.timeout,
        };
        opened.done(key, &Call::Store(value, ttl)).await.map(drop)
    }

    pub(super) async fn retrieve(&self, context: &Context, key: &str) -> Result<Option<Vec<u8>>> {
        self.done(context, key, Call::Retrieve).await
    }

    pub(super) async fn remove(&self, context: &Context, key: &str) -> Result<Option<Vec<u8>>> {
        self.done(context, key, Call::Remove).await
    }

    async fn done(&self, context: &Context, key: &str, call: Call) -> Result<Option<Vec<u8>>> {
        let done = match self.opened() {
            Ok(opened) => opened.done(key, &call).await,
            Err(error) => Err(error),
        };
        done.map_err(|error| traced(error, context))
    }

    fn opened(&self) -> Result<Arc<Opened>> {
        let opened = self.opened.lock().clone();
        opened.ok_or_else(|| Error::new(ErrorKind::NotOpen, "open it before it is used"))
    }

    pub(super) fn describe(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let said = self.said.lock();
        f.debug_struct(name)
            .field("params", &said.params)
            .field("references", &said.references)
            .field("opened", &*self.opened.lock())
            .finish()
    }
}

/// What is done with a key.
enum Call {
    Store(Vec<u8>, Ttl),
    Retrieve,
    Remove,
}

impl Opened {
    /// The call, and again while it finds no server: as often as `retries` says.
    async fn done(&self, key: &str, call: &Call) -> Result<Option<Vec<u8>>> {
        let mut retried = 0;
        loop {
            match self.once(key.as_bytes(), call).await {
                Err(error)
                    if retried < self.options.retries
                        && matches!(error.kind(), ErrorKind::Connect | ErrorKind::Timeout)
                        // With the breaker open nobody waits for the server.
                        && self.core.stats().breaker == BreakerState::Closed =>
                {
                    retried += 1;
                    tracing::debug!(%error, retried, "a component's call is made anew");
                    let pause = (PAUSE * retried).min(LONGEST);
                    self.core.runtime().sleep(pause).await;
                }
                outcome => return Ok(outcome?.map(|Raw(bytes)| bytes)),
            }
        }
    }

    async fn once(&self, key: &[u8], call: &Call) -> Result<Option<Raw>> {
        let core = &self.core;
        match (call, self.options.max_size) {
            (Call::Retrieve, _) => Get::<Raw>::new(core, key).await,
            (Call::Remove, 0) => verbs::take::<Raw, Async>(core, key).await,
            (Call::Remove, _) => remove_bounded::<Async>(core, key).await,
            (Call::Store(value, ttl), 0) => {
                let value = Raw(value);
                let set = Set::<_, Async>::new(core, key, &value).ttl(*ttl);
                set.await.map(|()| None)
            }
            (Call::Store(value, ttl), most) => {
                let store = store_bounded::<Async>(core, key, value, *ttl, most);
                store.await.map(|()| None)
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
