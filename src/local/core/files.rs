//! Brings the services and checks of this node in line with what configuration files define.
//!
//! What comes from files is remembered as such, so that the next set of files replaces it and
//! nothing else: what was registered over HTTP stays, and what was registered over HTTP in place of
//! something from a file belongs to HTTP from then on.
//!
//! **Invariant**: a set of files is taken whole or not at all.
//! **Invariant**: what is defined as it was before is not touched: its checks keep status, output
//! and schedule.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use crate::types::{CheckId, CheckType, Service, ServiceId, is_dns_label};

use super::super::definition::{self, CheckDefinition, ServiceDefinition};
use super::super::error::RegisterError;
use super::super::files::{FileDefinitions, FilesError, Placed};
use super::{Core, Limits};

/// Which entries the files in force have defined.
#[derive(Debug, Default)]
pub(super) struct FromFiles {
    /// Services as the files define them, whatever tags they have taken on since.
    services: BTreeMap<ServiceId, Arc<Service>>,
    /// Checks that stand below their service in the files.
    own_checks: BTreeSet<CheckId>,
    /// Checks that stand by themselves.
    checks: BTreeSet<CheckId>,
}

impl FromFiles {
    /// A service with these checks is registered over HTTP.
    pub(super) fn forget<'a>(
        &mut self,
        service: &ServiceId,
        checks: impl Iterator<Item = &'a CheckId>,
    ) {
        self.services.remove(service);
        checks.for_each(|id| self.forget_check(id));
    }

    /// A check is registered over HTTP.
    pub(super) fn forget_check(&mut self, id: &CheckId) {
        self.own_checks.remove(id);
        self.checks.remove(id);
    }

    /// Whether the files in force define this service.
    pub(super) fn defines_service(&self, id: &ServiceId) -> bool {
        self.services.contains_key(id)
    }

    /// Whether the files in force define this check.
    pub(super) fn defines_check(&self, id: &CheckId) -> bool {
        self.own_checks.contains(id) || self.checks.contains(id)
    }

    /// The type that is shown: none for checks that stand by themselves in files, as the reference
    /// has it.
    pub(super) fn type_of(&self, id: &CheckId, definition: &CheckDefinition) -> CheckType {
        if self.checks.contains(id) {
            CheckType::Unknown
        } else {
            definition.mechanism.check_type()
        }
    }
}

type Checks = BTreeMap<CheckId, CheckDefinition>;

/// A set of files that has passed every check.
#[derive(Debug, Default)]
struct Plan {
    services: BTreeMap<ServiceId, (Arc<Service>, Checks)>,
    checks: Checks,
}

impl Plan {
    /// Ids of all checks, with repetitions.
    fn check_ids(&self) -> impl Iterator<Item = &CheckId> {
        let own = self.services.values().flat_map(|(_, checks)| checks.keys());
        own.chain(self.checks.keys())
    }
}

impl Core {
    /// Registers what `definitions` has and removes what only the files before had. From now on
    /// `limits` hold.
    pub(in crate::local) fn load(
        &mut self,
        now: Instant,
        definitions: &FileDefinitions,
        limits: Limits,
    ) -> Result<(), FilesError> {
        let before = std::mem::replace(&mut self.limits, limits);
        let plan = match self.plan(definitions) {
            Ok(plan) => plan,
            Err(error) => {
                self.limits = before;
                return Err(error);
            }
        };
        if before.output_octets_max != self.limits.output_octets_max {
            self.limit_outputs(now);
        }
        self.carry_out(now, plan);
        self.end_restore(now);
        Ok(())
    }

    /// Whether checks from files may start programs. The one place that decides it.
    fn allows_programs_of_files(&self) -> bool {
        self.limits.enable_script_checks || self.limits.enable_local_script_checks
    }

    fn plan(&self, definitions: &FileDefinitions) -> Result<Plan, FilesError> {
        let mut plan = Plan::default();
        for Placed { place, definition } in &definitions.services {
            let (service, checks) = refuse(place, self.place_service(definition))?;
            let id = service.id.clone();
            // Taken out first, so that the spelling of the last one stays.
            if plan.services.remove(&id).is_some() {
                tracing::warn!(service = %id, "{place}: this service is defined more than once, the last definition counts");
            }
            plan.services.insert(id, (Arc::new(service), checks));
        }
        for Placed { place, definition } in &definitions.checks {
            let (id, check) = refuse(place, self.place_check(definition, &plan))?;
            if plan.checks.remove(&id).is_some() {
                tracing::warn!(check = %id, "{place}: this check is defined more than once, the last definition counts");
            }
            plan.checks.insert(id, check);
        }
        self.fits(&plan)?;
        Ok(plan)
    }

    fn place_service(
        &self,
        definition: &ServiceDefinition,
    ) -> Result<(Service, Checks), RegisterError> {
        let (mut service, checks) = definition::numbered(definition.clone())?;
        self.check_service(&service)?;
        for (id, check) in &checks {
            self.check_check(id, check)?;
        }
        definition::tag_addresses(&mut service);
        Ok((service, checks))
    }

    fn place_check(
        &self,
        definition: &CheckDefinition,
        plan: &Plan,
    ) -> Result<(CheckId, CheckDefinition), RegisterError> {
        let mut check = definition.clone();
        let id = match check.id.take() {
            Some(id) => id,
            None if check.name.is_empty() => return Err(RegisterError::CheckName),
            None => check.name.parse()?,
        };
        if let Some(service) = &check.service_id
            && !plan.services.contains_key(service)
            && !self.is_over_http(service)
        {
            let id = service.to_string();
            return Err(RegisterError::UnknownService { id });
        }
        self.check_check(&id, &check)?;
        Ok((id, check))
    }

