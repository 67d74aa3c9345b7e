//! Caches on a Cluster, on both faces.

use std::time::{Duration, Instant};

use nearcache_testkit::random_prefix;

use crate::face::{Face, run};
use crate::target::{Options, Place, Target};

/// The kinds of callers, each as a place.
pub(crate) const BOTH: [Target; 2] = [
    Target::asynchronous(Place::Cluster),
    Target::blocking(Place::Cluster),
];

/// Runs a test with either kind of callers.
pub(crate) fn both(test: impl AsyncFn(Target)) {
    for target in BOTH {
        run(test(target));
    }
}

/// A cache with a prefix that no other test has.
pub(crate) fn open(target: Target, url: &str) -> Face {
    open_at(target, url, &random_prefix())
}

/// A cache with this prefix.
pub(crate) fn open_at(target: Target, url: &str, prefix: &str) -> Face {
    within(target, url, prefix, Duration::from_secs(10))
}

/// The same with a timeout.
pub(crate) fn within(target: Target, url: &str, prefix: &str, timeout: Duration) -> Face {
    let options = Options {
        prefix,
        timeout: Some(timeout),
        ..Options::default()
    };
    target.build(url, options).expect("a cache")
}

/// A key's name such that, with the prefix, its slot is in this range: `name:0`, `name:1`, ... the first that is.
pub(crate) fn name_in(
    cluster: &nearcache_testkit::Cluster,
    prefix: &str,
    primary: usize,
    name: &str,
) -> String {
    let mut names = (0..).map(|i| format!("{name}:{i}"));
    let there = names.find(|name| cluster.primary_of_key(format!("{prefix}:{name}")) == primary);
    there.expect("a key for every primary")
}

/// Asks again and again until there is an answer.
pub(crate) async fn in_time<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "still not so: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
