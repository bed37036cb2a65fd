//! Rows that servers answer, as entries of the catalog.
//!
//! What a row says that no entry can hold makes it no row; what it leaves out is the default.

use std::sync::Arc;

use super::draft::{definition, pairs};
use super::{
    HealthCheck, LocationRecord, Map, Node, NodeService, ServiceAddress, ServiceNode, Text,
};
use crate::catalog::Location;
use crate::catalog::fragment::{Owner, Stamps};
use crate::types::{
    Address, Check, CheckDefinition, CheckType, Coordinate, Index, Meta, Node as NodeModel,
    NodeName, Service, TaggedAddress, TaggedAddresses, Weights,
};

impl Node<'_> {
    /// The node; `None` for a name that no node can have.
    pub(in crate::directory) fn into_model(self) -> Option<(NodeModel, Stamps)> {
        let model = NodeModel {
            id: self.id.parse().ok(),
            name: self.node.parse().ok()?,
            address: Address::from_text(&self.address),
            tagged_addresses: addresses(self.tagged_addresses),
            meta: Meta::from_pairs(pairs(self.meta)),
        };
        Some((model, stamps(self.create_index, self.modify_index)))
    }
}

impl NodeService<'_> {
    /// The service; `None` for names that none can have.
    pub(in crate::directory) fn into_model(self) -> Option<(Service, Stamps)> {
        let weights = self.weights.map(|it| (it.passing, it.warning));
        let model = Service {
            id: self.id.parse().ok()?,
            name: self.service.parse().ok()?,
            tags: texts(self.tags).into(),
            address: Address::from_text(&self.address),
            port: u16::try_from(self.port).unwrap_or(0),
            meta: Meta::from_pairs(pairs(self.meta)),
            weights: checked(weights),
            enable_tag_override: self.enable_tag_override,
            tagged_addresses: tagged(self.tagged_addresses),
        };
        Some((model, stamps(self.create_index, self.modify_index)))
    }
}

impl ServiceNode<'_> {
    /// The node and the service on it; `None` for names that none can have. When the node was
    /// changed is not said.
    pub(in crate::directory) fn into_models(self) -> Option<(NodeModel, Service, Stamps)> {
        let node = NodeModel {
            id: self.id.parse().ok(),
            name: self.node.parse().ok()?,
            address: Address::from_text(&self.address),
            tagged_addresses: addresses(self.tagged_addresses),
            meta: Meta::from_pairs(pairs(self.node_meta)),
        };
        let weights = (self.service_weights.passing, self.service_weights.warning);
        let service = Service {
            id: self.service_id.parse().ok()?,
            name: self.service_name.parse().ok()?,
            tags: texts(self.service_tags).into(),
            address: Address::from_text(&self.service_address),
            port: u16::try_from(self.service_port).unwrap_or(0),
            meta: Meta::from_pairs(pairs(self.service_meta)),
            weights: checked(Some(weights)),
            enable_tag_override: self.service_enable_tag_override,
            tagged_addresses: tagged(self.service_tagged_addresses),
        };
        Some((node, service, stamps(self.create_index, self.modify_index)))
    }
}

/// A check with the node it is on, and what its row says of its service.
pub(in crate::directory) struct CheckModel {
    pub(in crate::directory) node: NodeName,
    pub(in crate::directory) check: Check,
    pub(in crate::directory) owner: Option<Owner>,
    pub(in crate::directory) stamps: Stamps,
}

impl HealthCheck<'_> {
    /// The check; `None` for names or a status that none can have.
    pub(in crate::directory) fn into_model(self) -> Option<CheckModel> {
        let definition = definition(self.definition);
        let defined = definition != CheckDefinition::default();
        let service_id = Some(&self.service_id).filter(|id| !id.is_empty());
        let name = self.service_name.parse().ok();
        let owner = name.map(|name| Owner {
            name,
            tags: texts(self.service_tags),
        });
        let check = Check {
            id: self.id.parse().ok()?,
            name: self.name.into(),
            status: self.status.parse().ok()?,
            notes: self.notes.into(),
            output: self.output.into(),
            service_id: service_id.map(|id| id.parse()).transpose().ok()?,
            check_type: CheckType::named(&self.check_type).unwrap_or_default(),
            definition: defined.then(|| Box::new(definition)),
        };
        Some(CheckModel {
            node: self.node.parse().ok()?,
            check,
            owner,
            stamps: stamps(self.create_index, self.modify_index),
        })
    }
}

impl LocationRecord<'_> {
    /// Where a node is; `None` for a name that no node can have, or numbers that are no place.
    pub(in crate::directory) fn into_model(self) -> Option<Location> {
        Some(Location {
            node: self.node.parse().ok()?,
            coordinate: self.coordinate.into_model()?,
        })
    }
}

impl super::CoordinateRecord {
    /// The coordinate; `None` for numbers that are no place.
    pub(in crate::directory) fn into_model(self) -> Option<Coordinate> {
        let vector = self.vector.as_slice();
        Coordinate::new(vector, self.error, self.adjustment, self.height).ok()
    }
}

fn stamps(create: u64, modify: u64) -> Stamps {
    Stamps {
        create: Index(create),
        modify: Index(modify),
    }
}

fn texts(list: Option<Vec<Text<'_>>>) -> Vec<Arc<str>> {
    let list = list.into_iter().flatten();
    list.map(|text| Arc::from(&*text)).collect()
}

fn checked(weights: Option<(i64, i64)>) -> Weights {
    let weights = weights.map(|(passing, warning)| Weights::checked(passing, warning));
    weights.and_then(Result::ok).unwrap_or_default()
}

fn addresses(map: Option<Map<'_, Text<'_>>>) -> std::collections::BTreeMap<Box<str>, Address> {
    let pairs = map.into_iter().flat_map(|map| map.0);
    pairs
        .map(|(label, text)| (label.into(), Address::from_text(&text)))
        .collect()
}

fn tagged(map: Option<Map<'_, ServiceAddress<'_>>>) -> Option<Box<TaggedAddresses>> {
    let pairs = map.into_iter().flat_map(|map| map.0);
    let tagged: TaggedAddresses = pairs
        .map(|(label, at)| {
            let address = TaggedAddress {
                address: Address::from_text(&at.address),
                port: u16::try_from(at.port).unwrap_or(0),
            };
            (label.into(), address)
        })
        .collect();
    (!tagged.is_empty()).then(|| Box::new(tagged))
}
