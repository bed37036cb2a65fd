//! TLS between the agent and its server, and the keys of the pool.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;

use super::{Pair, pair_with, strangers, within};
use crate::support::directory::Directory;

/// Signs certificates, and keeps them in files.
struct Authority {
    directory: Directory,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters
            .distinguished_name
            .push(DnType::CommonName, "authority of a test");
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(parameters, key).unwrap();
        let directory = Directory::new();
        directory.write("ca.pem", &issuer.pem());
        Self { directory, issuer }
    }

    fn authority(&self) -> PathBuf {
        self.directory.0.join("ca.pem")
    }

    /// Certificate and key for `name`.
    fn sign(&self, name: &str) -> [PathBuf; 2] {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        [
            self.directory
                .write(&format!("{name}.pem"), &certificate.pem()),
            self.directory
                .write(&format!("{name}.key"), &key.serialize_pem()),
        ]
    }
}

/// Discovery works between the two.
async fn works(pair: &Pair) {
    pair.register(json!({"Name": "web", "Port": 80, "Address": "10.1.0.1"}))
        .await;
    pair.resolves("web.service.consul A", &["10.1.0.1"]).await;
    assert_eq!(pair.agree("/v1/health/service/web").await.status, 200);
}

#[tokio::test]
async fn an_agent_and_its_server_prove_to_each_other_who_they_are() {
    let authority = Authority::new();
    let [certificate, key] = authority.sign("server.dc1.consul");
    let ca = authority.authority();
    let server = json!({"cert_file": certificate, "key_file": key, "ca_file": ca,
        "verify_incoming": true, "verify_outgoing": true});
    let [certificate, key] = authority.sign("c");
    let agent = json!({"cert_file": certificate, "key_file": key, "ca_file": ca,
        "verify_outgoing": true, "verify_server_hostname": true});
    let Some(pair) = pair_with(103, server, agent).await else {
        return;
    };
    works(&pair).await;
    let tags = pair.agent.get("/v1/agent/members").await.json();
    let mut members = tags.as_array().unwrap().iter();
    let own = members.find(|member| member["Name"] == "h").unwrap();
    assert_eq!(own["Tags"]["use_tls"], "1");
}

#[tokio::test]
async fn an_agent_without_a_certificate_may_come_where_none_is_demanded() {
    let authority = Authority::new();
    let [certificate, key] = authority.sign("server.dc1.consul");
    let ca = authority.authority();
    let server = json!({"cert_file": certificate, "key_file": key, "ca_file": ca});
    let agent = json!({"ca_file": ca, "verify_outgoing": true});
    let Some(pair) = pair_with(104, server, agent).await else {
        return;
    };
    works(&pair).await;
}

#[tokio::test]
async fn agents_of_an_encrypted_pool_take_new_keys_from_their_server() {
    let key = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=";
    let keyed = json!({"encrypt": key});
    let Some(pair) = pair_with(105, keyed.clone(), keyed).await else {
        return;
    };
    works(&pair).await;
    let other = "mP9wcGQXNFzUmqQAYyWnGWDFBxSQOgeAgBJHbbmnjgI=";
    for (flag, keys) in [
        ("-install", json!({key: 2, other: 2})),
        ("-use", json!({key: 2, other: 2})),
        ("-remove", json!({other: 2})),
    ] {
        let named = if flag == "-remove" { key } else { other };
        let done = pair.server.run(&["keyring", flag, named]).await;
        assert_eq!(done.code, 0, "{flag}: {}{}", done.out, done.err);
        let rings = pair.server.get("/v1/operator/keyring").await.json();
        let mut rings = rings.as_array().unwrap().iter();
        let ring = rings.find(|ring| ring["WAN"] == false).unwrap();
        assert_eq!((&ring["NumNodes"], &ring["Keys"]), (&json!(2), &keys));
    }
    // The agent itself sends nobody's key operations on.
    let refused = pair.agent.get("/v1/operator/keyring").await;
    let expected = "keyring operations must run against a server node";
    assert_eq!((refused.status, refused.text().as_str()), (500, expected));
    pair.tell("/v1/agent/service/deregister/web").await;
    pair.resolves("web.service.consul A", &[]).await;
}

#[tokio::test]
async fn an_agent_in_the_clear_is_refused_where_tls_is_demanded() {
    let authority = Authority::new();
    let [certificate, key] = authority.sign("server.dc1.consul");
    let ca = authority.authority();
    let server = json!({"cert_file": certificate, "key_file": key, "ca_file": ca,
        "verify_incoming": true});
    let Some(pair) = strangers(106, server, json!({})).await else {
        return;
    };
    let reply = pair.agent.get("/v1/catalog/nodes").await;
    assert_eq!(reply.status, 500, "{}", reply.text());
    assert!(reply.text().contains("rpc error"), "{}", reply.text());
    // It is a member all the same, and so a node; what it says of itself has not come.
    within(10, "the agent is a node", async || {
        pair.server.has_node("c").await
    })
    .await;
    let node = pair.server.get("/v1/catalog/node/c").await.json();
    assert_ne!(node["Node"]["Meta"]["rack"], "r1");
}
