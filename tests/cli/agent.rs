//! `herald agent`, `validate` and `demo`: banner, signals and exit codes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use herald::client::Transport;
use herald::client::dns::{self, Question};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout};

use super::{LIMIT, ask, command, finish, herald, program, signal};
use crate::support::agent::TestAgent;
use crate::support::directory::Directory;
use crate::support::eventually;

#[tokio::test]
async fn configuration_is_validated_without_starting_anything() {
    let directory = Directory::new();
    let good = directory.write(
        "good.json",
        r#"{"data_dir": "/nowhere", "bind_addr": "127.0.0.1", "node_name": "n"}"#,
    );
    let finished = herald(&["validate", good.to_str().unwrap()]).await;
    assert_eq!(
        (finished.code, finished.out.as_str()),
        (0, "Configuration is valid!\n")
    );
    let bad = directory.write("bad.json", "{\n\"datacentre\": \"x\"}");
    let bad = bad.to_str().unwrap();
    let finished = herald(&["validate", bad]).await;
    assert_eq!(finished.code, 1);
    assert_eq!(
        finished.err,
        format!(
            "Config validation failed: {bad}:2: invalid config key datacentre, did you mean \
             datacenter?\n"
        )
    );
    assert_eq!(herald(&["validate"]).await.code, 1);
}

#[tokio::test]
async fn a_link_that_leads_nowhere_is_not_passed_over() {
    let directory = Directory::new();
    directory.write("a.json", r#"{"data_dir": "/tmp"}"#);
    std::os::unix::fs::symlink("/nowhere/b.json", directory.0.join("b.json")).unwrap();
    std::os::unix::fs::symlink("/nowhere/readme", directory.0.join("README")).unwrap();
    let path = directory.0.to_str().unwrap();
    let text = format!(
        "Config validation failed: config: cannot read {path}/b.json: no such file or directory\n"
    );
    herald(&["validate", path]).await.is(1, "", &text);
}

#[tokio::test]
async fn a_configuration_whose_zones_no_agent_could_serve_is_not_valid() {
    let directory = Directory::new();
    let zones = directory.0.join("zones");
    let configuration = |dns: u16| {
        let port = if dns == 0 { json!(-1) } else { json!(dns) };
        let text = json!({"data_dir": directory.0, "bind_addr": "127.0.0.1", "node_name": "n",
            "ports": {"dns": port, "http": 0}, "zones_dir": zones});
        directory.write("agent.json", &text.to_string())
    };
    let file = configuration(8600);
    let file = file.to_str().unwrap();
    let validate = async || herald(&["validate", file]).await;
    let valid = "Configuration is valid!\n";
    let missing = format!(
        "zones_dir: cannot read zones in {}: No such file or directory (os error 2)\n",
        zones.display()
    );
    let failed = format!("Config validation failed: {missing}");
    validate().await.is(1, "", &failed);
    std::fs::create_dir(&zones).unwrap();
    validate().await.is(0, valid, "");
    let zone = zones.join("corp.example.zone");
    std::fs::write(&zone, "$TTL 60\n@ IN NONSENSE x\n").unwrap();
    let refused = validate().await;
    let start = format!(
        "Config validation failed: zones_dir: bad zone file {}: ",
        zone.display()
    );
    assert!(
        refused.code == 1 && refused.err.starts_with(&start),
        "{}",
        refused.err
    );
    // An agent says the same.
    let ports = [
        "-dns-port=0",
        "-serf-lan-port=0",
        "-serf-wan-port=0",
        "-server-port=0",
    ];
    let arguments = [&["agent", "-dev", "-config-file", file][..], &ports].concat();
    let started = herald(&arguments).await;
    let reason = refused.err.split_once("zones_dir: ").unwrap().1;
    assert!(
        started.code == 1 && started.err.ends_with(reason),
        "{}",
        started.err
    );
    let good = "$TTL 60\n@ IN SOA ns h 1 2 3 4 5\n@ IN NS ns\nns IN A 192.0.2.1\n";
    std::fs::write(&zone, good).unwrap();
    validate().await.is(0, valid, "");
    // Where DNS is off, nobody reads them.
    std::fs::write(&zone, "nonsense").unwrap();
    configuration(0);
    validate().await.is(0, valid, "");
}

/// Each line of the second file is a complaint about the first, which has every key of the
/// reference; a feature that comes takes its lines away.
#[tokio::test]
async fn every_key_that_is_not_supported_yet_is_named() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let file = vectors.join("config_all_keys.json");
    let finished = herald(&["validate", file.to_str().unwrap()]).await;
    assert_eq!((finished.code, &*finished.out), (1, ""));
    let complaints = finished
        .err
        .strip_prefix("Config validation failed: ")
        .unwrap();
    let place = format!("{}:1: ", file.display());
    let complaints = complaints.replace(&place, "");
    let expected = std::fs::read_to_string(vectors.join("config_all_keys.unsupported")).unwrap();
    assert_eq!(complaints, expected);
}

