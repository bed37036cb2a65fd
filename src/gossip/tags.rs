//! What agents say of themselves in tags, and who is a server because of them.
//!
//! Consul agents and other herald agents read these tags, so names and forms are theirs. Two are
//! herald's own: `impl` (`herald/VERSION`) tells herald agents from others, and `cmd` tells the
//! newest command that a server can apply. Others skip what they do not know.
//!
//! **Invariant**: what others say is text until it has been read here; a member whose tags do not
//! read as those of a server is none.

mod server;

use crate::types::{Datacenter, Member, NodeId, NodeName};

use super::serf::Tags;

pub use server::{Build, Server};

/// The release of the reference whose features others in a pool may count on; what follows the
/// colon says whose build it is.
pub const BUILD: &str = "1.8.7:herald";
/// What `impl` begins with where herald runs; its own version follows.
const IMPLEMENTATION: &str = "herald/";
/// Role of a server.
const ROLE_SERVER: &str = "consul";
/// Role of a client agent.
const ROLE_CLIENT: &str = "node";
/// Version of the protocol between agents and servers, and the range that is understood.
const PROTOCOL: [(&str, &str); 3] = [("vsn", "2"), ("vsn_min", "2"), ("vsn_max", "3")];
/// Version of the protocol between servers that others decide by.
const RAFT_VERSION: &str = "3";

/// This agent, as its tags tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its node.
    pub node: NodeName,
    /// The node's id.
    pub id: NodeId,
    /// Its datacenter.
    pub datacenter: Datacenter,
    /// Version of herald, as in `0.1.0`.
    pub version: String,
    /// What it says as a server; `None` for a client agent.
    pub server: Option<AgentServer>,
}

/// What a server says beyond that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentServer {
    /// Port of the servers' protocol. Default 8300.
    pub port: u16,
    /// Port of the WAN pool, told in the LAN pool; `None` where that pool is off. Default 8302.
    pub wan_join_port: Option<u16>,
    /// Whether it may lead alone (`bootstrap`).
    pub bootstrap: bool,
    /// Servers that it waits for before a first leader is chosen (`bootstrap_expect`); 0 for none.
    pub expect: u32,
    /// Whether it tells that its port takes TLS, which agents with authorities of their own use
    /// then. Default no.
    pub tls: bool,
    /// Newest kind of command that it can apply.
    pub commands: u16,
}

impl Agent {
    /// What it says in the LAN pool.
    pub fn lan_tags(&self) -> Tags {
        let Some(server) = &self.server else {
            return self.common(ROLE_CLIENT);
        };
        let mut tags = self.server_tags(server);
        if let Some(port) = server.wan_join_port {
            tags.insert("wan_join_port".to_owned(), port.to_string());
        }
        tags
    }

    /// What it says in the WAN pool; `None` for a client agent, which is not in it.
    pub fn wan_tags(&self) -> Option<Tags> {
        self.server.as_ref().map(|server| self.server_tags(server))
    }

    /// Its name in the WAN pool: `NODE.DATACENTER`.
    pub fn wan_name(&self) -> String {
        format!("{}.{}", self.node, self.datacenter)
    }

    fn common(&self, role: &str) -> Tags {
        let own = [
            // Access control is off.
            ("acls", "0".to_owned()),
            ("build", BUILD.to_owned()),
            ("dc", self.datacenter.to_string()),
            ("id", self.id.to_string()),
            ("impl", format!("{IMPLEMENTATION}{}", self.version)),
            ("role", role.to_owned()),
            ("segment", String::new()),
        ];
        let protocol = PROTOCOL.map(|(name, value)| (name, value.to_owned()));
        let all = own.into_iter().chain(protocol);
        all.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn server_tags(&self, server: &AgentServer) -> Tags {
        let flag = |set: bool| set.then(|| "1".to_owned());
        let expect = (server.expect > 0).then(|| server.expect.to_string());
        let further = [
            ("bootstrap", flag(server.bootstrap)),
            ("cmd", Some(server.commands.to_string())),
            ("expect", expect),
            ("ft_fs", flag(true)),
            ("port", Some(server.port.to_string())),
            ("raft_vsn", Some(RAFT_VERSION.to_owned())),
            ("use_tls", flag(server.tls)),
        ];
        let further = further.into_iter();
        let further = further.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        self.common(ROLE_SERVER)
            .into_iter()
            .chain(further)
            .collect()
    }
}

/// What a member is to people who read tables of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Says that it is a server, whoever's. Whether it can be used as one, [`Server::of`] tells.
    Server,
    /// A client agent.
    Client,
    /// Anything else, as a plain serf agent.
    Unknown,
}

impl Role {
    /// What `tags` say.
    pub fn of(tags: &Tags) -> Self {
        match text(tags, "role") {
            ROLE_SERVER => Self::Server,
            ROLE_CLIENT => Self::Client,
            _ => Self::Unknown,
        }
    }

    /// `server`, `client` or `unknown`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether whoever has `tags` runs herald.
pub fn is_herald(tags: &Tags) -> bool {
    text(tags, "impl").starts_with(IMPLEMENTATION)
}

/// Whether whoever has `tags` says that it is a server, and not one of herald: the two cannot
/// replicate to each other.
pub fn is_foreign_server(tags: &Tags) -> bool {
    Role::of(tags) == Role::Server && !is_herald(tags)
}

/// The node id that `member` tells, if it is one.
pub fn node_id(member: &Member) -> Option<NodeId> {
    text(&member.tags, "id").parse().ok()
}

/// A tag; empty if it is missing, which means the same everywhere.
pub(super) fn text<'t>(tags: &'t Tags, name: &str) -> &'t str {
    tags.get(name).map(String::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
