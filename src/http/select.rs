//! Reads from a query which rows it wants: `tag`, `node-meta`, `passing`, `filter`, `near`.

use crate::filter::{Filter, FilterError, RowKind};
use crate::types::{Consistency, RequestContext};

use super::error::ApiError;
use super::query::{Query, cut};
use super::reply::Size;

pub(crate) use crate::directory::{Selection, instances_of};

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

    /// `size`, or more where each row takes long to look at.
    pub(crate) fn weigh(&self, size: Size) -> Size {
        if self.is_costly() { Size::Large } else { size }
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
