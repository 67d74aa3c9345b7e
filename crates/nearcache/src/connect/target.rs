//! The place of a cache and the user it connects as. Caches with equal targets share a connection.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::ConnectionAddr;

use crate::error::{Error, ErrorKind, Result};

/// The port of Redis and Valkey.
pub(crate) const PORT: u16 = 6379;

/// The default maximum number of connections for blocking callers.
pub(crate) const POOL_SIZE: usize = 16;

/// The place behind a URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// In this process. A store without a name belongs to the cache that opened it.
    Embedded { name: Option<String> },
    /// In this process, and kept in this folder.
    Folder { path: PathBuf },
    /// A server over TCP.
    Tcp { host: String, port: u16 },
    /// A server over a unix socket.
    Unix { path: PathBuf },
}

impl Place {
    /// Whether the store is in this process.
    pub(crate) fn is_embedded(&self) -> bool {
        matches!(self, Place::Embedded { .. } | Place::Folder { .. })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Embedded { name: Some(name) } => write!(f, "memory://{name}"),
            Place::Embedded { name: None } => f.write_str("memory://"),
            Place::Folder { path } => write!(f, "memory://{}", path.display()),
            Place::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Place::Tcp { host, port } => write!(f, "{host}:{port}"),
            Place::Unix { path } => write!(f, "{}", path.display()),
        }
    }
}

/// The settings of an embedded store, as in the URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bounds {
    /// In bytes; 0 means no limit.
    pub(crate) maxmemory: Option<u64>,
    pub(crate) policy: Option<&'static str>,
    /// When a store in a folder is written to the disk.
    pub(crate) appendfsync: Option<&'static str>,
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

impl From<redis::ProtocolVersion> for Protocol {
    fn from(version: redis::ProtocolVersion) -> Self {
        match version {
            redis::ProtocolVersion::RESP2 => Protocol::Resp2,
            _ => Protocol::Resp3,
        }
    }
}

/// A place, a user and the options of the connection. Equal targets share one connection per runtime.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) db: u32,
    /// `None`: RESP3 if the server supports it, else RESP2.
    pub(crate) protocol: Option<Protocol>,
    pub(crate) client_name: Option<String>,
    /// The maximum number of connections for blocking callers. Each uses one while it waits.
    pub(crate) pool_size: usize,
    /// Whether there is a circuit breaker. It is part of the target because it is shared with the connection.
    pub(crate) breaker: bool,
    /// How long connecting may take. `None`: it is a part of the time of the call that connects.
    pub(crate) connect_timeout: Option<Duration>,
    /// The limits of an embedded store.
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
            connect_timeout: None,
            bounds: Bounds::default(),
        }
    }

    /// The same for a connection on which the server sends messages by itself, which RESP2 does not have.
    pub(super) fn for_messages(&self) -> Self {
        Target {
            protocol: Some(Protocol::Resp3),
            ..self.clone()
        }
    }

    /// The place and user of a redis-rs client.
    ///
    /// # Errors
    /// `InvalidConfig` for a client that uses TLS, which is not supported, or a database that cannot exist.
    pub(crate) fn from_client(client: &redis::Client) -> Result<Self> {
        let invalid = |why: String| Error::new(ErrorKind::InvalidConfig, why);
        let info = client.get_connection_info();
        let settings = info.redis_settings();
        let place = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Place::Tcp {
                host: host.clone(),
                port: *port,
            },
            ConnectionAddr::Unix(path) => Place::Unix { path: path.clone() },
            other => {
                return Err(invalid(format!(
                    "the client connects to {other} over TLS, which is not supported yet; create it from a \
                     redis:// URL"
                )));
            }
        };
        Ok(Target {
            username: settings.username().map(str::to_owned),
            password: settings.password().map(str::to_owned),
            db: u32::try_from(settings.db())
                .map_err(|_| invalid(format!("there is no database {}", settings.db())))?,
            protocol: Some(settings.protocol().into()),
            ..Target::new(place)
        })
    }

    /// Checks what a server would refuse only later.
    ///
    /// # Errors
    /// `InvalidConfig` for a client name that `CLIENT SETNAME` refuses.
    pub(crate) fn check(&self) -> Result<()> {
        let refused = |c: char| !c.is_ascii_graphic();
        match &self.client_name {
            Some(name) if name.contains(refused) => Err(Error::new(
                ErrorKind::InvalidConfig,
                format!(
                    "client_name is {name:?}; Redis takes printable ASCII without spaces, as in \"{}\"",
                    name.replace(refused, "-")
                ),
            )),
            _ => Ok(()),
        }
    }

    /// The host, as it appears in messages.
    pub(crate) fn host(&self) -> Arc<str> {
        Arc::from(self.place.to_string())
    }

    /// The settings that redis-rs needs for its part of the handshake: `HELLO` or `AUTH`.
    pub(crate) fn handshake(&self, protocol: Protocol) -> redis::RedisConnectionInfo {
        let mut info = redis::RedisConnectionInfo::default()
            .set_protocol(protocol.into())
            .set_skip_set_lib_name();
        if let Some(username) = &self.username {
            info = info.set_username(username);
        }
        if let Some(password) = &self.password {
            info = info.set_password(password);
        }
        info
    }
}

