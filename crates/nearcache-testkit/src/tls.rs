//! Certificates for tests, and what a server needs to speak TLS: an [`Authority`] of the test's own, whose files lie in
//! a temporary folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

use crate::random_name;

/// A certificate authority (CA). Its folder is removed when it is dropped.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
    issued: AtomicUsize,
}

/// A certificate and its private key, in files of PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The file with the certificate.
    pub cert: PathBuf,
    /// The file with the private key.
    pub key: PathBuf,
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Valid {
    /// Now, for a long time.
    Now,
    /// No longer.
    Expired,
    /// Not yet.
    Later,
}

impl Authority {
    /// A new one, with a key of its own.
    ///
    /// # Panics
    /// If there is no temporary folder to write to.
    pub fn new() -> Authority {
        let folder = std::env::temp_dir().join(format!("nearcache-{}", random_name()));
        fs::create_dir(&folder).expect("a folder for certificates");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let name = format!("nearcache test CA {}", random_name());
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        fs::write(folder.join("ca.pem"), issuer.pem()).expect("a file");
        Authority {
            folder,
            issuer,
            issued: AtomicUsize::new(0),
        }
    }

    /// The file with its certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate for these host names and addresses, for a server or a client.
    ///
    /// # Panics
    /// If a name is none.
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.issue_valid(Valid::Now, names)
    }

    /// The same, valid then.
    ///
    /// # Panics
    /// If a name is none.
    pub fn issue_valid(&self, valid: Valid, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params
            .distinguished_name
            .push(DnType::CommonName, "nearcache test");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        (params.not_before, params.not_after) = match valid {
            Valid::Now => (date_time_ymd(2020, 1, 1), date_time_ymd(2999, 1, 1)),
            Valid::Expired => (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1)),
            Valid::Later => (date_time_ymd(2998, 1, 1), date_time_ymd(2999, 1, 1)),
        };
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let identity = Identity {
            cert: self.folder.join(format!("{number}.pem")),
            key: self.folder.join(format!("{number}.key")),
        };
        fs::write(&identity.cert, cert.pem()).expect("a file");
        fs::write(&identity.key, key.serialize_pem()).expect("a file");
        identity
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file of the caller's own beside the certificates.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Default for Authority {
    fn default() -> Self {
        Authority::new()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
