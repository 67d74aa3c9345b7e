//! How long a response is used, and what becomes of it then: validation, stale responses, conditional requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use tower::BoxError;

use crate::site::{Place, Site, eventually, page, timed};

places! {
    a_client_that_has_the_response_gets_a_304,
    a_head_is_answered_from_a_get,
    only_if_cached_does_not_ask_the_handler,
    what_is_not_a_whole_response_passes_by,
    a_stale_response_is_validated,
}

const SECOND: Duration = Duration::from_secs(1);

async fn a_client_that_has_the_response_gets_a_304(place: Place) {
    let site = Site::with(
        &place.cache(),
        &[
            ("cache-control", "max-age=60"),
            ("etag", "\"a\""),
            ("last-modified", "Tue, 14 Nov 2023 23:13:20 GMT"),
            ("content-type", "text/plain"),
        ],
    );
    let cold = site.get_with("/page", &[("if-none-match", "\"a\"")]).await;
    assert_eq!((cold.status, cold.body.as_str()), (304, ""));
    for condition in [
        ("if-none-match", "\"b\", W/\"a\""),
        ("if-none-match", "*"),
        ("if-modified-since", "Tue, 14 Nov 2023 23:13:20 GMT"),
    ] {
        let got = site.get_with("/page", &[condition]).await;
        assert_eq!((got.status, got.body.as_str()), (304, ""), "{condition:?}");
        assert_eq!(got.header("etag"), Some("\"a\""));
        assert_eq!(got.header("cache-control"), Some("max-age=60"));
        assert!(got.header("age").is_some() && got.header("date").is_some());
    }
    let got = site.get_with("/page", &[("if-none-match", "\"b\"")]).await;
    assert_eq!((got.status, got.body.as_str()), (200, "0"));
    assert_eq!(site.runs(), 1);
}

async fn a_head_is_answered_from_a_get(place: Place) {
    let site = Site::with(
        &place.cache(),
        &[("cache-control", "max-age=60"), ("x", "y")],
    );
    let got = site.ask("HEAD", "/page", &[]).await;
    assert_eq!(got.header("cache-status"), Some("c; fwd=uri-miss"));
    site.get("/page").await;
    let got = site.ask("HEAD", "/page", &[]).await;
    assert_eq!((got.status, got.body.as_str(), site.runs()), (200, "", 2));
    assert_eq!(got.header("content-length"), Some("1"));
    assert_eq!(got.header("x"), Some("y"));
}

async fn only_if_cached_does_not_ask_the_handler(place: Place) {
    let site = Site::with(&place.cache(), &[("cache-control", "max-age=60")]);
    let asked = &[("cache-control", "only-if-cached")];
    let got = site.get_with("/page", asked).await;
    assert_eq!(got.status, 504);
    assert_eq!(got.header("cache-status"), Some("c; detail=only-if-cached"));
    assert_eq!(site.runs(), 0);
    site.get("/page").await;
    let got = site.get_with("/page", asked).await;
    assert_eq!((got.status, got.body.as_str()), (200, "0"));
}

async fn what_is_not_a_whole_response_passes_by(place: Place) {
    let site = Site::serve(
        &place.cache(),
        |options| options,
        |request, run| async move {
            let mut response = page(run, &[("cache-control", "max-age=60")]);
            if request.headers().contains_key("range") {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            }
            Ok(response)
        },
    );
    for run in 0..2 {
        let got = site.get_with("/page", &[("range", "bytes=0-1")]).await;
        assert_eq!((got.status, got.body), (206, run.to_string()));
        assert_eq!(got.headers["cache-status"], "c; fwd=bypass");
    }
    assert_eq!(site.get("/page").await.status, 200);
    let got = site.get_with("/page", &[("content-length", "3")]).await;
    assert_eq!(got.body, "3");
    assert_eq!(site.get("/page").await.body, "2");
}

/// On Redis, in its own time.
async fn a_stale_response_is_validated(place: Place) {
    let site = Site::serve(&place.cache(), |options| options, validating);
    let got = site.get("/page").await;
    assert_eq!((got.body.as_str(), got.header("version")), ("0", Some("0")));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let got = site.get("/page").await;
    let status = "c; fwd=stale; fwd-status=304; stored";
    assert_eq!(got.header("cache-status"), Some(status));
    assert_eq!((got.status, got.body.as_str()), (200, "0"));
    // The 304's fields take the place of the stored ones.
    assert_eq!(got.header("version"), Some("1"));
    let got = site.get("/page").await;
    assert_eq!((got.header("version"), site.runs()), (Some("1"), 2));
    assert!(
        got.header("cache-status")
            .is_some_and(|status| status.starts_with("c; hit"))
    );
}

/// A handler that compares an `ETag`.
async fn validating(request: Request<Body>, run: usize) -> Result<Response<Body>, BoxError> {
    let version = run.to_string();
    let mut response = page(
        run,
        &[
            ("cache-control", "max-age=1"),
            ("etag", "\"a\""),
            ("version", &version),
        ],
    );
    if request
        .headers()
        .get("if-none-match")
        .is_some_and(|tag| tag == "\"a\"")
    {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
    }
    Ok(response)
}

#[tokio::test]
async fn a_response_ages_and_ends() {
    let (cache, clock) = timed();
    let site = Site::serve(
        &cache,
        |options| options,
        |_, run| async move { Ok(page(run, &[("cache-control", "max-age=60"), ("age", "10")])) },
    );
    site.get("/page").await;
    clock.advance(20 * SECOND);
    let got = site.get("/page").await;
    assert_eq!((got.body.as_str(), got.header("age")), ("0", Some("30")));
    assert_eq!(got.header("cache-status"), Some("c; hit; ttl=30"));
    clock.advance(29 * SECOND);
    assert_eq!(site.get("/page").await.header("age"), Some("59"));
    clock.advance(SECOND);
    assert_eq!(site.get("/page").await.body, "1");
}

