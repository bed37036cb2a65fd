//! Which rule a name falls under, and what it denotes.

use std::net::IpAddr;

use crate::catalog::State;
use crate::catalog::state::AddressOwner;
use crate::types::NodeName;

use super::super::answer::{Context, Tools};
use super::super::encode::rtype;
use super::super::name::{Dotted, Name};
use super::super::reverse::{self, Reverse};
use super::super::service::{self, Absence};
use super::super::settings::{Home, Settings, Zone};
use super::super::subject::{Flaw, Subject};
use super::Ttl;
use super::instances::cut;

/// What a name denotes that only the catalog knows, while there is none.
const NOT_LOADED: &str = "not known: this agent has no state of the catalog yet";

/// The rule and all that it says.
#[derive(Debug, Default)]
pub(super) struct Rule {
    pub(super) word: &'static str,
    pub(super) meaning: String,
    pub(super) service: Option<Denoted>,
    pub(super) node: Option<String>,
    pub(super) ttl: Option<Ttl>,
    pub(super) notes: Vec<String>,
}

/// The service that a name denotes or would denote.
#[derive(Debug)]
pub(super) struct Denoted {
    /// In registered spelling, where it is registered.
    pub(super) name: String,
    /// Tags that an instance must all have, in lower case.
    pub(super) tags: Vec<String>,
    /// The keyword was left out: only SRV records are there.
    pub(super) implied: bool,
}

impl Rule {
    fn new(word: &'static str, meaning: impl Into<String>) -> Self {
        Self {
            word,
            meaning: meaning.into(),
            ..Self::default()
        }
    }

    fn with_node_ttl(self, settings: &Settings) -> Self {
        let ttl = Ttl {
            seconds: settings.node_ttl,
            source: "dns_config.node_ttl".to_owned(),
        };
        Self {
            ttl: Some(ttl),
            ..self
        }
    }

    /// For names whose only record is the SOA that says that there is nothing.
    fn with_negative_ttl(self, settings: &Settings) -> Self {
        let ttl = Ttl::of_denial(settings);
        Self {
            ttl: Some(ttl),
            ..self
        }
    }
}

/// Finds the rule for `name`. `state` is `None` while nothing is loaded.
pub(super) fn find(
    context: &Context<'_>,
    tools: &mut Tools,
    state: Option<&State>,
    name: &Name,
) -> Rule {
    let settings = context.settings;
    match settings.home(name) {
        Home::Outside => {
            let zones: Vec<String> = settings.catalog_zones().map(text).collect();
            let zones = zones.join(" and ");
            let meaning = format!("below neither {zones} nor arpa. nor a zone from a file");
            Rule::new("outside", meaning)
        }
        Home::Slow => {
            let label = settings.slow_zone_label(name).unwrap_or(0);
            let zone = text(name.suffix(label));
            let meaning = format!("answered from the zone {zone} that was loaded from a file");
            Rule::new("static zone", meaning)
        }
        Home::Reverse(zone) => reverse_name(settings, tools, state.is_some(), name, zone),
        Home::Catalog(zone) => below_zone(context, tools, state, name, zone),
    }
}

