//! Prometheus: a cache's metrics on the page that Prometheus scrapes.
//!
//! Without `serve` it requests the page once, as Prometheus does, and prints it. With `serve` it keeps serving: `curl
//! http://127.0.0.1:9464/metrics`.
//!
//! ```text
//! cargo run --example prometheus
//! cargo run --example prometheus -- redis://localhost
//! cargo run --example prometheus -- memory:// serve
//! ```

#![allow(clippy::print_stdout)]

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use nearcache::Cache;
use nearcache::hooks::{KeyGroups, MetricsFacade};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let url = support::url();
    let stays = std::env::args().nth(2).is_some_and(|word| word == "serve");

    let recorder = PrometheusBuilder::new()
        .set_buckets(MetricsFacade::buckets())?
        .install_recorder()?;
    MetricsFacade::describe();
    let metrics = MetricsFacade::named("users").keys(KeyGroups::automatic());
    let cache = Cache::builder(&url)
        .prefix("nearcache-prometheus")
        .hook(metrics.clone())
        .build()?;
    cache.clear().await?;

    for request in 0..100u64 {
        let id = request % 10;
        let load = async move || format!("user {id}");
        cache
            .remember_with(format!("user:{id}"), load)
            .ttl("1h")
            .await?;
    }
    cache.clear().await?;

    let listener = TcpListener::bind(("127.0.0.1", if stays { 9464 } else { 0 })).await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(serve(listener, metrics, recorder));
    if stays {
        println!("http://{address}/metrics, until Ctrl-C");
        return server.await?;
    }

    let page = scrape(address).await?;
    for line in page.lines().filter(|line| !line.contains("_bucket")) {
        println!("{line}");
    }
    assert!(page.starts_with("HTTP/1.1 200 OK"));
    assert!(page.contains("nearcache_hits_total{cache=\"users\"} 90\n"));
    assert!(page.contains("nearcache_loads_total{cache=\"users\"} 10\n"));
    assert!(page.contains("group=\"user:*\",cache=\"users\"} 90\n"));
    support::closing("prometheus", &url);
    Ok(())
}

/// Serves the page for every request. A service with a web framework has a route for it instead.
async fn serve(
    listener: TcpListener,
    metrics: MetricsFacade,
    recorder: PrometheusHandle,
) -> Result<()> {
    loop {
        let (mut caller, _) = listener.accept().await?;
        let mut request = [0; 4096];
        let _ = caller.read(&mut request).await?;
        metrics.publish();
        let page = recorder.render();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            page.len()
        );
        caller.write_all(head.as_bytes()).await?;
        caller.write_all(page.as_bytes()).await?;
    }
}

async fn scrape(address: std::net::SocketAddr) -> Result<String> {
    let mut server = TcpStream::connect(address).await?;
    server
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await?;
    let mut page = String::new();
    server.read_to_string(&mut page).await?;
    Ok(page)
}
