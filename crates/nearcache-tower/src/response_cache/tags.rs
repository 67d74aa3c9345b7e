//! Tags of a response: what `invalidate_tag` removes.

use http::HeaderName;
use http::response::Parts;

/// A response extension: the tags of this response. A handler adds it, and
/// [`invalidate_tag`](nearcache::CacheOf::invalidate_tag) of any of them removes the response from the cache. The
/// extension is taken off before the response is sent.
///
/// ```
/// use http::Response;
/// use nearcache_tower::CacheTags;
///
/// let mut response = Response::new("…");
/// response.extensions_mut().insert(CacheTags::new(["products", "product:7"]));
/// ```
///
/// A tag has 1 byte to 1 KiB, and a response up to 64 of them. One with others is not stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheTags(Vec<String>);

impl CacheTags {
    /// These tags.
    pub fn new(tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        CacheTags(tags.into_iter().map(Into::into).collect())
    }
}

/// Takes the tags off a response.
pub(super) fn take_tags(parts: &mut Parts, header: Option<&HeaderName>) -> Vec<String> {
    let mut tags = parts.extensions.remove::<CacheTags>().unwrap_or_default().0;
    let Some(name) = header else { return tags };
    for value in parts.headers.get_all(name) {
        // `Cache-Tag` separates tags by commas, `Surrogate-Key` by blanks.
        let text = String::from_utf8_lossy(value.as_bytes());
        let named = text.split([',', ' ', '\t']).filter(|tag| !tag.is_empty());
        tags.extend(named.map(str::to_owned));
    }
    parts.headers.remove(name);
    tags
}
