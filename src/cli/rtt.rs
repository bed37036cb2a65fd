//! `herald rtt`: how long a packet and its answer take between two nodes.

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

use super::connection::Connection;
use super::text::escape;
use super::{Exit, block_on, flags, print};
use crate::client::http::HttpClient;
use crate::types::Coordinate;

/// Estimates the round-trip time between two nodes from their network coordinates, without asking
/// either. The second node is the agent's own unless it is given.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {
    #[command(flatten)]
    connection: Connection,
    /// Take the coordinates of servers between datacenters; nodes are named as in n1.dc1 then.
    #[arg(long, num_args = 0..=1, default_value_t = false)]
    wan: bool,
    /// Names of one or two nodes, as `members` shows them.
    nodes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: String,
    coord: Numbers,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Numbers {
    vec: Vec<f64>,
    error: f64,
    adjustment: f64,
    height: f64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Area {
    datacenter: String,
    #[serde(rename = "AreaID")]
    scope: String,
    coordinates: Option<Vec<Entry>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Itself {
    config: Config,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    node_name: String,
    datacenter: String,
}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let options: Options = flags::parse("rtt", arguments)?;
    let (first, second) = match options.nodes.as_slice() {
        [first] => (first, None),
        [first, second] => (first, Some(second)),
        _ => return Err(anyhow!("One or two node names must be specified").into()),
    };
    if options.wan && !options.nodes.iter().all(|node| node.contains('.')) {
        let text = "Node names must be specified as <node name>.<datacenter> with -wan";
        return Err(anyhow!(text).into());
    }
    let client = options.connection.client()?;
    let second = match second {
        Some(second) => second.clone(),
        None => own_name(&client, options.wan)?,
    };
    let known = if options.wan {
        between_datacenters(&client)
    } else {
        block_on(client.get::<Vec<Entry>>("/v1/coordinate/nodes"))?.map_err(Into::into)
    };
    let known = known.context("Error getting coordinates")?;
    let time = find(&known, first)?.distance(&find(&known, &second)?);
    print(&format!(
        "Estimated {} <-> {} rtt: {:.3} ms (using {} coordinates)\n",
        escape(first),
        escape(&second),
        time.as_secs_f64() * 1_000.0,
        if options.wan { "WAN" } else { "LAN" }
    ));
    Ok(())
}

fn own_name(client: &HttpClient, wan: bool) -> Result<String> {
    let itself: Itself =
        block_on(client.get("/v1/agent/self"))?.context("Unable to look up agent info")?;
    let Config {
        node_name,
        datacenter,
    } = itself.config;
    Ok(if wan {
        format!("{node_name}.{datacenter}")
    } else {
        node_name
    })
}

/// The coordinates of servers under their names in the WAN pool.
fn between_datacenters(client: &HttpClient) -> Result<Vec<Entry>> {
    let areas: Vec<Area> = block_on(client.get("/v1/coordinate/datacenters"))??;
    let areas = areas.into_iter().filter(|area| area.scope == "wan");
    let entries = areas.flat_map(|area| {
        let entries = area.coordinates.unwrap_or_default().into_iter();
        entries.map(move |entry| Entry {
            node: format!("{}.{}", entry.node, area.datacenter),
            ..entry
        })
    });
    Ok(entries.collect())
}

fn find(known: &[Entry], node: &str) -> Result<Coordinate> {
    let entry = known
        .iter()
        .find(|entry| entry.node.eq_ignore_ascii_case(node));
    let Some(Entry { coord, .. }) = entry else {
        bail!("Could not find a coordinate for node {node:?}");
    };
    Coordinate::new(&coord.vec, coord.error, coord.adjustment, coord.height)
        .with_context(|| format!("the coordinate of node {node:?}"))
}
