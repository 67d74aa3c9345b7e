//! `Cache-Status` (RFC 9211): a field that says what the cache did with a request.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Answered by what was stored; with how long it stays fresh, or has been stale.
    Hit { left: Duration, stale: Duration },
    /// The handler answered.
    Forwarded(Reason),
    /// The handler answered; its response is stored.
    Stored(Reason),
    /// The handler said that the stored response is still right.
    Validated(Reason),
    /// The answer of the handler to another request, which was running.
    Collapsed,
    /// The client wants only what is stored, and nothing is.
    NotAsked,
}

/// Why the handler was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The layer leaves such requests alone, or such a page.
    Bypass,
    Method,
    Missing,
    Varies,
    Stale,
    /// The request wants a newer response.
    Request,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Reason::Bypass => "bypass",
            Reason::Method => "method",
            Reason::Missing => "uri-miss",
            Reason::Varies => "vary-miss",
            Reason::Stale => "stale",
            Reason::Request => "request",
        }
    }
}

impl Status {
    fn text(self, cache: &str) -> String {
        match self {
            Status::Hit { left, stale } if stale.is_zero() => {
                format!("{cache}; hit; ttl={}", left.as_secs())
            }
            Status::Hit { stale, .. } => format!("{cache}; hit; ttl=-{}", stale.as_secs()),
            Status::Forwarded(why) => format!("{cache}; fwd={}", why.name()),
            Status::Stored(why) => format!("{cache}; fwd={}; stored", why.name()),
            Status::Validated(why) => {
                format!("{cache}; fwd={}; fwd-status=304; stored", why.name())
            }
            Status::NotAsked => format!("{cache}; detail=only-if-cached"),
            Status::Collapsed => format!("{cache}; fwd=uri-miss; collapsed"),
        }
    }

    pub(super) fn write(self, cache: &str, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&self.text(cache)) {
            headers.append(CACHE_STATUS, value);
        }
    }
}

/// The name of a cache as the field has it: a token, or else a quoted text. `None` if it is neither.
pub(super) fn name(name: &str) -> Option<String> {
    let is_token = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte));
    if is_token {
        return Some(name.to_owned());
    }
    let is_text = name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    is_text.then(|| {
        let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{escaped}\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_written_as_the_rfc_has_it() {
        let second = Duration::from_secs(1);
        for (status, expected) in [
            (
                Status::Hit {
                    left: 30 * second,
                    stale: Duration::ZERO,
                },
                "c; hit; ttl=30",
            ),
            (
                Status::Hit {
                    left: Duration::ZERO,
                    stale: 3 * second,
                },
                "c; hit; ttl=-3",
            ),
            (Status::Forwarded(Reason::Method), "c; fwd=method"),
            (Status::Stored(Reason::Missing), "c; fwd=uri-miss; stored"),
            (
                Status::Validated(Reason::Stale),
                "c; fwd=stale; fwd-status=304; stored",
            ),
            (Status::Collapsed, "c; fwd=uri-miss; collapsed"),
            (Status::NotAsked, "c; detail=only-if-cached"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_STATUS, HeaderValue::from_static("origin; hit"));
            status.write("c", &mut headers);
            let lines: Vec<_> = headers.get_all(CACHE_STATUS).iter().collect();
            assert_eq!(lines, ["origin; hit", expected]);
        }
    }

    #[test]
    fn a_name_is_a_token_or_quoted() {
        assert_eq!(name("edge.example:80").as_deref(), Some("edge.example:80"));
        assert_eq!(name("my \"cache\"").as_deref(), Some(r#""my \"cache\"""#));
        assert_eq!(name("a\nb"), None);
    }
}
