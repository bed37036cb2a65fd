//! The same inside TLS, through the port of servers itself.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::*;
use crate::rpc::{Answered, Call, Config, Fault, Handlers, Listener, Service, Tls, TlsConfig};

const SERVERS: &str = "server.dc1.consul";

/// Answers no call.
struct Nothing;

impl Service for Nothing {
    fn call<'a>(&'a self, _: Call<'a>) -> Pending<'a, Answered> {
        Box::pin(async { Err(Fault::Call("nothing".to_owned())) })
    }

    fn snapshot<'a>(&'a self, _: &'a [u8]) -> Pending<'a, Vec<u8>> {
        Box::pin(async { Vec::new() })
    }
}

/// The real listener, which takes TLS alone.
pub(super) fn listen(handler: Arc<dyn ConnectionHandler>, tls: Tls, tasks: &Tasks) -> SocketAddr {
    let config = Config {
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        connections_max: 100,
        connections_of_client_max: 100,
        handshake_timeout: Duration::from_secs(5),
        streams_max: 10,
        request_octets_max: 1_000,
        tls: Some(tls),
        tls_only: true,
    };
    let listener = Listener::bind(config).unwrap();
    let address = listener.address();
    let handlers = Handlers {
        service: Arc::new(Nothing),
        raft: Some(handler),
    };
    listener.serve(handlers, &Metrics::new(), tasks);
    address
}

/// Certificates of one authority, in a directory that goes with the test.
struct Authority {
    directory: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(test: &str) -> Self {
        let name = format!("herald-raft-tls-{}-{test}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters
            .distinguished_name
            .push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(parameters, key).unwrap();
        fs::write(directory.join("ca.pem"), issuer.pem()).unwrap();
        Self { directory, issuer }
    }

    fn tls(&self, name: &str) -> Tls {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let write = |end: &str, text: &str| {
            let path = self.directory.join(format!("{name}.{end}"));
            fs::write(&path, text).unwrap();
            Some(path)
        };
        let config = TlsConfig {
            cert_file: write("pem", &certificate.pem()),
            key_file: write("key", &key.serialize_pem()),
            ca_file: Some(self.directory.join("ca.pem")),
            verify_incoming: true,
            verify_outgoing: true,
            verify_server_hostname: true,
            ..TlsConfig::default()
        };
        Tls::load(&config, SERVERS).unwrap()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}

#[tokio::test]
async fn servers_speak_inside_tls() {
    let authority = Authority::new("servers");
    let tls = [Some(authority.tls(SERVERS)), Some(authority.tls(SERVERS))];
    let mut world = World::secured(Some(CLUSTER), Some(CLUSTER), tls).await;
    let mut client = world.client().await;
    let appended = client
        .append_entries(entries(1..=3, 100_000), option())
        .await;
    assert_eq!(appended.unwrap(), AppendEntriesResponse::Success);
}

#[tokio::test]
async fn the_certificate_of_a_client_does_not_open_raft() {
    let authority = Authority::new("client");
    let tls = [
        Some(authority.tls("client.dc1.consul")),
        Some(authority.tls(SERVERS)),
    ];
    let mut world = World::secured(Some(CLUSTER), Some(CLUSTER), tls).await;
    let mut client = world.client().await;
    let appended = client.append_entries(entries(1..=1, 1), option()).await;
    assert!(appended.is_err());
    assert!(world.node.appended.lock().unwrap().is_empty());
    assert!(
        world
            .network
            .ask()
            .is_in_cluster(world.address)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn plain_text_does_not_open_raft_where_tls_is_asked_for() {
    let authority = Authority::new("plain");
    let tls = [None, Some(authority.tls(SERVERS))];
    let mut world = World::secured(Some(CLUSTER), Some(CLUSTER), tls).await;
    let mut client = world.client().await;
    let voted = client
        .vote(VoteRequest::new(candidate(1), None), option())
        .await;
    assert!(voted.is_err());
}
