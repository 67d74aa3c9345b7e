//! Verbs that wait for an element: a command that blocks, on a connection of its own.
//!
//! 1. The command may take as long as the caller waits, plus the timeout.
//! 2. A caller that goes away loses no element: the wait is ended (`CLIENT UNBLOCK`), and an element that had come by
//!    then is put back where it was.
//!
//! Each wait opens a connection and closes it. A kept one would save two round trips of a call that is meant to take
//! long, and may have died unnoticed: a pop over it could take an element that never arrives.
//!
//! No load is fenced here. A load stores only over what it has found (see `read_through::lease`), and a list or a
//! sorted set is never that.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::ready;

use redis::{Cmd, Value};

use super::handle::Handle;
use crate::cache::operation::Pending;
use crate::client::{Client, reply};
use crate::connect::BoxFuture;
use crate::error::Result;
use crate::hooks::CallKeys;
use crate::keyspace::StoredKey;
use crate::ttl::{IntoTtl, Ttl};

/// Makes the command that puts back what a reply has taken.
pub(super) type PutBack = fn(&Value, &Cmd) -> Option<Cmd>;

/// A time to wait, in seconds, as blocking commands take it.
///
/// # Errors
/// `InvalidTtl`.
pub(super) fn seconds(wait: impl IntoTtl) -> Result<String> {
    let millis = wait.into_ttl().map(Ttl::as_millis)?;
    Ok(format!("{}.{:03}", millis / 1_000, millis % 1_000))
}

impl<M> Handle<M> {
    /// A verb whose command waits.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        verb: &'static str,
        command: Result<Cmd>,
        put_back: PutBack,
        parse: impl FnOnce(Value) -> Result<T> + Send + 'static,
    ) -> Pending<'static, T, M> {
        let (core, key) = (self.core().clone(), self.key().clone());
        Pending::new(async move {
            let command = command?;
            core.perform(verb, CallKeys::One(key.as_bytes()), async |core| {
                let client = core.client();
                let key = client.stored(key.as_bytes())?;
                let reply = wait(client, &key, command, put_back).await;
                let reply = reply.map_err(|error| error.on_host(client.host()));
                reply.and_then(parse).map_err(|error| error.for_key(&key))
            })
            .await
        })
    }
}

/// A wait that has not ended.
struct Waiting {
    client: Client,
    /// It waits at this key's server.
    key: StoredKey,
    asked: Option<BoxFuture<'static, Result<Value>>>,
    command: Cmd,
    put_back: PutBack,
    /// The id of the connection that waits; 0 before it is known, -1 if nobody waits for it any more.
    id: Arc<AtomicI64>,
}

const GONE: i64 = -1;

async fn wait(client: &Client, key: &StoredKey, command: Cmd, put_back: PutBack) -> Result<Value> {
    let id = Arc::new(AtomicI64::new(0));
    let asked = ask(
        client.clone(),
        key.clone(),
        command.clone(),
        Arc::clone(&id),
    );
    let mut waiting = Waiting {
        client: client.clone(),
        key: key.clone(),
        asked: Some(Box::pin(asked)),
        command,
        put_back,
        id,
    };
    poll_fn(|context| {
        let Some(asked) = &mut waiting.asked else {
            return std::task::Poll::Pending; // polled after completion, which `.await` never does
        };
        let reply = ready!(asked.as_mut().poll(context));
        waiting.asked = None;
        std::task::Poll::Ready(reply)
    })
    .await
}

async fn ask(client: Client, key: StoredKey, command: Cmd, id: Arc<AtomicI64>) -> Result<Value> {
    let mut connection = {
        // The wait itself does not hold a `close` up.
        let pass = client.enter()?;
        pass.guarded().alone(key.as_bytes(), client.limit()).await?
    };
    if !connection.is_blocking() {
        // Without it, the wait of a caller that goes away ends by itself.
        let asked = connection.request(redis::cmd("CLIENT").arg("ID")).await;
        let mine = asked.and_then(|reply| reply::integer("CLIENT ID", &reply));
        let known = id.compare_exchange(0, mine.unwrap_or(0), Ordering::SeqCst, Ordering::SeqCst);
        if known.is_err() {
            return Ok(Value::Nil);
        }
    }
    connection.request(&command).await
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(asked) = self.asked.take() else {
            return;
        };
        let (client, command, put_back) =
            (self.client.clone(), self.command.clone(), self.put_back);
        let key = self.key.clone();
        let id = self.id.swap(GONE, Ordering::SeqCst);
        let runtime = client.runtime().clone();
        let rescue = async move {
            let (guarded, limit) = (client.guarded(), client.limit());
            if id > 0 {
                let mut unblock = redis::cmd("CLIENT");
                unblock.arg("UNBLOCK").arg(id);
                if let Err(error) = guarded.beside(key.as_bytes(), &unblock, limit).await {
                    tracing::debug!(%error, "a wait that nobody waits for ends by itself");
                }
            }
            let Ok(reply) = asked.await else { return };
            if let Some(back) = put_back(&reply, &command)
                && let Err(error) = guarded.request(&back, limit).await
            {
                tracing::warn!(%error, "an element that was taken for a caller who went away could not be put back");
            }
        };
        if let Err(error) = runtime.try_detach_as("nearcache-wait", rescue) {
            tracing::debug!(%error, "a wait was given up without a runtime");
        }
    }
}
