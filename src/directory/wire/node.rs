//! Nodes and checks.

use std::time::Duration;

use super::{Map, NodeService, Text, record};
use crate::catalog::{CheckEntry, Instance, NodeEntry};
use crate::types::{Check, CheckDefinition, Datacenter, Meta, Node as Model, NodeId, Service};

record! {
    /// A node.
    #[expect(clippy::struct_field_names, reason = "fields are named as on the wire")]
    Node<'a> {
        "Address" address: Text<'a>,
        "CreateIndex" create_index: u64,
        "Datacenter" datacenter: Text<'a>,
        "ID" id: Text<'a>,
        "Meta" meta: Option<Map<'a, Text<'a>>>,
        "ModifyIndex" modify_index: u64,
        "Node" node: Text<'a>,
        "TaggedAddresses" tagged_addresses: Option<Map<'a, Text<'a>>>,
    }
}

record! {
    /// A node with everything on it.
    NodeInfo<'a> {
        "Address" address: Text<'a>,
        "Checks" checks: Option<Vec<HealthCheck<'a>>>,
        "ID" id: Text<'a>,
        "Meta" meta: Option<Map<'a, Text<'a>>>,
        "Node" node: Text<'a>,
        "Services" services: Option<Vec<NodeService<'a>>>,
        "TaggedAddresses" tagged_addresses: Option<Map<'a, Text<'a>>>,
    }
}

record! {
    /// A check.
    HealthCheck<'a> {
        "CheckID" id: Text<'a>,
        "CreateIndex" create_index: u64,
        "Definition" definition: HealthCheckDefinition<'a>,
        "ModifyIndex" modify_index: u64,
        "Name" name: Text<'a>,
        "Node" node: Text<'a>,
        "Notes" notes: Text<'a>,
        "Output" output: Text<'a>,
        "ServiceID" service_id: Text<'a>,
        "ServiceName" service_name: Text<'a>,
        "ServiceTags" service_tags: Option<Vec<Text<'a>>>,
        "Status" status: Text<'a>,
        "Type" check_type: Text<'a>,
    }
}

record! {
    /// What a check does, where the catalog is told; times are in nanoseconds.
    HealthCheckDefinition<'a> {
        "AliasNode" alias_node: Text<'a>,
        "AliasService" alias_service: Text<'a>,
        "Body" body: Text<'a>,
        "DeregisterCriticalServiceAfter" deregister_critical_service_after: i64,
        "DockerContainerID" docker_container_id: Text<'a>,
        "GRPC" grpc: Text<'a>,
        "GRPCUseTLS" grpc_use_tls: bool,
        "HTTP" http: Text<'a>,
        "Header" header: Option<Map<'a, Vec<Text<'a>>>>,
        "Interval" interval: i64,
        "Method" method: Text<'a>,
        "OutputMaxSize" output_octets_max: u64,
        "ScriptArgs" script_args: Option<Vec<Text<'a>>>,
        "Shell" shell: Text<'a>,
        "TCP" tcp: Text<'a>,
        "TLSSkipVerify" tls_skip_verify: bool,
        "TTL" ttl: i64,
        "Timeout" timeout: i64,
    }
}

impl<'a> Node<'a> {
    /// As the catalog has it.
    pub(in crate::directory) fn new(entry: &'a NodeEntry, datacenter: &'a Datacenter) -> Self {
        let node = &*entry.node;
        Self {
            address: node.address.to_string().into(),
            create_index: entry.create_index.0,
            datacenter: datacenter.as_str().into(),
            id: id_of(node.id),
            meta: meta_of(&node.meta),
            modify_index: entry.modify_index.0,
            node: node.name.as_str().into(),
            tagged_addresses: addresses_of(node),
        }
    }
}

