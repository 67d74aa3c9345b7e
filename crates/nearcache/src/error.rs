//! Errors: what went wrong, and what to do about it.
//!
//! There is one opaque [`Error`] with an [`ErrorKind`] to match on. Its message says what failed, on which host, for
//! which key, and what to change. The underlying error is available through [`std::error::Error::source`]. An error
//! never contains credentials: no constructor here takes any.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::keyspace::{Key, Redacted, StoredKey, in_message};

mod chain;
mod denied;

pub(crate) use chain::boxed;

/// The result of every call that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error of the application's own loader or serializer. Every [`std::error::Error`] converts into it.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Keys of so many bytes or more are looked for in the texts of others, if messages show no keys.
const QUOTED: usize = 8;

/// What went wrong, to match on.
///
/// There are three groups: the server or the connection to it ([`Connect`](ErrorKind::Connect) to
/// [`Server`](ErrorKind::Server)), the data ([`Codec`](ErrorKind::Codec) to [`TooLarge`](ErrorKind::TooLarge)), and the
/// call itself (the rest).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No connection could be made, or it broke: the host is unknown, or the server refused or closed the connection.
    Connect,
    /// The server refused the user or the password, or the application's
    /// [`CredentialsProvider`](crate::CredentialsProvider) gave none.
    Auth,
    /// The server does not permit this user the command, the key or the channel (`NOPERM`). The message has the rule of
    /// `ACL SETUSER` that permits it.
    Denied,
    /// Redis did not answer within the call's timeout: a write may or may not have happened. Or `close` did not wait any
    /// longer.
    Timeout,
    /// Redis is reachable, but cannot serve the call: it is loading its data, is a read-only replica, is out of memory,
    /// or has no primary. Or the circuit breaker is open.
    Unavailable,
    /// All connections of a blocking cache were in use for as long as the call may take. It says nothing about Redis:
    /// `pool_size` is too small for so many threads, or their calls are slow.
    PoolExhausted,
    /// Redis answered with an error that no other kind describes.
    Server,
    /// Redis sent a reply that this command never gets.
    Protocol,
    /// A value could not be encoded, or stored bytes could not be decoded.
    Codec,
    /// The key holds another Redis type (a list, a hash, ...) than the command works on.
    WrongType,
    /// A counter holds something that is not a 64-bit integer.
    NotInteger,
    /// A counter would leave the range of a 64-bit integer.
    Overflow,
    /// A key or a value is larger than Redis accepts.
    TooLarge,
    /// A key is empty, too long, or reserved for nearcache.
    InvalidKey,
    /// A TTL is zero, negative, too large, or not in a known form.
    InvalidTtl,
    /// The URL cannot be parsed, or has an unknown option.
    InvalidUrl,
    /// An option has a value outside its range, or two options contradict each other.
    InvalidConfig,
    /// The call would affect more than its caller probably meant, and was not carried out.
    Refused,
    /// The loader failed or panicked: [`Error::downcast_ref`] returns its own error.
    Loader,
    /// `max_loads` loads are running, and none of them ended while the call waited. Or `replace` gave up, because other
    /// callers changed the entry each time that it was to be replaced.
    Overloaded,
    /// The cache was closed.
    Closed,
    /// A component was called before it was opened, or after it was closed.
    NotOpen,
    /// A component has no setting that says where its server is.
    NoConnection,
    /// Something that a component refers to (a discovery service, a credential store, a key in one) does not exist.
    Unresolved,
}

