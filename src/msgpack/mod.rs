//! The two dialects of `MessagePack` that Go agents write, for gossip and for the agent RPC.
//!
//! The old dialect knows one family for text and octets (`a0`–`bf`, `da`, `db`); the new one writes
//! text of 32 to 255 octets as `d9` and octets as `c4`–`c6`. Both are read alike. [`Reader`] borrows
//! and never allocates: a length or count that the input cannot hold is an error before anything is
//! made for it. [`Scanner`] finds the end of values that arrive piece by piece. [`Writer`] appends to a buffer of the caller.
//!
//! Source: the `MessagePack` specification, and what the agents were seen to write.

mod reader;
mod scanner;
mod writer;

pub use reader::{ReadError, Reader};
pub use scanner::Scanner;
pub use writer::{Dialect, Writer};

#[cfg(test)]
mod tests;
