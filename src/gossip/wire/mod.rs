//! Messages of memberlist and the layers around them, as octets.

mod assembler;
mod compression;
mod encryption;
mod fields;
mod kind;
pub mod message;
pub mod packet;
pub mod stream;

pub use assembler::{Assembler, CONTENT_OCTETS_MAX, STREAM_OCTETS_MAX, seal_stream};
pub use fields::{META_OCTETS_MAX, NAME_OCTETS_MAX};
pub use message::{Accusation, Ack, Alive, IndirectPing, Message, Ping, Source, Versions};
pub use packet::{Codec, Dropped, PARTS_MAX, Settings, append_compound};
pub use stream::{NodeState, PushPull, StreamMessage};

/// Why octets are no message; they have no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

#[cfg(test)]
mod tests;
