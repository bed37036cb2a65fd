//! The slots that one worker has met, so that a name asked again costs one atomic load.
//!
//! Names that do not exist are never kept, so that no flood of them pushes out those that do.
//!
//! **Invariant**: at most 65,536 slots. A slot whose view is gone is dropped when it is met, or
//! when its place is wanted.

use std::sync::Arc;

use arc_swap::Guard;

use crate::catalog::index::Slot;

/// Slots that share one place of the table; the table is a power of two of such places.
const WAYS: usize = 4;
/// Slots of the first table.
const SLOTS_MIN: usize = 64;
/// Slots of the largest table.
const SLOTS_MAX: usize = 65_536;

/// A view that stays what it is while it is held.
pub(super) type View<V> = Guard<Option<Arc<V>>>;

/// A slot and what belongs to its name.
#[derive(Debug)]
struct Entry<V> {
    hash: u64,
    key: Box<[u8]>,
    slot: Arc<Slot<V>>,
    ttl: u32,
}

/// Slots by name in ASCII lower case. Takes no memory until the first name is met.
#[derive(Debug)]
pub(super) struct Cache<V> {
    entries: Vec<Option<Entry<V>>>,
    seed: u64,
    victim: usize,
}

impl<V> Cache<V> {
    /// An empty cache. The seed keeps outsiders from choosing names that share a place.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            entries: Vec::new(),
            seed,
            victim: 0,
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.entries = Vec::new();
    }

    /// The view of `key` and its TTL, by way of `find` where no slot is kept. `None` if there is no
    /// such name.
    pub(super) fn view(
        &mut self,
        key: &[u8],
        find: impl FnOnce() -> Option<(Arc<Slot<V>>, u32)>,
    ) -> Option<(View<V>, u32)> {
        let hash = hash(self.seed, key);
        let start = self.start(hash);
        let ways = self.entries.get_mut(start..start + WAYS);
        for place in ways.into_iter().flatten() {
            let Some(entry) = place else { continue };
            if entry.hash == hash && *entry.key == *key {
                let view = entry.slot.load();
                if view.is_some() {
                    entry.slot.mark_used();
                    return Some((view, entry.ttl));
                }
                // The name went; it may be back, with a new slot.
                *place = None;
                break;
            }
        }
        let (slot, ttl) = find()?;
        let view = slot.load();
        if view.is_some() {
            slot.mark_used();
            self.insert(Entry {
                hash,
                key: key.into(),
                slot,
                ttl,
            });
        }
        view.is_some().then_some((view, ttl))
    }

    fn start(&self, hash: u64) -> usize {
        let sets = self.entries.len() / WAYS;
        // `sets` is a power of two or zero.
        let mask = u64::try_from(sets.saturating_sub(1)).unwrap_or(0);
        usize::try_from(hash & mask).unwrap_or(0) * WAYS
    }

    fn insert(&mut self, entry: Entry<V>) {
        let free = |place: &&mut Option<Entry<V>>| {
            place
                .as_ref()
                .is_none_or(|entry| entry.slot.load().is_none())
        };
        loop {
            let start = self.start(entry.hash);
            let ways = self.entries.get_mut(start..start + WAYS);
            if let Some(place) = ways.into_iter().flatten().find(free) {
                *place = Some(entry);
                return;
            }
            if self.entries.len() < SLOTS_MAX {
                self.grow();
                continue;
            }
            self.victim = (self.victim + 1) % WAYS;
            if let Some(place) = self.entries.get_mut(start + self.victim) {
                *place = Some(entry);
            }
            return;
        }
    }

    fn grow(&mut self) {
        let length = (self.entries.len() * 4).clamp(SLOTS_MIN, SLOTS_MAX);
        let mut larger = Vec::with_capacity(length);
        larger.resize_with(length, || None);
        let smaller = std::mem::replace(&mut self.entries, larger);
        for entry in smaller.into_iter().flatten() {
            let start = self.start(entry.hash);
            let ways = self.entries.get_mut(start..start + WAYS);
            // Entries that shared a place spread over four; one that finds none is met again.
            if let Some(place) = ways.into_iter().flatten().find(|place| place.is_none()) {
                *place = Some(entry);
            }
        }
    }
}

/// A keyed hash of short names: multiply and fold, eight octets at a time.
fn hash(seed: u64, key: &[u8]) -> u64 {
    let mix = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * 0x9e37_79b9_7f4a_7c15_u128;
        let (high, low) = (product >> 64, product & u128::from(u64::MAX));
        u64::try_from(high).unwrap_or(0) ^ u64::try_from(low).unwrap_or(0)
    };
    let mut words = key.chunks_exact(8);
    let mut state = seed ^ u64::try_from(key.len()).unwrap_or(0);
    for word in words.by_ref() {
        let word = word
            .first_chunk()
            .map_or(0, |word| u64::from_le_bytes(*word));
        state = mix(state, word);
    }
    let rest = words.remainder().iter();
    mix(
        state,
        rest.fold(0, |word, octet| word << 8 | u64::from(*octet)),
    )
}
