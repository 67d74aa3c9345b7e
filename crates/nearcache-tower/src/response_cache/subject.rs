//! A request as the cache sees it: its key, who asks, and what it asks for.

use std::fmt::Write as _;

use http::header::{self, HeaderMap};
use http::request::Parts;
use http::{Method, Uri};
use sha1_smol::Sha1;

use super::record::Record;
use super::shared::Shared;
use super::terms::{Asker, Asks};
use super::vary::{self, Selecting};

/// A longer address is passed by, and so is a longer key of the application's own.
const LONGEST: usize = 8 * 1024;

/// Fields with which a request is passed by: its answer is a part of the response, or no response at all.
const PASSED_BY: [header::HeaderName; 6] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_UNMODIFIED_SINCE,
    header::UPGRADE,
    header::TRANSFER_ENCODING,
];

/// A request that may be answered from the cache.
#[derive(Debug)]
pub(super) struct Subject {
    /// The name of the page: its host, path and query, or what the application's own function says.
    page: String,
    pub(super) asker: Asker,
    pub(super) is_head: bool,
    pub(super) asks: Asks,
    pub(super) headers: HeaderMap,
    /// The tags that the application's function gives it.
    pub(super) tags: Vec<String>,
}

impl Subject {
    /// `None` for a request that is passed by.
    pub(super) fn of(request: &Parts, shared: &Shared) -> Option<Self> {
        let is_head = request.method == Method::HEAD;
        if !is_head && request.method != Method::GET {
            return None;
        }
        let headers = &request.headers;
        // A body could decide the answer.
        let has_body = headers
            .get(header::CONTENT_LENGTH)
            .is_some_and(|length| length.as_bytes().trim_ascii() != b"0");
        if has_body || PASSED_BY.iter().any(|name| headers.contains_key(name)) {
            return None;
        }
        let asks = match shared.ignore_request_directives {
            true => Asks::nothing(),
            false => Asks::of(headers),
        };
        if asks.forbids_storing {
            return None;
        }
        let page = page(request, shared)?;
        let asker = if headers.contains_key(header::AUTHORIZATION) {
            Asker::Authorized
        } else if shared.rules.are_implicit()
            && !shared.ignore_cookies
            && headers.contains_key(header::COOKIE)
        {
            Asker::Known
        } else {
            Asker::Anonymous
        };
        let tags = shared.request_tags.as_ref();
        Some(Subject {
            page,
            asker,
            is_head,
            asks,
            headers: headers.clone(),
            tags: tags.map(|tags| tags(request)).unwrap_or_default(),
        })
    }

    /// The key of the page for such askers.
    pub(super) fn key(&self, shared: &Shared) -> String {
        primary(shared, self.asker, &self.page)
    }

    /// Where else there may be a response that is for this request, too.
    pub(super) fn other_keys(&self, shared: &Shared) -> Vec<String> {
        let implicit = shared.rules.are_implicit() && !shared.ignore_cookies;
        let others: &[Asker] = match self.asker {
            Asker::Anonymous if implicit => &[Asker::Authorized, Asker::Known],
            Asker::Anonymous => &[Asker::Authorized],
            Asker::Known | Asker::Authorized => &[Asker::Anonymous],
        };
        let keys = others
            .iter()
            .map(|asker| primary(shared, *asker, &self.page));
        keys.collect()
    }

    /// The key of the response that is for this request, where the page has several.
    pub(super) fn variant_key(&self, shared: &Shared, first: &Record) -> String {
        let names = first.selecting.iter().map(|(name, _)| name);
        let selecting = vary::select(names, &self.headers);
        variant(shared, &first.generation, &selecting)
    }
}

/// The keys of a page, for every asker.
pub(super) fn keys_of(request: &Parts, shared: &Shared) -> Vec<String> {
    let page = page(request, shared);
    let keys = page.map(|page| {
        [Asker::Anonymous, Asker::Known, Asker::Authorized]
            .map(|asker| primary(shared, asker, &page))
    });
    keys.into_iter().flatten().collect()
}