impl ErrorKind {
    /// The kind in words, which begins every message.
    fn words(self) -> &'static str {
        match self {
            ErrorKind::Connect => "cannot reach Redis",
            ErrorKind::Auth => "Redis refused the credentials",
            ErrorKind::Denied => "Redis denies this user the command, the key or the channel",
            ErrorKind::Timeout => "Redis did not answer in time",
            ErrorKind::Unavailable => "Redis is not serving",
            ErrorKind::PoolExhausted => "all connections are in use",
            ErrorKind::Server => "Redis answered with an error",
            ErrorKind::Protocol => "Redis gave an answer that makes no sense here",
            ErrorKind::Codec => "the value cannot be encoded or decoded",
            ErrorKind::WrongType => "the key holds another Redis type",
            ErrorKind::NotInteger => "the value is not a 64-bit integer",
            ErrorKind::Overflow => "the counter would overflow",
            ErrorKind::TooLarge => "too large",
            ErrorKind::InvalidKey => "invalid key",
            ErrorKind::InvalidTtl => "invalid TTL",
            ErrorKind::InvalidUrl => "invalid URL",
            ErrorKind::InvalidConfig => "invalid configuration",
            ErrorKind::Refused => "refused",
            ErrorKind::Loader => "the loader failed",
            ErrorKind::Overloaded => "too many loads at a time",
            ErrorKind::Closed => "the cache is closed",
            ErrorKind::NotOpen => "the component is not open",
            ErrorKind::NoConnection => "no connection is configured",
            ErrorKind::Unresolved => "a reference cannot be resolved",
        }
    }

    /// The kind's name in metrics and traces: `timeout`, `wrong_type`, ...
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Connect => "connect",
            ErrorKind::Auth => "auth",
            ErrorKind::Denied => "denied",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::PoolExhausted => "pool_exhausted",
            ErrorKind::Server => "server",
            ErrorKind::Protocol => "protocol",
            ErrorKind::Codec => "codec",
            ErrorKind::WrongType => "wrong_type",
            ErrorKind::NotInteger => "not_integer",
            ErrorKind::Overflow => "overflow",
            ErrorKind::TooLarge => "too_large",
            ErrorKind::InvalidKey => "invalid_key",
            ErrorKind::InvalidTtl => "invalid_ttl",
            ErrorKind::InvalidUrl => "invalid_url",
            ErrorKind::InvalidConfig => "invalid_config",
            ErrorKind::Refused => "refused",
            ErrorKind::Loader => "loader",
            ErrorKind::Overloaded => "overloaded",
            ErrorKind::Closed => "closed",
            ErrorKind::NotOpen => "not_open",
            ErrorKind::NoConnection => "no_connection",
            ErrorKind::Unresolved => "unresolved",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// Why a call failed. Cheap to clone, so that one failure can be given to every waiting caller.
///
/// ```
/// use nearcache::{Cache, ErrorKind};
///
/// let error = Cache::open("redis://localhost:6379/0?timout=1s").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidUrl);
/// println!("{error}"); // points at `timout`, and lists the allowed options
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    detail: Cow<'static, str>,
    host: Option<Arc<str>>,
    key: Option<Key>,
    /// Whether the message shows a hash in place of the key.
    redact: bool,
    /// The caller's trace id.
    trace: Option<Arc<str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    /// What the message begins with, in place of the kind's words.
    words: Option<&'static str>,
    deferred: bool,
    /// Not sent, because the server is not the one that the caller knew.
    outdated: bool,
    /// The failure of a connect that another call has told of.
    echo: bool,
}

/// The codes of errors that stand in the place of a reply. No server has such ones.
#[cfg(feature = "cluster")]
const AS_REPLY: [(ErrorKind, &str); 7] = [
    (ErrorKind::Auth, "#AUTH"),
    (ErrorKind::Connect, "#CONNECT"),
    (ErrorKind::InvalidConfig, "#CONFIG"),
    (ErrorKind::PoolExhausted, "#POOL"),
    (ErrorKind::Protocol, "#PROTOCOL"),
    (ErrorKind::Timeout, "#TIMEOUT"),
    (ErrorKind::Unavailable, "#UNAVAILABLE"),
];

impl Error {
    /// What to say of a node of a cluster.
    pub(crate) const CLUSTER: &str =
        "this is a node of a Redis Cluster, so write redis-cluster:// in the URL";

