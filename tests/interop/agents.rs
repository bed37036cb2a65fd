//! Agents of three makes that may be in one pool, each a process on an address of its own, and what
//! tests ask them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use herald::client::Transport;
use herald::client::dns::{Answer, Question, ask};
use serde_json::{Value, json};
use tokio::process::Command;

use super::process::Process;
use crate::cli::{Finished, command, finish, program};
use crate::support::directory::Directory;
use crate::support::http::{self, Reply};

/// Port of the pool in all tests: every agent has its own address.
pub(super) const PORT: u16 = 8301;

/// Timing of all agents here: that of `serf agent -profile=local`, so that deaths are noticed within
/// seconds.
fn gossip() -> Value {
    json!({
        "gossip_interval": "100ms", "gossip_nodes": 3, "retransmit_mult": 2,
        "probe_interval": "1s", "probe_timeout": "200ms", "suspicion_mult": 3
    })
}

/// Name of a member and the word for its state.
pub(super) type Statuses = BTreeMap<String, String>;

/// What all makes can do.
pub(super) trait Agent {
    /// Its members by name.
    async fn statuses(&self) -> Statuses;
    /// Tags of a member.
    async fn tags(&self, name: &str) -> Option<BTreeMap<String, String>>;
    /// The file in which it keeps whom it knows for a restart.
    fn snapshot(&self) -> PathBuf;
}

/// Waits until `agent` says of `name` that it is in this state, at most 30 s.
pub(super) async fn sees(agent: &impl Agent, name: &str, status: &str) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            if agent
                .statuses()
                .await
                .get(name)
                .is_some_and(|it| it == status)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let in_time = waited.await.is_ok();
    let have = agent.statuses().await;
    assert!(in_time, "{name} is not {status} but {have:?}");
}

/// The same once the agent does not know `name` at all.
pub(super) async fn forgets(agent: &impl Agent, name: &str) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while agent.statuses().await.contains_key(name) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let in_time = waited.await.is_ok();
    let have = agent.statuses().await;
    assert!(in_time, "{name} is still known: {have:?}");
}

/// Waits until `agent` has written down that it knows `name`, so that it finds it again after
/// `kill -9`; at most 30 s. Agents of other makes write what they hold back only once they have
/// something else to write, which events from `herald` give them.
pub(super) async fn remembers(agent: &impl Agent, name: &str, herald: &HttpAgent) {
    let line = format!("alive: {name} ");
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !std::fs::read_to_string(agent.snapshot()).is_ok_and(|text| text.contains(&line)) {
            let fired = http::put(herald.http(), "/v1/event/fire/news", "").await;
            assert_eq!(fired.status, 200, "{}", fired.text());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    waited.await.expect("it is written down within 30 s");
}

/// An agent with the HTTP interface on port 8500: herald, or the reference.
pub(super) struct HttpAgent {
    pub(super) process: Process,
    pub(super) address: Ipv4Addr,
    program: PathBuf,
    arguments: Vec<String>,
}

/// What an agent is to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Server,
    Client,
}

impl HttpAgent {
    /// herald.
    pub(super) async fn herald(name: &str, address: Ipv4Addr, role: Role, more: Value) -> Self {
        Self::start(program(), name, address, role, more).await
    }

    /// The reference; `None` if it is not installed, which is said.
    pub(super) async fn consul(
        name: &str,
        address: Ipv4Addr,
        role: Role,
        more: Value,
    ) -> Option<Self> {
        let program = consul()?;
        Some(Self::start(&program, name, address, role, more).await)
    }

    async fn start(program: &Path, name: &str, address: Ipv4Addr, role: Role, more: Value) -> Self {
        let directory = Directory::new();
        let mut config = json!({
            "node_name": name,
            "bind_addr": address.to_string(),
            "client_addr": address.to_string(),
            "data_dir": directory.0.join("data"),
            "log_level": "debug",
            "gossip_lan": gossip(),
            "gossip_wan": gossip(),
        });
        if role == Role::Server {
            config["server"] = json!(true);
            config["bootstrap_expect"] = json!(1);
        }
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        let file = directory.write("agent.json", &config.to_string());
        let arguments = ["agent", "-config-file", file.to_str().unwrap()];
        let arguments = arguments.map(str::to_owned).to_vec();
        let mut agent = Self {
            process: Process::start(program, directory, &arguments),
            address,
            program: program.to_owned(),
            arguments,
        };
        agent.answers().await;
        agent
    }

    /// Starts it again after it has ended.
    pub(super) async fn restart(&mut self) {
        self.process.restart(&self.program, &self.arguments);
        self.answers().await;
    }

