//! Registered over HTTP, asked over DNS, through real sockets.

use std::net::SocketAddr;

use herald::agent::StartError;
use herald::client::Transport;
use herald::client::dns::{Answer, Question, ask, ask_pipelined};
use hickory_proto::op::ResponseCode;
use serde_json::{Value, json};

use crate::support::agent::{LIMIT, TestAgent};
use crate::support::eventually;

/// Three passing instances of `web` on 10.0.0.1 to 10.0.0.3, ports 8001 to 8003.
async fn register_web(agent: &TestAgent) {
    for number in 1..=3 {
        agent
            .register(
                json!({"ID": format!("web-{number}"), "Name": "web", "Tags": ["v1"],
                "Address": format!("10.0.0.{number}"), "Port": 8000 + number,
                "Check": {"TTL": "1h", "Status": "passing"}}),
            )
            .await;
    }
}

/// One node `dual` elsewhere with one instance of `db`, both with IPv6 addresses.
async fn register_dual(agent: &TestAgent) {
    agent
        .register_in_catalog(json!({"Node": "dual", "Address": "2001:db8::1",
            "NodeMeta": {"rack": "7", "key=": "a\"b"},
            "Service": {"Service": "db", "Port": 5432, "Address": "2001:db8::2"}}))
        .await;
}

fn plain(question: &str) -> Question {
    question.parse().unwrap()
}

fn is_nxdomain(answer: &Answer) -> bool {
    answer.code() == ResponseCode::NXDomain && answer.message.answers.is_empty()
}

fn is_nodata(answer: &Answer) -> bool {
    answer.code() == ResponseCode::NoError && answer.message.answers.is_empty()
}

