//! Codecs: how values are written. They can be changed while there are entries.
//!
//! Writes one struct in each format and shows its size in Redis. A cache that writes one format reads all of them,
//! and also what other programs wrote.
//!
//! ```text
//! cargo run --example codecs
//! cargo run --example codecs -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use nearcache::{Cache, Codec, Raw, Result, Text};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: String,
    items: Vec<Item>,
    paid: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Item {
    article: String,
    pieces: u32,
    cents: u64,
}

fn order() -> Order {
    let item = |number: u32| Item {
        article: format!("article-{number}"),
        pieces: number,
        cents: 1_999,
    };
    Order {
        id: 4_711,
        customer: "Ada".to_owned(),
        items: (1..=5).map(item).collect(),
        paid: true,
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = support::url();
    let cache = Cache::builder(&url).prefix("nearcache-codecs").build()?;

    let codecs = [Codec::json(), Codec::message_pack(), Codec::postcard()];
    let mut table = support::Table::new(["format", "bytes in Redis", "÷ JSON"]);
    let mut json = 0;
    for codec in &codecs {
        // A handle of the cache for each codec. (The builder and the URL set the codec for all calls.)
        let cache = cache.with_codec(codec.clone());
        let before = cache.stats().bytes_out;
        cache
            .set(codec.format().as_str(), &order())
            .ttl("1h")
            .await?;
        let bytes = cache.stats().bytes_out - before;
        json = json.max(bytes);
        table.row([
            codec.format().to_string(),
            bytes.to_string(),
            format!("{:.2}", bytes as f64 / json as f64),
        ]);
    }
    print!("{table}");

    // A cache that writes JSON reads all of them.
    for codec in &codecs {
        let found: Option<Order> = cache.get(codec.format().as_str()).await?;
        assert_eq!(found, Some(order()));
    }
    println!("\nAll three read, by a cache that writes JSON.");

    // Text and bytes are stored unchanged, in any format.
    let cache = cache.with_codec(Codec::postcard());
    cache.set("page", &Text("<h1>Hello</h1>")).await?;
    cache.set("icon", &Raw(b"\x89PNG")).await?;
    assert_eq!(
        cache.get("page").await?,
        Some(Text("<h1>Hello</h1>".to_owned()))
    );

    // A value that another program wrote.
    cache.set("greeting", &Text("hello")).await?; // as `SET greeting hello` does
    assert_eq!(
        cache.get::<String>("greeting").await?.as_deref(),
        Some("hello")
    );
    println!("A plain `hello` of another program reads as a String.");

    cache.clear().await?;
    support::closing("codecs", &url);
    Ok(())
}