impl<'a> NodeInfo<'a> {
    /// As the catalog has it.
    pub(in crate::directory) fn new(entry: &'a NodeEntry, _: &'a Datacenter) -> Self {
        let node = &*entry.node;
        let check =
            |check| HealthCheck::new(entry, check, entry.owner_of(check).map(AsRef::as_ref));
        Self {
            address: node.address.to_string().into(),
            checks: filled(entry.checks().map(|entry| check(entry)).collect()),
            id: id_of(node.id),
            meta: meta_of(&node.meta),
            node: node.name.as_str().into(),
            services: filled(entry.instances().map(|it| NodeService::new(it)).collect()),
            tagged_addresses: addresses_of(node),
        }
    }
}

impl<'a> HealthCheck<'a> {
    /// As the catalog has it; `instance` is the one that it belongs to.
    pub(in crate::directory) fn new(
        node: &'a NodeEntry,
        entry: &'a CheckEntry,
        instance: Option<&'a Instance>,
    ) -> Self {
        let service = instance.map(|instance| &*instance.service);
        Self {
            create_index: entry.create_index.0,
            modify_index: entry.modify_index.0,
            ..Self::plain(&entry.check, node.node.name.as_str(), service)
        }
    }

    /// The check itself, without its indexes; `service` is the one that it belongs to.
    pub(super) fn plain(check: &'a Check, node: &'a str, service: Option<&'a Service>) -> Self {
        let definition = check.definition.as_deref();
        let service_id = check.service_id.as_ref().map_or("", |id| id.as_str());
        Self {
            id: check.id.as_str().into(),
            definition: definition.map(Into::into).unwrap_or_default(),
            name: (&*check.name).into(),
            node: node.into(),
            notes: (&*check.notes).into(),
            output: (&*check.output).into(),
            service_id: service_id.into(),
            service_name: service.map_or("", |service| service.name.as_str()).into(),
            service_tags: service.and_then(|service| filled(texts(&service.tags))),
            status: check.status.as_str().into(),
            check_type: check.check_type.as_str().into(),
            ..Self::default()
        }
    }
}

impl<'a> From<&'a CheckDefinition> for HealthCheckDefinition<'a> {
    fn from(definition: &'a CheckDefinition) -> Self {
        let header = definition.header.iter();
        let header = header.map(|(name, values)| {
            let values = values.iter().map(|value| (&**value).into());
            ((&**name).into(), values.collect())
        });
        let header: Vec<_> = header.collect();
        Self {
            deregister_critical_service_after: nanoseconds(
                definition.deregister_critical_service_after,
            ),
            http: (&*definition.http).into(),
            header: (!header.is_empty()).then_some(Map(header)),
            interval: nanoseconds(definition.interval),
            method: (&*definition.method).into(),
            tcp: (&*definition.tcp).into(),
            tls_skip_verify: definition.tls_skip_verify,
            timeout: nanoseconds(definition.timeout),
            ..Self::default()
        }
    }
}

/// What a row says of a node's id; nothing where it has none.
pub(super) fn id_of<'a>(id: Option<NodeId>) -> Text<'a> {
    id.map(|id| id.to_string()).unwrap_or_default().into()
}

/// Metadata; nil where there is none.
pub(super) fn meta_of(meta: &Meta) -> Option<Map<'_, Text<'_>>> {
    let pairs = meta.iter().map(|(key, value)| (key.into(), value.into()));
    let pairs: Vec<_> = pairs.collect();
    (!pairs.is_empty()).then_some(Map(pairs))
}

/// Further addresses of a node; nil where there are none.
pub(super) fn addresses_of(node: &Model) -> Option<Map<'_, Text<'_>>> {
    let pairs = node.tagged_addresses.iter();
    let pairs = pairs.map(|(name, address)| ((&**name).into(), address.to_string().into()));
    let pairs: Vec<_> = pairs.collect();
    (!pairs.is_empty()).then_some(Map(pairs))
}

/// Tags as they were registered.
pub(super) fn texts(tags: &[std::sync::Arc<str>]) -> Vec<Text<'_>> {
    tags.iter().map(|tag| (&**tag).into()).collect()
}

/// Nil instead of an empty list.
pub(super) fn filled<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn nanoseconds(time: Option<Duration>) -> i64 {
    time.map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}
