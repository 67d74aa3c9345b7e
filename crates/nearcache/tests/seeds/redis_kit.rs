//! redis_kit's page "Cache", in the order of the page, in the words of Rust: `docs/redis-kit.md` has both side by side.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use nearcache::hooks::{Call, Done, Hook, MetricsCollector, Outcome};
use nearcache::redis::Value;
use nearcache::{
    BoxError, Builder, Cache, Error, ErrorKind, Fallback, Instead, Lookup, Remaining, blocking,
    cached,
};
use nearcache_testkit::{Logs, Port, random_prefix};
use serde::{Deserialize, Serialize};

use crate::face::{Face, run, run_in_one_thread};
use crate::target::{Options, Target, keys_matching, raw};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
}

fn alice() -> User {
    User {
        name: "Alice".to_owned(),
    }
}

/// Loads on either face.
macro_rules! remember {
    ($face:ident, $key:expr, $value:expr) => {
        match &$face {
            Face::Async(cache) => cache.remember($key, async move || $value).ttl(3600).await,
            Face::Blocking(cache) => cache.remember($key, move || $value).ttl(3600).run(),
        }
    };
}

mod decorator;
mod fallback;
mod hooks;
mod usage;
