//! How much a state holds, kept in line with each change so that nobody has to count a catalog of
//! a million checks to show four figures.

use crate::types::Status;

use super::state::{CheckEntry, State};

/// Numbers of what is in a [`State`], beside those that its tables know themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    instances: u64,
    passing: u64,
    warning: u64,
    critical: u64,
}

impl Tally {
    /// An instance more, or one less.
    pub(super) fn count_instance(&mut self, added: bool) {
        step(&mut self.instances, added);
    }

    /// A check more, or one less.
    pub(super) fn count_check(&mut self, check: &CheckEntry, added: bool) {
        let figure = match check.check.status {
            Status::Passing => &mut self.passing,
            Status::Warning => &mut self.warning,
            Status::Critical => &mut self.critical,
        };
        step(figure, added);
    }

    /// What another one counted comes to this one.
    pub(super) fn add(&mut self, other: Self) {
        self.instances += other.instances;
        self.passing += other.passing;
        self.warning += other.warning;
        self.critical += other.critical;
    }
}

fn step(figure: &mut u64, added: bool) {
    *figure = if added {
        figure.saturating_add(1)
    } else {
        figure.saturating_sub(1)
    };
}

impl State {
    /// Number of nodes, in O(1) as all of these.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Number of service names.
    pub fn service_count(&self) -> usize {
        self.services.len()
    }

    /// Number of service instances.
    pub fn instance_count(&self) -> u64 {
        self.tally.instances
    }

    /// Number of checks with this status.
    pub fn check_count(&self, status: Status) -> u64 {
        match status {
            Status::Passing => self.tally.passing,
            Status::Warning => self.tally.warning,
            Status::Critical => self.tally.critical,
        }
    }
}
