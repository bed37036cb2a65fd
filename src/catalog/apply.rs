//! Applies commands: decides what each means for the state, whole or not at all.
//!
//! Owns the meaning of commands; `edit` carries the changes out, `publish` shows them.
//!
//! **Invariant**: a command either changes everything it names or, if it is refused, nothing.
//! **Invariant**: no clock, random source, float or unordered collection decides anything here: all
//! servers that apply the same log reach the same state.

mod recover;

use std::borrow::Borrow;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::types::{Check, CheckId, Index, Node, NodeName, SERF_HEALTH, Service, Status};

use super::command::{
    Command, Deregistration, Location, Operation, Outcome, Refusal, Registration,
};
use super::edit::{Broken, Changes, Edit};
use super::index::DnsIndex;
use super::reader::{Reader, Shared};
use super::state::{AddressOwner, NodeEntry, State};
use super::watch::WatchKey;
use super::{install, publish};

pub use recover::Recovery;

/// A broken invariant while applying: a bug or a damaged log, never a user's mistake. Nothing of
/// the batch was published; the caller stops writing and says why, DNS goes on from memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("catalog is corrupt at index {index}: {what}")]
pub struct Corrupt {
    /// Position in the log.
    pub index: Index,
    /// The broken invariant.
    pub what: String,
}

/// The one writer of the catalog.
#[derive(Debug)]
pub struct Writer {
    state: State,
    /// What readers see: `state` before the batch in hand.
    published: Arc<State>,
    shared: Arc<Shared>,
}

/// An empty catalog of a server.
pub fn open_server() -> (Writer, Reader) {
    open(Shared::default())
}

/// An empty catalog of an agent without a copy of its own: it will hold some names and not others
/// (see [`Reader::is_whole`]).
pub fn open_client() -> (Writer, Reader) {
    open(Shared {
        dns: DnsIndex::partial(),
        ..Shared::default()
    })
}

fn open(shared: Shared) -> (Writer, Reader) {
    let shared = Arc::new(shared);
    let writer = Writer {
        state: State::default(),
        published: Arc::clone(&shared.dns.state()),
        shared: Arc::clone(&shared),
    };
    (writer, Reader::new(shared))
}

/// Why an operation did not happen.
enum Stop {
    Refused(Refusal),
    Broken(Broken),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl Writer {
    /// Position in the log up to which everything is applied.
    pub fn applied(&self) -> Index {
        self.state.applied
    }

    /// What is published: a picture of the state that costs nothing.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.published)
    }

    /// Applies committed commands in log order and publishes once.
    ///
    /// All servers apply the same log and must reach the same state.
    ///
    /// # Errors
    /// [`Corrupt`]: nothing of the batch is published.
    pub fn apply(&mut self, batch: Vec<(Index, Command)>) -> Result<Vec<Outcome>, Corrupt> {
        let mut changes = Changes::default();
        let outcomes: Result<Vec<_>, _> = batch
            .into_iter()
            .map(|(index, command)| self.apply_one(index, command, &mut changes))
            .collect();
        let result = outcomes.and_then(|outcomes| {
            self.publish(&changes)?;
            Ok(outcomes)
        });
        if result.is_err() {
            self.state = State::clone(&self.published);
        }
        result
    }

    /// Says who has an address, in a catalog that is not whole; `None` forgets what was said.
    pub fn set_owner(&mut self, ip: IpAddr, owner: Option<AddressOwner>) {
        self.shared.dns.set_owner(ip, owner);
    }

    /// Puts `state`, as a snapshot gave it, in the place of what was applied so far, and publishes
    /// it: names that both have keep their slots, and all reads wake that can see a difference.
    ///
    /// # Errors
    /// [`Corrupt`]: `state` is older than what is applied, or another state at the same position;
    /// nothing changed.
    pub fn install(&mut self, mut state: State) -> Result<(), Corrupt> {
        let (index, here) = (state.applied, self.state.applied);
        if index < here {
            let what = Broken("a snapshot that is older than what is applied");
            return Err(corrupt(index, what));
        }
        if index == here {
            return if state.digest() == self.state.digest() {
                Ok(())
            } else {
                let what = Broken("a snapshot that differs from what the log gave");
                Err(corrupt(index, what))
            };
        }
        let changes = install::succeed(&self.published, &mut state);
        self.state = state;
        match self.show(&changes) {
            Ok(before) => {
                self.wake(&before, self.shared.watches.keys());
                Ok(())
            }
            Err(corrupt) => {
                self.state = State::clone(&self.published);
                Err(corrupt)
            }
        }
    }

