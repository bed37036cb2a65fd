//! Gathers the coordinates of nodes and writes them together: each agent sends its own every few
//! seconds, and a command for each would fill the log with them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use rand::RngExt;
use tokio::sync::Notify;

use super::{Directory, ProposeError, WriteError};
use crate::catalog::{Location, Operation};
use crate::clock;
use crate::gossip::pool::Pool;
use crate::metrics::Metrics;
use crate::task::Tasks;
use crate::types::{Coordinate, NodeName, RequestContext};

/// Least time between two writes of coordinates; what comes in between waits.
pub const LOCATIONS_PERIOD: Duration = Duration::from_secs(5);
/// Nodes whose coordinates may wait.
const NODES_MAX: usize = 16_384;
/// Coordinates in one command: bounds its size in the log.
const COMMAND_MAX: usize = 512;
/// Least time between two coordinates of one agent.
const REPORT_INTERVAL: Duration = Duration::from_secs(15);
/// Coordinates that all agents of a datacenter together send in a second.
const REPORTS_PER_SECOND: u64 = 64;

/// Coordinates that wait to be written: the newest one of each node.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    newest: Mutex<BTreeMap<NodeName, Coordinate>>,
    filled: Notify,
}

impl Waiting {
    /// Keeps the newest coordinate of a node.
    ///
    /// # Errors
    /// Too many wait; nothing changed.
    fn put(&self, location: Location) -> Result<(), ProposeError> {
        let mut newest = self.lock();
        let full = newest.len() >= NODES_MAX;
        match newest.entry(location.node) {
            Entry::Vacant(_) if full => return Err(ProposeError::Busy { limit: NODES_MAX }),
            Entry::Vacant(entry) => drop(entry.insert(location.coordinate)),
            Entry::Occupied(mut entry) => drop(entry.insert(location.coordinate)),
        }
        self.filled.notify_one();
        Ok(())
    }

    /// Takes up to [`COMMAND_MAX`] of them, in the order of names.
    fn take(&self) -> Vec<Location> {
        let mut newest = self.lock();
        let taken = std::iter::from_fn(|| newest.pop_first());
        let locations = taken.map(|(node, coordinate)| Location { node, coordinate });
        locations.take(COMMAND_MAX).collect()
    }

    /// Takes back what could not be written, unless there is something newer.
    fn give_back(&self, locations: Vec<Location>) {
        let mut newest = self.lock();
        for Location { node, coordinate } in locations {
            newest.entry(node).or_insert(coordinate);
        }
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeName, Coordinate>> {
        self.newest.lock().expect("no holder of this lock panics")
    }
}

impl Directory {
    /// Has the coordinate of a node written, within [`LOCATIONS_PERIOD`] or so. Of several for one
    /// node the newest counts; one for a node that the catalog does not have is dropped then.
    ///
    /// # Errors
    /// [`WriteError`]: nothing will be written.
    pub fn locate(&self, context: &RequestContext, location: Location) -> Result<(), WriteError> {
        self.check_datacenter(context)
            .ok_or(WriteError::NoPathToDatacenter)?;
        self.raft()?;
        Ok(self.waiting.put(location)?)
    }

    /// The same on any agent: a client agent has a server write it.
    ///
    /// # Errors
    /// [`WriteError`]: nothing will be written.
    pub async fn tell_location(
        &self,
        context: &RequestContext,
        location: Location,
    ) -> Result<(), WriteError> {
        match &self.remote {
            Some(remote) => Ok(remote.locate(context, &location).await?),
            None => self.locate(context, location),
        }
    }

    /// Starts to write the coordinates that [`Directory::locate`] takes: the first one at once, then
    /// all that have gathered once in every `period`.
    pub fn write_locations(&self, period: Duration, metrics: &Metrics, tasks: &Tasks) {
        let waiting = Arc::clone(&self.waiting);
        show_waiting(&waiting, metrics);
        let failures: Counter = metrics.register(
            "directory_coordinates_failures",
            "Writes of coordinates that failed and were repeated",
            Counter::default(),
        );
        let directory = self.clone();
        tasks.spawn(async move {
            let mut told = false;
            loop {
                waiting.filled.notified().await;
                let next = clock::now() + period;
                match directory.flush().await {
                    Ok(()) => told = false,
                    // Where there is no server to ask, nothing is wrong with the coordinate.
                    Err(error @ WriteError::NoServers(_)) => {
                        tracing::debug!("the coordinate of this node was not taken: {error}");
                    }
                    Err(error) => {
                        failures.inc();
                        if !std::mem::replace(&mut told, true) {
                            tracing::warn!("coordinates could not be written, will retry: {error}");
                        }
                        waiting.filled.notify_one();
                    }
                }
                tokio::time::sleep_until(next).await;
            }
        });
    }