#[tokio::test]
async fn an_agent_that_cannot_start_says_why() {
    let finished = herald(&["agent"]).await;
    assert_eq!(
        (finished.code, finished.err.as_str()),
        (1, "==> data_dir cannot be empty\n")
    );
    let finished = herald(&["agent", "-dev", "-config-file=/nowhere/x.json"]).await;
    assert_eq!(finished.code, 1);
    assert!(
        finished
            .err
            .starts_with("==> config: cannot read /nowhere/x.json: no such file")
    );
    let agent = TestAgent::start().await;
    let (dns, http) = (
        agent.dns().port().to_string(),
        agent.http_address().port().to_string(),
    );
    let start = async |arguments: &[&str]| {
        let free = [
            "agent",
            "-dev",
            "-serf-lan-port=0",
            "-serf-wan-port=0",
            "-server-port=0",
        ];
        herald(&[&free[..], arguments].concat()).await
    };
    let finished = start(&["-dns-port", &dns, "-http-port=0"]).await;
    assert!(
        finished.code == 1 && finished.err.contains("127.0.0.1"),
        "{}",
        finished.err
    );
    assert!(
        finished.err.contains(&dns) && finished.err.contains("in use"),
        "{}",
        finished.err
    );
    let finished = start(&["-dns-port=0", "-http-port", &http]).await;
    assert!(
        finished.code == 1 && finished.err.contains(&http),
        "{}",
        finished.err
    );
    for (flag, address) in [
        ("-serf-lan-port", agent.lan()),
        ("-serf-wan-port", agent.wan()),
        ("-server-port", agent.rpc()),
    ] {
        let port = address.port().to_string();
        let finished = start(&["-dns-port=0", "-http-port=0", flag, &port]).await;
        let named = finished.err.contains(&address.to_string());
        assert!(
            finished.code == 1 && named && finished.err.contains("in use"),
            "{}",
            finished.err
        );
    }
    agent.stop().await;
}

/// An agent in a process of its own, whose banner has been read.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) banner: Vec<String>,
}

impl Running {
    pub(crate) async fn start(program: &Path, arguments: &[&str]) -> Self {
        Self::start_where(program, arguments, &[]).await
    }

