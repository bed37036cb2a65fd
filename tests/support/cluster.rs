//! Servers as processes of their own, each on an address of the loopback network with the usual
//! ports; what is done to them, and what is asked of them.
//!
//! Long, since tests ask the same server in many ways.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use herald::client::dns::{Answer, Question, ask};
use herald::client::http::{HttpClient, RequestError};
use herald::client::{Transport, dig};
use hyper::Method;
use hyper::body::Bytes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::directory::Directory;

/// Longest wait for servers to agree on something: gossip believes a name at another address only
/// half a minute after it was lost at the old one.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longest wait for an answer of DNS, which waits for nobody.
const DNS: Duration = Duration::from_secs(2);
/// Longest wait for an answer of HTTP: more than a server holds a request while nobody leads.
const HTTP: Duration = Duration::from_secs(20);
/// What makes servers notice quickly that one of them is gone.
pub(crate) const QUICK: &str = r#"{
    "gossip_lan": {"gossip_interval": "100ms", "probe_interval": "200ms", "probe_timeout": "100ms",
        "suspicion_mult": 3},
    "performance": {"raft_multiplier": 1, "leave_drain_time": "3s", "rpc_hold_timeout": "3s"}
}"#;

/// One server, running or not.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) ip: Ipv4Addr,
    /// Where HTTP and DNS answer, if not at the same address.
    pub(crate) client: Ipv4Addr,
    /// Its files; they stay when it ends.
    pub(crate) directory: Directory,
    /// Words before the program, which must become it.
    pub(crate) behind: Vec<String>,
    /// Further variables of its environment.
    pub(crate) variables: Vec<(String, String)>,
    /// Odd while it is to answer; another number in each of its lives.
    pub(crate) life: Arc<AtomicU64>,
    program: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// Starts the program with these arguments as they are; they must put it on `ip`.
    pub(crate) fn spawn(
        name: &str,
        ip: Ipv4Addr,
        directory: Directory,
        arguments: &[String],
    ) -> Self {
        let mut server = Self::new(name, ip, directory, arguments);
        server.start();
        server
    }

    /// The same, not started yet.
    pub(crate) fn new(
        name: &str,
        ip: Ipv4Addr,
        directory: Directory,
        arguments: &[String],
    ) -> Self {
        Self {
            name: name.to_owned(),
            ip,
            client: ip,
            directory,
            behind: Vec::new(),
            variables: Vec::new(),
            life: Arc::default(),
            program: PathBuf::from(env!("CARGO_BIN_EXE_herald")),
            arguments: arguments.to_vec(),
            child: None,
        }
    }

    /// Starts it, again with what it was started with before.
    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path());
        let log = log.unwrap();
        let program = path(&self.program).to_owned();
        let mut words = self.behind.iter().chain([&program]);
        let mut command = Command::new(words.next().expect("there is the program"));
        command.args(words);
        for (name, _) in std::env::vars() {
            if name.starts_with("CONSUL_") || name.starts_with("HERALD_") {
                command.env_remove(name);
            }
        }
        let child = command
            .args(&self.arguments)
            .envs(self.variables.iter().cloned())
            .current_dir(&self.directory.0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
        self.life.fetch_add(1, Ordering::SeqCst);
    }

    /// From now on nobody may expect an answer.
    pub(crate) fn ends(&self) {
        if self.life.load(Ordering::SeqCst) % 2 == 1 {
            self.life.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Starts it on another address.
    pub(crate) fn start_at(&mut self, ip: Ipv4Addr) {
        let (old, new) = (self.ip.to_string(), ip.to_string());
        for argument in &mut self.arguments {
            let own = ["-bind", "-client"]
                .iter()
                .any(|flag| argument.starts_with(flag));
            if own {
                *argument = argument.replace(&old, &new);
            }
        }
        (self.ip, self.client) = (ip, ip);
        self.start();
    }

    /// Whether it runs, as far as the test knows.
    pub(crate) fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Whoever answers for a server that has ended is not it.
    ///
    /// # Panics
    /// It has ended by itself.
    #[track_caller]
    fn assert_lives(&self) {
        let Some(child) = &self.child else {
            return;
        };
        let state = std::fs::read_to_string(format!("/proc/{}/stat", child.id()));
        let ended = state.is_ok_and(|state| state.contains(") Z "));
        assert!(!ended, "{} has ended by itself", self.name);
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.ends();
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        match signal {
            Signal::SIGCONT => drop(self.life.fetch_add(1, Ordering::SeqCst)),
            _ => self.ends(),
        }
        let child = self.child.as_ref().expect("it runs");
        let id = i32::try_from(child.id()).expect("process ids fit");
        kill(Pid::from_raw(id), signal).unwrap();
    }

    /// Ends it as an operator does who wants it back, and waits until it has ended.
    pub(crate) async fn terminate(&mut self) {
        self.signal(Signal::SIGTERM);
        self.ended().await;
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) {
        self.ends();
        within(async || self.has_ended()).await;
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut().expect("it runs");
        let ended = child.try_wait().unwrap().is_some();
        if ended {
            self.ends();
            self.child = None;
        }
        ended
    }

    /// What it has logged and printed, all starts together.
    pub(crate) fn log(&self) -> String {
        let octets = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    }

    fn log_path(&self) -> PathBuf {
        self.directory.0.join("log")
    }

    /// Asks its HTTP interface.
    pub(crate) fn http(&self) -> HttpClient {
        self.assert_lives();
        let address = SocketAddr::from((self.client, 8500)).to_string().parse();
        HttpClient::new(address.expect("it is an address"), None, HTTP)
    }

    /// A read that may fail.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, RequestError> {
        self.http().get(path).await
    }

    /// A write that may fail: why it did.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<(), RequestError> {
        self.http().put(path, body).await.map(drop)
    }

    /// Puts a service on a node of nobody into the catalog.
    pub(crate) async fn register(&self, service: &str, ip: Ipv4Addr) -> Result<(), RequestError> {
        let body = json!({"Node": format!("node-{service}"), "Address": ip,
            "Service": {"Service": service, "Port": 80}});
        self.put("/v1/catalog/register", &body).await
    }

    /// Asks its DNS.
    pub(crate) async fn ask(&self, question: &str) -> Answer {
        self.assert_lives();
        let question: Question = question.parse().expect("tests ask proper questions");
        let server = SocketAddr::from((self.client, 8600));
        let answer = ask(server, Transport::Udp, &question.with_edns(1232), DNS).await;
        answer.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// The same while it may not listen yet.
    pub(crate) async fn try_addresses(&self, service: &str) -> Option<Vec<String>> {
        self.assert_lives();
        let question: Question = format!("{service}.service.consul A").parse().unwrap();
        let server = SocketAddr::from((self.client, 8600));
        let answer = ask(server, Transport::Udp, &question.with_edns(1232), DNS).await;
        answer.ok().map(|answer| answer.data())
    }

    /// Addresses of a service, as its DNS has them.
    pub(crate) async fn addresses(&self, service: &str) -> Vec<String> {
        self.ask(&format!("{service}.service.consul A"))
            .await
            .data()
    }

    /// Codes of the extended errors in its answer about a service (RFC 8914).
    pub(crate) async fn extended_errors(&self, service: &str) -> Vec<u16> {
        let answer = self.ask(&format!("{service}.service.consul A")).await;
        let errors = answer.message.edns.iter().flat_map(dig::extended_errors);
        errors.map(|(code, _)| code).collect()
    }

    /// Address of the leader, as it knows it; empty if it knows none or does not answer.
    pub(crate) async fn leader(&self) -> String {
        let leader = self.get("/v1/status/leader").await;
        let leader = leader.ok().and_then(|it| it.as_str().map(str::to_owned));
        leader.unwrap_or_default()
    }

    /// A figure of its metrics.
    pub(crate) async fn figure(&self, name: &str) -> Option<u64> {
        let path = "/v1/agent/metrics?format=prometheus";
        let text = self
            .http()
            .send(Method::GET, path, Bytes::new())
            .await
            .ok()?
            .text();
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        let (_, value) = lines.find(|(have, _)| *have == name)?;
        value.split('.').next()?.parse().ok()
    }

    /// The servers that vote, by name and address, as it knows them.
    pub(crate) async fn voters(&self) -> Vec<(String, String)> {
        let Ok(configuration) = self.get("/v1/operator/raft/configuration").await else {
            return Vec::new();
        };
        let servers = configuration["Servers"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let voters = servers.iter().filter(|server| server["Voter"] == true);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut voters: Vec<_> = voters
            .map(|server| (text(&server["Node"]), text(&server["Address"])))
            .collect();
        voters.sort();
        voters
    }

    /// Its catalog in one number, with the position in the log that it has applied.
    pub(crate) async fn digest(&self) -> Option<(u64, String)> {
        let digest = self.get("/v1/operator/catalog/digest").await.ok()?;
        Some((
            digest["Index"].as_u64()?,
            digest["Digest"].as_str()?.to_owned(),
        ))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- {} at {}\n{}", self.name, self.ip, self.log());
        }
    }
}

