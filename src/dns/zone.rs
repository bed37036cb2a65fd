//! The zone's own records: SOA, NS and `ns.<zone>`, and answers that say that there is nothing.

use std::net::IpAddr;
use std::sync::Arc;

use crate::catalog::index::NodeView;
use crate::clock;
use crate::types::is_dns_label;

use super::answer::{Context, Tools, Verdict, fits_type};
use super::compress::{Place, Written};
use super::encode::{Message, Rcode, Section, Unwritten, rtype};
use super::select::{Kind, Selection, Spans};

/// Service whose instances are the servers.
const SERVERS: &[u8] = b"consul";
/// Most name servers in one answer.
const NAME_SERVERS_MAX: usize = 3;

/// NODATA or NXDOMAIN: the SOA of the zone in authority, as RFC 2308 §2.1 and §2.2 ask, so that
/// resolvers know how long to believe it (§5).
pub(super) fn deny(message: &mut Message<'_>, rcode: Rcode, apex: Written<'_>) -> Verdict {
    // Left out only where a very long zone does not fit in a very small answer.
    let _ = message.soa(Section::Authority, apex, serial());
    Verdict {
        rcode,
        truncated: false,
        error: None,
    }
}

/// A question for the zone itself.
pub(super) fn answer_apex(
    context: &Context<'_>,
    tools: &mut Tools,
    message: &mut Message<'_>,
) -> Verdict {
    match context.qtype {
        rtype::SOA => {
            let written = message.soa(Section::Answer, Written::Question, serial());
            put_name_servers(context, tools, message, Section::Authority);
            Verdict::answered(written == Err(Unwritten::Full))
        }
        rtype::NS => {
            let truncated = put_name_servers(context, tools, message, Section::Answer);
            if message.answers() == 0 && !truncated {
                return deny(message, Rcode::NoError, Written::Question);
            }
            Verdict::answered(truncated && context.settings.enable_truncate)
        }
        _ => deny(message, Rcode::NoError, Written::Question),
    }
}

/// `ns.<zone>`: the addresses of up to three servers, or of this agent's own node.
pub(super) fn answer_name_server(
    context: &Context<'_>,
    tools: &mut Tools,
    message: &mut Message<'_>,
) -> Verdict {
    put_server_addresses(context, tools, message, Section::Answer, Written::Question);
    match message.answers() {
        0 => deny(message, Rcode::NoError, Written::Apex),
        _ => Verdict::answered(false),
    }
}

/// The addresses behind `ns.<zone>` that fit the type asked.
pub(super) fn put_server_addresses(
    context: &Context<'_>,
    tools: &mut Tools,
    message: &mut Message<'_>,
    section: Section,
    owner: Written<'_>,
) {
    let servers = servers(context, tools, |node| {
        node.v4.is_some() || node.v6.is_some()
    });
    let own = match servers {
        [None, ..] => tools.node(&context.settings.node_folded),
        _ => None,
    };
    let own = own.as_deref().and_then(Option::as_ref);
    for node in servers.iter().flatten().chain(own) {
        for ip in addresses(node).filter(|ip| fits_type(context.qtype, *ip)) {
            // What does not fit is left out: any one server will do.
            let _ = message.address(section, owner, context.settings.node_ttl, ip);
        }
    }
}

/// Writes the NS records of the name asked and the addresses of their targets. Whether any NS
/// record was left out.
fn put_name_servers(
    context: &Context<'_>,
    tools: &mut Tools,
    message: &mut Message<'_>,
    section: Section,
) -> bool {
    let ttl = context.settings.node_ttl;
    let servers = servers(context, tools, |node| is_dns_label(node.name.as_str()));
    let mut targets: [Option<(Place, &NodeView)>; NAME_SERVERS_MAX] = [None; NAME_SERVERS_MAX];
    let mut truncated = false;
    for (target, node) in targets.iter_mut().zip(servers.iter().flatten()) {
        let mut label = [0; 64];
        let Some(label) = lower_case(node, &mut label) else {
            continue;
        };
        let target_name = Written::Node(label);
        match message.pointer(section, Written::Question, rtype::NS, ttl, target_name) {
            Ok(place) => *target = Some((place, node)),
            Err(Unwritten::Full) => truncated = true,
            Err(Unwritten::Unencodable) => tools.count_unencodable(),
        }
    }
    for (place, node) in targets.into_iter().flatten() {
        for ip in addresses(node) {
            let _ = message.address(Section::Additional, Written::Again(place), ttl, ip);
        }
    }
    truncated
}

/// Up to three nodes with an eligible server, in random order, each once, the rest `None`.
fn servers(
    context: &Context<'_>,
    tools: &mut Tools,
    is_usable: impl Fn(&NodeView) -> bool,
) -> [Option<Arc<NodeView>>; NAME_SERVERS_MAX] {
    let mut servers = [const { None }; NAME_SERVERS_MAX];
    let Some((view, _)) = tools.service(SERVERS, context.settings) else {
        return servers;
    };
    let Some(view) = view.as_deref() else {
        return servers;
    };
    let spans = Spans::of(&view.all, Kind::Target, context.settings.only_passing);
    let Tools {
        scratch, random, ..
    } = tools;
    let capacity = NAME_SERVERS_MAX;
    let choice = Selection::new(
        &view.all,
        Kind::Target,
        spans,
        false,
        capacity,
        scratch,
        random,
    );
    for (_, instance) in choice {
        let node = &instance.node;
        let known = |other: &Arc<NodeView>| other.name == node.name;
        if !is_usable(node) || servers.iter().flatten().any(known) {
            continue;
        }
        match servers.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(Arc::clone(node)),
            None => break,
        }
    }
    servers
}

fn addresses(node: &NodeView) -> impl Iterator<Item = IpAddr> {
    let v4 = node.v4.map(IpAddr::V4).into_iter();
    v4.chain(node.v6.map(IpAddr::V6))
}

fn lower_case<'l>(node: &NodeView, label: &'l mut [u8; 64]) -> Option<&'l [u8]> {
    let wire = node.labels.as_deref()?;
    let label = label.get_mut(..wire.len())?;
    label.copy_from_slice(wire);
    label.make_ascii_lowercase();
    Some(label)
}

/// Serial of the SOA: the time, since the zone changes all the time.
fn serial() -> u32 {
    let seconds = clock::since_epoch().as_secs();
    u32::try_from(seconds & u64::from(u32::MAX)).unwrap_or(0)
}
