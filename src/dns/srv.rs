//! SRV records (RFC 2782) and what comes with them: the addresses of their targets, and the
//! metadata of their nodes.

use std::net::IpAddr;
use std::ops::ControlFlow;

use crate::catalog::index::{InstanceView, NodeView, Target};

use super::answer::{Context, Tools};
use super::chain;
use super::compress::{Place, Written};
use super::encode::{Message, Section, Unwritten, rtype};
use super::node;
use super::select::Kind;
use super::service::{Pool, Spot, Step};

/// Least octets of an SRV record with its glue.
const RECORD_OCTETS_MIN: usize = 36;

/// What the additional section owes one SRV record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glue {
    target: Place,
    ip: Option<IpAddr>,
    /// The instance's position in its subset.
    position: usize,
    /// Whether there is more than the address: the node's metadata, or a chain of aliases.
    has_more: bool,
}

/// Writes SRV records and their glue. Whether any was left out for want of room.
///
/// A record stays only with its glue, but for the first one. Metadata and chains come only where
/// everything fits.
pub(super) fn put(
    context: &Context<'_>,
    tools: &mut Tools,
    message: &mut Message<'_>,
    pool: Pool<'_>,
    ttl: u32,
) -> bool {
    let mut glue = std::mem::take(&mut tools.glue);
    glue.clear();
    let truncated = put_records(context, tools, message, pool, ttl, &mut glue);
    let mark = message.mark();
    let has_more = !truncated && glue.iter().any(|glue| glue.has_more);
    if !(has_more && put_all(context, tools, message, pool, ttl, &glue).is_ok()) {
        message.rewind(mark);
        for glue in &glue {
            // Its room was counted when its record was written.
            let _ = put_address(message, glue, ttl);
        }
    }
    tools.glue = glue;
    truncated
}

fn put_records(
    context: &Context<'_>,
    tools: &mut Tools,
    message: &mut Message<'_>,
    pool: Pool<'_>,
    ttl: u32,
    glue: &mut Vec<Glue>,
) -> bool {
    let mut records = Records {
        context,
        message,
        ttl,
        glue,
        glue_octets: 0,
        unencodable: 0,
    };
    let truncated = if let Some(instance) = pool.only(context, Kind::Target) {
        records.put(0, instance).is_break()
    } else {
        let capacity = records.message.room() / RECORD_OCTETS_MIN;
        let mut choice = pool.select(context, tools, Kind::Target, capacity);
        choice.any(|(position, instance)| records.put(position, instance).is_break())
    };
    for _ in 0..records.unencodable {
        tools.count_unencodable();
    }
    truncated
}

/// SRV records being written.
struct Records<'a, 'b> {
    context: &'a Context<'a>,
    message: &'a mut Message<'b>,
    ttl: u32,
    glue: &'a mut Vec<Glue>,
    /// What the glue of the records so far will take.
    glue_octets: usize,
    unencodable: usize,
}

impl Records<'_, '_> {
    /// Writes one record, or breaks off where it is one too many.
    fn put(&mut self, position: usize, instance: &InstanceView) -> ControlFlow<()> {
        if self.message.answers() >= self.context.answers_max {
            return ControlFlow::Break(());
        }
        let mark = self.message.mark();
        let (target, mut ip) = target(self.message, instance);
        let target = match put_record(self.message, self.ttl, instance, target) {
            Ok(place) => place,
            Err(Unwritten::Full) => return ControlFlow::Break(()),
            Err(Unwritten::Unencodable) => {
                self.unencodable += 1;
                return ControlFlow::Continue(());
            }
        };
        let octets = ip.map_or(0, |ip| self.message.glue_octets(target, ip));
        if self.glue_octets + octets <= self.message.room() {
            self.glue_octets += octets;
        } else if self.message.answers() == 1 {
            ip = None; // Better one record without its address than none.
        } else {
            self.message.rewind(mark);
            return ControlFlow::Break(());
        }
        let has_txt = self.context.settings.additional_txt && !instance.node.txt.is_empty();
        self.glue.push(Glue {
            target,
            ip,
            position,
            has_more: has_txt || ip.is_none(),
        });
        ControlFlow::Continue(())
    }
}

