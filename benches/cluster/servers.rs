//! Servers as processes of their own, each on an address of the loopback network with the usual
//! ports and a directory on the disk; what is done to them, and what is asked of them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use herald::client::Transport;
use herald::client::dns::{Answer, Question, ask};
use herald::client::http::HttpClient;
use herald::clock::monotonic;
use serde_json::{Value, json};

use super::connection::Connection;
use super::disk::Place;

/// Longest wait for servers to agree on something.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longest wait for an answer of HTTP: more than a server holds a request while nobody leads.
const HTTP: Duration = Duration::from_secs(60);
/// Longest wait for an answer of DNS, with one repetition after half of it.
const DNS: Duration = Duration::from_secs(1);
/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(50);
/// How long servers must do next to nothing to count as quiet.
const QUIET: Duration = Duration::from_millis(500);
/// What is next to nothing in that time, in all: five of the kernel's ticks.
const QUIET_CPU: Duration = Duration::from_millis(50);

/// What runs, and how.
#[derive(Clone, Copy)]
pub(crate) struct Kind<'a> {
    /// What tables call it.
    pub(crate) title: &'static str,
    /// The program.
    pub(crate) program: &'a str,
    /// Whether it is the reference, which has settings of its own.
    pub(crate) is_reference: bool,
    /// `performance.raft_multiplier`, where it is not the default.
    pub(crate) multiplier: Option<u8>,
}

impl<'a> Kind<'a> {
    pub(crate) fn herald(program: &'a str) -> Self {
        Self {
            title: "herald",
            program,
            is_reference: false,
            multiplier: None,
        }
    }

    pub(crate) fn consul(program: &'a str) -> Self {
        Self {
            title: "Consul",
            program,
            is_reference: true,
            multiplier: None,
        }
    }

    /// The reference with the timers that its guides name for production.
    pub(crate) fn quick_consul(program: &'a str) -> Self {
        Self {
            title: "Consul, raft_multiplier 1",
            multiplier: Some(1),
            ..Self::consul(program)
        }
    }

    fn settings(&self) -> Value {
        let mut settings = json!({"limits": {"http_max_conns_per_client": 10_000}});
        if let Some(multiplier) = self.multiplier {
            settings["performance"] = json!({"raft_multiplier": multiplier});
        }
        if self.is_reference {
            settings["disable_update_check"] = json!(true);
        }
        settings
    }
}

/// One agent, running or not.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) ip: Ipv4Addr,
    /// Its files; they stay when it ends.
    pub(crate) directory: PathBuf,
    program: String,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// Starts an agent with these flags beside those that give it its place.
    pub(crate) fn spawn(
        kind: &Kind<'_>,
        name: String,
        ip: Ipv4Addr,
        place: &Place,
        flags: &[String],
    ) -> Result<Self> {
        let directory = place.fresh();
        fs::create_dir_all(&directory)?;
        let file = directory.join("settings.json");
        fs::write(&file, kind.settings().to_string())?;
        let mut arguments = vec![
            "agent".to_owned(),
            format!("-node={name}"),
            format!("-bind={ip}"),
            format!("-client={ip}"),
            format!("-data-dir={}", directory.join("data").display()),
            format!("-config-file={}", file.display()),
            "-log-level=warn".to_owned(),
        ];
        arguments.extend_from_slice(flags);
        let mut server = Self {
            name,
            ip,
            directory,
            program: kind.program.to_owned(),
            arguments,
            child: None,
        };
        server.start()?;
        Ok(server)
    }

    /// Starts it, again with what it was started with before.
    pub(crate) fn start(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.name);
        let path = self.directory.join("log");
        let log = File::options().create(true).append(true).open(path)?;
        // It ends with this program, however that ends.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", &self.program])
            .args(&self.arguments)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        self.child = Some(child.context("setpriv of util-linux")?);
        Ok(())
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    pub(crate) fn runs(&self) -> bool {
        self.child.is_some()
    }

    pub(crate) fn process(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("it does not run")?.id())
    }

    /// User and system time of all threads so far. The kernel counts in hundredths of a second.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu(&self.process()?.to_string())
    }

    /// A figure of its memory in KiB, as `proc(5)` names it: `VmRSS`, or `VmHWM` for the most so
    /// far.
    pub(crate) fn memory(&self, key: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process()?))?;
        let mut lines = status.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(name, _)| *name == key);
        let (_, value) = found.with_context(|| key.to_owned())?;
        Ok(value.trim().trim_end_matches(" kB").parse()?)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((self.ip, 8500))
    }

    pub(crate) fn dns(&self) -> SocketAddr {
        SocketAddr::from((self.ip, 8600))
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        let opened = Connection::open(self.address()).await;
        opened.with_context(|| format!("{} at {}", self.name, self.ip))
    }

    /// A read over a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        let client = HttpClient::new(self.address().to_string().parse()?, None, HTTP);
        Ok(client.get(path).await?)
    }

    /// Names of the services that it has, whoever leads.
    pub(crate) async fn services(&self) -> Result<BTreeSet<String>> {
        let services = self.get("/v1/catalog/services?stale").await?;
        let services = services.as_object().context("services are an object")?;
        Ok(services.keys().cloned().collect())
    }

    /// Ids of the services that it has with a passing check, whoever leads.
    pub(crate) async fn passing(&self) -> Result<BTreeSet<String>> {
        let checks = self.get("/v1/health/state/passing?stale").await?;
        let checks = checks.as_array().context("checks are a list")?;
        let service = |check: &Value| Some(check.get("ServiceID")?.as_str()?.to_owned());
        Ok(checks.iter().filter_map(service).collect())
    }

    /// Address of the leader, as it knows it; empty if it knows none or does not answer.
    async fn leader(&self) -> String {
        let leader = self.get("/v1/status/leader").await;
        let leader = leader.ok().and_then(|it| it.as_str().map(str::to_owned));
        leader.unwrap_or_default()
    }

    /// How many servers it takes for voters.
    async fn peers(&self) -> usize {
        let peers = self.get("/v1/status/peers").await;
        peers
            .ok()
            .and_then(|it| it.as_array().map(Vec::len))
            .unwrap_or(0)
    }

    /// What it has logged last.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read(self.directory.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.len().saturating_sub(20);
        lines.get(last..).unwrap_or_default().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.kill());
    }
}

