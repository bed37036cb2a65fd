//! What clients asked of registers that hold a port or nothing, and what they saw: recorded while
//! it happens, and checked for linearizability afterwards by the algorithm of Wing, Gong and Lowe.
//!
//! Owns the record, the clients that fill it and the verdict. How an operation is carried out is
//! left to the caller, since servers are processes for some tests and parts of the test's own
//! process for others.
//!
//! Each key is a register of its own and checked alone: linearizability is local. The search is
//! exponential in operations that overlap, and those of unknown fate overlap all later ones. So a
//! key takes a bounded number of both and then makes place for the next.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use todc_utils::{Action, Specification, WGLChecker};

/// Operations that one key takes.
const OPERATIONS_MAX: usize = 120;
/// Changes of unknown fate that one key takes (those under way already may add to them).
const UNKNOWN_MAX: usize = 6;
/// Longest search for an order of one key's operations; usually it takes milliseconds.
const SEARCH: Duration = Duration::from_secs(60);

/// What a client asks of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// The key has this port from then on.
    Register(u16),
    /// The key has none from then on.
    Deregister,
    /// A read as fresh as can be had.
    Read,
    /// A read as fresh as the leader's lease allows.
    ReadLeased,
}

impl Operation {
    /// What the key has afterwards, if this changes it.
    #[expect(
        clippy::option_option,
        reason = "whether it changes the key, and whether that has a port then"
    )]
    fn leaves(self) -> Option<Option<u16>> {
        match self {
            Self::Register(port) => Some(Some(port)),
            Self::Deregister => Some(None),
            Self::Read | Self::ReadLeased => None,
        }
    }
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A change was made.
    Done,
    /// A read saw this.
    Saw(Option<u16>),
    /// It was refused, and will never be carried out.
    Nothing,
    /// Nobody knows. A change may be made at any later time, or never.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Called(Operation, usize),
    Ended(usize, Ending),
}

/// The operations on one key. The order in which they were told is what happened before what.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Vec<Event>>);

/// How many operations there were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) keys: usize,
    pub(crate) changes: usize,
    pub(crate) reads: usize,
    pub(crate) leased: usize,
    pub(crate) refused: usize,
    /// Changes of unknown fate.
    pub(crate) unknown: usize,
    /// Reads without an answer.
    pub(crate) unanswered: usize,
}

impl History {
    fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.0.lock().unwrap()
    }

    /// A client is about to ask; the operation's number.
    pub(crate) fn called(&self, operation: Operation, client: usize) -> usize {
        let mut events = self.events();
        events.push(Event::Called(operation, client));
        events.len() - 1
    }

    /// The client has its answer, or has given up.
    pub(crate) fn ended(&self, number: usize, ending: Ending) {
        self.events().push(Event::Ended(number, ending));
    }

    /// Whether the next operation is for another key.
    fn is_full(&self) -> bool {
        let events = self.events();
        let called = |event: &&Event| matches!(event, Event::Called(..));
        let unknown = |event: &&Event| match event {
            Event::Ended(number, Ending::Unknown) => changes(&events, *number),
            _ => false,
        };
        events.iter().filter(called).count() >= OPERATIONS_MAX
            || events.iter().filter(unknown).count() >= UNKNOWN_MAX
    }

    /// Anything, from a client's random source. No port is registered twice.
    fn draw(&self, random: &mut StdRng) -> Operation {
        let port = u16::try_from(self.events().len() + 1).expect("keys are retired before");
        match random.random_range(0..10) {
            0..3 => Operation::Register(port),
            3 => Operation::Deregister,
            4..8 => Operation::Read,
            _ => Operation::ReadLeased,
        }
    }

    fn count(&self, counts: &mut Counts) {
        counts.keys += 1;
        let events = self.events();
        for event in events.iter() {
            let Event::Ended(number, ending) = *event else {
                continue;
            };
            let change = changes(&events, number);
            match ending {
                Ending::Done => counts.changes += 1,
                Ending::Saw(_) if is_leased(&events, number) => counts.leased += 1,
                Ending::Saw(_) => counts.reads += 1,
                Ending::Nothing => counts.refused += 1,
                Ending::Unknown if change => counts.unknown += 1,
                Ending::Unknown => counts.unanswered += 1,
            }
        }
    }

    /// Whether the key could have answered so while it did one operation after the other.
    ///
    /// # Errors
    /// It could not: the shortest beginning of the history that shows it, without what is not
    /// needed for that.
    pub(crate) fn check(&self, leased: bool) -> Result<(), Violation> {
        let events: Vec<_> = self.events().clone();
        let keep: BTreeSet<_> = (0..events.len())
            .filter(|number| leased || !is_leased(&events, *number))
            .collect();
        if is_linearizable(&events, &keep) {
            return Ok(());
        }
        let shortest = (1..=events.len()).find(|end| !is_linearizable(&events[..*end], &keep));
        let events = events[..shortest.unwrap_or(events.len())].to_vec();
        Err(Violation {
            keep: without_needless(&events, keep),
            events,
        })
    }
}