/// The address that was asked for. Within a nested router, axum keeps it beside the request's own.
fn address(request: &Parts) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(original) = request.extensions.get::<axum::extract::OriginalUri>() {
        return &original.0;
    }
    &request.uri
}

/// The same request for another address.
pub(super) fn at(mut request: Parts, uri: Uri) -> Parts {
    #[cfg(feature = "axum")]
    request.extensions.remove::<axum::extract::OriginalUri>();
    request.uri = uri;
    request
}

fn page(request: &Parts, shared: &Shared) -> Option<String> {
    let page = match &shared.key {
        Some(key) => key(request)?,
        None => {
            let uri = address(request);
            let mut page = String::new();
            if !shared.ignore_host {
                page = host(uri, &request.headers).unwrap_or_default();
            }
            page.push_str(uri.path_and_query().map_or("/", |all| all.as_str()));
            page
        }
    };
    (page.len() <= LONGEST).then_some(page)
}

/// The host that is asked.
pub(super) fn host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let named = uri.authority().map(http::uri::Authority::as_str);
    let named = named.or_else(|| headers.get(header::HOST)?.to_str().ok());
    named.map(str::to_ascii_lowercase)
}

fn primary(shared: &Shared, asker: Asker, page: &str) -> String {
    let who = match asker {
        Asker::Anonymous => "get",
        Asker::Known => "get+cookie",
        Asker::Authorized => "get+auth",
    };
    format!("{}:{who}:{page}", shared.name)
}

fn variant(shared: &Shared, generation: &[u8], selecting: &Selecting) -> String {
    let mut hash = Sha1::new();
    for (name, value) in selecting {
        let value = value.as_deref();
        hash.update(name.as_str().as_bytes());
        // No value has this length.
        let length = value.map_or(u64::MAX, |value| value.len() as u64);
        hash.update(&length.to_be_bytes());
        hash.update(value.unwrap_or_default());
    }
    let mut key = format!("{}:vary:", shared.name);
    for byte in generation {
        let _ = write!(key, "{byte:02x}");
    }
    let _ = write!(key, ":{}", hash.digest());
    key
}

/// The address that a `Location` or `Content-Location` of a response names, if it is of the same host.
pub(super) fn resolved(base: &Parts, location: &str) -> Option<Uri> {
    if let Ok(uri) = location.parse::<Uri>()
        && uri.scheme().is_some()
    {
        let own = host(address(base), &base.headers);
        let named = host(&uri, &HeaderMap::new());
        return (own.is_some() && own == named).then_some(uri);
    }
    let path = location.split('#').next().unwrap_or_default();
    let full = match path {
        _ if path.starts_with("//") => return None,
        "" => address(base).path_and_query()?.as_str().to_owned(),
        _ if path.starts_with('/') => path.to_owned(),
        _ if path.starts_with('?') => format!("{}{path}", address(base).path()),
        _ => {
            let folder = address(base)
                .path()
                .rsplit_once('/')
                .map_or("", |(folder, _)| folder);
            without_dots(&format!("{folder}/{path}"))
        }
    };
    full.parse().ok()
}

/// A path without its `.` and `..`.
fn without_dots(path: &str) -> String {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (path, String::new()),
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if segments.peek().is_none() {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_location_is_resolved_where_it_is_of_the_same_host() {
        let request = Request::builder()
            .uri("/a/b?c")
            .header("host", "Example.com")
            .body(())
            .unwrap();
        let base = request.into_parts().0;
        for (location, expected) in [
            ("/x?y", Some("/x?y")),
            ("x", Some("/a/x")),
            ("../x/./y?z", Some("/x/y?z")),
            ("..", Some("/")),
            ("?d", Some("/a/b?d")),
            ("", Some("/a/b?c")),
            ("http://example.COM/x", Some("http://example.com/x")),
            ("http://other.example/x", None),
            ("//other.example/x", None),
        ] {
            let found = resolved(&base, location).map(|uri| uri.to_string());
            let found = found.map(|uri| uri.to_ascii_lowercase());
            assert_eq!(found.as_deref(), expected, "{location}");
        }
    }
}
