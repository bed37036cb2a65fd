//! All tests through real sockets and of the source as a whole, linked once.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose help fails should stop right there"
)]

mod agent;
mod agent_rpc;
mod architecture;
mod cli;
mod client_agents;
mod client_servers;
mod cluster;
mod coordinates;
mod dig;
mod dns;
mod dns_client;
mod events;
mod explain;
mod files;
mod filters;
mod gossip;
mod gossip_vectors;
mod health;
mod http;
mod http_limits;
mod interop;
mod local_disk;
mod members;
mod python;
mod replays;
mod simulation;
mod support;
mod telemetry;
