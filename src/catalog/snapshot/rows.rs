//! The fields of a snapshot's entries: what the state knows beside the model. As those of the model
//! they are for ever: see the invariants of `catalog::stored`.

use crate::catalog::edit::build::{NodeRow, Row, ServiceRow};
use crate::catalog::state::{CheckEntry, Instance, LocationEntry, NodeEntry, ServiceEntry, Tables};
use crate::catalog::stored::{Decoder, Record, Stored, StoredError};
use crate::types::{Check, Index, Service};

/// What is known of the whole.
#[derive(Debug)]
pub(super) struct Heads {
    pub(super) applied: Index,
    pub(super) tables: Tables,
}

impl Heads {
    pub(super) fn put(&self, fields: &mut Record<'_>) {
        let tables = &self.tables;
        fields.required(&self.applied);
        fields.required(&tables.nodes);
        fields.required(&tables.services);
        fields.required(&tables.checks);
        fields.required(&tables.node_extinction);
        fields.required(&tables.service_extinction);
        fields.required(&tables.locations);
        fields.required(&tables.location_extinction);
    }

    pub(super) fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        from.record("octets after the last index of a table", |fields| {
            Ok(Self {
                applied: fields.required()?,
                tables: Tables {
                    nodes: fields.required()?,
                    services: fields.required()?,
                    checks: fields.required()?,
                    node_extinction: fields.required()?,
                    service_extinction: fields.required()?,
                    locations: fields.required()?,
                    location_extinction: fields.required()?,
                },
            })
        })
    }
}

/// How much there is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) services: u64,
    pub(super) nodes: u64,
    pub(super) instances: u64,
    pub(super) checks: u64,
}

impl Counts {
    pub(super) fn put(&self, fields: &mut Record<'_>) {
        fields.required(&self.services);
        fields.required(&self.nodes);
        fields.required(&self.instances);
        fields.required(&self.checks);
    }

    pub(super) fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        from.record("octets after the last number of entries", |fields| {
            Ok(Self {
                services: fields.required()?,
                nodes: fields.required()?,
                instances: fields.required()?,
                checks: fields.required()?,
            })
        })
    }
}

pub(super) fn put_service(service: &ServiceEntry, fields: &mut Record<'_>) {
    fields.required(&service.name);
    fields.required(&service.instances_index);
    fields.required(&service.checks_index);
    fields.required(&service.health_index);
}

pub(super) fn take_service(from: &mut Decoder<'_>) -> Result<ServiceRow, StoredError> {
    from.record("octets after the last index of a service", |fields| {
        Ok(ServiceRow {
            name: fields.required()?,
            instances_index: fields.required()?,
            checks_index: fields.required()?,
            health_index: fields.required()?,
        })
    })
}

/// An entry of the section of nodes: each begins with its number.
#[derive(Debug)]
pub(super) enum NodePart {
    Node(NodeRow),
    Instance(Row<Service>),
    Check(Row<Check>),
}

const NODE: u16 = 1;
const INSTANCE: u16 = 2;
const CHECK: u16 = 3;

pub(super) fn put_node(entry: &NodeEntry, fields: &mut Record<'_>) {
    fields.required(&NODE);
    fields.required(&*entry.node);
    fields.required(&entry.create_index);
    fields.required(&entry.modify_index);
    fields.required(&entry.services_index);
    fields.required(&entry.checks_index);
    let location = entry.location.as_ref();
    fields.field(&location.map(|entry| (entry.coordinate, entry.modify_index)));
}

pub(super) fn put_instance(instance: &Instance, fields: &mut Record<'_>) {
    fields.required(&INSTANCE);
    fields.required(&*instance.service);
    fields.required(&instance.create_index);
    fields.required(&instance.modify_index);
}

pub(super) fn put_check(entry: &CheckEntry, fields: &mut Record<'_>) {
    fields.required(&CHECK);
    fields.required(&entry.check);
    fields.required(&entry.create_index);
    fields.required(&entry.modify_index);
}

impl NodePart {
    pub(super) fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        from.record("octets after the last field of an entry", |fields| {
            Ok(match u16::take(fields)? {
                NODE => Self::Node(take_node(fields)?),
                INSTANCE => Self::Instance(take_row(fields)?),
                CHECK => Self::Check(take_row(fields)?),
                number => {
                    let (what, number) = ("kind of entry on a node", number.into());
                    return Err(StoredError::Newer { what, number });
                }
            })
        })
    }
}

fn take_node(fields: &mut Decoder<'_>) -> Result<NodeRow, StoredError> {
    Ok(NodeRow {
        node: fields.required()?,
        create_index: fields.required()?,
        modify_index: fields.required()?,
        services_index: fields.required()?,
        checks_index: fields.required()?,
        location: fields
            .field::<Option<_>>()?
            .map(|(coordinate, modify_index)| LocationEntry {
                coordinate,
                modify_index,
            }),
    })
}

fn take_row<T: Stored>(fields: &mut Decoder<'_>) -> Result<Row<T>, StoredError> {
    Ok(Row {
        value: fields.required()?,
        create_index: fields.required()?,
        modify_index: fields.required()?,
    })
}
