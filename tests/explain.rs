//! `explain`: that it gives the true reasons, and that it never disagrees with DNS.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use herald::catalog::{Command, Operation, Registration, Writer, open_server};
use herald::dns::explain::{Explanation, InstanceReport, Question};
use herald::dns::{Explainer, Freshness, Options, Settings, Sources, StaticZones};
use herald::types::{
    Address, Check, CheckType, Meta, NODE_MAINTENANCE, Node, SERVICE_MAINTENANCE, Service, Status,
    Weights,
};
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};

use crate::support::agent::TestAgent;
use crate::support::directory::Directory;
use crate::support::http::get;

fn node(name: &str, address: &str) -> Node {
    Node {
        id: None,
        name: name.parse().unwrap(),
        address: Address::from_text(address),
        tagged_addresses: [].into(),
        meta: Meta::default(),
    }
}

fn web(id: &str, tags: &[&str], address: &str) -> Service {
    Service {
        id: id.parse().unwrap(),
        name: "web".parse().unwrap(),
        tags: tags.iter().map(|tag| (*tag).into()).collect(),
        address: Address::from_text(address),
        port: 80,
        meta: Meta::default(),
        weights: Weights {
            passing: 5,
            warning: 2,
        },
        enable_tag_override: false,
        tagged_addresses: None,
    }
}

fn check(id: &str, status: Status, service: Option<&str>) -> Check {
    Check {
        id: id.parse().unwrap(),
        name: id.into(),
        status,
        notes: "".into(),
        output: "".into(),
        service_id: service.map(|id| id.parse().unwrap()),
        check_type: CheckType::Unknown,
        definition: None,
    }
}

/// A catalog whose answers are explained; each registration takes the next index, from 1.
struct World {
    writer: Writer,
    sources: Sources,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(choose: impl FnOnce(&mut Options)) -> Self {
        let (writer, catalog) = open_server();
        let mut options = Options::new("dc1".parse().unwrap(), "n1".parse().unwrap());
        choose(&mut options);
        let settings = Settings::new(options).unwrap();
        let sources = Sources {
            catalog,
            settings: Arc::new(ArcSwap::from_pointee(settings)),
            freshness: Arc::new(Freshness::fresh()),
            unencodable: Counter::default(),
        };
        Self { writer, sources }
    }

    fn put(&mut self, node: Node, service: Service, checks: Vec<Check>) {
        let registration = Registration {
            node,
            skip_node_update: false,
            service: Some(service),
            checks,
        };
        let command = Command {
            request: 0,
            operations: vec![Operation::Register(Box::new(registration))],
        };
        let index = self.writer.applied().next();
        self.writer.apply(vec![(index, command)]).unwrap();
    }

    /// `count` passing instances with addresses of their own.
    fn fill(&mut self, count: u8) {
        for number in 1..=count {
            let node = node(&format!("n{number:02}"), &format!("10.0.0.{number}"));
            self.put(node, web("web", &[], ""), Vec::new());
        }
    }

    async fn explain(&self, question: &str) -> Explanation {
        let (name, record_type) = question.split_once(' ').unwrap();
        let asked = Question::parse(name, record_type).unwrap();
        let explainer = Explainer::new(self.sources.clone(), StaticZones::none());
        explainer.explain(&asked).await
    }

    /// Ids of those included, and the reasons of the others.
    async fn instances(&self, question: &str) -> (Vec<String>, Vec<String>) {
        let explanation = self.explain(question).await;
        let instances = explanation.instances.unwrap();
        let (included, excluded): (Vec<InstanceReport>, Vec<_>) =
            instances.shown.into_iter().partition(|one| one.included);
        (
            included.into_iter().map(|one| one.id).collect(),
            excluded.into_iter().map(|one| one.reason).collect(),
        )
    }
}

mod reasons {
    use super::*;

    async fn reason_of(checks: Vec<Check>) -> String {
        let mut world = World::new();
        world.put(node("n1", "10.0.0.1"), web("web", &[], ""), checks);
        let (included, mut excluded) = world.instances("web.service.consul A").await;
        assert_eq!(included, [""; 0]);
        excluded.pop().unwrap()
    }

