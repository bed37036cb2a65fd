//! Answers to questions about the agent itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::reload::Reloader;
use super::{REVISION, VERSION, machine};
use crate::clock::Utc;
use crate::config::{Config, Identity};
use crate::control::{Control, Description, Reloading};
use crate::directory::Directory;
use crate::dns;
use crate::http::duration;
use crate::local::{Local, LocalCheck, Mechanism};
use crate::log::Monitor;
use crate::types::{Member, MemberStatus};

/// Release of the reference whose features others in a pool may count on; the part after the colon
/// says whose build it is.
const BUILD: &str = "1.8.7:herald";

/// The agent as other parts may ask it.
#[derive(Debug)]
pub(super) struct AgentControl {
    description: Description,
    member: Member,
    bootstrap: bool,
    address: SocketAddr,
    wan: Option<SocketAddr>,
    data_dir: Option<PathBuf>,
    directory: Directory,
    local: Local,
    dns: Option<dns::Handle>,
    monitor: Monitor,
    reloader: Arc<Reloader>,
}

impl AgentControl {
    pub(super) fn new(
        config: &Config,
        directory: Directory,
        local: Local,
        dns: Option<dns::Handle>,
        monitor: Monitor,
        reloader: Arc<Reloader>,
    ) -> Self {
        let identity = &config.identity;
        Self {
            description: describe(config),
            member: own_member(identity),
            bootstrap: identity.bootstrap,
            address: identity.server_address,
            wan: identity.serf_wan,
            data_dir: identity.data_dir.clone(),
            directory,
            local,
            dns,
            monitor,
            reloader,
        }
    }
}

impl Control for AgentControl {
    fn description(&self) -> &Description {
        &self.description
    }

    fn configuration(&self) -> Arc<Value> {
        self.reloader.shown()
    }

    fn reload(&self) -> Reloading {
        self.reloader.begin()
    }

    /// There is no gossip yet: an agent sees itself. In the WAN pool it has its datacenter in its
    /// name and its own port, and only servers are in it.
    fn members(&self, wan: bool) -> Vec<Member> {
        match (wan, self.wan) {
            (false, _) => vec![self.member.clone()],
            (true, Some(address)) if self.description.server => vec![Member {
                name: format!("{}.{}", self.member.name, self.description.datacenter),
                port: address.port(),
                ..self.member.clone()
            }],
            (true, _) => Vec::new(),
        }
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
            ("serf_lan", pool(&self.members(false))),
            ("serf_wan", pool(&self.members(true))),
        ];
        let groups = groups.into_iter();
        groups
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
        let leader_text = leader.map(|leader| leader.to_string());
        group([
            ("acl", "disabled".to_owned()),
            ("bootstrap", self.bootstrap.to_string()),
            (
                "known_datacenters",
                self.directory.datacenters().len().to_string(),
            ),
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

    /// The log of changes.
    fn log(&self) -> Group {
        let applied = self.directory.reader().applied().to_string();
        let others = self.directory.peers().len().saturating_sub(1);
        let state = if self.leads() { "Leader" } else { "Follower" };
        group([
            ("applied_index", applied.clone()),
            ("last_log_index", applied),
            ("num_peers", others.to_string()),
            ("state", state.to_owned()),
        ])
    }

    fn leads(&self) -> bool {
        self.directory.leader() == Some(self.address)
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

fn pool(members: &[Member]) -> Group {
    group([("members", members.len().to_string())])
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

/// The configuration in force, under the names that the reference shows. No secrets.
pub(super) fn effective(config: &Config) -> Value {
    let identity = &config.identity;
    let answers = &config.answers;
    let texts = |addresses: &[SocketAddr]| -> Vec<String> {
        addresses
            .iter()
            .map(|address| format!("tcp://{address}"))
            .collect()
    };
    let dns: Vec<SocketAddr> = config
        .dns
        .iter()
        .flat_map(|dns| {
            dns.addresses
                .iter()
                .map(|ip| SocketAddr::new(*ip, dns.port))
        })
        .collect();
    let meta: BTreeMap<&str, &str> = identity.meta.iter().collect();
    json!({
        "AdvertiseAddrLAN": identity.serf_lan.ip().to_string(),
        "Bootstrap": identity.bootstrap,
        "CheckOutputMaxSize": config.local.limits.output_octets_max,
        "CheckUpdateInterval": duration::format(config.local.limits.check_update_interval),
        "ClientAddrs": identity.client.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "DNSARecordLimit": answers.a_record_limit,
        "DNSAddrs": texts(&dns),
        "DNSAllowStale": answers.allow_stale,
        "DNSAltDomain": answers.alt_domain,
        "DNSDisableCompression": answers.disable_compression,
        "DNSDomain": answers.domain,
        "DNSEnableTruncate": answers.enable_truncate,
        "DNSNodeMetaTXT": answers.enable_additional_node_meta_txt,
        "DNSNodeTTL": duration::format(answers.node_ttl),
        "DNSOnlyPassing": answers.only_passing,
        "DNSPort": config.dns.as_ref().map_or(-1, |dns| i32::from(dns.port)),
        "DNSUDPAnswerLimit": answers.udp_answer_limit,
        "Datacenter": identity.datacenter.as_str(),
        "DefaultQueryTime": duration::format(config.directory.wait_default),
        "DevMode": identity.development,
        "EnableUI": config.http.ui,
        "HTTPAddrs": texts(&config.http.listen),
        "HTTPMaxConnsPerClient": config.http.client_connections_max,
        "LogLevel": config.log.level.as_str(),
        "MaxQueryTime": duration::format(config.directory.wait_max),
        "NodeID": identity.node_id.to_string(),
        "NodeMeta": meta,
        "NodeName": identity.node.as_str(),
        "ServerMode": identity.server,
        "ServerPort": identity.server_address.port(),
        "Telemetry": {
            "FilterDefault": config.metrics.otherwise,
            "MetricsPrefix": config.metrics.prefix,
            "PrometheusRetentionTime": duration::format(config.http.prometheus_retention),
        },
        "Version": VERSION,
    })
}

/// This agent as a member, with the tags by which other agents know a server.
fn own_member(identity: &Identity) -> Member {
    let mut tags: BTreeMap<String, String> = BTreeMap::new();
    let mut tag = |name: &str, value: String| drop(tags.insert(name.to_owned(), value));
    tag("acls", "0".to_owned());
    tag("build", BUILD.to_owned());
    tag("dc", identity.datacenter.to_string());
    tag("id", identity.node_id.to_string());
    tag("impl", format!("herald/{VERSION}"));
    tag("segment", String::new());
    tag("vsn", "2".to_owned());
    tag("vsn_max", "3".to_owned());
    tag("vsn_min", "2".to_owned());
    if identity.server {
        tag("role", "consul".to_owned());
        tag("ft_fs", "1".to_owned());
        tag("port", identity.server_address.port().to_string());
        tag("raft_vsn", "3".to_owned());
        if let Some(wan) = identity.serf_wan {
            tag("wan_join_port", wan.port().to_string());
        }
        if identity.bootstrap {
            tag("bootstrap", "1".to_owned());
        }
    } else {
        tag("role", "node".to_owned());
    }
    Member {
        name: identity.node.to_string(),
        address: identity.serf_lan.ip(),
        port: identity.serf_lan.port(),
        tags,
        status: MemberStatus::Alive,
        versions: [1, 5, 2, 2, 5, 4],
    }
}
