//! Caches on a group of servers that Sentinels watch.

use std::time::{Duration, Instant};

use nearcache::{Cache, blocking};
use nearcache_testkit::Sentinels;

use crate::face::{Face, run};

/// The name that the connections of the caches have.
pub(crate) const NAME: &str = "of-the-test";

/// Which way callers wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) blocking: bool,
}

/// Runs a test on either face.
pub(crate) fn both(test: impl AsyncFn(Way)) {
    for blocking in [false, true] {
        run(test(Way { blocking }));
    }
}

impl Way {
    /// A cache at a URL, with these options behind it.
    pub(crate) fn open(self, url: &str, options: &str) -> Face {
        let with = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{with}prefix=app&client_name={NAME}{options}");
        let timeout = Duration::from_secs(5);
        if self.blocking {
            let builder = blocking::Cache::builder(&url).timeout(timeout);
            Face::Blocking(builder.build().expect("a cache"))
        } else {
            Face::Async(
                Cache::builder(&url)
                    .timeout(timeout)
                    .build()
                    .expect("a cache"),
            )
        }
    }

    /// A cache of a group, without a breaker: its pauses are of no interest here.
    pub(crate) fn cache(self, site: &Sentinels) -> Face {
        self.open(&site.url(), "&breaker=off")
    }
}

/// What lies under a key of the cache on one of the servers: empty if there is nothing.
pub(crate) fn stored(site: &Sentinels, server: usize, key: &str) -> String {
    let reply = site.server(server).inline(&format!("GET app:{key}"));
    if reply.starts_with("$-1") {
        String::new()
    } else {
        reply
    }
}

/// Waits until something is so.
pub(crate) async fn so(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(60), "not so: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
