//! Client agents that know no server: what is theirs works, what is shared says why it does not.

use serde_json::{Value, json};

use herald::client::dns::Answer;

use crate::support::agent::TestAgent;
use crate::support::http::{Reply, get, put};

const NO_SERVERS: &str = "No known Consul servers";

async fn start() -> TestAgent {
    TestAgent::with(r#"{"server": false}"#).await
}

fn assert_no_servers(reply: &Reply, path: &str, indexed: bool) {
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (500, NO_SERVERS),
        "{path}"
    );
    let media = "text/plain; charset=utf-8";
    assert_eq!(reply.header("Content-Type"), Some(media), "{path}");
    assert_eq!(reply.header("Vary"), Some("Accept-Encoding"), "{path}");
    assert_eq!(reply.header("Retry-After"), Some("1"), "{path}");
    let expected = indexed.then_some(["1", "false", "0"]);
    let names = [
        "X-Consul-Index",
        "X-Consul-Knownleader",
        "X-Consul-Lastcontact",
    ];
    for (place, name) in names.into_iter().enumerate() {
        assert_eq!(
            reply.header(name),
            expected.map(|values| values[place]),
            "{path} {name}"
        );
    }
}

mod http {
    use super::*;

    #[tokio::test]
    async fn shared_state_is_500_in_the_words_that_clients_know() {
        let agent = start().await;
        for (path, indexed) in [
            ("status/leader", false),
            ("status/peers", false),
            ("catalog/datacenters", false),
            ("catalog/nodes", true),
            ("catalog/nodes?stale", true),
            ("catalog/services", true),
            ("catalog/service/web", true),
            ("catalog/service/web?cached", true),
            ("catalog/node/n1", true),
            ("catalog/node-services/n1", true),
            ("health/service/web", true),
            ("health/service/web?index=5&wait=10s", true),
            ("health/node/n1", true),
            ("health/checks/web", true),
            ("health/state/any", true),
            ("coordinate/datacenters", false),
            ("coordinate/nodes", true),
            ("coordinate/node/n1", true),
        ] {
            let reply = get(agent.http_address(), &format!("/v1/{path}")).await;
            assert_no_servers(&reply, path, indexed);
        }
        for (path, body) in [
            (
                "catalog/register",
                json!({"Node": "x", "Address": "10.0.0.1"}),
            ),
            ("catalog/deregister", json!({"Node": "x"})),
            (
                "coordinate/update",
                json!({"Node": "x", "Coord": {"Vec": [0, 0, 0, 0, 0, 0, 0, 0]}}),
            ),
        ] {
            let path = format!("/v1/{path}");
            let reply = put(agent.http_address(), &path, &body.to_string()).await;
            assert_no_servers(&reply, &path, false);
        }
        let page = get(agent.http_address(), "/ui/").await;
        assert_eq!((page.status, page.text().as_str()), (500, NO_SERVERS));
        agent.stop().await;
    }

    #[tokio::test]
    async fn mistakes_are_told_before_servers_are_looked_for() {
        let agent = start().await;
        for (path, status) in [
            ("health/service/web?index=x", 400),
            ("catalog/nodes?filter=%20", 400),
            ("catalog/service/", 400),
        ] {
            let reply = get(agent.http_address(), &format!("/v1/{path}")).await;
            assert_eq!(reply.status, status, "{path}");
        }
        agent.stop().await;
    }

    #[tokio::test]
    async fn what_is_the_agents_own_works() {
        let agent = start().await;
        let address = agent.http_address();
        let check = json!({"TTL": "1h"});
        agent
            .register(json!({"Name": "web", "Port": 80, "Check": check}))
            .await;
        let passed = put(address, "/v1/agent/check/pass/service:web", "").await;
        assert_eq!(passed.status, 200);
        let services = get(address, "/v1/agent/services").await.json();
        assert_eq!(services["web"]["Port"], 80);
        let checks = get(address, "/v1/agent/checks").await.json();
        assert_eq!(checks["service:web"]["Status"], "passing");
        let health = get(address, "/v1/agent/health/service/name/web").await;
        assert_eq!(health.status, 200);
        let members = get(address, "/v1/agent/members").await.json();
        assert_eq!(members[0]["Tags"]["role"], "node");
        let itself = get(address, "/v1/agent/self").await.json();
        assert_eq!(itself["Config"]["Server"], false);
        assert_eq!(itself["Coord"]["Error"], 1.5);
        let stats = &itself["Stats"];
        let expected = json!({"acl": "disabled", "known_servers": "0", "server": "false"});
        assert_eq!(stats["consul"], expected);
        assert_eq!(stats["raft"], Value::Null);
        let gone = put(address, "/v1/agent/service/deregister/web", "").await;
        assert_eq!(gone.status, 200);
        assert_eq!(get(address, "/v1/agent/services").await.json(), json!({}));
        agent.stop().await;
    }

