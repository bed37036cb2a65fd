//! Each rule of the protocol, with a clock of its own.

mod merging;
mod order;
mod probing;
mod rumours;

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::gossip::actions::Request;
use crate::gossip::wire::{Accusation, Alive, Malformed, NodeState};

/// The layer above: notes what it is told.
#[derive(Default)]
struct Above {
    events: Vec<String>,
    refuses: Option<&'static str>,
    payload: Vec<u8>,
    riding: Broadcasts,
    merged: Vec<Vec<u8>>,
}

impl Above {
    fn check(&self, name: &str) -> Result<(), Refusal> {
        match self.refuses {
            Some(refused) if refused == name => Err(Refusal(format!("{name} is kept out"))),
            _ => Ok(()),
        }
    }
}

impl Delegate for Above {
    fn may_enter(&mut self, node: &Node, _state: State) -> Result<(), Refusal> {
        self.check(&node.name)
    }

    fn may_merge(&mut self, nodes: &[(Node, State)]) -> Result<(), Refusal> {
        nodes
            .iter()
            .try_for_each(|(node, _)| self.check(&node.name))
    }

    fn event(&mut self, _now: Time, event: Event<'_>, _actions: &mut Actions) {
        self.events.push(match event {
            Event::Joined(node) => format!("joined {}", node.name),
            Event::Left(node) => format!("left {}", node.name),
            Event::Updated(node) => format!("updated {}", node.name),
            Event::Conflict { known, other } => format!("conflict {} {other}", known.name),
            Event::RoundTrip {
                node,
                time,
                payload,
            } => format!("round trip {} {time:?} {payload:?}", node.name),
            Event::User { from, octets } => format!("user {from} {octets:?}"),
            Event::Refused {
                node,
                address,
                refusal,
            } => format!("refused {node} {address}: {refusal}"),
            Event::LeaveSpread => "leave spread".to_owned(),
        });
    }

    fn write_ack_payload(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.payload);
    }

    fn ride_along(&mut self, room: &mut Room<'_>, transmits_max: u32) {
        self.riding.fill(room, 2, transmits_max, |_| {});
    }

    fn write_state(&mut self, join: bool, out: &mut Vec<u8>) {
        out.extend([9, u8::from(join)]);
    }

    fn merge_state(&mut self, _now: Time, _join: bool, octets: &[u8], _actions: &mut Actions) {
        self.merged.push(octets.to_vec());
    }
}

/// One sent packet: where to, whether with a checksum, and its messages as text.
type Sent = (SocketAddr, bool, Vec<String>);

/// A node named `own`, and others at addresses of their names.
struct Fixture {
    swim: Swim,
    above: Above,
    actions: Actions,
    now: Time,
}

/// Node `a` is at 10.0.0.1:8301, `b` at 10.0.0.2:8301, and so on.
fn address_of(name: &str) -> SocketAddr {
    let last = name.bytes().next().unwrap() - b'a' + 1;
    SocketAddr::from(([10, 0, 0, last], 8301))
}

fn node(name: &str) -> Node {
    Node {
        name: name.into(),
        address: address_of(name),
        meta: [].into(),
        versions: Versions::OWN,
    }
}

fn alive(name: &str, incarnation: u32) -> Alive<'_> {
    Alive {
        incarnation,
        node: name,
        address: address_of(name),
        meta: &[],
        versions: Versions::OWN,
    }
}

fn accusation<'a>(node: &'a str, incarnation: u32, from: &'a str) -> Accusation<'a> {
    Accusation {
        incarnation,
        node,
        from,
    }
}

/// The messages of a payload.
fn parts(payload: &[u8]) -> Vec<&[u8]> {
    if payload.first() != Some(&7) {
        return vec![payload];
    }
    let count = usize::from(payload[1]);
    let (lengths, mut bodies) = payload[2..].split_at(2 * count);
    let mut parts = Vec::new();
    for length in lengths.chunks(2) {
        let (part, rest) = bodies.split_at(usize::from(u16::from_be_bytes([length[0], length[1]])));
        parts.push(part);
        bodies = rest;
    }
    assert!(bodies.is_empty());
    parts
}

fn describe(octets: &[u8]) -> Result<String, Malformed> {
    Ok(match Message::decode(octets)? {
        Message::Ping(ping) => format!("ping {}", ping.node),
        Message::IndirectPing(ask) => format!("ask {} {} {}", ask.node, ask.target, ask.nack),
        Message::Ack(ack) => format!("ack {} {:?}", ack.sequence, ack.payload),
        Message::Nack { sequence } => format!("nack {sequence}"),
        Message::Suspect(said) => {
            format!("suspect {} {} {}", said.node, said.incarnation, said.from)
        }
        Message::Dead(said) => format!("dead {} {} {}", said.node, said.incarnation, said.from),
        Message::Alive(alive) => format!("alive {} {}", alive.node, alive.incarnation),
        Message::User(octets) => format!("user {octets:?}"),
    })
}

