//! Ports of 127.0.0.1 that stay reserved.
//!
//! If a test only looked up a free port, another test's server might take it a moment later. It would then answer
//! where nobody should, or be in the way of a server that restarts.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// A port that stays reserved for its holder, whether somebody listens on it or not.
///
/// It is bound, but does not listen, so connecting to it is refused until a listener is bound next to it that allows
/// the reuse of its address (those of std and of `redis-server` do).
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    reservation: Option<Socket>,
}

impl Port {
    /// A port on which nobody listens.
    ///
    /// # Panics
    /// If there is none.
    pub fn unused() -> Port {
        Port::free((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port")
    }

    /// This port, which nobody else has, not even somebody who does not listen there yet.
    pub(crate) fn free(address: SocketAddr) -> io::Result<Port> {
        let port = Port::bound(address, false)?;
        // Only now others may bind to it.
        if let Some(reservation) = &port.reservation {
            reservation.set_reuse_address(true)?;
        }
        Ok(port)
    }

    /// This port, which may be somebody's who does not listen there.
    pub(crate) fn at(address: SocketAddr) -> io::Result<Port> {
        Port::bound(address, true)
    }

    fn bound(address: SocketAddr, is_shared: bool) -> io::Result<Port> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(is_shared)?;
        socket.bind(&address.into())?;
        Ok(Port {
            address: socket.local_addr()?.as_socket().unwrap_or(address),
            reservation: Some(socket),
        })
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Called before somebody listens there. Not every system allows a listener next to a bound socket; where it does
    /// not, the port is reserved only until now.
    pub(crate) fn make_way(&mut self) {
        if !cfg!(target_os = "linux") {
            self.reservation = None;
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn nobody_answers_there_until_its_holder_listens_and_nobody_else_is_given_it() {
        let port = Port::unused();
        let refused = TcpStream::connect(port.address()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let mut others = Vec::new();
        for _ in 0..500 {
            let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            assert_ne!(other.local_addr().unwrap(), port.address());
            others.push(other);
        }
        drop(others);
        let listener = TcpListener::bind(port.address()).unwrap();
        TcpStream::connect(port.address()).unwrap();
        // Another test's process may hold a copy of it for a moment, so it has to end, not only to be dropped.
        socket2::SockRef::from(&listener)
            .shutdown(std::net::Shutdown::Both)
            .unwrap();
        drop(listener);
        assert!(TcpStream::connect(port.address()).is_err());
        TcpListener::bind(port.address()).unwrap();
    }

    #[test]
    fn a_port_that_must_be_free_is_not_one_that_somebody_keeps() {
        let port = Port::unused();
        assert_eq!(
            Port::free(port.address()).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        Port::at(port.address()).unwrap();
    }
}