fn operation(events: &[Event], number: usize) -> Option<Operation> {
    match events.get(number) {
        Some(Event::Called(operation, _)) => Some(*operation),
        _ => None,
    }
}

fn changes(events: &[Event], number: usize) -> bool {
    operation(events, number).is_some_and(|operation| operation.leaves().is_some())
}

fn is_leased(events: &[Event], number: usize) -> bool {
    operation(events, number) == Some(Operation::ReadLeased)
}

/// One register, for the checker.
struct Register;

/// What the checker is to find an order of.
#[derive(Clone, Copy, Debug)]
enum Step {
    Change(Option<u16>),
    See(Option<u16>),
}

impl Specification for Register {
    type State = Option<u16>;
    type Operation = Step;

    fn init() -> Self::State {
        None
    }

    fn apply(step: &Step, state: &Self::State) -> (bool, Self::State) {
        match step {
            Step::Change(to) => (true, *to),
            Step::See(value) => (value == state, *state),
        }
    }
}

/// What all reads together have seen, of operations in `keep`.
fn seen(events: &[Event], keep: &BTreeSet<usize>) -> BTreeSet<Option<u16>> {
    let saw = |event: &Event| match event {
        Event::Ended(number, Ending::Saw(value)) if keep.contains(number) => Some(*value),
        _ => None,
    };
    events.iter().filter_map(saw).collect()
}

/// Looks at the operations in `keep` only.
fn is_linearizable(events: &[Event], keep: &BTreeSet<usize>) -> bool {
    let seen = seen(events, keep);
    let mut endings = vec![Ending::Unknown; events.len()];
    for event in events {
        if let Event::Ended(number, ending) = event {
            endings[*number] = *ending;
        }
    }
    let step = |number: usize| {
        let leaves = operation(events, number).and_then(Operation::leaves);
        match (endings[number], leaves) {
            _ if !keep.contains(&number) => None,
            (Ending::Saw(value), _) => Some(Step::See(value)),
            (Ending::Done, Some(to)) => Some(Step::Change(to)),
            // In any order, what nobody has seen can be left out: no read stands right behind it.
            (Ending::Unknown, Some(to)) => seen.contains(&to).then_some(Step::Change(to)),
            _ => None,
        }
    };
    let (mut actions, mut open) = (Vec::new(), Vec::new());
    for (place, event) in events.iter().enumerate() {
        match event {
            Event::Called(..) => {
                let Some(step) = step(place) else {
                    continue;
                };
                actions.push((place, Action::Call(step)));
                if endings[place] == Ending::Unknown {
                    open.push((place, Action::Response(step)));
                }
            }
            Event::Ended(_, Ending::Unknown) => {}
            Event::Ended(number, _) => {
                actions.extend(step(*number).map(|step| (*number, Action::Response(step))));
            }
        }
    }
    // At the end it no longer matters whether they were carried out.
    actions.append(&mut open);
    actions.is_empty()
        || WGLChecker::<Register>::is_linearizable(todc_utils::History::from_actions(actions))
}

