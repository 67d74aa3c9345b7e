//! What becomes of a call when the cache fails.

use std::collections::BTreeMap;
use std::{fmt, io};

use nearcache::{Cache, ErrorKind, blocking, cached};

use crate::{Runs, everywhere, everywhere_blocking};

fn broken<T>(broken: bool, value: T) -> Result<T, io::Error> {
    match broken {
        true => Err(io::Error::other("it is broken")),
        false => Ok(value),
    }
}

#[cached(cache = cache, key = broken(true, "k"), on_error = "raise")]
fn bad_key(cache: &blocking::Cache, runs: &Runs) -> nearcache::Result<usize> {
    Ok(runs.add())
}

#[cached(cache = cache, key = "k", on_error = "raise")]
async fn raises(cache: &Cache, runs: &Runs) -> nearcache::Result<usize> {
    Ok(runs.add())
}

#[cached(cache = cache, key = "k")]
async fn raises_by_itself(cache: &Cache, runs: &Runs) -> nearcache::Result<usize> {
    Ok(runs.add())
}

#[cached(cache = cache, key = "k", ttl = broken(true, "1h"), on_error = "raise")]
async fn raises_of_its_ttl(cache: &Cache, runs: &Runs) -> nearcache::Result<usize> {
    Ok(runs.add())
}

#[test]
fn raise_tells_the_caller_and_does_not_run_the_function() {
    everywhere(async |scene| {
        let runs = Runs::default();
        scene.spoil(&raises::key(&scene.cache, &runs)).await;
        // Another program's list under the key is no fault of the caller's.
        assert_eq!(raises(&scene.cache, &runs).await.unwrap(), 1);
        assert_eq!(raises_by_itself(&scene.cache, &runs).await.unwrap(), 2);
        let error = raises_of_its_ttl(&scene.cache, &runs).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidTtl);
        assert!(error.to_string().contains("it is broken"), "{error}");
        assert_eq!(runs.count(), 2);
    });
    everywhere_blocking(|scene| {
        let runs = Runs::default();
        let error = bad_key(&scene.cache, &runs).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidKey);
        assert_eq!(runs.count(), 0);
    });
}

/// A value that JSON has no form for.
type Odd = BTreeMap<(u8, u8), usize>;

fn odd(run: usize) -> Odd {
    Odd::from([((1, 2), run)])
}

/// With `on_error = "execute"`, a function's error need not know of caches.
type Never = Result<usize, fmt::Error>;

mod execute {
    use super::*;

    #[cached(cache = cache, key = "k", on_error = "execute")]
    pub(super) async fn read(cache: &Cache, runs: &Runs) -> Never {
        Ok(runs.add())
    }

    #[cached(cache = cache, key = broken(true, "k"), on_error = "execute")]
    pub(super) async fn key(cache: &Cache, runs: &Runs) -> Never {
        Ok(runs.add())
    }

    #[cached(cache = cache, key = "k", ttl = |_, _| broken(true, 60), on_error = "execute")]
    pub(super) async fn ttl(cache: &Cache, runs: &Runs) -> Never {
        Ok(runs.add())
    }

    #[cached(cache = cache, key = "k", ttl_of = |_| broken(true, 60), on_error = "execute")]
    pub(super) async fn ttl_of(cache: &Cache, runs: &Runs) -> Never {
        Ok(runs.add())
    }

    #[cached(cache = cache, key = "k", tags = [""], on_error = "execute")]
    pub(super) async fn tag(cache: &Cache, runs: &Runs) -> Never {
        Ok(runs.add())
    }

    #[cached(cache = cache, key = "k", on_error = "execute")]
    pub(super) async fn write(cache: &Cache, runs: &Runs) -> Result<Odd, fmt::Error> {
        Ok(odd(runs.add()))
    }

    #[cached(cache = cache, key = "k", on_error = "execute")]
    pub(super) async fn own(cache: &Cache, runs: &Runs) -> Never {
        runs.add();
        Err(fmt::Error)
    }

    #[cached(cache = cache, key = "k", on_error = "execute")]
    pub(super) fn read_blocking(cache: &blocking::Cache, runs: &Runs) -> Never {
        Ok(runs.add())
    }

    #[cached(cache = cache, key = "k", on_error = "execute")]
    pub(super) fn write_blocking(cache: &blocking::Cache, runs: &Runs) -> Odd {
        odd(runs.add())
    }

    #[cached(cache = cache, key = "k", stale_for = "1h", ttl_of = |_| broken(true, 60))]
    pub(super) fn beside(cache: &blocking::Cache, runs: &Runs) -> usize {
        runs.add()
    }
}

#[test]
fn execute_runs_the_function_exactly_once_whatever_fails() {
    everywhere(async |scene| {
        let (cache, runs) = (&scene.cache, Runs::default());
        assert_eq!(execute::key(cache, &runs).await, Ok(1));
        assert_eq!(execute::ttl(cache, &runs).await, Ok(2));
        assert_eq!(execute::ttl_of(cache, &runs).await, Ok(3));
        assert_eq!(execute::tag(cache, &runs).await, Ok(4));
        assert_eq!(execute::write(cache, &runs).await, Ok(odd(5)));
        assert_eq!(runs.count(), 5, "and nothing was stored");
        scene.spoil(&execute::read::key(cache, &runs)).await;
        assert_eq!(execute::read(cache, &runs).await, Ok(6));
        assert_eq!(runs.count(), 6);
        cache.close().await.unwrap();
        assert_eq!(execute::read(cache, &runs).await, Ok(7));
    });
    everywhere_blocking(|scene| {
        let (cache, runs) = (&scene.cache, Runs::default());
        assert_eq!(execute::write_blocking(cache, &runs), odd(1));
        assert_eq!(execute::beside(cache, &runs), 2);
        let key = execute::read_blocking::key(cache, &runs);
        crate::face::run(scene.spoil(&key));
        assert_eq!(execute::read_blocking(cache, &runs), Ok(3));
        assert_eq!(runs.count(), 3);
    });
}

#[test]
fn the_functions_own_error_is_no_failure_of_the_cache() {
    everywhere(async |scene| {
        let runs = Runs::default();
        assert_eq!(execute::own(&scene.cache, &runs).await, Err(fmt::Error));
        assert_eq!(runs.count(), 1);
    });
}

#[tokio::test]
async fn with_redis_away_the_function_runs_either_way() {
    // Nobody listens on this port.
    let cache = Cache::open("redis://127.0.0.1:1?timeout=200ms").unwrap();
    let runs = Runs::default();
    assert_eq!(raises(&cache, &runs).await.unwrap(), 1);
    assert_eq!(execute::read(&cache, &runs).await, Ok(2));
    // To invalidate is another matter: it says so.
    let error = raises::invalidate(&cache, &runs).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Connect | ErrorKind::Unavailable),
        "{error}"
    );
    let error = raises::prime(&cache, &runs, 1).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Connect | ErrorKind::Unavailable),
        "{error}"
    );
}
