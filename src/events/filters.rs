//! Whom an event is for.

use crate::filter::{Pattern, PatternError};
use crate::types::Service;

/// A filter is no regular expression, or too large a one; nothing was sent or kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid {which} filter: {source}")]
pub struct FilterError {
    /// `node`, `service` or `tag`.
    which: &'static str,
    /// What is wrong with it.
    #[source]
    source: PatternError,
}

/// The filters of one event, compiled; `None` lets everybody through.
#[derive(Clone, Debug)]
pub(super) struct Filters {
    node: Option<Pattern>,
    service: Option<Pattern>,
    tag: Option<Pattern>,
}

impl Filters {
    /// Compiles those that are not empty.
    ///
    /// # Errors
    /// [`FilterError`].
    pub(super) fn new(node: &str, service: &str, tag: &str) -> Result<Self, FilterError> {
        Ok(Self {
            node: compile("node", node)?,
            service: compile("service", service)?,
            tag: compile("tag", tag)?,
        })
    }

    /// Whether the event is for the agent on `node`, which has these services.
    pub(super) fn take<'a>(
        &self,
        node: &str,
        mut services: impl Iterator<Item = &'a Service>,
    ) -> bool {
        if !matches(self.node.as_ref(), node) {
            return false;
        }
        let Some(service_filter) = &self.service else {
            return true;
        };
        services.any(|service| {
            // The name is what people mean; agents of the reference look at the id.
            let names = [service.name.as_str(), service.id.as_str()];
            let mut tags = service.tags.iter();
            names.iter().any(|name| service_filter.is_match(name))
                && (self.tag.is_none() || tags.any(|tag| matches(self.tag.as_ref(), tag)))
        })
    }
}

fn compile(which: &'static str, filter: &str) -> Result<Option<Pattern>, FilterError> {
    if filter.is_empty() {
        return Ok(None);
    }
    let compiled = Pattern::new(filter).map(Some);
    compiled.map_err(|source| FilterError { which, source })
}

fn matches(filter: Option<&Pattern>, text: &str) -> bool {
    filter.is_none_or(|pattern| pattern.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Address, Meta, Weights};

    fn service(name: &str, id: &str, tags: &[&str]) -> Service {
        Service {
            id: id.parse().unwrap(),
            name: name.parse().unwrap(),
            tags: tags.iter().map(|tag| (*tag).into()).collect(),
            address: Address::None,
            port: 0,
            meta: Meta::default(),
            weights: Weights::default(),
            enable_tag_override: false,
            tagged_addresses: None,
        }
    }

    #[test]
    fn an_event_is_for_whom_its_filters_match() {
        let services = [
            service("web", "w1", &["v1", "blue"]),
            service("db", "d-1", &[]),
        ];
        for (filters, taken) in [
            (["", "", ""], true),
            (["n1", "", ""], true),
            (["^n", "", ""], true),
            (["N1", "", ""], false),
            (["n2", "", ""], false),
            (["", "web", ""], true),
            (["", "we", ""], true),
            (["", "^w1$", ""], true),
            (["", "^e", ""], false),
            (["", "web", "v[12]"], true),
            (["", "db", "v1"], false),
            (["", ".", "blue"], true),
            (["", "web", "green"], false),
            (["n2", "web", "v1"], false),
        ] {
            let [node, service, tag] = filters;
            let filters = Filters::new(node, service, tag).unwrap();
            let services = services.iter();
            assert_eq!(
                filters.take("n1", services),
                taken,
                "{node} {service} {tag}"
            );
        }
    }

    #[test]
    fn a_node_without_services_takes_no_event_for_services() {
        let filters = Filters::new("", ".*", "").unwrap();
        assert!(!filters.take("n1", [].iter()));
    }
}
