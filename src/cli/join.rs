//! `herald join`: makes an agent join the cluster of others.

use anyhow::anyhow;
use serde_json::Value;

use super::connection::Connection;
use super::text::escape_lines;
use super::{Exit, block_on, flags, print};
use crate::client::http::encode;

/// Makes an agent join the cluster of the agents at the addresses given.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {
    #[command(flatten)]
    connection: Connection,
    /// Join the servers of other datacenters; for servers only.
    #[arg(long, num_args = 0..=1, default_value_t = false)]
    wan: bool,
    /// Agents to join: names or addresses, each with a port or without.
    addresses: Vec<String>,
}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let options: Options = flags::parse("join", arguments)?;
    let client = options.connection.client()?;
    if options.addresses.is_empty() {
        return Err(anyhow!("At least one address to join must be specified.").into());
    }
    let mut reached = 0_usize;
    for address in &options.addresses {
        let pool = if options.wan { "?wan=1" } else { "" };
        let path = format!("/v1/agent/join/{}{pool}", encode(address));
        match block_on(client.put(&path, &Value::Null))? {
            Ok(_) => reached += 1,
            // The others may still be there.
            Err(error) => {
                let text = format!("Error joining address '{address}': {error}");
                eprintln!("{}", escape_lines(&text));
            }
        }
    }
    if reached == 0 {
        return Err(anyhow!("Failed to join any nodes.").into());
    }
    print(&format!(
        "Successfully joined cluster by contacting {reached} nodes.\n"
    ));
    Ok(())
}
