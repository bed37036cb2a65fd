//! What stands on the membership protocol: everything that is remembered, and when something of it
//! is due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::clock::Clock;
use super::event::Events;
use super::intents::Intents;
use super::members::{Members, Record};
use super::query::{Asked, Heard, Pending};
use super::{Change, Config, LamportTime, Memory, Notice, Remembered, SerfError, meta, state};
use crate::gossip::actions::{Actions, Time};
use crate::gossip::admission::{Admission, Candidate, Refusal};
use crate::gossip::coordinate::{self, Locator};
use crate::gossip::swim::{self, Broadcasts, Delegate, Event, Name, Node, Room, State};
use crate::types::MemberStatus;

/// Octets that a broadcast takes in a packet besides itself: its length.
const PART_OCTETS: usize = 2;
/// Time between two notices of a conflict about one name.
const CONFLICT_INTERVAL: Duration = Duration::from_secs(60);
/// Names whose conflicts are told at most once a minute; beyond them nothing is told.
const CONFLICTS_MAX: usize = 1_024;

/// How far this node's leave is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// It stays.
    No,
    /// The intent is being told, until then at the latest.
    Telling(Time),
    /// The departure is being told, until then at the latest.
    Departing(Time),
    /// Both get around, until then.
    Settling(Time),
    /// It has gone.
    Done,
}

/// All state above [`swim::Swim`].
pub(super) struct Layer {
    pub(super) config: Config,
    pub(super) name: Name,
    pub(super) gossip_interval: Duration,
    /// Octets that a broadcast may have to fit a packet at all.
    pub(super) broadcast_octets_max: usize,
    admission: Arc<dyn Admission>,
    pub(super) random: StdRng,
    pub(super) members: Members,
    pub(super) intents: Intents,
    pub(super) clock: Clock,
    pub(super) event_clock: Clock,
    pub(super) query_clock: Clock,
    pub(super) events: Events,
    pub(super) heard: Heard,
    pub(super) pending: Pending,
    pub(super) asked: Asked,
    /// The own intent is filed under this node's name: only the newest counts.
    pub(super) intent_queue: Broadcasts,
    pub(super) event_queue: Broadcasts,
    pub(super) query_queue: Broadcasts,
    pub(super) locator: Locator,
    /// When a conflict about each name was last told.
    conflicts: BTreeMap<Name, Time>,
    /// Whether events of the exchange that is being taken in are of no interest.
    pub(super) ignore_old: bool,
    pub(super) leave: Leave,
    /// Whether a join intent of this node was told since its start.
    pub(super) declared: bool,
    /// Members that were forgotten here, and are to be forgotten below.
    pub(super) forgotten: Vec<Name>,
    /// The newest event and query that were heard.
    pub(super) newest_event: LamportTime,
    pub(super) newest_query: LamportTime,
    /// What a snapshot has been told of the three clocks.
    kept: [LamportTime; 3],
    /// When a log line about what others say of this node may be written again.
    pub(super) quiet_until: Time,
    pub(super) reap_due: Time,
    pub(super) reconnect_due: Time,
}

