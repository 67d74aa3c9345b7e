//! The place of a cache and the user it connects as. Caches with equal targets share a connection.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::ConnectionAddr;

use super::credentials::Credentials;
use super::supply::Supply;
use super::tls::Tls;
use crate::error::{Error, ErrorKind, Result};

/// The port of Redis and Valkey.
pub(crate) const PORT: u16 = 6379;

/// The port of Sentinels.
pub(crate) const SENTINEL_PORT: u16 = 26_379;

/// A server's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { host, port } = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

/// Addresses with commas between them.
pub(crate) struct Addresses<'a>(pub(crate) &'a [Address]);

impl fmt::Display for Addresses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, address) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{address}")?;
        }
        Ok(())
    }
}

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
    /// The primary that these Sentinels know by this name.
    Sentinel {
        sentinels: Vec<Address>,
        master: String,
    },
    /// The Cluster to which these nodes belong.
    Cluster { seeds: Vec<Address> },
    /// A node of a Cluster.
    #[cfg_attr(not(feature = "cluster"), allow(dead_code))]
    Node(Address),
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
            Place::Sentinel { sentinels, master } => write!(f, "{}/{master}", Addresses(sentinels)),
            Place::Cluster { seeds } => write!(f, "{}", Addresses(seeds)),
            Place::Node(address) => write!(f, "{address}"),
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
    /// Whether the server is asked to tell of changed keys, for copies in this process.
    pub(crate) tracking: Option<Tracking>,
    /// Whether every connection to a server is over TLS, and how.
    pub(crate) tls: Option<Tls>,
    /// The user of the Sentinels, which have users of their own.
    pub(crate) sentinel_username: Option<String>,
    pub(crate) sentinel_password: Option<String>,
    /// Which servers may answer what only reads.
    pub(crate) read: ReadFrom,
    /// Who gives the user and the password, if they change.
    pub(crate) supply: Option<Supply>,
    /// What the server at the place must be. Set for the addresses that a place leads to.
    pub(crate) part: Part,
}

/// How a server is asked to tell of changed keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tracking {
    /// The start of the keys, where all of them are told, whether they were read or not.
    pub(crate) prefix: Vec<u8>,
    /// The time between two `PING`s, which show that the connection carries.
    pub(crate) every: Duration,
    /// Whether the server is a node of a Cluster, which is asked what it knows of the others, too.
    pub(crate) of_cluster: bool,
}

impl Tracking {
    pub(super) fn millis(&self) -> u64 {
        u64::try_from(self.every.as_millis()).unwrap_or(u64::MAX / 4)
    }
}

/// What a server must be to be of use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// A server, whatever part it has.
    #[default]
    Any,
    /// Whoever connects wants to know whether it is a primary.
    #[cfg(feature = "sentinel")]
    Primary,
    /// One of its replicas, up to date.
    #[cfg(feature = "sentinel")]
    Replica,
    /// A node of a Cluster that answers with what it has, also as a replica (`READONLY`).
    #[cfg(feature = "cluster")]
    ReadOnly,
    /// A Sentinel, and no server that holds keys.
    #[cfg(feature = "sentinel")]
    Sentinel,
}

