//! Locks and semaphores: one holder at a time, or so many; tokens that grow; guards that end.

#![allow(
    clippy::redundant_closure_for_method_calls,
    reason = "a guard has a type for each face"
)]

use std::time::Duration;

use nearcache::ErrorKind;

use crate::target::{Face, Target, two};

suite! {
    a_lock_has_one_holder_at_a_time,
    the_token_grows_with_each_holder,
    a_guard_that_is_dropped_releases,
    a_wait_ends_with_an_error_or_with_the_lock,
    a_lock_is_renewed_and_ends_without_renewal,
    what_another_one_took_is_not_released,
    a_lock_has_keys_of_its_own,
    bad_options_are_errors_of_the_operation,
    a_semaphore_has_so_many_holders,
    permits_that_end_are_free_again,
}

/// Both faces of a guard, for what takes the guard itself.
macro_rules! release {
    ($face:ident, $guard:expr) => {
        match ($guard, &$face) {
            (Held::Async(guard), _) => guard.release().await,
            (Held::Blocking(guard), _) => guard.release().run(),
        }
    };
}

/// A lock or a permit that is held, of either face.
enum Held<A, B> {
    Async(A),
    Blocking(B),
}

impl<A, B> Held<A, B> {
    fn ask<R>(&self, of_async: impl Fn(&A) -> R, of_blocking: impl Fn(&B) -> R) -> R {
        match self {
            Held::Async(guard) => of_async(guard),
            Held::Blocking(guard) => of_blocking(guard),
        }
    }
}

type Guard = Held<
    nearcache::patterns::LockGuard,
    nearcache::patterns::LockGuard<nearcache::operation::Blocking>,
>;

type Permit =
    Held<nearcache::patterns::Permit, nearcache::patterns::Permit<nearcache::operation::Blocking>>;

impl Guard {
    fn is_held(&self) -> bool {
        self.ask(|guard| guard.is_held(), |guard| guard.is_held())
    }

    fn token(&self) -> u64 {
        self.ask(|guard| guard.token(), |guard| guard.token())
    }
}

async fn try_lock(face: &Face, name: &str, ttl: &str) -> Option<Guard> {
    match face {
        Face::Async(cache) => {
            let held = cache.lock(name).ttl(ttl).try_acquire().await;
            held.expect("an answer").map(Held::Async)
        }
        Face::Blocking(cache) => {
            let held = cache.lock(name).ttl(ttl).try_acquire().run();
            held.expect("an answer").map(Held::Blocking)
        }
    }
}

async fn permit(face: &Face, name: &str, of: u64, ttl: &str) -> Option<Permit> {
    match face {
        Face::Async(cache) => {
            let held = cache.semaphore(name, of).ttl(ttl).try_acquire().await;
            held.expect("an answer").map(Held::Async)
        }
        Face::Blocking(cache) => {
            let held = cache.semaphore(name, of).ttl(ttl).try_acquire().run();
            held.expect("an answer").map(Held::Blocking)
        }
    }
}

async fn a_lock_has_one_holder_at_a_time(target: Target) {
    let (one, other) = two(target, crate::target::Options::default());
    assert!(!call!(one.lock("job").is_locked()).unwrap());
    let guard = try_lock(&one, "job", "30s").await.unwrap();
    assert!(guard.is_held());
    assert!(call!(other.lock("job").is_locked()).unwrap());
    assert!(try_lock(&other, "job", "30s").await.is_none());
    assert!(
        try_lock(&one, "job", "30s").await.is_none(),
        "not reentrant"
    );
    assert!(try_lock(&other, "another job", "30s").await.is_some());
    assert!(release!(one, guard).unwrap());
    let guard = try_lock(&other, "job", "30s").await.unwrap();
    assert!(release!(other, guard).unwrap());
}

async fn the_token_grows_with_each_holder(target: Target) {
    let cache = target.cache();
    let mut last = 0;
    for _ in 0..20 {
        let guard = try_lock(&cache, "job", "30s").await.unwrap();
        assert!(guard.token() > last, "{} after {last}", guard.token());
        last = guard.token();
        assert!(release!(cache, guard).unwrap());
    }
}

