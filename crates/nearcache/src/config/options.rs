//! The options of a cache, each listed once, with its name, type, default, range and description. The struct and its
//! `Debug`, reading and writing, and the table in `docs/configuration.md` all come from this list.

use std::time::Duration;

use serde_json::Value;

use super::Url;
use super::effective::is_host;
use super::setting::{OnUnavailable, Secret, Setting, TlsVerify};
use crate::cache::{LEASES, MAX_LOADS};
use crate::client::TIMEOUTS;
use crate::codec::{Compression, Format};
use crate::connect::{Protocol, ReadFrom};
use crate::read_through::delivery::Undelivered;
use crate::read_through::near;
use crate::resilience::DataLoss;
use crate::ttl::Ttl;
use crate::url::{self, MAX_POOL_SIZE};

/// An option, as the table of options shows it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct OptionInfo {
    /// Its name in TOML and JSON; in the environment it is `NEARCACHE_` and the name in capitals.
    pub name: &'static str,
    /// What applies if it is not set.
    pub default: &'static str,
    /// The allowed values, with the unit.
    pub range: &'static str,
    /// What it is for.
    pub about: &'static str,
}

macro_rules! options {
    ($(
        $name:ident: $type:ty,
        default = $default:literal,
        range = $range:literal,
        about = $about:literal
        $(, check = $check:expr)?;
    )*) => {
        /// The options of one cache. An option that is not set is `None`, and the default of the
        /// [`Builder`](crate::Builder) applies.
        ///
        /// [`OPTIONS`](crate::config::OPTIONS) lists the allowed values. `Debug` and `Display` show no password.
        ///
        /// ```
        /// # fn main() -> nearcache::Result<()> {
        /// use nearcache::config::CacheConfig;
        ///
        /// let mut config = CacheConfig::at("redis://localhost:6379/0");
        /// config.prefix = Some("shop".to_owned());
        /// config.password = Some("s3cret".into());
        /// let cache = config.cache()?; // connects to nothing yet
        /// assert!(!format!("{config:?} {config} {cache:?}").contains("s3cret"));
        /// # Ok(())
        /// # }
        /// ```
        #[derive(Clone, Default, PartialEq)]
        #[non_exhaustive]
        pub struct CacheConfig {
            $(
                #[doc = $about]
                #[doc = ""]
                #[doc = concat!("Default: ", $default, ". ", $range, ".")]
                pub $name: Option<$type>,
            )*
        }

        /// Every option of a cache, with its default, unit and range.
        pub const OPTIONS: &[OptionInfo] = &[$(OptionInfo {
            name: stringify!($name),
            default: $default,
            range: $range,
            about: $about,
        }),*];

        impl CacheConfig {
            /// Sets an option by its name.
            ///
            /// # Errors
            /// What was expected. (The outer `None`: there is no such option.)
            pub(crate) fn set(&mut self, name: &str, value: &Value) -> Option<Result<(), String>> {
                match name {
                    $(stringify!($name) => Some(<$type>::read(value).map_err(|expected| {
                        if expected == "a whole number" || expected == "a number" {
                            $range.to_owned()
                        } else {
                            expected
                        }
                    }).and_then(|value| {
                        $(
                            let check: fn(&$type) -> bool = $check;
                            if !check(&value) {
                                return Err($range.to_owned());
                            }
                        )?
                        self.$name = Some(value);
                        Ok(())
                    })),)*
                    _ => None,
                }
            }

            /// The options that are set, with their values in the form to be read again, or in the form to be shown.
            pub(crate) fn values(&self, shown: bool) -> Vec<(&'static str, Value)> {
                let mut values = Vec::new();
                $(if let Some(value) = &self.$name {
                    let value = if shown { value.show() } else { value.write() };
                    values.push((stringify!($name), value));
                })*
                values
            }

            /// These options, and the others where these are not set.
            pub(crate) fn or(self, other: CacheConfig) -> CacheConfig {
                CacheConfig {
                    $($name: self.$name.or(other.$name),)*
                }
            }
        }
    };
}

