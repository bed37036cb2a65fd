//! Services on nodes, and rows that join a service with its node.

use super::node::{addresses_of, filled, id_of, meta_of, texts};
use super::{HealthCheck, Map, Node, Raw, Text, record};
use crate::catalog::{Instance, NodeEntry};
use crate::types::{Datacenter, Service};

record! {
    /// A service on a node.
    NodeService<'a> {
        "Address" address: Text<'a>,
        "Connect" connect: ServiceConnect<'a>,
        "CreateIndex" create_index: u64,
        "EnableTagOverride" enable_tag_override: bool,
        "ID" id: Text<'a>,
        "Kind" kind: Text<'a>,
        "LocallyRegisteredAsSidecar" locally_registered_as_sidecar: bool,
        "Meta" meta: Option<Map<'a, Text<'a>>>,
        "ModifyIndex" modify_index: u64,
        "Port" port: i64,
        "Proxy" proxy: Proxy<'a>,
        "Service" service: Text<'a>,
        "TaggedAddresses" tagged_addresses: Option<Map<'a, ServiceAddress<'a>>>,
        "Tags" tags: Option<Vec<Text<'a>>>,
        "Weights" weights: Option<Weights>,
    }
}

record! {
    /// One of a service's further addresses.
    ServiceAddress<'a> {
        "Address" address: Text<'a>,
        "Port" port: i64,
    }
}

record! {
    /// Shares of the answers.
    Weights {
        "Passing" passing: i64,
        "Warning" warning: i64,
    }
}

record! {
    /// Whether a service is in a mesh by itself.
    ServiceConnect<'a> {
        "Native" native: bool,
        "SidecarService" sidecar_service: Raw<'a>,
    }
}

record! {
    /// What a proxy of a mesh stands for; carried as it is.
    Proxy<'a> {
        "Config" config: Raw<'a>,
        "DestinationServiceID" destination_service_id: Text<'a>,
        "DestinationServiceName" destination_service_name: Text<'a>,
        "Expose" expose: Expose<'a>,
        "LocalServiceAddress" local_service_address: Text<'a>,
        "LocalServicePort" local_service_port: i64,
        "MeshGateway" mesh_gateway: MeshGateway<'a>,
        "Upstreams" upstreams: Raw<'a>,
    }
}

record! {
    /// Paths that a proxy lets through.
    Expose<'a> {
        "Checks" checks: bool,
        "Paths" paths: Raw<'a>,
    }
}

record! {
    /// How a proxy reaches other datacenters.
    MeshGateway<'a> {
        "Mode" mode: Text<'a>,
    }
}

record! {
    /// A service joined with its node.
    ServiceNode<'a> {
        "Address" address: Text<'a>,
        "CreateIndex" create_index: u64,
        "Datacenter" datacenter: Text<'a>,
        "ID" id: Text<'a>,
        "ModifyIndex" modify_index: u64,
        "Node" node: Text<'a>,
        "NodeMeta" node_meta: Option<Map<'a, Text<'a>>>,
        "ServiceAddress" service_address: Text<'a>,
        "ServiceConnect" service_connect: ServiceConnect<'a>,
        "ServiceEnableTagOverride" service_enable_tag_override: bool,
        "ServiceID" service_id: Text<'a>,
        "ServiceKind" service_kind: Text<'a>,
        "ServiceMeta" service_meta: Option<Map<'a, Text<'a>>>,
        "ServiceName" service_name: Text<'a>,
        "ServicePort" service_port: i64,
        "ServiceProxy" service_proxy: Proxy<'a>,
        "ServiceTaggedAddresses" service_tagged_addresses: Option<Map<'a, ServiceAddress<'a>>>,
        "ServiceTags" service_tags: Option<Vec<Text<'a>>>,
        "ServiceWeights" service_weights: Weights,
        "TaggedAddresses" tagged_addresses: Option<Map<'a, Text<'a>>>,
    }
}

record! {
    /// A service with its node and the checks that decide about its health.
    CheckServiceNode<'a> {
        "Checks" checks: Option<Vec<HealthCheck<'a>>>,
        "Node" node: Option<Node<'a>>,
        "Service" service: Option<NodeService<'a>>,
    }
}

