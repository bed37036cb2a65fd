//! Chooses instances: a uniform shuffle without replacement of those that are eligible, drawn one
//! by one, so that the cost follows what is answered and not what is registered.
//!
//! Equal records are drawn once: when an instance is drawn, all that would give the same record
//! leave with it. They stand side by side, so they leave as one interval.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use crate::catalog::index::{Family, InstanceView, Sequence, Subset, Target};

use super::random::Random;

/// Up to this many records the drawn intervals are kept in a sorted list.
const FEW: usize = 128;
/// From this many records on, a list of all numbers pays off,
const LISTED_MIN: usize = 8;
/// as long as it is at most this many times as long as the answer may be.
const LISTED_RATIO: usize = 16;
/// Most ranges that a choice is drawn from: one for each family.
const SPANS_MAX: usize = 4;

/// The record that each instance gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A.
    V4,
    /// AAAA.
    V6,
    /// One address of either family.
    Any,
    /// SRV.
    Target,
    /// CNAME.
    Host,
}

impl Kind {
    /// Whether an instance can give such a record.
    pub(super) fn fits(self, instance: &InstanceView) -> bool {
        match self {
            Self::V4 => instance.v4.is_some(),
            Self::V6 => instance.v6.is_some(),
            Self::Any => instance.family() != Family::Host,
            Self::Target => true,
            Self::Host => instance.family() == Family::Host,
        }
    }
}

/// Positions in a subset, in ascending order without overlap.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans {
    list: [Range<usize>; SPANS_MAX],
    total: usize,
}

impl Spans {
    /// The instances that can give records of `kind`.
    pub(super) fn of(subset: &Subset, kind: Kind, only_passing: bool) -> Self {
        let mut spans = Self::default();
        let families: &[Family] = match kind {
            Kind::V4 => &[Family::V4, Family::Both],
            Kind::V6 => &[Family::Both, Family::V6],
            Kind::Any => &[Family::V4, Family::Both, Family::V6],
            Kind::Host => &[Family::Host],
            Kind::Target if !only_passing => {
                spans.add(0, 0..subset.instances().len());
                return spans;
            }
            Kind::Target => &[Family::V4, Family::Both, Family::V6, Family::Host],
        };
        for (slot, family) in families.iter().enumerate() {
            let passing = subset.range(*family, false);
            let end = if only_passing {
                passing.end
            } else {
                subset.range(*family, true).end
            };
            spans.add(slot, passing.start..end);
        }
        spans
    }

    fn add(&mut self, slot: usize, range: Range<usize>) {
        self.total += range.len();
        if let Some(place) = self.list.get_mut(slot) {
            *place = range;
        }
    }

    /// Number of positions.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// All positions.
    pub(super) fn positions(&self) -> impl Iterator<Item = usize> {
        self.list.iter().flat_map(Clone::clone)
    }

    fn position(&self, mut number: usize) -> Option<usize> {
        for range in &self.list {
            match number.checked_sub(range.len()) {
                None => return Some(range.start + number),
                Some(rest) => number = rest,
            }
        }
        None
    }
}

/// What tells two records apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    Endpoint(IpAddr, u16),
    /// Of a name, a hash of 128 bits.
    Named(u128, u16),
}

/// Space that choices reuse, so that none is allocated in the steady state.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Start and length of drawn intervals, in ascending order.
    drawn: Vec<(usize, usize)>,
    /// Records drawn so far, where some may be equal.
    seen: Vec<Key>,
    seen_many: HashSet<Key>,
    /// Numbers not drawn yet.
    undrawn: Vec<usize>,
    /// Places of a shuffle that differ from the order before it.
    moved: HashMap<usize, usize>,
    /// Starts of runs of equal records in shuffled order.
    runs: Vec<(f64, usize)>,
    /// Positions to choose from, where not all in the spans are.
    listed: Vec<usize>,
}

impl Scratch {
    /// Narrows the next choice to positions in `spans` whose instance passes `filter`. Their
    /// number.
    pub(super) fn list(
        &mut self,
        subset: &Subset,
        spans: &Spans,
        filter: impl Fn(&InstanceView) -> bool,
    ) -> usize {
        let instances = subset.instances();
        self.listed.clear();
        self.listed.extend(
            spans
                .positions()
                .filter(|position| instances.get(*position).is_some_and(|view| filter(view))),
        );
        self.listed.len()
    }
}

