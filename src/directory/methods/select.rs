//! What requests ask for: which rows, and what their reads watch.

use crate::catalog::{Instance, NodeEntry, State, WatchKey};
use crate::directory::wire::{Map, QuerySource, ServiceRequest, Text};
use crate::directory::{Selection, instances_of};
use crate::types::{Address, ServiceName};

/// A service, all instances with an address, or what cannot exist.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Service(ServiceName),
    Address(Address),
    Nothing,
}

impl Asked {
    /// What a request names, an address before a service.
    pub(super) fn of(request: &ServiceRequest<'_>) -> Self {
        if request.service_address.is_empty() || request.connect || request.ingress {
            return Self::service(request);
        }
        Self::Address(Address::from_text(&request.service_address))
    }

    /// The service that a request names. There are neither proxies nor gateways.
    pub(super) fn service(request: &ServiceRequest<'_>) -> Self {
        if request.connect || request.ingress {
            return Self::Nothing;
        }
        match request.service_name.parse() {
            Ok(name) => Self::Service(name),
            Err(_) => Self::Nothing,
        }
    }

    /// What a read of it watches; `of_service` for one service.
    pub(super) fn key(&self, of_service: impl FnOnce(ServiceName) -> WatchKey) -> WatchKey {
        match self {
            Self::Service(name) => of_service(name.clone()),
            Self::Address(_) | Self::Nothing => WatchKey::Services,
        }
    }

    /// At most so many rows.
    pub(super) fn rows(&self, state: &State) -> usize {
        match self {
            Self::Service(name) => state.service(name).map_or(0, |entry| entry.len()),
            Self::Address(_) => usize::MAX,
            Self::Nothing => 0,
        }
    }

    /// Its instances, each with its node.
    pub(super) fn instances<'a>(
        &'a self,
        state: &'a State,
    ) -> Box<dyn Iterator<Item = (&'a NodeEntry, &'a Instance)> + 'a> {
        match self {
            Self::Service(name) => {
                let rows = instances_of(state, name);
                Box::new(rows.map(|(node, instance)| (&**node, &**instance)))
            }
            Self::Address(address) => {
                let all = state.nodes().flat_map(|node| {
                    let instances = node.instances();
                    instances.map(move |instance| (&**node, &**instance))
                });
                Box::new(all.filter(move |(_, instance)| instance.service.address == *address))
            }
            Self::Nothing => Box::new(std::iter::empty()),
        }
    }
}

/// Nodes with this metadata, the nearest first.
pub(super) fn nodes(node_meta: Option<&Map<'_, Text<'_>>>, source: &QuerySource<'_>) -> Selection {
    let pairs = node_meta.into_iter().flat_map(|map| &map.0);
    let pairs = pairs.map(|(key, value)| (key.to_string(), value.to_string()));
    let near = Some(&source.node).filter(|node| !node.is_empty());
    Selection {
        node_meta: pairs.collect(),
        near: near.map(ToString::to_string),
        ..Selection::default()
    }
}

/// Instances with these tags too.
pub(super) fn instances(request: &ServiceRequest<'_>) -> Selection {
    // Agents before 1.3 send one tag in a field of its own.
    let tags = match &request.service_tag {
        tag if tag.is_empty() => request.service_tags.iter().flatten().collect(),
        tag => vec![tag],
    };
    let tags = tags.into_iter();
    let tags = tags.filter(|tag| request.tag_filter && !tag.is_empty());
    Selection {
        tags: tags.map(ToString::to_string).collect(),
        ..nodes(request.node_meta.as_ref(), &request.source)
    }
}

/// As many rows as count for the time that they take: a filter may make each one slow.
pub(super) fn weigh(selection: &Selection, rows: usize) -> usize {
    if selection.is_costly() {
        usize::MAX
    } else {
        rows
    }
}