/// Several servers of one datacenter.
pub(crate) struct TestCluster {
    /// Third octet of their addresses: the test's own.
    group: u8,
    pub(crate) servers: Vec<Server>,
}

impl TestCluster {
    /// The address number `number` of a test. Another run of all tests at the same time has others.
    pub(crate) fn ip(group: u8, number: u8) -> Ipv4Addr {
        let run = std::process::id() % 200;
        let run = u8::try_from(run).expect("it is below 200");
        Ipv4Addr::new(127, 16 + run, group, number)
    }

    /// Starts `count` servers that wait for each other, and waits until they have a leader.
    pub(crate) async fn start(group: u8, count: u8) -> Self {
        let mut cluster = Self {
            group,
            servers: Vec::new(),
        };
        let expect = format!("-bootstrap-expect={count}");
        for number in 1..=count {
            cluster.add(number, &[&expect]);
        }
        cluster.elects().await;
        cluster
    }

    /// Servers without any yet.
    pub(crate) fn empty(group: u8) -> Self {
        Self {
            group,
            servers: Vec::new(),
        }
    }

    /// Starts one more, which joins the first one.
    pub(crate) fn add(&mut self, number: u8, flags: &[&str]) -> &mut Server {
        self.add_named(&format!("s{number}"), number, flags)
    }

