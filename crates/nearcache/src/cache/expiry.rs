//! How long entries stay: `ttl`, `touch`, `expire`, `expire_at`, `persist`.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::Cmd;

use super::core::{Core, reply};
use super::invalidate::Poison;
use super::operation::{Async, CacheFuture, Marked, Pending, operation};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::Keys;
use crate::keyspace::StoredKey;
use crate::ttl::{IntoTtl, Remaining, Ttl};

/// A pending `touch`.
#[must_use = "nothing happens until it is carried out, by `.await` or `.run()`"]
pub struct Touch<'c, M = Async> {
    core: &'c Core,
    key: Result<StoredKey>,
    ttl: Option<Result<Ttl>>,
    mode: Marked<M>,
}

impl<'c, M> Touch<'c, M> {
    pub(crate) fn new(core: &'c Core, key: &[u8]) -> Self {
        Touch {
            core,
            key: core.stored(key),
            ttl: None,
            mode: PhantomData,
        }
    }

    /// The TTL to start anew with, spread by the cache's jitter.
    pub fn ttl(mut self, ttl: impl IntoTtl) -> Self {
        self.ttl = Some(ttl.into_ttl());
        self
    }

    fn start(self) -> CacheFuture<'c, bool> {
        let Touch {
            core,
            key,
            ttl,
            mode: _,
        } = self;
        CacheFuture::asking(async move {
            let key = key?;
            match ttl.transpose()?.or(core.default_ttl) {
                Some(ttl) => {
                    let millis = ttl.jittered(core.ttl_jitter).as_millis();
                    core.flag("touch", redis::cmd("PEXPIRE").arg(&key).arg(millis), &key)
                        .await
                }
                None => {
                    core.flag("touch", redis::cmd("TOUCH").arg(&key), &key)
                        .await
                }
            }
        })
    }
}

operation!(Touch<'c> -> bool);

impl<M> fmt::Debug for Touch<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Touch")
            .field("key", &self.key)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

impl Core {
    /// A verb whose command answers 1 or 0.
    async fn flag(&self, verb: &'static str, command: &Cmd, key: &StoredKey) -> Result<bool> {
        self.watched(verb, Keys::One(key.user()), async |core| {
            reply::flag(verb, &core.call(command, key).await?)
        })
        .await
    }
}

pub(crate) fn ttl<'c, M>(core: &'c Core, key: &[u8]) -> Pending<'c, Remaining, M> {
    let key = core.stored(key);
    Pending::new(async move {
        let key = key?;
        let ask = async |core: &Core| core.call(redis::cmd("PTTL").arg(&key), &key).await;
        let reply = core.watched("ttl", Keys::One(key.user()), ask).await?;
        Ok(match reply::integer("PTTL", &reply)? {
            -2 => Remaining::Missing,
            -1 => Remaining::Forever,
            millis => Remaining::In(Duration::from_millis(millis.max(0).unsigned_abs())),
        })
    })
}

pub(crate) fn expire<'c, M>(core: &'c Core, key: &[u8], ttl: impl IntoTtl) -> Pending<'c, bool, M> {
    let (key, ttl) = (core.stored(key), ttl.into_ttl());
    Pending::new(async move {
        let key = key?;
        core.flag(
            "expire",
            redis::cmd("PEXPIRE").arg(&key).arg(ttl?.as_millis()),
            &key,
        )
        .await
    })
}

pub(crate) fn expire_at<'c, M>(
    core: &'c Core,
    key: &[u8],
    time: SystemTime,
) -> Pending<'c, bool, M> {
    let (key, millis) = (core.stored(key), unix_millis(time));
    Pending::new(async move {
        let key = key?;
        let _poison = Poison::key(core, &key);
        core.flag(
            "expire_at",
            redis::cmd("PEXPIREAT").arg(&key).arg(millis?),
            &key,
        )
        .await
    })
}

pub(crate) fn persist<'c, M>(core: &'c Core, key: &[u8]) -> Pending<'c, bool, M> {
    let key = core.stored(key);
    Pending::new(async move {
        let key = key?;
        core.flag("persist", redis::cmd("PERSIST").arg(&key), &key)
            .await
    })
}

fn unix_millis(time: SystemTime) -> Result<u64> {
    let invalid = |why| Err(Error::new(ErrorKind::InvalidTtl, why));
    let Ok(since_1970) = time.duration_since(UNIX_EPOCH) else {
        return invalid("the time to expire at is before 1970");
    };
    let furthest = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        + Ttl::MAX.as_duration();
    if since_1970 > furthest {
        return invalid("the time to expire at is more than 1000 years ahead");
    }
    // A time within the first millisecond of 1970 has passed as surely as the next one.
    Ok(u64::try_from(since_1970.as_millis())
        .unwrap_or(u64::MAX)
        .max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_expire_at_is_between_1970_and_1000_years_ahead() {
        assert_eq!(unix_millis(UNIX_EPOCH).unwrap(), 1);
        assert_eq!(
            unix_millis(UNIX_EPOCH + Duration::from_secs(5)).unwrap(),
            5_000
        );
        assert!(unix_millis(UNIX_EPOCH - Duration::from_secs(1)).is_err());
        assert!(unix_millis(SystemTime::now() + Duration::from_secs(400_000 * 86_400)).is_err());
    }
}
