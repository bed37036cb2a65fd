//! What configuration files define, and why a set of files is refused.

use super::definition::{CheckDefinition, ServiceDefinition};
use super::error::RegisterError;

/// Services and checks of all configuration files, in the order in which they were read. Of two
/// with the same id the later one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileDefinitions {
    /// Services with their checks.
    pub services: Vec<Placed<ServiceDefinition>>,
    /// Checks of the node, or of a service that is named in them.
    pub checks: Vec<Placed<CheckDefinition>>,
}

impl FileDefinitions {
    /// Whether the files define nothing.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.checks.is_empty()
    }
}

/// A definition and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    /// File and line, as in `web.json:3`; for people.
    pub place: Box<str>,
    /// What it says.
    pub definition: T,
}

/// Why the definitions of files were refused; nothing changed, and the same files will be refused
/// again unless the limits or what is registered over HTTP change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilesError {
    /// One definition cannot be registered.
    #[error("{place}: {reason}")]
    Refused {
        /// File and line.
        place: Box<str>,
        /// Why.
        #[source]
        reason: RegisterError,
    },
    /// With what is registered over HTTP there would be too many.
    #[error(
        "with the configuration files this agent would have {count} {what}, {limit} are allowed"
    )]
    TooMany {
        /// `services` or `checks`.
        what: &'static str,
        /// How many there would be.
        count: usize,
        /// The limit.
        limit: usize,
    },
}
