//! What is behind the cache: articles and users, in memory, with a counter of queries and a switch to be away.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::articles::{Article, ArticleId};

/// The database does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseError;

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the database does not answer")
    }
}

impl std::error::Error for DatabaseError {}

/// The database.
#[derive(Debug, Default)]
pub struct Database {
    articles: Mutex<BTreeMap<ArticleId, Article>>,
    queries: AtomicUsize,
    away: AtomicBool,
}

impl Database {
    /// With a few articles.
    pub fn with_examples() -> Self {
        let titles = ["Notes on the engine", "On <loops>", "A table of numbers"];
        let articles = titles.into_iter().zip(1..).map(|(title, id)| {
            let id = ArticleId(id);
            let (author, title) = ("ada".to_owned(), title.to_owned());
            (id, Article { id, author, title })
        });
        Database {
            articles: Mutex::new(articles.collect()),
            ..Database::default()
        }
    }

    /// How many queries it has answered.
    pub fn queries(&self) -> usize {
        self.queries.load(Ordering::Relaxed)
    }

    /// Whether it answers.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// Whether there is such a user. (A real one stores a hash.)
    pub fn knows(&self, name: &str, password: &str) -> bool {
        (name, password) == ("ada", "lovelace")
    }

    /// One article.
    ///
    /// # Errors
    /// It is away.
    pub async fn article(&self, id: ArticleId) -> Result<Option<Article>, DatabaseError> {
        self.query(|articles| articles.get(&id).cloned()).await
    }

    /// Those of these articles that there are.
    ///
    /// # Errors
    /// It is away.
    pub async fn articles(&self, ids: &[ArticleId]) -> Result<Vec<Article>, DatabaseError> {
        self.query(|articles| {
            ids.iter()
                .filter_map(|id| articles.get(id).cloned())
                .collect()
        })
        .await
    }

    /// The ids of an author's articles.
    ///
    /// # Errors
    /// It is away.
    pub async fn ids_of(&self, author: &str) -> Result<Vec<ArticleId>, DatabaseError> {
        self.query(|articles| {
            let own = articles.values().filter(|article| article.author == author);
            own.map(|article| article.id).collect()
        })
        .await
    }

    /// All titles.
    ///
    /// # Errors
    /// It is away.
    pub async fn titles(&self) -> Result<Vec<String>, DatabaseError> {
        self.query(|articles| {
            articles
                .values()
                .map(|article| article.title.clone())
                .collect()
        })
        .await
    }

    /// Changes a title. Returns whether there is such an article.
    ///
    /// # Errors
    /// It is away.
    pub async fn rename(&self, id: ArticleId, title: String) -> Result<bool, DatabaseError> {
        self.query(|articles| match articles.get_mut(&id) {
            Some(article) => {
                article.title = title;
                true
            }
            None => false,
        })
        .await
    }

    async fn query<T>(
        &self,
        query: impl FnOnce(&mut BTreeMap<ArticleId, Article>) -> T,
    ) -> Result<T, DatabaseError> {
        // As long as a query is under way, other tasks run.
        tokio::task::yield_now().await;
        if self.away.load(Ordering::Relaxed) {
            return Err(DatabaseError);
        }
        self.queries.fetch_add(1, Ordering::Relaxed);
        Ok(query(&mut self.articles.lock()))
    }
}
