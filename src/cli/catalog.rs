//! `herald catalog`: datacenters, nodes and services.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use clap::CommandFactory as _;
use serde::{Deserialize, Deserializer};

use super::connection::{Connection, ServerRead, with_query};
use super::table::table;
use super::text::escape;
use super::{Command, Definition, Exit, block_on, dispatch_below, flags, print};
use crate::client::http::encode;

pub(super) const COMMANDS: [Command; 3] = [
    Command {
        name: "datacenters",
        about: "Lists all known datacenters",
        definition: Definition::Flags(DatacentersOptions::command),
        run: datacenters,
    },
    Command {
        name: "nodes",
        about: "Lists the nodes of a datacenter",
        definition: Definition::Flags(NodesOptions::command),
        run: nodes,
    },
    Command {
        name: "services",
        about: "Lists the services of a datacenter",
        definition: Definition::Flags(ServicesOptions::command),
        run: services,
    },
];

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let about = "Shows what the catalog holds.";
    dispatch_below("catalog", about, &COMMANDS, arguments)
}

/// Lists all known datacenters.
#[derive(Debug, clap::Parser)]
struct DatacentersOptions {
    #[command(flatten)]
    connection: Connection,
}

fn datacenters(arguments: &[String]) -> Result<(), Exit> {
    let options: DatacentersOptions = flags::parse("catalog datacenters", arguments)?;
    let client = options.connection.client()?;
    let names: Vec<String> =
        block_on(client.get("/v1/catalog/datacenters"))?.context("Error listing datacenters")?;
    print_lines(names);
    Ok(())
}

/// Lists the nodes of a datacenter, all or those that meet every condition given.
#[derive(Debug, clap::Parser)]
struct NodesOptions {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    read: ServerRead,
    /// Show whole ids, tagged addresses and metadata.
    #[arg(long, num_args = 0..=1, default_value_t = false)]
    detailed: bool,
    /// Only nodes for which this filter expression holds.
    #[arg(long, value_name = "expression")]
    filter: Option<String>,
    /// Nearest to this node first; `_agent` is the agent's own.
    #[arg(long, value_name = "node")]
    near: Option<String>,
    /// Only nodes with this metadata; may be repeated.
    #[arg(long, value_name = "key=value")]
    node_meta: Vec<String>,
    /// Only nodes that have an instance of this service.
    #[arg(long, value_name = "name")]
    service: Option<String>,
}

/// A node, as both `catalog/nodes` and `catalog/service` show it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Node")]
    name: String,
    address: String,
    datacenter: String,
    #[serde(default, deserialize_with = "nullable")]
    tagged_addresses: BTreeMap<String, String>,
    #[serde(default, alias = "NodeMeta", deserialize_with = "nullable")]
    meta: BTreeMap<String, String>,
}

fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn nodes(arguments: &[String]) -> Result<(), Exit> {
    let options: NodesOptions = flags::parse("catalog nodes", arguments)?;
    let client = options.connection.client()?;
    let mut parameters = options.read.parameters();
    parameters.extend(meta_parameters(&options.node_meta)?);
    parameters.extend(
        options
            .near
            .iter()
            .map(|near| format!("near={}", encode(near))),
    );
    parameters.extend(filter_parameter(options.filter.as_ref()));
    let path = match &options.service {
        Some(service) => format!("/v1/catalog/service/{}", encode(service)),
        None => "/v1/catalog/nodes".to_owned(),
    };
    let mut nodes: Vec<Node> =
        block_on(client.get(&with_query(&path, &parameters)))?.context("Error listing nodes")?;
    // A node appears once for each of its instances.
    let mut seen = BTreeSet::new();
    nodes.retain(|node| seen.insert(node.name.clone()));
    if nodes.is_empty() {
        eprintln!("No nodes match the given query - try expanding your search.");
        return Ok(());
    }
    let mut head = vec!["Node", "ID", "Address", "DC"];
    if options.detailed {
        head.extend(["TaggedAddresses", "Meta"]);
    }
    let mut rows = vec![head.into_iter().map(str::to_owned).collect::<Vec<String>>()];
    rows.extend(nodes.iter().map(|node| node.row(options.detailed)));
    print(&table(&rows));
    Ok(())
}