options! {
    url: Url,
    default = "none: `url` or `host` is required",
    range = "a URL with `memory://`, `redis://`, `rediss://`, `redis+unix://` or `redis-sentinel://`; `valkey` in place of `redis` is the same",
    about = "Where the cache is. Options in the URL (`?timeout=1s`) apply unless they are also set outside it",
    check = |url| url::parse(url.as_str()).is_ok();

    host: String,
    default = "none",
    range = "a host name or an address; not together with `url`",
    about = "The host of a Redis over TCP, in place of a URL",
    check = |host| is_host(host);

    port: u16,
    default = "6379",
    range = "a number from 1 to 65535; goes with `host`",
    about = "The port of `host`",
    check = |port| *port > 0;

    tls: bool,
    default = "false",
    range = "`true` or `false` (`\"on\"` or `\"off\"`); goes with `host`",
    about = "Whether the connection to `host` is over TLS. A URL says it by `rediss://`. It needs the feature `tls`";

    ca: String,
    default = "none: the roots that the system trusts",
    range = "the path of a PEM file; needs TLS",
    about = "The certificates that the server's must be signed by";

    cert: String,
    default = "none",
    range = "the path of a PEM file; goes with `key`; needs TLS",
    about = "The client's certificate. It is read again at each connect";

    key: String,
    default = "none",
    range = "the path of a PEM file; goes with `cert`; needs TLS",
    about = "The private key of the client's certificate, without a passphrase";

    server_name: String,
    default = "the host",
    range = "a DNS name or an IP address; needs TLS",
    about = "The name that the server's certificate must have";

    tls_verify: TlsVerify,
    default = "`\"full\"`",
    range = "`\"full\"`, or `\"none\"`: **any** certificate is accepted, which is logged as a warning; needs TLS",
    about = "Whether the server's certificate is checked";

    username: String,
    default = "none: the server's default user",
    range = "text; empty means none",
    about = "The user to authenticate as (Redis 6 and later)";

    password: Secret,
    default = "none",
    range = "text; empty means none",
    about = "The password to authenticate with. It is shown nowhere";

    sentinel_username: String,
    default = "none: the Sentinels' default user",
    range = "text; empty means none; for `redis-sentinel://`",
    about = "The user to authenticate as at the Sentinels, which have users of their own";

    sentinel_password: Secret,
    default = "none",
    range = "text; empty means none; for `redis-sentinel://`",
    about = "The password to authenticate with at the Sentinels. It is shown nowhere";

    read: ReadFrom,
    default = "`\"primary\"`",
    range = "`\"primary\"` or `\"replica\"`; for `redis-sentinel://` and `redis-cluster://`",
    about = "Which servers may answer what only reads: a replica may answer with what is older than the last writes";

    db: u32,
    default = "0",
    range = "a number from 0 to 2147483647; servers have 16 by default",
    about = "The number of the database",
    check = |db| i32::try_from(*db).is_ok();

    prefix: String,
    default = "none: keys are used as they are",
    range = "text of up to 4096 bytes with the separator, without `#nearcache:`",
    about = "The start of every key in Redis. The cache sees nothing outside it",
    check = |prefix| crate::keyspace::Keyspace::new(prefix, "").is_ok();

    separator: String,
    default = "`:`",
    range = "text",
    about = "The text between prefix and key";

    version: String,
    default = "none",
    range = "text, not empty",
    about = "A part of every key, after the prefix; caches of different versions do not share entries",
    check = |version| !version.is_empty();

    default_ttl: Ttl,
    default = "none: entries do not expire",
    range = "a time from 1 ms to 1000 years: `\"90s\"`, `\"2h30m\"`, or a number of seconds",
    about = "The TTL of entries that are written without one";

    ttl_jitter: f64,
    default = "0",
    range = "a ratio from 0 to 1: 0.1 is ± 10 %",
    about = "Varies each TTL at random, so that entries that are written together do not expire together",
    check = |ratio| (0.0..=1.0).contains(ratio);

    timeout: Duration,
    default = "500 ms",
    range = "a time from 1 ms to 1 h: `\"250ms\"`, or a number of seconds (`0.25`)",
    about = "How long Redis may take for one call, connecting included",
    check = |timeout| TIMEOUTS.contains(timeout);

    connect_timeout: Duration,
    default = "none: connecting is a part of the call",
    range = "a time from 1 ms to 1 h",
    about = "How long connecting may take, apart from the `timeout` of the call that connects",
    check = |timeout| TIMEOUTS.contains(timeout);

    breaker: bool,
    default = "true",
    range = "`true` or `false` (`\"on\"` or `\"off\"`)",
    about = "The circuit breaker: after five failures in a row, calls fail at once until Redis answers again";

    format: Format,
    default = "`\"json\"`",
    range = "`\"json\"`, `\"msgpack\"` or `\"postcard\"`, each but the first needs its feature",
    about = "How values are written";

    compression: Compression,
    default = "none",
    range = "`\"zstd\"`, `\"lz4\"` or `\"zlib\"`, each needs its feature; with a level, `\"zstd:1\"` (-7 to 22) or `\"zlib:9\"` (0 to 9)",
    about = "How values are compressed";

    compress_above: usize,
    default = "1024",
    range = "a number of bytes",
    about = "If there is a `compression`, values of fewer bytes are left uncompressed";

    heal: bool,
    default = "true",
    range = "`true` or `false` (`\"on\"` or `\"off\"`)",
    about = "Whether `get` deletes an entry that nobody can read any more: it is damaged, or one of its tags was invalidated";

    redact_keys: bool,
    default = "false",
    range = "`true` or `false` (`\"on\"` or `\"off\"`)",
    about = "Whether messages show a short hash in place of a key: for keys that are secrets or personal";

    client_name: String,
    default = "none",
    range = "printable ASCII without spaces",
    about = "The name that `CLIENT LIST` shows for the connection";

    protocol: Protocol,
    default = "the highest that the server supports",
    range = "`\"resp2\"` or `\"resp3\"`",
    about = "The version of the Redis protocol";

    pool_size: usize,
    default = "16",
    range = "a number of connections from 1 to 1024",
    about = "The maximum number of connections for blocking callers; async callers share one",
    check = |size| (1..=MAX_POOL_SIZE).contains(size);

    near: usize,
    default = "none: no near tier",
    range = "a number of entries from 0 to 1073741824; 0 means no near tier",
    about = "How many values this process keeps in front of Redis: the near tier",
    check = |entries| *entries <= near::MOST_ENTRIES;

    near_bytes: u64,
    default = "none: no limit of bytes",
    range = "a number of bytes, 65536 at least; 0 means no near tier",
    about = "How many bytes of keys and values this process keeps in front of Redis, with or without `near`",
    check = |bytes| *bytes == 0 || *bytes >= near::FEWEST_BYTES;

    near_ttl: Duration,
    default = "none; 1 s where the server does not tell of changes",
    range = "a time from 20 ms to 24 h",
    about = "How long the near tier may answer with a value that it has read once",
    check = |ttl| near::TTLS.contains(ttl);

    near_heartbeat: Duration,
    default = "1 s",
    range = "a time from 50 ms to 1 min",
    about = "How often the connection that tells of changes is asked for a sign of life; without one for twice this time, the near tier answers nothing",
    check = |time| near::HEARTBEATS.contains(time);

    lease: Duration,
    default = "10 s",
    range = "a time from 100 ms to 1 h",
    about = "How long the lease lasts that a load takes on its key, among all processes; a long load renews it",
    check = |lease| (LEASES.0..=LEASES.1).contains(lease);

    max_loads: usize,
    default = "none: no limit",
    range = "a number of loaders from 1 to 1048576",
    about = "The maximum number of loaders that run at a time, for all keys",
    check = |loads| (1..=MAX_LOADS).contains(loads);

    on_unavailable: OnUnavailable,
    default = "`\"error\"`",
    range = "`\"error\"`, `\"miss\"` or `\"stale\"`",
    about = "What reads return when Redis does not answer";

    log_on_fallback: bool,
    default = "true",
    range = "`true` or `false` (`\"on\"` or `\"off\"`)",
    about = "Whether it is logged, at most once in 15 s, that `on_unavailable` answered in place of Redis";

    on_undelivered: Undelivered,
    default = "`\"error\"`",
    range = "`\"error\"` or `\"deferred\"`",
    about = "What the caller gets for an invalidation that Redis did not acknowledge; it is kept in the outbox either way";

    on_data_loss: DataLoss,
    default = "`\"replay\"`",
    range = "`\"replay\"` or `\"clear\"`, which needs a prefix",
    about = "What to do when Redis has restarted, or a replica has taken over: it may have lost writes";
}

impl OptionInfo {
    /// The rows of the table of options, in Markdown.
    #[cfg(test)]
    pub(crate) fn table() -> String {
        let mut table =
            "| option | default | what it can be | what it is for |\n| --- | --- | --- | --- |\n"
                .to_owned();
        for option in OPTIONS {
            table += &format!(
                "| `{}` | {} | {} | {} |\n",
                option.name, option.default, option.range, option.about
            );
        }
        table
    }
}
