//! Exchange of all that two nodes know, over a stream: at a join, and from time to time so that
//! what packets have lost comes in the end.

use std::net::SocketAddr;

use super::delegate::Turn;
use super::{Delegate, InputError, Node, State, Swim};
use crate::gossip::actions::Request;
use crate::gossip::wire::{Accusation, Alive, NodeState, PushPull, StreamMessage, Versions};

impl Swim {
    /// Appends this side of a push/pull, as the content of a stream. With `nodes` false it offers
    /// no node and no state: a look at the other side that shows nothing of this one.
    pub fn write_exchange(
        &mut self,
        join: bool,
        nodes: bool,
        delegate: &mut dyn Delegate,
        out: &mut Vec<u8>,
    ) {
        let mut user_state = Vec::new();
        let mut states = Vec::new();
        if nodes {
            delegate.write_state(join, &mut user_state);
            states.extend(self.members.iter().map(|record| NodeState {
                name: &record.node.name,
                address: record.node.address,
                meta: &record.node.meta,
                incarnation: record.incarnation,
                state: record.state() as u8,
                versions: record.node.versions,
            }));
        }
        let exchange = StreamMessage::PushPull(PushPull {
            join,
            nodes: states,
            user_state: &user_state,
        });
        exchange.encode(out);
    }

    /// Whether what the other side knows may be taken in.
    ///
    /// # Errors
    /// Somebody there speaks other versions, or the other side joins and may not.
    pub fn check_exchange(
        &self,
        remote: &PushPull<'_>,
        delegate: &mut dyn Delegate,
    ) -> Result<(), InputError> {
        self.check_versions(&remote.nodes)?;
        if remote.join {
            let nodes: Vec<_> = (remote.nodes.iter())
                .filter_map(|node| self.candidate(node))
                .collect();
            delegate.may_merge(&nodes)?;
        }
        Ok(())
    }

    /// Takes in what the other side knows, or nothing of it.
    pub(super) fn merge(
        &mut self,
        turn: &mut Turn<'_>,
        from: SocketAddr,
        remote: &PushPull<'_>,
    ) -> Result<(), InputError> {
        self.check_exchange(remote, turn.delegate)?;
        tracing::trace!(%from, nodes = remote.nodes.len(), "state exchanged");
        let own = self.own().name.clone();
        for node in &remote.nodes {
            let accusation = |from| Accusation {
                incarnation: node.incarnation,
                node: node.name,
                from,
            };
            match state(node.state) {
                Some(State::Alive) => self.alive(turn, &claim(node)),
                Some(State::Left) => self.dead(turn, &accusation(node.name)),
                // Somebody whom the other side takes for dead may live: it is given the time to
                // say so.
                Some(State::Suspect | State::Dead) => self.suspect(turn, &accusation(&own)),
                None => {}
            }
        }
        if !remote.user_state.is_empty() {
            let Turn {
                now,
                delegate,
                actions,
            } = turn;
            delegate.merge_state(*now, remote.join, remote.user_state, actions);
        }
        Ok(())
    }

    /// Opens a stream for the exchange with somebody.
    pub(super) fn push_pull(&mut self, turn: &mut Turn<'_>) {
        let every = self.config.push_pull_every(self.len());
        self.schedule.push_pull = every.map(|every| turn.now + every);
        self.choose_alive(turn.now, 1, None);
        let chosen = self.buffers.chosen.first();
        if let Some(record) = chosen.and_then(|&slot| self.members.get(slot)) {
            turn.actions.requests.push(Request::Exchange {
                to: record.node.address,
                join: false,
            });
        }
    }

    /// Whether all nodes of both sides speak versions that all live ones of both sides understand.
    fn check_versions(&self, remote: &[NodeState<'_>]) -> Result<(), InputError> {
        // A node without versions is not taken in anyhow.
        let theirs = remote
            .iter()
            .filter(|node| node.versions.0 != [0; 6])
            .map(|node| (node.name, state(node.state), node.versions));
        let ours = (self.nodes()).map(|(node, state)| (&*node.name, Some(state), node.versions));
        let (mut least, mut greatest) = ([0; 2], [u8::MAX; 2]);
        let all: Vec<_> = theirs.chain(ours).collect();
        for (_, state, Versions([lows, highs, _, low, high, _])) in &all {
            if *state == Some(State::Alive) {
                least = [least[0].max(*lows), least[1].max(*low)];
                greatest = [greatest[0].min(*highs), greatest[1].min(*high)];
            }
        }
        for (name, _, Versions([_, _, spoken, _, _, above])) in all {
            for (what, spoken, least, greatest) in [
                ("protocol", spoken, least[0], greatest[0]),
                ("delegate protocol", above, least[1], greatest[1]),
            ] {
                if !(least..=greatest).contains(&spoken) {
                    return Err(InputError::Versions(format!(
                        "node {name:?} speaks version {spoken} of the {what}, \
                         all others speak {least} to {greatest}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// A node of the other side, for the admission.
    fn candidate(&self, node: &NodeState<'_>) -> Option<(Node, State)> {
        let candidate = Node {
            name: node.name.into(),
            address: self.complete(node.address)?,
            meta: node.meta.into(),
            versions: node.versions,
        };
        Some((candidate, state(node.state)?))
    }
}

/// The state that a number stands for.
fn state(number: u8) -> Option<State> {
    Some(match number {
        0 => State::Alive,
        1 => State::Suspect,
        2 => State::Dead,
        3 => State::Left,
        _ => return None,
    })
}

/// What the other side says of a node that it takes for alive.
fn claim<'a>(node: &NodeState<'a>) -> Alive<'a> {
    Alive {
        incarnation: node.incarnation,
        node: node.name,
        address: node.address,
        meta: node.meta,
        versions: node.versions,
    }
}
