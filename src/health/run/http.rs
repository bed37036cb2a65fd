//! HTTP and HTTPS: the status of one request, after redirects that stay with the same peer.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName,
    HeaderValue, LOCATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

use super::dial::{Dialer, Target, drive};
use super::tls::{Protocol, Security, Tls};
use super::{Deadline, critical, report, text};
use crate::client::http::{Call, explain};
use crate::health::{Http, Report};
use crate::types::Status;

/// Redirects that are followed.
const REDIRECTS_MAX: u32 = 5;
/// Octets of an answer's head.
const HEAD_OCTETS_MAX: usize = 64 * 1024;
/// Octets of the words behind an answer's status.
const REASON_OCTETS_MAX: usize = 256;
/// Services tell health checks from other requests by this name.
const USER_AGENT_CHECK: HeaderValue = HeaderValue::from_static("Consul Health Check");
const ACCEPT_TEXT: HeaderValue = HeaderValue::from_static("text/plain, text/*, */*");
const CLOSE: HeaderValue = HeaderValue::from_static("close");
/// Headers that belong to the connection or the framing of the request, which are not the check's.
const FRAMING: [HeaderName; 7] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// An answer as far as it was read.
struct Answer {
    status: StatusCode,
    /// Status as the peer wrote it, as in `404 Not Found`.
    status_text: String,
    location: Option<String>,
    body: Vec<u8>,
}

/// What every request of one run shares.
struct Run<'a> {
    dialer: &'a Dialer,
    tls: &'a Tls,
    check: &'a Http,
    deadline: Deadline,
    octets_max: usize,
}

/// One request.
struct Ask {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
}

pub(super) async fn run(
    dialer: &Dialer,
    tls: &Tls,
    check: &Http,
    deadline: Deadline,
    octets_max: usize,
) -> Report {
    let run = Run {
        dialer,
        tls,
        check,
        deadline,
        octets_max,
    };
    let answer = match Ask::new(check) {
        Ok(ask) => run.follow(ask).await,
        Err(problem) => Err(format!("{} {:?}: {problem}", check.method, check.url)),
    };
    match answer {
        Ok(answer) => judge(check, &answer, octets_max),
        Err(problem) => critical(problem),
    }
}

fn judge(check: &Http, answer: &Answer, octets_max: usize) -> Report {
    let status = match answer.status {
        status if status.is_success() => Status::Passing,
        StatusCode::TOO_MANY_REQUESTS => Status::Warning,
        _ => Status::Critical,
    };
    let (method, said) = (&check.method, &answer.status_text);
    let (url, body) = (shown(&check.url), text(&answer.body, octets_max));
    report(
        status,
        format!("HTTP {method} {url}: {said} Output: {body}"),
    )
}

/// A URL as everybody may see it: without the password.
fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            // Only URLs that cannot have a password refuse to change it.
            let _ = parsed.set_password(Some("xxxxx"));
            parsed.into()
        }
        _ => url.to_owned(),
    }
}

impl Run<'_> {
    /// The answer to a request, or to the last of those that redirects ask for.
    async fn follow(&self, mut ask: Ask) -> Result<Answer, String> {
        for _ in 0..=REDIRECTS_MAX {
            let call = Call::new(ask.method.clone(), shown(ask.url.as_str()));
            let failed = |problem: String| format!("{call}: {problem}");
            let answer = self.ask(&ask).await.map_err(failed)?;
            let location = match &answer.location {
                Some(location) if !self.check.disable_redirects => location,
                _ => return Ok(answer),
            };
            ask = ask.redirect(answer.status, location).map_err(failed)?;
        }
        let call = Call::new(ask.method, shown(ask.url.as_str()));
        Err(format!("{call}: stopped after {REDIRECTS_MAX} redirects"))
    }

    async fn ask(&self, ask: &Ask) -> Result<Answer, String> {
        let target = ask.target()?;
        let stream = self.dialer.connect(&target, self.deadline).await?;
        if ask.url.scheme() != "https" {
            return self.exchange(ask, stream).await;
        }
        let security = Security {
            skip_verify: self.check.tls_skip_verify,
            server_name: &self.check.tls_server_name,
            protocol: Protocol::Http1,
        };
        let secured = self.tls.secure(stream, &target.host, security);
        let late = |limit| format!("tls: no handshake within {limit:?}");
        self.exchange(ask, self.deadline.or_late(secured, late).await?)
            .await
    }

    /// Sends the request and reads the answer: its head in time, of its body what comes in time.
    async fn exchange<S>(&self, ask: &Ask, stream: S) -> Result<Answer, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(HEAD_OCTETS_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| explain(&error))?;
        let request = ask.request()?;
        let exchange = async {
            let sent = async {
                let answer = sender.send_request(request).await;
                answer.map_err(|error| explain(&error))
            };
            let late = |limit| format!("no answer within {limit:?}");
            let answer = self.deadline.or_late(sent, late).await?;
            Ok(self.read(answer).await)
        };
        drive(exchange, connection).await
    }

    async fn read(&self, answer: Response<Incoming>) -> Answer {
        let status = answer.status();
        let reason = answer.extensions().get::<hyper::ext::ReasonPhrase>();
        let reason = match reason {
            Some(own) => text(own.as_bytes(), REASON_OCTETS_MAX),
            None => status.canonical_reason().unwrap_or_default().to_owned(),
        };
        let location = answer.headers().get(LOCATION).filter(|_| redirects(status));
        let location = location.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let follows = location.is_some() && !self.check.disable_redirects;
        let mut body = Vec::new();
        if !follows {
            let reading = read_body(answer.into_body(), self.octets_max, &mut body);
            // The head decides; a body that does not come to its end in time is shown as far as
            // it came.
            let _ = self.deadline.within(reading).await;
        }
        Answer {
            status,
            status_text: format!("{} {reason}", status.as_u16())
                .trim_end()
                .to_owned(),
            location,
            body,
        }
    }
}

