//! Parses a cache's URL: where the cache is, and the options after the `?`. `written` is the URL as text, with the
//! errors that point into it; `bounds` are the options that limit an embedded store.
//!
//! ```text
//! memory://[name][/db][?option=value&...]
//! memory:///folder[?option=value&...]
//! redis://[[user]:password@][host][:port][/db][?option=value&...]        also valkey://
//! redis+unix://[[user]:password@]/path/to.sock[?option=value&...]        also valkey+unix://
//! ```
//!
//! It is parsed by hand rather than with the `url` crate, because every error points at the part that is wrong, in
//! the URL as it was written. No error shows a password, not even one that was left unescaped and so was cut into
//! other parts of the URL (`written`).

mod bounds;
mod written;

use std::fmt::Write as _;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use self::written::Written;
use crate::codec::{Compression, Format};
use crate::connect::target::{PORT, Place, Protocol, Target};
use crate::error::Result;
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
}

const SCHEMES: [&str; 5] = ["memory", "redis", "redis+unix", "valkey", "valkey+unix"];

const OPTIONS: [&str; 20] = [
    "appendfsync",
    "breaker",
    "client_name",
    "compression",
    "connect_timeout",
    "db",
    "default_ttl",
    "format",
    "maxmemory",
    "password",
    "policy",
    "pool_size",
    "prefix",
    "protocol",
    "redact_keys",
    "separator",
    "timeout",
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
        "memory" => parse_memory(&written, place_range)?,
        "redis" | "valkey" => parse_tcp(&written, place_range)?,
        "redis+unix" | "valkey+unix" => parse_unix(&written, place_range)?,
        "rediss" | "valkeys" => {
            return Err(written.error(
                0..scheme_end,
                "TLS is not part of this version",
                SCHEME_HELP,
            ));
        }
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

const SCHEME_HELP: &str = "allowed: memory://, redis://, redis+unix://, valkey://, valkey+unix://";

fn parsed(place: Place) -> Parsed {
    Parsed {
        target: Target::new(place),
        prefix: None,
        separator: None,
        default_ttl: None,
        ttl_jitter: None,
        timeout: None,
        version: None,
        format: None,
        compression: None,
        redact_keys: None,
    }
}

fn parse_memory(written: &Written<'_>, place: Range<usize>) -> Result<Parsed> {
    let path = &written.url[place.clone()];
    let is_db = |path: &str| path.bytes().all(|byte| byte.is_ascii_digit());
    if path.strip_prefix('/').is_some_and(|path| !is_db(path)) {
        let path = PathBuf::from(written.decode(place)?);
        return Ok(parsed(Place::Folder { path }));
    }
    let (name_range, db) = split(written.url, place, '/');
    let name = &written.url[name_range.clone()];
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if let Some(at) = name.find(|c| !legal(c)) {
        let at = name_range.start + at..name_range.end;
        return Err(written.error(
            at,
            "this cannot be part of a store's name",
            "a name has the letters a-z and A-Z, digits, and - _ .; memory:// alone is a store of \
             the cache's own, and memory:///FOLDER one that is kept in a folder",
        ));
    }
    let mut result = parsed(Place::Embedded {
        name: (!name.is_empty()).then(|| name.to_owned()),
    });
    if let Some(db) = db.filter(|db| !db.is_empty()) {
        result.target.db = parse_db(written, db)?;
    }
    Ok(result)
}

fn parse_tcp(written: &Written<'_>, place: Range<usize>) -> Result<Parsed> {
    let (authority, db) = split(written.url, place, '/');
    if let Some(db) = db.clone()
        && !written.url[authority.clone()].contains('@')
        && let Some(at) = written.url[db.clone()].rfind('@')
    {
        return Err(written.unescaped(authority.start..db.start + at));
    }
    let (user_info, host_port) = match written.url[authority.clone()].rfind('@') {
        Some(at) => (
            Some(authority.start..authority.start + at),
            authority.start + at + 1..authority.end,
        ),
        None => (None, authority),
    };
    let (host, port) = split_host(written, host_port)?;
    let mut result = parsed(Place::Tcp { host, port });
    if let Some(user_info) = user_info {
        parse_user_info(written, user_info, &mut result.target)?;
    }
    if let Some(db) = db.filter(|db| !db.is_empty()) {
        result.target.db = parse_db(written, db)?;
    }
    Ok(result)
}

fn split_host(written: &Written<'_>, range: Range<usize>) -> Result<(String, u16)> {
    let text = &written.url[range.clone()];
    // The colons of an IPv6 address are inside brackets.
    let host_end = if text.starts_with('[') {
        match text.find(']') {
            Some(at) => at + 1,
            None => {
                return Err(written.error(range, "the bracket is not closed", "write [::1]:6379"));
            }
        }
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let (host, port) = text.split_at(host_end);
    let port_range = range.start + host_end..range.end;
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => PORT,
        Some(digits) => digits
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| {
                let help = "a port is a number from 1 to 65535; an IPv6 address needs brackets";
                let at = port_range.start + 1..port_range.end;
                written.error(
                    if at.is_empty() { port_range } else { at },
                    "this is not a port",
                    help,
                )
            })?,
        None => {
            return Err(written.error(
                port_range,
                "only :PORT can follow the host",
                "write [::1]:6379",
            ));
        }
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let legal = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '%');
    if let Some(at) = host.find(|c| !legal(c)) {
        let at = range.start + text.find(host).unwrap_or(0) + at;
        return Err(written.error(
            at..range.start + host_end,
            "this cannot be part of a host name",
            "write redis://HOST:PORT",
        ));
    }
    let host = if host.is_empty() { "localhost" } else { host };
    Ok((host.to_owned(), port))
}

