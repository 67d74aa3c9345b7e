//! The face of an element: text by name, as JitAI's caches have it. Beneath it is an ordinary cache, with all its verbs.
//!
//! 1. A value is stored as the bytes of its text, and nothing else, so every client of Redis reads it.
//! 2. A method that cannot do what it says fails with an error. `false` says only that there was nothing to do.
//!
//! `charset` has the bytes of texts, `names` the listing of keys.

use std::fmt;
use std::sync::Arc;

use super::charset::{Charset, NotThere};
use super::element::Element;
use super::names::Names;
use crate::CacheOf;
use crate::cache::operation::{Async, Executor, Pending};
use crate::codec::Raw;
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::CallKeys;
use crate::ttl::{IntoTtl, Ttl};

/// The text face of an element, async: see [`TextCacheOf`].
pub type TextCache = TextCacheOf<Async>;

/// An element of an application, as its code uses it: text and numbers by name. [`Registry::element`] returns it.
///
/// There are two forms: [`TextCache`], whose operations end in `.await`, and, by [`blocking`](TextCacheOf::blocking),
/// the one whose operations end in `.run()`. Cloning is cheap, and clones are the same cache.
///
/// ```
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// # let app = std::env::temp_dir().join(format!("nearcache-doc-text-{}", std::process::id()));
/// # std::fs::create_dir_all(app.join("caches/MyRedis"))?;
/// # std::fs::write(app.join("caches/MyRedis/e.json"),
/// #     r#"{"backendBundleEntry": ".", "title": "My Redis Cache", "type": "caches.RedisType"}"#)?;
/// # std::fs::write(app.join("caches/MyRedis/MyRedis.json"), r#"{"url": "memory://"}"#)?;
/// use nearcache::compat::registry::Registry;
///
/// let registry = Registry::builder("myapp").root(&app).build();
/// let cache = registry.element("caches.MyRedis")?;
///
/// cache.set("user:1001", "张三", 3600).await?; // expires in 1 hour
/// let user_name = cache.get("user:1001").await?;
/// assert_eq!(user_name.as_deref(), Some("张三"));
///
/// cache.set_numeric("visit_count", 100, None).await?;
/// assert_eq!(cache.incr("visit_count", 5).await?, 105);
/// assert_eq!(cache.get_numeric("visit_count").await?, 105);
///
/// if cache.exists("user:1001").await? {
///     cache.delete("user:1001").await?;
/// }
/// # std::fs::remove_dir_all(&app)?;
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
///
/// # Names and texts
/// A name is stored as `{appId}:{name}`. Names and texts have the bytes of the element's `charset`, UTF-8 without one. A
/// text that the charset cannot represent is [`ErrorKind::Codec`], such a name [`ErrorKind::InvalidKey`]; a key that
/// holds a list or a hash is [`ErrorKind::WrongType`].
///
/// # While Redis is away
/// Every method but [`ping`](TextCacheOf::ping) fails, within `socket_timeout`, and `socket_connect_timeout` where it has
/// to connect. The error says what is wrong: [`ErrorKind::Connect`] with host and port, [`ErrorKind::Auth`] if Redis
/// refuses the user or the password, [`ErrorKind::Timeout`]; see [`CacheOf`]. No error contains a password.
///
/// [`Registry::element`]: super::Registry::element
pub struct TextCacheOf<M> {
    cache: CacheOf<M>,
    about: Arc<About>,
}

/// What is known of the element.
pub(super) struct About {
    pub(super) element: Element,
    pub(super) charset: Charset,
    /// Whether `get` may return text.
    pub(super) decode_responses: bool,
}

impl<M> TextCacheOf<M> {
    pub(super) fn new(cache: CacheOf<M>, about: Arc<About>) -> Self {
        TextCacheOf { cache, about }
    }

