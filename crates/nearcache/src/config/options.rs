//! The options of a cache, each of them once: its name, its type, what it is when nobody says, what it can be.
//! From this table come the struct and its `Debug`, reading and writing, and the page of options
//! (`docs/configuration.md`).

use std::time::Duration;

use serde_json::Value;

use super::Url;
use super::effective::is_host;
use super::setting::{OnUnavailable, Secret, Setting};
use crate::cache::{LEASES, MAX_LOADS};
use crate::client::TIMEOUTS;
use crate::codec::{Compression, Format};
use crate::connect::Protocol;
use crate::read_through::delivery::Undelivered;
use crate::resilience::DataLoss;
use crate::ttl::Ttl;
use crate::url::{self, MAX_POOL_SIZE};

/// An option, as the page of options has it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct OptionInfo {
    /// Its name in TOML and JSON; in the environment it is `NEARCACHE_` and the name in capitals.
    pub name: &'static str,
    /// What holds when nobody says anything.
    pub default: &'static str,
    /// What it can be, with the unit.
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
        /// The options of one cache: as many as somebody has said something of. What nobody has is
        /// `None`, and the [`Builder`](crate::Builder)'s default.
        ///
        /// [`OPTIONS`](crate::config::OPTIONS) has what each can be. `Debug` and `Display` show no password.
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
            /// What was expected. `None`: there is no such option.
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

            /// The options that are set, with their values as they are written, or as they are shown.
            pub(crate) fn values(&self, shown: bool) -> Vec<(&'static str, Value)> {
                let mut values = Vec::new();
                $(if let Some(value) = &self.$name {
                    let value = if shown { value.show() } else { value.write() };
                    values.push((stringify!($name), value));
                })*
                values
            }

            /// What is set here, and what is set there where nothing is here.
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
    default = "none: it, or `host`, must be there",
    range = "a URL with `memory://`, `redis://`, `redis+unix://`, `valkey://` or `valkey+unix://`",
    about = "Where the cache is. Options that stand in it (`?timeout=1s`) hold unless they are said beside it as well",
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

    username: String,
    default = "none: the server's default user",
    range = "text; empty is none",
    about = "The user to authenticate as (Redis 6 and later)";

    password: Secret,
    default = "none",
    range = "text; empty is none",
    about = "The password to authenticate with. It is shown nowhere";

    db: u32,
    default = "0",
    range = "a number from 0 to 2147483647; servers have 16 unless told otherwise",
    about = "The number of the database",
    check = |db| i32::try_from(*db).is_ok();

    prefix: String,
    default = "none: the keys stand bare",
    range = "text of up to 4096 bytes with the separator, without `#nearcache:`",
    about = "What every key begins with in Redis. The cache sees nothing outside it",
    check = |prefix| crate::keyspace::Keyspace::new(prefix, "").is_ok();

    separator: String,
    default = "`:`",
    range = "text",
    about = "What stands between prefix and key";

    version: String,
    default = "none",
    range = "text, not empty",
    about = "A part of every key, between prefix and key: entries of another version are others",
    check = |version| !version.is_empty();

    default_ttl: Ttl,
    default = "none: entries do not expire",
    range = "a time from 1 ms to 1000 years: `\"90s\"`, `\"2h30m\"`, or a number of seconds",
    about = "How long an entry stays that is written without a TTL";

    ttl_jitter: f64,
    default = "0",
    range = "a ratio from 0 to 1: 0.1 is ± 10 %",
    about = "Spreads every TTL, so that what was written together does not expire together",
    check = |ratio| (0.0..=1.0).contains(ratio);

    timeout: Duration,
    default = "500 ms",
    range = "a time from 1 ms to 1 h: `\"250ms\"`, or a number of seconds (`0.25`)",
    about = "How long Redis may take for one call, connecting included",
    check = |timeout| TIMEOUTS.contains(timeout);

    breaker: bool,
    default = "true",
    range = "`true` or `false` (`\"on\"` or `\"off\"`)",
    about = "Whether calls are turned away at once after five failures in a row, until Redis is back";

    format: Format,
    default = "`\"json\"`",
    range = "`\"json\"`, `\"msgpack\"` or `\"postcard\"`, each but the first with its feature",
    about = "How values are written";

    compression: Compression,
    default = "none",
    range = "`\"zstd\"`, `\"lz4\"` or `\"zlib\"`, each with its feature; with a level, `\"zstd:1\"` (-7 to 22) or `\"zlib:9\"` (0 to 9)",
    about = "How values are compressed";

    compress_above: usize,
    default = "1024",
    range = "a number of bytes",
    about = "Values of fewer bytes are left as they are, where there is a `compression`";

    heal: bool,
    default = "true",
    range = "`true` or `false` (`\"on\"` or `\"off\"`)",
    about = "Whether an entry that cannot be decoded as what was asked for is deleted by the `get` that found it";

    client_name: String,
    default = "none",
    range = "text",
    about = "The name under which `CLIENT LIST` shows the connection";

    protocol: Protocol,
    default = "the best that the server has",
    range = "`\"resp2\"` or `\"resp3\"`",
    about = "The version of the protocol";

    pool_size: usize,
    default = "16",
    range = "a number of connections from 1 to 1024",
    about = "How many connections blocking callers open at most; async callers share one",
    check = |size| (1..=MAX_POOL_SIZE).contains(size);

    lease: Duration,
    default = "10 s",
    range = "a time from 100 ms to 1 h",
    about = "For how long a loader has its key to itself among all processes, unless it renews that",
    check = |lease| (LEASES.0..=LEASES.1).contains(lease);

    max_loads: usize,
    default = "none: as many as there are",
    range = "a number of loaders from 1 to 1048576",
    about = "How many loaders run at a time, for all keys",
    check = |loads| (1..=MAX_LOADS).contains(loads);

    on_unavailable: OnUnavailable,
    default = "`\"error\"`",
    range = "`\"error\"`, `\"miss\"` or `\"stale\"`",
    about = "What reads answer when Redis does not";

    on_undelivered: Undelivered,
    default = "`\"error\"`",
    range = "`\"error\"` or `\"deferred\"`",
    about = "What the caller of an invalidation is told that Redis did not acknowledge; it is kept either way";

    on_data_loss: DataLoss,
    default = "`\"replay\"`",
    range = "`\"replay\"` or `\"clear\"`, which needs a prefix",
    about = "What is done when Redis comes back as another server than before";
}

impl OptionInfo {
    /// The rows of the page of options, in Markdown.
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
