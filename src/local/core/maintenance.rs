//! Maintenance: a critical check for as long as a node or a service is not to be found.

use std::sync::Arc;

use tokio::time::Instant;

use super::Core;
use crate::health::Mechanism;
use crate::local::definition::CheckDefinition;
use crate::local::error::{MaintenanceError, UnknownService};
use crate::local::kept::Record;
use crate::types::{CheckId, NODE_MAINTENANCE, SERVICE_MAINTENANCE, Service, ServiceId, Status};

/// The check of a maintenance: its id, and what it is if it is to begin.
type Wanted = (CheckId, Option<CheckDefinition>);

impl Core {
    /// What is to be kept of [`Core::node_maintenance`].
    pub(in crate::local) fn plan_node_maintenance(&self, reason: Option<&str>) -> Vec<Record> {
        self.plan_maintenance(of_node(reason))
    }

    /// What is to be kept of [`Core::service_maintenance`].
    pub(in crate::local) fn plan_service_maintenance(
        &self,
        id: &ServiceId,
        reason: Option<&str>,
    ) -> Result<Vec<Record>, MaintenanceError> {
        let service = self.service_of(id)?;
        Ok(self.plan_maintenance(of_service(service, reason)?))
    }

    /// Puts the node into maintenance with a reason, which may be empty, or takes it out.
    pub(in crate::local) fn node_maintenance(&mut self, now: Instant, reason: Option<&str>) {
        self.maintenance(now, of_node(reason), None);
    }

    /// Puts a service into maintenance with a reason, which may be empty, or takes it out.
    pub(in crate::local) fn service_maintenance(
        &mut self,
        now: Instant,
        id: &ServiceId,
        reason: Option<&str>,
    ) -> Result<(), MaintenanceError> {
        let service = Arc::clone(self.service_of(id)?);
        self.maintenance(now, of_service(&service, reason)?, Some(&service));
        Ok(())
    }

    fn service_of(&self, id: &ServiceId) -> Result<&Arc<Service>, UnknownService> {
        let service = self.state.service(id);
        service.ok_or_else(|| UnknownService { id: id.to_string() })
    }

    fn plan_maintenance(&self, (id, check): Wanted) -> Vec<Record> {
        match (check, self.state.check(&id).is_some()) {
            (Some(check), false) => vec![Record::Check(id, Arc::new(check))],
            (None, true) => vec![Record::NoCheck(id)],
            (Some(_), true) | (None, false) => Vec::new(),
        }
    }

    fn maintenance(&mut self, now: Instant, (id, check): Wanted, service: Option<&Arc<Service>>) {
        match (check, self.state.check(&id).is_some()) {
            (Some(check), false) => {
                tracing::info!(check = %id, reason = %check.notes, "maintenance begins");
                self.put_check(now, id, check, service);
            }
            (None, true) => {
                tracing::info!(check = %id, "maintenance ends");
                self.remove_check(&id);
                self.mark_check(id);
            }
            // Enabled again, the first reason stays.
            (Some(_), true) | (None, false) => {}
        }
    }
}

fn of_node(reason: Option<&str>) -> Wanted {
    let id = NODE_MAINTENANCE.parse().expect("the id is short");
    let check = reason.map(|reason| check("node", "Node Maintenance Mode", reason));
    (id, check)
}

fn of_service(service: &Service, reason: Option<&str>) -> Result<Wanted, MaintenanceError> {
    let id = format!("{SERVICE_MAINTENANCE}{}", service.id).parse()?;
    let check = reason.map(|reason| CheckDefinition {
        service_id: Some(service.id.clone()),
        ..check("service", "Service Maintenance Mode", reason)
    });
    Ok((id, check))
}

fn check(what: &str, name: &str, reason: &str) -> CheckDefinition {
    let notes = match reason {
        "" => format!(
            "Maintenance mode is enabled for this {what}, but no reason was provided. This is a default message."
        ),
        given => given.to_owned(),
    };
    CheckDefinition {
        name: name.into(),
        notes: notes.into(),
        status: Some(Status::Critical),
        ..CheckDefinition::new(Mechanism::Maintenance)
    }
}
