//! The table of nodes: found by name, drawn at random, probed in turn, sorted by when they died;
//! each in constant or logarithmic time.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::suspicion::Suspicion;
use super::{Name, Node, State};
use crate::gossip::actions::Time;

/// Place of a node in the table; another node may have it once that one is forgotten.
pub(super) type Slot = usize;

/// Where this node itself stands.
pub(super) const OWN: Slot = 0;

/// What the protocol keeps of a node.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) node: Node,
    pub(super) incarnation: u32,
    state: State,
    /// When `state` became what it is.
    changed: Time,
    suspicion: Option<Box<Suspicion>>,
    /// Places in `Members::targets` and `Members::ring`.
    target: Option<usize>,
    turn: Option<usize>,
}

impl Record {
    /// A node that nobody has spoken for yet.
    pub(super) fn new(node: Node, now: Time) -> Self {
        Self {
            node,
            incarnation: 0,
            state: State::Dead,
            changed: now,
            suspicion: None,
            target: None,
            turn: None,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Whether it takes part: alive or suspect.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.state, State::Alive | State::Suspect)
    }

    /// Whether it has been in its state for longer than `time`.
    pub(super) fn is_older(&self, now: Time, time: Duration) -> bool {
        now.saturating_sub(self.changed) > time
    }
}

/// All nodes that are known, this one first.
///
/// **Invariant**: `gone` holds exactly the dead and left ones but this node, `suspicions` exactly
/// the suspects; `targets` holds all others that are live, and of the dead those that were not met
/// there since they became too old.
#[derive(Debug)]
pub(super) struct Members {
    records: Vec<Option<Record>>,
    free: Vec<Slot>,
    by_name: HashMap<Name, Slot>,
    /// Whom gossip may go to, in no order.
    targets: Vec<Slot>,
    /// Whom probes go to, in this order from `cursor` on; the dead stand in it too.
    ring: Vec<Slot>,
    cursor: usize,
    gone: BTreeSet<(Time, Slot)>,
    suspicions: BTreeSet<(Time, Slot)>,
}