fn below_zone(
    context: &Context<'_>,
    tools: &mut Tools,
    state: Option<&State>,
    name: &Name,
    zone: &Zone,
) -> Rule {
    let settings = context.settings;
    let zone_label = name.labels() - zone.labels;
    match (Subject::of(name, zone_label, settings), state) {
        (Subject::Apex, _) => {
            let rule = Rule::new("apex", "the zone itself: SOA and NS, nothing else");
            match context.qtype {
                rtype::NS => rule.with_node_ttl(settings),
                _ => rule.with_negative_ttl(settings),
            }
        }
        (Subject::NameServer, Some(_)) => Rule::new(
            "name server",
            "the addresses of up to three servers, which the SOA names",
        )
        .with_node_ttl(settings),
        (Subject::Empty, _) => Rule::new(
            "empty non-terminal",
            "no records, but names below it have some (RFC 8020)",
        )
        .with_negative_ttl(settings),
        (Subject::Missing, _) => {
            let flaw = Flaw::of(name, zone_label, settings);
            let word = match flaw {
                Flaw::Datacenter => "unknown datacenter",
                _ => "no form",
            };
            Rule::new(word, complaint(flaw, settings)).with_negative_ttl(settings)
        }
        (Subject::Unreachable, _) => Rule::new(
            "unreachable datacenter",
            "what that datacenter knows cannot be asked, and NXDOMAIN would be a lie",
        ),
        (Subject::Address(ip), _) => {
            let meaning = format!("the address {ip}, which is the name itself");
            Rule::new("addr", meaning).with_node_ttl(settings)
        }
        (Subject::Node { labels }, Some(state)) => {
            node_name(settings, tools, state, name.wire(0, labels))
        }
        (Subject::Service { labels, implied }, Some(state)) => {
            service_name(context, tools, state, name, labels, implied)
        }
        (Subject::NameServer, None) => Rule::new("name server", NOT_LOADED),
        (Subject::Node { .. }, None) => Rule::new("node", NOT_LOADED),
        (Subject::Service { .. }, None) => Rule::new("service", NOT_LOADED),
    }
}

fn complaint(flaw: Flaw, settings: &Settings) -> String {
    let here = &settings.datacenter;
    match flaw {
        Flaw::Datacenter => {
            format!("what stands before the zone is no known datacenter; this one is {here}")
        }
        Flaw::Unbuilt => "names with connect, ingress or virtual do not exist here".to_owned(),
        Flaw::Query => "there are no prepared queries".to_owned(),
        Flaw::Address => {
            "before addr, 8 or 32 hexadecimal digits are needed and nothing else".to_owned()
        }
        Flaw::Doubled => "the zone stands in the name twice, as a search list makes it".to_owned(),
    }
}

fn node_name(settings: &Settings, tools: &mut Tools, state: &State, wire: &[u8]) -> Rule {
    let mut dotted = Dotted::default();
    let joined = dotted.join(wire).map(text_of);
    let asked = joined.unwrap_or_default();
    let found = asked.parse::<NodeName>().ok();
    let found = found.and_then(|name| state.node(&name));
    let Some(entry) = found else {
        let (word, meaning) = match tools.node_of_labels(wire) {
            Err(true) => (
                "empty non-terminal",
                format!("no node is named {asked:?}, but names of nodes end in it (RFC 8020)"),
            ),
            _ => ("node", format!("no node is named {asked:?}")),
        };
        return Rule::new(word, meaning).with_negative_ttl(settings);
    };
    let node = &entry.node;
    let mut rule = Rule::new(
        "node",
        format!(
            "node {:?}, whose health does not matter",
            node.name.as_str()
        ),
    )
    .with_node_ttl(settings);
    rule.node = Some(node.name.to_string());
    let tagged = ["lan_ipv4", "lan_ipv6"].into_iter().filter_map(|label| {
        let address = node.tagged_addresses.get(label)?;
        Some(format!("{label} {address}"))
    });
    let address = match &node.address {
        address if address.is_none() => "no address".to_owned(),
        address => format!("address {address}"),
    };
    let addresses: Vec<String> = std::iter::once(address).chain(tagged).collect();
    let addresses = addresses.join(", ");
    rule.notes.push(cut(format!("the node has {addresses}")));
    rule
}

