//! Tags that depend on the value, and `Option`s in templates.

use std::sync::atomic::{AtomicU32, Ordering};

use nearcache::{Cache, blocking, cached};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Article {
    author: u32,
    parts: Vec<u32>,
}

static RUNS: AtomicU32 = AtomicU32::new(0);

#[cached(
    cache = cache,
    key = "article:{id}",
    tags = ["articles"],
    tags_of = |article| [format!("author:{}", article.author), format!("parts:{}", article.parts.len())]
)]
async fn article(cache: &Cache, id: u32) -> nearcache::Result<Article> {
    RUNS.fetch_add(1, Ordering::Relaxed);
    Ok(Article {
        author: id * 10,
        parts: vec![id],
    })
}

#[cached(cache = cache, key = "blocking:{id}", tags_of = |article: &Option<Article>| article.iter().map(|article| format!("author:{}", article.author)))]
fn blocking_article(cache: &blocking::Cache, id: u32) -> Option<Article> {
    (id > 0).then(|| Article {
        author: id,
        parts: vec![],
    })
}

#[tokio::test]
async fn tags_that_depend_on_the_value_invalidate_it() {
    let cache = Cache::open("memory://").unwrap();
    let first = article(&cache, 1).await.unwrap();
    article(&cache, 1).await.unwrap();
    assert_eq!(RUNS.load(Ordering::Relaxed), 1);
    for (tag, runs) in [
        ("author:20", 1),
        ("author:10", 2),
        ("parts:1", 3),
        ("articles", 4),
    ] {
        cache.invalidate_tag(tag).await.unwrap();
        article(&cache, 1).await.unwrap();
        assert_eq!(RUNS.load(Ordering::Relaxed), runs, "{tag}");
    }
    // Also for a value that is given without a run.
    article::prime(&cache, 2, first).await.unwrap();
    assert!(cache.contains("article:2").await.unwrap());
    cache.invalidate_tag("author:10").await.unwrap();
    assert!(!cache.contains("article:2").await.unwrap());
}

#[test]
fn tags_that_depend_on_the_value_are_those_of_a_blocking_function_too() {
    let cache = blocking::Cache::open("memory://").unwrap();
    assert_eq!(blocking_article(&cache, 0), None);
    assert!(blocking_article(&cache, 3).is_some());
    cache.invalidate_tag("author:3").run().unwrap();
    assert!(!cache.contains("blocking:3").run().unwrap());
    assert!(cache.contains("blocking:0").run().unwrap());
}

struct Filter {
    label: Option<String>,
    page: u32,
}

mod named {
    use super::{Cache, Filter, cached};

    #[cached(cache = cache, key = "{name}")]
    pub(super) async fn text(cache: &Cache, name: Option<&str>) -> u32 {
        name.map_or(0, str::len) as u32
    }

    #[cached(cache = cache, key = "{1:03}|{owned:>6}|{n:?}")]
    pub(super) async fn others(cache: &Cache, n: Option<u32>, owned: &Option<String>) -> u32 {
        n.unwrap_or(0)
    }

    #[cached(cache = cache, key = "{filter.label}:{filter.page}", tags = ["{filter.label}"])]
    pub(super) fn field(cache: &super::blocking::Cache, filter: &Filter) -> u32 {
        filter.page
    }
}

impl Clone for Filter {
    fn clone(&self) -> Self {
        Filter {
            label: self.label.clone(),
            page: self.page,
        }
    }
}

fn shown(key: nearcache::Result<nearcache::Key>) -> String {
    key.unwrap().as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_option_in_a_template_is_its_value_or_none() {
    let cache = Cache::open("memory://").unwrap();
    assert_eq!(shown(named::text::key(&cache, Some("acme"))), "acme");
    assert_eq!(shown(named::text::key(&cache, None)), "!none");
    // No two are written alike.
    let all = [
        None,
        Some("!none"),
        Some("!!none"),
        Some("none"),
        Some("None"),
    ];
    let keys = all.map(|name| shown(named::text::key(&cache, name)));
    for (at, key) in keys.iter().enumerate() {
        assert!(!keys[..at].contains(key), "{keys:?}");
    }
    assert_eq!(named::text(&cache, Some("acme")).await, 4);
    assert_eq!(named::text(&cache, None).await, 0);

    let owned = Some("ab".to_owned());
    assert_eq!(
        shown(named::others::key(&cache, Some(7), &owned)),
        "007|    ab|Some(7)"
    );
    assert_eq!(
        shown(named::others::key(&cache, None, &None)),
        "!none|!none|None"
    );
    assert_eq!(named::others(&cache, Some(7), &owned).await, 7);

    let blocking = cache.blocking().unwrap();
    let labelled = Filter {
        label: Some("x".into()),
        page: 2,
    };
    let unlabelled = Filter {
        label: None,
        page: 3,
    };
    assert_eq!(shown(named::field::key(&blocking, &labelled)), "x:2");
    assert_eq!(shown(named::field::key(&blocking, &unlabelled)), "!none:3");
    assert_eq!(named::field(&blocking, &labelled), 2);
}
