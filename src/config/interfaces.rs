//! The addresses of this machine's interfaces, and what address templates ask about them. The sets
//! of networks are those of the RFCs named beside them.

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::net::if_::InterfaceFlags;

/// One address of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    /// Name, as in `eth0`.
    pub(super) name: String,
    /// Its address.
    pub(super) address: IpAddr,
    /// Length of the network's prefix, in bits.
    pub(super) prefix: u8,
    /// What the system says about it.
    pub(super) flags: InterfaceFlags,
    /// Whether the default route leaves through it.
    pub(super) default: bool,
}

/// Every address of this machine, in the system's order; none if the system does not tell.
pub(super) fn all() -> Vec<Interface> {
    let Ok(found) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    let default = default_interface();
    let address_of = |storage: nix::sys::socket::SockaddrStorage| -> Option<IpAddr> {
        let v4 = storage.as_sockaddr_in().map(|address| address.ip().into());
        v4.or_else(|| storage.as_sockaddr_in6().map(|address| address.ip().into()))
    };
    found
        .filter_map(|found| {
            Some(Interface {
                address: address_of(found.address?)?,
                prefix: found.netmask.and_then(address_of).map_or(0, ones),
                flags: found.flags,
                default: default.as_deref() == Some(&*found.interface_name),
                name: found.interface_name,
            })
        })
        .collect()
}

/// Bits set in a netmask.
fn ones(mask: IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(mask) => mask.to_bits().count_ones(),
        IpAddr::V6(mask) => mask.to_bits().count_ones(),
    };
    u8::try_from(ones).expect("an address has at most 128 bits")
}

/// The interface of the IPv4 default route, as Linux tells it.
fn default_interface() -> Option<String> {
    let routes = std::fs::read_to_string("/proc/net/route").ok()?;
    routes.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace();
        let (name, destination) = (columns.next()?, columns.next()?);
        (destination == "00000000").then(|| name.to_owned())
    })
}

impl Interface {
    /// Whether the system has set this flag.
    pub(super) fn has(&self, flag: InterfaceFlags) -> bool {
        self.flags.contains(flag)
    }

    /// Whether its address lies in `network`.
    pub(super) fn is_within(&self, network: &Network) -> bool {
        network.contains(self.address)
    }

    /// Whether its address is set apart for special purposes (RFC 6890), mostly private use.
    pub(super) fn is_private(&self) -> bool {
        self.is_in(&SPECIAL)
    }

    /// Whether routers pass on what comes from its address (RFC 6890 §2.2).
    pub(super) fn is_forwardable(&self) -> bool {
        !self.is_in(&NOT_FORWARDED)
    }

    /// Whether its address lies in one of the networks of a table of this file.
    pub(super) fn is_in(&self, networks: &[&str]) -> bool {
        networks.iter().any(|text| {
            let network: Network = text.parse().expect("the tables hold networks");
            network.contains(self.address)
        })
    }

    /// IPv4 first.
    pub(super) fn compare_type(&self, other: &Self) -> Ordering {
        self.address.is_ipv6().cmp(&other.address.is_ipv6())
    }

    /// The larger network, which has the shorter prefix, first.
    pub(super) fn compare_size(&self, other: &Self) -> Ordering {
        self.prefix.cmp(&other.prefix)
    }

    /// Those of the default route first.
    pub(super) fn compare_default(&self, other: &Self) -> Ordering {
        other.default.cmp(&self.default)
    }

    /// The network that it is part of, as in `10.0.0.0/8`.
    pub(super) fn network(&self) -> String {
        let network = Network {
            base: self.address,
            prefix: self.prefix,
        };
        format!("{}/{}", network.first(), self.prefix)
    }
}

/// A network: an address and the number of its first bits that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    base: IpAddr,
    prefix: u8,
}

