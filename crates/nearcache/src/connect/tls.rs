//! TLS: how a connection checks the server, and shows who it is. [`Tls`] are the settings, a part of the target.
//!
//! `material` reads the files and makes rustls's configuration of them, `handshake` secures a connection, async or
//! blocking, and `why` says what went wrong and what to do about it.
//!
//! 1. Files are read again at each connect. If what is in them cannot be used, because they are being renewed just then,
//!    the connection is made with what was read before.
//! 2. No private key appears in a message, a log or `Debug`.
//! 3. The server's certificate is checked against its name and against the roots, unless it was said in so many words
//!    that it is not; and that is logged as a warning for each cache.

#[cfg(feature = "tls")]
pub(super) mod handshake;
#[cfg(feature = "tls")]
mod material;
#[cfg(feature = "tls")]
mod why;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
#[cfg(feature = "tls")]
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// How a cache connects over TLS: which server certificates it trusts, and the certificate that it shows itself. For
/// [`Builder::tls`](crate::Builder::tls), with a `rediss://` or `valkeys://` URL.
///
/// What is set here goes before the same option of the URL. What neither sets is the default: the roots that the
/// system trusts, the host of the URL as the server's name, and no client certificate.
///
/// ```
/// # #[cfg(feature = "tls")]
/// # fn main() {
/// use nearcache::{Cache, Tls};
///
/// let tls = Tls::new()
///     .ca_file("/etc/myapp/redis-ca.pem")
///     .identity_files("/etc/myapp/client.pem", "/etc/myapp/client.key")
///     .server_name("redis.internal");
/// let opened = Cache::builder("rediss://10.0.0.7:6380?prefix=app").tls(tls).build();
/// // The files are read here, so that a mistake is found before the first call.
/// assert!(opened.unwrap_err().to_string().contains("/etc/myapp/redis-ca.pem"));
/// # }
/// # #[cfg(not(feature = "tls"))]
/// # fn main() {}
/// ```
///
/// Files are PEM. They are read when the cache is built, and again at each connect: renewed certificates need no
/// restart. If a file cannot be used at a connect, as in the middle of a renewal, what was read before is used again,
/// and a warning is logged. A PEM given as bytes stays as it is.
///
/// The versions are TLS 1.2 and 1.3, by [rustls](https://docs.rs/rustls), with the cryptography of `ring`, unless the
/// application has installed a `CryptoProvider` of rustls as its default. Caches with the same settings, the same server
/// and the same user share a connection. `Debug` shows no key.
#[derive(Clone, Default)]
#[cfg_attr(not(feature = "tls"), allow(unreachable_pub))]
pub struct Tls {
    /// The certificates that the server's must be signed by, in place of the system's roots.
    pub(crate) ca: Option<Pem>,
    /// The client's certificate, and its private key.
    pub(crate) cert: Option<Pem>,
    pub(crate) key: Option<Pem>,
    /// The name in the server's certificate, if it is not the host.
    pub(crate) server_name: Option<String>,
    /// Whether the server's certificate is checked. `None` is what checks it, too.
    pub(crate) verify: Option<bool>,
    /// The settings are those of a client of redis-rs, which has certificates that cannot be read from it.
    pub(crate) hidden: bool,
    /// What was made of these settings. It is shared by all clones.
    #[cfg(feature = "tls")]
    pub(crate) loaded: material::Loaded,
}

/// Where a PEM is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Pem {
    File(PathBuf),
    #[cfg(feature = "tls")]
    Bytes(Arc<[u8]>),
}

/// The names of the options, as in a URL and in a configuration.
pub(crate) const OPTIONS: [&str; 5] = ["ca", "cert", "key", "server_name", "tls_verify"];

#[cfg(feature = "tls")]
impl Tls {
    /// The defaults: the system's roots, and no client certificate.
    pub fn new() -> Self {
        Tls::default()
    }

    /// The file with the certificates (PEM) that the server's must be signed by, in place of the system's roots: your
    /// own CA, or the server's self-signed certificate. In a URL: `?ca=FILE`.
    pub fn ca_file(self, file: impl Into<PathBuf>) -> Self {
        self.changed(|tls| tls.ca = Some(Pem::File(file.into())))
    }

    /// The same from memory.
    pub fn ca_pem(self, pem: impl AsRef<[u8]>) -> Self {
        self.changed(|tls| tls.ca = Some(Pem::Bytes(pem.as_ref().into())))
    }

    /// The files (PEM) with the client's certificate, followed by the certificates between it and its CA if there are
    /// any, and with its private key, which must not be encrypted. In a URL: `?cert=FILE&key=FILE`. The key's type is
    /// RSA, ECDSA or Ed25519, in PKCS #8, PKCS #1 or SEC 1.
    pub fn identity_files(self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.changed(|tls| {
            tls.cert = Some(Pem::File(cert.into()));
            tls.key = Some(Pem::File(key.into()));
        })
    }

    /// The same from memory.
    pub fn identity_pem(self, cert: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.changed(|tls| {
            tls.cert = Some(Pem::Bytes(cert.as_ref().into()));
            tls.key = Some(Pem::Bytes(key.as_ref().into()));
        })
    }

    /// The name that the server's certificate must have, if it is not the host that is connected to: a DNS name or an
    /// IP address. It is also what is sent as SNI. In a URL: `?server_name=NAME`.
    pub fn server_name(self, name: impl Into<String>) -> Self {
        self.changed(|tls| tls.server_name = Some(name.into()))
    }

