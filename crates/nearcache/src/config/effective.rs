//! Merges a configuration with another one, gives it to a builder, or fills in every default.

use std::net::Ipv6Addr;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{CacheConfig, Config, OnUnavailable, TlsVerify, Url};
use crate::Cache;
use crate::cache::operation::Async;
use crate::cache::{Builder, LEASE, TIMEOUT};
use crate::codec::{Codec, Format};
use crate::connect::target::{Addresses, Bounds, PORT, Place};
use crate::connect::tls::{Pem, Tls};
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::SEPARATOR;
use crate::read_through::delivery::Undelivered;
use crate::resilience::{DataLoss, Fallback};
use crate::url;

/// The characters of a path that are written as `%XX` in a URL.
const IN_A_PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'?').add(b'#').add(b'@');

/// Whether a text is a host name or address, and not a larger part of a URL.
pub(super) fn is_host(text: &str) -> bool {
    let bare = text
        .strip_prefix('[')
        .map_or(Some(text), |text| text.strip_suffix(']'));
    let legal = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '%');
    let address = |bare: &str| {
        let bare = bare.split('%').next().unwrap_or(bare);
        bare.parse::<Ipv6Addr>().is_ok()
    };
    bare.is_some_and(|bare| {
        !bare.is_empty() && bare.chars().all(legal) && (!bare.contains(':') || address(bare))
    })
}

/// The scheme of a server over TCP.
fn scheme(tls: bool) -> &'static str {
    if tls { "rediss" } else { "redis" }
}

impl CacheConfig {
    /// Options with a URL, and nothing else yet.
    pub fn at(url: impl Into<Url>) -> CacheConfig {
        CacheConfig {
            url: Some(url.into()),
            ..CacheConfig::default()
        }
    }

    /// Reads the options of one cache from TOML.
    ///
    /// # Errors
    /// Those of [`Config::from_toml`].
    pub fn from_toml(text: &str) -> Result<CacheConfig> {
        Config::from_toml(text).and_then(Config::only)
    }

    /// Reads the options of one cache from JSON.
    ///
    /// # Errors
    /// Those of [`Config::from_json`].
    pub fn from_json(text: &str) -> Result<CacheConfig> {
        Config::from_json(text).and_then(Config::only)
    }

    /// These options, completed with the others. If these options have a URL or a host, the others' location (URL,
    /// host, port), credentials, options of TLS and database number are not used, because they belong to another server. An option in
    /// the URL also goes before the others' option of that name.
    pub(crate) fn over(self, mut other: CacheConfig) -> CacheConfig {
        if self.url.is_some() || self.host.is_some() {
            other.url = None;
            other.host = None;
            other.port = None;
            other.username = None;
            other.password = None;
            other.sentinel_username = None;
            other.sentinel_password = None;
            other.db = None;
            other.tls = None;
            other.ca = None;
            other.cert = None;
            other.key = None;
            other.server_name = None;
            other.tls_verify = None;
        }
        if let Some(url) = &self.url {
            let query = url.as_str().split_once('?').map_or("", |(_, query)| query);
            for (name, _) in query.split('&').filter_map(|pair| pair.split_once('=')) {
                other.forget(name);
            }
        }
        self.or(other)
    }

    /// Removes an option, by the name that it has in a URL.
    fn forget(&mut self, name: &str) {
        match name {
            "prefix" => self.prefix = None,
            "separator" => self.separator = None,
            "default_ttl" => self.default_ttl = None,
            "ttl_jitter" => self.ttl_jitter = None,
            "timeout" => self.timeout = None,
            "connect_timeout" => self.connect_timeout = None,
            "client_name" => self.client_name = None,
            "read" => self.read = None,
            "protocol" => self.protocol = None,
            "pool_size" => self.pool_size = None,
            "breaker" => self.breaker = None,
            "near" => self.near = None,
            "near_bytes" => self.near_bytes = None,
            "near_ttl" => self.near_ttl = None,
            "near_heartbeat" => self.near_heartbeat = None,
            "redact_keys" => self.redact_keys = None,
            "version" => self.version = None,
            "format" => self.format = None,
            "compression" => self.compression = None,
            "ca" => self.ca = None,
            "cert" => self.cert = None,
            "key" => self.key = None,
            "server_name" => self.server_name = None,
            "tls_verify" => self.tls_verify = None,
            _ => {}
        }
    }

