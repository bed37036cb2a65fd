//! How nodes, services and checks look on the API: views that borrow from a catalog state.
//!
//! Clients tell `null`, `[]`, `{}` and a missing key apart; each view says which it uses.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::catalog::{CheckEntry, Instance, NodeEntry};
use crate::types::{
    Address, CheckDefinition, Datacenter, Meta, Node, NodeId, TaggedAddresses, Weights,
};

use super::duration;

/// Writes a list straight from an iterator, without collecting it first.
pub(crate) struct Sequence<F>(pub(crate) F);

impl<F, I> Serialize for Sequence<F>
where
    F: Fn() -> I,
    I: Iterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// Writes an object straight from an iterator of its keys and values.
pub(crate) struct Mapping<F>(pub(crate) F);

impl<F, I, K, V> Serialize for Mapping<F>
where
    F: Fn() -> I,
    I: Iterator<Item = (K, V)>,
    K: Serialize,
    V: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map((self.0)())
    }
}

/// A node, as in `catalog/nodes`: without tagged addresses or metadata those are null.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NodeShape<'a> {
    #[serde(rename = "ID")]
    id: IdText,
    node: &'a str,
    address: AddressText<'a>,
    datacenter: &'a str,
    tagged_addresses: Option<NodeAddresses<'a>>,
    meta: Option<Pairs<'a>>,
    create_index: u64,
    modify_index: u64,
}

impl<'a> NodeShape<'a> {
    /// Shows `entry`.
    pub(crate) fn new(entry: &'a NodeEntry, datacenter: &'a Datacenter) -> Self {
        let node = &*entry.node;
        Self {
            id: IdText(node.id),
            node: node.name.as_str(),
            address: AddressText(&node.address),
            datacenter: datacenter.as_str(),
            tagged_addresses: NodeAddresses::of(node),
            meta: Pairs::filled(&node.meta),
            create_index: entry.create_index.0,
            modify_index: entry.modify_index.0,
        }
    }
}

/// A row of `catalog/service`: service metadata is `{}` where there is none, tagged addresses of
/// the service are left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RowShape<'a> {
    #[serde(rename = "ID")]
    id: IdText,
    node: &'a str,
    address: AddressText<'a>,
    datacenter: &'a str,
    tagged_addresses: Option<NodeAddresses<'a>>,
    node_meta: Option<Pairs<'a>>,
    service_kind: &'static str,
    #[serde(rename = "ServiceID")]
    service_id: &'a str,
    service_name: &'a str,
    service_tags: &'a [std::sync::Arc<str>],
    service_address: AddressText<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tagged_addresses: Option<ServiceAddresses<'a>>,
    service_weights: WeightsShape,
    service_meta: Pairs<'a>,
    service_port: u16,
    service_enable_tag_override: bool,
    service_proxy: ProxyShape,
    service_connect: Empty,
    create_index: u64,
    modify_index: u64,
}

impl<'a> RowShape<'a> {
    /// Shows `instance` on its node.
    pub(crate) fn new(
        entry: &'a NodeEntry,
        instance: &'a Instance,
        datacenter: &'a Datacenter,
    ) -> Self {
        let (node, service) = (&*entry.node, &*instance.service);
        Self {
            id: IdText(node.id),
            node: node.name.as_str(),
            address: AddressText(&node.address),
            datacenter: datacenter.as_str(),
            tagged_addresses: NodeAddresses::of(node),
            node_meta: Pairs::filled(&node.meta),
            service_kind: "",
            service_id: service.id.as_str(),
            service_name: service.name.as_str(),
            service_tags: &service.tags,
            service_address: AddressText(&service.address),
            service_tagged_addresses: ServiceAddresses::of(service.tagged_addresses.as_deref()),
            service_weights: service.weights.into(),
            service_meta: Pairs(&service.meta),
            service_port: service.port,
            service_enable_tag_override: service.enable_tag_override,
            service_proxy: ProxyShape::default(),
            service_connect: Empty {},
            create_index: instance.create_index.0,
            modify_index: instance.modify_index.0,
        }
    }
}

/// A service, as in `health/service` and `catalog/node`: without metadata that is null.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ServiceShape<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    service: &'a str,
    tags: &'a [std::sync::Arc<str>],
    address: AddressText<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tagged_addresses: Option<ServiceAddresses<'a>>,
    meta: Option<Pairs<'a>>,
    port: u16,
    weights: WeightsShape,
    enable_tag_override: bool,
    proxy: ProxyShape,
    connect: Empty,
    create_index: u64,
    modify_index: u64,
}

impl<'a> From<&'a Instance> for ServiceShape<'a> {
    fn from(instance: &'a Instance) -> Self {
        let service = &*instance.service;
        Self {
            id: service.id.as_str(),
            service: service.name.as_str(),
            tags: &service.tags,
            address: AddressText(&service.address),
            tagged_addresses: ServiceAddresses::of(service.tagged_addresses.as_deref()),
            meta: Pairs::filled(&service.meta),
            port: service.port,
            weights: service.weights.into(),
            enable_tag_override: service.enable_tag_override,
            proxy: ProxyShape::default(),
            connect: Empty {},
            create_index: instance.create_index.0,
            modify_index: instance.modify_index.0,
        }
    }
}

