//! Commands about the members of a cluster: what they ask for, what they print.

use super::{Finished, herald};
use crate::support::script::{Script, status};

/// Runs `arguments` against something that gives these answers; also what it was asked.
async fn against(answers: &[String], arguments: &[&str]) -> (Finished, Vec<String>) {
    let mut script = Script::start(answers.to_vec()).await;
    let address = format!("-http-addr={}", script.address);
    // Flags end at the first argument that is none.
    let (command, rest) = arguments.split_first().unwrap();
    let finished = herald(&[&[*command, &address], rest].concat()).await;
    let mut requests = Vec::new();
    for _ in answers {
        let request = script.request().await;
        let line = request.lines().next().unwrap();
        requests.push(line.trim_end_matches(" HTTP/1.1").to_owned());
    }
    (finished, requests)
}

fn ok(body: &str) -> String {
    status("200 OK", body)
}

const MEMBERS: &str = r#"[
    {"Name": "p2", "Addr": "10.0.0.2", "Port": 8301, "Status": 4, "ProtocolCur": 2,
     "Tags": {"role": "node", "dc": "dc1", "build": "1.8.7:0c2ab8f", "segment": ""}},
    {"Name": "a-serf", "Addr": "fd00::5", "Port": 7946, "Status": 1, "ProtocolCur": 2,
     "Tags": {"role": "web", "build": "7", "dc": "x"}},
    {"Name": "p1", "Addr": "10.0.0.1", "Port": 8301, "Status": 1, "ProtocolCur": 2,
     "Tags": {"role": "consul", "dc": "dc1", "build": "1.8.7:herald", "impl": "herald/9.9.9",
              "segment": "", "id": "i1"}},
    {"Name": "p3", "Addr": "10.0.0.3", "Port": 8301, "Status": 2, "ProtocolCur": 2,
     "Tags": {"role": "node", "dc": "dc1", "build": "1.9.0:x", "segment": "alpha"}}
]"#;

#[tokio::test]
async fn members_are_listed_by_segment_and_name_and_others_by_what_is_known() {
    let (finished, requests) = against(&[ok(MEMBERS)], &["members"]).await;
    let table = "\
Node    Address         Status   Type     Build         Protocol  DC   Segment
p1      10.0.0.1:8301   alive    server   herald/9.9.9  2         dc1  <all>
a-serf  [fd00::5]:7946  alive    unknown
p2      10.0.0.2:8301   failed   client   1.8.7         2         dc1  <default>
p3      10.0.0.3:8301   leaving  client   1.9.0         2         dc1  alpha
";
    finished.is(0, table, "");
    assert_eq!(requests, ["GET /v1/agent/members?segment=_all"]);
    let (finished, _) = against(&[ok(MEMBERS)], &["members", "-detailed", "-status=^alive$"]).await;
    let table = "\
Node    Address         Status  Tags
p1      10.0.0.1:8301   alive   build=1.8.7:herald,dc=dc1,id=i1,impl=herald/9.9.9,role=consul,segment=<all>
a-serf  [fd00::5]:7946  alive   build=7,dc=x,role=web,segment=<default>
";
    finished.is(0, table, "");
    // Without a WAN pool there is no list at all.
    let (finished, requests) = against(&[ok("null")], &["members", "-wan"]).await;
    finished.is(2, "", "");
    assert_eq!(requests, ["GET /v1/agent/members?segment=_all&wan=1"]);
}

#[tokio::test]
async fn joining_counts_who_was_reached() {
    let refused = status(
        "500 Internal Server Error",
        "1 error occurred:\n\t* Failed to join x: no\n\n",
    );
    let error = |address: &str| {
        format!(
            "Error joining address '{address}': Unexpected response code: 500 (1 error \
             occurred:\n\t* Failed to join x: no\n\n)\n"
        )
    };
    let arguments = ["join", "10.0.0.9:8301", "n2"];
    let (finished, requests) = against(&[refused.clone(), ok("")], &arguments).await;
    let text = "Successfully joined cluster by contacting 1 nodes.\n";
    finished.is(0, text, &error("10.0.0.9:8301"));
    let paths = [
        "PUT /v1/agent/join/10.0.0.9%3A8301",
        "PUT /v1/agent/join/n2",
    ];
    assert_eq!(requests, paths);
    let (finished, requests) = against(&[refused], &["join", "-wan", "n2"]).await;
    let text = error("n2") + "Failed to join any nodes.\n";
    finished.is(1, "", &text);
    assert_eq!(requests, ["PUT /v1/agent/join/n2?wan=1"]);
    let text = "At least one address to join must be specified.\n";
    herald(&["join"]).await.is(1, "", text);
}