impl<'a> NodeService<'a> {
    /// As the catalog has it. Agents compare it with what they have told: they leave tags and
    /// metadata nil where there are none, and write an empty map for no further addresses. Tags that
    /// others may change they take over from here, as a list that is never nil.
    pub(in crate::directory) fn new(instance: &'a Instance) -> Self {
        Self {
            create_index: instance.create_index.0,
            modify_index: instance.modify_index.0,
            ..Self::plain(&instance.service)
        }
    }

    /// The service itself, without its indexes.
    pub(super) fn plain(service: &'a Service) -> Self {
        Self {
            address: service.address.to_string().into(),
            enable_tag_override: service.enable_tag_override,
            id: service.id.as_str().into(),
            meta: meta_of(&service.meta),
            port: service.port.into(),
            service: service.name.as_str().into(),
            tagged_addresses: Some(addresses(service)),
            tags: Some(texts(&service.tags))
                .filter(|tags| service.enable_tag_override || !tags.is_empty()),
            weights: Some(service.weights.into()),
            ..Self::default()
        }
    }

    /// Whether it says anything of a mesh, which is not kept.
    pub(in crate::directory) fn is_in_mesh(&self) -> bool {
        let ServiceConnect {
            native,
            sidecar_service,
        } = &self.connect;
        !self.kind.is_empty()
            || *native
            || !sidecar_service.is_empty()
            || !self.proxy.destination_service_name.is_empty()
            || !self.proxy.upstreams.is_empty()
    }
}

impl<'a> ServiceNode<'a> {
    /// As the catalog has it.
    pub(in crate::directory) fn new(
        entry: &'a NodeEntry,
        instance: &'a Instance,
        datacenter: &'a Datacenter,
    ) -> Self {
        let (node, service) = (&*entry.node, &*instance.service);
        Self {
            address: node.address.to_string().into(),
            create_index: instance.create_index.0,
            datacenter: datacenter.as_str().into(),
            id: id_of(node.id),
            modify_index: instance.modify_index.0,
            node: node.name.as_str().into(),
            node_meta: meta_of(&node.meta),
            service_address: service.address.to_string().into(),
            service_enable_tag_override: service.enable_tag_override,
            service_id: service.id.as_str().into(),
            // Empty where there are none, unlike all other metadata: the reference copies these.
            service_meta: Some(meta_of(&service.meta).unwrap_or_else(|| Map(Vec::new()))),
            service_name: service.name.as_str().into(),
            service_port: service.port.into(),
            service_tagged_addresses: Some(addresses(service)).filter(|all| !all.0.is_empty()),
            service_tags: Some(texts(&service.tags)),
            service_weights: service.weights.into(),
            tagged_addresses: addresses_of(node),
            ..Self::default()
        }
    }
}

impl<'a> CheckServiceNode<'a> {
    /// As the catalog has it: first the checks of the node, then those of the instance.
    pub(in crate::directory) fn new(
        entry: &'a NodeEntry,
        instance: &'a Instance,
        datacenter: &'a Datacenter,
    ) -> Self {
        let of_node = entry.node_checks().map(|check| (check, None));
        let own = instance.checks.iter().map(|check| (check, Some(instance)));
        let checks = of_node.chain(own);
        let checks = checks.map(|(check, owner)| HealthCheck::new(entry, check, owner));
        Self {
            checks: filled(checks.collect()),
            node: Some(Node::new(entry, datacenter)),
            service: Some(NodeService::new(instance)),
        }
    }
}

impl From<crate::types::Weights> for Weights {
    fn from(weights: crate::types::Weights) -> Self {
        Self {
            passing: weights.passing.into(),
            warning: weights.warning.into(),
        }
    }
}

fn addresses(service: &Service) -> Map<'_, ServiceAddress<'_>> {
    let pairs = service.tagged_addresses.iter().flat_map(|all| all.iter());
    let pairs = pairs.map(|(name, at)| {
        let address = ServiceAddress {
            address: at.address.to_string().into(),
            port: at.port.into(),
        };
        ((&**name).into(), address)
    });
    Map(pairs.collect())
}

record! {
    /// A node with its services by id.
    NodeServices<'a> {
        "Node" node: Option<Node<'a>>,
        "Services" services: Option<Map<'a, NodeService<'a>>>,
    }
}

record! {
    /// A node and its services.
    NodeServiceList<'a> {
        "Node" node: Option<Node<'a>>,
        "Services" services: Option<Vec<NodeService<'a>>>,
    }
}

record! {
    /// A service of which only the name is told.
    Named<'a> {
        "Name" name: Text<'a>,
    }
}