    /// The same with variables.
    pub(crate) async fn start_where(
        program: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = command(program, &["agent"]);
        command.envs(variables.iter().copied());
        // What a test gives comes last and wins.
        command
            .args(["-dns-port=0", "-http-port=0", "-node=n1"])
            .args(["-serf-lan-port=0", "-serf-wan-port=0", "-server-port=0"])
            .args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut banner = Vec::new();
        let read = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                banner.push(line);
                if banner
                    .last()
                    .is_some_and(|line| line == "==> herald agent running!")
                {
                    return;
                }
            }
            panic!("the agent ended: {banner:?}");
        };
        tokio::time::timeout(LIMIT, read)
            .await
            .expect("the agent starts in time");
        Self {
            child,
            lines,
            banner,
        }
    }

    /// Ports of HTTP and DNS, as the banner gives them.
    pub(crate) fn ports(&self) -> (u16, u16) {
        (self.port("HTTP"), self.port("DNS"))
    }

    /// The port that the banner gives for an interface or a pool.
    pub(crate) fn port(&self, name: &str) -> u16 {
        let name = format!("{name}: ");
        let mut given = self.banner.iter().filter_map(|line| {
            let (_, rest) = line.split_once(&name)?;
            rest.get(..rest.find([',', ')'])?)?.parse().ok()
        });
        given.next().unwrap()
    }

    /// The answer to a question, as sorted texts.
    pub(crate) async fn ask(&self, question: &str) -> Vec<String> {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports().1));
        let question: Question = question.parse().unwrap();
        let answer = dns::ask(server, Transport::Udp, &question, LIMIT).await;
        answer.unwrap().data()
    }

    /// Reads until a line has all of `parts`.
    pub(crate) async fn line_with(&mut self, parts: &[&str]) {
        let mut seen = Vec::new();
        let read = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                if parts.iter().all(|part| line.contains(part)) {
                    return true;
                }
                seen.push(line);
            }
            false
        };
        let found = tokio::time::timeout(LIMIT, read).await;
        assert!(found == Ok(true), "no line has {parts:?}: {seen:?}");
    }

    /// Sends a signal and returns the exit code, the time until then, and the lines since the
    /// start.
    pub(crate) async fn end(self, name: &str) -> (i32, Duration, Vec<String>) {
        signal(self.child.id().unwrap(), name).await;
        self.ended().await
    }

    /// Waits for its end, and returns the same.
    pub(crate) async fn ended(mut self) -> (i32, Duration, Vec<String>) {
        let started = herald::clock::monotonic();
        let status = tokio::time::timeout(LIMIT, self.child.wait()).await;
        let status = status.expect("the agent ends in time").unwrap();
        let elapsed = started.elapsed();
        let mut rest = Vec::new();
        while let Some(line) = self.lines.next_line().await.unwrap() {
            rest.push(line);
        }
        (status.code().expect("it ended by itself"), elapsed, rest)
    }
}

#[tokio::test]
async fn the_banner_has_the_layout_that_operators_know() {
    let id = "11111111-2222-3333-4444-555555555555";
    let agent = Running::start(program(), &["-dev", "-node-id", id]).await;
    let lines: Vec<&str> = agent.banner.iter().map(String::as_str).collect();
    let version = format!("           Version: '{}'", env!("CARGO_PKG_VERSION"));
    let (http, dns) = agent.ports();
    let client =
        format!("       Client Addr: [127.0.0.1] (HTTP: {http}, HTTPS: -1, gRPC: -1, DNS: {dns})");
    let (lan, wan) = (agent.port("LAN"), agent.port("WAN"));
    let cluster = format!("      Cluster Addr: 127.0.0.1 (LAN: {lan}, WAN: {wan})");
    assert_eq!(
        lines[..11],
        [
            "==> Starting herald agent...",
            &version,
            "           Node ID: '11111111-2222-3333-4444-555555555555'",
            "         Node name: 'n1'",
            "        Datacenter: 'dc1' (Segment: '<all>')",
            "            Server: true (Bootstrap: false)",
            &client,
            &cluster,
            "           Encrypt: Gossip: false, TLS-Outgoing: false, TLS-Incoming: false, \
             Auto-Encrypt-TLS: false",
            "",
            "==> Log data will now stream in as it occurs:",
        ]
    );
    agent.end("TERM").await;
}

