//! What is wrong with a configuration, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::de::{Expected, Unexpected};

use super::tree::Place;

/// Why there is no configuration. Nothing was started or changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or directory cannot be read.
    #[error("config: cannot read {}: {}", .path.display(), without_number(.source))]
    Read {
        /// Path as it was given.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file is larger than any configuration.
    #[error("config: {} has {octets} octets, at most {max} are read", .path.display())]
    Size {
        /// Path as it was given.
        path: PathBuf,
        /// Its size, in octets.
        octets: u64,
        /// Largest size that is read, in octets.
        max: u64,
    },
    /// Neither `.json` nor `.hcl`: the language is not known.
    #[error("config: {}: the file name must end in .json or .hcl, or -config-format must be given", .path.display())]
    Extension {
        /// Path as it was given.
        path: PathBuf,
    },
    /// Values are missing, of the wrong type, out of range, or not known.
    #[error("{}", lines(.0))]
    Values(Vec<Problem>),
    /// Settings of DNS do not go together.
    #[error("config: {0}")]
    Answers(#[from] crate::dns::SettingsError),
    /// The static zones cannot be served.
    #[error("zones_dir: {0}")]
    Zones(#[from] crate::dns::ZonesError),
    /// Certificates or keys cannot be used.
    #[error("config: {0}")]
    Tls(#[from] crate::rpc::TlsError),
    /// `data_dir` is missing outside development mode.
    #[error("data_dir cannot be empty")]
    NoDataDir,
    /// The file that keeps the node's id holds something else.
    #[error("{}: {source}", .path.display())]
    NodeId {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: crate::types::NodeIdError,
    },
    /// The address for other agents cannot be chosen.
    #[error("{reason}")]
    Advertise {
        /// Candidates, and which flag picks one.
        reason: String,
    },
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self::Values(vec![problem])
    }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

/// One complaint about one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    place: Option<Place>,
    /// Keys from the outermost to the one complained about.
    path: Vec<String>,
    complaint: Complaint,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Complaint {
    /// The last key of the path is not known; perhaps this one was meant.
    UnknownKey(Option<&'static str>),
    /// The last key of the path belongs to a feature that does not exist yet.
    Later,
    /// Anything else.
    Other(String),
}

impl Problem {
    /// `key` at `place` is not known, perhaps `nearest` was meant.
    pub(super) fn unknown_key(place: Place, key: &str, nearest: Option<&'static str>) -> Self {
        Self {
            place: Some(place),
            path: vec![key.to_owned()],
            complaint: Complaint::UnknownKey(nearest),
        }
    }

    /// `key` at `place` belongs to a feature that does not exist yet.
    pub(super) fn later(place: Place, key: &str) -> Self {
        Self {
            place: Some(place),
            path: vec![key.to_owned()],
            complaint: Complaint::Later,
        }
    }

    /// `key` at `place` is there already, at `first` in the same file.
    pub(super) fn twice(place: Place, key: &str, first: &Place) -> Self {
        let message = match first.line {
            Some(line) => format!("is given twice, first in line {line}"),
            None => "is given twice".to_owned(),
        };
        Self::at(place, message).below(key)
    }

    /// What to leave out of a tree so that the other mistakes in it show: the key itself where it
    /// is not known, else the whole definition to which it belongs, since half of one would give
    /// rise to further complaints.
    pub(super) fn culprit(&self) -> &[String] {
        let whole = |part: &String| {
            let alone = ["check", "service"].iter();
            part.starts_with("item ") || alone.copied().any(|key| part.eq_ignore_ascii_case(key))
        };
        let end = match self.complaint {
            Complaint::UnknownKey(_) | Complaint::Later => None,
            Complaint::Other(_) => self.path.iter().rposition(whole),
        };
        match end {
            Some(position) => self.path.get(..=position).unwrap_or_default(),
            None => &self.path,
        }
    }

    /// Whether it is about a whole definition that is only half there because of `earlier`.
    pub(super) fn follows_from(&self, earlier: &Self) -> bool {
        matches!(self.complaint, Complaint::Other(_))
            && self.culprit() == self.path
            && earlier.path.len() > self.path.len()
            && earlier.path.starts_with(&self.path)
    }

    /// A complaint about the value or key at `place`.
    pub(super) fn at(place: Place, message: String) -> Self {
        Self {
            place: Some(place),
            path: Vec::new(),
            complaint: Complaint::Other(message),
        }
    }

    /// A complaint about the value of `key`, whose place is not known any more.
    pub(super) fn about(key: &str, message: impl Into<String>) -> Self {
        Self {
            place: None,
            path: vec![key.to_owned()],
            complaint: Complaint::Other(message.into()),
        }
    }

    /// The same complaint, seen from one level further out.
    #[must_use]
    pub(super) fn below(mut self, key: &str) -> Self {
        self.path.insert(0, key.to_owned());
        self
    }

    /// The same complaint at `place`, unless its place is known already.
    #[must_use]
    pub(super) fn or_at(mut self, place: &Place) -> Self {
        self.place.get_or_insert_with(|| place.clone());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(formatter, "{place}: ")?;
        }
        let key = self.path.join(".");
        match &self.complaint {
            Complaint::UnknownKey(None) => write!(formatter, "invalid config key {key}"),
            Complaint::UnknownKey(Some(nearest)) => {
                write!(
                    formatter,
                    "invalid config key {key}, did you mean {nearest}?"
                )
            }
            Complaint::Later => write!(formatter, "{key}: is not supported yet"),
            Complaint::Other(message) if key.is_empty() => formatter.write_str(message),
            Complaint::Other(message) => write!(formatter, "{key}: {message}"),
        }
    }
}

impl std::error::Error for Problem {}

impl serde::de::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            place: None,
            path: Vec::new(),
            complaint: Complaint::Other(message.to_string()),
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (expected, found) = (expected.to_string(), describe(found));
        // serde's own words are not those of JSON.
        let expected = match expected.as_str() {
            "a sequence" => "a list",
            "a map" => "an object",
            other => other,
        };
        Self::custom(format_args!("expected {expected}, found {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }
}

fn describe(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Str(text) => format!("string {text:?}"),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        other => other.to_string(),
    }
}

/// The text of a system error without its number, as people read it.
pub(super) fn without_number(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text.get(..end).unwrap_or(&text).to_lowercase()
}