impl Node {
    fn row(&self, detailed: bool) -> Vec<String> {
        let octets = if detailed { 36 } else { 8 };
        let mut row = vec![
            self.name.clone(),
            self.id.chars().take(octets).collect(),
            self.address.clone(),
            self.datacenter.clone(),
        ];
        if detailed {
            row.push(pairs(&self.tagged_addresses));
            row.push(pairs(&self.meta));
        }
        row
    }
}

fn pairs(map: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = map
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(", ")
}

/// `key=value` conditions as query parameters.
fn meta_parameters(conditions: &[String]) -> anyhow::Result<Vec<String>> {
    let parameter = |condition: &String| {
        let (key, value) = condition
            .split_once('=')
            .with_context(|| format!("-node-meta {condition:?} is not of the form key=value"))?;
        Ok(format!("node-meta={}", encode(&format!("{key}:{value}"))))
    };
    conditions.iter().map(parameter).collect()
}

fn filter_parameter(expression: Option<&String>) -> Option<String> {
    expression.map(|text| format!("filter={}", encode(text)))
}

/// Lists the services of a datacenter, or those of one node.
#[derive(Debug, clap::Parser)]
struct ServicesOptions {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    read: ServerRead,
    /// Only instances for which this filter expression holds; agents take it with -node only.
    #[arg(long, value_name = "expression")]
    filter: Option<String>,
    /// Only services on this node.
    #[arg(long, value_name = "node")]
    node: Option<String>,
    /// Only services on nodes with this metadata; may be repeated.
    #[arg(long, value_name = "key=value")]
    node_meta: Vec<String>,
    /// Show the tags of each service.
    #[arg(long, num_args = 0..=1, default_value_t = false)]
    tags: bool,
}

#[derive(Debug, Deserialize)]
struct NodeServices {
    #[serde(rename = "Services")]
    services: BTreeMap<String, Instance>,
}

#[derive(Debug, Deserialize)]
struct Instance {
    #[serde(rename = "Service")]
    service: String,
    #[serde(rename = "Tags", default, deserialize_with = "nullable")]
    tags: Vec<String>,
}

fn services(arguments: &[String]) -> Result<(), Exit> {
    let options: ServicesOptions = flags::parse("catalog services", arguments)?;
    let client = options.connection.client()?;
    let mut parameters = options.read.parameters();
    parameters.extend(meta_parameters(&options.node_meta)?);
    parameters.extend(filter_parameter(options.filter.as_ref()));
    let services: BTreeMap<String, BTreeSet<String>> = match &options.node {
        Some(node) => {
            let path = with_query(&format!("/v1/catalog/node/{}", encode(node)), &parameters);
            let found: Option<NodeServices> =
                block_on(client.get(&path))?.context("Error listing services")?;
            by_name(found)
        }
        None => block_on(client.get(&with_query("/v1/catalog/services", &parameters)))?
            .context("Error listing services")?,
    };
    if services.is_empty() {
        eprintln!("No services match the given query - try expanding your search.");
        return Ok(());
    }
    if !options.tags {
        print_lines(services.into_keys());
        return Ok(());
    }
    let rows: Vec<[String; 2]> = services
        .into_iter()
        .map(|(name, tags)| [name, tags.into_iter().collect::<Vec<_>>().join(",")])
        .collect();
    print(&table(&rows));
    Ok(())
}

fn by_name(found: Option<NodeServices>) -> BTreeMap<String, BTreeSet<String>> {
    let mut services = BTreeMap::<String, BTreeSet<String>>::new();
    for instance in found
        .into_iter()
        .flat_map(|node| node.services.into_values())
    {
        let tags = services.entry(instance.service).or_default();
        tags.extend(instance.tags);
    }
    services
}

fn print_lines(lines: impl IntoIterator<Item = String>) {
    let text = lines
        .into_iter()
        .fold(String::new(), |text, line| text + &escape(&line) + "\n");
    print(&text);
}
