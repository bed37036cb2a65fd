//! What nodes say of each other: who is alive, suspect, dead or gone. The newest incarnation wins,
//! and only the node itself makes a new one.

use std::sync::Arc;

use super::delegate::Turn;
use super::members::{OWN, Record, Slot};
use super::suspicion::Suspicion;
use super::{Bounds, Broadcasts, Event, InputError, Leaving, META_OCTETS_MAX, Node, State, Swim};
use crate::gossip::actions::Time;
use crate::gossip::wire::{Accusation, Alive, Message, Versions};

/// Incarnations above all that anybody may claim at will: the room that a node has to refute even
/// the greatest claim.
const ROOM: u32 = 1 << 20;

/// Greatest incarnation that anybody may claim of a node. A claim below it is refuted however far
/// it is ahead: others may believe it, and whoever does not refute it is dead to them.
const CLAIM_MAX: u32 = u32::MAX - ROOM;

/// How far a claim in that room may be ahead of what is known. Nobody comes there without an attack,
/// and the node itself goes on in steps of one.
const STEP_MAX: u32 = 1_024;

/// Octets of a name at most.
const NAME_OCTETS_MAX: usize = 255;

/// How unwell a node may think it is.
const SCORE_MAX: u32 = 7;

impl Swim {
    /// Somebody says that a node lives.
    pub(super) fn alive(&mut self, turn: &mut Turn<'_>, alive: &Alive<'_>) {
        let Some(address) = self.usable(alive) else {
            return;
        };
        let alive = Alive { address, ..*alive };
        let known = self.members.by_name(alive.node);
        let own = known.is_some_and(|(slot, _)| slot == OWN);
        if own && self.leaving != Leaving::No {
            return;
        }
        let mut moved = false;
        if let Some((_, record)) = known {
            moved = record.node.address != address;
            if !moved && !own && alive.incarnation <= record.incarnation {
                return; // Nothing new, and most of what comes in is this.
            }
        } else if alive.incarnation == 0 || alive.incarnation > CLAIM_MAX {
            return;
        }
        if let Some((slot, _)) = known
            && !self.is_plausible(turn.now, slot, "alive", alive.incarnation)
        {
            return;
        }
        let known = self.members.by_name(alive.node);
        if own {
            return self.alive_own(turn, &alive, moved);
        }
        let node = Node {
            name: known.map_or_else(|| alive.node.into(), |(_, r)| r.node.name.clone()),
            address,
            meta: known
                .map(|(_, record)| &record.node.meta)
                .filter(|meta| ***meta == *alive.meta)
                .map_or_else(|| alive.meta.into(), Arc::clone),
            versions: alive.versions,
        };
        let known = known.map(|(slot, _)| slot);
        if let Err(refusal) = turn.delegate.may_enter(&node, State::Alive) {
            turn.event(Event::Refused {
                node: alive.node,
                address,
                refusal: &refusal,
            });
            return;
        }
        if let Some(slot) = known
            && moved
            && !self.may_move(turn, slot, &alive)
        {
            return;
        }
        let Some(slot) = known.or_else(|| self.enter(turn.now, &node)) else {
            return;
        };
        self.accept_alive(turn, slot, node, &alive);
    }

    /// Address of a node that lives; `None` if what is said of it is of no use to anybody.
    fn usable(&self, alive: &Alive<'_>) -> Option<std::net::SocketAddr> {
        let Versions([least, greatest, ..]) = alive.versions;
        let address = self.complete(alive.address)?;
        let valid = (1..=NAME_OCTETS_MAX).contains(&alive.node.len())
            && alive.meta.len() <= META_OCTETS_MAX
            && least != 0
            && least <= greatest;
        valid.then_some(address)
    }

    /// Somebody tells this node that it lives: an echo, or what an earlier run or somebody else has
    /// said under this name, which must not stand.
    fn alive_own(&mut self, turn: &mut Turn<'_>, alive: &Alive<'_>, moved: bool) {
        let own = self.members.own();
        if moved {
            turn.event(Event::Conflict {
                known: &own.node,
                other: alive.address,
            });
            return;
        }
        let same = *own.node.meta == *alive.meta && own.node.versions == alive.versions;
        if alive.incarnation < own.incarnation || (alive.incarnation == own.incarnation && same) {
            return;
        }
        self.refute(alive.incarnation);
    }

