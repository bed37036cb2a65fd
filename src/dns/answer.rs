//! Answers queries in place from the catalog's views: which RCODE, which flags, which part of
//! herald.
//!
//! `question` decodes, `subject` reads the name, `service`, `node`, `zone` and `reverse` say which
//! records there are, `encode` writes them over the query. Nothing here locks, allocates (once the
//! names asked are known) or waits.
//!
//! Long, since what a query needs besides its octets, and what may be missing of that, is decided in
//! one place.
//!
//! **Invariant**: an accepted query always gets a reply.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;

use crate::catalog::Reader;
use crate::catalog::index::{NodeView, ServiceView};
use crate::catalog::state::AddressOwner;
use crate::directory::{Presence, Wanted};

use super::behind::{Known, Lack, Leader};
use super::cache::{Cache, View};
use super::compress::Written;
use super::edns::{Code, Edns, Text};
use super::encode::{Conclusion, Message, Rcode, Section, Unwritten, rtype};
use super::freshness::Freshness;
use super::handler::{self, Handler, Received, Reply, Transport};
use super::name::{Dotted, Name};
use super::question::{Asked, CLASS_ANY, CLASS_IN, HEADER_OCTETS, Packet, Query, decode};
use super::random::Random;
use super::select::Scratch;
use super::settings::{Home, Settings, UDP_OCTETS_MAX, UDP_OCTETS_MIN, Zone};
use super::srv::Glue;
use super::subject::Subject;
use super::tags::Reasons;
use super::{node, reverse, service, zone};

/// Time without word from a leader after which answers are marked as stale.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// Most instances that a worker looks at for one answer; what takes more goes to the slow path, so
/// that no name holds up the others. In microseconds, about a twentieth of this.
const SCAN_MAX: usize = 512;

/// What all responders of one agent share. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The catalog.
    pub catalog: Reader,
    /// The choices in force; a reload stores new ones.
    pub settings: Arc<ArcSwap<Settings>>,
    /// How far the catalog may lag behind.
    pub freshness: Arc<Freshness>,
    /// Records left out because no message can carry them (`dns_unencodable`).
    pub unencodable: Counter,
}

/// Answers the queries of one worker or connection. Cheap to make; owns what it needs to answer
/// without lock or allocation: the slots it has met, a random generator, scratch space.
#[derive(Debug)]
pub struct Responder {
    newest: arc_swap::Cache<Arc<ArcSwap<Settings>>, Arc<Settings>>,
    settings: Arc<Settings>,
    freshness: Arc<Freshness>,
    asked: Asked,
    last: handler::Asked,
    tools: Tools,
}

/// What answering needs besides the query.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) catalog: Reader,
    services: Cache<ServiceView>,
    nodes: Cache<NodeView>,
    pub(super) random: Random,
    pub(super) scratch: Scratch,
    pub(super) glue: Vec<Glue>,
    pub(super) dotted: Dotted,
    /// The name being followed in a chain of aliases.
    pub(super) inner: Name,
    /// Why no instance of the service asked is eligible.
    pub(super) reasons: Reasons,
    /// Whether the answer is marked as stale.
    stale: bool,
    unencodable: Counter,
    memory: Memory,
    /// Names that servers have told of for this query.
    known: Vec<(Wanted, Presence)>,
    /// What the answer lacks.
    lack: Option<Lack>,
    /// Something that exists went while it was being answered.
    torn: bool,
    /// The query, where it may be needed again.
    query: Vec<u8>,
}

/// What the catalog is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    /// It has everything that exists.
    Whole,
    /// It has what was asked for before.
    Partial,
    /// It does not count for names that are not in [`Tools::known`].
    Outdated,
}

/// What the parts that write records need to know of a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) settings: &'a Settings,
    pub(super) qtype: u16,
    /// Most answers of a service: `udp_answer_limit` for a client that has not said what it takes.
    pub(super) answers_max: usize,
    /// Most instances to look at one by one: those of names with several tags.
    pub(super) scan_max: usize,
}

