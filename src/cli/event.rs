//! `herald event`: tells the agents of a datacenter something.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::connection::{Connection, with_query};
use super::text::escape;
use super::{Exit, block_on, flags, print};
use crate::client::http::encode;

/// Sends an event with a name and perhaps a payload to all agents of the datacenter, or to those
/// that filters choose. `/v1/event/list` shows the events that an agent has been sent.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {
    #[command(flatten)]
    connection: Connection,
    /// Name of the event.
    #[arg(long, value_name = "name", default_value = "")]
    name: String,
    /// Only for nodes whose name matches this regular expression.
    #[arg(long, value_name = "expression", default_value = "")]
    node: String,
    /// Only for nodes with a service whose name matches this regular expression.
    #[arg(long, value_name = "expression", default_value = "")]
    service: String,
    /// Only for nodes where such a service has a tag that matches this regular expression. Only
    /// with -service.
    #[arg(long, value_name = "expression", default_value = "")]
    tag: String,
    /// What the event carries.
    payload: Vec<String>,
}

#[derive(Deserialize)]
struct Fired {
    #[serde(rename = "ID")]
    id: String,
}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let options: Options = flags::parse("event", arguments)?;
    options.check()?;
    let client = options.connection.client()?;
    let payload = options.payload.first().cloned().unwrap_or_default();
    let fired: Fired =
        block_on(client.put_octets(&options.path(), payload))?.context("Error firing event")?;
    print(&format!("Event ID: {}\n", escape(&fired.id)));
    Ok(())
}

impl Options {
    fn check(&self) -> Result<()> {
        if self.name.is_empty() {
            bail!("Event name must be specified");
        }
        if self.service.is_empty() && !self.tag.is_empty() {
            bail!("Cannot provide tag filter without service filter.");
        }
        if self.payload.len() > 1 {
            bail!("Too many command line arguments.");
        }
        Ok(())
    }

    fn path(&self) -> String {
        let filters = [
            ("node", &self.node),
            ("service", &self.service),
            ("tag", &self.tag),
        ];
        let given = filters.iter().filter(|(_, filter)| !filter.is_empty());
        let parameters: Vec<String> = given
            .map(|(name, filter)| format!("{name}={}", encode(filter)))
            .collect();
        with_query(
            &format!("/v1/event/fire/{}", encode(&self.name)),
            &parameters,
        )
    }
}