    /// An option of nearcache-tower is not valid.
    #[doc(hidden)]
    pub fn __invalid_config(detail: impl Into<Cow<'static, str>>) -> Self {
        Error::new(ErrorKind::InvalidConfig, detail)
    }

    pub(crate) fn new(kind: ErrorKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Error(Arc::new(Inner {
            kind,
            detail: detail.into(),
            host: None,
            key: None,
            redact: false,
            trace: None,
            source: None,
            words: None,
            deferred: false,
            outdated: false,
            echo: false,
        }))
    }

    /// What went wrong, to match on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What failed, in words.
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The server the call was for, as `host:port` or the socket's path.
    pub fn host(&self) -> Option<&str> {
        self.0.host.as_deref()
    }

    /// The key the call was for, without the prefix; whatever the message shows
    /// ([`Builder::redact_keys`](crate::Builder::redact_keys)).
    pub fn key(&self) -> Option<&Key> {
        self.0.key.as_ref()
    }

    /// The trace id of the call, as given by the caller of a component.
    pub fn trace_id(&self) -> Option<&str> {
        self.0.trace.as_deref()
    }

    /// Whether a failed invalidation is kept in the outbox. Once Redis answers again, it is sent before any command of
    /// this process about the same keys or tags. (A `set` is kept as the deletion of its key.) Until then, other processes may still get the invalidated
    /// value.
    pub fn is_deferred(&self) -> bool {
        self.0.deferred
    }

