//! Whose error a caller gets.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nearcache::{Cache, ErrorKind, blocking, cached};
use tokio::sync::Semaphore;

use crate::{Runs, everywhere, everywhere_blocking};

/// An error of an application: no more than it needs, and no clone of it can be had.
#[derive(Debug)]
enum AppError {
    Gone(std::io::Error),
    Cache(nearcache::Error),
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppError::Gone(error) => write!(f, "gone: {error}"),
            AppError::Cache(error) => write!(f, "cache: {error}"),
        }
    }
}

impl From<nearcache::Error> for AppError {
    fn from(error: nearcache::Error) -> Self {
        AppError::Cache(error)
    }
}

/// One that can be cloned.
#[derive(Clone, Debug)]
enum SharedError {
    Gone(Arc<std::io::Error>),
    Cache,
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl From<nearcache::Error> for SharedError {
    fn from(_: nearcache::Error) -> Self {
        SharedError::Cache
    }
}

fn gone() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::NotFound, "no such table")
}

#[cached(cache = cache, key = "one")]
async fn fails(cache: &Cache) -> Result<u8, AppError> {
    Err(AppError::Gone(gone()))
}

#[cached(cache = cache, key = "one")]
fn fails_blocking(cache: &blocking::Cache) -> Result<u8, AppError> {
    Err(AppError::Gone(gone()))
}

#[test]
fn a_caller_gets_the_error_of_the_function_itself() {
    everywhere(async |scene| {
        let error = fails(&scene.cache).await.unwrap_err();
        assert!(
            matches!(error, AppError::Gone(error) if error.kind() == std::io::ErrorKind::NotFound)
        );
    });
    everywhere_blocking(|scene| {
        let error = fails_blocking(&scene.cache).unwrap_err();
        assert!(matches!(error, AppError::Gone(_)), "{error}");
    });
}

#[cached(cache = cache, key = "shared")]
async fn all_share(cache: &Cache, go_on: &Arc<Semaphore>, runs: &Runs) -> Result<u8, SharedError> {
    runs.add();
    let _ = go_on.acquire().await;
    Err(SharedError::Gone(Arc::new(gone())))
}

#[cached(cache = cache, key = "alone")]
async fn one_has(cache: &Cache, go_on: &Arc<Semaphore>, runs: &Runs) -> Result<u8, AppError> {
    runs.add();
    let _ = go_on.acquire().await;
    Err(AppError::Gone(gone()))
}

/// Waits until so many callers wait for another one's load.
async fn coalesced(cache: &Cache, callers: u64) {
    while cache.stats().coalesced < callers {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

macro_rules! together {
    ($scene:ident, $function:ident) => {{
        let (go_on, runs) = (Arc::new(Semaphore::new(0)), Runs::default());
        let callers: Vec<_> = (0..5)
            .map(|_| {
                let (cache, go_on, runs) = ($scene.cache.clone(), go_on.clone(), runs.clone());
                tokio::spawn(async move { $function(&cache, &go_on, &runs).await })
            })
            .collect();
        coalesced(&$scene.cache, 4).await;
        go_on.add_permits(5);
        let mut errors = Vec::new();
        for caller in callers {
            errors.push(caller.await.unwrap().unwrap_err());
        }
        assert_eq!(runs.count(), 1);
        errors
    }};
}

#[test]
fn an_error_that_can_be_cloned_reaches_everyone_who_waited() {
    everywhere(async |scene| {
        let errors = together!(scene, all_share);
        let first = errors.iter().map(|error| match error {
            SharedError::Gone(error) => Arc::as_ptr(error),
            SharedError::Cache => panic!("told of another one's error"),
        });
        let first: std::collections::HashSet<_> = first.collect();
        assert_eq!(first.len(), 1, "one error, cloned");
    });
}

#[test]
fn any_other_is_its_own_callers_and_the_rest_are_told_of_it() {
    everywhere(async |scene| {
        let errors = together!(scene, one_has);
        let (own, told): (Vec<_>, Vec<_>) = errors
            .into_iter()
            .partition(|error| matches!(error, AppError::Gone(_)));
        assert_eq!((own.len(), told.len()), (1, 4));
        for error in told {
            let AppError::Cache(error) = error else {
                unreachable!("partitioned")
            };
            assert_eq!(error.kind(), ErrorKind::Loader);
            assert!(error.to_string().contains("no such table"), "{error}");
        }
    });
}

#[cached(cache = cache, key = "panics")]
async fn panics(cache: &Cache) -> Result<u8, AppError> {
    panic!("no database")
}

#[cached(cache = cache, key = "panics")]
async fn panics_plainly(cache: &Cache) -> u8 {
    panic!("no database")
}

#[test]
fn a_panic_is_an_error_where_there_can_be_one_and_a_panic_where_there_cannot() {
    everywhere(async |scene| {
        let error = panics(&scene.cache).await.unwrap_err();
        assert!(error.to_string().contains("no database"), "{error}");
        let cache = scene.cache.clone();
        let panicked = tokio::spawn(async move { panics_plainly(&cache).await });
        let panic = panicked.await.unwrap_err().into_panic();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains("no database"), "{message}");
    });
}
