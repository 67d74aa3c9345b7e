//! Sessions: a login, a cart that two requests fill at once, a new id, and a logout everywhere.
//!
//! ```text
//! cargo run --example sessions
//! cargo run --example sessions -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use nearcache::patterns::SessionId;
use nearcache::{Cache, Result};
use serde::{Deserialize, Serialize};

/// What the service knows of a visitor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Visitor {
    name: Option<String>,
    cart: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cache = Cache::builder(&support::url())
        .prefix("nearcache-sessions")
        .build()?;
    let sessions = cache
        .sessions::<Visitor>()
        .idle("30m") // since the last request
        .absolute("12h"); // since the first one

    // The first request of a browser: it gets a cookie.
    let id = sessions.create(&Visitor::default()).await?;
    println!("Set-Cookie: id={id}; HttpOnly; Secure; SameSite=Lax");
    println!("in a log it is {id:?}");

    // What comes back in a cookie may be anything.
    let cookie = id.to_string();
    let id: SessionId = cookie.parse()?;
    assert!("' OR 1=1 --".parse::<SessionId>().is_err());

    // Two requests at once, each with an item. The function may run again, on what the other has left.
    let add = |item: &'static str| {
        let (sessions, id) = (sessions.clone(), id.clone());
        tokio::spawn(async move {
            sessions
                .update(&id, move |visitor| visitor.cart.push(item.to_owned()))
                .await
        })
    };
    let (tea, milk) = (add("tea"), add("milk"));
    for added in [tea, milk] {
        assert!(added.await.is_ok_and(|done| matches!(done, Ok(Some(())))));
    }
    let visitor = sessions.load(&id).await?.unwrap_or_default();
    assert_eq!(visitor.cart.len(), 2);
    println!("in the cart: {:?}", visitor.cart);

    // The visitor logs in. The cart stays; the id changes, so that whoever planted the old one has nothing.
    sessions
        .update(&id, |visitor| visitor.name = Some("alice".to_owned()))
        .await?;
    let Some(alice) = sessions.renew_id(&id).user("alice").await? else {
        println!("the session has ended meanwhile: log in again");
        return Ok(());
    };
    assert_eq!(sessions.load(&id).await?, None);
    println!("the old id is refused");

    // She is logged in at another place as well, and changes her password.
    let phone = sessions.create(&Visitor::default()).user("alice").await?;
    sessions.end_all_of("alice").await?;
    assert_eq!(sessions.load(&alice).await?, None);
    assert_eq!(sessions.load(&phone).await?, None);
    println!("logged out everywhere");
    Ok(())
}
