//! What commands print about an agent.

use std::net::SocketAddr;

use serde_json::json;

use super::{ask, herald};
use crate::support::agent::TestAgent;
use crate::support::directory::Directory;
use crate::support::script::{Script, status};

#[tokio::test]
async fn members_are_a_table() {
    let agent = TestAgent::start().await;
    let version = env!("CARGO_PKG_VERSION");
    let table = |name: &str, address: SocketAddr| {
        let (address, names) = (address.to_string(), name.len());
        let addresses = address.len();
        format!(
            "{:names$}  {:addresses$}  Status  Type    Build         Protocol  DC   Segment\n\
             {name}  {address}  alive   server  herald/{version}  2         dc1  <all>\n",
            "Node", "Address"
        )
    };
    let lan = table("n1  ", agent.lan());
    for arguments in ["members", "members -status=al.ve", "members -segment _all"] {
        ask(&agent, arguments).await.is(0, &lan, "");
    }
    let wan = table("n1.dc1", agent.wan());
    for arguments in ["members -wan", "members --wan=true"] {
        ask(&agent, arguments).await.is(0, &wan, "");
    }
    agent.stop().await;
}

#[tokio::test]
async fn members_show_their_tags_in_order() {
    let agent = TestAgent::start().await;
    let members: serde_json::Value = agent.http.get("/v1/agent/members").await.unwrap();
    let tags: Vec<String> = members[0]["Tags"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| match key.as_str() {
            "segment" => "segment=<all>".to_owned(),
            _ => format!("{key}={}", value.as_str().unwrap()),
        })
        .collect();
    assert!(tags.contains(&"build=1.8.7:herald".to_owned()) && tags.is_sorted());
    let address = agent.lan().to_string();
    let table = format!(
        "Node  {:width$}  Status  Tags\nn1    {address}  alive   {}\n",
        "Address",
        tags.join(","),
        width = address.len()
    );
    ask(&agent, "members -detailed").await.is(0, &table, "");
    agent.stop().await;
}

