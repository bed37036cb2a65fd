//! Peers of health checks, each on a free port of 127.0.0.1, with a certificate of their own where
//! they speak TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use herald::task::Tasks;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A byte stream of either kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection that a peer has accepted.
pub(crate) type Accepted = Box<dyn Stream>;

/// A running peer; it goes with the test.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    tasks: Tasks,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

/// Name, certificate and key of a server that nobody knows.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    acceptor: TlsAcceptor,
}

impl Identity {
    /// An identity for `name` that offers `protocol`.
    pub(crate) fn new(name: &str, protocol: &[u8]) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        config.alpn_protocols = vec![protocol.to_vec()];
        Self {
            certificate,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }
}

impl Peer {
    /// Hands each connection to `serve`, secured if there is an identity.
    pub(crate) async fn start<F, R>(identity: Option<&Identity>, serve: F) -> Self
    where
        F: Fn(Accepted) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tasks, acceptor) = (Tasks::new(), identity.map(|own| own.acceptor.clone()));
        let spawner = tasks.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (serve, acceptor) = (serve.clone(), acceptor.clone());
                spawner.spawn(async move {
                    if let Some(stream) = secure(stream, acceptor).await {
                        serve(stream).await;
                    }
                });
            }
        });
        Self { address, tasks }
    }

    /// An HTTP/1 server that sends what `answer` makes of a request, and closes.
    pub(crate) async fn http<F>(identity: Option<&Identity>, answer: F) -> Self
    where
        F: Fn(&str) -> String + Clone + Send + Sync + 'static,
    {
        Self::start(identity, move |mut stream| {
            let answer = answer.clone();
            async move {
                let request = read_request(&mut stream).await;
                let octets = answer(&request);
                // The check may have gone already.
                let _ = stream.write_all(octets.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }
}

async fn secure(stream: TcpStream, acceptor: Option<TlsAcceptor>) -> Option<Accepted> {
    match acceptor {
        None => Some(Box::new(stream)),
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => Some(Box::new(stream)),
            Err(_) => None,
        },
    }
}

/// An address on which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// An answer with a body.
pub(crate) fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// An answer that leads elsewhere.
pub(crate) fn redirect(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

/// A request with its body, if its length is given.
pub(crate) async fn read_request(stream: &mut dyn Stream) -> String {
    let mut octets = Vec::new();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !is_whole(&text) {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => octets.extend_from_slice(&buffer[..count]),
        }
        text = String::from_utf8_lossy(&octets).into_owned();
    }
    text
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let found = name.eq_ignore_ascii_case("content-length");
        found.then(|| value.parse::<usize>().unwrap())
    });
    body.len() >= length.unwrap_or(0)
}
