//! The loader's own error: back as its own type, and found inside what wraps it. To the caller whose loader failed, and
//! to one that waited for it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use nearcache::{BoxError, Cache, Error, ErrorKind, Result, blocking};

use crate::face::run;

/// The error of a service.
#[derive(Clone, Debug)]
enum Failure {
    NotFound(u32),
    Cache(Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl StdError for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Cache(error)
    }
}

/// An async caller whose loader fails, and one that waits for it.
async fn both<E: Into<BoxError> + Send + 'static>(fail: fn() -> E) -> [Error; 2] {
    let cache = Cache::open("memory://").unwrap();
    let (begun, begin) = tokio::sync::oneshot::channel::<()>();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let leading = cache.clone();
    let leader = tokio::spawn(async move {
        let load = async move || {
            begun.send(()).unwrap();
            ended.await.unwrap();
            Err::<u8, E>(fail())
        };
        leading.remember("k", load).await.unwrap_err()
    });
    begin.await.unwrap();
    let joining = cache.clone();
    let joiner = tokio::spawn(async move {
        let load = async || Ok::<u8, BoxError>(0);
        joining.remember("k", load).await.unwrap_err()
    });
    while cache.stats().coalesced == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    end.send(()).unwrap();
    [leader.await.unwrap(), joiner.await.unwrap()]
}

/// The same for blocking callers.
fn both_blocking<E: Into<BoxError> + Send + 'static>(fail: fn() -> E) -> [Error; 2] {
    let cache = blocking::Cache::open("memory://").unwrap();
    let (begun, begin) = std::sync::mpsc::channel::<()>();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|threads| {
        let leader = threads.spawn(|| {
            let load = move || {
                begun.send(()).unwrap();
                ended.recv().unwrap();
                Err::<u8, E>(fail())
            };
            cache.remember("k", load).run().unwrap_err()
        });
        begin.recv().unwrap();
        let joiner = threads.spawn(|| {
            let load = || Ok::<u8, BoxError>(0);
            cache.remember("k", load).run().unwrap_err()
        });
        while cache.stats().coalesced == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        end.send(()).unwrap();
        [leader.join().unwrap(), joiner.join().unwrap()]
    })
}

fn disk() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "disk 3 is full")
}

/// Each has `disk()` somewhere in it.
fn wrapped_by_anyhow() -> anyhow::Error {
    anyhow::Error::new(disk())
}

fn with_context() -> anyhow::Error {
    wrapped_by_anyhow().context("the page").context("the site")
}

fn boxed() -> BoxError {
    disk().into()
}

fn counted() -> Arc<io::Error> {
    Arc::new(disk())
}

fn counted_and_erased() -> Arc<dyn StdError + Send + Sync> {
    Arc::new(disk())
}

fn in_an_io_error() -> io::Error {
    io::Error::other(Failure::NotFound(7))
}

#[test]
fn a_loaders_error_is_found_inside_what_wraps_it() {
    run(async {
        let mut all: Vec<Error> = Vec::new();
        all.extend(both(disk).await);
        all.extend(both(boxed).await);
        all.extend(both(wrapped_by_anyhow).await);
        all.extend(both(with_context).await);
        all.extend(both(counted).await);
        all.extend(both(counted_and_erased).await);
        all.extend(both_blocking(disk));
        all.extend(both_blocking(boxed));
        all.extend(both_blocking(wrapped_by_anyhow));
        all.extend(both_blocking(with_context));
        all.extend(both_blocking(counted));
        all.extend(both_blocking(counted_and_erased));
        #[cfg(feature = "eyre")]
        {
            all.extend(both(|| eyre::Report::new(disk())).await);
            all.extend(both_blocking(|| {
                eyre::Report::new(disk()).wrap_err("the page")
            }));
        }
        for error in all {
            assert_eq!(error.kind(), ErrorKind::Loader);
            let found = error.downcast_ref::<io::Error>().map(io::Error::kind);
            assert_eq!(found, Some(io::ErrorKind::StorageFull), "{error:?}");
        }
        for error in both(in_an_io_error).await {
            let found = error.downcast_ref::<Failure>();
            assert!(matches!(found, Some(Failure::NotFound(7))), "{error:?}");
        }
    });
}

