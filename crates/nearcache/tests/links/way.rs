//! A name that leads to one server first and to another later, for connections that are made then.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

pub(crate) struct Way {
    address: SocketAddr,
    to: Arc<AtomicU16>,
    #[cfg_attr(not(feature = "tls"), allow(dead_code))]
    stalled: Arc<AtomicBool>,
}

impl Way {
    /// To a port of 127.0.0.1.
    pub(crate) fn to(port: u16) -> Way {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let to = Arc::new(AtomicU16::new(port));
        let leads = Arc::clone(&to);
        let stalled = Arc::<AtomicBool>::default();
        let stalls = Arc::clone(&stalled);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let port = leads.load(Ordering::Acquire);
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
                    continue;
                };
                let (from, into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let never = Arc::<AtomicBool>::default();
                let stalls = Arc::clone(&stalls);
                thread::spawn(move || carry(from, into, &never));
                thread::spawn(move || carry(server, client, &stalls));
            }
        });
        Way {
            address,
            to,
            stalled,
        }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Whether nothing comes back from the server any more, on connections old and new.
    #[cfg(feature = "tls")]
    pub(crate) fn stall(&self, on: bool) {
        self.stalled.store(on, Ordering::Release);
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// From now on. Connections that exist stay where they are.
    pub(crate) fn lead_to(&self, port: u16) {
        self.to.store(port, Ordering::Release);
    }
}

fn carry(mut from: TcpStream, mut into: TcpStream, stalled: &AtomicBool) {
    let mut bytes = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        while stalled.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(1));
        }
        if into.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = into.shutdown(Shutdown::Both);
}
