//! Parses a cache's URL: where the cache is, and the options after the `?`. `written` is the URL as text, with the
//! errors that point into it; `place` is the part before the options, `bounds` are those that limit an embedded store,
//! and `tls` those of TLS.
//!
//! ```text
//! memory://[name][/db][?option=value&...]
//! memory:///folder[?option=value&...]
//! redis://[[user]:password@][host][:port][/db][?option=value&...]        also valkey://
//! rediss://..., rediss-sentinel://..., rediss-cluster://...               the same over TLS, also valkeys
//! redis+unix://[[user]:password@]/path/to.sock[?option=value&...]        also valkey+unix://
//! redis-sentinel://[[user]:password@]host[:port],.../master[/db][?...]   also valkey-sentinel://
//! redis-cluster://[[user]:password@]host[:port],...[?...]                also valkey-cluster://
//! ```
//!
//! It is parsed by hand rather than with the `url` crate, because every error points at the part that is wrong, in
//! the URL as it was written. No error shows a password, not even one that was left unescaped and so was cut into
//! other parts of the URL (`written`).

mod bounds;
mod place;
mod tls;
mod written;

use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use self::place::parse_db;
use self::written::Written;
use crate::codec::{Compression, Format};
use crate::connect::target::{Place, Protocol, ReadFrom, Target};
use crate::error::Result;
use crate::read_through::near;
use crate::ttl::Ttl;

/// A parsed URL: where the cache is, and the options that it sets.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub(crate) target: Target,
    pub(crate) prefix: Option<String>,
    pub(crate) separator: Option<String>,
    pub(crate) default_ttl: Option<Ttl>,
    pub(crate) ttl_jitter: Option<f64>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) version: Option<String>,
    pub(crate) format: Option<Format>,
    pub(crate) compression: Option<Compression>,
    pub(crate) redact_keys: Option<bool>,
    pub(crate) near: near::Asked,
}

const SCHEMES: [&str; 15] = [
    "memory",
    "redis",
    "redis+unix",
    "redis-cluster",
    "redis-sentinel",
    "rediss",
    "rediss-cluster",
    "rediss-sentinel",
    "valkey",
    "valkey+unix",
    "valkey-cluster",
    "valkey-sentinel",
    "valkeys",
    "valkeys-cluster",
    "valkeys-sentinel",
];

const OPTIONS: [&str; 32] = [
    "appendfsync",
    "breaker",
    "ca",
    "cert",
    "client_name",
    "compression",
    "connect_timeout",
    "db",
    "default_ttl",
    "format",
    "key",
    "maxmemory",
    "near",
    "near_bytes",
    "near_heartbeat",
    "near_ttl",
    "password",
    "policy",
    "pool_size",
    "prefix",
    "protocol",
    "read",
    "redact_keys",
    "sentinel_password",
    "sentinel_username",
    "separator",
    "server_name",
    "timeout",
    "tls_verify",
    "ttl_jitter",
    "username",
    "version",
];

/// The highest `pool_size`.
pub(crate) const MAX_POOL_SIZE: usize = 1_024;

/// White space and byte order marks around a URL are not part of it: a file or a secret that holds it often ends with a
/// line break.
///
/// # Errors
/// `InvalidUrl`, pointing at the part that is wrong.
pub(crate) fn parse(url: &str) -> Result<Parsed> {
    let url = url.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let written = Written::new(url);
    let Some(scheme_end) = written.scheme() else {
        let bare = !url.contains(char::is_whitespace) && !url.is_empty();
        let help = if bare {
            "a URL begins with a scheme: redis://HOST:PORT for a server, memory:// for none"
        } else {
            "write memory://, redis://HOST:PORT or redis+unix:///PATH"
        };
        return Err(written.error(0..url.len(), "it has no scheme", help));
    };
    let scheme = url[..scheme_end].to_ascii_lowercase();
    let rest = scheme_end + 3..url.len();
    let (place_range, query) = split(url, rest, '?');

    let mut parsed = match scheme.as_str() {
        "memory" => place::memory(&written, place_range)?,
        "redis" | "valkey" => place::tcp(&written, place_range)?,
        "redis+unix" | "valkey+unix" => place::unix(&written, place_range)?,
        "redis-sentinel" | "valkey-sentinel" => place::sentinel(&written, place_range)?,
        "redis-cluster" | "valkey-cluster" => place::cluster(&written, place_range)?,
        "rediss" | "valkeys" => tls::over(&written, place_range, place::tcp)?,
        "rediss-sentinel" | "valkeys-sentinel" => {
            tls::over(&written, place_range, place::sentinel)?
        }
        "rediss-cluster" | "valkeys-cluster" => tls::over(&written, place_range, place::cluster)?,
        unknown => {
            let mut why = format!("there is no scheme \"{unknown}\"");
            suggest(&mut why, unknown, &SCHEMES);
            return Err(written.error(0..scheme_end, &why, SCHEME_HELP));
        }
    };
    if let Some(query) = query {
        parse_options(&written, query, &mut parsed)?;
    }
    Ok(parsed)
}

