//! While Redis is away, pages still come.

use std::time::Duration;

use axum::routing::get;
use axum::{Router, body::Body, http::Request};
use nearcache::Cache;
use nearcache_testkit::Redis;
use nearcache_tower::ResponseCacheLayer;
use tower::ServiceExt;

use crate::site::{Site, page};

fn site(url: &str) -> Site {
    let cache = Cache::builder(url).timeout("300ms").build().unwrap();
    Site::serve(
        &cache,
        |options| options.wait_for("500ms"),
        |_, run| async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(page(
                run,
                &[("cache-control", "max-age=60"), ("vary", "lang")],
            ))
        },
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_come_while_redis_is_killed_stopped_and_full() {
    let mut redis = Redis::start();
    let site = site(&redis.url());
    assert_eq!(site.get("/page").await.body, "0");
    assert_eq!(site.get("/page").await.body, "0");
    let ask_all = async |site: &Site| {
        let clients: Vec<_> = (0..200)
            .map(|number| {
                let site = site.clone();
                tokio::spawn(async move {
                    let path = format!("/page/{}", number % 20);
                    let lang = ["en", "de"][number % 2];
                    let method = if number % 10 == 9 { "POST" } else { "GET" };
                    site.ask(method, &path, &[("lang", lang)]).await.status
                })
            })
            .collect();
        for client in clients {
            assert_eq!(client.await.unwrap(), 200);
        }
    };
    redis.kill();
    ask_all(&site).await;
    redis.restart();
    ask_all(&site).await;
    redis.freeze();
    ask_all(&site).await;
    redis.thaw();
    redis.inline("CONFIG SET maxmemory 1");
    ask_all(&site).await;
    redis.inline("CONFIG SET maxmemory 0");
    // And it is used again.
    let mut again = None;
    for _ in 0..400 {
        let runs = site.runs();
        site.get("/page").await;
        if site.runs() == runs {
            again = Some(());
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    again.expect("responses are stored again");
}

#[tokio::test]
async fn a_key_of_another_type_is_no_error_of_the_page() {
    let redis = Redis::shared();
    let prefix = nearcache_testkit::random_prefix();
    let cache = crate::site::cache_at(&redis.url(), &prefix);
    let site = Site::with(&cache, &[("cache-control", "max-age=60")]);
    redis.inline(&format!("LPUSH {prefix}:http:get:example.com/page x"));
    redis.inline(&format!("SET {prefix}:http:get:example.com/other x"));
    assert_eq!(site.get("/page").await.body, "0");
    assert_eq!(site.get("/other").await.status, 200);
}

/// The layer fits where axum takes one.
#[tokio::test]
async fn it_is_a_layer_of_axum() {
    let cache = Cache::open("memory://").unwrap();
    let page = async || ([("cache-control", "max-age=60")], "hello");
    let inner = Router::new().route("/inner", get(page)).layer(
        ResponseCacheLayer::builder(cache.clone())
            .name("inner")
            .build()
            .unwrap(),
    );
    let app: Router = Router::new()
        .route(
            "/page",
            get(page).layer(ResponseCacheLayer::new(cache.clone())),
        )
        .nest("/nested", inner)
        .layer(ResponseCacheLayer::new(cache));
    for path in ["/page", "/nested/inner", "/page", "/none"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let expected = if path == "/none" { 404 } else { 200 };
        assert_eq!(response.status(), expected, "{path}");
    }
}

#[tokio::test]
async fn an_option_that_is_not_valid_is_an_error() {
    let builder = || ResponseCacheLayer::builder(Cache::open("memory://").unwrap());
    for (wrong, what) in [
        (builder().default_ttl("soon"), "soon"),
        (builder().wait_for("0s"), "0s"),
        (builder().heuristic(2.0), "heuristic"),
        (builder().tag_header("no name"), "tag_header"),
        (builder().cache_status("ü"), "cache_status"),
    ] {
        let error = wrong.stale_if_error("later").build().unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
    builder().heuristic(0.5).pass_for("1s").build().unwrap();
}

/// Routers that are nested see the path without the part that they are nested at; their pages are different ones all the
/// same.
#[cfg(feature = "axum")]
#[tokio::test]
async fn pages_of_nested_routers_are_pages_of_their_own() {
    let layer = ResponseCacheLayer::new(Cache::open("memory://").unwrap());
    let of = |text: &'static str| {
        let page = async move || ([("cache-control", "max-age=60")], text);
        let created = async || [("location", "page")];
        Router::new()
            .route("/page", get(page).post(created))
            .layer(layer.clone())
    };
    let app: Router = Router::new().nest("/a", of("a")).nest("/b", of("b"));
    let ask = async |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let is_stored = response.headers().contains_key("age");
        let body = axum::body::to_bytes(response.into_body(), 100).await;
        (body.unwrap(), is_stored)
    };
    for stored in [false, true] {
        assert_eq!(ask("GET", "/a/page").await, ("a".into(), stored));
        assert_eq!(ask("GET", "/b/page").await, ("b".into(), stored));
    }
    ask("POST", "/a/page").await;
    assert_eq!(ask("GET", "/a/page").await, ("a".into(), false));
    assert_eq!(ask("GET", "/b/page").await, ("b".into(), true));
}
