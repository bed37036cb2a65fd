//! `herald maint`: takes a node or a service out of service and back.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use super::connection::Connection;
use super::text::escape;
use super::{Exit, block_on, flags, print};
use crate::client::http::{HttpClient, encode};

/// Check that stands for maintenance of the whole node.
const NODE_CHECK: &str = "_node_maintenance";
/// Start of the id of the check that stands for maintenance of one service.
const SERVICE_CHECK: &str = "_service_maintenance:";

/// Puts an agent's node, or one of its services, into maintenance, where DNS and health queries
/// leave it out, or ends that. Without -enable and -disable, shows what is in maintenance.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {
    #[command(flatten)]
    connection: Connection,
    /// End maintenance.
    #[arg(long, num_args = 0..=1, default_value_t = false)]
    disable: bool,
    /// Begin maintenance.
    #[arg(long, num_args = 0..=1, default_value_t = false)]
    enable: bool,
    /// Why, for people to read; only with -enable.
    #[arg(long, value_name = "text")]
    reason: Option<String>,
    /// Id of the service; default is the whole node.
    #[arg(long, value_name = "id")]
    service: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(rename = "CheckID")]
    id: String,
    node: String,
    notes: String,
    #[serde(rename = "ServiceID")]
    service_id: String,
}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let options: Options = flags::parse("maint", arguments)?;
    options.check()?;
    let client = options.connection.client()?;
    if options.enable || options.disable {
        options.switch(&client)?;
    } else {
        show(&client)?;
    }
    Ok(())
}

impl Options {
    fn check(&self) -> Result<()> {
        if self.enable && self.disable {
            bail!("Only one of -enable or -disable may be provided");
        }
        if self.reason.is_some() && !self.enable {
            bail!("-reason may only be provided with -enable");
        }
        if self.service.is_some() && !self.enable && !self.disable {
            bail!("-service may only be provided with -enable or -disable");
        }
        Ok(())
    }

    fn switch(&self, client: &HttpClient) -> Result<()> {
        let path = match &self.service {
            Some(id) => format!("/v1/agent/service/maintenance/{}", encode(id)),
            None => "/v1/agent/maintenance".to_owned(),
        };
        let reason = self.reason.iter();
        let reason = reason.map(|reason| format!("&reason={}", encode(reason)));
        let path = format!("{path}?enable={}", self.enable) + &reason.collect::<String>();
        let (verb, state) = if self.enable {
            ("enabling", "enabled")
        } else {
            ("disabling", "disabled")
        };
        let whose = if self.service.is_some() {
            "service"
        } else {
            "node"
        };
        block_on(client.put(&path, &Value::Null))?
            .with_context(|| format!("Error {verb} {whose} maintenance"))?;
        print(&match &self.service {
            Some(id) => format!("Service maintenance is now {state} for {id:?}\n"),
            None => format!("Node maintenance is now {state}\n"),
        });
        Ok(())
    }
}

fn show(client: &HttpClient) -> Result<()> {
    let checks: BTreeMap<String, Check> =
        block_on(client.get("/v1/agent/checks"))?.context("Error getting checks")?;
    let mut text = String::new();
    for check in checks.values() {
        let (node, notes) = (escape(&check.node), escape(&check.notes));
        let service_id = escape(&check.service_id);
        if check.id == NODE_CHECK {
            write!(text, "Node:\n  Name:   {node}\n  Reason: {notes}\n\n")
        } else if check.id.starts_with(SERVICE_CHECK) {
            write!(
                text,
                "Service:\n  ID:     {service_id}\n  Reason: {notes}\n\n"
            )
        } else {
            Ok(())
        }
        .expect("writing to a string does not fail");
    }
    print(&text);
    Ok(())
}