    /// The text of a name, or `None` if it is missing or expired.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] for bytes that are no text in the element's charset; they are never taken for a miss.
    /// [`ErrorKind::InvalidConfig`] if the element has `decode_responses = false`, so that its values are bytes: read
    /// them with [`get_bytes`](TextCacheOf::get_bytes).
    pub fn get(&self, name: impl AsRef<str>) -> Pending<'_, Option<String>, M> {
        let name = self.stored(name.as_ref());
        Pending::new(async move {
            let name = name?;
            let About {
                element, charset, ..
            } = &*self.about;
            if !self.about.decode_responses {
                return Err(Error::new(
                    ErrorKind::InvalidConfig,
                    format!(
                        "{} has decode_responses = false, so its values are bytes: read them with get_bytes",
                        element.name()
                    ),
                ));
            }
            let Some(Raw(bytes)) = self.cache.get::<Raw>(&name).start().await? else {
                return Ok(None);
            };
            let length = bytes.len();
            let text = charset.decode(bytes).ok_or_else(|| {
                let why =
                    format!("the {length} bytes are no {charset} text; read them with get_bytes");
                self.at(Error::new(ErrorKind::Codec, why), &name)
            })?;
            Ok(Some(text))
        })
    }

    /// The bytes of a name, whatever they are, or `None` if it is missing or expired.
    ///
    /// # Errors
    /// Those of every call (see [`TextCacheOf`]).
    pub fn get_bytes(&self, name: impl AsRef<str>) -> Pending<'_, Option<Vec<u8>>, M> {
        let name = self.stored(name.as_ref());
        Pending::new(async move {
            let found = self.cache.get::<Raw>(name?).start().await?;
            Ok(found.map(|Raw(bytes)| bytes))
        })
    }

    /// Stores a text. `ts` is how many seconds it stays (or any other [TTL](IntoTtl)); with `None` it does not expire,
    /// unless the element has a `default_ttl`. An earlier expiry of the name ends. Returns `true`.
    ///
    /// ```
    /// # async fn example(cache: nearcache::compat::registry::TextCache) -> nearcache::Result<()> {
    /// cache.set("config:theme", "dark", None).await?;
    /// cache.set("verification_code", "123456", 300).await?; // expires in 5 minutes
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTtl`] for a `ts` of 0 or less, and those of every call (see [`TextCacheOf`]).
    pub fn set(
        &self,
        name: impl AsRef<str>,
        text: impl AsRef<str>,
        ts: impl IntoTs,
    ) -> Pending<'_, bool, M> {
        let charset = self.about.charset;
        let name = self.stored(name.as_ref());
        let bytes = charset.encode(text.as_ref()).map_err(|NotThere(at)| {
            let why =
                format!("the character at byte {at} of the text is not in the charset {charset}");
            Error::new(ErrorKind::Codec, why)
        });
        self.put(name, bytes, ts.into_ts())
    }

    /// Stores bytes, as they are. Otherwise like [`set`](TextCacheOf::set).
    ///
    /// # Errors
    /// Those of [`set`](TextCacheOf::set).
    pub fn set_bytes(
        &self,
        name: impl AsRef<str>,
        bytes: impl Into<Vec<u8>>,
        ts: impl IntoTs,
    ) -> Pending<'_, bool, M> {
        self.put(self.stored(name.as_ref()), Ok(bytes.into()), ts.into_ts())
    }

    /// The number of a name, or 0 if it is missing or expired.
    ///
    /// # Errors
    /// [`ErrorKind::NotInteger`] for content that is no 64-bit integer; it is never taken for 0.
    pub fn get_numeric(&self, name: impl AsRef<str>) -> Pending<'_, i64, M> {
        let name = self.stored(name.as_ref());
        Pending::new(async move {
            let found = self.cache.counter(name?).start().await?;
            Ok(found.unwrap_or(0))
        })
    }

    /// Stores a number, as its decimal digits, for [`incr`](TextCacheOf::incr) to count on. Otherwise like
    /// [`set`](TextCacheOf::set).
    ///
    /// # Errors
    /// Those of [`set`](TextCacheOf::set).
    pub fn set_numeric(
        &self,
        name: impl AsRef<str>,
        n: i64,
        ts: impl IntoTs,
    ) -> Pending<'_, bool, M> {
        let digits = n.to_string().into_bytes();
        self.put(self.stored(name.as_ref()), Ok(digits), ts.into_ts())
    }

    /// Adds to a number, and returns the new one. A missing name starts at 0, without an expiry; an existing one keeps
    /// its expiry. The amount may be negative. Atomic: with many callers, no addition is lost.
    ///
    /// # Errors
    /// [`ErrorKind::NotInteger`] and [`ErrorKind::Overflow`], which leave the value unchanged.
    pub fn incr(&self, name: impl AsRef<str>, amount: i64) -> Pending<'_, i64, M> {
        let name = self.stored(name.as_ref());
        Pending::new(async move { self.cache.incr(name?).by(amount).start().await })
    }

    /// Sets the expiry of a name, in seconds from now (or any other [TTL](IntoTtl)). Returns whether the name exists.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTtl`] for a `ts` of 0 or less: to remove a name, [`delete`](TextCacheOf::delete) it.
    pub fn expire(&self, name: impl AsRef<str>, ts: impl IntoTtl) -> Pending<'_, bool, M> {
        let (name, ts) = (self.stored(name.as_ref()), ts.into_ttl());
        Pending::new(async move { self.cache.expire(name?, ts?).start().await })
    }

    /// Whether a name exists, that is, is neither missing nor expired.
    ///
    /// # Errors
    /// Those of every call (see [`TextCacheOf`]).
    pub fn exists(&self, name: impl AsRef<str>) -> Pending<'_, bool, M> {
        let name = self.stored(name.as_ref());
        Pending::new(async move { self.cache.contains(name?).start().await })
    }

    /// Deletes a name, of whatever type. Returns whether it existed.
    ///
    /// # Errors
    /// Those of every call (see [`TextCacheOf`]).
    pub fn delete(&self, name: impl AsRef<str>) -> Pending<'_, bool, M> {
        let name = self.stored(name.as_ref());
        Pending::new(async move { self.cache.delete(name?).start().await })
    }

    /// The names that a glob pattern matches (`"*"`: all), each once, without the application's id: a lazy stream, or
    /// iterator. It reads the next page (`SCAN`) when it is needed, sees nothing of other applications, and may be
    /// dropped at any point. Otherwise as [`CacheOf::keys`].
    ///
    /// ```
    /// # async fn example(cache: nearcache::compat::registry::TextCache) -> nearcache::Result<()> {
    /// let mut sessions = cache.keys("session:*");
    /// while let Some(name) = sessions.next().await {
    ///     println!("Session key: {}", name?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn keys(&self, pattern: impl AsRef<str>) -> Names<'_, M> {
        let charset = self.about.charset;
        let pattern = charset.encode_pattern(pattern.as_ref());
        let keys = pattern
            .map(|pattern| self.cache.keys().matching(pattern))
            .map_err(|not_there| name_is_not_there(not_there, charset));
        Names::new(keys, charset)
    }

    /// Whether Redis answers, and accepts the user. It is no error if it does not: ask the [`cache`](TextCacheOf::cache)
    /// beneath why ([`CacheOf::ping`]).
    ///
    /// ```
    /// # async fn example(cache: nearcache::compat::registry::TextCache) {
    /// if cache.ping().await {
    ///     println!("Redis connection normal");
    /// } else {
    ///     println!("Redis connection abnormal");
    /// }
    /// # }
    /// ```
    pub fn ping(&self) -> Ping<'_, M> {
        Ping {
            ping: self.cache.ping(),
        }
    }

    /// Closes the connections of this element. Calls under way end first, on theirs; a later call connects anew. So other
    /// elements with the same configuration, which share the connections, are not harmed: they connect anew as well. A
    /// cache in this process (`memory://`) has no connections, and keeps its values.
    ///
    /// # Errors
    /// None: there is nothing that can fail.
    pub fn disconnect(&self) -> Pending<'_, (), M> {
        let core = self.cache.core();
        Pending::new(async move {
            core.perform("disconnect", CallKeys::None, async |core| {
                core.client().disconnect();
                Ok(())
            })
            .await
        })
    }

    /// The cache beneath, with all its verbs and handles: `remember`, tags, hashes, lists. It has the same keys, and is
    /// the one that [`Registry::cache`](super::Registry::cache) returns.
    pub fn cache(&self) -> &CacheOf<M> {
        &self.cache
    }

    /// The element: its Types, its fields, the path of its file.
    pub fn element(&self) -> &Element {
        &self.about.element
    }

    /// The full name of the element: `caches.MyRedis`.
    pub fn name(&self) -> &str {
        self.about.element.name()
    }

    /// The element's title, for people.
    pub fn title(&self) -> &str {
        self.about.element.title()
    }

    /// The element's icon, if it has one.
    pub fn icon(&self) -> Option<&str> {
        self.about.element.icon()
    }

    fn put(
        &self,
        name: Result<Vec<u8>>,
        bytes: Result<Vec<u8>>,
        ts: Result<Option<Ttl>>,
    ) -> Pending<'_, bool, M> {
        Pending::new(async move {
            let name = name?;
            let bytes = bytes.map_err(|error| self.at(error, &name))?;
            let set = self.cache.set(&name, Raw(bytes));
            match ts.map_err(|error| self.at(error, &name))? {
                Some(ttl) => set.ttl(ttl).start().await?,
                None => set.start().await?,
            }
            Ok(true)
        })
    }

    /// The bytes of a name.
    fn stored(&self, name: &str) -> Result<Vec<u8>> {
        let charset = self.about.charset;
        charset
            .encode(name)
            .map_err(|not_there| name_is_not_there(not_there, charset))
    }

    /// An error about this name.
    fn at(&self, error: Error, name: &[u8]) -> Error {
        error.named(name, self.cache.core().client().keyspace().redacts())
    }
}

