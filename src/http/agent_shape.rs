//! What `/v1/agent` answers: JSON with exactly the fields of the reference.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::local::LocalCheck;
use crate::types::{Member, Service};

use super::shape::{AddressText, Pairs, ServiceAddresses, WeightsShape};

/// A service of this agent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AgentService<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    service: &'a str,
    tags: &'a [Arc<str>],
    meta: Pairs<'a>,
    port: u16,
    address: AddressText<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tagged_addresses: Option<ServiceAddresses<'a>>,
    weights: WeightsShape,
    enable_tag_override: bool,
    /// Only where one service is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_hash: Option<String>,
}

impl<'a> AgentService<'a> {
    /// Shows `service`, without its hash.
    pub(crate) fn new(service: &'a Service) -> Self {
        Self {
            id: service.id.as_str(),
            service: service.name.as_str(),
            tags: &service.tags,
            meta: Pairs(&service.meta),
            port: service.port,
            address: AddressText(&service.address),
            tagged_addresses: ServiceAddresses::of(service.tagged_addresses.as_deref()),
            weights: service.weights.into(),
            enable_tag_override: service.enable_tag_override,
            content_hash: None,
        }
    }
}

/// A check of this agent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AgentCheck<'a> {
    node: &'a str,
    #[serde(rename = "CheckID")]
    check_id: &'a str,
    name: &'a str,
    status: &'static str,
    notes: &'a str,
    output: &'a str,
    #[serde(rename = "ServiceID")]
    service_id: &'a str,
    service_name: &'a str,
    service_tags: Option<&'a [Arc<str>]>,
    #[serde(rename = "Type")]
    check_type: &'static str,
    definition: Definition,
    create_index: u64,
    modify_index: u64,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Definition {
    None {},
    Zero(ZeroDefinition),
}

/// What health answers show in place of a definition: every field, all of them empty.
#[derive(Debug, Default, Serialize)]
struct ZeroDefinition {
    #[serde(rename = "Interval")]
    interval: ZeroDuration,
    #[serde(rename = "Timeout")]
    timeout: ZeroDuration,
    #[serde(rename = "DeregisterCriticalServiceAfter")]
    deregister: ZeroDuration,
    #[serde(rename = "HTTP")]
    http: &'static str,
    #[serde(rename = "Header")]
    header: Option<()>,
    #[serde(rename = "Method")]
    method: &'static str,
    #[serde(rename = "Body")]
    body: &'static str,
    #[serde(rename = "TLSSkipVerify")]
    tls_skip_verify: bool,
    #[serde(rename = "TCP")]
    tcp: &'static str,
}

#[derive(Debug, Default, Serialize)]
enum ZeroDuration {
    #[default]
    #[serde(rename = "0s")]
    Zero,
}

impl<'a> AgentCheck<'a> {
    /// Shows `local` on the node named `node`.
    pub(crate) fn new(node: &'a str, local: &'a LocalCheck) -> Self {
        let check = &local.check;
        Self {
            node,
            check_id: check.id.as_str(),
            name: &check.name,
            status: check.status.as_str(),
            notes: &check.notes,
            output: &check.output,
            service_id: check.service_id.as_ref().map_or("", |id| id.as_str()),
            service_name: local.service_name.as_ref().map_or("", |name| name.as_str()),
            service_tags: Some(&local.service_tags),
            check_type: check.check_type.as_str(),
            definition: Definition::None {},
            create_index: 0,
            modify_index: 0,
        }
    }

    /// As health answers show it: without type, and null for no tags, with an empty definition.
    pub(crate) fn in_health(self) -> Self {
        Self {
            service_tags: self.service_tags.filter(|tags| !tags.is_empty()),
            check_type: "",
            definition: Definition::Zero(ZeroDefinition::default()),
            ..self
        }
    }
}

/// A member of a gossip pool.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AgentMember<'a> {
    name: &'a str,
    addr: String,
    port: u16,
    tags: &'a BTreeMap<String, String>,
    status: u8,
    protocol_min: u8,
    protocol_max: u8,
    protocol_cur: u8,
    delegate_min: u8,
    delegate_max: u8,
    delegate_cur: u8,
}

impl<'a> AgentMember<'a> {
    /// Shows `member`.
    pub(crate) fn new(member: &'a Member) -> Self {
        let [
            protocol_min,
            protocol_max,
            protocol_cur,
            delegate_min,
            delegate_max,
            delegate_cur,
        ] = member.versions;
        Self {
            name: &member.name,
            addr: member.address.to_string(),
            port: member.port,
            tags: &member.tags,
            status: member.status as u8,
            protocol_min,
            protocol_max,
            protocol_cur,
            delegate_min,
            delegate_max,
            delegate_cur,
        }
    }
}
