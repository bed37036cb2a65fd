//! What the layer does with messages, events and queries.

use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;

use super::intents::capacity;
use super::internal::{self, CONFLICT, PING};
use super::layer::Layer;
use super::message::{self, FLAG_ACKNOWLEDGE, FLAG_NO_BROADCAST, Message, USER};
use super::query::{self, ASKED_MAX, Asker};
use super::{KeyAnswer, KeyOperation, LamportTime, Notice, Query, QueryId, SerfError, UserEvent};
use crate::gossip::actions::{Actions, Time};
use crate::gossip::swim::Name;
use crate::types::MemberStatus;

/// The version of memberlist from which on a node passes answers on.
const RELAY_VERSION: u8 = 5;
/// Members that pass an answer on at most, whatever the asker wants.
const RELAYS_MAX: usize = 5;
/// The longest time for answers that is believed.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);

impl Layer {
    /// Takes a message of another's layer.
    pub(super) fn told(
        &mut self,
        now: Time,
        from: SocketAddr,
        octets: &[u8],
        actions: &mut Actions,
    ) {
        let message = match Message::decode(octets) {
            Ok(message) => message,
            Err(cause) => {
                tracing::trace!(%from, "message is left out: {cause}");
                return;
            }
        };
        match message {
            Message::Leave(leave) => {
                if self.leave_intent(now, leave, actions) {
                    self.pass_on(octets, |layer| &mut layer.intent_queue);
                }
            }
            Message::Join(join) => {
                if self.join_intent(now, join) {
                    self.pass_on(octets, |layer| &mut layer.intent_queue);
                }
            }
            Message::Event(event) => {
                if self.user_event(event, actions) {
                    self.pass_on(octets, |layer| &mut layer.event_queue);
                }
            }
            Message::Query(query) => {
                if self.heard_query(now, &query, actions) && query.flags & FLAG_NO_BROADCAST == 0 {
                    self.pass_on(octets, |layer| &mut layer.query_queue);
                }
            }
            Message::Answer(answer) => self.answered(now, &answer, actions),
            Message::Relay(relay) => self.relay(&relay, actions),
        }
    }

    fn pass_on(
        &mut self,
        octets: &[u8],
        queue: impl FnOnce(&mut Self) -> &mut crate::gossip::swim::Broadcasts,
    ) {
        let mut packet = Vec::with_capacity(1 + octets.len());
        packet.push(USER);
        packet.extend_from_slice(octets);
        if self.fits_packet(&packet) {
            queue(self).push(None, packet.into());
        }
    }

    /// Takes an event: whether it is news.
    pub(super) fn user_event(&mut self, event: message::Event<'_>, actions: &mut Actions) -> bool {
        let message::Event {
            time,
            name,
            payload,
            coalesce,
        } = event;
        if !self.event_clock.witness(time)
            || !self.events.take(self.event_clock, time, name, payload)
        {
            return false;
        }
        self.newest_event = self.newest_event.max(time);
        actions.notices.push(Notice::Event(UserEvent {
            time,
            name: name.to_owned(),
            payload: payload.to_vec(),
            coalesce,
        }));
        true
    }

    /// Tells all members something.
    pub(super) fn fire(
        &mut self,
        name: &str,
        payload: &[u8],
        coalesce: bool,
        actions: &mut Actions,
    ) -> Result<LamportTime, SerfError> {
        if self.is_leaving() {
            return Err(SerfError::Leaving);
        }
        let limit = self.config.event_octets_max;
        if name.len() + payload.len() > limit {
            return Err(SerfError::Event("before"));
        }
        let time = self.event_clock.time();
        let event = message::Event {
            time,
            name,
            payload,
            coalesce,
        };
        let packet = Message::Event(event).to_packet();
        // The limit counts the message without memberlist's type octet.
        if packet.len() - 1 > limit {
            return Err(SerfError::Event("after"));
        }
        self.user_event(event, actions);
        if self.fits_packet(&packet) {
            self.event_queue.push(None, packet.into());
        }
        Ok(time)
    }

