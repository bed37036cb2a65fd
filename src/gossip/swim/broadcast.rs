//! Broadcasts that wait to ride along in packets: those sent least often first, among them the
//! longest, among those the newest. Each is sent a bounded number of times.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use super::{Name, Room};

/// Place in the queue: times sent, then length, then age.
type Place = (u32, Reverse<usize>, Reverse<u64>);

#[derive(Clone, Debug)]
struct Broadcast {
    key: Option<Name>,
    message: Box<[u8]>,
}

/// A queue of broadcasts.
///
/// **Invariant**: of one key there is at most one, the newest.
#[derive(Clone, Debug, Default)]
pub struct Broadcasts {
    waiting: BTreeMap<Place, Broadcast>,
    by_key: HashMap<Name, Place>,
    pushed: u64,
}

impl Broadcasts {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `message` (with its type octet). One with the same key is replaced, however often it
    /// has been sent; without a key nothing is.
    pub fn push(&mut self, key: Option<Name>, message: Box<[u8]>) {
        if let Some(key) = &key {
            self.remove(key);
        }
        self.pushed += 1;
        let place = (0, Reverse(message.len()), Reverse(self.pushed));
        if let Some(key) = &key {
            self.by_key.insert(key.clone(), place);
        }
        self.waiting.insert(place, Broadcast { key, message });
    }

    /// Takes the broadcast with this key out. Whether there was one.
    pub fn remove(&mut self, key: &str) -> bool {
        let place = self.by_key.remove(key);
        place.is_some_and(|place| self.waiting.remove(&place).is_some())
    }

    /// Offers broadcasts to `room` in order, each with `overhead` further octets. What was taken
    /// counts as sent once more, and is dropped once that was `transmits_max` times; `dropped` is
    /// then told its key.
    pub fn fill(
        &mut self,
        room: &mut Room<'_>,
        overhead: usize,
        transmits_max: u32,
        mut dropped: impl FnMut(Option<&Name>),
    ) {
        // What is sent again goes behind what is left, so that it is not taken twice.
        let mut again = Vec::new();
        let mut from = (0, Reverse(usize::MAX), Reverse(u64::MAX));
        loop {
            let fits = room.fits(overhead);
            if fits == 0 {
                break;
            }
            // Longer ones of the same count need not be looked at.
            from = from.max((from.0, Reverse(fits), Reverse(u64::MAX)));
            let Some((&place, _)) = self.waiting.range(from..).next() else {
                break;
            };
            if place.1.0 > fits {
                from = (place.0, Reverse(fits), Reverse(u64::MAX));
                continue;
            }
            from = place;
            let Some(broadcast) = self.waiting.remove(&place) else {
                break;
            };
            room.offer(&broadcast.message, overhead);
            again.push((place, broadcast));
        }
        for ((sent, length, age), broadcast) in again {
            let sent = sent.saturating_add(1);
            if sent >= transmits_max {
                if let Some(key) = &broadcast.key {
                    self.by_key.remove(key);
                }
                dropped(broadcast.key.as_ref());
                continue;
            }
            let place = (sent, length, age);
            if let Some(place_of_key) =
                (broadcast.key.as_ref()).and_then(|k| self.by_key.get_mut(k))
            {
                *place_of_key = place;
            }
            self.waiting.insert(place, broadcast);
        }
    }

    /// Keeps at most `depth`: those sent most often go first.
    pub fn prune(&mut self, depth: usize) {
        while self.waiting.len() > depth {
            let Some((_, broadcast)) = self.waiting.pop_last() else {
                return;
            };
            if let Some(key) = &broadcast.key {
                self.by_key.remove(key);
            }
        }
    }

    /// Whether one with this key waits.
    pub fn contains(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of one packet of `octets` in the order taken, and the keys that were dropped.
    fn packet(queue: &mut Broadcasts, octets: usize, limit: u32) -> (Vec<String>, Vec<Name>) {
        let (mut taken, mut lengths, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
        let mut room = Room::new(octets, 0, &mut taken, &mut lengths);
        queue.fill(&mut room, 2, limit, |key| dropped.extend(key.cloned()));
        let mut rest = taken.as_slice();
        let mut messages = Vec::new();
        for length in lengths {
            let (message, behind) = rest.split_at(usize::from(length));
            messages.push(String::from_utf8(message.to_vec()).unwrap());
            rest = behind;
        }
        (messages, dropped)
    }

    fn push(queue: &mut Broadcasts, key: &str, message: &str) {
        let key = (!key.is_empty()).then(|| key.into());
        queue.push(key, message.as_bytes().into());
    }

    #[test]
    fn least_sent_then_longest_then_newest_goes_first() {
        let mut queue = Broadcasts::new();
        push(&mut queue, "a", "aa");
        push(&mut queue, "b", "bb");
        push(&mut queue, "c", "ccc");
        assert_eq!(packet(&mut queue, 2 + 5, 9).0, ["ccc"]);
        push(&mut queue, "d", "d");
        assert_eq!(packet(&mut queue, 100, 9).0, ["bb", "aa", "d", "ccc"]);
    }

    #[test]
    fn what_does_not_fit_lets_shorter_ones_pass() {
        let mut queue = Broadcasts::new();
        for message in ["1234567", "123456", "12", "1"] {
            push(&mut queue, message, message);
        }
        assert_eq!(packet(&mut queue, 2 + 4 + 3, 9).0, ["12", "1"]);
        assert_eq!(packet(&mut queue, 2 + 9 + 3, 9).0, ["1234567", "1"]);
        assert_eq!(packet(&mut queue, 2, 9).0, Vec::<String>::new());
    }

    #[test]
    fn each_is_sent_as_often_as_the_limit_says() {
        let mut queue = Broadcasts::new();
        push(&mut queue, "a", "aa");
        for _ in 0..2 {
            assert_eq!(packet(&mut queue, 100, 3), (vec!["aa".to_owned()], vec![]));
        }
        assert_eq!(
            packet(&mut queue, 100, 3),
            (vec!["aa".to_owned()], vec!["a".into()])
        );
        assert_eq!((queue.len(), queue.contains("a")), (0, false));
    }

    #[test]
    fn a_new_one_replaces_that_of_its_key_and_starts_anew() {
        let mut queue = Broadcasts::new();
        push(&mut queue, "a", "old");
        packet(&mut queue, 100, 2);
        push(&mut queue, "a", "new");
        assert_eq!(queue.len(), 1);
        assert_eq!(packet(&mut queue, 100, 2), (vec!["new".to_owned()], vec![]));
        push(&mut queue, "", "x");
        push(&mut queue, "", "x");
        assert_eq!(queue.len(), 3);
    }

    #[test]
    fn pruning_drops_what_was_sent_most() {
        let mut queue = Broadcasts::new();
        push(&mut queue, "a", "aa");
        packet(&mut queue, 100, 9);
        push(&mut queue, "b", "b");
        queue.prune(1);
        assert!(queue.contains("b") && !queue.contains("a"));
        assert_eq!(queue.len(), 1);
    }
}
