//! Messages that wait while the socket is emptied, so that answers to pings never wait behind
//! them.
//!
//! Two stacks, as members expect: what says that somebody lives goes first, and the newest before
//! older ones, whose news it often replaces. A full stack drops what comes.

use std::net::SocketAddr;

use crate::gossip::wire::Message;

/// Messages that each stack holds.
const DEPTH_MAX: usize = 1_024;

/// Octets of buffers that are kept for the next message; longer ones are given back.
const KEPT_OCTETS: usize = 2_048;

/// The two stacks.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    alive: Vec<Waiting>,
    others: Vec<Waiting>,
    /// Buffers of messages that were taken.
    spare: Vec<Vec<u8>>,
}

/// One message, encoded.
#[derive(Debug)]
struct Waiting {
    from: SocketAddr,
    octets: Vec<u8>,
}

impl Backlog {
    /// Whether `message` can wait: nobody measures the time until it is answered.
    pub(super) fn takes(message: &Message<'_>) -> bool {
        match message {
            Message::Ping(_)
            | Message::IndirectPing(_)
            | Message::Ack(_)
            | Message::Nack { .. } => false,
            Message::Suspect(_) | Message::Alive(_) | Message::Dead(_) | Message::User(_) => true,
        }
    }

    /// Lets `message` wait. Whether there was room for it.
    pub(super) fn push(&mut self, from: SocketAddr, message: &Message<'_>) -> bool {
        let stack = match message {
            Message::Alive(_) => &mut self.alive,
            _ => &mut self.others,
        };
        if stack.len() >= DEPTH_MAX {
            return false;
        }
        let mut octets = self.spare.pop().unwrap_or_default();
        message.encode(&mut octets);
        stack.push(Waiting { from, octets });
        true
    }

    /// Hands over the next message. Whether there was one.
    pub(super) fn pop(&mut self, handle: impl FnOnce(SocketAddr, Message<'_>)) -> bool {
        let Some(Waiting { from, mut octets }) = self.alive.pop().or_else(|| self.others.pop())
        else {
            return false;
        };
        if let Ok(message) = Message::decode(&octets) {
            handle(from, message);
        }
        if octets.capacity() <= KEPT_OCTETS {
            octets.clear();
            self.spare.push(octets);
        }
        true
    }

    /// Messages that wait.
    pub(super) fn len(&self) -> usize {
        self.alive.len() + self.others.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gossip::wire::{Accusation, Alive, Versions};

    fn from() -> SocketAddr {
        "127.0.0.1:1".parse().unwrap()
    }

    fn alive(incarnation: u32) -> Message<'static> {
        Message::Alive(Alive {
            incarnation,
            node: "n",
            address: from(),
            meta: b"m",
            versions: Versions::OWN,
        })
    }

    fn suspect(incarnation: u32) -> Message<'static> {
        Message::Suspect(Accusation {
            incarnation,
            node: "n",
            from: "m",
        })
    }

    fn popped(backlog: &mut Backlog) -> Vec<(char, u32)> {
        let mut popped = Vec::new();
        while backlog.pop(|_, message| {
            popped.push(match message {
                Message::Alive(alive) => ('a', alive.incarnation),
                Message::Suspect(suspect) => ('s', suspect.incarnation),
                other => panic!("{other:?}"),
            });
        }) {}
        popped
    }

    #[test]
    fn the_living_go_first_and_the_newest_before_older_ones() {
        let mut backlog = Backlog::default();
        for number in 1..=2 {
            assert!(backlog.push(from(), &suspect(number)));
            assert!(backlog.push(from(), &alive(number)));
        }
        let order = [('a', 2), ('a', 1), ('s', 2), ('s', 1)];
        assert_eq!(popped(&mut backlog), order);
        assert_eq!(backlog.len(), 0);
    }

    #[test]
    fn a_full_stack_drops_what_comes_and_the_other_still_takes() {
        let mut backlog = Backlog::default();
        for _ in 0..DEPTH_MAX {
            assert!(backlog.push(from(), &suspect(1)));
        }
        assert!(!backlog.push(from(), &suspect(2)));
        assert!(backlog.push(from(), &alive(3)));
        let taken = popped(&mut backlog);
        assert_eq!(taken.len(), DEPTH_MAX + 1);
        assert!(!taken.contains(&('s', 2)));
    }
}
