//! Names of services: which instances, and their A, AAAA, SRV and CNAME records.

use std::net::IpAddr;

use crate::catalog::index::{InstanceView, ServiceView, Subset};
use crate::types::ServiceName;

use super::answer::{Context, Tools, Verdict};
use super::compress::{Place, Written};
use super::edns::Code;
use super::encode::{Message, Rcode, Section, Unwritten, rtype};
use super::name::{self, Name};
use super::select::{Kind, Selection, Spans};
use super::tags::{self, Choice, Reasons, Tags};
use super::{chain, node, srv, zone};

/// Least octets of an address record with a compressed owner.
const ADDRESS_OCTETS_MIN: usize = 16;

/// What a service's name denotes, read from its labels.
#[derive(Clone, Copy, Debug)]
struct Form<'n> {
    service: &'n [u8],
    /// Labels of the tag in wire format; empty means all instances.
    tag: &'n [u8],
}

impl<'n> Form<'n> {
    /// `_service._tag`: exactly two labels that start with `_` (RFC 2782). The tag `tcp`, in any
    /// case, and an empty one mean all instances.
    fn rfc2782(name: &'n Name, labels: usize) -> Option<Form<'n>> {
        let (b'_', service) = name.label(0).split_first()? else {
            return None;
        };
        let (b'_', tag) = name.label(1).split_first()? else {
            return None;
        };
        (labels == 2).then_some(Self {
            service,
            tag: match tag {
                b"tcp" | b"" => b"",
                tag => tag,
            },
        })
    }
}

/// Why a name denotes no instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// It does not exist.
    Missing,
    /// It is part of longer names that exist (RFC 8020).
    Empty,
    /// To find out takes a longer scan than [`Context::scan_max`] allows.
    Costly,
}

/// Answers the name of a service, whose first `labels` labels stand before the keyword. An
/// `implied` keyword leaves SRV records only. `None`, with nothing written, where that takes too
/// long for here.
pub(super) fn answer(
    context: &Context<'_>,
    tools: &mut Tools,
    message: &mut Message<'_>,
    name: &Name,
    labels: usize,
    implied: bool,
) -> Option<Verdict> {
    let outcome = resolve(context, tools, name, labels, |tools, found| {
        answer_found(context, tools, message, found, implied)
    });
    match outcome {
        Ok(verdict) => Some(verdict),
        Err(Absence::Empty) => Some(zone::deny(message, Rcode::NoError, Written::Apex)),
        Err(Absence::Missing) => Some(zone::deny(message, Rcode::NxDomain, Written::Apex)),
        Err(Absence::Costly) => None,
    }
}

/// A service that was found, and which of its instances a name denotes.
#[derive(Clone, Copy)]
pub(super) struct Found<'v> {
    view: &'v ServiceView,
    pub(super) pool: Pool<'v>,
    /// TTL of the service, in seconds.
    ttl: u32,
}

/// Instances that a name denotes: all of a subset, or those that have several tags.
#[derive(Clone, Copy)]
pub(super) struct Pool<'v> {
    subset: &'v Subset,
    tags: Option<Tags<'v>>,
}

impl<'v> Pool<'v> {
    /// A choice among those that can give a record of `kind`; see [`Selection`].
    pub(super) fn select<'t>(
        &self,
        context: &Context<'_>,
        tools: &'t mut Tools,
        kind: Kind,
        capacity: usize,
    ) -> Selection<'v, 't> {
        let spans = Spans::of(self.subset, kind, context.settings.only_passing);
        let Tools {
            scratch, random, ..
        } = tools;
        if let Some(tags) = self.tags {
            scratch.list(self.subset, &spans, |view| tags.are_on(view));
        }
        let is_listed = self.tags.is_some();
        Selection::new(
            self.subset,
            kind,
            spans,
            is_listed,
            capacity,
            scratch,
            random,
        )
    }

    /// The instance of a service that has but one, if it can give a record of `kind`: what most
    /// names denote, so it is worth not setting up a shuffle.
    pub(super) fn only(&self, context: &Context<'_>, kind: Kind) -> Option<&'v InstanceView> {
        let instances = self.subset.instances();
        if instances.len() != 1 || self.tags.is_some() {
            return None;
        }
        let instance = instances.get(0)?;
        let fits = kind.fits(instance) && !(context.settings.only_passing && instance.warning);
        fits.then_some(&**instance)
    }

    /// The instance at a position that [`Selection`] yielded.
    pub(super) fn instance(&self, position: usize) -> Option<&'v InstanceView> {
        self.subset.instances().get(position).map(|view| &**view)
    }

    /// How many can give a record of `kind`.
    fn count(&self, context: &Context<'_>, tools: &mut Tools, kind: Kind) -> usize {
        let spans = Spans::of(self.subset, kind, context.settings.only_passing);
        match self.tags {
            None => spans.total(),
            Some(tags) => tools
                .scratch
                .list(self.subset, &spans, |view| tags.are_on(view)),
        }
    }
}

