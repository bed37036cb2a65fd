//! `Internal`: events, keys, and what pages for people show.

use std::collections::BTreeMap;

use super::{Methods, decode, encode, filter, refused, write_rows};
use crate::catalog::{Instance, NodeEntry, State, WatchKey};
use crate::directory::wire::{
    CheckServiceNode, DatacenterRequest, EventFireRequest, KeyringReply, KeyringRequest,
    KeyringResponse, Map, NodeInfo, NodeRequest, QueryMeta, ServiceDumpRequest, Text,
};
use crate::directory::{KeyAsking, PoolKeys, event};
use crate::filter::{Filter, HealthRow, NodeRow, RowKind};
use crate::gossip::keyring::Key;
use crate::gossip::serf::KeyOperation;
use crate::msgpack::Writer;
use crate::rpc::{Answered, Call, Fault};
use crate::types::{Datacenter, NodeName};

/// Characters of an operation's name that an error shows.
const SHOWN_MAX: usize = 64;

/// `Internal.EventFire`: tells all agents of the datacenter an event, as the agent that was asked
/// has written it.
///
/// # Errors
/// It has no name, or is too long; nobody was told.
pub(super) async fn event_fire(methods: &Methods, call: Call<'_>) -> Answered {
    let request: EventFireRequest<'_> = decode(call)?;
    methods.context(&request.datacenter, &request.options, call)?;
    let lan = &methods.membership.lan;
    let fired = event::fire(lan, &request.name, request.payload).await;
    fired.map_err(refused)?;
    Ok(encode(&QueryMeta {
        known_leader: true,
        ..QueryMeta::default()
    }))
}

/// `Internal.NodeInfo`: one node with its services and checks, nothing if there is none; blocks. A
/// filter is one on nodes.
pub(super) async fn node_info(methods: &Methods, call: Call<'_>) -> Answered {
    let request: NodeRequest<'_> = decode(call)?;
    // A name that no node can have waits for whatever comes.
    let name = request.node.parse::<NodeName>().ok();
    let keys = match &name {
        Some(name) => vec![
            WatchKey::NodeServices(name.clone()),
            WatchKey::NodeChecks(name.clone()),
        ],
        None => vec![WatchKey::Nodes],
    };
    let options = &request.options;
    let filter = filter(options, RowKind::Node)?;
    let context = methods.context(&request.datacenter, options, call)?;
    let answer = methods.read(&context, &keys).await?;
    let datacenter = methods.directory.datacenter().clone();
    methods
        .write(answer, 1, "Dump", move |state, writer| {
            let entry = name.and_then(|name| state.node(&name));
            let nodes = entry.into_iter().map(AsRef::as_ref);
            write_nodes(nodes, &datacenter, filter.as_ref(), writer);
        })
        .await
}

/// `Internal.NodeDump`: all nodes with their services and checks, by name; blocks. A filter is one on
/// nodes.
pub(super) async fn node_dump(methods: &Methods, call: Call<'_>) -> Answered {
    let request: DatacenterRequest<'_> = decode(call)?;
    let options = &request.options;
    let filter = filter(options, RowKind::Node)?;
    let context = methods.context(&request.datacenter, options, call)?;
    let answer = methods.read(&context, &EVERYTHING).await?;
    let datacenter = methods.directory.datacenter().clone();
    let count = answer.state.nodes().count();
    methods
        .write(answer, count, "Dump", move |state, writer| {
            let nodes = state.nodes().map(AsRef::as_ref);
            write_nodes(nodes, &datacenter, filter.as_ref(), writer);
        })
        .await
}

/// `Internal.ServiceDump`: all instances with their nodes and checks; blocks. There are no services
/// of other kinds than the usual one, so that a read of these has no rows.
pub(super) async fn service_dump(methods: &Methods, call: Call<'_>) -> Answered {
    let request: ServiceDumpRequest<'_> = decode(call)?;
    let options = &request.options;
    let filter = filter(options, RowKind::Health)?;
    let context = methods.context(&request.datacenter, options, call)?;
    let answer = methods.read(&context, &EVERYTHING).await?;
    let datacenter = methods.directory.datacenter().clone();
    let nowhere = request.use_kind && !request.kind.is_empty();
    let count = answer.state.nodes().count();
    methods
        .write(answer, count, "Nodes", move |state, writer| {
            let rows = instances(state).filter(|_| !nowhere);
            write_instances(rows, &datacenter, filter.as_ref(), writer);
        })
        .await
}

