//! What a response says of the limit.
//!
//! The fields are those of the IETF's draft "RateLimit header fields for HTTP" (draft-ietf-httpapi-ratelimit-headers):
//! `RateLimit-Policy` and `RateLimit` as its version 10 has them, structured fields (RFC 9651); and the three fields of
//! its versions up to 6, which most clients read. `Retry-After` is that of RFC 9110.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use nearcache::patterns::{Decision, Quota};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Which fields responses have, besides the `Retry-After` of a 429.
///
/// They are left out while Redis is away: then nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RateLimitFields {
    /// Both forms. The default: they have different names, and a client reads the one that it knows.
    #[default]
    Both,
    /// `RateLimit-Policy: "api";q=100;w=60` and `RateLimit: "api";r=19;t=1`, as draft 10 has them.
    Structured,
    /// `RateLimit-Limit: 20`, `RateLimit-Remaining: 19` and `RateLimit-Reset: 1`, as the drafts up to 6 have them.
    Separate,
    /// None.
    Neither,
}

/// The fields of one limiter.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    which: RateLimitFields,
    /// The limiter's name as a string of a structured field, with its quotes.
    name: String,
    policy: HeaderValue,
}

impl Fields {
    pub(super) fn new(which: RateLimitFields, name: &[u8], quota: &Quota) -> Self {
        let name = quoted(name);
        let mut policy = format!("{name};q={}", quota.permits());
        // The window of a policy is a whole number of seconds.
        if let Some(period) = quota.period()
            && period.subsec_nanos() == 0
        {
            policy.push_str(&format!(";w={}", period.as_secs()));
        }
        Fields {
            which,
            policy: value(&policy),
            name,
        }
    }

    pub(super) fn with(self, which: RateLimitFields) -> Self {
        Fields { which, ..self }
    }

    /// Writes what is known into a response.
    pub(super) fn write(&self, decision: &Decision, into: &mut HeaderMap) {
        if decision.is_away() {
            return;
        }
        let (remaining, reset) = (decision.remaining(), seconds(decision.reset_after()));
        if matches!(
            self.which,
            RateLimitFields::Both | RateLimitFields::Structured
        ) {
            // Lists: another limiter may have written, too.
            into.append(POLICY, self.policy.clone());
            let state = format!("{};r={remaining};t={reset}", self.name);
            into.append(STATE, value(&state));
        }
        if matches!(
            self.which,
            RateLimitFields::Both | RateLimitFields::Separate
        ) {
            // Single values: those of the limit that is nearest.
            let nearer = into.get(REMAINING).and_then(number);
            if nearer.is_none_or(|nearer| nearer > remaining) {
                into.insert(LIMIT, decision.limit().into());
                into.insert(REMAINING, remaining.into());
                into.insert(RESET, reset.into());
            }
        }
    }
}

/// Says when to come again.
pub(super) fn write_retry_after(after: Duration, into: &mut HeaderMap) {
    into.insert(RETRY_AFTER, seconds(after).max(1).into());
}

/// Whole seconds, so that nobody comes too early.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn number(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}

/// A string of a structured field. What it cannot hold is left out.
fn quoted(name: &[u8]) -> String {
    let mut quoted = String::from("\"");
    for &byte in name {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => {}
        }
    }
    quoted.push('"');
    quoted
}

/// The text has visible ASCII characters and spaces only.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_a_structured_field() {
        let policy = |name: &[u8], quota: Quota| {
            let fields = Fields::new(RateLimitFields::Both, name, &quota);
            fields.policy.to_str().unwrap().to_owned()
        };
        assert_eq!(
            policy(b"api", Quota::per_minute(100).burst(20)),
            "\"api\";q=100;w=60"
        );
        assert_eq!(
            policy(b"a\"b\\c\n\xff", Quota::per(5, "1500ms")),
            "\"a\\\"b\\\\c\";q=5"
        );
    }

    #[test]
    fn a_part_of_a_second_is_a_whole_one() {
        assert_eq!(seconds(Duration::ZERO), 0);
        assert_eq!(seconds(Duration::from_micros(1)), 1);
        assert_eq!(seconds(Duration::from_secs(7)), 7);
        let mut map = HeaderMap::new();
        write_retry_after(Duration::ZERO, &mut map);
        assert_eq!(map[RETRY_AFTER], "1");
    }
}
