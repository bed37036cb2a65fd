//! HTTP client of the own API, over TCP, TLS or a Unix socket: one request, one connection,
//! everything bounded but the length of a stream that is read as it comes.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use data_encoding::BASE64;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

pub use super::address::{HttpAddress, HttpAddressError};
use super::tls::TlsClient;

/// Longest body of an answer, in octets.
const BODY_OCTETS_MAX: usize = 256 * 1024 * 1024;
/// How much of a refusal to an endless read is kept, in octets.
const REASON_OCTETS_MAX: usize = 64 * 1024;

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
    #[error("{call}: dial {} {address}: {}", .address.network(), reason(.source))]
    Connect {
        /// Method and URL.
        call: Call,
        /// Who was asked.
        address: HttpAddress,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// No TLS with the other side; nothing was sent.
    #[error("{call}: tls: {source}")]
    Tls {
        /// Method and URL.
        call: Call,
        /// Which side refused, and why.
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

/// What a request travels over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Carrier = TokioIo<Box<dyn Stream>>;

/// Asks one agent.
#[derive(Clone, Debug)]
pub struct HttpClient {
    address: HttpAddress,
    token: Option<String>,
    /// User and password as the header carries them.
    credentials: Option<String>,
    tls: Option<TlsClient>,
    limit: Duration,
}

impl HttpClient {
    /// A client of the agent at `address`; each request takes at most `limit`.
    pub fn new(address: HttpAddress, token: Option<String>, limit: Duration) -> Self {
        Self {
            address,
            token,
            credentials: None,
            tls: None,
            limit,
        }
    }

    /// The same client, which speaks TLS this way if its address asks for TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsClient) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The same client, which names itself by user and password (RFC 7617).
    #[must_use]
    pub fn with_credentials(mut self, user: &str, password: &str) -> Self {
        self.credentials = Some(BASE64.encode(format!("{user}:{password}").as_bytes()));
        self
    }

    /// The same client with another limit for each request.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Asks for `path` (with its query) and reads the JSON answer.
    ///
    /// # Errors
    /// [`RequestError`], also for any status but 200.
    pub async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, RequestError> {
        Ok(self.read(path).await?.1)
    }

    /// As [`HttpClient::get`], with the headers of the answer.
    ///
    /// # Errors
    /// [`RequestError`], also for any status but 200.
    pub async fn read<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<(HeaderMap, T), RequestError> {
        let answer = accept(self.send(Method::GET, path, Bytes::new()).await?)?;
        let content = self.read_json(&Method::GET, path, &answer)?;
        Ok((answer.headers, content))
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
        accept(self.send(Method::PUT, path, written(body)).await?)
    }

    /// As [`HttpClient::put`], with the method POST.
    ///
    /// # Errors
    /// [`RequestError`], also for any status but 200.
    pub async fn post(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<HttpAnswer, RequestError> {
        accept(self.send(Method::POST, path, written(body)).await?)
    }

    /// As [`HttpClient::put`], with the method DELETE.
    ///
    /// # Errors
    /// [`RequestError`], also for any status but 200.
    pub async fn delete(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<HttpAnswer, RequestError> {
        accept(self.send(Method::DELETE, path, written(body)).await?)
    }

    /// Sends `body` as it is to `path` with the method PUT and reads the JSON answer.
    ///
    /// # Errors
    /// [`RequestError`], also for any status but 200.
    pub async fn put_octets<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<T, RequestError> {
        let answer = accept(self.send(Method::PUT, path, body.into()).await?)?;
        self.read_json(&Method::PUT, path, &answer)
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
        let call = &self.call(&method, path);
        self.within(call, async {
            let request = self.request(call, path, body)?;
            let (mut sender, connection) = self.open(call).await?;
            let exchange = async move {
                let answer = sender.send_request(request).await;
                let answer = answer.map_err(|error| broken(call, &error))?;
                collect(call, answer, BODY_OCTETS_MAX).await
            };
            // The exchange drops its sender at its end, and with that the connection ends too. What
            // breaks the connection also breaks the exchange, which says so.
            let (answer, _) = tokio::join!(exchange, connection);
            answer
        })
        .await
    }

    /// Asks for `path` and hands on what comes, as it comes, until the agent ends the answer or
    /// `each` breaks off. The limit holds until the answer begins; then it may take for ever.
    ///
    /// # Errors
    /// [`RequestError`], also for any status but 200.
    pub async fn follow(
        &self,
        path: &str,
        mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), RequestError> {
        let call = self.call(&Method::GET, path);
        let request = self.request(&call, path, Bytes::new())?;
        let (mut sender, connection) = self.within(&call, self.open(&call)).await?;
        let exchange = async {
            let mut sender = std::pin::pin!(async {
                let answer = sender.send_request(request).await;
                answer.map_err(|error| broken(&call, &error))
            });
            let mut answer = self.within(&call, sender.as_mut()).await?;
            if answer.status() != StatusCode::OK {
                let refusal = collect(&call, answer, REASON_OCTETS_MAX);
                return Err(refused(&self.within(&call, refusal).await?));
            }
            while let Some(frame) = answer.body_mut().frame().await {
                let frame = frame.map_err(|error| broken(&call, &error))?;
                if let Some(octets) = frame.data_ref()
                    && each(octets).is_break()
                {
                    break;
                }
            }
            Ok(())
        };
        // The connection makes no headway by itself, and need not end before the caller does.
        tokio::pin!(exchange, connection);
        tokio::select! {
            result = &mut exchange => result,
            _ = &mut connection => exchange.await,
        }
    }

    /// Waits for one step of a request, no longer than its limit.
    async fn within<T>(
        &self,
        call: &Call,
        step: impl Future<Output = Result<T, RequestError>>,
    ) -> Result<T, RequestError> {
        let timeout = || RequestError::Timeout {
            call: call.clone(),
            limit: self.limit,
        };
        let result = tokio::time::timeout(self.limit, step).await;
        result.unwrap_or_else(|_| Err(timeout()))
    }

    /// Connects and makes ready to send.
    async fn open(
        &self,
        call: &Call,
    ) -> Result<(SendRequest<Full<Bytes>>, Connection<Carrier, Full<Bytes>>), RequestError> {
        let stream = self.connect(call).await?;
        let opened = http1::handshake(TokioIo::new(stream)).await;
        opened.map_err(|error| broken(call, &error))
    }

    async fn connect(&self, call: &Call) -> Result<Box<dyn Stream>, RequestError> {
        let unreachable = |source| RequestError::Connect {
            call: call.clone(),
            address: self.address.clone(),
            source,
        };
        let Some((host, port)) = self.address.host_and_port() else {
            let path = self.address.socket().unwrap_or("".as_ref());
            let stream = UnixStream::connect(path).await.map_err(unreachable)?;
            return Ok(Box::new(stream));
        };
        let stream = TcpStream::connect((host, port))
            .await
            .map_err(unreachable)?;
        if !self.address.is_secure() {
            return Ok(Box::new(stream));
        }
        let failed = |source| RequestError::Tls {
            call: call.clone(),
            source,
        };
        let tls = self.tls.as_ref();
        let tls = tls.ok_or_else(|| failed(io::Error::other("this client has no TLS settings")))?;
        Ok(Box::new(tls.connect(host, stream).await.map_err(failed)?))
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
        let host = match self.address.host_and_port() {
            Some(_) => self.address.to_string(),
            None => "localhost".to_owned(),
        };
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(path)
            .header(HOST, host)
            .header(USER_AGENT, concat!("herald/", env!("CARGO_PKG_VERSION")));
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(credentials) = &self.credentials {
            request = request.header(AUTHORIZATION, format!("Basic {credentials}"));
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

    fn read_json<T: serde::de::DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        answer: &HttpAnswer,
    ) -> Result<T, RequestError> {
        let call = self.call(method, path);
        serde_json::from_slice(&answer.body).map_err(|source| RequestError::Json { call, source })
    }

    fn call(&self, method: &Method, path: &str) -> Call {
        Call {
            method: method.clone(),
            url: self.address.url(path),
        }
    }
}

/// An answer with all of its body, which must not be longer than `octets_max`.
async fn collect(
    call: &Call,
    answer: Response<Incoming>,
    octets_max: usize,
) -> Result<HttpAnswer, RequestError> {
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, octets_max).collect().await;
    let body = body.map_err(|error| broken(call, error.as_ref()))?;
    Ok(HttpAnswer {
        status: parts.status,
        headers: parts.headers,
        body: body.to_bytes(),
    })
}

fn broken(call: &Call, error: &dyn std::error::Error) -> RequestError {
    RequestError::Exchange {
        call: call.clone(),
        reason: explain(error),
    }
}

/// A JSON body; none for null.
fn written(body: &serde_json::Value) -> Bytes {
    match body {
        serde_json::Value::Null => Bytes::new(),
        body => body.to_string().into(),
    }
}

fn accept(answer: HttpAnswer) -> Result<HttpAnswer, RequestError> {
    match answer.status {
        StatusCode::OK => Ok(answer),
        _ => Err(refused(&answer)),
    }
}

fn refused(answer: &HttpAnswer) -> RequestError {
    RequestError::Status {
        status: answer.status,
        text: answer.text(),
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
