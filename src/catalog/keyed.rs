//! Ordered persistent collections whose elements carry their own key, so that no key is kept twice.
//!
//! Owns the orders in which instances, checks and addresses are kept; what the elements mean is
//! `state`'s business.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::iter::Enumerate;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use imbl::OrdMap;

use crate::types::{CheckId, ServiceId};

use super::state::{CheckEntry, Instance};

/// An instance in the order of its id: the order within a node.
#[derive(Clone, Debug)]
pub(super) struct ById(pub(super) Arc<Instance>);

/// An instance in the order of its node and id: the order within a service.
#[derive(Clone, Debug)]
pub(super) struct ByOwner(pub(super) Arc<Instance>);

/// A check in the order of its id.
#[derive(Clone, Debug)]
pub(super) struct ByCheckId(pub(super) Arc<CheckEntry>);

macro_rules! ordered {
    ($name:ident, |$left:ident, $right:ident| $compare:expr) => {
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                let ($left, $right) = (&self.0, &other.0);
                $compare
            }
        }
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.cmp(other).is_eq()
            }
        }
        impl Eq for $name {}
    };
}

ordered!(ById, |left, right| left.service.id.cmp(&right.service.id));
ordered!(ByOwner, |left, right| {
    let by_node = left.node.cmp(&right.node);
    by_node.then_with(|| left.service.id.cmp(&right.service.id))
});
ordered!(ByCheckId, |left, right| left.check.id.cmp(&right.check.id));

impl Borrow<ServiceId> for ById {
    fn borrow(&self) -> &ServiceId {
        &self.0.service.id
    }
}

impl Borrow<CheckId> for ByCheckId {
    fn borrow(&self) -> &CheckId {
        &self.0.check.id
    }
}

/// Who has an IP address; in order of address, then owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Addressed<T> {
    ip: [u8; 16],
    owner: Option<T>,
}

impl<T> Addressed<T> {
    /// `owner` has `ip`.
    pub(super) fn new(ip: IpAddr, owner: T) -> Self {
        let owner = Some(owner);
        Self { owner, ..first(ip) }
    }

    /// The owner, if this entry is one of `ip`.
    pub(super) fn owner_of(&self, ip: IpAddr) -> Option<&T> {
        self.owner.as_ref().filter(|_| self.ip == octets(ip))
    }
}

/// Stands before all owners of `ip`.
pub(super) fn first<T>(ip: IpAddr) -> Addressed<T> {
    Addressed {
        ip: octets(ip),
        owner: None,
    }
}

fn octets(ip: IpAddr) -> [u8; 16] {
    let ip: Ipv6Addr = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    ip.octets()
}

/// Gives sorted elements in the order in which they fill an ordered collection best.
///
/// Filled from the first to the last, its leaves would be left half empty, as each splits where it is
/// full and nothing comes to its first half again. So every third element waits for a second round.
#[derive(Debug)]
pub(super) struct Rounds<I: Iterator> {
    sorted: Enumerate<I>,
    second: VecDeque<I::Item>,
}

impl<I: Iterator> Rounds<I> {
    /// `sorted` is in order.
    pub(super) fn new(sorted: I) -> Self {
        let (sorted, second) = (sorted.enumerate(), VecDeque::new());
        Self { sorted, second }
    }
}

impl<I: Iterator> Iterator for Rounds<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        for (number, element) in self.sorted.by_ref() {
            if number % 3 < 2 {
                return Some(element);
            }
            self.second.push_back(element);
        }
        self.second.pop_front()
    }
}

/// A multiset: how often each key is held. Keys that are held no more are gone.
#[derive(Clone, Debug)]
pub(super) struct Counted<K: Ord>(OrdMap<K, u32>);

impl<K: Ord + Clone> Counted<K> {
    /// Holds `key` once more. Whether it is new.
    pub(super) fn add(&mut self, key: K) -> bool {
        self.add_times(key, 1)
    }

    /// Holds `key` so many times more, at least once. Whether it is new.
    pub(super) fn add_times(&mut self, key: K, times: u32) -> bool {
        let count = self.0.entry(key).or_insert(0);
        *count += times;
        *count == times
    }

    /// Holds each of `keys`, which are in order, once for each time that it comes.
    pub(super) fn of_sorted(keys: Vec<K>) -> Self {
        let mut keys = keys.into_iter().peekable();
        let distinct = std::iter::from_fn(|| {
            let key = keys.next()?;
            let mut times: u32 = 1;
            while keys.next_if_eq(&key).is_some() {
                times += 1;
            }
            Some((key, times))
        });
        Self(Rounds::new(distinct).collect())
    }

    /// Holds `key` once less. Whether it is gone now.
    pub(super) fn remove(&mut self, key: &K) -> bool {
        match self.0.get_mut(key) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => {
                self.0.remove(key);
                return true;
            }
            None => debug_assert!(false, "only held keys are removed"),
        }
        false
    }

    /// The key that equals `key`, as it is held.
    pub(super) fn held<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&K>
    where
        K: Borrow<Q>,
    {
        self.0.get_key_value(key).map(|(key, _)| key)
    }

    /// Different keys, in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }

    /// The first key at or after `key`.
    pub(super) fn at_or_after(&self, key: &K) -> Option<&K> {
        self.0.get_next(key).map(|(key, _)| key)
    }
}

impl<K: Ord> Default for Counted<K> {
    fn default() -> Self {
        Self(OrdMap::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_give_every_element_once() {
        for length in [0, 1, 2, 3, 100] {
            let rounds: Vec<u32> = Rounds::new(0..length).collect();
            assert!(rounds.iter().filter(|n| *n % 3 == 2).is_sorted());
            let mut sorted = rounds;
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..length));
        }
    }

    #[test]
    fn sorted_keys_are_counted_as_they_would_be_one_by_one() {
        let keys = [1, 1, 2, 5, 5, 5, 9].map(|number| number.to_string());
        let mut counted = Counted::of_sorted(keys.to_vec());
        assert!(counted.keys().eq(["1", "2", "5", "9"]));
        for key in &keys {
            let rest = counted.0.get(key).copied();
            assert_eq!(counted.remove(key), rest == Some(1));
        }
        assert_eq!(counted.keys().count(), 0);
    }
}
