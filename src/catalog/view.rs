//! What DNS needs of nodes, instances and services, computed from the state.
//!
//! Owns which addresses, target, weight and standing an instance has; `subset` keeps the views in
//! order, `publish` decides when to make new ones.

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use imbl::OrdMap;

use crate::types::{Address, Node, NodeName, Service, ServiceId, ServiceName, Status};

use super::index::with_reversed_end;
use super::rdata;
use super::state::{CheckEntry, Instance, NodeEntry, ServiceEntry};
use super::subset::Subset;

/// What DNS needs of a node.
#[derive(Debug)]
pub struct NodeView {
    /// Name in registered spelling.
    pub name: NodeName,
    /// The name's labels in wire format, without the root; `None` where they cannot be encoded.
    pub labels: Option<Box<[u8]>>,
    /// Address for A: `lan_ipv4`, else the address if it is IPv4.
    pub v4: Option<Ipv4Addr>,
    /// Address for AAAA: `lan_ipv6`, else the address if it is IPv6.
    pub v6: Option<Ipv6Addr>,
    /// Address for ANY and for the glue of SRV: `lan_ipv6`, else `lan_ipv4`, else the address.
    pub any: Option<IpAddr>,
    /// The address when it is a host name: labels in wire format with the root, in registered case.
    pub host: Option<Box<[u8]>>,
    /// RDATA of one TXT record per metadata pair (RFC 1464 `key=value`), already split into
    /// character-strings.
    pub txt: Box<[Box<[u8]>]>,
}

/// What an instance's SRV record points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Own address: `<hex>.addr.<dc>.<domain>`.
    V4(Ipv4Addr),
    /// Own address: `<hex>.addr.<dc>.<domain>`.
    V6(Ipv6Addr),
    /// No own address: `<node>.node.<dc>.<domain>`.
    Node,
    /// Own address is a host name: labels in wire format with the root.
    Host(Box<[u8]>),
}

/// Which address records an instance can give. The order is that of [`Subset::instances`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Only A.
    V4,
    /// A and AAAA (tagged addresses of both families).
    Both,
    /// Only AAAA.
    V6,
    /// None: the address is a host name.
    Host,
}

/// What DNS needs of one eligible instance.
#[derive(Debug)]
pub struct InstanceView {
    /// Its node.
    pub node: Arc<NodeView>,
    /// Its id.
    pub id: ServiceId,
    /// Its tags in registered spelling.
    pub tags: Arc<[Arc<str>]>,
    /// Address for A.
    pub v4: Option<Ipv4Addr>,
    /// Address for AAAA.
    pub v6: Option<Ipv6Addr>,
    /// What SRV points to.
    pub target: Target,
    /// Port.
    pub port: u16,
    /// The weight that its state calls for.
    pub weight: u16,
    /// Whether any check of it or of its node warns.
    pub warning: bool,
}

/// What DNS needs of one service.
#[derive(Clone, Debug)]
pub struct ServiceView {
    /// Name in registered spelling.
    pub name: ServiceName,
    /// All instances.
    pub all: Subset,
    /// Instances by tag: in ASCII lower case and reversed, so that tags with an equal end stand
    /// side by side.
    by_tag: OrdMap<Box<[u8]>, Arc<Subset>>,
}

/// Longest tag that a question can name, in octets: with a zone below it, it would be shorter still
/// (RFC 1035 §2.3.4).
const TAG_OCTETS_MAX: usize = 253;

/// What checks say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    worst: Status,
    maintenance: bool,
}

/// Why a registered instance is in no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// A check is critical.
    Critical,
    /// It or its node is in maintenance.
    Maintenance,
    /// No message could carry its record.
    Unencodable,
}

/// Whether an instance may be answered.
pub type Eligibility = Result<Arc<InstanceView>, Exclusion>;

