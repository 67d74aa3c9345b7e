//! Caches that are described outside the code: a file with templates, overridden by the environment.
//!
//! ```text
//! cargo run --example config
//! cargo run --example config -- redis://localhost
//! NEARCACHE_CACHES__PAGES__DEFAULT_TTL=5s cargo run --example config
//! ```

#![allow(clippy::print_stdout)]

use nearcache::config::Config;
use nearcache::{Remaining, Result};

const FILE: &str = r#"
url = "{{CACHE_URL}}"
password = "{{CACHE_PASSWORD:}}"
timeout = "250ms"

[caches.sessions]
prefix = "nearcache-config-sessions"
default_ttl = "30m"

[caches.pages]
prefix = "nearcache-config-pages"
default_ttl = "{{PAGES_TTL:3600}}"
ttl_jitter = 0.1
on_unavailable = "miss"
"#;

#[tokio::main]
async fn main() -> Result<()> {
    let url = match support::url() {
        url if url == "memory://" => "memory://example".to_owned(),
        url => url,
    };
    // To read a file, use `Config::load(path)`; templates then use the process's variables.
    let file = Config::reader().vars([("CACHE_URL", &url)]).toml(FILE)?;
    let config = file.overridden_by(Config::from_env()?);

    println!(
        "The caches {}:\n",
        config.names().collect::<Vec<_>>().join(" and ")
    );
    for name in config.names() {
        println!("# {name}\n{}", config.effective(name)?);
    }

    let (sessions, pages) = (config.cache("sessions")?, config.cache("pages")?);
    sessions.set("alice", "logged in").await?;
    pages.set("home", "<h1>Hello</h1>").await?;
    assert_eq!(pages.get::<String>("alice").await?, None);
    for (name, cache, key) in [("sessions", &sessions, "alice"), ("pages", &pages, "home")] {
        let left = cache.ttl(key).await?;
        assert!(matches!(left, Remaining::In(_)));
        println!("{name}: {key} has {left:?} left");
        cache.clear().await?;
    }

    // Errors name the place and say what to write. They never quote a value.
    println!("\nErrors:");
    for wrong in [
        "[caches.pages]\ndefualt_ttl = \"5m\"",
        "url = \"redis://{{REDIS_HOST_OF_NOBODY}}\"",
        "db = \"hunter2\"",
    ] {
        let error = Config::from_toml(wrong).unwrap_err().to_string();
        assert!(!error.contains("hunter2"));
        println!("  {error}");
    }
    support::closing("config", &url);
    Ok(())
}
