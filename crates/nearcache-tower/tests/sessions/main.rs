//! The session store of tower-sessions: an axum service on the embedded store and on Redis, one that is killed
//! included.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_body_util::BodyExt;
use nearcache::Cache;
use nearcache_testkit::{Redis, random_prefix};
use nearcache_tower::SessionStore;
use time::OffsetDateTime;
use tower::ServiceExt;
use tower_sessions::session::{Id, Record};
use tower_sessions::{Expiry, Session, SessionManagerLayer, SessionStore as _};

/// A cache for one test, on each place.
fn caches() -> Vec<Cache> {
    let redis = Redis::shared().url();
    [String::from("memory://"), redis]
        .map(|url| {
            let builder = Cache::builder(&url).prefix(random_prefix());
            builder.timeout(Duration::from_secs(10)).build().unwrap()
        })
        .into()
}

/// Answers 500 if the session cannot be read or written.
struct Failed;

impl From<tower_sessions::session::Error> for Failed {
    fn from(_: tower_sessions::session::Error) -> Self {
        Failed
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        axum::http::StatusCode::SERVICE_UNAVAILABLE.into_response()
    }
}

async fn whoami(session: Session) -> Result<String, Failed> {
    let user = session.get::<String>("user").await?;
    Ok(user.unwrap_or_else(|| String::from("nobody")))
}

async fn login(session: Session) -> Result<(), Failed> {
    session.cycle_id().await?;
    Ok(session.insert("user", "alice").await?)
}

async fn logout(session: Session) -> Result<(), Failed> {
    Ok(session.flush().await?)
}

async fn visit(session: Session) -> Result<String, Failed> {
    let visits = session.get::<u32>("visits").await?.unwrap_or(0) + 1;
    session.insert("visits", visits).await?;
    Ok(visits.to_string())
}

fn app(cache: &Cache) -> Router {
    let layer = SessionManagerLayer::new(SessionStore::new(cache))
        .with_expiry(Expiry::OnInactivity(time::Duration::minutes(30)));
    Router::new()
        .route("/whoami", get(whoami))
        .route("/login", get(login))
        .route("/logout", get(logout))
        .route("/visit", get(visit))
        .layer(layer)
}

/// The status, the body, and the cookie that is set.
async fn ask(app: &Router, path: &str, cookie: Option<&str>) -> (u16, String, Option<String>) {
    let mut request = Request::builder().uri(path);
    if let Some(cookie) = cookie {
        request = request.header("cookie", cookie);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let cookie = response.headers().get("set-cookie").map(|cookie| {
        let cookie = cookie.to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    });
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap(), cookie)
}

#[tokio::test]
async fn a_user_logs_in_and_out() {
    for cache in caches() {
        let app = app(&cache);
        let (status, body, visitor) = ask(&app, "/visit", None).await;
        assert_eq!((status, &*body), (200, "1"));
        let visitor = visitor.expect("a cookie");
        let (_, body, _) = ask(&app, "/visit", Some(&visitor)).await;
        assert_eq!(body, "2");

        // The login has another id, and the old one is refused.
        let (status, _, alice) = ask(&app, "/login", Some(&visitor)).await;
        assert_eq!(status, 200);
        let alice = alice.expect("a new cookie");
        assert_ne!(alice, visitor);
        assert_eq!(ask(&app, "/whoami", Some(&alice)).await.1, "alice");
        assert_eq!(ask(&app, "/visit", Some(&alice)).await.1, "3");
        assert_eq!(ask(&app, "/whoami", Some(&visitor)).await.1, "nobody");

        let (status, ..) = ask(&app, "/logout", Some(&alice)).await;
        assert_eq!(status, 200);
        assert_eq!(ask(&app, "/whoami", Some(&alice)).await.1, "nobody");
    }
}

fn record(ends: OffsetDateTime) -> Record {
    Record {
        id: Id::default(),
        data: [("n".to_owned(), 1.into())].into(),
        expiry_date: ends,
    }
}

#[tokio::test]
async fn a_record_comes_back_as_it_was() {
    for cache in caches() {
        let store = SessionStore::new(&cache);
        for hours in [1, 24 * 365, 24 * 365 * 5_000] {
            let mut record = record(OffsetDateTime::now_utc() + time::Duration::hours(hours));
            store.create(&mut record).await.unwrap();
            assert_eq!(store.load(&record.id).await.unwrap(), Some(record.clone()));
            record.data.insert("m".into(), "two".into());
            record.expiry_date += time::Duration::minutes(7);
            store.save(&record).await.unwrap();
            assert_eq!(store.load(&record.id).await.unwrap(), Some(record.clone()));
            store.delete(&record.id).await.unwrap();
            assert_eq!(store.load(&record.id).await.unwrap(), None);
        }
    }
}

#[tokio::test]
async fn a_save_never_revives_a_session() {
    for cache in caches() {
        let store = SessionStore::new(&cache);
        let mut record = record(OffsetDateTime::now_utc() + time::Duration::hours(1));
        store.create(&mut record).await.unwrap();
        store.delete(&record.id).await.unwrap();
        store.save(&record).await.unwrap();
        assert_eq!(store.load(&record.id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_record_ends_at_its_expiry_date() {
    for cache in caches() {
        let store = SessionStore::new(&cache);
        let now = OffsetDateTime::now_utc();
        for past in [
            now - time::Duration::hours(1),
            OffsetDateTime::UNIX_EPOCH - time::Duration::days(1),
        ] {
            let mut ended = record(past);
            store.create(&mut ended).await.unwrap();
            assert_eq!(store.load(&ended.id).await.unwrap(), None);
        }
        let mut record = record(now + time::Duration::hours(1));
        store.create(&mut record).await.unwrap();
        record.expiry_date = OffsetDateTime::now_utc() + time::Duration::milliseconds(300);
        store.save(&record).await.unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(store.load(&record.id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_id_that_is_taken_is_made_anew() {
    for cache in caches() {
        let store = SessionStore::new(&cache);
        let mut first = record(OffsetDateTime::now_utc() + time::Duration::hours(1));
        store.create(&mut first).await.unwrap();
        let mut second = first.clone();
        second.data.clear();
        store.create(&mut second).await.unwrap();
        assert_ne!(first.id, second.id);
        assert_eq!(store.load(&first.id).await.unwrap(), Some(first));
        assert_eq!(store.load(&second.id).await.unwrap(), Some(second));
    }
}

#[tokio::test]
async fn without_redis_every_request_fails_in_time() {
    let mut redis = Redis::start();
    let cache = Cache::builder(&redis.url())
        .timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    let app = app(&cache);
    let (_, _, visitor) = ask(&app, "/visit", None).await;
    let visitor = visitor.expect("a cookie");
    redis.kill();
    for path in ["/whoami", "/visit", "/login", "/logout"] {
        let begun = Instant::now();
        let (status, body, cookie) = ask(&app, path, Some(&visitor)).await;
        assert!(status >= 500, "{path}: {status} {body}");
        assert_eq!(cookie, None, "{path}");
        // A timeout for each call that a request makes, and a loaded machine's share.
        assert!(begun.elapsed() < Duration::from_secs(60), "{path}");
    }
    let store = SessionStore::new(&cache);
    let id = Id::default();
    let error = store.load(&id).await.unwrap_err();
    assert!(
        matches!(error, tower_sessions::session_store::Error::Backend(_)),
        "{error}"
    );
    assert!(!format!("{error} {error:?}").contains(&id.to_string()));
}
