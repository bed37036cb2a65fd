//! TLS of checks: who is trusted, and whom a certificate must name.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::AcceptAny;
use crate::client::tls::refusal;

/// Whom certificates must lead to.
#[derive(Clone, Debug)]
pub enum Roots {
    /// Whom the system trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
    System,
    /// These alone.
    Given(Vec<CertificateDer<'static>>),
}

/// What is spoken over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// How one check wants its connection secured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Security<'a> {
    /// Whether any certificate is accepted.
    pub(super) skip_verify: bool,
    /// Name that the certificate must have; that of the target where empty.
    pub(super) server_name: &'a str,
    pub(super) protocol: Protocol,
}

/// Secures connections. Trusted certificates are read when the first check needs them: most agents
/// have none that does.
#[derive(Debug)]
pub(super) struct Tls {
    roots: Roots,
    /// By protocol, then by whether any certificate is accepted.
    configs: [[OnceLock<Arc<ClientConfig>>; 2]; 2],
}

impl Tls {
    pub(super) fn new(roots: Roots) -> Self {
        Self {
            roots,
            configs: Default::default(),
        }
    }

    /// Shakes hands over `stream`, with `host` as its name where the check gives none. The caller
    /// bounds the wait.
    pub(super) async fn secure(
        &self,
        stream: TcpStream,
        host: &str,
        security: Security<'_>,
    ) -> Result<TlsStream<TcpStream>, String> {
        let name = match security.server_name {
            "" => host,
            name => name,
        };
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| format!("tls: server name {name:?}: {error}"))?;
        let connector = TlsConnector::from(self.config(security)?);
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|error| format!("tls: {}", refusal(&error)))?;
        let agreed = stream.get_ref().1.alpn_protocol();
        if security.protocol == Protocol::Http2 && agreed != Some(b"h2") {
            return Err("tls: the server does not speak HTTP/2".to_owned());
        }
        Ok(stream)
    }

    fn config(&self, security: Security<'_>) -> Result<Arc<ClientConfig>, String> {
        let [first, second] = &self.configs;
        let [verifying, accepting] = match security.protocol {
            Protocol::Http1 => first,
            Protocol::Http2 => second,
        };
        let cell = if security.skip_verify {
            accepting
        } else {
            verifying
        };
        if let Some(config) = cell.get() {
            return Ok(Arc::clone(config));
        }
        let config = self.build(security)?;
        Ok(Arc::clone(cell.get_or_init(|| Arc::new(config))))
    }

    fn build(&self, security: Security<'_>) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("tls: {error}"))?;
        let mut config = if security.skip_verify {
            let accepting = Arc::new(AcceptAny(provider));
            let builder = builder.dangerous();
            builder
                .with_custom_certificate_verifier(accepting)
                .with_no_client_auth()
        } else {
            let roots = self.trusted()?;
            builder.with_root_certificates(roots).with_no_client_auth()
        };
        config.alpn_protocols = vec![match security.protocol {
            Protocol::Http1 => b"http/1.1".to_vec(),
            Protocol::Http2 => b"h2".to_vec(),
        }];
        // Each run is a fresh look at the peer, and resumed sessions would be kept for all peers.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }

    fn trusted(&self) -> Result<RootCertStore, String> {
        let certificates = match &self.roots {
            Roots::Given(certificates) => certificates.clone(),
            Roots::System => rustls_native_certs::load_native_certs().certs,
        };
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(certificates);
        if store.is_empty() {
            return Err("tls: the system names no authority to trust".to_owned());
        }
        Ok(store)
    }
}
