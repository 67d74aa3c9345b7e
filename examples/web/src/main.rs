//! Serves on port 3000, with an embedded cache or the Redis whose URL is given, until Ctrl-C or SIGTERM.

#![allow(clippy::print_stdout, reason = "it says where it listens")]

use std::sync::Arc;

use tokio::net::TcpListener;
use web::{Service, cache, database::Database, serve};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "memory://".to_owned());
    let service = Service {
        cache: cache(&url).build()?, // connects to nothing yet, so the service starts without Redis, too
        database: Arc::new(Database::with_examples()),
    };
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}", listener.local_addr()?);
    serve(listener, service, told_to_end()).await?;
    Ok(())
}

/// Ctrl-C, or what Kubernetes and systemd send.
async fn told_to_end() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    let _ = interrupted.await;
}
