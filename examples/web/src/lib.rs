//! A web service on nearcache, in axum: sessions, limits, cached pages and values, typed errors, a graceful shutdown.
//!
//! `docs/web-service.md` walks through it. A file for each idea: `sessions`, `limits`, `articles`, `activity` (a board,
//! visitors, a report), `failure` (the errors), `database` (what is behind the cache), and here the routes.
//! `tests/service.rs` calls them with a clock that it moves; `tests/outage.rs` kills and stops Redis beneath them.
//!
//! ```text
//! cargo run -p nearcache-example-web                          # an embedded cache
//! cargo run -p nearcache-example-web -- redis://localhost     # Redis
//! curl -d '{"name": "ada", "password": "lovelace"}' -H 'content-type: application/json' localhost:3000/sessions
//! ```

pub mod activity;
pub mod articles;
pub mod database;
pub mod failure;
pub mod limits;
pub mod sessions;

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post};
use nearcache::{Builder, Cache};
use tokio::net::TcpListener;

use database::Database;

/// The examples in the guide are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/web-service.md")]
struct Guide;

/// What every handler has. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Service {
    /// The cache: one for the whole service.
    pub cache: Cache,
    /// The source of what is cached.
    pub database: Arc<Database>,
}

/// The settings of the service's cache. Tests add a store with a clock of their own.
pub fn cache(url: &str) -> Builder {
    Cache::builder(url)
        .prefix("web")
        .timeout("250ms")
        .default_ttl("1h")
        // A key may hold the name of a user: no message shows one.
        .redact_keys(true)
}

/// The routes.
pub fn routes(service: Service) -> Router {
    Router::new()
        .route("/", get(articles::home))
        .route("/articles/{id}", get(articles::show).put(articles::change))
        .route("/authors/{name}", get(articles::by_author))
        .route(
            "/sessions",
            post(sessions::sign_in).delete(sessions::sign_out),
        )
        .route("/sessions/all", delete(sessions::sign_out_everywhere))
        .route("/me", get(sessions::me))
        .route("/points", post(activity::score))
        .route("/board", get(activity::show))
        .route("/visits", post(activity::visit))
        .route("/report", get(activity::report))
        .with_state(service)
}

/// Serves until `end` is ready. Then requests that are running are answered, and the cache is closed: it waits for loads
/// in the background, stores what they bring, and gives up on what takes longer than five seconds. Kubernetes kills what
/// has not ended after 30.
///
/// # Errors
/// Those of the socket, and of [`Cache::close`].
pub async fn serve(
    listener: TcpListener,
    service: Service,
    end: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let cache = service.cache.clone();
    axum::serve(listener, routes(service))
        .with_graceful_shutdown(end)
        .await?;
    let closed = cache.close().load_timeout("5s").await;
    closed.map_err(std::io::Error::other)
}
