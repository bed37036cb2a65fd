//! DNS on a client agent: answered with the help of servers once, and from memory from then on.

use std::time::Duration;

use futures_util::future::join_all;
use herald::client::dig;
use herald::client::dns::Answer;
use serde_json::{Value, json};

use crate::support::agent::TestAgent;
use crate::support::eventually;
use crate::support::http::{get, put};

/// A server `n1` and a client agent `c1` in one pool.
struct Pair {
    server: TestAgent,
    client: TestAgent,
}

impl Pair {
    async fn start() -> Self {
        Self::with(json!({})).await
    }

    /// With these settings of DNS at the client.
    async fn with(dns_config: Value) -> Self {
        let server = TestAgent::settled().await;
        let content = json!({"server": false, "dns_config": dns_config}).to_string();
        let client = TestAgent::try_named("c1", &content).await;
        let client = client.expect("the client agent starts");
        let path = format!("/v1/agent/join/{}", server.lan());
        let joined = put(client.http_address(), &path, "").await;
        assert_eq!(joined.status, 200, "{}", joined.text());
        // Its own node comes last.
        eventually(async || client.ask("c1.node.consul A").await.data().len() == 1).await;
        Self { server, client }
    }

    async fn register(&self, node: &str, address: &str, service: Value) {
        let body = json!({"Node": node, "Address": address, "Service": service});
        self.server.register_in_catalog(body).await;
    }

    /// Sorted data of the answers.
    async fn data(&self, question: &str) -> Vec<String> {
        let mut data = self.client.ask(question).await.data();
        data.sort();
        data
    }

    async fn sees(&self, question: &str, expected: &[&str]) {
        eventually(async || self.data(question).await == expected).await;
    }

    /// A figure of the client.
    async fn figure(&self, name: &str) -> f64 {
        let path = "/v1/agent/metrics?format=prometheus";
        let text = get(self.client.http_address(), path).await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .trim()
            .parse()
            .unwrap()
    }

    async fn stop(self) {
        self.client.stop().await;
        self.server.stop().await;
    }
}

fn code(answer: &Answer) -> String {
    dig::mnemonic(answer.code())
}

fn errors(answer: &Answer) -> Vec<u16> {
    let errors = answer.message.edns.iter().flat_map(dig::extended_errors);
    errors.map(|(code, _)| code).collect()
}

#[tokio::test]
async fn the_first_question_for_any_name_is_answered_as_by_the_server() {
    let pair = Pair::start().await;
    let web = json!({"ID": "w1", "Service": "web", "Port": 80, "Tags": ["v1.0", "blue"]});
    pair.register("web1", "10.0.0.1", web).await;
    let web = json!({"ID": "w2", "Service": "web", "Port": 81, "Address": "10.1.0.2",
        "Tags": ["green"]});
    pair.register("web2", "10.0.0.2", web).await;
    let alias = json!({"Service": "alias", "Address": "web.service.consul"});
    pair.register("web2", "10.0.0.2", alias).await;
    let tcp = json!({"Service": "printer", "Tags": ["ipp"], "Port": 631});
    pair.register("a.dotted", "10.0.0.3", tcp).await;
    for question in [
        "alias.service.consul A",
        "web.service.consul A",
        "WEB.service.consul ANY",
        "web.service.dc1.consul SRV",
        "_web._tcp.service.consul SRV",
        "_printer._ipp.consul SRV",
        "v1.0.web.service.consul A",
        "0.web.service.consul A",
        "green.web.service.consul SRV",
        "none.web.service.consul A",
        "nothing.service.consul A",
        "_nothing._tcp.service.consul SRV",
        "_tcp.service.consul A",
        "_ipp.service.consul A",
        "web1.node.consul A",
        "WEB2.node.dc1.consul A",
        "web1.node.consul TXT",
        "a.dotted.node.consul A",
        "nothing.node.consul A",
        "1.0.0.10.in-addr.arpa PTR",
        "2.0.1.10.in-addr.arpa PTR",
        "9.9.9.10.in-addr.arpa PTR",
        "10.in-addr.arpa PTR",
        "0a000001.addr.consul A",
        "web.connect.consul A",
        "web.service.dc9.consul A",
        "ns.consul A",
        "consul SOA",
        "consul NS",
        "consul.service.consul SRV",
    ] {
        let expected = pair.server.ask(question).await;
        let found = pair.client.ask(question).await;
        assert_eq!(code(&found), code(&expected), "{question}");
        assert_eq!(errors(&found), errors(&expected), "{question}");
        let glue = |answer: &Answer| answer.message.additionals.len();
        assert_eq!(glue(&found), glue(&expected), "{question}");
        let shown = |answer: &Answer| {
            // The serial of the SOA is the time.
            let data = answer.data();
            let mut data: Vec<_> = if question.ends_with("SOA") {
                vec![data.len().to_string()]
            } else {
                data
            };
            data.sort();
            data
        };
        assert_eq!(shown(&found), shown(&expected), "{question}");
        assert_eq!(found.has_soa(), expected.has_soa(), "{question}");
    }
    pair.stop().await;
}

