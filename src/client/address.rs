//! Where an agent's HTTP interface listens, as operators write it: `host:port`, `http://…`,
//! `https://…` or `unix://…`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Port of `http://host` without one (RFC 9110 §4.2.1).
const HTTP_PORT: u16 = 80;
/// Port of `https://host` without one (RFC 9110 §4.2.2).
const HTTPS_PORT: u16 = 443;

/// An agent's HTTP interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAddress {
    place: Place,
    secure: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Host name or IP address; IPv6 without brackets.
    Network { host: String, port: u16 },
    /// Path of a Unix socket.
    Socket(PathBuf),
}

/// Why a text is no address of an HTTP interface. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "address {text:?} is not of the form host:port, http://host:port, https://host:port or unix:///path"
)]
pub struct HttpAddressError {
    /// The text that was refused.
    text: String,
}

impl HttpAddress {
    /// Port `port` of `host`, a name or an IP address without brackets, in plain HTTP.
    ///
    /// # Errors
    /// `host` is neither.
    pub fn plain(host: &str, port: u16) -> Result<Self, HttpAddressError> {
        let allowed = |letter: char| {
            letter.is_ascii_alphanumeric() || matches!(letter, '.' | ':' | '-' | '_' | '%')
        };
        if host.is_empty() || !host.chars().all(allowed) {
            let text = host.to_owned();
            return Err(HttpAddressError { text });
        }
        let host = host.to_owned();
        Ok(Self {
            place: Place::Network { host, port },
            secure: false,
        })
    }

    /// The same place, spoken to over TLS. A Unix socket stays plain: what passes through it does
    /// not leave the machine.
    #[must_use]
    pub fn over_tls(mut self) -> Self {
        self.secure = matches!(self.place, Place::Network { .. });
        self
    }

    /// Whether it is spoken to over TLS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Host and port; `None` for a Unix socket.
    pub fn host_and_port(&self) -> Option<(&str, u16)> {
        match &self.place {
            Place::Network { host, port } => Some((host, *port)),
            Place::Socket(_) => None,
        }
    }

    /// Path of the Unix socket; `None` for anything else.
    pub fn socket(&self) -> Option<&Path> {
        match &self.place {
            Place::Network { .. } => None,
            Place::Socket(path) => Some(path),
        }
    }

    /// The kind of network in the words that operators know: `tcp` or `unix`.
    pub(super) fn network(&self) -> &'static str {
        match self.place {
            Place::Network { .. } => "tcp",
            Place::Socket(_) => "unix",
        }
    }

    /// URL of `path` here, for messages.
    pub(super) fn url(&self, path: &str) -> String {
        let scheme = match (&self.place, self.secure) {
            (Place::Socket(_), _) => "unix",
            (Place::Network { .. }, true) => "https",
            (Place::Network { .. }, false) => "http",
        };
        format!("{scheme}://{self}{path}")
    }
}

impl FromStr for HttpAddress {
    type Err = HttpAddressError;

    fn from_str(text: &str) -> Result<Self, HttpAddressError> {
        let invalid = || HttpAddressError {
            text: text.to_owned(),
        };
        if let Some(path) = text.strip_prefix("unix://") {
            return match path {
                "" => Err(invalid()),
                path => Ok(Self {
                    place: Place::Socket(path.into()),
                    secure: false,
                }),
            };
        }
        let (bare, secure) = match text.strip_prefix("https://") {
            Some(bare) => (bare, true),
            None => (text.strip_prefix("http://").unwrap_or(text), false),
        };
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        let (host, port) = match bare.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, port.parse().map_err(|_| invalid())?)
            }
            _ if secure => (bare, HTTPS_PORT),
            _ => (bare, HTTP_PORT),
        };
        let host = host
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'))
            .unwrap_or(host);
        let address = Self::plain(host, port).map_err(|_| invalid())?;
        Ok(Self { secure, ..address })
    }
}

/// `host:port`, or the path of the socket.
impl fmt::Display for HttpAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Network { host, port } if host.contains(':') => {
                write!(formatter, "[{host}]:{port}")
            }
            Place::Network { host, port } => write!(formatter, "{host}:{port}"),
            Place::Socket(path) => write!(formatter, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_scheme() {
        for (text, url) in [
            ("127.0.0.1:8500", "http://127.0.0.1:8500/x"),
            ("http://consul.local:80/", "http://consul.local:80/x"),
            ("http://host", "http://host:80/x"),
            ("[::1]:8500", "http://[::1]:8500/x"),
            ("https://host", "https://host:443/x"),
            ("https://[::1]:8501/", "https://[::1]:8501/x"),
            ("unix:///run/herald.sock", "unix:///run/herald.sock/x"),
        ] {
            assert_eq!(text.parse::<HttpAddress>().unwrap().url("/x"), url);
        }
        for text in ["", ":8500", "host:port", "a/b:1", "host:70000", "unix://"] {
            let refused = text.parse::<HttpAddress>().unwrap_err().to_string();
            assert!(
                refused.starts_with(&format!("address {text:?} is not")),
                "{refused}"
            );
        }
    }

    #[test]
    fn tls_may_be_asked_for_apart_from_the_address_but_not_on_a_unix_socket() {
        let secure = |text: &str| text.parse::<HttpAddress>().unwrap().over_tls().is_secure();
        assert!(secure("127.0.0.1:8501"));
        assert!(!secure("unix:///run/herald.sock"));
    }
}