/// Leaves out reads, and changes that no read has seen: a history that has an order has one
/// without them.
fn without_needless(events: &[Event], mut keep: BTreeSet<usize>) -> BTreeSet<usize> {
    for number in 0..events.len() {
        let Some(operation) = operation(events, number) else {
            continue;
        };
        let mut fewer = keep.clone();
        fewer.remove(&number);
        let needless = match operation.leaves() {
            Some(to) => !seen(events, &fewer).contains(&to),
            None => true,
        };
        if needless && !is_linearizable(events, &fewer) {
            keep = fewer;
        }
    }
    keep
}

/// A history that no order of its operations explains.
#[derive(Debug)]
pub(crate) struct Violation {
    events: Vec<Event>,
    keep: BTreeSet<usize>,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, event) in self.events.iter().enumerate() {
            match event {
                Event::Called(operation, client) if self.keep.contains(&place) => {
                    writeln!(
                        formatter,
                        "{place:4} client {client} calls {operation:?} (#{place})"
                    )?;
                }
                Event::Ended(number, ending) if self.keep.contains(number) => {
                    writeln!(formatter, "{place:4}          #{number} ends: {ending:?}")?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Keys that follow each other.
#[derive(Debug)]
pub(crate) struct Keys {
    name: String,
    all: Mutex<Vec<Arc<History>>>,
}

impl Keys {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            all: Mutex::new(Vec::new()),
        }
    }

    /// All keys so far, by name.
    pub(crate) fn all(&self) -> Vec<(String, Arc<History>)> {
        let all = self.all.lock().unwrap();
        let named = |(number, history): (usize, &Arc<History>)| {
            (format!("{}-{number}", self.name), Arc::clone(history))
        };
        all.iter().enumerate().map(named).collect()
    }

    fn current(&self) -> (String, Arc<History>) {
        let mut all = self.all.lock().unwrap();
        if all.last().is_none_or(|last| last.is_full()) {
            all.push(Arc::default());
        }
        let last = all.last().expect("there is one now");
        (format!("{}-{}", self.name, all.len() - 1), Arc::clone(last))
    }
}

/// One client: asks for one thing after the other as long as `goes_on`.
pub(crate) async fn client(
    number: usize,
    keys: &Keys,
    mut random: StdRng,
    goes_on: impl Fn() -> bool,
    carry_out: impl AsyncFn(&mut StdRng, &str, Operation) -> Ending,
) {
    while goes_on() {
        let (key, history) = keys.current();
        let operation = history.draw(&mut random);
        let place = history.called(operation, number);
        let ending = carry_out(&mut random, &key, operation).await;
        history.ended(place, ending);
    }
}

/// Checks all keys, with the leased reads and without.
///
/// # Panics
/// A history has no order, or none was found in time. The text says which reads it takes to show it.
pub(crate) fn assert_linearizable(keys: &[Keys]) -> Counts {
    let mut counts = Counts::default();
    for (key, history) in keys.iter().flat_map(Keys::all) {
        history.count(&mut counts);
        let (verdict, verdicts) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let checked = history.check(false).map_err(|wrong| ("consistent", wrong));
            let checked =
                checked.and_then(|()| history.check(true).map_err(|wrong| ("leased", wrong)));
            // Nobody waits for a verdict that comes too late.
            drop(verdict.send(checked));
        });
        match verdicts.recv_timeout(SEARCH) {
            Ok(Ok(())) => {}
            Ok(Err((reads, wrong))) => {
                panic!("no order of the operations on {key} explains its {reads} reads:\n{wrong}")
            }
            Err(error) => panic!("no verdict on {key}: {error}"),
        }
    }
    counts
}
