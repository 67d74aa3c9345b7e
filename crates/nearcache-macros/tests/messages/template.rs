//! Templates that name what is not there.

use std::sync::LazyLock;

use nearcache::{Cache, cached};

static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::open("memory://").unwrap());

#[cached(cache = CACHE, key = "user:{user}")]
async fn unknown(user_id: u32, org: &str) -> u32 {
    user_id
}

#[cached(cache = CACHE, key = "user:{usr_id}")]
async fn misspelt(user_id: u32) -> u32 {
    user_id
}

#[cached(cache = CACHE, key = "user:{}")]
async fn unnamed(user_id: u32) -> u32 {
    user_id
}

#[cached(cache = CACHE, key = "user:{1}")]
async fn too_far(user_id: u32) -> u32 {
    user_id
}

#[cached(cache = CACHE, key = "user:{user_id")]
async fn open(user_id: u32) -> u32 {
    user_id
}

#[cached(cache = CACHE, key = "user:user_id}")]
async fn closed(user_id: u32) -> u32 {
    user_id
}

#[cached(cache = CACHE, key = "user:{user_id:>width$}")]
async fn unknown_width(user_id: u32) -> u32 {
    user_id
}

#[cached(cache = CACHE, key = "{self.tenant}")]
async fn no_self() -> u32 {
    1
}

#[cached(cache = CACHE, key = "k", tags = ["users", "org:{organisation}"])]
async fn tag(org: &str) -> u32 {
    1
}

fn main() {}
