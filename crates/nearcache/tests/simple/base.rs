//! Code that is given any cache: the trait, what it makes of a cache's few methods, and the cache that keeps nothing.

use std::collections::BTreeMap;
use std::sync::Mutex;

use nearcache::ErrorKind;
use nearcache::operation::{Async, Blocking, Executor, Pending};
use nearcache::simple::{BasicCache, NullCache, SimpleCache, Timeout, Value};

use crate::face::{Face, run};
use crate::target::Target;

/// A cache of the application's own: a map. It says only what it must.
#[derive(Debug, Default)]
struct Mapped(Mutex<BTreeMap<String, Value>>);

fn known<'c, T: Send + 'c, M>(answer: T) -> Pending<'c, T, M> {
    Pending::new(async move { Ok(answer) })
}

impl<M: Executor> BasicCache<M> for Mapped {
    fn get<'c>(&'c self, key: &'c str) -> Pending<'c, Option<Value>, M> {
        known(self.0.lock().unwrap().get(key).cloned())
    }

    fn set<'c>(&'c self, key: &'c str, value: Value, _: Option<Timeout>) -> Pending<'c, bool, M> {
        self.0.lock().unwrap().insert(key.to_owned(), value);
        known(true)
    }

    fn add<'c>(&'c self, key: &'c str, value: Value, _: Option<Timeout>) -> Pending<'c, bool, M> {
        let mut map = self.0.lock().unwrap();
        let free = !map.contains_key(key);
        if free {
            map.insert(key.to_owned(), value);
        }
        known(free)
    }

    fn delete<'c>(&'c self, key: &'c str) -> Pending<'c, bool, M> {
        known(self.0.lock().unwrap().remove(key).is_some())
    }

    fn has<'c>(&'c self, key: &'c str) -> Pending<'c, bool, M> {
        known(self.0.lock().unwrap().contains_key(key))
    }

    fn clear(&self) -> Pending<'_, bool, M> {
        self.0.lock().unwrap().clear();
        known(true)
    }
}

/// What an application does with whatever cache it is given. Written once for both faces.
macro_rules! used {
    ($cache:expr, $($end:tt)*) => {{
        let cache = $cache;
        assert!(cache.set("a", 1.into(), None)$($end)*.unwrap());
        assert!(!cache.add("a", 2.into(), Some(Timeout::NEVER))$($end)*.unwrap());
        assert!(cache.add("b", "text".into(), Some(Timeout::from(60)))$($end)*.unwrap());
        assert_eq!(cache.get("a")$($end)*.unwrap(), Some(1.into()));
        let entries = vec![("c", Value::from(3)), ("d", 4.into())];
        assert_eq!(cache.set_many(entries, None)$($end)*.unwrap(), ["c", "d"]);
        let values = cache.get_many(&["a", "x", "d"])$($end)*.unwrap();
        assert_eq!(values, [Some(1.into()), None, Some(4.into())]);
        let dict = cache.get_dict(&["a", "x", "a"])$($end)*.unwrap();
        assert_eq!(dict, [("a", Some(1.into())), ("x", None)].into());
        assert_eq!(cache.inc("a", 10)$($end)*.unwrap(), Some(11));
        assert_eq!(cache.dec("a", 1)$($end)*.unwrap(), Some(10));
        assert_eq!(cache.dec("new", 5)$($end)*.unwrap(), Some(-5));
        let error = cache.inc("b", 1)$($end)*.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotInteger);
        cache.set("most", i64::MAX.into(), None)$($end)*.unwrap();
        let error = cache.inc("most", 1)$($end)*.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overflow);
        let error = cache.dec("a", i64::MIN)$($end)*.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overflow);
        assert!(cache.has("b")$($end)*.unwrap());
        assert!(cache.delete("b")$($end)*.unwrap());
        assert!(!cache.delete("b")$($end)*.unwrap());
        assert_eq!(cache.delete_many(&["a", "missing"])$($end)*.unwrap(), ["a", "missing"]);
        assert!(!cache.has("a")$($end)*.unwrap());
        assert!(cache.clear()$($end)*.unwrap());
        assert!(!cache.has("c")$($end)*.unwrap());
    }};
}

suite! {
    a_simple_cache_is_one_of_any,
}

async fn a_simple_cache_is_one_of_any(target: Target) {
    match target.cache() {
        Face::Async(cache) => {
            let any: Box<dyn BasicCache> = Box::new(SimpleCache::new(&cache));
            used!(any, .await);
        }
        Face::Blocking(cache) => {
            let any: Box<dyn BasicCache<Blocking>> = Box::new(SimpleCache::new(&cache));
            used!(any, .run());
        }
    }
}

#[test]
fn a_cache_of_the_applications_own_is_one_too() {
    run(async {
        let any: Box<dyn BasicCache<Async>> = Box::<Mapped>::default();
        used!(any, .await);
        let any: Box<dyn BasicCache<Blocking>> = Box::<Mapped>::default();
        used!(any, .run());
    });
}

#[test]
fn the_null_cache_keeps_nothing_and_says_that_it_does() {
    run(async {
        let none: &dyn BasicCache = &NullCache;
        assert!(none.set("a", 1.into(), None).await.unwrap());
        assert!(none.add("a", 1.into(), None).await.unwrap());
        assert_eq!(none.get("a").await.unwrap(), None);
        assert!(!none.has("a").await.unwrap());
        assert_eq!(none.inc("a", 3).await.unwrap(), Some(3));
        assert_eq!(none.inc("a", 3).await.unwrap(), Some(3));
        assert!(none.delete("a").await.unwrap() && none.clear().await.unwrap());
    });
}
