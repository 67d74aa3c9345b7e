//! The options of `remember`, `remember_many` and `refresh`.

use std::time::Duration;

use super::write::Life;
use crate::error::{Error, ErrorKind, Result};
use crate::read_through::ReadThrough;
use crate::read_through::plan::{Plan, Way};
use crate::read_through::presence::Stay;
use crate::read_through::tags::Tag;
use crate::ttl::Ttl;

/// The options set so far.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) life: Life,
    pub(super) negative_ttl: Option<Result<Ttl>>,
    pub(super) stale_for: Option<Result<Ttl>>,
    pub(super) stale_if_error: Option<Result<Ttl>>,
    pub(super) early_refresh: f64,
    pub(super) tags: Vec<Vec<u8>>,
    pub(super) load_timeout: Option<Result<Ttl>>,
    pub(super) soft_timeout: Option<Result<Ttl>>,
    pub(super) way: Way,
    pub(super) skip_near: bool,
}

impl Options {
    pub(super) fn new(way: Way) -> Self {
        Options {
            life: Life::Default,
            negative_ttl: None,
            stale_for: None,
            stale_if_error: None,
            early_refresh: 0.0,
            tags: Vec::new(),
            load_timeout: None,
            soft_timeout: None,
            way,
            skip_near: false,
        }
    }

    /// Whether the options are valid and ask for a value that may be near. (That of tags, and of what is rare, is left
    /// to [`settle`](Options::settle).)
    #[inline]
    pub(super) fn may_be_near(&self) -> bool {
        let wrong = |time: &Option<Result<Ttl>>| matches!(time, Some(Err(_)));
        self.way == Way::Miss
            && !self.skip_near
            && self.tags.is_empty()
            && (0.0..=100.0).contains(&self.early_refresh)
            && !matches!(self.life, Life::For(Err(_)))
            && ![
                &self.negative_ttl,
                &self.stale_for,
                &self.stale_if_error,
                &self.load_timeout,
                &self.soft_timeout,
            ]
            .into_iter()
            .any(wrong)
    }

    pub(super) fn settle(self, core: &ReadThrough) -> Result<Plan> {
        let time = |ttl: Option<Result<Ttl>>| -> Result<Duration> {
            ttl.map_or(Ok(Duration::ZERO), |ttl| Ok(ttl?.as_duration()))
        };
        if !(0.0..=100.0).contains(&self.early_refresh) {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!(
                    "early_refresh is {}; it is a factor from 0 (off) to 100, and 1 is a good one",
                    self.early_refresh
                ),
            ));
        }
        Ok(Plan {
            ttl: match self.life.settle(core)? {
                Stay::For(ttl) => Some(ttl),
                Stay::Forever | Stay::Keep => None,
            },
            negative_ttl: self.negative_ttl.transpose()?,
            stale_for: time(self.stale_for)?,
            stale_if_error: time(self.stale_if_error)?,
            early_refresh: self.early_refresh,
            tags: Tag::of_entry(core.client().keyspace(), &self.tags)?,
            load_timeout: self.load_timeout.transpose()?.map(Ttl::as_duration),
            soft_timeout: self.soft_timeout.transpose()?.map(Ttl::as_duration),
            way: self.way,
            skip_near: self.skip_near,
        })
    }
}

