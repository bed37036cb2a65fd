//! The configuration: reads files and flags, checks them, and makes of them what each part needs.
//!
//! `tree` remembers where each value was written, `raw` mirrors the keys, [`Config`] is checked.
//! The reference's keys keep their names, defaults and meaning; a key whose feature does not exist
//! yet is refused by name.
//!
//! **Invariant**: a [`Config`] exists only if every value in it passed its check; nothing later in
//! the program asks about configuration again.

mod advertise;
mod check;
mod definitions;
mod deserialize;
mod error;
mod gossip_keys;
mod hcl;
mod interfaces;
mod later;
mod load;
mod membership;
mod nearest;
mod node_id;
mod raft;
mod raw;
mod rpc;
mod telemetry;
mod template;
mod tls;
mod tree;
mod written;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::rpc::{Config as RpcConfig, TlsConfig};
use crate::types::{Datacenter, Meta, NodeId, NodeName};
use crate::{directory, dns, http, local, metrics, reconcile};

pub use error::{ConfigError, Problem};
pub use load::{
    Flags, Format, FormatError, Setting, SettingValue, read_services, read_services_to_remove,
};
pub use membership::{Gossip, Join, Pool};
pub use node_id::NodeIdFileError;
pub use raw::{Level, LevelError};
pub use written::Written;

/// Everything an agent needs to start, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who the agent is.
    pub identity: Identity,
    /// What is logged.
    pub log: Log,
    /// How figures are named and which are shown (`telemetry`).
    pub metrics: metrics::Naming,
    /// File that holds the process id while the agent runs (`pid_file`).
    pub pid_file: Option<PathBuf>,
    /// Which signals make it leave the cluster instead of just stopping.
    pub leave: Leave,
    /// The pools that it is in.
    pub gossip: Gossip,
    /// The agent RPC; `None` on a client agent, which serves none.
    pub rpc: Option<RpcConfig>,
    /// How servers are called.
    pub calls: crate::rpc::PoolConfig,
    /// Certificates of the agent RPC, and who is asked for one. Default: no TLS.
    pub tls: TlsConfig,
    /// How a server takes part in the log.
    pub raft: crate::raft::Config,
    /// Reads and writes of shared state.
    pub directory: directory::Config,
    /// Services and checks of this node.
    pub local: local::Config,
    /// Those that the files define.
    pub definitions: local::FileDefinitions,
    /// This node's own entry in the catalog.
    pub reconcile: reconcile::Config,
    /// What DNS answers.
    pub answers: dns::Options,
    /// Directory of static zones (`zones_dir`).
    pub zones_dir: Option<PathBuf>,
    /// Where DNS listens; `None` if it is off.
    pub dns: Option<dns::Config>,
    /// Where HTTP listens; no address if it is off.
    pub http: http::Config,
    /// What it was read from, to be read again.
    pub flags: Flags,
    /// What was written there.
    pub written: Written,
}

/// Who an agent is; constant while it runs.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Name of its node (`node_name`). Default: the host's name.
    pub node: NodeName,
    /// Id of its node (`node_id`). Default: the one in the file `node-id` of `data_dir`, else a new
    /// one.
    pub node_id: NodeId,
    /// Its datacenter (`datacenter`). Default `dc1`.
    pub datacenter: Datacenter,
    /// Metadata of its node (`node_meta`).
    pub meta: Meta,
    /// Whether it is a server (`server`). Default no.
    pub server: bool,
    /// Whether it was told to elect itself (`bootstrap`, or `bootstrap_expect` of 1).
    pub bootstrap: bool,
    /// Servers that found a cluster together, this one included (`bootstrap_expect` from 2 on); 0
    /// if it was not told to.
    pub expect: u32,
    /// Whether it runs in development mode (`-dev`).
    pub development: bool,
    /// Address of the servers' protocol for peers (`advertise_addr` and `ports.server`).
    pub server_address: SocketAddr,
    /// Address for gossip within the datacenter (`advertise_addr` and `ports.serf_lan`).
    pub serf_lan: SocketAddr,
    /// Address for gossip between datacenters (`advertise_addr_wan` and `ports.serf_wan`); `None`
    /// if it is off.
    pub serf_wan: Option<SocketAddr>,
    /// Addresses that clients of HTTP and DNS use (`client_addr`).
    pub client: Vec<IpAddr>,
    /// The address that agents of other datacenters use (`advertise_addr_wan`). Default: the one
    /// that those of its own use.
    pub wan_address: IpAddr,
    /// Directory for what must survive (`data_dir`).
    pub data_dir: Option<PathBuf>,
}

/// What is logged.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// How much (`log_level`). Default `INFO`, with `-dev` `DEBUG`.
    pub level: Level,
    /// One JSON object a line (`log_json`). Default no.
    pub json: bool,
}

/// Which signals make an agent leave the cluster, so that stopping counts as success.
#[derive(Clone, Copy, Debug)]
pub struct Leave {
    /// SIGTERM (`leave_on_terminate`). Default: only agents that are no servers.
    pub on_terminate: bool,
    /// SIGINT (not `skip_leave_on_interrupt`). Default: only agents that are no servers.
    pub on_interrupt: bool,
    /// Longest wait of a server for the others to go on without it (`performance.leave_drain_time`).
    /// Default 5 s.
    pub drain: Duration,
}

impl Config {
    /// Reads everything that `flags` name.
    ///
    /// # Errors
    /// The mistakes, each with file, line and key.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        check::check(load::load(flags)?, flags)
    }

    /// Reads the static zones as an agent does at its start, and keeps nothing of them. Where DNS
    /// is off, nobody reads them.
    ///
    /// # Errors
    /// The directory or a zone in it cannot be read or served: such an agent would not start.
    pub fn check_zones(&self) -> Result<(), ConfigError> {
        let directory = self.zones_dir.as_deref();
        let Some(directory) = directory.filter(|_| self.dns.is_some()) else {
            return Ok(());
        };
        let mut answers = self.answers.clone();
        answers.slow_zones = dns::StaticZones::load(directory)?.origins().to_vec();
        dns::Settings::new(answers)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
