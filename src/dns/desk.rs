//! Handlers with their buffers, for what is answered off the worker threads.

use std::sync::Mutex;

use super::batch::OCTETS_MAX;
use super::behind::{Known, Lack};
use super::handler::{Asked, Handler, Received, Reply};
use super::server::Handlers;

/// A pool of desks. Answering does not await, so there are never more desks than the runtime has
/// threads, however many connections are open.
pub(crate) struct Desks<H> {
    make: Handlers<H>,
    free: Mutex<Vec<Desk<H>>>,
}

/// One handler and the buffer that it answers in.
struct Desk<H> {
    handler: H,
    buffer: Vec<u8>,
}

impl<H: Handler> Desks<H> {
    /// Desks with handlers that `make` makes when they are needed.
    pub(crate) fn new(make: Handlers<H>) -> Self {
        Self {
            make,
            free: Mutex::default(),
        }
    }

    /// Puts `query` into a buffer for `work`, which gets the handler and the whole buffer.
    pub(crate) fn with<R>(&self, query: &[u8], work: impl FnOnce(&mut H, &mut [u8]) -> R) -> R {
        let mut desk = self.take();
        let places = desk.buffer.iter_mut().zip(query);
        places.for_each(|(place, octet)| *place = *octet);
        let result = work(&mut desk.handler, &mut desk.buffer);
        self.give(desk);
        result
    }

    fn take(&self) -> Desk<H> {
        let free = self.free.lock().expect("no holder of this lock panics");
        let desk = { free }.pop();
        desk.unwrap_or_else(|| Desk {
            handler: (self.make)(),
            buffer: vec![0; OCTETS_MAX],
        })
    }

    fn give(&self, desk: Desk<H>) {
        let mut free = self.free.lock().expect("no holder of this lock panics");
        free.push(desk);
    }
}

/// Answers from this agent's memory.
pub(crate) trait Memory: Send + Sync {
    /// The answer, if there is one, and what was asked.
    ///
    /// # Errors
    /// What it lacks for an answer, besides all that is known.
    fn answer(
        &self,
        query: &[u8],
        received: &Received,
        known: &Known,
    ) -> Result<Option<(Vec<u8>, Asked)>, Lack>;
}

impl<H: Handler> Memory for Desks<H> {
    fn answer(
        &self,
        query: &[u8],
        received: &Received,
        known: &Known,
    ) -> Result<Option<(Vec<u8>, Asked)>, Lack> {
        self.with(query, |handler, buffer| {
            match handler.handle_knowing(received, buffer, known) {
                Reply::Send(octets) => {
                    let answer = buffer.get(..octets);
                    Ok(answer.map(|answer| (answer.to_vec(), handler.asked())))
                }
                Reply::Drop => Ok(None),
                Reply::Slow => handler.lacks().map_or(Ok(None), Err),
            }
        })
    }
}