/// What an SRV record points to, and the address there.
fn target<'v>(
    message: &Message<'_>,
    instance: &'v InstanceView,
) -> (Option<Written<'v>>, Option<IpAddr>) {
    let node = |node: &'v NodeView| (node.labels.as_deref().map(Written::Node), node.any);
    match &instance.target {
        Target::V4(ip) => (Some(Written::Address((*ip).into())), Some((*ip).into())),
        Target::V6(ip) => (Some(Written::Address((*ip).into())), Some((*ip).into())),
        Target::Node => node(&instance.node),
        // A service that is said to be where it is asked is where its node is.
        Target::Host(host) if message.is_question(host) => node(&instance.node),
        Target::Host(host) => (Some(Written::Whole(host)), None),
    }
}

fn put_record(
    message: &mut Message<'_>,
    ttl: u32,
    instance: &InstanceView,
    target: Option<Written<'_>>,
) -> Result<Place, Unwritten> {
    let target = target.ok_or(Unwritten::Unencodable)?;
    message.srv(ttl, instance.weight, instance.port, target)
}

fn put_address(message: &mut Message<'_>, glue: &Glue, ttl: u32) -> Result<(), Unwritten> {
    match glue.ip {
        Some(ip) => message.address(Section::Additional, Written::Again(glue.target), ttl, ip),
        None => Ok(()),
    }
}

/// Addresses, chains and metadata of all records, in their order.
fn put_all(
    context: &Context<'_>,
    tools: &mut Tools,
    message: &mut Message<'_>,
    pool: Pool<'_>,
    ttl: u32,
    glue: &[Glue],
) -> Result<(), Unwritten> {
    for glue in glue {
        put_address(message, glue, ttl)?;
        let instance = pool.instance(glue.position);
        let Some(instance) = instance.filter(|_| glue.has_more) else {
            continue;
        };
        if glue.ip.is_none() {
            let spot = Spot {
                section: Section::Additional,
                owner: Written::Again(glue.target),
                ttl,
            };
            let context = Context {
                qtype: rtype::ANY,
                ..*context
            };
            if put_chain(&context, tools, message, spot, glue.target, instance) {
                return Err(Unwritten::Full);
            }
        }
        if context.settings.additional_txt {
            put_metadata(message, &instance.node, ttl)?;
        }
    }
    Ok(())
}

/// Writes what a target without an address of its own leads to: another name, or the node, which
/// has a host name for its address. Whether any of it did not fit.
fn put_chain(
    context: &Context<'_>,
    tools: &mut Tools,
    message: &mut Message<'_>,
    spot: Spot<'_>,
    target: Place,
    instance: &InstanceView,
) -> bool {
    match &instance.target {
        Target::Host(host) if !message.is_question(host) => {
            chain::follow(context, tools, message, spot, target)
        }
        _ => match node::put(context, tools, message, spot, &instance.node) {
            Step::Done { truncated } => truncated,
            Step::Alias(place) => chain::follow(context, tools, message, spot, place),
        },
    }
}

fn put_metadata(message: &mut Message<'_>, node: &NodeView, ttl: u32) -> Result<(), Unwritten> {
    let Some(labels) = node.labels.as_deref() else {
        return Ok(());
    };
    let mut owner = Written::Node(labels);
    for rdata in &node.txt {
        match message.ready(Section::Additional, owner, rtype::TXT, ttl, rdata) {
            Ok(place) => owner = Written::Again(place),
            Err(Unwritten::Full) => return Err(Unwritten::Full),
            // A name that no message can carry: the SRV record does without it.
            Err(Unwritten::Unencodable) => return Ok(()),
        }
    }
    Ok(())
}
