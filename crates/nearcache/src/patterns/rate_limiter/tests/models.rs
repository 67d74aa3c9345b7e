//! Each algorithm gives exactly what its promise allows, and says truly when there is more.

use super::*;

/// What was given: when, and how much.
type Given = Vec<(u64, u64)>;

/// Whether a promise allows one more grant.
trait Model {
    fn allows(&self, given: &Given, now: u64, cost: u64) -> bool;
}

impl Model for Bucket {
    /// For each span that ends now: `given + cost <= burst + rate · t`, also where the clock went back.
    fn allows(&self, given: &Given, now: u64, cost: u64) -> bool {
        let [parts, each, burst] = [self.parts, self.each, self.burst].map(i128::from);
        let mut sum = i128::from(cost);
        let within = |sum: i128, from: u64| {
            sum * each <= burst * each + (i128::from(now) - i128::from(from)) * parts
        };
        within(sum, now)
            && given.iter().rev().all(|&(at, cost)| {
                sum += i128::from(cost);
                within(sum, at)
            })
    }
}

struct Sliding(Window);

impl Model for Sliding {
    fn allows(&self, given: &Given, now: u64, cost: u64) -> bool {
        let Window { limit, length } = self.0;
        let recent = given.iter().filter(|(at, _)| at + length > now);
        recent.map(|(_, cost)| cost).sum::<u64>() + cost <= limit
    }
}

struct Fixed(Window);

impl Model for Fixed {
    fn allows(&self, given: &Given, now: u64, cost: u64) -> bool {
        let Window { limit, length } = self.0;
        let same = given.iter().filter(|(at, _)| at / length == now / length);
        same.map(|(_, cost)| cost).sum::<u64>() + cost <= limit
    }
}

fn model(algorithm: Algorithm) -> Box<dyn Model> {
    match algorithm {
        Algorithm::Gcra(bucket) => Box::new(bucket),
        Algorithm::SlidingWindow(window) => Box::new(Sliding(window)),
        Algorithm::FixedWindow(window) => Box::new(Fixed(window)),
    }
}

fn quotas() -> impl Strategy<Value = Quota> {
    let period = prop_oneof![
        Just(1_u64),
        1..50_u64,
        Just(1_000),
        Just(60_000),
        Just(86_400_000)
    ];
    (1..40_u64, period, 1..40_u64).prop_map(|(permits, millis, burst)| {
        Quota::per(permits, std::time::Duration::from_millis(millis)).burst(burst)
    })
}

/// How far the clock moves before a check, as a share of the period, and the check's cost.
fn moves() -> impl Strategy<Value = Vec<(f64, u64)>> {
    let share =
        prop_oneof![3 => Just(0.0), 5 => 0.0..0.1_f64, 3 => 0.1..1.0_f64, 1 => 1.0..3.0_f64];
    let cost = prop_oneof![1 => Just(0_u64), 8 => Just(1), 3 => 2..10_u64];
    prop::collection::vec((share, cost), 1..120)
}

fn period(algorithm: Algorithm) -> u64 {
    match algorithm {
        Algorithm::Gcra(bucket) => bucket.capacity().div_ceil(bucket.parts),
        Algorithm::SlidingWindow(window) | Algorithm::FixedWindow(window) => window.length,
    }
}

