//! The options of an embedded store: `maxmemory` and `policy`, which limit it, and `appendfsync` for one in a folder.
//! A server has its own, so a URL of one may not set them.

use std::ops::Range;

use super::suggest;
use super::written::Written;
use crate::connect::target::{Bounds, Place};
use crate::error::Result;

/// The eviction policies, with the names that Redis has for them.
const POLICIES: [&str; 8] = [
    "allkeys-lfu",
    "allkeys-lru",
    "allkeys-random",
    "noeviction",
    "volatile-lfu",
    "volatile-lru",
    "volatile-random",
    "volatile-ttl",
];

/// When the log of a store in a folder is written to the disk, with the names that Redis has for it.
const FSYNCS: [&str; 3] = ["always", "everysec", "no"];

/// The options.
pub(super) const NAMES: [&str; 3] = ["appendfsync", "maxmemory", "policy"];

/// The smallest limit. A smaller one would hold hardly more than the empty store.
const LEAST: u64 = 64 << 10;

/// Reads one of the options. `range` is where `value` is in the URL.
pub(super) fn parse(
    written: &Written<'_>,
    name: &str,
    value: &str,
    range: Range<usize>,
    place: &Place,
    into: &mut Bounds,
) -> Result<()> {
    if name == "appendfsync" {
        return parse_appendfsync(written, value, range, place, into);
    }
    if !place.is_embedded() {
        let option = range.start - name.len() - 1..range.end;
        return Err(written.error(
            option,
            &format!("{name} limits the store in this process; a server has its own limits"),
            "set them on the server, with CONFIG SET maxmemory and maxmemory-policy",
        ));
    }
    if name == "policy" {
        let Some(policy) = POLICIES.into_iter().find(|policy| *policy == value) else {
            let mut why = format!("there is no policy \"{value}\"");
            suggest(&mut why, value, &POLICIES);
            let help = format!("allowed: {}", POLICIES.join(", "));
            return Err(written.error(range, &why, &help));
        };
        into.policy = Some(policy);
        return Ok(());
    }
    match size(value) {
        Some(bytes) if bytes == 0 || bytes >= LEAST => into.maxmemory = Some(bytes),
        _ => {
            return Err(written.error(
                range,
                "this is not a size",
                "write it as 64mb or 1gb, 64kb at least; 0 means no limit",
            ));
        }
    }
    Ok(())
}

fn parse_appendfsync(
    written: &Written<'_>,
    value: &str,
    range: Range<usize>,
    place: &Place,
    into: &mut Bounds,
) -> Result<()> {
    if !place.is_embedded() {
        let option = range.start - "appendfsync=".len()..range.end;
        return Err(written.error(
            option,
            "appendfsync is for a store in this process that is kept in a folder",
            "write memory:///FOLDER?appendfsync=everysec; a server has its own",
        ));
    }
    let Some(fsync) = FSYNCS.into_iter().find(|fsync| *fsync == value) else {
        let mut why = format!("there is no appendfsync \"{value}\"");
        suggest(&mut why, value, &FSYNCS);
        let help = format!("allowed: {}", FSYNCS.join(", "));
        return Err(written.error(range, &why, &help));
    };
    into.appendfsync = Some(fsync);
    Ok(())
}

/// Reads sizes as Redis does: `k` is 1000 and `kb` 1024.
pub(super) fn size(text: &str) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::super::parse as parse_url;
    use super::*;
    use crate::error::ErrorKind;

    fn bounds(url: &str) -> Bounds {
        parse_url(url).expect(url).target.bounds
    }

    #[cfg(feature = "embedded")]
    #[test]
    fn every_policy_of_a_url_is_one_of_the_store() {
        use nearcache_embedded::Policy;
        for name in POLICIES {
            assert_eq!(name.parse::<Policy>().map(Policy::name), Ok(name));
        }
        assert_eq!(POLICIES.len(), Policy::ALL.len());
    }

    #[test]
    fn a_store_can_be_bounded_in_the_url() {
        assert_eq!(bounds("memory://"), Bounds::default());
        let said = bounds("memory://shared/1?maxmemory=64mb&policy=allkeys-lru");
        assert_eq!(said.maxmemory, Some(64 << 20));
        assert_eq!(said.policy, Some("allkeys-lru"));
        for (size, bytes) in [
            ("0", 0),
            ("100000", 100_000),
            ("64kb", LEAST),
            ("2G", 2_000_000_000),
        ] {
            let said = bounds(&format!("memory://?maxmemory={size}"));
            assert_eq!(said.maxmemory, Some(bytes), "{size}");
        }
    }

    #[test]
    fn a_wrong_bound_is_pointed_at() {
        for (url, part, says) in [
            ("memory://?maxmemory=64tb", "64tb", "64kb at least"),
            ("memory://?maxmemory=1kb", "1kb", "64kb at least"),
            ("memory://?maxmemory=-1", "-1", "not a size"),
            (
                "memory://?maxmemory=99999999999999999999",
                "99999999999999999999",
                "not a size",
            ),
            (
                "memory://?policy=allkeys-lur",
                "allkeys-lur",
                "did you mean \"allkeys-lru\"?",
            ),
            (
                "memory://?policy=lru",
                "lru",
                "allowed: allkeys-lfu, allkeys-lru",
            ),
            (
                "memory://?max_memory=1gb",
                "max_memory",
                "did you mean \"maxmemory\"?",
            ),
            (
                "redis://h?maxmemory=64mb",
                "maxmemory=64mb",
                "a server has its own limits",
            ),
            (
                "redis+unix:///s?policy=noeviction",
                "policy=noeviction",
                "CONFIG SET",
            ),
        ] {
            let error = parse_url(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::InvalidUrl);
            let text = error.to_string();
            assert!(text.contains(says), "{url}: {text}");
            let lines: Vec<&str> = text.lines().collect();
            let from = lines[2].find('^').expect(&text);
            assert_eq!(&lines[1][from..lines[2].len()], part, "{text}");
        }
    }
}