/// User and system time of all threads of a process, `self` for this one.
pub(crate) fn cpu(process: &str) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, rest) = text.rsplit_once(") ").context("no name")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |at: usize| -> Result<u64> { Ok(fields.get(at).context("fields")?.parse()?) };
    Ok(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
}

/// Asks for the addresses of a service.
pub(crate) async fn look_up(dns: SocketAddr, service: &str) -> Result<Answer> {
    let question: Question = format!("{service}.service.consul A").parse()?;
    Ok(ask(dns, Transport::Udp, &question, DNS).await?)
}

/// Several servers of one datacenter.
pub(crate) struct Cluster {
    pub(crate) title: &'static str,
    pub(crate) servers: Vec<Server>,
}

impl Cluster {
    /// The address number `number` of a cluster. Another run at the same time has others.
    pub(crate) fn ip(group: u8, number: u8) -> Ipv4Addr {
        let run = u8::try_from(std::process::id() % 200).unwrap_or_default();
        Ipv4Addr::new(127, 40 + run, group, number)
    }

    /// Starts three servers that wait for each other, and waits until they have a leader. `group`
    /// keeps them apart from other clusters of this run.
    pub(crate) async fn start(kind: &Kind<'_>, group: u8, place: &Place) -> Result<Self> {
        let mut cluster = Self {
            title: kind.title,
            servers: Vec::new(),
        };
        for number in 1..=3 {
            let mut flags = vec!["-server".to_owned(), "-bootstrap-expect=3".to_owned()];
            flags.push("-retry-interval=1s".to_owned());
            let others = (1..=3).filter(|other| *other != number);
            flags.extend(others.map(|other| format!("-retry-join={}", Self::ip(group, other))));
            let (name, ip) = (format!("s{number}"), Self::ip(group, number));
            let server = Server::spawn(kind, name, ip, place, &flags)?;
            cluster.servers.push(server);
        }
        cluster.leader().await?;
        Ok(cluster)
    }

    /// Starts one for each kind.
    pub(crate) async fn start_all(kinds: &[Kind<'_>], place: &Place) -> Result<Vec<Self>> {
        let mut clusters = Vec::new();
        for (group, kind) in (1..).zip(kinds) {
            clusters.push(Self::start(kind, group, place).await?);
        }
        Ok(clusters)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(|server| server.runs())
    }

    /// Waits until all that run agree on a leader among them and on three voters; its place.
    pub(crate) async fn leader(&self) -> Result<usize> {
        let begin = monotonic();
        while begin.elapsed() < PATIENCE {
            if let Some(place) = self.agreed().await {
                return Ok(place);
            }
            tokio::time::sleep(LOOK).await;
        }
        for server in &self.servers {
            eprintln!(
                "--- {} at {}\n{}",
                server.name,
                server.ip,
                server.last_words()
            );
        }
        bail!("{} has no leader within {PATIENCE:?}", self.title)
    }

    async fn agreed(&self) -> Option<usize> {
        let mut leaders = BTreeSet::new();
        for server in self.running() {
            leaders.insert(server.leader().await);
            if server.peers().await != self.servers.len() {
                return None;
            }
        }
        let leader = leaders.pop_first().filter(|_| leaders.is_empty())?;
        let is_it = |server: &Server| server.runs() && leader == format!("{}:8300", server.ip);
        self.servers.iter().position(is_it)
    }

    /// Waits until every server answers for a service, and so has what was written before it.
    pub(crate) async fn all_know(&self, service: &str) -> Result<()> {
        let begin = monotonic();
        for server in self.running() {
            loop {
                let answer = look_up(server.dns(), service).await;
                if answer.is_ok_and(|answer| !answer.message.answers.is_empty()) {
                    break;
                }
                ensure!(
                    begin.elapsed() < PATIENCE,
                    "{}: {} does not know {service}",
                    self.title,
                    server.name
                );
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// CPU of all servers so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.running().map(Server::cpu).sum()
    }

    /// Waits until the servers have done what they put off; their CPU so far.
    pub(crate) async fn quiet(&self) -> Result<Duration> {
        let begin = monotonic();
        let mut before = self.cpu()?;
        while begin.elapsed() < PATIENCE {
            tokio::time::sleep(QUIET).await;
            let now = self.cpu()?;
            if now.saturating_sub(before) <= QUIET_CPU {
                return Ok(now);
            }
            before = now;
        }
        bail!("{} is not quiet after {PATIENCE:?}", self.title)
    }
}