#[tokio::test]
async fn addresses_are_chosen_by_template_or_by_the_name_of_an_interface() {
    let directory = Directory::new();
    let data = directory.0.to_str().unwrap();
    let arguments = ["-server", "-data-dir", data];
    let variables = [
        ("CONSUL_BIND_INTERFACE", "lo"),
        ("HERALD_CLIENT_INTERFACE", "lo"),
    ];
    let agent = Running::start_where(program(), &arguments, &variables).await;
    let has = |agent: &Running, text: &str| {
        let found = agent.banner.iter().any(|line| line.contains(text));
        assert!(found, "{text} in {:?}", agent.banner);
    };
    has(&agent, "Client Addr: [127.0.0.1] ");
    has(&agent, "Cluster Addr: 127.0.0.1 ");
    agent.end("TERM").await;
    let template =
        "{{ GetAllInterfaces | include \"network\" \"127.0.0.0/8\" | attr \"address\" }}";
    let arguments = ["-server", "-data-dir", data, "-bind", template];
    // A flag wins over the variable.
    let variables = [("CONSUL_BIND_INTERFACE", "none0")];
    let agent = Running::start_where(program(), &arguments, &variables).await;
    has(&agent, "Cluster Addr: 127.0.0.1 ");
    agent.end("TERM").await;
    let mut command = command(program(), &["agent", "-dev"]);
    command.env("CONSUL_CLIENT_INTERFACE", "none0");
    let finished = finish(command).await;
    let complaint = "==> flag -client (CONSUL_CLIENT_INTERFACE): client_addr: address template";
    assert!(
        finished.code == 1 && finished.err.starts_with(complaint),
        "{}",
        finished.err
    );
}

#[tokio::test]
async fn pieces_of_configuration_stand_on_the_command_line() {
    let directory = Directory::new();
    let file = directory.write("c.conf", "datacenter = \"dc8\"");
    let fragment = "ports { serf_wan = -1 }";
    let arguments = [
        "-dev",
        "-config-format=hcl",
        "-config-file",
        file.to_str().unwrap(),
    ];
    let agent = Running::start(program(), &[&arguments[..], &["-hcl", fragment]].concat()).await;
    let all = agent.banner.join("\n");
    assert!(
        all.contains("Datacenter: 'dc8'") && all.contains(", WAN: -1)"),
        "{all}"
    );
    agent.end("TERM").await;
    let finished = herald(&["agent", "-dev", "-config-format=yaml"]).await;
    let complaint = "invalid value \"yaml\" for flag -config-format: it must be hcl or json";
    assert!(
        finished.code == 1 && finished.err.starts_with(complaint),
        "{}",
        finished.err
    );
}

/// Longest time from a signal to the end of an agent.
const END_MAX: Duration = Duration::from_secs(2);

/// Agents started for one measurement: a busy machine may delay one of them, not all.
const ATTEMPTS: usize = 3;

#[tokio::test]
async fn signals_end_an_agent_within_two_seconds() {
    for name in ["TERM", "INT"] {
        let mut shortest = Duration::MAX;
        for _ in 0..ATTEMPTS {
            let agent = Running::start(program(), &["-dev"]).await;
            let (code, elapsed, lines) = agent.end(name).await;
            assert_eq!(code, 1, "a server that was not told to leave");
            assert!(
                lines.last().unwrap().ends_with("agent: Exit code: code=1"),
                "{lines:?}"
            );
            shortest = shortest.min(elapsed);
        }
        assert!(shortest < END_MAX, "{shortest:?}");
    }
}

#[tokio::test]
async fn neither_blocked_reads_nor_idle_connections_hold_up_the_end() {
    let request = "GET /v1/catalog/nodes?index=1000000&wait=5m HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut shortest = Duration::MAX;
    for _ in 0..ATTEMPTS {
        let agent = Running::start(program(), &["-dev"]).await;
        let (http, dns) = agent.ports();
        let mut blocked = TcpStream::connect(("127.0.0.1", http)).await.unwrap();
        blocked.write_all(request.as_bytes()).await.unwrap();
        let silent = TcpStream::connect(("127.0.0.1", http)).await.unwrap();
        let idle = TcpStream::connect(("127.0.0.1", dns)).await.unwrap();
        let (code, elapsed, _) = agent.end("TERM").await;
        assert_eq!(code, 1);
        shortest = shortest.min(elapsed);
        drop((blocked, silent, idle));
    }
    assert!(shortest < END_MAX, "{shortest:?}");
}

