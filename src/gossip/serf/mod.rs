//! What members are to each other beyond living: tags, intents to join and leave in the order of
//! Lamport time, user events, queries, coordinates (as serf's agents speak them).
//!
//! Pure like [`super::swim`], which it owns and stands on as its delegate: [`Serf`] takes inputs
//! and hands what belongs below to `swim`; what comes up from there goes to the `Layer`. `message`,
//! `state`, `meta` and `internal` are octets; `members`, `intents`, `event` and `query` are what is
//! remembered; `membership` and `talk` are what the layer does with both.
//!
//! **Invariant**: whatever members say, what is remembered of it has a bound.

mod clock;
mod config;
mod event;
mod intents;
mod internal;
mod layer;
mod members;
mod membership;
mod message;
pub mod meta;
mod model;
mod query;
mod state;
mod talk;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use config::Config;
pub use internal::KeyAnswerError;
pub use meta::{META_OCTETS_MAX, decode as decode_tags};
pub use model::{
    Change, Input, KeyAnswer, KeyOperation, LamportTime, Memory, Notice, Outcome, Own, Query,
    QueryId, Remembered, SerfError, Tags, UserEvent,
};

use self::layer::{Layer, Leave};
use self::members::Record;
use super::actions::{Actions, Time};
use super::admission::Admission;
use super::coordinate::Coordinate;
use super::swim::{self, Node, Swim};
use super::wire::{PushPull, Versions};
use crate::types::{Member, MemberStatus};

/// The protocol of one pool.
pub struct Serf {
    swim: Swim,
    layer: Layer,
}

impl std::fmt::Debug for Serf {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Serf").finish_non_exhaustive()
    }
}

impl Serf {
    /// A pool of one. All random choices follow from `seed`.
    ///
    /// # Errors
    /// The tags are too long.
    pub fn new(
        config: Config,
        swim: swim::Config,
        own: Own,
        admission: Arc<dyn Admission>,
        remembered: &Remembered,
        seed: u64,
        now: Time,
    ) -> Result<Self, SerfError> {
        let meta = encode_tags(&own.tags)?;
        let node = Node {
            name: own.name,
            address: own.address,
            meta,
            versions: Versions::OWN,
        };
        let layer = Layer::new(config, &swim, &node, admission, remembered, seed, now);
        // The layers draw from generators of their own: neither moves the other's.
        let swim = Swim::new(swim, node, seed.rotate_left(32), now);
        Ok(Self { swim, layer })
    }

    /// Takes one input; what is to be done is appended to `actions`.
    ///
    /// # Errors
    /// The input has had no effect.
    pub fn handle(
        &mut self,
        now: Time,
        input: Input<'_>,
        actions: &mut Actions,
    ) -> Result<Outcome, SerfError> {
        let outcome = self.take(now, input, actions);
        self.advance_leave(now, actions);
        while let Some(name) = self.layer.forgotten.pop() {
            self.swim.forget(&name);
        }
        self.layer.settle(actions);
        outcome
    }

    fn take(
        &mut self,
        now: Time,
        input: Input<'_>,
        actions: &mut Actions,
    ) -> Result<Outcome, SerfError> {
        match input {
            Input::Packet { from, message } => {
                self.below(now, swim::Input::Packet { from, message }, actions)?;
            }
            Input::StreamRefused { sequence } => {
                self.below(now, swim::Input::StreamRefused { sequence }, actions)?;
            }
            Input::StreamAck { sequence } => {
                self.below(now, swim::Input::StreamAck { sequence }, actions)?;
            }
            Input::Exchanged {
                from,
                remote,
                ignore_old,
            } => self.exchanged(now, from, remote, ignore_old, actions)?,
            Input::Tick => {
                self.below(now, swim::Input::Tick, actions)?;
                self.layer.tick(now, actions);
            }
            Input::SetTags(tags) => self.set_tags(now, &tags, actions)?,
            Input::Fire {
                name,
                payload,
                coalesce,
            } => {
                let time = self.layer.fire(name, payload, coalesce, actions)?;
                return Ok(Outcome::Fired(time));
            }
            Input::Query(query) => {
                let query = self.layer.ask(now, &query, actions)?;
                return Ok(Outcome::Asked(query));
            }
            Input::AnswerKeys { query, answer } => {
                self.layer.answer_keys(now, query, answer, actions);
            }
            Input::Leave => self.layer.begin_leave(now, actions)?,
            Input::ForceLeave { node, prune } => {
                self.layer.force_leave(now, node, prune, actions)?;
            }
        }
        Ok(Outcome::Done)
    }

    fn below(
        &mut self,
        now: Time,
        input: swim::Input<'_>,
        actions: &mut Actions,
    ) -> Result<(), SerfError> {
        Ok(self.swim.handle(now, input, &mut self.layer, actions)?)
    }

    fn exchanged(
        &mut self,
        now: Time,
        from: std::net::SocketAddr,
        remote: PushPull<'_>,
        ignore_old: bool,
        actions: &mut Actions,
    ) -> Result<(), SerfError> {
        let join = remote.join;
        self.layer.ignore_old = ignore_old;
        let taken = self.below(now, swim::Input::Exchange { from, remote }, actions);
        self.layer.ignore_old = false;
        taken?;
        // The others may remember that a node of this name had left. Said once, it goes on with
        // every push/pull.
        if join && self.layer.is_unsaid() {
            self.layer.declare_join();
        }
        Ok(())
    }

