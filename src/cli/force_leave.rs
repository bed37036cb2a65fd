//! `herald force-leave`: declares that a failed member has left.

use anyhow::{Context, anyhow};
use serde_json::Value;

use super::connection::Connection;
use super::{Exit, block_on, flags};
use crate::client::http::encode;

/// Declares that a failed member of the cluster has left, so that nobody waits for it any more. One
/// that is alive comes back by itself.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {
    #[command(flatten)]
    connection: Connection,
    /// Also take it off the list of members.
    #[arg(long, num_args = 0..=1, default_value_t = false)]
    prune: bool,
    /// Name of the member, as `members` shows it.
    node: Vec<String>,
}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let options: Options = flags::parse("force-leave", arguments)?;
    let [node] = options.node.as_slice() else {
        return Err(anyhow!("A single node name must be specified to force leave.").into());
    };
    let client = options.connection.client()?;
    let prune = if options.prune { "?prune=1" } else { "" };
    let path = format!("/v1/agent/force-leave/{}{prune}", encode(node));
    block_on(client.put(&path, &Value::Null))?.context("Error force leaving")?;
    Ok(())
}
