//! What can be decorated.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use nearcache::{Cache, blocking, cached};
use tokio::sync::Semaphore;

use crate::{Runs, everywhere, everywhere_blocking};

static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::open("memory://").expect("a cache"));
static BLOCKING: LazyLock<blocking::Cache> =
    LazyLock::new(|| blocking::Cache::open("memory://").expect("a cache"));

#[cached(cache = CACHE, key = "static:{n}")]
async fn of_a_static(n: usize, runs: &Runs) -> usize {
    n + runs.add()
}

#[cached(cache = &*BLOCKING, key = "static:{n}")]
fn of_a_static_blocking(n: usize, runs: &Runs) -> usize {
    n + runs.add()
}

#[tokio::test]
async fn a_cache_may_lie_in_a_static() {
    let runs = Runs::default();
    for _ in 0..2 {
        assert_eq!(of_a_static(1, &runs).await, 2);
    }
}

#[test]
fn a_blocking_cache_may_lie_in_a_static() {
    let runs = Runs::default();
    for _ in 0..2 {
        assert_eq!(of_a_static_blocking(1, &runs), 2);
    }
}

/// Arguments by reference, in every form in which the load can have copies of them.
#[cached(cache = cache, key = "references")]
#[allow(
    clippy::too_many_arguments,
    clippy::ptr_arg,
    reason = "there are many forms"
)]
async fn references<'a>(
    cache: &Cache,
    text: &'a str,
    list: &[u8],
    path: &Path,
    value: &String,
    option: Option<&str>,
    cow: Cow<'_, str>,
    fixed: &'static str,
    function: fn(&str) -> usize,
    some: &(impl std::fmt::Display + Clone + Send + Sync + 'static),
) -> String {
    let (path, length) = (path.display(), function(text));
    format!("{text} {list:?} {path} {value} {option:?} {cow} {fixed} {length} {some}")
}

#[cached(cache = cache, key = "references")]
fn references_blocking(
    cache: &blocking::Cache,
    text: &str,
    nested: &[&str],
    call: &dyn Fn(u8) -> u8,
) -> String {
    format!("{text} {nested:?} {}", call(1))
}

#[cached(cache = cache, key = "references", stale_for = "1h")]
fn references_beside(cache: &blocking::Cache, text: &str, option: Option<&[u8]>) -> String {
    format!("{text} {option:?}")
}

#[test]
fn arguments_may_be_references() {
    everywhere(async |scene| {
        let owned = "text".to_owned();
        let text = references(
            &scene.cache,
            &owned,
            &[1, 2],
            Path::new("/tmp"),
            &owned,
            Some(&owned),
            Cow::Borrowed(&owned),
            "fixed",
            str::len,
            &7,
        );
        let expected = r#"text [1, 2] /tmp text Some("text") text fixed 4 7"#;
        assert_eq!(text.await, expected);
    });
    everywhere_blocking(|scene| {
        let (owned, one) = ("text".to_owned(), 1);
        let text = references_blocking(&scene.cache, &owned, &[&owned], &|n| n + one);
        assert_eq!(text, r#"text ["text"] 2"#);
    });
    everywhere_blocking(|scene| {
        let owned = "text".to_owned();
        let text = references_beside(&scene.cache, &owned, Some(owned.as_bytes()));
        assert_eq!(text, "text Some([116, 101, 120, 116])");
    });
}

/// Nobody can copy it.
struct Unique(u8);

#[cached(cache = cache, key = "unique")]
async fn by_value(cache: Cache, unique: Unique, mut n: u8) -> u8 {
    n += 1;
    unique.0 + n
}

#[cached(cache = cache, key = "unique")]
fn by_reference_blocking(cache: &blocking::Cache, unique: &Unique) -> u8 {
    unique.0
}

#[test]
fn what_cannot_be_copied_goes_by_value_or_does_not_leave_its_thread() {
    everywhere(async |scene| {
        assert_eq!(by_value(scene.cache, Unique(1), 1).await, 3);
    });
    everywhere_blocking(|scene| {
        assert_eq!(by_reference_blocking(&scene.cache, &Unique(1)), 1);
    });
}

/// A service: cheap to clone, as the load has a clone of it.
#[derive(Clone)]
struct Service {
    cache: Cache,
    tenant: String,
    runs: Runs,
}

impl Service {
    /// Another tenant's names are none of ours.
    #[cached(cache = self.cache, key = "{self.tenant}:{id}")]
    async fn name(&self, id: u32) -> Result<String, nearcache::Error> {
        self.runs.add();
        Ok(format!("{}-{id}", self.tenant))
    }

    #[cached(cache = &self.cache)]
    async fn shared(self: Arc<Self>, id: u32) -> usize {
        self.runs.add()
    }

    #[cached(cache = self.cache, key = |id: &u32| format!("consumed:{}:{id}", self.tenant))]
    async fn consumed(self, id: u32) -> usize {
        self.runs.add()
    }

    #[cached(cache = cache, associated)]
    async fn associated(cache: &Cache, id: u32) -> u32 {
        id
    }

    #[cached(cache = cache)]
    async fn made(cache: &Cache) -> Option<Self> {
        None
    }
}

// Only for `made`: what is cached must have a form.
impl serde::Serialize for Service {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> serde::Deserialize<'de> for Service {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("there is none"))
    }
}

