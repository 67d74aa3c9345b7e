//! The header fields of a response: which are stored, and how a 304 updates them (RFC 9111, sections 3.1 and 3.2).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{self, HeaderMap, HeaderName};

use super::directives::members;

/// Fields of one connection, which are never stored.
const OF_A_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// And those that are not in the `http` crate's list.
const OF_A_PROXY: [HeaderName; 2] = [
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authentication-info"),
];

/// What describes the stored body: a 304 has none, so what it says of one is not about this one.
const OF_THE_BODY: [HeaderName; 5] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::ETAG,
    HeaderName::from_static("content-md5"),
];

/// Removes what belongs to a connection.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(members)
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .collect();
    for name in OF_A_CONNECTION.iter().chain(&OF_A_PROXY).chain(&named) {
        headers.remove(name);
    }
}

/// The stored fields, with those of a 304 in place of their own.
pub(super) fn updated(stored: &HeaderMap, mut by: HeaderMap) -> HeaderMap {
    strip(&mut by);
    for name in &OF_THE_BODY {
        by.remove(name);
    }
    let mut headers = stored.clone();
    // An age is that of the response that came.
    headers.remove(header::AGE);
    for name in by.keys() {
        headers.remove(name);
    }
    for (name, value) in &by {
        headers.append(name.clone(), value.clone());
    }
    headers
}

/// A field that holds a date.
pub(super) fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let text = headers.get(name)?.to_str().ok()?;
    httpdate::parse_http_date(text.trim()).ok()
}

pub(super) fn from_millis(millis: u64) -> SystemTime {
    // The furthest that an HTTP date can name, the year 9999, is a bound for what a damaged entry says.
    UNIX_EPOCH + Duration::from_millis(millis.min(253_402_300_799_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn what_belongs_to_a_connection_is_not_stored() {
        let mut all = headers(&[
            ("connection", "a, B"),
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
        ]);
        strip(&mut all);
        assert_eq!(all, headers(&[("c", "3")]));
    }

    #[test]
    fn a_304_replaces_what_it_names_but_not_what_describes_the_body() {
        let stored = headers(&[
            ("link", "</a>"),
            ("link", "</b>"),
            ("content-length", "5"),
            ("etag", "\"a\""),
            ("kept", "yes"),
            ("age", "100"),
        ]);
        let by = headers(&[
            ("link", "</c>"),
            ("content-length", "0"),
            ("etag", "\"b\""),
            ("new", "1"),
        ]);
        let expected = headers(&[
            ("link", "</c>"),
            ("content-length", "5"),
            ("etag", "\"a\""),
            ("kept", "yes"),
            ("new", "1"),
        ]);
        assert_eq!(updated(&stored, by), expected);
    }
}