    /// Whether a node that is known may take over its name at another address.
    fn may_move(&self, turn: &mut Turn<'_>, slot: Slot, alive: &Alive<'_>) -> bool {
        let Some(record) = self.members.get(slot) else {
            return false;
        };
        let reclaim = self.config.dead_node_reclaim;
        let free = match record.state() {
            State::Left => true,
            State::Dead => !reclaim.is_zero() && record.is_older(turn.now, reclaim),
            State::Alive | State::Suspect => false,
        };
        if !free {
            turn.event(Event::Conflict {
                known: &record.node,
                other: alive.address,
            });
        }
        free
    }

    /// Makes room for a node that is not known; `None` if everybody who is known lives.
    fn enter(&mut self, now: Time, node: &Node) -> Option<Slot> {
        if self.members.len() >= self.config.nodes_max && !self.members.remove_oldest_gone() {
            if self.may_log(now) {
                let limit = self.config.nodes_max;
                tracing::warn!(node = %node.name, limit, "the pool is full: node ignored");
            }
            return None;
        }
        Some(self.members.insert(node.clone(), now, &mut self.random))
    }

    fn accept_alive(&mut self, turn: &mut Turn<'_>, slot: Slot, node: Node, alive: &Alive<'_>) {
        let Some(record) = self.members.get_mut(slot) else {
            return;
        };
        let was_live = record.is_live();
        let updated = record.node.meta != node.meta;
        record.incarnation = alive.incarnation;
        record.node = node;
        self.members.set_state(slot, State::Alive, turn.now);
        self.tell(slot, &Message::Alive(*alive));
        if let Some(record) = self.members.get(slot) {
            match (was_live, updated) {
                (false, _) => turn.event(Event::Joined(&record.node)),
                (true, true) => turn.event(Event::Updated(&record.node)),
                (true, false) => {}
            }
        }
    }

    /// Somebody says that a node may be dead.
    pub(super) fn suspect(&mut self, turn: &mut Turn<'_>, accusation: &Accusation<'_>) {
        let Some((slot, record)) = self.accused(turn.now, "suspect", accusation) else {
            return;
        };
        let state = record.state();
        match self.members.confirm(slot, accusation.from) {
            Some(true) => return self.tell(slot, &Message::Suspect(*accusation)),
            Some(false) => return,
            None if state != State::Alive => return,
            None if slot == OWN => return self.refute(accusation.incarnation),
            None => {}
        }
        self.troubles.suspicions += 1;
        self.tell(slot, &Message::Suspect(*accusation));
        if let Some(record) = self.members.get_mut(slot) {
            record.incarnation = accusation.incarnation;
        }
        let bounds = Bounds::new(&self.config, self.members.len());
        let from = self.name_of(accusation.from);
        let suspicion = Suspicion::new(turn.now, from, bounds);
        self.members.suspect(slot, suspicion, turn.now);
    }

    /// Somebody says that a node is dead, or a node that it goes.
    pub(super) fn dead(&mut self, turn: &mut Turn<'_>, accusation: &Accusation<'_>) {
        let Some((slot, record)) = self.accused(turn.now, "dead", accusation) else {
            return;
        };
        if !record.is_live() {
            return;
        }
        if slot == OWN && self.leaving == Leaving::No {
            return self.refute(accusation.incarnation);
        }
        self.tell(slot, &Message::Dead(*accusation));
        if let Some(record) = self.members.get_mut(slot) {
            record.incarnation = accusation.incarnation;
        }
        let state = if accusation.from == accusation.node {
            State::Left
        } else {
            State::Dead
        };
        self.members.set_state(slot, state, turn.now);
        if let Some(record) = self.members.get(slot).filter(|_| slot != OWN) {
            turn.event(Event::Left(&record.node));
        }
    }

    /// A suspect has not spoken up in time.
    pub(super) fn suspicion_ended(&mut self, turn: &mut Turn<'_>, slot: Slot) {
        let Some(record) = self.members.get(slot) else {
            return;
        };
        let (name, own) = (record.node.name.clone(), self.own().name.clone());
        let accusation = Accusation {
            incarnation: record.incarnation,
            node: &name,
            from: &own,
        };
        self.dead(turn, &accusation);
    }