impl std::str::FromStr for Network {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (base, prefix) = text.split_once('/').unwrap_or((text, ""));
            let base: IpAddr = base.parse().ok()?;
            let prefix = match prefix {
                "" => bits(base),
                prefix => prefix.parse().ok()?,
            };
            (prefix <= bits(base)).then_some(Self { base, prefix })
        };
        parsed().ok_or_else(|| format!("{text:?} is not a network such as \"10.0.0.0/8\""))
    }
}

impl From<Network> for crate::gossip::pool::Network {
    fn from(network: Network) -> Self {
        Self {
            address: network.first(),
            prefix: network.prefix,
        }
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        let other = Self {
            base: address,
            prefix: self.prefix,
        };
        address.is_ipv4() == self.base.is_ipv4() && other.first() == self.first()
    }

    /// Its first address.
    fn first(&self) -> IpAddr {
        let shift = u32::from(bits(self.base) - self.prefix.min(bits(self.base)));
        match self.base {
            IpAddr::V4(base) => {
                let mask = u32::MAX.checked_shl(shift).unwrap_or(0);
                Ipv4Addr::from_bits(base.to_bits() & mask).into()
            }
            IpAddr::V6(base) => {
                let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
                Ipv6Addr::from_bits(base.to_bits() & mask).into()
            }
        }
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The networks that an RFC sets apart; `None` where that RFC is not known.
pub(super) fn networks_of(number: u32) -> Option<&'static [&'static str]> {
    Some(match number {
        919 => &["255.255.255.255/32"],
        1112 => &["224.0.0.0/4"],
        1122 => &["0.0.0.0/8", "127.0.0.0/8"],
        1918 => &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"],
        3927 => &["169.254.0.0/16"],
        4193 => &["fc00::/7"],
        4291 => &["::/128", "::1/128", "fe80::/10", "ff00::/8"],
        5735 => &[
            "192.0.2.0/24",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "198.18.0.0/15",
        ],
        6598 => &["100.64.0.0/10"],
        6890 => &SPECIAL,
        _ => return None,
    })
}

/// RFC 6890 §2.2.2 and §2.2.3.
const SPECIAL: [&str; 27] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "::1/128",
    "::/128",
    "64:ff9b::/96",
    "::ffff:0:0/96",
    "100::/64",
    "2001::/23",
    "2001:2::/48",
    "2001:db8::/32",
    "2001:10::/28",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
];

/// Those of them whose column "Forwardable" says no.
const NOT_FORWARDED: [&str; 15] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "::1/128",
    "::/128",
    "::ffff:0:0/96",
    "2001:db8::/32",
    "2001:10::/28",
    "fe80::/10",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_shares_their_prefix() {
        let contains = |network: &str, address: &str| {
            let network: Network = network.parse().unwrap();
            network.contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.255.0.1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("10.1.2.3", "10.1.2.3") && !contains("10.1.2.3", "10.1.2.4"));
        assert!(contains("0.0.0.0/0", "203.0.113.9") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("fd00::/64", "fd00::1") && !contains("fd00::/64", "fd00:0:0:1::1"));
        for text in ["10.0.0.0/33", "x/8", "10.0.0.0/x", "::/129", ""] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_tables_hold_networks() {
        let known = [919, 1112, 1122, 1918, 3927, 4193, 4291, 5735, 6598, 6890];
        let tables = known.iter().filter_map(|number| networks_of(*number));
        for text in tables.flatten().chain(&NOT_FORWARDED) {
            assert!(text.parse::<Network>().is_ok(), "{text}");
        }
        assert_eq!(networks_of(1), None);
    }

    #[test]
    fn this_machine_has_a_loopback_address() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let found = all();
        let own = found
            .iter()
            .find(|found| found.address == loopback)
            .unwrap();
        assert!(own.has(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_LOOPBACK));
        assert!(!own.is_forwardable());
        assert_eq!((own.prefix, own.network()), (8, "127.0.0.0/8".to_owned()));
    }
}
