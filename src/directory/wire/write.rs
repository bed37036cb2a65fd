//! Registrations and removals, as a client agent sends them.

use super::node::{addresses_of, filled, id_of, meta_of};
use super::{DeregisterRequest, HealthCheck, NodeService, RegisterRequest};
use crate::catalog::{Deregistration, Registration};
use crate::types::Check;

impl<'a> RegisterRequest<'a> {
    /// All but the datacenter and the token. One check stands in a field of its own, as agents of
    /// the reference write it.
    pub(in crate::directory) fn new(registration: &'a Registration) -> Self {
        let node = &registration.node;
        let service = registration.service.as_ref();
        let check = |check: &'a Check| {
            let owner = service.filter(|it| check.service_id.as_ref() == Some(&it.id));
            HealthCheck::plain(check, node.name.as_str(), owner)
        };
        let mut checks: Vec<_> = registration.checks.iter().map(check).collect();
        let single = checks.pop_if(|_| registration.checks.len() == 1);
        Self {
            address: node.address.to_string().into(),
            check: single,
            checks: filled(checks),
            id: id_of(node.id),
            node: node.name.as_str().into(),
            node_meta: meta_of(&node.meta),
            service: service.map(NodeService::plain),
            skip_node_update: registration.skip_node_update,
            tagged_addresses: addresses_of(node),
            ..Self::default()
        }
    }
}

impl<'a> DeregisterRequest<'a> {
    /// All but the datacenter and the token.
    pub(in crate::directory) fn new(what: &'a Deregistration) -> Self {
        let (node, service_id, check_id) = match what {
            Deregistration::Node(node) => (node, "", ""),
            Deregistration::Service(node, id) => (node, id.as_str(), ""),
            Deregistration::Check(node, id) => (node, "", id.as_str()),
        };
        Self {
            check_id: check_id.into(),
            node: node.as_str().into(),
            service_id: service_id.into(),
            ..Self::default()
        }
    }
}
