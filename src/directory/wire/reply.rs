//! Results of reads, as those who call servers read them.

use super::{
    CheckServiceNode, HealthCheck, Map, Node, NodeInfo, NodeServiceList, NodeServices, QueryMeta,
    ServiceNode, Text, record,
};

record! {
    /// Nodes.
    NodesReply<'a> {
        "Nodes" nodes: Option<Vec<Node<'a>>>,
        flatten { meta: QueryMeta<'a> }
    }
}

record! {
    /// Names of services, with their tags.
    ServicesReply<'a> {
        "Services" services: Option<Map<'a, Vec<Text<'a>>>>,
        flatten { meta: QueryMeta<'a> }
    }
}

record! {
    /// Instances of a service.
    ServiceNodesReply<'a> {
        "ServiceNodes" service_nodes: Option<Vec<ServiceNode<'a>>>,
        flatten { meta: QueryMeta<'a> }
    }
}

record! {
    /// A node and its services by id.
    NodeServicesReply<'a> {
        "NodeServices" node_services: Option<NodeServices<'a>>,
        flatten { meta: QueryMeta<'a> }
    }
}

record! {
    /// A node and a list of its services.
    NodeServiceListReply<'a> {
        "NodeServices" node_services: NodeServiceList<'a>,
        flatten { meta: QueryMeta<'a> }
    }
}

record! {
    /// Checks.
    HealthChecksReply<'a> {
        "HealthChecks" health_checks: Option<Vec<HealthCheck<'a>>>,
        flatten { meta: QueryMeta<'a> }
    }
}

record! {
    /// Instances with their nodes and checks.
    CheckServiceNodesReply<'a> {
        "Nodes" nodes: Option<Vec<CheckServiceNode<'a>>>,
        flatten { meta: QueryMeta<'a> }
    }
}

record! {
    /// Nodes with everything on them.
    NodeDumpReply<'a> {
        "Dump" dump: Option<Vec<NodeInfo<'a>>>,
        flatten { meta: QueryMeta<'a> }
    }
}
