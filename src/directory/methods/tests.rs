//! All methods on recorded calls, and on octets that are none.

mod random;
mod recordings;
mod replay;
mod tree;
mod waits;
