//! Times that are none.

use std::sync::LazyLock;

use nearcache::{Cache, cached};

static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::open("memory://").unwrap());

#[cached(cache = CACHE, ttl = "60")]
async fn no_unit(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE, ttl = "1 fortnight")]
async fn unknown_unit(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE, negative_ttl = "0s")]
async fn nothing(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE, stale_for = "2000000d")]
async fn too_long(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE, ttl = 0)]
async fn no_seconds(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE, ttl = -1)]
async fn negative(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE, soft_timeout = 0.5)]
async fn fraction(n: u32) -> u32 {
    n
}

fn main() {}
