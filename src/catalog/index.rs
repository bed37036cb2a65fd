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

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use dashmap::DashMap;
use dashmap::try_result::TryResult;
use imbl::OrdMap;

use crate::types::{NodeName, ServiceName};

use super::state::{AddressOwner, State};

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
    used: AtomicBool,
}

impl<V> Slot<V> {
    /// The newest view; `None` when the name is gone and this slot unlinked. Lock-free, no
    /// allocation.
    pub fn load(&self) -> Guard<Option<Arc<V>>> {
        self.view.load()
    }

    /// Notes that somebody was answered from here. Writes only where that is news, so that workers
    /// that share a slot do not take it from each other.
    pub fn mark_used(&self) {
        mark(&self.used);
    }

    /// Whether it was used since this was last asked.
    pub fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
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
            used: AtomicBool::new(false),
        }
    }
}

fn mark(used: &AtomicBool) {
    if !used.load(Ordering::Relaxed) {
        used.store(true, Ordering::Relaxed);
    }
}

/// Lookups by name for DNS workers.
#[derive(Debug, Default)]
pub struct DnsIndex {
    pub(super) services: Links<ServiceView>,
    pub(super) nodes: Links<NodeView>,
    pub(super) state: ArcSwap<State>,
    /// Who has which address, where the state does not hold everything that exists: who has one
    /// there may not be who has it in truth.
    owners: Option<ArcSwap<Owners>>,
}

/// Addresses that somebody said an owner of.
type Owners = OrdMap<IpAddr, Arc<Owner>>;

#[derive(Debug)]
struct Owner {
    owner: AddressOwner,
    used: AtomicBool,
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

    /// Who has an address, as far as that is known here. Does not allocate.
    pub fn owner_of(&self, ip: IpAddr) -> Option<AddressOwner> {
        let Some(owners) = &self.owners else {
            return self.state.load().owner_of(ip);
        };
        let owners = owners.load();
        let known = owners.get(&ip)?;
        mark(&known.used);
        Some(known.owner.clone())
    }

    /// Whether somebody was told the owner of an address since this was last asked, in a catalog
    /// that is not whole.
    pub fn take_owner_used(&self, ip: IpAddr) -> bool {
        let known = self.owners.as_ref();
        let known = known.and_then(|owners| owners.load().get(&ip).cloned());
        known.is_some_and(|known| known.used.swap(false, Ordering::Relaxed))
    }

    /// An index over some of what exists.
    pub(super) fn partial() -> Self {
        Self {
            owners: Some(ArcSwap::default()),
            ..Self::default()
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.owners.is_none()
    }

    /// Keeps or forgets who has an address. Only the one writer does this.
    pub(super) fn set_owner(&self, ip: IpAddr, owner: Option<AddressOwner>) {
        let Some(owners) = &self.owners else { return };
        let mut next = Owners::clone(&owners.load());
        match owner {
            Some(owner) if next.get(&ip).is_some_and(|known| known.owner == owner) => return,
            Some(owner) => {
                let used = AtomicBool::new(false);
                next.insert(ip, Arc::new(Owner { owner, used }));
            }
            None => drop(next.remove(&ip)),
        }
        owners.store(Arc::new(next));
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