    #[tokio::test]
    async fn critical_checks_are_named_with_their_index() {
        let own = check("http", Status::Critical, Some("web"));
        let text = reason_of(vec![own.clone()]).await;
        assert_eq!(text, "critical: check http (as of index 1)");
        let of_node = check("serfHealth", Status::Critical, None);
        let fine = check("disk", Status::Passing, None);
        let text = reason_of(vec![own, fine, of_node]).await;
        let expected =
            "critical: node check serfHealth (as of index 1), check http (as of index 1)";
        assert_eq!(text, expected);
    }

    #[tokio::test]
    async fn what_is_said_about_one_instance_is_bounded() {
        let checks = |count: usize| {
            let one = |number| check(&format!("c{number:02}"), Status::Critical, Some("web"));
            (0..count).map(one).collect()
        };
        assert!(
            reason_of(checks(8))
                .await
                .ends_with(", check c07 (as of index 1)")
        );
        assert!(
            reason_of(checks(10))
                .await
                .ends_with("check c07 (as of index 1), and 2 more")
        );
        let id = format!("{SERVICE_MAINTENANCE}web");
        let mut maintained = check(&id, Status::Critical, Some("web"));
        maintained.notes = "é".repeat(10_000).into();
        assert_eq!(reason_of(vec![maintained]).await.chars().count(), 513);
    }

    #[tokio::test]
    async fn maintenance_is_told_from_failure_and_says_why() {
        let id = format!("{SERVICE_MAINTENANCE}web");
        let mut maintained = check(&id, Status::Critical, Some("web"));
        maintained.notes = "upgrade".into();
        let failed = check("http", Status::Critical, Some("web"));
        let text = reason_of(vec![failed, maintained]).await;
        assert_eq!(text, "in maintenance: upgrade");
        let of_node = check(NODE_MAINTENANCE, Status::Critical, None);
        assert_eq!(reason_of(vec![of_node]).await, "node in maintenance");
    }

    #[tokio::test]
    async fn a_warning_is_in_unless_only_passing() {
        for (only_passing, expected) in [(false, true), (true, false)] {
            let mut world = World::with(|options| options.only_passing = only_passing);
            let warning = check("load", Status::Warning, Some("web"));
            world.put(node("n1", "10.0.0.1"), web("web", &[], ""), vec![warning]);
            let explanation = world.explain("web.service.consul SRV").await;
            let instance = explanation.instances.unwrap().shown.pop().unwrap();
            assert_eq!(instance.included, expected);
            let warning = "warning: check load (as of index 1)";
            assert_eq!(
                instance.reason,
                if expected {
                    format!("node n1 port 80 weight 2, {warning}")
                } else {
                    format!("only_passing: {warning}")
                }
            );
        }
    }

    #[tokio::test]
    async fn tags_that_are_missing_are_named() {
        let mut world = World::new();
        world.put(
            node("n1", "10.0.0.1"),
            web("both", &["v1", "Blue"], ""),
            Vec::new(),
        );
        world.put(node("n2", "10.0.0.2"), web("one", &["v1"], ""), Vec::new());
        world.put(node("n3", "10.0.0.3"), web("none", &[], ""), Vec::new());
        let (included, excluded) = world.instances("v1.blue.web.service.consul A").await;
        assert_eq!(included, ["both"]);
        assert_eq!(
            excluded,
            ["tag: no blue among v1", "tag: no v1, it has no tags"]
        );
        let explanation = world.explain("v1.blue.web.service.consul A").await;
        assert_eq!(
            (explanation.rule, explanation.tags),
            ("several tags", vec!["v1".to_owned(), "blue".to_owned()])
        );
        let (included, excluded) = world.instances("v2.web.service.consul A").await;
        assert_eq!((included.len(), excluded.len()), (0, 3));
    }

    #[tokio::test]
    async fn addresses_must_fit_the_type() {
        let mut world = World::new();
        world.put(node("n1", "10.0.0.1"), web("four", &[], ""), Vec::new());
        world.put(
            node("n2", "10.0.0.2"),
            web("six", &[], "2001:db8::1"),
            Vec::new(),
        );
        world.put(
            node("n3", "10.0.0.3"),
            web("host", &[], "db.example.net"),
            Vec::new(),
        );
        let host = "address is the host name db.example.net, and others have addresses \
                    (RFC 2181 section 10.1)";
        let (included, excluded) = world.instances("web.service.consul A").await;
        assert_eq!(included, ["four"]);
        assert_eq!(excluded, ["address is IPv6 but A was asked", host]);
        let (included, excluded) = world.instances("web.service.consul AAAA").await;
        assert_eq!(included, ["six"]);
        assert_eq!(excluded, ["address is IPv4 but AAAA was asked", host]);
        let (included, _) = world.instances("web.service.consul ANY").await;
        assert_eq!(included, ["four", "six"]);
        let (included, _) = world.instances("web.service.consul SRV").await;
        assert_eq!(included, ["four", "six", "host"]);
        let (included, excluded) = world.instances("web.service.consul TXT").await;
        assert_eq!(included, [""; 0]);
        assert_eq!(excluded[0], "instances have no TXT records");
    }

