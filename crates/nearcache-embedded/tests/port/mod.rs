//! A port for one test, and clients that send it what no library would.

// Not every test program needs all of it.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nearcache_embedded::{Handle, Server, ServerBuilder, Store};

/// A server in a thread, for one test.
pub(crate) struct Port {
    pub(crate) store: Store,
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Port {
    pub(crate) fn open() -> Port {
        Port::with(|builder| builder)
    }

    pub(crate) fn with(set: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Port {
        let store = Store::new();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let builder = set(Server::builder(&store).bind("127.0.0.1:0"));
        let server = runtime.block_on(builder.start()).unwrap();
        let (address, handle) = (server.local_addr().unwrap(), server.handle());
        let thread = std::thread::spawn(move || runtime.block_on(server.serve()));
        Port {
            store,
            address,
            handle,
            thread: Some(thread),
        }
    }

    pub(crate) fn client(&self, parameters: &str) -> redis::Client {
        redis::Client::open(format!("redis://{}/{parameters}", self.address)).unwrap()
    }

    pub(crate) fn connect(&self) -> redis::Connection {
        self.client("").get_connection().unwrap()
    }

    pub(crate) fn raw(&self) -> Raw {
        let socket = TcpStream::connect(self.address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        Raw(socket)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.handle.shutdown();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }

    pub(crate) fn expect(&mut self, reply: &str) {
        let mut bytes = vec![0; reply.len()];
        self.0.read_exact(&mut bytes).unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes), reply);
    }

    pub(crate) fn ask(&mut self, request: &str, reply: &str) {
        self.send(format!("{request}\r\n"));
        self.expect(reply);
    }

    /// What comes until the other side closes.
    pub(crate) fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        // A reset is an end as well.
        let _ = self.0.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

pub(crate) fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
