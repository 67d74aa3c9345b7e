//! The options of a call of `remember`.

use std::time::Duration;

use super::ReadThrough;
use super::tags::Tag;
use crate::codec::envelope::Head;
use crate::error::Result;
use crate::ttl::Ttl;

/// The options of a call of `remember`, with the defaults applied.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// `None`: the entry does not expire.
    pub(crate) ttl: Option<Ttl>,
    pub(crate) negative_ttl: Option<Ttl>,
    /// How long after its TTL a value may be returned while a new one is loaded.
    pub(crate) stale_for: Duration,
    /// How long after its TTL a value may be returned if the load fails.
    pub(crate) stale_if_error: Duration,
    /// The β of XFetch; 0 turns it off.
    pub(crate) early_refresh: f64,
    pub(crate) tags: Vec<Tag>,
    pub(crate) load_timeout: Option<Duration>,
    pub(crate) soft_timeout: Option<Duration>,
    pub(crate) way: Way,
    /// Whether the near tier is no answer.
    pub(crate) skip_near: bool,
}

/// What a loader says of how long its value stays.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) ttl: Option<Result<Ttl>>,
    /// How long it is kept past its TTL.
    pub(super) kept: Option<Result<Ttl>>,
    /// Whether the TTL is taken as it is, without jitter.
    pub(super) exact: bool,
}

/// Why a load runs, which decides how it treats other loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The caller found nothing usable.
    Miss,
    /// A refresh in the background: the caller already has its value. It is skipped if another load is running.
    Refresh,
    /// The caller skips the read. Its value is stored if no other load is running.
    Bypass,
    /// Like `Bypass`, but takes the lease from a running load.
    Force,
}

impl Plan {
    /// The name of the method that makes such a call.
    pub(crate) fn verb(&self) -> &'static str {
        match self.way {
            Way::Force => "refresh",
            Way::Miss | Way::Refresh | Way::Bypass => "remember",
        }
    }

    /// The same options, for a refresh in the background.
    pub(crate) fn for_refresh(&self) -> Self {
        Plan {
            way: Way::Refresh,
            ..self.clone()
        }
    }

    /// How long a stale value is kept.
    fn kept_stale(&self) -> Duration {
        self.stale_for.max(self.stale_if_error)
    }

    /// The entry's TTL for FILL, in ms (0: the entry does not expire), and the head of its envelope.
    pub(super) fn seal(
        &self,
        cache: &ReadThrough,
        loaded: Life,
        nothing: bool,
        took: Duration,
    ) -> Result<(u64, Head)> {
        let ttl = match (loaded.ttl, self.negative_ttl) {
            (Some(ttl), _) => Some(ttl?),
            (None, Some(negative)) if nothing => Some(negative),
            (None, _) => self.ttl,
        };
        let own = match loaded.kept {
            Some(kept) => kept?.as_duration(),
            None => Duration::ZERO,
        };
        let Some(ttl) = ttl else {
            return Ok((0, Head::default()));
        };
        let ttl = match loaded.exact {
            true => ttl,
            false => cache.jittered(ttl),
        };
        let kept = self.kept_stale().max(own);
        let mut head = Head::default();
        if self.early_refresh > 0.0 || (!kept.is_zero() && !nothing) {
            head.soft = Some(cache.client.unix_millis().saturating_add(ttl.as_millis()));
        }
        if self.early_refresh > 0.0 {
            head.load = Some(took);
        }
        let kept = if nothing { 0 } else { kept.as_millis() as u64 };
        let stays = ttl.as_millis().saturating_add(kept);
        Ok((stays.min(Ttl::MAX.as_millis()), head))
    }
}