#[tokio::test]
async fn members_without_a_match_exit_with_2() {
    let agent = TestAgent::start().await;
    ask(&agent, "members -status failed").await.is(2, "", "");
    let finished = ask(&agent, "members -status [").await;
    assert!(finished.code == 1 && finished.err.starts_with("Failed to compile status regexp"));
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_that_does_not_listen_is_named() {
    let refused = "dial tcp 127.0.0.1:9: connect: connection refused\n";
    for (arguments, what, path) in [
        (
            &["members"][..],
            "retrieving members",
            "agent/members?segment=_all",
        ),
        (&["info"], "querying agent", "agent/self"),
        (&["maint"], "getting checks", "agent/checks"),
        (
            &["monitor"],
            "starting monitor",
            "agent/monitor?loglevel=info",
        ),
        (
            &["watch", "-type=services"],
            "querying agent",
            "catalog/services?pretty",
        ),
        (&["catalog", "nodes"], "listing nodes", "catalog/nodes"),
        (
            &["catalog", "services"],
            "listing services",
            "catalog/services",
        ),
        (
            &["catalog", "datacenters"],
            "listing datacenters",
            "catalog/datacenters",
        ),
    ] {
        let finished = herald(&[arguments, &["-http-addr=127.0.0.1:9"]].concat()).await;
        let text = format!("Error {what}: Get \"http://127.0.0.1:9/v1/{path}\": {refused}");
        finished.is(1, "", &text);
    }
}

#[tokio::test]
async fn services_are_registered_listed_and_deregistered() {
    let agent = TestAgent::start().await;
    let flags = "services register -name web -id w1 -port 80 -tag v2 -tag v1 -meta a=b \
                 -tagged-address lan=10.0.0.9:81";
    let finished = ask(&agent, flags).await;
    finished.is(0, "Registered service: web\n", "");
    let found: serde_json::Value = agent.http.get("/v1/agent/service/w1").await.unwrap();
    assert_eq!(found["Meta"], json!({"a": "b"}));
    assert_eq!(
        found["TaggedAddresses"]["lan"],
        json!({"Address": "10.0.0.9", "Port": 81})
    );
    for (arguments, table) in [
        ("catalog services", "consul\nweb\n"),
        ("catalog services -tags", "consul\nweb     v1,v2\n"),
        ("catalog services -node n1", "consul\nweb\n"),
        ("catalog services -node n1 -tags", "consul\nweb     v1,v2\n"),
    ] {
        ask(&agent, arguments).await.is(0, table, "");
    }
    let text = "No services match the given query - try expanding your search.\n";
    let finished = ask(&agent, "catalog services -node-meta rack=7").await;
    finished.is(0, "", text);
    let finished = ask(&agent, "services deregister -id w1").await;
    finished.is(0, "Deregistered service: w1\n", "");
    agent.stop().await;
}

#[tokio::test]
async fn a_service_that_is_not_there_is_deregistered_as_asked() {
    let agent = TestAgent::start().await;
    let finished = ask(&agent, "services deregister -id w1").await;
    finished.is(0, "Deregistered service: w1\n", "");
    let directory = Directory::new();
    let text = r#"{"services": [{"id": "gone", "name": "web"}, {"name": "db"}]}"#;
    let file = directory.write("web.json", text);
    ask(&agent, "services register -name db").await;
    let finished = ask(&agent, &format!("services deregister {}", file.display())).await;
    // What comes after one that is not there is removed all the same.
    let lines = "Deregistered service: gone\nDeregistered service: db\n";
    finished.is(0, lines, "");
    let none: serde_json::Value = agent.http.get("/v1/agent/services").await.unwrap();
    assert_eq!(none, json!({}));
    agent.stop().await;
}

#[tokio::test]
async fn a_404_of_something_that_is_no_agent_is_an_error() {
    let script = Script::start(vec![status("404 Not Found", "no such page")]).await;
    let address = format!("-http-addr={}", script.address);
    let finished = herald(&["services", "deregister", "-id=w1", &address]).await;
    let refused = "Error deregistering service \"w1\": Unexpected response code: 404 (no such \
                   page)\n";
    finished.is(1, "", refused);
}

#[tokio::test]
async fn what_describes_no_service_is_refused_before_anyone_is_asked() {
    for (arguments, text) in [
        (
            &["register"][..],
            "Service registration requires at least one argument or the -name flag.\n",
        ),
        (
            &["deregister"],
            "Service deregistration requires at least one argument or the -id flag.\n",
        ),
        (
            &["register", "-name=web", "web.json"],
            "Either flags or files describe services, not both.\n",
        ),
        (
            &["register", "-name=web", "-meta=x"],
            "-meta: expected key=value\n",
        ),
        (
            &["register", "-name=web", "-tagged-address=lan=10.0.0.1:x"],
            "-tagged-address \"10.0.0.1:x\" has no port from 0 to 65535: invalid digit found in \
             string\n",
        ),
        (
            &["register", "/nowhere/web.json"],
            "config: cannot read /nowhere/web.json: no such file or directory\n",
        ),
    ] {
        let finished = herald(&[&["services"], arguments].concat()).await;
        finished.is(1, "", text);
    }
}

#[tokio::test]
async fn what_a_terminal_would_carry_out_is_shown_escaped() {
    let agent = TestAgent::start().await;
    agent
        .register_in_catalog(json!({"Node": "n\u{1b}2", "Address": "10.0.0.7",
            "ID": "11111111-2222-3333-4444-555555555555", "NodeMeta": {"rack": "7\u{7}"},
            "Service": {"Service": "web\u{1b}[2J", "Tags": ["a\nb", "\u{0}"]}}))
        .await;
    let services = "consul\nweb\\u{1b}[2J\n";
    let tags = "consul\nweb\\u{1b}[2J  \\u{0},a\\nb\n";
    let nodes = "Node      ID        Address   DC\nn\\u{1b}2  11111111  10.0.0.7  dc1\n";
    for (arguments, expected) in [
        ("catalog services", services),
        ("catalog services -tags", tags),
        ("catalog nodes -node-meta rack=7\u{7}", nodes),
    ] {
        ask(&agent, arguments).await.is(0, expected, "");
    }
    let detailed = ask(&agent, "catalog nodes -detailed").await.out;
    assert!(detailed.contains("rack=7\\u{7}\n"), "{detailed}");
    let explained = ask(&agent, "explain web\u{1b}[2J.service.consul SRV").await;
    assert_eq!(explained.code, 0, "{}", explained.err);
    assert!(explained.out.contains("n\\u{1b}2"), "{}", explained.out);
    let reason = "-reason=down\u{1b}]0;title\u{7}\nReason:";
    let address = format!("-http-addr={}", agent.http_address());
    let finished = herald(&["maint", "-enable", reason, &address]).await;
    finished.is(0, "Node maintenance is now enabled\n", "");
    let shown = "Node:\n  Name:   n1\n  Reason: down\\u{1b}]0;title\\u{7}\\nReason:\n\n";
    ask(&agent, "maint").await.is(0, shown, "");
    let registered = herald(&["services", "register", &address, "-name=x\u{1b}c"]).await;
    registered.is(0, "Registered service: x\\u{1b}c\n", "");
    for text in [&explained.out, &detailed] {
        assert!(
            text.chars()
                .all(|letter| "\n\t".contains(letter) || !letter.is_control())
        );
    }
    agent.stop().await;
}

#[tokio::test]
async fn members_and_figures_and_refusals_of_others_are_shown_escaped() {
    let member = r#"[{"Name": "n\u001b1", "Addr": "10.0.0.1", "Port": 8301, "Status": 1,
        "ProtocolCur": 2, "Tags": {"role": "node", "dc": "d\u0007", "build": "1\n2"}}]"#;
    let figures = r#"{"Stats": {"a\u001b": {"k\n": "v\u0007"}}}"#;
    let answers = vec![
        status("200 OK", member),
        status("200 OK", figures),
        status("500 Internal Server Error", "no\u{1b}[31m"),
    ];
    let script = Script::start(answers).await;
    let address = format!("-http-addr={}", script.address);
    let table = "Node      Address        Status  Type    Build  Protocol  DC      Segment\n\
                 n\\u{1b}1  10.0.0.1:8301  alive   client  1\\n2   2         d\\u{7}  <default>\n";
    herald(&["members", &address]).await.is(0, table, "");
    let shown = "a\\u{1b}:\n\tk\\n = v\\u{7}\n";
    herald(&["info", &address]).await.is(0, shown, "");
    let refused = "Error getting checks: Unexpected response code: 500 (no\\u{1b}[31m)\n";
    herald(&["maint", &address]).await.is(1, "", refused);
}