    #[tokio::test]
    async fn nothing_of_a_server_runs() {
        let agent = start().await;
        let figures = get(agent.http_address(), "/v1/agent/metrics?format=prometheus").await;
        let figures = figures.text();
        for part in ["herald_raft_", "herald_catalog_", "herald_directory_"] {
            assert!(!figures.contains(part), "{part}");
        }
        assert!(figures.contains("herald_local_sync_failures"));
        agent.stop().await;
    }
}

mod dns {
    use herald::client::dig;

    use super::*;
    use crate::support::directory::Directory;

    /// Response code, records in authority, and the codes of extended errors.
    fn verdict(answer: &Answer) -> (String, usize, Vec<u16>) {
        let message = &answer.message;
        let errors = message.edns.iter().flat_map(dig::extended_errors);
        let codes = errors.map(|(code, _)| code).collect();
        (
            dig::mnemonic(answer.code()),
            message.authorities.len(),
            codes,
        )
    }

    #[tokio::test]
    async fn names_that_only_the_catalog_knows_are_not_ready() {
        let agent = start().await;
        agent.register(json!({"Name": "web", "Port": 80})).await;
        for question in [
            "web.service.consul SRV",
            "n1.node.consul A",
            "ns.consul A",
            "1.0.0.127.in-addr.arpa PTR",
        ] {
            let answer = agent.ask(question).await;
            let expected = ("SERVFAIL".to_owned(), 0, vec![14]);
            assert_eq!(verdict(&answer), expected, "{question}");
        }
        agent.stop().await;
    }

    #[tokio::test]
    async fn what_needs_no_catalog_is_answered() {
        let directory = Directory::new();
        directory.write(
            "corp.example.zone",
            "$TTL 60\n@ IN SOA ns.corp.example. admin.corp.example. 1 3600 600 86400 60\n\
             @ IN NS ns.corp.example.\nns IN A 192.0.2.1\nmail IN A 192.0.2.25\n",
        );
        let content = json!({"server": false, "zones_dir": directory.0});
        let agent = TestAgent::with(&content.to_string()).await;
        let soa = agent.ask("consul SOA").await;
        assert_eq!((verdict(&soa).0.as_str(), soa.data().len()), ("NOERROR", 1));
        assert_eq!(
            agent.ask("mail.corp.example A").await.data(),
            ["192.0.2.25"]
        );
        assert_eq!(
            agent.ask("0a000001.addr.consul A").await.data(),
            ["10.0.0.1"]
        );
        for question in ["consul A", "consul NS", "service.consul A"] {
            let answer = agent.ask(question).await;
            assert_eq!(verdict(&answer), ("NOERROR".to_owned(), 1, Vec::new()));
        }
        let missing = agent.ask("web.service.dc9.consul A").await;
        assert_eq!(verdict(&missing).0, "NXDOMAIN");
        agent.stop().await;
    }

    #[tokio::test]
    async fn an_explanation_says_the_same() {
        let agent = start().await;
        let path = "/v1/dns/explain?name=web.service.consul";
        let explanation = get(agent.http_address(), path).await.json();
        assert_eq!(explanation["Rule"], "service");
        assert!(
            explanation["Meaning"]
                .as_str()
                .unwrap()
                .starts_with("not known")
        );
        assert_eq!(explanation["Answers"][2]["Status"], "SERVFAIL");
        let note = explanation["Notes"][0].as_str().unwrap();
        assert!(note.contains("until a server has been reached"), "{note}");
        agent.stop().await;
    }
}