/// What dumps of everything show, and so wake for.
const EVERYTHING: [WatchKey; 3] = [WatchKey::Nodes, WatchKey::Services, WatchKey::Checks];

/// Instances with their nodes, by node and id.
fn instances(state: &State) -> impl Iterator<Item = (&NodeEntry, &Instance)> {
    state.nodes().flat_map(|entry| {
        let instances = entry.instances();
        instances.map(|instance| (entry.as_ref(), instance.as_ref()))
    })
}

fn write_nodes<'a>(
    nodes: impl Iterator<Item = &'a NodeEntry>,
    datacenter: &Datacenter,
    filter: Option<&Filter>,
    writer: &mut Writer<'_>,
) {
    let is_shown = |entry: &&NodeEntry| {
        let node = &*entry.node;
        filter.is_none_or(|filter| filter.takes(&NodeRow { node, datacenter }))
    };
    let shown = nodes.filter(is_shown);
    write_rows(shown, writer, |entry| NodeInfo::new(entry, datacenter));
}

fn write_instances<'a>(
    rows: impl Iterator<Item = (&'a NodeEntry, &'a Instance)>,
    datacenter: &Datacenter,
    filter: Option<&Filter>,
    writer: &mut Writer<'_>,
) {
    let is_shown = |(node, instance): &(&NodeEntry, &Instance)| {
        let row = HealthRow {
            node,
            instance,
            datacenter,
        };
        filter.is_none_or(|filter| filter.takes(&row))
    };
    write_rows(rows.filter(is_shown), writer, |(node, instance)| {
        CheckServiceNode::new(node, instance, datacenter)
    });
}

/// `Internal.KeyringOperation`: has the members of both pools do something with their keys (`list`,
/// `install`, `use`, `remove`), and gives their answers, of the WAN pool first. Only the LAN pool is
/// asked by a request that another server has passed on, or a list that wants no more. The answer
/// says of each pool what did not succeed; the request fails only where nobody was asked.
///
/// # Errors
/// An unknown operation, no key, too large a relay factor, or a change of the LAN pool only.
pub(super) async fn keyring_operation(methods: &Methods, call: Call<'_>) -> Answered {
    let request: KeyringRequest<'_> = decode(call)?;
    let operation = operation(&request)?;
    if request.local_only && operation != KeyOperation::List {
        return Err(refused(
            "argument LocalOnly can only be used for list operations",
        ));
    }
    let lan_only = request.local_only || request.forwarded;
    let asking = KeyAsking::new(request.relay_factor, lan_only).map_err(refused)?;
    let (directory, membership) = (&methods.directory, &methods.membership);
    let answers = directory.ask_keys(membership, &operation, asking).await;
    Ok(encode(&KeyringReply {
        responses: answers.iter().map(response).collect(),
        meta: QueryMeta::default(),
    }))
}

/// What members are to do with their keys.
fn operation(request: &KeyringRequest<'_>) -> Result<KeyOperation, Fault> {
    let key = || match request.key.parse::<Key>() {
        Ok(key) => Ok(key.octets().to_owned()),
        Err(error) => Err(refused(error)),
    };
    match &*request.operation {
        "list" => Ok(KeyOperation::List),
        "install" => Ok(KeyOperation::Install(key()?)),
        "use" => Ok(KeyOperation::Use(key()?)),
        "remove" => Ok(KeyOperation::Remove(key()?)),
        other => {
            let shown: String = other.chars().take(SHOWN_MAX).collect();
            Err(refused(format!("unknown keyring operation {shown:?}")))
        }
    }
}

fn response(answer: &PoolKeys) -> KeyringResponse<'_> {
    let messages = answer.messages.iter();
    let messages = messages.map(|(name, text)| (name.as_str().into(), text.as_str().into()));
    KeyringResponse {
        datacenter: Text::from(answer.datacenter.as_str()),
        error: Text::from(answer.error.as_deref().unwrap_or_default()),
        keys: Some(counts(&answer.keys)),
        messages: Some(Map(messages.collect())),
        members: number(answer.members),
        primary_keys: Some(counts(&answer.primary_keys)),
        segment: Text::default(),
        wan: answer.wan,
    }
}

fn counts(counts: &BTreeMap<String, usize>) -> Map<'_, u64> {
    let counts = counts.iter();
    Map(counts
        .map(|(key, count)| (key.as_str().into(), number(*count)))
        .collect())
}

/// A count as it stands on the wire.
fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
