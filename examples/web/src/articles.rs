//! Articles: a value, a list of values by their ids, and a page, each from the cache or loaded once for all who ask.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Html;
use nearcache::Text;
use serde::{Deserialize, Serialize};

use crate::Service;
use crate::database::Database;
use crate::failure::Failure;
use crate::limits::Limit;
use crate::sessions::Session;

/// How often one user may change something.
const CHANGES: Limit = Limit {
    what: "changes",
    a_minute: 10,
};

/// The tag of every list of articles.
const LISTS: &str = "lists";

/// The key of the page that shows all titles.
const HOME: &str = "page:home";

/// The id of an article.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ArticleId(pub u32);

impl ArticleId {
    fn key(self) -> String {
        format!("article:{}", self.0)
    }
}

/// An article.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Article {
    /// Its id.
    pub id: ArticleId,
    /// Who wrote it.
    pub author: String,
    /// Its title.
    pub title: String,
}

/// `GET /articles/{id}`: a value. The loader says what went wrong in the service's own words, and whoever waited for
/// it is told the same.
///
/// # Errors
/// [`Failure::NotFound`], [`Failure::Database`].
pub async fn show(
    State(service): State<Service>,
    Path(id): Path<ArticleId>,
) -> Result<Json<Article>, Failure> {
    let database = Arc::clone(&service.database);
    let article = service
        .cache
        .remember(id.key(), async move || {
            database.article(id).await?.ok_or(Failure::NotFound)
        })
        .ttl("5m")
        .stale_if_error("1d") // the old one is better than none
        .own_error()
        .await?;
    Ok(Json(article))
}

/// `GET /authors/{name}`: a list of ids, and the values of those ids: one read for those in the cache, one query for all
/// others.
///
/// # Errors
/// [`Failure::Database`].
pub async fn by_author(
    State(service): State<Service>,
    Path(name): Path<String>,
) -> Result<Json<Vec<Article>>, Failure> {
    let Service { cache, database } = service;
    let (listing, loading) = (Arc::clone(&database), database);
    let ids = cache
        .remember(format!("author:{name}"), async move || {
            listing.ids_of(&name).await.map_err(Failure::from)
        })
        .ttl("1m")
        .tags([LISTS])
        .own_error()
        .await?;
    let articles = cache
        .remember_many_by(
            ids,
            |id| id.key(),
            move |missing: Vec<ArticleId>| {
                let database = Arc::clone(&loading);
                async move {
                    let found = database.articles(&missing).await?;
                    Ok::<_, Failure>(found.into_iter().map(|article| (article.id, article)))
                }
            },
        )
        .ttl("5m")
        .own_error()
        .await?;
    Ok(Json(articles.into_iter().flatten().collect()))
}

/// `GET /`: a page, stored as the text that it is. Nobody waits for it once it was made: an old one is shown once more
/// while a new one is made.
///
/// # Errors
/// [`Failure::Database`].
pub async fn home(State(service): State<Service>) -> Result<Html<String>, Failure> {
    let database = Arc::clone(&service.database);
    let Text(page) = service
        .cache
        .remember(HOME, async move || page(&database).await)
        .ttl("1m")
        .stale_for("10m")
        .own_error()
        .await?;
    Ok(Html(page))
}

async fn page(database: &Database) -> Result<Text, Failure> {
    let titles = database.titles().await?;
    let item = |title: &String| format!("<li>{}</li>", escaped(title));
    let items: String = titles.iter().map(item).collect();
    Ok(Text(format!("<h1>Articles</h1><ul>{items}</ul>")))
}

/// The body of a change.
#[derive(Clone, Debug, Deserialize)]
pub struct Change {
    title: String,
}

/// `PUT /articles/{id}`: first the source, then the cache. Once this has returned, nobody reads the old article or an old
/// list, in any process, and a load that began before it stores nothing. (If Redis is away, from when it is back.) The
/// page may be seen once more, so it is marked stale, and its readers do not wait.
///
/// # Errors
/// [`Failure::NotFound`], [`Failure::TooMany`], [`Failure::Database`], and those of the cache.
pub async fn change(
    State(service): State<Service>,
    session: Session,
    Path(id): Path<ArticleId>,
    Json(change): Json<Change>,
) -> Result<StatusCode, Failure> {
    CHANGES.admit(&service.cache, &session.name).await?;
    if !service.database.rename(id, change.title).await? {
        return Err(Failure::NotFound);
    }
    sent_or_kept(service.cache.delete(id.key()).await)?;
    sent_or_kept(service.cache.invalidate_tag(LISTS).await)?;
    sent_or_kept(service.cache.mark_stale(HOME).await)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The source is changed, and that counts: while Redis is away, the cache keeps the invalidation and sends it later. (A
/// session has no source: there, the error is the answer.)
fn sent_or_kept<T>(outcome: nearcache::Result<T>) -> Result<(), Failure> {
    match outcome {
        Err(error) if !error.is_deferred() => Err(Failure::Cache(error)),
        _ => Ok(()),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
