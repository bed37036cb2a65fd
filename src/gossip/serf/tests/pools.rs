//! Several nodes back to back: what one writes the others read, time passes as fast as it can.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::*;
use crate::gossip::actions::Request;
use crate::gossip::serf::{
    Input, KeyAnswer, KeyOperation, Memory, Outcome, Own, Query, QueryId, Serf, SerfError,
};
use crate::gossip::wire::{Message as Packet, StreamMessage};

/// A packet on its way.
struct Sent {
    from: SocketAddr,
    to: SocketAddr,
    payload: Vec<u8>,
}

/// Nodes that reach each other without loss or delay, unless they are cut off.
struct Network {
    now: Time,
    nodes: BTreeMap<SocketAddr, Serf>,
    cut_off: Vec<SocketAddr>,
    notices: BTreeMap<SocketAddr, Vec<Notice>>,
    sent: VecDeque<Sent>,
}

fn name(number: u8) -> String {
    format!("n{number}")
}

impl Network {
    fn new() -> Self {
        Self {
            now: Time::ZERO,
            nodes: BTreeMap::new(),
            cut_off: Vec::new(),
            notices: BTreeMap::new(),
            sent: VecDeque::new(),
        }
    }

    /// Nodes 1 to `count`, all of which have joined the first.
    fn of(count: u8) -> Self {
        let mut network = Self::new();
        for number in 1..=count {
            network.start(number);
            if number > 1 {
                network.exchange(address(number), address(1), true);
            }
        }
        network.pass(Duration::from_secs(5));
        network.notices.clear();
        network
    }

    fn start(&mut self, number: u8) {
        let config = Config {
            reconnect_timeout: Duration::from_secs(600),
            tombstone_timeout: Duration::from_secs(300),
            ..Config::default()
        };
        let own = Own {
            name: name(number).into(),
            address: address(number),
            tags: tags(&[("role", "web"), ("number", &number.to_string())]),
        };
        let (seed, now) = (u64::from(number), self.now);
        let swim = swim::Config::lan();
        let remembered = Remembered::default();
        let node = Serf::new(config, swim, own, Arc::new(Open), &remembered, seed, now);
        self.nodes.insert(address(number), node.unwrap());
    }

    /// Hands one input to a node and carries out what it wants, and what follows from that.
    fn give(&mut self, number: u8, input: Input<'_>) -> Result<Outcome, SerfError> {
        let outcome = self.handle(address(number), input);
        self.deliver();
        outcome
    }

    fn handle(&mut self, at: SocketAddr, input: Input<'_>) -> Result<Outcome, SerfError> {
        let mut actions = Actions::new();
        let node = self.nodes.get_mut(&at).unwrap();
        let outcome = node.handle(self.now, input, &mut actions);
        for (to, _, payload) in actions.packets() {
            let payload = payload.to_vec();
            self.sent.push_back(Sent {
                from: at,
                to,
                payload,
            });
        }
        self.notices.entry(at).or_default().extend(actions.notices);
        for request in actions.requests {
            match request {
                Request::Ping { to, sequence, .. } if self.reaches(at, to) => {
                    self.handle(at, Input::StreamAck { sequence }).unwrap();
                }
                Request::Ping { .. } => {}
                Request::Exchange { to, join } => self.exchange(at, to, join),
            }
        }
        outcome
    }

    fn reaches(&self, from: SocketAddr, to: SocketAddr) -> bool {
        self.nodes.contains_key(&to) && !self.cut_off.contains(&from) && !self.cut_off.contains(&to)
    }

    fn deliver(&mut self) {
        while let Some(sent) = self.sent.pop_front() {
            if !self.reaches(sent.from, sent.to) {
                continue;
            }
            for part in parts(&sent.payload) {
                let message = Packet::decode(part).unwrap();
                let from = sent.from;
                self.handle(sent.to, Input::Packet { from, message })
                    .unwrap();
            }
        }
    }

