//! Responses of an axum service that are cached as HTTP has it: by `Cache-Control`, `ETag`, `Vary`.
//!
//! The service has a report that takes 30 ms to make. It serves on a free port, and asks itself: 1,000 requests for the
//! cold report, a request by a client that has it already, a user's own page, a write. Then 16 connections ask for the
//! report as fast as they can, without the layer and with it.
//!
//! ```text
//! cargo run --release --example response_cache
//! cargo run --release --example response_cache -- redis://localhost
//! cargo run --release --example response_cache -- --serve 8080            # until it is ended; /plain/report has no layer
//! wrk -c 16 -d 10s http://127.0.0.1:8080/report
//! ```

#![allow(clippy::print_stdout)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use nearcache::Cache;
use nearcache_tower::{CacheTags, ResponseCacheLayer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// The data behind the service, and how often it was asked for the report.
#[derive(Clone, Default)]
struct Sales(Arc<AtomicU64>);

/// A report that takes a while, and is the same for all: fresh for a minute, and an old one will do for ten more while a
/// new one is made.
async fn report(State(sales): State<Sales>) -> impl IntoResponse {
    let number = sales.0.fetch_add(1, Ordering::SeqCst) + 1;
    tokio::time::sleep(Duration::from_millis(30)).await;
    let headers = [
        (
            header::CACHE_CONTROL,
            "public, max-age=60, stale-while-revalidate=600",
        ),
        (header::ETAG, "\"sales-of-today\""),
    ];
    let tags = axum::Extension(CacheTags::new(["sales"]));
    (headers, tags, format!("report {number}"))
}

/// A page of the user's own: nobody else may have it.
async fn account(headers: HeaderMap) -> impl IntoResponse {
    let user = headers
        .get(header::COOKIE)
        .and_then(|user| user.to_str().ok());
    let page = format!("the account of {}", user.unwrap_or("nobody"));
    ([(header::CACHE_CONTROL, "private, max-age=60")], page)
}

fn service(cache: Cache, sales: Sales) -> Result<Router> {
    let layer = ResponseCacheLayer::builder(cache)
        .cache_status("sales")
        .build()?;
    Ok(Router::new()
        .route("/report", get(report).put(async || "changed"))
        .route("/account", get(account))
        .layer(layer)
        .route("/plain/report", get(report))
        .with_state(sales))
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (mut url, mut port) = ("memory://".to_owned(), None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--serve" => port = Some(arguments.next().unwrap_or_default().parse()?),
            _ => url = argument,
        }
    }
    let cache = Cache::builder(&url)
        .prefix("nearcache-response-cache")
        .build()?;
    cache.clear().await?;
    let sales = Sales::default();
    let app = service(cache.clone(), sales.clone())?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0))).await?;
    let address = listener.local_addr()?;
    println!("serving on http://{address}\n");
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    if port.is_some() {
        return Ok(serving.await??);
    }
    let visitor = Visitor::of(address);

    let mut visitors = JoinSet::new();
    for _ in 0..1_000 {
        let visitor = visitor.clone();
        visitors.spawn(async move { visitor.get("/report", &[]).await });
    }
    while let Some(page) = visitors.join_next().await {
        assert_eq!(page??.body, "report 1");
    }
    println!(
        "1,000 requests for the cold report: the handler ran {} time",
        sales.0.load(Ordering::SeqCst)
    );
    assert_eq!(sales.0.load(Ordering::SeqCst), 1);

    let page = visitor.get("/report", &[]).await?;
    println!(
        "one more:        {} {:?}, {}",
        page.status, page.body, page.cache_status
    );
    let etag = [("if-none-match", "\"sales-of-today\"")];
    let page = visitor.get("/report", &etag).await?;
    println!(
        "who has it:      {} {:?}, {}",
        page.status, page.body, page.cache_status
    );
    assert_eq!((page.status, page.body.len()), (304, 0));

    for user in ["alice", "bob"] {
        let page = visitor.get("/account", &[("cookie", user)]).await?;
        println!(
            "a page for one:  {} {:?}, {}",
            page.status, page.body, page.cache_status
        );
        assert_eq!(page.body, format!("the account of {user}"));
    }

    visitor.ask("PUT", "/report", &[]).await?;
    let page = visitor.get("/report", &[]).await?;
    println!(
        "after a PUT:     {} {:?}, {}",
        page.status, page.body, page.cache_status
    );
    assert_eq!(page.body, "report 2");
    cache.invalidate_tag("sales").await?;
    let page = visitor.get("/report", &[]).await?;
    println!(
        "after its tag:   {} {:?}, {}",
        page.status, page.body, page.cache_status
    );
    assert_eq!(page.body, "report 3");

    let plain = visitor.requests_a_second("/plain/report").await?;
    let cached = visitor.requests_a_second("/report").await?;
    println!(
        "\n16 connections:  {plain:.0} requests a second without the layer, {cached:.0} with it ({:.0} ×)",
        cached / plain
    );
    cache.clear().await?;
    serving.abort();
    Ok(())
}

/// A client of the service.
#[derive(Clone)]
struct Visitor {
    client: Client<HttpConnector, Body>,
    address: SocketAddr,
}

struct Page {
    status: u16,
    cache_status: String,
    body: String,
}

impl Visitor {
    fn of(address: SocketAddr) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Visitor { client, address }
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Page> {
        self.ask("GET", path, headers).await
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<Page> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.client.request(request.body(Body::empty())?).await?;
        let status = response.status().as_u16();
        let cache_status = response.headers().get("cache-status");
        let cache_status = cache_status.map_or("", |value| value.to_str().unwrap_or_default());
        let cache_status = cache_status.to_owned();
        let body: Bytes = to_bytes(Body::new(response.into_body()), 1 << 20).await?;
        Ok(Page {
            status,
            cache_status,
            body: String::from_utf8(body.into())?,
        })
    }

    /// How many requests 16 connections make in half a second, for a second.
    async fn requests_a_second(&self, path: &'static str) -> Result<f64> {
        const SPAN: Duration = Duration::from_millis(500);
        let begun = Instant::now();
        let mut connections = JoinSet::new();
        for _ in 0..16 {
            let visitor = Visitor::of(self.address);
            connections.spawn(async move {
                let mut count = 0_u32;
                while begun.elapsed() < SPAN {
                    visitor.get(path, &[]).await?;
                    count += 1;
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(count)
            });
        }
        let mut count = 0;
        while let Some(one) = connections.join_next().await {
            count += one??;
        }
        Ok(f64::from(count) / begun.elapsed().as_secs_f64())
    }
}