/// How a query ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) rcode: Rcode,
    pub(super) truncated: bool,
    /// The text of [`Code::Other`] are [`Tools::reasons`].
    pub(super) error: Option<Code>,
}

impl Verdict {
    /// NOERROR with what was written.
    pub(super) fn answered(truncated: bool) -> Self {
        Self {
            rcode: Rcode::NoError,
            truncated,
            error: None,
        }
    }

    fn failed(code: Code) -> Self {
        Self {
            rcode: Rcode::ServFail,
            truncated: false,
            error: Some(code),
        }
    }
}

impl Tools {
    /// Tools that have met no name yet.
    pub(super) fn new(catalog: Reader, unencodable: Counter) -> Self {
        let mut random = Random::new();
        Self {
            memory: if catalog.is_whole() {
                Memory::Whole
            } else {
                Memory::Partial
            },
            known: Vec::new(),
            lack: None,
            torn: false,
            query: Vec::new(),
            catalog,
            services: Cache::new(random.next()),
            nodes: Cache::new(random.next()),
            random,
            scratch: Scratch::default(),
            glue: Vec::new(),
            dotted: Dotted::default(),
            inner: Name::default(),
            reasons: Reasons::default(),
            stale: false,
            unencodable,
        }
    }

    /// A service by its name in lower case, with its TTL. A label with a dot in it (`a\.b`) names
    /// none: dots separate tags.
    pub(super) fn service(
        &mut self,
        folded: &[u8],
        settings: &Settings,
    ) -> Option<(View<ServiceView>, u32)> {
        if folded.contains(&b'.') {
            return None;
        }
        if self.memory == Memory::Outdated
            && !is_known(&self.known, |wanted| is_service(wanted, folded))
        {
            self.miss(service_of(folded));
            return None;
        }
        let dns = self.catalog.dns();
        let found = self.services.view(folded, || {
            Some((dns.service(folded)?, settings.service_ttl(folded)))
        });
        if found.is_none() && self.memory != Memory::Whole {
            self.miss(service_of(folded));
        }
        found
    }

    /// A node by its name in lower case.
    pub(super) fn node(&mut self, folded: &[u8]) -> Option<View<NodeView>> {
        if self.memory == Memory::Outdated
            && !is_known(&self.known, |wanted| is_node(wanted, folded))
        {
            self.miss(node_of(folded));
            return None;
        }
        let dns = self.catalog.dns();
        let found = self.nodes.view(folded, || Some((dns.node(folded)?, 0)));
        if found.is_none() && self.memory != Memory::Whole {
            self.miss(node_of(folded));
        }
        found.map(|(view, _)| view)
    }

    /// The node whose name are the labels of `wire`.
    pub(super) fn node_of_labels(&mut self, wire: &[u8]) -> Result<View<NodeView>, bool> {
        let dns = self.catalog.dns();
        let folded = self.dotted.join(wire).ok_or(false)?;
        let usable = self.memory != Memory::Outdated
            || is_known(&self.known, |wanted| is_node(wanted, folded));
        let found = if usable {
            self.nodes.view(folded, || Some((dns.node(folded)?, 0)))
        } else {
            None
        };
        if let Some((view, _)) = found {
            return Ok(view);
        }
        let is_suffix = dns.is_node_suffix(folded);
        if self.memory != Memory::Whole {
            let wanted = node_of(folded);
            self.miss(wanted);
        }
        Err(is_suffix)
    }

    /// Who has an address.
    pub(super) fn owner_of(&mut self, ip: IpAddr) -> Option<AddressOwner> {
        let known = is_known(&self.known, |wanted| *wanted == Wanted::Address(ip));
        if self.memory == Memory::Outdated && !known {
            self.miss(Some(Wanted::Address(ip)));
            return None;
        }
        let owner = self.catalog.dns().owner_of(ip);
        if owner.is_none() && self.memory != Memory::Whole {
            self.miss(Some(Wanted::Address(ip)));
        }
        owner
    }