    /// A push/pull as streams do it: both sides write, then both take in.
    fn exchange(&mut self, from: SocketAddr, to: SocketAddr, join: bool) {
        if !self.reaches(from, to) {
            return;
        }
        let mut written = |at| {
            let mut octets = Vec::new();
            let node: &mut Serf = self.nodes.get_mut(at).unwrap();
            node.write_exchange(join, true, &mut octets);
            octets
        };
        let (asks, answers) = (written(&from), written(&to));
        for (at, other, octets) in [(to, from, asks), (from, to, answers)] {
            let Ok(StreamMessage::PushPull(remote)) = StreamMessage::decode(&octets) else {
                panic!("{octets:?}");
            };
            let input = Input::Exchanged {
                from: other,
                remote,
                ignore_old: false,
            };
            self.handle(at, input).unwrap();
        }
        self.deliver();
    }

    /// Lets time pass, from one deadline to the next.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let next = (self.nodes.iter())
                .map(|(address, node)| (node.deadline(), *address))
                .min();
            let Some((due, at)) = next.filter(|(due, _)| *due <= end) else {
                break;
            };
            self.now = self.now.max(due);
            self.handle(at, Input::Tick).unwrap();
            self.deliver();
        }
        self.now = end;
    }

    fn status(&self, at: u8, of: u8) -> Option<MemberStatus> {
        let members = self.nodes[&address(at)].members();
        let member = members.into_iter().find(|member| member.name == name(of));
        member.map(|member| member.status)
    }

    /// How every other node sees that one.
    fn seen(&self, of: u8) -> Vec<Option<MemberStatus>> {
        (self.nodes.keys())
            .filter(|at| **at != address(of))
            .map(|at| {
                self.status(
                    at.ip()
                        .to_string()
                        .rsplit('.')
                        .next()
                        .unwrap()
                        .parse()
                        .unwrap(),
                    of,
                )
            })
            .collect()
    }

    fn notices(&mut self, at: u8) -> Vec<Notice> {
        self.notices.remove(&address(at)).unwrap_or_default()
    }

    fn changes(&mut self, at: u8) -> Vec<(Change, String)> {
        (self.notices(at).into_iter())
            .filter_map(|notice| match notice {
                Notice::Member(change, member) => Some((change, member.name)),
                _ => None,
            })
            .collect()
    }
}

/// The messages of a packet.
fn parts(payload: &[u8]) -> Vec<&[u8]> {
    let [7, count, rest @ ..] = payload else {
        return vec![payload];
    };
    let (lengths, mut rest) = rest.split_at(2 * usize::from(*count));
    (lengths.chunks(2))
        .map(|length| {
            let length = u16::from_be_bytes([length[0], length[1]]);
            let (part, behind) = rest.split_at(length.into());
            rest = behind;
            part
        })
        .collect()
}

#[test]
fn nodes_that_join_see_each_other_with_their_tags() {
    let network = Network::of(5);
    for node in network.nodes.values() {
        let members = node.members();
        let names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["n1", "n2", "n3", "n4", "n5"]);
        for member in &members {
            assert_eq!(member.status, MemberStatus::Alive);
            assert_eq!(member.tags["number"], member.name[1..]);
            assert_eq!(member.versions, [1, 5, 2, 2, 5, 4]);
        }
    }
}

#[test]
fn other_tags_get_around() {
    let mut network = Network::of(3);
    let tags = tags(&[("role", "db")]);
    network.give(2, Input::SetTags(tags.clone())).unwrap();
    network.pass(Duration::from_secs(2));
    for number in 1..=3 {
        assert_eq!(network.changes(number), [(Change::Updated, name(2))]);
        let members = network.nodes[&address(number)].members();
        assert_eq!(members[1].tags, tags);
    }
    let long = self::tags(&[("k", &"v".repeat(600))]);
    let refused = network.give(2, Input::SetTags(long));
    assert_eq!(refused, Err(SerfError::Tags { octets: 607 }));
}