async fn read_body(mut body: Incoming, octets_max: usize, read: &mut Vec<u8>) {
    while read.len() < octets_max {
        let Some(Ok(frame)) = body.frame().await else {
            return;
        };
        let octets = frame.into_data().unwrap_or_default();
        let room = octets_max - read.len();
        read.extend(octets.iter().take(room));
    }
}

fn redirects(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

impl Ask {
    fn new(check: &Http) -> Result<Self, String> {
        let url = Url::parse(&check.url).map_err(|error| error.to_string())?;
        let method = Method::from_bytes(check.method.as_bytes())
            .map_err(|_| "the method has characters that no method may have".to_owned())?;
        Ok(Self {
            method,
            headers: headers(check, &url)?,
            url,
            body: Bytes::copy_from_slice(check.body.as_bytes()),
        })
    }

    /// The request that a redirect asks for. It stays with the same host and port: whoever can
    /// register a check must not make this machine ask others by way of a service of its own.
    fn redirect(self, status: StatusCode, location: &str) -> Result<Self, String> {
        let refused = || {
            format!("redirect to {location:?} is not followed: it leads to another host or port")
        };
        let url = self
            .url
            .join(location)
            .map_err(|error| format!("redirect to {location:?} is not followed: {error}"))?;
        let place = |url: &Url| {
            (
                url.host_str().map(str::to_owned),
                url.port_or_known_default(),
            )
        };
        if place(&url) != place(&self.url) || !matches!(url.scheme(), "http" | "https") {
            return Err(refused());
        }
        // A method that may have changed something is not repeated (RFC 9110 §15.4.2 to §15.4.4).
        let repeats = matches!(status.as_u16(), 307 | 308) || self.method == Method::HEAD;
        Ok(if repeats {
            Self { url, ..self }
        } else {
            Self {
                method: Method::GET,
                body: Bytes::new(),
                url,
                headers: self.headers,
            }
        })
    }

    fn target(&self) -> Result<Target, String> {
        if !matches!(self.url.scheme(), "http" | "https") {
            let scheme = self.url.scheme();
            return Err(format!("unsupported protocol scheme {scheme:?}"));
        }
        let host = self.url.host_str().ok_or("no Host in request URL")?;
        let host = host
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'))
            .unwrap_or(host);
        Ok(Target {
            host: host.to_owned(),
            port: self.url.port_or_known_default().unwrap_or(80),
        })
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, String> {
        let mut path = self.url.path().to_owned();
        if let Some(query) = self.url.query() {
            path = format!("{path}?{query}");
        }
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(path)
            .body(Full::new(self.body.clone()))
            .map_err(|error| error.to_string())?;
        request.headers_mut().clone_from(&self.headers);
        Ok(request)
    }
}

/// The check's own headers, and those that it leaves to herald.
fn headers(check: &Http, url: &Url) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let invalid = |name: &str| format!("header {name:?} has characters that no header may have");
    for (name, values) in &check.header {
        let key: HeaderName = name.parse().map_err(|_| invalid(name))?;
        if FRAMING.contains(&key) {
            continue;
        }
        for value in values {
            let value = HeaderValue::from_str(value).map_err(|_| invalid(name))?;
            let added = headers.try_append(&key, value);
            added.map_err(|_| "too many headers".to_owned())?;
        }
    }
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let host = HeaderValue::from_str(&host).map_err(|_| invalid("Host"))?;
    for (name, value) in [
        (HOST, host),
        (USER_AGENT, USER_AGENT_CHECK),
        (ACCEPT, ACCEPT_TEXT),
        (CONNECTION, CLOSE),
    ] {
        headers.entry(name).or_insert(value);
    }
    if !url.username().is_empty() && !headers.contains_key(AUTHORIZATION) {
        headers.insert(AUTHORIZATION, basic(url));
    }
    Ok(headers)
}

/// Name and password of a URL as credentials (RFC 7617 §2).
fn basic(url: &Url) -> HeaderValue {
    let decode = |part: &str| decode_percent(part.as_bytes());
    let mut pair = decode(url.username());
    pair.push(b':');
    pair.extend(decode(url.password().unwrap_or_default()));
    let value = format!("Basic {}", data_encoding::BASE64.encode(&pair));
    HeaderValue::try_from(value).expect("base64 has no character that a header may not have")
}

/// Octets with `%XX` replaced by what it stands for (RFC 3986 §2.1).
fn decode_percent(octets: &[u8]) -> Vec<u8> {
    let digit = |octet: &u8| char::from(*octet).to_digit(16);
    let mut decoded = Vec::with_capacity(octets.len());
    let mut rest = octets;
    while let [first, tail @ ..] = rest {
        let pair = match tail {
            [high, low, ..] if *first == b'%' => digit(high).zip(digit(low)),
            _ => None,
        };
        let octet = pair.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        decoded.push(octet.unwrap_or(*first));
        rest = match octet {
            Some(_) => tail.get(2..).unwrap_or_default(),
            None => tail,
        };
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str) -> Http {
        Http {
            url: url.into(),
            header: Vec::new(),
            method: "POST".into(),
            body: "body".into(),
            tls_skip_verify: false,
            tls_server_name: "".into(),
            disable_redirects: false,
        }
    }

    fn ask(url: &str) -> Ask {
        Ask::new(&check(url)).unwrap()
    }

    #[test]
    fn redirects_stay_with_the_same_host_and_port() {
        for location in [
            "http://169.254.169.254/latest/meta-data",
            "http://web:81/",
            "https://web/",
            "file:///etc/passwd",
            "//other/x",
            "http://[::1",
        ] {
            let error = ask("http://web/health")
                .redirect(StatusCode::FOUND, location)
                .err()
                .unwrap();
            assert!(error.contains("not followed"), "{location}: {error}");
        }
        for (location, url) in [
            ("/ready?x=1", "http://web/ready?x=1"),
            ("http://WEB:80/a", "http://web/a"),
            ("b", "http://web/b"),
        ] {
            let next = ask("http://web/health").redirect(StatusCode::FOUND, location);
            assert_eq!(next.unwrap().url.as_str(), url);
        }
    }

    #[test]
    fn only_some_redirects_repeat_the_method() {
        for (status, method, body) in [(302, "GET", ""), (303, "GET", ""), (307, "POST", "body")] {
            let status = StatusCode::from_u16(status).unwrap();
            let next = ask("http://web/a").redirect(status, "/b").unwrap();
            assert_eq!(
                (next.method.as_str(), &*next.body),
                (method, body.as_bytes())
            );
        }
    }

    #[test]
    fn a_check_may_set_every_header_but_those_of_the_framing() {
        let mut own = check("http://web:8080/");
        own.header = [
            ("host", vec!["other"]),
            ("X-A", vec!["1", "2"]),
            ("Content-Length", vec!["99"]),
            ("Accept", vec!["application/json"]),
        ]
        .map(|(name, values)| {
            let values = values.into_iter().map(str::to_owned).collect();
            (name.to_owned(), values)
        })
        .into();
        let headers = headers(&own, &Url::parse(&own.url).unwrap()).unwrap();
        let value = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(value("host"), Some("other"));
        assert_eq!(value("accept"), Some("application/json"));
        assert_eq!(value("user-agent"), Some("Consul Health Check"));
        assert_eq!(value("content-length"), None);
        assert_eq!(headers.get_all("x-a").iter().count(), 2);
        own.header = vec![("a b".to_owned(), vec![])];
        assert!(Ask::new(&own).is_err());
    }

    #[test]
    fn credentials_of_the_url_are_sent_and_not_shown() {
        let url = "http://us%65r:p%40ss@web/x";
        let value = headers(&check(url), &Url::parse(url).unwrap()).unwrap();
        let value = value.get(AUTHORIZATION).unwrap();
        assert_eq!(value, "Basic dXNlcjpwQHNz");
        assert!(!shown(url).contains("p%40ss"), "{}", shown(url));
        assert_eq!(shown("http://web/a b"), "http://web/a b");
    }

    #[test]
    fn other_schemes_are_refused() {
        for url in ["file:///etc/passwd", "ftp://web/", "unix:/x"] {
            assert!(ask(url).target().is_err(), "{url}");
        }
        assert_eq!(
            ask("https://[::1]/").target().unwrap().to_string(),
            "[::1]:443"
        );
    }
}
