//! A store on a port, which `redis-cli`, `redis-benchmark` and clients of any language take for a Redis server:
//!
//! ```sh
//! cargo run -p nearcache-embedded --features serve --example serve -- --port 6379
//! redis-cli -p 6379 SET greeting hello
//! ```

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use nearcache_embedded::{Fsync, Server, Store};

const USAGE: &str = "\
serve [--port PORT] [--bind ADDRESS] [--unix PATH] [--password PASSWORD] [--threads THREADS]
      [--dir DIR [--appendfsync always|everysec|no]]

Listens on 127.0.0.1, port 6379, unless told otherwise; port 0 chooses a free one. With --dir, the data lies in that
folder, and is there again after a restart. Serves with one thread unless told otherwise: that does the least work for
each command, and is enough for about as many as a redis-server takes.";

struct Options {
    port: u16,
    address: String,
    paths: Vec<PathBuf>,
    password: Option<String>,
    threads: usize,
    folder: Option<PathBuf>,
    fsync: Fsync,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = read(std::env::args().skip(1))?;
    let mut runtime = if options.threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    if options.threads > 1 {
        runtime.worker_threads(options.threads);
    }
    runtime.enable_all().build()?.block_on(serve(options))
}

async fn serve(options: Options) -> Result<(), Box<dyn Error>> {
    let store = match &options.folder {
        Some(folder) => Store::builder()
            .persist(folder)
            .appendfsync(options.fsync)
            .open()?,
        None => Store::new(),
    };
    let mut server = Server::builder(&store).bind(format!("{}:{}", options.address, options.port));
    for path in options.paths {
        server = server.unix(path);
    }
    if let Some(password) = options.password {
        server = server.password(password);
    }
    let server = server.start().await?;
    if let Some(address) = server.local_addr() {
        // Whoever started this may want to know the port, and may not read any more.
        let _ = writeln!(std::io::stdout(), "listening on {address}");
    }
    server.serve().await;
    Ok(())
}

fn read(mut arguments: impl Iterator<Item = String>) -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        port: 6379,
        address: "127.0.0.1".to_owned(),
        paths: Vec::new(),
        password: None,
        threads: 1,
        folder: None,
        fsync: Fsync::EverySec,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE);
        match argument.as_str() {
            "--port" => options.port = value()?.parse()?,
            "--bind" => options.address = value()?,
            "--unix" => options.paths.push(value()?.into()),
            "--password" => options.password = Some(value()?),
            "--threads" => options.threads = value()?.parse::<usize>()?.max(1),
            "--dir" => options.folder = Some(value()?.into()),
            "--appendfsync" => options.fsync = value()?.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}
