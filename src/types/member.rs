//! Members of the gossip pool, as the API shows them.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// State of a member in the gossip pool; the numbers are those of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberStatus {
    /// Not known.
    None = 0,
    /// Answers probes.
    Alive = 1,
    /// Has announced that it goes.
    Leaving = 2,
    /// Has gone.
    Left = 3,
    /// Does not answer probes.
    Failed = 4,
}

impl MemberStatus {
    /// The word of the `members` table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Alive => "alive",
            Self::Leaving => "leaving",
            Self::Left => "left",
            Self::Failed => "failed",
        }
    }
}

/// One member of a gossip pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Node name.
    pub name: String,
    /// Gossip address.
    pub address: IpAddr,
    /// Gossip port.
    pub port: u16,
    /// What it says about itself: role, datacenter, build …
    pub tags: BTreeMap<String, String>,
    /// State.
    pub status: MemberStatus,
    /// What it speaks: least, greatest and spoken version of memberlist, then of serf.
    pub versions: [u8; 6],
}
