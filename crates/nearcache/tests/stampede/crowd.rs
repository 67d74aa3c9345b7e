//! Many callers at once, on either face.

use std::fmt::Display;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nearcache::Error;
use tokio::task::JoinHandle;

use crate::face::Face;

/// What one caller got, and when.
pub(crate) type Answered = JoinHandle<(Result<u64, Error>, Instant)>;

/// A loader that may run for any of the callers: the key it is asked for goes in.
pub(crate) type Load = Arc<dyn Fn() -> Result<u64, std::io::Error> + Send + Sync>;

/// Callers of a key, each in a task (async) or a thread (blocking) of its own, who begin together.
pub(crate) fn callers(cache: &Face, key: &str, count: usize, load: &Load) -> Vec<Answered> {
    let one = |_| {
        let (cache, key, load) = (cache.clone(), key.to_owned(), Arc::clone(load));
        tokio::spawn(async move {
            let patience = Duration::from_secs(60);
            let found = remember!(cache, key, move || load(); .load_timeout(patience)).await;
            (found, Instant::now())
        })
    };
    (0..count).map(one).collect()
}

/// Waits for all of them: what they got, and when the last one had it.
pub(crate) async fn all(callers: Vec<Answered>) -> (Vec<Result<u64, Error>>, Instant) {
    let (mut found, mut last) = (Vec::with_capacity(callers.len()), Instant::now());
    for caller in callers {
        let (value, at) = caller.await.expect("no caller panics");
        found.push(value);
        last = last.max(at);
    }
    (found, last)
}

/// A loader that counts how often it runs.
pub(crate) fn counted(
    loads: &Arc<AtomicUsize>,
    load: impl Fn() -> Result<u64, std::io::Error> + Send + Sync + 'static,
) -> Load {
    let loads = Arc::clone(loads);
    Arc::new(move || {
        loads.fetch_add(1, Ordering::SeqCst);
        load()
    })
}

/// Blocks a loader until something is so.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(60), "not so: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Blocks a task until something is so.
pub(crate) async fn so(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(60), "not so: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A line for whoever runs the tests: how long it took, which no test asserts.
pub(crate) fn report(what: impl Display, load: Duration, wall: Duration) {
    let over = wall.saturating_sub(load);
    let line = format!(
        "stampede: {what}: {:.1} ms over a load of {} ms\n",
        over.as_secs_f64() * 1e3,
        load.as_millis()
    );
    // Past the capture of the test harness.
    let _ = std::io::stdout().write_all(line.as_bytes());
}
