//! Which rows a read shows: `tag`, `node-meta`, `passing`.

use std::sync::Arc;

use crate::catalog::{Instance, NodeEntry, State};
use crate::types::{Consistency, Node, RequestContext, ServiceName, Status};

use super::error::ApiError;
use super::query::Query;

/// Conditions that all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    tags: Vec<String>,
    node_meta: Vec<(String, String)>,
    passing: bool,
}

impl Selection {
    /// Reads the conditions of a query. `near` only orders by distance, which is not known yet: it
    /// is accepted and changes nothing.
    ///
    /// # Errors
    /// 400: a bad `passing`, or a `filter`, which no read may ignore.
    pub(crate) fn of(query: &Query) -> Result<Self, ApiError> {
        if let Some(filter) = query.get_filled("filter") {
            let text = format!("query parameter filter={filter:?} is not supported yet");
            return Err(ApiError::bad_request(text));
        }
        let pair = |text: &str| {
            let (key, value) = text.split_once(':').unwrap_or((text, ""));
            (key.to_owned(), value.to_owned())
        };
        let tags = query.all("tag").filter(|tag| !tag.is_empty());
        Ok(Self {
            tags: tags.map(str::to_owned).collect(),
            node_meta: query.all("node-meta").map(pair).collect(),
            passing: query.switch("passing")?,
        })
    }

    /// Whether what is shown depends on the metadata of nodes.
    pub(crate) fn looks_at_nodes(&self) -> bool {
        !self.node_meta.is_empty()
    }

    /// Whether the node has all of the metadata.
    pub(crate) fn takes_node(&self, node: &Node) -> bool {
        self.node_meta
            .iter()
            .all(|(key, value)| node.meta.get(key) == Some(value))
    }

    /// Whether the instance has all of the tags, in any case, and its node the metadata.
    pub(crate) fn takes_instance(&self, node: &Node, instance: &Instance) -> bool {
        self.takes_node(node) && self.tags.iter().all(|tag| instance.service.has_tag(tag))
    }

    /// Also whether all checks pass, where that is asked for: those of the instance and those of
    /// its node. A warning is not passing.
    pub(crate) fn takes_healthy(&self, node: &NodeEntry, instance: &Instance) -> bool {
        let checks = || node.node_checks().chain(&instance.checks);
        self.takes_instance(&node.node, instance)
            && (!self.passing || checks().all(|entry| entry.check.status == Status::Passing))
    }
}

/// Whether a cached answer is acceptable (`?cached`). There is no cache in front of the catalog,
/// so the answer is always fresh; only the conflict is checked.
///
/// # Errors
/// 400: with `?consistent`.
pub(crate) fn is_cached(query: &Query, context: &RequestContext) -> Result<bool, ApiError> {
    let cached = query.has("cached");
    if cached && context.consistency == Consistency::Consistent {
        return Err(ApiError::bad_request(
            "Cannot specify ?cached with ?consistent, conflicting semantics.",
        ));
    }
    Ok(cached)
}

/// The instances of a service, each with its node, in the order of lists.
pub(crate) fn instances_of<'a>(
    state: &'a State,
    name: &ServiceName,
) -> impl Iterator<Item = (&'a Arc<NodeEntry>, &'a Arc<Instance>)> {
    let entries = state.service(name).into_iter();
    let instances = entries.flat_map(|entry| entry.instances());
    instances.filter_map(|instance| Some((state.node(&instance.node)?, instance)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(text: &str) -> Result<Selection, ApiError> {
        Selection::of(&Query::parse(text)?)
    }

    #[test]
    fn repeated_conditions_are_kept() {
        let selection = selection("tag=a&tag=b&node-meta=rack:1:2&node-meta=ssd&near=x").unwrap();
        assert_eq!(selection.tags, ["a", "b"]);
        let pairs = [("rack", "1:2"), ("ssd", "")];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(selection.node_meta, pairs);
    }

    #[test]
    fn a_filter_is_refused_rather_than_ignored() {
        assert!(selection("filter=").is_ok());
        let error = selection("filter=Node%20==%20a").unwrap_err();
        assert!(error.text().contains("Node == a"));
    }

    #[test]
    fn passing_is_a_switch() {
        assert!(selection("passing").unwrap().passing);
        assert!(!selection("passing=0").unwrap().passing);
        let error = selection("passing=x").unwrap_err();
        assert_eq!(error.text(), "Invalid value for ?passing");
    }
}