    /// The loader's own error, or another underlying one, if it is of type `E`: the first in the chain of
    /// [sources](StdError::source). It is also found inside an [`Arc`], a [`Box`] or a [`std::io::Error`], and inside
    /// an `anyhow::Error` (feature `anyhow`, on by default) or an `eyre::Report` (feature `eyre`) of the loader, also if
    /// it is the `context` there. To get the loader's own type from the call, see
    /// [`own_error`](crate::operation::Remember::own_error).
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// let failed = cache
    ///     .remember("page", || async { Err::<String, _>(std::io::Error::other("no disk")) })
    ///     .await
    ///     .unwrap_err();
    /// assert!(failed.downcast_ref::<std::io::Error>().is_some());
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    pub fn downcast_ref<E: StdError + Send + Sync + 'static>(&self) -> Option<&E> {
        chain::find(self.source())
    }

    /// Keys of a Cluster that one command names are in several slots.
    pub(crate) fn in_several_slots() -> Self {
        Error::new(
            ErrorKind::InvalidKey,
            "CROSSSLOT these keys are in several slots of the Cluster, so nothing can be done with them together; give \
             them one hash tag, as in {user:1}:name and {user:1}:mail",
        )
    }

    /// What the server said, as it said it: code and detail.
    #[cfg(feature = "cluster")]
    pub(crate) fn said(&self) -> Option<&str> {
        self.detail().rsplit("it said: ").next()
    }

    /// This error in the place of a reply among others, if only some of several servers failed. Reading the reply
    /// with [`from_server`](Error::from_server) gives the error again.
    #[cfg(feature = "cluster")]
    pub(crate) fn as_reply(&self) -> redis::Value {
        let host = self
            .host()
            .map(|host| format!("{host}: "))
            .unwrap_or_default();
        let code = AS_REPLY.iter().find(|(kind, _)| *kind == self.kind());
        let (code, detail) = match code {
            Some((_, code)) => (*code, format!("{host}{}", self.detail())),
            // An error reply already.
            None => self
                .detail()
                .split_once(' ')
                .map_or((self.detail(), String::new()), |(code, detail)| {
                    (code, detail.to_owned())
                }),
        };
        let reply = redis::make_extension_error(code.to_owned(), Some(detail));
        match redis::ServerError::try_from(reply) {
            Ok(reply) => redis::Value::ServerError(reply),
            Err(_) => redis::Value::Nil,
        }
    }

    /// The command was not sent, because its connection leads to another server than its caller knew. The outbox must
    /// be sent first. Users never see this error.
    pub(crate) fn outdated() -> Self {
        Error::new(
            ErrorKind::Unavailable,
            "Redis is another server than before",
        )
        .with(|inner| inner.outdated = true)
    }

    pub(crate) fn is_outdated(&self) -> bool {
        self.0.outdated
    }

    /// The call waited for a connect together with others, and one of those has told of its failure: it is one failure.
    pub(crate) fn into_echo(self) -> Self {
        self.with(|inner| inner.echo = true)
    }

    pub(crate) fn is_echo(&self) -> bool {
        self.0.echo
    }

    pub(crate) fn deferred(self) -> Self {
        self.with(|inner| inner.deferred = true)
    }

    /// A call that took longer than it may, for another reason than that Redis does not answer, which these words say.
    pub(crate) fn too_late(words: &'static str, detail: String) -> Self {
        Error::new(ErrorKind::Timeout, detail).with(|inner| inner.words = Some(words))
    }

    /// The application's provider of credentials gave none.
    pub(crate) fn no_credentials(why: &'static str) -> Self {
        let words = "the credentials provider gave no credentials";
        Error::new(ErrorKind::Auth, why).with(|inner| inner.words = Some(words))
    }

    pub(crate) fn caused_by(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.with(|inner| inner.source = Some(source.into()))
    }

    pub(crate) fn on_host(self, host: &Arc<str>) -> Self {
        if self.0.host.is_some() {
            return self;
        }
        self.with(|inner| inner.host = Some(Arc::clone(host)))
    }

    #[cfg(feature = "component")]
    pub(crate) fn traced(self, trace: &Arc<str>) -> Self {
        self.with(|inner| inner.trace = Some(Arc::clone(trace)))
    }

    /// Names the key that the call was for, unless one is named already.
    pub(crate) fn for_key(self, key: &StoredKey) -> Self {
        self.named(key.user(), key.is_redacted())
    }

    /// The same by the user's form of a key.
    pub(crate) fn named(self, key: &[u8], redact: bool) -> Self {
        if self.0.key.is_some() {
            return self.redacted(redact);
        }
        self.with(|inner| {
            inner.key = Some(Key::from(key));
            inner.redact = redact;
        })
    }

    /// Shows a hash in place of the key, if `redact`.
    pub(crate) fn redacted(self, redact: bool) -> Self {
        if !redact || self.0.redact || self.0.key.is_none() {
            return self;
        }
        self.with(|inner| inner.redact = true)
    }

    /// Changes an error. If others hold it too (such as a shared connect error), it is copied, and the copy holds the
    /// shared one for its source.
    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        if Arc::get_mut(&mut self.0).is_none() {
            let shared = self.clone();
            self = Error(Arc::new(Inner {
                kind: shared.0.kind,
                detail: shared.0.detail.clone(),
                host: shared.0.host.clone(),
                key: shared.0.key.clone(),
                redact: shared.0.redact,
                trace: shared.0.trace.clone(),
                words: shared.0.words,
                deferred: shared.0.deferred,
                outdated: shared.0.outdated,
                echo: shared.0.echo,
                source: shared
                    .0
                    .source
                    .is_some()
                    .then(|| Box::new(Held(shared)) as Box<_>),
            }));
        }
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            change(inner);
        }
        self
    }

    /// An error reply of a server, classified by its code.
    pub(crate) fn from_server(error: &redis::ServerError) -> Self {
        // A server that does not know a command quotes its arguments, which may include the password of a handshake.
        let detail = error.details().unwrap_or_default();
        let detail = detail
            .split(", with args beginning with")
            .next()
            .unwrap_or_default();
        #[cfg(feature = "cluster")]
        if let Some((kind, _)) = AS_REPLY.iter().find(|(_, code)| *code == error.code()) {
            return Error::new(*kind, detail.to_owned());
        }
        let (code, detail) = match error.code() {
            // `EXEC` itself was refused: its reason follows.
            "EXECABORT" => match detail.split_once("because of: NOPERM ") {
                Some((_, why)) => ("NOPERM", why),
                None => ("EXECABORT", detail),
            },
            "ERR" => within_script(detail).unwrap_or(("ERR", detail)),
            code => (code, detail),
        };
        if let Some(detail) = denied::explained(code, detail) {
            return Error::new(ErrorKind::Denied, detail);
        }
        let kind = match code {
            "WRONGTYPE" => ErrorKind::WrongType,
            "NOAUTH" | "WRONGPASS" => ErrorKind::Auth,
            "NOPERM" => ErrorKind::Denied,
            "LOADING" | "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "OOM" | "BUSY" | "TRYAGAIN"
            | "MISCONF" | "NOREPLICAS" => ErrorKind::Unavailable,
            // A node of a cluster, or a Sentinel, whose INFO this user may not ask.
            "CROSSSLOT" => return Error::in_several_slots(),
            "MOVED" | "ASK" => {
                let why = format!("{}; it said: {code} {detail}", Self::CLUSTER);
                return Error::new(ErrorKind::InvalidConfig, why);
            }
            "ERR" if unknown(detail, &["GET", "SET"]) => {
                let why = format!(
                    "this server has no keys; if it is a Sentinel, give the address of the primary; it said: ERR {detail}"
                );
                return Error::new(ErrorKind::InvalidConfig, why);
            }
            // A refused connection: the answer to a handshake, before the server closes the connection.
            "ERR" if detail.contains("max number of clients") => ErrorKind::Connect,
            "ERR" if detail.contains("is not an integer") => ErrorKind::NotInteger,
            "ERR" if detail.contains("would overflow") => ErrorKind::Overflow,
            // The messages of servers before 6 for a wrong or missing password.
            "ERR"
                if detail.contains("invalid password")
                    || detail.starts_with("AUTH ")
                    || detail.starts_with("Client sent AUTH") =>
            {
                ErrorKind::Auth
            }
            _ => ErrorKind::Server,
        };
        Error::new(kind, format!("{code} {detail}").trim_end().to_owned())
    }

    /// An error of the redis crate: of the connection, or an error reply of the server.
    pub(crate) fn from_redis(error: redis::RedisError) -> Self {
        if let (redis::ErrorKind::Server(_) | redis::ErrorKind::Extension, Some(code)) =
            (error.kind(), error.code())
        {
            let line = format!("-{code} {}\r\n", error.detail().unwrap_or_default());
            if let Ok(redis::Value::ServerError(error)) = redis::parse_redis_value(line.as_bytes())
            {
                return Error::from_server(&error);
            }
        }
        let kind = match error.kind() {
            redis::ErrorKind::AuthenticationFailed => ErrorKind::Auth,
            // A truncated reply means a lost connection, although redis-rs calls it a parse error.
            redis::ErrorKind::Parse if error.to_string().contains("end of input") => {
                ErrorKind::Connect
            }
            redis::ErrorKind::Parse | redis::ErrorKind::UnexpectedReturnType => ErrorKind::Protocol,
            redis::ErrorKind::InvalidClientConfig => ErrorKind::InvalidConfig,
            _ if error.is_timeout() => ErrorKind::Timeout,
            redis::ErrorKind::Io => ErrorKind::Connect,
            _ if error.is_unrecoverable_error() => ErrorKind::Connect,
            _ => ErrorKind::Server,
        };
        if kind == ErrorKind::Server {
            // A refused handshake, in redis-rs's words. What the server quotes is removed.
            let text = error.to_string();
            let text = text
                .split(", with args beginning with")
                .next()
                .unwrap_or_default();
            return Error::new(kind, text.to_owned());
        }
        // A server's message about credentials may quote the user, never the password.
        Error::new(kind, with_advice(error.to_string())).caused_by(error)
    }

    #[cfg(feature = "blocking")]
    pub(crate) fn io(error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => ErrorKind::Timeout,
            _ => ErrorKind::Connect,
        };
        Error::new(kind, with_advice(error.to_string())).caused_by(error)
    }

    pub(crate) fn no_runtime() -> Self {
        Error::new(
            ErrorKind::InvalidConfig,
            "an async cache is called from within a tokio runtime; without one, use nearcache::blocking",
        )
    }

    pub(crate) fn closed() -> Self {
        Error::new(
            ErrorKind::Closed,
            "open another one with the same URL; the data is untouched",
        )
    }

    pub(crate) fn unexpected(command: &str, value: &redis::Value) -> Self {
        let shape = match value {
            redis::Value::Nil => "nil",
            redis::Value::Int(_) => "an integer",
            redis::Value::BulkString(_) => "a string",
            redis::Value::Array(_) => "an array",
            redis::Value::SimpleString(_) | redis::Value::Okay => "a status",
            redis::Value::Map(_) => "a map",
            _ => "another type",
        };
        Error::new(
            ErrorKind::Protocol,
            format!("{command} was answered with {shape}"),
        )
    }
}

