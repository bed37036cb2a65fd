//! The port of the agent RPC, as an agent has it: who is told of it, and TLS on it.

use std::sync::Arc;

use herald::client::http::HttpClient;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::agent::{LIMIT, TestAgent};
use crate::support::front::Authority;
use crate::support::http::get;

/// First octets of a connection.
const CALLS: u8 = 0x00;
const TLS: u8 = 0x03;

/// A call of `Status.Ping`: `{"ServiceMethod": "Status.Ping", "Seq": 7}` and an empty request.
const PING: &[u8] = b"\x82\xadServiceMethod\xabStatus.Ping\xa3Seq\x07\x80";
/// Its answer.
const PONG: &[u8] = b"\x83\xa5Error\xa0\xa3Seq\x07\xadServiceMethod\xabStatus.Ping\x80";

/// What comes back after `Status.Ping`: nothing if the connection is closed.
async fn ping(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Vec<u8> {
    let talk = async {
        let mut answer = vec![0; PONG.len()];
        stream.write_all(&[&[CALLS], PING].concat()).await.ok()?;
        stream.flush().await.ok()?;
        stream.read_exact(&mut answer).await.ok()?;
        Some(answer)
    };
    let answer = tokio::time::timeout(LIMIT, talk).await;
    answer.expect("an answer or an end").unwrap_or_default()
}

/// The same inside TLS, for a client that trusts `authority` and shows the certificate `own`.
async fn ping_over_tls(agent: &TestAgent, authority: &Authority, own: Option<&str>) -> Vec<u8> {
    let read = |name: &str| CertificateDer::from_pem_file(authority.path(name)).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(read("ca.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        Some(name) => {
            let key = PrivateKeyDer::from_pem_file(authority.path(&format!("{name}.key"))).unwrap();
            let chain = vec![read(&format!("{name}.pem"))];
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let mut stream = TcpStream::connect(agent.rpc()).await.unwrap();
    stream.write_u8(TLS).await.unwrap();
    let name = ServerName::try_from("server.dc1.consul").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    match connector.connect(name, stream).await {
        Ok(mut stream) => ping(&mut stream).await,
        Err(_) => Vec::new(),
    }
}

/// A server with a certificate of `authority`, and more settings.
async fn server(authority: &Authority, more: Value) -> TestAgent {
    authority.sign("server.dc1.consul");
    let mut content = json!({
        "cert_file": authority.path("server.dc1.consul.pem"),
        "key_file": authority.path("server.dc1.consul.key"),
    });
    for (key, value) in more.as_object().unwrap() {
        content[key] = value.clone();
    }
    TestAgent::with(&content.to_string()).await
}

async fn members(http: &HttpClient) -> Value {
    http.get("/v1/agent/members").await.unwrap()
}

#[tokio::test]
async fn a_free_port_is_told_wherever_others_look_for_it() {
    let agent = TestAgent::settled().await;
    let address = agent.rpc();
    assert!(address.ip().is_loopback() && address.port() != 0);
    let port = address.port();
    let members = members(&agent.http).await;
    assert_eq!(members[0]["Tags"]["port"], port.to_string());
    assert!(members[0]["Tags"].get("use_tls").is_none());
    let leader: String = agent.http.get("/v1/status/leader").await.unwrap();
    assert_eq!(leader, address.to_string());
    let node = get(agent.http_address(), "/v1/catalog/node/n1")
        .await
        .json();
    assert_eq!(node["Services"]["consul"]["Port"], port);
    let itself = get(agent.http_address(), "/v1/agent/self").await.json();
    let shown = &itself["DebugConfig"];
    assert_eq!(shown["ServerPort"], port);
    assert_eq!(shown["RPCAdvertiseAddr"], format!("tcp://{address}"));
    assert_eq!(shown["RPCBindAddr"], format!("tcp://{address}"));
    assert_eq!(
        (
            &shown["RPCHandshakeTimeout"],
            &shown["RPCMaxConnsPerClient"]
        ),
        (&json!("5s"), &json!(100))
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    assert_eq!(ping(&mut stream).await, PONG);
    agent.stop().await;
}

#[tokio::test]
async fn a_server_with_a_certificate_takes_tls_and_the_clear() {
    let authority = Authority::new();
    let agent = server(&authority, json!({})).await;
    assert_eq!(ping_over_tls(&agent, &authority, None).await, PONG);
    let mut stream = TcpStream::connect(agent.rpc()).await.unwrap();
    assert_eq!(ping(&mut stream).await, PONG);
    // Without authorities of its own it does not call agents to TLS, as in the reference.
    assert!(
        members(&agent.http).await[0]["Tags"]
            .get("use_tls")
            .is_none()
    );
    let itself = get(agent.http_address(), "/v1/agent/self").await.json();
    assert_eq!(itself["DebugConfig"]["KeyFile"], "hidden");
    agent.stop().await;
}

#[tokio::test]
async fn a_server_that_verifies_takes_in_whom_its_authority_vouches_for() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let more = json!({"ca_file": authority.path("ca.pem"), "verify_incoming": true});
    let agent = server(&authority, more).await;
    authority.sign("client");
    assert_eq!(
        ping_over_tls(&agent, &authority, Some("client")).await,
        PONG
    );
    assert_eq!(ping_over_tls(&agent, &authority, None).await, b"");
    foreign.sign("client");
    std::fs::copy(authority.path("ca.pem"), foreign.path("ca.pem")).unwrap();
    assert_eq!(ping_over_tls(&agent, &foreign, Some("client")).await, b"");
    let mut stream = TcpStream::connect(agent.rpc()).await.unwrap();
    assert_eq!(ping(&mut stream).await, b"");
    assert_eq!(members(&agent.http).await[0]["Tags"]["use_tls"], "1");
    let itself = get(agent.http_address(), "/v1/agent/self").await.json();
    assert_eq!(itself["DebugConfig"]["VerifyIncomingRPC"], true);
    agent.stop().await;
}