fn name_is_not_there(NotThere(at): NotThere, charset: Charset) -> Error {
    let why = format!("the character at byte {at} of the name is not in the charset {charset}");
    Error::new(ErrorKind::InvalidKey, why)
}

impl TextCacheOf<Async> {
    /// This element for code without an async runtime.
    ///
    /// # Errors
    /// Those of [`Registry::element`](super::Registry::element).
    #[cfg(feature = "blocking")]
    pub fn blocking(&self) -> Result<TextCacheOf<crate::operation::Blocking>> {
        let about = Arc::clone(&self.about);
        Ok(TextCacheOf::new(self.cache.blocking()?, about))
    }
}

#[cfg(feature = "blocking")]
impl TextCacheOf<crate::operation::Blocking> {
    /// This element for async callers: the reverse of [`blocking`](TextCacheOf::blocking).
    ///
    /// # Errors
    /// Those of [`Registry::element`](super::Registry::element).
    pub fn asynchronous(&self) -> Result<TextCache> {
        let about = Arc::clone(&self.about);
        Ok(TextCacheOf::new(self.cache.asynchronous()?, about))
    }
}

impl<M> Clone for TextCacheOf<M> {
    fn clone(&self) -> Self {
        TextCacheOf::new(self.cache.clone(), Arc::clone(&self.about))
    }
}