fn parse_unix(written: &Written<'_>, place: Range<usize>) -> Result<Parsed> {
    let text = &written.url[place.clone()];
    let path_at = match (text.find('@'), text.find('/')) {
        (Some(at), Some(slash)) if at < slash => at + 1,
        _ => 0,
    };
    let path_range = place.start + path_at..place.end;
    let path = written.decode(path_range.clone())?;
    if !path.starts_with('/') || path.len() < 2 {
        return Err(written.error(
            path_range,
            "the path of a unix socket begins with /",
            "write redis+unix:///run/redis/redis.sock (three slashes)",
        ));
    }
    let mut result = parsed(Place::Unix {
        path: PathBuf::from(path),
    });
    if path_at > 0 {
        parse_user_info(
            written,
            place.start..place.start + path_at - 1,
            &mut result.target,
        )?;
    }
    Ok(result)
}

/// `user:password`, `:password` or `user`.
fn parse_user_info(written: &Written<'_>, range: Range<usize>, target: &mut Target) -> Result<()> {
    let (user, password) = split(written.url, range, ':');
    if !user.is_empty() {
        target.username = Some(written.decode(user)?);
    }
    if let Some(password) = password.filter(|password| !password.is_empty()) {
        target.password = Some(written.decode(password)?);
    }
    Ok(())
}

fn parse_db(written: &Written<'_>, range: Range<usize>) -> Result<u32> {
    // Redis counts its databases with an i32.
    written.url[range.clone()]
        .parse()
        .ok()
        .filter(|db| *db <= i32::MAX as u32)
        .ok_or_else(|| {
            written.error(
                range,
                "this is not a database number",
                "write a number, as in /0 or /15",
            )
        })
}

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
            suggest(&mut why, name, &options_of(&into.target.place));
            return Err(written.error(
                name_range,
                &why,
                &format!("allowed: {}", options_of(&into.target.place).join(", ")),
            ));
        }
        parse_option(written, name, value, into)?;
    }
    Ok(())
}

/// The options that a place takes.
fn options_of(place: &Place) -> Vec<&'static str> {
    let takes = |name: &&str| place.is_embedded() || !bounds::NAMES.contains(name);
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
        "appendfsync" | "maxmemory" | "policy" => {
            let Target { place, bounds, .. } = &mut into.target;
            bounds::parse(written, name, &value, range, place, bounds)?;
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
