//! `close` while loads are under way: they are waited for and stored, or give their leases back.

use std::time::{Duration, Instant};

use nearcache::ErrorKind;

use crate::face::Face;
use crate::scene::{Source, elsewhere};
use crate::target::{Options, Target, two};

brief_suite! {
    a_load_under_way_is_waited_for_and_stored,
    a_refresh_under_way_is_waited_for_and_stored,
    a_load_that_takes_too_long_gives_its_lease_back,
}

/// `close`, beside which others can go on.
async fn close(cache: Face, load_timeout: Duration) -> nearcache::Result<()> {
    match cache {
        Face::Async(cache) => cache.close().load_timeout(load_timeout).await,
        Face::Blocking(cache) => {
            elsewhere(move || cache.close().load_timeout(load_timeout).run()).await
        }
    }
}

/// Waits until the cache is closed for new calls.
async fn closed(cache: &Face) {
    while ask!(cache.is_open()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

const LONG: Duration = Duration::from_secs(60);

async fn a_load_under_way_is_waited_for_and_stored(target: Target) {
    let ((here, there), source) = (two(target, Options::default()), Source::new());
    let load = tokio::spawn(remember!(here, "k", source.holds(1)));
    source.begun().await;
    let closing = tokio::spawn(close(here.clone(), LONG));
    closed(&here).await;
    let refused = remember!(here, "other", source.gives(2)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
    source.go_on();
    assert_eq!(load.await.unwrap().unwrap(), 1);
    closing.await.unwrap().unwrap();
    assert_eq!(call!(there.get::<u8>("k")).unwrap(), Some(1));
    // Once more is no error.
    close(here, LONG).await.unwrap();
}

async fn a_refresh_under_way_is_waited_for_and_stored(target: Target) {
    let ((here, there), source) = (two(target, Options::default()), Source::new());
    call!(here.set("k", &1)).unwrap();
    call!(here.mark_stale("k")).unwrap();
    let stale = remember!(here, "k", source.holds(2); .ttl("1h").stale_for("1h")).await;
    assert_eq!(stale.unwrap(), 1);
    source.begun().await;
    let closing = tokio::spawn(close(here.clone(), LONG));
    closed(&here).await;
    source.go_on();
    closing.await.unwrap().unwrap();
    assert_eq!(call!(there.get::<u8>("k")).unwrap(), Some(2));
}

async fn a_load_that_takes_too_long_gives_its_lease_back(target: Target) {
    let ((here, there), source) = (two(target, Options::default()), Source::new());
    let load = tokio::spawn(remember!(here, "k", source.holds(1)));
    source.begun().await;
    let error = close(here, Duration::from_millis(10)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    // Not that Redis does not answer.
    let text = error.to_string();
    assert!(text.starts_with("the cache was closed before"), "{text}");
    // The next process need not wait for the lease, which would be 10 s.
    let begun = Instant::now();
    assert_eq!(remember!(there, "k", source.gives(2)).await.unwrap(), 2);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "it waited for a lease"
    );
    // Its caller has its value; it is not stored.
    source.go_on();
    assert_eq!(load.await.unwrap().unwrap(), 1);
    assert_eq!(call!(there.get::<u8>("k")).unwrap(), Some(2));
}
