//! A store that is still there after a restart, and that a redis-server can start on.
//!
//! `cargo run -p nearcache-embedded --example persist -- /tmp/my-store`: run it twice.

use std::error::Error;

use nearcache_embedded::{Fsync, Store};
use redis::Commands;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1);
    let path = path.unwrap_or_else(|| "/tmp/nearcache-example".to_owned());
    let store = Store::builder()
        .persist(&path)
        // What is acknowledged is on the disk.
        .appendfsync(Fsync::Always)
        .on_load(|progress| {
            show(&format!(
                "loaded {} of {} bytes",
                progress.bytes, progress.total
            ))
        })
        .open()?;
    if let Some(cut) = store.loaded().and_then(|loaded| loaded.truncated.as_ref()) {
        show(&format!(
            "the last run was killed while it wrote: {} bytes were cut off {}",
            cut.bytes,
            cut.file.display()
        ));
    }
    let mut connection = store.connect();
    let visits: u64 = connection.incr("visits", 1)?;
    let () = connection.rpush("log", format!("visit {visits}"))?;
    let () = connection.set_ex("last", visits, 3600)?;
    show(&format!("visit {visits}; the keys are in {path}"));
    show(&format!(
        "a server starts on them: redis-server --dir {path} --appendonly yes"
    ));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn show(line: &str) {
    println!("{line}");
}
