//! What a call returns when Redis does not answer.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::error::{Error, ErrorKind};
use crate::keyspace::{Key, in_message};

/// What `get`, `lookup` and `get_many` return when Redis does not answer: it is away, silent, or the circuit breaker is
/// open. Writes and all other calls fail with an error, except those that a function ([`Fallback::call`]) answers.
///
/// `remember` runs its loader when Redis does not answer, whatever the fallback. Only a function's value, or a last
/// value for a loader that fails ([`Stale`](Fallback::Stale)), takes the loader's place.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Fallback {
    /// The error. This is the default: going on without a cache is a choice of the caller.
    #[default]
    Error,
    /// A miss, so that the caller reads from its source.
    Miss,
    /// The last value that this process read, or stored with `remember`, however old it is; a miss if there is none.
    /// For this, up to 10,000 values (64 MiB) are kept in memory. Values that this process has invalidated since are
    /// not among them; values that other processes have invalidated may be.
    Stale,
    /// What this function says: see [`Fallback::call`].
    Call(Arc<Answer>),
}

/// The function of [`Fallback::Call`].
type Answer = dyn Fn(&Outage<'_>) -> Instead + Send + Sync;

/// What a function ([`Fallback::call`]) says instead of Redis. An `Option` of bytes converts into it: a value, or a
/// miss.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Instead {
    /// A read returns this value: its bytes as they would be in Redis (`b"42"`, `b"null"` for a cached nothing); see
    /// [`Instead::value`]. `remember` returns it, too, and does not run its loader. To a write the value means nothing,
    /// and the write counts as [`Done`](Instead::Done).
    Value(Vec<u8>),
    /// A read is a miss, and `remember` runs its loader. A write fails with the error.
    Miss,
    /// A write counts as done, with the result for "nothing to do" (`false`, 0). If it is an invalidation, it is still
    /// kept for Redis ([`Error::is_deferred`]). A read is a miss, and `remember` runs its loader.
    Done,
    /// The error: of a read and of a write. `remember` runs its loader all the same.
    Error,
}

impl Instead {
    /// This value, as JSON: whatever serde can write, and `None` for a cached nothing. It is read as an entry of the
    /// cache is; a read of another type is a miss. For a text that is read as [`Text`](crate::Text), give
    /// [`Instead::Value`] its bytes. A value that JSON cannot represent (a map with keys that are no text) is
    /// [`Instead::Error`].
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// use std::collections::HashMap;
    /// use nearcache::{Cache, Fallback, Instead};
    ///
    /// let no_server_here = "redis://127.0.0.1:1";
    /// let cache = Cache::builder(no_server_here)
    ///     .on_unavailable(Fallback::call(|_| Instead::value(&HashMap::from([("from", "local_cache")]))))
    ///     .build()?;
    /// let user: Option<HashMap<String, String>> = cache.get("user:1").await?;
    /// assert_eq!(user.unwrap()["from"], "local_cache");
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn value<T: Serialize + ?Sized>(value: &T) -> Instead {
        match serde_json::to_vec(value) {
            Ok(bytes) => Instead::Value(bytes),
            Err(error) => {
                tracing::debug!(%error, "the value of a fallback cannot be written as JSON");
                Instead::Error
            }
        }
    }
}

impl From<Option<Vec<u8>>> for Instead {
    fn from(value: Option<Vec<u8>>) -> Self {
        value.map_or(Instead::Miss, Instead::Value)
    }
}

