//! A server of the test's own with a proxy before it, and caches on that.

use std::time::{Duration, Instant};

use nearcache::{Builder, Cache, blocking};
use nearcache_testkit::{Proxy, Redis};

use crate::face::{Face, run};

/// The prefix of every cache here.
pub(crate) const PREFIX: &str = "app";

pub(crate) struct Site {
    pub(crate) redis: Redis,
    pub(crate) proxy: Proxy,
    blocking: bool,
}

/// How a cache is to be made, on either face.
pub(crate) trait Configure {
    fn onto<M>(&self, builder: Builder<M>) -> Builder<M>;
}

/// As it is.
pub(crate) struct Plain;

impl Configure for Plain {
    fn onto<M>(&self, builder: Builder<M>) -> Builder<M> {
        builder
    }
}

/// Options of a builder, written once for both faces.
macro_rules! configured {
    ($($options:tt)*) => {{
        struct Options;
        impl $crate::site::Configure for Options {
            fn onto<M>(&self, builder: nearcache::Builder<M>) -> nearcache::Builder<M> {
                builder $($options)*
            }
        }
        Options
    }};
}

/// Runs a test on either face, each with a site of its own, started with these arguments.
pub(crate) fn both(arguments: &[&str], test: impl AsyncFn(Site)) {
    for blocking in [false, true] {
        let redis = Redis::start_with(arguments);
        let proxy = Proxy::start(&redis.address());
        run(test(Site {
            redis,
            proxy,
            blocking,
        }));
    }
}

impl Site {
    /// A cache through the proxy, without a breaker: its pauses are of no interest here.
    pub(crate) fn cache(&self) -> Face {
        self.cache_with(&Plain)
    }

    pub(crate) fn cache_with(&self, options: &impl Configure) -> Face {
        self.open(
            &format!("{}?prefix={PREFIX}&breaker=off", self.proxy.url()),
            options,
        )
    }

    /// A cache of another process, past the proxy.
    pub(crate) fn other(&self) -> Face {
        self.open(&format!("{}?prefix={PREFIX}", self.redis.url()), &Plain)
    }

    pub(crate) fn open(&self, url: &str, options: &impl Configure) -> Face {
        let timeout = Duration::from_secs(5);
        if self.blocking {
            let builder = options.onto(blocking::Cache::builder(url).timeout(timeout));
            Face::Blocking(builder.build().expect("a cache"))
        } else {
            let builder = options.onto(Cache::builder(url).timeout(timeout));
            Face::Async(builder.build().expect("a cache"))
        }
    }

    /// The commands that passed the proxy, without what greets a server.
    pub(crate) fn commands(&self) -> Vec<String> {
        let mut commands = self.proxy.commands();
        commands.retain(|said| {
            !["HELLO", "CLIENT", "INFO", "SELECT", "AUTH"]
                .iter()
                .any(|greeting| said.starts_with(greeting))
        });
        commands
    }

    /// What lies under a key of the cache, past everything: empty if there is nothing.
    pub(crate) fn stored(&self, key: &str) -> String {
        loop {
            let reply = self.redis.inline(&format!("GET {PREFIX}:{key}"));
            if !reply.starts_with("-LOADING") {
                return if reply.starts_with("$-1") {
                    String::new()
                } else {
                    reply
                };
            }
        }
    }
}

/// Waits until nothing waits in the outbox.
pub(crate) async fn settled(cache: &crate::face::Face) {
    so("nothing waits", || {
        let stats = ask!(cache.stats());
        stats.invalidations_waiting + stats.sweeps_waiting == 0
    })
    .await;
}

/// Waits until something is so.
pub(crate) async fn so(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(60), "not so: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
