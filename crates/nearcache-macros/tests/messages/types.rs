//! Types that lack what a cached function needs of them.

use std::sync::LazyLock;

use nearcache::{Cache, blocking, cached};

static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::open("memory://").unwrap());
static BLOCKING: LazyLock<blocking::Cache> =
    LazyLock::new(|| blocking::Cache::open("memory://").unwrap());

struct Plain;

#[derive(serde::Serialize)]
struct OneWay;

#[derive(Debug)]
struct Fault;

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a fault")
    }
}

#[cached(cache = CACHE)]
async fn no_form(n: u32) -> Plain {
    Plain
}

#[cached(cache = CACHE)]
async fn no_way_back(n: u32) -> Result<OneWay, nearcache::Error> {
    Ok(OneWay)
}

#[cached(cache = CACHE)]
async fn argument_without_a_form(n: u32, plain: Plain) -> u32 {
    n
}

#[cached(cache = CACHE, key = "{plain}")]
async fn argument_without_a_text(plain: Plain) -> u32 {
    1
}

#[cached(cache = CACHE, key = "k")]
async fn argument_without_a_copy(n: u32, plain: &Plain) -> u32 {
    let _ = plain;
    n
}

#[cached(cache = CACHE)]
async fn error_that_knows_no_cache(n: u32) -> Result<u32, Fault> {
    Ok(n)
}

#[derive(serde::Serialize, serde::Deserialize)]
struct OneOnly;

#[cached(cache = CACHE)]
async fn not_to_be_copied_for_every_caller(n: u32) -> OneOnly {
    OneOnly
}

#[cached(cache = CACHE)]
async fn the_same_in_a_result(n: u32) -> nearcache::Result<OneOnly> {
    Ok(OneOnly)
}

#[cached(cache = CACHE, on_error = "raise")]
async fn nobody_to_tell(n: u32) -> Option<u32> {
    Some(n)
}

#[cached(cache = CACHE)]
fn async_cache(n: u32) -> u32 {
    n
}

#[cached(cache = BLOCKING)]
async fn blocking_cache(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE, key = 'k'.len_utf8())]
async fn key_of_another_type(n: u32) -> u32 {
    n
}


#[cached(cache = CACHE, ttl = n == 1)]
async fn ttl_of_yet_another_type(n: u32) -> u32 {
    n
}

#[cached(cache = CACHE)]
async fn primed(n: u32) -> Result<u32, nearcache::Error> {
    Ok(n)
}

struct Service {
    cache: Cache,
}

impl Service {
    #[cached(cache = self.cache)]
    async fn not_to_be_copied(&self, n: u32) -> u32 {
        n
    }
}

fn main() {
    let _ = primed::prime(1, "a text");
}