    /// The record that an accusation is about, if it is about one and not out of date.
    fn accused(
        &mut self,
        now: Time,
        what: &'static str,
        accusation: &Accusation<'_>,
    ) -> Option<(Slot, &Record)> {
        let (slot, record) = self.members.by_name(accusation.node)?;
        if accusation.incarnation < record.incarnation
            || !(1..=NAME_OCTETS_MAX).contains(&accusation.from.len())
            || !self.is_plausible(now, slot, what, accusation.incarnation)
        {
            return None;
        }
        Some((slot, self.members.get(slot)?))
    }

    /// Whether an incarnation can be believed. All nodes must judge alike: what one believes and the
    /// node itself does not, is never refuted.
    fn is_plausible(&mut self, now: Time, slot: Slot, what: &'static str, said: u32) -> bool {
        let Some(record) = self.members.get(slot) else {
            return false;
        };
        let limit = CLAIM_MAX.max(record.incarnation.saturating_add(STEP_MAX));
        if said > limit {
            let name = record.node.name.clone();
            if self.may_log(now) {
                tracing::warn!(node = %name, said, limit, "incarnation of {what} ignored");
            }
            return false;
        }
        true
    }

    /// Says that this node lives, with an incarnation above the one that it is accused under.
    fn refute(&mut self, accused: u32) {
        self.worsen(1);
        let own = self.members.own().incarnation;
        self.say_alive(own.max(accused));
    }

    /// Says what this node is, under the incarnation after `after`.
    pub(super) fn say_alive(&mut self, after: u32) {
        let incarnation = after.saturating_add(1);
        if let Some(record) = self.members.get_mut(OWN) {
            record.incarnation = incarnation;
        }
        let own = self.own().clone();
        let alive = Alive {
            incarnation,
            node: &own.name,
            address: own.address,
            meta: &own.meta,
            versions: own.versions,
        };
        self.tell(OWN, &Message::Alive(alive));
    }

    /// This node says something else of itself.
    pub(super) fn update(&mut self, meta: Arc<[u8]>) -> Result<(), InputError> {
        if meta.len() > META_OCTETS_MAX {
            let octets = meta.len();
            return Err(InputError::Meta { octets });
        }
        if self.leaving != Leaving::No {
            return Ok(());
        }
        if let Some(record) = self.members.get_mut(OWN) {
            record.node.meta = meta;
        }
        self.say_alive(self.members.own().incarnation);
        Ok(())
    }

    /// This node goes.
    pub(super) fn leave(&mut self, turn: &mut Turn<'_>) {
        if self.leaving != Leaving::No {
            return;
        }
        self.leaving = Leaving::Telling;
        let own = self.own().name.clone();
        let accusation = Accusation {
            incarnation: self.members.own().incarnation,
            node: &own,
            from: &own,
        };
        self.dead(turn, &accusation);
        self.leave_told(turn, !self.members.has_live_others());
    }

    /// Notes that the leave has been `told`, if it was.
    pub(super) fn leave_told(&mut self, turn: &mut Turn<'_>, told: bool) {
        if told && self.leaving == Leaving::Telling {
            self.leaving = Leaving::Told;
            turn.event(Event::LeaveSpread);
        }
    }

    /// Adds what is said of a node to the queue, in place of what was.
    fn tell(&mut self, slot: Slot, message: &Message<'_>) {
        let Some(record) = self.members.get(slot) else {
            return;
        };
        let Self { queue, buffers, .. } = self;
        push(queue, record, message, &mut buffers.message);
    }

    /// The name as it is kept already, if it is.
    fn name_of(&self, name: &str) -> super::Name {
        let known = self.members.by_name(name);
        known.map_or_else(|| name.into(), |(_, record)| record.node.name.clone())
    }

    /// This node is less well.
    pub(super) fn worsen(&mut self, by: u32) {
        self.score = self.score.saturating_add(by).min(SCORE_MAX);
    }
}

fn push(queue: &mut Broadcasts, record: &Record, message: &Message<'_>, buffer: &mut Vec<u8>) {
    buffer.clear();
    message.encode(buffer);
    queue.push(Some(record.node.name.clone()), buffer.as_slice().into());
}
