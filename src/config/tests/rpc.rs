//! Keys about the agent RPC and its TLS.

use rcgen::{CertificateParams, KeyPair};

use super::*;

/// A directory with a certificate that is also its own authority.
fn certificates() -> Directory {
    let directory = Directory::new();
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(["server.dc1.consul".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    directory.write("c.pem", &certificate.pem());
    directory.write("k.pem", &key.serialize_pem());
    directory
}

/// Reads JSON with `D` in the place of `directory`.
fn read_in(directory: &Directory, text: &str) -> Result<Config, String> {
    read(&text.replace("D/", &format!("{}/", directory.0.display())))
}

#[test]
fn a_server_serves_agents_and_a_client_agent_does_not() {
    let server = read(r#"{"bind_addr": "0.0.0.0", "advertise_addr": "10.1.2.3"}"#).unwrap();
    let rpc = server.rpc.unwrap();
    assert_eq!(rpc.bind.to_string(), "0.0.0.0:8300");
    assert_eq!(server.identity.server_address.to_string(), "10.1.2.3:8300");
    assert_eq!(rpc.connections_of_client_max, 100);
    assert_eq!(rpc.handshake_timeout, Duration::from_secs(5));
    assert_eq!(
        (rpc.streams_max, rpc.request_octets_max),
        (4_096, 4_194_304)
    );
    assert!(rpc.tls.is_none() && !rpc.tls_only);
    assert_eq!(server.tls, TlsConfig::default());
    assert!(read(r#"{"server": false}"#).unwrap().rpc.is_none());
    let client = r#"{"server": false, "ports": {"server": -1}, "verify_incoming": true}"#;
    assert!(read(client).unwrap().rpc.is_none());
}

#[test]
fn limits_of_the_agent_rpc_reach_it() {
    let rpc = |limits: &str| read(limits).unwrap().rpc.unwrap();
    let given = rpc(r#"{"ports": {"server": 0},
            "limits": {"rpc_max_conns_per_client": 7, "rpc_handshake_timeout": "250ms"}}"#);
    assert_eq!(given.bind.port(), 0);
    assert_eq!(given.connections_of_client_max, 7);
    assert_eq!(given.handshake_timeout, Duration::from_millis(250));
    let unbounded = rpc(r#"{"limits": {"rpc_max_conns_per_client": 0}}"#);
    assert_eq!(
        unbounded.connections_of_client_max,
        unbounded.connections_max
    );
}

#[test]
fn values_of_the_agent_rpc_that_make_no_sense_are_named_with_their_place() {
    for (keys, expected) in [
        (
            r#""limits": {"rpc_handshake_timeout": "0s"}"#,
            "limits.rpc_handshake_timeout: duration of 0s, it must be at least 1ms",
        ),
        (
            r#""limits": {"rpc_max_conns_per_client": -1}"#,
            "limits.rpc_max_conns_per_client: expected a whole number from 0 to 1000000, found -1",
        ),
        (
            r#""ports": {"server": -1}"#,
            "ports.server: agents find a server by this port, it cannot be off",
        ),
        (r#""cert_file": 1"#, "cert_file: expected a string, found 1"),
        (
            r#""tls": {"https": {"cert_file": "x"}}"#,
            "tls.https: is not supported yet",
        ),
        (
            r#""tls": {"defaults": {"tls_min_version": "TLSv1_3"}}"#,
            "tls.defaults.tls_min_version: is not supported yet",
        ),
        (
            r#""tls": {"internal_rpc": {"verify_incomming": true}}"#,
            "invalid config key tls.internal_rpc.verify_incomming, did you mean verify_incoming?",
        ),
        (
            r#""verify_incoming_https": true"#,
            "verify_incoming_https: is not supported yet",
        ),
    ] {
        let text = complaint(&format!("{{\n{keys}}}"));
        assert_eq!(text, format!("c.json:2: {expected}"));
    }
}

#[test]
fn certificates_are_read_in_both_spellings() {
    let directory = certificates();
    let old = r#"{"cert_file": "D/c.pem", "key_file": "D/k.pem", "ca_file": "D/c.pem",
        "ca_path": "", "verify_incoming_rpc": true, "verify_outgoing": true,
        "verify_server_hostname": true}"#;
    let new = r#"{"tls": {"defaults": {"cert_file": "D/c.pem", "key_file": "D/nowhere",
            "ca_file": "D/c.pem", "verify_incoming": false, "verify_outgoing": true,
            "tls_min_version": "TLSv1_2"},
        "internal_rpc": {"key_file": "D/k.pem", "verify_incoming": true,
            "verify_server_hostname": true}, "https": {}, "grpc": null}}"#;
    let both = r#"{"cert_file": "D/c.pem", "key_file": "D/k.pem", "ca_file": "D/c.pem",
        "verify_incoming": false, "verify_incoming_rpc": true, "verify_server_hostname": true,
        "tls": {"defaults": {"cert_file": "D/c.pem", "verify_outgoing": true},
            "internal_rpc": {"verify_incoming": true}}}"#;
    let path = |name: &str| Some(directory.0.join(name));
    let expected = TlsConfig {
        cert_file: path("c.pem"),
        key_file: path("k.pem"),
        ca_file: path("c.pem"),
        ca_path: None,
        verify_incoming: true,
        verify_outgoing: true,
        verify_server_hostname: true,
    };
    for text in [old, new, both] {
        let config = read_in(&directory, text).unwrap();
        assert_eq!(config.tls, expected, "{text}");
        let rpc = config.rpc.unwrap();
        assert!(rpc.tls.is_some() && rpc.tls_only);
    }
    let open = r#"{"cert_file": "D/c.pem", "key_file": "D/k.pem"}"#;
    let rpc = read_in(&directory, open).unwrap().rpc.unwrap();
    assert!(rpc.tls.is_some() && !rpc.tls_only);
    let authorities_only = r#"{"ca_path": "D/", "verify_outgoing": true}"#;
    let directory = Directory::new();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::default().self_signed(&key).unwrap();
    directory.write("a.pem", &certificate.pem());
    let config = read_in(&directory, authorities_only).unwrap();
    assert!(config.rpc.unwrap().tls.is_none() && config.tls.verify_outgoing);
}

#[test]
fn two_spellings_that_differ_are_refused() {
    let text = "{\n\"verify_outgoing\": false, \"cert_file\": \"a\",\n\"tls\": {\"internal_rpc\": \
                {\"cert_file\": \"b\"},\n\"defaults\": {\"verify_outgoing\": true}}}";
    let expected = "c.json:3: tls.internal_rpc.cert_file: is not what cert_file says, which is \
                    another spelling of it\n\
                    c.json:4: tls.defaults.verify_outgoing: is not what verify_outgoing says, \
                    which is another spelling of it";
    assert_eq!(complaint(text), expected);
}

#[test]
fn a_setting_that_lacks_another_is_named_as_it_was_written() {
    let authorities = "needs ca_file or ca_path: peers are checked against these authorities";
    for (keys, expected) in [
        (
            r#""cert_file": "x""#,
            "cert_file: needs key_file: a certificate goes with its key".to_owned(),
        ),
        (
            r#""tls": {"defaults": {"key_file": "x"}}"#,
            "tls.defaults.key_file: needs cert_file: a key goes with its certificate".to_owned(),
        ),
        (
            r#""verify_incoming_rpc": true"#,
            "verify_incoming_rpc: needs cert_file and key_file: without them a server takes no TLS \
             in"
            .to_owned(),
        ),
        (
            r#""verify_outgoing": true"#,
            format!("verify_outgoing: {authorities}"),
        ),
        (
            r#""tls": {"internal_rpc": {"verify_server_hostname": true}}"#,
            format!("tls.internal_rpc.verify_server_hostname: {authorities}"),
        ),
    ] {
        let text = complaint(&format!("{{\n{keys}}}"));
        assert_eq!(text, format!("c.json:2: {expected}"));
    }
}

#[test]
fn files_of_certificates_that_cannot_be_used_are_named() {
    let directory = certificates();
    let missing = r#"{"cert_file": "D/c.pem", "key_file": "D/nowhere.pem"}"#;
    let text = read_in(&directory, missing).unwrap_err();
    let expected = format!(
        "config: cannot read key {}/nowhere.pem: ",
        directory.0.display()
    );
    assert!(text.starts_with(&expected), "{text}");
    directory.write("other.pem", &KeyPair::generate().unwrap().serialize_pem());
    let other = r#"{"server": false, "cert_file": "D/c.pem", "key_file": "D/other.pem"}"#;
    let text = read_in(&directory, other).unwrap_err();
    let path = directory.0.display();
    let expected =
        format!("config: key {path}/other.pem does not belong to certificate {path}/c.pem");
    assert_eq!(text, expected);
}

#[test]
fn certificates_and_the_patience_of_the_agent_rpc_take_a_restart_to_change() {
    let directory = certificates();
    let before = read("{}").unwrap().written;
    // The bounds of connections do not.
    let text = r#"{"limits": {"rpc_max_conns_per_client": 7, "http_max_conns_per_client": 7,
            "rpc_handshake_timeout": "1s"},
        "tls": {"defaults": {"cert_file": "D/c.pem", "key_file": "D/k.pem"}}}"#;
    let after = read_in(&directory, text).unwrap().written;
    let expected = [
        "limits.rpc_handshake_timeout",
        "tls.defaults.cert_file",
        "tls.defaults.key_file",
    ];
    assert_eq!(before.needing_restart(&after), expected);
}
