//! Tags: invalidating thousands of entries in one round trip, without knowing their keys.
//!
//! A shop caches its product pages. Each has tags for the shop, its category and its brand; only the loader knows the
//! brand. A category changes its tax and a brand its name: one call each. At the end comes the race that other caches
//! lose: a page is made from the old price while the new one is written.
//!
//! ```text
//! cargo run --release --example tags
//! cargo run --release --example tags -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use std::io;
use std::time::Instant;

use nearcache::{Cache, Loaded, Result};
use support::{Table, count, time};
use tokio::sync::oneshot;

const PRODUCTS: u32 = 3_000;
const CATEGORIES: [&str; 4] = ["garden", "kitchen", "office", "toys"];
const BRANDS: [&str; 3] = ["Acme", "Globex", "Initech"];

/// Makes a page, and returns it with the tag of its brand.
async fn make(id: u32) -> io::Result<Loaded<String>> {
    let brand = BRANDS[id as usize % BRANDS.len()];
    let page = format!("Product {id} by {brand}");
    Ok(Loaded::new(page).tags([format!("brand:{brand}")]))
}

async fn page(cache: &Cache, id: u32) -> Result<String> {
    let category = CATEGORIES[id as usize % CATEGORIES.len()];
    cache
        .remember(format!("page:{id}"), move || make(id))
        .ttl("1h")
        .tags(["shop", &format!("category:{category}")])
        .await
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = support::url();
    let cache = Cache::builder(&url).prefix("nearcache-tags").build()?;
    cache.clear().await?;

    for id in 0..PRODUCTS {
        page(&cache, id).await?;
    }
    let pages = live(&cache).await?;
    assert_eq!(pages, PRODUCTS);
    println!(
        "{} pages at {}, each with three tags\n",
        count(pages),
        support::shown(&url)
    );

    let mut table = Table::new(["", "took", "pages ended", "left"]);
    let mut left = pages;
    for tag in ["category:garden", "brand:Acme", "nobody's", "shop"] {
        let start = Instant::now();
        cache.invalidate_tag(tag).await?;
        let took = start.elapsed();
        let now = live(&cache).await?;
        let ended = left - now;
        assert_eq!(
            ended,
            match tag {
                "category:garden" => PRODUCTS / 4,
                "brand:Acme" => PRODUCTS / 4, // a third of the three quarters that were left
                "nobody's" => 0,
                _ => PRODUCTS / 2,
            }
        );
        let call = format!("invalidate_tag({tag:?})");
        table.row([call, time(took), count(ended), count(now)]);
        left = now;
    }
    println!("{table}");
    println!(
        "  No page was listed or deleted: a tag has a version, which is deleted now, and a page"
    );
    println!("  with an older version is a miss.\n");

    race(&cache).await?;

    cache.clear().await?;
    support::closing("tags", &url);
    Ok(())
}

/// A loader reads the old price; the new one is written and its tag invalidated; then the loader returns.
async fn race(cache: &Cache) -> Result<()> {
    let (has_read, read) = oneshot::channel();
    let (go_on, may_go_on) = oneshot::channel::<()>();
    let slow = tokio::spawn({
        let cache = cache.clone();
        async move {
            cache
                .remember_with("price", || async {
                    let price = 10; // the database says
                    let _ = has_read.send(());
                    let _ = may_go_on.await;
                    price
                })
                .tags(["prices"])
                .await
        }
    });
    read.await.expect("the loader runs");
    // Meanwhile the price becomes 12 in the database, and then:
    cache.invalidate_tag("prices").await?;
    let _ = go_on.send(());

    let old = slow.await.expect("no task panics")?;
    let stored: Option<i32> = cache.get("price").await?;
    let new = cache
        .remember_with("price", || async { 12 })
        .tags(["prices"])
        .await?;
    assert_eq!((old, stored, new), (10, None, 12));
    assert_eq!(cache.stats().fenced, 1);
    println!("  A loader read the price 10; then it became 12, and its tag was invalidated.");
    println!("    a caller from before      {old}");
    println!("    stored                    nothing: the load was fenced");
    println!("    a caller afterwards       {new}");
    Ok(())
}

/// How many pages are cached.
async fn live(cache: &Cache) -> Result<u32> {
    let keys = (0..PRODUCTS).map(|id| format!("page:{id}"));
    let pages: Vec<Option<String>> = cache.get_many(keys).await?;
    Ok(pages.iter().flatten().count() as u32)
}
