//! The members of the pool and their statuses: what an intent, a join or a death makes of each.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use super::{LamportTime, Tags, meta};
use crate::gossip::actions::Time;
use crate::gossip::swim::{Name, Node};
use crate::gossip::wire::Versions;
use crate::types::{Member, MemberStatus};

/// One member.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) name: Name,
    pub(super) address: SocketAddr,
    pub(super) tags: Tags,
    /// The tags as they came, to see at once whether others come.
    meta: Arc<[u8]>,
    pub(super) versions: Versions,
    pub(super) status: MemberStatus,
    /// When the newest intent was said that the status stands on; 0 before any.
    pub(super) status_time: LamportTime,
    /// When it failed or left.
    pub(super) gone: Time,
}

/// What a leave intent led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaveEffect {
    /// It is older than what is known.
    Stale,
    /// Nothing but its time is new.
    Noted,
    /// The member is leaving from now on.
    Leaving,
    /// The member had failed; now it has left.
    Left,
}

impl Record {
    fn new(node: &Node) -> Self {
        Self {
            name: node.name.clone(),
            address: node.address,
            tags: meta::decode(&node.meta).unwrap_or_default(),
            meta: node.meta.clone(),
            versions: node.versions,
            status: MemberStatus::Alive,
            status_time: 0,
            gone: Time::ZERO,
        }
    }

    /// Takes a leave intent that was said at `time`.
    pub(super) fn leave(&mut self, time: LamportTime, now: Time) -> LeaveEffect {
        if time <= self.status_time {
            return LeaveEffect::Stale;
        }
        self.status_time = time;
        self.depart(now)
    }

    /// Takes a leave that a push/pull tells of. It carries the time of the status, not that of the
    /// intent, so that an equal time counts. Where peers add one to it for that reason, two of
    /// them push each other's times up for ever; taken as it is, every order gives one result.
    pub(super) fn leave_by_state(&mut self, time: LamportTime, now: Time) -> LeaveEffect {
        if time < self.status_time {
            return LeaveEffect::Stale;
        }
        self.status_time = time;
        self.depart(now)
    }

    fn depart(&mut self, now: Time) -> LeaveEffect {
        match self.status {
            MemberStatus::Alive => {
                self.status = MemberStatus::Leaving;
                LeaveEffect::Leaving
            }
            MemberStatus::Failed => {
                self.status = MemberStatus::Left;
                self.gone = now;
                LeaveEffect::Left
            }
            MemberStatus::None | MemberStatus::Leaving | MemberStatus::Left => LeaveEffect::Noted,
        }
    }

    /// Takes a join intent that was said at `time`: whether it is news.
    pub(super) fn join(&mut self, time: LamportTime) -> bool {
        if time <= self.status_time {
            return false;
        }
        self.status_time = time;
        if self.status == MemberStatus::Leaving {
            self.status = MemberStatus::Alive;
        }
        true
    }

    /// Answers no more: what it is from now on, if that is something else.
    pub(super) fn die(&mut self, now: Time) -> Option<MemberStatus> {
        self.status = match self.status {
            MemberStatus::Leaving => MemberStatus::Left,
            MemberStatus::Alive => MemberStatus::Failed,
            MemberStatus::None | MemberStatus::Left | MemberStatus::Failed => return None,
        };
        self.gone = now;
        Some(self.status)
    }

    /// The member as the rest of the agent knows it.
    pub(super) fn member(&self) -> Member {
        Member {
            name: self.name.as_ref().to_owned(),
            address: self.address.ip(),
            port: self.address.port(),
            tags: self.tags.clone(),
            status: self.status,
            versions: self.versions.0,
        }
    }
}

/// All members, in the order of their names.
#[derive(Debug)]
pub(super) struct Members {
    records: BTreeMap<Name, Record>,
    /// How many members are at each address.
    addresses: HashMap<SocketAddr, u32>,
    /// Leaving members that are to be forgotten, and when; each waits equally long.
    prunes: VecDeque<(Time, Name)>,
    /// Members at most, the gone ones too.
    limit: usize,
    /// Grows with every change of what members are.
    version: u64,
}

impl Members {
    pub(super) fn new(own: &Node, limit: usize) -> Self {
        let mut members = Self {
            records: BTreeMap::new(),
            addresses: HashMap::new(),
            prunes: VecDeque::new(),
            limit,
            version: 0,
        };
        members.create(own);
        members
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, name: &str) -> Option<&Record> {
        self.records.get(name)
    }

    /// Takes a leave intent about a member.
    pub(super) fn leave(&mut self, name: &str, time: LamportTime, now: Time) -> LeaveEffect {
        self.change(name, |record| record.leave(time, now))
            .unwrap_or(LeaveEffect::Stale)
    }

