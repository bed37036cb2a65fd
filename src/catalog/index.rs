//! The read side of DNS: one slot per service and node, each holding an immutable view whose parts
//! are ready to be copied into an answer.
//!
//! A DNS worker keeps the `Arc<Slot>`s it has met, so that in the steady state a query takes no
//! lock: one atomic load. A slot whose view is gone was unlinked: drop it and look the name up
//! again.
//!
//! Owns the slots and the maps that lead to them; `publish` alone fills them.
//!
//! **Invariant**: a slot is never replaced while linked. Removal first empties the slot, then
//! unlinks it; a name that comes back gets a new slot.
//! **Invariant**: the slot that a name is linked to is also the one in its entry of the published
//! [`State`], so that a lookup which finds a shard of a map locked goes through the state instead
//! of waiting for the writer.

use std::str::FromStr;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use dashmap::DashMap;
use dashmap::try_result::TryResult;

use crate::types::{NodeName, ServiceName};

use super::state::State;

pub use super::sequence::{Iter, Sequence};
pub use super::subset::Subset;
pub use super::view::{
    Eligibility, Exclusion, Family, InstanceView, NodeView, ServiceView, Target, eligibility,
};

/// Longest name (RFC 1035 §2.3.4).
const NAME_OCTETS_MAX: usize = 255;

/// Holds the newest view of one name. Never replaced while linked.
#[derive(Debug)]
pub struct Slot<V> {
    view: ArcSwapOption<V>,
}

impl<V> Slot<V> {
    /// The newest view; `None` when the name is gone and this slot unlinked. Lock-free, no
    /// allocation.
    pub fn load(&self) -> Guard<Option<Arc<V>>> {
        self.view.load()
    }

    /// Makes `view` the newest; `None` is final.
    pub(super) fn store(&self, view: Option<Arc<V>>) {
        self.view.store(view);
    }
}

impl<V> Default for Slot<V> {
    fn default() -> Self {
        Self {
            view: ArcSwapOption::empty(),
        }
    }
}

/// Lookups by name for DNS workers.
#[derive(Debug, Default)]
pub struct DnsIndex {
    pub(super) services: Links<ServiceView>,
    pub(super) nodes: Links<NodeView>,
    pub(super) state: ArcSwap<State>,
}

impl DnsIndex {
    /// The slot of a service by its name in ASCII lower case. May fall back to a slow path where a
    /// shard is being written; never blocks.
    pub fn service(&self, folded: &[u8]) -> Option<Arc<Slot<ServiceView>>> {
        self.services.get(folded, || {
            let name = parse::<ServiceName>(folded)?;
            let state = self.state.load();
            state.services.get(&name).map(|entry| entry.slot.clone())
        })
    }

    /// The slot of a node by its whole name (with dots) in ASCII lower case.
    pub fn node(&self, folded: &[u8]) -> Option<Arc<Slot<NodeView>>> {
        self.nodes.get(folded, || {
            let name = parse::<NodeName>(folded)?;
            let state = self.state.load();
            state.nodes.get(&name).map(|entry| entry.slot.clone())
        })
    }

    /// Whether some node's name ends in `.` + `folded`: an empty non-terminal of `node.<domain>`.
    pub fn is_node_suffix(&self, folded: &[u8]) -> bool {
        with_reversed_end(folded, |end| {
            let state = self.state.load();
            let next = state.dotted_nodes.get_next(end);
            next.is_some_and(|name| name.starts_with(end))
        })
    }

    /// Whether any instance of any service has this tag (ASCII lower case).
    pub fn is_tag(&self, folded: &[u8]) -> bool {
        let tag = std::str::from_utf8(folded).ok();
        tag.is_some_and(|tag| self.state.load().tags.held(tag).is_some())
    }

    /// The newest whole state, for reverse lookups and other rare questions. Lock-free.
    pub fn state(&self) -> Guard<Arc<State>> {
        self.state.load()
    }
}

fn parse<N: FromStr>(folded: &[u8]) -> Option<N> {
    std::str::from_utf8(folded).ok()?.parse().ok()
}

/// What `found` says of `.` + `folded` from its end to its start; `false` where that is longer than
/// any name. Does not allocate.
pub(super) fn with_reversed_end(folded: &[u8], found: impl FnOnce(&[u8]) -> bool) -> bool {
    let mut reversed = [b'.'; NAME_OCTETS_MAX];
    let Some(end) = reversed.get_mut(..=folded.len()) else {
        return false;
    };
    for (to, from) in end.iter_mut().zip(folded.iter().rev()) {
        *to = *from;
    }
    found(end)
}

/// Slots by name in ASCII lower case.
#[derive(Debug)]
pub(super) struct Links<V>(DashMap<Box<[u8]>, Arc<Slot<V>>>);

impl<V> Links<V> {
    /// The linked slot; through `locked` where the writer holds the shard.
    fn get(
        &self,
        folded: &[u8],
        locked: impl FnOnce() -> Option<Arc<Slot<V>>>,
    ) -> Option<Arc<Slot<V>>> {
        match self.0.try_get(folded) {
            TryResult::Present(slot) => Some(Arc::clone(&slot)),
            TryResult::Absent => None,
            // The state may be older than the slots, by no more than the batch that is being
            // published: a slot that is empty already belongs to a name that is gone.
            TryResult::Locked => locked().filter(|slot| slot.load().is_some()),
        }
    }

    /// Links a slot that already holds a view.
    pub(super) fn link(&self, folded: Box<[u8]>, slot: Arc<Slot<V>>) {
        self.0.insert(folded, slot);
    }

    /// Unlinks a slot that is empty already.
    pub(super) fn unlink(&self, folded: &[u8]) {
        self.0.remove(folded);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Holds the shard of a linked name, as the writer does while it links.
    #[cfg(test)]
    pub(super) fn hold(&self, folded: &[u8]) -> impl Sized {
        self.0.get_mut(folded).unwrap()
    }
}

impl<V> Default for Links<V> {
    fn default() -> Self {
        Self(DashMap::new())
    }
}