    /// Whether some instance has a tag. Where not all instances are here nobody can say, and what
    /// may exist must not be called missing.
    pub(super) fn is_tag(&self, folded: &[u8]) -> bool {
        self.memory != Memory::Whole || self.catalog.dns().is_tag(folded)
    }

    /// Something is not in memory, which does not have everything. What nothing can be called does
    /// not exist.
    #[cold]
    fn miss(&mut self, wanted: Option<Wanted>) {
        let Some(wanted) = wanted else { return };
        let mut known = self.known.iter();
        match known.find(|(known, _)| *known == wanted) {
            Some((_, Presence::Missing)) => {}
            Some((_, Presence::Present)) => self.torn = true,
            None => {
                let fresh = self.memory == Memory::Outdated;
                self.lack.get_or_insert(Lack::Name { wanted, fresh });
            }
        }
    }

    /// Begins with a query, of which `known` is known.
    fn begin(&mut self, query: &[u8], known: Option<&Known>) {
        self.lack = None;
        self.torn = false;
        if self.memory != Memory::Whole {
            self.memory = Memory::Partial;
            self.query.clear();
            self.query.extend_from_slice(query);
            self.known.clear();
            let names = known.into_iter().flat_map(|known| &known.names);
            self.known.extend(names.cloned());
        }
    }

    /// Counts a record that no message can carry.
    pub(super) fn count_unencodable(&self) {
        self.unencodable.inc();
    }
}

fn parse<N: FromStr>(folded: &[u8]) -> Option<N> {
    std::str::from_utf8(folded).ok()?.parse().ok()
}

fn is_known(known: &[(Wanted, Presence)], is_it: impl Fn(&Wanted) -> bool) -> bool {
    known.iter().any(|(wanted, _)| is_it(wanted))
}

fn service_of(folded: &[u8]) -> Option<Wanted> {
    parse(folded).map(Wanted::Service)
}

fn node_of(folded: &[u8]) -> Option<Wanted> {
    parse(folded).map(Wanted::Node)
}

fn is_service(wanted: &Wanted, folded: &[u8]) -> bool {
    matches!(wanted, Wanted::Service(name) if name.as_str().as_bytes() == folded)
}

fn is_node(wanted: &Wanted, folded: &[u8]) -> bool {
    matches!(wanted, Wanted::Node(name) if name.as_str().as_bytes() == folded)
}

impl Responder {
    /// A responder that has met no name yet.
    pub fn new(sources: Sources) -> Self {
        let settings = sources.settings.load_full();
        Self {
            newest: arc_swap::Cache::new(sources.settings),
            settings,
            freshness: sources.freshness,
            asked: Asked::default(),
            last: handler::Asked::default(),
            tools: Tools::new(sources.catalog, sources.unencodable),
        }
    }

    /// `known` is what the slow path has learned; `None` on a worker, which leaves to that path what
    /// memory lacks or what takes too long.
    fn respond(&mut self, received: &Received, buffer: &mut [u8], known: Option<&Known>) -> Reply {
        if !Arc::ptr_eq(self.newest.load(), &self.settings) {
            // TTLs are kept beside the slots.
            self.settings = Arc::clone(self.newest.load());
            self.tools.services.clear();
        }
        let settings = &*self.settings;
        let zone = &*settings.primary().wire;
        self.last = handler::Asked::default();
        let query = buffer.get(..received.length).unwrap_or_default();
        self.tools.begin(query, known);
        let packet = decode(buffer, received.length, &mut self.asked);
        let edns = self.asked.edns.as_ref();
        let bare = |buffer: &mut [u8], rcode| {
            let octets_max = octets_max(received.transport, edns, settings);
            let mut message = Message::new(buffer, settings, zone, HEADER_OCTETS, octets_max, edns);
            Reply::Send(message.finish(refusal(rcode), edns, &[]))
        };
        match packet {
            Packet::Ignored => Reply::Drop,
            Packet::Malformed => bare(buffer, Rcode::FormErr),
            Packet::OtherOperation => bare(buffer, Rcode::NotImp),
            Packet::Empty => bare(buffer, Rcode::Refused),
            Packet::Query(query) => {
                self.last.qtype = Some(query.qtype);
                let exchange = Exchange {
                    settings,
                    freshness: &self.freshness,
                    name: &self.asked.name,
                    edns,
                    query,
                    transport: received.transport,
                    known,
                };
                let reply = exchange.reply(&mut self.tools, buffer);
                let reply = exchange.complete(&mut self.tools, buffer, reply);
                self.last.stale = self.tools.stale;
                reply
            }
        }
    }
}

