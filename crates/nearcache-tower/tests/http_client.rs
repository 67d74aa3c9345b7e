//! A reqwest client whose responses are cached, against a server that counts its requests.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_cache_reqwest::{Cache as Cached, CacheMode, HttpCache, HttpCacheOptions};
use nearcache::Cache;
use nearcache_testkit::{Redis, random_prefix};
use nearcache_tower::HttpCacheManager;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};

async fn serve(asked: &Arc<AtomicUsize>) -> SocketAddr {
    let asked = Arc::clone(asked);
    let page = move |headers: HeaderMap| {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        let known = headers
            .get(header::IF_NONE_MATCH)
            .is_some_and(|tag| tag == "\"a\"");
        async move {
            let tag = [(header::ETAG, "\"a\"")];
            match known {
                true => (StatusCode::NOT_MODIFIED, tag).into_response(),
                false => (tag, format!("answer {number} \u{0}\u{7f}ü")).into_response(),
            }
        }
    };
    let checked = page.clone();
    let with = |said: &'static str, answer: Response| ([(header::CACHE_CONTROL, said)], answer);
    let app = Router::new()
        .route(
            "/fresh",
            get(async move |headers: HeaderMap| with("max-age=60", page(headers).await)),
        )
        .route(
            "/checked",
            get(async move |headers: HeaderMap| with("no-cache", checked(headers).await)),
        );
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn client(cache: &Cache) -> ClientWithMiddleware {
    let manager = HttpCacheManager::new(cache.clone());
    ClientBuilder::new(reqwest::Client::new())
        .with(Cached(HttpCache {
            mode: CacheMode::Default,
            manager,
            options: HttpCacheOptions::default(),
        }))
        .build()
}

async fn text(client: &ClientWithMiddleware, address: SocketAddr, path: &str) -> String {
    let response = client
        .get(format!("http://{address}{path}"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    response.text().await.unwrap()
}

#[tokio::test]
async fn an_expensive_call_is_made_once_for_all_clients() {
    for url in ["memory://".to_owned(), Redis::shared().url()] {
        let cache = Cache::builder(&url)
            .prefix(random_prefix())
            .build()
            .unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let address = serve(&asked).await;
        let (one, two) = (client(&cache), client(&cache));
        for client in [&one, &two, &one] {
            assert_eq!(
                text(client, address, "/fresh").await,
                "answer 0 \u{0}\u{7f}ü"
            );
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // What must be checked is, and its body does not come again.
        for client in [&one, &two, &one] {
            assert_eq!(
                text(client, address, "/checked").await,
                "answer 1 \u{0}\u{7f}ü"
            );
        }
        assert_eq!(asked.load(Ordering::SeqCst), 4);
        // A damaged entry is a miss.
        let key = format!("http-client:GET:http://{address}/fresh");
        assert!(cache.contains(&key).await.unwrap());
        cache.set(&key, "NC\u{1}").await.unwrap();
        assert_eq!(text(&one, address, "/fresh").await, "answer 4 \u{0}\u{7f}ü");
    }
}

#[tokio::test]
async fn calls_are_made_while_redis_is_away() {
    let mut redis = Redis::start();
    let cache = Cache::builder(&redis.url())
        .timeout("300ms")
        .build()
        .unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let address = serve(&asked).await;
    let client = client(&cache);
    text(&client, address, "/fresh").await;
    redis.kill();
    for number in 1..4 {
        let expected = format!("answer {number} \u{0}\u{7f}ü");
        assert_eq!(text(&client, address, "/fresh").await, expected);
    }
}
