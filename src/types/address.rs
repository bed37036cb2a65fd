//! Where a node or service can be reached: an IP address or a host name, as it was registered.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address as registered: none, an IP address, or any other text, which DNS answers as a host
/// name (CNAME).
///
/// The registered text is kept to the letter: an IP address in another than its canonical form
/// (`::FFFF:1.2.3.4`) stays a text, and [`Address::ip`] still reads it as an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Address {
    /// Not given: services then use their node's address.
    #[default]
    None,
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address in canonical form (RFC 5952).
    V6(Ipv6Addr),
    /// Anything else.
    Text(Box<str>),
}

impl Address {
    /// Reads a registered address; never fails, since anything may be a host name.
    pub fn from_text(text: &str) -> Self {
        match text.parse::<IpAddr>() {
            _ if text.is_empty() => Self::None,
            Ok(IpAddr::V4(ip)) => Self::V4(ip),
            Ok(IpAddr::V6(ip)) if ip.to_string() == text => Self::V6(ip),
            _ => Self::Text(text.into()),
        }
    }

    /// The IP address, if it is one. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::None => None,
            Self::V4(ip) => Some(IpAddr::V4(*ip)),
            Self::V6(ip) => Some(IpAddr::V6(*ip).to_canonical()),
            Self::Text(text) => text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical()),
        }
    }

    /// The host name, if it is neither empty nor an IP address.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Text(text) if self.ip().is_none() => Some(text),
            _ => None,
        }
    }

    /// Whether no address was given.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Whether it is `0.0.0.0` or `::`, which reach nothing.
    pub fn is_unspecified(&self) -> bool {
        self.ip().is_some_and(|ip| ip.is_unspecified())
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => Self::V6(ip),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::V4(ip) => ip.fmt(formatter),
            Self::V6(ip) => ip.fmt(formatter),
            Self::Text(text) => formatter.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registered_text_is_kept() {
        for text in [
            "",
            "10.0.0.1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "2001:DB8::1",
            "db.example.",
        ] {
            assert_eq!(Address::from_text(text).to_string(), text);
        }
    }

    #[test]
    fn mapped_addresses_count_as_ipv4() {
        let ip = Some(IpAddr::from([10, 0, 0, 1]));
        assert_eq!(Address::from_text("::ffff:10.0.0.1").ip(), ip);
        assert_eq!(Address::from_text("::ffff:a00:1").ip(), ip);
        assert_eq!(Address::from_text("1.2.3").host(), Some("1.2.3"));
    }
}
