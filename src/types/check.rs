//! Health checks as the catalog knows them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{CheckId, ServiceId};

/// Id of the check that the servers keep on every member: whether its agent is alive.
pub const SERF_HEALTH: &str = "serfHealth";
/// Id of the check that stands while a node is in maintenance.
pub const NODE_MAINTENANCE: &str = "_node_maintenance";
/// What the id of the check begins with that stands while a service is in maintenance; the id of
/// the service follows.
pub const SERVICE_MAINTENANCE: &str = "_service_maintenance:";

/// Health as a check reports it, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// All is well.
    Passing,
    /// Answered, but worth a look; still eligible unless `only_passing`.
    Warning,
    /// Not answered to anyone.
    Critical,
}

/// The text is none of the three statuses; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("check status {text:?} is none of passing, warning, critical")]
pub struct StatusError {
    /// The text that was refused.
    pub text: String,
}

impl Status {
    /// `passing`, `warning` or `critical`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl FromStr for Status {
    type Err = StatusError;
    fn from_str(text: &str) -> Result<Self, StatusError> {
        match text {
            "passing" => Ok(Self::Passing),
            "warning" => Ok(Self::Warning),
            "critical" => Ok(Self::Critical),
            _ => Err(StatusError {
                text: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// How a check is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckType {
    /// Not known: registered at the catalog, or by configuration.
    #[default]
    Unknown,
    /// The service reports by itself within a time to live.
    Ttl,
    /// HTTP request.
    Http,
    /// TCP connection.
    Tcp,
    /// UDP datagram.
    Udp,
    /// External program.
    Script,
    /// gRPC health protocol.
    Grpc,
    /// HTTP/2 ping.
    H2Ping,
    /// Program inside a container.
    Docker,
    /// State of a service of the operating system.
    OsService,
    /// Health of another service or node.
    Alias,
    /// Set while a node or service is in maintenance.
    Maintenance,
}

impl CheckType {
    const ALL: [Self; 11] = [
        Self::Ttl,
        Self::Http,
        Self::Tcp,
        Self::Udp,
        Self::Script,
        Self::Grpc,
        Self::H2Ping,
        Self::Docker,
        Self::OsService,
        Self::Alias,
        Self::Maintenance,
    ];

    /// The type that an agent calls by this name; `None` for another name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }

    /// The name on the API; empty when unknown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Ttl => "ttl",
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Script => "script",
            Self::Grpc => "grpc",
            Self::H2Ping => "h2ping",
            Self::Docker => "docker",
            Self::OsService => "os_service",
            Self::Alias => "alias",
            Self::Maintenance => "maintenance",
        }
    }
}

/// What the catalog API says about how a check is carried out; only shown, never run by herald.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckDefinition {
    /// Time between runs.
    pub interval: Option<Duration>,
    /// Longest time for one run.
    pub timeout: Option<Duration>,
    /// Time in critical state after which the service is removed.
    pub deregister_critical_service_after: Option<Duration>,
    /// URL of an HTTP check.
    pub http: Box<str>,
    /// Headers of an HTTP check.
    pub header: Vec<(Box<str>, Vec<Box<str>>)>,
    /// Method of an HTTP check.
    pub method: Box<str>,
    /// Whether an HTTP check accepts any certificate.
    pub tls_skip_verify: bool,
    /// `host:port` of a TCP check.
    pub tcp: Box<str>,
}

/// A check in the catalog. Name and tags of its service are those of the instance it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Id, unique on its node.
    pub id: CheckId,
    /// Human-readable name.
    pub name: Box<str>,
    /// Latest result.
    pub status: Status,
    /// Free text of the operator.
    pub notes: Box<str>,
    /// Output of the latest run.
    pub output: Box<str>,
    /// The instance it belongs to; `None` for a check of the node.
    pub service_id: Option<ServiceId>,
    /// How it is carried out.
    pub check_type: CheckType,
    /// Details given through the catalog API.
    pub definition: Option<Box<CheckDefinition>>,
}

impl Check {
    /// Whether this check exists because its node or service is in maintenance.
    pub fn is_maintenance(&self) -> bool {
        let id = self.id.as_str();
        id == NODE_MAINTENANCE || id.starts_with(SERVICE_MAINTENANCE)
    }
}