impl NodeView {
    pub(super) fn new(node: &Node) -> Self {
        let tagged = |label| node.tagged_addresses.get(label);
        let addresses = Addresses::new(&node.address, tagged("lan_ipv4"), tagged("lan_ipv6"));
        Self {
            labels: rdata::labels(node.name.as_str()),
            name: node.name.clone(),
            v4: addresses.v4,
            v6: addresses.v6,
            any: addresses.any,
            host: node.address.host().and_then(rdata::host),
            txt: node
                .meta
                .iter()
                .filter_map(|(key, value)| rdata::txt(key, value))
                .collect(),
        }
    }
}

impl InstanceView {
    /// Which address records it can give.
    pub fn family(&self) -> Family {
        match (self.v4, self.v6) {
            (Some(_), None) => Family::V4,
            (Some(_), Some(_)) => Family::Both,
            (None, Some(_)) => Family::V6,
            (None, None) => Family::Host,
        }
    }

    /// Address for ANY and for the glue of SRV; `None` for a host name.
    pub fn any(&self) -> Option<IpAddr> {
        match &self.target {
            Target::V4(ip) => Some(IpAddr::V4(*ip)),
            Target::V6(ip) => Some(IpAddr::V6(*ip)),
            Target::Node => self.node.any,
            Target::Host(_) => self.v4.map(IpAddr::V4).or(self.v6.map(IpAddr::V6)),
        }
    }

    /// The host name that its address is, in wire format with the root.
    pub fn host(&self) -> Option<&[u8]> {
        match &self.target {
            Target::Host(host) => Some(host),
            Target::Node => self.node.host.as_deref(),
            Target::V4(_) | Target::V6(_) => None,
        }
    }

    /// Order by address within one family.
    pub(super) fn compare_address(&self, other: &Self) -> Ordering {
        let by_ip = (self.v4, self.v6).cmp(&(other.v4, other.v6));
        by_ip.then_with(|| match self.family() {
            Family::Host => folded(self.host()).cmp(folded(other.host())),
            Family::V4 | Family::Both | Family::V6 => Ordering::Equal,
        })
    }

    /// As [`Self::compare_address`], but by the IPv4 address alone where there are two: members of
    /// a family that are equal in this give an equal record.
    pub(super) fn compare_record(&self, other: &Self) -> Ordering {
        match self.family() {
            Family::Both => self.v4.cmp(&other.v4),
            Family::V4 | Family::V6 | Family::Host => self.compare_address(other),
        }
    }

    /// Order of [`Subset::instances`].
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        (self.family(), self.warning)
            .cmp(&(other.family(), other.warning))
            .then_with(|| self.compare_address(other))
            .then_with(|| self.port.cmp(&other.port))
            .then_with(|| self.node.name.cmp(&other.node.name))
            .then_with(|| self.id.cmp(&other.id))
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.node, &other.node)
            && self.id.same_spelling(&other.id)
            && self.tags == other.tags
            && (self.v4, self.v6, &self.target) == (other.v4, other.v6, &other.target)
            && (self.port, self.weight, self.warning) == (other.port, other.weight, other.warning)
    }
}

fn folded(host: Option<&[u8]>) -> impl Iterator<Item = u8> {
    let octets = host.unwrap_or_default().iter();
    octets.map(u8::to_ascii_lowercase)
}

/// The addresses of a node or service for each type of question.
struct Addresses {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
    any: Option<IpAddr>,
}

impl Addresses {
    fn new(address: &Address, lan_v4: Option<&Address>, lan_v6: Option<&Address>) -> Self {
        let lan_v4 = lan_v4.and_then(v4_of);
        let lan_v6 = lan_v6.and_then(v6_of);
        Self {
            v4: lan_v4.or_else(|| v4_of(address)),
            v6: lan_v6.or_else(|| v6_of(address)),
            any: lan_v6
                .map(IpAddr::V6)
                .or(lan_v4.map(IpAddr::V4))
                .or_else(|| address.ip()),
        }
    }
}