impl Members {
    /// A table of this node alone.
    pub(super) fn new(own: Node, now: Time) -> Self {
        let by_name = HashMap::from([(own.name.clone(), OWN)]);
        let mut own = Record::new(own, now);
        own.state = State::Alive;
        own.incarnation = 1;
        Self {
            records: vec![Some(own)],
            free: Vec::new(),
            by_name,
            targets: Vec::new(),
            ring: Vec::new(),
            cursor: 0,
            gone: BTreeSet::new(),
            suspicions: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn own(&self) -> &Record {
        self.get(OWN).expect("this node is never removed")
    }

    pub(super) fn find(&self, name: &str) -> Option<Slot> {
        self.by_name.get(name).copied()
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Record> {
        self.records.get(slot)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Record> {
        self.records.get_mut(slot)?.as_mut()
    }

    /// Node and record of a name.
    pub(super) fn by_name(&self, name: &str) -> Option<(Slot, &Record)> {
        let slot = self.find(name)?;
        Some((slot, self.get(slot)?))
    }

    /// All records in the order of their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().flatten()
    }

    /// Whether any other node is live.
    pub(super) fn has_live_others(&self) -> bool {
        self.targets
            .iter()
            .any(|&slot| self.get(slot).is_some_and(Record::is_live))
    }

    /// Takes in a node that is not known yet, as dead, at a random place of the probe order.
    pub(super) fn insert(&mut self, node: Node, now: Time, random: &mut SmallRng) -> Slot {
        let name = node.name.clone();
        let record = Record::new(node, now);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.records.push(None);
            self.records.len() - 1
        });
        self.records[slot] = Some(record);
        self.by_name.insert(name, slot);
        self.gone.insert((now, slot));
        self.ring.push(slot);
        let last = self.ring.len() - 1;
        self.swap_turns(random.random_range(0..=last), last);
        slot
    }

    /// Forgets a node, unless it is this one.
    pub(super) fn remove(&mut self, slot: Slot) {
        if slot == OWN {
            return;
        }
        self.leave_targets(slot);
        self.end_suspicion(slot);
        let Some(record) = self.records.get_mut(slot).and_then(Option::take) else {
            return;
        };
        self.gone.remove(&(record.changed, slot));
        self.by_name.remove(&record.node.name);
        if let Some(turn) = record.turn {
            self.leave_ring(turn);
        }
        self.free.push(slot);
    }

    /// Forgets the node that has been dead or gone the longest, if there is one.
    pub(super) fn remove_oldest_gone(&mut self) -> bool {
        let oldest = self.gone.first().copied();
        if let Some((_, slot)) = oldest {
            self.remove(slot);
        }
        oldest.is_some()
    }

    /// Sets the state; a change counts from now. Ends a suspicion in any case.
    pub(super) fn set_state(&mut self, slot: Slot, state: State, now: Time) {
        self.end_suspicion(slot);
        let Some(record) = self.get_mut(slot) else {
            return;
        };
        let before = (record.changed, slot);
        if record.state != state {
            record.state = state;
            record.changed = now;
        }
        let after = (record.changed, slot);
        if slot == OWN {
            return;
        }
        self.gone.remove(&before);
        if matches!(state, State::Dead | State::Left) {
            self.gone.insert(after);
        }
        match state {
            State::Left => self.leave_targets(slot),
            _ => self.join_targets(slot),
        }
    }

    /// Begins to suspect a node.
    pub(super) fn suspect(&mut self, slot: Slot, suspicion: Suspicion, now: Time) {
        self.set_state(slot, State::Suspect, now);
        let deadline = suspicion.deadline();
        if let Some(record) = self.get_mut(slot) {
            record.suspicion = Some(Box::new(suspicion));
            self.suspicions.insert((deadline, slot));
        }
    }

    /// Whether somebody's word confirms a running suspicion; `None` if none runs.
    pub(super) fn confirm(&mut self, slot: Slot, from: &str) -> Option<bool> {
        let suspicion = self.get_mut(slot)?.suspicion.as_deref_mut()?;
        let before = suspicion.deadline();
        let counts = suspicion.confirm(from);
        let after = suspicion.deadline();
        self.suspicions.remove(&(before, slot));
        self.suspicions.insert((after, slot));
        Some(counts)
    }

    /// Whose suspicion ends first, and when.
    pub(super) fn next_suspicion(&self) -> Option<(Time, Slot)> {
        self.suspicions.first().copied()
    }

    /// Gives all suspects `time` more.
    pub(super) fn postpone_suspicions(&mut self, time: Duration) {
        for (_, slot) in std::mem::take(&mut self.suspicions) {
            let Some(suspicion) = self.get_mut(slot).and_then(|r| r.suspicion.as_deref_mut())
            else {
                continue;
            };
            suspicion.postpone(time);
            let deadline = suspicion.deadline();
            self.suspicions.insert((deadline, slot));
        }
    }

    /// Draws up to `count` different nodes that suit, into `chosen`. Those who died longer than
    /// `dead_for` ago are none.
    pub(super) fn choose(
        &mut self,
        random: &mut SmallRng,
        (count, now, dead_for): (usize, Time, Duration),
        chosen: &mut Vec<Slot>,
        suits: impl Fn(Slot, &Record) -> bool,
    ) {
        chosen.clear();
        let mut met = 0;
        while chosen.len() < count && met < self.targets.len() {
            let pick = random.random_range(met..self.targets.len());
            self.swap_targets(met, pick);
            let slot = self.targets[met];
            let Some(record) = self.get(slot) else {
                break;
            };
            if record.state == State::Dead && record.is_older(now, dead_for) {
                self.leave_targets(slot);
                continue;
            }
            if suits(slot, record) {
                chosen.push(slot);
            }
            met += 1;
        }
    }

    /// Whose turn it is to be probed. After a whole round, those who have been dead or gone for
    /// longer than `dead_for` are forgotten, and the order is drawn anew.
    pub(super) fn next_turn(
        &mut self,
        random: &mut SmallRng,
        now: Time,
        dead_for: Duration,
    ) -> Option<Slot> {
        let mut passed = 0;
        while passed <= self.ring.len() {
            let Some(&slot) = self.ring.get(self.cursor) else {
                self.begin_round(random, now, dead_for);
                passed += 1;
                continue;
            };
            self.cursor += 1;
            passed += 1;
            if self.get(slot).is_some_and(Record::is_live) {
                return Some(slot);
            }
        }
        None
    }

    fn begin_round(&mut self, random: &mut SmallRng, now: Time, dead_for: Duration) {
        while let Some(&(since, slot)) = self.gone.first() {
            if now.saturating_sub(since) <= dead_for {
                break;
            }
            self.remove(slot);
        }
        self.cursor = 0;
        for last in (1..self.ring.len()).rev() {
            self.swap_turns(random.random_range(0..=last), last);
        }
        // A ring of one is in order already, but must know its place.
        if self.ring.len() == 1 {
            self.swap_turns(0, 0);
        }
    }

    fn end_suspicion(&mut self, slot: Slot) {
        if let Some(suspicion) = self.get_mut(slot).and_then(|r| r.suspicion.take()) {
            self.suspicions.remove(&(suspicion.deadline(), slot));
        }
    }

    fn swap_turns(&mut self, one: usize, other: usize) {
        self.ring.swap(one, other);
        for turn in [one, other] {
            let slot = self.ring[turn];
            if let Some(record) = self.get_mut(slot) {
                record.turn = Some(turn);
            }
        }
    }

    /// Closes the gap at `turn` such that nobody's turn is skipped or comes twice in this round.
    fn leave_ring(&mut self, mut turn: usize) {
        if turn < self.cursor {
            self.cursor -= 1;
            self.swap_turns(turn, self.cursor);
            turn = self.cursor;
        }
        let last = self.ring.len() - 1;
        self.swap_turns(turn, last);
        self.ring.pop();
    }

    fn swap_targets(&mut self, one: usize, other: usize) {
        self.targets.swap(one, other);
        for target in [one, other] {
            let slot = self.targets[target];
            if let Some(record) = self.get_mut(slot) {
                record.target = Some(target);
            }
        }
    }

    fn join_targets(&mut self, slot: Slot) {
        let place = self.targets.len();
        if let Some(record) = self.get_mut(slot)
            && record.target.is_none()
        {
            record.target = Some(place);
            self.targets.push(slot);
        }
    }

    fn leave_targets(&mut self, slot: Slot) {
        let Some(place) = self.get_mut(slot).and_then(|record| record.target.take()) else {
            return;
        };
        self.targets.swap_remove(place);
        if let Some(&moved) = self.targets.get(place)
            && let Some(record) = self.get_mut(moved)
        {
            record.target = Some(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::gossip::wire::Versions;

    const NOW: Time = Duration::from_secs(100);
    const KEEP: Duration = Duration::from_secs(30);

    fn node(name: &str) -> Node {
        Node {
            name: name.into(),
            address: "127.0.0.1:8301".parse().unwrap(),
            meta: [].into(),
            versions: Versions::OWN,
        }
    }

    fn table(others: usize) -> (Members, SmallRng) {
        let mut members = Members::new(node("own"), NOW);
        let mut random = SmallRng::seed_from_u64(1);
        for number in 0..others {
            let slot = members.insert(node(&format!("n{number}")), NOW, &mut random);
            members.set_state(slot, State::Alive, NOW);
        }
        (members, random)
    }

    fn check(members: &Members) {
        let live = members.iter().skip(1).filter(|r| r.is_live()).count();
        let others = members.len() - 1;
        assert_eq!(members.gone.len(), others - live);
        assert_eq!(members.ring.len(), others);
        for (turn, &slot) in members.ring.iter().enumerate() {
            assert_eq!(members.get(slot).unwrap().turn, Some(turn));
        }
        for (place, &slot) in members.targets.iter().enumerate() {
            assert_eq!(members.get(slot).unwrap().target, Some(place));
        }
        for (slot, record) in members.records.iter().enumerate().skip(1) {
            let Some(record) = record else { continue };
            assert!(!record.is_live() || record.target.is_some(), "{slot}");
            assert!(
                record.state != State::Left || record.target.is_none(),
                "{slot}"
            );
            assert_eq!(record.suspicion.is_some(), record.state == State::Suspect);
        }
    }

    #[test]
    fn every_live_node_has_one_turn_in_a_round() {
        let (mut members, mut random) = table(20);
        let gone = members.find("n3").unwrap();
        members.set_state(gone, State::Dead, NOW);
        for _ in 0..3 {
            let mut seen = BTreeSet::new();
            for _ in 0..19 {
                seen.insert(members.next_turn(&mut random, NOW, KEEP).unwrap());
            }
            assert_eq!(seen.len(), 19);
            assert!(!seen.contains(&gone));
            // The dead one's place, should it be the last.
            while members.cursor < members.ring.len() {
                assert_eq!(members.ring[members.cursor], gone);
                members.cursor += 1;
            }
        }
    }

    #[test]
    fn nobody_loses_its_turn_when_another_is_forgotten() {
        for forgotten in 0..10 {
            let (mut members, mut random) = table(10);
            let mut seen = BTreeSet::new();
            for _ in 0..5 {
                assert!(seen.insert(members.next_turn(&mut random, NOW, KEEP).unwrap()));
            }
            let gone = members.find(&format!("n{forgotten}")).unwrap();
            members.remove(gone);
            check(&members);
            seen.remove(&gone);
            while seen.len() < 9 {
                let slot = members.next_turn(&mut random, NOW, KEEP).unwrap();
                assert!(seen.insert(slot), "{slot} has had its turn");
            }
        }
    }

    #[test]
    fn alone_there_is_nobody_to_probe_or_draw() {
        let (mut members, mut random) = table(0);
        let mut chosen = vec![7];
        assert_eq!(members.next_turn(&mut random, NOW, KEEP), None);
        members.choose(&mut random, (3, NOW, KEEP), &mut chosen, |_, _| true);
        assert!(chosen.is_empty());
    }

    #[test]
    fn a_draw_gives_different_nodes_and_all_of_them_in_time() {
        let (mut members, mut random) = table(8);
        let left = members.find("n1").unwrap();
        members.set_state(left, State::Left, NOW);
        let mut all = BTreeSet::new();
        for _ in 0..200 {
            let mut chosen = Vec::new();
            members.choose(&mut random, (3, NOW, KEEP), &mut chosen, |slot, _| {
                slot != 3
            });
            chosen.sort_unstable();
            chosen.dedup();
            assert_eq!(chosen.len(), 3);
            all.extend(chosen);
        }
        assert_eq!(all.len(), 6);
        assert!(!all.contains(&left) && !all.contains(&3));
    }

    #[test]
    fn the_dead_are_drawn_for_a_while_and_forgotten_at_the_next_round() {
        let (mut members, mut random) = table(2);
        let dead = members.find("n0").unwrap();
        members.set_state(dead, State::Dead, NOW);
        let mut chosen = Vec::new();
        members.choose(&mut random, (9, NOW + KEEP, KEEP), &mut chosen, |_, _| true);
        assert_eq!(chosen.len(), 2);
        let later = NOW + KEEP + Duration::from_millis(1);
        members.choose(&mut random, (9, later, KEEP), &mut chosen, |_, _| true);
        assert_eq!(chosen.len(), 1);
        members.begin_round(&mut random, later, KEEP);
        assert_eq!((members.find("n0"), members.len()), (None, 2));
        check(&members);
    }

    #[test]
    fn the_table_holds_together_through_random_changes() {
        let (mut members, mut random) = table(5);
        let bounds = super::super::Bounds::new(&super::super::Config::lan(), 9);
        let mut now = NOW;
        for _ in 0..5_000 {
            now += Duration::from_millis(700);
            let name = format!("n{}", random.random_range(0..20));
            let slot = members
                .find(&name)
                .unwrap_or_else(|| members.insert(node(&name), now, &mut random));
            match random.random_range(0..7) {
                0 => members.set_state(slot, State::Alive, now),
                1 => members.suspect(slot, Suspicion::new(now, "x".into(), bounds), now),
                2 => members.set_state(slot, State::Dead, now),
                3 => members.set_state(slot, State::Left, now),
                4 => members.remove(slot),
                5 => drop(members.next_turn(&mut random, now, KEEP)),
                _ => drop(members.confirm(slot, &format!("y{}", random.random_range(0..3)))),
            }
            check(&members);
        }
    }
}
