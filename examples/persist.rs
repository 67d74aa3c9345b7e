//! A cache that is kept in a folder: what was written is there when the program runs again.
//!
//! ```text
//! cargo run --example persist
//! cargo run --example persist -- /var/lib/app
//! ```
//!
//! The folder is in Redis's own form: once no program uses it, a server starts on it, with
//! `redis-server --dir FOLDER --appendonly yes`. Without an argument, the example makes a folder and removes it.

#![allow(clippy::print_stdout)]

use std::path::Path;

use nearcache::{Cache, Remaining, Result};

#[tokio::main]
async fn main() -> Result<()> {
    if let Some(folder) = std::env::args_os().nth(1) {
        run(Path::new(&folder)).await?;
        return Ok(());
    }
    let name = format!("nearcache-persist-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    let first = run(&folder).await?;
    let second = run(&folder).await?;
    assert_eq!((first, second), (1, 2));
    // Only to leave nothing behind.
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}

/// What a program does from its start to its end. Returns how often it has run.
async fn run(folder: &Path) -> Result<i64> {
    let cache = Cache::builder("memory://?prefix=example&appendfsync=always")
        .persist(folder)
        .build()?;
    let runs = cache.incr("runs").await?;
    println!("Run number {runs}, on {}", folder.display());
    if runs == 1 {
        cache.set("greeting", "hello").ttl("1h").await?;
    }
    if let Remaining::In(left) = cache.ttl("greeting").await? {
        let greeting: Option<String> = cache.get("greeting").await?;
        println!("  greeting: {greeting:?}, for {} s more", left.as_secs());
    }
    Ok(runs)
}
