//! A reverse proxy with the response cache in front of it: `caching_proxy --origin http://127.0.0.1:8000 [--port 8080]
//! [--url redis://…]`. It prints its address, and serves until it is ended.
//!
//! The options are those of a proxy for pages that are the same for all: heuristic freshness, and stale pages in place of
//! errors.

use std::net::Ipv4Addr;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, http};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use lexopt::prelude::*;
use nearcache::Cache;
use nearcache_tower::ResponseCacheLayer;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
struct Origin {
    address: Uri,
    client: Client<HttpConnector, Body>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (mut origin, mut port, mut url) = (None, 0, "memory://".to_owned());
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("origin") => origin = Some(arguments.value()?.parse::<Uri>()?),
            Long("port") => port = arguments.value()?.parse()?,
            Long("url") => url = arguments.value()?.parse()?,
            other => return Err(other.unexpected().into()),
        }
    }
    let origin = Origin {
        address: origin.ok_or("say where the pages come from: --origin http://127.0.0.1:8000")?,
        client: Client::builder(TokioExecutor::new()).build_http(),
    };
    let cache = Cache::open(&url)?;
    let layer = ResponseCacheLayer::builder(cache)
        .heuristic(0.1)
        .stale_if_error("1m")
        .cache_status("nearcache")
        .build()?;
    let app = Router::new()
        .fallback(forward)
        .with_state(origin)
        .layer(layer);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    say(&format!("http://{}", listener.local_addr()?));
    axum::serve(listener, app).await?;
    Ok(())
}

/// Sends a request to the origin, and its response back.
async fn forward(State(origin): State<Origin>, mut request: Request) -> Response {
    let path = request.uri().path_and_query().cloned();
    let mut parts = origin.address.into_parts();
    parts.path_and_query = path;
    match Uri::from_parts(parts) {
        Ok(uri) => *request.uri_mut() = uri,
        Err(_) => return StatusCode::BAD_REQUEST.into_response(),
    }
    *request.version_mut() = http::Version::HTTP_11;
    for name in [header::CONNECTION, header::TE, header::UPGRADE] {
        request.headers_mut().remove(name);
    }
    match origin.client.request(request).await {
        Ok(mut response) => {
            // How the body came is between the origin and this proxy.
            response.headers_mut().remove(header::TRANSFER_ENCODING);
            response.map(Body::new)
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

#[allow(clippy::print_stdout, reason = "it is a program")]
fn say(line: &str) {
    println!("{line}");
}
