//! What an operator may choose about answers, as configured. `settings` checks it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::types::{Datacenter, NodeName};

use super::name::DomainError;
use super::settings::UDP_OCTETS_MAX;

/// Timers of the SOA record, in whole seconds (`dns_config.soa`, RFC 1035 §3.3.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Soa {
    /// Time between a secondary's refreshes. Default 3,600 s.
    pub refresh: Duration,
    /// Time after which a failed refresh is retried. Default 600 s.
    pub retry: Duration,
    /// Time after which a secondary stops answering. Default 86,400 s.
    pub expire: Duration,
    /// TTL of negative answers (RFC 2308 §4), and of the SOA record itself. Default 0.
    pub min_ttl: Duration,
}

impl Default for Soa {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(3_600),
            retry: Duration::from_secs(600),
            expire: Duration::from_secs(86_400),
            min_ttl: Duration::ZERO,
        }
    }
}

/// The choices as configured, unchecked. Times count in whole seconds; fractions are cut off.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a configuration key of its own"
)]
pub struct Options {
    /// `domain`: the zone. Default `consul.`
    pub domain: String,
    /// `alt_domain`: a second zone with the same content.
    pub alt_domain: Option<String>,
    /// `datacenter`: the local one.
    pub datacenter: Datacenter,
    /// Other datacenters that are known but cannot be reached: their names get SERVFAIL.
    pub unreachable_datacenters: Vec<Datacenter>,
    /// `node_name`: this agent's node, which `ns.<zone>` falls back to.
    pub node_name: NodeName,
    /// `dns_config.node_ttl`. Default 0.
    pub node_ttl: Duration,
    /// `dns_config.service_ttl`: by service name; a key that ends in `*` is a prefix, the longest
    /// wins, and a whole name wins over any prefix.
    pub service_ttl: BTreeMap<String, Duration>,
    /// `dns_config.only_passing`: instances with a warning are left out. Default false.
    pub only_passing: bool,
    /// `dns_config.enable_truncate`: TC is set where answers were left out. Default false.
    pub enable_truncate: bool,
    /// `dns_config.udp_answer_limit`: most answers to a client without EDNS; above 8 counts as 8.
    /// Default 3.
    pub udp_answer_limit: usize,
    /// `dns_config.a_record_limit`: most addresses in one answer over any transport; 0, the
    /// default, means no limit.
    pub a_record_limit: usize,
    /// `dns_config.disable_compression`. Default false.
    pub disable_compression: bool,
    /// `dns_config.enable_additional_node_meta_txt`. Default true.
    pub enable_additional_node_meta_txt: bool,
    /// `dns_config.soa`.
    pub soa: Soa,
    /// `dns_config.allow_stale`. Default true.
    pub allow_stale: bool,
    /// `dns_config.max_stale`: above this the leader is asked first. Default 87,600 h.
    pub max_stale: Duration,
    /// `dns_config.udp_response_max`: largest datagram sent whatever the client accepts, 512 to
    /// 65,000 octets. Default 65,000.
    pub udp_response_max: u16,
    /// `dns_config.reverse_zones`: apexes below `in-addr.arpa.` or `ip6.arpa.` that own the SOA of
    /// the names below them.
    pub reverse_zones: Vec<String>,
    /// EDNS size that herald advertises, 512 to 65,535 octets: only what it receives. Default 1232.
    pub edns_size: u16,
    /// Zones that the slow path serves: static zones, and `.` where there are recursors. A longer
    /// zone wins over a shorter one, also over `domain`.
    pub slow_zones: Vec<String>,
    /// Whether recursors are configured: RA is set, and unknown reverse names are forwarded.
    pub recursion_available: bool,
}

impl Options {
    /// The defaults for a node.
    pub fn new(datacenter: Datacenter, node_name: NodeName) -> Self {
        Self {
            domain: "consul.".to_owned(),
            alt_domain: None,
            datacenter,
            unreachable_datacenters: Vec::new(),
            node_name,
            node_ttl: Duration::ZERO,
            service_ttl: BTreeMap::new(),
            only_passing: false,
            enable_truncate: false,
            udp_answer_limit: 3,
            a_record_limit: 0,
            disable_compression: false,
            enable_additional_node_meta_txt: true,
            soa: Soa::default(),
            allow_stale: true,
            max_stale: Duration::from_secs(87_600 * 3_600),
            udp_response_max: UDP_OCTETS_MAX,
            reverse_zones: Vec::new(),
            edns_size: 1232,
            slow_zones: Vec::new(),
            recursion_available: false,
        }
    }
}

/// Why options are not acceptable. Nothing was changed: the settings before stay in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A zone's name is no domain name, or too long for the names that are made below it.
    #[error("{key}: {source}")]
    Domain {
        /// Configuration key.
        key: &'static str,
        /// What is wrong with the name.
        source: DomainError,
    },
    /// A zone that herald answers from its catalog cannot be the root.
    #[error("{key} is empty or \".\", at least one label is needed")]
    Root {
        /// Configuration key.
        key: &'static str,
    },
    /// A reverse zone outside the reverse tree.
    #[error(
        "dns_config.reverse_zones: {zone:?} is not in-addr.arpa, ip6.arpa or below one of them"
    )]
    ReverseZone {
        /// The zone that was refused.
        zone: String,
    },
    /// A time is longer than a TTL can be.
    #[error("{key} is {seconds} s, at most 2147483647 s are allowed (RFC 2181 section 8)")]
    Seconds {
        /// Configuration key.
        key: String,
        /// Time found, in seconds.
        seconds: u64,
    },
    /// A number outside its range.
    #[error("{key} is {value}, {min} to {max} are allowed")]
    Range {
        /// Configuration key.
        key: &'static str,
        /// Number found.
        value: usize,
        /// Least allowed.
        min: usize,
        /// Most allowed.
        max: usize,
    },
}
