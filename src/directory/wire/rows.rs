//! Results of reads, as a client agent reads them: row by row into a fragment, so that a long answer
//! is never there twice.

use super::{
    CheckServiceNode, Decode as _, DecodeError, Fields as _, HealthCheck, LocationRecord, Node,
    NodeService, QueryMeta, ServiceNode, Text,
};
use crate::catalog::fragment::Fragment;
use crate::msgpack::Reader;
use crate::types::NodeName;

/// What the rows of an answer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::directory) enum Rows {
    /// `Catalog.ListNodes`.
    Nodes,
    /// `Catalog.ListServices`: names with tags.
    Names,
    /// `Catalog.ServiceNodes`.
    Instances,
    /// `Catalog.NodeServices`: one node, or nil.
    NodeServices,
    /// `Health.NodeChecks`, `Health.ServiceChecks`, `Health.ChecksInState`.
    Checks,
    /// `Health.ServiceNodes`, `Internal.ServiceDump`.
    Health,
    /// `Coordinate.ListNodes`, `Coordinate.Node`.
    Locations,
}

impl Rows {
    /// The field that they stand in.
    fn field(self) -> &'static str {
        match self {
            Self::Nodes | Self::Health => "Nodes",
            Self::Names => "Services",
            Self::Instances => "ServiceNodes",
            Self::NodeServices => "NodeServices",
            Self::Checks => "HealthChecks",
            Self::Locations => "Coordinates",
        }
    }

    fn read(self, reader: &mut Reader<'_>, into: &mut Fragment) -> Result<(), DecodeError> {
        match self {
            Self::Names => return read_names(reader, into),
            Self::NodeServices => return read_node(reader, into),
            _ => {}
        }
        for _ in 0..reader.array()? {
            self.read_row(reader, into)?;
        }
        Ok(())
    }

    fn read_row(self, reader: &mut Reader<'_>, into: &mut Fragment) -> Result<(), DecodeError> {
        match self {
            Self::Nodes => put_node(Node::read(reader)?, into).map(drop),
            Self::Instances => put_instance(ServiceNode::read(reader)?, into),
            Self::Checks => put_check(HealthCheck::read(reader)?, into),
            Self::Health => put_health(CheckServiceNode::read(reader)?, into),
            Self::Locations => match LocationRecord::read(reader)?.into_model() {
                Some(location) => Ok(into.put_location(location)?),
                None => Ok(()),
            },
            Self::Names | Self::NodeServices => Ok(reader.skip()?),
        }
    }
}

/// Reads an answer: its rows into a fragment if `rows` are wanted, and what is said of them. Rows
/// with names that nothing can have are left out.
///
/// # Errors
/// [`DecodeError`]; some rows may be in the fragment.
pub(in crate::directory) fn read_answer<'a>(
    octets: &'a [u8],
    rows: Option<Rows>,
    into: &mut Fragment,
) -> Result<QueryMeta<'a>, DecodeError> {
    let mut reader = Reader::new(octets);
    let mut meta = QueryMeta::default();
    for _ in 0..reader.map()? {
        let key = reader.octets()?;
        match rows {
            Some(rows) if key == rows.field().as_bytes() => {
                let read = rows.read(&mut reader, into);
                read.map_err(|error| error.at(rows.field()))?;
            }
            _ if meta.take(key, &mut reader)? => {}
            _ => reader.skip()?,
        }
    }
    Ok(meta)
}

fn read_names(reader: &mut Reader<'_>, into: &mut Fragment) -> Result<(), DecodeError> {
    for _ in 0..reader.map()? {
        let name = Text::read(reader)?;
        let tags = Vec::<Text<'_>>::read(reader)?;
        if let Ok(name) = name.parse() {
            let tags = tags.iter().map(|tag| (&**tag).into());
            into.put_name(name, tags.collect())?;
        }
    }
    Ok(())
}

/// A node and its services by id. The services may come first.
fn read_node(reader: &mut Reader<'_>, into: &mut Fragment) -> Result<(), DecodeError> {
    let mut node = None;
    let mut services = None;
    for _ in 0..reader.map()? {
        match reader.octets()? {
            b"Node" => node = Option::<Node<'_>>::read(reader)?,
            b"Services" => {
                services = Some(reader.clone());
                reader.skip()?;
            }
            _ => reader.skip()?,
        }
    }
    let node = node.map(|node| put_node(node, into)).transpose()?.flatten();
    let (Some(node), Some(mut services)) = (node, services) else {
        return Ok(());
    };
    for _ in 0..services.map()? {
        services.octets()?;
        put_service(&node, NodeService::read(&mut services)?, into)?;
    }
    Ok(())
}

fn put_node(row: Node<'_>, into: &mut Fragment) -> Result<Option<NodeName>, DecodeError> {
    let Some((node, stamps)) = row.into_model() else {
        return Ok(None);
    };
    let name = node.name.clone();
    into.put_node(node, stamps)?;
    Ok(Some(name))
}

fn put_service(
    node: &NodeName,
    row: NodeService<'_>,
    into: &mut Fragment,
) -> Result<(), DecodeError> {
    if let Some((service, stamps)) = row.into_model() {
        into.put_instance(node, service, stamps)?;
    }
    Ok(())
}

fn put_instance(row: ServiceNode<'_>, into: &mut Fragment) -> Result<(), DecodeError> {
    if let Some((node, service, stamps)) = row.into_models() {
        let name = node.name.clone();
        into.put_node(node, crate::catalog::fragment::Stamps::default())?;
        into.put_instance(&name, service, stamps)?;
    }
    Ok(())
}

fn put_check(row: HealthCheck<'_>, into: &mut Fragment) -> Result<(), DecodeError> {
    if let Some(row) = row.into_model() {
        into.put_check(&row.node, row.check, row.owner, row.stamps)?;
    }
    Ok(())
}

fn put_health(row: CheckServiceNode<'_>, into: &mut Fragment) -> Result<(), DecodeError> {
    let node = row.node.map(|node| put_node(node, into)).transpose()?;
    let Some(node) = node.flatten() else {
        return Ok(());
    };
    if let Some(service) = row.service {
        put_service(&node, service, into)?;
    }
    for check in row.checks.into_iter().flatten() {
        put_check(check, into)?;
    }
    Ok(())
}
