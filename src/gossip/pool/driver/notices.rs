//! What the driver does with what the protocol tells.

use super::Driver;
use crate::gossip::serf::{Change, Input, KeyOperation, Notice, QueryId, Serf};
use crate::gossip::swim::Name;
use crate::types::Member;

impl Driver {
    /// Passes on one notice.
    pub(super) fn notice(&mut self, protocol: &mut Serf, notice: Notice) {
        let pool = self.shared.scope.as_str();
        match notice {
            Notice::Member(change, member) => tell_of_member(pool, change, &member),
            // Nobody may be listening.
            Notice::Event(event) => drop(self.shared.events.send(event)),
            Notice::Keys {
                by,
                query,
                operation,
            } => {
                tell_of_key_operation(pool, &by, &operation);
                if let Err(answer) = self.keys.begin(query, operation) {
                    let input = Input::AnswerKeys { query, answer };
                    let now = self.shared.now();
                    let _ = protocol.handle(now, input, &mut self.actions);
                }
            }
            Notice::Answer {
                query,
                from,
                payload,
            } => self.answered(query, from, payload),
            Notice::QueryOver(query) => self.query_over(query),
            Notice::LeftPool => self.left = true,
            Notice::Refused {
                node,
                address,
                reason,
            } => {
                self.shared.counts.refused();
                if self.told.tells(self.shared.now(), &node) {
                    tracing::warn!(pool, "{node} at {address} is refused: {reason}");
                }
            }
            Notice::Conflict { node, known, other } => {
                tracing::error!(
                    pool,
                    "{other} uses the name {node}, which is that of {known}: one of them needs \
                     another name"
                );
            }
            Notice::Remember(memory) => {
                if let Some(snapshot) = &self.snapshot {
                    snapshot.remember(memory);
                }
            }
        }
    }

    fn answered(&mut self, query: QueryId, from: Name, payload: Option<Vec<u8>>) {
        let Some(waiting) = self.queries.get_mut(&query) else {
            return;
        };
        // An acknowledgement is no answer.
        let Some(payload) = payload else { return };
        waiting.asked.answers.push((from, payload));
        if waiting.asked.answers.len() >= waiting.asked.members {
            self.query_over(query);
        }
    }

    /// There will be no more answers, or none is missing.
    fn query_over(&mut self, query: QueryId) {
        if let Some(waiting) = self.queries.remove(&query) {
            let _ = waiting.reply.send(Ok(waiting.asked));
        }
    }
}

fn tell_of_member(pool: &str, change: Change, member: &Member) {
    let Member {
        name,
        address,
        port,
        ..
    } = member;
    match change {
        Change::Joined => tracing::info!(pool, "member joined: {name} {address}:{port}"),
        Change::Left => tracing::info!(pool, "member left: {name} {address}:{port}"),
        Change::Failed => tracing::info!(pool, "member failed: {name} {address}:{port}"),
        Change::Updated => tracing::info!(pool, "member updated: {name} {address}:{port}"),
        Change::Reaped => tracing::info!(pool, "member reaped: {name} {address}:{port}"),
    }
}

/// Lists change nothing, and monitoring asks for them again and again: they are told at debug.
fn tell_of_key_operation(pool: &str, by: &str, operation: &KeyOperation) {
    let what = match operation {
        KeyOperation::Install(_) => "install a key",
        KeyOperation::Use(_) => "use another key",
        KeyOperation::Remove(_) => "remove a key",
        KeyOperation::List => {
            tracing::debug!(pool, by, "asked to list keys");
            return;
        }
    };
    tracing::info!(pool, by, "asked to {what}");
}
