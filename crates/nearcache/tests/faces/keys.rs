//! `redact_keys`: no message shows a key, and code that asks gets it.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nearcache::hooks::{Call, Done, Hook, Tracing};
use nearcache::{BoxError, Cache, Error, Fallback, Instead, Raw};
use nearcache_testkit::{Logs, Redis};

use crate::Face;
use crate::face::{run, run_in_one_thread};

const TOKEN: &str = "session:s3cr3t-t0k3n";
/// `printf %s session:s3cr3t-t0k3n | sha1sum | cut -c-12`
const HASH: &str = "#85d7262e05a4";

/// Writes down what a careless hook would log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn line(&self, line: &impl Debug) {
        writeln!(self.0.lock().unwrap(), "{line:?}").unwrap();
    }
}

impl Hook for Log {
    fn before(&self, call: &Call<'_>) {
        self.line(call);
    }

    fn after(&self, call: &Call<'_>, _: &Done) {
        self.line(call);
    }

    fn error(&self, call: &Call<'_>, error: &Error, _: Duration) {
        self.line(call);
        self.line(error);
        assert!(
            call.key().is_some_and(|key| key == TOKEN) || call.key_count() != 1,
            "{call:?}"
        );
    }
}

/// Every operation that names the key, on a key that holds a list.
async fn every_error(face: &Face, log: &Log) -> Vec<Error> {
    let mut errors: Vec<Error> = Vec::new();
    let long = format!("{TOKEN}{}", "x".repeat(70_000));
    macro_rules! fails {
        ($($operation:tt)*) => {{
            match face {
                Face::Async(cache) => log.line(&cache.$($operation)*),
                Face::Blocking(cache) => log.line(&cache.$($operation)*),
            }
            if let Err(error) = call!(face.$($operation)*) {
                errors.push(error);
            }
        }};
    }
    fails!(get::<u8>(TOKEN));
    fails!(lookup::<u8>(TOKEN));
    fails!(get_many::<u8>([TOKEN, "other"]));
    fails!(take::<u8>(TOKEN));
    fails!(incr(TOKEN));
    fails!(decr(TOKEN));
    fails!(counter(TOKEN));
    fails!(set(&long, 1));
    fails!(get::<u8>(&long));
    fails!(delete(&long));
    fails!(bind(TOKEN).get::<u8>());
    fails!(bind(TOKEN).incr());
    fails!(set_many([(TOKEN, f64::NAN)]).ttl("0s"));
    fails!(set(TOKEN, 1).ttl("0s"));
    fails!(touch(TOKEN).ttl("0s"));
    fails!(delete_pattern(TOKEN));
    match face {
        Face::Async(cache) => {
            let load = async || Err::<u8, BoxError>("no database".into());
            log.line(&cache.remember(TOKEN, load));
            log.line(&cache.bind(TOKEN));
            log.line(&cache.keys().matching(TOKEN));
            errors.extend(cache.refresh(TOKEN, load).await.err());
            let gone = cache
                .remember("gone", async || Ok::<_, BoxError>(Raw(vec![0; 1])))
                .await;
            assert!(gone.is_ok());
        }
        Face::Blocking(cache) => {
            let load = || Err::<u8, BoxError>("no database".into());
            log.line(&cache.remember(TOKEN, load));
            log.line(&cache.bind(TOKEN));
            errors.extend(cache.refresh(TOKEN, load).run().err());
        }
    }
    errors
}

#[test]
fn no_message_shows_a_key_and_code_that_asks_gets_it() {
    let mut redis = Redis::start();
    let log = Log::default();
    let logged = Logs::up_to(::tracing::Level::TRACE);
    let outages = log.clone();
    let cache = Cache::builder(&format!(
        "{}?redact_keys=on&breaker=off&timeout=20s",
        redis.url()
    ))
    .hook(log.clone())
    .hook(Tracing::new())
    .on_unavailable(Fallback::call(move |outage| {
        outages.line(outage);
        assert!(*outage.key == TOKEN || *outage.key == "other" || *outage.key == "gone");
        Instead::Error
    }))
    .build()
    .unwrap();
    let blocking = cache.blocking().unwrap();
    run_in_one_thread(async {
        for is_away in [false, true] {
            if is_away {
                redis.kill();
            }
            for face in [Face::Async(cache.clone()), Face::Blocking(blocking.clone())] {
                if !is_away {
                    // A pattern that is the key deletes it.
                    redis.inline(&format!("RPUSH {TOKEN} x"));
                }
                let errors = every_error(&face, &log).await;
                assert!(errors.len() >= 10, "{errors:?}");
                for error in &errors {
                    log.line(error);
                    log.line(&error.to_string());
                    let mut source = std::error::Error::source(error);
                    while let Some(error) = source {
                        log.line(&error.to_string());
                        source = error.source();
                    }
                }
                let named = errors
                    .iter()
                    .filter(|error| error.key().is_some_and(|key| key == TOKEN));
                let named: Vec<_> = named.collect();
                assert!(named.len() >= 4, "{errors:?}");
                for error in named {
                    assert!(error.to_string().contains(HASH), "{error}");
                }
            }
        }
    });
    let log = log.0.lock().unwrap().clone() + &logged.text();
    for line in log.lines() {
        assert!(!line.contains("t0k3n"), "{line}");
        // Nor as the numbers of its bytes.
        assert!(!line.contains("115, 51, 99, 114"), "{line}");
    }
    assert!(log.contains(HASH));
}

#[test]
fn keys_are_shown_unless_it_is_said_otherwise() {
    run(async {
        for url in ["memory://", "memory://?redact_keys=off"] {
            let cache = Cache::open(url).unwrap();
            cache.set(TOKEN, "a").await.unwrap();
            let error = cache.incr(TOKEN).await.unwrap_err();
            assert!(error.to_string().contains(TOKEN), "{error}");
            assert!(format!("{:?}", cache.get::<u8>(TOKEN)).contains(TOKEN));
        }
        let shown = Cache::builder("memory://?redact_keys=on")
            .redact_keys(false)
            .build()
            .unwrap();
        assert!(format!("{:?}", shown.bind(TOKEN)).contains(TOKEN));
        let wrong = Cache::open("memory://?redact_keys=perhaps").unwrap_err();
        assert!(wrong.to_string().contains("on or off"), "{wrong}");
    });
}
