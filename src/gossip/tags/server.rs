//! Reading the tags of a server.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::types::{Datacenter, Member, MemberStatus, NodeId};

use super::{IMPLEMENTATION, Role, text};
use crate::gossip::serf::Tags;

/// A member that can be used as a server, of a LAN or WAN pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name in the pool: in the WAN pool with its datacenter at the end.
    pub name: String,
    /// Its node's id, where it tells one.
    pub id: Option<NodeId>,
    /// Its datacenter.
    pub datacenter: Datacenter,
    /// Where it takes connections of agents and servers.
    pub address: SocketAddr,
    /// Port of the WAN pool; `None` if it tells none.
    pub wan_join_port: Option<u16>,
    /// Whether it may lead alone.
    pub bootstrap: bool,
    /// Servers that it waits for before a first leader is chosen; 0 for none.
    pub expect: u32,
    /// Version that features are decided by.
    pub build: Build,
    /// Version of the protocol between agents and servers; below 2 is not spoken any more.
    pub protocol: u32,
    /// Version of the protocol between servers; 0 if it tells none.
    pub raft_version: u32,
    /// Whether it only reads: it has no vote.
    pub read_replica: bool,
    /// Whether it tells that its port takes TLS.
    pub tls: bool,
    /// What it runs, as in `herald/0.1.0`; empty if it does not say.
    pub implementation: String,
    /// Newest kind of command that it can apply; `None` if it tells none.
    pub commands: Option<u16>,
    /// How it stands in the pool.
    pub status: MemberStatus,
}

/// A release, as in `1.8.7`. Releases compare by their age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Build {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number.
    pub patch: u32,
}

impl Build {
    /// The first three numbers with dots between them that stand anywhere in `text`.
    pub fn find(text: &str) -> Option<Self> {
        let mut rest = text;
        loop {
            rest = rest.get(rest.find(|letter: char| letter.is_ascii_digit())?..)?;
            if let Some([major, minor, patch]) = three_numbers(rest) {
                return Some(Self {
                    major: major.parse().ok()?,
                    minor: minor.parse().ok()?,
                    patch: patch.parse().ok()?,
                });
            }
            let after = rest.find(|letter: char| !letter.is_ascii_digit())?;
            rest = rest.get(after..)?;
        }
    }
}

impl fmt::Display for Build {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The numbers that `text` begins with, if they are three with dots between them.
fn three_numbers(text: &str) -> Option<[&str; 3]> {
    let (major, rest) = digits(text)?;
    let (minor, rest) = digits(rest.strip_prefix('.')?)?;
    let (patch, _) = digits(rest.strip_prefix('.')?)?;
    Some([major, minor, patch])
}

/// The digits that `text` begins with, at least one, and what follows them.
fn digits(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit());
    let (digits, rest) = text.split_at_checked(end.unwrap_or(text.len()))?;
    (!digits.is_empty()).then_some((digits, rest))
}

impl Server {
    /// Reads a member; `None` if it is no server, or says something of itself that cannot be read.
    ///
    /// It must have the role, a port, a protocol version, a release and a datacenter; numbers must
    /// be numbers wherever a server tells them.
    pub fn of(member: &Member) -> Option<Self> {
        Self::read(&member.name, member.address, &member.tags, member.status)
    }

    /// The same for somebody who is no member yet.
    pub(in crate::gossip) fn read(
        name: &str,
        ip: IpAddr,
        tags: &Tags,
        status: MemberStatus,
    ) -> Option<Self> {
        if Role::of(tags) != Role::Server || !extras_are_sound(tags) {
            return None;
        }
        let port = text(tags, "port").parse().ok().filter(|port| *port != 0)?;
        Some(Self {
            name: name.to_owned(),
            id: text(tags, "id").parse().ok(),
            datacenter: text(tags, "dc").parse().ok()?,
            address: SocketAddr::new(ip, port),
            wan_join_port: optional(tags, "wan_join_port")?,
            bootstrap: tags.contains_key("bootstrap"),
            expect: optional(tags, "expect")?.unwrap_or(0),
            build: Build::find(text(tags, "build"))?,
            protocol: text(tags, "vsn").parse().ok()?,
            raft_version: optional(tags, "raft_vsn")?.unwrap_or(0),
            read_replica: tags.contains_key("nonvoter") || tags.contains_key("read_replica"),
            tls: tags.contains_key("use_tls"),
            implementation: text(tags, "impl").to_owned(),
            commands: optional(tags, "cmd")?,
            status,
        })
    }

    /// Whether it is a server of herald. Others are no peers: nothing is replicated to them, they
    /// get no entry in the catalog, and a server of herald asks them nothing.
    pub fn is_herald(&self) -> bool {
        self.implementation.starts_with(IMPLEMENTATION)
    }

    /// Name of its node: that in the pool without the datacenter, if that stands at its end.
    pub fn node(&self) -> &str {
        let node = self.name.strip_suffix(self.datacenter.as_str());
        let node = node.and_then(|node| node.strip_suffix('.'));
        node.filter(|node| !node.is_empty()).unwrap_or(&self.name)
    }
}

/// A number, `Some(None)` if it is missing and `None` if it is no such number.
#[expect(
    clippy::option_option,
    reason = "read with `?`: missing is fine, broken is not"
)]
fn optional<T: std::str::FromStr>(tags: &Tags, name: &str) -> Option<Option<T>> {
    match tags.get(name) {
        None => Some(None),
        Some(text) => text.parse().ok().map(Some),
    }
}

/// Features (`ft_`) are numbers, and addresses in segments (`sl_`) have a port.
fn extras_are_sound(tags: &Tags) -> bool {
    tags.iter().all(|(name, value)| {
        if name.starts_with("ft_") {
            value.parse::<i64>().is_ok()
        } else if name.starts_with("sl_") {
            let parts = value.rsplit_once(':');
            parts.is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        } else {
            true
        }
    })
}
