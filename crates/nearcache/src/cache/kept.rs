//! `get_kept`: a read that returns what is kept past its TTL, too, and says so.

use super::CacheOf;
use super::operation::Pending;
use crate::codec::Decode;
use crate::hooks::CallKeys;
use crate::read_through::read::Kept;

impl<M> CacheOf<M> {
    /// The value of a key, also past its TTL, as long as it is kept: for the `stale_for` or `stale_if_error` of the call
    /// that stored it, or for the [`stale_for`](crate::Loaded::stale_for) of its loader. [`Kept::stale_for`] says how
    /// long ago its TTL ended. Use it where the application decides whether an old value will do, or can be renewed.
    ///
    /// A value whose tag was invalidated is never returned. One that was marked stale is returned as stale.
    ///
    /// ```
    /// # async fn example() -> nearcache::Result<()> {
    /// # let cache = nearcache::Cache::open("memory://")?;
    /// cache
    ///     .remember_with("price", async || 10)
    ///     .ttl("1h")
    ///     .stale_if_error("1d")
    ///     .await?;
    /// cache.mark_stale("price").await?;
    /// assert_eq!(cache.get::<u32>("price").await?, None);
    /// let kept = cache.get_kept::<u32>("price").await?.expect("it is kept for a day");
    /// assert_eq!(kept.value, 10);
    /// assert!(kept.stale_for.is_some());
    /// # Ok(())
    /// # }
    /// # nearcache::__example(example());
    /// ```
    ///
    /// While Redis is away, the fallback answers as for a [`get`](CacheOf::get).
    ///
    /// # Errors
    /// Those of [`get`](CacheOf::get).
    pub fn get_kept<T: Decode>(&self, key: impl AsRef<[u8]>) -> Pending<'_, Option<Kept<T>>, M> {
        let (core, key) = self.named(key);
        Pending::new(async move {
            let key = key?;
            core.perform("get_kept", CallKeys::One(key.user()), async |core| {
                core.look_up_kept(&key).await
            })
            .await
            .map_err(|error| error.for_key(&key))
        })
    }
}
