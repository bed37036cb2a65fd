//! `Catalog`: nodes and services as registered.

use super::select::{self, Asked};
use super::{Methods, decode, encode, filter, refused, write_rows};
use crate::catalog::{NodeEntry, WatchKey};
use crate::directory::wire::{
    DatacenterRequest, Encode, Map, Named, Node, NodeRequest, NodeService, NodeServiceList,
    NodeServices, ServiceNode, ServiceRequest, Text,
};
use crate::directory::{Answer, ReadError, Selection, find_node};
use crate::filter::{CatalogRow, NodeRow, RowKind, ServiceRow};
use crate::rpc::{Answered, Call, Fault};
use crate::types::RequestContext;

/// `Catalog.ListDatacenters`: their names, the nearest first.
///
/// # Errors
/// A client agent knows no server.
pub(super) fn list_datacenters(methods: &Methods) -> Answered {
    let wan = methods.membership.wan.as_ref();
    let names = methods.directory.datacenters(wan);
    let names = names.map_err(|error| refused(ReadError::from(error)))?;
    let names: Vec<Text<'_>> = names.iter().map(|name| name.as_str().into()).collect();
    Ok(encode(&names))
}

/// `Catalog.ListNodes`: all nodes; blocks.
pub(super) async fn list_nodes(methods: &Methods, call: Call<'_>) -> Answered {
    let request: DatacenterRequest<'_> = decode(call)?;
    let context = methods.context(&request.datacenter, &request.options, call)?;
    let options = &request.options;
    let selection = Selection {
        filter: filter(options, RowKind::Node)?,
        ..select::nodes(request.node_meta.as_ref(), &request.source)
    };
    let answer = methods.read(&context, &[WatchKey::Nodes]).await?;
    let rows = select::weigh(&selection, answer.state.nodes().count());
    let datacenter = methods.directory.datacenter().clone();
    methods
        .write(answer, rows, "Nodes", move |state, writer| {
            let nodes = state.nodes().map(AsRef::as_ref);
            let nodes = nodes.filter(|entry| {
                let (node, datacenter) = (&*entry.node, &datacenter);
                selection.takes_node(node) && selection.takes_row(&NodeRow { node, datacenter })
            });
            let nodes = selection.in_order(state, None, nodes, |entry| entry);
            write_rows(nodes, writer, |entry| Node::new(entry, &datacenter));
        })
        .await
}

/// `Catalog.ListServices`: each service with its distinct tags; blocks.
pub(super) async fn list_services(methods: &Methods, call: Call<'_>) -> Answered {
    let request: DatacenterRequest<'_> = decode(call)?;
    let context = methods.context(&request.datacenter, &request.options, call)?;
    let selection = select::nodes(request.node_meta.as_ref(), &request.source);
    let keys = selection.keys(WatchKey::Services);
    let answer = methods.read(&context, &keys).await?;
    methods
        .write(answer, usize::MAX, "Services", move |state, writer| {
            if selection.looks_at_nodes() {
                let services = selection.tags_on_nodes(state).into_iter();
                let pairs = services.map(|(name, tags)| (name.into(), texts(tags)));
                return Map(pairs.collect()).write(writer);
            }
            let services = state.services();
            let pairs = services.map(|entry| {
                let tags = entry.tags();
                let tags = tags.iter().map(|tag| Text::Owned(tag.to_string()));
                (entry.name.as_str().into(), tags.collect::<Vec<_>>())
            });
            Map(pairs.collect()).write(writer);
        })
        .await
}

fn texts<'a>(tags: impl IntoIterator<Item = &'a str>) -> Vec<Text<'a>> {
    tags.into_iter().map(Text::from).collect()
}

/// `Catalog.ServiceList`: the names of all services; blocks.
pub(super) async fn service_list(methods: &Methods, call: Call<'_>) -> Answered {
    let request: DatacenterRequest<'_> = decode(call)?;
    let context = methods.context(&request.datacenter, &request.options, call)?;
    let keys = [WatchKey::Services];
    let answer = methods.read(&context, &keys).await?;
    let rows = answer.state.services().count();
    methods
        .write(answer, rows, "Services", |state, writer| {
            let names = state.services().map(|entry| entry.name.as_str());
            write_rows(names, writer, |name| Named { name: name.into() });
        })
        .await
}