#[tokio::test]
async fn leaving_is_asked_for_and_confirmed() {
    let (finished, requests) = against(&[ok("")], &["leave"]).await;
    finished.is(0, "Graceful leave complete\n", "");
    assert_eq!(requests, ["PUT /v1/agent/leave"]);
    let refused = status("500 Internal Server Error", "no");
    let (finished, _) = against(&[refused], &["leave"]).await;
    finished.is(1, "", "Error leaving: Unexpected response code: 500 (no)\n");
}

#[tokio::test]
async fn a_failed_member_is_forced_to_leave_without_a_word() {
    let (finished, requests) = against(&[ok("")], &["force-leave", "n2"]).await;
    finished.is(0, "", "");
    assert_eq!(requests, ["PUT /v1/agent/force-leave/n2"]);
    let unknown = "agent: No node found with name 'x'";
    let answer = status("500 Internal Server Error", unknown);
    let (finished, requests) = against(&[answer], &["force-leave", "-prune", "x"]).await;
    let text = format!("Error force leaving: Unexpected response code: 500 ({unknown})\n");
    finished.is(1, "", &text);
    assert_eq!(requests, ["PUT /v1/agent/force-leave/x?prune=1"]);
    let text = "A single node name must be specified to force leave.\n";
    for arguments in [&["force-leave"][..], &["force-leave", "a", "b"]] {
        herald(arguments).await.is(1, "", text);
    }
}

#[tokio::test]
async fn a_sent_event_is_named_by_its_id() {
    let id = "8564f27e-7537-960e-8a71-51df980b6240";
    let answer = ok(&format!(r#"{{"ID": "{id}", "Name": "a b"}}"#));
    let arguments = [
        "event",
        "-name=a b",
        "-node=^n",
        "-service=w",
        "-tag=v",
        "payload",
    ];
    let (finished, requests) = against(&[answer], &arguments).await;
    finished.is(0, &format!("Event ID: {id}\n"), "");
    let path = "PUT /v1/event/fire/a%20b?node=%5En&service=w&tag=v";
    assert_eq!(requests, [path]);
    let refused = status("400 Bad Request", "Invalid node filter: x");
    let (finished, _) = against(&[refused], &["event", "-name", "a", "-node=["]).await;
    let text = "Error firing event: Unexpected response code: 400 (Invalid node filter: x)\n";
    finished.is(1, "", text);
    for (arguments, text) in [
        (&["event"][..], "Event name must be specified\n"),
        (
            &["event", "-name=a", "-tag=v"],
            "Cannot provide tag filter without service filter.\n",
        ),
        (
            &["event", "-name=a", "b", "c"],
            "Too many command line arguments.\n",
        ),
    ] {
        herald(arguments).await.is(1, "", text);
    }
}

#[tokio::test]
async fn keys_are_listed_by_pool() {
    let pools = r#"[
        {"WAN": true, "Datacenter": "dc1", "Segment": "", "Keys": {"YQ==": 1},
         "PrimaryKeys": {"YQ==": 1}, "NumNodes": 1},
        {"WAN": false, "Datacenter": "dc1", "Segment": "", "Messages": {"n2": "cut"},
         "Keys": {"Yg==": 1, "YQ==": 2}, "PrimaryKeys": {"YQ==": 2}, "NumNodes": 2}]"#;
    let (finished, requests) =
        against(&[ok(pools)], &["keyring", "-list", "-relay-factor=2"]).await;
    let text = "==> Gathering installed encryption keys...\n\nWAN:\n  YQ== [1/1]\n\n\
                dc1 (LAN):\n  ===> n2: cut\n  YQ== [2/2]\n  Yg== [1/2]\n";
    finished.is(0, text, "");
    assert_eq!(requests, ["GET /v1/operator/keyring?relay-factor=2"]);
    let (finished, requests) =
        against(&[ok(pools)], &["keyring", "-list-primary", "-local-only"]).await;
    let text = "==> Gathering installed primary encryption keys...\n\nWAN:\n  YQ== [1/1]\n\n\
                dc1 (LAN):\n  ===> n2: cut\n  YQ== [2/2]\n";
    finished.is(0, text, "");
    assert_eq!(requests, ["GET /v1/operator/keyring?local-only=true"]);
}

#[tokio::test]
async fn keys_are_changed_with_a_method_for_each_change() {
    for (flag, text, method) in [
        (
            "-install=YQ==",
            "==> Installing new gossip encryption key...\n",
            "POST",
        ),
        (
            "-use=YQ==",
            "==> Changing primary gossip encryption key...\n",
            "PUT",
        ),
        (
            "-remove=YQ==",
            "==> Removing gossip encryption key...\n",
            "DELETE",
        ),
    ] {
        let (finished, requests) = against(&[ok("")], &["keyring", flag]).await;
        finished.is(0, text, "");
        assert_eq!(requests, [format!("{method} /v1/operator/keyring")]);
        let refused = status("500 Internal Server Error", "1 error occurred:\n\t* x\n\n");
        let (finished, _) = against(&[refused], &["keyring", flag]).await;
        let error = "error: Unexpected response code: 500 (1 error occurred:\n\t* x\n\n)\n";
        finished.is(1, text, error);
    }
    let text = "keyring needs one of -install, -list, -list-primary, -remove and -use\n";
    herald(&["keyring"]).await.is(1, "", text);
    let text = "Only a single action is allowed\n";
    herald(&["keyring", "-list", "-use=a"])
        .await
        .is(1, "", text);
}

const NODES: &str = r#"[
    {"Node": "n1", "Segment": "", "Coord":
     {"Vec": [0, 0, 0, 0, 0, 0, 0, 0], "Error": 1.5, "Adjustment": 0, "Height": 0.00001}},
    {"Node": "n2", "Segment": "", "Coord":
     {"Vec": [0.003, 0.004, 0, 0, 0, 0, 0, 0], "Error": 1, "Adjustment": 0.001, "Height": 0.00001}}
]"#;
const ITSELF: &str = r#"{"Config": {"NodeName": "n1", "Datacenter": "dc1"}}"#;

