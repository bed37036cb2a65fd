//! Who answers: one node after the other is pinged; where its answer stays out, others are asked to
//! ping it, and a stream is tried, before it is suspected. The other way round, this node answers
//! pings and asks others on behalf of those who had no answer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::delegate::Turn;
use super::gossip::{Receiver, greatest_version};
use super::members::Slot;
use super::{Event, Name, State, Swim};
use crate::gossip::actions::{Request, Time};
use crate::gossip::wire::{Accusation, Ack, IndirectPing, Message, Ping, Source};

/// Pings on behalf of others that are waited for at a time; the oldest goes for a new one.
const ASKED_MAX: usize = 1_024;

/// Versions of the protocol from which on a node answers pings over streams, and says that an
/// indirect ping has failed.
const STREAM_PING_SINCE: u8 = 3;
const NACK_SINCE: u8 = 4;

/// The node that is being probed.
#[derive(Clone, Debug)]
struct Probe {
    name: Name,
    sequence: u32,
    sent: Time,
    /// When others are asked; `None` once they were.
    ask_at: Option<Time>,
    /// Of those who were asked, how many would say that they had no answer, and did.
    nacks_expected: u32,
    nacks: u32,
}

/// A ping on behalf of another node.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// Of this node's ping.
    sequence: u32,
    /// Of the other's, which it expects in the answer.
    theirs: u32,
    answer_to: Receiver,
    /// Whether it wants to be told of a failure.
    nack: bool,
    answered: bool,
    expires: Time,
}

/// All probing: whose turn it is, and what is waited for.
#[derive(Debug)]
pub(super) struct Probes {
    running: Option<Probe>,
    /// When the running probe is over, and the next begins.
    pub(super) next: Time,
    /// Oldest first; all wait for the same time, and sequences grow.
    asked: VecDeque<Asked>,
    pub(super) sequence: u32,
}

impl Probes {
    pub(super) fn new(first: Time, sequence: u32) -> Self {
        Self {
            running: None,
            next: first,
            asked: VecDeque::new(),
            sequence,
        }
    }

    pub(super) fn deadline(&self) -> Time {
        let ask_at = self.running.as_ref().and_then(|probe| probe.ask_at);
        let expires = self.asked.front().map(|asked| asked.expires);
        [ask_at, expires]
            .into_iter()
            .flatten()
            .fold(self.next, Time::min)
    }

    /// Gives everybody who is waited for `time` more.
    pub(super) fn postpone(&mut self, time: Duration) {
        self.next += time;
        if let Some(ask_at) = self
            .running
            .as_mut()
            .and_then(|probe| probe.ask_at.as_mut())
        {
            *ask_at += time;
        }
        for asked in &mut self.asked {
            asked.expires += time;
        }
    }

    /// Somebody who was asked had no answer: the way from here to it is in order.
    pub(super) fn nacked(&mut self, sequence: u32) {
        if let Some(probe) = &mut self.running
            && probe.sequence == sequence
            && probe.nacks < probe.nacks_expected
        {
            probe.nacks += 1;
        }
    }

    /// Who is being probed, and the sequence of the ping.
    #[cfg(test)]
    pub(super) fn running(&self) -> Option<(Name, u32)> {
        let running = self.running.as_ref();
        running.map(|probe| (probe.name.clone(), probe.sequence))
    }

    /// Pings on behalf of others that are waited for.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.asked.len()
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Who is to be told that its ping was answered, unless it was already or it is too late.
    fn answer(&mut self, sequence: u32) -> Option<(u32, Receiver)> {
        let first = self.asked.front()?.sequence;
        let distance = sequence.wrapping_sub(first);
        let place = (self.asked)
            .binary_search_by_key(&distance, |asked| asked.sequence.wrapping_sub(first))
            .ok()?;
        let asked = self.asked.get_mut(place).filter(|asked| !asked.answered)?;
        asked.answered = true;
        Some((asked.theirs, asked.answer_to))
    }
}