/// The element and its cache, never the password.
impl<M: Executor> fmt::Debug for TextCacheOf<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextCache")
            .field("element", &self.about.element)
            .field("charset", &format_args!("{}", self.about.charset))
            .field("decode_responses", &self.about.decode_responses)
            .field("cache", &self.cache)
            .finish()
    }
}

/// A pending `ping` of an element. Its answer is not a `Result`.
#[must_use = "nothing happens until it is carried out, by `.await` or `.run()`"]
pub struct Ping<'c, M = Async> {
    ping: Pending<'c, (), M>,
}

impl<'c> IntoFuture for Ping<'c> {
    type Output = bool;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = bool> + Send + 'c>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.ping.start().await.is_ok() })
    }
}

#[cfg(feature = "blocking")]
impl Ping<'_, crate::operation::Blocking> {
    /// Carries the operation out on this thread.
    #[must_use]
    pub fn run(self) -> bool {
        self.ping.run().is_ok()
    }
}

impl<M> fmt::Debug for Ping<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ping")
    }
}

/// How long a text stays: `None`, or whatever is a [TTL](IntoTtl), such as a number of seconds.
pub trait IntoTs {
    /// # Errors
    /// [`ErrorKind::InvalidTtl`] for 0, and for what is negative or not in a known form.
    fn into_ts(self) -> Result<Option<Ttl>>;
}

impl<T: IntoTtl> IntoTs for T {
    fn into_ts(self) -> Result<Option<Ttl>> {
        self.into_ttl().map(Some)
    }
}

/// `None`, or a number of seconds.
impl IntoTs for Option<i64> {
    fn into_ts(self) -> Result<Option<Ttl>> {
        self.map(IntoTtl::into_ttl).transpose()
    }
}