/// Where records go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot<'a> {
    pub(super) section: Section,
    pub(super) owner: Written<'a>,
    pub(super) ttl: u32,
}

/// What became of writing addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// They are written, or there were none; whether any did not fit.
    Done {
        /// Some did not fit.
        truncated: bool,
    },
    /// A CNAME is written instead; its target is here.
    Alias(Place),
}

/// Looks up the service that `name` denotes and hands it to `then`.
pub(super) fn resolve<R>(
    context: &Context<'_>,
    tools: &mut Tools,
    name: &Name,
    labels: usize,
    then: impl FnOnce(&mut Tools, Found<'_>) -> R,
) -> Result<R, Absence> {
    let Some(last) = labels.checked_sub(1) else {
        return Err(Absence::Empty);
    };
    if let Some(form) = Form::rfc2782(name, labels) {
        let tag: &[u8] = form.tag;
        let found = tools.service(form.service, context.settings);
        if let Some((guard, ttl)) = found
            && let Some(view) = guard.as_deref()
            && let Some(subset) = match tag {
                b"" => Some(&view.all),
                tag => view.tagged(tag),
            }
        {
            let pool = Pool { subset, tags: None };
            return Ok(then(tools, Found { view, pool, ttl }));
        }
    }
    let form = Form {
        service: name.label(last),
        tag: name.wire(0, last),
    };
    let Some((guard, ttl)) = tools.service(form.service, context.settings) else {
        let is_tag = labels == 1 && is_tag_label(tools, form.service);
        return Err(if is_tag {
            Absence::Empty
        } else {
            Absence::Missing
        });
    };
    let Some(view) = guard.as_deref() else {
        return Err(Absence::Missing);
    };
    let (subset, tags) = match choose(context, tools, view, form.tag) {
        Choice::Missing => return Err(Absence::Missing),
        Choice::Empty => return Err(Absence::Empty),
        Choice::Costly => return Err(Absence::Costly),
        Choice::Subset(subset) => (subset, None),
        Choice::AllTags(subset, tags) => (subset, Some(tags)),
    };
    // `_web._tag` names the instances of `web` only, but may stand above names with more tags.
    if Form::rfc2782(name, labels).is_some() {
        return Err(Absence::Empty);
    }
    let pool = Pool { subset, tags };
    Ok(then(tools, Found { view, pool, ttl }))
}

/// What the name of a service denotes, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denoted {
    /// Name in registered spelling.
    pub(super) service: ServiceName,
    /// Tags that an instance must all have, in ASCII lower case; none means all instances.
    pub(super) tags: Vec<Box<[u8]>>,
    /// Whether the form is `_service._tag`.
    pub(super) is_rfc2782: bool,
}

/// Says what [`answer`] would answer from.
///
/// # Errors
/// Why it denotes nothing.
pub(super) fn describe(
    context: &Context<'_>,
    tools: &mut Tools,
    name: &Name,
    labels: usize,
) -> Result<Denoted, Absence> {
    resolve(context, tools, name, labels, |_, found| {
        let is_rfc2782 = Form::rfc2782(name, labels).is_some();
        let (_, tags) = parts(name, labels);
        let tags = match found.pool.tags {
            _ if std::ptr::eq(found.pool.subset, &raw const found.view.all) => Vec::new(),
            Some(_) => tags.into_iter().map(Box::from).collect(),
            None => vec![tags.join(&b'.').into()],
        };
        Denoted {
            service: found.view.name.clone(),
            tags,
            is_rfc2782,
        }
    })
}

/// The labels that name the service and the tags in a name of either form.
pub(super) fn parts(name: &Name, labels: usize) -> (&[u8], Vec<&[u8]>) {
    if let Some(form) = Form::rfc2782(name, labels) {
        let tag = Some(form.tag).filter(|tag| !tag.is_empty());
        return (form.service, tag.into_iter().collect());
    }
    let last = labels.saturating_sub(1);
    (name.label(last), name::labels(name.wire(0, last)).collect())
}

/// Whether `_tag` stands above `_service._tag` (RFC 2782): any tag in use, and those that mean
/// none.
fn is_tag_label(tools: &Tools, label: &[u8]) -> bool {
    match label.split_first() {
        Some((b'_', b"" | b"tcp")) => true,
        Some((b'_', tag)) => tools.is_tag(tag),
        _ => false,
    }
}

fn choose<'v>(
    context: &Context<'_>,
    tools: &mut Tools,
    view: &'v ServiceView,
    labels: &'v [u8],
) -> Choice<'v> {
    if labels.is_empty() {
        return Choice::Subset(&view.all);
    }
    let dns = tools.catalog.dns();
    match tools.dotted.join(labels) {
        Some(tag) => tags::choose(view, tag, labels, context.scan_max, |tags| {
            Reasons::of_all_tags(&dns.state(), &view.name, tags).any()
        }),
        None => Choice::Missing,
    }
}