impl Swim {
    /// Does what is due about probes.
    pub(super) fn probe_tick(&mut self, turn: &mut Turn<'_>) {
        while let Some(&asked) = self.probes.asked.front().filter(|a| a.expires <= turn.now) {
            self.probes.asked.pop_front();
            if asked.nack && !asked.answered {
                let sequence = asked.theirs;
                self.send(turn, asked.answer_to, &Message::Nack { sequence });
            }
        }
        if self.probes.next <= turn.now {
            if let Some(probe) = self.probes.running.take() {
                self.probe_failed(turn, &probe);
            }
            self.begin_probe(turn);
        } else if let Some(probe) = &mut self.probes.running
            && probe.ask_at.is_some_and(|due| due <= turn.now)
        {
            probe.ask_at = None;
            self.ask_others(turn);
        }
    }

    /// Pings the node whose turn it is.
    fn begin_probe(&mut self, turn: &mut Turn<'_>) {
        // An unwell node gives others more time, and itself less to do.
        let interval = self.config.probe_interval * (self.score + 1);
        self.probes.next = turn.now + interval;
        let dead_for = self.config.gossip_to_the_dead;
        let next = self.members.next_turn(&mut self.random, turn.now, dead_for);
        let Some((slot, record)) = next.and_then(|slot| Some((slot, self.members.get(slot)?)))
        else {
            return;
        };
        let (node, state, incarnation) = (record.node.clone(), record.state(), record.incarnation);
        let sequence = self.probes.next_sequence();
        self.probes.running = Some(Probe {
            name: node.name.clone(),
            sequence,
            sent: turn.now,
            ask_at: Some(turn.now + self.config.probe_timeout),
            nacks_expected: 0,
            nacks: 0,
        });
        let own = self.own().clone();
        let ping = Message::Ping(Ping {
            sequence,
            node: &node.name,
            source: Some(Source {
                address: own.address,
                node: &own.name,
            }),
        });
        if state == State::Alive {
            let address = node.address;
            self.send(
                turn,
                Receiver {
                    address,
                    member: true,
                },
                &ping,
            );
            return;
        }
        // A suspect hears at once of what it is suspected, and can refute.
        let suspect = Message::Suspect(Accusation {
            incarnation,
            node: &node.name,
            from: &own.name,
        });
        self.send_both(turn, slot, &ping, &suspect);
    }

    /// The node that is probed has not answered: others are asked to ping it, and a stream is tried.
    fn ask_others(&mut self, turn: &mut Turn<'_>) {
        let Some(probe) = &self.probes.running else {
            return;
        };
        let (name, sequence) = (probe.name.clone(), probe.sequence);
        let Some((slot, record)) = self.members.by_name(&name) else {
            return;
        };
        let target = record.node.address;
        if greatest_version(record) >= STREAM_PING_SINCE {
            turn.actions.requests.push(Request::Ping {
                to: target,
                node: name.clone(),
                sequence,
                deadline: self.probes.next,
            });
        }
        let own = self.own().clone();
        self.choose_alive(turn.now, self.config.indirect_checks, Some(slot));
        let mut expected = 0;
        for place in 0..self.buffers.chosen.len() {
            let chosen = self.buffers.chosen.get(place);
            let Some(peer) = chosen.and_then(|&slot| self.members.get(slot)) else {
                continue;
            };
            let (address, nack) = (peer.node.address, greatest_version(peer) >= NACK_SINCE);
            expected += u32::from(nack);
            let ask = Message::IndirectPing(IndirectPing {
                sequence,
                target,
                node: &name,
                nack,
                source: Some(Source {
                    address: own.address,
                    node: &own.name,
                }),
            });
            self.send(
                turn,
                Receiver {
                    address,
                    member: true,
                },
                &ask,
            );
        }
        if let Some(probe) = &mut self.probes.running {
            probe.nacks_expected = expected;
        }
    }

    /// Nobody has reached the node that was probed.
    fn probe_failed(&mut self, turn: &mut Turn<'_>, probe: &Probe) {
        self.troubles.probes_failed += 1;
        // Where those who were asked say nothing either, the fault is rather here.
        self.worsen(match probe.nacks_expected {
            0 => 1,
            expected => expected.saturating_sub(probe.nacks),
        });
        self.suspect_probed(turn, &probe.name);
    }

    /// Suspects the node that was probed.
    fn suspect_probed(&mut self, turn: &mut Turn<'_>, name: &Name) {
        let Some((_, record)) = self.members.by_name(name) else {
            return;
        };
        let own = self.own().name.clone();
        let accusation = Accusation {
            incarnation: record.incarnation,
            node: name,
            from: &own,
        };
        self.suspect(turn, &accusation);
    }