fn v4_of(address: &Address) -> Option<Ipv4Addr> {
    match address.ip() {
        Some(IpAddr::V4(ip)) => Some(ip),
        Some(IpAddr::V6(_)) | None => None,
    }
}

fn v6_of(address: &Address) -> Option<Ipv6Addr> {
    match address.ip() {
        Some(IpAddr::V6(ip)) => Some(ip),
        Some(IpAddr::V4(_)) | None => None,
    }
}

impl Standing {
    /// Nothing is wrong.
    const GOOD: Self = Self {
        worst: Status::Passing,
        maintenance: false,
    };

    /// What `checks` say together.
    pub(super) fn of<'a>(checks: impl IntoIterator<Item = &'a Arc<CheckEntry>>) -> Self {
        let standings = checks.into_iter().map(|entry| {
            let worst = entry.check.status;
            let maintenance = worst == Status::Critical && entry.check.is_maintenance();
            Self { worst, maintenance }
        });
        standings.fold(Self::GOOD, Self::and)
    }

    fn and(self, other: Self) -> Self {
        Self {
            worst: self.worst.max(other.worst),
            maintenance: self.maintenance || other.maintenance,
        }
    }
}

impl Default for Standing {
    fn default() -> Self {
        Self::GOOD
    }
}

/// What DNS needs of `instance`, which runs on `node`.
///
/// # Errors
/// Why it is in no answer.
pub fn eligibility(node: &NodeEntry, instance: &Instance) -> Eligibility {
    let standing = node.standing.and(Standing::of(&instance.checks));
    match standing.worst {
        _ if standing.maintenance => Err(Exclusion::Maintenance),
        Status::Critical => Err(Exclusion::Critical),
        Status::Passing => instance_view(&node.view, &instance.service, false),
        Status::Warning => instance_view(&node.view, &instance.service, true),
    }
}

fn instance_view(node: &Arc<NodeView>, service: &Service, warning: bool) -> Eligibility {
    let tagged = |label| Some(&service.tagged_addresses.as_ref()?.get(label)?.address);
    let own = Addresses::new(&service.address, tagged("lan_ipv4"), tagged("lan_ipv6"));
    let host = service.address.host();
    let target = match (own.any, host) {
        (Some(IpAddr::V4(ip)), _) => Target::V4(ip),
        (Some(IpAddr::V6(ip)), _) => Target::V6(ip),
        (None, Some(host)) => Target::Host(rdata::host(host).ok_or(Exclusion::Unencodable)?),
        (None, None) => Target::Node,
    };
    // What the service leaves open is its node's; a host name leaves nothing open.
    let from_node = service.address.is_none();
    let view = InstanceView {
        id: service.id.clone(),
        tags: Arc::clone(&service.tags),
        v4: own.v4.or(node.v4.filter(|_| from_node)),
        v6: own.v6.or(node.v6.filter(|_| from_node)),
        target,
        port: service.port,
        weight: if warning {
            service.weights.warning
        } else {
            service.weights.passing
        },
        warning,
        node: Arc::clone(node),
    };
    let without_labels = view.target == Target::Node && node.labels.is_none();
    let without_address = view.family() == Family::Host && view.host().is_none();
    if without_labels || without_address {
        return Err(Exclusion::Unencodable);
    }
    Ok(Arc::new(view))
}

impl ServiceView {
    /// Instances with this tag (ASCII lower case, dots included); `None` if no registered instance
    /// has it.
    pub fn tagged(&self, folded: &[u8]) -> Option<&Subset> {
        let mut reversed = [0; TAG_OCTETS_MAX];
        let reversed = reversed.get_mut(..folded.len())?;
        reversed.copy_from_slice(folded);
        reversed.reverse();
        self.by_tag.get(&*reversed).map(|subset| &**subset)
    }

    /// Whether some dotted tag ends in `.` + `folded`: an empty non-terminal below the service.
    pub fn is_tag_suffix(&self, folded: &[u8]) -> bool {
        with_reversed_end(folded, |end| {
            let next = self.by_tag.get_next(end);
            next.is_some_and(|(tag, _)| tag.starts_with(end))
        })
    }

