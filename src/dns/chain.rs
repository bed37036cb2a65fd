//! Follows aliases inside the zone, so that a resolver need not ask again (RFC 1034 §4.3.2).
//!
//! Names outside the zone are the resolver's business. A chain ends at its first repeat.

use super::answer::{Context, Tools, fits_type};
use super::compress::{Place, Written};
use super::encode::{Message, rtype};
use super::name::Name;
use super::service::{Spot, Step};
use super::settings::Home;
use super::subject::Subject;
use super::{node, service, zone};

/// Most names that are looked up behind the first alias.
const DEPTH_MAX: usize = 3;

/// Writes what the name at `alias` leads to, with the type that was asked. Whether anything was
/// left out for want of room.
pub(super) fn follow(
    context: &Context<'_>,
    tools: &mut Tools,
    message: &mut Message<'_>,
    spot: Spot<'_>,
    alias: Place,
) -> bool {
    if context.qtype == rtype::CNAME {
        return false; // The alias itself was asked for (RFC 1034 §3.6.2).
    }
    let mut name = std::mem::take(&mut tools.inner);
    let mut followed = [None; DEPTH_MAX];
    let mut place = alias;
    let mut truncated = false;
    for depth in 0..DEPTH_MAX {
        let host = message.octets(place);
        let mut before = followed.iter().flatten();
        let repeats = before.any(|place: &Place| message.octets(*place).eq_ignore_ascii_case(host));
        if repeats || message.is_question(host) || name.read(host).is_none() {
            break;
        }
        if let Some(step) = followed.get_mut(depth) {
            *step = Some(place);
        }
        let spot = Spot {
            owner: Written::Again(place),
            ..spot
        };
        match resolve(context, tools, message, spot, &name) {
            Step::Alias(next) => place = next,
            Step::Done { truncated: left } => {
                truncated = left;
                break;
            }
        }
    }
    tools.inner = name;
    truncated
}

fn resolve(
    context: &Context<'_>,
    tools: &mut Tools,
    message: &mut Message<'_>,
    spot: Spot<'_>,
    name: &Name,
) -> Step {
    let nothing = Step::Done { truncated: false };
    let settings = context.settings;
    let Home::Catalog(zone) = settings.home(name) else {
        return nothing;
    };
    let zone_label = name.labels() - zone.labels;
    match Subject::of(name, zone_label, settings) {
        Subject::Address(ip) if fits_type(context.qtype, ip) => Step::Done {
            truncated: message
                .address(spot.section, spot.owner, spot.ttl, ip)
                .is_err(),
        },
        Subject::NameServer => {
            zone::put_server_addresses(context, tools, message, spot.section, spot.owner);
            nothing
        }
        Subject::Node { labels } => {
            let guard = tools.node_of_labels(name.wire(0, labels)).ok();
            let node = guard.as_deref().and_then(Option::as_deref);
            node.map_or(nothing, |node| {
                node::put(context, tools, message, spot, node)
            })
        }
        Subject::Service {
            labels,
            implied: false,
        } => service::resolve(context, tools, name, labels, |tools, found| {
            service::put_addresses(context, tools, message, spot, found.pool)
        })
        .unwrap_or(nothing),
        _ => nothing,
    }
}
