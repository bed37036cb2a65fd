//! The servers that are measured: processes that run already.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use herald::clock::monotonic;
use herald::metrics::Metrics;
use herald::rpc::{Pool, PoolConfig};
use herald::task::Tasks;

/// Longest wait for an answer that does not wait for a change.
const ANSWER: Duration = Duration::from_secs(20);

/// A server under load.
#[derive(Clone)]
pub(crate) struct Server {
    /// What it is called in the output.
    pub(crate) name: String,
    process: u32,
    address: SocketAddr,
}

/// What a process has used so far.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    at: Instant,
    cpu: Duration,
    /// Resident memory in octets.
    pub(crate) memory: u64,
}

impl Used {
    /// CPU time since `before`.
    pub(crate) fn cpu_since(&self, before: &Self) -> Duration {
        self.cpu.saturating_sub(before.cpu)
    }

    /// Share of one core since `before`.
    pub(crate) fn busy_since(&self, before: &Self) -> f64 {
        let elapsed = self.at.duration_since(before.at);
        self.cpu_since(before).as_secs_f64() / elapsed.as_secs_f64()
    }
}

impl FromStr for Server {
    type Err = anyhow::Error;

    /// `NAME=PID@ADDRESS:PORT`, the port being that of the agent RPC.
    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('=').and_then(|(name, rest)| {
            let (process, address) = rest.split_once('@')?;
            Some((name, process, address))
        });
        let (name, process, address) =
            parts.with_context(|| format!("{text:?} is not NAME=PID@ADDRESS:PORT"))?;
        Ok(Self {
            name: name.to_owned(),
            process: process.parse().context("PID")?,
            address: address.parse().context("ADDRESS:PORT")?,
        })
    }
}

impl Server {
    /// What its process has used so far. The kernel counts CPU in hundredths of a second.
    pub(crate) fn used(&self) -> Result<Used> {
        let at = monotonic();
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.process))?;
        let (_, rest) = text.rsplit_once(") ").context("no name")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let field = |at: usize| -> Result<u64> { Ok(fields.get(at).context("fields")?.parse()?) };
        Ok(Used {
            at,
            cpu: Duration::from_millis(10 * (field(11)? + field(12)?)),
            memory: 4_096 * field(21)?,
        })
    }

    /// A session of its own with this server; none is opened before the first call.
    pub(crate) fn session(&self, tasks: &Tasks) -> Session {
        let config = PoolConfig {
            dial_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(3_600),
            idle_streams_max: 256,
            streams_max: 256,
            answer_octets_max: 16 << 20,
            tls: None,
        };
        Session {
            pool: Pool::new(config, &Metrics::new(), tasks),
            address: self.address,
        }
    }
}

/// A session with a server.
#[derive(Clone)]
pub(crate) struct Session {
    pool: Pool,
    address: SocketAddr,
}

impl Session {
    /// Calls a method that answers at once.
    pub(crate) async fn call(&self, method: &str, body: &[u8]) -> Result<Vec<u8>> {
        self.call_within(method, body, ANSWER).await
    }

    /// Calls a method that may wait.
    pub(crate) async fn call_within(
        &self,
        method: &str,
        body: &[u8],
        wait: Duration,
    ) -> Result<Vec<u8>> {
        let deadline = herald::clock::now() + wait;
        let answer = self.pool.call(self.address, method, body, deadline).await;
        answer.with_context(|| format!("{method} at {}", self.address))
    }
}