/// How the shuffle is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Few draws: a number among those not drawn, mapped past the drawn intervals.
    Few,
    /// About as many draws as there are instances, no equal records: a list of all numbers.
    Listed,
    /// Many draws, no equal records: Fisher and Yates, with only the moved places kept.
    Many,
    /// Many draws with equal records: all runs, shuffled by their lengths.
    Runs,
}

/// A choice being drawn. Yields positions in the subset with their instances.
pub(super) struct Selection<'v, 't> {
    instances: &'v Sequence<Arc<InstanceView>>,
    spans: Spans,
    is_listed: bool,
    kind: Kind,
    may_repeat: bool,
    scratch: &'t mut Scratch,
    random: &'t mut Random,
    order: Order,
    /// Numbers that stand for what can be drawn: 0 to this.
    total: usize,
    /// How many of them are left.
    left: usize,
}

impl<'v, 't> Selection<'v, 't> {
    /// A choice from `spans`, or from the positions listed in `scratch` if `is_listed`. No more
    /// than `capacity` records are expected to be asked for.
    pub(super) fn new(
        subset: &'v Subset,
        kind: Kind,
        spans: Spans,
        is_listed: bool,
        capacity: usize,
        scratch: &'t mut Scratch,
        random: &'t mut Random,
    ) -> Self {
        let total = if is_listed {
            scratch.listed.len()
        } else {
            spans.total()
        };
        let may_repeat = total > 1 && subset.duplicates() > 0;
        let draws = capacity.min(total);
        let order = if may_repeat {
            if draws > FEW { Order::Runs } else { Order::Few }
        } else if draws >= LISTED_MIN && total / LISTED_RATIO <= draws {
            Order::Listed
        } else if draws > FEW {
            Order::Many
        } else {
            Order::Few
        };
        scratch.drawn.clear();
        scratch.seen.clear();
        let mut selection = Self {
            instances: subset.instances(),
            spans,
            is_listed,
            kind,
            may_repeat,
            scratch,
            random,
            order,
            total,
            left: total,
        };
        match order {
            Order::Few => {}
            Order::Listed => {
                selection.scratch.undrawn.clear();
                selection.scratch.undrawn.extend(0..total);
            }
            Order::Many => selection.scratch.moved.clear(),
            Order::Runs => selection.shuffle_runs(),
        }
        selection
    }

    /// Whether there is anything to draw.
    pub(super) fn is_possible(&self) -> bool {
        self.left > 0
    }

    fn position_of(&self, number: usize) -> Option<usize> {
        if self.is_listed {
            self.scratch.listed.get(number).copied()
        } else {
            self.spans.position(number)
        }
    }

