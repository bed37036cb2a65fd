//! Answers to questions about the agent itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::leave::Leaver;
use super::reload::Reloader;
use super::{REVISION, VERSION, machine};
use crate::clock::{self, Utc};
use crate::config::Config;
use crate::control::{
    ClusterServer, Control, Description, Leaving, Reloading, RemoveError, Removing,
};
use crate::directory::Directory;
use crate::dns;
use crate::gossip::membership::Membership;
use crate::gossip::pool::Pool;
use crate::local::{Local, LocalCheck, Mechanism};
use crate::log::Monitor;
use crate::raft::{Change, Raft, Role, Status};
use crate::types::{Member, NodeId};

/// The agent as other parts may ask it.
#[derive(Debug)]
pub(super) struct AgentControl {
    description: Description,
    bootstrap: bool,
    data_dir: Option<PathBuf>,
    directory: Directory,
    raft: Option<Raft>,
    local: Local,
    dns: Option<dns::Handle>,
    monitor: Monitor,
    steering: Steering,
}

/// What it can be told to do.
#[derive(Debug)]
pub(super) struct Steering {
    pub(super) membership: Membership,
    pub(super) leaver: Arc<Leaver>,
    pub(super) reloader: Arc<Reloader>,
}

impl AgentControl {
    pub(super) fn new(
        config: &Config,
        (directory, raft): (Directory, Option<Raft>),
        local: Local,
        dns: Option<dns::Handle>,
        monitor: Monitor,
        steering: Steering,
    ) -> Self {
        let identity = &config.identity;
        Self {
            description: describe(config),
            bootstrap: identity.bootstrap,
            data_dir: identity.data_dir.clone(),
            directory,
            raft,
            local,
            dns,
            monitor,
            steering,
        }
    }
}

impl Control for AgentControl {
    fn description(&self) -> &Description {
        &self.description
    }

    fn configuration(&self) -> Arc<Value> {
        self.steering.reloader.shown()
    }

    fn reload(&self) -> Reloading {
        self.steering.reloader.begin()
    }

    fn leave(&self) -> Leaving {
        self.steering.leaver.begin()
    }

    fn members(&self, wan: bool) -> Vec<Member> {
        let members = self.pool(wan).map(Pool::members);
        members.map_or_else(Vec::new, |members| members.to_vec())
    }

    fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    fn machine(&self) -> Value {
        machine::describe(self.data_dir.as_deref())
    }

    fn statistics(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let groups = [
            ("agent", self.registered()),
            (
                "build",
                group([
                    ("prerelease", String::new()),
                    ("revision", REVISION.to_owned()),
                    ("version", VERSION.to_owned()),
                ]),
            ),
            ("consul", self.cluster()),
            ("dns", self.queries()),
            ("raft", self.log()),
            ("runtime", runtime()),
            ("serf_lan", self.figures(false)),
            ("serf_wan", self.figures(true)),
        ];
        let filled = groups
            .into_iter()
            .filter(|(_, figures)| !figures.is_empty());
        filled
            .map(|(name, figures)| (name.to_owned(), figures))
            .collect()
    }

    fn servers(&self) -> Option<Vec<ClusterServer>> {
        let status = self.raft.as_ref()?.status();
        let servers = status.servers.iter().map(|server| ClusterServer {
            id: NodeId::from_u128(server.id.0),
            node: server.peer.name.clone(),
            address: server.peer.address,
            leader: status.leader == Some(server.id),
            voter: server.voter,
        });
        Some(servers.collect())
    }

    fn remove_server(&self, id: NodeId) -> Removing {
        let raft = self.raft.clone();
        Box::pin(async move {
            let Some(raft) = raft else {
                let reason = "this agent is no server".to_owned();
                return Err(RemoveError { reason });
            };
            let removed = raft.change(Change::Remove(id.into())).await;
            removed.map_err(|error| RemoveError {
                reason: error.to_string(),
            })
        })
    }
}