/// The options that mean the same for one key and for many.
macro_rules! options {
    () => {
        /// How long the value stays fresh, varied by the cache's jitter. Default: the cache's default TTL.
        pub fn ttl(mut self, ttl: impl $crate::ttl::IntoTtl) -> Self {
            self.options.life = $crate::cache::write::Life::For(ttl.into_ttl());
            self
        }

        /// The value does not expire, whatever the cache's default TTL.
        pub fn forever(mut self) -> Self {
            self.options.life = $crate::cache::write::Life::Forever;
            self
        }

        /// The TTL of a cached `None` (the loader found no value). Default: the TTL that a value would get.
        pub fn negative_ttl(mut self, ttl: impl $crate::ttl::IntoTtl) -> Self {
            self.options.negative_ttl = Some(ttl.into_ttl());
            self
        }

        /// For this time after its TTL, a value is returned if loading a new one fails. (The error is counted:
        /// [`Stats::load_errors`](crate::Stats::load_errors).) On the call that stores a value, the option sets how
        /// long the value is kept; on the call that reads it, how old the value may be. So give both calls the same
        /// options.
        pub fn stale_if_error(mut self, time: impl $crate::ttl::IntoTtl) -> Self {
            self.options.stale_if_error = Some(time.into_ttl());
            self
        }

        /// Tags of the entry: [`invalidate_tag`](crate::CacheOf::invalidate_tag) of any of them invalidates it. Up to
        /// 64 tags, of 1 byte to 1 KiB each.
        pub fn tags(mut self, tags: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
            let tags = tags.into_iter().map(|tag| tag.as_ref().to_vec());
            self.options.tags.extend(tags);
            self
        }

        /// How long to wait for the load of *another* caller before loading without a lease. Default: the cache's lease
        /// (10 s). The value of such a load is returned to every waiting caller in this process, and is not stored. Of
        /// the callers in this process, one loads after this time; if that load takes as long, each of them does.
        /// This does not limit the loader itself: give the loader a timeout of its own.
        pub fn load_timeout(mut self, time: impl $crate::ttl::IntoTtl) -> Self {
            self.options.load_timeout = Some(time.into_ttl());
            self
        }

        /// Asks Redis, whatever the near tier holds: for a value that another process may have changed a moment ago.
        /// What is read goes near. Without a near tier it changes nothing.
        pub fn skip_near(mut self) -> Self {
            self.options.skip_near = true;
            self
        }

        /// Skips the read: the loader runs for this call. Its value is stored, unless another load of the key is
        /// running; then the value of that load is stored.
        pub fn bypass(mut self) -> Self {
            self.options.way = $crate::read_through::plan::Way::Bypass;
            self
        }

        /// Skips the read, and takes the lease from a running load: the loader runs now, and its value is stored. The
        /// same as [`refresh`](crate::CacheOf::refresh).
        pub fn force(mut self) -> Self {
            self.options.way = $crate::read_through::plan::Way::Force;
            self
        }
    };
}
pub(super) use options;

/// The options for which the loader may run in the background.
macro_rules! options_beside {
    ($($prepare:tt)*) => {
        /// Stale-while-revalidate: for this time after its TTL, a value is returned at once, and one caller loads a new
        /// one in the background.
        pub fn stale_for(mut self, time: impl $crate::ttl::IntoTtl) -> Self {
            self.options.stale_for = Some(time.into_ttl());
            self$($prepare)*
        }

        /// If a load takes longer than this, and there is a value past its TTL (within
        /// [`stale_if_error`](Self::stale_if_error)), that value is returned. The load goes on, and its value is
        /// stored.
        pub fn soft_timeout(mut self, time: impl $crate::ttl::IntoTtl) -> Self {
            self.options.soft_timeout = Some(time.into_ttl());
            self$($prepare)*
        }

        /// Loads a new value in the background shortly *before* the TTL ends, so that with many readers hardly any
        /// caller meets an expired value. The nearer the end, and the longer the value took to load, the more likely.
        /// `beta` is the factor of XFetch (Vattani et al., VLDB 2015): 1 is the paper's choice, a larger value loads
        /// earlier, and 0 (the default) is off.
        pub fn early_refresh(mut self, beta: f64) -> Self {
            self.options.early_refresh = beta;
            self$($prepare)*
        }
    };
}
pub(super) use options_beside;

/// `own_error`, for every operation with a loader.
macro_rules! own_error {
    ($own:ty) => {
        /// Returns the loader's own error type instead of [`Error`](crate::Error): to the caller whose loader failed
        /// and to every caller that waited for it. Whatever else goes wrong (and another caller's loader, if its error
        /// is of another type) comes as an [`Error`](crate::Error) and is converted by `From`.
        ///
        /// ```
        /// # async fn example() -> nearcache::Result<()> {
        /// # let cache = nearcache::Cache::open("memory://")?;
        /// # use std::fmt;
        /// #[derive(Clone, Debug)]
        /// enum Failure {
        ///     NotFound,
        ///     Cache(nearcache::Error),
        /// }
        ///
        /// impl From<nearcache::Error> for Failure {
        ///     fn from(error: nearcache::Error) -> Self {
        ///         Failure::Cache(error)
        ///     }
        /// }
        /// # impl std::error::Error for Failure {}
        /// # impl fmt::Display for Failure {
        /// #     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{self:?}") }
        /// # }
        ///
        /// async fn find_user(id: u64) -> Result<String, Failure> {
        ///     Err(Failure::NotFound)
        /// }
        ///
        /// let user = cache.remember("user:1", || find_user(1)).own_error().await;
        /// assert!(matches!(user, Err(Failure::NotFound)));
        /// # Ok(())
        /// # }
        /// # nearcache::__example(example());
        /// ```
        ///
        /// The error type must be `Clone`, because one error may be for many callers: keep what is not `Clone` in an
        /// [`Arc`](std::sync::Arc). For other types there is
        /// [`Error::downcast_ref`](crate::Error::downcast_ref).
        pub fn own_error(self) -> $own {
            self.owning()
        }
    };
}
pub(super) use own_error;
