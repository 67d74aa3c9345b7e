//! A name that leads to one server first and to another later, for connections that are made then.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

pub(crate) struct Way {
    address: SocketAddr,
    to: Arc<AtomicU16>,
}

impl Way {
    /// To a port of 127.0.0.1.
    pub(crate) fn to(port: u16) -> Way {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let to = Arc::new(AtomicU16::new(port));
        let leads = Arc::clone(&to);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let port = leads.load(Ordering::Acquire);
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
                    continue;
                };
                let (from, into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || carry(from, into));
                thread::spawn(move || carry(server, client));
            }
        });
        Way { address, to }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// From now on. Connections that exist stay where they are.
    pub(crate) fn lead_to(&self, port: u16) {
        self.to.store(port, Ordering::Release);
    }
}

fn carry(mut from: TcpStream, mut into: TcpStream) {
    let _ = io::copy(&mut from, &mut into);
    let _ = into.shutdown(Shutdown::Both);
}
