//! Which rows a read shows, and in which order: tags, metadata of nodes, health, a filter, and how
//! near they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::{Instance, NodeEntry, State, WatchKey};
use crate::filter::{Filter, Row};
use crate::types::{Coordinate, Node, NodeId, NodeName, ServiceName, Status};

/// What `near` calls the agent that is asked.
const OWN_NODE: &str = "_agent";

/// Conditions that all must hold, and the order of what they leave.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Tags that an instance must have, in any case of letters.
    pub tags: Vec<String>,
    /// Metadata that a node must have.
    pub node_meta: Vec<(String, String)>,
    /// Whether all checks must pass.
    pub passing: bool,
    /// What a row must match.
    pub filter: Option<Filter>,
    /// Node from which distances count, `_agent` for the own one; `None` keeps the order of names.
    pub near: Option<String>,
}

impl Selection {
    /// Orders `rows` by the estimated round-trip time between their nodes and the one that `near`
    /// names, `own` for `_agent` where that means one. Rows of equal distance keep their order, and
    /// those of nodes that nobody knows where they are come last. All keep their order where there is
    /// no such node, or nobody knows where it is.
    pub fn in_order<'a, T>(
        &self,
        state: &State,
        own: Option<&NodeName>,
        rows: impl Iterator<Item = T> + 'a,
        node: impl Fn(&T) -> &NodeEntry,
    ) -> Box<dyn Iterator<Item = T> + 'a>
    where
        T: 'a,
    {
        let Some(origin) = self.origin(state, own) else {
            return Box::new(rows);
        };
        let measured = rows.map(|row| {
            let location = node(&row).location.as_ref();
            let distance = location.map(|found| origin.distance(&found.coordinate));
            ((distance.is_none(), distance), row)
        });
        let mut measured: Vec<_> = measured.collect();
        measured.sort_by_key(|(distance, _)| *distance);
        Box::new(measured.into_iter().map(|(_, row)| row))
    }

    /// Where rows are measured from.
    fn origin(&self, state: &State, own: Option<&NodeName>) -> Option<Coordinate> {
        let near = self.near.as_deref()?;
        let location = |name: &NodeName| {
            let entry = state.node(name)?;
            entry.location.as_ref().map(|found| found.coordinate)
        };
        if near == OWN_NODE {
            return location(own?);
        }
        location(&near.parse().ok()?)
    }

    /// Whether what is shown depends on the metadata of nodes. A filter does not count: the reads
    /// whose filters see fields of nodes wake for those nodes anyway.
    pub fn looks_at_nodes(&self) -> bool {
        !self.node_meta.is_empty()
    }

    /// What a read of `key` watches: nodes too, where this looks at them.
    pub fn keys(&self, key: WatchKey) -> Vec<WatchKey> {
        if self.looks_at_nodes() {
            vec![key, WatchKey::Nodes]
        } else {
            vec![key]
        }
    }

    /// Whether looking at a row takes long.
    pub fn is_costly(&self) -> bool {
        self.filter.as_ref().is_some_and(Filter::is_costly)
    }

    /// Services and their distinct tags, on the selected nodes only.
    pub fn tags_on_nodes<'a>(&self, state: &'a State) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
        let mut tags: BTreeMap<&ServiceName, BTreeSet<&str>> = BTreeMap::new();
        let nodes = state.nodes().filter(|entry| self.takes_node(&entry.node));
        for instance in nodes.flat_map(|node| node.instances()) {
            let of_service = tags.entry(&instance.service.name).or_default();
            of_service.extend(instance.service.tags.iter().map(|tag| &**tag));
        }
        let tags = tags.into_iter();
        tags.map(|(name, tags)| (name.as_str(), tags)).collect()
    }

    /// Whether the filter, if there is one, takes the row.
    pub fn takes_row<R: Row>(&self, row: &R) -> bool {
        let filter = self.filter.as_ref();
        filter.is_none_or(|filter| filter.takes(row))
    }

    /// Whether the node has all of the metadata.
    pub fn takes_node(&self, node: &Node) -> bool {
        self.node_meta
            .iter()
            .all(|(key, value)| node.meta.get(key) == Some(value))
    }

    /// Whether the instance has all of the tags, in any case, and its node the metadata.
    pub fn takes_instance(&self, node: &Node, instance: &Instance) -> bool {
        self.takes_node(node) && self.tags.iter().all(|tag| instance.service.has_tag(tag))
    }

    /// Also whether all checks pass, where that is asked for: those of the instance and those of
    /// its node. A warning is not passing.
    pub fn takes_healthy(&self, node: &NodeEntry, instance: &Instance) -> bool {
        let checks = || node.node_checks().chain(&instance.checks);
        self.takes_instance(&node.node, instance)
            && (!self.passing || checks().all(|entry| entry.check.status == Status::Passing))
    }
}

/// The node with this name, else the one with this id.
pub fn find_node<'a>(state: &'a State, asked: &str) -> Option<&'a NodeEntry> {
    let by_name = asked.parse::<NodeName>().ok();
    let by_name = by_name.and_then(|name| state.node(&name));
    let by_id = || state.node_by_id(asked.parse::<NodeId>().ok()?);
    by_name.or_else(by_id).map(|entry| &**entry)
}

/// The instances of a service, each with its node, in the order of lists.
pub fn instances_of<'a>(
    state: &'a State,
    name: &ServiceName,
) -> impl Iterator<Item = (&'a Arc<NodeEntry>, &'a Arc<Instance>)> {
    let entries = state.service(name).into_iter();
    let instances = entries.flat_map(|entry| entry.instances());
    instances.filter_map(|instance| Some((state.node(&instance.node)?, instance)))
}

#[cfg(test)]
mod tests;
