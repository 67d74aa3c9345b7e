//! What cannot be decorated.

use std::sync::LazyLock;

use nearcache::{Cache, cached};

static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::open("memory://").unwrap());

#[cached(cache = CACHE)]
struct NoFunction;

#[cached(cache = CACHE)]
async fn exclusive(n: &mut u32) -> u32 {
    *n
}

#[cached(cache = CACHE)]
async fn borrowed(text: &str) -> &str {
    text
}

#[cached(cache = CACHE)]
async fn unnamed_type(n: u32) -> impl serde::Serialize {
    n
}

#[cached(cache = CACHE, key = "k")]
async fn references_within(texts: &[&str]) -> usize {
    texts.len()
}

#[cached(cache = CACHE, key = "k")]
async fn a_type_that_borrows(context: std::fmt::Arguments<'_>) -> usize {
    1
}

#[cached(cache = CACHE)]
const fn constant() -> u32 {
    1
}

#[cached(cache = CACHE)]
unsafe fn not_safe() -> u32 {
    1
}

struct Counter;

impl Counter {
    #[cached(cache = CACHE)]
    async fn counts(&mut self) -> u32 {
        1
    }
}

fn main() {}
