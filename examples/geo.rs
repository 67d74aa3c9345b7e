//! What is near: shops by their distance, deliveries in a box, and a search whose findings are kept.
//!
//! ```text
//! cargo run --example geo
//! cargo run --example geo -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use nearcache::structures::{Distance, Km, Mi, Point};
use nearcache::{Cache, Result};
use serde::{Deserialize, Serialize};

/// Members are stored bare: `ZRANGE nearcache-geo:shops 0 -1` shows `1`, `2`, …
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ShopId(u32);

#[tokio::main]
async fn main() -> Result<()> {
    let url = support::url();
    let cache = Cache::builder(&url).prefix("nearcache-geo").build()?;
    cache.clear().await?;

    // The longitude comes first, as in Redis.
    let shops = cache.geo::<ShopId>("shops");
    let all = [
        (ShopId(1), Point::new(13.3777, 52.5163)), // Brandenburg Gate
        (ShopId(2), Point::new(13.4094, 52.5208)), // Alexanderplatz
        (ShopId(3), Point::new(13.4396, 52.5050)), // East Side Gallery
        (ShopId(4), Point::new(13.2956, 52.5200)), // Charlottenburg Palace
        (ShopId(5), Point::new(9.9937, 53.5511)),  // Hamburg
    ];
    assert_eq!(shops.add_many(all).ttl("1h").await?, 5);

    let here = Point::new(13.4050, 52.5200);
    println!("within 5 km, the nearest first:");
    let near = shops.within(here, Km(5.0)).nearest(10).await?;
    for found in &near {
        println!(
            "  shop {}: {:>6.0} m",
            found.member.0,
            found.distance.in_m()
        );
    }
    assert_eq!(near[0].member, ShopId(2));
    assert_eq!(near.len(), 3);

    let far = shops.within(here, Mi(300.0)).farthest(1).await?;
    println!(
        "the farthest: shop {}, {:.0} mi",
        far[0].member.0,
        far[0].distance.in_mi()
    );
    assert_eq!(far[0].member, ShopId(5));

    let wide = shops.within_box(here, Km(20.0), Km(2.0)).await?;
    println!("in a box of 20 km by 2 km: {} shops", wide.len());
    assert_eq!(wide.len(), 3);

    let apart: Option<Distance> = shops.distance(ShopId(1), ShopId(5)).await?;
    println!(
        "from the gate to Hamburg: {:.1} km",
        apart.map_or(0.0, Distance::in_km)
    );
    let hash = shops.hash(ShopId(2)).await?;
    println!("the geohash of shop 2: {}", hash.as_deref().unwrap_or("-"));

    // What was found is an index of its own, and a member is a center, too.
    let city = cache.geo::<ShopId>("shops:city");
    let kept = shops
        .within_of(ShopId(2), Km(10.0))
        .into(&city)
        .ttl("5m")
        .await?;
    assert_eq!((kept, city.len().await?), (4, 4));

    cache.clear().await?;
    support::closing("geo", &url);
    Ok(())
}
