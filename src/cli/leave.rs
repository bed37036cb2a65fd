//! `herald leave`: makes an agent leave its cluster and stop.

use anyhow::Context;
use serde_json::Value;

use super::connection::Connection;
use super::{Exit, block_on, flags, print};

/// Makes an agent leave its cluster, so that nobody takes it for failed, and stop.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let options: Options = flags::parse("leave", arguments)?;
    let client = options.connection.client()?;
    block_on(client.put("/v1/agent/leave", &Value::Null))?.context("Error leaving")?;
    print("Graceful leave complete\n");
    Ok(())
}
