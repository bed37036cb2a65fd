//! Which rows a read shows, and in which order: `tag`, `node-meta`, `passing`, `filter`, `near`.

use std::sync::Arc;

use crate::catalog::{Instance, NodeEntry, State};
use crate::filter::{Filter, FilterError, Row, RowKind};
use crate::types::{Consistency, Coordinate, Node, NodeName, RequestContext, ServiceName, Status};

use super::error::ApiError;
use super::query::{Query, cut};
use super::reply::Size;

/// What `near` calls the agent that is asked.
const OWN_NODE: &str = "_agent";

/// Conditions that all must hold, and the order of what they leave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    tags: Vec<String>,
    node_meta: Vec<(String, String)>,
    passing: bool,
    filter: Option<Filter>,
    near: Option<String>,
}

impl Selection {
    /// Reads the conditions of a query on rows of this kind.
    ///
    /// # Errors
    /// 400: a bad `passing` or `filter`.
    pub(crate) fn of(query: &Query, rows: RowKind) -> Result<Self, ApiError> {
        let filter = filter_of(query, rows).map_err(|error| {
            let text = format!("Failed to create boolean expression evaluator: {error}");
            ApiError::bad_request(text).indexed()
        })?;
        let selection = Self::unfiltered(query)?;
        Ok(Self {
            filter,
            ..selection
        })
    }

    /// Reads the conditions of a query whose read has no filter.
    ///
    /// # Errors
    /// 400: a bad `passing`, or a filter: what is not carried out must not look as if everything
    /// matched.
    pub(crate) fn without_filter(query: &Query) -> Result<Self, ApiError> {
        match query.get_filled("filter") {
            None => Self::unfiltered(query),
            Some(filter) => Err(ApiError::bad_request(format!(
                "query parameter filter={} is not supported by this read",
                cut(filter)
            ))),
        }
    }

    fn unfiltered(query: &Query) -> Result<Self, ApiError> {
        let pair = |text: &str| {
            let (key, value) = text.split_once(':').unwrap_or((text, ""));
            (key.to_owned(), value.to_owned())
        };
        let tags = query.all("tag").filter(|tag| !tag.is_empty());
        Ok(Self {
            tags: tags.map(str::to_owned).collect(),
            node_meta: query.all("node-meta").map(pair).collect(),
            passing: query.switch("passing")?,
            filter: None,
            near: query.get_filled("near").map(str::to_owned),
        })
    }

    /// Orders `rows` by the estimated round-trip time between their nodes and the one that `near`
    /// names, `own` for `_agent`. Rows of equal distance keep their order, and those of nodes that
    /// nobody knows where they are come last. All keep their order where there is no such node, or
    /// nobody knows where it is.
    pub(crate) fn in_order<'a, T>(
        &self,
        state: &State,
        own: &NodeName,
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
    fn origin(&self, state: &State, own: &NodeName) -> Option<Coordinate> {
        let near = self.near.as_deref()?;
        let location = |name: &NodeName| {
            let entry = state.node(name)?;
            entry.location.as_ref().map(|found| found.coordinate)
        };
        if near == OWN_NODE {
            return location(own);
        }
        location(&near.parse().ok()?)
    }

    /// Whether what is shown depends on the metadata of nodes. A filter does not count: the reads
    /// whose filters see fields of nodes wake for those nodes anyway.
    pub(crate) fn looks_at_nodes(&self) -> bool {
        !self.node_meta.is_empty()
    }

    /// `size`, or more where each row takes long to look at.
    pub(crate) fn weigh(&self, size: Size) -> Size {
        match &self.filter {
            Some(filter) if filter.is_costly() => Size::Large,
            _ => size,
        }
    }

    /// Whether the filter, if there is one, takes the row.
    pub(crate) fn takes_row<R: Row>(&self, row: &R) -> bool {
        let filter = self.filter.as_ref();
        filter.is_none_or(|filter| filter.takes(row))
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

/// The filter of a query; `None` where there is none or an empty one.
///
/// # Errors
/// It cannot be read, or does not suit the rows.
pub(crate) fn filter_of(query: &Query, rows: RowKind) -> Result<Option<Filter>, FilterError> {
    let text = query.get_filled("filter");
    text.map(|text| Filter::parse(text, rows)).transpose()
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
        Selection::of(&Query::parse(text)?, RowKind::Node)
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
    fn a_filter_is_carried_out_or_refused() {
        assert!(selection("filter=").unwrap().filter.is_none());
        assert!(selection("filter=Node%20==%20a").unwrap().filter.is_some());
        let error = selection("filter=%20").unwrap_err();
        assert_eq!(error.status().as_u16(), 400);
        let query = Query::parse("filter=Node%20==%20a").unwrap();
        let error = Selection::without_filter(&query).unwrap_err();
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