    /// Asks all members something.
    pub(super) fn ask(
        &mut self,
        now: Time,
        query: &Query,
        actions: &mut Actions,
    ) -> Result<QueryId, SerfError> {
        if self.is_leaving() {
            return Err(SerfError::Leaving);
        }
        if !self.asked.has_room() {
            return Err(SerfError::Queries { limit: ASKED_MAX });
        }
        let filter = query::nodes_filter(&query.nodes);
        let timeout = query.timeout.unwrap_or_else(|| {
            let alive = self.members.count(MemberStatus::Alive);
            query::default_timeout(self.gossip_interval, alive)
        });
        let timeout = timeout.min(TIMEOUT_MAX);
        let own = self.name.clone();
        let Some(address) = self.members.get(&own).map(|record| record.address) else {
            return Err(SerfError::Unknown(own.as_ref().to_owned()));
        };
        let asked = message::Query {
            time: self.query_clock.time(),
            id: self.random.random(),
            address,
            source: &own,
            filters: if query.nodes.is_empty() {
                Vec::new()
            } else {
                vec![&filter]
            },
            flags: if query.acknowledge {
                FLAG_ACKNOWLEDGE
            } else {
                0
            },
            relay_factor: query.relay_factor,
            timeout_nanoseconds: timeout.as_nanos().try_into().unwrap_or(u64::MAX),
            name: &query.name,
            payload: &query.payload,
        };
        let packet = Message::Query(asked.clone()).to_packet();
        if packet.len() - 1 > self.config.query_octets_max {
            return Err(SerfError::Query);
        }
        let id = QueryId {
            time: asked.time,
            id: asked.id,
        };
        self.asked.begin(id, now + timeout);
        self.heard_query(now, &asked, actions);
        self.query_queue.push(None, packet.into());
        Ok(id)
    }

    /// Takes a query: whether it is news.
    fn heard_query(
        &mut self,
        now: Time,
        query: &message::Query<'_>,
        actions: &mut Actions,
    ) -> bool {
        let id = QueryId {
            time: query.time,
            id: query.id,
        };
        if !self.query_clock.witness(query.time) || !self.heard.take(self.query_clock, id) {
            return false;
        }
        self.newest_query = self.newest_query.max(query.time);
        let asked = (self.members.get(&self.name))
            .is_some_and(|own| query::is_asked(&query.filters, &self.name, &own.tags));
        if asked {
            self.respond(now, id, query, actions);
        }
        true
    }

    fn respond(
        &mut self,
        now: Time,
        id: QueryId,
        query: &message::Query<'_>,
        actions: &mut Actions,
    ) {
        let timeout = Duration::from_nanos(query.timeout_nanoseconds).min(TIMEOUT_MAX);
        let asker = Asker {
            address: (query.source != self.name.as_ref()).then_some(query.address),
            name: query.source.into(),
            relay_factor: query.relay_factor,
            deadline: now + timeout,
        };
        if query.flags & FLAG_ACKNOWLEDGE != 0 {
            self.answer(now, &asker, id, None, actions);
        }
        match query.name {
            PING => {}
            CONFLICT => {
                // The node itself has no say in it: two of them would each name itself.
                let name = String::from_utf8_lossy(query.payload);
                if name != self.name.as_ref() {
                    let payload = internal::conflict_answer(self.members.get(&name));
                    self.answer(now, &asker, id, Some(&payload), actions);
                }
            }
            name => match internal::key_operation(name, query.payload) {
                Ok(Some(operation)) => self.ask_keys(id, asker, operation, actions),
                Ok(None) => {}
                Err(cause) => tracing::trace!(query = name, "query is left out: {cause}"),
            },
        }
    }

    fn ask_keys(
        &mut self,
        query: QueryId,
        asker: Asker,
        operation: KeyOperation,
        actions: &mut Actions,
    ) {
        let by = asker.name.clone();
        self.pending.push(query, asker);
        actions.notices.push(Notice::Keys {
            by,
            query,
            operation,
        });
    }

