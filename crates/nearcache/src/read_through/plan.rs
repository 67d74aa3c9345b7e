//! What a call of `remember` asks for.

use std::time::Duration;

use super::ReadThrough;
use super::tags::Tag;
use crate::codec::envelope::Head;
use crate::error::Result;
use crate::ttl::Ttl;

/// What a call of `remember` asks for, settled.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Without: until it is deleted.
    pub(crate) ttl: Option<Ttl>,
    pub(crate) negative_ttl: Option<Ttl>,
    /// How long after its TTL a value may be answered with, while it is loaded anew.
    pub(crate) stale_for: Duration,
    /// The same, if loading it anew fails.
    pub(crate) stale_if_error: Duration,
    /// The β of XFetch; 0 is off.
    pub(crate) early_refresh: f64,
    pub(crate) tags: Vec<Tag>,
    pub(crate) load_timeout: Option<Duration>,
    pub(crate) soft_timeout: Option<Duration>,
    pub(crate) way: Way,
}

/// What a load is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A caller who found nothing usable.
    Miss,
    /// A caller who has been answered already. It gives way to any other load.
    Refresh,
    /// A caller who does not want to know what is there. It stores its value if no other load is under way.
    Bypass,
    /// As `Bypass`, and takes the lease from a load that is under way.
    Force,
}

impl Plan {
    /// The verb that asks for this.
    pub(crate) fn verb(&self) -> &'static str {
        match self.way {
            Way::Force => "refresh",
            Way::Miss | Way::Refresh | Way::Bypass => "remember",
        }
    }

    /// The same, for a refresh beside a caller who is answered already.
    pub(crate) fn for_refresh(&self) -> Self {
        Plan {
            way: Way::Refresh,
            ..self.clone()
        }
    }

    /// For how long a value is kept once it is stale.
    fn kept_stale(&self) -> Duration {
        self.stale_for.max(self.stale_if_error)
    }

    /// What FILL says for how long the entry stays ("0": without end), and what is said of it in its
    /// envelope.
    pub(super) fn seal(
        &self,
        cache: &ReadThrough,
        loaded: Option<Result<Ttl>>,
        nothing: bool,
        took: Duration,
    ) -> Result<(u64, Head)> {
        let ttl = match (loaded, self.negative_ttl) {
            (Some(ttl), _) => Some(ttl?),
            (None, Some(negative)) if nothing => Some(negative),
            (None, _) => self.ttl,
        };
        let Some(ttl) = ttl.map(|ttl| cache.jittered(ttl)) else {
            return Ok((0, Head::default()));
        };
        let kept = self.kept_stale();
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
