//! Turns what the catalog has yet to be told into operations.

use std::collections::BTreeMap;

use crate::catalog::{Deregistration, Operation, Registration};
use crate::local::pending::Pending;
use crate::local::state::LocalState;
use crate::types::{Check, Node, Service, ServiceId};

/// The operations that bring the pending entries in line with `state`. Removals come first; a
/// service and its checks form one registration, since it must never be answered without them.
pub(super) fn operations(node: &Node, state: &LocalState, pending: &Pending) -> Vec<Operation> {
    let mut operations = Vec::with_capacity(pending.len() + 1);
    if pending.node {
        operations.push(register(node, false, None, Vec::new()));
    }
    let mut checks: BTreeMap<Option<&ServiceId>, Vec<Check>> = BTreeMap::new();
    for id in &pending.checks {
        match state.check(id) {
            Some(local) => {
                let owner = local.check.service_id.as_ref();
                checks.entry(owner).or_default().push(local.check.clone());
            }
            None => operations.push(Operation::Deregister(Deregistration::Check(
                node.name.clone(),
                id.clone(),
            ))),
        }
    }
    for id in &pending.services {
        operations.push(match state.service(id) {
            Some(service) => {
                let own = checks.remove(&Some(id)).unwrap_or_default();
                register(node, true, Some(Service::clone(service)), own)
            }
            None => Operation::Deregister(Deregistration::Service(node.name.clone(), id.clone())),
        });
    }
    operations.extend(
        checks
            .into_values()
            .map(|checks| register(node, true, None, checks)),
    );
    operations
}

fn register(
    node: &Node,
    skip_node_update: bool,
    service: Option<Service>,
    checks: Vec<Check>,
) -> Operation {
    Operation::Register(Box::new(Registration {
        node: node.clone(),
        skip_node_update,
        service,
        checks,
    }))
}