#[tokio::test]
async fn services_of_a_file_are_registered() {
    let agent = TestAgent::start().await;
    let directory = Directory::new();
    let file = directory.write(
        "web.json",
        r#"{"services": [{"name": "web", "port": 80, "enable_tag_override": true,
            "check": {"id": "alive", "ttl": "1h", "status": "passing"}}], "service": {"name": "db"}}"#,
    );
    let file = file.to_str().unwrap();
    let finished = ask(&agent, &format!("services register {file}")).await;
    let mut lines: Vec<&str> = finished.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        ["Registered service: db", "Registered service: web"],
        "{}",
        finished.err
    );
    let checks: serde_json::Value = agent.http.get("/v1/agent/checks").await.unwrap();
    assert_eq!(checks["alive"]["Status"], "passing");
    let finished = ask(&agent, &format!("services deregister {file}")).await;
    assert_eq!((finished.code, finished.out.lines().count()), (0, 2));
    agent.stop().await;
}

#[tokio::test]
async fn services_of_a_file_in_hcl_are_registered() {
    let agent = TestAgent::start().await;
    let directory = Directory::new();
    let file = directory.write(
        "web.hcl",
        r#"
        # Two that an agent's own files could hold.
        service "web" {
          id   = "w1"
          port = 80
          tags = ["v1"]
          meta { Rack_No = "7" }
          enable_tag_override = true
          check {
            id = "alive"
            ttl = "1h"
            status = "passing"
          }
        }
        services = [{ name = "db", weights { passing = 3 warning = 1 } }]
        "#,
    );
    let file = file.to_str().unwrap();
    let registered = ask(&agent, &format!("services register {file}")).await;
    let lines = "Registered service: web\nRegistered service: db\n";
    registered.is(0, lines, "");
    let found: serde_json::Value = agent.http.get("/v1/agent/service/w1").await.unwrap();
    assert_eq!(
        (&found["Service"], &found["Port"], &found["Tags"]),
        (&json!("web"), &json!(80), &json!(["v1"]))
    );
    assert_eq!(found["Meta"], json!({"Rack_No": "7"}));
    assert_eq!(found["EnableTagOverride"], true);
    let found: serde_json::Value = agent.http.get("/v1/agent/service/db").await.unwrap();
    assert_eq!(found["Weights"], json!({"Passing": 3, "Warning": 1}));
    let checks: serde_json::Value = agent.http.get("/v1/agent/checks").await.unwrap();
    assert_eq!(checks["alive"]["Status"], "passing");
    let removed = ask(&agent, &format!("services deregister {file}")).await;
    removed.is(
        0,
        "Deregistered service: w1\nDeregistered service: db\n",
        "",
    );
    let none: serde_json::Value = agent.http.get("/v1/agent/services").await.unwrap();
    assert_eq!(none, json!({}));
    agent.stop().await;
}

