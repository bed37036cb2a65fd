//! A pool in one thread, with a clock and a network of its own: every packet and stream goes
//! through the real encoding, and through loss, delay, repetition, reordering and cuts. All follows
//! from one seed.

mod above;
mod calendar;
mod views;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use herald::gossip::actions::{Actions, Request, Time};
use herald::gossip::swim::{Config, Input, Name, Node, State, Swim};
use herald::gossip::wire::{Message, StreamMessage, Versions};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use above::Above;
use calendar::Calendar;

/// Time between two attempts to reach a failed member, as the layer above makes them.
const RECONNECT_EVERY: Duration = Duration::from_secs(30);

/// Packets that wait in the socket of a paused member.
const SOCKET_PACKETS_MAX: usize = 200;

/// What the network does to packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions {
    /// Share that is lost, of packets and of streams.
    pub(crate) loss: f64,
    /// Share that comes twice.
    pub(crate) repeated: f64,
    /// Least and greatest time on the way; what overtakes, overtakes.
    pub(crate) delay: (Duration, Duration),
}

/// A network at its best.
pub(crate) const CALM: Conditions = Conditions {
    loss: 0.0,
    repeated: 0.0,
    delay: (Duration::from_micros(100), Duration::from_millis(1)),
};

/// What a pool has cost since it was last asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) packets: u64,
    pub(crate) messages: u64,
    pub(crate) packet_octets: u64,
    pub(crate) streams: u64,
    pub(crate) stream_octets: u64,
}

struct Member {
    swim: Swim,
    above: Above,
    running: bool,
    /// Through whom it joins, until that has worked.
    joining: Option<usize>,
    /// While it is paused: until when, and what waits in its socket.
    paused: Option<Time>,
    socket: Vec<(usize, Vec<u8>)>,
    /// When its next tick stands in the calendar.
    wake: Option<Time>,
}

#[derive(Debug)]
enum Happening {
    Tick(usize),
    Resume(usize),
    Reconnect(usize),
    /// Tries to join until it works.
    Join(usize, usize),
    Packet(usize, usize, Vec<u8>),
    /// First half of an exchange, then the second.
    Offer(usize, usize, bool, Vec<u8>),
    Answer(usize, usize, Vec<u8>),
    StreamPing(usize, usize, u32),
    StreamAck(usize, u32),
}

/// The pool and its network.
pub(crate) struct Network {
    pub(crate) now: Time,
    pub(crate) conditions: Conditions,
    pub(crate) random: SmallRng,
    pub(crate) traffic: Traffic,
    /// Members taken for dead while they ran and had not been cut off.
    pub(crate) false_deaths: u64,
    config: Config,
    meta_octets: usize,
    members: Vec<Member>,
    cuts: BTreeSet<(usize, usize)>,
    calendar: Calendar<Happening>,
    actions: Actions,
}

/// Where member `index` is.
fn address_of(index: usize) -> SocketAddr {
    let [.., high, low] = index.to_be_bytes();
    SocketAddr::from(([10, 1, high, low], 8301))
}

fn index_of(address: SocketAddr) -> usize {
    let SocketAddr::V4(v4) = address else {
        panic!("{address} is nobody's");
    };
    let [.., high, low] = v4.ip().octets();
    usize::from(u16::from_be_bytes([high, low]))
}

fn name_of(index: usize) -> Name {
    format!("node-{index}").into()
}

impl Network {
    /// `count` members who do not know each other yet, each with a meta of `meta_octets`.
    pub(crate) fn new(seed: u64, config: Config, count: usize, meta_octets: usize) -> Self {
        let mut network = Self {
            now: Time::ZERO,
            conditions: CALM,
            random: SmallRng::seed_from_u64(seed),
            traffic: Traffic::default(),
            false_deaths: 0,
            config,
            meta_octets,
            members: Vec::new(),
            cuts: BTreeSet::new(),
            calendar: Calendar::default(),
            actions: Actions::new(),
        };
        for index in 0..count {
            let member = network.create(index);
            network.members.push(member);
            network.schedule_tick(index);
            let first = network.random_time(RECONNECT_EVERY);
            network.calendar.add(first, Happening::Reconnect(index));
        }
        network
    }

    /// How many members there are, running or not.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Has a member join through another, as often as it takes, from `after` on.
    pub(crate) fn join(&mut self, who: usize, through: usize, after: Duration) {
        self.members[who].joining = Some(through);
        self.calendar
            .add(self.now + after, Happening::Join(who, through));
    }

    /// Ends a member without a word.
    pub(crate) fn kill(&mut self, index: usize) {
        self.members[index].running = false;
        self.members[index].socket.clear();
    }

    /// Starts a member that was killed anew: it knows nobody and joins through another.
    pub(crate) fn restart(&mut self, index: usize, through: usize) {
        self.members[index] = self.create(index);
        self.schedule_tick(index);
        self.join(index, through, Duration::ZERO);
    }

