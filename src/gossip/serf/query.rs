//! Queries: those that others ask, each heard once, and those of this node that wait for answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use regex::RegexBuilder;

use super::clock::Clock;
use super::message::{MessageError, read_map};
use super::{LamportTime, QueryId, Tags};
use crate::gossip::actions::Time;
use crate::gossip::swim::Name;
use crate::msgpack::{Reader, Writer};

/// Points in time whose queries are remembered; what is older is dropped unread.
const SLOTS: u64 = 512;
/// Queries of one time that are told apart; further ones are dropped.
const EACH_TIME_MAX: usize = 1_024;
/// Type octets of filters.
const FILTER_NODES: u8 = 0;
const FILTER_TAG: u8 = 1;
/// Filters of one query, octets of the expression of one, and octets that it may take compiled. With
/// more the query is for nobody: one packet must not keep the pool busy.
const FILTERS_MAX: usize = 16;
const EXPRESSION_OCTETS_MAX: usize = 1_024;
const COMPILED_OCTETS_MAX: usize = 1 << 16;
/// Queries of others that wait for this node's answer, at most.
const PENDING_MAX: usize = 64;
/// Queries of this node that wait for answers, at most.
pub(super) const ASKED_MAX: usize = 128;

/// Queries that were heard of late.
#[derive(Debug)]
pub(super) struct Heard {
    /// Ascending in time, none older than [`SLOTS`].
    slots: VecDeque<(LamportTime, BTreeSet<u32>)>,
    /// What is older than this is of no interest.
    minimum: LamportTime,
}

impl Heard {
    pub(super) fn new(minimum: LamportTime) -> Self {
        let slots = VecDeque::new();
        Self { slots, minimum }
    }

    /// Takes a query that `clock` has witnessed: whether it is news.
    pub(super) fn take(&mut self, clock: Clock, query: QueryId) -> bool {
        let oldest = clock.time().saturating_sub(SLOTS);
        while self.slots.front().is_some_and(|slot| slot.0 < oldest) {
            self.slots.pop_front();
        }
        if query.time < self.minimum || query.time < oldest {
            return false;
        }
        let place = match self.slots.binary_search_by_key(&query.time, |slot| slot.0) {
            Ok(place) => place,
            Err(place) => {
                self.slots.insert(place, (query.time, BTreeSet::new()));
                place
            }
        };
        self.slots
            .get_mut(place)
            .is_some_and(|(_, heard)| heard.len() < EACH_TIME_MAX && heard.insert(query.id))
    }
}

/// Whether this node is among those who are asked. A filter that cannot be read matches nobody.
pub(super) fn is_asked(filters: &[&[u8]], own: &str, tags: &Tags) -> bool {
    let mut all = filters.iter();
    filters.len() <= FILTERS_MAX && all.all(|filter| matches(filter, own, tags).unwrap_or(false))
}

fn matches(filter: &[u8], own: &str, tags: &Tags) -> Result<bool, MessageError> {
    let (kind, body) = filter.split_first().ok_or(MessageError::Empty)?;
    let mut reader = Reader::new(body);
    match *kind {
        FILTER_NODES => {
            let mut named = false;
            for _ in 0..reader.array()? {
                named |= reader.octets()? == own.as_bytes();
            }
            Ok(named)
        }
        FILTER_TAG => {
            let (mut tag, mut expression) = ("", "");
            read_map(&mut reader, |key, value| {
                match key {
                    b"Tag" => tag = value.text()?,
                    b"Expr" => expression = value.text()?,
                    _ => return Ok(false),
                }
                Ok(true)
            })?;
            if expression.len() > EXPRESSION_OCTETS_MAX {
                return Err(MessageError::Field("expression of a filter"));
            }
            let value = tags.get(tag).map_or("", String::as_str);
            // Matching takes time linear in the value, and what is built is bounded.
            let expression = RegexBuilder::new(expression)
                .size_limit(COMPILED_OCTETS_MAX)
                .build()
                .map_err(|_| MessageError::Field("expression of a filter"))?;
            Ok(expression.is_match(value))
        }
        kind => Err(MessageError::Type(kind)),
    }
}

/// The filter that lets only `nodes` answer.
pub(super) fn nodes_filter(nodes: &[String]) -> Vec<u8> {
    let mut filter = vec![FILTER_NODES];
    let mut writer = Writer::old(&mut filter);
    writer.array(nodes.len());
    for node in nodes {
        writer.text(node);
    }
    filter
}

/// Where the answer to a query goes, and for how long it is of use.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    /// `None` if it is this node.
    pub(super) address: Option<SocketAddr>,
    pub(super) name: Box<str>,
    pub(super) relay_factor: u8,
    pub(super) deadline: Time,
}

/// Queries that the rest of the agent is to answer. The oldest makes room.
#[derive(Debug, Default)]
pub(super) struct Pending(VecDeque<(QueryId, Asker)>);

impl Pending {
    pub(super) fn push(&mut self, query: QueryId, asker: Asker) {
        if self.0.len() >= PENDING_MAX {
            self.0.pop_front();
        }
        self.0.push_back((query, asker));
    }

    /// Who asked, once and before it is too late.
    pub(super) fn take(&mut self, query: QueryId, now: Time) -> Option<Asker> {
        self.0.retain(|(_, asker)| now <= asker.deadline);
        let place = self.0.iter().position(|(known, _)| *known == query)?;
        self.0.remove(place).map(|(_, asker)| asker)
    }
}

/// One query of this node.
#[derive(Debug)]
struct Question {
    deadline: Time,
    acknowledged: BTreeSet<Name>,
    answered: BTreeSet<Name>,
}

/// Queries of this node that wait for answers.
#[derive(Debug, Default)]
pub(super) struct Asked(BTreeMap<(LamportTime, u32), Question>);

impl Asked {
    /// Whether one more may be asked.
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < ASKED_MAX
    }

    pub(super) fn begin(&mut self, query: QueryId, deadline: Time) {
        let question = Question {
            deadline,
            acknowledged: BTreeSet::new(),
            answered: BTreeSet::new(),
        };
        self.0.insert((query.time, query.id), question);
    }

    /// Takes an answer (or acknowledgement): whether it is the first of `from`, in time, and one
    /// of at most `names_max`.
    pub(super) fn take(
        &mut self,
        query: QueryId,
        from: &Name,
        acknowledgement: bool,
        now: Time,
        names_max: usize,
    ) -> bool {
        let Some(question) = self.0.get_mut(&(query.time, query.id)) else {
            return false;
        };
        let names = if acknowledgement {
            &mut question.acknowledged
        } else {
            &mut question.answered
        };
        now <= question.deadline && names.len() < names_max && names.insert(from.clone())
    }

    /// When the time of the next one is over.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.0.values().map(|question| question.deadline).min()
    }

    /// One whose time is over.
    pub(super) fn take_over(&mut self, now: Time) -> Option<QueryId> {
        let over = |(_, question): &(&(LamportTime, u32), &Question)| question.deadline <= now;
        let (time, id) = self.0.iter().find(over).map(|(query, _)| *query)?;
        self.0.remove(&(time, id));
        Some(QueryId { time, id })
    }
}

/// Time for answers where the asker sets none: 16 rounds of gossip for each digit of the number of
/// nodes.
pub(super) fn default_timeout(gossip_interval: Duration, nodes: usize) -> Duration {
    gossip_interval.saturating_mul(16 * digits(nodes))
}

/// `ceil(log10(nodes + 1))`, without floats: how often ten must be multiplied to pass `nodes`.
fn digits(nodes: usize) -> u32 {
    nodes.checked_ilog10().map_or(0, |power| power + 1)
}