/// A check of the catalog, with name and tags of the instance it belongs to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CheckShape<'a> {
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
    service_tags: &'a [std::sync::Arc<str>],
    #[serde(rename = "Type")]
    check_type: &'static str,
    definition: DefinitionShape<'a>,
    create_index: u64,
    modify_index: u64,
}

impl<'a> CheckShape<'a> {
    /// Shows `entry`, a check of `instance` or of the node itself.
    pub(crate) fn new(
        node: &'a NodeEntry,
        entry: &'a CheckEntry,
        instance: Option<&'a Instance>,
    ) -> Self {
        let check = &entry.check;
        let service = instance.map(|instance| &*instance.service);
        Self {
            node: node.node.name.as_str(),
            check_id: check.id.as_str(),
            name: &check.name,
            status: check.status.as_str(),
            notes: &check.notes,
            output: &check.output,
            service_id: check.service_id.as_ref().map_or("", |id| id.as_str()),
            service_name: service.map_or("", |service| service.name.as_str()),
            service_tags: service.map_or(&[], |service| &service.tags),
            check_type: check.check_type.as_str(),
            definition: check
                .definition
                .as_deref()
                .map(Into::into)
                .unwrap_or_default(),
            create_index: entry.create_index.0,
            modify_index: entry.modify_index.0,
        }
    }
}

/// What the catalog API was told about a check; what was not said is left out.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DefinitionShape<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deregister_critical_service_after: Option<String>,
    #[serde(rename = "HTTP", skip_serializing_if = "str::is_empty")]
    http: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<Headers<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    method: &'a str,
    #[serde(rename = "TLSSkipVerify", skip_serializing_if = "std::ops::Not::not")]
    tls_skip_verify: bool,
    #[serde(rename = "TCP", skip_serializing_if = "str::is_empty")]
    tcp: &'a str,
}

impl<'a> From<&'a CheckDefinition> for DefinitionShape<'a> {
    fn from(definition: &'a CheckDefinition) -> Self {
        let after = definition.deregister_critical_service_after;
        Self {
            interval: definition.interval.map(duration::format),
            timeout: definition.timeout.map(duration::format),
            deregister_critical_service_after: after.map(duration::format),
            http: &definition.http,
            header: (!definition.header.is_empty()).then_some(Headers(&definition.header)),
            method: &definition.method,
            tls_skip_verify: definition.tls_skip_verify,
            tcp: &definition.tcp,
        }
    }
}

/// DNS weights.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct WeightsShape {
    passing: u16,
    warning: u16,
}

impl From<Weights> for WeightsShape {
    fn from(weights: Weights) -> Self {
        Self {
            passing: weights.passing,
            warning: weights.warning,
        }
    }
}

/// A constant that clients of the mesh expect in every service.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ProxyShape {
    mesh_gateway: Empty,
    expose: Empty,
}

/// `{}`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Empty {}

/// An address as it was registered; empty where there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AddressText<'a>(pub(crate) &'a Address);

impl Serialize for AddressText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

/// A node id; empty where there is none.
#[derive(Clone, Copy, Debug)]
struct IdText(Option<NodeId>);

impl Serialize for IdText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(id) => serializer.collect_str(id),
            None => serializer.serialize_str(""),
        }
    }
}

/// Metadata as an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pairs<'a>(pub(crate) &'a Meta);

impl<'a> Pairs<'a> {
    /// For places where no metadata is null.
    pub(crate) fn filled(meta: &'a Meta) -> Option<Self> {
        (!meta.is_empty()).then_some(Self(meta))
    }
}

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

#[derive(Clone, Copy, Debug)]
struct NodeAddresses<'a>(&'a Node);

impl<'a> NodeAddresses<'a> {
    fn of(node: &'a Node) -> Option<Self> {
        (!node.tagged_addresses.is_empty()).then_some(Self(node))
    }
}

impl Serialize for NodeAddresses<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let addresses = self.0.tagged_addresses.iter();
        serializer.collect_map(addresses.map(|(label, address)| (label, AddressText(address))))
    }
}

/// Further addresses of a service, each with its port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServiceAddresses<'a>(&'a TaggedAddresses);

impl<'a> ServiceAddresses<'a> {
    /// For places where no addresses are left out.
    pub(crate) fn of(addresses: Option<&'a TaggedAddresses>) -> Option<Self> {
        addresses.filter(|map| !map.is_empty()).map(Self)
    }
}

impl Serialize for ServiceAddresses<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct WithPort<'a> {
            address: AddressText<'a>,
            port: u16,
        }
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (label, tagged) in self.0 {
            let shape = WithPort {
                address: AddressText(&tagged.address),
                port: tagged.port,
            };
            map.serialize_entry(label, &shape)?;
        }
        map.end()
    }
}

#[derive(Clone, Copy, Debug)]
struct Headers<'a>(&'a [(Box<str>, Vec<Box<str>>)]);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, values)| (name, values)))
    }
}