fn service_name(
    context: &Context<'_>,
    tools: &mut Tools,
    state: &State,
    name: &Name,
    labels: usize,
    implied: bool,
) -> Rule {
    let settings = context.settings;
    match service::describe(context, tools, name, labels) {
        Ok(denoted) => {
            let tags: Vec<String> = denoted.tags.iter().map(|tag| text_of(tag)).collect();
            let word = match (denoted.is_rfc2782, tags.as_slice()) {
                (true, _) => "RFC 2782",
                (false, []) => "service",
                (false, [_]) => "tag",
                (false, _) => "several tags",
            };
            let service = denoted.service.as_str();
            let meaning = instances_of(service, &tags);
            let mut rule = Rule::new(word, meaning);
            rule.ttl = Some(service_ttl(settings, &denoted.service.folded()));
            if implied {
                let note = "without the word service in the name there are only SRV records";
                rule.notes.push(note.to_owned());
            }
            rule.service = Some(Denoted {
                name: service.to_owned(),
                tags,
                implied,
            });
            rule
        }
        Err(Absence::Empty) => Rule::new(
            "empty non-terminal",
            "no instances, but longer names denote some (RFC 8020)",
        )
        .with_negative_ttl(settings),
        Err(Absence::Missing | Absence::Costly) => {
            missing_service(settings, state, name, labels, implied)
        }
    }
}

/// No such service, or none of its instances has the tags.
fn missing_service(
    settings: &Settings,
    state: &State,
    name: &Name,
    labels: usize,
    implied: bool,
) -> Rule {
    let (service, tags) = service::parts(name, labels);
    let service = text_of(service);
    let tags: Vec<String> = tags.into_iter().map(text_of).collect();
    let found = service.parse().ok().and_then(|name| state.service(&name));
    let Some(entry) = found else {
        let meaning = format!("no service named {service:?} is registered");
        return Rule::new("service", meaning).with_negative_ttl(settings);
    };
    let meaning = format!("{}: there are none", instances_of(&service, &tags));
    let mut rule = Rule::new("tag", meaning).with_negative_ttl(settings);
    rule.service = Some(Denoted {
        name: entry.name.to_string(),
        tags,
        implied,
    });
    rule
}

fn instances_of(service: &str, tags: &[String]) -> String {
    match tags {
        [] => format!("instances of service {service:?}"),
        [tag] => format!("instances of service {service:?} with tag {tag:?}"),
        tags => format!("instances of service {service:?} with all of the tags {tags:?}"),
    }
}

fn service_ttl(settings: &Settings, folded: &[u8]) -> Ttl {
    match settings.service_ttl_entry(folded) {
        Some(entry) => {
            let star = if entry.is_prefix { "*" } else { "" };
            let key = text_of(entry.key) + star;
            Ttl {
                seconds: entry.ttl,
                source: format!("dns_config.service_ttl[{key:?}]"),
            }
        }
        None => Ttl {
            seconds: settings.service_ttl(folded),
            source: "default, dns_config.service_ttl has no key for it".to_owned(),
        },
    }
}

fn reverse_name(
    settings: &Settings,
    tools: &mut Tools,
    is_loaded: bool,
    name: &Name,
    zone: &Zone,
) -> Rule {
    let rule = |meaning: String| Rule::new("reverse", meaning);
    if !is_loaded {
        return rule(NOT_LOADED.to_owned());
    }
    if name.labels() == zone.labels {
        return rule("a reverse zone itself".to_owned()).with_negative_ttl(settings);
    }
    let ip: IpAddr = match reverse::read(name) {
        Reverse::Address(ip) => ip.to_canonical(),
        Reverse::Part => {
            let meaning = "part of an address: longer names may exist".to_owned();
            return rule(meaning).with_negative_ttl(settings);
        }
        Reverse::Other => {
            return rule("no address".to_owned()).with_negative_ttl(settings);
        }
    };
    match tools.owner_of(ip) {
        Some(AddressOwner::Node(node)) => {
            let mut rule = rule(format!("{ip}, the address of node {:?}", node.as_str()));
            rule.node = Some(node.to_string());
            rule.with_node_ttl(settings)
        }
        Some(AddressOwner::Service(service)) => {
            let service = service.as_str();
            let meaning = format!("{ip}, the address of an instance of service {service:?}");
            rule(meaning).with_node_ttl(settings)
        }
        None => {
            rule(format!("{ip}, which no node and no instance has")).with_negative_ttl(settings)
        }
    }
}

fn text_of(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// A name in wire format as people write it.
fn text(wire: &[u8]) -> String {
    let labels = super::super::name::labels(wire);
    labels.fold(String::new(), |text, label| text + &text_of(label) + ".")
}