/// Everything except the password.
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
            connect_timeout,
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
            .field("connect_timeout", connect_timeout)
            .field("bounds", bounds)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        let client = redis::Client::open(url).unwrap();
        Target::from_client(&client).unwrap()
    }

    #[test]
    fn a_client_says_where_it_goes_and_as_whom() {
        let tcp = target("redis://app:s3cret@db.example.com:7000/2?protocol=resp3");
        let expected = Target {
            username: Some("app".into()),
            password: Some("s3cret".into()),
            db: 2,
            protocol: Some(Protocol::Resp3),
            ..Target::new(Place::Tcp {
                host: "db.example.com".into(),
                port: 7_000,
            })
        };
        assert_eq!(tcp, expected);
        assert!(!format!("{tcp:?}").contains("s3cret"));
        let plain = target("redis://localhost?protocol=resp2");
        assert_eq!((plain.username, plain.password, plain.db), (None, None, 0));
        assert_eq!(plain.protocol, Some(Protocol::Resp2));
    }

    #[test]
    fn a_client_name_that_redis_refuses_is_refused_before() {
        let named = |name: &str| Target {
            client_name: Some(name.to_owned()),
            ..target("redis://localhost")
        };
        for name in ["my service", "a\nb", "caf\u{e9}", "\u{7f}"] {
            let error = named(name).check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        let error = named("my service").check().unwrap_err();
        assert!(error.to_string().contains("\"my-service\""), "{error}");
        for name in ["api", "!~", ""] {
            named(name).check().unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_client_of_a_unix_socket_is_one() {
        let unix = target("redis+unix:///run/redis.sock?db=3&user=app&pass=s3cret");
        let path = "/run/redis.sock".into();
        assert_eq!(unix.place, Place::Unix { path });
        assert_eq!((unix.db, unix.username.as_deref()), (3, Some("app")));
        assert_eq!(unix.password.as_deref(), Some("s3cret"));
    }

    #[test]
    fn what_a_client_has_and_we_have_not_is_refused() {
        let info = |addr| {
            let info = redis::IntoConnectionInfo::into_connection_info("redis://localhost");
            info.unwrap().set_addr(addr)
        };
        let tls = info(ConnectionAddr::TcpTls {
            host: "db.example.com".into(),
            port: 6_380,
            insecure: false,
            tls_params: None,
        });
        let negative = info(ConnectionAddr::Tcp("localhost".into(), PORT));
        let settings = redis::RedisConnectionInfo::default().set_db(-1);
        for (info, says) in [
            (tls, "TLS, which is not supported yet"),
            (negative.set_redis_settings(settings), "no database -1"),
        ] {
            let client = redis::Client::open(info).unwrap();
            let error = Target::from_client(&client).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
