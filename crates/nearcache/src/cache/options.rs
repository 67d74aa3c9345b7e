//! The options of `remember`, `remember_many` and `refresh`.

use std::time::Duration;

use super::write::{Life, Stay};
use crate::error::{Error, ErrorKind, Result};
use crate::read_through::ReadThrough;
use crate::read_through::plan::{Plan, Way};
use crate::read_through::tags::Tag;
use crate::ttl::Ttl;

/// What was asked for so far.
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
        }
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
        })
    }
}

/// The options that mean the same for one key and for many.
macro_rules! options {
    () => {
        /// How long the value stays fresh, spread by the cache's jitter. Without it, the cache's default.
        pub fn ttl(mut self, ttl: impl $crate::ttl::IntoTtl) -> Self {
            self.options.life = $crate::cache::write::Life::For(ttl.into_ttl());
            self
        }

        /// The value does not expire, whatever the cache's default TTL.
        pub fn forever(mut self) -> Self {
            self.options.life = $crate::cache::write::Life::Forever;
            self
        }

        /// How long it is remembered that there is no value (the loader gave `None`). Without it, as long as a
        /// value would be.
        pub fn negative_ttl(mut self, ttl: impl $crate::ttl::IntoTtl) -> Self {
            self.options.negative_ttl = Some(ttl.into_ttl());
            self
        }

        /// For so long after its TTL, a value is the answer if loading it anew fails. (The error is counted:
        /// [`Stats::load_errors`](crate::Stats::load_errors).) The call that stores a value says with this how
        /// long it is kept, and the one that reads it how old it may be: give both the same options.
        pub fn stale_if_error(mut self, time: impl $crate::ttl::IntoTtl) -> Self {
            self.options.stale_if_error = Some(time.into_ttl());
            self
        }

        /// Tags of the entry: [`invalidate_tag`](crate::CacheOf::invalidate_tag) of any of them is its end. Up to
        /// 64, of 1 byte to 1 KiB each.
        pub fn tags(mut self, tags: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
            let tags = tags.into_iter().map(|tag| tag.as_ref().to_vec());
            self.options.tags.extend(tags);
            self
        }

        /// How long to wait for the load of *another* caller before loading without it: the cache's lease
        /// (10 s) unless said otherwise. What is loaded so answers everyone in this process who waits, and is
        /// not stored. The loader's own time is the loader's business: give it a timeout of its own.
        pub fn load_timeout(mut self, time: impl $crate::ttl::IntoTtl) -> Self {
            self.options.load_timeout = Some(time.into_ttl());
            self
        }

        /// Does not read: the loader runs for this call, and its value is stored, unless another load of the key
        /// is under way, whose value is stored then.
        pub fn bypass(mut self) -> Self {
            self.options.way = $crate::read_through::plan::Way::Bypass;
            self
        }

        /// Does not read, and takes the place of a load that is under way: the loader runs now, and its value is
        /// stored. As [`refresh`](crate::CacheOf::refresh).
        pub fn force(mut self) -> Self {
            self.options.way = $crate::read_through::plan::Way::Force;
            self
        }
    };
}
pub(super) use options;

/// The options for which the loader runs beside the caller.
macro_rules! options_beside {
    ($($prepare:tt)*) => {
        /// Stale-while-revalidate: for so long after its TTL, a value is the answer at once, and one caller
        /// loads it anew beside.
        pub fn stale_for(mut self, time: impl $crate::ttl::IntoTtl) -> Self {
            self.options.stale_for = Some(time.into_ttl());
            self$($prepare)*
        }

        /// A load that takes longer is not waited for if there is a value past its TTL to answer with (within
        /// [`stale_if_error`](Self::stale_if_error)); it goes on, and its value is stored.
        pub fn soft_timeout(mut self, time: impl $crate::ttl::IntoTtl) -> Self {
            self.options.soft_timeout = Some(time.into_ttl());
            self$($prepare)*
        }

        /// Loads a value anew, beside the caller, shortly *before* its TTL ends, the more likely the nearer the
        /// end and the longer it took to load: with many readers it is hardly ever missed. `beta` is the factor
        /// of XFetch (Vattani et al., VLDB 2015): 1 is the paper's choice, more is earlier, 0 is off (unless
        /// said otherwise).
        pub fn early_refresh(mut self, beta: f64) -> Self {
            self.options.early_refresh = beta;
            self$($prepare)*
        }
    };
}
pub(super) use options_beside;
