//! What a session sends: pings, and the frames that are due, in turn.

use std::task::Waker;

use super::{Control, Output, SHRINK_MIN, State, VecDeque};

/// Octets gathered before they are written.
const OUTPUT_OCTETS: usize = 65_536;

impl State {
    /// Asks the peer whether it lives, unless the last answer is still due.
    pub(in crate::rpc::yamux) fn ask(&mut self) {
        if self.asked.is_none() && !self.ended {
            self.asked = Some(self.token);
            self.control.push_back(Control::Ask(self.token));
            self.token = self.token.wrapping_add(1);
            self.wakes.wake(&mut self.driver);
        }
    }

    /// Octets have come: the peer lives, whatever it has been asked.
    pub(in crate::rpc::yamux) fn hear(&mut self) {
        self.asked = None;
    }

    /// Whether the peer owes the answer to a ping.
    pub(in crate::rpc::yamux) fn owes_answer(&self) -> bool {
        self.asked.is_some()
    }

    /// The driver is awake: it needs no waking.
    pub(in crate::rpc::yamux) fn driver_awake(&mut self) {
        self.driver = None;
    }

    /// Gives frames that are due, about [`OUTPUT_OCTETS`] at most; if there are none, wakes
    /// `driver` once there are.
    pub(in crate::rpc::yamux) fn fill(&mut self, out: &mut Vec<u8>, driver: &Waker) -> Output {
        self.driver = None;
        for control in self.control.drain(..) {
            control.write(out);
        }
        while out.len() < OUTPUT_OCTETS
            && let Some(stream) = self.ready.pop_front()
        {
            self.fill_stream(stream, out);
        }
        if self.ready.is_empty() && self.ready.capacity() > SHRINK_MIN {
            self.ready = VecDeque::new();
        }
        if self.control.capacity() > SHRINK_MIN {
            self.control = VecDeque::new();
        }
        if !out.is_empty() {
            return Output::Some;
        }
        if !self.openers && self.held == 0 {
            return Output::Done;
        }
        self.driver = Some(driver.clone());
        Output::Nothing
    }

    fn fill_stream(&mut self, stream: u32, out: &mut Vec<u8>) {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return;
        };
        entry.queued = false;
        if entry.fill(stream, out, &mut self.wakes) {
            self.remove(stream);
        } else if entry.has_output() {
            entry.queued = true;
            self.ready.push_back(stream);
        }
    }
}
