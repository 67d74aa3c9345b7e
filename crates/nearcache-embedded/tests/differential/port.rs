//! A store on a port: its replies go a way of their own, and are compared as well.

use std::path::PathBuf;
use std::thread::JoinHandle;

use nearcache_embedded::{Handle, Server, Store};

/// A server in a thread, on a unix socket.
pub(crate) struct Port {
    pub(crate) store: Store,
    path: PathBuf,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Port {
    pub(crate) fn open() -> Self {
        let store = Store::new();
        let name = format!("nearcache-differential-{}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let server = Server::builder(&store).unix(&path).start();
        let server = runtime.block_on(server).expect("a socket to listen on");
        let handle = server.handle();
        let thread = std::thread::spawn(move || runtime.block_on(server.serve()));
        Port {
            store,
            path,
            handle,
            thread: Some(thread),
        }
    }

    pub(crate) fn connect(&self) -> redis::Connection {
        let url = format!("redis+unix://{}", self.path.display());
        let client = redis::Client::open(url).expect("a client");
        client.get_connection().expect("a connection to the port")
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.handle.shutdown();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "the server panicked"
            );
        }
    }
}
