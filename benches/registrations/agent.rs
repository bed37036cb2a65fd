//! An agent that runs already: what it takes, and what it has.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use herald::client::http::HttpClient;
use herald::clock::monotonic;
use serde_json::Value;

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(30);

/// How long an agent must do next to nothing to count as quiet.
const QUIET: Duration = Duration::from_millis(500);

/// What is next to nothing in that time: two of the kernel's ticks.
const QUIET_CPU: Duration = Duration::from_millis(20);

/// Longest wait for an agent to become quiet.
const QUIET_WAIT: Duration = Duration::from_secs(120);

/// One agent. Written `NAME=PID@ADDRESS:PORT`.
pub(crate) struct Agent {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    process: u32,
    client: HttpClient,
}

impl FromStr for Agent {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('=').and_then(|(name, rest)| {
            let (process, address) = rest.split_once('@')?;
            Some((name, process, address))
        });
        let (name, process, address) =
            parts.with_context(|| format!("{text:?} is not NAME=PID@ADDRESS:PORT"))?;
        Ok(Self {
            name: name.to_owned(),
            address: address.parse().context("ADDRESS:PORT")?,
            process: process.parse().context("PID")?,
            client: HttpClient::new(address.parse()?, None, ANSWER),
        })
    }
}

impl Agent {
    /// User and system time of all threads so far. The kernel counts in hundredths of a second.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.process))?;
        let (_, rest) = text.rsplit_once(") ").context("no name")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let ticks = |at: usize| -> Result<u64> { Ok(fields.get(at).context("fields")?.parse()?) };
        Ok(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
    }

    /// Waits until the agent has done what it puts off; its CPU time so far.
    pub(crate) async fn quiet(&self) -> Result<Duration> {
        let begin = monotonic();
        let mut before = self.cpu()?;
        while begin.elapsed() < QUIET_WAIT {
            tokio::time::sleep(QUIET).await;
            let now = self.cpu()?;
            if now.saturating_sub(before) <= QUIET_CPU {
                return Ok(now);
            }
            before = now;
        }
        bail!("{} is not quiet after {QUIET_WAIT:?}", self.name)
    }

    /// Ids of the services of this agent.
    pub(crate) async fn own_services(&self) -> Result<BTreeSet<String>> {
        self.keys("/v1/agent/services").await
    }

    /// Names of the services in the catalog.
    pub(crate) async fn catalog_services(&self) -> Result<BTreeSet<String>> {
        self.keys("/v1/catalog/services").await
    }

    /// Ids of the services that have a passing check in the catalog.
    pub(crate) async fn passing_services(&self) -> Result<BTreeSet<String>> {
        let checks: Vec<Value> = self.client.get("/v1/health/state/passing").await?;
        let service = |check: &Value| Some(check.get("ServiceID")?.as_str()?.to_owned());
        Ok(checks.iter().filter_map(service).collect())
    }

    async fn keys(&self, path: &str) -> Result<BTreeSet<String>> {
        let answer: Value = self.client.get(path).await?;
        let object = answer.as_object().context("the answer is no object")?;
        Ok(object.keys().cloned().collect())
    }
}
