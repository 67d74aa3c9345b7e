//! What is for one client is never given to another.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;

use crate::site::{Place, Site, page};

places! {
    what_is_for_one_client_is_never_shared,
    clients_that_wait_together_each_get_their_own,
    who_has_credentials_shares_what_is_public,
    who_has_credentials_is_not_given_what_only_the_anonymous_share,
    a_page_is_stored_again_once_it_may_be,
    hosts_queries_and_names_are_pages_of_their_own,
    a_page_has_a_variant_for_what_vary_names,
    default_freshness_is_not_for_who_has_cookies,
}

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

async fn what_is_for_one_client_is_never_shared(place: Place) {
    let nothing: &[(&str, &str)] = &[];
    for (request, response) in [
        (nothing, &[FRESH, ("set-cookie", "id=7")][..]),
        (nothing, &[("cache-control", "private, max-age=60")]),
        (nothing, &[("cache-control", "max-age=60, no-store")]),
        (nothing, &[("cache-control", "max-age=60, private=\"x\"")]),
        (nothing, &[FRESH, ("vary", "accept, *")]),
        (nothing, &[FRESH, ("vary", "*")]),
        (nothing, &[FRESH, ("content-type", "text/event-stream")]),
        (nothing, &[]),
        (&[("authorization", "Basic YTpi")], &[FRESH]),
        (
            &[("authorization", "Basic YTpi")],
            &[("etag", "\"a\""), FRESH],
        ),
        (&[("cache-control", "no-store")], &[FRESH]),
    ] {
        let site = Site::with(&place.cache(), response);
        for run in 0..3 {
            let got = site.get_with("/page", request).await;
            assert_eq!(got.body, run.to_string(), "{request:?} {response:?}");
            assert_eq!(got.header("age"), None);
        }
        // Nor is it for who asks without credentials.
        let got = site.get("/page").await;
        assert_eq!(got.body, "3", "{request:?} {response:?}");
    }
}

