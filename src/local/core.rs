//! The rules of registration and of the passing of time, without tasks, locks or I/O.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use crate::health::{Input, Machine, Report, Timers};
use crate::types::{
    Check, CheckId, NODE_MAINTENANCE, NodeName, SERF_HEALTH, SERVERS_SERVICE, SERVICE_MAINTENANCE,
    Service, ServiceId, Status, is_dns_label,
};

mod files;
mod kept;
mod maintenance;
mod runs;

use super::Limits;
use super::definition::{self, CheckDefinition, ServiceDefinition};
use super::error::{RegisterError, ReportError, UnknownCheck, UnknownService};
use super::followers::Followers;
use super::pending::Pending;
use super::state::{LocalCheck, LocalState};
use super::turns::Turns;
use files::FromFiles;
pub(super) use kept::Changes;
use kept::Keeping;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The check's machine wants to be called.
    Machine(CheckId),
    /// The catalog is to be told the output that has changed since.
    Output(CheckId),
}

/// Services, checks and their machines.
#[derive(Debug)]
pub(super) struct Core {
    limits: Limits,
    server: bool,
    state: LocalState,
    machines: BTreeMap<CheckId, Machine>,
    timers: Timers<Timer>,
    turns: Turns,
    followers: Followers,
    /// Spreads first runs, so that checks registered together do not run together.
    random: SmallRng,
    pending: Pending,
    generation: u64,
    files: FromFiles,
    keeping: Keeping,
}

impl Core {
    /// Nothing yet. `seed` decides when in its interval each check runs for the first time.
    pub(super) fn new(limits: Limits, server: bool, node: NodeName, seed: u64) -> Self {
        let pending = Pending::new(limits.services_max + limits.checks_max);
        Self {
            turns: Turns::new(limits.checks_max),
            followers: Followers::new(node),
            random: SmallRng::seed_from_u64(seed),
            limits,
            server,
            state: LocalState::default(),
            machines: BTreeMap::new(),
            timers: Timers::default(),
            pending,
            generation: 0,
            files: FromFiles::default(),
            keeping: Keeping::default(),
        }
    }

    pub(super) fn state(&self) -> &LocalState {
        &self.state
    }

    pub(super) fn pending(&mut self) -> &mut Pending {
        &mut self.pending
    }

