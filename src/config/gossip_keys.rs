//! Mirror of the keys about membership, whose values say more than a number or a name.

use std::net::IpAddr;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::interfaces;
use super::raw::{Bounded, Parsed, Span, Wanted, expand, from_text};
use crate::gossip::keyring::{Key, KeyError};
use crate::gossip::pool;
use crate::http::duration;

/// Timing of a pool (`gossip_lan`, `gossip_wan`).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawGossip {
    pub(super) gossip_interval: Option<Interval>,
    pub(super) gossip_nodes: Option<Bounded<1, 1_000>>,
    pub(super) probe_interval: Option<Interval>,
    pub(super) probe_timeout: Option<Interval>,
    pub(super) retransmit_mult: Option<Bounded<1, 100>>,
    pub(super) suspicion_mult: Option<Bounded<1, 100>>,
}

/// Shortest and longest time between two rounds of a pool.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(3_600));

/// Time between two rounds of a pool, or of a wait in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval(pub(super) Duration);

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Span(span) = Span::deserialize(deserializer)?;
        let (least, most) = INTERVAL;
        if (least..=most).contains(&span) {
            return Ok(Self(span));
        }
        Err(D::Error::custom(format_args!(
            "duration of {}, it must be from {} to {}",
            duration::format(span),
            duration::format(least),
            duration::format(most)
        )))
    }
}

/// A duration of at least so many milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AtLeast<const MILLISECONDS: u64>(pub(super) Duration);

impl<'de, const MILLISECONDS: u64> Deserialize<'de> for AtLeast<MILLISECONDS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Span(span) = Span::deserialize(deserializer)?;
        let least = Duration::from_millis(MILLISECONDS);
        if span >= least {
            return Ok(Self(span));
        }
        let (span, least) = (duration::format(span), duration::format(least));
        Err(D::Error::custom(format_args!(
            "duration of {span}, it must be at least {least}"
        )))
    }
}

/// Time after which a failed member is forgotten: at least 8 h, as in the reference. A shorter one
/// would forget members that a net split hides over night.
pub(super) type ReconnectTimeout = AtLeast<28_800_000>;

/// Pause between two attempts to join.
pub(super) type RetryInterval = AtLeast<100>;

impl Wanted for Key {
    const WANTED: &'static str = "a key as a string of base64";
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: KeyError| error.to_string())
    }
}

/// A network as in `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cidr(pub(super) pool::Network);

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(
            deserializer,
            "a network such as \"10.0.0.0/8\"",
            |text| match text.split_once('/') {
                Some(_) => text
                    .parse::<interfaces::Network>()
                    .map(|network| Self(network.into())),
                // An address alone may be a slip of the pen that shuts everybody else out.
                None => Err(format!("{text:?} is not a network such as \"10.0.0.0/8\"")),
            },
        )
    }
}

/// Whom to join; templates choose among this machine's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Targets(pub(super) Vec<pool::Target>);

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wanted = "a name or address with an optional port as a string";
        from_text(deserializer, wanted, |text| {
            if text
                .split_whitespace()
                .any(|word| word.starts_with("provider="))
            {
                return Err(format!(
                    "cloud auto-join is not supported ({text:?}): name agents or addresses"
                ));
            }
            let expanded = expand(text)?;
            let targets: Vec<&str> = if text.contains("{{") {
                expanded.split_whitespace().collect()
            } else {
                vec![&*expanded]
            };
            for target in &targets {
                check_target(target)?;
            }
            Ok(Self(targets.into_iter().map(str::to_owned).collect()))
        })
    }
}

/// Longest name of a host, in octets (RFC 1035 §2.3.4).
const HOST_OCTETS_MAX: usize = 253;

fn check_target(target: &str) -> Result<(), String> {
    let refuse = |reason: &str| Err(format!("{target:?} is nobody to join: {reason}"));
    if target.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let port = if let Some(rest) = target.strip_prefix('[') {
        match rest.split_once(']') {
            Some((host, port)) if host.parse::<IpAddr>().is_ok() => port,
            _ => return refuse("[ ] hold no IP address"),
        }
    } else {
        let (host, port) = target.split_at(target.find(':').unwrap_or(target.len()));
        if !is_host(host) {
            return refuse("expected a name or address, and perhaps a port");
        }
        port
    };
    let number = port.strip_prefix(':').and_then(|port| port.parse().ok());
    match number {
        Some(1_u16..) => Ok(()),
        None if port.is_empty() => Ok(()),
        _ => refuse("its port is not a number from 1 to 65535"),
    }
}

fn is_host(text: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
    (1..=HOST_OCTETS_MAX).contains(&text.len()) && text.bytes().all(fits)
}

/// All targets of a list of them.
pub(super) fn flatten(targets: Option<&Vec<Targets>>) -> Vec<pool::Target> {
    let targets = targets.into_iter().flatten();
    targets
        .flat_map(|several| several.0.iter().cloned())
        .collect()
}

/// An address to listen on or to advertise.
pub(super) type Address = Parsed<IpAddr>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_names_and_addresses_with_or_without_a_port() {
        for target in [
            "10.0.0.1",
            "10.0.0.1:8301",
            "::1",
            "[::1]",
            "[fd00::1]:8301",
            "agent",
            "agent-1.example.com.:1",
            "_x.y:65535",
        ] {
            assert_eq!(check_target(target), Ok(()), "{target}");
        }
        for target in [
            "",
            ":8301",
            "a b",
            "a:",
            "a:0",
            "a:65536",
            "a:x",
            "[::1",
            "[::1]8301",
            "[a]:1",
            "[::1]:0",
            "::1:",
            "http://a",
            "a/b",
        ] {
            assert!(check_target(target).is_err(), "{target}");
        }
        assert!(check_target(&"a".repeat(254)).is_err());
    }
}