impl Fixture {
    fn new(config: Config) -> Self {
        Self {
            swim: Swim::new(config, node("own"), 7, Time::ZERO),
            above: Above::default(),
            actions: Actions::new(),
            now: Time::ZERO,
        }
    }

    /// A pool with further nodes, all alive with incarnation 1, and nothing to tell.
    fn with(nodes: &[&str]) -> Self {
        Self::configured(Config::lan(), nodes)
    }

    fn configured(config: Config, nodes: &[&str]) -> Self {
        let mut fixture = Self::new(config);
        for name in nodes {
            fixture.hear(Message::Alive(alive(name, 1)));
        }
        fixture.swim.queue.prune(0);
        fixture.above.events.clear();
        fixture
    }

    fn handle(&mut self, input: Input<'_>) -> Result<(), InputError> {
        (self.swim).handle(self.now, input, &mut self.above, &mut self.actions)
    }

    /// A message from somewhere that is nobody's address.
    fn hear(&mut self, message: Message<'_>) {
        self.hear_from("192.0.2.9:9".parse().unwrap(), message);
    }

    fn hear_from(&mut self, from: SocketAddr, message: Message<'_>) {
        self.handle(Input::Packet { from, message }).unwrap();
    }

    fn exchange(&mut self, join: bool, nodes: &[(&str, u32, State)]) -> Result<(), InputError> {
        let nodes = nodes.iter().map(|&(name, incarnation, state)| NodeState {
            name,
            address: address_of(name),
            meta: &[],
            incarnation,
            state: state as u8,
            versions: Versions::OWN,
        });
        let remote = PushPull {
            join,
            nodes: nodes.collect(),
            user_state: b"above",
        };
        let from = address_of("z");
        self.handle(Input::Exchange { from, remote })
    }

    /// Lets time pass, with a tick whenever one is due; what was sent on the way.
    fn pass(&mut self, time: Duration) -> Vec<Sent> {
        let end = self.now + time;
        while self.swim.deadline() <= end {
            self.now = self.now.max(self.swim.deadline());
            self.handle(Input::Tick).unwrap();
        }
        self.now = end;
        self.sent()
    }

    /// Lets time pass until the next ping begins; to whom, and its sequence.
    fn next_ping(&mut self) -> (Name, u32) {
        for _ in 0..1_000 {
            let before = self.swim.probes.next;
            self.now = self.swim.deadline();
            self.handle(Input::Tick).unwrap();
            if self.swim.probes.next != before
                && let Some(running) = self.swim.probes.running()
            {
                return running;
            }
        }
        panic!("no ping in 1,000 ticks");
    }

    /// What was sent since the last look.
    fn sent(&mut self) -> Vec<Sent> {
        let packets = self.actions.packets();
        let sent = packets.map(|(to, checksum, payload)| {
            assert!(payload.len() <= 1_400);
            let texts = parts(payload)
                .into_iter()
                .map(|part| describe(part).unwrap());
            (to, checksum, texts.collect())
        });
        let sent = sent.collect();
        self.actions.clear();
        sent
    }

    /// What there is to tell, each message once.
    fn told(&mut self) -> Vec<String> {
        let (mut octets, mut lengths) = (Vec::new(), Vec::new());
        let mut room = Room::new(60_000, 0, &mut octets, &mut lengths);
        self.swim.queue.fill(&mut room, 2, 1, |_| {});
        let mut packet = Vec::new();
        room::write_payload(&mut packet, &[], &octets, &lengths);
        if lengths.is_empty() {
            return Vec::new();
        }
        let mut texts: Vec<_> = parts(&packet)
            .into_iter()
            .map(|p| describe(p).unwrap())
            .collect();
        texts.sort();
        texts
    }

    fn state(&self, name: &str) -> Option<(State, u32)> {
        self.swim
            .find(name)
            .map(|(_, state, incarnation)| (state, incarnation))
    }

    fn events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.above.events)
    }
}

#[test]
fn same_seed_and_inputs_give_the_same_actions() {
    let run = || {
        let mut fixture = Fixture::new(Config::lan());
        for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
            fixture.hear(Message::Alive(alive(name, 1)));
        }
        (fixture.pass(Duration::from_secs(60)), fixture.events())
    };
    let first = run();
    assert!(first.0.len() > 100 && first.1.len() > 10, "{first:?}");
    assert_eq!(first, run());
}
