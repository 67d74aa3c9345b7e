//! `Vary`: which requests a stored response is for (RFC 9111, section 4.1).

use http::header::VARY;
use http::{HeaderMap, HeaderName};

use super::directives::members;

/// What a request must say for a response to be for it: the names in `Vary`, with the values of the request that the
/// response was made for, normalized. `None`: the request had no such field.
pub(super) type Selecting = Vec<(HeaderName, Option<Vec<u8>>)>;

/// The names in `Vary`, in order and once each; `None` if it says `*`, or what is no name: no other request matches then.
pub(super) fn names(headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for value in headers.get_all(VARY) {
        for name in members(value.to_str().ok()?) {
            if name == "*" {
                return None;
            }
            names.push(HeaderName::from_bytes(name.as_bytes()).ok()?);
        }
    }
    names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    Some(names)
}

/// What the request says under these names.
pub(super) fn select<'n>(
    names: impl IntoIterator<Item = &'n HeaderName>,
    request: &HeaderMap,
) -> Selecting {
    names
        .into_iter()
        .map(|name| (name.clone(), normalized(request, name)))
        .collect()
}

/// Whether a request says the same.
pub(super) fn matches(selecting: &Selecting, request: &HeaderMap) -> bool {
    selecting
        .iter()
        .all(|(name, value)| normalized(request, name) == *value)
}

/// The lines of a field as one, without the blanks around its commas: what RFC 9111 lets a cache do without knowing
/// what the field means.
fn normalized(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut lines = headers.get_all(name).iter().peekable();
    lines.peek()?;
    let mut joined = Vec::new();
    for line in lines {
        if !joined.is_empty() {
            joined.push(b',');
        }
        match line.to_str() {
            Ok(text) => {
                let parts: Vec<&str> = members(text).collect();
                joined.extend_from_slice(parts.join(",").as_bytes());
            }
            Err(_) => joined.extend_from_slice(line.as_bytes()),
        }
    }
    Some(joined)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                let value = HeaderValue::from_str(value).unwrap();
                (HeaderName::from_static(name), value)
            })
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            })
    }

    #[test]
    fn a_star_anywhere_is_for_no_other_request() {
        for lines in [
            &["*"][..],
            &["foo, *"],
            &["", "*"],
            &[", *"],
            &["a", "*, b"],
        ] {
            let lines: Vec<_> = lines.iter().map(|line| ("vary", *line)).collect();
            assert_eq!(names(&headers(&lines)), None, "{lines:?}");
        }
        assert_eq!(names(&headers(&[("vary", "no name")])), None);
        assert_eq!(names(&headers(&[])), Some(vec![]));
        let two = names(&headers(&[("vary", "Foo, bar"), ("vary", "foo")]));
        assert_eq!(two.unwrap(), ["bar", "foo"]);
    }

    #[test]
    fn lines_and_blanks_do_not_matter_and_an_absent_field_does() {
        let foo = HeaderName::from_static("foo");
        let stored = select([&foo], &headers(&[("foo", "1"), ("foo", "2")]));
        assert!(matches(&stored, &headers(&[("foo", " 1,  2 ")])));
        assert!(!matches(&stored, &headers(&[("foo", "2, 1")])));
        assert!(!matches(&stored, &headers(&[])));
        let absent = select([&foo], &headers(&[]));
        assert!(matches(&absent, &headers(&[])));
        assert!(!matches(&absent, &headers(&[("foo", "")])));
    }
}
