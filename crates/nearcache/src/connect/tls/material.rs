//! What the settings of TLS are made of: reads the files, and makes rustls's configuration of them.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

use super::{Pem, Tls};
use crate::error::{Error, ErrorKind, Result};

/// The largest file that is read. The roots of a whole system are less than 1 MB.
const LARGEST: u64 = 16 << 20;

/// How long the system's roots are used before they are read again.
const ROOTS_FOR: Duration = Duration::from_secs(600);

/// What was made of the settings the last time. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Loaded(Arc<Shared>);

#[derive(Default)]
struct Shared {
    current: Mutex<Option<Current>>,
    /// Whether the newest connect is in its handshake.
    shaking_hands: AtomicBool,
}

struct Current {
    /// Of the files.
    digest: [u8; 32],
    read: Instant,
    made: Made,
    /// The failure that was logged last.
    said: Option<String>,
}

/// What connections are made with.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) config: Arc<ClientConfig>,
    /// Whether the server asked for a certificate that there is not.
    asked: Option<Arc<Nobody>>,
}

impl Made {
    pub(super) fn was_asked_in_vain(&self) -> bool {
        let nobody = self.asked.as_ref();
        nobody.is_some_and(|nobody| nobody.asked.load(Ordering::Relaxed))
    }
}

impl Loaded {
    pub(super) fn is_shaking_hands(&self) -> bool {
        self.0.shaking_hands.load(Ordering::Relaxed)
    }

    fn shake_hands(&self, now: bool) {
        self.0.shaking_hands.store(now, Ordering::Relaxed);
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loaded")
    }
}

impl Tls {
    /// Notes that a handshake has begun, or has ended.
    pub(super) fn shaking_hands(&self, now: bool) {
        self.loaded.shake_hands(now);
    }
}

/// The bytes of the PEMs.
struct Material {
    ca: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Material {
    fn read(tls: &Tls) -> Result<Self> {
        let ca = tls.ca.as_ref().map(|pem| bytes("ca", pem)).transpose()?;
        let identity = match (&tls.cert, &tls.key) {
            (Some(cert), Some(key)) => Some((bytes("cert", cert)?, bytes("key", key)?)),
            _ => None,
        };
        Ok(Material { ca, identity })
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let identity = self.identity.as_ref();
        let (cert, key) = identity.map(|(cert, key)| (cert, key)).unzip();
        for part in [self.ca.as_ref(), cert, key] {
            let part = part.map_or(&[][..], Vec::as_slice);
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }
}

/// rustls's configuration for these settings: what was made before, if the files have not changed since.
///
/// # Errors
/// `InvalidConfig`, if nothing was made before: which option is wrong, in which file, and what to do.
pub(super) fn load(tls: &Tls) -> Result<Made> {
    let shared = &tls.loaded.0;
    // Nothing is locked while files are read and keys are parsed.
    let material = Material::read(tls);
    let digest = material.as_ref().ok().map(Material::digest);
    {
        let current = shared.current.lock();
        if let Some(current) = &*current
            && digest == Some(current.digest)
            && (tls.ca.is_some() || current.read.elapsed() < ROOTS_FOR)
        {
            return Ok(current.made.clone());
        }
    }
    let made = material.and_then(|material| make(tls, &material));
    let mut current = shared.current.lock();
    match (made, &mut *current) {
        (Ok(made), current) => {
            *current = digest.map(|digest| Current {
                digest,
                read: Instant::now(),
                made: made.clone(),
                said: None,
            });
            Ok(made)
        }
        (Err(error), Some(current)) => {
            let text = error.to_string();
            if current.said.as_ref() != Some(&text) {
                tracing::warn!(
                    %error,
                    "the certificates cannot be read again; connecting with those that were read before"
                );
                current.said = Some(text);
            }
            Ok(current.made.clone())
        }
        (Err(error), None) => Err(error),
    }
}

fn make(tls: &Tls, material: &Material) -> Result<Made> {
    // The application's, if it has chosen one.
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            invalid(format!(
                "the CryptoProvider of rustls cannot be used: {error}"
            ))
        })?;
    let config = if tls.accepts_anyone() {
        config
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(Arc::clone(&provider))))
    } else {
        let roots = match &material.ca {
            Some(pem) => roots_of(pem, &place("ca", tls.ca.as_ref()))?,
            None => system_roots()?,
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| invalid(format!("the roots cannot be used: {error}")))?;
        config.with_webpki_verifier(verifier)
    };
    let Some((cert, key)) = &material.identity else {
        let nobody = Arc::new(Nobody::default());
        let asked = Some(Arc::clone(&nobody));
        let config = Arc::new(config.with_client_cert_resolver(nobody));
        return Ok(Made { config, asked });
    };
    let (cert_place, key_place) = (
        place("cert", tls.cert.as_ref()),
        place("key", tls.key.as_ref()),
    );
    let certs = certificates(cert, &cert_place)?;
    let key = private_key(key, &key_place)?;
    let config = config.with_client_auth_cert(certs, key).map_err(|error| {
        invalid(match error {
            rustls::Error::InconsistentKeys(_) => {
                format!("{key_place} is not the key of the certificate in {cert_place}; give the key that it was made with")
            }
            // rustls says what kind of key it cannot use. It quotes no key.
            error => format!("{key_place} cannot be used: {error}"),
        })
    })?;
    Ok(Made {
        config: Arc::new(config),
        asked: None,
    })
}