/// Which servers may answer what only reads, where a primary has replicas: behind Sentinels, and in a Cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadFrom {
    /// Only primaries.
    #[default]
    Primary,
    /// Replicas, and a primary while no replica answers. An answer may be older than the last writes, by what the
    /// replica lags behind.
    Replica,
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
            tracking: None,
            tls: None,
            sentinel_username: None,
            sentinel_password: None,
            read: ReadFrom::default(),
            supply: None,
            part: Part::default(),
        }
    }

    /// Without the options that have no meaning at this place. So caches that differ only in these share a connection.
    pub(crate) fn without_what_it_does_not_take(mut self) -> Self {
        let is_sentinel = matches!(self.place, Place::Sentinel { .. });
        if !is_sentinel {
            self.sentinel_username = None;
            self.sentinel_password = None;
        }
        if self.place.is_embedded() {
            self.supply = None;
        }
        if !is_sentinel && !matches!(self.place, Place::Cluster { .. }) {
            self.read = ReadFrom::Primary;
        }
        self
    }

    /// The same as this user.
    pub(super) fn with_credentials(&self, credentials: &Credentials) -> Self {
        Target {
            username: credentials.username.clone(),
            password: Some(credentials.password.clone()),
            ..self.clone()
        }
    }

    /// What a call does that waits for a connection.
    pub(super) fn connecting(&self) -> &'static str {
        match &self.supply {
            Some(supply) if supply.is_asking() => "while waiting for the credentials provider",
            _ => self.tls.as_ref().map_or("while connecting", Tls::doing),
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
    /// `InvalidConfig` for a database that cannot exist, or an address of a kind that is not known.
    pub(crate) fn from_client(client: &redis::Client) -> Result<Self> {
        let invalid = |why: String| Error::new(ErrorKind::InvalidConfig, why);
        let info = client.get_connection_info();
        let settings = info.redis_settings();
        let mut tls = None;
        let place = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Place::Tcp {
                host: host.clone(),
                port: *port,
            },
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure,
                tls_params,
            } => {
                tls = Some(Tls {
                    verify: insecure.then_some(false),
                    hidden: tls_params.is_some(),
                    ..Tls::default()
                });
                Place::Tcp {
                    host: host.clone(),
                    port: *port,
                }
            }
            ConnectionAddr::Unix(path) => Place::Unix { path: path.clone() },
            other => {
                return Err(invalid(format!(
                    "the client connects to {other}, which is no known kind of address; create it from a URL"
                )));
            }
        };
        Ok(Target {
            username: settings.username().map(str::to_owned),
            password: settings.password().map(str::to_owned),
            db: u32::try_from(settings.db())
                .map_err(|_| invalid(format!("there is no database {}", settings.db())))?,
            protocol: Some(settings.protocol().into()),
            tls,
            ..Target::new(place)
        })
    }

    /// Checks what a server would refuse only later.
    ///
    /// # Errors
    /// `InvalidConfig` for a client name that `CLIENT SETNAME` refuses, and for another database than the only one of
    /// a Cluster.
    pub(crate) fn check(&self) -> Result<()> {
        if self.db != 0 && matches!(self.place, Place::Cluster { .. }) {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!(
                    "a Cluster has no database {}, only 0; tell caches apart by a prefix",
                    self.db
                ),
            ));
        }
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

    /// The same for the replicas of its primary, if those are to be read from.
    #[cfg(feature = "sentinel")]
    pub(crate) fn of_replicas(&self) -> Option<Self> {
        let asked = self.read == ReadFrom::Replica && matches!(self.place, Place::Sentinel { .. });
        asked.then(|| Target {
            part: Part::Replica,
            // What it says is not kept.
            tracking: None,
            ..self.clone()
        })
    }

    /// The host, as it appears in messages.
    pub(crate) fn host(&self) -> Arc<str> {
        #[cfg(feature = "sentinel")]
        if self.part == Part::Replica {
            return Arc::from(format!("a replica of {}", self.place));
        }
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
            tracking,
            tls,
            sentinel_username,
            sentinel_password,
            read,
            supply,
            part,
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
            .field("tracking", &tracking.is_some())
            .field("tls", tls)
            .field("sentinel_username", sentinel_username)
            .field(
                "sentinel_password",
                &sentinel_password.as_ref().map(|_| "***"),
            )
            .field("read", read)
            .field("credentials", supply)
            .field("part", part)
            .finish()
    }
}

/// Every way to a server: over TCP, over a unix socket, over TLS.
#[cfg(test)]
pub(super) fn of(redis: &nearcache_testkit::SecureRedis) -> Vec<Target> {
    let urls = [redis.url(), redis.unix_url()].map(|url| url.replace("redis+unix", "unix"));
    #[cfg_attr(not(feature = "tls"), allow(unused_mut))]
    let mut targets: Vec<Target> = urls
        .into_iter()
        .map(|url| {
            let client = redis::Client::open(url).expect("a URL");
            Target::from_client(&client).expect("a place")
        })
        .collect();
    #[cfg(feature = "tls")]
    {
        let client = redis.client();
        let tls = Tls::new()
            .ca_file(redis.authority().ca())
            .identity_files(&client.cert, &client.key);
        targets.push(Target {
            tls: Some(tls),
            ..Target::new(Place::Tcp {
                host: "localhost".to_owned(),
                port: redis.tls_port(),
            })
        });
    }
    targets
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
    fn a_client_over_tls_is_one() {
        for insecure in [false, true] {
            let info = redis::IntoConnectionInfo::into_connection_info("redis://localhost");
            let info = info.unwrap().set_addr(ConnectionAddr::TcpTls {
                host: "db.example.com".into(),
                port: 6_380,
                insecure,
                tls_params: None,
            });
            let target = Target::from_client(&redis::Client::open(info).unwrap()).unwrap();
            assert_eq!(target.place.to_string(), "db.example.com:6380");
            let tls = target.tls.expect("it is over TLS");
            assert_eq!(tls.accepts_anyone(), insecure);
        }
        assert_eq!(self::target("redis://localhost").tls, None);
    }

    #[test]
    fn what_a_client_has_and_we_have_not_is_refused() {
        let info = |addr| {
            let info = redis::IntoConnectionInfo::into_connection_info("redis://localhost");
            info.unwrap().set_addr(addr)
        };
        let negative = info(ConnectionAddr::Tcp("localhost".into(), PORT));
        let settings = redis::RedisConnectionInfo::default().set_db(-1);
        let client = redis::Client::open(negative.set_redis_settings(settings)).unwrap();
        let error = Target::from_client(&client).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("no database -1"), "{error}");
    }
}
