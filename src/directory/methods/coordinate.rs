//! `Coordinate`: where nodes are in the network.

use super::{EMPTY, Methods, decode, encode, refused};
use crate::catalog::{NodeEntry, WatchKey};
use crate::directory::wire::{
    CoordinateUpdate, DatacenterRecord, DatacenterRequest, Encode, LocationRecord, NodeRequest,
    QueryOptions, Text,
};
use crate::directory::{CoordinateDraft, LocationDraft};
use crate::msgpack::Writer;
use crate::rpc::{Answered, Call, Fault};
use crate::types::NodeName;

/// `Coordinate.ListNodes`: all nodes whose coordinates are known, by name; blocks.
pub(super) async fn list_nodes(methods: &Methods, call: Call<'_>) -> Answered {
    let request: DatacenterRequest<'_> = decode(call)?;
    without_filter(&request.options)?;
    let (datacenter, options) = (&request.datacenter, &request.options);
    let context = methods.context(datacenter, options, call)?;
    let read = methods.read(&context, &[WatchKey::Locations]);
    let answer = read.await?;
    let count = answer.state.nodes().count();
    methods
        .write(answer, count, "Coordinates", |state, writer| {
            let located = state.nodes().filter(|entry| entry.location.is_some());
            let count = located.count();
            write_locations(count, state.nodes().map(AsRef::as_ref), writer);
        })
        .await
}

/// `Coordinate.Node`: a list of one node's coordinate, nothing if that is not known; blocks.
pub(super) async fn node(methods: &Methods, call: Call<'_>) -> Answered {
    let request: NodeRequest<'_> = decode(call)?;
    without_filter(&request.options)?;
    // A name that no node can have waits for whatever comes.
    let name = request.node.parse::<NodeName>().ok();
    let key = name
        .clone()
        .map_or(WatchKey::Locations, WatchKey::NodeLocation);
    let (datacenter, options) = (&request.datacenter, &request.options);
    let context = methods.context(datacenter, options, call)?;
    let answer = methods.read(&context, &[key]).await?;
    methods
        .write(answer, 1, "Coordinates", move |state, writer| {
            let entry = name.and_then(|name| state.node(&name));
            let located = entry.filter(|entry| entry.location.is_some());
            let count = usize::from(located.is_some());
            write_locations(count, located.map(AsRef::as_ref).into_iter(), writer);
        })
        .await
}

/// Writes those of the nodes whose coordinates are known, of which there are `count`.
fn write_locations<'a>(
    count: usize,
    nodes: impl Iterator<Item = &'a NodeEntry>,
    writer: &mut Writer<'_>,
) {
    if count == 0 {
        return writer.nil();
    }
    writer.array(count);
    for location in nodes.filter_map(LocationRecord::of) {
        location.write(writer);
    }
}

/// These reads have no filter. What is not carried out must not look as if everything matched.
fn without_filter(options: &QueryOptions<'_>) -> Result<(), Fault> {
    if options.filter.is_empty() {
        return Ok(());
    }
    Err(refused("a filter is not supported by this read"))
}

/// `Coordinate.Update`: nothing; the coordinate shows within five seconds or so, if there is such a
/// node then.
///
/// # Errors
/// What is missing or wrong, or too many wait; nothing will be written.
pub(super) fn update(methods: &Methods, call: Call<'_>) -> Answered {
    let request: CoordinateUpdate<'_> = decode(call)?;
    let options = QueryOptions {
        token: request.token.clone(),
        ..QueryOptions::default()
    };
    let context = methods.context(&request.datacenter, &options, call)?;
    let (_, location) = draft(request).check().map_err(refused)?;
    methods.directory.locate(&context, location)?;
    Ok(vec![EMPTY])
}

fn draft(request: CoordinateUpdate<'_>) -> LocationDraft {
    let numbers = request.coordinate.map(|numbers| CoordinateDraft {
        vector: numbers.vector.as_slice().to_vec(),
        error: numbers.error,
        adjustment: numbers.adjustment,
        height: numbers.height,
    });
    LocationDraft {
        datacenter: request.datacenter.into_owned(),
        node: request.node.into_owned(),
        segment: request.segment.into_owned(),
        coordinate: numbers,
    }
}

/// `Coordinate.ListDatacenters`: the servers of each datacenter, as far as it is known where they
/// are. The request names no datacenter, and this never waits.
pub(super) fn list_datacenters(methods: &Methods) -> Answered {
    let wan = methods.membership.wan.as_ref();
    let known = methods.directory.server_locations(wan).map_err(refused)?;
    let shown = known.iter().map(|known| DatacenterRecord {
        area: Text::from("wan"),
        servers: known
            .servers
            .iter()
            .map(|(node, coordinate)| LocationRecord::new(node, coordinate))
            .collect(),
        datacenter: Text::from(known.datacenter.as_str()),
    });
    Ok(encode(&shown.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests;
