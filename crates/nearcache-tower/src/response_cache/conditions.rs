//! Conditional requests: those of a client, answered from what is stored, and our own, which ask the handler whether it
//! has changed (RFC 9110, section 13; RFC 9111, section 4.3).

use http::header::{self, HeaderMap, HeaderName};
use http::{Response, StatusCode};

use super::directives::members;
use super::fields::date;

/// What describes a body, which a 304 has not.
const OF_A_BODY: [HeaderName; 4] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::TRANSFER_ENCODING,
];

/// Whether the client has this response already.
pub(super) fn is_known(request: &HeaderMap, status: StatusCode, stored: &HeaderMap) -> bool {
    if status != StatusCode::OK {
        return false;
    }
    if request.contains_key(header::IF_NONE_MATCH) {
        let Some(ours) = stored
            .get(header::ETAG)
            .map(|tag| tag.as_bytes().trim_ascii())
        else {
            return false;
        };
        return request.get_all(header::IF_NONE_MATCH).iter().any(|line| {
            // The tags are compared as bytes: they may be of any.
            match line.to_str() {
                Ok(text) => members(text).any(|tag| tag == "*" || is_same(tag.as_bytes(), ours)),
                Err(_) => is_same(line.as_bytes().trim_ascii(), ours),
            }
        });
    }
    let Some(since) = date(request, &header::IF_MODIFIED_SINCE) else {
        return false;
    };
    let modified = date(stored, &header::LAST_MODIFIED).or_else(|| date(stored, &header::DATE));
    modified.is_some_and(|modified| modified <= since)
}

/// The weak comparison.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let strong = |tag| <[u8]>::strip_prefix(tag, b"W/".as_slice()).unwrap_or(tag);
    strong(one) == strong(other)
}

/// Makes a 304 of a response.
pub(super) fn not_modified<B>(mut response: Response<B>, none: B) -> Response<B> {
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    for name in &OF_A_BODY {
        response.headers_mut().remove(name);
    }
    *response.body_mut() = none;
    response
}

/// Lets a request ask for the whole response: what the client knows is compared here.
pub(super) fn unconditional(request: &mut HeaderMap) {
    request.remove(header::IF_NONE_MATCH);
    request.remove(header::IF_MODIFIED_SINCE);
}

/// Lets a request ask whether what is stored is still right. Whether it can.
pub(super) fn ask_for_change(request: &mut HeaderMap, stored: &HeaderMap) -> bool {
    unconditional(request);
    for (validator, condition) in [
        (header::ETAG, header::IF_NONE_MATCH),
        (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE),
    ] {
        if let Some(value) = stored.get(validator) {
            request.insert(condition, value.clone());
        }
    }
    request.contains_key(header::IF_NONE_MATCH) || request.contains_key(header::IF_MODIFIED_SINCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_client_that_has_it_is_known() {
        let stored = headers(&[
            ("etag", "W/\"a\""),
            ("last-modified", "Tue, 14 Nov 2023 23:13:20 GMT"),
        ]);
        let known =
            |lines: &[(&'static str, &str)]| is_known(&headers(lines), StatusCode::OK, &stored);
        assert!(known(&[("if-none-match", "\"x\", \"a\"")]));
        assert!(known(&[
            ("if-none-match", "\"x\""),
            ("if-none-match", "W/\"a\"")
        ]));
        assert!(known(&[("if-none-match", "*")]));
        assert!(!known(&[("if-none-match", "\"b\"")]));
        let later = ("if-modified-since", "Wed, 15 Nov 2023 00:00:00 GMT");
        assert!(known(&[later]));
        assert!(!known(&[(
            "if-modified-since",
            "Tue, 14 Nov 2023 00:00:00 GMT"
        )]));
        assert!(!known(&[("if-modified-since", "yesterday")]));
        // The tag goes first.
        assert!(!known(&[later, ("if-none-match", "\"b\"")]));
        assert!(!known(&[]));
        assert!(!is_known(
            &headers(&[later]),
            StatusCode::NOT_FOUND,
            &stored
        ));
        assert!(!is_known(
            &headers(&[("if-none-match", "*")]),
            StatusCode::OK,
            &HeaderMap::new()
        ));
    }

    #[test]
    fn our_conditions_take_the_place_of_the_clients() {
        let mut request = headers(&[("if-none-match", "\"x\""), ("accept", "a")]);
        assert!(ask_for_change(&mut request, &headers(&[("etag", "\"a\"")])));
        assert_eq!(
            request,
            headers(&[("if-none-match", "\"a\""), ("accept", "a")])
        );
        assert!(!ask_for_change(&mut request, &HeaderMap::new()));
        assert_eq!(request, headers(&[("accept", "a")]));
    }
}
