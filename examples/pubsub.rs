//! Messages: a topic for everybody who listens, and a stream whose consumers share the work and lose nothing.
//!
//! ```text
//! cargo run --example pubsub
//! cargo run --example pubsub -- redis://localhost
//! ```
//!
//! On Redis, restart the server between two messages: the listener goes on, and says that there is a gap.

#![allow(clippy::print_stdout)]

use nearcache::structures::Heard;
use nearcache::{Cache, Result};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Price {
    product: String,
    cents: u32,
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = support::url();
    let cache = Cache::builder(&url).prefix("nearcache-pubsub").build()?;
    cache.clear().await?;

    // A topic: heard now, or never.
    let prices = cache.topic::<Price>("prices.tea");
    let mut tea = prices.subscribe().await?;
    let mut all = cache.topics::<Price>("prices.*").subscribe().await?;
    let price = Price {
        product: "tea".into(),
        cents: 499,
    };
    println!("{} heard it", prices.publish(&price).await?);
    match tea.next().await.transpose()? {
        Some(Heard::Message(heard)) => {
            println!("{} costs {} cents", heard.product, heard.cents);
            assert_eq!(heard, price);
        }
        Some(Heard::Gap) => println!("something was missed: read the prices anew"),
        None => println!("the cache is closed"),
    }
    if let Some(Heard::Message(heard)) = all.next().await.transpose()? {
        println!("{:?} said the same", heard.topic);
    }

    // A stream: kept, and each entry is one consumer's.
    let orders = cache.stream::<String>("orders");
    for number in 1..=6 {
        orders
            .append(format!("order {number}"))
            .cap(10_000)
            .approx()
            .await?;
    }
    let billing = orders.group("billing");
    let (mut one, mut other) = (
        billing.consumer("w1").batch(1),
        billing.consumer("w2").batch(1),
    );
    for _ in 0..3 {
        for (name, worker) in [("w1", &mut one), ("w2", &mut other)] {
            let Some(delivery) = worker.next().await.transpose()? else {
                break;
            };
            if delivery.value()? == "order 3" && delivery.attempts() == 1 {
                println!("{name} fails with order 3, and gives it back");
                delivery.retry().await?;
                continue;
            }
            println!("{name} does {}", delivery.value()?);
            delivery.ack().await?;
        }
    }
    if let Some(delivery) = one.next().await.transpose()? {
        println!(
            "w1 does {}, in attempt {}",
            delivery.value()?,
            delivery.attempts()
        );
        assert_eq!(
            (delivery.value()?.as_str(), delivery.attempts()),
            ("order 3", 2)
        );
        delivery.ack().await?;
    }
    assert_eq!(billing.pending().await?.count, 0);

    cache.clear().await?;
    support::closing("pubsub", &url);
    Ok(())
}