proptest! {
    #[test]
    fn what_is_given_is_what_the_promise_allows(quota in quotas(), moves in moves()) {
        for kind in Kind::ALL {
            let mut steps = Steps::new(kind, &quota);
            let (model, limit) = (model(steps.algorithm), steps.algorithm.limit());
            let (mut now, mut given) = (START, Given::new());
            for &(share, cost) in &moves {
                now += (share * period(steps.algorithm) as f64) as u64;
                let cost = cost.min(limit);
                let peeked = steps.peek(now, cost);
                let answer = steps.check(now, cost);
                prop_assert_eq!(answer.allowed, model.allows(&given, now, cost), "{:?}", kind);
                prop_assert_eq!(peeked.allowed, answer.allowed, "{:?}", kind);
                prop_assert_eq!(peeked.retry_after, answer.retry_after);
                if answer.allowed {
                    if cost > 0 {
                        given.push((now, cost));
                    }
                    prop_assert_eq!(answer.retry_after, 0);
                    prop_assert_eq!(answer.remaining, peeked.remaining - cost, "{:?}", kind);
                } else {
                    let (before, then) = (now + answer.retry_after - 1, now + answer.retry_after);
                    prop_assert!(!model.allows(&given, before, cost), "{:?}: it could be sooner", kind);
                    prop_assert!(model.allows(&given, then, cost), "{:?}: it is too soon", kind);
                }
                let left = answer.remaining;
                prop_assert!(left == 0 || model.allows(&given, now, left), "{:?}", kind);
                prop_assert!(!model.allows(&given, now, left + 1), "{:?}", kind);
                let full = now + answer.reset_after;
                prop_assert!(model.allows(&given, full, limit), "{:?}", kind);
                prop_assert!(answer.reset_after == 0 || !model.allows(&given, full - 1, limit), "{:?}", kind);
            }
        }
    }

    /// Invariant 3 of `algorithm`: with a clock that jumps.
    #[test]
    fn a_clock_that_goes_back_locks_nobody_out_and_gives_nothing_away(
        quota in quotas(),
        moves in prop::collection::vec((-4.0..1.5_f64, 1..10_u64), 1..80),
    ) {
        for kind in Kind::ALL {
            let mut steps = Steps::new(kind, &quota);
            let (length, limit) = (period(steps.algorithm), steps.algorithm.limit());
            let (mut now, mut forward, mut given) = (START, 0, 0);
            for &(share, cost) in &moves {
                let by = (share * length as f64) as i64;
                now = now.saturating_add_signed(by);
                forward += by.max(0).unsigned_abs();
                let cost = cost.min(limit);
                let answer = steps.check(now, cost);
                if answer.allowed {
                    given += cost;
                }
                // Each way forward gives at most what it would give without the jumps.
                let most = match steps.algorithm {
                    Algorithm::Gcra(bucket) => {
                        bucket.burst + forward * bucket.parts / bucket.each + 1
                    }
                    _ => limit * (2 + 2 * forward.div_ceil(length)),
                };
                prop_assert!(given <= most, "{:?}: {} of {}", kind, given, most);
                let usual = 2 * length;
                prop_assert!(answer.reset_after <= usual, "{:?}", kind);
                prop_assert!(answer.retry_after <= usual, "{:?}", kind);
            }
            let back = now + 2 * length;
            prop_assert!(steps.check(back, limit).allowed, "{:?}: locked out", kind);
        }
    }

    /// The same with a clock that wavers: as long as it is behind, time stands still.
    #[test]
    fn a_clock_that_wavers_gives_nothing_away(
        quota in quotas(),
        moves in prop::collection::vec((0.0..0.4_f64, 0.0..0.9_f64, 1..10_u64), 1..120),
    ) {
        for kind in Kind::ALL {
            let mut steps = Steps::new(kind, &quota);
            let (model, limit) = (model(steps.algorithm), steps.algorithm.limit());
            let length = period(steps.algorithm) as f64;
            let (mut latest, mut seen, mut given) = (START, 0, Given::new());
            for &(on, back, cost) in &moves {
                latest += (on * length) as u64;
                let now = latest - (back * length) as u64;
                let cost = cost.min(limit);
                let answer = steps.check(now, cost);
                prop_assert!(answer.at >= now);
                seen = seen.max(now);
                // A log forgets what was over at the latest time that it has seen.
                let by = if kind == Kind::SlidingWindow { seen } else { answer.at };
                if answer.allowed {
                    prop_assert!(model.allows(&given, by, cost), "{:?}", kind);
                    given.push((answer.at, cost));
                }
            }
        }
    }

    #[test]
    fn another_quota_takes_over_what_is_owed(
        quotas in prop::collection::vec(quotas(), 2..6),
        moves in moves(),
    ) {
        for kind in Kind::ALL {
            let mut steps = Steps::new(kind, &quotas[0]);
            let mut now = START;
            for (at, &(share, cost)) in moves.iter().enumerate() {
                steps.algorithm = kind.with(&quotas[at % quotas.len()]).unwrap();
                let (length, limit) = (period(steps.algorithm), steps.algorithm.limit());
                now += (share * length as f64) as u64;
                let answer = steps.check(now, cost.min(limit));
                prop_assert!(answer.remaining <= limit);
                let usual = 2 * length;
                prop_assert!(answer.reset_after <= usual, "{:?}", kind);
            }
            let now = now + 2 * period(steps.algorithm);
            prop_assert!(steps.check(now, steps.algorithm.limit()).allowed);
        }
    }
}

#[test]
fn a_quota_that_is_too_fine_for_whole_numbers_gives_at_most_what_it_should() {
    // A prime number of permits a day, and as large a burst.
    let quota = Quota::per_day(999_999_937);
    let mut steps = Steps::new(Kind::Gcra, &quota);
    let (day, limit) = (86_400_000_000_u64, 999_999_937);
    assert!(steps.check(START, limit).allowed);
    let mut given = 0;
    for hour in 1..=24 {
        let now = START + day / 24 * hour;
        let left = steps.peek(now, 1).remaining;
        assert!(steps.check(now, left).allowed);
        given += left;
    }
    assert!(given <= limit);
    assert!(limit - given <= 1_000, "{given}");
}

/// Invariant 3 of `algorithm`: 32 permits a millisecond take 31.25 µs each, and 20 of them 625 µs.
#[test]
fn a_fraction_of_a_microsecond_beyond_twice_the_burst_is_pulled_back() {
    let quota = Quota::per(32, std::time::Duration::from_millis(1)).burst(20);
    let mut steps = Steps::new(Kind::Gcra, &quota);
    assert_eq!(steps.check(START, 3).reset_after, 94);
    let answer = steps.check(START - (1_250 - 93), 1);
    assert!(!answer.allowed);
    assert_eq!(answer.reset_after, 625);
}