#[tokio::test]
async fn mistakes_in_files_of_services_are_told_with_their_lines_before_anyone_is_asked() {
    let directory = Directory::new();
    for (name, text, complaint) in [
        (
            "port.hcl",
            "service {\n name = \"web\"\n prot = 80\n}",
            "port.hcl:3: invalid config key service.prot, did you mean port?\n",
        ),
        (
            "range.json",
            "{\"services\": [{\"name\": \"web\",\n\"port\": 70000}]}",
            "range.json:2: services.item 1.port: expected a whole number from 0 to 65535, found \
             70000\n",
        ),
        (
            "name.hcl",
            "services = [{ port = 80 }]",
            "name.hcl:1: services.item 1: Missing service name\n",
        ),
        (
            "other.hcl",
            "service { name = \"web\" }\nserver = true",
            "other.hcl:2: invalid config key server, expected service or services\n",
        ),
        (
            "end.hcl",
            "service {",
            "end.hcl:1: service: expected a key, found the end\n",
        ),
    ] {
        let file = directory.write(name, text);
        let finished = herald(&["services", "register", file.to_str().unwrap()]).await;
        let place = format!("{}/", directory.0.display());
        assert_eq!(
            (finished.code, &*finished.err.replace(&place, "")),
            (1, complaint)
        );
    }
    let file = directory.write("nameless.hcl", "service { port = 80 }");
    let file = file.to_str().unwrap();
    let finished = herald(&["services", "deregister", file]).await;
    let complaint = format!("{file}: a service has neither id nor name\n");
    finished.is(1, "", &complaint);
}