    fn check_check(&self, id: &CheckId, check: &CheckDefinition) -> Result<(), RegisterError> {
        if super::is_own_check(id) {
            return Err(RegisterError::Reserved {
                what: "check id",
                id: id.to_string(),
            });
        }
        if check.mechanism.is_program() && !self.allows_programs_of_files() {
            let check = id.to_string();
            return Err(RegisterError::LocalScriptsDisabled { check });
        }
        Ok(())
    }

    /// Whether a service is there and comes from HTTP.
    fn is_over_http(&self, id: &ServiceId) -> bool {
        self.state.service(id).is_some() && !self.files.services.contains_key(id)
    }

    fn fits(&self, plan: &Plan) -> Result<(), FilesError> {
        let over_http = self.state.services.keys();
        let over_http =
            over_http.filter(|id| self.is_over_http(id) && !plan.services.contains_key(*id));
        let services = plan.services.len() + over_http.count();
        let defined: BTreeSet<&CheckId> = plan.check_ids().collect();
        let kept = self.state.checks().filter(|local| {
            let id = &local.check.id;
            let from_files = self.files.defines_check(id);
            let goes = local.check.service_id.as_ref().is_some_and(|service| {
                !plan.services.contains_key(service) && !self.is_over_http(service)
            });
            !from_files && !goes && !defined.contains(id)
        });
        let checks = defined.len() + kept.count();
        let limits = &self.limits;
        for (what, count, limit) in [
            ("services", services, limits.services_max),
            ("checks", checks, limits.checks_max),
        ] {
            if count > limit {
                return Err(FilesError::TooMany { what, count, limit });
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, now: Instant, plan: Plan) {
        let defined: BTreeSet<CheckId> = plan.check_ids().cloned().collect();
        let services = plan.services.iter();
        let files = FromFiles {
            services: services
                .map(|(id, (service, _))| (id.clone(), Arc::clone(service)))
                .collect(),
            own_checks: plan
                .services
                .values()
                .flat_map(|(_, checks)| checks.keys().cloned())
                .filter(|id| !plan.checks.contains_key(id))
                .collect(),
            checks: plan.checks.keys().cloned().collect(),
        };
        let before = std::mem::replace(&mut self.files, files);
        // Perhaps they were registered over HTTP until now.
        plan.services.keys().for_each(|id| self.keeping.service(id));
        for id in &defined {
            self.keeping.check(id);
        }
        for id in before.services.keys() {
            if !plan.services.contains_key(id) {
                // Unknown means that it was deregistered over HTTP in the meantime.
                drop(self.deregister_service(id));
            }
        }
        for id in before.own_checks.iter().chain(&before.checks) {
            if !defined.contains(id) {
                drop(self.deregister_check(id));
            }
        }
        for (id, (service, mut checks)) in plan.services {
            checks.retain(|check, _| !plan.checks.contains_key(check));
            let same = before.services.get(&id) == Some(&service);
            self.put_service(now, service, checks, same);
        }
        for (id, check) in plan.checks {
            let service = check.service_id.as_ref();
            let service = service.and_then(|service| self.state.service(service).cloned());
            self.put_defined(now, id, check, service.as_ref());
        }
    }

    /// Puts a service and its checks in their place; one that the files define as before, and that
    /// is still there, only gets what it lacks.
    fn put_service(&mut self, now: Instant, service: Arc<Service>, checks: Checks, same: bool) {
        let id = service.id.clone();
        let service = match self.state.service(&id) {
            // Perhaps with tags that others have set.
            Some(present) if same => Arc::clone(present),
            present => {
                let renamed = present.is_none_or(|present| present.name != service.name);
                if renamed && !is_dns_label(service.name.as_str()) {
                    tracing::warn!(service = %service.name, "the service's name is no host name: most software cannot look it up over DNS");
                }
                self.state.services.insert(id.clone(), Arc::clone(&service));
                // Kept ones too: the catalog may have lost the service, and its checks with it.
                for kept in self.state.checks_of(&id) {
                    self.mark_check(kept);
                }
                self.mark_service(id);
                service
            }
        };
        for (check_id, check) in checks {
            self.put_defined(now, check_id, check, Some(&service));
        }
    }

    /// Puts a check in its place unless it is there already, just so.
    fn put_defined(
        &mut self,
        now: Instant,
        id: CheckId,
        check: CheckDefinition,
        service: Option<&Arc<Service>>,
    ) {
        let same = self.state.check(&id).is_some_and(|present| {
            *present.definition == check
                && present.check.check_type == self.files.type_of(&id, &check)
                && present.service_name.as_ref() == service.map(|service| &service.name)
                && service.is_none_or(|service| present.service_tags == service.tags)
        });
        if !same {
            self.put_check(now, id, check, service);
        }
    }

    /// Gives every check the new limit of its output.
    fn limit_outputs(&mut self, now: Instant) {
        let octets_max = self.limits.output_octets_max;
        let limits: Vec<_> = self
            .state
            .checks()
            .map(|local| (local.check.id.clone(), local.definition.limits(octets_max)))
            .collect();
        for (id, limits) in limits {
            if let Some(machine) = self.machines.get_mut(&id) {
                machine.redefine(now, limits);
            }
            self.wind(&id);
        }
    }
}

fn refuse<T>(place: &str, result: Result<T, RegisterError>) -> Result<T, FilesError> {
    result.map_err(|reason| FilesError::Refused {
        place: place.into(),
        reason,
    })
}
