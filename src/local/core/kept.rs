//! What is to be kept on disk of a change, and how a start takes it up again.
//!
//! A registration is planned first, as the records that the disk must have before it is carried
//! out. All else that changes (what checks say, tags that others set, services that were removed
//! for being critical too long, entries that files took over) is remembered by id and written a
//! little later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::health::{Mechanism, Report};
use crate::types::{CheckId, ServiceId};

use super::super::definition::{self, CheckDefinition, ServiceDefinition};
use super::super::error::{RegisterError, UnknownCheck, UnknownService};
use super::super::kept::{Found, Known, Record};
use super::Core;

/// Ids of what the disk may have otherwise, and what a start has yet to take up.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// Whether there is a disk to keep anything on.
    on: bool,
    services: BTreeSet<ServiceId>,
    checks: BTreeSet<CheckId>,
    states: BTreeSet<CheckId>,
    /// What checks said before the restart that are not registered yet.
    said: BTreeMap<CheckId, Said>,
    /// Checks of services that only files define.
    waiting: BTreeMap<CheckId, Arc<CheckDefinition>>,
}

/// What a check said before the restart.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) report: Report,
    /// Until when it need not say it again, by what the wall clock says now.
    pub(super) until: Option<Instant>,
}

impl Keeping {
    pub(super) fn service(&mut self, id: &ServiceId) {
        if self.on {
            self.services.insert(id.clone());
        }
    }

    pub(super) fn check(&mut self, id: &CheckId) {
        if self.on {
            self.checks.insert(id.clone());
            self.states.insert(id.clone());
        }
    }

    pub(super) fn state(&mut self, id: &CheckId) {
        if self.on {
            self.states.insert(id.clone());
        }
    }

    /// What a check said before the restart, once.
    pub(super) fn said(&mut self, id: &CheckId) -> Option<Said> {
        self.said.remove(id)
    }
}

/// What has changed since the last time.
#[derive(Debug, Default)]
pub(in crate::local) struct Changes {
    pub(in crate::local) registrations: Vec<Record>,
    pub(in crate::local) states: Vec<Record>,
}

impl Core {
    /// Takes up what was found on the disk; from now on changes are remembered. `wall` is the time
    /// since the epoch. What may not be registered any more is told and left out.
    pub(in crate::local) fn restore(&mut self, now: Instant, wall: Duration, found: Found) {
        let said = found
            .states
            .into_iter()
            .map(|(id, Known { report, until })| {
                let until = until.and_then(|until| until.checked_sub(wall));
                let until = until.and_then(|left| now.checked_add(left));
                (id, Said { report, until })
            });
        self.keeping.said = said.collect();
        for (id, service) in found.services {
            if let Err(reason) = self.admit_service(&service) {
                tracing::error!(service = %id, "a kept service cannot be registered again: {reason}");
                continue;
            }
            self.state.services.insert(id.clone(), service);
            self.mark_service(id);
        }
        for (id, check) in found.checks {
            self.restore_check(now, id, check);
        }
        self.keeping.on = true;
    }

    /// The files have been read: what waits for a service of theirs has it now, or never will.
    pub(super) fn end_restore(&mut self, now: Instant) {
        for (id, check) in std::mem::take(&mut self.keeping.waiting) {
            // The file's own check of this id goes before.
            if self.state.check(&id).is_none() {
                self.restore_check(now, id, check);
            }
        }
        for (id, check) in std::mem::take(&mut self.keeping.waiting) {
            tracing::warn!(check = %id, "a kept check belongs to a service that is no longer there, it is dropped: {:?}", check.service_id);
            self.keeping.check(&id);
        }
        self.keeping.said.clear();
    }

    fn restore_check(&mut self, now: Instant, id: CheckId, check: Arc<CheckDefinition>) {
        let service = check.service_id.as_ref();
        let service = service.map(|service| self.state.service(service).cloned());
        if let Some(None) = service {
            self.keeping.waiting.insert(id, check);
            return;
        }
        let definition = CheckDefinition::clone(&check);
        if definition.mechanism != Mechanism::Maintenance {
            let checks = BTreeMap::from([(id.clone(), definition.clone())]);
            if let Err(reason) = self.admit_checks(&checks) {
                tracing::error!(check = %id, "a kept check cannot be registered again: {reason}");
                return;
            }
        }
        self.put_check(now, id, definition, service.flatten().as_ref());
    }

    /// Everything that is kept of registrations.
    pub(in crate::local) fn all_registrations(&self) -> Vec<Record> {
        let services = self.state.services.keys();
        let checks = self.state.checks().map(|local| &local.check.id);
        services
            .map(|id| self.service_record(id))
            .chain(checks.map(|id| self.check_record(id)))
            .filter(|record| matches!(record, Record::Service(_) | Record::Check(..)))
            .collect()
    }

    /// Everything that is kept of what checks say.
    pub(in crate::local) fn all_states(&self, now: Instant, wall: Duration) -> Vec<Record> {
        let ids = self.state.checks().map(|local| &local.check.id);
        ids.map(|id| self.state_record(id, now, wall))
            .filter(|record| matches!(record, Record::State(..)))
            .collect()
    }

