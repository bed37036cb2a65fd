//! What the layer does where members come, go, or say that they will.

use std::time::Duration;

use super::intents::Intent;
use super::layer::{Layer, Leave};
use super::members::LeaveEffect;
use super::message::{self, Message};
use super::state::State;
use super::{Change, LamportTime, Memory, Notice, SerfError, meta};
use crate::gossip::actions::{Actions, Request, Time};
use crate::gossip::swim::{Name, Node};
use crate::types::MemberStatus;

/// Time between two log lines about what others say of this node, however often they do.
const QUIET: Duration = Duration::from_secs(60);
/// Octets of a node's name at most.
const NAME_OCTETS_MAX: usize = 255;

impl Layer {
    /// A node came alive.
    pub(super) fn joined(&mut self, now: Time, node: &Node, actions: &mut Actions) {
        if node.name == self.name {
            return;
        }
        if self.members.get(&node.name).is_some() {
            self.members.describe(node);
            self.members.revive(&node.name);
        } else {
            if let Some(displaced) = self.members.create(node) {
                self.erased(&displaced.name, actions);
                let notice = Notice::Member(Change::Reaped, displaced.member());
                actions.notices.push(notice);
            }
            match self.intents.take(&node.name, now) {
                Some((time, Intent::Join)) => {
                    self.members.join(&node.name, time);
                }
                Some((time, Intent::Leave)) => {
                    self.members.leave(&node.name, time, now);
                }
                None => {}
            }
        }
        self.tell(Change::Joined, &node.name, actions);
        self.remember(Memory::Alive(node.name.clone(), node.address), actions);
    }

    /// A node died or left. That it left is known from its intent, which comes before.
    pub(super) fn died(&mut self, now: Time, node: &Node, actions: &mut Actions) {
        if node.name == self.name {
            return;
        }
        let change = match self.members.die(&node.name, now) {
            Some(MemberStatus::Left) => Change::Left,
            Some(_) => Change::Failed,
            None => return,
        };
        self.tell(change, &node.name, actions);
        self.remember(Memory::NotAlive(node.name.clone()), actions);
    }

    /// A node says something else of itself, or is somewhere else.
    pub(super) fn updated(&mut self, node: &Node, actions: &mut Actions) {
        let before = self.members.get(&node.name).map(|record| record.address);
        if !self.members.describe(node) {
            return;
        }
        self.tell(Change::Updated, &node.name, actions);
        if before != Some(node.address) && node.name != self.name {
            self.remember(Memory::Alive(node.name.clone(), node.address), actions);
        }
    }

    /// Takes a leave intent: whether it is to be passed on.
    pub(super) fn leave_intent(
        &mut self,
        now: Time,
        leave: message::Leave<'_>,
        actions: &mut Actions,
    ) -> bool {
        if !self.clock.witness(leave.time) {
            return false;
        }
        let Some(record) = self.members.get(leave.node) else {
            let members = self.members.len();
            let kept = &mut self.intents;
            return kept.keep(leave.node, Intent::Leave, leave.time, now, members);
        };
        let own = record.name == self.name;
        if own && leave.time > record.status_time && self.leave == Leave::No {
            if self.quiet_until <= now {
                self.quiet_until = now + QUIET;
                tracing::info!("somebody says that this node leaves: it stays");
            }
            self.declare_join();
            return false;
        }
        let effect = self.members.leave(leave.node, leave.time, now);
        self.left(leave.node, effect, actions);
        if leave.prune && !own && effect != LeaveEffect::Stale {
            self.prune(now, leave.node, actions);
        }
        effect != LeaveEffect::Stale
    }

    /// Takes a join intent: whether it is to be passed on.
    pub(super) fn join_intent(&mut self, now: Time, join: message::Join<'_>) -> bool {
        if !self.clock.witness(join.time) {
            return false;
        }
        if self.members.get(join.node).is_some() {
            return self.members.join(join.node, join.time);
        }
        let members = self.members.len();
        let kept = &mut self.intents;
        kept.keep(join.node, Intent::Join, join.time, now, members)
    }

    /// Takes what the other side of a push/pull knows. Nothing of it is passed on.
    pub(super) fn merge(
        &mut self,
        now: Time,
        join: bool,
        state: &State<'_>,
        actions: &mut Actions,
    ) {
        // The others' clocks show the time of what is said next.
        let joins = join && self.is_unsaid();
        for (clock, next) in [
            (&mut self.clock, state.time),
            (&mut self.event_clock, state.event_time),
            (&mut self.query_clock, state.query_time),
        ] {
            let time = next.saturating_sub(1);
            if joins {
                clock.join(time);
            } else {
                clock.witness(time);
            }
        }
        let times: std::collections::BTreeMap<_, _> = state.statuses.iter().copied().collect();
        let left: std::collections::BTreeSet<_> = state.left.iter().copied().collect();
        for name in &left {
            let time = times.get(name).copied().unwrap_or(0);
            self.merge_left(now, name, time, actions);
        }
        for (name, time) in times {
            if !left.contains(name) && is_name(name) {
                let join = message::Join { time, node: name };
                self.join_intent(now, join);
            }
        }
        if join && self.ignore_old {
            self.events.ignore_before(state.event_time);
        }
        for (time, name, payload) in &state.events {
            let event = message::Event {
                time: *time,
                name,
                payload,
                coalesce: false,
            };
            self.user_event(event, actions);
        }
    }