    /// In an order in which whoever sees one step sees all before it.
    fn publish(&mut self, changes: &Changes) -> Result<(), Corrupt> {
        let before = self.show(changes)?;
        // Whoever begins to watch after this look reads what was published before it.
        if !self.shared.watches.is_empty() {
            let keys: HashSet<_> = changes.keys.iter().collect();
            self.wake(&before, keys);
        }
        Ok(())
    }

    /// All of publishing but the wake-ups. What was published before.
    fn show(&mut self, changes: &Changes) -> Result<Arc<State>, Corrupt> {
        let views = publish::prepare(&self.published, &self.state, changes)
            .map_err(|broken| corrupt(self.state.applied, broken))?;
        Ok(self.reveal(views))
    }

    /// Publishes the state with its `views`. What was published before.
    fn reveal(&mut self, views: publish::Views) -> Arc<State> {
        let before = std::mem::replace(&mut self.published, Arc::new(self.state.clone()));
        publish::commit(&self.shared.dns, views);
        self.shared.dns.state.store(Arc::clone(&self.published));
        let index = self.state.applied;
        self.shared.applied.store(index.0, Ordering::Release);
        before
    }

    fn wake(&self, before: &State, keys: impl IntoIterator<Item: Borrow<WatchKey>>) {
        let moved = |key: &WatchKey| before.index_of(key) != self.published.index_of(key);
        for key in keys {
            self.shared.watches.wake_if(key.borrow(), moved);
        }
    }

    fn apply_one(
        &mut self,
        index: Index,
        command: Command,
        changes: &mut Changes,
    ) -> Result<Outcome, Corrupt> {
        if index <= self.state.applied {
            let what = Broken("an entry that is not after the last one");
            return Err(corrupt(index, what));
        }
        // One operation is checked whole before it changes anything; several need a way back.
        let before = (command.operations.len() > 1).then(|| self.state.clone());
        let mut edit = Edit {
            state: &mut self.state,
            published: &self.published,
            changes,
            index,
        };
        let done = command
            .operations
            .into_iter()
            .try_for_each(|operation| match operation {
                Operation::Register(registration) => register(&mut edit, *registration),
                Operation::Deregister(what) => deregister(&mut edit, &what),
                Operation::Locate(locations) => locate(&mut edit, locations),
            });
        if let (Err(_), Some(before)) = (&done, before) {
            self.state = before;
        }
        self.state.applied = index;
        match done {
            Ok(()) => Ok(Outcome::Applied { index }),
            Err(Stop::Refused(refusal)) => Ok(Outcome::Refused(refusal)),
            Err(Stop::Broken(broken)) => Err(corrupt(index, broken)),
        }
    }
}

fn corrupt(index: Index, Broken(what): Broken) -> Corrupt {
    Corrupt {
        index,
        what: what.to_owned(),
    }
}

/// What a registration means for its node.
enum NodePlan {
    Keep,
    Add,
    Replace,
    /// Another name for the node that has this one now.
    Rename(NodeName),
}

fn register(edit: &mut Edit<'_>, registration: Registration) -> Result<(), Stop> {
    let plan = plan(edit.state, &registration)?;
    check_services(edit.state, &plan, &registration)?;
    let Registration {
        node,
        service,
        checks,
        ..
    } = registration;
    let name = node.name.clone();
    match plan {
        NodePlan::Keep => {}
        NodePlan::Add => edit.add_node(node),
        NodePlan::Replace => edit.replace_node(node)?,
        NodePlan::Rename(old) => {
            // Only a dead node is in the way here.
            if old != name && edit.state.nodes.contains_key(&name) {
                edit.remove_node(&name)?;
            }
            edit.rename_node(&old, node)?;
        }
    }
    let checks = match service {
        Some(service) => put_service(edit, &name, service, checks)?,
        None => checks,
    };
    for check in checks {
        edit.put_check(&name, check)?;
    }
    Ok(())
}

