//! What the agent registers and how much it may.

use std::path::PathBuf;
use std::time::Duration;

use super::{NodeCount, StartError};
use crate::types::Node;

/// What the agent registers and how much it may.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node's own entry; see [`node_entry`](super::node_entry).
    pub node: Node,
    /// Whether this agent is a server, which keeps the service `consul` by itself.
    pub server: bool,
    /// Bounds of registrations and checks.
    pub limits: Limits,
    /// When the catalog is told.
    pub sync: SyncConfig,
    /// Where registrations and states of checks are kept; `None` keeps them in memory only.
    pub data_dir: Option<PathBuf>,
}

/// Bounds of registrations and checks.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most services. Default 65,536.
    pub services_max: usize,
    /// Most checks. Default 262,144.
    pub checks_max: usize,
    /// Most octets of a check's output. Default 4,096 (`check_output_max_size`).
    pub output_octets_max: usize,
    /// How long the catalog may not know a new output of a check whose status has not changed.
    /// Default 300 s (`check_update_interval`); zero tells it at once.
    pub check_update_interval: Duration,
    /// Whether checks may start programs. Default false (`enable_script_checks`).
    pub enable_script_checks: bool,
    /// Whether checks from this agent's own files may start programs, where others may not. Default
    /// false (`enable_local_script_checks`).
    pub enable_local_script_checks: bool,
    /// Most runs of checks in flight. Default 512.
    pub runs_max: usize,
    /// Most of those that start programs. Default 64.
    pub programs_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            services_max: 65_536,
            checks_max: 262_144,
            output_octets_max: 4_096,
            check_update_interval: Duration::from_secs(300),
            enable_script_checks: false,
            enable_local_script_checks: false,
            runs_max: 512,
            programs_max: 64,
        }
    }
}

/// When the catalog is told.
#[derive(Clone, Debug)]
pub struct SyncConfig {
    /// Time between two full comparisons in a cluster of up to 128 nodes, and up to as much again.
    /// Default 60 s.
    pub interval: Duration,
    /// How many nodes there are: more compare less often. Default one.
    pub nodes: NodeCount,
    /// First pause after a failure; it doubles with each further one. Default 100 ms.
    pub retry_min: Duration,
    /// Longest pause after failures, and up to as much again. Default 15 s.
    pub retry_max: Duration,
    /// How long a change waits to be in the catalog before it is acknowledged all the same.
    /// Default 250 ms.
    pub acknowledge_wait: Duration,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            nodes: NodeCount::default(),
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(15),
            acknowledge_wait: Duration::from_millis(250),
        }
    }
}

impl Config {
    pub(super) fn check(&self) -> Result<(), StartError> {
        for (what, count) in [
            ("most runs of checks in flight", self.limits.runs_max),
            (
                "most programs of checks in flight",
                self.limits.programs_max,
            ),
        ] {
            if count == 0 {
                return Err(StartError::Zero { what });
            }
        }
        for (what, duration) in [
            (
                "interval of comparisons with the catalog",
                self.sync.interval,
            ),
            ("pause after a failed write", self.sync.retry_min),
            ("longest pause after failed writes", self.sync.retry_max),
        ] {
            if duration.is_zero() {
                return Err(StartError::Zero { what });
            }
        }
        Ok(())
    }
}
