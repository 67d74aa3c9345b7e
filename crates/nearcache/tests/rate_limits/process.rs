//! Callers in processes of their own.

use std::time::{Duration, UNIX_EPOCH};

use nearcache::operation::Executor;
use nearcache::patterns::Decision;
use nearcache::{Builder, Cache, blocking};

use crate::check::Algorithm;
use crate::child::{Process, say};
use crate::face::run;

/// Says to this binary that it is one of the processes: `URL ALGORITHM MICROSECONDS WAY`.
const ROLE: &str = "NEARCACHE_TEST_LIMITER";

/// How many callers an async process has.
const CALLERS: usize = 4;

/// What a process has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// When a check was allowed, by the server's clock and by the process's own, in microseconds.
    pub(crate) allowed: Vec<u64>,
    pub(crate) allowed_away: Vec<u64>,
    /// When the server did not allow a check.
    pub(crate) denied: Vec<u64>,
    /// How many checks there were, and how many of them without Redis.
    pub(crate) asked: u64,
    pub(crate) asked_away: u64,
    /// The times of the first and of the last check.
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Seen {
    pub(crate) fn note(&mut self, decision: Decision) {
        let at = decision
            .at()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        let at = u64::try_from(at.as_micros()).expect("before the year 500,000");
        if self.asked == 0 {
            self.from = at;
        }
        self.from = self.from.min(at);
        self.to = self.to.max(at);
        self.asked += 1;
        self.asked_away += u64::from(decision.is_away());
        if decision.is_allowed() {
            let given = if decision.is_away() {
                &mut self.allowed_away
            } else {
                &mut self.allowed
            };
            given.push(at);
        } else if !decision.is_away() {
            self.denied.push(at);
        }
    }

    /// What all of them have seen.
    pub(crate) fn all(seen: impl IntoIterator<Item = Seen>) -> Seen {
        let mut all = Seen {
            from: u64::MAX,
            ..Seen::default()
        };
        for one in seen {
            all.allowed.extend(one.allowed);
            all.allowed_away.extend(one.allowed_away);
            all.denied.extend(one.denied);
            all.asked += one.asked;
            all.asked_away += one.asked_away;
            all.from = all.from.min(one.from);
            all.to = all.to.max(one.to);
        }
        all.allowed.sort_unstable();
        all.allowed_away.sort_unstable();
        all.denied.sort_unstable();
        all
    }
}

/// Starts one, which is connected when this returns, and hammers once it is told to `go`.
pub(crate) fn start(url: &str, algorithm: Algorithm, time: Duration, blocking: bool) -> Process {
    let way = if blocking { "blocking" } else { "async" };
    let role = format!("{url} {algorithm} {} {way}", time.as_micros());
    let mut process = Process::heard("process::one_of_the_processes", ROLE, &role);
    process.hear("ready");
    process
}

/// Waits until it has ended.
pub(crate) fn seen(process: &mut Process) -> Seen {
    let numbers = |line: String| -> Vec<u64> {
        let numbers = line.split_ascii_whitespace();
        numbers
            .map(|number| number.parse().expect("a number"))
            .collect()
    };
    let allowed = numbers(process.hear("allowed"));
    let allowed_away = numbers(process.hear("away"));
    let denied = numbers(process.hear("denied"));
    let counts = numbers(process.hear("counts"));
    Seen {
        allowed,
        allowed_away,
        denied,
        asked: counts[0],
        asked_away: counts[1],
        from: counts[2],
        to: counts[3],
    }
}

/// Not a test of anything, but what the tests start.
#[test]
fn one_of_the_processes() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let words: Vec<&str> = role.split(' ').collect();
    let [url, algorithm, micros, way] = words[..] else {
        panic!("{role:?} is no role");
    };
    let algorithm = Algorithm::named(algorithm);
    let time = Duration::from_micros(micros.parse().expect("a time"));
    let seen = match way {
        "blocking" => {
            let cache: blocking::Cache = connected(blocking::Cache::builder(url));
            cache.ping().run().expect("a server");
            wait();
            alone(&cache, algorithm, time)
        }
        _ => {
            let mut seen = Seen::default();
            run(async {
                let cache: Cache = connected(Cache::builder(url));
                cache.ping().await.expect("a server");
                wait();
                seen = together(&cache, algorithm, time).await;
            });
            seen
        }
    };
    say_all("allowed", &seen.allowed);
    say_all("away", &seen.allowed_away);
    say_all("denied", &seen.denied);
    say_all("counts", &[seen.asked, seen.asked_away, seen.from, seen.to]);
}

fn connected<M: Executor>(builder: Builder<M>) -> nearcache::CacheOf<M> {
    let builder = builder.timeout(Duration::from_secs(10));
    builder.build().expect("a cache")
}

/// Waits until the test says that all are ready.
fn wait() {
    say("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a line");
}

fn say_all(word: &str, numbers: &[u64]) {
    let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
    say(&format!("{word} {}", numbers.join(" ")));
}

/// One caller.
pub(crate) fn alone(cache: &blocking::Cache, algorithm: Algorithm, time: Duration) -> Seen {
    let limiter = algorithm.limiter(cache);
    let (begun, mut seen) = (std::time::Instant::now(), Seen::default());
    while begun.elapsed() < time {
        seen.note(limiter.check("id").run().expect("a decision"));
    }
    seen
}

/// Several callers.
async fn together(cache: &Cache, algorithm: Algorithm, time: Duration) -> Seen {
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let limiter = algorithm.limiter(cache);
            tokio::spawn(async move {
                let (begun, mut seen) = (std::time::Instant::now(), Seen::default());
                while begun.elapsed() < time {
                    let decision = limiter.check("id").await.expect("a decision");
                    seen.note(decision);
                    if decision.is_away() {
                        // Or else it asks nobody but itself.
                        tokio::time::sleep(Duration::from_micros(200)).await;
                    }
                }
                seen
            })
        })
        .collect();
    let mut seen = Vec::new();
    for caller in callers {
        seen.push(caller.await.expect("it does not panic"));
    }
    Seen::all(seen)
}