    #[tokio::test]
    async fn one_of_several_host_names_is_answered() {
        let mut world = World::new();
        for (name, host) in [("n1", "A.example.net"), ("n2", "b.example.net")] {
            world.put(node(name, "10.0.0.1"), web(name, &[], host), Vec::new());
        }
        let explanation = world.explain("web.service.consul MX").await;
        assert_eq!(explanation.records.answer.len(), 1);
        let instances = explanation.instances.unwrap();
        assert_eq!(instances.included, 2);
        assert_eq!(instances.shown[0].reason, "CNAME a.example.net");
        assert_eq!(explanation.answers[2].limit, None);
    }

    #[tokio::test]
    async fn equal_records_count_once() {
        let mut world = World::new();
        for name in ["n1", "n2"] {
            world.put(node(name, "10.0.0.9"), web("web", &[], ""), Vec::new());
        }
        let (included, excluded) = world.instances("web.service.consul A").await;
        assert_eq!(included, ["web"]);
        assert_eq!(excluded, ["same record as web on n1: 10.0.0.9"]);
        // Their targets differ.
        let (included, _) = world.instances("web.service.consul SRV").await;
        assert_eq!(included.len(), 2);
    }

    #[tokio::test]
    async fn what_no_message_can_carry_is_named() {
        let mut world = World::new();
        let long = format!("{}.example", "x".repeat(64));
        world.put(node("n1", "10.0.0.1"), web("long", &[], &long), Vec::new());
        let (_, excluded) = world.instances("web.service.consul A").await;
        assert_eq!(
            excluded,
            [format!("not encodable: address {long:?} is no host name")]
        );
    }
}

mod limits {
    use super::*;

    fn limits(explanation: &Explanation) -> Vec<Option<&str>> {
        let answers = explanation.answers.iter();
        answers.map(|answer| answer.limit.as_deref()).collect()
    }

    #[tokio::test]
    async fn the_limit_that_cuts_is_named_for_each_kind_of_client() {
        let mut world = World::new();
        world.fill(100);
        let explanation = world.explain("web.service.consul A").await;
        assert_eq!(
            limits(&explanation),
            [
                Some("97 of 100: dns_config.udp_answer_limit is 3"),
                Some("26 of 100: the message may have 1232 octets"),
                None,
            ]
        );
        assert!(explanation.answers.iter().all(|answer| !answer.truncated));
        let counts = explanation.answers.iter().map(|answer| answer.records);
        assert_eq!(counts.collect::<Vec<_>>(), [3, 74, 100]);
        assert!(explanation.answers[1].octets <= 1232);
    }

    #[tokio::test]
    async fn a_record_limit_holds_for_every_client_but_not_for_srv() {
        let mut world = World::with(|options| options.a_record_limit = 2);
        world.fill(5);
        let explanation = world.explain("web.service.consul A").await;
        let text = Some("3 of 5: dns_config.a_record_limit is 2");
        assert_eq!(limits(&explanation), [text; 3]);
        let explanation = world.explain("web.service.consul SRV").await;
        let plain = Some("2 of 5: dns_config.udp_answer_limit is 3");
        assert_eq!(limits(&explanation), [plain, None, None]);
    }

    #[tokio::test]
    async fn truncation_shows_where_it_is_on() {
        let mut world = World::with(|options| options.enable_truncate = true);
        world.fill(5);
        let explanation = world.explain("web.service.consul A").await;
        let truncated = explanation.answers.iter().map(|answer| answer.truncated);
        assert_eq!(truncated.collect::<Vec<_>>(), [true, false, false]);
    }

    #[tokio::test]
    async fn long_lists_of_instances_are_cut_and_still_counted() {
        let mut world = World::new();
        for number in 0..1_001 {
            let address = format!("10.0.{}.{}", number / 250, number % 250);
            let node = node(&format!("n{number:04}"), &address);
            world.put(node, web("web", &[], ""), Vec::new());
        }
        let instances = world
            .explain("web.service.consul A")
            .await
            .instances
            .unwrap();
        assert_eq!((instances.registered, instances.included), (1_001, 1_001));
        assert_eq!(instances.shown.len(), 1_000);
    }
}

