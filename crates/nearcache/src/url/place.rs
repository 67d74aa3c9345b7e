//! The place in a cache's URL: what stands between the scheme and the options.

use std::ops::Range;
use std::path::PathBuf;

use super::written::Written;
use super::{Parsed, split};
use crate::connect::target::{Address, PORT, Place, SENTINEL_PORT, Target};
use crate::error::Result;

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
        near: crate::read_through::near::Asked::default(),
    }
}

pub(super) fn memory(written: &Written<'_>, place: Range<usize>) -> Result<Parsed> {
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

pub(super) fn tcp(written: &Written<'_>, place: Range<usize>) -> Result<Parsed> {
    let Authority { user, hosts, path } = authority(written, place)?;
    let Address { host, port } = address(written, hosts, PORT)?;
    let mut result = parsed(Place::Tcp { host, port });
    user_info(written, user, &mut result.target)?;
    if let Some(db) = path.filter(|db| !db.is_empty()) {
        result.target.db = parse_db(written, db)?;
    }
    Ok(result)
}

/// A primary by the name that Sentinels have for it.
pub(super) fn sentinel(written: &Written<'_>, place: Range<usize>) -> Result<Parsed> {
    let Authority { user, hosts, path } = authority(written, place.clone())?;
    let sentinels = addresses(written, hosts, SENTINEL_PORT)?;
    let (name, db) = match path {
        Some(path) => split(written.url, path, '/'),
        None => (place.end..place.end, None),
    };
    let master = written.decode(name.clone())?;
    if master.is_empty() {
        return Err(written.error(
            if name.is_empty() { place } else { name },
            "the name of the primary is missing",
            "write redis-sentinel://HOST:PORT,HOST:PORT/NAME; Sentinel's configuration names it: sentinel monitor NAME ...",
        ));
    }
    let mut result = parsed(Place::Sentinel { sentinels, master });
    user_info(written, user, &mut result.target)?;
    if let Some(db) = db.filter(|db| !db.is_empty()) {
        result.target.db = parse_db(written, db)?;
    }
    Ok(result)
}

/// Some nodes of a Cluster, which know the others.
pub(super) fn cluster(written: &Written<'_>, place: Range<usize>) -> Result<Parsed> {
    let Authority { user, hosts, path } = authority(written, place)?;
    let seeds = addresses(written, hosts, PORT)?;
    let mut result = parsed(Place::Cluster { seeds });
    user_info(written, user, &mut result.target)?;
    if let Some(db) = path.filter(|db| !db.is_empty()) {
        result.target.db = parse_db(written, db)?;
    }
    Ok(result)
}

/// What stands before the options.
struct Authority {
    user: Option<Range<usize>>,
    hosts: Range<usize>,
    path: Option<Range<usize>>,
}

fn authority(written: &Written<'_>, place: Range<usize>) -> Result<Authority> {
    let (authority, path) = split(written.url, place, '/');
    if let Some(path) = path.clone()
        && !written.url[authority.clone()].contains('@')
        && let Some(at) = written.url[path.clone()].rfind('@')
    {
        return Err(written.unescaped(authority.start..path.start + at));
    }
    let (user, hosts) = match written.url[authority.clone()].rfind('@') {
        Some(at) => (
            Some(authority.start..authority.start + at),
            authority.start + at + 1..authority.end,
        ),
        None => (None, authority),
    };
    Ok(Authority { user, hosts, path })
}

/// Addresses with commas between them, each once.
fn addresses(written: &Written<'_>, range: Range<usize>, port: u16) -> Result<Vec<Address>> {
    let mut addresses = Vec::new();
    let mut rest = Some(range);
    while let Some(range) = rest {
        let (one, after) = split(written.url, range.clone(), ',');
        rest = after;
        if one.is_empty() && (rest.is_some() || !addresses.is_empty()) {
            let comma = match rest {
                Some(_) => one.start..one.start + 1,
                None => one.start - 1..one.start,
            };
            return Err(written.error(
                comma,
                "an address is missing between two commas",
                "write HOST:PORT,HOST:PORT",
            ));
        }
        let address = address(written, one, port)?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

fn address(written: &Written<'_>, range: Range<usize>, default: u16) -> Result<Address> {
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
        None if port.is_empty() => default,
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
    let host = host.to_owned();
    Ok(Address { host, port })
}

pub(super) fn unix(written: &Written<'_>, place: Range<usize>) -> Result<Parsed> {
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
    let user = (path_at > 0).then(|| place.start..place.start + path_at - 1);
    user_info(written, user, &mut result.target)?;
    Ok(result)
}

/// `user:password`, `:password` or `user`.
fn user_info(
    written: &Written<'_>,
    range: Option<Range<usize>>,
    target: &mut Target,
) -> Result<()> {
    let Some(range) = range else {
        return Ok(());
    };
    let (user, password) = split(written.url, range, ':');
    if !user.is_empty() {
        target.username = Some(written.decode(user)?);
    }
    if let Some(password) = password.filter(|password| !password.is_empty()) {
        target.password = Some(written.decode(password)?);
    }
    Ok(())
}

pub(super) fn parse_db(written: &Written<'_>, range: Range<usize>) -> Result<u32> {
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
