//! Moves one datagram at a time, for systems without batched calls.
//!
//! Such a socket has no receive time stamps: a query counts as received when it is read, so the
//! queueing deadline never strikes. On a wildcard address replies leave from the address that the
//! route gives.

use std::io;
use std::sync::Arc;

use super::batch::{Batch, Link, Wait};
use super::socket::Datagrams;
use crate::clock;

/// One socket.
#[derive(Debug)]
pub(crate) struct Plain {
    socket: Arc<Datagrams>,
    blocking: bool,
}

impl Plain {
    /// Takes `socket` in blocking mode.
    pub(crate) fn new(socket: Arc<Datagrams>) -> Self {
        Self {
            socket,
            blocking: true,
        }
    }

    fn set_blocking(&mut self, blocking: bool) -> io::Result<()> {
        if self.blocking != blocking {
            self.socket.socket().set_nonblocking(!blocking)?;
            self.blocking = blocking;
        }
        Ok(())
    }
}

impl Link for Plain {
    fn receive(&mut self, batch: &mut Batch, wait: Wait) -> io::Result<()> {
        batch.clear();
        self.set_blocking(wait == Wait::First)?;
        let (slots, mut buffers) = batch.parts_mut();
        let [slot, ..] = slots;
        let buffer = buffers.next().unwrap_or_default();
        (slot.length, slot.source) = self.socket.socket().recv_from(buffer)?;
        slot.reply = 0;
        slot.local = None;
        slot.received = clock::since_epoch();
        drop(buffers);
        batch.set_filled(1);
        Ok(())
    }

    fn send(&mut self, batch: &mut Batch) -> u64 {
        let mut refused = 0;
        for (slot, octets) in batch.each_mut() {
            let reply = octets.get(..slot.reply).unwrap_or_default();
            if !reply.is_empty() && self.socket.socket().send_to(reply, slot.source).is_err() {
                slot.reply = 0;
                refused += 1;
            }
        }
        refused
    }
}
