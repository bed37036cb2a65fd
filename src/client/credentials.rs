//! Certificates, keys and authorities in PEM files: read and checked the same way for every side of
//! every TLS connection.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why files cannot be used. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
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
    /// The key is another certificate's.
    #[error("key {} does not belong to certificate {}", key.display(), certificate.display())]
    Mismatch {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
    },
    /// Certificate or key cannot be used.
    #[error("certificate {}: {source}", path.display())]
    Certificate {
        /// File of the certificate.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
}

/// Who a side says it is.
#[derive(Debug)]
pub(crate) struct Identity<'a> {
    certificate: &'a Path,
    key: &'a Path,
    /// The certificate, and those that lead from it to an authority.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// Key of the certificate.
    pub(crate) secret: PrivateKeyDer<'static>,
}

impl<'a> Identity<'a> {
    /// Reads a certificate with its chain, and its key.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub(crate) fn read(certificate: &'a Path, key: &'a Path) -> Result<Self, CredentialsError> {
        let chain = certificates("certificate", certificate)?;
        let secret = PrivateKeyDer::from_pem_file(key);
        let secret = secret.map_err(|error| unreadable("key", key, error))?;
        Ok(Self {
            certificate,
            key,
            chain,
            secret,
        })
    }

    /// What the library holds against it, in words.
    pub(crate) fn refused(
        (certificate, key): (&Path, &Path),
        source: rustls::Error,
    ) -> CredentialsError {
        match source {
            rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch) => {
                CredentialsError::Mismatch {
                    certificate: certificate.to_owned(),
                    key: key.to_owned(),
                }
            }
            source => CredentialsError::Certificate {
                path: certificate.to_owned(),
                source,
            },
        }
    }

    /// File of the certificate, and of its key.
    pub(crate) fn files(&self) -> (&'a Path, &'a Path) {
        (self.certificate, self.key)
    }
}

/// The authorities in these files.
///
/// # Errors
/// [`CredentialsError`].
pub(crate) fn authorities(files: &[PathBuf]) -> Result<RootCertStore, CredentialsError> {
    let mut store = RootCertStore::empty();
    for file in files {
        for certificate in certificates("authorities", file)? {
            let added = store.add(certificate);
            added.map_err(|error| unreadable("authorities", file, error))?;
        }
    }
    Ok(store)
}

/// The files of a directory of authorities, in name order; at least one.
///
/// # Errors
/// [`CredentialsError`].
pub(crate) fn files_of(directory: &Path) -> Result<Vec<PathBuf>, CredentialsError> {
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
        [] => Err(CredentialsError::Empty {
            kind: "files",
            path: directory.to_owned(),
        }),
        _ => Ok(files),
    }
}

fn certificates(
    kind: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let failed = |error| unreadable(kind, path, error);
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect();
    let found = found.map_err(failed)?;
    if found.is_empty() {
        let path = path.to_owned();
        return Err(CredentialsError::Empty { kind, path });
    }
    Ok(found)
}

fn unreadable(kind: &'static str, path: &Path, error: impl Display) -> CredentialsError {
    CredentialsError::File {
        kind,
        path: path.to_owned(),
        reason: error.to_string(),
    }
}
