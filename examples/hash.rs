//! A hash: the fields of a user, one by one, and as a struct.
//!
//! ```text
//! cargo run --example hash
//! cargo run --example hash -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use nearcache::{Cache, Result};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
    age: u8,
    email: Option<String>,
    #[serde(default)]
    visits: u64,
    roles: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cache = Cache::builder(&support::url())
        .prefix("nearcache-hash")
        .build()?;
    cache.clear().await?;

    // Field by field, as redis-cli and other programs do it.
    let user = cache.hash("user:123");
    user.set("name", "John").await?;
    user.set_many([("age", 30)]).await?;
    let name: Option<String> = user.get("name").await?;
    println!("name          {}", name.as_deref().unwrap_or("-"));
    assert_eq!(name.as_deref(), Some("John"));

    // The whole hash as a struct: a field each. What is `None` is not there.
    let john = User {
        name: "John".into(),
        age: 30,
        email: None,
        visits: 0,
        roles: vec!["admin".into(), "author".into()],
    };
    user.store(&john).ttl("1h").await?;
    let mut fields: Vec<(String, String)> = user.all().await?.into_iter().collect();
    fields.sort();
    for (field, value) in &fields {
        println!("in Redis      {field} = {value}");
    }
    assert_eq!(fields.len(), 4);

    // One field changes, and nobody else's change is lost.
    let visits = user.incr("visits").by(3).await?;
    user.set("email", "john@example.com").await?;
    let read: User = user.load().await?.expect("it was stored");
    println!("loaded        {read:?}");
    assert_eq!((visits, read.visits), (3, 3));
    assert_eq!(read.email.as_deref(), Some("john@example.com"));

    // What does not fit says which field it is.
    user.set("age", "thirty").await?;
    let error = user.load::<User>().await.unwrap_err();
    println!("an error      {error}");
    assert!(error.to_string().contains("age"));

    // A large hash is read page by page.
    let stock = cache.hash("stock");
    let items = (0..5_000_u32).map(|item| (format!("item:{item}"), item % 7));
    stock.set_many(items).await?;
    let (mut none_left, mut scan) = (0, stock.scan::<String, u32>().page_size(500));
    while let Some(item) = scan.next().await {
        none_left += u32::from(item?.1 == 0);
    }
    println!("out of stock  {none_left} of {}", stock.len().await?);
    assert_eq!(none_left, 715);

    cache.clear().await?;
    Ok(())
}
