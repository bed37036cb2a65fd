//! herald in one pool with the agents that it must live with: Debian's `serf`, and Consul 1.8.7.
//!
//! Each test has addresses of its own, `127.0.GROUP.N`, so that all agents can have their usual
//! ports. A test whose peer is not installed says so on standard error and counts as skipped:
//! nothing was checked.

mod agents;
mod client;
mod cluster;
mod consul;
mod pool;
mod process;
mod rpc;
mod serf;
mod swap;