    fn merge_left(&mut self, now: Time, name: &str, time: LamportTime, actions: &mut Actions) {
        if !is_name(name) || !self.clock.witness(time) {
            return;
        }
        let Some(record) = self.members.get(name) else {
            let members = self.members.len();
            self.intents.keep(name, Intent::Leave, time, now, members);
            return;
        };
        if record.name == self.name {
            if time >= record.status_time && self.leave == Leave::No {
                self.declare_join();
            }
            return;
        }
        let effect = self.members.leave_by_state(name, time, now);
        self.left(name, effect, actions);
    }

    /// Tells all that this node has come, or is there after all.
    pub(super) fn declare_join(&mut self) {
        self.declared = true;
        let time = self.clock.take();
        let name = self.name.clone();
        self.members.join(&name, time);
        let join = message::Join { time, node: &name };
        self.spread(Some(name.clone()), &Message::Join(join));
    }

    /// Tells all that this node goes.
    pub(super) fn declare_leave(&mut self, now: Time) {
        let time = self.clock.take();
        let name = self.name.clone();
        self.members.leave(&name, time, now);
        let leave = message::Leave {
            time,
            node: &name,
            prune: false,
        };
        self.spread(Some(name.clone()), &Message::Leave(leave));
    }

    /// Whether this node has not told since its start that it has come.
    pub(super) fn is_unsaid(&self) -> bool {
        !self.declared && !self.is_leaving()
    }

    /// Declares that another has left.
    pub(super) fn force_leave(
        &mut self,
        now: Time,
        node: &str,
        prune: bool,
        actions: &mut Actions,
    ) -> Result<(), SerfError> {
        if self.is_leaving() {
            return Err(SerfError::Leaving);
        }
        let Some(record) = self.members.get(node) else {
            return Err(SerfError::Unknown(node.to_owned()));
        };
        let name = record.name.clone();
        let time = self.clock.take();
        let leave = message::Leave {
            time,
            node: &name,
            prune,
        };
        if self.leave_intent(now, leave, actions) {
            self.spread(None, &Message::Leave(leave));
        }
        Ok(())
    }

    /// Forgets who has been gone for long enough.
    pub(super) fn reap(&mut self, now: Time, actions: &mut Actions) {
        self.intents.expire(now);
        let limit = self.config.reconnect_timeout;
        let tombstone = self.config.tombstone_timeout;
        let due: Vec<Name> = (self.members.iter())
            .filter(|record| {
                let gone = now.saturating_sub(record.gone);
                match record.status {
                    MemberStatus::Failed => {
                        gone > meta::reconnect_timeout(&record.tags)
                            .map_or(limit, |own| own.min(limit))
                    }
                    MemberStatus::Left => gone > tombstone && record.name != self.name,
                    _ => false,
                }
            })
            .map(|record| record.name.clone())
            .collect();
        for name in due {
            self.erase(&name, actions);
        }
    }

    /// Now and then tries to reach somebody who has failed: all members together about as often
    /// as one alone would, if they are many.
    pub(super) fn reconnect(&mut self, actions: &mut Actions) {
        use rand::RngExt;

        let failed = self.members.count(MemberStatus::Failed);
        let gone = failed + self.members.count(MemberStatus::Left);
        if failed == 0 || self.is_leaving() {
            return;
        }
        let alive = self.members.len().saturating_sub(gone).max(1);
        if self.random.random_range(0..alive) >= failed {
            return;
        }
        for (_, to) in self.draw(1, |record| record.status == MemberStatus::Failed) {
            actions.requests.push(Request::Exchange { to, join: true });
        }
    }

    /// Forgets a member, here and below.
    pub(super) fn erase(&mut self, name: &str, actions: &mut Actions) {
        let Some(record) = self.members.remove(name) else {
            return;
        };
        self.erased(&record.name, actions);
        let notice = Notice::Member(Change::Reaped, record.member());
        actions.notices.push(notice);
    }

    fn erased(&mut self, name: &Name, actions: &mut Actions) {
        self.locator.forget(name);
        self.forgotten.push(name.clone());
        self.remember(Memory::NotAlive(name.clone()), actions);
    }

    fn prune(&mut self, now: Time, name: &str, actions: &mut Actions) {
        let Some(record) = self.members.get(name) else {
            return;
        };
        if record.status == MemberStatus::Leaving {
            let wait = self.config.broadcast_timeout + self.config.leave_propagate_delay;
            let name = record.name.clone();
            self.members.prune_at(now + wait, &name);
        } else {
            self.erase(name, actions);
        }
    }

    fn left(&mut self, name: &str, effect: LeaveEffect, actions: &mut Actions) {
        if effect == LeaveEffect::Left {
            self.tell(Change::Left, name, actions);
        }
    }

    fn tell(&mut self, change: Change, name: &str, actions: &mut Actions) {
        if let Some(record) = self.members.get(name) {
            let notice = Notice::Member(change, record.member());
            actions.notices.push(notice);
        }
    }

    /// Has an intent told to all, if there is anybody.
    fn spread(&mut self, key: Option<Name>, intent: &Message<'_>) {
        let gone = |status| matches!(status, MemberStatus::Failed | MemberStatus::Left);
        let mut others =
            (self.members.iter()).filter(|record| record.name != self.name && !gone(record.status));
        if others.next().is_some() {
            let packet = intent.to_packet();
            self.intent_queue.push(key, packet.into());
        }
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_OCTETS_MAX).contains(&name.len())
}
