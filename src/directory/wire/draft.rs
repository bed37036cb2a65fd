//! Registrations of agents, as drafts.

use std::time::Duration;

use super::{
    DeregisterRequest, HealthCheck, HealthCheckDefinition, Map, NodeService, RegisterRequest, Text,
};
use crate::directory::{CheckDraft, DeregistrationDraft, RegistrationDraft, ServiceDraft};
use crate::types::{Address, CheckDefinition, CheckType, TaggedAddress};

/// A port outside 0 to 65535. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid port {0}: it must be between 0 and 65535")]
pub(in crate::directory) struct PortError(i64);

impl RegisterRequest<'_> {
    /// What is to be checked.
    ///
    /// # Errors
    /// A port is none.
    pub(in crate::directory) fn into_draft(self) -> Result<RegistrationDraft, PortError> {
        let several = self.checks.into_iter().flatten();
        Ok(RegistrationDraft {
            datacenter: Some(self.datacenter.into_owned()),
            id: Some(self.id.into_owned()),
            node: self.node.into_owned(),
            address: self.address.into_owned(),
            tagged_addresses: pairs(self.tagged_addresses),
            node_meta: pairs(self.node_meta),
            skip_node_update: self.skip_node_update,
            service: self.service.map(service).transpose()?,
            checks: several.chain(self.check).map(check).collect(),
        })
    }
}

impl DeregisterRequest<'_> {
    /// What is to be checked.
    pub(in crate::directory) fn into_draft(self) -> DeregistrationDraft {
        DeregistrationDraft {
            datacenter: Some(self.datacenter.into_owned()),
            node: self.node.into_owned(),
            service_id: self.service_id.into_owned(),
            check_id: self.check_id.into_owned(),
        }
    }
}

fn service(service: NodeService<'_>) -> Result<ServiceDraft, PortError> {
    let tagged = service.tagged_addresses.into_iter().flat_map(|all| all.0);
    let tagged = tagged.map(|(name, at)| {
        let address = TaggedAddress {
            address: Address::from_text(&at.address),
            port: port(at.port)?,
        };
        Ok((name.into_owned(), address))
    });
    let weights = service.weights.map(|it| (it.passing, it.warning));
    Ok(ServiceDraft {
        id: service.id.into_owned(),
        name: service.service.into_owned(),
        tags: owned(service.tags),
        address: service.address.into_owned(),
        port: port(service.port)?,
        meta: pairs(service.meta),
        weights,
        enable_tag_override: service.enable_tag_override,
        tagged_addresses: tagged.collect::<Result<_, _>>()?,
    })
}

fn check(check: HealthCheck<'_>) -> CheckDraft {
    CheckDraft {
        node: check.node.into_owned(),
        id: check.id.into_owned(),
        name: check.name.into_owned(),
        status: check.status.into_owned(),
        notes: check.notes.into_owned(),
        output: check.output.into_owned(),
        service_id: check.service_id.into_owned(),
        check_type: CheckType::named(&check.check_type),
        definition: definition(check.definition),
    }
}

pub(super) fn definition(definition: HealthCheckDefinition<'_>) -> CheckDefinition {
    let header = definition.header.into_iter().flat_map(|all| all.0);
    let header = header.map(|(name, values)| {
        let values = values.into_iter().map(Into::into);
        (name.into(), values.collect())
    });
    CheckDefinition {
        interval: duration(definition.interval),
        timeout: duration(definition.timeout),
        deregister_critical_service_after: duration(definition.deregister_critical_service_after),
        http: definition.http.into(),
        header: header.collect(),
        method: definition.method.into(),
        tls_skip_verify: definition.tls_skip_verify,
        tcp: definition.tcp.into(),
    }
}

fn port(number: i64) -> Result<u16, PortError> {
    u16::try_from(number).map_err(|_| PortError(number))
}

/// Zero, and what is less, is not set.
fn duration(nanoseconds: i64) -> Option<Duration> {
    let nanoseconds = u64::try_from(nanoseconds).ok()?;
    (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
}

fn owned(list: Option<Vec<Text<'_>>>) -> Vec<String> {
    let list = list.into_iter().flatten();
    list.map(Text::into_owned).collect()
}

pub(super) fn pairs(map: Option<Map<'_, Text<'_>>>) -> Vec<(String, String)> {
    let pairs = map.into_iter().flat_map(|map| map.0);
    pairs
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect()
}
