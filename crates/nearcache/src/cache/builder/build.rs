//! What becomes of the options: those of the builder, of a client and of the URL become one target and the settings of a
//! cache, and what contradicts is refused.

use super::{Builder, LEASE, LEASES, MAX_LOADS, TIMEOUT};
use crate::cache::CacheOf;
use crate::cache::operation::Executor;
use crate::client::{Client, Parts, TIMEOUTS, check_timeout};
use crate::codec::Codec;
use crate::connect::Mode;
use crate::connect::target::{PORT, Place, Target, Tracking};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::Telemetry;
use crate::keyspace::{Keyspace, SEPARATOR};
use crate::read_through::{ReadThrough, Settings, near};
use crate::resilience::{self, DataLoss};
use crate::url::MAX_POOL_SIZE;

impl<M: Executor> Builder<M> {
    /// Builds the cache. It does not connect yet: the first call does.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUrl`], [`ErrorKind::InvalidTtl`] or [`ErrorKind::InvalidConfig`], for the first invalid
    /// option.
    pub fn build(self) -> Result<CacheOf<M>> {
        Ok(CacheOf::from_core(self.build_core(M::MODE)?))
    }
}

impl<M> Builder<M> {
    fn build_core(self, mode: Mode) -> Result<ReadThrough> {
        let mut parsed = self.url?;
        #[cfg(feature = "embedded")]
        if let Some(path) = self.folder {
            if parsed.target.place != (Place::Embedded { name: None }) {
                return invalid(format!(
                    "a folder was given, but the URL is for {}; a folder needs the URL memory://",
                    parsed.target.place
                ));
            }
            parsed.target.place = Place::Folder { path };
        }
        if let Some(client) = self.client {
            parsed.target = of_client(client?, parsed.target)?;
        }
        let target = Target {
            username: self.username.or(parsed.target.username),
            password: self.password.or(parsed.target.password),
            supply: self.credentials,
            db: self.db.unwrap_or(parsed.target.db),
            client_name: self.client_name.or(parsed.target.client_name),
            protocol: self.protocol.or(parsed.target.protocol),
            pool_size: self.pool_size.unwrap_or(parsed.target.pool_size),
            breaker: self.breaker.unwrap_or(parsed.target.breaker),
            connect_timeout: self
                .connect_timeout
                .transpose()?
                .or(parsed.target.connect_timeout),
            sentinel_username: self.sentinel_username.or(parsed.target.sentinel_username),
            sentinel_password: self.sentinel_password.or(parsed.target.sentinel_password),
            read: self.read.unwrap_or(parsed.target.read),
            tls: match (self.tls, parsed.target.tls) {
                (Some(tls), Some(below)) => Some(tls.or(below)),
                (Some(_), None) => {
                    return invalid(format!(
                        "options of TLS are set, but the URL for {} is not over TLS; write rediss:// or valkeys://",
                        parsed.target.place
                    ));
                }
                (None, tls) => tls,
            },
            ..parsed.target
        }
        .without_what_it_does_not_take();
        target.check()?;
        if let Some(tls) = &target.tls {
            let host = match &target.place {
                Place::Tcp { host, .. } => Some(&**host),
                _ => None,
            };
            tls.check(host)?;
            tls.warn_if_unverified(&target.host());
        }
        if target.supply.is_some() && (target.username.is_some() || target.password.is_some()) {
            return invalid(
                "a credentials provider was given, and a username or a password as well, in the URL or on the \
                 builder; give one of them"
                    .to_owned(),
            );
        }
        if target.bounds.appendfsync.is_some() && !matches!(target.place, Place::Folder { .. }) {
            return invalid(format!(
                "appendfsync is for a store that is kept in a folder, but the URL is for {}; write \
                 memory:///FOLDER?appendfsync=everysec",
                target.place
            ));
        }
        let prefix = self.prefix.or(parsed.prefix).unwrap_or_default();
        let separator = self.separator.or(parsed.separator);
        let ttl_jitter = self.ttl_jitter.or(parsed.ttl_jitter).unwrap_or(0.0);
        let limit = self
            .timeout
            .transpose()?
            .or(parsed.timeout)
            .unwrap_or(TIMEOUT);
        let default_ttl = self.default_ttl.transpose()?.or(parsed.default_ttl);

        if !(0.0..=1.0).contains(&ttl_jitter) {
            return invalid(format!(
                "ttl_jitter is {ttl_jitter}; it is a ratio from 0 to 1, as in 0.1 for ± 10 %"
            ));
        }
        check_timeout(limit)?;
        if let Some(time) = target
            .connect_timeout
            .filter(|time| !TIMEOUTS.contains(time))
        {
            return invalid(format!("connect_timeout is {time:?}; it is from 1ms to 1h"));
        }
        if !(1..=MAX_POOL_SIZE).contains(&target.pool_size) {
            return invalid(format!(
                "pool_size is {}; it is from 1 to {MAX_POOL_SIZE}",
                target.pool_size
            ));
        }
        let lease_time = self.lease.transpose()?.unwrap_or(LEASE);
        if !(LEASES.0..=LEASES.1).contains(&lease_time) {
            return invalid(format!("lease is {lease_time:?}; it is from 100ms to 1h"));
        }
        if self
            .max_loads
            .is_some_and(|loads| !(1..=MAX_LOADS).contains(&loads))
        {
            return invalid(format!(
                "max_loads is {}; it is from 1 to {MAX_LOADS}",
                self.max_loads.unwrap_or(0)
            ));
        }
        let codec = self.codec.unwrap_or_else(|| {
            let codec = Codec::new(parsed.format.unwrap_or_default());
            match parsed.compression {
                Some(compression) => codec.compressed(compression),
                None => codec,
            }
        });
        codec.check()?;
        let separator = separator.as_deref().unwrap_or(SEPARATOR);
        let prefix = match self.version.or(parsed.version) {
            Some(version) if version.is_empty() => {
                return invalid(
                    "version is empty; it is a part of every key, as in \"v2\"".to_owned(),
                );
            }
            Some(version) if prefix.is_empty() => version,
            Some(version) => format!("{prefix}{separator}{version}"),
            None => prefix,
        };
        let redact = self.redact_keys.or(parsed.redact_keys).unwrap_or(false);
        let keyspace = Keyspace::new(&prefix, separator)?.redacted(redact);
        if self.data_loss == DataLoss::Clear && !keyspace.has_prefix() {
            return invalid(
                "on_data_loss(DataLoss::Clear) needs a prefix: without one it would delete every key of the database, other programs' too"
                    .to_owned(),
            );
        }

        let asked = near::Asked {
            ttl: self.near_ttl.transpose()?,
            heartbeat: self.near_heartbeat.transpose()?,
            ..self.near
        };
        let asked = asked.or(parsed.near);
        let limits = asked.limits()?;
        let target = Target {
            tracking: limits.map(|_| Tracking {
                prefix: keyspace.beginning().to_vec(),
                every: asked.heartbeat.unwrap_or(near::HEARTBEAT),
                of_cluster: false,
            }),
            ..target
        };

        #[cfg(feature = "embedded")]
        let guarded = match &self.store {
            Some(store) => guarded_of(store, &target, mode)?,
            None => resilience::open(&target, mode)?,
        };
        #[cfg(not(feature = "embedded"))]
        let guarded = resilience::open(&target, mode)?;

        let client = Client::new(Parts {
            guarded,
            target,
            keyspace,
            telemetry: Telemetry::new(self.hooks),
            data_loss: self.data_loss,
            limit,
            codec,
            spread: self.spread,
        });
        client.attach_hooks();
        let settings = Settings {
            default_ttl,
            ttl_jitter,
            fallback: self.fallback,
            log_on_fallback: self.log_on_fallback,
            undelivered: self.undelivered,
            lease: lease_time,
            max_loads: self.max_loads,
            heal: self.heal,
            near: limits,
            near_ttl: asked.ttl,
        };
        Ok(ReadThrough::new(client, settings))
    }
}

