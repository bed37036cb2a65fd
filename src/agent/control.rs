//! Answers to questions about the agent itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::leave::Leaver;
use super::reload::Reloader;
use super::{REVISION, VERSION, machine};
use crate::clock::Utc;
use crate::config::Config;
use crate::control::{Control, Description, Leaving, Reloading};
use crate::directory::Directory;
use crate::dns;
use crate::gossip::membership::Membership;
use crate::gossip::pool::Pool;
use crate::local::{Local, LocalCheck, Mechanism};
use crate::log::Monitor;
use crate::types::Member;

/// The agent as other parts may ask it.
#[derive(Debug)]
pub(super) struct AgentControl {
    description: Description,
    bootstrap: bool,
    address: SocketAddr,
    data_dir: Option<PathBuf>,
    directory: Directory,
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
        directory: Directory,
        local: Local,
        dns: Option<dns::Handle>,
        monitor: Monitor,
        steering: Steering,
    ) -> Self {
        let identity = &config.identity;
        Self {
            description: describe(config),
            bootstrap: identity.bootstrap,
            address: identity.server_address,
            data_dir: identity.data_dir.clone(),
            directory,
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
            return group([
                ("acl", "disabled".to_owned()),
                ("known_servers", "0".to_owned()),
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
        let Ok(peers) = self.directory.peers() else {
            return Group::new();
        };
        let applied = self.directory.reader().applied().to_string();
        let others = peers.len().saturating_sub(1);
        let state = if self.leads() { "Leader" } else { "Follower" };
        group([
            ("applied_index", applied.clone()),
            ("last_log_index", applied),
            ("num_peers", others.to_string()),
            ("state", state.to_owned()),
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
        self.directory.leader() == Ok(Some(self.address))
    }
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
