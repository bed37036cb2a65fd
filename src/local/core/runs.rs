//! Runs of checks: when they are due, and what becomes of their results.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use crate::health::{Input, Mechanism, Report};
use crate::types::{CheckId, ServiceId};

use super::super::turns::{Start, Weight};
use super::Core;

impl Core {
    /// Whether runs wait for their start.
    pub(in crate::local) fn has_turns(&self, weight: Weight) -> bool {
        self.turns.has(weight)
    }

    /// Takes the run that is to start next.
    pub(in crate::local) fn take_turn(&mut self, weight: Weight) -> Option<Start> {
        let turn = self.turns.pop(weight)?;
        let definition = Arc::clone(&self.state.check(&turn.id)?.definition);
        let octets_max = definition
            .limits(self.limits.output_octets_max)
            .output_octets_max;
        Some(Start {
            turn,
            definition,
            octets_max,
        })
    }

    /// Takes in what became of a run; `None` if it had no result. A run that is no longer waited
    /// for changes nothing.
    pub(in crate::local) fn end_run(
        &mut self,
        now: Instant,
        id: &CheckId,
        number: u64,
        report: Option<Report>,
    ) {
        let machine = self.machines.get_mut(id);
        let Some(machine) = machine.filter(|_| self.turns.end(id, number)) else {
            return;
        };
        let actions = machine.handle(now, report.map_or(Input::Abandoned, Input::Finished));
        self.wind(id);
        if let Some(report) = actions.report {
            self.show(now, id, report);
        }
    }

    /// Queues a run that is due.
    pub(super) fn queue(&mut self, now: Instant, id: &CheckId, due: Instant) {
        let Some(local) = self.state.check(id) else {
            return;
        };
        let weight = if local.definition.mechanism.is_heavy() {
            Weight::Heavy
        } else {
            Weight::Light
        };
        if !self.turns.push(id, weight, due)
            && let Some(machine) = self.machines.get_mut(id)
        {
            machine.handle(now, Input::Abandoned);
        }
    }

    /// Lets a check run for the first time somewhere within its interval; an alias, which only
    /// looks, at once.
    pub(super) fn begin(&mut self, now: Instant, id: &CheckId, mechanism: &Mechanism) {
        self.turns.cancel(id);
        let interval = mechanism.interval().unwrap_or_default();
        let delay = match mechanism {
            Mechanism::Alias { .. } => Duration::ZERO,
            _ => interval.mul_f64(self.random.random()),
        };
        if let Some(machine) = self.machines.get_mut(id) {
            machine.begin(now, delay);
        }
    }

    /// Lets the aliases look again that look at this check.
    pub(super) fn stir_about(&mut self, now: Instant, id: &CheckId) {
        let Some(local) = self.state.check(id) else {
            return;
        };
        let is_alias = matches!(local.definition.mechanism, Mechanism::Alias { .. });
        match local.check.service_id.clone() {
            // Aliases do not look at those of the node.
            None if is_alias => {}
            owner => self.stir(now, owner.as_ref()),
        }
    }

    /// Lets the aliases look again that follow `service`, or the node.
    pub(super) fn stir(&mut self, now: Instant, service: Option<&ServiceId>) {
        for id in self.followers.of(service) {
            if let Some(machine) = self.machines.get_mut(&id) {
                machine.hurry(now);
                self.wind(&id);
            }
        }
    }
}
