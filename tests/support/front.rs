//! Doors in front of a running agent: TLS, a Unix socket, another address.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use herald::task::Tasks;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::directory::Directory;

/// Passes on what comes through one door until dropped.
pub(crate) struct Front {
    /// Where it listens; meaningless for a Unix socket.
    pub(crate) address: SocketAddr,
    tasks: Tasks,
}

/// An authority and what it has signed, as PEM files in a directory.
pub(crate) struct Authority {
    directory: Directory,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Front {
    /// Listens on `listen` and passes every connection on to `agent`.
    pub(crate) async fn plain(listen: SocketAddr, agent: SocketAddr) -> Self {
        let listener = TcpListener::bind(listen).await.unwrap();
        let front = Self::new(listener.local_addr().unwrap());
        let tasks = front.tasks.clone();
        front.tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tasks.spawn(pass(stream, agent));
            }
        });
        front
    }

    /// The same over TLS with a certificate for `name`. Clients must present one that `clients`
    /// has signed, if that is given.
    pub(crate) async fn tls(
        agent: SocketAddr,
        authority: &Authority,
        name: &str,
        clients: Option<&Authority>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(authority.server(name, clients)));
        let front = Self::new(listener.local_addr().unwrap());
        let tasks = front.tasks.clone();
        front.tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tasks.spawn(async move {
                    // Clients that refuse the certificate break off here.
                    if let Ok(stream) = acceptor.accept(stream).await {
                        pass(stream, agent).await;
                    }
                });
            }
        });
        front
    }

    /// The same on a Unix socket.
    pub(crate) fn unix(path: &Path, agent: SocketAddr) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let front = Self::new(agent);
        let tasks = front.tasks.clone();
        front.tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tasks.spawn(pass(stream, agent));
            }
        });
        front
    }

    fn new(address: SocketAddr) -> Self {
        let tasks = Tasks::new();
        Self { address, tasks }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

/// Carries octets both ways until one side ends.
async fn pass(mut stream: impl AsyncRead + AsyncWrite + Unpin, agent: SocketAddr) {
    let mut agent = TcpStream::connect(agent).await.unwrap();
    drop(tokio::io::copy_bidirectional(&mut stream, &mut agent).await);
}

impl Authority {
    /// A new one; its certificate is in `ca.pem`.
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Two authorities of one name would be told apart by their signatures only.
        let key = KeyPair::generate().unwrap();
        let name = format!("authority {:?}", &key.public_key_raw()[..8]);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(parameters, key).unwrap();
        let directory = Directory::new();
        directory.write("ca.pem", &issuer.pem());
        Self { directory, issuer }
    }

    /// Path of a file of this authority.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.0.join(name)
    }

    /// Signs a certificate for `name` into `NAME.pem`, its key in `NAME.key`.
    pub(crate) fn sign(&self, name: &str) {
        let (certificate, key) = self.signed(name);
        self.directory
            .write(&format!("{name}.pem"), &certificate.pem());
        self.directory
            .write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn signed(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        (certificate, key)
    }

    fn roots(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        let certificate = CertificateDer::from(self.issuer.der().to_vec());
        store.add(certificate).unwrap();
        store
    }

    fn server(&self, name: &str, clients: Option<&Self>) -> ServerConfig {
        let (certificate, key) = self.signed(name);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            Some(clients) => {
                let roots = Arc::new(clients.roots());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
            None => builder.with_no_client_auth(),
        };
        let chain = vec![certificate.der().clone()];
        builder.with_single_cert(chain, key).unwrap()
    }
}
