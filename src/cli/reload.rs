//! `herald reload`: makes an agent read its configuration again.

use anyhow::Context;
use serde_json::Value;

use super::connection::Connection;
use super::{Exit, block_on, flags, print};

/// Makes an agent read its configuration again: services, checks, metadata, DNS, limits, log level.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let options: Options = flags::parse("reload", arguments)?;
    let client = options.connection.client()?;
    block_on(client.put("/v1/agent/reload", &Value::Null))?.context("Error reloading")?;
    print("Configuration reload triggered\n");
    Ok(())
}
