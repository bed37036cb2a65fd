//! The one task of a pool: takes packets, commands and time, feeds the protocol, and carries out
//! what it wants done.
//!
//! A turn empties the socket first, as far as one turn may: pings and their answers are dealt with
//! on the spot, everything else waits in the [`Backlog`]. Nothing in a turn waits: what the kernel
//! does not take is lost, as packets may be.

mod commands;
mod notices;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::backlog::Backlog;
use super::config::{Config, is_allowed};
use super::counts::{Counts, Reason};
use super::gate::Gate;
use super::keys::{Asked, Keys};
use super::limit::{OncePerMinute, Tally};
use super::shared::{Command, Shared};
use super::{StartError, exchange, join, keys, serve};
use crate::clock;
use crate::gossip::actions::{Actions, Time};
use crate::gossip::admission::Admission;
use crate::gossip::serf::{Input, Outcome, QueryId, Remembered, Serf, SerfError};
use crate::gossip::snapshot::{Snapshot, Store};
use crate::gossip::transport::{Datagrams, Sockets, Streams, bind};
use crate::gossip::wire::{Codec, Dropped};
use crate::metrics::Metrics;
use crate::task::Tasks;

/// Octets of the longest datagram there is.
const DATAGRAM_OCTETS_MAX: usize = 64 * 1_024;

/// Datagrams taken in one turn; the kernel keeps the others meanwhile.
const DATAGRAMS_OF_A_TURN: usize = 64;

/// Messages taken from the backlog in one turn.
const MESSAGES_OF_A_TURN: usize = 128;

/// Commands that may wait. Who has another waits to hand it over.
const COMMANDS_MAX: usize = 256;

/// User events that somebody who follows them may be behind.
const EVENTS_MAX: usize = 1_024;

/// Calls of `join` that run at a time.
const JOINS_MAX: usize = 8;

/// Streams that the protocol opens at a time.
const OUTGOING_MAX: usize = 64;

/// Queries of this node that wait for answers at a time.
const QUERIES_MAX: usize = 64;

/// Time between two publications of the members, for each of them: about twenty times what one
/// costs.
const PUBLISH_PAUSE: Duration = Duration::from_micros(40);

/// Time between two looks at the protocol's figures.
const FIGURES_INTERVAL: Duration = Duration::from_secs(1);

/// A query of this node that is not over.
struct Waiting {
    asked: Asked,
    reply: oneshot::Sender<Result<Asked, SerfError>>,
}

/// The task, and all that only it needs.
pub(super) struct Driver {
    shared: Arc<Shared>,
    datagrams: Datagrams,
    commands: mpsc::Receiver<Command>,
    codec: Codec,
    backlog: Backlog,
    actions: Actions,
    /// The datagram that came last.
    received: Vec<u8>,
    /// The datagram that goes next.
    sealed: Vec<u8>,
    keys: Keys,
    queries: HashMap<QueryId, Waiting>,
    leaves: Vec<oneshot::Sender<()>>,
    snapshot: Option<Snapshot>,
    /// Refusals and conflicts that were told of.
    told: OncePerMinute,
    /// Packets that no key opens.
    unopened: Tally,
    /// Version of the members that were published, and when others may be.
    published: u64,
    publish_due: Time,
    figures_due: Time,
    /// Everybody knows that this node has left.
    left: bool,
}

impl Driver {
    /// Binds the sockets, makes the protocol and starts the tasks around it.
    ///
    /// # Errors
    /// The sockets cannot be bound, or the tags are too long; nothing is left running then.
    pub(super) fn start(
        config: Config,
        admission: Arc<dyn Admission>,
        store: Option<Store>,
        metrics: &Metrics,
        tasks: &Tasks,
    ) -> Result<Self, StartError> {
        let Sockets {
            address,
            datagrams,
            listener,
        } = bind(config.bind).map_err(|source| StartError::Bind {
            address: config.bind,
            source,
        })?;
        warn_of_plain_text(&config);
        let remembered = store.as_ref().map(Store::remembered).unwrap_or_default();
        let (streams_max, keyring_file) = (config.streams_max, config.keyring_file.clone());
        let (commands, waiting) = mpsc::channel(COMMANDS_MAX);
        let (keys, operations) = Keys::new();
        let keyring = Arc::new(ArcSwapOption::from_pointee(config.keyring.clone()));
        let codec = Codec::new(config.wire.clone(), Arc::clone(&keyring));
        let serf = make_protocol(&config, address, &admission, &remembered, codec.overhead())?;
        let shared = Arc::new(Shared {
            scope: config.scope,
            address,
            name: config.own.name,
            admission,
            allowed: config.allowed,
            stream_deadline: config.swim.stream_deadline,
            members: ArcSwap::from_pointee(serf.members().into()),
            changed: watch::Sender::new(0),
            events: broadcast::Sender::new(EVENTS_MAX),
            streams: Streams::new(config.wire, Arc::clone(&keyring)),
            keyring,
            joins: Semaphore::new(JOINS_MAX),
            outgoing: Arc::new(Semaphore::new(OUTGOING_MAX)),
            counts: Counts::new(config.scope, metrics),
            closing: tasks.stopping().child_token(),
            tasks: tasks.clone(),
            commands,
            started: clock::now(),
            serf: Mutex::new(serf),
        });
        let snapshot = store.map(|store| keep(&shared, store));
        shared.spawn(serve::accept(Arc::clone(&shared), listener, streams_max));
        shared.spawn(keys::work(Arc::clone(&shared), keyring_file, operations));
        shared.spawn(join::rejoin(Arc::clone(&shared), remembered));
        Ok(Self {
            shared,
            datagrams,
            commands: waiting,
            codec,
            backlog: Backlog::default(),
            actions: Actions::new(),
            received: vec![0; DATAGRAM_OCTETS_MAX],
            sealed: Vec::new(),
            keys,
            queries: HashMap::new(),
            leaves: Vec::new(),
            snapshot,
            told: OncePerMinute::default(),
            unopened: Tally::default(),
            published: u64::MAX,
            publish_due: Time::ZERO,
            figures_due: Time::ZERO,
            left: false,
        })
    }

