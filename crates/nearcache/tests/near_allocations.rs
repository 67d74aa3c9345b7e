//! What a call allocates, counted by the allocator: nothing for a near hit; in a store in this process, little more than
//! what the store itself does; and for many keys, nothing for each.

// A global allocator is `unsafe` by its nature. This one counts, and leaves everything else to the system's.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use nearcache::{Cache, blocking};
use nearcache_testkit::{Redis, random_prefix};
use serde::{Deserialize, Serialize};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: it calls the system's allocator with what it was given, and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many allocations something makes on this thread.
fn allocations<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = COUNT.get();
    let output = work();
    (output, COUNT.get() - before)
}

/// The output of a future that is ready at once, as in this process.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it is not here at once"),
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Page {
    title: String,
    text: String,
}

fn page() -> Page {
    Page {
        title: "Hello".into(),
        text: "x".repeat(10_000),
    }
}

async fn warmed(url: &str) -> Cache {
    let url = format!("{url}?near=100&timeout=20s");
    let cache = Cache::builder(&url)
        .prefix(random_prefix())
        .build()
        .unwrap();
    cache.set("page:home", &page()).ttl("1h").await.unwrap();
    let begun = std::time::Instant::now();
    while cache.stats().near_hits == 0 {
        assert!(begun.elapsed().as_secs() < 20);
        cache.get_arc::<Page>("page:home").await.unwrap().unwrap();
    }
    cache
}

#[test]
fn a_near_hit_allocates_nothing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for url in ["memory://".to_owned(), Redis::shared().url()] {
        let cache = runtime.block_on(warmed(&url));
        let expected = page();
        let get = || {
            at_once(cache.get_arc::<Page>("page:home").into_future())
                .unwrap()
                .unwrap()
        };
        assert_eq!(*get(), expected);
        let (found, count) = allocations(get);
        assert_eq!((&*found, count), (&expected, 0), "get_arc");
        let remember = || {
            let load = || async { Ok::<Arc<Page>, std::io::Error>(Arc::new(page())) };
            at_once(
                cache
                    .remember("page:home", load)
                    .ttl("1h")
                    .stale_for("5m")
                    .into_future(),
            )
            .unwrap()
        };
        assert_eq!(*remember(), expected);
        let (found, count) = allocations(remember);
        assert_eq!((&*found, count), (&expected, 0), "remember of an Arc");
        // All of them share one value, whichever way they read it.
        assert!(Arc::ptr_eq(&found, &get()));
        let (number, count) = allocations(|| {
            for _ in 0..1_000 {
                get();
            }
        });
        assert_eq!((number, count), ((), 0));
    }
}

#[test]
fn a_near_hit_of_a_blocking_caller_allocates_nothing() {
    let cache = blocking::Cache::open("memory://?near=100").unwrap();
    cache.set("page:home", &page()).run().unwrap();
    let get = || cache.get_arc::<Page>("page:home").run().unwrap().unwrap();
    for _ in 0..3 {
        get();
    }
    let (found, count) = allocations(get);
    assert_eq!((&*found, count), (&page(), 0));
    let clone = || cache.get::<u64>("number").run().unwrap();
    cache.set("number", &7).run().unwrap();
    for _ in 0..3 {
        clone();
    }
    assert_eq!(allocations(clone), (Some(7), 0));
}

/// What is stored is a piece of memory in the store, and what is read is one for the caller.
const OWN: usize = 1;

#[test]
fn a_get_and_a_set_in_this_process_allocate_little() {
    use nearcache::Raw;

    let blocking = blocking::Cache::open("memory://").unwrap();
    let cache = blocking.asynchronous().unwrap();
    let set = || at_once(cache.set("key", &Raw(b"value")).ttl("1h").into_future());
    let get = || at_once(cache.get::<Raw>("key").into_future());
    set().unwrap();
    assert!(get().unwrap().is_some());
    let blocking_set = || blocking.set("key", &Raw(b"value")).ttl("1h").run();
    let blocking_get = || blocking.get::<Raw>("key").run();
    let (found, count) = allocations(blocking_get);
    assert!(found.unwrap().is_some());
    assert_eq!(count, OWN, "a get of a blocking caller");
    // An async caller's call is kept in the future until it is polled.
    let (_, count) = allocations(get);
    assert_eq!(count, OWN, "a get");
    let (_, of_blocking) = allocations(blocking_set);
    let (_, of_async) = allocations(set);
    assert!(
        of_blocking <= OWN + 2,
        "a set of a blocking caller: {of_blocking}"
    );
    assert_eq!(of_async, of_blocking, "a set");
}

#[test]
fn many_keys_allocate_nothing_each() {
    use nearcache::Raw;

    let keys: Vec<String> = (0..1_000).map(|id| format!("key:{id}")).collect();
    let cache = blocking::Cache::open("memory://").unwrap();
    let set = |count: usize| {
        let pairs = keys[..count].iter().map(|key| (key, Raw(b"value")));
        cache.set_many(pairs).ttl("1h").run().unwrap();
    };
    let get = |count: usize| {
        let found: Vec<Option<Raw>> = cache.get_many(&keys[..count]).run().unwrap();
        assert!(found.iter().all(Option::is_some));
    };
    let each = |call: &dyn Fn(usize)| {
        call(1_000);
        let (few, many) = (allocations(|| call(100)).1, allocations(|| call(1_000)).1);
        (many - few) as f64 / 900.0
    };
    // Each value is one; and lists grow a few times.
    let of_set = each(&set);
    assert!(of_set < 1.1, "set_many: {of_set} a key");
    let of_get = each(&get);
    assert!((1.0..1.1).contains(&of_get), "get_many: {of_get} a key");
}