    /// Creates the cache. It does not connect yet: the first call does. (For code without an async runtime, take its
    /// [`blocking`](crate::CacheOf::blocking) form.)
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`]: neither `url` nor `host` is set, or both are; and the errors of
    /// [`Builder::build`].
    pub fn cache(&self) -> Result<Cache> {
        self.builder()?.build()
    }

    /// A builder with these options, for what a configuration cannot express: hooks, a store, a fallback that is a
    /// function.
    ///
    /// # Errors
    /// Those of [`cache`](CacheConfig::cache).
    pub fn builder(&self) -> Result<Builder<Async>> {
        self.builder_of()
    }

    pub(crate) fn builder_of<M>(&self) -> Result<Builder<M>> {
        // Lists every field, so that the compiler reports a new one that is missing here.
        let CacheConfig {
            url: _,
            host: _,
            port: _,
            tls: _,
            ca,
            cert,
            key,
            server_name,
            tls_verify,
            username,
            password,
            sentinel_username,
            sentinel_password,
            read,
            db,
            prefix,
            separator,
            default_ttl,
            ttl_jitter,
            timeout,
            connect_timeout,
            breaker,
            version,
            format,
            compression,
            compress_above,
            heal,
            redact_keys,
            client_name,
            protocol,
            pool_size,
            near,
            near_bytes,
            near_ttl,
            near_heartbeat,
            lease,
            max_loads,
            on_unavailable,
            log_on_fallback,
            on_undelivered,
            on_data_loss,
        } = self.clone();
        let place = self.place()?;
        let mut builder = Builder::new(place.as_str());
        if format.is_some() || compression.is_some() || compress_above.is_some() {
            // The builder takes format and compression as one codec, so the URL's are read here if they are not set.
            let in_url = url::parse(place.as_str())?;
            let mut codec = Codec::new(format.or(in_url.format).unwrap_or_default());
            if let Some(compression) = compression.or(in_url.compression) {
                codec = codec.compressed(match compress_above {
                    Some(bytes) => compression.above(bytes),
                    None => compression,
                });
            }
            builder = builder.codec(codec);
        }
        let file = |path: Option<String>| path.map(|path| Pem::File(path.into()));
        let tls = Tls {
            ca: file(ca),
            cert: file(cert),
            key: file(key),
            server_name,
            verify: tls_verify.map(|verify| verify == TlsVerify::Full),
            ..Tls::default()
        };
        if !tls.is_default() {
            builder = builder.tls_of(tls);
        }
        let username = username.filter(|name| !name.is_empty());
        let password = password.filter(|password| !password.expose().is_empty());
        let sentinel_username = sentinel_username.filter(|name| !name.is_empty());
        let sentinel_password = sentinel_password.filter(|password| !password.expose().is_empty());
        macro_rules! give {
            ($($option:ident),*) => {
                $(if let Some(value) = $option {
                    builder = builder.$option(value);
                })*
            };
        }
        give!(
            username,
            db,
            prefix,
            separator,
            default_ttl,
            ttl_jitter,
            timeout,
            connect_timeout,
            breaker
        );
        give!(version, heal, redact_keys);
        give!(client_name, protocol, pool_size, lease, max_loads);
        give!(near, near_bytes, near_ttl, near_heartbeat);
        let on_unavailable = on_unavailable.map(Fallback::from);
        give!(
            on_unavailable,
            log_on_fallback,
            on_undelivered,
            on_data_loss
        );
        give!(sentinel_username, read);
        if let Some(password) = password {
            builder = builder.password(password.expose());
        }
        if let Some(password) = sentinel_password {
            builder = builder.sentinel_password(password.expose());
        }
        Ok(builder)
    }

    /// The URL, or a URL for the host and port.
    fn place(&self) -> Result<Url> {
        let wrong = |why: &'static str| Err(Error::new(ErrorKind::InvalidConfig, why));
        match (&self.url, &self.host, self.port) {
            (Some(_), Some(_), _) => wrong("both url and host are there; keep one of them"),
            (Some(_), None, Some(_)) => {
                wrong("both url and port are there; write the port into the URL")
            }
            (Some(url), None, None) => {
                let secured = url::parse(url.as_str()).map(|parsed| parsed.target.tls.is_some());
                match (self.tls, secured) {
                    (Some(true), Ok(false)) => wrong(
                        "tls is true, but the url is not over TLS; write rediss:// or valkeys://",
                    ),
                    (Some(false), Ok(true)) => {
                        wrong("tls is false, but the url is over TLS; write redis:// or valkey://")
                    }
                    _ => Ok(url.clone()),
                }
            }
            (None, Some(host), _) if !is_host(host) => {
                wrong("host is neither a host name nor an address; write localhost, or 127.0.0.1")
            }
            (None, Some(host), port) => {
                let place = Place::Tcp {
                    host: host
                        .trim_start_matches('[')
                        .trim_end_matches(']')
                        .to_owned(),
                    port: port.unwrap_or(PORT),
                };
                let scheme = scheme(self.tls == Some(true));
                Ok(Url(format!("{scheme}://{place}")))
            }
            (None, None, _) => wrong(
                "neither url nor host is there; write url = \"redis://HOST:PORT\", or \"memory://\" for a \
                 cache in this process",
            ),
        }
    }

    /// Every option with the value that applies: the one that is set here, else the one in the URL, else the default.
    /// (Options without a default stay `None`.) Meant for printing: `Display` writes TOML, without passwords.
    ///
    /// ```
    /// # fn main() -> nearcache::Result<()> {
    /// use nearcache::config::CacheConfig;
    ///
    /// let config = CacheConfig::at("redis://:s3cret@localhost/3?timeout=1s");
    /// let text = config.effective()?.to_string();
    /// assert!(text.contains("url = \"redis://localhost:6379\"\n"));
    /// assert!(text.contains("password = \"***\"\n"));
    /// assert!(text.contains("db = 3\n"));
    /// assert!(text.contains("timeout = \"1s\"\n"));
    /// assert!(text.contains("breaker = true\n"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`cache`](CacheConfig::cache) that need no connection.
    pub fn effective(&self) -> Result<CacheConfig> {
        let parsed = url::parse(self.place()?.as_str())?;
        let target = parsed.target;
        let place = match &target.place {
            place @ (Place::Embedded { .. } | Place::Folder { .. }) => {
                let place = match place {
                    Place::Folder { path } => {
                        let path = path.to_string_lossy();
                        format!("memory://{}", utf8_percent_encode(&path, IN_A_PATH))
                    }
                    place => place.to_string(),
                };
                // The settings of a store can only be set in the URL.
                let Bounds {
                    maxmemory,
                    policy,
                    appendfsync,
                } = target.bounds;
                let settings: Vec<String> = [
                    maxmemory.map(|bytes| format!("maxmemory={bytes}")),
                    policy.map(|policy| format!("policy={policy}")),
                    appendfsync.map(|fsync| format!("appendfsync={fsync}")),
                ]
                .into_iter()
                .flatten()
                .collect();
                match settings.as_slice() {
                    [] => place,
                    settings => format!("{place}?{}", settings.join("&")),
                }
            }
            place @ (Place::Tcp { .. } | Place::Node(_)) => {
                format!("{}://{place}", scheme(target.tls.is_some()))
            }
            Place::Sentinel { sentinels, master } => {
                let scheme = scheme(target.tls.is_some());
                let sentinels = Addresses(sentinels);
                let master = utf8_percent_encode(master, IN_A_PATH);
                format!("{scheme}-sentinel://{sentinels}/{master}")
            }
            place @ Place::Cluster { .. } => {
                format!("{}-cluster://{place}", scheme(target.tls.is_some()))
            }
            Place::Unix { path } => {
                let path = path.to_string_lossy();
                format!("redis+unix://{}", utf8_percent_encode(&path, IN_A_PATH))
            }
        };
        let said = CacheConfig {
            url: Some(Url(place)),
            host: None,
            port: None,
            tls: None,
            username: self.username.clone().filter(|name| !name.is_empty()),
            password: self
                .password
                .clone()
                .filter(|password| !password.expose().is_empty()),
            sentinel_username: self
                .sentinel_username
                .clone()
                .filter(|name| !name.is_empty()),
            sentinel_password: self
                .sentinel_password
                .clone()
                .filter(|password| !password.expose().is_empty()),
            ..self.clone()
        };
        let tls = target.tls.unwrap_or_default();
        let file = |pem| match pem {
            Some(Pem::File(path)) => Some(path.to_string_lossy().into_owned()),
            _ => None,
        };
        let in_url = CacheConfig {
            ca: file(tls.ca),
            cert: file(tls.cert),
            key: file(tls.key),
            server_name: tls.server_name,
            tls_verify: tls.verify.map(|verify| match verify {
                true => TlsVerify::Full,
                false => TlsVerify::None,
            }),
            username: target.username,
            password: target.password.map(Into::into),
            sentinel_username: target.sentinel_username,
            sentinel_password: target.sentinel_password.map(Into::into),
            read: Some(target.read),
            db: Some(target.db),
            prefix: parsed.prefix,
            separator: parsed.separator,
            default_ttl: parsed.default_ttl,
            ttl_jitter: parsed.ttl_jitter,
            timeout: parsed.timeout,
            connect_timeout: target.connect_timeout,
            breaker: Some(target.breaker),
            version: parsed.version,
            format: parsed.format,
            compression: parsed.compression,
            redact_keys: parsed.redact_keys,
            client_name: target.client_name,
            protocol: target.protocol,
            pool_size: Some(target.pool_size),
            near: parsed.near.entries,
            near_bytes: parsed.near.bytes,
            near_ttl: parsed.near.ttl,
            near_heartbeat: parsed.near.heartbeat,
            ..CacheConfig::default()
        };
        let defaults = CacheConfig {
            prefix: Some(String::new()),
            separator: Some(SEPARATOR.to_owned()),
            ttl_jitter: Some(0.0),
            timeout: Some(TIMEOUT),
            lease: Some(LEASE),
            format: Some(Format::Json),
            heal: Some(true),
            redact_keys: Some(false),
            on_unavailable: Some(OnUnavailable::Error),
            log_on_fallback: Some(true),
            on_undelivered: Some(Undelivered::Error),
            on_data_loss: Some(DataLoss::Replay),
            ..CacheConfig::default()
        };
        Ok(said.or(in_url).or(defaults))
    }
}

impl Config {
    /// The defaults, if the configuration has no named caches.
    fn only(self) -> Result<CacheConfig> {
        match self.caches.keys().next() {
            None => Ok(self.defaults),
            Some(name) => Err(Error::new(
                ErrorKind::InvalidConfig,
                format!(
                    "caches.{name}: these are the options of one cache; read a `Config` for several"
                ),
            )),
        }
    }
}
