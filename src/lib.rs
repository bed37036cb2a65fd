//! herald: DNS-first service discovery.
//!
//! ARCHITECTURE.md describes the parts and the two paths (a DNS query, a registration) through
//! them.

pub mod agent;
pub mod catalog;
pub mod cli;
pub mod client;
pub mod clients;
pub mod clock;
pub mod config;
pub mod control;
pub mod directory;
pub mod dns;
pub mod events;
pub mod filter;
pub mod gossip;
pub mod health;
pub mod http;
pub mod local;
pub mod log;
pub mod metrics;
pub mod msgpack;
pub mod raft;
pub mod reconcile;
pub mod rpc;
pub mod task;
pub mod types;
