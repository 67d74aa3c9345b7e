//! One run of the handler for all who wait, in this process and in others.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use nearcache_testkit::{Redis, random_prefix};
use nearcache_tower::ResponseCacheBuilder;
use tokio::sync::Notify;

use crate::site::{Place, Site, cache_at, eventually, page};

places! {
    a_thousand_requests_for_a_cold_page_ask_the_handler_once,
    a_thousand_requests_for_three_variants_ask_it_three_times,
    a_client_that_goes_away_does_not_stop_a_load,
    a_panic_reaches_its_own_client_only,
    an_error_of_the_handler_is_not_shared,
    a_request_waits_for_another_for_so_long,
    a_client_that_wants_a_new_response_gets_one_for_all,
}

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

fn slow_site(cache: &nearcache::Cache) -> Site {
    Site::serve(
        cache,
        |options| options,
        |_, run| async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(page(run, &[FRESH, ("vary", "lang")]))
        },
    )
}

async fn a_thousand_requests_for_a_cold_page_ask_the_handler_once(place: Place) {
    let site = slow_site(&place.cache());
    let clients: Vec<_> = (0..1_000)
        .map(|_| {
            let site = site.clone();
            tokio::spawn(async move { site.get("/page").await })
        })
        .collect();
    for client in clients {
        let got = client.await.unwrap();
        assert_eq!((got.status, got.body.as_str()), (200, "0"));
    }
    assert_eq!(site.runs(), 1);
}

async fn a_thousand_requests_for_three_variants_ask_it_three_times(place: Place) {
    let site = slow_site(&place.cache());
    let clients: Vec<_> = (0..1_000)
        .map(|number| {
            let site = site.clone();
            tokio::spawn(async move {
                let lang = ["en", "de", "fr"][number % 3];
                (lang, site.get_with("/page", &[("lang", lang)]).await.body)
            })
        })
        .collect();
    let mut answers = Vec::new();
    for client in clients {
        answers.push(client.await.unwrap());
    }
    answers.sort_unstable();
    answers.dedup();
    assert_eq!((answers.len(), site.runs()), (3, 3), "{answers:?}");
}

/// Two caches know nothing of each other, as two processes do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_ask_the_handler_once() {
    let prefix = random_prefix();
    let cache = || cache_at(&Redis::shared().url(), &prefix);
    let sites = [slow_site(&cache()), slow_site(&cache())];
    let clients: Vec<_> = (0..400)
        .map(|number| {
            let site = sites[number % 2].clone();
            tokio::spawn(async move { site.get("/page").await.body })
        })
        .collect();
    for client in clients {
        assert_eq!(client.await.unwrap(), "0");
    }
    assert_eq!(sites[0].runs() + sites[1].runs(), 1);
}

async fn a_client_that_goes_away_does_not_stop_a_load(place: Place) {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, goes) = (Arc::clone(&begun), Arc::clone(&go));
    let site = Site::serve(
        &place.cache(),
        |options| options,
        move |_, run| {
            let (begins, goes) = (Arc::clone(&begins), Arc::clone(&goes));
            async move {
                begins.notify_one();
                goes.notified().await;
                Ok(page(run, &[FRESH]))
            }
        },
    );
    let impatient = site.clone();
    let client = tokio::spawn(async move { impatient.get("/page").await });
    begun.notified().await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    go.notify_one();
    assert_eq!(site.get("/page").await.body, "0");
}

async fn a_panic_reaches_its_own_client_only(place: Place) {
    let site = Site::serve(
        &place.cache(),
        |options| options,
        |_, run| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(run > 0, "no database");
            Ok(page(7, &[FRESH]))
        },
    );
    let clients: Vec<_> = (0..10)
        .map(|_| {
            let site = site.clone();
            tokio::spawn(AssertUnwindSafe(async move { site.get("/page").await.body }).0)
        })
        .collect();
    let mut panics = 0;
    for client in clients {
        match client.await {
            Ok(body) => assert_eq!(body, "7"),
            Err(error) => {
                let panic = error.into_panic();
                assert_eq!(panic.downcast_ref::<&str>(), Some(&"no database"));
                panics += 1;
            }
        }
    }
    assert_eq!(panics, 1);
}

async fn an_error_of_the_handler_is_not_shared(place: Place) {
    let site = Site::serve(
        &place.cache(),
        |options| options,
        |_, run| async move {
            match run {
                0 => Err("no database".into()),
                _ => Ok(page(run, &[FRESH])),
            }
        },
    );
    let error = site.try_to_ask("GET", "/page", &[]).await.unwrap_err();
    assert_eq!(error.to_string(), "no database");
    assert_eq!(site.get("/page").await.body, "1");
    assert_eq!(site.get("/page").await.body, "1");
}

async fn a_client_that_wants_a_new_response_gets_one_for_all(place: Place) {
    let site = Site::with(&place.cache(), &[FRESH]);
    assert_eq!(site.get("/page").await.body, "0");
    for (asked, expected) in [
        ("no-cache", "1"),
        ("max-age=0", "2"),
        ("min-fresh=100", "3"),
    ] {
        // A response that came within this millisecond is as new as `max-age=0` asks.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let got = site.get_with("/page", &[("cache-control", asked)]).await;
        assert_eq!(got.body, expected, "{asked}");
        assert_eq!(got.header("cache-status"), Some("c; fwd=request; stored"));
        assert_eq!(site.get("/page").await.body, expected);
    }
    let ignored = Site::serve(
        &place.cache(),
        ResponseCacheBuilder::ignore_request_directives,
        |_, run| async move { Ok(page(run, &[FRESH])) },
    );
    ignored.get("/page").await;
    let got = ignored
        .get_with("/page", &[("cache-control", "no-cache")])
        .await;
    assert_eq!(got.body, "0");
    eventually("nothing else runs", || ignored.runs() == 1).await;
}

async fn a_request_waits_for_another_for_so_long(place: Place) {
    let go = Arc::new(Notify::new());
    let goes = Arc::clone(&go);
    let site = Site::serve(
        &place.cache(),
        |options| options.wait_for("50ms"),
        move |_, run| {
            let goes = Arc::clone(&goes);
            async move {
                if run == 0 {
                    goes.notified().await;
                }
                Ok(page(run, &[FRESH]))
            }
        },
    );
    let hung = site.clone();
    let first = tokio::spawn(async move { hung.get("/page").await.body });
    eventually("the first asks the handler", || site.runs() == 1).await;
    assert_eq!(site.get("/page").await.body, "1");
    go.notify_one();
    assert_eq!(first.await.unwrap(), "0");
}
