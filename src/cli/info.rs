//! `herald info`: figures of an agent.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context;
use serde::Deserialize;

use super::connection::Connection;
use super::text::escape;
use super::{Exit, block_on, flags, print};

/// Shows figures of an agent, in groups.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {
    #[command(flatten)]
    connection: Connection,
}

#[derive(Deserialize)]
struct Own {
    #[serde(rename = "Stats")]
    stats: BTreeMap<String, BTreeMap<String, String>>,
}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let options: Options = flags::parse("info", arguments)?;
    let client = options.connection.client()?;
    let own: Own = block_on(client.get("/v1/agent/self"))?.context("Error querying agent")?;
    let mut text = String::new();
    for (group, figures) in own.stats {
        writeln!(text, "{}:", escape(&group)).expect("writing to a string does not fail");
        for (key, value) in figures {
            let (key, value) = (escape(&key), escape(&value));
            writeln!(text, "\t{key} = {value}").expect("writing to a string does not fail");
        }
    }
    print(&text);
    Ok(())
}
