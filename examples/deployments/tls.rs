//! TLS: a cache on a `rediss://` URL, and what a mistake in its options looks like.
//!
//! Without a server it shows the mistakes that are found before anything connects.
//!
//! ```text
//! cargo run --example tls
//! cargo run --example tls -- 'rediss://localhost:6380?ca=ca.pem'
//! ```

#![allow(clippy::print_stdout)]

use std::time::Duration;

use nearcache::{Cache, ErrorKind, Tls};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    mistakes();
    let url = support::url();
    if !url.starts_with("rediss://") && !url.starts_with("valkeys://") {
        println!(
            "\nWith a server, as in rediss://localhost:6380?ca=ca.pem, this would connect to it over TLS,"
        );
        println!(
            "store a value, and connect again with the certificates that are in the files by then."
        );
        return Ok(());
    }
    // Far servers need more time to connect, and a handshake is a part of that.
    let cache = Cache::builder(&url)
        .prefix("nearcache-example-tls")
        .connect_timeout(Duration::from_secs(2))
        .build()?;
    cache.ping().await?;
    cache.set("greeting", "hello").ttl("1m").await?;
    let greeting: Option<String> = cache.get("greeting").await?;
    assert_eq!(greeting.as_deref(), Some("hello"));
    println!("\nOver TLS: {greeting:?} from {}", cache.server().await?);

    // A connection of its own reads the files again: renewed certificates need no restart.
    let mut connection = cache.connection().await?;
    let reply: String = nearcache::redis::cmd("PING")
        .query_async(&mut connection)
        .await?;
    assert_eq!(reply, "PONG");
    cache.clear().await?;
    Ok(())
}

/// Each is an error of `build`, and says what to do.
fn mistakes() {
    let no_file = Cache::builder("rediss://localhost:6380")
        .tls(Tls::new().ca_file("/no/such/ca.pem"))
        .build();
    let not_pem = Cache::builder("rediss://localhost:6380")
        .tls(Tls::new().ca_pem("a secret of another kind"))
        .build();
    let half = Cache::open("rediss://localhost:6380?cert=client.pem");
    let without_tls = Cache::open("redis://localhost:6379?ca=ca.pem");
    for (opened, kind) in [
        (no_file, ErrorKind::InvalidConfig),
        (not_pem, ErrorKind::InvalidConfig),
        (half, ErrorKind::InvalidConfig),
        (without_tls, ErrorKind::InvalidUrl),
    ] {
        let error = opened.expect_err("it is a mistake");
        assert_eq!(error.kind(), kind);
        println!("- {error}");
    }
}