    fn instance(&self, number: usize) -> Option<&'v InstanceView> {
        let position = self.position_of(number)?;
        self.instances.get(position).map(|view| &**view)
    }

    fn draw(&mut self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        match self.order {
            Order::Few => self.draw_few(),
            Order::Listed => {
                // `undrawn` holds exactly `left` numbers.
                let place = self.random.below(self.left);
                self.left -= 1;
                Some(self.scratch.undrawn.swap_remove(place))
            }
            Order::Many => Some(self.draw_many()),
            Order::Runs => {
                self.left -= 1;
                self.scratch.runs.get(self.left).map(|(_, start)| *start)
            }
        }
    }

    fn draw_few(&mut self) -> Option<usize> {
        let mut number = self.random.below(self.left);
        let mut place = 0;
        for (start, length) in &self.scratch.drawn {
            if number < *start {
                break;
            }
            number += length;
            place += 1;
        }
        let run = if self.may_repeat {
            self.run(number)?
        } else {
            number..number + 1
        };
        self.left -= run.len();
        if self.left > 0 {
            self.scratch.drawn.insert(place, (run.start, run.len()));
        }
        Some(number)
    }

    fn draw_many(&mut self) -> usize {
        let moved = &mut self.scratch.moved;
        let first = self.total - self.left;
        let chosen = first + self.random.below(self.left);
        let here = moved.remove(&first).unwrap_or(first);
        self.left -= 1;
        if chosen == first {
            here
        } else {
            moved.insert(chosen, here).unwrap_or(chosen)
        }
    }

    /// Orders the starts of all runs as the first of each would come in a shuffle of instances: a
    /// run of twice the length is first twice as often (Efraimidis and Spirakis, 2006).
    fn shuffle_runs(&mut self) {
        self.scratch.runs.clear();
        self.scratch.seen_many.clear();
        let mut start = 0;
        while start < self.total {
            let length = 1 + self.equal_steps(start, self.total - start - 1, |step| start + step);
            let weight = f64::from(u32::try_from(length).unwrap_or(u32::MAX));
            let key = self.random.fraction().ln() / weight;
            self.scratch.runs.push((key, start));
            start += length;
        }
        // Drawn from the end: the greatest key is first.
        self.scratch.runs.sort_unstable_by(|left, right| {
            left.0.partial_cmp(&right.0).unwrap_or(Ordering::Equal)
        });
        self.left = self.scratch.runs.len();
    }

    /// The numbers around `number` whose instances give the same record.
    fn run(&self, number: usize) -> Option<Range<usize>> {
        self.instance(number)?;
        let before = self.equal_steps(number, number, |step| number - step);
        let after = self.equal_steps(number, self.total - number - 1, |step| number + step);
        Some(number - before..number + after + 1)
    }

    /// How many numbers next to `number` give the same record, at most `limit`: doubles its steps,
    /// then halves them. `at` is the number some steps away.
    fn equal_steps(&self, number: usize, limit: usize, at: impl Fn(usize) -> usize) -> usize {
        let Some(instance) = self.instance(number) else {
            return 0;
        };
        let equal = |step: usize| {
            let other = self.instance(at(step));
            other.is_some_and(|other| stands_beside(self.kind, instance, other))
        };
        let (mut least, mut step) = (0, 1);
        while step <= limit && equal(step) {
            least = step;
            step *= 2;
        }
        let mut most = step.min(limit + 1);
        while least + 1 < most {
            let middle = least.midpoint(most);
            if equal(middle) {
                least = middle;
            } else {
                most = middle;
            }
        }
        least
    }

    /// Whether no record drawn before equals that of `instance`: equal ones may also stand apart,
    /// one passing and the other warning.
    fn is_new(&mut self, instance: &InstanceView) -> bool {
        let Some(key) = key(self.kind, instance) else {
            return true;
        };
        if self.order != Order::Few {
            return self.scratch.seen_many.insert(key);
        }
        let is_new = !self.scratch.seen.contains(&key);
        if is_new {
            self.scratch.seen.push(key);
        }
        is_new
    }
}

impl<'v> Iterator for Selection<'v, '_> {
    type Item = (usize, &'v InstanceView);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let number = self.draw()?;
            let position = self.position_of(number)?;
            let instance = self.instances.get(position)?;
            if !self.may_repeat || self.is_new(instance) {
                return Some((position, instance));
            }
        }
    }
}

/// Whether `other`, which is near `instance` in the order of a subset, gives the same record and so
/// does everything between them.
fn stands_beside(kind: Kind, instance: &InstanceView, other: &InstanceView) -> bool {
    let alike = instance.family() == other.family()
        && instance.warning == other.warning
        && instance.v4 == other.v4;
    alike
        && match kind {
            Kind::V4 => true,
            Kind::V6 => instance.v6 == other.v6,
            Kind::Any | Kind::Host | Kind::Target => {
                instance.v6 == other.v6 && key(kind, instance) == key(kind, other)
            }
        }
}

fn key(kind: Kind, instance: &InstanceView) -> Option<Key> {
    match kind {
        Kind::V4 => instance.v4.map(|ip| Key::Address(ip.into())),
        Kind::V6 => instance.v6.map(|ip| Key::Address(ip.into())),
        Kind::Any => instance.any().map(Key::Address),
        Kind::Host => instance.host().map(|host| Key::Named(hash(1, host), 0)),
        Kind::Target => Some(match &instance.target {
            Target::V4(ip) => Key::Endpoint((*ip).into(), instance.port),
            Target::V6(ip) => Key::Endpoint((*ip).into(), instance.port),
            Target::Node => {
                let name = instance.node.name.as_str().as_bytes();
                Key::Named(hash(0, name), instance.port)
            }
            Target::Host(host) => Key::Named(hash(1, host), instance.port),
        }),
    }
}

/// A hash without regard to case (FNV-1a of 128 bits); `what` tells nodes from hosts.
fn hash(what: u8, name: &[u8]) -> u128 {
    let mut state = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    for octet in [what].iter().chain(name) {
        state ^= u128::from(octet.to_ascii_lowercase());
        state = state.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    state
}

#[cfg(test)]
mod tests;