    /// Sends what became of a key query to who asked, if that is of use still.
    pub(super) fn answer_keys(
        &mut self,
        now: Time,
        query: QueryId,
        answer: KeyAnswer,
        actions: &mut Actions,
    ) {
        let Some(asker) = self.pending.take(query, now) else {
            return;
        };
        // The payload takes up to two octets more than the nil that stands for none.
        let around = self.answer_octets(query, false, &[]).len() + 2;
        let octets_max = self.config.query_octets_max.saturating_sub(around);
        let payload = answer.encode_within(octets_max);
        self.answer(now, &asker, query, Some(&payload), actions);
    }

    /// Answers a query; without a payload it acknowledges.
    fn answer(
        &mut self,
        now: Time,
        asker: &Asker,
        query: QueryId,
        payload: Option<&[u8]>,
        actions: &mut Actions,
    ) {
        let octets = self.answer_octets(query, payload.is_none(), payload.unwrap_or_default());
        if octets.len() > self.config.query_octets_max {
            let (octets, limit) = (octets.len(), self.config.query_octets_max);
            tracing::warn!("answer to a query has {octets} octets, at most {limit} are sent");
            return;
        }
        let Some(to) = asker.address else {
            let own = self.name.clone();
            return self.deliver(now, query, &own, payload, actions);
        };
        // Whoever asks is a member; answers that went anywhere would be a weapon.
        if !self.members.is_address(to) {
            tracing::trace!(%to, "query of somebody who is no member is not answered");
            return;
        }
        actions.send(to, false, |out| {
            out.push(USER);
            out.extend_from_slice(&octets);
        });
        self.have_relayed(asker, to, &octets, actions);
    }

    /// Has other members pass the answer on too, where there are enough.
    fn have_relayed(
        &mut self,
        asker: &Asker,
        to: SocketAddr,
        octets: &[u8],
        actions: &mut Actions,
    ) {
        let factor = usize::from(asker.relay_factor).min(RELAYS_MAX);
        if factor == 0 || self.members.len() < factor + 1 {
            return;
        }
        let relay = Message::Relay(message::Relay {
            address: to,
            node: &asker.name,
            inner: octets,
        });
        let packet = relay.to_packet();
        let own = self.name.clone();
        let relays = self.draw(factor, |record| {
            let [_, greatest, ..] = record.versions.0;
            record.status == MemberStatus::Alive && greatest >= RELAY_VERSION && record.name != own
        });
        for (_, relay) in relays {
            actions.send(relay, false, |out| out.extend_from_slice(&packet));
        }
    }

    fn answer_octets(&self, query: QueryId, acknowledgement: bool, payload: &[u8]) -> Vec<u8> {
        let mut octets = Vec::new();
        let answer = message::Answer {
            time: query.time,
            id: query.id,
            from: &self.name,
            acknowledgement,
            payload,
        };
        Message::Answer(answer).encode(&mut octets);
        octets
    }

    fn answered(&mut self, now: Time, answer: &message::Answer<'_>, actions: &mut Actions) {
        let query = QueryId {
            time: answer.time,
            id: answer.id,
        };
        let payload = (!answer.acknowledgement).then_some(answer.payload);
        self.deliver(now, query, &Name::from(answer.from), payload, actions);
    }

    /// Tells who asked, once for each member.
    fn deliver(
        &mut self,
        now: Time,
        query: QueryId,
        from: &Name,
        payload: Option<&[u8]>,
        actions: &mut Actions,
    ) {
        let names_max = capacity(self.members.len());
        let first = self
            .asked
            .take(query, from, payload.is_none(), now, names_max);
        if first {
            actions.notices.push(Notice::Answer {
                query,
                from: from.clone(),
                payload: payload.map(<[u8]>::to_vec),
            });
        }
    }

    /// Passes an answer on, to members only.
    fn relay(&mut self, relay: &message::Relay<'_>, actions: &mut Actions) {
        if relay.inner.is_empty() || !self.members.is_address(relay.address) {
            let (node, to) = (relay.node, relay.address);
            tracing::trace!(node, %to, "nothing is passed on to somebody who is no member");
            return;
        }
        actions.send(relay.address, false, |out| {
            out.push(USER);
            out.extend_from_slice(relay.inner);
        });
    }
}