const SCHEME_HELP: &str = "allowed: memory://, redis://, redis+unix://, redis-sentinel://, \
                           redis-cluster://, the last two and redis:// with rediss for TLS, and each with valkey \
                           for redis";

fn parse_options(written: &Written<'_>, query: Range<usize>, into: &mut Parsed) -> Result<()> {
    let mut seen: Vec<&str> = Vec::new();
    let mut rest = Some(query);
    while let Some(range) = rest {
        let (pair, after) = split(written.url, range, '&');
        rest = after;
        if pair.is_empty() {
            continue;
        }
        let (name_range, value) = split(written.url, pair.clone(), '=');
        let name = &written.url[name_range.clone()];
        if seen.contains(&name) {
            return Err(written.error(pair, "this option is set twice", "keep one of them"));
        }
        seen.push(name);
        let Some(value) = value else {
            return Err(written.error(pair, "this option has no value", "write option=value"));
        };
        if !OPTIONS.contains(&name) {
            if written.hides(&name_range) {
                return Err(written.unescaped(name_range));
            }
            let mut why = format!("there is no option \"{name}\"");
            suggest(&mut why, name, &options_of(&into.target));
            return Err(written.error(
                name_range,
                &why,
                &format!("allowed: {}", options_of(&into.target).join(", ")),
            ));
        }
        parse_option(written, name, value, into)?;
    }
    Ok(())
}

/// The options that a place takes.
fn options_of(target: &Target) -> Vec<&'static str> {
    let place = &target.place;
    let takes = |name: &&str| match *name {
        "read" => matches!(place, Place::Sentinel { .. } | Place::Cluster { .. }),
        "sentinel_username" | "sentinel_password" => matches!(place, Place::Sentinel { .. }),
        name if tls::NAMES.contains(&name) => target.tls.is_some(),
        name => place.is_embedded() || !bounds::NAMES.contains(&name),
    };
    OPTIONS.into_iter().filter(takes).collect()
}