    /// A ping was answered: that of the probe, or one on behalf of another.
    pub(super) fn acked(&mut self, turn: &mut Turn<'_>, ack: &Ack<'_>) {
        let running = self
            .probes
            .running
            .take_if(|probe| probe.sequence == ack.sequence);
        if let Some(probe) = running {
            self.score = self.score.saturating_sub(1);
            if probe.ask_at.is_some()
                && let Some((_, record)) = self.members.by_name(&probe.name)
            {
                turn.event(Event::RoundTrip {
                    node: &record.node,
                    time: turn.now.saturating_sub(probe.sent),
                    payload: ack.payload,
                });
            }
        } else if let Some((sequence, answer_to)) = self.probes.answer(ack.sequence) {
            let payload = &[];
            self.send(turn, answer_to, &Message::Ack(Ack { sequence, payload }));
        }
    }

    /// A ping over a stream was answered.
    pub(super) fn stream_acked(&mut self, sequence: u32) {
        let running = self
            .probes
            .running
            .take_if(|probe| probe.sequence == sequence);
        if let Some(probe) = running {
            self.score = self.score.saturating_sub(1);
            tracing::warn!(
                node = %probe.name,
                "answers over a stream but not over packets: is UDP let through?"
            );
        }
    }

    /// The host of the node that is probed says that nobody listens there any more. More answers
    /// will not come, so the node is suspected at once; if it is only being started again, it has
    /// the same time as any suspect to say so. That the host has answered shows that the fault is
    /// not here.
    pub(super) fn stream_refused(&mut self, turn: &mut Turn<'_>, sequence: u32) {
        let running = self
            .probes
            .running
            .take_if(|probe| probe.sequence == sequence);
        if let Some(probe) = running {
            self.troubles.probes_failed += 1;
            self.suspect_probed(turn, &probe.name);
        }
    }

    /// Answers a ping.
    pub(super) fn pinged(&mut self, turn: &mut Turn<'_>, from: SocketAddr, ping: &Ping<'_>) {
        if !ping.node.is_empty() && *ping.node != *self.own().name {
            return;
        }
        let answer_to = self.answer_to(from, ping.source);
        let mut payload = std::mem::take(&mut self.buffers.payload);
        payload.clear();
        turn.delegate.write_ack_payload(&mut payload);
        let ack = Ack {
            sequence: ping.sequence,
            payload: &payload,
        };
        self.send(turn, answer_to, &Message::Ack(ack));
        self.buffers.payload = payload;
    }

    /// Pings a node on behalf of another.
    pub(super) fn asked(&mut self, turn: &mut Turn<'_>, from: SocketAddr, ask: &IndirectPing<'_>) {
        let Some(address) = self.complete(ask.target) else {
            return;
        };
        let sequence = self.probes.next_sequence();
        if self.probes.asked.len() >= ASKED_MAX {
            self.probes.asked.pop_front();
        }
        self.probes.asked.push_back(Asked {
            sequence,
            theirs: ask.sequence,
            answer_to: self.answer_to(from, ask.source),
            nack: ask.nack,
            answered: false,
            expires: turn.now + self.config.probe_timeout,
        });
        let own = self.own().clone();
        let ping = Message::Ping(Ping {
            sequence,
            node: ask.node,
            source: Some(Source {
                address: own.address,
                node: &own.name,
            }),
        });
        let member = self.is_at(ask.node, address);
        self.send(turn, Receiver { address, member }, &ping);
    }

    /// Where an answer goes: to the address that the asker names, if that is a member's, else to
    /// where the packet came from. So nobody gets answers to what somebody else has asked.
    fn answer_to(&self, from: SocketAddr, source: Option<Source<'_>>) -> Receiver {
        let named = source.and_then(|source| {
            let address = self.complete(source.address)?;
            self.is_at(source.node, address).then_some(address)
        });
        Receiver {
            address: named.unwrap_or(from),
            member: named.is_some(),
        }
    }

    /// Whether a member of this name is at this address.
    fn is_at(&self, name: &str, address: SocketAddr) -> bool {
        let known = self
            .members
            .find(name)
            .and_then(|slot: Slot| self.members.get(slot));
        known.is_some_and(|record| record.node.address == address)
    }
}