#[tokio::test]
async fn many_who_ask_first_make_one_read() {
    let pair = Pair::start().await;
    pair.register("web1", "10.0.0.1", json!({"Service": "web"}))
        .await;
    let before = pair.figure("herald_views_reads_total").await;
    let asked = (0..100).map(|_| pair.client.ask("web.service.consul A"));
    for answer in join_all(asked).await {
        assert_eq!(answer.data(), ["10.0.0.1"]);
    }
    let after = pair.figure("herald_views_reads_total").await;
    assert!((after - before - 1.0).abs() < 0.1, "{before} {after}");
    pair.stop().await;
}

#[tokio::test]
async fn changes_at_the_server_are_seen() {
    let pair = Pair::start().await;
    let question = "web.service.consul A";
    assert_eq!(code(&pair.client.ask(question).await), "NXDOMAIN");
    pair.register("web1", "10.0.0.1", json!({"Service": "web"}))
        .await;
    pair.sees(question, &["10.0.0.1"]).await;
    pair.register("web2", "10.0.0.2", json!({"Service": "web"}))
        .await;
    pair.sees(question, &["10.0.0.1", "10.0.0.2"]).await;
    let check = json!({"Node": "web1", "Address": "10.0.0.1",
        "Check": {"Name": "up", "ServiceID": "web", "Status": "critical"}});
    pair.server.register_in_catalog(check).await;
    pair.sees(question, &["10.0.0.2"]).await;
    let moved = json!({"Node": "web2", "Address": "10.0.0.3"});
    pair.server.register_in_catalog(moved).await;
    pair.sees(question, &["10.0.0.3"]).await;
    let gone = json!({"Node": "web2"});
    pair.server.put("/v1/catalog/deregister", gone).await;
    pair.sees(question, &[]).await;
    let answer = pair.client.ask(question).await;
    assert_eq!(
        (code(&answer).as_str(), errors(&answer)),
        ("NOERROR", vec![0])
    );
    pair.server
        .put("/v1/catalog/deregister", json!({"Node": "web1"}))
        .await;
    eventually(async || code(&pair.client.ask(question).await) == "NXDOMAIN").await;
    pair.stop().await;
}

