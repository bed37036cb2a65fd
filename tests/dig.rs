//! The real `dig` (bind9-dnsutils) against a running agent: what operators type must work as it is.
//!
//! Without `dig` these tests say so on standard error and count as skipped: nothing was checked.

use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use crate::support::agent::TestAgent;
use crate::support::eventually;

/// What `dig` prints; `None` if there is no `dig`.
async fn dig(server: SocketAddr, arguments: &str) -> Option<String> {
    let output = Command::new("dig")
        .args([
            "-r",
            &format!("@{}", server.ip()),
            "-p",
            &server.port().to_string(),
        ])
        .args(["+time=1", "+tries=5"])
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    match output {
        Ok(output) => Some(String::from_utf8(output.stdout).unwrap()),
        Err(error) => {
            eprintln!("SKIPPED: dig is missing ({error}); install bind9-dnsutils");
            None
        }
    }
}

/// An agent with three instances of `web`, whose own node is registered.
async fn agent() -> TestAgent {
    let agent = TestAgent::start().await;
    for number in 1..=3 {
        agent
            .register(json!({"ID": format!("web-{number}"), "Name": "web",
                "Address": format!("10.0.0.{number}"), "Port": 8000 + number}))
            .await;
    }
    agent
        .register_in_catalog(json!({"Node": "six", "Address": "2001:db8::6",
            "NodeMeta": {"rack": "7"}}))
        .await;
    eventually(async || !agent.ask("consul NS").await.data().is_empty()).await;
    agent
}

/// Questions, and lines that their answers must have; blanks in lines stand for any blanks.
async fn check(cases: &[(&str, &[&str])]) {
    let agent = agent().await;
    for (arguments, expected) in cases {
        let Some(output) = dig(agent.dns(), arguments).await else {
            break;
        };
        let squeezed: Vec<String> = output
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        for line in *expected {
            let found = squeezed.iter().any(|have| have.contains(line));
            assert!(found, "dig {arguments}: {line:?} is missing in\n{output}");
        }
        // dig asks for recursion by itself; anything else that it warns of is a mistake of ours.
        let complains = output
            .replace("WARNING: recursion requested", "")
            .contains("WARNING");
        assert!(
            !complains,
            "dig {arguments} complains:
{output}"
        );
    }
    agent.stop().await;
}

#[tokio::test]
async fn services_are_answered() {
    check(&[
        (
            "web.service.consul SRV",
            &[
                "status: NOERROR",
                "flags: qr aa rd;",
                "ANSWER: 3, AUTHORITY: 0, ADDITIONAL:",
                "web.service.consul. 0 IN SRV 1 1 8002 0a000002.addr.dc1.consul.",
                "0a000003.addr.dc1.consul. 0 IN A 10.0.0.3",
            ],
        ),
        (
            "web.service.consul A",
            &["web.service.consul. 0 IN A 10.0.0.1", "ANSWER: 3"],
        ),
        (
            "+tcp web.service.consul A",
            &["web.service.consul. 0 IN A 10.0.0.2", "(TCP)"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn nodes_are_answered() {
    check(&[
        (
            "six.node.consul AAAA",
            &["six.node.consul. 0 IN AAAA 2001:db8::6"],
        ),
        (
            "six.node.consul TXT",
            &["six.node.consul. 0 IN TXT \"rack=7\""],
        ),
        ("-x 2001:db8::6", &["IN PTR six.node.dc1.consul."]),
        (
            "-x 10.0.0.2",
            &["2.0.0.10.in-addr.arpa. 0 IN PTR web.service.dc1.consul."],
        ),
    ])
    .await;
}

#[tokio::test]
async fn the_zone_describes_itself() {
    check(&[
        (
            "consul SOA",
            &["consul. 0 IN SOA ns.consul. hostmaster.consul."],
        ),
        (
            "consul NS",
            &[
                "consul. 0 IN NS n1.node.dc1.consul.",
                "n1.node.dc1.consul. 0 IN A",
            ],
        ),
    ])
    .await;
}

#[tokio::test]
async fn negative_answers_are_clear() {
    check(&[
        (
            "none.service.consul A",
            &[
                "status: NXDOMAIN",
                "consul. 0 IN SOA ns.consul.",
                "AUTHORITY: 1",
            ],
        ),
        (
            "web.service.consul AAAA",
            &[
                "status: NOERROR",
                "ANSWER: 0, AUTHORITY: 1",
                "consul. 0 IN SOA ns.consul.",
            ],
        ),
        ("example.com A", &["status: REFUSED"]),
        ("web.service.consul A -c CH", &["status: REFUSED"]),
    ])
    .await;
}

#[tokio::test]
async fn edns_is_obeyed() {
    check(&[
        ("+noedns web.service.consul A", &["ADDITIONAL: 0"]),
        (
            "+bufsize=600 web.service.consul SRV",
            &["; EDNS: version: 0, flags:; udp: 1232"],
        ),
        (
            "+edns=1 +noednsneg web.service.consul A",
            &["status: BADVERS"],
        ),
        (
            "+dnssec web.service.consul A",
            &["; EDNS: version: 0, flags:; udp: 1232"],
        ),
    ])
    .await;
}