async fn a_guard_that_is_dropped_releases(target: Target) {
    let cache = target.cache();
    let guard = try_lock(&cache, "job", "30s").await.unwrap();
    drop(guard);
    // An async guard releases in the background.
    let next = match &cache {
        Face::Async(cache) => {
            let next = cache.lock("job").acquire().wait("20s").await;
            Held::Async(next.unwrap())
        }
        Face::Blocking(cache) => {
            let next = cache.lock("job").try_acquire().run();
            Held::Blocking(next.unwrap().expect("it was released by then"))
        }
    };
    // On a thread that has no runtime, too.
    std::thread::spawn(move || drop(next)).join().unwrap();
    let last = call_as!(drop; cache.lock("job").acquire().wait("20s"));
    last.unwrap();
}

async fn a_wait_ends_with_an_error_or_with_the_lock(target: Target) {
    let cache = target.cache();
    let guard = try_lock(&cache, "job", "30s").await.unwrap();
    let error = call_as!(drop; cache.lock("job").acquire().wait("50ms")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("held by another"), "{error}");
    let waiting = cache.clone();
    let waits = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            call_as!(drop; waiting.lock("job").acquire().wait("20s")).unwrap();
        });
    });
    assert!(release!(cache, guard).unwrap());
    tokio::task::spawn_blocking(|| waits.join().unwrap())
        .await
        .unwrap();
}

async fn a_lock_is_renewed_and_ends_without_renewal(target: Target) {
    let cache = target.cache();
    let renewed = try_lock(&cache, "renewed", "2s").await.unwrap();
    let not = match &cache {
        Face::Async(cache) => {
            let lock = cache.lock("not").ttl("2s").without_renewal();
            Held::Async(lock.try_acquire().await.unwrap().unwrap())
        }
        Face::Blocking(cache) => {
            let lock = cache.lock("not").ttl("2s").without_renewal();
            Held::Blocking(lock.try_acquire().run().unwrap().unwrap())
        }
    };
    // What another one waits for, it gets when the first one has ended by itself.
    call_as!(drop; cache.lock("not").acquire().wait("20s")).unwrap();
    assert!(!not.is_held());
    assert!(!release!(cache, not).unwrap());
    // Longer than it lasts without renewal, which is three times as long as a busy machine may stand still.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(renewed.is_held());
    assert!(release!(cache, renewed).unwrap());
}

async fn what_another_one_took_is_not_released(target: Target) {
    let (cache, prefix) = target.cache_and_prefix();
    let guard = try_lock(&cache, "taken", "30s").await.unwrap();
    // As an eviction would.
    crate::target::raw(
        &cache,
        &[
            b"UNLINK",
            format!("{prefix}:#nearcache:lock:{{taken}}").as_bytes(),
        ],
    )
    .await;
    let next = try_lock(&cache, "taken", "30s").await.unwrap();
    assert!(next.token() > guard.token());
    assert!(!release!(cache, guard).unwrap());
    assert!(call!(cache.lock("taken").is_locked()).unwrap());
    assert!(release!(cache, next).unwrap());
}

async fn a_lock_has_keys_of_its_own(target: Target) {
    let (cache, prefix) = target.cache_and_prefix();
    let guard = try_lock(&cache, "a:b", "30s").await.unwrap();
    let permit = permit(&cache, "a:b", 3, "30s").await.unwrap();
    let lock = format!("{prefix}:#nearcache:lock:{{a%3Ab}}");
    let lock = lock.as_bytes();
    let redis::Value::BulkString(held) = crate::target::raw(&cache, &[b"GET", lock]).await else {
        panic!("no lock")
    };
    let held = String::from_utf8(held).unwrap();
    let (token, owner) = held.split_once(':').unwrap();
    assert_eq!(token, guard.token().to_string());
    assert_eq!(owner.len(), 32);
    assert!(
        !format!(
            "{:?}",
            guard.ask(|g| format!("{g:?}"), |g| format!("{g:?}"))
        )
        .contains(owner)
    );
    let last = format!("{prefix}:#nearcache:lock:{{a%3Ab}}:token");
    let last = last.as_bytes();
    let kept = crate::target::raw(&cache, &[b"GET", last]).await;
    assert_eq!(kept, redis::Value::BulkString(token.into()));
    let holders = format!("{prefix}:#nearcache:semaphore:{{a%3Ab}}");
    let holders = holders.as_bytes();
    let held = crate::target::raw(&cache, &[b"ZCARD", holders]).await;
    assert_eq!(held, redis::Value::Int(1));
    // They are no entries of the cache.
    assert!(crate::target::keys_matching(&cache, b"*").await.is_empty());
    call!(cache.clear()).unwrap();
    assert!(guard.is_held() && call!(cache.lock("a:b").is_locked()).unwrap());
    assert!(release!(cache, guard).unwrap());
    assert!(release!(cache, permit).unwrap());
}

