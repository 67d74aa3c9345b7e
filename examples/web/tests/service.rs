//! The service, called without a socket, with a clock that these tests move: half an hour takes no time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{Method, Request, StatusCode, header};
use axum::{Json, Router};
use nearcache::ErrorKind;
use nearcache::embedded::{Clock, Store};
use nearcache::patterns::SessionId;
use nearcache_testkit::Redis;
use serde_json::{Value, json};
use tower::ServiceExt;
use web::articles::{self, ArticleId};
use web::database::Database;
use web::sessions::Session;
use web::{Service, cache, routes, serve};

/// An id that no session has.
const NOBODY: &str = "00000000000000000000000000000000";

/// A service with an embedded cache.
struct Site {
    service: Service,
    routes: Router,
    clock: Clock,
}

impl Site {
    fn new() -> Site {
        let clock = Clock::manual();
        let store = Store::builder().clock(clock.clone()).build();
        let service = Service {
            cache: cache("memory://").store(&store).build().unwrap(),
            database: Arc::new(Database::with_examples()),
        };
        let routes = routes(service.clone());
        Site {
            service,
            routes,
            clock,
        }
    }

    fn minutes_pass(&self, minutes: u64) {
        self.clock.advance(Duration::from_secs(60 * minutes));
    }

    async fn call(&self, request: Request<Body>) -> (StatusCode, String) {
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        self.call(request(Method::GET, path, None, Value::Null))
            .await
    }

    async fn try_to_sign_in(&self, password: &str) -> (StatusCode, String) {
        let body = json!({"name": "ada", "password": password});
        self.call(request(Method::POST, "/sessions", None, body))
            .await
    }

    async fn sign_in(&self) -> String {
        let (status, body) = self.try_to_sign_in("lovelace").await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        body["token"].as_str().unwrap().to_owned()
    }

    async fn me(&self, token: &str) -> StatusCode {
        self.call(request(Method::GET, "/me", Some(token), Value::Null))
            .await
            .0
    }

    async fn rename(&self, token: &str, id: u32, title: &str) -> StatusCode {
        let (path, body) = (format!("/articles/{id}"), json!({"title": title}));
        self.call(request(Method::PUT, &path, Some(token), body))
            .await
            .0
    }
}

fn request(method: Method, path: &str, token: Option<&str>, body: Value) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    match body {
        Value::Null => request.body(Body::empty()).unwrap(),
        body => request
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .unwrap(),
    }
}

