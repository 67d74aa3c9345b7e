//! Analytics: views by the minute, different visitors, the most viewed pages; and who was here on each of three days.
//!
//! ```text
//! cargo run --example analytics
//! cargo run --example analytics -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use nearcache::{Cache, Result};
use support::Table;

const VIEWS: u64 = 2_000;
const PAGES: [&str; 5] = ["/", "/products", "/cart", "/about", "/imprint"];

#[tokio::main]
async fn main() -> Result<()> {
    let url = support::url();
    let cache = Cache::builder(&url).prefix("nearcache-analytics").build()?;
    cache.clear().with_helpers().await?;

    // A series: each call is one round trip, and its buckets expire by themselves.
    let views = cache.series("views").per("1m").keep("2d");
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..VIEWS {
        views.add(1).await?;
        views.add_unique(rng.u32(..500)).await?;
        // The first pages are the most popular ones.
        let page = PAGES[(rng.f64().powi(3) * PAGES.len() as f64) as usize];
        views.count(page, 1).await?;
    }
    let minutes = views.last("1h").await?;
    let busy = minutes.iter().filter(|(_, count)| *count > 0).count();
    println!("{} minutes, {busy} of them with views", minutes.len());
    println!("{} views", views.total("1h").await?);
    let visitors = views.unique("1h").await?;
    println!("about {visitors} visitors");
    let mut table = Table::new(["page", "views"]);
    for (page, count) in views.top::<String>(3, "1h").await? {
        table.row([page, count.to_string()]);
    }
    print!("{table}");
    assert_eq!(minutes.len(), 60);
    assert_eq!(views.total("1h").await?, VIEWS);

    // HyperLogLogs by the day, counted together.
    let (monday, tuesday) = (cache.uniques("visitors:mon"), cache.uniques("visitors:tue"));
    monday.add_many(0..3_000).ttl("8d").await?;
    tuesday.add_many(2_000..4_000).ttl("8d").await?;
    let both = monday.len_of([&tuesday]).await?;
    println!("about {both} different visitors on two days (4,000, ± 0.81 %)");
    assert!((3_800..4_200).contains(&both));

    // Bitmaps: who exactly was here on each day.
    let days = ["mon", "tue", "wed"].map(|day| cache.bits(format!("seen:{day}")));
    for (at, day) in days.iter().enumerate() {
        let users = (0..1_000).filter(|user| user % (at as u64 + 2) == 0);
        day.set_many(users, true).ttl("8d").await?;
    }
    let [first, rest @ ..] = &days;
    let loyal = cache.bits("seen:all");
    first.and(rest).into(&loyal).ttl("1h").await?;
    println!(
        "{} of 1,000 users came on all three days",
        loyal.count(..).await?
    );
    assert_eq!(loyal.count(..).await?, 84); // those that 2, 3 and 4 divide
    assert!(loyal.get(12).await?);

    cache.clear().with_helpers().await?;
    support::closing("analytics", &url);
    Ok(())
}