#[test]
fn an_event_is_told_to_everybody_once() {
    let mut network = Network::of(5);
    let fire = Input::Fire {
        name: "deploy",
        payload: b"v2",
        coalesce: false,
    };
    let fired = network.give(3, fire).unwrap();
    // Push/pulls carry it too.
    network.pass(Duration::from_secs(90));
    for number in 1..=5 {
        let told: Vec<_> = (network.notices(number).into_iter())
            .filter_map(|notice| match notice {
                Notice::Event(event) => Some(event),
                _ => None,
            })
            .collect();
        assert_eq!(told.len(), 1, "n{number}");
        assert_eq!(fired, Outcome::Fired(told[0].time));
        assert_eq!(
            (told[0].name.as_str(), told[0].payload.as_slice()),
            ("deploy", b"v2".as_slice())
        );
    }
    // Who comes later hears of it by the push/pull.
    network.start(6);
    network.exchange(address(6), address(1), true);
    let heard = network.notices(6);
    assert!(
        heard
            .iter()
            .any(|notice| matches!(notice, Notice::Event(_))),
        "{heard:?}"
    );
}

/// Answers for every node that was asked for something with its keys.
fn answer_key_queries(network: &mut Network) {
    for number in 1..=5 {
        for notice in network
            .notices
            .get(&address(number))
            .cloned()
            .unwrap_or_default()
        {
            if let Notice::Keys { query, .. } = notice {
                let answer = KeyAnswer {
                    done: true,
                    message: name(number),
                    ..KeyAnswer::default()
                };
                network
                    .give(number, Input::AnswerKeys { query, answer })
                    .unwrap();
            }
        }
    }
}

#[test]
fn every_member_answers_a_key_query_once_although_others_pass_answers_on() {
    let mut network = Network::of(5);
    let query = Query::keys(&KeyOperation::Use(vec![7; 16]), 2);
    let outcome = network.give(4, Input::Query(query)).unwrap();
    network.pass(Duration::from_secs(1));
    answer_key_queries(&mut network);
    network.pass(Duration::from_secs(5));
    let mut answers = BTreeMap::new();
    let mut over: Option<QueryId> = None;
    for notice in network.notices(4) {
        match notice {
            Notice::Answer { from, payload, .. } => {
                let answer = KeyAnswer::decode(&payload.unwrap()).unwrap();
                assert_eq!(answer.message, from.as_ref());
                assert!(answers.insert(from, answer).is_none());
                assert_eq!(over, None);
            }
            Notice::QueryOver(query) => over = Some(query),
            _ => {}
        }
    }
    assert_eq!(answers.len(), 5);
    assert_eq!(over.map(Outcome::Asked), Some(outcome));
}

#[test]
fn a_node_that_leaves_has_left_for_everybody() {
    let mut network = Network::of(4);
    network.give(3, Input::Leave).unwrap();
    assert_eq!(network.give(3, Input::Leave), Err(SerfError::Leaving));
    assert_eq!(network.notices(3), [Notice::Remember(Memory::Leave)]);
    network.pass(Duration::from_secs(12));
    let notices = network.notices(3);
    assert_eq!(notices.last(), Some(&Notice::LeftPool));
    assert!(network.nodes[&address(3)].has_left());
    assert_eq!(network.status(3, 3), Some(MemberStatus::Left));
    assert!(
        notices
            .iter()
            .all(|notice| !matches!(notice, Notice::Remember(_))),
        "{notices:?}"
    );
    network.nodes.remove(&address(3));
    network.pass(Duration::from_secs(60));
    assert_eq!(network.seen(3), [Some(MemberStatus::Left); 3]);
    assert_eq!(network.changes(1), [(Change::Left, name(3))]);
    // It is forgotten in the end.
    network.pass(Duration::from_secs(300));
    assert_eq!(network.seen(3), [None; 3]);
    assert_eq!(network.changes(1), [(Change::Reaped, name(3))]);
}

#[test]
fn a_node_alone_leaves_within_the_time_that_the_leave_gets_around() {
    let mut network = Network::new();
    network.start(1);
    network.give(1, Input::Leave).unwrap();
    network.pass(Duration::from_millis(2_999));
    assert!(!network.nodes[&address(1)].has_left());
    network.pass(Duration::from_millis(1));
    assert!(network.nodes[&address(1)].has_left());
}

