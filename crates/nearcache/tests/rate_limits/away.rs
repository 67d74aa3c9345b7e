//! Redis is killed, and comes back: what each `when_away` answers meanwhile, and who is told.

use std::sync::Arc;
use std::time::Duration;

use nearcache::hooks::{Call, Done, Hook};
use nearcache::patterns::{Decision, Quota, WhenAway};
use nearcache::{Cache, ErrorKind, blocking};
use nearcache_testkit::{Redis, random_prefix};
use parking_lot::Mutex;

use crate::face::{Face, run};

fn faces(redis: &Redis, options: &str) -> [Face; 2] {
    [false, true].map(|blocking| {
        let url = format!(
            "{}?timeout=20s&prefix={}{options}",
            redis.url(),
            random_prefix()
        );
        if blocking {
            Face::Blocking(blocking::Cache::open(&url).unwrap())
        } else {
            Face::Async(Cache::open(&url).unwrap())
        }
    })
}

async fn check(face: &Face, when_away: WhenAway, id: &str) -> Decision {
    let quota = Quota::per_day(3);
    call!(
        face.rate_limiter("api", quota)
            .when_away(when_away)
            .check(id)
    )
    .unwrap()
}

#[test]
fn each_when_away_does_what_it_says_and_redis_decides_again_when_it_is_back() {
    let mut redis = Redis::start();
    let faces = faces(&redis, "");
    run(async {
        for face in &faces {
            let decision = check(face, WhenAway::Allow, "a").await;
            assert!(decision.is_allowed() && !decision.is_away());
            assert_eq!(decision.remaining(), 2);
        }
        redis.kill();
        for face in &faces {
            for number in 0..20 {
                let allow = check(face, WhenAway::Allow, "a").await;
                assert!(allow.is_allowed() && allow.is_away());
                let deny = check(face, WhenAway::Deny, "a").await;
                assert!(!deny.is_allowed() && deny.is_away());
                assert_eq!(deny.retry_after(), Duration::from_secs(2));
                // The whole quota, whatever Redis has given.
                let local = check(face, WhenAway::Local, "a").await;
                assert_eq!(local.is_allowed(), number < 3);
                assert!(local.is_away());
                assert_eq!(local.remaining(), 2_u64.saturating_sub(number));
            }
            let default = call!(face.rate_limiter("api", Quota::per_day(3)).peek("a")).unwrap();
            assert!(!default.is_allowed() && default.is_away(), "as Local");
            let waited = call!(
                face.rate_limiter("api", Quota::per_day(3))
                    .until_ready("a")
                    .max_wait("1h")
            );
            assert!(!waited.unwrap().is_allowed());
            // It says that it has failed, and this process forgets all the same.
            let reset = call!(face.rate_limiter("api", Quota::per_day(3)).reset("a"));
            let kind = reset.unwrap_err().kind();
            assert!(
                matches!(kind, ErrorKind::Connect | ErrorKind::Unavailable),
                "{kind:?}"
            );
            assert!(check(face, WhenAway::Local, "a").await.is_allowed());
            let fallbacks = ask!(face.stats()).fallbacks;
            assert!(fallbacks >= 60, "{fallbacks}");
        }
        redis.restart();
        for face in &faces {
            let since = std::time::Instant::now();
            loop {
                let decision = check(face, WhenAway::Deny, "b").await;
                if !decision.is_away() {
                    assert!(decision.is_allowed());
                    break;
                }
                assert!(
                    since.elapsed() < Duration::from_secs(5),
                    "it does not come back"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
}

#[test]
fn what_the_caller_does_wrong_is_an_error_also_then() {
    let mut redis = Redis::start();
    let faces = faces(&redis, "");
    redis.kill();
    run(async {
        for face in &faces {
            let error = call!(face.rate_limiter("api", Quota::per_day(0)).check("a"));
            assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidConfig);
            let error = call!(
                face.rate_limiter("api", Quota::per_day(1))
                    .check("a")
                    .cost(2)
            );
            assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidConfig);
            let error = call!(face.rate_limiter("api", Quota::per_day(1)).check(""));
            assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidKey);
            call!(face.close()).unwrap();
            let error = call!(face.rate_limiter("api", Quota::per_day(1)).check("a"));
            assert_eq!(error.unwrap_err().kind(), ErrorKind::Closed);
        }
    });
}

/// Caches of one server and prefix are one process, and others are apart.
#[test]
fn limits_of_a_process_are_shared_by_its_caches_of_one_place() {
    let mut redis = Redis::start();
    redis.kill();
    run(async {
        let url = format!("{}?prefix={}", redis.url(), random_prefix());
        let (one, same) = (Cache::open(&url).unwrap(), Cache::open(&url).unwrap());
        let other = Cache::open(&format!("{}?prefix={}", redis.url(), random_prefix())).unwrap();
        let check = async |cache: &Cache| {
            let limiter = cache.rate_limiter("api", Quota::per_day(1));
            limiter.check("a").await.unwrap().is_allowed()
        };
        assert!(check(&one).await);
        assert!(!check(&same).await);
        assert!(!check(&one.within("1s")).await);
        assert!(check(&other).await);
    });
}

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Hook for Told {
    fn after(&self, call: &Call<'_>, done: &Done) {
        let key = call.key().map(|key| key.to_string());
        let line = format!(
            "{} {} {} {:?} {}",
            call.command(),
            key.unwrap_or_default(),
            done.outcome.as_str(),
            done.degraded,
            format!("{call:?}").contains("alice"),
        );
        self.0.lock().push(line);
    }

    fn error(&self, call: &Call<'_>, error: &nearcache::Error, _: Duration) {
        let line = format!("{} {:?} {error}", call.command(), error.kind());
        self.0.lock().push(line);
    }
}

#[test]
fn hooks_are_told_and_texts_show_no_id_if_keys_are_hidden() {
    let mut redis = Redis::start();
    let told = Arc::new(Told::default());
    run(async {
        let cache = Cache::builder(&redis.url())
            .prefix(random_prefix())
            .redact_keys(true)
            .hook(Arc::clone(&told))
            .build()
            .unwrap();
        let limiter = cache.rate_limiter("api", Quota::per_day(1));
        let _ = limiter.check("alice").await.unwrap();
        let _ = limiter.check("alice").await.unwrap();
        let _ = limiter.peek("alice").await.unwrap();
        limiter.reset("alice").await.unwrap();
        let _ = limiter.until_ready("alice").await.unwrap();
        redis.kill();
        let _ = limiter.check("alice").await.unwrap();
        let error = limiter.reset("alice").await.unwrap_err();
        assert!(!error.to_string().contains("alice"), "{error}");
        let error = limiter.check("alice").cost(2).await.unwrap_err();
        assert!(!error.to_string().contains("alice"), "{error}");
        assert!(!format!("{:?}", limiter.check("alice")).contains("alice"));
        let lines = told.0.lock();
        assert_eq!(
            lines[..6],
            [
                "rate_limiter.check api:alice allowed None false",
                "rate_limiter.check api:alice denied None false",
                "rate_limiter.peek api:alice denied None false",
                "rate_limiter.reset api:alice done None false",
                "rate_limiter.until_ready api:alice allowed None false",
                "rate_limiter.check api:alice allowed Some(Connect) false",
            ]
        );
        assert!(lines[6].starts_with("rate_limiter.reset Connect"));
        assert!(
            lines[6..].iter().all(|line| !line.contains("alice")),
            "{lines:?}"
        );
    });
}