impl Handler for Responder {
    fn handle(&mut self, received: &Received, buffer: &mut [u8]) -> Reply {
        self.respond(received, buffer, None)
    }

    /// Never defers to the leader, however old this server's state is: stale answers are marked, or
    /// SERVFAIL where `allow_stale` is off. Takes the time that it takes.
    fn handle_alone(&mut self, received: &Received, buffer: &mut [u8]) -> Reply {
        self.respond(received, buffer, Some(&Known::alone()))
    }

    fn handle_knowing(&mut self, received: &Received, buffer: &mut [u8], known: &Known) -> Reply {
        self.respond(received, buffer, Some(known))
    }

    fn lacks(&mut self) -> Option<Lack> {
        self.tools.lack.take()
    }

    fn asked(&self) -> handler::Asked {
        self.last
    }
}

/// Most octets of a reply.
fn octets_max(transport: Transport, edns: Option<&Edns>, settings: &Settings) -> usize {
    let octets = match (transport, edns) {
        (Transport::Tcp, _) => u16::MAX,
        // RFC 6891 §6.2.3: "Values lower than 512 MUST be treated as equal to 512."
        (Transport::Udp, Some(edns)) => edns
            .size
            .clamp(UDP_OCTETS_MIN, UDP_OCTETS_MAX)
            .min(settings.udp_response_max),
        (Transport::Udp, None) => UDP_OCTETS_MIN,
    };
    octets.into()
}

fn refusal(rcode: Rcode) -> Conclusion {
    Conclusion {
        rcode,
        authoritative: false,
        truncated: false,
    }
}

/// One well-formed query on its way to an answer.
struct Exchange<'a> {
    settings: &'a Settings,
    freshness: &'a Freshness,
    name: &'a Name,
    edns: Option<&'a Edns>,
    query: Query,
    transport: Transport,
    /// What the slow path has learned; `None` on a worker.
    known: Option<&'a Known>,
}

