//! How a pool is run.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::gossip::keyring::Keyring;
use crate::gossip::serf::{self, Own};
use crate::gossip::{swim, wire};

/// Which pool it is; also the value of the label `pool` in the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The agents of one datacenter.
    Lan,
    /// The servers of all datacenters.
    Wan,
}

impl Scope {
    /// The word for it: `lan` or `wan`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Wan => "wan",
        }
    }
}

/// How a pool is run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which pool it is.
    pub scope: Scope,
    /// Address and port to listen on, UDP and TCP. Port 0 takes a free one.
    pub bind: SocketAddr,
    /// Who this node is; a port of 0 in its address stands for the one that was bound.
    pub own: Own,
    /// Timing of membership. What the layers around a packet add is taken off its
    /// `packet_octets_max` here.
    pub swim: swim::Config,
    /// Timing of the layer above.
    pub serf: serf::Config,
    /// How packets and streams are wrapped.
    pub wire: wire::Settings,
    /// The keys; `None` for no encryption.
    pub keyring: Option<Keyring>,
    /// Where the keys are kept when they change; `None` not to keep them.
    pub keyring_file: Option<PathBuf>,
    /// Where the members are kept for a restart; `None` not to keep them.
    pub snapshot: Option<PathBuf>,
    /// Whether members that were kept are joined although this node had left
    /// (`rejoin_after_leave`).
    pub rejoin_after_leave: bool,
    /// Networks whose members are talked to; empty for all (`serf_lan_allowed_cidrs`).
    pub allowed: Vec<Network>,
    /// Streams served at a time. 128; of one address 8.
    pub streams_max: usize,
}

/// A range of addresses, as in `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// First address.
    pub address: IpAddr,
    /// Leading bits that count.
    pub prefix: u8,
}

/// The text is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid CIDR address: {0}")]
pub struct NetworkError(pub String);

impl Network {
    /// Whether `ip` is in it. An IPv4 address mapped into IPv6 is the IPv4 address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(ip)) => {
                let differing = u32::from(first) ^ u32::from(ip);
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(first), IpAddr::V6(ip)) => {
                let differing = u128::from(first) ^ u128::from(ip);
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || NetworkError(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let prefix: u8 = prefix.parse().map_err(|_| invalid())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if prefix > bits {
            return Err(invalid());
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

/// Whether one of `allowed` contains `ip`; all do where there are none.
pub(super) fn is_allowed(allowed: &[Network], ip: IpAddr) -> bool {
    allowed.is_empty() || allowed.iter().any(|network| network.contains(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        for (network, ip, contains) in [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("10.0.0.7/32", "10.0.0.7", true),
            ("10.0.0.7/32", "10.0.0.6", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "::1", true),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(
                network.contains(ip.parse().unwrap()),
                contains,
                "{network} {ip}"
            );
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "10.0.0.0",
            "10.0.0.0/33",
            "::/129",
            "x/8",
            "10.0.0.0/",
            "/8",
            "",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
