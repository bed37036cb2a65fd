//! Runners: one for each type of check. Each carries out one run and says how it went.
//!
//! A run never panics, holds a bounded amount of memory whatever its peer sends, and ends within
//! the time that the check allows. Dropping it ends it at once, with every program it started. What
//! goes wrong is a text, since all that becomes of it is the check's output.
//!
//! Wording follows the reference where its operators match on it.

mod alias;
mod dial;
mod docker;
mod grpc;
mod http;
mod http2;
mod ping;
mod program;
mod tail;
mod tcp;
mod tls;
mod udp;

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock;
use crate::types::Status;

use super::{Mechanism, Report};

pub use self::alias::{Followed, FollowedCheck, Probe};
use self::dial::Dialer;
pub use self::tls::Roots;
use self::tls::Tls;

/// Octets of a text that says why a run failed.
const FAILURE_OCTETS_MAX: usize = 4_096;

/// Where runners find what they need on this machine.
#[derive(Clone, Debug)]
pub struct RunnerConfig {
    /// Socket of the container engine. Default `/var/run/docker.sock`.
    pub docker_socket: PathBuf,
    /// Whom certificates must lead to. Default: whom the system trusts.
    pub roots: Roots,
}

impl Default for RunnerConfig {
    fn default() -> Self {
        Self {
            docker_socket: "/var/run/docker.sock".into(),
            roots: Roots::System,
        }
    }
}

/// Carries out runs. What they share (trusted certificates, the bound of name lookups) is here.
#[derive(Debug)]
pub struct Runner {
    dialer: Dialer,
    tls: Tls,
    docker_socket: PathBuf,
}

/// When a run must have ended.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    fn after(limit: Duration) -> Self {
        // A limit beyond the clock is as good as a day.
        let longest = Duration::from_secs(86_400);
        Self {
            at: clock::now() + limit.min(longest),
            limit,
        }
    }

    /// The result of `work`, or `None` where it has none in time.
    async fn within<T>(self, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout_at(self.at, work).await.ok()
    }

    /// The same for work that fails with a text; `late` says what was not done in time.
    async fn or_late<T>(
        self,
        work: impl Future<Output = Result<T, String>>,
        late: impl FnOnce(Duration) -> String,
    ) -> Result<T, String> {
        let limit = self.limit;
        self.within(work).await.unwrap_or_else(|| Err(late(limit)))
    }
}

impl Runner {
    /// A runner.
    pub fn new(config: RunnerConfig) -> Self {
        Self {
            dialer: Dialer::new(),
            tls: Tls::new(config.roots),
            docker_socket: config.docker_socket,
        }
    }

    /// Carries out one run of a check. At most `octets_max` octets of what the peer says are kept.
    /// `probe` looks up what an alias follows.
    ///
    /// Checks that do not run are critical; nobody asks for them.
    pub async fn run(
        &self,
        mechanism: &Mechanism,
        octets_max: usize,
        probe: &impl Probe,
    ) -> Report {
        match mechanism {
            Mechanism::Http(schedule, check) => {
                let deadline = Deadline::after(schedule.timeout);
                http::run(&self.dialer, &self.tls, check, deadline, octets_max).await
            }
            Mechanism::Tcp(schedule, target) => {
                tcp::run(&self.dialer, target, Deadline::after(schedule.timeout)).await
            }
            Mechanism::Udp(schedule, target) => {
                udp::run(&self.dialer, target, Deadline::after(schedule.timeout)).await
            }
            Mechanism::Grpc {
                schedule,
                target,
                tls,
                tls_skip_verify,
                tls_server_name,
            } => {
                let security = tls.then(|| tls::Security {
                    skip_verify: *tls_skip_verify,
                    server_name: tls_server_name,
                    protocol: tls::Protocol::Http2,
                });
                let deadline = Deadline::after(schedule.timeout);
                grpc::run(&self.dialer, &self.tls, target, security, deadline).await
            }
            Mechanism::H2Ping {
                schedule,
                target,
                tls,
                tls_skip_verify,
            } => {
                let security = tls.then(|| tls::Security {
                    skip_verify: *tls_skip_verify,
                    server_name: "",
                    protocol: tls::Protocol::Http2,
                });
                let deadline = Deadline::after(schedule.timeout);
                ping::run(&self.dialer, &self.tls, target, security, deadline).await
            }
            Mechanism::Script(schedule, args) => {
                program::run(args, Deadline::after(schedule.timeout), octets_max).await
            }
            Mechanism::OsService(schedule, name) => {
                let deadline = Deadline::after(schedule.timeout);
                program::run_os_service(name, deadline, octets_max).await
            }
            Mechanism::Docker {
                schedule,
                container,
                args,
                ..
            } => {
                let exec = docker::Exec {
                    socket: &self.docker_socket,
                    container,
                    args,
                };
                docker::run(exec, Deadline::after(schedule.timeout), octets_max).await
            }
            Mechanism::Alias { node, service } => {
                alias::run(probe, node, service, octets_max).await
            }
            Mechanism::Ttl(_) | Mechanism::Maintenance => critical("this check does not run"),
        }
    }
}

fn passing(output: impl Into<Box<str>>) -> Report {
    report(Status::Passing, output)
}

/// A run that failed. The text may quote what the peer has sent, so it is cut.
fn critical(failure: impl AsRef<str>) -> Report {
    let failure = failure.as_ref().as_bytes();
    report(Status::Critical, text(failure, FAILURE_OCTETS_MAX))
}

fn report(status: Status, output: impl Into<Box<str>>) -> Report {
    Report {
        status,
        output: output.into(),
    }
}

/// Octets as text of at most `octets_max` octets; what is no UTF-8 is replaced.
fn text(octets: &[u8], octets_max: usize) -> String {
    let text = String::from_utf8_lossy(octets);
    // A replacement is longer than what it replaces.
    let ends = (0..=octets_max.min(text.len())).rev();
    let mut cuts = ends.filter_map(|end| text.get(..end));
    cuts.next().unwrap_or_default().to_owned()
}
