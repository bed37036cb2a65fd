//! The instances that one name denotes, kept in the order that answers need.
//!
//! **Invariant**: `counts`, `repeats` and `dual` always say what a scan of `instances` would find;
//! they are kept up with each change, so that one change among 10,000 instances stays cheap.

use std::net::Ipv6Addr;
use std::ops::Range;
use std::sync::Arc;

use imbl::OrdMap;

use super::sequence::Sequence;
use super::view::{Eligibility, Exclusion, Family, InstanceView};

/// Instances that one name denotes.
#[derive(Clone, Debug, Default)]
pub struct Subset {
    instances: Sequence<Arc<InstanceView>>,
    /// Members by family and warning, in the order of `instances`.
    counts: [usize; 8],
    /// Members by family whose address another member before them has.
    repeats: [usize; 4],
    /// Members of `Family::Both` by their IPv6 address, by which they are not sorted.
    dual: OrdMap<Ipv6Addr, u32>,
    critical: usize,
    maintenance: usize,
    unencodable: usize,
}

impl Subset {
    /// Eligible instances (no critical check), sorted by family, warning, address, port, node and
    /// id: those with equal records stand side by side.
    pub fn instances(&self) -> &Sequence<Arc<InstanceView>> {
        &self.instances
    }

    /// Positions of the instances of one family, passing (`false`) or warning (`true`).
    pub fn range(&self, family: Family, warning: bool) -> Range<usize> {
        let group = group(family, warning);
        let mut counts = self.counts.iter();
        let start = counts.by_ref().take(group).sum();
        start..start + counts.next().copied().unwrap_or(0)
    }

    /// How many instances have an address that another one has too, and so possibly the same
    /// record: 0 means that no answer needs to look for duplicates. Exact but for instances with
    /// addresses of both families, which are all counted where there are others.
    ///
    /// Those with equal addresses stand side by side within a [`Subset::range`], but one that
    /// passes stands apart from one that warns, and one with addresses of both families from those
    /// with one; all of them are counted.
    pub fn duplicates(&self) -> usize {
        let both = self.range_of(Family::Both).len();
        let single = self.range_of(Family::V4).len() + self.range_of(Family::V6).len();
        let across = if single > 0 { both } else { 0 };
        let repeats: usize = self.repeats.iter().sum();
        repeats + (both - self.dual.len()) + across
    }

    /// Registered instances left out because a check is critical.
    pub fn critical(&self) -> usize {
        self.critical
    }

    /// Registered instances left out because they or their node are in maintenance. They are not
    /// counted as critical.
    pub fn maintenance(&self) -> usize {
        self.maintenance
    }

    /// Instances left out and counted because they cannot be encoded.
    pub fn unencodable(&self) -> usize {
        self.unencodable
    }

    /// All instances, eligible or not.
    pub fn registered(&self) -> usize {
        self.instances.len() + self.critical + self.maintenance + self.unencodable
    }

    /// A whole subset from its members in any order.
    pub(super) fn build(members: Vec<Eligibility>) -> Self {
        let mut subset = Self::default();
        let mut views = Vec::with_capacity(members.len());
        for member in members {
            match member {
                Ok(view) => views.push(view),
                Err(exclusion) => *subset.excluded(exclusion) += 1,
            }
        }
        views.sort_unstable_by(|left, right| left.compare(right));
        for view in &views {
            subset.count(view);
        }
        subset.instances = views.into_iter().collect();
        for family in [Family::V4, Family::Both, Family::V6, Family::Host] {
            let repeats = subset.count_repeats(family);
            if let Some(slot) = subset.repeats.get_mut(family as usize) {
                *slot = repeats;
            }
        }
        subset
    }

    /// Adds a member.
    pub(super) fn insert(&mut self, member: Eligibility) {
        match member {
            Ok(view) => {
                let place = self.search(&view).unwrap_or_else(|place| place);
                *self.repeats_of(view.family()) += usize::from(self.has_address(&view, place));
                self.count(&view);
                self.instances.insert(place, view);
            }
            Err(exclusion) => *self.excluded(exclusion) += 1,
        }
    }

    /// Removes a member; `None` if it is none.
    pub(super) fn remove(&mut self, member: &Eligibility) -> Option<()> {
        match member {
            Ok(view) => {
                let place = self.search(view).ok()?;
                self.instances.remove(place);
                self.discount(view);
                *self.repeats_of(view.family()) -= usize::from(self.has_address(view, place));
            }
            Err(exclusion) => {
                let count = self.excluded(*exclusion);
                *count = count.checked_sub(1)?;
            }
        }
        Some(())
    }

