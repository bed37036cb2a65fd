//! Both sides of a connection in memory, with authorities of their own.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const NAME: &str = "server.dc1.consul";

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("herald-rpc-tls-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Signs certificates.
struct Authority {
    directory: Directory,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(parameters, key).unwrap();
        let directory = Directory::new();
        directory.write("ca.pem", &issuer.pem());
        Self { directory, issuer }
    }

    fn file(&self) -> PathBuf {
        self.directory.0.join("ca.pem")
    }

    /// A certificate for `name` that is valid in these years; no other settings.
    fn sign_for(&self, name: &str, [from, to]: [i32; 2]) -> TlsConfig {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(from, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(to, 1, 1);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let write = |end: &str, text: &str| self.directory.write(&format!("{name}.{end}"), text);
        TlsConfig {
            cert_file: Some(write("pem", &certificate.pem())),
            key_file: Some(write("key", &key.serialize_pem())),
            ..TlsConfig::default()
        }
    }

    fn sign(&self, name: &str) -> TlsConfig {
        self.sign_for(name, [2_000, 4_000])
    }

    /// A client that believes what it signs.
    fn believer(&self) -> TlsConfig {
        TlsConfig {
            ca_file: Some(self.file()),
            verify_outgoing: true,
            ..TlsConfig::default()
        }
    }
}

fn load(config: &TlsConfig) -> Tls {
    Tls::load(config, NAME).unwrap()
}

fn refused(config: &TlsConfig) -> String {
    Tls::load(config, NAME).unwrap_err().to_string()
}

/// Shakes hands and sends an octet each way. What the server and the client say of it.
async fn talk(server: &TlsConfig, client: &TlsConfig) -> [Result<(), String>; 2] {
    let (server, client) = (load(server), load(client));
    let (near, far) = tokio::io::duplex(65_536);
    let serve = async {
        let mut stream = server.accept(near).await?;
        let octet = stream.read_u8().await?;
        stream.write_u8(octet).await?;
        stream.flush().await
    };
    let ask = async {
        let mut stream = client.connect(far).await?;
        stream.write_u8(4).await?;
        stream.flush().await?;
        assert_eq!(stream.read_u8().await?, 4);
        Ok(())
    };
    let (server, client): (io::Result<()>, io::Result<()>) = tokio::join!(serve, ask);
    [server, client].map(|result| result.map_err(|error| error.to_string()))
}

const GOOD: [Result<(), String>; 2] = [Ok(()), Ok(())];

#[tokio::test]
async fn without_verification_anybody_gets_in_and_any_server_is_believed() {
    let authority = Authority::new("a");
    let server = authority.sign("anything");
    assert!(server.serves() && !TlsConfig::default().serves());
    assert_eq!(talk(&server, &TlsConfig::default()).await, GOOD);
}

#[tokio::test]
async fn a_server_is_believed_by_its_authority_and_not_by_its_name() {
    let (own, foreign) = (Authority::new("own"), Authority::new("foreign"));
    let server = own.sign("10.0.0.1");
    assert_eq!(talk(&server, &own.believer()).await, GOOD);
    let [_, client] = talk(&server, &foreign.believer()).await;
    let expected = "certificate is signed by an authority that is not trusted here";
    assert_eq!(client.unwrap_err(), expected);
}

#[tokio::test]
async fn a_server_must_have_the_name_of_its_kind_where_that_is_asked_for() {
    let authority = Authority::new("a");
    let strict = TlsConfig {
        verify_outgoing: false,
        verify_server_hostname: true,
        ..authority.believer()
    };
    assert!(strict.verifies_servers());
    assert_eq!(talk(&authority.sign(NAME), &strict).await, GOOD);
    let [_, client] = talk(&authority.sign("server.dc2.consul"), &strict).await;
    let reason = client.unwrap_err();
    assert!(reason.contains("not valid for name"), "{reason}");
    let [_, client] = talk(&authority.sign("client.dc1.consul"), &strict).await;
    assert!(client.is_err());
}

#[tokio::test]
async fn a_client_must_show_a_certificate_of_the_authority_where_that_is_asked_for() {
    let (own, foreign) = (Authority::new("own"), Authority::new("foreign"));
    let server = TlsConfig {
        ca_file: Some(own.file()),
        verify_incoming: true,
        ..own.sign(NAME)
    };
    assert_eq!(talk(&server, &own.sign("client")).await, GOOD);
    let [told, client] = talk(&server, &TlsConfig::default()).await;
    assert!(told.unwrap_err().contains("no certificates"));
    assert!(client.is_err());
    let [told, client] = talk(&server, &foreign.sign("client")).await;
    let expected = "certificate is signed by an authority that is not trusted here";
    assert_eq!(told.unwrap_err(), expected);
    assert!(client.is_err());
}

#[tokio::test]
async fn an_expired_certificate_and_one_that_signs_itself_prove_nothing() {
    let authority = Authority::new("a");
    let expired = authority.sign_for("old", [2_000, 2_001]);
    let [_, client] = talk(&expired, &authority.believer()).await;
    let reason = client.unwrap_err();
    assert!(reason.contains("certificate expired"), "{reason}");
    // The authority's own certificate, as a server's.
    let alone = TlsConfig {
        cert_file: Some(authority.file()),
        key_file: Some(
            authority
                .directory
                .write("ca.key", &authority.issuer.key().serialize_pem()),
        ),
        ..TlsConfig::default()
    };
    let [_, client] = talk(&alone, &authority.believer()).await;
    let expected = "certificate is self-signed or an authority's own, which proves nothing of who \
                    shows it";
    assert_eq!(client.unwrap_err(), expected);
}

#[tokio::test]
async fn a_directory_of_authorities_is_read_whole() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let directory = Directory::new();
    directory.write("1.pem", &first.issuer.pem());
    directory.write("2.pem", &second.issuer.pem());
    let client = TlsConfig {
        ca_path: Some(directory.0.clone()),
        verify_outgoing: true,
        ..TlsConfig::default()
    };
    for authority in [first, second] {
        assert_eq!(talk(&authority.sign("x"), &client).await, GOOD);
    }
}

