//! Wakes exactly those reads that wait for what changed; no scan over all watchers.
//!
//! **Invariant**: a key is registered while, and only while, somebody watches it.
//! **Invariant**: the writer publishes a state before it wakes, and a watcher is registered before
//! its owner reads the state: a change is either in the state that was read, or wakes. (Both sides
//! go through the lock of the key's shard, which orders them.)

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;
use tokio::sync::Notify;

use crate::types::{NodeName, ServiceName};

/// What a blocking read can see, and so what wakes it. Each key has an index:
/// [`State::index_of`](super::State::index_of).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WatchKey {
    /// The nodes table: nodes added, changed, removed.
    Nodes,
    /// The services table: any instance added, changed, removed; not checks.
    Services,
    /// The checks table.
    Checks,
    /// One node and the services on it (`catalog/node`).
    NodeServices(NodeName),
    /// The checks on one node (`health/node`).
    NodeChecks(NodeName),
    /// The instances of one service, and their nodes' addresses (`catalog/service`); not checks.
    ServiceInstances(ServiceName),
    /// The checks of one service's instances (`health/checks`).
    ServiceChecks(ServiceName),
    /// The instances of one service with everything that decides their health: their checks, their
    /// nodes and the nodes' checks (`health/service`).
    ServiceHealth(ServiceName),
    /// The coordinates of all nodes (`coordinate/nodes`).
    Locations,
    /// The coordinate of one node (`coordinate/node`).
    NodeLocation(NodeName),
}

/// Keys that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Watches(DashMap<WatchKey, Arc<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    watchers: AtomicUsize,
    changes: AtomicU64,
    changed: Notify,
}

impl Watches {
    /// Registers a wait.
    pub(super) fn watch(self: &Arc<Self>, key: &WatchKey) -> Watcher {
        let waiting = {
            let entry = self.0.entry(key.clone()).or_default();
            // Counted under the shard's lock, so that the entry is not removed in between.
            entry.watchers.fetch_add(1, Ordering::Relaxed);
            Arc::clone(&entry)
        };
        Watcher {
            seen: waiting.changes.load(Ordering::Acquire),
            waiting,
            watches: Arc::clone(self),
            key: key.clone(),
        }
    }

    /// Wakes everyone who watches `key`, if it has `moved`: asked only where somebody watches.
    pub(super) fn wake_if(&self, key: &WatchKey, moved: impl FnOnce(&WatchKey) -> bool) {
        let waiting = self.0.get(key).map(|entry| Arc::clone(&entry));
        if let Some(waiting) = waiting.filter(|_| moved(key)) {
            waiting.changes.fetch_add(1, Ordering::Release);
            waiting.changed.notify_waiters();
        }
    }

    /// Whether nobody watches anything.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All keys that somebody watches now: for a change whose extent is not known.
    pub(super) fn keys(&self) -> Vec<WatchKey> {
        self.0.iter().map(|entry| entry.key().clone()).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// One registered wait: created before the state is read, so that no change is missed.
#[derive(Debug)]
pub struct Watcher {
    watches: Arc<Watches>,
    key: WatchKey,
    waiting: Arc<Waiting>,
    seen: u64,
}

impl Watcher {
    /// Waits for the next change of the key since this watcher was made, or since the last call.
    /// Cancel-safe.
    pub async fn changed(&mut self) {
        loop {
            // Made before the count is read: a wake-up between the two reaches it.
            let notified = self.waiting.changed.notified();
            let changes = self.waiting.changes.load(Ordering::Acquire);
            if changes != self.seen {
                self.seen = changes;
                return;
            }
            notified.await;
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.waiting.watchers.fetch_sub(1, Ordering::Relaxed);
        let unused = |_: &WatchKey, waiting: &mut Arc<Waiting>| {
            waiting.watchers.load(Ordering::Relaxed) == 0
        };
        self.watches.0.remove_if_mut(&self.key, unused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Watches {
        fn wake(&self, key: &WatchKey) {
            self.wake_if(key, |_| true);
        }
    }

    fn key(service: &str) -> WatchKey {
        WatchKey::ServiceHealth(service.parse().unwrap())
    }

    #[tokio::test]
    async fn a_change_before_the_wait_is_not_missed() {
        let watches = Arc::new(Watches::default());
        let mut web = watches.watch(&key("web"));
        watches.wake(&key("WEB"));
        web.changed().await;
    }

    #[tokio::test]
    async fn other_keys_do_not_wake() {
        let watches = Arc::new(Watches::default());
        let mut web = watches.watch(&key("web"));
        let mut all = watches.watch(&WatchKey::Services);
        watches.wake(&WatchKey::Services);
        tokio::select! {
            biased;
            () = web.changed() => panic!("not its key"),
            () = all.changed() => {}
        }
    }

    #[tokio::test]
    async fn entries_go_with_their_last_watcher() {
        let watches = Arc::new(Watches::default());
        let (first, second) = (watches.watch(&key("web")), watches.watch(&key("web")));
        drop(first);
        assert_eq!(watches.len(), 1);
        drop(second);
        assert_eq!(watches.len(), 0);
    }

    #[tokio::test]
    async fn an_abandoned_wait_can_be_taken_up_again() {
        let watches = Arc::new(Watches::default());
        let mut web = watches.watch(&key("web"));
        tokio::select! {
            biased;
            () = web.changed() => panic!("nothing changed"),
            () = std::future::ready(()) => {}
        }
        watches.wake(&key("web"));
        web.changed().await;
    }
}