mod rules {
    use super::*;

    /// Question, rule, response code, and a part of the meaning.
    const RULES: &str = r#"
web.service.consul A | service | NOERROR | instances of service "web"
v1.web.service.dc1.consul A | tag | NOERROR | with tag "v1"
x.y.web.service.consul A | tag | NOERROR | with tag "x.y"
_web._tcp.service.consul SRV | RFC 2782 | NOERROR | service "web"
_web._v1.consul SRV | RFC 2782 | NOERROR | with tag "v1"
no.service.consul A | service | NXDOMAIN | no service named "no"
v9.web.service.consul A | tag | NXDOMAIN | there are none
y.web.service.consul A | empty non-terminal | NOERROR | longer names
n1.node.consul A | node | NOERROR | node "n1"
a.b.node.consul A | node | NOERROR | node "a.b"
b.node.consul A | empty non-terminal | NOERROR | names of nodes end in it
zz.node.consul A | node | NXDOMAIN | no node is named "zz"
0a000001.addr.consul A | addr | NOERROR | 10.0.0.1
xyz.addr.consul A | no form | NXDOMAIN | hexadecimal digits
q.query.consul A | no form | NXDOMAIN | no prepared queries
web.connect.consul A | no form | NXDOMAIN | connect
web.service.consul.consul A | no form | NXDOMAIN | twice
consul SOA | apex | NOERROR | the zone itself
ns.consul A | name server | NOERROR | three servers
service.consul A | empty non-terminal | NOERROR | RFC 8020
web.service.dc9.consul A | unknown datacenter | NXDOMAIN | dc1
web.service.dc2.consul A | unreachable datacenter | SERVFAIL | a lie
2.0.0.10.in-addr.arpa PTR | reverse | NOERROR | node "a.b"
1.0.1.10.in-addr.arpa PTR | reverse | NOERROR | service "web"
9.9.9.10.in-addr.arpa PTR | reverse | NXDOMAIN | which no node
0.10.in-addr.arpa PTR | reverse | NOERROR | part of an address
www.example.com A | outside | REFUSED | consul.
www.example A | static zone | SERVFAIL | zone example.
"#;

    #[tokio::test]
    async fn each_form_of_name_has_its_rule() {
        let mut world = World::with(|options| {
            options.unreachable_datacenters = vec!["dc2".parse().unwrap()];
            options.slow_zones = vec!["example.".to_owned()];
        });
        world.put(
            node("n1", "10.0.0.1"),
            web("web", &["v1"], "10.1.0.1"),
            Vec::new(),
        );
        world.put(
            node("a.b", "10.0.0.2"),
            web("web2", &["x.y"], ""),
            Vec::new(),
        );
        for line in RULES.trim().lines() {
            let fields: Vec<&str> = line.split(" | ").collect();
            let &[question, rule, status, meaning] = fields.as_slice() else {
                panic!("{line}");
            };
            let explanation = world.explain(question).await;
            let found = (explanation.rule, explanation.answers[1].status.as_str());
            assert_eq!(found, (rule, status), "{question}: {}", explanation.meaning);
            assert!(
                explanation.meaning.contains(meaning),
                "{question}: {}",
                explanation.meaning
            );
        }
    }