    /// Says every so often where this agent's node is, as its LAN pool has found out.
    pub fn report_location(&self, node: NodeName, lan: Pool, tasks: &Tasks) {
        let directory = self.clone();
        let look = move || (lan.members().len(), lan.coordinate());
        tasks.spawn(async move { directory.report(node, look).await });
    }

    /// The same from a `look` at the number of members and the coordinate.
    async fn report(&self, node: NodeName, look: impl Fn() -> (usize, Coordinate)) {
        let context = RequestContext::default();
        let mut told = false;
        loop {
            let interval = interval(look().0);
            // Spread out, so that agents that started together do not report together.
            let stagger = interval.mul_f64(rand::rng().random());
            tokio::time::sleep(interval + stagger).await;
            let (node, (_, coordinate)) = (node.clone(), look());
            let location = Location { node, coordinate };
            match self.tell_location(&context, location).await {
                Ok(()) => told = false,
                // Where there is no server to ask, nothing is wrong with the coordinate.
                Err(error @ WriteError::NoServers(_)) => {
                    tracing::debug!("the coordinate of this node was not taken: {error}");
                }
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!("the coordinate of this node was not taken: {error}");
                    }
                }
            }
        }
    }

    /// Writes all that wait.
    async fn flush(&self) -> Result<(), WriteError> {
        let context = RequestContext::default();
        loop {
            let locations = self.waiting.take();
            if locations.is_empty() {
                return Ok(());
            }
            let operation = Operation::Locate(locations.clone());
            if let Err(error) = self.write(&context, vec![operation]).await {
                self.waiting.give_back(locations);
                return Err(error);
            }
        }
    }
}

/// Least time between two reports of one agent, so that all of them together do not say too much.
fn interval(members: usize) -> Duration {
    let members = u64::try_from(members).unwrap_or(u64::MAX);
    REPORT_INTERVAL.max(Duration::from_secs(members / REPORTS_PER_SECOND))
}

