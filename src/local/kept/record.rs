//! One line of a file: what changes together, with a checksum before it.
//!
//! `0a1b2c3d [{"service":{…}},{"check":{…}}]`: eight hexadecimal digits of the CRC-32C of what
//! follows the space. The text has no line break of its own, so that the lines after a damaged one
//! are found again.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::health::Report;
use crate::types::{CheckId, Service, ServiceId};

use super::super::definition::CheckDefinition;
use super::shape::{CheckShape, ServiceShape, ShapeError};

/// One entry that is kept, or is no longer.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::local) enum Record {
    /// A service, without its checks.
    Service(Arc<Service>),
    /// A check, whose definition has no id.
    Check(CheckId, Arc<CheckDefinition>),
    /// A service is gone, and its checks with it.
    NoService(ServiceId),
    /// A check is gone.
    NoCheck(CheckId),
    /// What a check said last.
    State(CheckId, Known),
    /// It is not known any more.
    NoState(CheckId),
}

/// What is known of a check's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::local) struct Known {
    pub(in crate::local) report: Report,
    /// Since the epoch, on the wall clock: until when a TTL check need not report again.
    pub(in crate::local) until: Option<Duration>,
}

/// Why a line is none.
#[derive(Debug, thiserror::Error)]
pub(in crate::local) enum LineError {
    #[error("it does not say what the file is")]
    Header,
    #[error("its checksum is not that of its text")]
    Checksum,
    #[error("it is not understood: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it has a value that cannot be: {0}")]
    Value(#[from] ShapeError),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, on its way to or from a line"
)]
enum Shape {
    Service(ServiceShape),
    Check {
        id: String,
        #[serde(flatten)]
        check: CheckShape,
    },
    NoService(String),
    NoCheck(String),
    State {
        id: String,
        status: String,
        output: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Duration>,
    },
    NoState(String),
}

/// Appends the line of `records`.
pub(super) fn write(records: &[Record], line: &mut Vec<u8>) -> Result<(), LineError> {
    let shapes: Vec<_> = records.iter().map(Shape::new).collect();
    let text = serde_json::to_vec(&shapes)?;
    line.extend_from_slice(format!("{:08x} ", crc32c::crc32c(&text)).as_bytes());
    line.extend_from_slice(&text);
    line.push(b'\n');
    Ok(())
}

/// Reads a line, without its end.
pub(super) fn read(line: &[u8]) -> Result<Vec<Record>, LineError> {
    let (sum, rest) = line.split_at_checked(8).ok_or(LineError::Checksum)?;
    let text = rest.strip_prefix(b" ").ok_or(LineError::Checksum)?;
    let sum = str::from_utf8(sum).ok();
    let sum = sum.and_then(|sum| u32::from_str_radix(sum, 16).ok());
    if sum != Some(crc32c::crc32c(text)) {
        return Err(LineError::Checksum);
    }
    let shapes: Vec<Shape> = serde_json::from_slice(text)?;
    let records = shapes.into_iter().map(Shape::check);
    Ok(records.collect::<Result<_, _>>()?)
}

impl Shape {
    fn new(record: &Record) -> Self {
        match record {
            Record::Service(service) => Self::Service(ServiceShape::new(service)),
            Record::Check(id, check) => Self::Check {
                id: id.to_string(),
                check: CheckShape::new(check),
            },
            Record::NoService(id) => Self::NoService(id.to_string()),
            Record::NoCheck(id) => Self::NoCheck(id.to_string()),
            Record::State(id, known) => Self::State {
                id: id.to_string(),
                status: known.report.status.to_string(),
                output: known.report.output.to_string(),
                until: known.until,
            },
            Record::NoState(id) => Self::NoState(id.to_string()),
        }
    }

    fn check(self) -> Result<Record, ShapeError> {
        let check_id = |id: String| id.parse().map_err(|error| ShapeError::new(&error));
        Ok(match self {
            Self::Service(service) => Record::Service(Arc::new(service.check()?)),
            Self::Check { id, check } => Record::Check(check_id(id)?, Arc::new(check.check()?)),
            Self::NoService(id) => {
                Record::NoService(id.parse().map_err(|error| ShapeError::new(&error))?)
            }
            Self::NoCheck(id) => Record::NoCheck(check_id(id)?),
            Self::State {
                id,
                status,
                output,
                until,
            } => {
                let status = status.parse().map_err(|error| ShapeError::new(&error))?;
                let output = output.into();
                let report = Report { status, output };
                Record::State(check_id(id)?, Known { report, until })
            }
            Self::NoState(id) => Record::NoState(check_id(id)?),
        })
    }
}

#[cfg(test)]
mod tests;
