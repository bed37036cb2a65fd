//! Why each instance of a service is in the answer or not.
//!
//! Eligibility is asked of the catalog, which makes the views that DNS answers from; the rest
//! follows the fields of those views.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::catalog::index::{Exclusion, Family, InstanceView, Target, eligibility};
use crate::catalog::{CheckEntry, Instance, NodeEntry, State};
use crate::types::{CheckId, NODE_MAINTENANCE, ServiceName, Status};

use super::super::encode::rtype;
use super::super::settings::Settings;
use super::INSTANCES_MAX;
use super::rule::Denoted;

/// Most checks that are named for one instance.
const CHECKS_MAX: usize = 8;
/// Longest text about one instance, in characters.
const CHARACTERS_MAX: usize = 512;

/// What is asked of a service.
pub(super) struct Asked<'a> {
    pub(super) denoted: &'a Denoted,
    pub(super) settings: &'a Settings,
    pub(super) qtype: u16,
    pub(super) type_text: String,
}

/// The instances of a service.
#[derive(Clone, Debug, Default)]
pub struct Instances {
    /// All that are registered under its name.
    pub registered: usize,
    /// Those of them that the answer is drawn from, each record once.
    pub included: usize,
    /// The first ones in the order of lists, at most [`INSTANCES_MAX`].
    pub shown: Vec<InstanceReport>,
    /// Only one of those included is answered, as a CNAME.
    aliases: bool,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceReport {
    /// Name of its node.
    pub node: String,
    /// Its id.
    pub id: String,
    /// Its own address, else that of its node.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// Whether the answer is drawn from it.
    pub included: bool,
    /// The record that it gives, or why it gives none.
    pub reason: String,
}

impl Instances {
    /// Records that an answer without limits has.
    pub(super) fn records(&self) -> usize {
        if self.aliases {
            self.included.min(1)
        } else {
            self.included
        }
    }
}

/// Goes through all instances of the service; `None` if there is none of that name. Keeps what is
/// shown and one entry for each record, however many instances there are.
pub(super) fn report(state: &State, asked: &Asked<'_>) -> Option<Instances> {
    let name: ServiceName = asked.denoted.name.parse().ok()?;
    let service = state.service(&name)?;
    let candidates = || {
        let instances = service.instances();
        instances.filter_map(|instance| {
            let node = state.node(&instance.node)?;
            Some(Candidate { node, instance })
        })
    };
    let has_address = |candidate: Candidate<'_>| {
        let view = asked.consider(candidate.node, candidate.instance);
        view.is_ok_and(|view| view.family() != Family::Host)
    };
    let has_addresses = candidates().any(has_address);
    let mut drawn: HashMap<Record, Candidate<'_>> = HashMap::new();
    let mut instances = Instances {
        aliases: asked.qtype != rtype::SRV && !has_addresses,
        ..Instances::default()
    };
    for candidate in candidates() {
        let view = asked.consider(candidate.node, candidate.instance);
        let result = view.and_then(|view| {
            let record = asked.record(&view, has_addresses)?;
            if let Some(first) = drawn.get(&record) {
                return Err(format!("same record as {first}: {record}"));
            }
            let text = candidate.praise(&view, &record);
            drawn.insert(record, candidate);
            Ok(text)
        });
        instances.registered += 1;
        instances.included += usize::from(result.is_ok());
        if instances.shown.len() < INSTANCES_MAX {
            instances.shown.push(candidate.report(result));
        }
    }
    Some(instances)
}

/// An instance on its node.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    node: &'a NodeEntry,
    instance: &'a Instance,
}

impl fmt::Display for Candidate<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, node) = (&self.instance.service.id, &self.instance.node);
        write!(formatter, "{id} on {node}")
    }
}

impl Candidate<'_> {
    /// What it gives, and what is not quite well although it is included.
    fn praise(self, view: &InstanceView, record: &Record) -> String {
        let weight = match record {
            Record::Service { .. } => format!(" weight {}", view.weight),
            Record::Address(_) | Record::Alias(_) => String::new(),
        };
        let warning = if view.warning {
            let warnings = complaints(self.node, self.instance, Status::Warning);
            format!(", warning: {warnings}")
        } else {
            String::new()
        };
        format!("{record}{weight}{warning}")
    }

    fn report(self, result: Result<String, String>) -> InstanceReport {
        let service = &self.instance.service;
        let address = if service.address.is_none() {
            &self.node.node.address
        } else {
            &service.address
        };
        InstanceReport {
            node: self.node.node.name.to_string(),
            id: service.id.to_string(),
            address: cut(address.to_string()),
            port: service.port,
            included: result.is_ok(),
            reason: cut(result.unwrap_or_else(|reason| reason)),
        }
    }
}

/// What tells two records apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Record {
    Address(IpAddr),
    /// In lower case.
    Alias(String),
    /// Of two instances with the same target and port, either may be drawn, whatever its weight.
    Service {
        /// In lower case.
        target: String,
        port: u16,
    },
}

impl fmt::Display for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(ip) => write!(formatter, "{ip}"),
            Self::Alias(host) => write!(formatter, "CNAME {host}"),
            Self::Service { target, port } => write!(formatter, "{target} port {port}"),
        }
    }
}

