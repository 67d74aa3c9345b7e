//! A store on a port, which `redis-cli`, `redis-benchmark` and clients of any language take for a Redis server:
//!
//! ```sh
//! cargo run -p nearcache-embedded --features serve --example serve -- --port 6379
//! redis-cli -p 6379 SET greeting hello
//! ```

use nearcache_embedded::{Server, Store};

const USAGE: &str = "\
serve [--port PORT] [--bind ADDRESS] [--unix PATH] [--password PASSWORD]

Listens on 127.0.0.1, port 6379, unless told otherwise. Port 0 chooses a free one.";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut port, mut address, mut paths, mut password) =
        (6379u16, "127.0.0.1".to_owned(), Vec::new(), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE);
        match argument.as_str() {
            "--port" => port = value()?.parse()?,
            "--bind" => address = value()?,
            "--unix" => paths.push(value()?),
            "--password" => password = Some(value()?),
            _ => return Err(USAGE.into()),
        }
    }
    let store = Store::new();
    let mut server = Server::builder(&store).bind(format!("{address}:{port}"));
    for path in paths {
        server = server.unix(path);
    }
    if let Some(password) = password {
        server = server.password(password);
    }
    let server = server.start().await?;
    if let Some(address) = server.local_addr() {
        println!("listening on {address}");
    }
    server.serve().await;
    Ok(())
}