    /// What the tasks of the pool share.
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Drives the pool until it has left or the agent stops.
    pub(super) async fn run(mut self) {
        let closing = self.shared.closing.clone();
        while !self.left && !closing.is_cancelled() {
            let command = self.wait().await;
            self.turn(command);
            // Other tasks have their turn too, however much comes in.
            tokio::task::yield_now().await;
        }
        closing.cancel();
        for leave in self.leaves.drain(..) {
            // Whoever asked may have given up.
            let _ = leave.send(());
        }
    }

    /// Waits until there is something to do; a command, if that is it.
    async fn wait(&mut self) -> Option<Command> {
        if self.backlog.len() > 0 {
            return self.commands.try_recv().ok();
        }
        let deadline = self.deadline();
        tokio::select! {
            () = self.shared.closing.cancelled() => None,
            ready = self.datagrams.ready() => {
                if let Err(error) = ready {
                    tracing::trace!("the socket for packets fails: {error}");
                }
                None
            }
            command = self.commands.recv() => command,
            () = tokio::time::sleep_until(deadline) => None,
        }
    }

    /// When there is something to do though nothing comes in.
    fn deadline(&self) -> Instant {
        let protocol = self.shared.protocol();
        let mut deadline = protocol.deadline();
        if protocol.members_version() != self.published {
            deadline = deadline.min(self.publish_due);
        }
        self.shared.started + deadline
    }

    /// One turn: packets, commands, time, what waits; then what has changed is published.
    fn turn(&mut self, command: Option<Command>) {
        let shared = Arc::clone(&self.shared);
        let protocol = &mut *shared.protocol();
        self.receive(protocol);
        if let Some(command) = command {
            self.command(protocol, command);
        }
        for _ in 0..COMMANDS_MAX {
            match self.commands.try_recv() {
                Ok(command) => self.command(protocol, command),
                Err(_) => break,
            }
        }
        let now = self.shared.now();
        if protocol.deadline() <= now {
            // Time does not fail.
            let _ = self.feed(protocol, Input::Tick);
        }
        for _ in 0..MESSAGES_OF_A_TURN {
            let Self {
                backlog, actions, ..
            } = self;
            let handled = backlog.pop(|from, message| {
                // What a packet says has no effect if it is refused.
                let _ = protocol.handle(now, Input::Packet { from, message }, actions);
            });
            if !handled {
                break;
            }
        }
        self.carry_out(protocol);
        if protocol.members_version() != self.published && now >= self.publish_due {
            self.publish(protocol);
        }
        if now >= self.figures_due {
            self.figures_due = now + FIGURES_INTERVAL;
            let counts = &shared.counts;
            counts.troubles(protocol.troubles(), protocol.coordinate_resets());
            counts.clocks(protocol.clocks());
            let queues = protocol.queues().into_iter();
            counts.queues(queues.chain([("backlog", self.backlog.len())]));
            counts.health_score(protocol.health_score());
        }
    }

    /// Takes the datagrams that are there.
    fn receive(&mut self, protocol: &mut Serf) {
        for _ in 0..DATAGRAMS_OF_A_TURN {
            match self.datagrams.receive(&mut self.received) {
                // An empty datagram says nothing.
                Ok((0, _)) => {}
                Ok((octets, from)) => self.packet(protocol, octets, from),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Mostly the kernel tells of datagrams that did not arrive somewhere.
                Err(_) => self.shared.counts.dropped(Reason::Receive),
            }
        }
    }