#[tokio::test]
async fn a_registration_is_answered_in_the_same_instant() {
    let agent = TestAgent::start().await;
    assert!(is_nxdomain(&agent.ask("web.service.consul SRV").await));
    register_web(&agent).await;
    let answer = agent.ask("web.service.consul SRV").await;
    assert_eq!(answer.ports(), [8001, 8002, 8003]);
    assert!(answer.message.metadata.authoritative);
    for target in answer.targets() {
        let glue = answer.glue(&target).map(|address| address.to_string());
        assert!(
            glue.is_some_and(|address| address.starts_with("10.0.0.")),
            "{target}"
        );
    }
    let answer = agent.ask("v1.web.service.dc1.consul A").await;
    assert_eq!(answer.data(), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    let answer = agent.ask("_web._tcp.service.consul SRV").await;
    assert_eq!(answer.ports(), [8001, 8002, 8003]);
    agent.stop().await;
}

#[tokio::test]
async fn a_failing_instance_leaves_the_answer_and_comes_back() {
    let agent = TestAgent::start().await;
    register_web(&agent).await;
    agent
        .put("/v1/agent/check/fail/service:web-1", Value::Null)
        .await;
    let answer = agent.ask("web.service.consul SRV").await;
    assert_eq!(answer.ports(), [8002, 8003]);
    agent
        .put("/v1/agent/check/warn/service:web-1", Value::Null)
        .await;
    let answer = agent.ask("web.service.consul SRV").await;
    assert_eq!(
        answer.ports(),
        [8001, 8002, 8003],
        "a warning is no failure"
    );
    agent
        .put("/v1/agent/maintenance?enable=true", Value::Null)
        .await;
    let answer = agent.ask("web.service.consul SRV").await;
    assert!(is_nodata(&answer) && answer.has_soa(), "{answer}");
    agent
        .put("/v1/agent/maintenance?enable=false", Value::Null)
        .await;
    let answer = agent.ask("web.service.consul SRV").await;
    assert_eq!(answer.ports().len(), 3);
    agent.stop().await;
}

#[tokio::test]
async fn a_check_that_is_not_renewed_takes_its_instance_away() {
    let agent = TestAgent::start().await;
    let check = json!({"TTL": "200ms", "Status": "passing"});
    agent
        .register(json!({"Name": "web", "Port": 80, "Check": check}))
        .await;
    eventually(async || is_nodata(&agent.ask("web.service.consul SRV").await)).await;
    agent
        .put("/v1/agent/service/deregister/web", Value::Null)
        .await;
    assert!(is_nxdomain(&agent.ask("web.service.consul SRV").await));
    agent.stop().await;
}

#[tokio::test]
async fn ipv6_addresses_are_answered_as_aaaa() {
    let agent = TestAgent::start().await;
    register_dual(&agent).await;
    assert_eq!(
        agent.ask("db.service.consul AAAA").await.data(),
        ["2001:db8::2"]
    );
    assert_eq!(
        agent.ask("dual.node.consul AAAA").await.data(),
        ["2001:db8::1"]
    );
    let answer = agent.ask("db.service.consul A").await;
    assert!(is_nodata(&answer) && answer.has_soa(), "{answer}");
    let answer = agent.ask("db.service.consul SRV").await;
    let target = answer.targets().first().unwrap().to_ascii();
    assert_eq!(target, "20010db8000000000000000000000002.addr.dc1.consul.");
    let address = agent.ask(&format!("{target} AAAA")).await;
    assert_eq!(address.data(), ["2001:db8::2"]);
    agent.stop().await;
}

#[tokio::test]
async fn node_metadata_is_answered_as_txt() {
    let agent = TestAgent::start().await;
    register_dual(&agent).await;
    let answer = agent.ask("dual.node.consul TXT").await;
    assert_eq!(answer.data(), [r#""key`==a\"b""#, r#""rack=7""#]);
    agent.stop().await;
}

#[tokio::test]
async fn addresses_are_answered_with_their_names() {
    let agent = TestAgent::start().await;
    register_dual(&agent).await;
    register_web(&agent).await;
    let answer = agent.ask("2.0.0.10.in-addr.arpa PTR").await;
    assert_eq!(answer.data(), ["web.service.dc1.consul."]);
    let name = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    let answer = agent.ask(&format!("{name} PTR")).await;
    assert_eq!(answer.data(), ["dual.node.dc1.consul."]);
    assert!(is_nxdomain(&agent.ask("9.0.0.10.in-addr.arpa PTR").await));
    let answer = agent.ask("2.0.0.10.in-addr.arpa A").await;
    assert!(is_nodata(&answer) && answer.has_soa(), "{answer}");
    agent.stop().await;
}

mod rfc2308 {
    use super::*;

    #[tokio::test]
    async fn negative_answers_carry_the_zones_soa() {
        let agent = TestAgent::start().await;
        register_web(&agent).await;
        for question in [
            "none.service.consul A",
            "none.node.consul TXT",
            "x.web.service.consul SRV",
            "web.service.dc9.consul SRV",
        ] {
            let answer = agent.ask(question).await;
            assert!(
                is_nxdomain(&answer) && answer.has_soa(),
                "{question}: {answer}"
            );
        }
        for question in [
            "web.service.consul AAAA",
            "web.service.consul MX",
            "n1.node.consul SRV",
        ] {
            let answer = agent.ask(question).await;
            assert!(
                is_nodata(&answer) && answer.has_soa(),
                "{question}: {answer}"
            );
        }
        agent.stop().await;
    }
}

mod rfc8020 {
    use super::*;

    #[tokio::test]
    async fn every_ancestor_of_an_answered_name_exists() {
        let agent = TestAgent::start().await;
        register_web(&agent).await;
        for name in [
            "consul",
            "service.consul",
            "node.consul",
            "dc1.consul",
            "service.dc1.consul",
        ] {
            let answer = agent.ask(&format!("{name} A")).await;
            assert!(is_nodata(&answer) && answer.has_soa(), "{name}: {answer}");
        }
        agent.stop().await;
    }
}

#[tokio::test]
async fn the_apex_has_soa_and_ns_and_every_ns_resolves() {
    let agent = TestAgent::start().await;
    eventually(async || !agent.ask("consul NS").await.data().is_empty()).await;
    let soa = agent.ask("consul SOA").await.data();
    assert!(
        soa.first()
            .unwrap()
            .starts_with("ns.consul. hostmaster.consul. "),
        "{soa:?}"
    );
    let servers = agent.ask("consul NS").await.data();
    assert_eq!(servers, ["n1.node.dc1.consul."]);
    assert_eq!(
        agent.ask("n1.node.dc1.consul A").await.data(),
        ["127.0.0.1"]
    );
    assert!(!agent.ask("ns.consul A").await.data().is_empty());
    agent.stop().await;
}

#[tokio::test]
async fn names_outside_the_zone_are_refused() {
    let agent = TestAgent::start().await;
    for question in ["example.com A", ". NS", "xconsul A"] {
        let answer = agent.ask(question).await;
        assert_eq!(answer.code(), ResponseCode::Refused, "{question}");
        assert!(!answer.message.metadata.authoritative);
    }
    agent.stop().await;
}

#[tokio::test]
async fn the_questions_letter_case_is_echoed() {
    let agent = TestAgent::start().await;
    register_web(&agent).await;
    let answer = agent.ask("WeB.sErViCe.CONSUL A").await;
    assert_eq!(
        answer.message.queries[0].name.to_ascii(),
        "WeB.sErViCe.CONSUL."
    );
    assert_eq!(answer.data().len(), 3);
    agent.stop().await;
}

mod rfc6891 {
    use super::*;

    #[tokio::test]
    async fn answers_fit_what_the_client_offers_to_the_octet() {
        let agent = TestAgent::start().await;
        for number in 1..=60 {
            agent
                .register_in_catalog(json!({"Node": format!("big-{number}"),
                    "Address": format!("10.0.1.{number}"),
                    "Service": {"Service": "big", "Port": number}}))
                .await;
        }
        let mut before = 0;
        for octets in [512, 513, 600, 1024, 1232, 4096] {
            let question = plain("big.service.consul SRV").with_edns(octets);
            let answer = agent.ask_as(Transport::Udp, question).await;
            assert!(
                answer.octets <= usize::from(octets),
                "{} in {octets}",
                answer.octets
            );
            assert!(answer.message.edns.is_some());
            let count = answer.ports().len();
            assert!(count >= before && count > 0, "{count} after {before}");
            before = count;
        }
        let answer = agent
            .ask_as(Transport::Tcp, plain("big.service.consul SRV"))
            .await;
        assert_eq!(answer.ports().len(), 60);
        agent.stop().await;
    }

    #[tokio::test]
    async fn a_client_without_edns_gets_three_answers_in_512_octets_and_no_opt() {
        let agent = TestAgent::start().await;
        for number in 1..=10 {
            agent
                .register(json!({"ID": format!("w{number}"), "Name": "many", "Port": number}))
                .await;
        }
        let answer = agent
            .ask_as(Transport::Udp, plain("many.service.consul SRV"))
            .await;
        assert_eq!(answer.ports().len(), 3);
        assert!(answer.octets <= 512 && answer.message.edns.is_none());
        assert!(!answer.message.metadata.truncation, "as HAProxy needs it");
        agent.stop().await;
    }
}

#[tokio::test]
async fn tc_is_set_where_asked_for() {
    let agent = TestAgent::with(r#"{"dns_config": {"enable_truncate": true}}"#).await;
    for number in 1..=10 {
        agent
            .register(json!({"ID": format!("w{number}"), "Name": "many", "Port": number}))
            .await;
    }
    let answer = agent
        .ask_as(Transport::Udp, plain("many.service.consul SRV"))
        .await;
    assert!(answer.message.metadata.truncation);
    agent.stop().await;
}

#[tokio::test]
async fn pipelined_questions_over_tcp_are_all_answered() {
    let agent = TestAgent::start().await;
    register_web(&agent).await;
    let kinds = ["SRV", "A", "AAAA", "TXT", "MX"];
    let questions: Vec<Question> = (0..50)
        .map(|number| {
            plain(&format!(
                "web.service.consul {}",
                kinds[number % kinds.len()]
            ))
        })
        .collect();
    let answers = ask_pipelined(agent.dns(), &questions, LIMIT).await.unwrap();
    assert_eq!(answers.len(), questions.len());
    for (number, answer) in answers.iter().enumerate() {
        let kind = answer.message.queries[0].query_type.to_string();
        assert_eq!(kind, kinds[number % kinds.len()]);
        let expected = if matches!(kind.as_str(), "SRV" | "A") {
            3
        } else {
            0
        };
        assert_eq!(answer.data().len(), expected, "{answer}");
    }
    agent.stop().await;
}

#[tokio::test]
async fn options_of_dns_config_reach_the_answers() {
    let agent = TestAgent::with(
        r#"{"domain": "one.example", "alt_domain": "two.example", "dns_config": {
            "node_ttl": "11s", "service_ttl": {"*": "5s", "web": "23s"}, "only_passing": true,
            "a_record_limit": 1, "soa": {"min_ttl": 7}}}"#,
    )
    .await;
    register_web(&agent).await;
    let answer = agent.ask("web.service.one.example A").await;
    assert_eq!(
        (answer.data().len(), answer.message.answers[0].ttl),
        (1, 23)
    );
    let answer = agent.ask("n1.node.two.example A").await;
    assert_eq!(answer.message.answers[0].ttl, 11);
    let answer = agent.ask("none.service.two.example A").await;
    let soa = answer.message.authorities.first().unwrap();
    assert_eq!((soa.ttl, soa.name.to_ascii().as_str()), (7, "two.example."));
    agent
        .put("/v1/agent/check/warn/service:web-1", Value::Null)
        .await;
    let answer = agent.ask("web.service.one.example SRV").await;
    assert_eq!(answer.ports(), [8002, 8003]);
    assert_eq!(
        agent.ask("web.service.consul A").await.code(),
        ResponseCode::Refused
    );
    agent.stop().await;
}

#[tokio::test]
async fn on_a_wildcard_address_replies_leave_from_the_address_that_was_asked() {
    let agent = TestAgent::with(r#"{"addresses": {"dns": "0.0.0.0"}}"#).await;
    register_web(&agent).await;
    // The client is connected to 127.0.0.5, so it sees no answer from any other address.
    let server = SocketAddr::from(([127, 0, 0, 5], agent.dns().port()));
    for transport in [Transport::Udp, Transport::Tcp] {
        let question = plain("web.service.consul A");
        let answer = ask(server, transport, &question, LIMIT).await.unwrap();
        assert_eq!(answer.data().len(), 3);
    }
    agent.stop().await;
}

#[tokio::test]
async fn several_addresses_are_listened_on() {
    let agent = TestAgent::with(r#"{"addresses": {"dns": "127.0.0.1 127.0.0.7"}}"#).await;
    register_web(&agent).await;
    let server = SocketAddr::from(([127, 0, 0, 7], agent.dns().port()));
    let question = plain("web.service.consul A");
    let answer = ask(server, Transport::Udp, &question, LIMIT).await.unwrap();
    assert_eq!(answer.data().len(), 3);
    agent.stop().await;
}

#[tokio::test]
async fn a_second_agent_on_the_port_fails_and_names_it() {
    let first = TestAgent::start().await;
    let port = first.dns().port();
    let second = TestAgent::try_with(&format!("{{\"ports\": {{\"dns\": {port}}}}}")).await;
    let Err(error) = second else {
        panic!("two agents on one port")
    };
    let text = error.to_string();
    assert!(matches!(error, StartError::Dns(_)), "{text}");
    assert!(
        text.contains("127.0.0.1") && text.contains(&port.to_string()),
        "{text}"
    );
    // The first one goes on as if nothing had been.
    register_web(&first).await;
    assert_eq!(first.ask("web.service.consul A").await.data().len(), 3);
    first.stop().await;
}

#[tokio::test]
async fn static_zones_are_answered_beside_the_catalog() {
    let zones = crate::support::directory::Directory::new();
    zones.write(
        "corp.example.zone",
        "$TTL 60\n@ IN SOA ns.corp.example. admin.corp.example. 1 3600 600 86400 60\n\
         @ IN NS ns.corp.example.\nns IN A 192.0.2.1\nmail IN A 192.0.2.25\n",
    );
    let path = zones.0.display();
    let agent = TestAgent::with(&format!("{{\"zones_dir\": \"{path}\"}}")).await;
    register_web(&agent).await;
    assert_eq!(
        agent.ask("mail.corp.example A").await.data(),
        ["192.0.2.25"]
    );
    assert_eq!(agent.ask("web.service.consul A").await.data().len(), 3);
    agent.stop().await;
}