    async fn answers(&mut self) {
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            while tokio::net::TcpStream::connect(self.http()).await.is_err() {
                assert_eq!(self.process.ended(), None, "the agent has ended");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        waited.await.expect("the agent answers within 30 s");
    }

    /// Where its HTTP interface listens.
    pub(super) fn http(&self) -> SocketAddr {
        (self.address, 8500).into()
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        http::get(self.http(), path).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Reply {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        http::put(self.http(), path, &body).await
    }

    /// Asks its DNS `NAME TYPE`.
    pub(super) async fn ask(&self, question: &str) -> Answer {
        let question: Question = question.parse().expect("tests ask proper questions");
        let server = (self.address, 8600).into();
        let question = question.with_edns(1232);
        let answer = ask(server, Transport::Udp, &question, Duration::from_secs(10)).await;
        answer.expect("every question is answered")
    }

    /// Runs a command of its own make against it.
    pub(super) async fn run(&self, arguments: &[&str]) -> Finished {
        let mut command = command(&self.program, arguments);
        command.env("CONSUL_HTTP_ADDR", self.http().to_string());
        finish(command).await
    }

    /// Joins the agent at `address`.
    pub(super) async fn join(&self, address: Ipv4Addr) -> Finished {
        self.run(&["join", &address.to_string()]).await
    }

    /// Whether its catalog has a node of this name.
    pub(super) async fn has_node(&self, name: &str) -> bool {
        let nodes = self.get("/v1/catalog/nodes").await.json();
        let mut nodes = nodes.as_array().unwrap().iter();
        nodes.any(|node| node["Node"] == name)
    }

    /// Waits until it has a leader: itself, in these tests.
    pub(super) async fn leads(&self) {
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            while self.get("/v1/status/leader").await.text().len() < 5 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        waited.await.expect("it leads within 30 s");
    }
}

impl Agent for HttpAgent {
    async fn statuses(&self) -> Statuses {
        let members = self.get("/v1/agent/members").await.json();
        let members = members.as_array().unwrap().iter().map(|member| {
            let word = match member["Status"].as_u64().unwrap() {
                0 => "none",
                1 => "alive",
                2 => "leaving",
                3 => "left",
                _ => "failed",
            };
            (member["Name"].as_str().unwrap().to_owned(), word.to_owned())
        });
        members.collect()
    }

    async fn tags(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let members = self.get("/v1/agent/members").await.json();
        let members = members.as_array().unwrap().clone();
        let found = members.into_iter().find(|member| member["Name"] == name);
        found.map(|member| serde_json::from_value(member["Tags"].clone()).unwrap())
    }

    fn snapshot(&self) -> PathBuf {
        self.process.directory.0.join("data/serf/local.snapshot")
    }
}

/// The plain agent of the pool's protocol.
pub(super) struct SerfAgent {
    pub(super) process: Process,
    pub(super) address: Ipv4Addr,
    program: PathBuf,
    arguments: Vec<String>,
}

impl SerfAgent {
    /// `None` if it is not installed, which is said.
    pub(super) async fn start(name: &str, address: Ipv4Addr, more: &[&str]) -> Option<Self> {
        let program = serf()?;
        let directory = Directory::new();
        let mut arguments = vec![
            "agent".to_owned(),
            "-profile=local".to_owned(),
            format!("-node={name}"),
            format!("-bind={address}:{PORT}"),
            format!("-rpc-addr={address}:7373"),
            "-snapshot=snapshot".to_owned(),
        ];
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let mut agent = Self {
            process: Process::start(&program, directory, &arguments),
            address,
            program,
            arguments,
        };
        agent.answers().await;
        Some(agent)
    }

    /// Starts it again after it has ended.
    pub(super) async fn restart(&mut self) {
        self.process.restart(&self.program, &self.arguments);
        self.answers().await;
    }

    async fn answers(&mut self) {
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            while self.run(&["members"], &[]).await.code != 0 {
                assert_eq!(self.process.ended(), None, "the agent has ended");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        waited.await.expect("the agent answers within 30 s");
    }

    /// Runs a command against it; `more` are arguments that need not be text.
    pub(super) async fn run(&self, arguments: &[&str], more: &[&OsStr]) -> Finished {
        let (name, flags) = arguments.split_first().unwrap();
        let mut command = Command::new(&self.program);
        command
            .arg(name)
            .arg(format!("-rpc-addr={}:7373", self.address))
            .args(flags)
            .args(more)
            .kill_on_drop(true);
        finish(command).await
    }

    async fn members(&self) -> Vec<Value> {
        let listed = self.run(&["members", "-format=json"], &[]).await;
        assert_eq!(listed.code, 0, "{}", listed.err);
        let listed: Value = serde_json::from_str(&listed.out).unwrap();
        listed["members"].as_array().unwrap().clone()
    }
}

impl Agent for SerfAgent {
    async fn statuses(&self) -> Statuses {
        let members = self.members().await.into_iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        members
            .map(|member| (text(&member["name"]), text(&member["status"])))
            .collect()
    }

    async fn tags(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let mut members = self.members().await.into_iter();
        let found = members.find(|member| member["name"] == name);
        found.map(|member| serde_json::from_value(member["tags"].clone()).unwrap())
    }

    fn snapshot(&self) -> PathBuf {
        self.process.directory.0.join("snapshot")
    }
}

/// Debian's `serf`; says so if it is not there.
fn serf() -> Option<PathBuf> {
    let path = PathBuf::from("/usr/bin/serf");
    if path.is_file() {
        return Some(path);
    }
    eprintln!("SKIPPED: serf is not installed; apt-get install serf");
    None
}

/// The reference, where `.ci/run` puts it; says so if it is not there.
fn consul() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/usr/bin/consul");
    if path.is_file() {
        return Some(path);
    }
    eprintln!("SKIPPED: consul is not there; benches/peers/fetch-consul target/peers");
    None
}