/// An option and its file, as messages name them.
fn place(option: &str, pem: Option<&Pem>) -> String {
    match pem {
        Some(Pem::File(path)) => format!("{option} {}", path.display()),
        _ => format!("{option}, given from memory,"),
    }
}

fn invalid(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidConfig, why.into())
}

fn bytes(option: &str, pem: &Pem) -> Result<Vec<u8>> {
    match pem {
        Pem::Bytes(bytes) => Ok(bytes.to_vec()),
        Pem::File(path) => {
            read(path).map_err(|why| invalid(format!("{option} {}: {why}", path.display())))
        }
    }
}

/// Reads a file, but nothing that might never end.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("the file cannot be read: {error}");
    let kind = fs::metadata(path).map_err(cannot)?;
    if !kind.is_file() {
        return Err("this is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("the file is larger than {} MiB", LARGEST >> 20));
    }
    Ok(bytes)
}

/// What is in a PEM, without what is in it.
fn contents(pem: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(pem);
    if text.trim().is_empty() {
        "it is empty"
    } else if !text.contains("-----BEGIN ") {
        "it is not PEM, which begins with -----BEGIN; openssl x509 -inform der, or openssl pkey, converts"
    } else if text.contains("ENCRYPTED") {
        "its key is encrypted; write it without a passphrase, with openssl pkey -in KEY -out PLAIN"
    } else if text.contains("PRIVATE KEY-----") {
        "it has a private key only"
    } else if text.contains("CERTIFICATE-----") {
        "it has certificates only"
    } else {
        "it has neither"
    }
}

fn certificates(pem: &[u8], place: &str) -> Result<Vec<CertificateDer<'static>>> {
    let certs: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    let certs =
        certs.map_err(|error| invalid(format!("{place}: damaged PEM: {}", damage(&error))))?;
    if certs.is_empty() {
        return Err(invalid(format!(
            "{place} has no certificate: {}",
            contents(pem)
        )));
    }
    Ok(certs)
}

fn private_key(pem: &[u8], place: &str) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        invalid(match error {
            pem::Error::NoItemsFound => format!("{place} has no private key: {}", contents(pem)),
            error => format!("{place}: damaged PEM: {}", damage(&error)),
        })
    })
}

/// What is wrong in a PEM. Its lines are not quoted: they may be of a key.
fn damage(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "an -----END line is missing",
        pem::Error::IllegalSectionStart { .. } => "a -----BEGIN line is not complete",
        pem::Error::Base64Decode(_) => "a line is not Base64",
        _ => "it cannot be read",
    }
}

fn roots_of(pem: &[u8], place: &str) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for (index, cert) in certificates(pem, place)?.into_iter().enumerate() {
        roots.add(cert).map_err(|error| {
            invalid(format!(
                "{place}: certificate {} cannot be used: {error}",
                index + 1
            ))
        })?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system may have roots that rustls does not read. They are left out.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first();
        let why = why.map_or_else(String::new, |error| format!(" ({error})"));
        return Err(invalid(format!(
            "this system has no root certificates{why}; install them (Debian, Ubuntu, Alpine: the package \
             ca-certificates), or give the server's CA with ca=FILE"
        )));
    }
    Ok(roots)
}

/// There is no client certificate, and the server may ask for one.
#[derive(Debug, Default)]
struct Nobody {
    asked: AtomicBool,
}

impl ResolvesClientCert for Nobody {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Accepts any certificate. That the server has the certificate's key is checked nevertheless.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
