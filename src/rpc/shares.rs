//! Bounds what all connections hold together, and what those of one address may hold of it, so that
//! one address cannot take the room of all others.
//!
//! **Invariant**: whoever holds a share of an address holds as much of the whole.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Addresses remembered before those without connections are looked for.
const SOURCES_MIN: usize = 64;

/// Room for all connections; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Shares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    all: Arc<Semaphore>,
    of_source_max: usize,
    sources: Mutex<Sources>,
}

#[derive(Debug, Default)]
struct Sources {
    by_address: HashMap<IpAddr, Weak<Semaphore>>,
    /// Addresses at which the unused ones are looked for.
    sweep_at: usize,
}

/// The room of one address, or of all who have no bound of their own.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    all: Arc<Semaphore>,
    of_source: Option<Arc<Semaphore>>,
}

/// Room that is taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    all: OwnedSemaphorePermit,
    of_source: Option<OwnedSemaphorePermit>,
}

impl Shares {
    /// Room for `all` units, of which one address may have `of_source`.
    pub(crate) fn new(all: usize, of_source: usize) -> Self {
        Self(Arc::new(Inner {
            all: Arc::new(Semaphore::new(all.min(Semaphore::MAX_PERMITS))),
            of_source_max: of_source.min(Semaphore::MAX_PERMITS),
            sources: Mutex::default(),
        }))
    }

    /// The share of an address, which all its connections have together.
    pub(crate) fn of(&self, address: IpAddr) -> Share {
        let address = address.to_canonical();
        let mut sources = self
            .0
            .sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = sources.by_address.get(&address).and_then(Weak::upgrade);
        let of_source = known.unwrap_or_else(|| {
            let of_source = Arc::new(Semaphore::new(self.0.of_source_max));
            sources.insert(address, Arc::downgrade(&of_source));
            of_source
        });
        Share {
            all: Arc::clone(&self.0.all),
            of_source: Some(of_source),
        }
    }
}

impl Sources {
    fn insert(&mut self, address: IpAddr, share: Weak<Semaphore>) {
        if self.by_address.len() >= self.sweep_at.max(SOURCES_MIN) {
            self.by_address.retain(|_, share| share.strong_count() > 0);
            self.sweep_at = 2 * self.by_address.len();
        }
        self.by_address.insert(address, share);
    }
}

impl Share {
    /// Room for `all` units, without addresses.
    pub(crate) fn new(all: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all.min(Semaphore::MAX_PERMITS))),
            of_source: None,
        }
    }

    /// Takes `units` if there is room for them now.
    pub(crate) fn try_hold(&self, units: usize) -> Option<Held> {
        let units = u32::try_from(units).ok()?;
        let take = |room: &Arc<Semaphore>| Arc::clone(room).try_acquire_many_owned(units).ok();
        let of_source = match &self.of_source {
            Some(room) => Some(take(room)?),
            None => None,
        };
        let all = take(&self.all)?;
        Some(Held { all, of_source })
    }

    /// Takes one unit, and waits for it. Cancel-safe.
    pub(crate) async fn hold_one(&self) -> Held {
        // Who waits for the whole already has the place of its address, and the other way round one
        // address would keep room from others while it waits for itself.
        let of_source = match &self.of_source {
            Some(room) => Some(take_one(room).await),
            None => None,
        };
        let all = take_one(&self.all).await;
        Held { all, of_source }
    }
}

async fn take_one(room: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let one = Arc::clone(room).acquire_owned().await;
    one.expect("nobody closes it")
}

impl Held {
    /// Units held.
    pub(crate) fn units(&self) -> usize {
        self.all.num_permits()
    }

    /// Adds what `other`, of the same share, holds.
    pub(crate) fn merge(&mut self, other: Self) {
        self.all.merge(other.all);
        match (&mut self.of_source, other.of_source) {
            (Some(held), Some(other)) => held.merge(other),
            (None, other) => self.of_source = other,
            (Some(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [127, 0, 0, last].into()
    }

    #[test]
    fn one_address_leaves_room_for_others() {
        let shares = Shares::new(10, 6);
        let first = shares.of(address(1));
        let held = first.try_hold(6).unwrap();
        assert!(shares.of(address(1)).try_hold(1).is_none());
        let second = shares.of(address(2));
        let other = second.try_hold(4).unwrap();
        assert!(second.try_hold(1).is_none());
        assert_eq!((held.units(), other.units()), (6, 4));
        drop(held);
        assert!(second.try_hold(2).is_some());
        assert!(first.try_hold(6).is_some());
    }

    #[test]
    fn what_is_not_had_of_the_whole_is_not_kept_of_the_address() {
        let shares = Shares::new(4, 3);
        let _first = shares.of(address(1)).try_hold(3).unwrap();
        let second = shares.of(address(2));
        assert!(second.try_hold(2).is_none());
        assert_eq!(second.of_source.as_ref().unwrap().available_permits(), 3);
    }

    #[test]
    fn addresses_without_connections_are_forgotten() {
        let shares = Shares::new(4, 3);
        let kept = shares.of(address(1));
        for host in 0..1_000_u32 {
            drop(shares.of(std::net::Ipv4Addr::from_bits(0x0a00_0000 + host).into()));
        }
        let sources = shares.0.sources.lock().unwrap();
        assert!(sources.by_address.len() <= 2 * SOURCES_MIN);
        assert!(sources.by_address[&address(1)].upgrade().is_some());
        drop(kept);
    }

    #[tokio::test]
    async fn who_waits_for_room_gets_it_in_turn() {
        let shares = Shares::new(4, 2);
        let share = shares.of(address(1));
        let mut held = share.hold_one().await;
        held.merge(share.hold_one().await);
        assert_eq!(held.units(), 2);
        let waiting = share.hold_one();
        tokio::pin!(waiting);
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("there is no room"),
            () = std::future::ready(()) => {}
        }
        // Others do not wait for it.
        drop(shares.of(address(2)).hold_one().await);
        drop(held);
        assert_eq!(waiting.await.units(), 1);
    }
}