    /// Takes a leave of a member that a push/pull tells of.
    pub(super) fn leave_by_state(
        &mut self,
        name: &str,
        time: LamportTime,
        now: Time,
    ) -> LeaveEffect {
        self.change(name, |record| record.leave_by_state(time, now))
            .unwrap_or(LeaveEffect::Stale)
    }

    /// Takes a join intent about a member: whether it is news.
    pub(super) fn join(&mut self, name: &str, time: LamportTime) -> bool {
        self.change(name, |record| record.join(time))
            .unwrap_or(false)
    }

    /// A member answers no more: what it is from now on, if that is something else.
    pub(super) fn die(&mut self, name: &str, now: Time) -> Option<MemberStatus> {
        self.change(name, |record| record.die(now)).flatten()
    }

    /// A member is alive again, whatever it was.
    pub(super) fn revive(&mut self, name: &str) {
        self.change(name, |record| {
            record.status = MemberStatus::Alive;
            record.gone = Time::ZERO;
        });
    }

    fn change<R>(&mut self, name: &str, change: impl FnOnce(&mut Record) -> R) -> Option<R> {
        let record = self.records.get_mut(name)?;
        let before = record.status;
        let result = change(record);
        self.version += u64::from(record.status != before);
        Some(result)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    pub(super) fn count(&self, status: MemberStatus) -> usize {
        self.iter().filter(|record| record.status == status).count()
    }

    /// Whether a member is at that address.
    pub(super) fn is_address(&self, address: SocketAddr) -> bool {
        self.addresses.contains_key(&address)
    }

    /// Adds a member that is alive. Where there are too many, the one that is gone for the longest
    /// time makes room; it is returned.
    pub(super) fn create(&mut self, node: &Node) -> Option<Record> {
        let displaced = (self.records.len() >= self.limit)
            .then(|| self.longest_gone())
            .flatten()
            .and_then(|name| self.remove(&name));
        self.version += 1;
        *self.addresses.entry(node.address).or_default() += 1;
        self.records.insert(node.name.clone(), Record::new(node));
        displaced
    }

    /// Takes over what a known node says of itself: whether any of it is new.
    pub(super) fn describe(&mut self, node: &Node) -> bool {
        let Some(record) = self.records.get_mut(&node.name) else {
            return false;
        };
        let same_place = record.address == node.address;
        let same_meta = record.meta == node.meta;
        if same_place && same_meta && record.versions == node.versions {
            return false;
        }
        self.version += 1;
        record.versions = node.versions;
        if !same_meta {
            record.tags = meta::decode(&node.meta).unwrap_or_default();
            record.meta = node.meta.clone();
        }
        if !same_place {
            let before = std::mem::replace(&mut record.address, node.address);
            *self.addresses.entry(node.address).or_default() += 1;
            self.leave_address(before);
        }
        true
    }

    /// The tags of `node` if they are those that are known already.
    pub(super) fn known_tags(&self, node: &Node) -> Option<&Tags> {
        self.records
            .get(&node.name)
            .filter(|record| record.meta == node.meta)
            .map(|record| &record.tags)
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Record> {
        let record = self.records.remove(name)?;
        self.version += 1;
        self.leave_address(record.address);
        self.prunes
            .retain(|(_, pruned)| pruned.as_ref() != record.name.as_ref());
        Some(record)
    }

    /// Has a leaving member forgotten at `due`, once it has had time to go.
    pub(super) fn prune_at(&mut self, due: Time, name: &Name) {
        if self.prunes.iter().all(|(_, pruned)| pruned != name) {
            self.prunes.push_back((due, name.clone()));
        }
    }

    /// When the next leaving member is to be forgotten.
    pub(super) fn next_prune(&self) -> Option<Time> {
        self.prunes.front().map(|(due, _)| *due)
    }

    /// A member that is to be forgotten by now. One that has come back stays, also if it has failed
    /// since: it was not that one that was declared to have left.
    pub(super) fn take_prune(&mut self, now: Time) -> Option<Name> {
        while self.next_prune().is_some_and(|due| due <= now) {
            let (_, name) = self.prunes.pop_front()?;
            let stays = |record: &Record| {
                matches!(record.status, MemberStatus::Alive | MemberStatus::Failed)
            };
            if !self.get(&name).is_none_or(stays) {
                return Some(name);
            }
        }
        None
    }

    fn longest_gone(&self) -> Option<Name> {
        self.iter()
            .filter(|record| matches!(record.status, MemberStatus::Failed | MemberStatus::Left))
            .min_by_key(|record| record.gone)
            .map(|record| record.name.clone())
    }

    fn leave_address(&mut self, address: SocketAddr) {
        if let Some(members) = self.addresses.get_mut(&address) {
            *members -= 1;
            if *members == 0 {
                self.addresses.remove(&address);
            }
        }
    }
}
