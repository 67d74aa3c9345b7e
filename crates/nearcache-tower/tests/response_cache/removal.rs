//! What removes a response: unsafe requests, tags, and `invalidate`.

use std::sync::Arc;

use axum::http::Uri;
use nearcache_tower::CacheTags;
use tokio::sync::Notify;

use crate::site::{Place, Site, page};

places! {
    a_successful_write_removes_the_page,
    a_write_removes_what_its_response_points_to,
    a_response_that_is_loaded_during_a_write_is_not_stored,
    a_tag_removes_the_responses_that_have_it,
    tags_outlive_a_validation,
    a_page_is_removed_by_its_address,
}

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

async fn a_successful_write_removes_the_page(place: Place) {
    let cache = place.cache();
    let site = Site::serve(
        &cache,
        |options| options,
        |request, run| async move {
            let mut response = page(run, &[FRESH]);
            if let Some(status) = request.headers().get("answer") {
                *response.status_mut() = status.to_str()?.parse()?;
            }
            Ok(response)
        },
    );
    for method in ["POST", "PUT", "PATCH", "DELETE", "M-SEARCH"] {
        let before = site.get("/page?x").await.body;
        for answer in ["400", "500", "404"] {
            site.ask(method, "/page?x", &[("answer", answer)]).await;
            assert_eq!(site.get("/page?x").await.body, before, "{method} {answer}");
        }
        site.ask(method, "/page?y", &[("answer", "200")]).await;
        assert_eq!(site.get("/page?x").await.body, before, "{method}");
        for answer in ["200", "303"] {
            let before = site.get("/page?x").await.body;
            let got = site.ask(method, "/page?x", &[("answer", answer)]).await;
            assert_eq!(got.header("cache-status"), Some("c; fwd=method"));
            assert_ne!(site.get("/page?x").await.body, before, "{method} {answer}");
        }
    }
    // These change nothing.
    let before = site.get("/page?x").await.body;
    for method in ["HEAD", "OPTIONS", "TRACE"] {
        site.ask(method, "/page?x", &[]).await;
    }
    assert_eq!(site.get("/page?x").await.body, before);
}

async fn a_write_removes_what_its_response_points_to(place: Place) {
    for (name, location, removed) in [
        ("location", "/items/7", true),
        ("location", "7", true),
        ("content-location", "http://example.com/items/7", true),
        ("content-location", "http://other.example/items/7", false),
    ] {
        let site = Site::serve(
            &place.cache(),
            |options| options,
            move |request, run| async move {
                match request.method().as_str() {
                    "POST" => Ok(page(run, &[(name, location)])),
                    _ => Ok(page(run, &[FRESH])),
                }
            },
        );
        assert_eq!(site.get("/items/7").await.body, "0");
        site.ask("POST", "/items/", &[]).await;
        let expected = if removed { "2" } else { "0" };
        assert_eq!(
            site.get("/items/7").await.body,
            expected,
            "{name}: {location}"
        );
    }
}

async fn a_response_that_is_loaded_during_a_write_is_not_stored(place: Place) {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, goes) = (Arc::clone(&begun), Arc::clone(&go));
    let site = Site::serve(
        &place.cache(),
        |options| options,
        move |_, run| {
            let (begins, goes) = (Arc::clone(&begins), Arc::clone(&goes));
            async move {
                if run == 0 {
                    begins.notify_one();
                    goes.notified().await;
                }
                Ok(page(run, &[FRESH]))
            }
        },
    );
    let reader = site.clone();
    let old = tokio::spawn(async move { reader.get("/page").await.body });
    begun.notified().await;
    site.ask("PUT", "/page", &[]).await;
    go.notify_one();
    assert_eq!(old.await.unwrap(), "0");
    assert_eq!(site.get("/page").await.body, "2");
    assert_eq!(site.get("/page").await.body, "2");
}

async fn a_tag_removes_the_responses_that_have_it(place: Place) {
    let cache = place.cache();
    let site = Site::serve(
        &cache,
        |options| {
            options
                .tag_header("Surrogate-Key")
                .request_tags(|request| vec![format!("path:{}", request.uri.path())])
        },
        |request, run| async move {
            let mut response = page(run, &[FRESH, ("surrogate-key", "all b,c")]);
            let path = request.uri().path().to_owned();
            let tags = CacheTags::new([format!("extension:{path}")]);
            response.extensions_mut().insert(tags);
            Ok(response)
        },
    );
    let bodies = async || (site.get("/1").await.body, site.get("/2").await.body);
    assert_eq!(bodies().await, ("0".into(), "1".into()));
    assert_eq!(bodies().await, ("0".into(), "1".into()));
    // Clients do not see them.
    assert_eq!(site.get("/1").await.header("surrogate-key"), None);
    assert_eq!(
        site.ask("POST", "/3", &[]).await.header("surrogate-key"),
        None
    );
    cache.invalidate_tag("extension:/1").await.unwrap();
    assert_eq!(bodies().await, ("3".into(), "1".into()));
    cache.invalidate_tag("path:/2").await.unwrap();
    assert_eq!(bodies().await, ("3".into(), "4".into()));
    for tag in ["all", "b", "c"] {
        let before = site.runs();
        cache.invalidate_tag(tag).await.unwrap();
        bodies().await;
        assert_eq!(site.runs(), before + 2, "{tag}");
    }
}

async fn tags_outlive_a_validation(place: Place) {
    let cache = place.cache();
    let site = Site::serve(
        &cache,
        |options| options,
        |request, run| async move {
            let mut response = page(run, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
            if request.headers().contains_key("if-none-match") {
                *response.status_mut() = axum::http::StatusCode::NOT_MODIFIED;
                *response.body_mut() = axum::body::Body::empty();
            } else {
                response.extensions_mut().insert(CacheTags::new(["tag"]));
            }
            Ok(response)
        },
    );
    assert_eq!(site.get("/page").await.body, "0");
    let got = site
        .get_with("/page", &[("cache-control", "no-cache")])
        .await;
    assert_eq!((got.body.as_str(), site.runs()), ("0", 2));
    assert_eq!(site.get("/page").await.body, "0");
    cache.invalidate_tag("tag").await.unwrap();
    assert_eq!(site.get("/page").await.body, "2");
}

async fn a_page_is_removed_by_its_address(place: Place) {
    let site = Site::with(&place.cache(), &[FRESH, ("vary", "lang")]);
    for lang in ["en", "de"] {
        site.get_with("/page?x", &[("lang", lang)]).await;
    }
    let other = Uri::from_static("http://example.com/page");
    site.layer.invalidate(&other).await.unwrap();
    assert_eq!(site.get_with("/page?x", &[("lang", "de")]).await.body, "1");
    let address = Uri::from_static("http://Example.com/page?x");
    site.layer.invalidate(&address).await.unwrap();
    assert_eq!(site.get_with("/page?x", &[("lang", "de")]).await.body, "2");
    assert_eq!(site.get_with("/page?x", &[("lang", "en")]).await.body, "3");
}
