//! What clients see of a `RateLimitLayer` in an axum service, on the embedded store and on a real Redis that is killed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use nearcache::patterns::{Quota, RateLimiter, WhenAway};
use nearcache::{Cache, ErrorKind};
use nearcache_testkit::{Redis, random_prefix};
use nearcache_tower::{RateLimitFields, RateLimitLayer, WithoutKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;

/// A service that counts its requests.
struct Site {
    app: Router,
    asked: Arc<AtomicUsize>,
}

struct Said {
    status: StatusCode,
    fields: HashMap<String, Vec<String>>,
}

impl Said {
    fn field(&self, name: &str) -> Option<&str> {
        let values = self.fields.get(name)?;
        assert_eq!(values.len(), 1, "{name}: {values:?}");
        values.first().map(String::as_str)
    }
}

impl Site {
    fn new(layer: RateLimitLayer) -> Site {
        let asked = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&asked);
        let hello = get(move || {
            count.fetch_add(1, Ordering::SeqCst);
            async { "hello" }
        });
        Site {
            app: Router::new().route("/", hello).layer(layer),
            asked,
        }
    }

    async fn ask(&self, request: axum::http::request::Builder) -> Said {
        let request = request.uri("/").body(Body::empty()).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let mut fields = HashMap::<String, Vec<String>>::new();
        for (name, value) in response.headers() {
            let value = value.to_str().unwrap().to_owned();
            fields.entry(name.to_string()).or_default().push(value);
        }
        Said {
            status: response.status(),
            fields,
        }
    }

    /// A request with this API key.
    async fn keyed(&self, key: &str) -> Said {
        self.ask(Request::builder().header("x-api-key", key)).await
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn memory(quota: Quota) -> RateLimiter {
    Cache::open("memory://").unwrap().rate_limiter("api", quota)
}

fn by_key(limiter: RateLimiter) -> RateLimitLayer {
    RateLimitLayer::new(limiter).unwrap().by_header("x-api-key")
}

#[tokio::test]
async fn who_asks_too_often_gets_429_and_the_service_is_left_alone() {
    let site = Site::new(by_key(memory(Quota::per_hour(60).burst(2))));
    let first = site.keyed("ada").await;
    assert_eq!(first.status, StatusCode::OK);
    assert_eq!(first.field("ratelimit-policy"), Some("\"api\";q=60;w=3600"));
    assert_eq!(first.field("ratelimit"), Some("\"api\";r=1;t=60"));
    assert_eq!(first.field("ratelimit-limit"), Some("2"));
    assert_eq!(first.field("ratelimit-remaining"), Some("1"));
    assert_eq!(first.field("ratelimit-reset"), Some("60"));
    assert_eq!(first.field("retry-after"), None);
    assert_eq!(site.keyed("ada").await.status, StatusCode::OK);

    let third = site.keyed("ada").await;
    assert_eq!(third.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(third.field("ratelimit-remaining"), Some("0"));
    let after: u64 = third.field("retry-after").unwrap().parse().unwrap();
    assert!((50..=60).contains(&after), "{after}");
    assert_eq!(site.asked(), 2);
    assert_eq!(site.keyed("bob").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_fields_are_those_that_were_asked_for() {
    for (which, structured, separate) in [
        (RateLimitFields::Both, true, true),
        (RateLimitFields::Structured, true, false),
        (RateLimitFields::Separate, false, true),
        (RateLimitFields::Neither, false, false),
    ] {
        let site = Site::new(by_key(memory(Quota::per_day(1))).fields(which));
        for _ in 0..2 {
            let said = site.keyed("ada").await;
            assert_eq!(said.field("ratelimit").is_some(), structured);
            assert_eq!(said.field("ratelimit-policy").is_some(), structured);
            assert_eq!(said.field("ratelimit-limit").is_some(), separate);
        }
        assert!(site.keyed("ada").await.field("retry-after").is_some());
    }
}

#[tokio::test]
async fn two_limits_say_both_and_the_nearer_one_counts() {
    let cache = Cache::open("memory://").unwrap();
    let brief = by_key(cache.rate_limiter("second", Quota::per(2, "1w")));
    let daily = by_key(cache.rate_limiter("day", Quota::per_day(100)));
    for (inner, outer) in [(brief.clone(), daily.clone()), (daily, brief)] {
        let mut site = Site::new(inner);
        site.app = site.app.layer(outer);
        let said = site.keyed(&random_prefix()).await;
        assert_eq!(said.fields["ratelimit-policy"].len(), 2);
        assert_eq!(said.fields["ratelimit"].len(), 2);
        assert_eq!(said.field("ratelimit-limit"), Some("2"));
        assert_eq!(said.field("ratelimit-remaining"), Some("1"));
    }
}

#[tokio::test]
async fn requests_without_a_key_are_what_is_said_of_them() {
    let two = || by_key(memory(Quota::per_day(2)));
    let statuses = async |layer: RateLimitLayer| {
        let site = Site::new(layer);
        let mut statuses = Vec::new();
        for key in [None, Some(""), None] {
            let mut request = Request::builder();
            if let Some(key) = key {
                request = request.header("x-api-key", key);
            }
            let said = site.ask(request).await;
            statuses.push(said.status.as_u16());
        }
        assert_eq!(site.keyed("ada").await.status, StatusCode::OK);
        statuses
    };
    assert_eq!(statuses(two()).await, [200, 200, 429], "they share a limit");
    let allow = two().without_key(WithoutKey::Allow);
    assert_eq!(statuses(allow).await, [200, 200, 200]);
    let deny = two().without_key(WithoutKey::Deny);
    assert_eq!(statuses(deny).await, [429, 429, 429]);
    let nobody = two().by(|_| None::<String>);
    let site = Site::new(nobody);
    for expected in [200, 200, 429] {
        assert_eq!(site.keyed("ada").await.status.as_u16(), expected);
    }
    // A header of a name that cannot be: no request has it.
    let site = Site::new(two().by_header("no name").without_key(WithoutKey::Deny));
    assert_eq!(site.keyed("ada").await.status.as_u16(), 429);
}

#[tokio::test]
async fn a_function_names_the_key_and_another_the_cost() {
    let layer = RateLimitLayer::new(memory(Quota::per_day(10)))
        .unwrap()
        .by(|parts| Some(parts.headers.get("x-user")?.as_bytes().to_vec()))
        .cost(|parts| {
            parts.headers.get("x-cost").map_or(1, |cost| {
                cost.to_str()
                    .ok()
                    .and_then(|cost| cost.parse().ok())
                    .unwrap_or(1)
            })
        });
    let site = Site::new(layer);
    let ask = async |user: &'static str, cost: u64| {
        let request = Request::builder()
            .header("x-user", user)
            .header("x-cost", cost);
        let said = site.ask(request).await;
        (
            said.status.as_u16(),
            said.field("ratelimit-remaining").map(str::to_owned),
        )
    };
    assert_eq!(ask("ada", 7).await, (200, Some("3".into())));
    assert_eq!(ask("ada", 4).await, (429, Some("3".into())));
    assert_eq!(ask("ada", 0).await, (200, Some("3".into())));
    assert_eq!(ask("ada", 3).await, (200, Some("0".into())));
    assert_eq!(ask("bob", 10).await, (200, Some("0".into())));
}

#[tokio::test]
async fn the_id_of_a_header_can_be_reset() {
    let limiter = memory(Quota::per_day(1));
    let site = Site::new(by_key(limiter.clone()));
    assert_eq!(site.keyed("s3cret").await.status, StatusCode::OK);
    assert_eq!(
        site.keyed("s3cret").await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
    limiter
        .reset(RateLimitLayer::id_of("s3cret"))
        .await
        .unwrap();
    assert_eq!(site.keyed("s3cret").await.status, StatusCode::OK);
}

/// Over TCP, as axum serves it.
#[tokio::test]
async fn peers_are_told_apart_by_their_addresses() {
    let site = Site::new(RateLimitLayer::new(memory(Quota::per_day(2))).unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = site
        .app
        .clone()
        .into_make_service_with_connect_info::<SocketAddr>();
    let serving = tokio::spawn(async move { axum::serve(listener, service).await });
    // Each request has a port of its own: only the address counts.
    for expected in ["200", "200", "429"] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        assert_eq!(response.split(' ').nth(1), Some(expected), "{response}");
    }
    serving.abort();
    // An IPv6 peer has a network of addresses.
    let from = async |peer: &str| {
        let peer: SocketAddr = peer.parse().unwrap();
        let request = Request::builder().extension(ConnectInfo(peer));
        site.ask(request).await.status.as_u16()
    };
    assert_eq!(from("[2001:db8::1]:1").await, 200);
    assert_eq!(from("[2001:db8::2]:2").await, 200);
    assert_eq!(from("[2001:db8::3:3]:3").await, 429);
    assert_eq!(from("[2001:db8:0:1::1]:1").await, 200);
    assert_eq!(
        from("[::ffff:127.0.0.1]:1").await,
        429,
        "the same peer as over IPv4"
    );
    // What other servers put there.
    let bare = Request::builder().extension::<SocketAddr>("127.0.0.1:7".parse().unwrap());
    assert_eq!(site.ask(bare).await.status.as_u16(), 429);
}

#[tokio::test]
async fn services_on_one_redis_share_the_limit() {
    let url = format!("{}?prefix={}", Redis::shared().url(), random_prefix());
    let mut allowed = 0;
    let sites: Vec<_> = (0..3)
        .map(|_| {
            let cache = Cache::open(&url).unwrap();
            Site::new(by_key(cache.rate_limiter("api", Quota::per_day(10))))
        })
        .collect();
    for number in 0..30 {
        let said = sites[number % 3].keyed("ada").await;
        allowed += usize::from(said.status == StatusCode::OK);
    }
    assert_eq!(allowed, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_killed_nobody_gets_an_error() {
    let mut redis = Redis::start();
    let quota = || Quota::per_day(1_000_000).burst(200);
    let sites: Vec<_> = [WhenAway::Local, WhenAway::Allow, WhenAway::Deny]
        .into_iter()
        .map(|when_away| {
            let cache = Cache::builder(&redis.url())
                .prefix(random_prefix())
                .build()
                .unwrap();
            let limiter = cache.rate_limiter("api", quota()).when_away(when_away);
            (when_away, Arc::new(Site::new(by_key(limiter))))
        })
        .collect();
    // Requests all the time, before, while and after.
    let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let clients: Vec<_> = sites
        .iter()
        .map(|(_, site)| {
            let (site, ended) = (Arc::clone(site), Arc::clone(&ended));
            tokio::spawn(async move {
                let mut number = 0;
                while !ended.load(Ordering::SeqCst) {
                    let said = site.keyed(&format!("client {}", number % 50)).await;
                    let status = said.status.as_u16();
                    assert!(status == 200 || status == 429, "{status}");
                    assert_eq!(status == 429, said.field("retry-after").is_some());
                    number += 1;
                    tokio::time::sleep(Duration::from_micros(500)).await;
                }
                number
            })
        })
        .collect();
    for (_, site) in &sites {
        let said = site.keyed("ada").await;
        assert_eq!(said.status, StatusCode::OK);
        assert_eq!(said.field("ratelimit-remaining"), Some("199"));
    }
    redis.kill();
    for (when_away, site) in &sites {
        let mut allowed = 0;
        for _ in 0..300 {
            let said = site.keyed("ada").await;
            allowed += usize::from(said.status == StatusCode::OK);
            // Nobody knows.
            assert_eq!(said.field("ratelimit"), None);
            assert_eq!(said.field("ratelimit-limit"), None);
            if *when_away == WhenAway::Deny {
                assert_eq!(said.field("retry-after"), Some("2"));
            }
        }
        match when_away {
            WhenAway::Allow => assert_eq!(allowed, 300),
            WhenAway::Deny => assert_eq!(allowed, 0),
            // And what comes back meanwhile.
            _ => assert!((200..300).contains(&allowed), "{allowed}"),
        }
    }
    // The clients go on meanwhile.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    redis.restart();
    for (_, site) in &sites {
        let since = Instant::now();
        while site.keyed("bob").await.field("ratelimit").is_none() {
            assert!(since.elapsed() < Duration::from_secs(60), "Redis is back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    ended.store(true, Ordering::SeqCst);
    for client in clients {
        assert!(client.await.unwrap() > 50);
    }
}

#[tokio::test]
async fn what_cannot_be_checked_is_no_server_error() {
    for (when_away, expected) in [
        (WhenAway::Local, 200),
        (WhenAway::Allow, 200),
        (WhenAway::Deny, 429),
    ] {
        let cache = Cache::open("memory://").unwrap();
        let limiter = cache
            .rate_limiter("api", Quota::per_day(5))
            .when_away(when_away);
        let dear = Site::new(by_key(limiter.clone()).cost(|_| 6));
        assert_eq!(dear.keyed("ada").await.status.as_u16(), expected);
        let long = Site::new(by_key(limiter.clone()).by(|_| Some(vec![b'x'; 100_000])));
        assert_eq!(long.keyed("ada").await.status.as_u16(), expected);
        let closed = Site::new(by_key(limiter));
        cache.close().await.unwrap();
        assert_eq!(closed.keyed("ada").await.status.as_u16(), expected);
    }
}

#[test]
fn a_limiter_that_cannot_work_is_no_layer() {
    let cache = Cache::open("memory://").unwrap();
    let error = RateLimitLayer::new(cache.rate_limiter("api", Quota::per_day(0))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let error = RateLimitLayer::new(cache.rate_limiter("", Quota::per_day(1))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
}