    /// Replaces a member by one that stands in the same place; `None` if there is none.
    pub(super) fn renew(&mut self, view: &Arc<InstanceView>) -> Option<()> {
        let place = self.search(view).ok()?;
        self.instances.set(place, Arc::clone(view));
        Some(())
    }

    fn range_of(&self, family: Family) -> Range<usize> {
        self.range(family, false).start..self.range(family, true).end
    }

    fn search(&self, view: &InstanceView) -> Result<usize, usize> {
        let range = self.range(view.family(), view.warning);
        let place = self.partition(range.clone(), |other| other.compare(view).is_lt());
        let found = range.contains(&place)
            && self
                .instances
                .get(place)
                .is_some_and(|other| other.compare(view).is_eq());
        if found { Ok(place) } else { Err(place) }
    }

    /// Whether a member of the same family has the address of `view`, which would stand at `place`:
    /// one beside that place, or one in the range of the other half of the family.
    fn has_address(&self, view: &InstanceView, place: usize) -> bool {
        let has = |range: &Range<usize>, place: usize| {
            let member = self.instances.get(place);
            range.contains(&place) && member.is_some_and(|m| m.compare_record(view).is_eq())
        };
        let own = self.range(view.family(), view.warning);
        let beside = place.checked_sub(1).is_some_and(|before| has(&own, before));
        beside || has(&own, place) || {
            let other = self.range(view.family(), !view.warning);
            let before = |member: &InstanceView| member.compare_record(view).is_lt();
            has(&other, self.partition(other.clone(), before))
        }
    }

    /// The first position in `range` for which `before` is false.
    fn partition(&self, range: Range<usize>, before: impl Fn(&InstanceView) -> bool) -> usize {
        let Range { mut start, mut end } = range;
        while start < end {
            let middle = start.midpoint(end);
            if self.instances.get(middle).is_some_and(|view| before(view)) {
                start = middle + 1;
            } else {
                end = middle;
            }
        }
        start
    }

    /// Members of `family` whose address another one before them has, passing or warning: a merge
    /// of the two sorted ranges.
    fn count_repeats(&self, family: Family) -> usize {
        let in_range = |warning| {
            let range = self.range(family, warning);
            range.filter_map(|place| self.instances.get(place))
        };
        let (mut passing, mut warning) = (in_range(false).peekable(), in_range(true).peekable());
        let (mut last, mut repeats): (Option<&Arc<InstanceView>>, _) = (None, 0);
        loop {
            let next = match (passing.peek(), warning.peek()) {
                (Some(left), Some(right)) if left.compare_record(right).is_gt() => warning.next(),
                (Some(_), _) => passing.next(),
                (None, _) => warning.next(),
            };
            let Some(next) = next else { return repeats };
            let same = last.is_some_and(|last| last.compare_record(next).is_eq());
            repeats += usize::from(same);
            last = Some(next);
        }
    }

    fn count(&mut self, view: &InstanceView) {
        *self.counts_of(view) += 1;
        if let (Family::Both, Some(v6)) = (view.family(), view.v6) {
            *self.dual.entry(v6).or_insert(0) += 1;
        }
    }

    fn discount(&mut self, view: &InstanceView) {
        *self.counts_of(view) -= 1;
        let (Family::Both, Some(v6)) = (view.family(), view.v6) else {
            return;
        };
        match self.dual.get_mut(&v6) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.dual.remove(&v6)),
        }
    }

    fn counts_of(&mut self, view: &InstanceView) -> &mut usize {
        &mut self.counts[group(view.family(), view.warning)]
    }

    fn repeats_of(&mut self, family: Family) -> &mut usize {
        &mut self.repeats[family as usize]
    }

    fn excluded(&mut self, exclusion: Exclusion) -> &mut usize {
        match exclusion {
            Exclusion::Critical => &mut self.critical,
            Exclusion::Maintenance => &mut self.maintenance,
            Exclusion::Unencodable => &mut self.unencodable,
        }
    }
}

/// Position of a family and warning in the order of instances: 0 to 7.
fn group(family: Family, warning: bool) -> usize {
    2 * family as usize + usize::from(warning)
}