    fn set_tags(&mut self, now: Time, tags: &Tags, actions: &mut Actions) -> Result<(), SerfError> {
        if self.layer.is_leaving() {
            return Err(SerfError::Leaving);
        }
        let meta = encode_tags(tags)?;
        self.below(now, swim::Input::Update { meta }, actions)?;
        self.layer.updated(self.swim.own(), actions);
        Ok(())
    }

    /// A leave has steps: the intent is told, then the departure, then both are given time to get
    /// around.
    fn advance_leave(&mut self, now: Time, actions: &mut Actions) {
        if self.layer.is_intent_told(now) {
            self.layer.begin_departure(now);
            let gone = self
                .swim
                .handle(now, swim::Input::Leave, &mut self.layer, actions);
            gone.expect("only exchanges are refused");
        }
        self.layer.advance_departure(now, actions);
    }

    /// When [`Input::Tick`] is due next.
    pub fn deadline(&self) -> Time {
        self.swim.deadline().min(self.layer.deadline())
    }

    /// Appends this side of a push/pull, as the content of a stream; `offer` false shows nothing of
    /// this node (a look before a join).
    pub fn write_exchange(&mut self, join: bool, offer: bool, out: &mut Vec<u8>) {
        self.swim.write_exchange(join, offer, &mut self.layer, out);
    }

    /// Whether what the other side of a push/pull knows may be taken in.
    ///
    /// # Errors
    /// Somebody there speaks other versions, or the other side joins and may not.
    pub fn check_exchange(&mut self, remote: &PushPull<'_>) -> Result<(), SerfError> {
        Ok(self.swim.check_exchange(remote, &mut self.layer)?)
    }

    /// All members, this node too, in the order of their names.
    pub fn members(&self) -> Vec<Member> {
        self.layer.members.iter().map(Record::member).collect()
    }

    /// Grows whenever [`Serf::members`] would say something else, also where that is no
    /// [`Change`]: a member that is leaving.
    pub fn members_version(&self) -> u64 {
        self.layer.members.version()
    }

    /// Whether the leave has come to its end: [`Notice::LeftPool`] was given.
    pub fn has_left(&self) -> bool {
        matches!(self.layer.leave, Leave::Done)
    }

    /// This node's coordinate.
    pub fn coordinate(&self) -> Coordinate {
        self.layer.locator.own()
    }

    /// The coordinate that a member last sent with an answer to a ping of this node; this node's
    /// own under its own name.
    pub fn coordinate_of(&self, name: &str) -> Option<Coordinate> {
        if name == self.layer.name.as_ref() {
            return Some(self.coordinate());
        }
        self.layer.locator.of(name)
    }

    /// What went wrong below since the start.
    pub fn troubles(&self) -> swim::Troubles {
        self.swim.troubles()
    }

    /// Figures for people: `members`, `failed`, `left`, `health_score`, `member_time`,
    /// `event_time`, `query_time`, `intent_queue`, `event_queue`, `query_queue`,
    /// `coordinate_resets`; `encrypted` is added by the driver.
    pub fn figures(&self) -> Vec<(&'static str, u64)> {
        let layer = &self.layer;
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let [member_time, event_time, query_time] = self.clocks().map(|(_, time)| time);
        let [intents, events, queries] = self.queues().map(|(_, length)| count(length));
        vec![
            ("members", count(layer.members.len())),
            ("failed", count(layer.members.count(MemberStatus::Failed))),
            ("left", count(layer.members.count(MemberStatus::Left))),
            ("health_score", self.health_score().into()),
            ("member_time", member_time),
            ("event_time", event_time),
            ("query_time", query_time),
            ("intent_queue", intents),
            ("event_queue", events),
            ("query_queue", queries),
            ("coordinate_resets", self.coordinate_resets()),
        ]
    }

    /// Lamport times, by what they order.
    pub fn clocks(&self) -> [(&'static str, LamportTime); 3] {
        let layer = &self.layer;
        [
            ("member", layer.clock.time()),
            ("event", layer.event_clock.time()),
            ("query", layer.query_clock.time()),
        ]
    }

    /// Messages that wait to be told to others, by what they say.
    pub fn queues(&self) -> [(&'static str, usize); 3] {
        let layer = &self.layer;
        [
            ("intent", layer.intent_queue.len()),
            ("event", layer.event_queue.len()),
            ("query", layer.query_queue.len()),
        ]
    }

    /// How far this node doubts itself; 0 is well.
    pub fn health_score(&self) -> u32 {
        self.swim.health_score()
    }

    /// How often the coordinate of this node began anew.
    pub fn coordinate_resets(&self) -> u64 {
        self.layer.locator.resets()
    }
}

fn encode_tags(tags: &Tags) -> Result<Arc<[u8]>, SerfError> {
    let meta = meta::encode(tags).map_err(|octets| SerfError::Tags { octets })?;
    Ok(meta.into())
}
