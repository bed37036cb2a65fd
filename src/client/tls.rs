//! TLS as a client: which authorities are trusted, who this side says it is, and which name the
//! other side must prove.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::accept_any::AcceptAny;

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
    /// A file or directory cannot be read, or is not PEM.
    #[error("cannot read {kind} {}: {reason}", path.display())]
    File {
        /// What was to be read.
        kind: &'static str,
        /// From where.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is nothing of the kind in it.
    #[error("no {kind} in {}", path.display())]
    Empty {
        /// What was to be read.
        kind: &'static str,
        /// From where.
        path: PathBuf,
    },
    /// Two settings exclude each other, or one lacks the other.
    #[error("{0}")]
    Combination(&'static str),
    /// The system has no authorities to trust.
    #[error("no authorities to trust on this system ({0}): name a file of them")]
    NoAuthorities(String),
    /// A name that no certificate can carry.
    #[error("server name {0:?} is neither a host name nor an IP address")]
    ServerName(String),
    /// Certificate and key do not fit, or cannot be used.
    #[error("certificate {}: {source}", path.display())]
    Certificate {
        /// File of the certificate.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
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
            Some((path, chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|source| TlsError::Certificate { path, source })?,
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
        // An authority's certificate where a server's is due: mostly one that signs itself.
        rustls::CertificateError::Other(other)
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            "certificate is self-signed or an authority's own, which proves nothing of a server"
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
    let mut store = RootCertStore::empty();
    let files = match (&settings.ca_file, &settings.ca_path) {
        (Some(_), Some(_)) => {
            let reason = "either a file or a directory of authorities, not both";
            return Err(TlsError::Combination(reason));
        }
        (Some(file), None) => vec![file.clone()],
        (None, Some(directory)) => files_of(directory)?,
        (None, None) => {
            let found = rustls_native_certs::load_native_certs();
            // Some systems carry authorities that the library cannot read; the others count.
            let (added, _) = store.add_parsable_certificates(found.certs);
            let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            return match added {
                0 => Err(TlsError::NoAuthorities(reasons.join(", "))),
                _ => Ok(store),
            };
        }
    };
    for file in files {
        for certificate in certificates("authorities", &file)? {
            store
                .add(certificate)
                .map_err(|error| unreadable("authorities", &file, error))?;
        }
    }
    Ok(store)
}

/// The files of a directory, in name order.
fn files_of(directory: &Path) -> Result<Vec<PathBuf>, TlsError> {
    let kind = "directory of authorities";
    let failed = |error: io::Error| unreadable(kind, directory, error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    match files.as_slice() {
        [] => Err(TlsError::Empty {
            kind: "files",
            path: directory.to_owned(),
        }),
        _ => Ok(files),
    }
}

fn certificates(kind: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |error| unreadable(kind, path, error);
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect();
    let found = found.map_err(failed)?;
    if found.is_empty() {
        let path = path.to_owned();
        return Err(TlsError::Empty { kind, path });
    }
    Ok(found)
}

type Identity = (
    PathBuf,
    Vec<CertificateDer<'static>>,
    PrivateKeyDer<'static>,
);

/// Who this side says it is.
fn identity(settings: &TlsSettings) -> Result<Option<Identity>, TlsError> {
    match (&settings.client_cert, &settings.client_key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            let chain = certificates("certificate", certificate)?;
            let key =
                PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("key", key, error))?;
            Ok(Some((certificate.clone(), chain, key)))
        }
        _ => Err(TlsError::Combination(
            "a client certificate and its key are given together or not at all",
        )),
    }
}

fn unreadable(kind: &'static str, path: &Path, error: impl Display) -> TlsError {
    TlsError::File {
        kind,
        path: path.to_owned(),
        reason: error.to_string(),
    }
}