async fn clients_that_wait_together_each_get_their_own(place: Place) {
    const CLIENTS: usize = 100;
    for wave in ["cold", "known not to be stored"] {
        // All but the first are in the handler at once: they do not wait for each other.
        let together = Arc::new(Barrier::new(CLIENTS - 1));
        let cache = place.cache();
        let known = wave != "cold";
        let site = Site::serve(
            &cache,
            |options| options,
            move |_, run| {
                let together = Arc::clone(&together);
                async move {
                    if run == 0 && !known {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    if run > 0 {
                        let all = together.wait();
                        tokio::time::timeout(Duration::from_secs(20), all).await?;
                    }
                    Ok(page(run, &[("cache-control", "private, max-age=60")]))
                }
            },
        );
        let mut first = Vec::new();
        if known {
            first.push(site.get("/page").await.body);
        }
        let clients: Vec<_> = (first.len()..CLIENTS)
            .map(|_| {
                let site = site.clone();
                tokio::spawn(async move { site.get("/page").await.body })
            })
            .collect();
        let mut bodies = first;
        for client in clients {
            bodies.push(client.await.unwrap());
        }
        bodies.sort_unstable();
        bodies.dedup();
        assert_eq!((bodies.len(), site.runs()), (CLIENTS, CLIENTS), "{wave}");
    }
}

async fn who_has_credentials_shares_what_is_public(place: Place) {
    for said in [
        "public, max-age=60",
        "s-maxage=60",
        "max-age=60, must-revalidate",
    ] {
        let site = Site::with(&place.cache(), &[("cache-control", said)]);
        for who in ["Basic YTpi", "Basic Yzpk"] {
            let got = site.get_with("/page", &[("authorization", who)]).await;
            assert_eq!(got.body, "0", "{said}");
        }
        assert_eq!(site.get("/page").await.body, "0", "{said}");
        // And the other way round.
        assert_eq!(site.get("/other").await.body, "1");
        let got = site.get_with("/other", &[("authorization", "x")]).await;
        assert_eq!((got.body.as_str(), site.runs()), ("1", 2), "{said}");
    }
}

async fn who_has_credentials_is_not_given_what_only_the_anonymous_share(place: Place) {
    let site = Site::with(&place.cache(), &[FRESH]);
    assert_eq!(site.get("/me").await.body, "0");
    let got = site.get_with("/me", &[("authorization", "x")]).await;
    assert_eq!(got.body, "1");
    // The anonymous keep theirs.
    assert_eq!(site.get("/me").await.body, "0");
}

async fn a_page_is_stored_again_once_it_may_be(place: Place) {
    let site = Site::serve(
        &place.cache(),
        |options| options,
        |_, run| async move {
            let said = if run == 0 { "no-store" } else { "max-age=60" };
            Ok(page(run, &[("cache-control", said)]))
        },
    );
    let mut bodies = Vec::new();
    for _ in 0..5 {
        bodies.push(site.get("/page").await.body);
    }
    assert_eq!(bodies, ["0", "1", "2", "2", "2"]);
}

async fn hosts_queries_and_names_are_pages_of_their_own(place: Place) {
    let cache = place.cache();
    let site = Site::with(&cache, &[FRESH]);
    let other = Site::serve(
        &cache,
        |options| options.name("other"),
        |_, run| async move { Ok(page(run + 100, &[FRESH])) },
    );
    let mut bodies = Vec::new();
    for _ in 0..2 {
        for path in [
            "/",
            "/?a",
            "/?b",
            "http://one.example/",
            "http://TWO.example/",
        ] {
            bodies.push(site.get(path).await.body);
        }
    }
    assert_eq!(bodies, ["0", "1", "2", "3", "4", "0", "1", "2", "3", "4"]);
    assert_eq!(other.get("/").await.body, "100");
    let one = Site::serve(
        &place.cache(),
        |options| {
            options
                .ignore_host()
                .key(|request| Some(request.uri.path().to_owned()))
        },
        |_, run| async move { Ok(page(run, &[FRESH])) },
    );
    assert_eq!(one.get("http://one.example/x?y").await.body, "0");
    assert_eq!(one.get("/x?z").await.body, "0");
}

async fn a_page_has_a_variant_for_what_vary_names(place: Place) {
    let cache = place.cache();
    let site = Site::with(
        &cache,
        &[FRESH, ("vary", "Accept-Language"), ("vary", "x-a")],
    );
    let mut bodies = Vec::new();
    for _ in 0..2 {
        for headers in [
            &[("accept-language", "en, de")][..],
            &[("accept-language", "fr")],
            &[],
            &[("accept-language", "fr"), ("x-a", "1")],
            &[("accept-language", "en ,de"), ("x-b", "1")],
        ] {
            bodies.push(site.get_with("/page", headers).await.body);
        }
    }
    assert_eq!(bodies, ["0", "1", "2", "3", "0", "0", "1", "2", "3", "0"]);
    // Who removes the page removes all its variants.
    site.ask("PUT", "/page", &[]).await;
    let got = site.get_with("/page", &[("accept-language", "fr")]).await;
    assert_eq!(got.body, "5");
    let got = site
        .get_with("/page", &[("accept-language", "en,de")])
        .await;
    assert_eq!(got.body, "6");
}

async fn default_freshness_is_not_for_who_has_cookies(place: Place) {
    let site = Site::serve(
        &place.cache(),
        |options| options.default_ttl("1m"),
        |request, run| async move {
            match request.uri().path() {
                "/said" => Ok(page(run, &[FRESH])),
                _ => Ok(page(run, &[("x", "y")])),
            }
        },
    );
    let user = &[("cookie", "id=7")];
    assert_eq!(site.get("/page").await.body, "0");
    assert_eq!(site.get("/page").await.body, "0");
    assert_eq!(site.get_with("/page", user).await.body, "1");
    assert_eq!(site.get_with("/page", user).await.body, "2");
    assert_eq!(site.get("/page").await.body, "0");
    // Who says how long it is fresh says that it is for all.
    assert_eq!(site.get_with("/said", user).await.body, "3");
    assert_eq!(site.get("/said").await.body, "3");
    assert_eq!(site.get_with("/said", user).await.body, "3");
}