async fn bad_options_are_errors_of_the_operation(target: Target) {
    let cache = target.cache();
    let kind = |result: Result<bool, nearcache::Error>| result.unwrap_err().kind();
    let tried = call_as!(|held| held.is_some(); cache.lock("").try_acquire());
    assert_eq!(kind(tried), ErrorKind::InvalidKey);
    let tried = call_as!(|held| held.is_some(); cache.lock("job").ttl("soon").try_acquire());
    assert_eq!(kind(tried), ErrorKind::InvalidTtl);
    let tried = call_as!(|held| held.is_some(); cache.lock("job").ttl("50ms").try_acquire());
    assert_eq!(kind(tried), ErrorKind::InvalidTtl);
    let tried = call_as!(|held| held.is_held(); cache.lock("job").acquire().wait("0s"));
    assert_eq!(kind(tried), ErrorKind::InvalidTtl);
    let tried = call_as!(|held| held.is_some(); cache.semaphore("pool", 0).try_acquire());
    assert_eq!(kind(tried), ErrorKind::InvalidConfig);
}

async fn a_semaphore_has_so_many_holders(target: Target) {
    let (one, other) = two(target, crate::target::Options::default());
    let mut held = Vec::new();
    let mut last = 0;
    for face in [&one, &other, &one] {
        let permit = permit(face, "pool", 3, "30s").await.unwrap();
        assert!(permit.ask(|permit| permit.is_held(), |permit| permit.is_held()));
        let token = permit.ask(|permit| permit.token(), |permit| permit.token());
        assert!(token > last);
        last = token;
        held.push(permit);
    }
    assert_eq!(call!(other.semaphore("pool", 3).in_use()).unwrap(), 3);
    assert!(permit(&other, "pool", 3, "30s").await.is_none());
    let error = call_as!(drop; other.semaphore("pool", 3).acquire().wait("50ms"));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(release!(one, held.pop().unwrap()).unwrap());
    assert!(permit(&other, "pool", 3, "30s").await.is_some());
    for permit in held {
        assert!(release!(one, permit).unwrap());
    }
}

async fn permits_that_end_are_free_again(target: Target) {
    let cache = target.cache();
    let semaphore = |face: &Face| match face {
        Face::Async(cache) => {
            let made = cache.semaphore("pool", 1).ttl("300ms").without_renewal();
            Held::Async(made)
        }
        Face::Blocking(cache) => {
            let made = cache.semaphore("pool", 1).ttl("300ms").without_renewal();
            Held::Blocking(made)
        }
    };
    match semaphore(&cache) {
        Held::Async(semaphore) => {
            let first = semaphore.try_acquire().await.unwrap().unwrap();
            let second = semaphore.acquire().wait("20s").await.unwrap();
            assert!(!first.is_held());
            assert!(second.token() > first.token());
            assert!(!first.release().await.unwrap());
        }
        Held::Blocking(semaphore) => {
            let first = semaphore.try_acquire().run().unwrap().unwrap();
            let second = semaphore.acquire().wait("20s").run().unwrap();
            assert!(!first.is_held());
            assert!(second.token() > first.token());
            assert!(!first.release().run().unwrap());
        }
    }
}