    /// The view of a whole service, made from nothing; `node` finds nodes.
    pub(super) fn build<'a>(
        service: &ServiceEntry,
        node: impl Fn(&NodeName) -> Option<&'a Arc<NodeEntry>>,
    ) -> Self {
        let mut all = Vec::with_capacity(service.len());
        let mut by_tag = std::collections::BTreeMap::<_, Vec<_>>::new();
        for instance in service.instances() {
            // An instance always has a node: see `edit`.
            let Some(node) = node(&instance.node) else {
                continue;
            };
            let eligibility = eligibility(node, instance);
            for tag in tag_keys(&instance.service.tags) {
                by_tag.entry(tag).or_default().push(eligibility.clone());
            }
            all.push(eligibility);
        }
        let by_tag = by_tag.into_iter();
        Self {
            name: service.name.clone(),
            all: Subset::build(all),
            by_tag: by_tag
                .map(|(tag, members)| (tag, Arc::new(Subset::build(members))))
                .collect(),
        }
    }

    /// Replaces one instance's part, `None` meaning that the instance does not exist. Whether
    /// anything changed; `None` if `old` is not in this view.
    pub(super) fn replace(
        &mut self,
        old: Option<(&Service, Eligibility)>,
        new: Option<(&Service, Eligibility)>,
    ) -> Option<bool> {
        let same = match (&old, &new) {
            (None, None) => true,
            (Some((_, Ok(old))), Some((_, Ok(new)))) => old.is_same(new),
            (Some((before, Err(old))), Some((after, Err(new)))) => {
                old == new && before.tags == after.tags
            }
            _ => false,
        };
        if same {
            return Some(false);
        }
        if let (Some((before, Ok(old))), Some((after, Ok(new)))) = (&old, &new)
            && old.compare(new).is_eq()
            && before.tags == after.tags
        {
            return self.renew(after, new).map(|()| true);
        }
        if let Some((service, eligibility)) = old {
            self.remove(service, &eligibility)?;
        }
        if let Some((service, eligibility)) = new {
            self.insert(service, &eligibility);
        }
        Some(true)
    }

    /// Puts another view of an instance in its old place.
    fn renew(&mut self, service: &Service, view: &Arc<InstanceView>) -> Option<()> {
        self.all.renew(view)?;
        for tag in tag_keys(&service.tags) {
            Arc::make_mut(self.by_tag.get_mut(&tag)?).renew(view)?;
        }
        Some(())
    }

    fn insert(&mut self, service: &Service, eligibility: &Eligibility) {
        self.all.insert(eligibility.clone());
        for tag in tag_keys(&service.tags) {
            let subset = self.by_tag.entry(tag).or_default();
            Arc::make_mut(subset).insert(eligibility.clone());
        }
    }

    fn remove(&mut self, service: &Service, eligibility: &Eligibility) -> Option<()> {
        self.all.remove(eligibility)?;
        for tag in tag_keys(&service.tags) {
            let subset = Arc::make_mut(self.by_tag.get_mut(&tag)?);
            subset.remove(eligibility)?;
            if subset.registered() == 0 {
                self.by_tag.remove(&tag);
            }
        }
        Some(())
    }

    #[cfg(test)]
    pub(super) fn subsets(&self) -> impl Iterator<Item = (&[u8], &Subset)> {
        self.by_tag.iter().map(|(tag, subset)| (&**tag, &**subset))
    }
}

/// The keys of an instance's tags in a view: each once, without those that no question can name.
fn tag_keys(tags: &[Arc<str>]) -> Vec<Box<[u8]>> {
    let mut keys: Vec<Box<[u8]>> = tags
        .iter()
        .filter(|tag| tag.len() <= TAG_OCTETS_MAX)
        .map(|tag| tag.bytes().rev().map(|o| o.to_ascii_lowercase()).collect())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
