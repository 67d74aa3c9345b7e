//! JitAI's page "Redis Cache": `caches.RedisType`, in the order of the page.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use nearcache::compat::registry::{Registry, RegistryBuilder, TextCache, TextCacheOf};
use nearcache::hooks::{Call, Done, Hook};
use nearcache::operation::Blocking;
use nearcache::redis::Value;
use nearcache::{ErrorKind, Remaining};
use nearcache_testkit::{Port, Redis, eventually};

use crate::app::App;
use crate::face::{Face, run};
use crate::target::{Target, raw};

/// The server of the page, with the password that it shows.
static REDIS: LazyLock<Redis> =
    LazyLock::new(|| Redis::start_with(&["--requirepass", "your_password"]));

/// An element on either face.
#[derive(Clone, Debug)]
enum Element {
    Async(TextCache),
    Blocking(TextCacheOf<Blocking>),
}

/// Carries an operation of an element out on either face.
macro_rules! on {
    ($element:ident . $($operation:tt)*) => {
        match &$element {
            Element::Async(element) => element.$($operation)*.await,
            Element::Blocking(element) => element.$($operation)*.run(),
        }
    };
}

/// Asks either face something that it answers at once.
macro_rules! of {
    ($element:ident . $($question:tt)*) => {
        match &$element {
            Element::Async(element) => element.$($question)*,
            Element::Blocking(element) => element.$($question)*,
        }
    };
}

mod advanced;
mod declaration;
mod methods;
mod types;

impl Element {
    fn get(target: Target, registry: &Registry, name: &str) -> nearcache::Result<Element> {
        let element = registry.element(name)?;
        Ok(if target.is_blocking() {
            Element::Blocking(element.blocking()?)
        } else {
            Element::Async(element)
        })
    }

    /// The cache beneath.
    fn cache(&self) -> Face {
        match self {
            Element::Async(element) => Face::Async(element.cache().clone()),
            Element::Blocking(element) => Face::Blocking(element.cache().clone()),
        }
    }

    async fn names(&self, pattern: &str) -> Vec<String> {
        let mut names = Vec::new();
        match self {
            Element::Async(element) => {
                let mut listing = element.keys(pattern);
                while let Some(name) = listing.next().await {
                    names.push(name.unwrap());
                }
            }
            Element::Blocking(element) => {
                names.extend(element.keys(pattern).map(Result::unwrap));
            }
        }
        names.sort();
        names
    }

    async fn ttl(&self, name: &str) -> Remaining {
        let cache = self.cache();
        call!(cache.ttl(name)).unwrap()
    }
}

/// The place as the page writes it, with more fields. (The store in this process has a URL instead.)
fn place(target: Target, app: &App, more: &str) -> String {
    if target.is_embedded() {
        return format!(r#"{{"url": "memory://{}", "timeout": 10{more}}}"#, app.id);
    }
    format!(
        r#"{{"host": "127.0.0.1", "port": {}, "password": "your_password", "timeout": 10, "connect_timeout": 10{more}}}"#,
        REDIS.port()
    )
}

/// `caches.MyRedis` of a new application.
fn my_redis(target: Target) -> (App, Element) {
    let app = App::new();
    app.element(
        "caches.MyRedis",
        "caches.RedisType",
        &place(target, &app, ""),
    );
    let registry = app.registry().build();
    let element = Element::get(target, &registry, "caches.MyRedis").unwrap();
    (app, element)
}

/// A raw command; the second word gets the application's id.
async fn raw_at(cache: &Element, words: &[&[u8]]) -> Value {
    let key = [of!(cache.element().app_id()).as_bytes(), b":", words[1]].concat();
    let mut words = words.to_vec();
    words[1] = &key;
    raw(&cache.cache(), &words).await
}