#[test]
fn a_node_that_has_left_and_comes_back_is_alive_for_everybody() {
    let mut network = Network::of(4);
    network.give(3, Input::Leave).unwrap();
    network.pass(Duration::from_secs(15));
    network.start(3);
    network.exchange(address(3), address(2), true);
    network.pass(Duration::from_secs(5));
    assert_eq!(network.seen(3), [Some(MemberStatus::Alive); 3]);
    network.pass(Duration::from_secs(120));
    assert_eq!(network.seen(3), [Some(MemberStatus::Alive); 3]);
    // And when it dies then, it is not taken for having left.
    network.nodes.remove(&address(3));
    network.pass(Duration::from_secs(60));
    assert_eq!(network.seen(3), [Some(MemberStatus::Failed); 3]);
}

#[test]
fn a_node_that_dies_fails_and_is_forgotten_in_the_end() {
    let mut network = Network::of(5);
    network.nodes.remove(&address(2));
    network.pass(Duration::from_secs(60));
    assert_eq!(network.seen(2), [Some(MemberStatus::Failed); 4]);
    assert_eq!(network.changes(1), [(Change::Failed, name(2))]);
    network.pass(Duration::from_secs(620));
    assert_eq!(network.seen(2), [None; 4]);
    assert_eq!(network.changes(1), [(Change::Reaped, name(2))]);
}

#[test]
fn a_node_that_failed_has_left_once_somebody_says_so() {
    let mut network = Network::of(4);
    network.nodes.remove(&address(2));
    network.pass(Duration::from_secs(60));
    network.notices.clear();
    let force = |node, prune| Input::ForceLeave { node, prune };
    let unknown = network.give(1, force("nobody", false));
    assert_eq!(unknown, Err(SerfError::Unknown("nobody".to_owned())));
    network.give(1, force("n2", false)).unwrap();
    network.pass(Duration::from_secs(5));
    assert_eq!(network.seen(2), [Some(MemberStatus::Left); 3]);
    network.give(3, force("n2", true)).unwrap();
    network.pass(Duration::from_secs(60));
    assert_eq!(network.seen(2), [None; 3]);
    let n2 = name(2);
    assert_eq!(
        network.changes(4),
        [(Change::Left, n2.clone()), (Change::Reaped, n2)]
    );
}

#[test]
fn a_live_node_that_is_told_to_leave_stays() {
    let mut network = Network::of(4);
    let force = Input::ForceLeave {
        node: "n3",
        prune: true,
    };
    network.give(1, force).unwrap();
    assert_eq!(network.status(1, 3), Some(MemberStatus::Leaving));
    network.pass(Duration::from_secs(60));
    assert_eq!(network.seen(3), [Some(MemberStatus::Alive); 3]);
    for number in 1..=4 {
        assert_eq!(network.changes(number), []);
    }
}

#[test]
fn a_node_that_was_cut_off_is_found_again() {
    let mut network = Network::of(4);
    network.cut_off.push(address(4));
    network.pass(Duration::from_secs(90));
    assert_eq!(network.seen(4), [Some(MemberStatus::Failed); 3]);
    assert_eq!(network.status(4, 1), Some(MemberStatus::Failed));
    network.cut_off.clear();
    network.pass(Duration::from_secs(300));
    assert_eq!(network.seen(4), [Some(MemberStatus::Alive); 3]);
    assert_eq!(network.seen(1), [Some(MemberStatus::Alive); 3]);
}

#[test]
fn pings_bring_coordinates_of_members() {
    let mut network = Network::of(3);
    network.pass(Duration::from_secs(10));
    let node = &network.nodes[&address(1)];
    assert!(node.coordinate().is_valid());
    assert_eq!(node.coordinate_of("n1"), Some(node.coordinate()));
    assert!(node.coordinate_of("n2").is_some());
    assert_eq!(node.coordinate_of("nobody"), None);
    network.nodes.remove(&address(2));
    network.pass(Duration::from_secs(700));
    assert_eq!(network.nodes[&address(1)].coordinate_of("n2"), None);
}

#[test]
fn one_seed_gives_one_history() {
    let run = || {
        let mut network = Network::of(5);
        network.nodes.remove(&address(2));
        network.pass(Duration::from_secs(120));
        network.notices
    };
    assert_eq!(run(), run());
}