impl Asked<'_> {
    /// The view of an instance that the name denotes and that may be answered, or why not.
    fn consider(&self, node: &NodeEntry, instance: &Instance) -> Result<Arc<InstanceView>, String> {
        let lacks = |tag: &&String| !instance.service.has_tag(tag);
        if let Some(missing) = self.denoted.tags.iter().find(lacks) {
            let tags = instance.service.tags.join(", ");
            return Err(match tags.as_str() {
                "" => format!("tag: no {missing}, it has no tags"),
                tags => format!("tag: no {missing} among {tags}"),
            });
        }
        let view = eligibility(node, instance).map_err(|exclusion| match exclusion {
            Exclusion::Maintenance => maintenance(node, instance),
            Exclusion::Critical => {
                format!("critical: {}", complaints(node, instance, Status::Critical))
            }
            Exclusion::Unencodable => format!("not encodable: {}", unencodable(node, instance)),
        })?;
        if view.warning && self.settings.only_passing {
            let warnings = complaints(node, instance, Status::Warning);
            return Err(format!("only_passing: warning: {warnings}"));
        }
        Ok(view)
    }

    /// The record that an eligible instance gives to the type asked, or why none.
    fn record(&self, view: &InstanceView, has_addresses: bool) -> Result<Record, String> {
        let asked = &self.type_text;
        if self.qtype == rtype::SRV {
            return Ok(service_record(view));
        }
        if self.denoted.implied {
            return Err(format!(
                "only SRV records have this name, {asked} was asked"
            ));
        }
        let ip = match self.qtype {
            rtype::A => view.v4.map(IpAddr::V4),
            rtype::AAAA => view.v6.map(IpAddr::V6),
            rtype::ANY => view.any(),
            _ => None,
        };
        if let Some(ip) = ip {
            return Ok(Record::Address(ip));
        }
        match (view.host(), view.v4, view.v6) {
            (Some(host), None, None) if !has_addresses => Ok(Record::Alias(dotted(host))),
            (Some(host), None, None) => Err(format!(
                "address is the host name {}, and others have addresses (RFC 2181 section 10.1)",
                dotted(host)
            )),
            (_, Some(_), None) if self.qtype == rtype::AAAA => {
                Err("address is IPv4 but AAAA was asked".to_owned())
            }
            (_, None, Some(_)) if self.qtype == rtype::A => {
                Err("address is IPv6 but A was asked".to_owned())
            }
            _ => Err(format!("instances have no {asked} records")),
        }
    }
}

fn service_record(view: &InstanceView) -> Record {
    let target = match &view.target {
        Target::V4(ip) => ip.to_string(),
        Target::V6(ip) => ip.to_string(),
        Target::Node => format!("node {}", view.node.name),
        Target::Host(host) => dotted(host),
    };
    Record::Service {
        target,
        port: view.port,
    }
}

/// The checks with this status, those of the node first.
fn complaints(node: &NodeEntry, instance: &Instance, status: Status) -> String {
    let bad = |entry: &&Arc<CheckEntry>| entry.check.status == status;
    let text = |what: &str, entry: &CheckEntry| {
        let (id, index) = (&entry.check.id, entry.modify_index);
        format!("{what}check {id} (as of index {index})")
    };
    let of_node = node.node_checks().filter(bad);
    let own = instance.checks.iter().filter(bad);
    let mut all = of_node
        .map(|entry| text("node ", entry))
        .chain(own.map(|entry| text("", entry)));
    let mut named: Vec<String> = all.by_ref().take(CHECKS_MAX).collect();
    match all.count() {
        0 => {}
        more => named.push(format!("and {more} more")),
    }
    named.join(", ")
}

/// At most [`CHARACTERS_MAX`] characters of `text`: what clients registered has any length.
pub(super) fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(CHARACTERS_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Who is in maintenance and why.
fn maintenance(node: &NodeEntry, instance: &Instance) -> String {
    let node_check = |id: &CheckId| id.as_str() == NODE_MAINTENANCE;
    let checks = node.node_checks().chain(&instance.checks);
    let mut entries = checks
        .map(|entry| &entry.check)
        .filter(|check| check.is_maintenance() && check.status == Status::Critical);
    let Some(check) = entries.next() else {
        return "in maintenance".to_owned();
    };
    let who = if node_check(&check.id) {
        "node in"
    } else {
        "in"
    };
    match &*check.notes {
        "" => format!("{who} maintenance"),
        notes => format!("{who} maintenance: {notes}"),
    }
}

fn unencodable(node: &NodeEntry, instance: &Instance) -> String {
    let own = &instance.service.address;
    let of_node = &node.node.address;
    match (own.host(), of_node.host()) {
        (Some(host), _) => format!("address {host:?} is no host name"),
        (None, Some(host)) => format!("address {host:?} of the node is no host name"),
        (None, None) if own.is_none() && of_node.is_none() => "there is no address".to_owned(),
        (None, None) => format!("node name {:?} is no domain name", node.node.name.as_str()),
    }
}

/// A name in wire format as people write it, in lower case.
fn dotted(wire: &[u8]) -> String {
    let labels = super::super::name::labels(wire);
    let labels: Vec<String> = labels
        .map(|label| label.to_ascii_lowercase().escape_ascii().to_string())
        .collect();
    labels.join(".")
}
