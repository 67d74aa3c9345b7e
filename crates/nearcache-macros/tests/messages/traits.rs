//! Methods of traits, which cannot be decorated.

use std::future::Future;
use std::pin::Pin;
use std::sync::LazyLock;

use nearcache::{Cache, cached};

static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::open("memory://").unwrap());

#[async_trait::async_trait]
trait Boxed {
    async fn find(&self, id: u32) -> u32;
}

struct Users;

#[async_trait::async_trait]
impl Boxed for Users {
    #[cached(cache = CACHE)]
    async fn find(&self, id: u32) -> u32 {
        id
    }
}

#[allow(async_fn_in_trait)]
trait Plain {
    async fn find(&self, id: u32) -> u32;
}

impl Plain for Users {
    #[cached(cache = CACHE)]
    async fn find(&self, id: u32) -> u32 {
        id
    }
}

trait WithoutABody {
    #[cached(cache = CACHE)]
    async fn find(&self, id: u32) -> u32;
}

#[allow(async_fn_in_trait)]
trait WithADefault {
    #[cached(cache = CACHE)]
    async fn find(&self, id: u32) -> u32 {
        id
    }
}

#[cached(cache = CACHE)]
fn a_future(id: u32) -> impl Future<Output = u32> {
    async move { id }
}

#[cached(cache = CACHE)]
fn a_boxed_future(id: u32) -> Pin<Box<dyn Future<Output = u32> + Send>> {
    Box::pin(async move { id })
}

fn main() {}