fn answer_found(
    context: &Context<'_>,
    tools: &mut Tools,
    message: &mut Message<'_>,
    found: Found<'_>,
    implied: bool,
) -> Verdict {
    let pool = found.pool;
    if pool.count(context, tools, Kind::Target) == 0 {
        let reasons = match pool.tags {
            Some(tags) => {
                Reasons::of_all_tags(&tools.catalog.dns().state(), &found.view.name, tags)
            }
            None => Reasons::of(pool.subset),
        };
        tools.reasons = reasons;
        let mut verdict = zone::deny(message, Rcode::NoError, Written::Apex);
        verdict.error = Some(Code::Other);
        return verdict;
    }
    let truncated = match context.qtype {
        rtype::SRV => srv::put(context, tools, message, pool, found.ttl),
        _ if implied => false,
        _ => {
            let spot = Spot {
                section: Section::Answer,
                owner: Written::Question,
                ttl: found.ttl,
            };
            match put_addresses(context, tools, message, spot, pool) {
                Step::Done { truncated } => truncated,
                Step::Alias(place) => chain::follow(context, tools, message, spot, place),
            }
        }
    };
    conclude(context, message, truncated)
}

/// NODATA where nothing was written, unless something was left out for want of room.
pub(super) fn conclude(
    context: &Context<'_>,
    message: &mut Message<'_>,
    truncated: bool,
) -> Verdict {
    match (message.answers(), truncated) {
        (0, false) => zone::deny(message, Rcode::NoError, Written::Apex),
        // An empty answer without TC would say that there is nothing.
        (0, true) => Verdict::answered(true),
        (_, truncated) => Verdict::answered(truncated && context.settings.enable_truncate),
    }
}

/// Writes the address records that fit the type asked or, where all instances have host names, one
/// CNAME: RFC 2181 §10.1 allows none beside other records.
pub(super) fn put_addresses(
    context: &Context<'_>,
    tools: &mut Tools,
    message: &mut Message<'_>,
    spot: Spot<'_>,
    pool: Pool<'_>,
) -> Step {
    let kind = match context.qtype {
        rtype::A => Some(Kind::V4),
        rtype::AAAA => Some(Kind::V6),
        rtype::ANY => Some(Kind::Any),
        _ => None,
    };
    if let Some(kind) = kind {
        if let Some(instance) = pool.only(context, kind) {
            return put_each(context, message, spot, kind, std::iter::once((0, instance)));
        }
        let capacity = message.room() / ADDRESS_OCTETS_MIN;
        let choice = pool.select(context, tools, kind, capacity);
        if choice.is_possible() {
            return put_each(context, message, spot, kind, choice);
        }
    }
    if pool.count(context, tools, Kind::Any) > 0 {
        return Step::Done { truncated: false };
    }
    let Some((_, instance)) = pool.select(context, tools, Kind::Host, 1).next() else {
        return Step::Done { truncated: false };
    };
    match instance.host() {
        // A service that is said to be where it is asked is where its node is.
        Some(host) if message.is_same(spot.owner, host) => {
            node::put(context, tools, message, spot, &instance.node)
        }
        Some(host) => put_alias(tools, message, spot, host),
        None => Step::Done { truncated: false },
    }
}

fn put_each<'v>(
    context: &Context<'_>,
    message: &mut Message<'_>,
    spot: Spot<'_>,
    kind: Kind,
    choice: impl Iterator<Item = (usize, &'v InstanceView)>,
) -> Step {
    let mut written = 0;
    for (_, instance) in choice {
        if written == context.settings.a_record_limit {
            break; // Asked for by the operator: nothing that a client could fetch over TCP.
        }
        if spot.section == Section::Answer && message.answers() >= context.answers_max {
            return Step::Done { truncated: true };
        }
        let ip = match kind {
            Kind::V4 => instance.v4.map(IpAddr::V4),
            Kind::V6 => instance.v6.map(IpAddr::V6),
            Kind::Any | Kind::Target | Kind::Host => instance.any(),
        };
        let Some(ip) = ip else { continue };
        if message
            .address(spot.section, spot.owner, spot.ttl, ip)
            .is_err()
        {
            return Step::Done { truncated: true };
        }
        written += 1;
    }
    Step::Done { truncated: false }
}

/// Writes a CNAME to a host name.
pub(super) fn put_alias(
    tools: &Tools,
    message: &mut Message<'_>,
    spot: Spot<'_>,
    host: &[u8],
) -> Step {
    let target = Written::Whole(host);
    match message.pointer(spot.section, spot.owner, rtype::CNAME, spot.ttl, target) {
        Ok(place) => Step::Alias(place),
        Err(Unwritten::Full) => Step::Done { truncated: true },
        Err(Unwritten::Unencodable) => {
            tools.count_unencodable();
            Step::Done { truncated: false }
        }
    }
}