/// Whether the server does not know one of these commands. (Servers quote the name in several ways.)
fn unknown(detail: &str, commands: &[&str]) -> bool {
    let name = detail.strip_prefix("unknown command ").unwrap_or_default();
    let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    commands.contains(&name)
}

/// The error of a command that a script called, as its code and the rest. Servers before Redis 7 wrap it:
/// `Error running script (call to f_...): @user_script:5: @user_script: 5: -OOM command not allowed ...`.
fn within_script(detail: &str) -> Option<(&str, &str)> {
    let (_, mut rest) = detail
        .strip_prefix("Error running script")?
        .split_once("): ")?;
    while let Some(line) = rest.trim_start_matches('@').strip_prefix("user_script:") {
        rest = line.trim_start().split_once(": ")?.1;
    }
    let error = rest.trim_start_matches('-');
    let (code, detail) = error.split_once(' ').unwrap_or((error, ""));
    let is_code = code.len() > 1 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    is_code.then_some((code, detail))
}

/// Adds advice if the connection was refused.
fn with_advice(mut text: String) -> String {
    if text.contains("refused") {
        text.push_str("; is Redis running there?");
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            kind,
            detail,
            host,
            key,
            redact,
            trace,
            source: _,
            words,
            deferred,
            outdated: _,
            echo: _,
        } = &*self.0;
        f.write_str(words.unwrap_or_else(|| kind.words()))?;
        if let Some(host) = host {
            write!(f, " at {host}")?;
        }
        if let Some(key) = key {
            let key = in_message(key.as_bytes(), *redact);
            write!(f, ", key {key:?}")?;
        }
        match key.as_ref().and_then(Key::as_str).filter(|_| *redact) {
            _ if detail.is_empty() => {}
            // A server, or a loader, may name the key as well. (A short one is as well a word of the text.)
            Some(key) if key.len() >= QUOTED && detail.contains(key) => {
                let hash = Redacted(key.as_bytes()).to_string();
                write!(f, ": {}", detail.replace(key, &hash))?;
            }
            _ => write!(f, ": {detail}")?,
        }
        if let Some(trace) = trace {
            write!(f, "; trace id {}", trace.escape_debug())?;
        }
        if *deferred {
            f.write_str("; the invalidation is kept, and is sent first when Redis is back")?;
        }
        Ok(())
    }
}

/// The error that a copy was made of. It is not in the copy's chain of sources, because it says the same, and without
/// what was changed: it may show a key that the copy does not.
#[derive(Debug)]
struct Held(Error);

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Held {}

/// The kind and the message in readable form, because `unwrap`, and a `main` that returns a `Result`, print this.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source: &(dyn StdError + 'static) = self.0.source.as_deref()?;
        match source.downcast_ref::<Held>() {
            Some(Held(original)) => original.source(),
            None => Some(source),
        }
    }
}

#[cfg(test)]
mod tests;