#[test]
fn methods_are_remembered_without_self_in_the_key_unless_it_is_named() {
    everywhere(async |scene| {
        let service = |tenant: &str, runs: &Runs| Service {
            cache: scene.cache.clone(),
            tenant: tenant.to_owned(),
            runs: runs.clone(),
        };
        let runs = Runs::default();
        let (one, two) = (service("one", &runs), service("two", &runs));
        for _ in 0..2 {
            assert_eq!(one.name(1).await.unwrap(), "one-1");
            assert_eq!(two.name(1).await.unwrap(), "two-1");
        }
        assert_eq!(runs.count(), 2);
        assert!(one.name_invalidate(1).await.unwrap());
        one.name_prime(1, "primed".to_owned()).await.unwrap();
        assert_eq!(one.name(1).await.unwrap(), "primed");
        assert_eq!(one.name_refresh(1).await.unwrap(), "one-1");
        assert_eq!(one.name_uncached(1).await.unwrap(), "one-1");
        assert_eq!(one.name_key(1).unwrap(), "one:1");

        let runs = Runs::default();
        let (one, two) = (service("one", &runs), service("two", &runs));
        assert_eq!(Arc::new(one.clone()).shared(1).await, 1);
        assert_eq!(Arc::new(two).shared(1).await, 1, "self is not in the key");
        assert_eq!(one.clone().consumed(1).await, 2);
        assert_eq!(one.consumed(1).await, 2);
        assert_eq!(Service::associated(&scene.cache, 3).await, 3);
        assert!(Service::made(&scene.cache).await.is_none());
    });
}

/// Nobody can copy it.
struct Shop {
    cache: blocking::Cache,
    runs: Runs,
}

impl Shop {
    #[cached(cache = self.cache)]
    fn price(&self, article: &str) -> Option<usize> {
        Some(self.runs.add() + article.len())
    }
}

trait Priced: Sized {
    fn cache(&self) -> &blocking::Cache;

    #[cached(cache = self.cache())]
    fn of_a_trait(&self, n: u8) -> u8 {
        n
    }
}

impl Priced for Shop {
    fn cache(&self) -> &blocking::Cache {
        &self.cache
    }
}

#[test]
fn a_blocking_method_borrows_its_self() {
    everywhere_blocking(|scene| {
        let shop = Shop {
            cache: scene.cache,
            runs: Runs::default(),
        };
        for _ in 0..2 {
            assert_eq!(shop.price("pen"), Some(4));
        }
        assert!(shop.price_invalidate("pen").unwrap());
        assert_eq!(shop.price("pen"), Some(5));
        assert_eq!(shop.of_a_trait(3), 3);
        let key = shop.of_a_trait_key(3).unwrap();
        assert_eq!(key, "decorator::shapes::Shop::of_a_trait(3)");
    });
}

#[test]
fn its_future_can_be_spawned() {
    fn check<T: Send + 'static>(_: T) {}
    let cache: &'static Cache = &CACHE;
    let runs: &'static Runs = Box::leak(Box::default());
    check(of_a_static(1, runs));
    check(of_a_static::refresh(1, runs));
    check(of_a_static::invalidate(1, runs));
    check(of_a_static::prime(1, runs, 7));
    check(by_value(cache.clone(), Unique(1), 1));
}

#[tokio::test]
async fn a_caller_who_goes_away_stops_nothing() {
    let cache = Cache::open("memory://").unwrap();
    #[cached(cache = cache, key = "slow")]
    async fn slow(cache: &Cache, go_on: &Arc<Semaphore>, runs: &Runs) -> usize {
        let run = runs.add();
        let _ = go_on.acquire().await;
        run
    }
    let (go_on, runs) = (Arc::new(Semaphore::new(0)), Runs::default());
    let begun = async {
        while runs.count() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = begun => {}
        _ = slow(&cache, &go_on, &runs) => panic!("nobody let it go on"),
    }
    go_on.add_permits(1);
    assert_eq!(slow(&cache, &go_on, &runs).await, 1);
    assert_eq!(runs.count(), 1);
}

#[test]
fn of_many_callers_one_runs_it() {
    everywhere(async |scene| {
        #[cached(cache = cache, key = "one")]
        async fn one(cache: &Cache, go_on: &Arc<Semaphore>, runs: &Runs) -> usize {
            let run = runs.add();
            let _ = go_on.acquire().await;
            run
        }
        let (go_on, runs) = (Arc::new(Semaphore::new(0)), Runs::default());
        let callers: Vec<_> = (0..50)
            .map(|_| {
                let (cache, go_on, runs) = (scene.cache.clone(), go_on.clone(), runs.clone());
                tokio::spawn(async move { one(&cache, &go_on, &runs).await })
            })
            .collect();
        while scene.cache.stats().coalesced < 49 {
            tokio::task::yield_now().await;
        }
        go_on.add_permits(1);
        for caller in callers {
            assert_eq!(caller.await.unwrap(), 1);
        }
    });
}
