//! The membership protocol: probes, suspicion, dissemination and full-state exchange (SWIM with the
//! Lifeguard extensions, as memberlist speaks them).
//!
//! Pure: time comes in with each input, randomness from a seed, and what is to be done goes out in
//! [`Actions`]. What the layer above adds goes through [`Delegate`].
//!
//! `rumours` is the state machine of what nodes say of each other, `merge` of what they exchange
//! over streams; `probe` finds out who answers; `gossip` fills packets. They share `members`, the
//! table of nodes, and `broadcast`, the queue of what is to be told.
//!
//! **Invariant**: same seed and same inputs give the same actions; no order of a hash table and no
//! other clock or random source comes into it.

mod broadcast;
mod config;
mod delegate;
mod gossip;
mod members;
mod merge;
mod probe;
mod room;
mod rumours;
mod suspicion;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

pub use broadcast::Broadcasts;
pub use config::Config;
pub use delegate::{Delegate, Event};
pub use room::Room;
pub use suspicion::Bounds;

use super::actions::{Actions, Time};
use super::admission::Refusal;
use super::wire::{Message, PushPull, Versions};
use delegate::Turn;
use members::{Members, Slot};
use probe::Probes;

/// A node's name in the pool, 1 to 255 octets.
pub type Name = Arc<str>;

/// Octets of a node's meta at most.
pub const META_OCTETS_MAX: usize = 512;

/// State of a node as this one sees it; the numbers are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Answers, or nobody says otherwise.
    Alive = 0,
    /// Somebody had no answer from it.
    Suspect = 1,
    /// Nobody had an answer from it for long enough.
    Dead = 2,
    /// Has said itself that it goes.
    Left = 3,
}

/// What is known of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Name,
    /// Where it listens, over UDP and TCP.
    pub address: SocketAddr,
    /// What the layer above says of it.
    pub meta: Arc<[u8]>,
    /// What it speaks.
    pub versions: Versions,
}

/// What comes in.
#[derive(Debug)]
pub enum Input<'a> {
    /// A message of a packet.
    Packet {
        /// Where the packet came from.
        from: SocketAddr,
        /// The message.
        message: Message<'a>,
    },
    /// A ping over a stream was answered.
    StreamAck {
        /// Of the ping.
        sequence: u32,
    },
    /// A ping over a stream was refused by the host: nobody listens where the node was.
    StreamRefused {
        /// Of the ping.
        sequence: u32,
    },
    /// The other side of a push/pull, whoever began it.
    Exchange {
        /// Who is there.
        from: SocketAddr,
        /// What it knows; `join` as the initiator had it.
        remote: PushPull<'a>,
    },
    /// Time has passed: [`Swim::deadline`] has come.
    Tick,
    /// This node says something else of itself from now on. Once it leaves, that has no effect.
    Update {
        /// The new meta, at most [`META_OCTETS_MAX`] octets.
        meta: Arc<[u8]>,
    },
    /// This node goes: it says so, and refutes nothing any more.
    Leave,
}

/// Why an exchange or an update had no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The admission refused the other side of a join.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// Somebody speaks no version that all in the pool speak.
    #[error("{0}")]
    Versions(String),
    /// The meta is longer than peers accept.
    #[error("meta has {octets} octets, at most {META_OCTETS_MAX} are allowed")]
    Meta {
        /// Octets that it has.
        octets: usize,
    },
}

/// Whether this node is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// It is still being told.
    Telling,
    /// It has been told.
    Told,
}

/// When something happens regularly; `None` for never.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    gossip: Time,
    push_pull: Option<Time>,
}

/// Buffers that are kept, so that answering a ping allocates nothing.
#[derive(Debug, Default)]
struct Buffers {
    /// A message being written.
    message: Vec<u8>,
    /// What the layer above adds to an answer.
    payload: Vec<u8>,
    /// What rides along, one after the other, and how long each is.
    riding: Vec<u8>,
    lengths: Vec<u16>,
    /// Nodes drawn.
    chosen: Vec<Slot>,
}

/// How often something went wrong since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    /// Probes of this node that nobody could have answered.
    pub probes_failed: u64,
    /// Nodes that became suspect, whoever said so.
    pub suspicions: u64,
}

/// The protocol of one pool.
#[derive(Debug)]
pub struct Swim {
    config: Config,
    members: Members,
    queue: Broadcasts,
    probes: Probes,
    schedule: Schedule,
    random: SmallRng,
    /// How unwell this node thinks it is.
    score: u32,
    leaving: Leaving,
    troubles: Troubles,
    /// When something strange may be logged again.
    quiet_until: Time,
    buffers: Buffers,
}

