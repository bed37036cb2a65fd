//! Mirror of configuration files: each field is a key, absent or checked for type and range.
//!
//! Flags are turned into the same keys, so that one check covers both. Checks that need one value
//! only happen here, while its place is known.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use super::definitions::{DefinedCheck, DefinedService, Several};
use super::gossip_keys::{
    Address, AtLeast, Cidr, RawGossip, ReconnectTimeout, RetryInterval, Targets,
};
use super::telemetry::RawTelemetry;
use super::tls::RawTls;
use super::{interfaces, template};
use crate::gossip::keyring::Key;
use crate::http::duration;
use crate::types::{Datacenter, Meta, NodeId, NodeName};

/// A whole configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Raw {
    pub(super) addresses: RawAddresses,
    pub(super) advertise_addr: Address,
    pub(super) advertise_addr_wan: Address,
    pub(super) alt_domain: Parsed<Domain>,
    pub(super) bind_addr: Address,
    pub(super) bootstrap: Option<bool>,
    /// One server is all there is so far.
    pub(super) bootstrap_expect: Option<Bounded<0, 4_294_967_295>>,
    pub(super) ca_file: Option<String>,
    pub(super) ca_path: Option<String>,
    pub(super) cert_file: Option<String>,
    /// Checks that stand by themselves, as are `checks`.
    pub(super) check: Several<DefinedCheck>,
    pub(super) check_output_max_size: Option<Bounded<1, 1_048_576>>,
    pub(super) check_update_interval: Option<Span>,
    pub(super) checks: Several<DefinedCheck>,
    pub(super) client_addr: Option<IpList>,
    pub(super) data_dir: Option<String>,
    pub(super) datacenter: Parsed<Datacenter>,
    pub(super) default_query_time: Option<Span>,
    pub(super) disable_keyring_file: Option<bool>,
    pub(super) dns_config: RawDns,
    pub(super) domain: Parsed<Domain>,
    pub(super) enable_local_script_checks: Option<bool>,
    pub(super) enable_script_checks: Option<bool>,
    pub(super) encrypt: Parsed<Key>,
    pub(super) encrypt_verify_incoming: Option<bool>,
    pub(super) encrypt_verify_outgoing: Option<bool>,
    pub(super) gossip_lan: RawGossip,
    pub(super) gossip_wan: RawGossip,
    pub(super) key_file: Option<String>,
    pub(super) leave_on_terminate: Option<bool>,
    pub(super) limits: RawLimits,
    pub(super) log_json: Option<bool>,
    pub(super) log_level: Parsed<Level>,
    pub(super) max_query_time: Option<Span>,
    pub(super) node_id: Parsed<NodeId>,
    pub(super) node_meta: Option<MetaPairs>,
    pub(super) node_name: Parsed<NodeName>,
    pub(super) performance: RawPerformance,
    pub(super) pid_file: Option<String>,
    pub(super) ports: RawPorts,
    /// 0 stands for the default here and in the next one, as in the reference.
    pub(super) raft_snapshot_threshold: Option<Entries>,
    pub(super) raft_trailing_logs: Option<Entries>,
    pub(super) reconnect_timeout: Option<ReconnectTimeout>,
    pub(super) reconnect_timeout_wan: Option<ReconnectTimeout>,
    pub(super) rejoin_after_leave: Option<bool>,
    pub(super) retry_interval: Option<RetryInterval>,
    pub(super) retry_interval_wan: Option<RetryInterval>,
    pub(super) retry_join: Option<Vec<Targets>>,
    pub(super) retry_join_wan: Option<Vec<Targets>>,
    pub(super) retry_max: Option<Attempts>,
    pub(super) retry_max_wan: Option<Attempts>,
    pub(super) serf_lan: Address,
    pub(super) serf_lan_allowed_cidrs: Option<Vec<Cidr>>,
    pub(super) serf_wan: Address,
    pub(super) serf_wan_allowed_cidrs: Option<Vec<Cidr>>,
    pub(super) server: Option<bool>,
    /// Services, as are `services`.
    pub(super) service: Several<DefinedService>,
    pub(super) services: Several<DefinedService>,
    pub(super) skip_leave_on_interrupt: Option<bool>,
    pub(super) start_join: Option<Vec<Targets>>,
    pub(super) start_join_wan: Option<Vec<Targets>>,
    pub(super) telemetry: RawTelemetry,
    pub(super) tls: RawTls,
    pub(super) ui: Option<bool>,
    pub(super) verify_incoming: Option<bool>,
    pub(super) verify_incoming_rpc: Option<bool>,
    pub(super) verify_outgoing: Option<bool>,
    pub(super) verify_server_hostname: Option<bool>,
    /// herald's own: directory of static zones.
    pub(super) zones_dir: Option<String>,
}

/// Addresses to listen on, where they differ from `client_addr`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawAddresses {
    pub(super) dns: Option<IpList>,
    pub(super) http: Option<IpList>,
}