    /// Accepts **any** certificate of the server: expired, of any name, signed by anybody. The connection is encrypted,
    /// but whoever is on the way to the server can take its place, and read the password and every value. Each cache
    /// that is opened so logs a warning. In a URL: `?tls_verify=none`.
    ///
    /// For a server with a certificate of its own making, [`ca_file`](Tls::ca_file) with that certificate is as easy,
    /// and safe.
    pub fn dangerous_verify_none(self) -> Self {
        self.changed(|tls| tls.verify = Some(false))
    }

    fn changed(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        // What was loaded belongs to the settings before.
        self.loaded = material::Loaded::default();
        self
    }
}

impl Tls {
    /// These settings, and the others where these are not set.
    pub(crate) fn or(self, other: Tls) -> Tls {
        // A certificate and its key belong together.
        let (cert, key) = match (&self.cert, &self.key) {
            (None, None) => (other.cert, other.key),
            _ => (self.cert, self.key),
        };
        let own = self.ca.is_some() || cert.is_some();
        Tls {
            ca: self.ca.or(other.ca),
            cert,
            key,
            server_name: self.server_name.or(other.server_name),
            verify: self.verify.or(other.verify),
            // Given again, they need not be read from the client.
            hidden: other.hidden && !own,
            #[cfg(feature = "tls")]
            loaded: material::Loaded::default(),
        }
    }

    /// Whether nothing is set.
    #[cfg(feature = "config")]
    pub(crate) fn is_default(&self) -> bool {
        *self == Tls::default()
    }

    /// Whether any certificate is accepted.
    pub(crate) fn accepts_anyone(&self) -> bool {
        self.verify == Some(false)
    }

    /// Checks the settings, and what is in the files, before anything is connected to. `host`: what is connected to,
    /// if it is known by now.
    ///
    /// # Errors
    /// `InvalidConfig`: which option or file is wrong, and what to do; the feature is not built in.
    pub(crate) fn check(&self, host: Option<&str>) -> Result<()> {
        let invalid = |why: &str| Err(Error::new(ErrorKind::InvalidConfig, why.to_owned()));
        if self.hidden {
            return invalid(
                "the client has certificates of its own, which cannot be read from it; give them to the builder as \
                 well, with .tls(Tls::new().ca_file(..).identity_files(..))",
            );
        }
        match (&self.cert, &self.key) {
            (Some(_), None) => {
                return invalid(
                    "cert is set, but key is not; a client certificate needs its private key, as in \
                     ?cert=client.pem&key=client.key",
                );
            }
            (None, Some(_)) => {
                return invalid(
                    "key is set, but cert is not; a private key needs its certificate, as in \
                     ?cert=client.pem&key=client.key",
                );
            }
            _ => {}
        }
        #[cfg(feature = "tls")]
        {
            material::load(self)?;
            if let Some(name) = self.server_name.as_deref().or(host) {
                handshake::server_name(self, name)?;
            }
            Ok(())
        }
        #[cfg(not(feature = "tls"))]
        {
            let _ = host;
            Err(not_built_in())
        }
    }

    /// Warns of a cache that accepts any certificate.
    pub(crate) fn warn_if_unverified(&self, host: &str) {
        if self.accepts_anyone() {
            tracing::warn!(
                host,
                "TLS WITHOUT VERIFICATION: this cache accepts any certificate, so whoever is on the way to the server \
                 can read and change everything; remove tls_verify=none, and give the server's CA with ca=FILE"
            );
        }
    }

    /// What a connect was doing when its time ran out.
    pub(super) fn doing(&self) -> &'static str {
        #[cfg(feature = "tls")]
        if self.loaded.is_shaking_hands() {
            return "in the TLS handshake: the server takes connections, but does not answer; if it does not speak TLS \
                    on this port, write redis://";
        }
        "while connecting"
    }
}

/// What to say of a server that closed a connection in plain text before it said anything.
pub(super) fn perhaps_needed(error: Error) -> Error {
    if error.kind() != ErrorKind::Connect {
        return error;
    }
    let text = format!(
        "{}; the server closed the connection at once: if it speaks TLS on this port, write rediss://",
        error.detail()
    );
    Error::new(ErrorKind::Connect, text).caused_by(error)
}

#[cfg(not(feature = "tls"))]
pub(crate) fn not_built_in() -> Error {
    Error::new(
        ErrorKind::InvalidUrl,
        "TLS is not built in; enable the feature \"tls\" of nearcache",
    )
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Tls {}

impl Hash for Tls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

type Parts<'t> = (
    [&'t Option<Pem>; 3],
    &'t Option<String>,
    (Option<bool>, bool),
);

impl Tls {
    /// What makes two of them equal.
    fn parts(&self) -> Parts<'_> {
        let Tls {
            ca,
            cert,
            key,
            server_name,
            verify,
            hidden,
            #[cfg(feature = "tls")]
                loaded: _,
        } = self;
        ([ca, cert, key], server_name, (*verify, *hidden))
    }
}

/// The files' paths; of what was given from memory, that it is there.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("ca", &self.ca)
            .field("cert", &self.cert)
            .field("key", &self.key)
            .field("server_name", &self.server_name)
            .field("verify", &!self.accepts_anyone())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::File(path) => fmt::Debug::fmt(path, f),
            #[cfg(feature = "tls")]
            Pem::Bytes(_) => f.write_str("PEM bytes"),
        }
    }
}

#[cfg(all(test, feature = "tls"))]
mod tests;
