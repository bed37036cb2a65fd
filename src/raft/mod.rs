//! Puts commands in one order and applies them.
//!
//! Today one server orders its own commands in memory; replication will stand behind the same
//! [`Proposer`], so that nothing above changes.

mod proposer;

pub use proposer::{Config, ProposeError, Proposer, start};
