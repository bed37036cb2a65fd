//! TLS as a client: which authorities are trusted, who this side says it is, and which name the
//! other side must prove.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::accept_any::AcceptAny;
use super::credentials::{self, CredentialsError, Identity};

/// What an operator may set. The default trusts the system's authorities, checks everything and
/// presents no certificate.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// PEM file of the authorities to trust, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Directory of such files, all of which are read; not together with `ca_file`.
    pub ca_path: Option<PathBuf>,
    /// PEM file of the certificate (and its chain) to present.
    pub client_cert: Option<PathBuf>,
    /// PEM file of that certificate's key.
    pub client_key: Option<PathBuf>,
    /// Name that the other side must prove. Default: the host that is connected to.
    pub server_name: Option<String>,
    /// Protocols to offer (RFC 7301), best first, as in `h2`; none by default.
    pub protocols: Vec<String>,
    /// Accept any certificate. The connection is encrypted, but to whom is not known.
    pub skip_verify: bool,
}

/// Why settings cannot be used. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Two settings exclude each other, or one lacks the other.
    #[error("{0}")]
    Combination(&'static str),
    /// The system has no authorities to trust.
    #[error("no authorities to trust on this system ({0}): name a file of them")]
    NoAuthorities(String),
    /// A name that no certificate can carry.
    #[error("server name {0:?} is neither a host name nor an IP address")]
    ServerName(String),
    /// The authorities cannot be used to check anything.
    #[error("authorities: {0}")]
    Authorities(#[from] rustls::server::VerifierBuilderError),
    /// The library refuses the protocol versions.
    #[error("protocol versions: {0}")]
    Versions(rustls::Error),
}

/// Opens TLS on connections that stand already. Clones share their configuration.
#[derive(Clone)]
pub struct TlsClient {
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TlsClient")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl TlsClient {
    /// Reads the files that `settings` names. Blocks on them.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(settings: &TlsSettings) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Versions)?
            .dangerous()
            .with_custom_certificate_verifier(verifier(settings, provider)?);
        let mut config = match identity(settings)? {
            Some(identity) => {
                let files = identity.files();
                builder
                    .with_client_auth_cert(identity.chain, identity.secret)
                    .map_err(|source| Identity::refused(files, source))?
            }
            None => builder.with_no_client_auth(),
        };
        let protocols = settings.protocols.iter();
        config.alpn_protocols = protocols.map(|name| name.as_bytes().to_vec()).collect();
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            server_name: settings.server_name.as_deref().map(name).transpose()?,
        })
    }

    /// Opens TLS on `stream`, which leads to `host`.
    ///
    /// # Errors
    /// The other side does not prove its name, refuses this side, or does not speak TLS.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => {
                name(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?
            }
        };
        let connected = self.connector.connect(name, stream).await;
        connected.map_err(|error| io::Error::new(error.kind(), refusal(&error)))
    }
}

/// What to tell people when TLS fails: the library's words, but for verdicts that only its authors
/// understand.
pub(crate) fn refusal(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let Some(rustls::Error::InvalidCertificate(verdict)) = inner else {
        return error.to_string();
    };
    match verdict {
        rustls::CertificateError::UnknownIssuer => {
            "certificate is signed by an authority that is not trusted here".to_owned()
        }
        // An authority's certificate where another is due: mostly one that signs itself.
        rustls::CertificateError::Other(other)
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            "certificate is self-signed or an authority's own, which proves nothing of who shows it"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

fn name(text: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(text.to_owned()).map_err(|_| TlsError::ServerName(text.to_owned()))
}

/// Who decides whether the other side is the right one.
fn verifier(
    settings: &TlsSettings,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    if settings.skip_verify {
        return Ok(Arc::new(AcceptAny(provider)));
    }
    let authorities = Arc::new(authorities(settings)?);
    Ok(WebPkiServerVerifier::builder_with_provider(authorities, provider).build()?)
}

/// Whom to trust: those that the settings name, else the system's.
fn authorities(settings: &TlsSettings) -> Result<RootCertStore, TlsError> {
    let files = match (&settings.ca_file, &settings.ca_path) {
        (Some(_), Some(_)) => {
            let reason = "either a file or a directory of authorities, not both";
            return Err(TlsError::Combination(reason));
        }
        (Some(file), None) => vec![file.clone()],
        (None, Some(directory)) => credentials::files_of(directory)?,
        (None, None) => {
            let found = rustls_native_certs::load_native_certs();
            let mut store = RootCertStore::empty();
            // Some systems carry authorities that the library cannot read; the others count.
            let (added, _) = store.add_parsable_certificates(found.certs);
            let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            return match added {
                0 => Err(TlsError::NoAuthorities(reasons.join(", "))),
                _ => Ok(store),
            };
        }
    };
    Ok(credentials::authorities(&files)?)
}

/// Who this side says it is.
fn identity(settings: &TlsSettings) -> Result<Option<Identity<'_>>, TlsError> {
    match (&settings.client_cert, &settings.client_key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(Identity::read(certificate, key)?)),
        _ => Err(TlsError::Combination(
            "a client certificate and its key are given together or not at all",
        )),
    }
}