impl Swim {
    /// A pool of one: this node, alive with incarnation 1. All random choices follow from `seed`.
    pub fn new(config: Config, own: Node, seed: u64, now: Time) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        // Agents that are started together must not work in step.
        let mut stagger = |interval: Duration| now + interval.mul_f64(random.random());
        let first_probe = stagger(config.probe_interval);
        let schedule = Schedule {
            gossip: stagger(config.gossip_interval),
            push_pull: (!config.push_pull_interval.is_zero())
                .then(|| stagger(config.push_pull_interval)),
        };
        let mut swim = Self {
            members: Members::new(own, now),
            queue: Broadcasts::new(),
            probes: Probes::new(first_probe, random.random()),
            schedule,
            random,
            score: 0,
            leaving: Leaving::No,
            troubles: Troubles::default(),
            quiet_until: now,
            buffers: Buffers::default(),
            config,
        };
        // Whom it joins passes it on, but only a few times, and the dead may get those.
        swim.say_alive(0);
        swim
    }

    /// Takes one input; what is to be done is appended to `actions`.
    ///
    /// # Errors
    /// An exchange or update was refused as a whole. Other inputs do not fail.
    pub fn handle(
        &mut self,
        now: Time,
        input: Input<'_>,
        delegate: &mut dyn Delegate,
        actions: &mut Actions,
    ) -> Result<(), InputError> {
        let mut turn = Turn {
            now,
            delegate,
            actions,
        };
        match input {
            Input::Packet { from, message } => self.message(&mut turn, from, &message),
            Input::StreamAck { sequence } => self.stream_acked(sequence),
            Input::StreamRefused { sequence } => self.stream_refused(&mut turn, sequence),
            Input::Exchange { from, remote } => return self.merge(&mut turn, from, &remote),
            Input::Tick => self.tick(&mut turn),
            Input::Update { meta } => return self.update(meta),
            Input::Leave => self.leave(&mut turn),
        }
        Ok(())
    }

    /// When [`Input::Tick`] is due next.
    pub fn deadline(&self) -> Time {
        let mut deadline = self.schedule.gossip.min(self.probes.deadline());
        if let Some(push_pull) = self.schedule.push_pull {
            deadline = deadline.min(push_pull);
        }
        if let Some((end, _)) = self.members.next_suspicion() {
            deadline = deadline.min(end);
        }
        deadline
    }

    /// This node.
    pub fn own(&self) -> &Node {
        &self.members.own().node
    }

    /// Nodes that are known, dead ones too: what time-outs and retransmits depend on.
    #[expect(clippy::len_without_is_empty, reason = "this node is always known")]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// All nodes that are known and how they stand, this one first, the others in no particular order.
    pub fn nodes(&self) -> impl Iterator<Item = (&Node, State)> {
        self.members
            .iter()
            .map(|record| (&record.node, record.state()))
    }

    /// A node that is known, how it stands, and its incarnation.
    pub fn find(&self, name: &str) -> Option<(&Node, State, u32)> {
        let (_, record) = self.members.by_name(name)?;
        Some((&record.node, record.state(), record.incarnation))
    }

    /// Forgets a node that is dead or gone: the layer above has reaped it.
    pub fn forget(&mut self, name: &str) {
        if let Some((slot, record)) = self.members.by_name(name)
            && !record.is_live()
        {
            self.members.remove(slot);
        }
    }

    /// What went wrong since the start.
    pub fn troubles(&self) -> Troubles {
        self.troubles
    }

    /// How unwell this node thinks it is: 0 (well) to 7.
    pub fn health_score(&self) -> u32 {
        self.score
    }

    /// Broadcasts that are waiting to be sent.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Times that a broadcast is sent in a pool as large as this one.
    pub fn transmits_max(&self) -> u32 {
        self.config.transmits_max(self.len())
    }

    fn message(&mut self, turn: &mut Turn<'_>, from: SocketAddr, message: &Message<'_>) {
        match message {
            Message::Ping(ping) => self.pinged(turn, from, ping),
            Message::IndirectPing(ask) => self.asked(turn, from, ask),
            Message::Ack(ack) => self.acked(turn, ack),
            Message::Nack { sequence } => self.probes.nacked(*sequence),
            Message::Suspect(accusation) => self.suspect(turn, accusation),
            Message::Alive(alive) => self.alive(turn, alive),
            Message::Dead(accusation) => self.dead(turn, accusation),
            Message::User(octets) => turn.event(Event::User { from, octets }),
        }
    }

    fn tick(&mut self, turn: &mut Turn<'_>) {
        let late = turn.now.saturating_sub(self.deadline());
        if late > self.config.probe_interval {
            // This node has not run. What it did not hear meanwhile is nobody else's silence.
            self.members.postpone_suspicions(late);
            self.probes.postpone(late);
        }
        self.probe_tick(turn);
        while let Some((end, slot)) = self.members.next_suspicion() {
            if end > turn.now {
                break;
            }
            self.suspicion_ended(turn, slot);
        }
        if self.schedule.gossip <= turn.now {
            self.schedule.gossip =
                next(self.schedule.gossip, self.config.gossip_interval, turn.now);
            self.gossip(turn);
        }
        if self.schedule.push_pull.is_some_and(|due| due <= turn.now) {
            self.push_pull(turn);
        }
    }

    /// Whether something strange may be logged: not more often than every minute, so that whoever
    /// causes it cannot fill a disk.
    fn may_log(&mut self, now: Time) -> bool {
        let may = self.quiet_until <= now;
        if may {
            self.quiet_until = now + Duration::from_secs(60);
        }
        may
    }
}

/// The next of a regular series of times; missed ones are not made up for.
fn next(due: Time, interval: Duration, now: Time) -> Time {
    let next = due + interval;
    if next > now { next } else { now + interval }
}
