//! Names of nodes: their address, and their metadata as TXT records.

use std::net::IpAddr;

use crate::catalog::index::NodeView;

use super::answer::{Context, Tools, Verdict};
use super::compress::Written;
use super::encode::{Message, Rcode, Section, Unwritten, rtype};
use super::service::{Spot, Step, conclude, put_alias};
use super::{chain, zone};

/// Answers the name of a node, whose labels are `wire`. Its health does not matter.
pub(super) fn answer(
    context: &Context<'_>,
    tools: &mut Tools,
    message: &mut Message<'_>,
    wire: &[u8],
) -> Verdict {
    let guard = match tools.node_of_labels(wire) {
        Ok(guard) => guard,
        // RFC 8020: a name above names that exist does exist.
        Err(true) => return zone::deny(message, Rcode::NoError, Written::Apex),
        Err(false) => return zone::deny(message, Rcode::NxDomain, Written::Apex),
    };
    let Some(node) = guard.as_deref() else {
        return zone::deny(message, Rcode::NxDomain, Written::Apex);
    };
    let spot = Spot {
        section: Section::Answer,
        owner: Written::Question,
        ttl: context.settings.node_ttl,
    };
    let mut truncated = match put(context, tools, message, spot, node) {
        Step::Done { truncated } => truncated,
        Step::Alias(place) => chain::follow(context, tools, message, spot, place),
    };
    if matches!(context.qtype, rtype::TXT | rtype::ANY) {
        truncated |= put_metadata(message, spot, node).is_err();
    }
    let verdict = conclude(context, message, truncated);
    let wants_more = matches!(context.qtype, rtype::A | rtype::AAAA) && !truncated;
    if wants_more && context.settings.additional_txt {
        let spot = Spot {
            section: Section::Additional,
            ..spot
        };
        let mark = message.mark();
        if put_metadata(message, spot, node).is_err() {
            message.rewind(mark); // All of it or nothing: no one asked for it.
        }
    }
    verdict
}

/// Writes the address that fits the type asked, or a CNAME where the address is a host name.
pub(super) fn put(
    context: &Context<'_>,
    tools: &Tools,
    message: &mut Message<'_>,
    spot: Spot<'_>,
    node: &NodeView,
) -> Step {
    let ip = match context.qtype {
        rtype::A => node.v4.map(IpAddr::V4),
        rtype::AAAA => node.v6.map(IpAddr::V6),
        rtype::ANY => node.any,
        _ => None,
    };
    if let Some(ip) = ip {
        let written = message.address(spot.section, spot.owner, spot.ttl, ip);
        return Step::Done {
            truncated: written.is_err(),
        };
    }
    let asks_address = matches!(
        context.qtype,
        rtype::A | rtype::AAAA | rtype::ANY | rtype::CNAME
    );
    match &node.host {
        Some(host) if asks_address && node.any.is_none() => put_alias(tools, message, spot, host),
        _ => Step::Done { truncated: false },
    }
}

fn put_metadata(
    message: &mut Message<'_>,
    spot: Spot<'_>,
    node: &NodeView,
) -> Result<(), Unwritten> {
    for rdata in &node.txt {
        message.ready(spot.section, spot.owner, rtype::TXT, spot.ttl, rdata)?;
    }
    Ok(())
}
