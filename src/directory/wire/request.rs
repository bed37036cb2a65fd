//! Requests of the methods.

use super::{HealthCheck, Map, NodeService, QueryOptions, QuerySource, Text, record};

record! {
    /// A read that names only the datacenter.
    DatacenterRequest<'a> {
        "Datacenter" datacenter: Text<'a>,
        "NodeMetaFilters" node_meta: Option<Map<'a, Text<'a>>>,
        "Source" source: QuerySource<'a>,
        flatten { options: QueryOptions<'a> }
    }
}

record! {
    /// A read of one service.
    ServiceRequest<'a> {
        "Connect" connect: bool,
        "Datacenter" datacenter: Text<'a>,
        "Ingress" ingress: bool,
        "NodeMetaFilters" node_meta: Option<Map<'a, Text<'a>>>,
        "ServiceAddress" service_address: Text<'a>,
        "ServiceName" service_name: Text<'a>,
        "ServiceTag" service_tag: Text<'a>,
        "ServiceTags" service_tags: Option<Vec<Text<'a>>>,
        "Source" source: QuerySource<'a>,
        "TagFilter" tag_filter: bool,
        flatten { options: QueryOptions<'a> }
    }
}

record! {
    /// A read of one node.
    NodeRequest<'a> {
        "Datacenter" datacenter: Text<'a>,
        "Node" node: Text<'a>,
        flatten { options: QueryOptions<'a> }
    }
}

record! {
    /// A read of checks by their status.
    StateRequest<'a> {
        "Datacenter" datacenter: Text<'a>,
        "NodeMetaFilters" node_meta: Option<Map<'a, Text<'a>>>,
        "Source" source: QuerySource<'a>,
        "State" state: Text<'a>,
        flatten { options: QueryOptions<'a> }
    }
}

record! {
    /// Adds or replaces entries of one node.
    RegisterRequest<'a> {
        "Address" address: Text<'a>,
        "Check" check: Option<HealthCheck<'a>>,
        "Checks" checks: Option<Vec<HealthCheck<'a>>>,
        "CreateIndex" create_index: u64,
        "Datacenter" datacenter: Text<'a>,
        "ID" id: Text<'a>,
        "ModifyIndex" modify_index: u64,
        "Node" node: Text<'a>,
        "NodeMeta" node_meta: Option<Map<'a, Text<'a>>>,
        "Service" service: Option<NodeService<'a>>,
        "SkipNodeUpdate" skip_node_update: bool,
        "TaggedAddresses" tagged_addresses: Option<Map<'a, Text<'a>>>,
        "Token" token: Text<'a>,
    }
}

record! {
    /// Removes a node, a service or a check.
    DeregisterRequest<'a> {
        "CheckID" check_id: Text<'a>,
        "Datacenter" datacenter: Text<'a>,
        "Node" node: Text<'a>,
        "ServiceID" service_id: Text<'a>,
        "Token" token: Text<'a>,
    }
}