#[tokio::test]
async fn the_catalog_is_listed() {
    let agent = TestAgent::start().await;
    agent
        .register_in_catalog(json!({"Node": "other", "Address": "10.0.0.7",
            "ID": "11111111-2222-3333-4444-555555555555", "NodeMeta": {"rack": "7", "row": "2"},
            "TaggedAddresses": {"lan": "10.0.0.7", "wan": "1.2.3.4"},
            "Service": {"Service": "db"}}))
        .await;
    let own: serde_json::Value = agent.http.get("/v1/catalog/node/n1").await.unwrap();
    let own = own["Node"]["ID"].as_str().unwrap();
    let nodes = format!(
        "Node   ID        Address    DC\n\
         n1     {}  127.0.0.1  dc1\n\
         other  11111111  10.0.0.7   dc1\n",
        &own[..8]
    );
    let other = "Node   ID        Address   DC\nother  11111111  10.0.0.7  dc1\n";
    let detailed = format!(
        "Node   {:36}  Address   DC   {:25}  Meta\n\
         other  11111111-2222-3333-4444-555555555555  10.0.0.7  dc1  lan=10.0.0.7, wan=1.2.3.4  \
         rack=7, row=2\n",
        "ID", "TaggedAddresses"
    );
    for (arguments, table) in [
        ("catalog datacenters", "dc1\n"),
        ("catalog nodes", &nodes),
        ("catalog nodes -near _agent -stale", &nodes),
        ("catalog nodes -datacenter=dc1", &nodes),
        ("catalog nodes -node-meta rack=7", other),
        ("catalog nodes -service db", other),
        ("catalog nodes -filter Meta.rack==\"7\"", other),
        ("catalog services -node other -filter Port==0", "db\n"),
        ("catalog nodes -service db -detailed", &detailed),
        ("catalog nodes -node-meta row=2 -detailed", &detailed),
    ] {
        ask(&agent, arguments).await.is(0, table, "");
    }
    let text = "No nodes match the given query - try expanding your search.\n";
    let finished = ask(&agent, "catalog nodes -service none").await;
    finished.is(0, "", text);
    for (arguments, text) in [
        (
            "catalog nodes -node-meta rack",
            "-node-meta \"rack\" is not of the form key=value\n",
        ),
        (
            "catalog nodes -datacenter elsewhere",
            "Error listing nodes: Unexpected response code: 400 (No path to datacenter)\n",
        ),
    ] {
        ask(&agent, arguments).await.is(1, "", text);
    }
    agent.stop().await;
}

#[tokio::test]
async fn filters_are_passed_on_as_typed() {
    let mut script = Script::start(vec![status("200 OK", "[]"), status("200 OK", "{}")]).await;
    let address = format!("-http-addr={}", script.address);
    for (kind, text) in [("nodes", "nodes"), ("services", "services")] {
        let filter = "-filter=Meta.rack == \"7\" and a";
        let finished = herald(&["catalog", kind, &address, filter]).await;
        let text = format!("No {text} match the given query - try expanding your search.\n");
        finished.is(0, "", &text);
        let request = script.request().await;
        let expected = format!(
            "GET /v1/catalog/{kind}?filter=Meta.rack%20%3D%3D%20%227%22%20and%20a HTTP/1.1"
        );
        assert_eq!(request.lines().next(), Some(expected.as_str()));
    }
}

#[tokio::test]
async fn info_shows_figures_in_groups() {
    let agent = TestAgent::start().await;
    let own: serde_json::Value = agent.http.get("/v1/agent/self").await.unwrap();
    let finished = ask(&agent, "info").await;
    assert_eq!((finished.code, finished.err.as_str()), (0, ""));
    let groups = own["Stats"].as_object().unwrap();
    let shape = groups.iter().flat_map(|(group, figures)| {
        let keys = figures.as_object().unwrap().keys();
        let lines = keys.map(|key| format!("\t{key} = "));
        std::iter::once(format!("{group}:")).chain(lines)
    });
    // Figures may have moved on between the two questions.
    let shown = finished
        .out
        .lines()
        .map(|line| match line.split_once("= ") {
            Some((key, _)) => format!("{key}= "),
            None => line.to_owned(),
        });
    assert!(shown.eq(shape), "{}", finished.out);
    for line in ["\nconsul:\n\tacl = disabled\n", "\tserver = true\n"] {
        assert!(finished.out.contains(line), "{}", finished.out);
    }
    agent.stop().await;
}
