//! A server that speaks TLS on a port of its own, and plain text on another, for the tests themselves.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::LazyLock;

use crate::{Authority, Identity, Port, Redis, Server};

/// A [`Redis`] with TLS. It wants a certificate of its clients, signed by its [`Authority`].
#[derive(Debug)]
pub struct SecureRedis {
    redis: Redis,
    authority: Authority,
    /// What its clients show.
    client: Identity,
}

impl SecureRedis {
    /// A server of your own, with a certificate for `localhost`, 127.0.0.1 and ::1.
    ///
    /// # Panics
    /// As [`Redis::start_with`].
    pub fn start() -> SecureRedis {
        SecureRedis::start_with(&[])
    }

    /// The same with more arguments, as in `["--tls-auth-clients", "no"]`.
    ///
    /// # Panics
    /// As [`Redis::start_with`].
    pub fn start_with(arguments: &[&str]) -> SecureRedis {
        let authority = Authority::new();
        let server = authority.issue(&["localhost", "127.0.0.1", "::1"]);
        let client = authority.issue(&["a-client"]);
        let certificates = SecureRedis::arguments(&authority, &server);
        let arguments: Vec<&str> = certificates
            .iter()
            .map(String::as_str)
            .chain(arguments.iter().copied())
            .collect();
        SecureRedis {
            redis: Redis::start_on(
                Server::Installed,
                Some((Port::unused(), authority.folder().to_owned())),
                &arguments,
            ),
            authority,
            client,
        }
    }

    fn arguments(authority: &Authority, server: &Identity) -> [String; 8] {
        let text = |path: &Path| path.display().to_string();
        [
            "--tls-ca-cert-file".to_owned(),
            text(&authority.ca()),
            "--tls-cert-file".to_owned(),
            text(&server.cert),
            "--tls-key-file".to_owned(),
            text(&server.key),
            "--tls-auth-clients".to_owned(),
            "yes".to_owned(),
        ]
    }

    /// One server for the whole test binary. It ends with the process.
    pub fn shared() -> &'static SecureRedis {
        static SHARED: LazyLock<SecureRedis> = LazyLock::new(SecureRedis::start);
        &SHARED
    }

    /// The port with TLS, on 127.0.0.1.
    ///
    /// # Panics
    /// Never: it has one.
    pub fn tls_port(&self) -> u16 {
        let (port, _) = self.redis.tls.as_ref().expect("a port with TLS");
        port.number()
    }

    /// `127.0.0.1:PORT`, of the port with TLS.
    pub fn tls_address(&self) -> String {
        format!("127.0.0.1:{}", self.tls_port())
    }

    /// `rediss://127.0.0.1:PORT?ca=...&cert=...&key=...`: as a client that the server accepts.
    pub fn tls_url(&self) -> String {
        self.tls_url_at(&self.tls_address())
    }

    /// The same by another way to the server, such as a proxy.
    pub fn tls_url_at(&self, address: &str) -> String {
        format!(
            "{}&cert={}&key={}",
            self.anonymous_url_at(address),
            self.client.cert.display(),
            self.client.key.display()
        )
    }

    /// `rediss://ADDRESS?ca=...`: as a client without a certificate.
    pub fn anonymous_url_at(&self, address: &str) -> String {
        format!("rediss://{address}?ca={}", self.authority.ca().display())
    }

    /// Who signs the certificates of the server and its clients.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What its clients show.
    pub fn client(&self) -> &Identity {
        &self.client
    }

    /// Gives the running server another certificate, for connections from now on.
    ///
    /// # Panics
    /// If it does not take it.
    pub fn show(&self, server: &Identity) {
        let said = self.redis.inline(&format!(
            "CONFIG SET tls-cert-file {} tls-key-file {}",
            server.cert.display(),
            server.key.display()
        ));
        assert!(said.starts_with("+OK"), "{said}");
    }
}

impl Deref for SecureRedis {
    type Target = Redis;

    fn deref(&self) -> &Redis {
        &self.redis
    }
}

impl DerefMut for SecureRedis {
    fn deref_mut(&mut self) -> &mut Redis {
        &mut self.redis
    }
}