    /// Stops a member for a while; it does not notice.
    pub(crate) fn pause(&mut self, index: usize, time: Duration) {
        let until = self.now + time;
        self.members[index].paused = Some(until);
        self.calendar.add(until, Happening::Resume(index));
    }

    /// Nothing comes from one member to another any more.
    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    /// Ends all cuts.
    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
    }

    /// Whether a member runs.
    pub(crate) fn is_running(&self, index: usize) -> bool {
        self.members[index].running
    }

    /// A random member that runs.
    pub(crate) fn any_running(&mut self) -> usize {
        let running: Vec<_> = (0..self.len())
            .filter(|&index| self.is_running(index))
            .collect();
        running[self.random.random_range(0..running.len())]
    }

    /// Lets time pass.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, what)) = self.calendar.take_due(end) {
            self.now = at;
            self.happen(what);
        }
        self.now = end;
    }

    /// Lets time pass, in steps, until `holds`; how long it took, or what was wrong in the end.
    pub(crate) fn run_until(
        &mut self,
        limit: Duration,
        step: Duration,
        holds: impl Fn(&Self) -> Result<(), String>,
    ) -> Result<Duration, String> {
        let start = self.now;
        loop {
            match holds(self) {
                Ok(()) => return Ok(self.now.saturating_sub(start)),
                Err(wrong) if self.now.saturating_sub(start) >= limit => {
                    return Err(format!("after {limit:?} still: {wrong}"));
                }
                Err(_) => self.run_for(step),
            }
        }
    }

    fn create(&mut self, index: usize) -> Member {
        let own = Node {
            name: name_of(index),
            address: address_of(index),
            meta: vec![0xff; self.meta_octets].into(),
            versions: Versions::OWN,
        };
        Member {
            swim: Swim::new(self.config.clone(), own, self.random.random(), self.now),
            above: Above::default(),
            running: true,
            joining: None,
            paused: None,
            socket: Vec::new(),
            wake: None,
        }
    }

    fn schedule_tick(&mut self, index: usize) {
        let member = &mut self.members[index];
        let due = member.swim.deadline().max(self.now);
        if member.wake.is_none_or(|wake| due < wake) {
            member.wake = Some(due);
            self.calendar.add(due, Happening::Tick(index));
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Tick(index) => self.tick(index),
            Happening::Resume(index) => self.resume(index),
            Happening::Reconnect(index) => self.reconnect(index),
            Happening::Join(who, through) => self.try_join(who, through),
            Happening::Packet(from, to, payload) => self.receive(from, to, payload),
            Happening::Offer(from, to, join, octets) => self.offered(from, to, join, &octets),
            Happening::Answer(from, to, octets) => {
                let joining = &mut self.members[to].joining;
                joining.take_if(|through| *through == from);
                self.merge(from, to, &octets);
            }
            Happening::StreamPing(from, to, sequence) => {
                if self.is_awake(to) {
                    self.stream(to, from, 20, Happening::StreamAck(from, sequence));
                }
            }
            Happening::StreamAck(index, sequence) => {
                self.handle(index, Input::StreamAck { sequence });
            }
        }
    }

    fn tick(&mut self, index: usize) {
        let member = &mut self.members[index];
        if member.wake != Some(self.now) || member.paused.is_some() {
            return;
        }
        member.wake = None;
        if member.swim.deadline() <= self.now {
            self.handle(index, Input::Tick);
        } else {
            self.schedule_tick(index);
        }
    }

    fn resume(&mut self, index: usize) {
        let member = &mut self.members[index];
        if member.paused.is_none_or(|until| until > self.now) {
            return;
        }
        member.paused = None;
        member.wake = None;
        let waiting = std::mem::take(&mut member.socket);
        // The worst order: first what it thinks it has missed.
        if member.swim.deadline() <= self.now {
            self.handle(index, Input::Tick);
        }
        for (from, payload) in waiting {
            self.receive(from, index, payload);
        }
        self.schedule_tick(index);
    }

    /// Tries to reach a random failed member, with a probability of failed to alive ones.
    fn reconnect(&mut self, index: usize) {
        self.calendar
            .add(self.now + RECONNECT_EVERY, Happening::Reconnect(index));
        let above = &self.members[index].above;
        let failed = above.failed.len();
        if failed == 0 || !self.is_awake(index) {
            return;
        }
        let known = self.members[index].swim.nodes();
        let alive = known.filter(|(_, state)| *state == State::Alive).count();
        if self.random.random_range(0..alive.max(1)) < failed {
            let place = self.random.random_range(0..failed);
            let target = self.members[index].above.failed.values().nth(place);
            if let Some(to) = target.map(|&address| index_of(address)) {
                self.exchange(index, to, true);
            }
        }
    }

    fn try_join(&mut self, who: usize, through: usize) {
        if self.is_running(who) && self.members[who].joining == Some(through) {
            self.calendar.add(
                self.now + Duration::from_secs(2),
                Happening::Join(who, through),
            );
            self.exchange(who, through, true);
        }
    }

    fn is_awake(&self, index: usize) -> bool {
        self.members[index].running && self.members[index].paused.is_none()
    }

    fn receive(&mut self, from: usize, to: usize, payload: Vec<u8>) {
        let member = &mut self.members[to];
        if !member.running {
            return;
        }
        if member.paused.is_some() {
            if member.socket.len() < SOCKET_PACKETS_MAX {
                member.socket.push((from, payload));
            }
            return;
        }
        let parts = parts(&payload);
        for part in parts {
            let message = Message::decode(part).expect("what is sent can be read");
            let from = address_of(from);
            self.handle(to, Input::Packet { from, message });
        }
    }

    fn handle(&mut self, index: usize, input: Input<'_>) {
        let member = &mut self.members[index];
        if !member.running {
            return;
        }
        let mut actions = std::mem::take(&mut self.actions);
        (member.swim)
            .handle(self.now, input, &mut member.above, &mut actions)
            .expect("everybody may join");
        let lost = std::mem::take(&mut member.above.lost);
        self.count_deaths(index, &lost);
        for (to, _, payload) in actions.packets() {
            self.send(index, index_of(to), payload);
        }
        for request in actions.requests.drain(..) {
            match request {
                Request::Ping { to, sequence, .. } => {
                    let to = index_of(to);
                    self.stream(index, to, 40, Happening::StreamPing(index, to, sequence));
                }
                Request::Exchange { to, join } => self.exchange(index, index_of(to), join),
            }
        }
        actions.clear();
        self.actions = actions;
        self.schedule_tick(index);
    }

    fn count_deaths(&mut self, of: usize, lost: &[SocketAddr]) {
        for &address in lost {
            let index = index_of(address);
            let cut =
                (self.cuts.iter()).any(|&(a, b)| [a, b].contains(&index) || [a, b].contains(&of));
            if self.is_awake(index) && !cut {
                self.false_deaths += 1;
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, payload: &[u8]) {
        self.traffic.packets += 1;
        self.traffic.messages += parts(payload).len() as u64;
        // Headers of IP and UDP count too.
        self.traffic.packet_octets += payload.len() as u64 + 28;
        let copies = 1 + u32::from(self.random.random_bool(self.conditions.repeated));
        for _ in 0..copies {
            if !self.is_lost(from, to) {
                let at = self.now + self.delay();
                self.calendar
                    .add(at, Happening::Packet(from, to, payload.to_vec()));
            }
        }
    }

    fn exchange(&mut self, from: usize, to: usize, join: bool) {
        let member = &mut self.members[from];
        let mut octets = Vec::new();
        (member.swim).write_exchange(join, true, &mut member.above, &mut octets);
        let length = octets.len();
        self.stream(from, to, length, Happening::Offer(from, to, join, octets));
    }

    fn offered(&mut self, from: usize, to: usize, join: bool, octets: &[u8]) {
        if !self.is_awake(to) {
            return;
        }
        let member = &mut self.members[to];
        let mut answer = Vec::new();
        (member.swim).write_exchange(join, true, &mut member.above, &mut answer);
        let length = answer.len();
        self.stream(to, from, length, Happening::Answer(to, from, answer));
        self.merge(from, to, octets);
    }

    fn merge(&mut self, from: usize, to: usize, octets: &[u8]) {
        if !self.is_awake(to) {
            return;
        }
        let message = StreamMessage::decode(octets).expect("what is sent can be read");
        let StreamMessage::PushPull(remote) = message else {
            panic!("an exchange is expected");
        };
        let from = address_of(from);
        self.handle(to, Input::Exchange { from, remote });
    }

    /// Sends something over a stream; streams need both directions.
    fn stream(&mut self, from: usize, to: usize, octets: usize, what: Happening) {
        self.traffic.streams += 1;
        self.traffic.stream_octets += octets as u64;
        if self.is_lost(from, to) || self.cuts.contains(&(to, from)) {
            return;
        }
        let at = self.now + self.delay() + self.delay();
        self.calendar.add(at, what);
    }

    fn is_lost(&mut self, from: usize, to: usize) -> bool {
        self.cuts.contains(&(from, to)) || self.random.random_bool(self.conditions.loss)
    }

    fn delay(&mut self) -> Duration {
        let (least, most) = self.conditions.delay;
        least + self.random_time(most.saturating_sub(least))
    }

    /// A random time below `most`.
    pub(crate) fn random_time(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.random.random())
    }
}

/// The messages of a payload: itself, or the parts of a compound.
fn parts(payload: &[u8]) -> Vec<&[u8]> {
    if payload.first() != Some(&7) {
        return vec![payload];
    }
    let count = usize::from(payload[1]);
    let (lengths, mut bodies) = payload[2..].split_at(2 * count);
    let length = |octets: &[u8]| usize::from(u16::from_be_bytes([octets[0], octets[1]]));
    let part = |octets: &[u8]| {
        let (part, rest) = bodies.split_at(length(octets));
        bodies = rest;
        part
    };
    lengths.chunks(2).map(part).collect()
}
