//! The embedded store on a port, for caches in other processes.

use crate::embedded::{Server, ServerBuilder, Store};
use crate::read_through::scripts;

/// A server for a store of this process, which knows nearcache's own scripts: so caches of other processes can use it
/// as a Redis, at `redis://HOST:PORT`. (The store has no Lua; it runs the scripts that it knows by their Rust twins.)
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use nearcache::Cache;
/// use nearcache::embedded::Store;
///
/// let store = Store::new();
/// let server = nearcache::serve(&store).bind("127.0.0.1:0").start().await?;
/// let address = server.local_addr().expect("it listens on TCP");
/// tokio::spawn(server.serve());
///
/// // In another process:
/// let cache = Cache::connect(&format!("redis://{address}?prefix=app")).await?;
/// let price: u32 = cache.remember("price", async || Ok::<_, std::io::Error>(42)).await?;
/// assert_eq!(price, 42);
/// # Ok(())
/// # }
/// ```
///
/// It listens on loopback unless told otherwise; any other address needs a password. The guide
/// [`docs/embedded.md`](https://github.com/nearcache/nearcache/blob/main/docs/embedded.md) has the details.
pub fn serve(store: &Store) -> ServerBuilder {
    for script in scripts() {
        store.register(script.embedded);
    }
    for script in crate::structures::SCRIPTS
        .iter()
        .chain(crate::patterns::SCRIPTS)
    {
        store.register(script.embedded);
    }
    #[cfg(feature = "component")]
    for script in crate::compat::component::scripts() {
        store.register(script.embedded);
    }
    Server::builder(store)
}