#[tokio::test]
async fn without_a_certificate_nobody_is_taken_in() {
    let (near, _far) = tokio::io::duplex(1_024);
    let error = load(&TlsConfig::default()).accept(near).await.unwrap_err();
    assert_eq!(error.to_string(), "no certificate is configured");
}

#[tokio::test]
async fn who_does_not_speak_tls_is_no_peer() {
    let authority = Authority::new("a");
    let (near, mut far) = tokio::io::duplex(1_024);
    far.write_all(&[4, 0, 1, 0, 1, 0, 0]).await.unwrap();
    assert!(load(&authority.sign("x")).accept(near).await.is_err());
}

#[test]
fn a_key_that_does_not_fit_is_named_with_its_certificate() {
    let authority = Authority::new("a");
    let (mut config, other) = (authority.sign("one"), authority.sign("other"));
    config.key_file = other.key_file;
    let path = authority.directory.0.display();
    let expected = format!("key {path}/other.key does not belong to certificate {path}/one.pem");
    assert_eq!(refused(&config), expected);
}

#[test]
fn files_that_are_missing_or_hold_something_else_are_named() {
    let authority = Authority::new("a");
    let good = authority.sign("x");
    let path = authority.directory.0.display();
    let empty = authority.directory.write("empty.pem", "nothing\n");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken = authority.directory.write("broken.pem", broken);
    let nowhere = authority.directory.0.join("nowhere");
    let mut config = good.clone();
    config.cert_file = Some(nowhere.clone());
    let text = refused(&config);
    let expected = format!("cannot read certificate {path}/nowhere: ");
    assert!(text.starts_with(&expected), "{text}");
    config.cert_file = Some(empty.clone());
    let expected = format!("no certificate in {path}/empty.pem");
    assert_eq!(refused(&config), expected);
    config.cert_file = Some(broken.clone());
    let text = refused(&config);
    let expected = format!("certificate {path}/broken.pem: ");
    assert!(text.starts_with(&expected), "{text}");
    config = good;
    config.key_file = Some(empty);
    let text = refused(&config);
    let expected = format!("cannot read key {path}/empty.pem: ");
    assert!(text.starts_with(&expected), "{text}");
    config = authority.believer();
    config.ca_file = Some(broken);
    let text = refused(&config);
    let expected = format!("cannot read authorities {path}/broken.pem: ");
    assert!(text.starts_with(&expected), "{text}");
    config.ca_file = None;
    config.ca_path = Some(nowhere);
    let text = refused(&config);
    let expected = format!("cannot read directory of authorities {path}/nowhere: ");
    assert!(text.starts_with(&expected), "{text}");
}

#[test]
fn settings_that_lack_others_are_refused() {
    let authority = Authority::new("a");
    let good = authority.sign("x");
    let alone = |change: fn(&mut TlsConfig)| {
        let mut config = TlsConfig::default();
        change(&mut config);
        refused(&config)
    };
    let keyless = TlsConfig {
        key_file: None,
        ..good.clone()
    };
    let expected = "cert_file needs key_file: a certificate goes with its key";
    assert_eq!(refused(&keyless), expected);
    let bare = TlsConfig {
        cert_file: None,
        ..good.clone()
    };
    let expected = "key_file needs cert_file: a key goes with its certificate";
    assert_eq!(refused(&bare), expected);
    let expected = "verify_incoming needs cert_file and key_file: without them a server takes no \
                    TLS in";
    assert_eq!(alone(|config| config.verify_incoming = true), expected);
    let unchecked = TlsConfig {
        verify_incoming: true,
        ..good
    };
    let authorities = "needs ca_file or ca_path: peers are checked against these authorities";
    assert_eq!(
        refused(&unchecked),
        format!("verify_incoming {authorities}")
    );
    let text = alone(|config| config.verify_outgoing = true);
    assert_eq!(text, format!("verify_outgoing {authorities}"));
    let text = alone(|config| config.verify_server_hostname = true);
    assert_eq!(text, format!("verify_server_hostname {authorities}"));
}

#[test]
fn names_of_servers_are_host_names() {
    let config = TlsConfig::default();
    for name in [
        "server.dc1.consul.",
        "server.my_dc.example",
        "server.dc-1.x",
    ] {
        assert!(Tls::load(&config, name).is_ok(), "{name}");
    }
    let error = Tls::load(&config, "server dc1").unwrap_err();
    assert_eq!(
        error.to_string(),
        "server name \"server dc1\" is no host name"
    );
}