/// A time in milliseconds, as `info` shows it.
fn milliseconds(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

/// Figures of one group.
type Group = BTreeMap<String, String>;

fn group<const N: usize>(figures: [(&str, String); N]) -> Group {
    let figures = figures.into_iter();
    figures
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

impl AgentControl {
    /// What is registered at this agent.
    fn registered(&self) -> Group {
        let state = self.local.state();
        let ttl =
            |check: &&Arc<LocalCheck>| matches!(check.definition.mechanism, Mechanism::Ttl(_));
        let (checks, ttls) = (state.checks().count(), state.checks().filter(ttl).count());
        group([
            ("check_monitors", (checks - ttls).to_string()),
            ("check_ttls", ttls.to_string()),
            ("checks", checks.to_string()),
            ("services", state.services().count().to_string()),
        ])
    }

    /// Its place in the cluster.
    fn cluster(&self) -> Group {
        let leader = self.directory.leader();
        let (Ok(leader), Ok(datacenters)) = (leader, self.directory.datacenters(self.pool(true)))
        else {
            let servers = self.directory.known_servers().unwrap_or(0);
            return group([
                ("acl", "disabled".to_owned()),
                ("known_servers", servers.to_string()),
                ("server", "false".to_owned()),
            ]);
        };
        let leader_text = leader.map(|leader| leader.to_string());
        group([
            ("acl", "disabled".to_owned()),
            ("bootstrap", self.bootstrap.to_string()),
            ("known_datacenters", datacenters.len().to_string()),
            ("leader", self.leads().to_string()),
            ("leader_addr", leader_text.unwrap_or_default()),
            ("server", self.description.server.to_string()),
        ])
    }

    /// What became of the UDP queries: every one is answered, shed or dropped.
    fn queries(&self) -> Group {
        let Some(dns) = &self.dns else {
            return Group::new();
        };
        let totals = dns.totals();
        group([
            ("answered", totals.answered.to_string()),
            ("dropped", totals.dropped.to_string()),
            ("kernel_dropped", totals.kernel_dropped.to_string()),
            ("received", totals.received.to_string()),
            ("send_refused", totals.refused.to_string()),
            ("shed", totals.shed.to_string()),
            ("workers", dns.workers().to_string()),
        ])
    }

    /// The log of changes; a client agent has none.
    fn log(&self) -> Group {
        let Some(raft) = &self.raft else {
            return Group::new();
        };
        let status = raft.status();
        let voters = status.servers.iter().filter(|server| server.voter).count();
        let contact = status.last_contact(clock::now());
        group([
            ("applied_index", status.applied.to_string()),
            ("commit_index", status.committed.to_string()),
            (
                "last_contact",
                contact.map_or("never".to_owned(), milliseconds),
            ),
            ("last_log_index", status.last_log.to_string()),
            ("latest_configuration", configuration(&status)),
            ("num_peers", voters.saturating_sub(1).to_string()),
            ("state", state(&status).to_owned()),
            ("term", status.term.to_string()),
        ])
    }

    fn pool(&self, wan: bool) -> Option<&Pool> {
        let Membership { lan, wan: all } = &self.steering.membership;
        if wan { all.as_ref() } else { Some(lan) }
    }

    /// What a pool says of itself.
    fn figures(&self, wan: bool) -> Group {
        let figures = self.pool(wan).map(Pool::figures);
        figures.into_iter().flatten().collect()
    }

    fn leads(&self) -> bool {
        self.raft.as_ref().is_some_and(|raft| raft.status().leads())
    }
}

/// What a server is, in the words of the reference where it has one.
fn state(status: &Status) -> &'static str {
    match status.role {
        Role::Leader => "Leader",
        // It looks for a leader.
        Role::Follower if status.leader.is_none() => "Candidate",
        Role::Follower => "Follower",
        Role::Learner => "Learner",
        Role::Stopped => "Shutdown",
    }
}

/// The servers, as one line.
fn configuration(status: &Status) -> String {
    let servers = status.servers.iter().map(|server| {
        let suffrage = if server.voter { "Voter" } else { "Nonvoter" };
        let (id, address) = (server.id, server.peer.address);
        format!("{{Suffrage:{suffrage} ID:{id} Address:{address}}}")
    });
    let servers: Vec<_> = servers.collect();
    format!("[{}]", servers.join(" "))
}

fn runtime() -> Group {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    group([
        ("arch", std::env::consts::ARCH.to_owned()),
        ("cpu_count", cores.to_string()),
        ("os", std::env::consts::OS.to_owned()),
    ])
}

/// What the agent says about itself.
fn describe(config: &Config) -> Description {
    let identity = &config.identity;
    Description {
        node: identity.node.clone(),
        node_id: identity.node_id,
        datacenter: identity.datacenter.clone(),
        server: identity.server,
        version: VERSION.to_owned(),
        revision: REVISION.to_owned(),
        build_date: build_date(),
        development: identity.development,
    }
}

/// When this program was built, if the build was told so (`SOURCE_DATE_EPOCH`, in seconds since
/// 1970, as reproducible builds have it).
fn build_date() -> String {
    let seconds = option_env!("SOURCE_DATE_EPOCH").and_then(|text| text.parse().ok());
    let date = seconds.map(|seconds| Utc::new(Duration::from_secs(seconds)).to_string());
    date.unwrap_or_default()
}
