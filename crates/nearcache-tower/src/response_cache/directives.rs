//! `Cache-Control`, as RFC 9111, section 5.2 has it: names in any case, quoted values, several lines.

use std::time::Duration;

use http::HeaderMap;
use http::header::CACHE_CONTROL;

/// The longest time that a directive can name: "a cache MUST use 2147483648 for what is larger" (RFC 9111, 1.2.2).
const LONGEST: u64 = 1 << 31;

/// The directives of a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Directives(Vec<(String, Option<String>)>);

impl Directives {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut directives = Vec::new();
        for value in headers.get_all(CACHE_CONTROL) {
            let text = String::from_utf8_lossy(value.as_bytes());
            for part in members(&text) {
                let (name, value) = match part.split_once('=') {
                    Some((name, value)) => (name, Some(unquoted(value.trim()))),
                    None => (part, None),
                };
                let name = name.trim().to_ascii_lowercase();
                if !name.is_empty() {
                    directives.push((name, value));
                }
            }
        }
        Directives(directives)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// A time in seconds. One that cannot be read, and two that differ, are no time at all: RFC 9111, 4.2.1 lets a cache
    /// take such a response for stale.
    pub(super) fn time(&self, name: &str) -> Option<Duration> {
        let mut times = self
            .0
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| seconds(value.as_deref().unwrap_or_default()).unwrap_or(0));
        let first = times.next()?;
        let agreed = if times.all(|other| other == first) {
            first
        } else {
            0
        };
        Some(Duration::from_secs(agreed))
    }

    /// The directive with this name as it would be written again; its time, if it has one.
    pub(super) fn write(&self, name: &str, out: &mut Vec<String>) {
        match (self.has(name), self.time_of(name)) {
            (false, _) => {}
            (true, Some(time)) => out.push(format!("{name}={}", time.as_secs())),
            (true, None) => out.push(name.to_owned()),
        }
    }

    fn time_of(&self, name: &str) -> Option<Duration> {
        let valued = self
            .0
            .iter()
            .any(|(known, value)| known == name && value.is_some());
        self.time(name).filter(|_| valued)
    }
}

/// Digits, and nothing else.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(LONGEST).min(LONGEST))
}

/// The members of a list: what commas separate that are not in a quoted text.
pub(super) fn members(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        let list = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = list.bytes().position(|byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = quoted,
                b'"' => quoted = !quoted,
                b',' => return !quoted,
                _ => {}
            }
            false
        });
        let member = match end {
            Some(end) => {
                rest = list.get(end + 1..);
                list.get(..end)?
            }
            None => {
                rest = None;
                list
            }
        };
        Some(member.trim_matches([' ', '\t']))
    })
    .filter(|member| !member.is_empty())
}

fn unquoted(value: &str) -> String {
    let inner = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    match inner {
        Some(inner) => {
            let mut plain = String::with_capacity(inner.len());
            let mut escaped = false;
            for c in inner.chars() {
                if c == '\\' && !escaped {
                    escaped = true;
                } else {
                    plain.push(c);
                    escaped = false;
                }
            }
            plain
        }
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(lines: &[&str]) -> Directives {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_str(line).unwrap());
        }
        Directives::of(&headers)
    }

    #[test]
    fn names_are_read_in_any_case_and_values_in_quotes() {
        let directives = of(&["MAX-age=\"60\" ,, Public", "x=\"a, no-store=1\""]);
        assert_eq!(directives.time("max-age"), Some(Duration::from_secs(60)));
        assert!(directives.has("public") && directives.has("x"));
        assert!(!directives.has("no-store"));
    }

    #[test]
    fn a_time_that_cannot_be_read_is_none_at_all() {
        for line in [
            "max-age=-1",
            "max-age=6.0",
            "max-age='6'",
            "max-age",
            "max-age=6, max-age=7",
        ] {
            assert_eq!(of(&[line]).time("max-age"), Some(Duration::ZERO), "{line}");
        }
        assert_eq!(of(&["s-maxage=6"]).time("max-age"), None);
        let long = of(&["max-age=99999999999999999999999"]).time("max-age");
        assert_eq!(long, Some(Duration::from_secs(LONGEST)));
    }

    #[test]
    fn a_list_is_split_outside_of_quotes() {
        let parts: Vec<&str> = members(r#" a , "b, \" c" ,,d"#).collect();
        assert_eq!(parts, ["a", r#""b, \" c""#, "d"]);
        assert_eq!(members("").count(), 0);
        assert_eq!(members("\"open, x").collect::<Vec<_>>(), ["\"open, x"]);
    }
}