    /// Takes the packet in the first `octets` of the buffer.
    fn packet(&mut self, protocol: &mut Serf, octets: usize, from: SocketAddr) {
        let Self {
            shared,
            codec,
            backlog,
            actions,
            received,
            ..
        } = self;
        let counts = &shared.counts;
        counts.received(octets);
        if !is_allowed(&shared.allowed, from.ip()) {
            counts.dropped(Reason::Network);
            return;
        }
        let now = shared.now();
        let datagram = received.get(..octets).unwrap_or_default();
        let opened = codec.open(datagram, &mut |message| {
            counts.message(&message);
            if !Backlog::takes(&message) {
                // What a packet says has no effect if it is refused.
                let _ = protocol.handle(now, Input::Packet { from, message }, actions);
            } else if !backlog.push(from, &message) {
                counts.dropped(Reason::Queue);
            }
        });
        if let Err(dropped) = opened {
            counts.dropped(dropped.into());
            self.tell_of_dropped(dropped, from, now);
        }
        self.carry_out(protocol);
    }

    fn tell_of_dropped(&mut self, dropped: Dropped, from: SocketAddr, now: Time) {
        let pool = self.shared.scope.as_str();
        if dropped != Dropped::Key {
            tracing::trace!(pool, "packet from {from} dropped: {dropped}");
        } else if let Some(count) = self.unopened.add(now) {
            tracing::warn!(
                pool,
                "no installed key decrypts {count} packets, the last one from {from}"
            );
        }
    }

    /// Feeds the protocol and carries out what it wants done.
    fn feed(&mut self, protocol: &mut Serf, input: Input<'_>) -> Result<Outcome, SerfError> {
        let outcome = protocol.handle(self.shared.now(), input, &mut self.actions);
        self.carry_out(protocol);
        outcome
    }

    /// Sends the packets, opens the streams and passes on the notices of the last inputs. Notices
    /// may lead to further inputs, and those to further packets.
    fn carry_out(&mut self, protocol: &mut Serf) {
        loop {
            let Self {
                shared,
                datagrams,
                codec,
                actions,
                sealed,
                ..
            } = self;
            for (to, checksum, payload) in actions.packets() {
                codec.seal(payload, checksum, sealed);
                match datagrams.send(sealed, to) {
                    Ok(()) => shared.counts.sent(sealed.len()),
                    Err(error) => {
                        shared.counts.dropped(Reason::Send);
                        tracing::trace!("cannot send to {to}: {error}");
                    }
                }
            }
            for request in actions.requests.drain(..) {
                exchange::carry_out(shared, request);
            }
            let notices = std::mem::take(&mut actions.notices);
            actions.clear();
            if notices.is_empty() {
                return;
            }
            for notice in notices {
                self.notice(protocol, notice);
            }
        }
    }

    /// Publishes the members as they are now. Where there are many, others wait longer until they
    /// are published: each time costs as much as there are members.
    fn publish(&mut self, protocol: &Serf) {
        let members: Arc<[_]> = protocol.members().into();
        let pause = PUBLISH_PAUSE.saturating_mul(u32::try_from(members.len()).unwrap_or(u32::MAX));
        self.publish_due = self.shared.now() + pause;
        self.published = protocol.members_version();
        self.shared.counts.members(&members);
        self.shared.members.store(Arc::new(members));
        self.shared.changed.send_modify(|count| *count += 1);
    }
}

/// The protocol of a pool that listens on `bound`.
fn make_protocol(
    config: &Config,
    bound: SocketAddr,
    admission: &Arc<dyn Admission>,
    remembered: &Remembered,
    overhead: usize,
) -> Result<Serf, SerfError> {
    let mut own = config.own.clone();
    if own.address.port() == 0 {
        own.address.set_port(bound.port());
    }
    let mut swim = config.swim.clone();
    swim.packet_octets_max = swim.packet_octets_max.saturating_sub(overhead);
    let gate = Gate {
        inner: Arc::clone(admission),
        allowed: config.allowed.clone(),
        own: own.address,
    };
    Serf::new(
        config.serf.clone(),
        swim,
        own,
        Arc::new(gate),
        remembered,
        rand::random(),
        Time::ZERO,
    )
}

/// Keys that are not insisted on keep nobody out.
fn warn_of_plain_text(config: &Config) {
    let pool = config.scope.as_str();
    if config.keyring.is_some() && !config.wire.verify_incoming {
        tracing::warn!(
            pool,
            "packets that are not encrypted are taken in all the same"
        );
    }
    if config.keyring.is_some() && !config.wire.verify_outgoing {
        tracing::warn!(pool, "packets are sent without encryption");
    }
}

/// Has what the protocol remembers written to `store` until the pool closes.
fn keep(shared: &Shared, store: Store) -> Snapshot {
    let snapshot = Snapshot::new();
    let write = snapshot.clone().write(store, shared.closing.clone());
    shared.tasks.spawn_draining(write);
    snapshot
}
