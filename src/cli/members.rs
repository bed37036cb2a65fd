//! `herald members`: the members of the cluster.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::connection::Connection;
use super::table::table;
use super::{Exit, block_on, flags, print};
use crate::client::http::encode;

/// Lists the members of the cluster as an agent sees them.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {
    #[command(flatten)]
    connection: Connection,
    /// List the servers of all datacenters.
    #[arg(long, num_args = 0..=1, default_value_t = false)]
    wan: bool,
    /// Show all tags.
    #[arg(long, num_args = 0..=1, default_value_t = false)]
    detailed: bool,
    /// List only members whose status matches this regular expression.
    #[arg(long, value_name = "expression", default_value = ".*")]
    status: String,
    /// List only members of this network segment.
    #[arg(long, value_name = "name", default_value = "_all")]
    segment: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Member {
    name: String,
    addr: String,
    port: u16,
    tags: BTreeMap<String, String>,
    status: u8,
    protocol_cur: u8,
}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let options: Options = flags::parse("members", arguments)?;
    let wanted = regex::Regex::new(&options.status).context("Failed to compile status regexp")?;
    let client = options.connection.client()?;
    let mut path = format!("/v1/agent/members?segment={}", encode(&options.segment));
    if options.wan {
        path.push_str("&wan=1");
    }
    // An agent that is in no WAN pool has no list.
    let members: Option<Vec<Member>> =
        block_on(client.get(&path))?.context("Error retrieving members")?;
    let mut members = members.unwrap_or_default();
    members.retain(|member| wanted.is_match(member.status()));
    for member in &mut members {
        member.name_segment();
    }
    members.sort_by(|left, right| left.order().cmp(&right.order()));
    if members.is_empty() {
        return Err(Exit::Code(2));
    }
    let rows = if options.detailed {
        rows("Node Address Status Tags", &members, Member::detailed)
    } else {
        let head = "Node Address Status Type Build Protocol DC Segment";
        rows(head, &members, Member::plain)
    };
    print(&table(&rows));
    Ok(())
}

fn rows(head: &str, members: &[Member], row: fn(&Member) -> Vec<String>) -> Vec<Vec<String>> {
    let head = head.split(' ').map(str::to_owned).collect();
    std::iter::once(head)
        .chain(members.iter().map(row))
        .collect()
}

impl Member {
    fn status(&self) -> &'static str {
        match self.status {
            1 => "alive",
            2 => "leaving",
            3 => "left",
            4 => "failed",
            _ => "none",
        }
    }

    fn address(&self) -> String {
        if self.addr.contains(':') {
            format!("[{}]:{}", self.addr, self.port)
        } else {
            format!("{}:{}", self.addr, self.port)
        }
    }

    fn tag(&self, name: &str) -> &str {
        self.tags.get(name).map(String::as_str).unwrap_or_default()
    }

    /// What the member runs: its own name and version, else the release it follows.
    fn build(&self) -> String {
        match self.tag("impl") {
            "" => {
                let build = self.tag("build");
                build.split(':').next().unwrap_or_default().to_owned()
            }
            implementation => implementation.to_owned(),
        }
    }

    /// Calls the segment what people call it: servers are in all, others in one, by default in that
    /// without a name.
    fn name_segment(&mut self) {
        let is_server = self.tag("role") == "consul";
        let name = match (is_server, self.tag("segment")) {
            (true, _) => "<all>",
            (false, "") => "<default>",
            (false, _) => return,
        };
        self.tags.insert("segment".to_owned(), name.to_owned());
    }

    /// Servers come first, then the segments, each in the order of names.
    fn order(&self) -> (&str, &str) {
        (self.tag("segment"), &self.name)
    }

    fn plain(&self) -> Vec<String> {
        let kind = match self.tag("role") {
            "consul" => "server",
            "node" => "client",
            _ => "unknown",
        };
        let mut cells = vec![
            self.name.clone(),
            self.address(),
            self.status().to_owned(),
            kind.to_owned(),
        ];
        // Tags of other programs mean what those want.
        if kind != "unknown" {
            cells.extend([
                self.build(),
                self.protocol_cur.to_string(),
                self.tag("dc").to_owned(),
                self.tag("segment").to_owned(),
            ]);
        }
        cells
    }

    fn detailed(&self) -> Vec<String> {
        let tags = self.tags.iter();
        let tags: Vec<String> = tags.map(|(key, value)| format!("{key}={value}")).collect();
        vec![
            self.name.clone(),
            self.address(),
            self.status().to_owned(),
            tags.join(","),
        ]
    }
}
