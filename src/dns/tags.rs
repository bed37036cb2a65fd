//! Which instances of a service a name denotes, and why none of them is answered.

use std::fmt;

use crate::catalog::State;
use crate::catalog::index::{InstanceView, ServiceView, Subset};
use crate::types::{ServiceName, Status};

use super::name::labels;

/// Most tags in one name; a name with more is no tag combination.
const TAGS_MAX: usize = 8;

/// The instances that a name denotes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Choice<'v> {
    /// All of a subset.
    Subset(&'v Subset),
    /// Those of a subset that have all of several tags.
    AllTags(&'v Subset, Tags<'v>),
    /// None, but longer names denote some (RFC 8020).
    Empty,
    /// None.
    Missing,
    /// To find out takes a longer scan than is allowed here.
    Costly,
}

/// Several tags: labels in wire format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tags<'n>(&'n [u8]);

impl Tags<'_> {
    /// Whether an instance has all of them.
    pub(super) fn are_on(self, view: &InstanceView) -> bool {
        self.are_in(&view.tags)
    }

    fn are_in(self, tags: &[impl AsRef<str>]) -> bool {
        labels(self.0).all(|label| {
            let is = |tag: &str| tag.as_bytes().eq_ignore_ascii_case(label);
            tags.iter().any(|tag| is(tag.as_ref()))
        })
    }
}

/// What `tag` denotes in a service: itself, dots included, or else all of its `labels` as tags.
///
/// Looking for several tags costs a scan of the rarest one's instances, which is not begun where
/// they, or those of the whole service, are more than `scan_max`; where none of them is eligible,
/// `is_registered` says whether any registered instance has all tags.
pub(super) fn choose<'v>(
    view: &'v ServiceView,
    tag: &[u8],
    labels: &'v [u8],
    scan_max: usize,
    is_registered: impl FnOnce(Tags<'_>) -> bool,
) -> Choice<'v> {
    if let Some(subset) = view.tagged(tag) {
        return Choice::Subset(subset);
    }
    match all_tags(view, labels) {
        Some(subset) if scan(view, subset) > scan_max => Choice::Costly,
        Some(subset) if exists(subset, Tags(labels), is_registered) => {
            Choice::AllTags(subset, Tags(labels))
        }
        _ if view.is_tag_suffix(tag) => Choice::Empty,
        _ => Choice::Missing,
    }
}

/// The rarest of the subsets of all tags, if each is in use and there are several.
fn all_tags<'v>(view: &'v ServiceView, wire: &[u8]) -> Option<&'v Subset> {
    if !(2..=TAGS_MAX).contains(&labels(wire).count()) {
        return None;
    }
    let mut rarest: Option<&Subset> = None;
    for label in labels(wire) {
        let subset = view.tagged(label)?;
        let is_rarer = rarest.is_none_or(|rarest| subset.registered() < rarest.registered());
        rarest = if is_rarer { Some(subset) } else { rarest };
    }
    rarest
}

/// Instances that are looked at to find those of several tags, the rarest of which has `rarest`:
/// where some are not eligible, the state is asked, which knows services only whole.
fn scan(view: &ServiceView, rarest: &Subset) -> usize {
    if rarest.registered() > rarest.instances().len() {
        view.all.registered()
    } else {
        rarest.registered()
    }
}

fn exists(subset: &Subset, tags: Tags<'_>, is_registered: impl FnOnce(Tags<'_>) -> bool) -> bool {
    let has_all = subset.instances().iter().any(|view| tags.are_on(view));
    has_all || (subset.registered() > subset.instances().len() && is_registered(tags))
}

/// Why instances are not answered: how many there are, and how many for each reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reasons {
    instances: usize,
    critical: usize,
    maintenance: usize,
    warning: usize,
    unencodable: usize,
}

impl Reasons {
    /// Those of a subset of which none is eligible.
    pub(super) fn of(subset: &Subset) -> Self {
        Self {
            instances: subset.registered(),
            critical: subset.critical(),
            maintenance: subset.maintenance(),
            // With `only_passing`, those that are left warn.
            warning: subset.instances().len(),
            unencodable: subset.unencodable(),
        }
    }

    /// Those of the instances of a service that have all of several tags. A scan of the service.
    pub(super) fn of_all_tags(state: &State, service: &ServiceName, tags: Tags<'_>) -> Self {
        let mut reasons = Self::default();
        let instances = state.service(service).into_iter();
        for instance in instances.flat_map(|entry| entry.instances()) {
            if !tags.are_in(&instance.service.tags) {
                continue;
            }
            let node = state.node(&instance.node).into_iter();
            let checks = node.flat_map(|node| node.node_checks());
            let (mut worst, mut maintenance) = (Status::Passing, false);
            for entry in checks.chain(instance.checks.iter()) {
                worst = worst.max(entry.check.status);
                maintenance |=
                    entry.check.status == Status::Critical && entry.check.is_maintenance();
            }
            reasons.instances += 1;
            *match worst {
                _ if maintenance => &mut reasons.maintenance,
                Status::Critical => &mut reasons.critical,
                Status::Warning => &mut reasons.warning,
                Status::Passing => &mut reasons.unencodable,
            } += 1;
        }
        reasons
    }

    /// Whether any instance is registered.
    pub(super) fn any(self) -> bool {
        self.instances > 0
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.instances == 1 {
            "instance"
        } else {
            "instances"
        };
        write!(formatter, "{} {noun}", self.instances)?;
        let reasons = [
            (self.critical, "critical"),
            (self.maintenance, "in maintenance"),
            (self.warning, "warning"),
            (self.unencodable, "not encodable"),
        ];
        let mut separator = ": ";
        for (count, reason) in reasons.into_iter().filter(|(count, _)| *count > 0) {
            write!(formatter, "{separator}{count} {reason}")?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_like_a_sentence() {
        let reasons = Reasons {
            instances: 2,
            critical: 1,
            maintenance: 1,
            ..Reasons::default()
        };
        assert_eq!(
            reasons.to_string(),
            "2 instances: 1 critical, 1 in maintenance"
        );
        let reasons = Reasons {
            instances: 1,
            warning: 1,
            ..Reasons::default()
        };
        assert_eq!(reasons.to_string(), "1 instance: 1 warning");
    }
}
