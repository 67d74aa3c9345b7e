//! A coarse clock, which costs a few nanoseconds to read: for what is asked on each hit of the near tier.

/// By how many milliseconds the clock may be late. It is never ahead.
pub(crate) const LATE: u64 = 10;

/// Milliseconds since some time before this process began. They never go back.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
pub(crate) fn now() -> u64 {
    // The kernel notes this time at each of its ticks, of which there are at least 100 in a second.
    let time = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    time.tv_sec.unsigned_abs() * 1_000 + time.tv_nsec.unsigned_abs() / 1_000_000
}

/// Milliseconds since some time before this process began. They never go back.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[inline]
pub(crate) fn now() -> u64 {
    use std::sync::LazyLock;
    use std::time::Instant;

    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    // Never 0, which means "at no time".
    1 + BEGUN.elapsed().as_millis() as u64
}

/// The time of day in Unix milliseconds. It goes back if the system's clock is set back.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
pub(crate) fn unix_millis() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    // Before 1970 it is 1970, as by the exact clock.
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000 + time.tv_nsec.unsigned_abs() / 1_000_000
}

/// The time of day in Unix milliseconds. It goes back if the system's clock is set back.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[inline]
pub(crate) fn unix_millis() -> u64 {
    use std::time::{SystemTime, UNIX_EPOCH};

    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn it_is_late_by_no_more_than_it_says() {
        let (begun, first) = (Instant::now(), now());
        while begun.elapsed() < Duration::from_millis(50) {
            let (passed, shown) = (begun.elapsed().as_millis() as u64, now() - first);
            assert!(shown + LATE >= passed, "{shown} {passed}");
        }
        assert!(now() - first <= begun.elapsed().as_millis() as u64 + LATE + 1);
    }
}