/// Puts an instance, if it is new with those of `checks` that are its own. The checks that are left.
fn put_service(
    edit: &mut Edit<'_>,
    node: &NodeName,
    service: Service,
    checks: Vec<Check>,
) -> Result<Vec<Check>, Broken> {
    if !is_new(edit.state, node, &service, &checks) {
        edit.put_instance(node, service)?;
        return Ok(checks);
    }
    let is_own = |check: &Check| check.service_id.as_ref() == Some(&service.id);
    let (own, others) = checks.into_iter().partition(is_own);
    edit.add_instance(node, service, own)?;
    Ok(others)
}

/// Whether neither the service nor a check is on the node, and each check comes once.
fn is_new(state: &State, node: &NodeName, service: &Service, checks: &[Check]) -> bool {
    let Some(host) = state.nodes.get(node) else {
        return false;
    };
    let mut ids: Vec<_> = checks.iter().map(|check| &check.id).collect();
    ids.sort_unstable();
    host.instance(&service.id).is_none()
        && ids.windows(2).all(|pair| pair.first() != pair.last())
        && ids.into_iter().all(|id| host.check(id).is_none())
}

fn plan(state: &State, registration: &Registration) -> Result<NodePlan, Refusal> {
    let node = &registration.node;
    let by_name = state.nodes.get(&node.name);
    if registration.skip_node_update && by_name.is_some() {
        return Ok(NodePlan::Keep);
    }
    let by_id = node.id.and_then(|id| state.node_by_id(id));
    let elsewhere = by_id.filter(|entry| entry.node.name != node.name);
    if let Some(owner) = by_name {
        check_owner(owner, node, elsewhere.is_some())?;
    }
    Ok(match elsewhere.or(by_name) {
        None => NodePlan::Add,
        Some(entry) if entry.node.name.same_spelling(&node.name) => NodePlan::Replace,
        Some(entry) => NodePlan::Rename(entry.node.name.clone()),
    })
}

/// Whether `node` may take its name from `owner`: from itself, from a node that never had an id
/// (but not by renaming), or from one whose agent is dead.
fn check_owner(owner: &NodeEntry, node: &Node, renames: bool) -> Result<(), Refusal> {
    let itself = node.id.is_none() || owner.node.id == node.id;
    let nameless = owner.node.id.is_none() && !renames;
    if itself || nameless || is_dead(owner) {
        return Ok(());
    }
    Err(Refusal::NodeNameTaken {
        name: node.name.to_string(),
        owner: owner.node.id.map(|id| id.to_string()).unwrap_or_default(),
    })
}

/// Whether the gossip pool has lost the node's agent.
fn is_dead(entry: &NodeEntry) -> bool {
    let serf: Result<CheckId, _> = SERF_HEALTH.parse();
    let check = serf.ok().and_then(|id| entry.check(&id));
    check.is_some_and(|entry| entry.check.status == Status::Critical)
}

/// Whether each check's service is there, or comes with the same registration.
fn check_services(
    state: &State,
    plan: &NodePlan,
    registration: &Registration,
) -> Result<(), Refusal> {
    let host = || match plan {
        NodePlan::Keep | NodePlan::Replace => state.nodes.get(&registration.node.name),
        NodePlan::Rename(old) => state.nodes.get(old),
        NodePlan::Add => None,
    };
    let mut named = registration
        .checks
        .iter()
        .filter_map(|c| c.service_id.as_ref());
    let all_there = named.all(|id| {
        let comes = registration
            .service
            .as_ref()
            .is_some_and(|new| new.id == *id);
        comes || host().is_some_and(|host| host.instance(id).is_some())
    });
    if all_there {
        return Ok(());
    }
    Err(Refusal::MissingService {
        node: registration.node.name.to_string(),
    })
}

fn locate(edit: &mut Edit<'_>, locations: Vec<Location>) -> Result<(), Stop> {
    for Location { node, coordinate } in locations {
        // A node may go while its coordinate is on its way.
        if edit.state.nodes.contains_key(&node) {
            edit.locate_node(&node, coordinate)?;
        }
    }
    Ok(())
}

fn deregister(edit: &mut Edit<'_>, what: &Deregistration) -> Result<(), Stop> {
    let (Deregistration::Node(name)
    | Deregistration::Service(name, _)
    | Deregistration::Check(name, _)) = what;
    if !edit.state.nodes.contains_key(name) {
        return Ok(());
    }
    match what {
        Deregistration::Node(name) => edit.remove_node(name)?,
        Deregistration::Service(name, id) => edit.remove_instance(name, id)?,
        Deregistration::Check(name, id) => edit.remove_check(name, id)?,
    }
    Ok(())
}