impl Fallback {
    /// A function that is asked when Redis does not answer. It knows the operation and the key, and says what to return
    /// ([`Instead`]). It is asked once for each key, and must be quick.
    ///
    /// It is asked by `get`, `lookup` and `get_many`; by `remember` and `remember_many` (before their loader runs); and
    /// by the writes `set`, `add`, `replace`, `set_many`, `delete`, `delete_many` and `invalidate_tag`, which it may
    /// let pass as done ([`Outage::is_write`]). A write of many keys passes if it says [`Done`](Instead::Done), or a
    /// value, for each of them. All other calls (`ttl`, `expire`, `keys`, `delete_pattern`, …) fail with the error.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// use nearcache::{Cache, Fallback, Instead};
    ///
    /// let no_server_here = "redis://127.0.0.1:1";
    /// let fallback = Fallback::call(|outage| match outage.command {
    ///     "set" | "delete" => Instead::Done, // the cache may miss a write
    ///     _ if outage.key == "answer" => Instead::Value(b"42".to_vec()),
    ///     _ => Instead::Miss,
    /// });
    /// let cache = Cache::builder(no_server_here).on_unavailable(fallback).build()?;
    /// assert_eq!(cache.get("answer").await?, Some(42));
    /// assert_eq!(cache.get::<u8>("question").await?, None);
    /// cache.set("question", 7).await?;
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn call<I: Into<Instead>>(f: impl Fn(&Outage<'_>) -> I + Send + Sync + 'static) -> Self {
        Fallback::Call(Arc::new(move |outage| f(outage).into()))
    }

    /// What the function says, if this is one and it applies to this error.
    pub(crate) fn ask(
        &self,
        command: &'static str,
        key: &[u8],
        redact: bool,
        error: &Error,
    ) -> Option<Instead> {
        let Fallback::Call(answer) = self else {
            return None;
        };
        Fallback::covers(error).then(|| {
            answer(&Outage {
                command,
                key: &Key::from(key),
                error,
                redact,
            })
        })
    }

    /// Whether the function lets a failed write pass as done.
    pub(crate) fn lets_pass<'k>(
        &self,
        command: &'static str,
        mut keys: impl Iterator<Item = &'k [u8]>,
        redact: bool,
        error: &Error,
    ) -> bool {
        matches!(self, Fallback::Call(_))
            && WRITES.contains(&command)
            && keys.all(|key| {
                let instead = self.ask(command, key, redact, error);
                matches!(instead, Some(Instead::Done | Instead::Value(_)))
            })
    }

    /// Whether fallbacks apply to this error: to whatever Redis answers, or does not, and not to what the caller did
    /// wrong.
    pub(crate) fn covers(error: &Error) -> bool {
        match error.kind() {
            ErrorKind::Connect
            | ErrorKind::Auth
            | ErrorKind::Denied
            | ErrorKind::Timeout
            | ErrorKind::Unavailable
            | ErrorKind::PoolExhausted
            | ErrorKind::Server
            | ErrorKind::Protocol
            | ErrorKind::WrongType
            | ErrorKind::NotInteger
            | ErrorKind::Overflow => true,
            // The server is another one than the URL says, a node of a Cluster for example, or takes less than others.
            // Without a host it is an option, a key or a value of the caller's.
            ErrorKind::InvalidConfig | ErrorKind::InvalidKey | ErrorKind::TooLarge => {
                error.host().is_some()
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fallback::Error => "Error",
            Fallback::Miss => "Miss",
            Fallback::Stale => "Stale",
            Fallback::Call(_) => "Call(..)",
        })
    }
}

/// The writes that a function may let pass. The others return what their caller goes on with (`take`, `incr`), or
/// affect more than is known (`clear`, `delete_pattern`).
const WRITES: [&str; 9] = [
    "add",
    "delete",
    "delete_many",
    "invalidate_tags",
    "mark_stale",
    "mark_tags_stale",
    "replace",
    "set",
    "set_many",
];

/// The argument of a fallback function.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Outage<'o> {
    /// The operation: `get` (also for `lookup` and `get_arc`), `get_many`, `remember` or `remember_many`; or the write:
    /// `set`, `add`, `replace`, `set_many`, `delete`, `delete_many`, `invalidate_tags`, `mark_stale` or
    /// `mark_tags_stale`.
    pub command: &'static str,
    /// The key, without the prefix. (For `invalidate_tags` and `mark_tags_stale` it is the tag.)
    pub key: &'o Key,
    /// Why Redis did not answer.
    pub error: &'o Error,
    redact: bool,
}

impl Outage<'_> {
    /// Whether the call is a write: for a function that lets all of them pass.
    ///
    /// ```
    /// use nearcache::{Fallback, Instead};
    ///
    /// let fallback = Fallback::call(|outage| match outage.is_write() {
    ///     true => Instead::Done,
    ///     false => Instead::Miss,
    /// });
    /// ```
    pub fn is_write(&self) -> bool {
        WRITES.contains(&self.command)
    }
}

impl fmt::Debug for Outage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outage")
            .field("command", &self.command)
            .field("key", &in_message(self.key.as_bytes(), self.redact))
            .field("error", &self.error)
            .finish()
    }
}
