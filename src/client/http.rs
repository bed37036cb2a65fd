//! HTTP client of the own API: one request, one connection, everything bounded.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longest body of an answer, in octets.
const BODY_OCTETS_MAX: usize = 256 * 1024 * 1024;
/// Port of `http://host` without one (RFC 9110 §4.2.1).
const HTTP_PORT: u16 = 80;

/// Host and port of an agent's HTTP interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAddress {
    /// Host name or IP address; IPv6 without brackets.
    host: String,
    port: u16,
}

/// Why a text is no address of an HTTP interface. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpAddressError {
    /// A scheme that the client does not speak yet.
    #[error("address {text:?}: {scheme} is not supported yet")]
    Scheme {
        /// The text that was refused.
        text: String,
        /// The scheme.
        scheme: &'static str,
    },
    /// Not host and port.
    #[error("address {text:?} is not of the form host:port or http://host:port")]
    Invalid {
        /// The text that was refused.
        text: String,
    },
}

impl FromStr for HttpAddress {
    type Err = HttpAddressError;

    fn from_str(text: &str) -> Result<Self, HttpAddressError> {
        for (prefix, scheme) in [("https://", "HTTPS"), ("unix://", "a Unix socket")] {
            if text.starts_with(prefix) {
                let text = text.to_owned();
                return Err(HttpAddressError::Scheme { text, scheme });
            }
        }
        let invalid = || HttpAddressError::Invalid {
            text: text.to_owned(),
        };
        let bare = text.strip_prefix("http://").unwrap_or(text);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        let (host, port) = match bare.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, port.parse().map_err(|_| invalid())?)
            }
            _ => (bare, HTTP_PORT),
        };
        let host = host
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'))
            .unwrap_or(host);
        let allowed = |letter: char| {
            letter.is_ascii_alphanumeric() || matches!(letter, '.' | ':' | '-' | '_' | '%')
        };
        if host.is_empty() || !host.chars().all(allowed) {
            return Err(invalid());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl HttpAnswer {
    /// The body as text, with replacement characters where it is none.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why a request has no useful answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The address cannot be reached; nothing was sent.
    #[error("{call}: dial tcp {address}: {}", reason(.source))]
    Connect {
        /// Method and URL.
        call: Call,
        /// Who was asked.
        address: HttpAddress,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The exchange broke off; the request may have been carried out.
    #[error("{call}: {reason}")]
    Exchange {
        /// Method and URL.
        call: Call,
        /// What went wrong.
        reason: String,
    },
    /// No whole answer in time; the request may have been carried out.
    #[error("{call}: no answer within {limit:?}")]
    Timeout {
        /// Method and URL.
        call: Call,
        /// How long was waited.
        limit: Duration,
    },
    /// The agent refused.
    #[error("Unexpected response code: {} ({text})", .status.as_u16())]
    Status {
        /// Status of the answer.
        status: StatusCode,
        /// Its body: the reason.
        text: String,
    },
    /// The answer is not the JSON expected.
    #[error("{call}: cannot read the answer: {source}")]
    Json {
        /// Method and URL.
        call: Call,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// Method and URL of a request, as messages show them.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    url: String,
}

impl Call {
    pub(crate) fn new(method: Method, url: String) -> Self {
        Self { method, url }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.method.as_str();
        let (first, rest) = method.split_at(1.min(method.len()));
        write!(formatter, "{first}{} {:?}", rest.to_lowercase(), self.url)
    }
}

/// What the system says, in the words that operators know from other tools.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    let text = text.get(..end).unwrap_or(&text).to_lowercase();
    match error.raw_os_error() {
        Some(_) => format!("connect: {text}"),
        None => text,
    }
}

/// Asks one agent.
#[derive(Clone, Debug)]
pub struct HttpClient {
    address: HttpAddress,
    token: Option<String>,
    limit: Duration,
}

impl HttpClient {
    /// A client of the agent at `address`; each request takes at most `limit`.
    pub fn new(address: HttpAddress, token: Option<String>, limit: Duration) -> Self {
        Self {
            address,
            token,
            limit,
        }
    }

    /// Asks for `path` (with its query) and reads the JSON answer.
    ///
    /// # Errors
    /// [`RequestError`], also for any status but 200.
    pub async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, RequestError> {
        let answer = self.send(Method::GET, path, Bytes::new()).await?;
        let call = self.call(&Method::GET, path);
        serde_json::from_slice(&accept(answer)?.body)
            .map_err(|source| RequestError::Json { call, source })
    }

    /// Sends `body` as JSON to `path`.
    ///
    /// # Errors
    /// [`RequestError`], also for any status but 200.
    pub async fn put(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<HttpAnswer, RequestError> {
        let body = match body {
            serde_json::Value::Null => Bytes::new(),
            body => body.to_string().into(),
        };
        accept(self.send(Method::PUT, path, body).await?)
    }

    /// Sends a request; any status is an answer.
    ///
    /// # Errors
    /// [`RequestError`], but not `Status`.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<HttpAnswer, RequestError> {
        let call = self.call(&method, path);
        match tokio::time::timeout(self.limit, self.exchange(&call, path, body)).await {
            Ok(result) => result,
            Err(_) => Err(RequestError::Timeout {
                call,
                limit: self.limit,
            }),
        }
    }

    async fn exchange(
        &self,
        call: &Call,
        path: &str,
        body: Bytes,
    ) -> Result<HttpAnswer, RequestError> {
        let request = self.request(call, path, body)?;
        let target = (self.address.host.as_str(), self.address.port);
        let stream = TcpStream::connect(target)
            .await
            .map_err(|source| RequestError::Connect {
                call: call.clone(),
                address: self.address.clone(),
                source,
            })?;
        let failed = |error: &dyn std::error::Error| RequestError::Exchange {
            call: call.clone(),
            reason: explain(error),
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        let exchange = async move {
            let answer = sender
                .send_request(request)
                .await
                .map_err(|error| failed(&error))?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, BODY_OCTETS_MAX)
                .collect()
                .await
                .map_err(|error| failed(error.as_ref()))?;
            Ok(HttpAnswer {
                status: parts.status,
                headers: parts.headers,
                body: body.to_bytes(),
            })
        };
        // The exchange drops its sender at its end, and with that the connection ends too. What
        // breaks the connection also breaks the exchange, which says so.
        let (answer, _) = tokio::join!(exchange, connection);
        answer
    }

    fn request(
        &self,
        call: &Call,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, RequestError> {
        let invalid = |reason: String| RequestError::Exchange {
            call: call.clone(),
            reason,
        };
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(path)
            .header(HOST, self.address.to_string())
            .header(USER_AGENT, concat!("herald/", env!("CARGO_PKG_VERSION")));
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            let value = HeaderValue::from_str(token)
                .map_err(|_| invalid("the token has characters that no header may have".into()))?;
            request = request.header(HeaderName::from_static("x-consul-token"), value);
        }
        request
            .body(Full::new(body))
            .map_err(|error| invalid(error.to_string()))
    }

    fn call(&self, method: &Method, path: &str) -> Call {
        Call {
            method: method.clone(),
            url: format!("http://{}{path}", self.address),
        }
    }
}

fn accept(answer: HttpAnswer) -> Result<HttpAnswer, RequestError> {
    match answer.status {
        StatusCode::OK => Ok(answer),
        status => Err(RequestError::Status {
            status,
            text: answer.text(),
        }),
    }
}

/// An error with its causes, outermost first.
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// `text` as part of a path or query: everything but unreserved characters is percent-encoded
/// (RFC 3986 §2.3).
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|octet| match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(octet).to_string()
            }
            octet => format!("%{octet:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_scheme() {
        for (text, shown) in [
            ("127.0.0.1:8500", "127.0.0.1:8500"),
            ("http://consul.local:80/", "consul.local:80"),
            ("http://host", "host:80"),
            ("[::1]:8500", "[::1]:8500"),
        ] {
            assert_eq!(text.parse::<HttpAddress>().unwrap().to_string(), shown);
        }
        for text in ["", ":8500", "host:port", "a/b:1", "host:70000"] {
            assert!(text.parse::<HttpAddress>().is_err(), "{text}");
        }
        let refused = "https://host:8501".parse::<HttpAddress>().unwrap_err();
        assert!(refused.to_string().contains("not supported yet"));
    }

    #[tokio::test]
    async fn a_refused_connection_names_method_url_and_address() {
        // Nobody listens on a port that was just given back.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let client = HttpClient::new(address.parse().unwrap(), None, Duration::from_secs(5));
        let error = client
            .get::<serde_json::Value>("/v1/x?y=1")
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "Get \"http://{address}/v1/x?y=1\": dial tcp {address}: connect: connection refused"
            )
        );
    }

    #[test]
    fn names_are_encoded_for_urls() {
        assert_eq!(encode("web/a b%\u{e9}"), "web%2Fa%20b%25%C3%A9");
    }
}
