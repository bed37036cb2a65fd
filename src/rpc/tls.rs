//! TLS on 8300, as server and as client: who a server says it is, and whom it believes.
//!
//! **Invariant**: whoever is asked for a certificate is checked against the configured authorities
//! only, never against those of the system.
//!
//! Source: the reference's documentation of these settings.

mod any_name;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use self::any_name::AnyName;
use crate::client::AcceptAny;
use crate::client::credentials::{self, CredentialsError, Identity};
use crate::client::tls::refusal;

/// What an operator configures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM file of the certificate and its chain (`cert_file`). Default: none, and no TLS for those
    /// who connect.
    pub cert_file: Option<PathBuf>,
    /// PEM file of its key (`key_file`).
    pub key_file: Option<PathBuf>,
    /// PEM file of the authorities that peers' certificates must come from (`ca_file`).
    pub ca_file: Option<PathBuf>,
    /// Directory of such files (`ca_path`); not read where there is a `ca_file`.
    pub ca_path: Option<PathBuf>,
    /// Whether clients must show a certificate (`verify_incoming`, `verify_incoming_rpc`).
    pub verify_incoming: bool,
    /// Whether connections to servers use TLS and check their certificate (`verify_outgoing`).
    pub verify_outgoing: bool,
    /// Whether that certificate must name `server.<datacenter>.<domain>`
    /// (`verify_server_hostname`). Asks for `verify_outgoing` too.
    pub verify_server_hostname: bool,
}

impl TlsConfig {
    /// Whether a server with it takes TLS in.
    pub fn serves(&self) -> bool {
        self.cert_file.is_some()
    }

    /// Whether gossip tells that it does (`use_tls`), so that agents with authorities of their own use
    /// TLS without being told. As in the reference, a server without authorities does not tell.
    pub fn tells(&self) -> bool {
        self.serves() && self.is_authorized()
    }

    /// Whether connections to servers use TLS and check their certificate.
    pub fn verifies_servers(&self) -> bool {
        self.verify_outgoing || self.verify_server_hostname
    }

    fn is_authorized(&self) -> bool {
        self.ca_file.is_some() || self.ca_path.is_some()
    }

    /// What must be given too, by its keys; the first part is the setting that asks for it.
    pub fn lacks(&self) -> Option<(&'static str, &'static str)> {
        let authorities = "ca_file or ca_path: peers are checked against these authorities";
        match (&self.cert_file, &self.key_file) {
            (Some(_), None) => Some(("cert_file", "key_file: a certificate goes with its key")),
            (None, Some(_)) => Some(("key_file", "cert_file: a key goes with its certificate")),
            (None, None) if self.verify_incoming => Some((
                "verify_incoming",
                "cert_file and key_file: without them a server takes no TLS in",
            )),
            _ if self.is_authorized() => None,
            _ if self.verify_incoming => Some(("verify_incoming", authorities)),
            _ if self.verify_outgoing => Some(("verify_outgoing", authorities)),
            _ if self.verify_server_hostname => Some(("verify_server_hostname", authorities)),
            _ => None,
        }
    }
}