/// Shows how many wait. Does not keep them.
#[expect(clippy::cast_precision_loss, reason = "a figure to be shown")]
fn show_waiting(waiting: &Arc<Waiting>, metrics: &Metrics) {
    let waiting = Arc::downgrade(waiting);
    let help = "Nodes whose coordinates wait to be written";
    metrics.show("directory_coordinates_waiting", help, move || {
        waiting.upgrade().map_or(0, |waiting| waiting.len()) as f64
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Registration, WatchKey, open_server};
    use crate::directory::{Config, NoServers};
    use crate::raft;
    use crate::types::{Address, Meta, Node};

    fn location(node: &str, place: u32) -> Location {
        let mut coordinate = Coordinate::START;
        coordinate.vector[0] = place.into();
        let node = node.parse().unwrap();
        Location { node, coordinate }
    }

    async fn directory(tasks: &Tasks) -> Directory {
        let (writer, reader) = open_server();
        let metrics = Metrics::new();
        let proposer = raft::alone(writer, &metrics, tasks).await;
        Directory::new(bounds(), reader, proposer)
    }

    fn bounds() -> Config {
        Config {
            datacenter: "dc1".parse().unwrap(),
            address: ([127, 0, 0, 1], 8300).into(),
            wait_default: Duration::from_secs(300),
            wait_max: Duration::from_secs(600),
        }
    }

    async fn register(directory: &Directory, node: &str) {
        let node = Node {
            id: None,
            name: node.parse().unwrap(),
            address: Address::None,
            tagged_addresses: BTreeMap::new(),
            meta: Meta::default(),
        };
        let registration = Registration {
            node,
            skip_node_update: false,
            service: None,
            checks: Vec::new(),
        };
        let operation = Operation::Register(Box::new(registration));
        let context = RequestContext::default();
        directory.write(&context, vec![operation]).await.unwrap();
    }

    /// Waits until the catalog has this.
    async fn becomes(directory: &Directory, location: Location) {
        let key = WatchKey::NodeLocation(location.node.clone());
        let mut watcher = directory.reader().watch(&key);
        loop {
            let state = directory.reader().state();
            let found = state.node(&location.node).unwrap().location.as_ref();
            if found.is_some_and(|found| found.coordinate == location.coordinate) {
                return;
            }
            watcher.changed().await;
        }
    }

    #[tokio::test]
    async fn the_first_coordinate_is_written_at_once_and_the_next_ones_together() {
        let tasks = Tasks::new();
        let directory = directory(&tasks).await;
        let context = RequestContext::default();
        for node in ["a", "b"] {
            register(&directory, node).await;
        }
        directory.write_locations(Duration::from_millis(200), &Metrics::new(), &tasks);
        let locate = |node, place| directory.locate(&context, location(node, place)).unwrap();
        locate("a", 1);
        locate("nobody", 1);
        becomes(&directory, location("a", 1)).await;
        let first = directory.reader().applied();
        for place in 2..50 {
            locate("a", place);
            locate("b", place);
        }
        becomes(&directory, location("b", 49)).await;
        becomes(&directory, location("a", 49)).await;
        // A machine that is busy may have begun another period in between.
        assert!(directory.reader().applied().0 - first.0 < 10);
        assert!(tasks.stop(Duration::from_secs(10)).await);
    }

    #[test]
    fn a_client_agent_and_another_datacenter_take_none() {
        let directory = Directory::client(bounds());
        let context = RequestContext::default();
        let refused = directory.locate(&context, location("a", 1));
        assert_eq!(refused, Err(WriteError::NoServers(NoServers)));
        let elsewhere = RequestContext {
            datacenter: Some("dc2".parse().unwrap()),
            ..context
        };
        let refused = directory.locate(&elsewhere, location("a", 1));
        assert_eq!(refused, Err(WriteError::NoPathToDatacenter));
        assert_eq!(directory.waiting.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_reports_where_it_is_every_15_to_30_seconds() {
        let tasks = Tasks::new();
        let directory = directory(&tasks).await;
        let looks = std::cell::Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            (3, location("a", looks.get()).coordinate)
        };
        let begin = clock::now();
        let report = directory.report("a".parse().unwrap(), look);
        drop(tokio::time::timeout(Duration::from_secs(300), report).await);
        assert_eq!(begin.elapsed(), Duration::from_secs(300));
        // Two looks for each report, and one more before the one that never came.
        assert!((21..=41).contains(&looks.get()), "{}", looks.get());
        let waiting = directory.waiting.take();
        assert_eq!(waiting, [location("a", looks.get() - 1)]);
    }

    #[test]
    fn many_agents_report_less_often() {
        assert_eq!(interval(1), Duration::from_secs(15));
        assert_eq!(interval(64 * 15), Duration::from_secs(15));
        assert_eq!(interval(64 * 100), Duration::from_secs(100));
    }

    #[test]
    fn the_newest_coordinate_of_a_node_wins() {
        let waiting = Waiting::default();
        for (node, place) in [("b", 1), ("a", 2), ("B", 3)] {
            waiting.put(location(node, place)).unwrap();
        }
        let taken = waiting.take();
        assert_eq!(taken, [location("a", 2), location("b", 3)]);
        waiting.put(location("b", 4)).unwrap();
        waiting.give_back(taken);
        assert_eq!(waiting.take(), [location("a", 2), location("b", 4)]);
    }

    #[test]
    fn too_many_nodes_are_refused_and_known_ones_are_not() {
        let waiting = Waiting::default();
        for number in 0..NODES_MAX {
            waiting.put(location(&format!("n{number}"), 0)).unwrap();
        }
        let refused = waiting.put(location("one-more", 0));
        assert_eq!(refused, Err(ProposeError::Busy { limit: NODES_MAX }));
        waiting.put(location("n7", 1)).unwrap();
        assert_eq!(waiting.len(), NODES_MAX);
        assert_eq!(waiting.take().len(), COMMAND_MAX);
        waiting.put(location("one-more", 0)).unwrap();
    }
}
