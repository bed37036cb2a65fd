//! What this agent has registered, as its API reads it.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::health::Report;
use crate::types::{Check, CheckId, Service, ServiceId, ServiceName, Status};

use super::definition::CheckDefinition;

/// Services and checks of this agent at one instant. Immutable once published; cloning is O(1).
#[derive(Clone, Debug, Default)]
pub struct LocalState {
    pub(super) services: OrdMap<ServiceId, Arc<Service>>,
    pub(super) checks: OrdMap<CheckId, Arc<LocalCheck>>,
    /// Ids of the checks by service; those of the node under `None`.
    owned: OrdMap<Option<ServiceId>, OrdSet<CheckId>>,
    /// Number of checks by status.
    by_status: [usize; 3],
}

/// A check with what only its own agent knows.
#[derive(Clone, Debug)]
pub struct LocalCheck {
    /// As the catalog sees it, with the newest output.
    pub check: Check,
    /// Name of its service when the check was registered; `None` for a check of the node.
    pub service_name: Option<ServiceName>,
    /// Tags of its service when the check was registered.
    pub service_tags: Arc<[Arc<str>]>,
    /// How it was registered.
    pub definition: Arc<CheckDefinition>,
}

/// Health of a service as the agent sees it, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// All checks pass, or there are none.
    Passing,
    /// At least one check warns.
    Warning,
    /// At least one check is critical.
    Critical,
    /// The service or its node is in maintenance.
    Maintenance,
}

impl Health {
    /// `passing`, `warning`, `critical` or `maintenance`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Maintenance => "maintenance",
        }
    }
}

impl LocalState {
    /// All services by id.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// One service.
    pub fn service(&self, id: &ServiceId) -> Option<&Arc<Service>> {
        self.services.get(id)
    }

    /// All checks by id.
    pub fn checks(&self) -> impl Iterator<Item = &Arc<LocalCheck>> {
        self.checks.values()
    }

    /// One check.
    pub fn check(&self, id: &CheckId) -> Option<&Arc<LocalCheck>> {
        self.checks.get(id)
    }

    /// The checks that decide the health of a service, by id: its own and those of the node.
    pub fn checks_deciding(&self, service: &ServiceId) -> Vec<&Arc<LocalCheck>> {
        let own = self.owned.get(&Some(service.clone()));
        let node = self.owned.get(&None);
        let mut ids: Vec<_> = own.into_iter().chain(node).flatten().collect();
        ids.sort();
        ids.into_iter()
            .filter_map(|id| self.checks.get(id))
            .collect()
    }

    /// The checks of the node itself, by id.
    pub fn node_checks(&self) -> impl Iterator<Item = &Arc<LocalCheck>> {
        let ids = self.owned.get(&None).into_iter().flatten();
        ids.filter_map(|id| self.checks.get(id))
    }

    /// Number of checks with this status.
    pub fn count(&self, status: Status) -> usize {
        let [passing, warning, critical] = self.by_status;
        match status {
            Status::Passing => passing,
            Status::Warning => warning,
            Status::Critical => critical,
        }
    }

    /// The worst of what the checks of a service and of the node say.
    pub fn health(&self, service: &ServiceId) -> Health {
        self.checks_deciding(service)
            .into_iter()
            .map(|local| match local.check.status {
                _ if local.check.is_maintenance() => Health::Maintenance,
                Status::Passing => Health::Passing,
                Status::Warning => Health::Warning,
                Status::Critical => Health::Critical,
            })
            .max()
            .unwrap_or(Health::Passing)
    }

    /// Ids of the checks of a service.
    pub(super) fn checks_of(&self, service: &ServiceId) -> Vec<CheckId> {
        let own = self.owned.get(&Some(service.clone()));
        own.into_iter().flatten().cloned().collect()
    }

    pub(super) fn put_check(&mut self, local: Arc<LocalCheck>) {
        let id = local.check.id.clone();
        self.remove_check(&id);
        self.owned
            .entry(local.check.service_id.clone())
            .or_default()
            .insert(id.clone());
        *self.count_mut(local.check.status) += 1;
        self.checks.insert(id, local);
    }

    /// Shows a result of a check that there is.
    pub(super) fn put_report(&mut self, id: &CheckId, report: Report) {
        let Some(local) = self.checks.get_mut(id) else {
            return;
        };
        let check = &mut Arc::make_mut(local).check;
        let before = std::mem::replace(&mut check.status, report.status);
        check.output = report.output;
        *self.count_mut(before) -= 1;
        *self.count_mut(report.status) += 1;
    }

    pub(super) fn remove_check(&mut self, id: &CheckId) {
        let Some(local) = self.checks.remove(id) else {
            return;
        };
        *self.count_mut(local.check.status) -= 1;
        let owner = &local.check.service_id;
        if let Some(own) = self.owned.get_mut(owner) {
            own.remove(id);
            if own.is_empty() {
                self.owned.remove(owner);
            }
        }
    }

    fn count_mut(&mut self, status: Status) -> &mut usize {
        let [passing, warning, critical] = &mut self.by_status;
        match status {
            Status::Passing => passing,
            Status::Warning => warning,
            Status::Critical => critical,
        }
    }
}