#[tokio::test]
async fn without_servers_what_was_seen_is_answered_and_marked_as_stale() {
    let pair = Pair::start().await;
    pair.register("web1", "10.0.0.1", json!({"Service": "web", "Port": 80}))
        .await;
    for question in [
        "web.service.consul A",
        "1.0.0.10.in-addr.arpa PTR",
        "web1.node.consul A",
    ] {
        assert_eq!(
            pair.client.ask(question).await.data().len(),
            1,
            "{question}"
        );
    }
    let Pair { server, client } = pair;
    server.stop().await;
    eventually(async || {
        let answer = client.ask("web.service.consul A").await;
        assert_eq!(answer.data(), ["10.0.0.1"]);
        errors(&answer) == [3]
    })
    .await;
    for question in [
        "1.0.0.10.in-addr.arpa PTR",
        "web1.node.consul A",
        "web.service.consul SRV",
    ] {
        let answer = client.ask(question).await;
        assert_eq!(
            (answer.data().len(), errors(&answer)),
            (1, vec![3]),
            "{question}"
        );
    }
    // What nobody has asked for before may exist.
    for question in [
        "other.service.consul A",
        "other.node.consul A",
        "9.0.0.10.in-addr.arpa PTR",
    ] {
        let answer = client.ask(question).await;
        let found = (code(&answer), errors(&answer));
        assert_eq!(found, ("SERVFAIL".to_owned(), vec![14]), "{question}");
    }
    client.stop().await;
}

#[tokio::test]
async fn a_flood_of_random_names_pushes_nothing_out() {
    let pair = Pair::start().await;
    pair.register("web1", "10.0.0.1", json!({"Service": "web"}))
        .await;
    assert_eq!(pair.data("web.service.consul A").await, ["10.0.0.1"]);
    for batch in 0..200 {
        let names: Vec<_> = (0..100)
            .map(|it| format!("x{batch}-{it}.service.consul A"))
            .collect();
        let answers = join_all(names.iter().map(|name| pair.client.ask(name))).await;
        for answer in answers {
            assert!(["NXDOMAIN", "SERVFAIL"].contains(&code(&answer).as_str()));
        }
    }
    assert_eq!(pair.data("web.service.consul A").await, ["10.0.0.1"]);
    assert!(pair.figure("herald_views_missing").await <= 4_096.0);
    assert!(pair.figure("herald_views ").await < 10.0);
    pair.stop().await;
}

#[tokio::test]
async fn with_allow_stale_off_each_answer_is_as_new_as_the_leader() {
    let pair = Pair::with(json!({"allow_stale": false})).await;
    for port in 1_000..1_030 {
        pair.register("web1", "10.0.0.1", json!({"Service": "web", "Port": port}))
            .await;
        let answer = pair.client.ask("web.service.consul SRV").await;
        assert_eq!((answer.ports(), errors(&answer)), (vec![port], vec![]));
    }
    let Pair { server, client } = pair;
    server.stop().await;
    let answer = client.ask("web.service.consul SRV").await;
    let found = (code(&answer), errors(&answer));
    assert_eq!(found, ("SERVFAIL".to_owned(), vec![22]));
    client.stop().await;
}

#[tokio::test]
async fn explaining_on_a_client_asks_a_server_too() {
    let pair = Pair::start().await;
    pair.register("web1", "10.0.0.1", json!({"Service": "web"}))
        .await;
    let path = "/v1/dns/explain?name=web.service.consul&type=A";
    let explained = get(pair.client.http_address(), path).await.json();
    assert_eq!(explained["Rule"], "service", "{explained}");
    assert_eq!(explained["Answers"][1]["Status"], "NOERROR", "{explained}");
    let notes = explained["Notes"].to_string();
    assert!(notes.contains("client agent"), "{notes}");
    let path = "/v1/dns/explain?name=none.service.consul&type=A";
    let explained = get(pair.client.http_address(), path).await.json();
    assert_eq!(explained["Answers"][1]["Status"], "NXDOMAIN", "{explained}");
    pair.stop().await;
}

#[tokio::test]
async fn a_name_that_appears_is_found_within_two_seconds() {
    let pair = Pair::start().await;
    let question = "late.service.consul A";
    assert_eq!(code(&pair.client.ask(question).await), "NXDOMAIN");
    pair.register("web1", "10.0.0.1", json!({"Service": "late"}))
        .await;
    let found = tokio::time::timeout(Duration::from_secs(8), async {
        while pair.data(question).await.is_empty() {
            tokio::task::yield_now().await;
        }
    });
    found
        .await
        .expect("a missing name is believed for a second only");
    pair.stop().await;
}