impl Layer {
    pub(super) fn new(
        config: Config,
        swim: &swim::Config,
        own: &Node,
        admission: Arc<dyn Admission>,
        remembered: &Remembered,
        seed: u64,
        now: Time,
    ) -> Self {
        let resume = |time| {
            let mut clock = Clock::new();
            clock.resume(time);
            clock
        };
        // What was heard before the restart is not told again; 0 is a fresh start.
        let minimum = |time: LamportTime| if time == 0 { 0 } else { time.saturating_add(1) };
        let mut random = StdRng::seed_from_u64(seed);
        Self {
            name: own.name.clone(),
            gossip_interval: swim.gossip_interval,
            broadcast_octets_max: swim.packet_octets_max.saturating_sub(2 + PART_OCTETS),
            admission,
            members: Members::new(own, swim.nodes_max),
            intents: Intents::default(),
            clock: resume(remembered.clock),
            event_clock: resume(remembered.event_clock),
            query_clock: resume(remembered.query_clock),
            events: Events::new(minimum(remembered.event_clock)),
            heard: Heard::new(minimum(remembered.query_clock)),
            pending: Pending::default(),
            asked: Asked::default(),
            intent_queue: Broadcasts::new(),
            event_queue: Broadcasts::new(),
            query_queue: Broadcasts::new(),
            locator: Locator::new(random.random()),
            conflicts: BTreeMap::new(),
            ignore_old: false,
            leave: Leave::No,
            declared: false,
            forgotten: Vec::new(),
            newest_event: remembered.event_clock,
            newest_query: remembered.query_clock,
            kept: [
                remembered.clock,
                remembered.event_clock,
                remembered.query_clock,
            ],
            quiet_until: now,
            reap_due: now + config.reap_interval,
            reconnect_due: now + config.reconnect_interval,
            random,
            config,
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leave != Leave::No
    }

    /// When [`Layer::tick`] has something to do next.
    pub(super) fn deadline(&self) -> Time {
        let leave = match self.leave {
            Leave::Telling(until) | Leave::Departing(until) | Leave::Settling(until) => Some(until),
            Leave::No | Leave::Done => None,
        };
        [leave, self.asked.deadline(), self.members.next_prune()]
            .into_iter()
            .flatten()
            .fold(self.reap_due.min(self.reconnect_due), Time::min)
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Time, actions: &mut Actions) {
        while let Some(query) = self.asked.take_over(now) {
            actions.notices.push(Notice::QueryOver(query));
        }
        while let Some(name) = self.members.take_prune(now) {
            self.erase(&name, actions);
        }
        if self.reap_due <= now {
            self.reap_due = now + self.config.reap_interval;
            self.reap(now, actions);
        }
        if self.reconnect_due <= now {
            self.reconnect_due = now + self.config.reconnect_interval;
            self.reconnect(actions);
        }
    }

    /// Keeps the queues short, and says what a snapshot is to keep.
    pub(super) fn settle(&mut self, actions: &mut Actions) {
        let depth = (self.members.len() * 2).max(self.config.queue_depth_min);
        self.intent_queue.prune(depth);
        self.event_queue.prune(depth);
        self.query_queue.prune(depth);
        let times = [
            self.clock.time().saturating_sub(1),
            self.newest_event,
            self.newest_query,
        ];
        for (place, memory) in [
            Memory::Clock as fn(LamportTime) -> Memory,
            Memory::EventClock,
            Memory::QueryClock,
        ]
        .into_iter()
        .enumerate()
        {
            let (Some(time), Some(kept)) = (times.get(place), self.kept.get_mut(place)) else {
                continue;
            };
            if *time > *kept {
                *kept = *time;
                self.remember(memory(*time), actions);
            }
        }
    }

    /// Has a snapshot keep something; nothing any more once this node leaves.
    pub(super) fn remember(&self, memory: Memory, actions: &mut Actions) {
        if !self.is_leaving() {
            actions.notices.push(Notice::Remember(memory));
        }
    }

    /// Has a broadcast ride along, if it can ever fit a packet.
    pub(super) fn fits_packet(&self, broadcast: &[u8]) -> bool {
        broadcast.len() <= self.broadcast_octets_max
    }

    /// Random members that `suits`, at most `count`.
    pub(super) fn draw(
        &mut self,
        count: usize,
        suits: impl Fn(&Record) -> bool,
    ) -> Vec<(Name, std::net::SocketAddr)> {
        let mut candidates: Vec<_> = (self.members.iter())
            .filter(|record| suits(record))
            .map(|record| (record.name.clone(), record.address))
            .collect();
        let mut drawn = Vec::new();
        while drawn.len() < count && !candidates.is_empty() {
            let place = self.random.random_range(0..candidates.len());
            drawn.push(candidates.swap_remove(place));
        }
        drawn
    }

    fn conflict(&mut self, now: Time, known: &Node, other: std::net::SocketAddr) -> Option<Notice> {
        self.conflicts
            .retain(|_, told| now.saturating_sub(*told) < CONFLICT_INTERVAL);
        if self.conflicts.contains_key(&known.name) || self.conflicts.len() >= CONFLICTS_MAX {
            return None;
        }
        self.conflicts.insert(known.name.clone(), now);
        Some(Notice::Conflict {
            node: known.name.clone(),
            known: known.address,
            other,
        })
    }

    /// Begins the leave of this node.
    pub(super) fn begin_leave(
        &mut self,
        now: Time,
        actions: &mut Actions,
    ) -> Result<(), SerfError> {
        if self.is_leaving() {
            return Err(SerfError::Leaving);
        }
        self.remember(Memory::Leave, actions);
        self.leave = Leave::Telling(now + self.config.broadcast_timeout);
        self.declare_leave(now);
        Ok(())
    }

    /// Whether the departure is to follow: the intent was sent as often as it will be, or has
    /// taken too long.
    pub(super) fn is_intent_told(&self, now: Time) -> bool {
        match self.leave {
            Leave::Telling(until) => until <= now || !self.intent_queue.contains(&self.name),
            _ => false,
        }
    }

    /// The departure is told from now on.
    pub(super) fn begin_departure(&mut self, now: Time) {
        self.leave = Leave::Departing(now + self.config.broadcast_timeout);
    }

    /// Goes through the rest of the leave, as far as it is time.
    pub(super) fn advance_departure(&mut self, now: Time, actions: &mut Actions) {
        if matches!(self.leave, Leave::Departing(until) if until <= now) {
            self.departed(now);
        }
        if matches!(self.leave, Leave::Settling(until) if until <= now) {
            self.leave = Leave::Done;
            let own = self.name.clone();
            if self.members.die(&own, now).is_some()
                && let Some(record) = self.members.get(&own)
            {
                let notice = Notice::Member(Change::Left, record.member());
                actions.notices.push(notice);
            }
            actions.notices.push(Notice::LeftPool);
        }
    }

    fn departed(&mut self, now: Time) {
        if matches!(self.leave, Leave::Departing(_)) {
            self.leave = Leave::Settling(now + self.config.leave_propagate_delay);
        }
    }
}

impl Delegate for Layer {
    fn may_enter(&mut self, node: &Node, state: State) -> Result<(), Refusal> {
        // What others say of this node is for the protocol below to refute.
        if node.name == self.name {
            return Ok(());
        }
        let read;
        let tags = if let Some(known) = self.members.known_tags(node) {
            known
        } else {
            read = meta::decode(&node.meta).map_err(|cause| {
                Refusal(format!("Member '{}' has invalid tags: {cause}", node.name))
            })?;
            &read
        };
        self.admission.may_enter(&Candidate {
            name: &node.name,
            address: node.address,
            tags,
            state,
        })
    }