    /// The same under another name.
    pub(crate) fn add_named(&mut self, name: &str, number: u8, flags: &[&str]) -> &mut Server {
        let mut server = self.prepare(name, number, flags);
        server.start();
        self.servers.push(server);
        self.servers.last_mut().expect("it was put there")
    }

    /// The same, neither started nor one of the servers yet.
    pub(crate) fn prepare(&self, name: &str, number: u8, flags: &[&str]) -> Server {
        let (directory, ip) = (Directory::new(), Self::ip(self.group, number));
        let file = directory.write("quick.json", QUICK);
        let mut arguments = vec![
            "agent".to_owned(),
            "-server".to_owned(),
            format!("-node={name}"),
            format!("-bind={ip}"),
            format!("-client={ip}"),
            format!("-data-dir={}", path(&directory.0.join("data"))),
            format!("-config-file={}", path(&file)),
        ];
        // Whoever starts first is not there yet.
        arguments.push("-retry-interval=1s".to_owned());
        let others = self.servers.iter().map(|server| server.ip);
        let targets = others.filter(|other| *other != ip).take(2);
        arguments.extend(targets.map(|target| format!("-retry-join={target}")));
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        Server::new(name, ip, directory, &arguments)
    }

    /// Starts a client agent of these servers.
    pub(crate) fn client(&self, name: &str, number: u8) -> Server {
        let (directory, ip) = (Directory::new(), Self::ip(self.group, number));
        let file = directory.write("quick.json", QUICK);
        let mut arguments = vec![
            "agent".to_owned(),
            format!("-node={name}"),
            format!("-bind={ip}"),
            format!("-client={ip}"),
            format!("-data-dir={}", path(&directory.0.join("data"))),
            format!("-config-file={}", path(&file)),
            "-retry-interval=1s".to_owned(),
        ];
        let servers = self.servers.iter();
        arguments.extend(servers.map(|server| format!("-retry-join={}", server.ip)));
        Server::spawn(name, ip, directory, &arguments)
    }

    /// Those that run.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(|server| server.runs())
    }

    /// Waits until all that run agree on a leader among them; its place.
    pub(crate) async fn elects(&self) -> usize {
        let mut found = None;
        within(async || {
            found = self.agreed().await;
            found.is_some()
        })
        .await;
        found.expect("it was waited for")
    }

    async fn agreed(&self) -> Option<usize> {
        let mut leaders = Vec::new();
        for server in self.running() {
            leaders.push(server.leader().await);
        }
        leaders.dedup();
        let [leader] = &*leaders else {
            return None;
        };
        let is_it = |server: &Server| server.runs() && *leader == format!("{}:8300", server.ip);
        self.servers.iter().position(is_it)
    }

    /// Waits until DNS of all that run has exactly these addresses of a service.
    pub(crate) async fn all_answer(&self, service: &str, expected: &[Ipv4Addr]) {
        let mut expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
        expected.sort();
        within(async || {
            for server in self.running() {
                let mut have = server.try_addresses(service).await;
                if let Some(have) = &mut have {
                    have.sort();
                }
                if have.as_ref() != Some(&expected) {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Waits until all that run have the same catalog; how far their logs are applied.
    pub(crate) async fn same_catalogs(&self) -> u64 {
        let mut same = None;
        within(async || {
            let mut digests = Vec::new();
            for server in self.running() {
                digests.push(server.digest().await);
            }
            digests.dedup();
            same = match &*digests {
                [Some((index, _))] => Some(*index),
                _ => None,
            };
            same.is_some()
        })
        .await;
        same.expect("it was waited for")
    }

    /// Waits until all that run know exactly these voters, by name.
    pub(crate) async fn all_have_voters(&self, names: &[&str]) {
        within(async || {
            for server in self.running() {
                let voters = server.voters().await;
                if !voters.iter().map(|(name, _)| name).eq(names.iter()) {
                    return false;
                }
            }
            true
        })
        .await;
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("directories of tests are plain text")
}

/// Waits until `holds`: longer than [`super::eventually`], since programs must start and servers
/// must miss each other first.
pub(crate) async fn within(mut holds: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, poll)
        .await
        .expect("it holds within two minutes");
}
