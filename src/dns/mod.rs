//! DNS on port 8600: the engine that moves datagrams, and the answers.
//!
//! The hot path of a UDP query, all on one worker thread, without lock, allocation or await:
//! `socket` binds, `server` receives a batch and hands each query to a [`Handler`], which is
//! [`Responder`]: `question` decodes, `answer` picks from the catalog's views, `encode` writes into
//! the same buffer, `server` sends the batch.

pub mod answer;
pub mod behind;
pub mod config;
pub mod explain;
pub mod freshness;
pub mod handler;
pub mod options;
pub mod settings;
pub mod static_zones;

mod batch;
#[cfg(target_os = "linux")]
mod batched;
mod cache;
mod chain;
mod compress;
mod counters;
mod desk;
mod edns;
mod encode;
mod engine;
mod name;
mod node;
mod plain;
mod question;
mod queue;
mod random;
mod reverse;
mod select;
mod server;
mod service;
mod slow;
mod socket;
mod srv;
mod subject;
mod tags;
mod tcp;
mod zone;

pub use answer::{Responder, Sources};
pub use behind::{Behind, Known, Lack};
pub use config::Config;
pub use counters::Totals;
pub use engine::{Handle, StartError, start};
pub use explain::{Explainer, Explanation};
pub use freshness::Freshness;
pub use handler::{Asked, Handler, Received, Reply, Transport};
pub use name::DomainError;
pub use options::{Options, SettingsError, Soa};
pub use settings::Settings;
pub use slow::Help;
pub use socket::BindError;
pub use static_zones::{StaticZones, ZonesError};

#[cfg(test)]
mod tests;
