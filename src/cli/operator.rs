//! `herald operator raft`: the servers of the cluster.

use anyhow::{Context, anyhow};
use clap::CommandFactory as _;
use serde::Deserialize;
use serde_json::Value;

use super::connection::{Connection, with_query};
use super::table::table;
use super::{Command, Definition, Exit, block_on, dispatch_below, flags, print};
use crate::client::http::encode;

pub(super) const COMMANDS: [Command; 1] = [Command {
    name: "raft",
    about: "Shows and removes the servers of the cluster",
    definition: Definition::Below(&RAFT),
    run: raft,
}];

const RAFT: [Command; 2] = [
    Command {
        name: "list-peers",
        about: "Lists the servers",
        definition: Definition::Flags(ListOptions::command),
        run: list_peers,
    },
    Command {
        name: "remove-peer",
        about: "Removes a server that does not come back",
        definition: Definition::Flags(RemoveOptions::command),
        run: remove_peer,
    },
];

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let about = "What only operators need.";
    dispatch_below("operator", about, &COMMANDS, arguments)
}

fn raft(arguments: &[String]) -> Result<(), Exit> {
    let about = "Shows and removes the servers of the cluster.";
    dispatch_below("operator raft", about, &RAFT, arguments)
}

/// Lists the servers of the cluster: who leads, who votes.
#[derive(Debug, clap::Parser)]
struct ListOptions {
    #[command(flatten)]
    connection: Connection,
}

/// Removes a server from the cluster; ask the server that leads.
#[derive(Debug, clap::Parser)]
struct RemoveOptions {
    #[command(flatten)]
    connection: Connection,
    /// Address and port of the server.
    #[arg(long, value_name = "ip:port")]
    address: Option<String>,
    /// Id of the server.
    #[arg(long, value_name = "id")]
    id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    servers: Vec<Server>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Server {
    #[serde(rename = "ID")]
    id: String,
    node: String,
    address: String,
    leader: bool,
    protocol_version: String,
    voter: bool,
}

fn list_peers(arguments: &[String]) -> Result<(), Exit> {
    let options: ListOptions = flags::parse("operator raft list-peers", arguments)?;
    let client = options.connection.client()?;
    let configuration: Configuration = block_on(client.get("/v1/operator/raft/configuration"))?
        .context("Error getting the servers")?;
    print(&table(&rows(configuration)));
    Ok(())
}

fn rows(configuration: Configuration) -> Vec<Vec<String>> {
    let head = ["Node", "ID", "Address", "State", "Voter", "RaftProtocol"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(configuration.servers.into_iter().map(|server| {
        let state = if server.leader { "leader" } else { "follower" };
        vec![
            server.node,
            server.id,
            server.address,
            state.to_owned(),
            server.voter.to_string(),
            server.protocol_version,
        ]
    }));
    rows
}

fn remove_peer(arguments: &[String]) -> Result<(), Exit> {
    let options: RemoveOptions = flags::parse("operator raft remove-peer", arguments)?;
    let (parameter, done) = match (&options.id, &options.address) {
        (Some(id), None) => (format!("id={}", encode(id)), format!("id {id:?}")),
        (None, Some(address)) => (
            format!("address={}", encode(address)),
            format!("address {address:?}"),
        ),
        _ => return Err(anyhow!("remove-peer needs -id or -address, and not both").into()),
    };
    let client = options.connection.client()?;
    let path = with_query("/v1/operator/raft/peer", &[parameter]);
    block_on(client.delete(&path, &Value::Null))?.context("Error removing the server")?;
    print(&format!("Removed the server with {done}\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_listed_as_scripts_expect_them() {
        let text = r#"{"Servers": [{"ID": "u1", "Node": "n1", "Address": "127.0.0.1:8300",
            "Leader": true, "ProtocolVersion": "3", "Voter": true}], "Index": 0}"#;
        let configuration = serde_json::from_str(text).unwrap();
        assert_eq!(
            table(&rows(configuration)),
            "Node  ID  Address         State   Voter  RaftProtocol\n\
             n1    u1  127.0.0.1:8300  leader  true   3\n"
        );
    }
}