#[tokio::test]
async fn an_agent_that_leaves_on_a_signal_exits_with_0() {
    let directory = Directory::new();
    let text = r#"{"leave_on_terminate": true, "skip_leave_on_interrupt": false}"#;
    let file = directory.write("leave.json", text);
    for name in ["TERM", "INT"] {
        let arguments = ["-dev", "-config-file", file.to_str().unwrap()];
        let agent = Running::start(program(), &arguments).await;
        assert_eq!(agent.end(name).await.0, 0);
    }
}

#[tokio::test]
async fn a_hangup_reloads_and_does_not_end_an_agent() {
    let directory = Directory::new();
    let file = directory.write("a.json", r#"{"log_level": "info"}"#);
    let arguments = ["-dev", "-config-file", file.to_str().unwrap()];
    let mut agent = Running::start(program(), &arguments).await;
    let id = agent.child.id().unwrap();
    directory.write("a.json", r#"{"log_level": "error", "datacenter": "other"}"#);
    signal(id, "HUP").await;
    agent.line_with(&["[INFO]  agent: ", "hangup"]).await;
    // The log itself is quieter after this; what follows is the last that INFO lets through.
    directory.write("a.json", r#"{"log_level": "warn", "datacenter": "other"}"#);
    signal(id, "HUP").await;
    agent
        .line_with(&["[WARN]  agent: ", "take a restart to change: datacenter"])
        .await;
    directory.write("a.json", "{\n\"serevr\": true}");
    signal(id, "HUP").await;
    agent
        .line_with(&[
            "[ERROR] agent: ",
            "nothing changed",
            "a.json:2: invalid config key serevr",
        ])
        .await;
    let (code, _, lines) = agent.end("TERM").await;
    assert_eq!(code, 1);
    // Not even the last line of an agent is logged at this level.
    assert!(
        !lines.iter().any(|line| line.contains("[INFO]")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn reload_makes_an_agent_read_its_files_again() {
    let directory = Directory::new();
    directory.write("web.json", r#"{"service": {"name": "web", "port": 80}}"#);
    let agent = TestAgent::reading(&directory).await;
    directory.write("db.json", r#"{"service": {"name": "db", "port": 5432}}"#);
    let finished = ask(&agent, "reload").await;
    assert_eq!((finished.code, &*finished.err), (0, ""));
    assert_eq!(finished.out, "Configuration reload triggered\n");
    eventually(async || ask(&agent, "catalog services").await.out == "consul\ndb\nweb\n").await;
    directory.write("db.json", r#"{"service": {"name": "db", "port": "5432"}}"#);
    let finished = ask(&agent, "reload").await;
    assert_eq!((finished.code, &*finished.out), (1, ""));
    let complaint =
        "db.json:1: service.port: expected a whole number from 0 to 65535, found string";
    assert!(
        finished
            .err
            .starts_with("Error reloading: Unexpected response code: 500 (")
            && finished.err.contains(complaint),
        "{}",
        finished.err
    );
    agent.stop().await;
}

#[tokio::test]
async fn the_process_id_is_kept_in_a_file_while_the_agent_runs() {
    let directory = Directory::new();
    let file = directory.0.join("herald.pid");
    let agent = Running::start(program(), &["-dev", "-pid-file", file.to_str().unwrap()]).await;
    let id = agent.child.id().unwrap().to_string();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), id);
    agent.end("TERM").await;
    assert!(!file.exists());
}

#[tokio::test]
async fn a_number_of_servers_that_helps_against_no_failure_is_warned_of() {
    let directory = Directory::new();
    let data = directory.0.to_str().unwrap();
    let arguments = [
        "--server=true",
        "--bootstrap-expect=2",
        "-bind=127.0.0.1",
        "-data-dir",
        data,
        "-log-json",
    ];
    let agent = Running::start(program(), &arguments).await;
    let said = agent
        .banner
        .iter()
        .any(|line| line.starts_with("==> bootstrap_expect is 2"));
    assert!(said, "{:?}", agent.banner);
    let logged = agent
        .banner
        .iter()
        .find(|line| line.starts_with('{') && line.contains("bootstrap_expect is 2"))
        .unwrap();
    let logged: serde_json::Value = serde_json::from_str(logged).unwrap();
    assert_eq!(
        (&logged["@level"], &logged["@module"]),
        (&json!("warn"), &json!("agent"))
    );
    agent.end("TERM").await;
}

#[tokio::test]
async fn a_server_whose_name_cannot_be_that_of_a_name_server_says_so() {
    for (name, warned) in [("a_b", true), ("a.b", true), ("ünï", true), ("a-b1", false)] {
        let agent = Running::start(program(), &["-dev", "-node", name]).await;
        let warning = format!("The node name {name:?} is no host name of letters");
        let starting = |start: &str| {
            let start = format!("{start}{warning}");
            agent.banner.iter().any(|line| line.starts_with(&start))
        };
        assert_eq!(starting("==> "), warned, "{:?}", agent.banner);
        let logged = |line: &String| line.contains("[WARN]  agent: ") && line.contains(&warning);
        assert_eq!(
            agent.banner.iter().any(logged),
            warned,
            "{:?}",
            agent.banner
        );
        // Once it answers for itself, it also would as a name server.
        eventually(async || !agent.ask("consul.service.consul A").await.is_empty()).await;
        assert_eq!(agent.ask("consul NS").await.is_empty(), warned, "{name}");
        agent.end("TERM").await;
    }
}

#[tokio::test]
async fn the_program_behaves_the_same_under_another_name() {
    let directory = Directory::new();
    let link = directory.0.join("consul");
    std::os::unix::fs::symlink(program(), &link).unwrap();
    let agent = Running::start(&link, &["-dev"]).await;
    assert_eq!(agent.banner[0], "==> Starting herald agent...");
    let all = agent.banner.join("\n");
    assert!(!all.contains("Consul"), "{all}");
    agent.end("INT").await;
    let finished = finish(command(&link, &["version"])).await;
    assert!(finished.out.starts_with("herald v") && !finished.out.contains("Consul"));
}

#[tokio::test]
async fn the_demonstration_checks_what_it_shows() {
    let finished = herald(&["demo"]).await;
    assert_eq!(finished.code, 0, "{}{}", finished.out, finished.err);
    for part in [
        ";hello.service.consul.",
        "ANSWER: 3, AUTHORITY: 0, ADDITIONAL: ",
        "ANSWER: 2, AUTHORITY: 0, ADDITIONAL: ",
        "\tIN\tSRV\t1 1 8002 0a000002.addr.dc1.consul.",
        "0a000003.addr.dc1.consul.",
    ] {
        assert!(
            finished.out.contains(part),
            "{part} is missing in {}",
            finished.out
        );
    }
}

#[tokio::test]
async fn the_demonstration_stays_if_asked_and_says_what_to_type() {
    let mut child = command(program(), &["demo", "-stay"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let read = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.starts_with("curl -X PUT http://127.0.0.1:") {
                return;
            }
        }
        panic!("it ended");
    };
    tokio::time::timeout(LIMIT, read)
        .await
        .expect("it comes to the end in time");
    signal(child.id().unwrap(), "TERM").await;
    let status = tokio::time::timeout(LIMIT, child.wait()).await;
    assert!(status.expect("it ends in time").unwrap().success());
}

#[tokio::test]
async fn a_signal_sent_twice_at_once_still_lets_the_agent_end_in_order() {
    let agent = Running::start(program(), &["-dev"]).await;
    let id = agent.child.id().unwrap();
    signal(id, "TERM").await;
    let (code, _, lines) = agent.end("TERM").await;
    assert_eq!(code, 1);
    assert!(
        !lines.iter().any(|line| line.contains("without waiting")),
        "{lines:?}"
    );
}
