//! Sockets of a pool: one UDP socket and one TCP listener on the same port, and what happens on a
//! stream until its one message is whole.
//!
//! Leaves the meaning of messages to the layers above it, and the layers around them to
//! [`super::wire`].

mod bind;
mod dial;
mod stream;

pub(crate) use bind::{Datagrams, Sockets, bind, canonical};
pub(crate) use dial::{DialError, dial, resolve};
pub(crate) use stream::{Content, StreamError, Streams};