    fn may_merge(&mut self, nodes: &[(Node, State)]) -> Result<(), Refusal> {
        // Whose tags cannot be read is kept out alone, as soon as it is to enter.
        let tags: Vec<_> = (nodes.iter())
            .map(|(node, _)| meta::decode(&node.meta).unwrap_or_default())
            .collect();
        let candidates: Vec<_> = (nodes.iter().zip(&tags))
            .map(|((node, state), tags)| Candidate {
                name: &node.name,
                address: node.address,
                tags,
                state: *state,
            })
            .collect();
        self.admission.may_merge(&candidates)
    }

    fn event(&mut self, now: Time, event: Event<'_>, actions: &mut Actions) {
        match event {
            Event::Joined(node) => self.joined(now, node, actions),
            Event::Left(node) => self.died(now, node, actions),
            Event::Updated(node) => self.updated(node, actions),
            Event::Conflict { known, other } => {
                let notice = self.conflict(now, known, other);
                actions.notices.extend(notice);
            }
            Event::RoundTrip {
                node,
                time,
                payload,
            } => self.round_trip(node, time, payload),
            Event::User { from, octets } => self.told(now, from, octets, actions),
            Event::Refused {
                node,
                address,
                refusal,
            } => actions.notices.push(Notice::Refused {
                node: node.to_owned(),
                address,
                reason: refusal.to_string(),
            }),
            Event::LeaveSpread => self.departed(now),
        }
    }

    fn write_ack_payload(&mut self, out: &mut Vec<u8>) {
        coordinate::write_payload(&self.locator.own(), out);
    }

    fn ride_along(&mut self, room: &mut Room<'_>, transmits_max: u32) {
        for queue in [
            &mut self.intent_queue,
            &mut self.query_queue,
            &mut self.event_queue,
        ] {
            queue.fill(room, PART_OCTETS, transmits_max, |_| ());
        }
    }

    fn write_state(&mut self, _join: bool, out: &mut Vec<u8>) {
        let times = [
            self.clock.time(),
            self.event_clock.time(),
            self.query_clock.time(),
        ];
        state::write(times, &self.members, &self.events, out);
    }

    fn merge_state(&mut self, now: Time, join: bool, octets: &[u8], actions: &mut Actions) {
        match state::State::decode(octets) {
            Ok(state) => self.merge(now, join, &state, actions),
            Err(cause) => tracing::trace!("state of a push/pull is left out: {cause}"),
        }
    }
}

impl Layer {
    fn round_trip(&mut self, node: &Node, time: Duration, payload: &[u8]) {
        // Only members are measured, so that there are no more coordinates than members.
        let member = self.members.get(&node.name);
        if member.is_none_or(|record| record.status == MemberStatus::None) || payload.is_empty() {
            return;
        }
        match coordinate::read_payload(payload) {
            Ok(other) => {
                if let Err(cause) = self.locator.measure(&node.name, other, time) {
                    tracing::trace!(node = %node.name, "round trip does not count: {cause}");
                }
            }
            Err(cause) => tracing::trace!(node = %node.name, "no coordinate: {cause}"),
        }
    }
}
