//! Whose request it is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderName;
use http::request::Parts;

/// What becomes of requests that have no key: without the header, without a known peer, or for which the function says
/// `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WithoutKey {
    /// They share one limit, under the id [`RateLimitLayer::NO_KEY`](crate::RateLimitLayer::NO_KEY). The default: to
    /// leave a header out is no way around the limit.
    #[default]
    Together,
    /// They pass, without a check.
    Allow,
    /// They are answered with 429, without `Retry-After`.
    Deny,
}

type Function = dyn Fn(&Parts) -> Option<Vec<u8>> + Send + Sync;

/// Where the key is from.
#[derive(Clone)]
pub(super) enum KeyBy {
    Peer,
    Header(HeaderName),
    Function(Arc<Function>),
}

impl KeyBy {
    /// The key of a request; an empty one is none.
    pub(super) fn of(&self, parts: &Parts) -> Option<Vec<u8>> {
        let key = match self {
            KeyBy::Peer => peer(parts).map(|peer| network(peer).into_bytes()),
            KeyBy::Header(name) => {
                let value = parts.headers.get(name).map(http::HeaderValue::as_bytes);
                value.filter(|value| !value.is_empty()).map(digest)
            }
            KeyBy::Function(function) => function(parts),
        };
        key.filter(|key| !key.is_empty())
    }
}

impl fmt::Debug for KeyBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyBy::Peer => f.write_str("Peer"),
            KeyBy::Header(name) => f.debug_tuple("Header").field(name).finish(),
            KeyBy::Function(_) => f.write_str("Function"),
        }
    }
}

/// The id of a header's value: a digest, so that no API key is in Redis, in messages or in metrics.
pub(super) fn digest(value: &[u8]) -> Vec<u8> {
    sha1_smol::Sha1::from(value)
        .digest()
        .to_string()
        .into_bytes()
}

/// The address of the peer, as the server has put it into the extensions.
fn peer(parts: &Parts) -> Option<IpAddr> {
    #[cfg(feature = "axum")]
    if let Some(axum::extract::ConnectInfo(peer)) = parts
        .extensions
        .get::<axum::extract::ConnectInfo<SocketAddr>>()
    {
        return Some(peer.ip());
    }
    let peer = parts.extensions.get::<SocketAddr>().map(SocketAddr::ip);
    peer.or_else(|| parts.extensions.get::<IpAddr>().copied())
}

/// Who has an IPv6 address has a network of them: 64 bits of it are the key.
fn network(peer: IpAddr) -> String {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_peer_is_its_network() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3::4"), "2001:db8:1:2::/64");
        assert_eq!(of("2001:db8:1:2:ffff::"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:3::1"), of("2001:db8:1:2::1"));
    }

    #[test]
    fn a_header_is_known_by_its_digest_alone() {
        let by = KeyBy::Header(HeaderName::from_static("x-api-key"));
        let parts = |value: &[u8]| {
            let request = http::Request::builder().header("x-api-key", value);
            request.body(()).unwrap().into_parts().0
        };
        let key = by.of(&parts(b"secret")).unwrap();
        assert_eq!(key, b"e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4");
        assert_ne!(by.of(&parts(b"Secret")).unwrap(), key);
        assert!(by.of(&parts(b"\xff\xfe")).is_some());
        assert_eq!(by.of(&parts(b"")), None);
        assert_eq!(by.of(&http::Request::new(()).into_parts().0), None);
    }
}