impl Exchange<'_> {
    fn reply(&self, tools: &mut Tools, buffer: &mut [u8]) -> Reply {
        tools.stale = false;
        // RFC 6891 §6.1.3: "If a responder does not implement the VERSION level of the request,
        // then it MUST respond with RCODE=BADVERS."
        if self.edns.is_some_and(|edns| edns.version > 0) {
            return self.refuse(buffer, Rcode::BadVers);
        }
        if !matches!(self.query.class, CLASS_IN | CLASS_ANY) {
            return self.refuse(buffer, Rcode::Refused);
        }
        match self.settings.home(self.name) {
            Home::Outside => self.refuse(buffer, Rcode::Refused),
            Home::Slow => Reply::Slow,
            Home::Catalog(zone) => self.answer_catalog(tools, buffer, zone),
            Home::Reverse(zone) => self.answer_reverse(tools, buffer, zone),
        }
    }

    /// The reply, unless it was made without something that memory may lack.
    fn complete(&self, tools: &mut Tools, buffer: &mut [u8], reply: Reply) -> Reply {
        let lacks_name = matches!(tools.lack, Some(Lack::Name { .. }));
        // Before there is a catalog, what is answered here does without one.
        if !self.freshness.is_loaded() {
            return reply;
        }
        if !lacks_name && !tools.torn {
            return reply;
        }
        let query = buffer.iter_mut().zip(&tools.query);
        query.for_each(|(place, octet)| *place = *octet);
        let is_final = self.known.is_some_and(|known| known.alone) || !lacks_name;
        if !is_final {
            return Reply::Slow;
        }
        // Nobody can say whether it exists.
        tools.lack = None;
        let mut message = self.message(buffer, self.settings.primary());
        let verdict = Verdict::failed(Code::NotReady);
        self.conclude(tools, &mut message, verdict, Duration::ZERO)
    }

    fn refuse(&self, buffer: &mut [u8], rcode: Rcode) -> Reply {
        let mut message = self.message(buffer, self.settings.primary());
        Reply::Send(message.finish(refusal(rcode), self.edns, &[]))
    }

    fn answer_catalog(&self, tools: &mut Tools, buffer: &mut [u8], zone: &Zone) -> Reply {
        let zone_label = self.name.labels() - zone.labels;
        let subject = Subject::of(self.name, zone_label, self.settings);
        let is_static = matches!(subject, Subject::Address(_));
        let mut age = Duration::ZERO;
        let verdict = match self.staleness(tools, is_static) {
            _ if self.query.qtype == rtype::AXFR => Verdict {
                rcode: Rcode::NotImp,
                truncated: false,
                error: None,
            },
            Staleness::NotReady if subject.needs_catalog() => Verdict::failed(Code::NotReady),
            Staleness::AskLeader if !is_static => return Reply::Slow,
            Staleness::Unusable(verdict) if !is_static => verdict,
            staleness => {
                if let (Staleness::Usable(found), false) = (staleness, is_static) {
                    age = found;
                }
                let mut message = self.message(buffer, zone);
                message.reuse_question(self.name, zone_label);
                return match self.answer_subject(tools, &mut message, subject) {
                    Some(verdict) => self.conclude(tools, &mut message, verdict, age),
                    None => Reply::Slow,
                };
            }
        };
        self.conclude(tools, &mut self.message(buffer, zone), verdict, age)
    }

    fn answer_subject(
        &self,
        tools: &mut Tools,
        message: &mut Message<'_>,
        subject: Subject,
    ) -> Option<Verdict> {
        let context = self.context();
        let verdict = match subject {
            Subject::Apex => zone::answer_apex(&context, tools, message),
            Subject::NameServer => zone::answer_name_server(&context, tools, message),
            Subject::Empty => zone::deny(message, Rcode::NoError, Written::Apex),
            Subject::Missing => zone::deny(message, Rcode::NxDomain, Written::Apex),
            // What exists there is not known: NXDOMAIN would be a lie that resolvers keep.
            Subject::Unreachable => Verdict::failed(Code::NoReachableAuthority),
            Subject::Address(ip) => answer_address(&context, message, ip),
            Subject::Node { labels } => {
                node::answer(&context, tools, message, self.name.wire(0, labels))
            }
            Subject::Service { labels, implied } => {
                return service::answer(&context, tools, message, self.name, labels, implied);
            }
        };
        Some(verdict)
    }

    fn answer_reverse(&self, tools: &mut Tools, buffer: &mut [u8], zone: &Zone) -> Reply {
        let (verdict, age) = match self.staleness(tools, false) {
            Staleness::NotReady => (Some(Verdict::failed(Code::NotReady)), Duration::ZERO),
            Staleness::AskLeader => return Reply::Slow,
            Staleness::Unusable(verdict) => (Some(verdict), Duration::ZERO),
            Staleness::Usable(age) => (None, age),
        };
        // Names are made below the primary zone, which the question does not end in.
        let mut message = self.message(buffer, self.settings.primary());
        let verdict = match verdict {
            Some(verdict) => Some(verdict),
            None => reverse::answer(&self.context(), tools, &mut message, self.name, zone),
        };
        match verdict {
            Some(verdict) => self.conclude(tools, &mut message, verdict, age),
            None => Reply::Slow,
        }
    }

    fn context(&self) -> Context<'_> {
        // A size of 512 says no more than no OPT at all.
        let is_small = self.transport == Transport::Udp
            && self.edns.is_none_or(|edns| edns.size <= UDP_OCTETS_MIN);
        Context {
            settings: self.settings,
            qtype: self.query.qtype,
            answers_max: if is_small {
                self.settings.udp_answer_limit
            } else {
                usize::MAX
            },
            scan_max: self.known.map_or(SCAN_MAX, |_| usize::MAX),
        }
    }

    fn message<'b>(&'b self, buffer: &'b mut [u8], zone: &'b Zone) -> Message<'b> {
        let octets_max = octets_max(self.transport, self.edns, self.settings);
        let end = self.query.end;
        Message::new(
            buffer,
            self.settings,
            &zone.wire,
            end,
            octets_max,
            self.edns,
        )
    }

    fn conclude(
        &self,
        tools: &mut Tools,
        message: &mut Message<'_>,
        verdict: Verdict,
        age: Duration,
    ) -> Reply {
        tools.stale = age > STALE_AFTER;
        let stale = tools.stale.then_some(match verdict.rcode {
            Rcode::NxDomain => Code::StaleNxdomain,
            _ => Code::StaleAnswer,
        });
        let conclusion = Conclusion {
            rcode: verdict.rcode,
            authoritative: true,
            truncated: verdict.truncated,
        };
        let edns = self.edns;
        let errors = [stale, verdict.error];
        let octets = if edns.is_none() || errors == [None, None] {
            message.finish(conclusion, edns, &[])
        } else {
            let reasons = || Text::new(format_args!("{}", tools.reasons));
            let text = |code| (code == Code::Other).then(reasons);
            message.finish(
                conclusion,
                edns,
                &errors.map(|code| Some((code?, text(code?)))),
            )
        };
        Reply::Send(octets)
    }

    /// Asks `tools` to look nowhere but in what is known where a client agent's memory is not enough.
    fn staleness(&self, tools: &mut Tools, is_static: bool) -> Staleness {
        if !self.freshness.is_loaded() {
            return Staleness::NotReady;
        }
        if self.freshness.leads() {
            return Staleness::Usable(Duration::ZERO);
        }
        let age = self.freshness.age();
        let allowed = self.settings.allow_stale;
        if is_static || (allowed && age <= self.settings.max_stale) {
            return Staleness::Usable(age);
        }
        match self.known.map(|known| known.leader) {
            None => Staleness::AskLeader,
            Some(Leader::Followed) => Staleness::Usable(Duration::ZERO),
            Some(Leader::NotAsked) if tools.memory == Memory::Whole => {
                tools.lack = Some(Lack::Freshness);
                Staleness::AskLeader
            }
            Some(Leader::NotAsked) => {
                tools.memory = Memory::Outdated;
                Staleness::Usable(Duration::ZERO)
            }
            Some(Leader::Lost) if allowed => Staleness::Usable(age),
            Some(Leader::Lost) => Staleness::Unusable(Verdict::failed(Code::NoReachableAuthority)),
        }
    }
}

/// Whether this server's memory may be answered from.
enum Staleness {
    /// There is nothing in it yet.
    NotReady,
    /// It may; it is this old.
    Usable(Duration),
    /// The leader is to be asked first, off the hot path.
    AskLeader,
    /// It may not.
    Unusable(Verdict),
}

/// `<hex>.addr`: the address in its own name; other types are NODATA.
fn answer_address(context: &Context<'_>, message: &mut Message<'_>, ip: IpAddr) -> Verdict {
    let ttl = context.settings.node_ttl;
    if !fits_type(context.qtype, ip) {
        return zone::deny(message, Rcode::NoError, Written::Apex);
    }
    let written = message.address(Section::Answer, Written::Question, ttl, ip);
    Verdict::answered(written == Err(Unwritten::Full))
}

/// Whether a question of this type asks for this address.
pub(super) fn fits_type(qtype: u16, ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => matches!(qtype, rtype::A | rtype::ANY),
        IpAddr::V6(_) => matches!(qtype, rtype::AAAA | rtype::ANY),
    }
}