/// Ports; -1 is off, 0 lets the system choose.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawPorts {
    pub(super) dns: Option<Port>,
    pub(super) http: Option<Port>,
    /// Gossip within the datacenter cannot be off.
    pub(super) serf_lan: Option<Bounded<0, 65_535>>,
    pub(super) serf_wan: Option<Port>,
    pub(super) server: Option<Port>,
}

/// How quickly a server notices that others are gone, and how long it waits for them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawPerformance {
    pub(super) leave_drain_time: Option<Span>,
    pub(super) raft_multiplier: Option<Bounded<1, 10>>,
    pub(super) rpc_hold_timeout: Option<Span>,
}

/// Limits.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawLimits {
    pub(super) http_max_conns_per_client: Option<Bounded<0, 1_000_000>>,
    /// Longest wait for what a connection of the agent RPC is for.
    pub(super) rpc_handshake_timeout: Option<AtLeast<1>>,
    pub(super) rpc_max_conns_per_client: Option<Bounded<0, 1_000_000>>,
}

/// What DNS answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawDns {
    pub(super) a_record_limit: Option<Bounded<0, 65_535>>,
    pub(super) allow_stale: Option<bool>,
    pub(super) disable_compression: Option<bool>,
    pub(super) enable_additional_node_meta_txt: Option<bool>,
    pub(super) enable_truncate: Option<bool>,
    pub(super) max_stale: Option<Span>,
    pub(super) node_ttl: Option<Ttl>,
    pub(super) only_passing: Option<bool>,
    /// herald's own: oldest query that is still answered.
    pub(super) queueing_deadline: Option<Span>,
    /// herald's own: reverse zones it answers for.
    pub(super) reverse_zones: Option<Vec<Domain>>,
    pub(super) service_ttl: Option<BTreeMap<String, Ttl>>,
    pub(super) soa: RawSoa,
    /// herald's own: most TCP connections at a time.
    pub(super) tcp_connections_max: Option<Bounded<1, 1_000_000>>,
    pub(super) udp_answer_limit: Option<Bounded<1, 65_535>>,
    /// herald's own: longest UDP answer, in octets.
    pub(super) udp_response_max: Option<Bounded<512, 65_000>>,
    /// herald's own: worker threads; 0 is one for each core.
    pub(super) workers: Option<Bounded<0, 1_024>>,
}

/// Timers of the SOA record, in seconds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawSoa {
    pub(super) expire: Option<Seconds>,
    pub(super) min_ttl: Option<Seconds>,
    pub(super) refresh: Option<Seconds>,
    pub(super) retry: Option<Seconds>,
}

/// A time in whole seconds, as the timers of a zone are written.
pub(super) type Seconds = Bounded<0, 2_147_483_647>;

/// A number of entries of the log.
pub(super) type Entries = Bounded<0, 16_777_216>;

/// A port: -1 is off, 0 lets the system choose.
pub(super) type Port = Bounded<-1, 65_535>;

/// Attempts to join; 0 is no bound.
pub(super) type Attempts = Bounded<0, 4_294_967_295>;

/// A whole number between two bounds, both allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounded<const MIN: i64, const MAX: i64>(i64);

impl<const MIN: i64, const MAX: i64> Bounded<MIN, MAX> {
    /// The number, if the target type can hold it.
    pub(super) fn get<T: TryFrom<i64>>(self) -> Option<T> {
        T::try_from(self.0).ok()
    }
}

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expect<const MIN: i64, const MAX: i64>;
        impl<const MIN: i64, const MAX: i64> Visitor<'_> for Expect<MIN, MAX> {
            type Value = Bounded<MIN, MAX>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "a whole number from {MIN} to {MAX}")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
                match value {
                    value if (MIN..=MAX).contains(&value) => Ok(Bounded(value)),
                    value => Err(E::invalid_value(Unexpected::Signed(value), &self)),
                }
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
                match i64::try_from(value) {
                    Ok(value) => self.visit_i64(value),
                    Err(_) => Err(E::invalid_value(Unexpected::Unsigned(value), &self)),
                }
            }
        }
        deserializer.deserialize_i64(Expect::<MIN, MAX>)
    }
}

/// Reads a text with `read`; `wanted` is what a complaint about the type asks for.
pub(super) fn from_text<'de, D, T>(
    deserializer: D,
    wanted: &'static str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    struct Expect<T, F> {
        wanted: &'static str,
        read: F,
        result: PhantomData<T>,
    }
    impl<T, F: FnOnce(&str) -> Result<T, String>> Visitor<'_> for Expect<T, F> {
        type Value = T;
        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(self.wanted)
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            (self.read)(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Expect {
        wanted,
        read,
        result: PhantomData,
    })
}

/// A duration, written as a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(
            deserializer,
            "a duration such as \"10s\"",
            |text| match duration::parse(text) {
                Ok(duration::Span::Forward(span)) => Ok(Self(span)),
                Ok(duration::Span::Backward(_)) => Err(format!("duration {text:?} is negative")),
                Err(error) => Err(error.to_string()),
            },
        )
    }
}

