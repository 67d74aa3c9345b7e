//! TLS before something that does not speak it, such as a proxy that looks at what passes. It wants a certificate of
//! its clients.

use std::fs;
use std::sync::{Arc, LazyLock};

use nearcache_testkit::{Authority, Identity};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

/// Who signs the certificates of both sides.
struct Certificates {
    authority: Authority,
    client: Identity,
    acceptor: TlsAcceptor,
}

static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(|| {
    let authority = Authority::new();
    let (server, client) = (
        authority.issue(&["localhost"]),
        authority.issue(&["a-client"]),
    );
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority.ca()).expect("a certificate"))
        .expect("a root");
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.expect("a verifier"))
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&server.cert).expect("a certificate")],
            PrivateKeyDer::from_pem_slice(&fs::read(&server.key).expect("a file")).expect("a key"),
        );
    Certificates {
        authority,
        client,
        acceptor: TlsAcceptor::from(Arc::new(config.expect("a server's certificate"))),
    }
});

/// Its threads end with it.
#[derive(Debug)]
pub(crate) struct Terminator {
    port: u16,
    runtime: Option<Runtime>,
}

impl Terminator {
    /// Before `host:port`.
    pub(crate) fn before(to: String) -> Terminator {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("it does not block");
        let port = listener.local_addr().expect("an address").port();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("it listens");
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, to.clone()));
            }
        });
        Terminator {
            port,
            runtime: Some(runtime),
        }
    }

    /// `rediss://localhost:PORT?ca=...&cert=...&key=...`.
    pub(crate) fn url(&self) -> String {
        let Certificates {
            authority, client, ..
        } = &*CERTIFICATES;
        format!(
            "rediss://localhost:{}?ca={}&cert={}&key={}",
            self.port,
            authority.ca().display(),
            client.cert.display(),
            client.key.display()
        )
    }
}

/// What ends one side ends the other, as when a server is behind it: without a word in TLS.
async fn carry(client: TcpStream, to: String) -> Option<()> {
    client.set_nodelay(true).ok()?;
    let mut client = CERTIFICATES.acceptor.accept(client).await.ok()?;
    let mut server = TcpStream::connect(to).await.ok()?;
    server.set_nodelay(true).ok()?;
    let carried = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    carried.ok().map(drop)
}

impl Drop for Terminator {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
