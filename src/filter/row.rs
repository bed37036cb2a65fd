//! Rows as filters see them: values borrowed from the catalog, and from this agent's own services
//! and checks.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use crate::catalog::{Instance, NodeEntry};
use crate::types::{Address, Check, Datacenter, Meta, Node, Service, TaggedAddresses};

use super::field::{CheckField, Field, Kind, NodeField, RowKind, ServiceField};

/// Longest text that [`Short`] takes: an IPv6 address with an embedded IPv4 one.
const SHORT_OCTETS: usize = 45;

/// Something that a filter takes or leaves.
pub trait Row {
    /// Which selectors it has.
    const KIND: RowKind;

    /// The value of one of its fields; [`Value::Nothing`] for one that it does not have.
    fn value(&self, field: Field) -> Value<'_>;

    /// Whether `holds` for any of its checks, where it has a list of them.
    fn any_check(&self, holds: impl Fn(&CheckRow<'_>) -> bool) -> bool {
        let _ = holds;
        false
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A text.
    Text(&'a str),
    /// A text that is stored in another form.
    Short(Short),
    /// A number.
    Number(i64),
    /// Yes or no.
    Switch(bool),
    /// Several texts.
    Texts(&'a [Arc<str>]),
    /// Metadata.
    Meta(&'a Meta),
    /// Addresses by label.
    Addresses(&'a BTreeMap<Box<str>, Address>),
    /// Addresses with ports by label.
    Places(&'a TaggedAddresses),
    /// A list of which only this is known here: whether it has no elements.
    List {
        /// No elements.
        is_empty: bool,
    },
    /// No such field.
    Nothing,
}

/// A short text by value: an address or an id in its usual form.
#[derive(Clone, Copy, Debug)]
pub struct Short {
    octets: [u8; SHORT_OCTETS],
    length: usize,
}

impl Short {
    /// What `shown` looks like; cut where it is longer than any address or id.
    fn new(shown: &impl fmt::Display) -> Self {
        let mut short = Self {
            octets: [0; SHORT_OCTETS],
            length: 0,
        };
        // What does not fit is left out, which no address or id comes to.
        let _ = write!(short, "{shown}");
        short
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let octets = self.octets.get(..self.length).unwrap_or_default();
        std::str::from_utf8(octets).unwrap_or_default()
    }
}

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let place = self.octets.get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

impl<'a> From<&'a Address> for Value<'a> {
    fn from(address: &'a Address) -> Self {
        match address {
            Address::None => Self::Text(""),
            Address::V4(ip) => Self::Short(Short::new(ip)),
            Address::V6(ip) => Self::Short(Short::new(ip)),
            Address::Text(text) => Self::Text(text),
        }
    }
}

impl Value<'_> {
    /// What stands in place of a field of the mesh.
    fn without_content(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text(""),
            Kind::Number => Self::Number(0),
            Kind::Switch => Self::Switch(false),
            Kind::Texts | Kind::List => Self::List { is_empty: true },
            Kind::Pairs | Kind::Places | Kind::Place => Self::Nothing,
        }
    }
}

/// A node.
#[derive(Clone, Copy, Debug)]
pub struct NodeRow<'a> {
    /// The node.
    pub node: &'a Node,
    /// Its datacenter.
    pub datacenter: &'a Datacenter,
}

impl<'a> NodeRow<'a> {
    /// The value of a field, borrowed from the catalog and not from this row.
    fn value_of(self, field: Field) -> Value<'a> {
        let Field::Node(field) = field else {
            return Value::Nothing;
        };
        let node = self.node;
        match field {
            NodeField::Id => node
                .id
                .map_or(Value::Text(""), |id| Value::Short(Short::new(&id))),
            NodeField::Name => Value::Text(node.name.as_str()),
            NodeField::Address => (&node.address).into(),
            NodeField::Datacenter => Value::Text(self.datacenter.as_str()),
            NodeField::TaggedAddresses => Value::Addresses(&node.tagged_addresses),
            NodeField::Meta => Value::Meta(&node.meta),
        }
    }
}

impl Row for NodeRow<'_> {
    const KIND: RowKind = RowKind::Node;

    fn value(&self, field: Field) -> Value<'_> {
        self.value_of(field)
    }
}

/// A service instance by itself.
#[derive(Clone, Copy, Debug)]
pub struct ServiceRow<'a>(pub &'a Service);

/// Stands for the places of a service that has none.
static NO_PLACES: TaggedAddresses = BTreeMap::new();