/// Longest time to live, in seconds (RFC 2181 §8).
const TTL_SECONDS_MAX: u32 = 2_147_483_647;

/// A time to live of a record: a duration of at most 2^31 - 1 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ttl(pub(super) Duration);

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Span(ttl) = Span::deserialize(deserializer)?;
        if ttl.as_secs() > u64::from(TTL_SECONDS_MAX) {
            let seconds = ttl.as_secs();
            return Err(D::Error::custom(format_args!(
                "time to live of {seconds} s, at most {TTL_SECONDS_MAX} s are allowed"
            )));
        }
        Ok(Self(ttl))
    }
}

/// A text that must read as a `T`; empty is the same as absent.
#[derive(Clone, Debug)]
pub(super) struct Parsed<T>(pub(super) Option<T>);

impl<T> Default for Parsed<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Wanted> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, T::WANTED, |text| match text {
            "" => Ok(Self(None)),
            text => T::read(text).map(|value| Self(Some(value))),
        })
    }
}

/// What a text must be, for complaints.
pub(super) trait Wanted: Sized {
    const WANTED: &'static str;
    fn read(text: &str) -> Result<Self, String>;
}

macro_rules! wanted {
    ($($name:ty: $wanted:literal),+ $(,)?) => {$(
        impl Wanted for $name {
            const WANTED: &'static str = $wanted;
            fn read(text: &str) -> Result<Self, String> {
                <$name as FromStr>::from_str(text).map_err(|error| error.to_string())
            }
        }
    )+};
}
wanted! {
    Datacenter: "a datacenter name as a string",
    NodeName: "a node name as a string",
    NodeId: "a UUID as a string",
    Level: "a log level as a string",
    Domain: "a domain as a string",
}

impl Wanted for IpAddr {
    const WANTED: &'static str = "an IP address as a string";
    fn read(text: &str) -> Result<Self, String> {
        read_ip(text)
    }
}

fn read_ip(text: &str) -> Result<IpAddr, String> {
    let text = &expand(text)?;
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(text)
        .parse()
        .map_err(|_| format!("{text:?} is not an IP address"))
}

/// `text` with the addresses that its templates choose on this machine.
pub(super) fn expand(text: &str) -> Result<Cow<'_, str>, String> {
    if text.contains("{{") {
        let expanded = template::expand(text, &interfaces::all())?;
        return Ok(Cow::Owned(expanded.trim().to_owned()));
    }
    Ok(Cow::Borrowed(text))
}

/// IP addresses separated by blanks.
#[derive(Clone, Debug)]
pub(super) struct IpList(pub(super) Vec<IpAddr>);

impl<'de> Deserialize<'de> for IpList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(
            deserializer,
            "IP addresses as a string, with blanks between them",
            |text| {
                if let Some(path) = text.strip_prefix("unix://") {
                    return Err(format!("Unix socket {path:?} is not supported yet"));
                }
                expand(text)?
                    .split_whitespace()
                    .map(read_ip)
                    .collect::<Result<_, _>>()
                    .map(Self)
            },
        )
    }
}

/// Node metadata within the limits of the reference.
#[derive(Clone, Debug)]
pub(super) struct MetaPairs(pub(super) Meta);

impl<'de> Deserialize<'de> for MetaPairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = BTreeMap::<String, String>::deserialize(deserializer)?;
        Meta::checked(pairs).map(Self).map_err(D::Error::custom)
    }
}

/// A DNS domain in lower case, without final dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Domain(pub(super) String);

/// Longest domain, in octets: leaves room for names below it (RFC 1035 §2.3.4).
const DOMAIN_OCTETS_MAX: usize = 128;

impl FromStr for Domain {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_suffix('.').unwrap_or(text);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
        };
        if bare.len() > DOMAIN_OCTETS_MAX {
            let octets = bare.len();
            return Err(format!(
                "domain has {octets} octets, at most {DOMAIN_OCTETS_MAX} are allowed"
            ));
        }
        if bare.split('.').all(label) {
            Ok(Self(bare.to_ascii_lowercase()))
        } else {
            Err(format!(
                "domain {text:?} must consist of labels of 1 to 63 letters, digits, '-' and '_'"
            ))
        }
    }
}

impl<'de> Deserialize<'de> for Domain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, Self::WANTED, str::parse)
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Failures only.
    Error,
    /// Also what needs attention.
    Warn,
    /// Also what happens in normal operation; the default.
    Info,
    /// Also details; the default with `-dev`.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// The word in log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        }
    }
}

/// The text is no log level; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid log level {text:?}, it must be one of trace, debug, info, warn, error")]
pub struct LevelError {
    /// The text that was refused.
    pub text: String,
}

impl FromStr for Level {
    type Err = LevelError;
    fn from_str(text: &str) -> Result<Self, LevelError> {
        match text.to_ascii_lowercase().as_str() {
            "error" | "err" => Ok(Self::Error),
            "warn" | "warning" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(LevelError {
                text: text.to_owned(),
            }),
        }
    }
}
