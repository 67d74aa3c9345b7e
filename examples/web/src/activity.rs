//! What goes on: a board of readers, how many visitors there were, and a report of both.
//!
//! Points go to the board or the client is told that they did not. Visits are only statistics: while Redis is away they
//! are not counted, and nobody notices. The report is a cached value, so an old one is shown meanwhile.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use nearcache::Cache;
use nearcache::patterns::{Leaderboard, Series};
use serde::{Deserialize, Serialize};

use crate::Service;
use crate::failure::Failure;
use crate::sessions::Session;

/// How many readers the board shows.
const SHOWN: u32 = 10;

fn board(cache: &Cache) -> Leaderboard<String> {
    cache.leaderboard("readers").resets("1w")
}

fn visits(cache: &Cache) -> Series {
    cache.series("visits").per("1m").keep("2d")
}

/// The body of `POST /points`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Points {
    points: u32,
}

/// `POST /points`: adds to the reader's score of this week, and returns it.
///
/// # Errors
/// [`Failure::SignedOut`], and those of the cache: points that were not counted are never said to be.
pub async fn score(
    State(service): State<Service>,
    session: Session,
    Json(Points { points }): Json<Points>,
) -> Result<Json<f64>, Failure> {
    let submitted = board(&service.cache).submit(&session.name, points);
    Ok(Json(submitted.sum().await?.score))
}

/// A line of the board.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    rank: u64,
    name: String,
    points: f64,
}

/// `GET /board`
///
/// # Errors
/// Those of the cache.
pub async fn show(State(service): State<Service>) -> Result<Json<Vec<Line>>, Failure> {
    Ok(Json(lines(&service.cache).await?))
}

async fn lines(cache: &Cache) -> nearcache::Result<Vec<Line>> {
    let top = board(cache).top(SHOWN).await?;
    let lines = top.into_iter().map(|one| Line {
        rank: one.rank,
        name: one.player,
        points: one.score,
    });
    Ok(lines.collect())
}

/// Who visits.
#[derive(Clone, Debug, Deserialize)]
pub struct Visitor {
    visitor: String,
}

/// `POST /visits?visitor=…`: counts a visitor of this minute, once.
pub async fn visit(
    State(service): State<Service>,
    Query(Visitor { visitor }): Query<Visitor>,
) -> StatusCode {
    // What is not counted is no reason to refuse anybody.
    let _ = visits(&service.cache).add_unique(visitor).await;
    StatusCode::NO_CONTENT
}

/// What the report says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    articles: usize,
    visitors: Option<u64>,
    board: Option<Vec<Line>>,
}

/// `GET /report`: the titles come from the database; the rest is left out while it cannot be known.
///
/// # Errors
/// [`Failure::Database`].
pub async fn report(State(service): State<Service>) -> Result<Json<Report>, Failure> {
    let (cache, database) = (service.cache.clone(), Arc::clone(&service.database));
    let report = service
        .cache
        .remember("report", async move || {
            Ok::<_, Failure>(Report {
                articles: database.titles().await?.len(),
                visitors: visits(&cache).unique("1h").await.ok(),
                board: lines(&cache).await.ok(),
            })
        })
        .ttl("10s")
        .stale_for("1h")
        .own_error()
        .await?;
    Ok(Json(report))
}