    /// Grows with every wish to tell the catalog something.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// When [`Core::tick`] is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub(super) fn register_service(
        &mut self,
        now: Instant,
        definition: ServiceDefinition,
        replace_checks: bool,
    ) -> Result<(), RegisterError> {
        let (mut service, checks) = definition::numbered(definition)?;
        self.admit_service(&service)?;
        self.admit_checks(&checks)?;
        self.files.forget(&service.id, checks.keys());
        definition::tag_addresses(&mut service);
        let (id, service) = (service.id.clone(), Arc::new(service));
        self.keeping.service(&id);
        let before = self.state.services.insert(id.clone(), Arc::clone(&service));
        if before.is_none() {
            tracing::info!(service = %id, name = %service.name, "service registered");
        }
        if before.is_none_or(|before| before.name != service.name)
            && !is_dns_label(service.name.as_str())
        {
            tracing::warn!(service = %service.name, "the service's name is no host name: most software cannot look it up over DNS");
        }
        for kept in self.state.checks_of(&id) {
            if replace_checks && !checks.contains_key(&kept) {
                self.remove_check(&kept);
            }
            // Kept ones too: the catalog may have lost the service, and its checks with it.
            self.mark_check(kept);
        }
        for (check_id, check) in checks {
            self.put_check(now, check_id, check, Some(&service));
        }
        self.stir(now, Some(&id));
        self.mark_service(id);
        Ok(())
    }

    pub(super) fn deregister_service(&mut self, id: &ServiceId) -> Result<(), UnknownService> {
        let Some(service) = self.state.services.remove(id) else {
            return Err(UnknownService { id: id.to_string() });
        };
        for check in self.state.checks_of(id) {
            self.remove_check(&check);
            self.mark_check(check);
        }
        tracing::info!(service = %service.id, name = %service.name, "service deregistered");
        self.keeping.service(&service.id);
        self.mark_service(service.id.clone());
        Ok(())
    }

    pub(super) fn register_check(
        &mut self,
        now: Instant,
        definition: CheckDefinition,
    ) -> Result<(), RegisterError> {
        let (checks, service) = self.checked_check(definition)?;
        for (id, definition) in checks {
            self.files.forget_check(&id);
            self.put_check(now, id, definition, service.as_ref());
        }
        Ok(())
    }

    /// A check that may be registered by itself, under its id, and its service.
    #[expect(
        clippy::type_complexity,
        reason = "the checks of a registration, and its service"
    )]
    fn checked_check(
        &self,
        mut definition: CheckDefinition,
    ) -> Result<(BTreeMap<CheckId, CheckDefinition>, Option<Arc<Service>>), RegisterError> {
        let id = match definition.id.take() {
            Some(id) => id,
            None if definition.name.is_empty() => return Err(RegisterError::CheckName),
            None => definition.name.parse()?,
        };
        let service = match &definition.service_id {
            None => None,
            Some(service) => Some(self.state.service(service).cloned().ok_or_else(|| {
                RegisterError::UnknownService {
                    id: service.to_string(),
                }
            })?),
        };
        let checks = BTreeMap::from([(id, definition)]);
        self.admit_checks(&checks)?;
        Ok((checks, service))
    }

    pub(super) fn deregister_check(&mut self, id: &CheckId) -> Result<(), UnknownCheck> {
        let Some(local) = self.state.check(id) else {
            return Err(UnknownCheck { id: id.to_string() });
        };
        let id = local.check.id.clone();
        self.remove_check(&id);
        self.mark_check(id);
        Ok(())
    }

    /// Takes a service's report about itself.
    pub(super) fn report(
        &mut self,
        now: Instant,
        id: &CheckId,
        report: Report,
    ) -> Result<(), ReportError> {
        let Some(machine) = self.machines.get_mut(id) else {
            return Err(UnknownCheck { id: id.to_string() }.into());
        };
        if !machine.is_ttl() {
            return Err(ReportError::NotTtl { id: id.to_string() });
        }
        let actions = machine.handle(now, Input::Report(report));
        // The same again, too, holds for longer.
        self.keeping.state(id);
        self.wind(id);
        if let Some(report) = actions.report {
            self.show(now, id, report);
        }
        Ok(())
    }

    /// Carries out what time has brought.
    pub(super) fn tick(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Output(id) => self.mark_check(id),
                Timer::Machine(id) => self.tick_check(now, &id),
            }
        }
    }

    /// Whether only the output of a check is known to differ, and its time has not come.
    pub(super) fn output_waits(&self, id: &CheckId) -> bool {
        self.timers.contains(&Timer::Output(id.clone()))
    }

    /// Takes on tags that others set in the catalog on a service that allows it.
    pub(super) fn adopt_tags(&mut self, id: &ServiceId, tags: &Arc<[Arc<str>]>) {
        if let Some(service) = self.state.services.get_mut(id) {
            Arc::make_mut(service).tags = Arc::clone(tags);
            self.keeping.service(id);
        }
    }

    fn tick_check(&mut self, now: Instant, id: &CheckId) {
        let Some(machine) = self.machines.get_mut(id) else {
            return;
        };
        let actions = machine.handle(now, Input::Timer);
        if let Some(report) = actions.report {
            tracing::warn!(check = %id, "missed its time to live");
            self.show(now, id, report);
        }
        let service = self
            .state
            .check(id)
            .filter(|_| actions.reap)
            .and_then(|local| local.check.service_id.clone());
        if let Some(service) = service {
            tracing::info!(%service, check = %id, "critical for too long, deregistering the service");
            // Its checks go with it, so this cannot come twice; an unknown service has none.
            drop(self.deregister_service(&service));
            return;
        }
        if let Some(due) = actions.run {
            self.queue(now, id, due);
        }
        self.wind(id);
    }

    fn admit_service(&self, service: &Service) -> Result<(), RegisterError> {
        let limit = self.limits.services_max;
        self.check_service(service)?;
        if self.state.service(&service.id).is_none() && self.state.services.len() >= limit {
            return Err(RegisterError::TooMany {
                what: "services",
                limit,
            });
        }
        Ok(())
    }

    /// What every service must be, however it is registered.
    fn check_service(&self, service: &Service) -> Result<(), RegisterError> {
        if service.address.is_unspecified() {
            Err(RegisterError::ServiceAddress)
        } else if self.server && service.id.as_str().eq_ignore_ascii_case(SERVERS_SERVICE) {
            Err(RegisterError::Reserved {
                what: "service id",
                id: service.id.to_string(),
            })
        } else {
            Ok(())
        }
    }

    fn admit_checks(
        &self,
        checks: &BTreeMap<CheckId, CheckDefinition>,
    ) -> Result<(), RegisterError> {
        let limit = self.limits.checks_max;
        let new = checks.keys().filter(|id| self.state.check(id).is_none());
        if self.state.checks.len() + new.count() > limit {
            return Err(RegisterError::TooMany {
                what: "checks",
                limit,
            });
        }
        for (id, check) in checks {
            if is_own_check(id) {
                return Err(RegisterError::Reserved {
                    what: "check id",
                    id: id.to_string(),
                });
            }
            if check.mechanism.is_program() && !self.limits.enable_script_checks {
                return Err(RegisterError::ScriptsDisabled);
            }
        }
        Ok(())
    }

    /// Adds or replaces a check. One that replaces another keeps its status and output, whatever
    /// status the new definition begins with.
    fn put_check(
        &mut self,
        now: Instant,
        id: CheckId,
        definition: CheckDefinition,
        service: Option<&Arc<Service>>,
    ) {
        let limits = definition.limits(self.limits.output_octets_max);
        let before = self.state.check(&id);
        let before_mechanism = before.map(|before| &before.definition.mechanism);
        // One that is carried out as before keeps its turns and the run that is in flight.
        let begins = before_mechanism != Some(&definition.mechanism);
        if let Some(mechanism) = before_mechanism {
            self.followers.remove(&id, mechanism);
        }
        self.followers.add(&id, &definition.mechanism);
        let (mut status, mut output) = match before.map(|before| &before.check) {
            Some(before) => (before.status, before.output.clone()),
            None => (
                definition.status.unwrap_or(Status::Critical),
                Box::default(),
            ),
        };
        #[expect(clippy::single_match_else, reason = "both are the same step")]
        match self.machines.get_mut(&id) {
            Some(machine) => machine.redefine(now, limits),
            None => {
                let mut machine = Machine::new(now, limits, definition.status);
                if let Some(said) = self.keeping.said(&id) {
                    let report = machine.resume(now, said.report, said.until);
                    (status, output) = (report.status, report.output);
                }
                self.machines.insert(id.clone(), machine);
            }
        }
        self.keeping.check(&id);
        if begins {
            self.begin(now, &id, &definition.mechanism);
        }
        let check = Check {
            id: id.clone(),
            name: definition.name.clone(),
            status,
            notes: definition.notes.clone(),
            output,
            service_id: service.map(|service| service.id.clone()),
            check_type: self.files.type_of(&id, &definition),
            definition: None,
        };
        let local = LocalCheck {
            check,
            service_name: service.map(|service| service.name.clone()),
            service_tags: service.map_or_else(|| [].into(), |service| Arc::clone(&service.tags)),
            definition: Arc::new(definition),
        };
        self.state.put_check(Arc::new(local));
        self.wind(&id);
        self.stir_about(now, &id);
        self.mark_check(id);
    }

    /// Shows a result here at once. The catalog learns of another status at once, of another
    /// output alone only later.
    fn show(&mut self, now: Instant, id: &CheckId, report: Report) {
        let Some(before) = self.state.check(id).map(|local| &local.check) else {
            return;
        };
        let status_differs = before.status != report.status;
        if status_differs {
            log_status(id, report.status);
        }
        if !status_differs && before.output == report.output {
            return;
        }
        self.state.put_report(id, report);
        self.keeping.state(id);
        self.stir_about(now, id);
        let delay = self.limits.check_update_interval;
        if status_differs || delay == Duration::ZERO {
            self.mark_check(id.clone());
        } else if !self.output_waits(id) {
            self.timers
                .set(&Timer::Output(id.clone()), now.checked_add(delay));
        }
    }

    fn remove_check(&mut self, id: &CheckId) {
        if let Some(local) = self.state.check(id) {
            self.followers.remove(id, &local.definition.mechanism);
        }
        self.state.remove_check(id);
        self.keeping.check(id);
        self.machines.remove(id);
        self.turns.cancel(id);
        self.timers.set(&Timer::Machine(id.clone()), None);
    }

    /// Sets the timer of a check's machine.
    fn wind(&mut self, id: &CheckId) {
        let wake = self.machines.get(id).and_then(Machine::wake);
        self.timers.set(&Timer::Machine(id.clone()), wake);
    }

    /// The catalog is to be told this node's own entry.
    pub(super) fn mark_node(&mut self) {
        self.generation += 1;
        self.pending.node = true;
    }

    fn mark_service(&mut self, id: ServiceId) {
        self.generation += 1;
        self.pending.service(id);
    }

    fn mark_check(&mut self, id: CheckId) {
        self.generation += 1;
        self.timers.set(&Timer::Output(id.clone()), None);
        self.pending.check(id);
    }
}

/// Whether only herald itself makes checks of this id: they decide the health of a whole node or
/// service.
fn is_own_check(id: &CheckId) -> bool {
    let id = id.as_str().to_ascii_lowercase();
    id == NODE_MAINTENANCE
        || id.starts_with(SERVICE_MAINTENANCE)
        || id.eq_ignore_ascii_case(SERF_HEALTH)
}

fn log_status(id: &CheckId, status: Status) {
    match status {
        Status::Critical => tracing::warn!(check = %id, "check is now critical"),
        Status::Warning | Status::Passing => {
            tracing::info!(check = %id, "check is now {status}");
        }
    }
}

#[cfg(test)]
mod tests;