    /// Whether anything is to be written.
    pub(in crate::local) fn has_changes(&self) -> bool {
        let keeping = &self.keeping;
        !(keeping.services.is_empty() && keeping.checks.is_empty() && keeping.states.is_empty())
    }

    /// Takes what has changed since the last time.
    pub(in crate::local) fn take_changes(&mut self, now: Instant, wall: Duration) -> Changes {
        let services = std::mem::take(&mut self.keeping.services);
        let checks = std::mem::take(&mut self.keeping.checks);
        let states = std::mem::take(&mut self.keeping.states);
        let services = services.iter().map(|id| self.service_record(id));
        let checks = checks.iter().map(|id| self.check_record(id));
        Changes {
            registrations: services.chain(checks).collect(),
            states: states
                .iter()
                .map(|id| self.state_record(id, now, wall))
                .collect(),
        }
    }

    /// Remembers again what could not be written.
    pub(in crate::local) fn put_back(&mut self, records: &[Record]) {
        for record in records {
            match record {
                Record::Service(service) => self.keeping.service(&service.id),
                Record::NoService(id) => self.keeping.service(id),
                Record::Check(id, _) | Record::NoCheck(id) => self.keeping.check(id),
                Record::State(id, _) | Record::NoState(id) => self.keeping.state(id),
            }
        }
    }

    /// Compares what the disk has by now with what came of it: mostly the same, which then need
    /// not be written again.
    pub(in crate::local) fn settle(&mut self, records: &[Record]) {
        for record in records {
            match record {
                Record::Service(_) | Record::NoService(_) => {
                    let id = match record {
                        Record::Service(service) => &service.id,
                        Record::NoService(id) => id,
                        _ => continue,
                    };
                    if self.service_record(id) == *record {
                        self.keeping.services.remove(id);
                    } else {
                        self.keeping.service(id);
                    }
                }
                Record::Check(id, _) | Record::NoCheck(id) => {
                    if self.check_record(id) == *record {
                        self.keeping.checks.remove(id);
                    } else {
                        self.keeping.check(id);
                    }
                }
                Record::State(..) | Record::NoState(_) => {}
            }
        }
    }

    fn service_record(&self, id: &ServiceId) -> Record {
        match self.state.service(id) {
            Some(service) if !self.files.defines_service(id) => {
                Record::Service(Arc::clone(service))
            }
            _ => Record::NoService(id.clone()),
        }
    }

    fn check_record(&self, id: &CheckId) -> Record {
        match self.state.check(id) {
            Some(local) if !self.files.defines_check(id) => {
                Record::Check(local.check.id.clone(), Arc::clone(&local.definition))
            }
            _ => Record::NoCheck(id.clone()),
        }
    }

    fn state_record(&self, id: &CheckId, now: Instant, wall: Duration) -> Record {
        let (Some(local), Some(machine)) = (self.state.check(id), self.machines.get(id)) else {
            return Record::NoState(id.clone());
        };
        let report = Report {
            status: local.check.status,
            output: local.check.output.clone(),
        };
        let left = machine
            .expires()
            .map(|at| at.saturating_duration_since(now));
        let until = left.and_then(|left| wall.checked_add(left));
        Record::State(local.check.id.clone(), Known { report, until })
    }
}

/// What each change needs on the disk before it is carried out. The errors are those of the change.
impl Core {
    pub(in crate::local) fn plan_service(
        &self,
        definition: &ServiceDefinition,
        replace_checks: bool,
    ) -> Result<Vec<Record>, RegisterError> {
        let (mut service, checks) = definition::numbered(definition.clone())?;
        self.admit_service(&service)?;
        self.admit_checks(&checks)?;
        definition::tag_addresses(&mut service);
        let replaced = self.state.checks_of(&service.id).into_iter();
        let replaced = replaced.filter(|id| replace_checks && !checks.contains_key(id));
        let mut records: Vec<_> = replaced.map(Record::NoCheck).collect();
        records.push(Record::Service(Arc::new(service)));
        let checks = checks.into_iter();
        records.extend(checks.map(|(id, check)| Record::Check(id, Arc::new(check))));
        Ok(records)
    }

    pub(in crate::local) fn plan_no_service(
        &self,
        id: &ServiceId,
    ) -> Result<Vec<Record>, UnknownService> {
        let service = self.state.service(id);
        let service = service.ok_or_else(|| UnknownService { id: id.to_string() })?;
        let mut records = vec![Record::NoService(service.id.clone())];
        let checks = self.state.checks_of(id).into_iter();
        records.extend(checks.map(Record::NoCheck));
        Ok(records)
    }

    pub(in crate::local) fn plan_check(
        &self,
        definition: &CheckDefinition,
    ) -> Result<Vec<Record>, RegisterError> {
        let (checks, _) = self.checked_check(definition.clone())?;
        let checks = checks.into_iter();
        Ok(checks
            .map(|(id, check)| Record::Check(id, Arc::new(check)))
            .collect())
    }

    pub(in crate::local) fn plan_no_check(
        &self,
        id: &CheckId,
    ) -> Result<Vec<Record>, UnknownCheck> {
        let local = self.state.check(id);
        let local = local.ok_or_else(|| UnknownCheck { id: id.to_string() })?;
        Ok(vec![Record::NoCheck(local.check.id.clone())])
    }
}

#[cfg(test)]
mod tests;