#[tokio::test]
async fn a_response_without_validator_is_loaded_anew_and_one_load_is_for_all() {
    let (cache, clock) = timed();
    let site = Site::serve(
        &cache,
        |options| options.stale_if_error("1h"),
        |request, run| async move {
            assert!(!request.headers().contains_key("if-none-match"));
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(page(run, &[("cache-control", "max-age=60")]))
        },
    );
    site.get_with("/page", &[("if-none-match", "\"x\"")]).await;
    clock.advance(61 * SECOND);
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let site = site.clone();
            tokio::spawn(async move { site.get("/page").await.body })
        })
        .collect();
    for client in clients {
        assert_eq!(client.await.unwrap(), "1");
    }
    assert_eq!(site.runs(), 2);
}

#[tokio::test]
async fn a_stale_response_is_sent_at_once_while_a_new_one_is_fetched() {
    for own in [true, false] {
        let (cache, clock) = timed();
        let said = match own {
            true => "max-age=60, stale-while-revalidate=30",
            false => "max-age=60",
        };
        let site = Site::serve(
            &cache,
            |options| match own {
                true => options,
                false => options.stale_while_revalidate("30s"),
            },
            move |_, run| async move { Ok(page(run, &[("cache-control", said)])) },
        );
        site.get("/page").await;
        clock.advance(65 * SECOND);
        let got = site.get("/page").await;
        assert_eq!((got.body.as_str(), got.header("age")), ("0", Some("65")));
        assert_eq!(got.header("cache-status"), Some("c; hit; ttl=-5"));
        eventually("it is fetched anew", || site.runs() == 2).await;
        let mut body = String::new();
        for _ in 0..1_000 {
            body = site.get("/page").await.body;
            if body == "1" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!((body.as_str(), site.runs()), ("1", 2));
        // Past the window it is waited for.
        clock.advance(95 * SECOND);
        assert_eq!(site.get("/page").await.body, "2");
    }
}

#[tokio::test]
async fn a_response_that_was_marked_stale_is_sent_once_more() {
    let (cache, _) = timed();
    let site = Site::serve(
        &cache,
        |options| {
            let options = options.stale_while_revalidate("30s");
            options.request_tags(|_| vec!["news".to_owned()])
        },
        |_, run| async move { Ok(page(run, &[("cache-control", "max-age=60")])) },
    );
    site.get("/page").await;
    cache.mark_tag_stale("news").await.unwrap();
    assert_eq!(site.get("/page").await.body, "0");
    eventually("it is fetched anew", || site.runs() == 2).await;
}

#[tokio::test]
async fn a_stale_response_takes_the_place_of_an_error() {
    for (said, window, expected) in [
        ("max-age=60", true, true),
        ("max-age=60, stale-if-error=30", false, true),
        ("max-age=60", false, false),
        ("max-age=60, must-revalidate", true, false),
        ("max-age=60, proxy-revalidate", true, false),
        ("max-age=9, s-maxage=60", true, false),
    ] {
        let (cache, clock) = timed();
        let down = Arc::new(AtomicBool::new(false));
        let is_down = Arc::clone(&down);
        let site = Site::serve(
            &cache,
            |options| match window {
                true => options.stale_if_error("30s"),
                false => options,
            },
            move |_, run| {
                let down = is_down.load(Ordering::SeqCst);
                async move {
                    if down && run % 2 == 0 {
                        return Err("no database".into());
                    }
                    let said = if down { "max-age=1" } else { said };
                    let mut response = page(run, &[("cache-control", said), ("etag", "\"a\"")]);
                    if down {
                        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    }
                    Ok(response)
                }
            },
        );
        site.get("/page").await;
        down.store(true, Ordering::SeqCst);
        clock.advance(65 * SECOND);
        for _ in 0..4 {
            let got = site.try_to_ask("GET", "/page", &[]).await;
            let old = got.is_ok_and(|got| got.status == 200 && got.body == "0");
            assert_eq!(old, expected, "{said}, {window}");
        }
        assert!(site.runs() > 4 || !expected);
        clock.advance(30 * SECOND);
        let got = site.try_to_ask("GET", "/page", &[]).await;
        assert!(!got.is_ok_and(|got| got.status == 200), "{said}");
        down.store(false, Ordering::SeqCst);
        // An error may be stored as well, if it says so.
        clock.advance(2 * SECOND);
        assert_eq!(site.get("/page").await.status, 200);
    }
}

#[tokio::test]
async fn a_response_that_must_be_validated_each_time_is() {
    let (cache, _) = timed();
    let site = Site::serve(
        &cache,
        |options| options,
        |request, run| async move {
            let mut response = page(run, &[("cache-control", "no-cache"), ("etag", "\"a\"")]);
            if request.headers().contains_key("if-none-match") {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                *response.body_mut() = Body::empty();
            }
            Ok(response)
        },
    );
    for run in 1..4 {
        let got = site.get("/page").await;
        assert_eq!(
            (got.status, got.body.as_str(), site.runs()),
            (200, "0", run)
        );
    }
}

#[tokio::test]
async fn a_clients_max_stale_is_honoured() {
    let (cache, clock) = timed();
    let site = Site::with(
        &cache,
        &[("cache-control", "max-age=60"), ("etag", "\"a\"")],
    );
    site.get("/page").await;
    clock.advance(70 * SECOND);
    let got = site
        .get_with("/page", &[("cache-control", "max-stale=20")])
        .await;
    assert_eq!(got.body, "0");
    let got = site
        .get_with("/page", &[("cache-control", "max-stale=5")])
        .await;
    assert_eq!(got.body, "1");
}