/// The target of a client, with the options of a URL that names no server itself.
fn of_client(client: Target, url: Target) -> Result<Target> {
    let nothing_said = Place::Tcp {
        host: "localhost".to_owned(),
        port: PORT,
    };
    if url.place != nothing_said {
        return invalid(format!(
            "a client was given, but the URL names {}; with a client, the URL may only contain options, as in \
             redis://?prefix=app",
            url.place
        ));
    }
    let tls = match (url.tls, client.tls) {
        (Some(tls), Some(below)) => Some(tls.or(below)),
        (Some(_), None) => {
            return invalid(format!(
                "the URL is over TLS, but the client that was given connects to {} without it; write redis://?...",
                client.place
            ));
        }
        (None, tls) => tls,
    };
    Ok(Target {
        tls,
        place: client.place,
        username: url.username.or(client.username),
        password: url.password.or(client.password),
        db: if url.db == 0 { client.db } else { url.db },
        protocol: url.protocol.or(client.protocol),
        ..url
    })
}

#[cfg(feature = "embedded")]
fn guarded_of(
    store: &nearcache_embedded::Store,
    target: &Target,
    mode: Mode,
) -> Result<std::sync::Arc<resilience::Guarded>> {
    use crate::connect::over_store;
    use crate::connect::target::Bounds;
    if target.place != (Place::Embedded { name: None }) {
        return invalid(format!(
            "a store was given, but the URL is for {}; a store needs the URL memory://",
            target.place
        ));
    }
    if target.bounds != Bounds::default() {
        return invalid(
            "a store was given, which has its own limits: remove maxmemory and policy from the URL"
                .to_owned(),
        );
    }
    let backend = over_store(store, target, mode.runtime())?;
    Ok(resilience::Guarded::new(backend, target))
}

fn invalid<T>(why: String) -> Result<T> {
    Err(Error::new(ErrorKind::InvalidConfig, why))
}
