//! Whom commands ask, how, and as whom.

use std::net::SocketAddr;

use super::{ask, herald, herald_with};
use crate::support::agent::TestAgent;
use crate::support::directory::Directory;
use crate::support::front::{Authority, Front};
use crate::support::script::{Script, status};

/// What `members` prints about a test agent.
fn members(agent: &TestAgent) -> String {
    let address = agent.lan().to_string();
    format!(
        "Node  {:width$}  Status  Type    Build         Protocol  DC   Segment\n\
         n1    {address}  alive   server  herald/{}  2         dc1  <all>\n",
        "Address",
        env!("CARGO_PKG_VERSION"),
        width = address.len()
    )
}

/// An agent behind TLS with a certificate for `name`.
async fn behind_tls(name: &str, clients: Option<&Authority>) -> (TestAgent, Authority, Front) {
    let (agent, authority) = (TestAgent::start().await, Authority::new());
    let front = Front::tls(agent.http_address(), &authority, name, clients).await;
    (agent, authority, front)
}

#[tokio::test]
async fn an_agent_is_asked_over_tls() {
    let (agent, authority, front) = behind_tls("127.0.0.1", None).await;
    let address = format!("-http-addr=https://{}", front.address);
    let file = format!("-ca-file={}", authority.path("ca.pem").display());
    let directory = format!("-ca-path={}", authority.path("").display());
    for trusted in [&file, &directory] {
        let finished = herald(&["members", &address, trusted]).await;
        finished.is(0, &members(&agent), "");
    }
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_whose_authority_is_not_trusted_is_told_nothing() {
    let (agent, _, front) = behind_tls("127.0.0.1", None).await;
    let other = Authority::new();
    let address = format!("-http-addr=https://{}", front.address);
    let file = format!("-ca-file={}", other.path("ca.pem").display());
    let text = format!(
        "Error querying agent: Get \"https://{}/v1/agent/self\": tls: certificate is signed by an \
         authority that is not trusted here\n",
        front.address
    );
    herald(&["info", &address, &file]).await.is(1, "", &text);
    let plain = format!("-http-addr={}", agent.http_address());
    let finished = herald(&["members", &plain, &file]).await;
    let notice = format!(
        "-ca-file has no effect: {} is asked without TLS\n",
        agent.http_address()
    );
    finished.is(0, &members(&agent), &notice);
    agent.stop().await;
}

#[tokio::test]
async fn the_certificate_must_be_for_the_name_expected() {
    let (agent, authority, front) = behind_tls("agent.internal", None).await;
    let address = format!("-http-addr=https://{}", front.address);
    let file = format!("-ca-file={}", authority.path("ca.pem").display());
    let finished = herald(&["members", &address, &file]).await;
    assert_eq!((finished.code, finished.out.as_str()), (1, ""));
    assert!(
        finished.err.contains("tls: invalid peer certificate"),
        "{}",
        finished.err
    );
    let name = "-tls-server-name=agent.internal";
    let finished = herald(&["members", &address, &file, name]).await;
    finished.is(0, &members(&agent), "");
    let finished = herald(&["members", &address, &file, "-tls-server-name=a b"]).await;
    let text = "server name \"a b\" is neither a host name nor an IP address\n";
    finished.is(1, "", text);
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_may_ask_for_a_certificate() {
    let clients = Authority::new();
    clients.sign("operator");
    let (agent, authority, front) = behind_tls("127.0.0.1", Some(&clients)).await;
    let address = format!("-http-addr=https://{}", front.address);
    let file = format!("-ca-file={}", authority.path("ca.pem").display());
    let finished = herald(&["members", &address, &file]).await;
    assert_eq!((finished.code, finished.out.as_str()), (1, ""));
    let certificate = format!("-client-cert={}", clients.path("operator.pem").display());
    let key = format!("-client-key={}", clients.path("operator.key").display());
    let finished = herald(&["members", &address, &file, &certificate, &key]).await;
    finished.is(0, &members(&agent), "");
    let finished = herald(&["members", &address, &file, &certificate]).await;
    let text = "a client certificate and its key are given together or not at all\n";
    finished.is(1, "", text);
    agent.stop().await;
}

#[tokio::test]
async fn variables_say_the_same_as_flags() {
    let clients = Authority::new();
    clients.sign("operator");
    let (agent, authority, front) = behind_tls("agent.internal", Some(&clients)).await;
    let address = front.address.to_string();
    let path = |authority: &Authority, name| authority.path(name).display().to_string();
    for prefix in ["CONSUL_", "HERALD_"] {
        let variables = [
            ("HTTP_ADDR", address.clone()),
            ("HTTP_SSL", "true".to_owned()),
            ("CACERT", path(&authority, "ca.pem")),
            ("CAPATH", "/nowhere".to_owned()),
            ("CLIENT_CERT", path(&clients, "operator.pem")),
            ("CLIENT_KEY", path(&clients, "operator.key")),
            ("TLS_SERVER_NAME", "agent.internal".to_owned()),
        ]
        .map(|(name, value)| (format!("{prefix}{name}"), value));
        let variables = variables.each_ref().map(|(k, v)| (k.as_str(), v.as_str()));
        let finished = herald_with(&variables, &["members"]).await;
        finished.is(0, &members(&agent), "");
    }
    agent.stop().await;
}

#[tokio::test]
async fn checking_certificates_can_be_given_up() {
    let (agent, _, front) = behind_tls("elsewhere", None).await;
    let address = format!("https://{}", front.address);
    let variables = [
        ("CONSUL_HTTP_ADDR", address.as_str()),
        ("CONSUL_HTTP_SSL_VERIFY", "false"),
    ];
    let finished = herald_with(&variables, &["members"]).await;
    finished.is(0, &members(&agent), "");
    let variables = [variables[0], ("HERALD_HTTP_SSL_VERIFY", "maybe")];
    let text = "HERALD_HTTP_SSL_VERIFY: \"maybe\" is neither true nor false\n";
    let finished = herald_with(&variables, &["members"]).await;
    finished.is(1, "", text);
    agent.stop().await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let directory = Directory::new();
    let empty = directory.write("empty.pem", "nothing here\n");
    let address = "-http-addr=https://127.0.0.1:9";
    let file = format!("-ca-file={}", empty.display());
    let text = format!("no authorities in {}\n", empty.display());
    herald(&["info", address, &file]).await.is(1, "", &text);
    let finished = herald(&["info", address, "-ca-file=/nowhere/ca.pem"]).await;
    assert!(
        finished.code == 1
            && finished
                .err
                .starts_with("cannot read authorities /nowhere/ca.pem: "),
        "{}",
        finished.err
    );
    let finished = herald(&["info", address, "-ca-path=/nowhere"]).await;
    assert!(
        finished.code == 1
            && finished
                .err
                .starts_with("cannot read directory of authorities /nowhere: "),
        "{}",
        finished.err
    );
}

#[tokio::test]
async fn an_agent_is_asked_through_a_unix_socket() {
    let agent = TestAgent::start().await;
    let directory = Directory::new();
    let path = directory.0.join("herald.sock");
    let _front = Front::unix(&path, agent.http_address());
    let address = format!("unix://{}", path.display());
    let finished = herald(&["members", "-http-addr", &address]).await;
    finished.is(0, &members(&agent), "");
    let finished = herald_with(&[("CONSUL_HTTP_ADDR", &address)], &["members"]).await;
    finished.is(0, &members(&agent), "");
    let text = "Error querying agent: Get \"unix:///nowhere/x.sock/v1/agent/self\": dial unix \
                /nowhere/x.sock: connect: no such file or directory\n";
    let finished = herald(&["info", "-http-addr=unix:///nowhere/x.sock"]).await;
    finished.is(1, "", text);
    agent.stop().await;
}

#[tokio::test]
async fn who_asks_is_said_in_headers() {
    let directory = Directory::new();
    let file = directory.write("token", " from-file \n");
    let file = file.to_str().unwrap();
    let answers = vec![status("200 OK", "[]"); 5];
    let mut script = Script::start(answers).await;
    let address = script.address.to_string();
    let command = ["catalog", "datacenters"];
    for (variables, arguments, expected) in [
        (
            &[("CONSUL_HTTP_AUTH", "Aladdin:open sesame")][..],
            &[][..],
            "authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        ),
        (
            &[("CONSUL_HTTP_TOKEN", "variable")],
            &[],
            "x-consul-token: variable",
        ),
        (
            &[("CONSUL_HTTP_TOKEN", "one"), ("HERALD_HTTP_TOKEN", "other")],
            &[],
            "x-consul-token: other",
        ),
        (
            &[("CONSUL_HTTP_TOKEN_FILE", file)],
            &[],
            "x-consul-token: from-file",
        ),
        (
            &[("CONSUL_HTTP_TOKEN_FILE", file)],
            &["-token=flag"],
            "x-consul-token: flag",
        ),
    ] {
        let mut all = vec![("CONSUL_HTTP_ADDR", address.as_str())];
        all.extend(variables);
        let finished = herald_with(&all, &[&command[..], arguments].concat()).await;
        finished.is(0, "", "");
        let request = script.request().await;
        let said = request.lines().any(|line| line == expected);
        assert!(said, "{expected} in {request}");
    }
}

#[tokio::test]
async fn the_rpc_address_of_old_guides_leads_to_the_http_interface() {
    let agent = TestAgent::start().await;
    // The port is given, so the address is this process's own.
    let [.., high, low] = std::process::id().to_be_bytes();
    let host = std::net::Ipv4Addr::new(127, 84, high, low.clamp(1, 254));
    let listen = SocketAddr::from((host, 8500));
    let _front = Front::plain(listen, agent.http_address()).await;
    let flag = format!("-rpc-addr={host}:8400");
    let notice = format!(
        "{flag}: there is no RPC interface for commands any more; asking {host}:8500 over HTTP. \
         -http-addr={host}:8500 says the same without this notice.\n"
    );
    herald(&["members", &flag])
        .await
        .is(0, &members(&agent), &notice);
    // The flag stands above the variable.
    let finished = ask(&agent, &format!("catalog datacenters {flag}")).await;
    finished.is(0, "dc1\n", &notice);
    let both = "Either -http-addr or -rpc-addr says whom to ask, not both.\n";
    let finished = herald(&["members", &flag, "-http-addr=127.0.0.1:1"]).await;
    finished.is(1, "", both);
    for address in ["", "a/b", "unix:///x"] {
        let finished = herald(&["members", &format!("-rpc-addr={address}")]).await;
        let text = format!("-rpc-addr {address:?} is not of the form host:port\n");
        finished.is(1, "", &text);
    }
    agent.stop().await;
}

#[tokio::test]
async fn an_address_that_is_none_is_named_with_its_origin() {
    let form = "is not of the form host:port, http://host:port, https://host:port or unix:///path";
    let finished = herald(&["members", "-http-addr=a/b"]).await;
    finished.is(1, "", &format!("address \"a/b\" {form}\n"));
    let finished = herald_with(&[("HERALD_HTTP_ADDR", "a/b")], &["members"]).await;
    let text = format!("HERALD_HTTP_ADDR: address \"a/b\" {form}\n");
    finished.is(1, "", &text);
}