/// Why it cannot be used. Nothing was changed, and a retry fails again until files or settings
/// have changed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// One setting lacks another.
    #[error("{setting} needs {lacking}")]
    Lacking {
        /// The setting that asks for more.
        setting: &'static str,
        /// What is missing, and why.
        lacking: &'static str,
    },
    /// A name that no certificate can carry.
    #[error("server name {0:?} is no host name")]
    ServerName(String),
    /// The authorities cannot be used to check anything.
    #[error("authorities: {0}")]
    Authorities(#[from] VerifierBuilderError),
    /// The library refuses the protocol versions.
    #[error("protocol versions: {0}")]
    Versions(#[source] rustls::Error),
}

/// Certificates and keys, loaded and checked. Clones share them.
#[derive(Clone)]
pub struct Tls {
    /// `None` without a certificate.
    acceptor: Option<TlsAcceptor>,
    connector: TlsConnector,
    server_name: ServerName<'static>,
    /// Whether those who connect as servers must have a server's certificate.
    checks_servers: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tls")
            .field("accepts", &self.acceptor.is_some())
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files that `config` names. Servers are called `server_name`, as in
    /// `server.dc1.consul`, which their certificates must say if `config` asks for it. Blocks on
    /// the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(config: &TlsConfig, server_name: &str) -> Result<Self, TlsError> {
        if let Some((setting, lacking)) = config.lacks() {
            return Err(TlsError::Lacking { setting, lacking });
        }
        let name = server_name.trim_end_matches('.').to_owned();
        let name = ServerName::try_from(name.clone()).map_err(|_| TlsError::ServerName(name))?;
        let provider = Arc::new(ring::default_provider());
        let files = files_of_authorities(config)?;
        let authorities = Arc::new(credentials::authorities(&files)?);
        let acceptor = acceptor(config, &authorities, &provider)?;
        Ok(Self {
            acceptor: acceptor.map(TlsAcceptor::from),
            connector: TlsConnector::from(connector(config, authorities, provider)?),
            server_name: name,
            checks_servers: config.verify_incoming && config.verify_server_hostname,
        })
    }

    /// Takes TLS in on a connection.
    ///
    /// # Errors
    /// The other side does not speak TLS, or lacks a certificate that it must show; or there is no
    /// certificate here.
    pub(super) async fn accept<C>(&self, connection: C) -> io::Result<server::TlsStream<C>>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(acceptor) = &self.acceptor else {
            let reason = "no certificate is configured";
            return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
        };
        acceptor.accept(connection).await.map_err(|e| told(&e))
    }

    /// Checks that who connected is a server, where names are checked (`verify_incoming` and
    /// `verify_server_hostname`): else any client's certificate would open what is for servers.
    ///
    /// # Errors
    /// It showed no certificate, or one that does not name servers.
    pub(super) fn check_server<C>(&self, stream: &server::TlsStream<C>) -> io::Result<()> {
        if !self.checks_servers {
            return Ok(());
        }
        let shown = stream.get_ref().1.peer_certificates();
        let Some(certificate) = shown.and_then(<[_]>::first) else {
            return Err(io::Error::other("it shows no certificate"));
        };
        let parsed = ParsedCertificate::try_from(certificate).map_err(io::Error::other)?;
        verify_server_name(&parsed, &self.server_name).map_err(io::Error::other)
    }

    /// Opens TLS on a connection to a server.
    ///
    /// # Errors
    /// The server does not prove what it must, refuses this side, or does not speak TLS.
    pub(super) async fn connect<C>(&self, connection: C) -> io::Result<client::TlsStream<C>>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let connected = self.connector.connect(self.server_name.clone(), connection);
        connected.await.map_err(|error| told(&error))
    }
}

/// A failure in words for people.
fn told(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), refusal(error))
}

fn files_of_authorities(config: &TlsConfig) -> Result<Vec<PathBuf>, CredentialsError> {
    match (&config.ca_file, &config.ca_path) {
        (Some(file), _) => Ok(vec![file.clone()]),
        (None, Some(directory)) => credentials::files_of(directory),
        (None, None) => Ok(Vec::new()),
    }
}

/// Certificate and key, if there are any.
fn identity(config: &TlsConfig) -> Result<Option<Identity<'_>>, CredentialsError> {
    match (&config.cert_file, &config.key_file) {
        (Some(certificate), Some(key)) => Identity::read(certificate, key).map(Some),
        _ => Ok(None),
    }
}

fn acceptor(
    config: &TlsConfig,
    authorities: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<ServerConfig>>, TlsError> {
    let Some(identity) = identity(config)? else {
        return Ok(None);
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?;
    let builder = if config.verify_incoming {
        let (authorities, provider) = (Arc::clone(authorities), Arc::clone(provider));
        let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider);
        builder.with_client_cert_verifier(verifier.build()?)
    } else {
        builder.with_no_client_auth()
    };
    let files = identity.files();
    let config = builder
        .with_single_cert(identity.chain, identity.secret)
        .map_err(|source| Identity::refused(files, source))?;
    Ok(Some(Arc::new(config)))
}

fn connector(
    config: &TlsConfig,
    authorities: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier: Arc<dyn ServerCertVerifier> = if config.verify_server_hostname {
        let provider = Arc::clone(&provider);
        WebPkiServerVerifier::builder_with_provider(authorities, provider).build()?
    } else if config.verify_outgoing {
        Arc::new(AnyName::new(authorities, Arc::clone(&provider)))
    } else {
        Arc::new(AcceptAny(Arc::clone(&provider)))
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some(identity) = identity(config)? else {
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    let files = identity.files();
    let config = builder
        .with_client_auth_cert(identity.chain, identity.secret)
        .map_err(|source| Identity::refused(files, source))?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests;
