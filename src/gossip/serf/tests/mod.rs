//! Tests of the layer: alone with a virtual clock, against what real agents were seen to send, and
//! several pools of one back to back.

mod pools;
mod properties;
mod statuses;
mod talk;
mod vectors;

use std::net::SocketAddr;
use std::sync::Arc;

use super::layer::Layer;
use super::message::{self, Message, USER};
use super::{Change, Config, LamportTime, Notice, Remembered, Tags, meta};
use crate::gossip::actions::{Actions, Time};
use crate::gossip::admission::Open;
use crate::gossip::swim::{self, Delegate, Event, Node, Room};
use crate::gossip::wire::Versions;
use crate::types::MemberStatus;

/// One layer without the protocol below, and a clock.
struct Bench {
    layer: Layer,
    now: Time,
    actions: Actions,
}

/// A node whose number is its address, too.
fn node(name: &str, number: u8) -> Node {
    Node {
        name: name.into(),
        address: address(number),
        meta: meta::encode(&tags(&[("role", "web")])).unwrap().into(),
        versions: Versions::OWN,
    }
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 8_301))
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

impl Bench {
    /// A node `own` at address 1.
    fn new() -> Self {
        Self::remembering(&Remembered::default())
    }

    fn remembering(remembered: &Remembered) -> Self {
        let layer = Layer::new(
            Config::default(),
            &swim::Config::lan(),
            &node("own", 1),
            Arc::new(Open),
            remembered,
            7,
            Time::ZERO,
        );
        Self {
            layer,
            now: Time::from_secs(1),
            actions: Actions::new(),
        }
    }

    fn event(&mut self, event: Event<'_>) {
        self.layer.event(self.now, event, &mut self.actions);
    }

    fn join(&mut self, name: &str, number: u8) {
        self.event(Event::Joined(&node(name, number)));
    }

    fn die(&mut self, name: &str, number: u8) {
        self.event(Event::Left(&node(name, number)));
    }

    fn receive(&mut self, message: &Message<'_>) {
        let mut octets = Vec::new();
        message.encode(&mut octets);
        self.receive_octets(&octets);
    }

    fn receive_octets(&mut self, octets: &[u8]) {
        let from = address(9);
        self.event(Event::User { from, octets });
    }

    fn leave_intent(&mut self, node: &str, time: LamportTime, prune: bool) {
        self.receive(&Message::Leave(message::Leave { time, node, prune }));
    }

    fn join_intent(&mut self, node: &str, time: LamportTime) {
        self.receive(&Message::Join(message::Join { time, node }));
    }

    fn status(&self, name: &str) -> Option<(MemberStatus, LamportTime)> {
        let record = self.layer.members.get(name)?;
        Some((record.status, record.status_time))
    }

    /// What was told of members since the last call.
    fn changes(&mut self) -> Vec<(Change, String)> {
        self.take_notices()
            .into_iter()
            .filter_map(|notice| match notice {
                Notice::Member(change, member) => Some((change, member.name)),
                _ => None,
            })
            .collect()
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.actions.notices)
    }

    /// Packets that were sent since the last call, without memberlist's type octet.
    fn take_packets(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let packets = (self.actions.packets())
            .map(|(to, checksum, payload)| {
                assert!(!checksum, "messages to one node carry no checksum");
                assert_eq!(payload[0], USER);
                (to, payload[1..].to_vec())
            })
            .collect();
        self.actions.clear();
        packets
    }

    /// Broadcasts of one packet, each sent once only, without memberlist's type octet.
    fn take_broadcasts(&mut self) -> Vec<Vec<u8>> {
        let (mut octets, mut lengths) = (Vec::new(), Vec::new());
        let mut room = Room::new(1_400, 0, &mut octets, &mut lengths);
        self.layer.ride_along(&mut room, 1);
        let mut rest = octets.as_slice();
        let mut broadcasts = Vec::new();
        for length in lengths {
            let (broadcast, behind) = rest.split_at(length.into());
            assert_eq!(broadcast[0], USER);
            broadcasts.push(broadcast[1..].to_vec());
            rest = behind;
        }
        broadcasts
    }

    /// Lets time pass and does what is due.
    fn pass(&mut self, time: Time) {
        self.now += time;
        self.layer.tick(self.now, &mut self.actions);
    }
}