/// `Catalog.ServiceNodes`: the instances of a service, or all with an address; blocks.
///
/// # Errors
/// Neither a service nor an address is named.
pub(super) async fn service_nodes(methods: &Methods, call: Call<'_>) -> Answered {
    let request: ServiceRequest<'_> = decode(call)?;
    let context = methods.context(&request.datacenter, &request.options, call)?;
    let options = &request.options;
    if request.service_name.is_empty() && request.service_address.is_empty() {
        return Err(refused("Must provide service name"));
    }
    let selection = Selection {
        filter: filter(options, RowKind::Catalog)?,
        ..select::instances(&request)
    };
    let asked = Asked::of(&request);
    let mut keys = selection.keys(asked.key(WatchKey::ServiceInstances));
    if matches!(asked, Asked::Address(_)) {
        keys.push(WatchKey::Nodes);
    }
    let answer = methods.read(&context, &keys).await?;
    let rows = select::weigh(&selection, asked.rows(&answer.state));
    let datacenter = methods.directory.datacenter().clone();
    methods
        .write(answer, rows, "ServiceNodes", move |state, writer| {
            let rows = asked.instances(state).filter(|(node, instance)| {
                selection.takes_instance(&node.node, instance)
                    && selection.takes_row(&CatalogRow {
                        node: NodeRow {
                            node: &node.node,
                            datacenter: &datacenter,
                        },
                        service: ServiceRow(&instance.service),
                    })
            });
            let rows = selection.in_order(state, None, rows, |(node, _)| node);
            write_rows(rows, writer, |(node, instance)| {
                ServiceNode::new(node, instance, &datacenter)
            });
        })
        .await
}

/// `Catalog.NodeServices`: the node of this name or id with its services by id, or nil; blocks.
///
/// # Errors
/// No node is named.
pub(super) async fn node_services(methods: &Methods, call: Call<'_>) -> Answered {
    let request: NodeRequest<'_> = decode(call)?;
    let context = methods.context(&request.datacenter, &request.options, call)?;
    let (answer, selection, rows) = services_of_node(methods, &context, &request).await?;
    let datacenter = methods.directory.datacenter().clone();
    let asked = request.node.into_owned();
    methods
        .write(answer, rows, "NodeServices", move |state, writer| {
            let found = find_node(state, &asked).map(|entry| NodeServices {
                node: Some(Node::new(entry, &datacenter)),
                services: Some(Map(services_on(entry, &selection)
                    .map(|service| (service.id.clone(), service))
                    .collect())),
            });
            found.write(writer);
        })
        .await
}

/// `Catalog.NodeServiceList`: the node of this name or id and a list of its services, or nils;
/// blocks.
///
/// # Errors
/// No node is named.
pub(super) async fn node_service_list(methods: &Methods, call: Call<'_>) -> Answered {
    let request: NodeRequest<'_> = decode(call)?;
    let context = methods.context(&request.datacenter, &request.options, call)?;
    let (answer, selection, rows) = services_of_node(methods, &context, &request).await?;
    let datacenter = methods.directory.datacenter().clone();
    let asked = request.node.into_owned();
    methods
        .write(answer, rows, "NodeServices", move |state, writer| {
            let entry = find_node(state, &asked);
            let services: Vec<_> = entry
                .into_iter()
                .flat_map(|entry| services_on(entry, &selection))
                .collect();
            let list = NodeServiceList {
                node: entry.map(|entry| Node::new(entry, &datacenter)),
                services: (!services.is_empty()).then_some(services),
            };
            list.write(writer);
        })
        .await
}

/// The state in which to look at the services of a node, which of them to show, and how many there
/// are.
async fn services_of_node(
    methods: &Methods,
    context: &RequestContext,
    request: &NodeRequest<'_>,
) -> Result<(Answer, Selection, usize), Fault> {
    let options = &request.options;
    let selection = Selection {
        filter: filter(options, RowKind::Service)?,
        ..Selection::default()
    };
    if request.node.is_empty() {
        return Err(refused("Must provide node"));
    }
    let state = methods.directory.reader().state();
    let found = find_node(&state, &request.node).map(|entry| entry.node.name.clone());
    let name = found.or_else(|| request.node.parse().ok());
    // All nodes where there can be none of the name.
    let key = name.map_or(WatchKey::Nodes, WatchKey::NodeServices);
    let answer = methods.read(context, &[key]).await?;
    let found = find_node(&answer.state, &request.node);
    let rows = found.map_or(0, |entry| entry.instances().count());
    let rows = select::weigh(&selection, rows);
    Ok((answer, selection, rows))
}

/// The services on a node that are to be shown.
fn services_on<'a>(
    entry: &'a NodeEntry,
    selection: &Selection,
) -> impl Iterator<Item = NodeService<'a>> {
    let instances = entry.instances();
    let shown = instances.filter(|it| selection.takes_row(&ServiceRow(&it.service)));
    shown.map(|instance| NodeService::new(instance))
}

/// `Catalog.GatewayServices`: there are no gateways, so that there are none behind them.
pub(super) async fn gateway_services(methods: &Methods, call: Call<'_>) -> Answered {
    let request: ServiceRequest<'_> = decode(call)?;
    let context = methods.context(&request.datacenter, &request.options, call)?;
    let keys = [WatchKey::Services];
    let answer = methods.read(&context, &keys).await?;
    let none = |_: &_, writer: &mut crate::msgpack::Writer<'_>| writer.nil();
    methods.write(answer, 0, "Services", none).await
}