#[tokio::test]
async fn a_session_lasts_as_long_as_it_is_used_and_half_an_hour_more() {
    let site = Site::new();
    let token = site.sign_in().await;
    for _ in 0..10 {
        site.minutes_pass(29);
        assert_eq!(site.me(&token).await, StatusCode::OK);
    }
    site.minutes_pass(31);
    assert_eq!(site.me(&token).await, StatusCode::UNAUTHORIZED);

    // Half a day in any case.
    let token = site.sign_in().await;
    for _ in 0..24 {
        site.minutes_pass(29);
        assert_eq!(site.me(&token).await, StatusCode::OK);
    }
    site.minutes_pass(29);
    assert_eq!(site.me(&token).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn who_has_signed_out_is_out_and_others_are_not() {
    let site = Site::new();
    let (one, other) = (site.sign_in().await, site.sign_in().await);
    let out = request(Method::DELETE, "/sessions", Some(&one), Value::Null);
    assert_eq!(site.call(out).await.0, StatusCode::NO_CONTENT);
    assert_eq!(site.me(&one).await, StatusCode::UNAUTHORIZED);
    assert_eq!(site.me(&other).await, StatusCode::OK);
    for wrong in ["", "x", "../../articles:1", NOBODY, &"a".repeat(100_000)] {
        assert_eq!(site.me(wrong).await, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_user_signs_out_everywhere_and_in_again() {
    let site = Site::new();
    let (one, other) = (site.sign_in().await, site.sign_in().await);
    let out = request(Method::DELETE, "/sessions/all", Some(&one), Value::Null);
    assert_eq!(site.call(out).await.0, StatusCode::NO_CONTENT);
    for token in [&one, &other] {
        assert_eq!(site.me(token).await, StatusCode::UNAUTHORIZED);
    }
    let again = site.sign_in().await;
    assert_eq!(site.me(&again).await, StatusCode::OK);
}

#[tokio::test]
async fn five_sign_ins_a_minute_and_no_more() {
    let site = Site::new();
    for _ in 0..5 {
        assert_eq!(
            site.try_to_sign_in("guess").await.0,
            StatusCode::UNAUTHORIZED
        );
    }
    // Now even the right one has to wait.
    assert_eq!(
        site.try_to_sign_in("lovelace").await.0,
        StatusCode::TOO_MANY_REQUESTS
    );
    // At most five in any minute.
    site.clock.advance(Duration::from_secs(59));
    assert_eq!(
        site.try_to_sign_in("lovelace").await.0,
        StatusCode::TOO_MANY_REQUESTS
    );
    site.clock.advance(Duration::from_secs(1));
    site.sign_in().await;
}

#[tokio::test]
async fn an_article_is_queried_once_for_all_who_ask_and_again_when_it_is_old() {
    let site = Arc::new(Site::new());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let site = Arc::clone(&site);
        tasks.spawn(async move { site.get("/articles/1").await });
    }
    while let Some(answer) = tasks.join_next().await {
        let (status, body) = answer.unwrap();
        assert!(
            status == StatusCode::OK && body.contains("Notes on the engine"),
            "{body}"
        );
    }
    assert_eq!(site.service.database.queries(), 1);
    site.minutes_pass(4);
    site.get("/articles/1").await;
    assert_eq!(site.service.database.queries(), 1);
    site.minutes_pass(2);
    site.get("/articles/1").await;
    assert_eq!(site.service.database.queries(), 2);
}

#[tokio::test]
async fn a_change_is_seen_by_the_next_request_everywhere() {
    let site = Site::new();
    let token = site.sign_in().await;
    for path in ["/", "/authors/ada", "/articles/2"] {
        assert!(site.get(path).await.1.contains("On "), "{path}");
    }
    assert_eq!(
        site.rename(&token, 2, "On cycles").await,
        StatusCode::NO_CONTENT
    );
    for path in ["/authors/ada", "/articles/2"] {
        assert!(site.get(path).await.1.contains("On cycles"), "{path}");
    }
    // The page is shown once more, and made anew beside.
    assert!(!site.get("/").await.1.contains("On cycles"));
    while !site.get("/").await.1.contains("On cycles") {
        tokio::task::yield_now().await;
    }
    assert_eq!(site.rename(&token, 99, "x").await, StatusCode::NOT_FOUND);
    assert_eq!(site.rename("", 2, "x").await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_list_takes_one_query_for_what_is_not_in_the_cache() {
    let site = Site::new();
    site.get("/articles/2").await;
    let before = site.service.database.queries();
    let (_, body) = site.get("/authors/ada").await;
    // One for the ids, one for the two articles that are missing.
    assert_eq!(site.service.database.queries(), before + 2);
    let articles: Value = serde_json::from_str(&body).unwrap();
    let ids: Vec<_> = articles
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_u64())
        .collect();
    assert_eq!(ids, [Some(1), Some(2), Some(3)]);
    site.get("/authors/ada").await;
    assert_eq!(site.service.database.queries(), before + 2);
}

#[tokio::test]
async fn the_loaders_own_errors_decide_what_a_client_gets() {
    let site = Arc::new(Site::new());
    // Those who wait for the same load are told the same.
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let site = Arc::clone(&site);
        tasks.spawn(async move { site.get("/articles/99").await.0 });
    }
    while let Some(status) = tasks.join_next().await {
        assert_eq!(status.unwrap(), StatusCode::NOT_FOUND);
    }
    site.get("/articles/1").await;
    site.service.database.set_away(true);
    assert_eq!(
        site.get("/articles/2").await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    // For a day the old one is better than none.
    site.minutes_pass(60);
    assert_eq!(site.get("/articles/1").await.0, StatusCode::OK);
    site.minutes_pass(24 * 60);
    assert_eq!(
        site.get("/articles/1").await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn without_redis_articles_are_read_and_nobody_is_signed_in() {
    let service = Service {
        cache: cache("redis://127.0.0.1:1").build().unwrap(),
        database: Arc::new(Database::with_examples()),
    };
    let site = Site {
        routes: routes(service.clone()),
        service,
        clock: Clock::manual(),
    };
    for path in ["/", "/authors/ada", "/articles/1"] {
        assert_eq!(site.get(path).await.0, StatusCode::OK, "{path}");
    }
    let (status, body) = site.try_to_sign_in("lovelace").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, r#"{"error":"try again later"}"#);
    assert_eq!(site.me(NOBODY).await, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_change_counts_while_redis_is_away_and_is_invalidated_when_it_is_back() {
    let redis = Redis::start();
    let service = Service {
        cache: cache(&format!("{}?breaker=off", redis.url()))
            .build()
            .unwrap(),
        database: Arc::new(Database::with_examples()),
    };
    let site = Site {
        routes: routes(service.clone()),
        service,
        clock: Clock::manual(),
    };
    assert!(site.get("/articles/1").await.1.contains("Notes"));
    redis.freeze();
    let change = articles::change(
        State(site.service.clone()),
        Session { name: "ada".into() },
        Path(ArticleId(1)),
        Json(serde_json::from_value(json!({"title": "Changed"})).unwrap()),
    );
    assert_eq!(change.await.unwrap(), StatusCode::NO_CONTENT);
    assert!(site.service.cache.stats().invalidations_waiting > 0);
    redis.thaw();
    assert!(site.get("/articles/1").await.1.contains("Changed"));
}

#[tokio::test]
async fn no_error_shows_a_token() {
    let site = Site::new();
    let token = site.sign_in().await;
    let id: SessionId = token.parse().unwrap();
    let sessions = site.service.cache.sessions::<u8>();
    let error = sessions.update(&id, |_| ()).await.unwrap_err();
    assert!(
        !format!("{error} {error:?} {id:?}").contains(&token),
        "{error}"
    );
}

#[tokio::test]
async fn a_request_that_is_running_is_answered_before_the_cache_is_closed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let site = Site::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, site.service.clone(), async {
        let _ = ended.await;
    }));
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    // Half of a request is there when the service is told to end, and the other half comes later.
    client
        .write_all(b"GET /articles/1 HTTP/1.1\r\nhost: x\r\n")
        .await
        .unwrap();
    // The connection is taken before the end is told.
    let mut other = tokio::net::TcpStream::connect(address).await.unwrap();
    other
        .write_all(b"GET /articles/1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    end.send(()).unwrap();
    client
        .write_all(b"connection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serving.await.unwrap().unwrap();
    assert!(!site.service.cache.is_open());
    let closed = site.service.cache.get::<u8>("k").await.unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Closed);
}