impl<'a> ServiceRow<'a> {
    /// The value of a field, borrowed from the service and not from this row.
    fn value_of(self, field: Field) -> Value<'a> {
        let field = match field {
            Field::Service(field) => field,
            Field::Mesh(kind) => return Value::without_content(kind),
            _ => return Value::Nothing,
        };
        let service = self.0;
        match field {
            ServiceField::Id => Value::Text(service.id.as_str()),
            ServiceField::Name => Value::Text(service.name.as_str()),
            ServiceField::Tags => Value::Texts(&service.tags),
            ServiceField::Address => (&service.address).into(),
            ServiceField::TaggedAddresses => {
                Value::Places(service.tagged_addresses.as_deref().unwrap_or(&NO_PLACES))
            }
            ServiceField::Meta => Value::Meta(&service.meta),
            ServiceField::Port => Value::Number(service.port.into()),
            ServiceField::WeightPassing => Value::Number(service.weights.passing.into()),
            ServiceField::WeightWarning => Value::Number(service.weights.warning.into()),
            ServiceField::EnableTagOverride => Value::Switch(service.enable_tag_override),
        }
    }
}

impl Row for ServiceRow<'_> {
    const KIND: RowKind = RowKind::Service;

    fn value(&self, field: Field) -> Value<'_> {
        self.value_of(field)
    }
}

/// A check with name and tags of the instance it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct CheckRow<'a> {
    /// Name of its node.
    pub node: &'a str,
    /// The check.
    pub check: &'a Check,
    /// Name of its service; empty for a check of the node.
    pub service_name: &'a str,
    /// Tags of its service.
    pub service_tags: &'a [Arc<str>],
}

impl Row for CheckRow<'_> {
    const KIND: RowKind = RowKind::Check;

    fn value(&self, field: Field) -> Value<'_> {
        let Field::Check(field) = field else {
            return Value::Nothing;
        };
        let check = self.check;
        Value::Text(match field {
            CheckField::ServiceTags => return Value::Texts(self.service_tags),
            CheckField::Node => self.node,
            CheckField::Id => check.id.as_str(),
            CheckField::Name => &check.name,
            CheckField::Status => check.status.as_str(),
            CheckField::Notes => &check.notes,
            CheckField::Output => &check.output,
            CheckField::ServiceId => check.service_id.as_ref().map_or("", |id| id.as_str()),
            CheckField::ServiceName => self.service_name,
            CheckField::Type => check.check_type.as_str(),
        })
    }
}

/// A check of the catalog: of `owner`, or of the node itself.
pub fn check_row<'a>(
    node: &'a NodeEntry,
    check: &'a Check,
    owner: Option<&'a Instance>,
) -> CheckRow<'a> {
    let service = owner.map(|owner| &*owner.service);
    CheckRow {
        node: node.node.name.as_str(),
        check,
        service_name: service.map_or("", |service| service.name.as_str()),
        service_tags: service.map_or(&[], |service| &service.tags),
    }
}

/// An instance with its node, as in `catalog/service`.
#[derive(Clone, Copy, Debug)]
pub struct CatalogRow<'a> {
    /// The node.
    pub node: NodeRow<'a>,
    /// The instance.
    pub service: ServiceRow<'a>,
}

impl Row for CatalogRow<'_> {
    const KIND: RowKind = RowKind::Catalog;

    fn value(&self, field: Field) -> Value<'_> {
        match field {
            Field::Node(_) => self.node.value(field),
            _ => self.service.value(field),
        }
    }
}

/// An instance with its node and the checks that decide about it, as in `health/service`.
#[derive(Clone, Copy, Debug)]
pub struct HealthRow<'a> {
    /// The node with its checks.
    pub node: &'a NodeEntry,
    /// The instance with its own.
    pub instance: &'a Instance,
    /// Their datacenter.
    pub datacenter: &'a Datacenter,
}

impl Row for HealthRow<'_> {
    const KIND: RowKind = RowKind::Health;

    fn value(&self, field: Field) -> Value<'_> {
        match field {
            Field::Node(_) => {
                let (node, datacenter) = (&*self.node.node, self.datacenter);
                NodeRow { node, datacenter }.value_of(field)
            }
            Field::Checks => {
                let mut of_node = self.node.node_checks();
                let is_empty = self.instance.checks.is_empty() && of_node.next().is_none();
                Value::List { is_empty }
            }
            _ => ServiceRow(&self.instance.service).value_of(field),
        }
    }

    fn any_check(&self, holds: impl Fn(&CheckRow<'_>) -> bool) -> bool {
        let row = |check, owner| check_row(self.node, check, owner);
        let mut of_node = self.node.node_checks();
        let mut own = self.instance.checks.iter();
        of_node.any(|entry| holds(&row(&entry.check, None)))
            || own.any(|entry| holds(&row(&entry.check, Some(self.instance))))
    }
}