#[test]
fn the_text_of_a_wrapped_error_is_in_the_message_once() {
    run(async {
        for error in both(with_context).await {
            let text = error.to_string();
            assert_eq!(text.matches("the site").count(), 1, "{text}");
        }
    });
}

#[test]
fn the_loaders_own_error_comes_back_to_its_caller_and_to_those_who_waited() {
    run(async {
        let cache = Cache::open("memory://").unwrap();
        let (begun, begin) = tokio::sync::oneshot::channel::<()>();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let leading = cache.clone();
        let leader = tokio::spawn(async move {
            let load = async move || {
                begun.send(()).unwrap();
                ended.await.unwrap();
                Err::<u8, _>(Failure::NotFound(1))
            };
            leading.remember("k", load).ttl("1h").own_error().await
        });
        begin.await.unwrap();
        let joining = cache.clone();
        let joiner = tokio::spawn(async move {
            let load = async || Err::<u8, _>(Failure::NotFound(2));
            joining.remember("k", load).own_error().ttl("1h").await
        });
        let other = cache.clone();
        let another = tokio::spawn(async move {
            let load = async || Ok::<u8, Error>(0);
            other.remember("k", load).own_error().await
        });
        while cache.stats().coalesced < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        end.send(()).unwrap();
        for answer in [leader.await.unwrap(), joiner.await.unwrap()] {
            assert!(matches!(answer, Err(Failure::NotFound(1))), "{answer:?}");
        }
        // Who waits with another type of error gets the cache's.
        let answer = another.await.unwrap().unwrap_err();
        assert!(answer.downcast_ref::<Failure>().is_some(), "{answer:?}");

        let refreshed = cache.refresh("k", async || Err::<u8, _>(Failure::NotFound(3)));
        assert!(matches!(
            refreshed.own_error().await,
            Err(Failure::NotFound(3))
        ));
        let many = cache.remember_many(["a"], async |_: Vec<&str>| {
            Err::<[(&str, u8); 1], _>(Failure::NotFound(4))
        });
        assert!(matches!(many.own_error().await, Err(Failure::NotFound(4))));
        let by = cache.remember_many_by([1, 2], u32::to_string, async |ids: Vec<u32>| {
            Err::<[(u32, u8); 1], _>(Failure::NotFound(ids[0]))
        });
        assert!(matches!(by.own_error().await, Err(Failure::NotFound(1))));
        let wrong = cache.remember("", async || Err::<u8, _>(Failure::NotFound(5)));
        match wrong.own_error().await {
            Err(Failure::Cache(error)) => assert_eq!(error.kind(), ErrorKind::InvalidKey),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_blocking_loaders_own_error_comes_back() -> Result<()> {
    let cache = blocking::Cache::open("memory://")?;
    let missing = String::from("missing");
    let answer = cache.remember("k", || match missing.len() {
        7 => Err(Failure::NotFound(7)),
        _ => Ok(0_u8),
    });
    assert!(matches!(
        answer.own_error().run(),
        Err(Failure::NotFound(7))
    ));
    let beside = cache.remember("k", || Err::<u8, _>(Failure::NotFound(8)));
    let beside = beside.own_error().soft_timeout("1s");
    assert!(matches!(beside.run(), Err(Failure::NotFound(8))));
    let many = cache.remember_many(["a"], |_| Err::<[(&str, u8); 1], _>(Failure::NotFound(9)));
    assert!(matches!(many.own_error().run(), Err(Failure::NotFound(9))));
    let by = cache.remember_many_by([1_u8], u8::to_string, |_| {
        Err::<[(u8, u8); 1], _>(Failure::NotFound(10))
    });
    assert!(matches!(by.own_error().run(), Err(Failure::NotFound(10))));
    cache.close().run()?;
    match cache
        .remember("k", || Err::<u8, _>(Failure::NotFound(11)))
        .own_error()
        .run()
    {
        Err(Failure::Cache(error)) => assert_eq!(error.kind(), ErrorKind::Closed),
        other => panic!("{other:?}"),
    }
    Ok(())
}
