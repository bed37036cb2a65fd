//! What the driver does for other tasks.

use std::net::SocketAddr;

use tokio::sync::oneshot;

use super::{Driver, QUERIES_MAX, Waiting};
use crate::gossip::pool::keys::Asked;
use crate::gossip::pool::shared::Command;
use crate::gossip::serf::{Input, Outcome, Query, Serf, SerfError};
use crate::gossip::swim::InputError;
use crate::gossip::wire::{Message, StreamMessage};
use crate::types::MemberStatus;

impl Driver {
    /// Does what it is asked to. Whoever asked may have given up: what it asked for holds all the
    /// same. Who has an answer finds what it led to among the members.
    pub(super) fn command(&mut self, protocol: &mut Serf, command: Command) {
        match command {
            Command::State { join, offer, reply } => {
                let _ = reply.send(state(protocol, join, offer));
            }
            Command::Merge {
                from,
                content,
                ignore_old,
                reply,
            } => {
                let merged = self.merge(protocol, from, &content, ignore_old);
                let _ = reply.send(merged);
            }
            Command::Answer {
                from,
                content,
                reply,
            } => self.answer(protocol, from, &content, reply),
            Command::User { from, content } => {
                if let Ok(StreamMessage::User(octets)) = StreamMessage::decode(&content) {
                    let message = Message::User(octets);
                    // What it says has no effect if it is refused.
                    let _ = self.feed(protocol, Input::Packet { from, message });
                }
            }
            Command::StreamAck { sequence } => {
                let _ = self.feed(protocol, Input::StreamAck { sequence });
            }
            Command::StreamRefused { sequence } => {
                let _ = self.feed(protocol, Input::StreamRefused { sequence });
            }
            Command::SetTags { tags, reply } => {
                let set = self.feed(protocol, Input::SetTags(tags));
                self.publish(protocol);
                let _ = reply.send(set.map(drop));
            }
            Command::Fire {
                name,
                payload,
                coalesce,
                reply,
            } => {
                let input = Input::Fire {
                    name: &name,
                    payload: &payload,
                    coalesce,
                };
                let fired = self.feed(protocol, input);
                let _ = reply.send(fired.map(|outcome| match outcome {
                    Outcome::Fired(time) => time,
                    Outcome::Done | Outcome::Asked(_) => 0,
                }));
            }
            Command::ForceLeave { node, prune, reply } => {
                let node = node.as_str();
                let forced = self.feed(protocol, Input::ForceLeave { node, prune });
                self.publish(protocol);
                let _ = reply.send(forced.map(drop));
            }
            Command::Leave(reply) => self.leave(protocol, reply),
            Command::Query { query, reply } => self.query(protocol, query, reply),
            Command::AnswerKeys { query, answer } => {
                let _ = self.feed(protocol, Input::AnswerKeys { query, answer });
            }
        }
    }

    /// Takes in the answer to a push/pull of this node.
    fn merge(
        &mut self,
        protocol: &mut Serf,
        from: SocketAddr,
        content: &[u8],
        ignore_old: bool,
    ) -> Result<(), String> {
        let remote = match StreamMessage::decode(content) {
            Ok(StreamMessage::PushPull(remote)) => remote,
            Ok(_) => return Err(format!("{from} answered with another message")),
            Err(malformed) => return Err(malformed.to_string()),
        };
        let input = Input::Exchanged {
            from,
            remote,
            ignore_old,
        };
        let merged = self.feed(protocol, input);
        self.publish(protocol);
        merged.map(drop).map_err(|error| error.to_string())
    }

    /// Answers a push/pull of another and takes in what it knows. Who may not join is told why
    /// instead, and shown nobody: it would take them for members of its own pool.
    fn answer(
        &mut self,
        protocol: &mut Serf,
        from: SocketAddr,
        content: &[u8],
        reply: oneshot::Sender<Vec<u8>>,
    ) {
        let Ok(StreamMessage::PushPull(remote)) = StreamMessage::decode(content) else {
            return;
        };
        let answer = match protocol.check_exchange(&remote) {
            Err(SerfError::Exchange(InputError::Refused(refusal))) => {
                self.shared.counts.refused();
                let mut answer = Vec::new();
                StreamMessage::Error(&refusal.to_string()).encode(&mut answer);
                answer
            }
            // Other versions are told by nobody: they are seen in the state.
            Ok(()) | Err(_) => state(protocol, remote.join, true),
        };
        let _ = reply.send(answer);
        let input = Input::Exchanged {
            from,
            remote,
            ignore_old: false,
        };
        if let Err(error) = self.feed(protocol, input) {
            let pool = self.shared.scope.as_str();
            let now = self.shared.now();
            if self.told.tells(now, &from.ip().to_string()) {
                tracing::warn!(pool, "the state of {from} is refused: {error}");
            }
        }
    }

    fn leave(&mut self, protocol: &mut Serf, reply: oneshot::Sender<()>) {
        // Several may ask; all wait for the same end.
        let first = self.leaves.is_empty();
        self.leaves.retain(|leave| !leave.is_closed());
        self.leaves.push(reply);
        if first {
            let _ = self.feed(protocol, Input::Leave);
            self.publish(protocol);
        }
    }

    fn query(
        &mut self,
        protocol: &mut Serf,
        query: Query,
        reply: oneshot::Sender<Result<Asked, SerfError>>,
    ) {
        self.queries.retain(|_, waiting| !waiting.reply.is_closed());
        if self.queries.len() >= QUERIES_MAX {
            let limit = QUERIES_MAX;
            let _ = reply.send(Err(SerfError::Queries { limit }));
            return;
        }
        let members = protocol.members();
        let alive = members
            .iter()
            .filter(|member| member.status == MemberStatus::Alive);
        let asked = Asked {
            members: alive.count(),
            answers: Vec::new(),
        };
        // The answer of this node may be among the notices of this very input: they are passed on
        // once the query is known.
        let now = self.shared.now();
        match protocol.handle(now, Input::Query(query), &mut self.actions) {
            Ok(Outcome::Asked(id)) => {
                self.queries.insert(id, Waiting { asked, reply });
            }
            Ok(_) => drop(reply.send(Ok(asked))),
            Err(error) => drop(reply.send(Err(error))),
        }
        self.carry_out(protocol);
    }
}

fn state(protocol: &mut Serf, join: bool, offer: bool) -> Vec<u8> {
    let mut content = Vec::new();
    protocol.write_exchange(join, offer, &mut content);
    content
}
