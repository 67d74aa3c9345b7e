//! Options that do not exist, contradict each other, or have values that they cannot have.

use std::sync::LazyLock;

use nearcache::{Cache, cached};

static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::open("memory://").unwrap());

#[cached]
async fn no_cache(n: u32) -> u32 {
    n
}

#[cached(ttl = "1h")]
async fn no_cache_either(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE, stale_if_eror = "1h")]
async fn misspelt(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE, lifetime = "1h")]
async fn unknown(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE, ttl = "1h", ttl = "2h")]
async fn twice(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE, ttl = "1h", forever)]
async fn contradiction(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE, forever = true)]
async fn flag_with_a_value(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE, key)]
async fn no_value(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE, on_error = "ignore")]
async fn on_error(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE, early_refresh = 1000)]
async fn early_refresh(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE, tags = "users")]
async fn tags(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE, key = 7)]
async fn number_for_a_key(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE, key = "")]
async fn empty_key(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE, key = |n| n.to_string())]
async fn closure_of_one(n: u32, org: &str) -> u32 {
    n
}

fn main() {}
