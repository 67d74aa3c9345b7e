//! Where a cache lives, and as whom it goes there: what two caches must have in common to share a
//! connection.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The port of Redis and Valkey.
pub(crate) const PORT: u16 = 6379;

/// How many connections blocking callers open at most, unless something else is asked for.
pub(crate) const POOL_SIZE: usize = 16;

/// The place behind a URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// In this process. A store without a name belongs to the cache that opened it.
    Embedded { name: Option<String> },
    /// A server over TCP.
    Tcp { host: String, port: u16 },
    /// A server over a unix socket.
    Unix { path: PathBuf },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Embedded { name: Some(name) } => write!(f, "memory://{name}"),
            Place::Embedded { name: None } => f.write_str("memory://"),
            Place::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Place::Tcp { host, port } => write!(f, "{host}:{port}"),
            Place::Unix { path } => write!(f, "{}", path.display()),
        }
    }
}

/// What the URL says of how much an embedded store may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bounds {
    /// In bytes; 0 is any amount.
    pub(crate) maxmemory: Option<u64>,
    pub(crate) policy: Option<&'static str>,
}

/// The version of the protocol between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// RESP2, which every server speaks.
    Resp2,
    /// RESP3, from Redis 6 on.
    Resp3,
}

impl From<Protocol> for redis::ProtocolVersion {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Resp2 => redis::ProtocolVersion::RESP2,
            Protocol::Resp3 => redis::ProtocolVersion::RESP3,
        }
    }
}

/// A place and an identity. Equal targets share one connection per runtime.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) db: u32,
    /// `None`: RESP3, or RESP2 where the server does not know it.
    pub(crate) protocol: Option<Protocol>,
    pub(crate) client_name: Option<String>,
    /// Of blocking callers, who need a connection each while they wait.
    pub(crate) pool_size: usize,
    /// Whether a server that does not answer is left alone for a while.
    pub(crate) breaker: bool,
    /// Of an embedded store.
    pub(crate) bounds: Bounds,
}

impl Target {
    pub(crate) fn new(place: Place) -> Self {
        Target {
            place,
            username: None,
            password: None,
            db: 0,
            protocol: None,
            client_name: None,
            pool_size: POOL_SIZE,
            breaker: true,
            bounds: Bounds::default(),
        }
    }

    /// The host as messages name it.
    pub(crate) fn host(&self) -> Arc<str> {
        Arc::from(self.place.to_string())
    }

    /// What redis-rs needs for the handshake.
    pub(crate) fn handshake(&self, protocol: Protocol) -> redis::RedisConnectionInfo {
        let mut info = redis::RedisConnectionInfo::default()
            .set_db(i64::from(self.db))
            .set_protocol(protocol.into())
            .set_lib_name("nearcache", env!("CARGO_PKG_VERSION"));
        if let Some(username) = &self.username {
            info = info.set_username(username);
        }
        if let Some(password) = &self.password {
            info = info.set_password(password);
        }
        info
    }
}

/// Everything but the password.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target {
            place,
            username,
            password,
            db,
            protocol,
            client_name,
            pool_size,
            breaker,
            bounds,
        } = self;
        f.debug_struct("Target")
            .field("place", &format_args!("{place}"))
            .field("username", username)
            .field("password", &password.as_ref().map(|_| "***"))
            .field("db", db)
            .field("protocol", protocol)
            .field("client_name", client_name)
            .field("pool_size", pool_size)
            .field("breaker", breaker)
            .field("bounds", bounds)
            .finish()
    }
}