#[tokio::test]
async fn round_trip_times_follow_from_coordinates() {
    let (finished, requests) = against(&[ok(NODES)], &["rtt", "n1", "n2"]).await;
    let text = "Estimated n1 <-> n2 rtt: 6.020 ms (using LAN coordinates)\n";
    finished.is(0, text, "");
    assert_eq!(requests, ["GET /v1/coordinate/nodes"]);
    let (finished, requests) = against(&[ok(ITSELF), ok(NODES)], &["rtt", "n2"]).await;
    let text = "Estimated n2 <-> n1 rtt: 6.020 ms (using LAN coordinates)\n";
    finished.is(0, text, "");
    assert_eq!(requests, ["GET /v1/agent/self", "GET /v1/coordinate/nodes"]);
    let (finished, _) = against(&[ok(NODES)], &["rtt", "n1", "x"]).await;
    finished.is(1, "", "Could not find a coordinate for node \"x\"\n");
    let text = "One or two node names must be specified\n";
    for arguments in [&["rtt"][..], &["rtt", "a", "b", "c"]] {
        herald(arguments).await.is(1, "", text);
    }
}

#[tokio::test]
async fn servers_of_other_datacenters_are_named_with_theirs() {
    let area = |datacenter: &str, area: &str| {
        let entry = NODES.replace("0.00001", "0.00002");
        format!(r#"{{"Datacenter": "{datacenter}", "AreaID": "{area}", "Coordinates": {entry}}}"#)
    };
    let empty = r#"{"Datacenter": "dc3", "AreaID": "wan", "Coordinates": null}"#;
    let areas = format!(
        "[{},{},{},{empty}]",
        area("dc1", "wan"),
        area("dc2", "wan"),
        area("dc2", "other")
    );
    let arguments = ["rtt", "-wan", "n1.dc1", "n2.dc2"];
    let (finished, requests) = against(&[ok(&areas)], &arguments).await;
    let text = "Estimated n1.dc1 <-> n2.dc2 rtt: 6.040 ms (using WAN coordinates)\n";
    finished.is(0, text, "");
    assert_eq!(requests, ["GET /v1/coordinate/datacenters"]);
    let (finished, _) = against(&[ok(ITSELF), ok(&areas)], &["rtt", "-wan", "n1.dc1"]).await;
    let text = "Estimated n1.dc1 <-> n1.dc1 rtt: 0.040 ms (using WAN coordinates)\n";
    finished.is(0, text, "");
    let (finished, _) = against(&[ok(&areas)], &["rtt", "-wan", "n1.dc1", "n1.dc3"]).await;
    finished.is(1, "", "Could not find a coordinate for node \"n1.dc3\"\n");
    let text = "Node names must be specified as <node name>.<datacenter> with -wan\n";
    herald(&["rtt", "-wan", "n1"]).await.is(1, "", text);
}
