//! Why registrations, reports and removals are refused.

use crate::types::NameError;

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError<E> {
    /// It is refused; nothing changed.
    #[error(transparent)]
    Refused(#[from] E),
    /// It cannot be kept on the disk; nothing changed.
    #[error(transparent)]
    Keep(KeepError),
}

/// Why a change cannot be kept. Nothing changed, and the same may succeed later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// The disk does not take it.
    #[error("not registered, since it cannot be kept: {reason}")]
    Disk {
        /// The file, and what the system says.
        reason: String,
    },
    /// Too many changes wait for the disk.
    #[error("{limit} changes wait for the disk, which is the limit")]
    Busy {
        /// The limit.
        limit: usize,
    },
    /// The agent stops.
    #[error("the agent is stopping")]
    Stopping,
}

/// Why nothing was registered; nothing changed. The texts are those of the reference where it has
/// one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The service's own address is `0.0.0.0` or `::`.
    #[error("Invalid service address")]
    ServiceAddress,
    /// The check names a service that this agent does not have.
    #[error("ServiceID {id:?} does not exist")]
    UnknownService {
        /// The id asked for.
        id: String,
    },
    /// The check starts a program, which this agent does not do for those who ask over HTTP.
    #[error(
        "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true"
    )]
    ScriptsDisabled,
    /// The check starts a program, which this agent does not do at all.
    #[error(
        "check {check:?}: Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or 'enable_local_script_checks' to true"
    )]
    LocalScriptsDisabled {
        /// Id of the check.
        check: String,
    },
    /// The id belongs to an entry that the servers keep themselves.
    #[error("{what} {id:?} is kept by the servers themselves and cannot be registered")]
    Reserved {
        /// `service id` or `check id`.
        what: &'static str,
        /// The id asked for.
        id: String,
    },
    /// The agent has as many as it may.
    #[error("this agent has {limit} {what}, which is the limit")]
    TooMany {
        /// `services` or `checks`.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The check has neither id nor name.
    #[error("Missing check name")]
    CheckName,
    /// An id made from the service's id is too long.
    #[error(transparent)]
    Id(#[from] NameError),
}

/// This agent has no service with that id; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unknown service ID {id:?}. Ensure that the service ID is passed, not the service name.")]
pub struct UnknownService {
    /// The id asked for.
    pub id: String,
}

/// This agent has no check with that id; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unknown check ID {id:?}. Ensure that the check ID is passed, not the check name.")]
pub struct UnknownCheck {
    /// The id asked for.
    pub id: String,
}

/// Why a service's report about itself was not taken; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// There is no such check.
    #[error(transparent)]
    Unknown(#[from] UnknownCheck),
    /// The check is not reported but carried out.
    #[error("CheckID {id:?} does not have associated TTL")]
    NotTtl {
        /// The id asked for.
        id: String,
    },
}

/// Why a service's maintenance was not changed; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaintenanceError {
    /// There is no such service.
    #[error(transparent)]
    Unknown(#[from] UnknownService),
    /// The id of its maintenance check would be too long.
    #[error(transparent)]
    Id(#[from] NameError),
}
