//! The read side that may be cloned and shared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::types::Index;

use super::index::DnsIndex;
use super::state::State;
use super::watch::{WatchKey, Watcher, Watches};

/// What the one writer publishes and all readers see.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) dns: DnsIndex,
    pub(super) applied: AtomicU64,
    pub(super) watches: Arc<Watches>,
}

/// Reads the catalog. Clones are cheap and see the same states.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The newest published state. Lock-free.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.shared.dns.state())
    }
    /// Position in the log up to which everything is applied and published.
    pub fn applied(&self) -> Index {
        Index(self.shared.applied.load(Ordering::Acquire))
    }
    /// Whether it holds everything that exists, as on a server. Where it does not, a name that is
    /// not in it may exist all the same.
    pub fn is_whole(&self) -> bool {
        self.shared.dns.is_whole()
    }
    /// The DNS side.
    pub fn dns(&self) -> &DnsIndex {
        &self.shared.dns
    }
    /// Registers a wait for changes of `key`; make it before reading the state.
    pub fn watch(&self, key: &WatchKey) -> Watcher {
        self.shared.watches.watch(key)
    }
}
