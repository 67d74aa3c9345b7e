//! Keys in telemetry: left out, or grouped, so that no personal name leaves the process, and no time series is
//! created per key.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;

/// The group of all keys beyond the limit, and of keys that no pattern matches.
pub(crate) const OTHER: &str = "other";

/// The maximum number of groups. Keys of further groups are in `other`.
const MAX_GROUPS: usize = 100;

/// A longer part of a key is taken for an identifier, and not for a kind of thing.
const LONGEST_PART: usize = 24;

/// How telemetry names keys. It is off by default, because keys may contain personal data.
///
/// ```
/// use nearcache::hooks::KeyGroups;
///
/// let groups = KeyGroups::automatic();
/// assert_eq!(groups.group(b"user:42:orders").as_deref(), Some("user:*:orders"));
///
/// let groups = KeyGroups::of(["user:*:orders", "user:*"]);
/// assert_eq!(groups.group(b"user:ada").as_deref(), Some("user:*"));
/// assert_eq!(groups.group(b"session:1").as_deref(), Some("other"));
///
/// assert_eq!(KeyGroups::off().group(b"user:42"), None);
/// ```
#[derive(Clone, Default)]
pub struct KeyGroups(Option<Arc<Naming>>);

enum Naming {
    Patterns(Vec<Arc<str>>),
    Automatic(RwLock<HashSet<Arc<str>>>),
}

impl KeyGroups {
    /// No key is named.
    pub fn off() -> Self {
        KeyGroups(None)
    }

    /// Finds the groups itself. Keys are split at `:`, `/`, `|` and `.`; a part with a digit or `@` in it, one of
    /// more than 24 bytes, and one that is not text become `*`. There are at most 100 groups; further keys are in the
    /// group `other`.
    ///
    /// Names in keys (`user:ada`) remain visible: group such keys with [`of`](KeyGroups::of).
    pub fn automatic() -> Self {
        KeyGroups(Some(Arc::new(Naming::Automatic(RwLock::default()))))
    }

    /// Uses these groups. A key belongs to the first pattern that matches; `*` stands for any bytes. Keys that match
    /// no pattern are in the group `other`. Only the first 100 patterns are used.
    pub fn of<P: Into<String>>(patterns: impl IntoIterator<Item = P>) -> Self {
        let patterns = patterns.into_iter().take(MAX_GROUPS);
        let patterns = patterns.map(|pattern| Arc::from(pattern.into())).collect();
        KeyGroups(Some(Arc::new(Naming::Patterns(patterns))))
    }

    /// The group of this key; `None` if keys are not named.
    pub fn group(&self, key: &[u8]) -> Option<Arc<str>> {
        match &**self.0.as_ref()? {
            Naming::Patterns(patterns) => {
                let group = patterns.iter().find(|pattern| matches(pattern, key));
                Some(group.map_or_else(|| Arc::from(OTHER), Arc::clone))
            }
            Naming::Automatic(known) => Some(bounded(known, &generalized(key))),
        }
    }
}

fn bounded(known: &RwLock<HashSet<Arc<str>>>, group: &str) -> Arc<str> {
    if let Some(group) = known.read().get(group) {
        return Arc::clone(group);
    }
    let mut known = known.write();
    if let Some(group) = known.get(group) {
        return Arc::clone(group);
    }
    if known.len() >= MAX_GROUPS {
        return Arc::from(OTHER);
    }
    let group = Arc::from(group);
    known.insert(Arc::clone(&group));
    group
}

/// The key with `*` for the parts that differ from key to key.
fn generalized(key: &[u8]) -> String {
    let mut group = String::with_capacity(key.len().min(64));
    for part in key.split_inclusive(|byte| b":/|.".contains(byte)) {
        let (part, separator) = match part.split_last() {
            Some((last, part)) if b":/|.".contains(last) => (part, Some(char::from(*last))),
            _ => (part, None),
        };
        group.push_str(&kind(part));
        group.extend(separator);
        if group.len() > 4 * LONGEST_PART {
            group.push('*');
            break;
        }
    }
    group
}

fn kind(part: &[u8]) -> Cow<'_, str> {
    let varies = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_control() || *byte == b'@';
    match std::str::from_utf8(part) {
        Ok(text) if part.len() <= LONGEST_PART && !part.iter().any(varies) => Cow::Borrowed(text),
        _ => Cow::Borrowed("*"),
    }
}

/// Whether a pattern matches the whole key; `*` stands for any bytes.
fn matches(pattern: &str, key: &[u8]) -> bool {
    let mut parts = pattern.as_bytes().split(|byte| *byte == b'*');
    let Some(mut rest) = parts.next().and_then(|first| key.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = find(rest, part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.windows(part.len()).position(|window| window == part)
}

impl fmt::Debug for KeyGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_deref() {
            None => f.write_str("KeyGroups::off"),
            Some(Naming::Automatic(_)) => f.write_str("KeyGroups::automatic"),
            Some(Naming::Patterns(patterns)) => write!(f, "KeyGroups::of({patterns:?})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_varies_becomes_a_star() {
        for (key, group) in [
            (&b"user:42"[..], "user:*"),
            (b"user:42:orders", "user:*:orders"),
            (b"img/9f3a/small", "img/*/small"),
            (b"mail:ada@example", "mail:*"),
            (b"v1.users", "*.users"),
            (b"plain", "plain"),
            (b"::", "::"),
            (b"", ""),
            (b"bin:\xff\xfe", "bin:*"),
            (b"text:a-very-long-part-that-is-one-of-its-kind", "text:*"),
        ] {
            assert_eq!(generalized(key), group);
        }
        let long = "a:".repeat(10_000);
        assert!(generalized(long.as_bytes()).len() < 130);
    }

    #[test]
    fn there_are_no_more_than_a_hundred_groups() {
        let groups = KeyGroups::automatic();
        let mut seen = HashSet::new();
        for first in 'a'..='z' {
            for second in 'a'..='z' {
                seen.extend(groups.group(format!("{first}{second}:1").as_bytes()));
            }
        }
        assert_eq!(seen.len(), MAX_GROUPS + 1);
        assert!(seen.contains(OTHER));
        assert_eq!(groups.group(b"aa:2").as_deref(), Some("aa:*"));
    }

    proptest! {
        /// Compared with the glob of the embedded store. (Here, `?` and `[` are ordinary characters.)
        #[test]
        fn patterns_match_as_globs_do(pattern in "[ab*]{0,8}", key in "[ab]{0,8}") {
            prop_assert_eq!(
                matches(&pattern, key.as_bytes()),
                slowly(pattern.as_bytes(), key.as_bytes())
            );
        }

        #[test]
        fn no_key_is_too_strange(key in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(KeyGroups::automatic().group(&key).is_some());
        }
    }

    fn slowly(pattern: &[u8], key: &[u8]) -> bool {
        match pattern.split_first() {
            None => key.is_empty(),
            Some((b'*', rest)) => (0..=key.len()).any(|at| slowly(rest, &key[at..])),
            Some((first, rest)) => key.first() == Some(first) && slowly(rest, &key[1..]),
        }
    }
}