fn parse_option(
    written: &Written<'_>,
    name: &str,
    range: Range<usize>,
    into: &mut Parsed,
) -> Result<()> {
    let value = written.decode(range.clone())?;
    let wrong = |why: &str, help: &str| Err(written.error(range.clone(), why, help));
    let time = |what: &str| {
        value.parse::<Ttl>().map_err(|_| {
            written.error(
                range.clone(),
                &format!("this is not a {what}"),
                "write it as 500ms, 2s, 5m or 2h30m",
            )
        })
    };
    match name {
        "prefix" => into.prefix = Some(value),
        "separator" => into.separator = Some(value),
        "default_ttl" => into.default_ttl = Some(time("TTL")?),
        "timeout" => into.timeout = Some(time("timeout")?.as_duration()),
        "connect_timeout" => {
            into.target.connect_timeout = Some(time("timeout")?.as_duration());
        }
        "near" => match value.parse() {
            Ok(entries @ 0..=near::MOST_ENTRIES) => into.near.entries = Some(entries),
            _ => {
                return wrong(
                    "this is not a number of entries",
                    "write how many entries this process keeps at most, as in 10000; 0 for none",
                );
            }
        },
        "near_bytes" => match bounds::size(&value) {
            Some(bytes) if bytes == 0 || bytes >= near::FEWEST_BYTES => {
                into.near.bytes = Some(bytes);
            }
            _ => {
                return wrong(
                    "this is not a size",
                    "write it as 64mb or 1gb, 64kb at least; 0 for no near tier",
                );
            }
        },
        "near_ttl" => match time("time")?.as_duration() {
            ttl if near::TTLS.contains(&ttl) => into.near.ttl = Some(ttl),
            _ => return wrong("it is out of its range", "write a time from 20ms to 24h"),
        },
        "near_heartbeat" => match time("time")?.as_duration() {
            time if near::HEARTBEATS.contains(&time) => into.near.heartbeat = Some(time),
            _ => return wrong("it is out of its range", "write a time from 50ms to 1m"),
        },
        "ttl_jitter" => match value.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => into.ttl_jitter = Some(ratio),
            _ => {
                return wrong(
                    "this is not a jitter",
                    "write a ratio from 0 to 1, as in 0.1 for ± 10 %",
                );
            }
        },
        "db" => into.target.db = parse_db(written, range)?,
        "username" => into.target.username = Some(value),
        "password" => into.target.password = Some(value),
        "client_name" => into.target.client_name = Some(value),
        "protocol" => match value.as_str() {
            "2" | "resp2" => into.target.protocol = Some(Protocol::Resp2),
            "3" | "resp3" => into.target.protocol = Some(Protocol::Resp3),
            _ => {
                return wrong(
                    "there is no such protocol",
                    "write 2 or 3; leave it out for the highest that the server supports",
                );
            }
        },
        "version" if value.is_empty() => {
            return wrong("it is empty", "a version is a part of every key, as in v2");
        }
        "version" => into.version = Some(value),
        "format" => match Format::named(&value) {
            Some(format) => into.format = Some(format),
            None => return wrong("there is no such format", "write json, msgpack or postcard"),
        },
        "compression" => {
            let (name, level) = match value.split_once(':') {
                Some((name, level)) => (name, level.parse().ok()),
                None => (&*value, Some(i32::MIN)),
            };
            let (Some(compression), Some(level)) = (Compression::named(name), level) else {
                return wrong(
                    "there is no such compression",
                    "write zstd, lz4 or zlib, or with a level zstd:1 or zlib:9",
                );
            };
            into.compression = Some(match level {
                i32::MIN => compression,
                level => compression.level(level),
            });
        }
        "breaker" | "redact_keys" => {
            let on = match value.to_ascii_lowercase().as_str() {
                "on" | "true" => true,
                "off" | "false" => false,
                _ => return wrong("this is neither on nor off", "write on or off"),
            };
            match name {
                "breaker" => into.target.breaker = on,
                _ => into.redact_keys = Some(on),
            }
        }
        "pool_size" => match value.parse() {
            Ok(size) if (1..=MAX_POOL_SIZE).contains(&size) => into.target.pool_size = size,
            _ => {
                return wrong(
                    "this is not a pool size",
                    &format!("write a number from 1 to {MAX_POOL_SIZE}"),
                );
            }
        },
        "read" | "sentinel_username" | "sentinel_password"
            if !options_of(&into.target).contains(&name) =>
        {
            let help = match name {
                "read" => "it is for places with replicas: redis-sentinel:// and redis-cluster://",
                _ => "it is for redis-sentinel://HOST:PORT,HOST:PORT/NAME",
            };
            return Err(written.error(range, "this place does not take this option", help));
        }
        "read" => match value.as_str() {
            "primary" => into.target.read = ReadFrom::Primary,
            "replica" => into.target.read = ReadFrom::Replica,
            _ => return wrong("this is not a part of a server", "write primary or replica"),
        },
        "sentinel_username" => into.target.sentinel_username = Some(value),
        "sentinel_password" => into.target.sentinel_password = Some(value),
        "appendfsync" | "maxmemory" | "policy" => {
            let Target { place, bounds, .. } = &mut into.target;
            bounds::parse(written, name, &value, range, place, bounds)?;
        }
        name if tls::NAMES.contains(&name) => {
            tls::parse(written, name, value, range, into.target.tls.as_mut())?;
        }
        _ => {}
    }
    Ok(())
}

/// The part before the first `at`, and the part after it.
fn split(url: &str, range: Range<usize>, at: char) -> (Range<usize>, Option<Range<usize>>) {
    match url[range.clone()].find(at) {
        Some(found) => (
            range.start..range.start + found,
            Some(range.start + found + 1..range.end),
        ),
        None => (range, None),
    }
}

/// The URL without its secrets.
#[cfg(feature = "config")]
pub(crate) fn masked(url: &str) -> String {
    Written::new(url).masked()
}

pub(crate) fn suggest(why: &mut String, unknown: &str, known: &[&str]) {
    // `ttl` means `default_ttl`, although `url` has fewer other letters.
    let is_last_word = |known: &str| {
        known
            .strip_suffix(unknown)
            .is_some_and(|rest| rest.ends_with('_'))
    };
    let near = known
        .iter()
        .map(|known| match is_last_word(known) {
            true => (0, known),
            false => (strsim::osa_distance(unknown, known), known),
        })
        .min();
    if let Some((distance, known)) = near
        && distance <= 2 + unknown.len() / 6
    {
        let _ = write!(why, "; did you mean \"{known}\"?");
    }
}

#[cfg(test)]
mod tests;
