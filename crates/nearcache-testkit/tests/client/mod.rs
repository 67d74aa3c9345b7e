//! A client that speaks the protocol byte by byte, and sees how its connection ends.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nearcache_testkit::Proxy;

/// A connection that speaks the protocol by hand.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) fn of(proxy: &Proxy) -> Client {
        let stream = TcpStream::connect(proxy.address()).expect("the proxy listens");
        // So that a test that would hang fails.
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        Client(stream)
    }

    pub(crate) fn send(&mut self, text: impl AsRef<[u8]>) {
        self.0.write_all(text.as_ref()).expect("can be sent");
    }

    /// Reads as many bytes as are expected, and they are these.
    #[track_caller]
    pub(crate) fn gets(&mut self, text: &str) {
        let mut bytes = vec![0; text.len()];
        self.0.read_exact(&mut bytes).expect("an answer");
        assert_eq!(String::from_utf8_lossy(&bytes), text);
    }

    #[track_caller]
    pub(crate) fn asks(&mut self, text: &str, answer: &str) {
        self.send(text);
        self.gets(answer);
    }

    /// What comes until the end.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, Option<ErrorKind>) {
        let mut bytes = Vec::new();
        let error = self.0.read_to_end(&mut bytes).err();
        (bytes, error.map(|error| error.kind()))
    }

    #[track_caller]
    pub(crate) fn is_at_its_end(&mut self) {
        assert_eq!(self.rest(), (Vec::new(), None));
    }

    #[track_caller]
    pub(crate) fn is_reset(&mut self) {
        assert_eq!(self.rest(), (Vec::new(), Some(ErrorKind::ConnectionReset)));
    }

    /// Nothing has come yet.
    #[track_caller]
    pub(crate) fn has_nothing(&mut self) {
        self.0.set_nonblocking(true).expect("an option");
        let nothing = self.0.read(&mut [0; 100]);
        self.0.set_nonblocking(false).expect("an option");
        let error = nothing.map(drop).expect_err("nothing has come");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }

    /// What has come, at least something.
    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 10_000];
        let length = self.0.read(&mut bytes).expect("an answer");
        bytes.truncate(length);
        bytes
    }
}