    #[tokio::test]
    async fn the_ttl_names_its_source() {
        let mut world = World::with(|options| {
            let ttl = |key: &str, seconds| (key.to_owned(), Duration::from_secs(seconds));
            options.service_ttl = [ttl("w*", 5), ttl("api", 7)].into();
            options.node_ttl = Duration::from_secs(9);
            options.soa.min_ttl = Duration::from_secs(3);
        });
        world.put(node("n1", "10.0.0.1"), web("web", &[], ""), Vec::new());
        let mut other = web("other", &[], "");
        other.name = "other".parse().unwrap();
        world.put(node("n1", "10.0.0.1"), other, Vec::new());
        for (question, seconds, source) in [
            ("web.service.consul A", 5, r#"dns_config.service_ttl["w*"]"#),
            (
                "other.service.consul A",
                0,
                "default, dns_config.service_ttl has no key for it",
            ),
            ("n1.node.consul A", 9, "dns_config.node_ttl"),
            ("n1.node.consul AAAA", 3, "dns_config.soa.min_ttl"),
            ("web.service.consul AAAA", 3, "dns_config.soa.min_ttl"),
            ("nope.service.consul A", 3, "dns_config.soa.min_ttl"),
        ] {
            let explanation = world.explain(question).await;
            let ttl = explanation.ttl.unwrap();
            assert_eq!(
                (ttl.seconds, ttl.source.as_str()),
                (seconds, source),
                "{question}"
            );
            let records = &explanation.records;
            let mut lines = records.answer.iter().chain(&records.authority);
            let field = lines.next().unwrap().split_whitespace().nth(1);
            assert_eq!(field, Some(seconds.to_string().as_str()), "{question}");
        }
    }

    #[tokio::test]
    async fn an_empty_answer_shows_its_extended_error() {
        let mut world = World::new();
        let critical = check("http", Status::Critical, Some("web"));
        world.put(node("n1", "10.0.0.1"), web("web", &[], ""), vec![critical]);
        let explanation = world.explain("web.service.consul A").await;
        assert_eq!(explanation.answers[1].errors, ["0: 1 instance: 1 critical"]);
        assert_eq!(
            explanation.answers[0].errors, [""; 0],
            "there is no place for it"
        );
    }

    #[tokio::test]
    async fn an_old_state_is_said_to_be_old() {
        let mut world = World::new();
        world.fill(1);
        world.sources.freshness.heard(Duration::from_secs(60));
        let explanation = world.explain("web.service.consul A").await;
        assert_eq!(explanation.notes.len(), 1);
        assert!(explanation.notes[0].starts_with("the leader was last heard of 60"));
        assert_eq!(explanation.answers[1].errors, ["3"]);
    }

    #[tokio::test]
    async fn explaining_counts_nothing() {
        let mut world = World::new();
        let long = format!("{0}.{0}.{0}", "x".repeat(59));
        world.put(node(&long, "10.0.0.1"), web("web", &[], ""), Vec::new());
        world.explain("web.service.consul SRV").await;
        assert_eq!(world.sources.unencodable.get(), 0);
    }
}

/// Registers what the tests through sockets ask about.
async fn agent() -> TestAgent {
    let content = json!({"dns_config": {"service_ttl": {"web": "5s"}}});
    let agent = TestAgent::with(&content.to_string()).await;
    for (node, address, id, tags, status) in [
        ("a", "10.0.0.1", "web-1", &["v1"][..], "critical"),
        ("b", "10.0.0.2", "web-2", &["v1", "v2"], "warning"),
        ("c", "2001:db8::3", "web-3", &["v1"], "passing"),
        ("d", "db.example.net", "web-4", &[], "passing"),
        ("e", "10.0.0.2", "web-5", &["v2"], "passing"),
        ("f", "10.0.0.6", "web-6", &["v2"], "passing"),
    ] {
        let registration = json!({
            "Node": node, "Address": address,
            "Service": {"ID": id, "Service": "web", "Tags": tags, "Port": 80},
            "Check": {"CheckID": "http", "Name": "http", "Status": status, "ServiceID": id},
        });
        agent.register_in_catalog(registration).await;
    }
    agent
}

async fn explain(agent: &TestAgent, question: &str) -> Value {
    let (name, record_type) = question.split_once(' ').unwrap();
    let path = format!("/v1/dns/explain?name={name}&type={record_type}");
    let reply = get(agent.http_address(), &path).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn explanations_agree_with_what_dns_answers() {
    let agent = agent().await;
    for question in [
        "web.service.consul A",
        "web.service.consul AAAA",
        "web.service.consul ANY",
        "web.service.consul SRV",
        "web.service.consul TXT",
        "v1.web.service.consul A",
        "v2.web.service.consul SRV",
        "v1.v2.web.service.consul A",
        "_web._v2.consul SRV",
        "v9.web.service.consul A",
        "a.node.consul A",
        "c.node.consul A",
        "consul NS",
        "nope.service.consul A",
        "6.0.0.10.in-addr.arpa PTR",
        "www.example.com A",
    ] {
        let explained = explain(&agent, question).await;
        let answer = agent.ask(question).await;
        let shown = &explained["Answers"][1];
        let code = herald::client::dig::mnemonic(answer.code());
        assert_eq!(shown["Status"], json!(code), "{question}");
        assert_eq!(
            shown["Records"],
            json!(answer.message.answers.len()),
            "{question}"
        );
        if let Some(included) = explained["Instances"]["Included"].as_u64() {
            let records = u64::try_from(answer.message.answers.len()).unwrap();
            assert_eq!(included, records, "{question}: {explained}");
        }
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_answers_every_part() {
    let agent = agent().await;
    let explained = explain(&agent, "v2.WEB.service.consul. a").await;
    assert_eq!(explained["Name"], json!("v2.web.service.consul."));
    assert_eq!(explained["Type"], json!("A"));
    assert_eq!(explained["Rule"], json!("tag"));
    assert_eq!(explained["Service"], json!("web"));
    assert_eq!(explained["Tags"], json!(["v2"]));
    assert_eq!(explained["Node"], Value::Null);
    let ttl = json!({"Seconds": 5, "Source": "dns_config.service_ttl[\"web\"]"});
    assert_eq!(explained["TTL"], ttl);
    let instances = &explained["Instances"];
    assert_eq!(instances["Registered"], json!(6));
    assert_eq!(instances["Included"], json!(2));
    let last = json!({
        "Node": "f", "ID": "web-6", "Address": "10.0.0.6", "Port": 80, "Included": true,
        "Reason": "10.0.0.6",
    });
    assert_eq!(instances["List"][5], last);
    assert_eq!(explained["Answers"].as_array().unwrap().len(), 3);
    assert_eq!(explained["Records"]["Answer"].as_array().unwrap().len(), 2);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_question_is_refused_with_its_value() {
    let agent = TestAgent::start().await;
    for (query, text) in [
        (
            "",
            "query parameter name is empty, a domain name like web.service.consul is needed",
        ),
        (
            "name=a..b",
            "query parameter name \"a..b\" has a label of 0 octets, 1 to 63 are allowed",
        ),
        (
            "name=a&type=NOPE",
            "query parameter type \"NOPE\" is no record type, one like A, AAAA, SRV, TXT or ANY is \
             needed, or TYPE and a number",
        ),
        ("name=a&dc=dc9", "No path to datacenter"),
    ] {
        let reply = get(agent.http_address(), &format!("/v1/dns/explain?{query}")).await;
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (400, text),
            "{query}"
        );
    }
    let name = "x.".repeat(200);
    let reply = get(
        agent.http_address(),
        &format!("/v1/dns/explain?name={name}"),
    )
    .await;
    assert_eq!(reply.status, 400);
    assert!(
        reply
            .text()
            .ends_with("takes 401 octets, at most 255 are allowed")
    );
    let reply = get(
        agent.http_address(),
        "/v1/dns/explain?name=consul&type=TYPE65",
    )
    .await;
    assert_eq!(reply.json()["Type"], json!("HTTPS"));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_dns_says_so() {
    let agent = TestAgent::with(&json!({"ports": {"dns": -1}}).to_string()).await;
    let reply = get(agent.http_address(), "/v1/dns/explain?name=consul").await;
    assert_eq!(reply.status, 404);
    assert!(reply.text().starts_with("this agent does not answer DNS"));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_zone_files_are_answered_from_them() {
    let directory = Directory::new();
    let zone = "$ORIGIN example.\n$TTL 60\n@ IN SOA ns hostmaster 1 3600 600 86400 60\n\
                @ IN NS ns\nns IN A 10.9.9.9\n";
    let file = directory.write("example.zone", zone);
    let content = json!({"zones_dir": file.parent().unwrap()});
    let agent = TestAgent::with(&content.to_string()).await;
    let explained = explain(&agent, "ns.example A").await;
    assert_eq!(explained["Rule"], json!("static zone"));
    assert_eq!(
        explained["Records"]["Answer"],
        json!(["ns.example.\t\t60\tIN\tA\t10.9.9.9"])
    );
    agent.stop().await;
}

/// Runs `herald explain` and gives its exit code and output.
async fn command(agent: &TestAgent, arguments: &[&str]) -> (i32, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_herald"));
    command
        .arg("explain")
        .args(arguments)
        .env("HERALD_HTTP_ADDR", agent.http_address().to_string())
        .kill_on_drop(true)
        .stdin(Stdio::null());
    let output = tokio::time::timeout(Duration::from_secs(30), command.output());
    let output = output.await.expect("the program ends in time").unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

/// What changes from run to run: indexes, and the time in the SOA record.
fn steady(text: &str) -> String {
    let index = regex::Regex::new(r"index \d+").unwrap();
    let serial = regex::Regex::new(r"hostmaster\.consul\. \d+").unwrap();
    let text = index.replace_all(text, "index N");
    let text = serial.replace_all(&text, "hostmaster.consul. TIME");
    text.into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_tables() {
    let agent = agent().await;
    let (code, out, err) = command(&agent, &["v1.web.service.consul"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let expected = "\
Question:  v1.web.service.consul. A
Rule:      tag
Meaning:   instances of service \"web\" with tag \"v1\"
TTL:       5 s (dns_config.service_ttl[\"web\"])
State:     index N

Instances: 6 registered, 1 in the answer
In   Node  ID     Address         Port  Why
no   a     web-1  10.0.0.1        80    critical: check http (as of index N)
yes  b     web-2  10.0.0.2        80    10.0.0.2, warning: check http (as of index N)
no   c     web-3  2001:db8::3     80    address is IPv6 but A was asked
no   d     web-4  db.example.net  80    tag: no v1, it has no tags
no   e     web-5  10.0.0.2        80    tag: no v1 among v2
no   f     web-6  10.0.0.6        80    tag: no v1 among v2

Client              Status   Records  Octets  TC  Left out
UDP without EDNS    NOERROR  1        55      no  nothing
UDP with EDNS 1232  NOERROR  1        66      no  nothing
TCP                 NOERROR  1        66      no  nothing

Answer (UDP with EDNS 1232):
v1.web.service.consul.\t5\tIN\tA\t10.0.0.2
";
    assert_eq!(steady(&out), expected);

    let (code, out, _) = command(&agent, &["v3.web.service.consul", "SRV"]).await;
    assert_eq!(code, 0);
    let expected = "
Client              Status    Records  Octets  TC  Left out
UDP without EDNS    NXDOMAIN  0        89      no  nothing
UDP with EDNS 1232  NXDOMAIN  0        100     no  nothing
TCP                 NXDOMAIN  0        100     no  nothing

Authority (UDP with EDNS 1232):
consul.\t\t\t0\tIN\tSOA\tns.consul. hostmaster.consul. TIME 3600 600 86400 0
";
    let out = steady(&out);
    assert!(out.ends_with(expected), "{out}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_json_and_errors() {
    let agent = agent().await;
    let (code, out, _) = command(&agent, &["-format=json", "web.service.consul", "SRV"]).await;
    assert_eq!(code, 0);
    let printed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(printed["Rule"], json!("service"));
    for (arguments, expected) in [
        (
            &[][..],
            "A name is needed, as in: herald explain web.service.consul SRV\n",
        ),
        (
            &["a", "A", "B"],
            "Only a name and a type are taken, 3 were given\n",
        ),
        (
            &["-format=xml", "a"],
            "-format \"xml\" is none of text, json\n",
        ),
        (
            &["a..b"],
            "Error explaining: Unexpected response code: 400 (query parameter name \"a..b\" has a \
             label of 0 octets, 1 to 63 are allowed)\n",
        ),
    ] {
        let (code, out, err) = command(&agent, arguments).await;
        assert_eq!((code, out.as_str(), err.as_str()), (1, "", expected));
    }
    agent.stop().await;
}

mod without_a_catalog {
    use super::*;

    #[tokio::test]
    async fn what_is_not_known_is_not_called_missing() {
        let mut world = World::new();
        world.sources.freshness = Arc::new(Freshness::new());
        for (question, word) in [
            ("web.service.consul A", "service"),
            ("n1.node.consul A", "node"),
            ("ns.consul A", "name server"),
            ("1.0.0.10.in-addr.arpa PTR", "reverse"),
        ] {
            let explanation = world.explain(question).await;
            assert_eq!(explanation.rule, word);
            assert!(explanation.meaning.starts_with("not known"), "{question}");
            assert!(explanation.notes[0].contains("until a server has been reached"));
            let with_edns = &explanation.answers[1];
            assert_eq!(with_edns.status, "SERVFAIL");
            assert!(with_edns.errors[0].contains("14"), "{:?}", with_edns.errors);
            assert_eq!(explanation.ttl, None);
        }
        let apex = world.explain("consul SOA").await;
        assert_eq!(
            (apex.rule, apex.answers[0].status.as_str()),
            ("apex", "NOERROR")
        );
    }
}
