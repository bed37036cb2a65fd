//! The replicated state: nodes with their coordinates, service instances and checks, and the read
//! side of DNS.
//!
//! One [`Writer`] applies [`Command`]s in log order; any number of [`Reader`]s see immutable
//! [`State`]s. Synchronous and pure: no clock, no random source, no I/O.
//!
//! **Invariant**: the `Writer` is not `Clone` and moves into the part that orders the log, so
//! nothing else can write.
//! **Invariant**: no map guard leaves this module; lookups return `Arc`s of immutable views.
//! **Invariant**: an applied batch is published in this order: slots and indexes, the `State`, the
//! applied index, wake-ups; outcomes go to the callers last. Whoever saw an acknowledgement or an
//! index sees at least that state in DNS and HTTP.

pub mod command;
pub mod figures;
pub mod fragment;
pub mod index;
pub mod snapshot;
pub mod state;
pub mod stored;
pub mod watch;

mod apply;
mod edit;
mod install;
mod keyed;
mod pace;
mod parallel;
mod publish;
mod rdata;
mod reader;
mod sequence;
mod subset;
mod tally;
mod view;

#[cfg(test)]
mod tests;

pub use apply::{Corrupt, Recovery, Writer, open_client, open_server};
pub use command::{Command, Deregistration, Location, Operation, Outcome, Refusal, Registration};
pub use reader::Reader;
pub use state::{CheckEntry, Instance, LocationEntry, NodeEntry, ServiceEntry, State};
pub use watch::{WatchKey, Watcher};
