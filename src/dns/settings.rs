//! What an operator may choose about answers, checked once and made ready to be copied.
//!
//! A reload makes a new [`Settings`] and stores it in the `ArcSwap` that all workers share.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::types::Datacenter;

use super::name::{NAME_OCTETS_MAX, Name, count_labels, wire_from_text};
use super::options::{Options, SettingsError, Soa};

/// Longest TTL, in seconds (RFC 2181 §8).
const TTL_SECONDS_MAX: u64 = 0x7fff_ffff;
/// Smallest UDP payload that anyone must accept, in octets (RFC 1035 §4.2.1, RFC 6891 §6.2.3).
pub(super) const UDP_OCTETS_MIN: u16 = 512;
/// Largest reply herald sends in one datagram, in octets.
pub(super) const UDP_OCTETS_MAX: u16 = 65_000;
/// More answers than this never go to a client that did not say what it can take.
const UDP_ANSWERS_MAX: usize = 8;
/// Longest part that is put before a zone, in octets, less the datacenter: an IPv6 address in
/// hexadecimal digits and `addr`.
const ADDRESS_LABELS_OCTETS: usize = 33 + 5;

/// A zone answered from the catalog, or a reverse zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zone {
    /// Name in wire format and lower case, with the root.
    pub(super) wire: Box<[u8]>,
    /// Number of labels.
    pub(super) labels: usize,
}

impl Zone {
    fn new(wire: Box<[u8]>) -> Self {
        Self {
            labels: count_labels(&wire),
            wire,
        }
    }

    fn covers(&self, name: &Name) -> bool {
        name.labels()
            .checked_sub(self.labels)
            .is_some_and(|label| name.suffix(label) == &*self.wire)
    }
}

/// Which part of herald a name belongs to, by its longest known suffix.
#[derive(Clone, Copy, Debug)]
pub(super) enum Home<'a> {
    /// `domain` or `alt_domain`.
    Catalog(&'a Zone),
    /// Below `arpa.`; the zone is the apex that owns the SOA.
    Reverse(&'a Zone),
    /// A zone of the slow path.
    Slow,
    /// None of them.
    Outside,
}

/// An entry of `dns_config.service_ttl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TtlEntry<'a> {
    /// In lower case, without the star.
    pub(super) key: &'a [u8],
    /// Whether it ends in a star.
    pub(super) is_prefix: bool,
    /// In seconds.
    pub(super) ttl: u32,
}

/// Checked choices, ready for use. See [`Options`] for what each means.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a configuration key of its own"
)]
pub struct Settings {
    /// `domain` first, then `alt_domain`.
    catalog_zones: Vec<Zone>,
    /// Longest first; the last one is `arpa.` itself.
    reverse_zones: Vec<Zone>,
    slow_zones: HashSet<Box<[u8]>>,
    slow_labels_max: Option<usize>,
    pub(super) datacenter: Datacenter,
    pub(super) unreachable_datacenters: Vec<Datacenter>,
    /// The datacenter's label with its length octet.
    pub(super) datacenter_label: Box<[u8]>,
    /// This agent's node, in the form that the catalog looks up.
    pub(super) node_folded: Box<[u8]>,
    pub(super) node_ttl: u32,
    service_ttl_exact: BTreeMap<Box<[u8]>, u32>,
    /// Longest prefix first.
    service_ttl_prefix: Vec<(Box<[u8]>, u32)>,
    pub(super) only_passing: bool,
    pub(super) enable_truncate: bool,
    pub(super) udp_answer_limit: usize,
    /// `usize::MAX` where there is no limit.
    pub(super) a_record_limit: usize,
    pub(super) compress: bool,
    pub(super) additional_txt: bool,
    /// Refresh, retry, expire and minimum as they end the RDATA of SOA.
    pub(super) soa_timers: [u8; 16],
    pub(super) soa_ttl: u32,
    pub(super) allow_stale: bool,
    pub(super) max_stale: Duration,
    pub(super) udp_response_max: u16,
    pub(super) edns_size: u16,
    pub(super) recursion_available: bool,
}

impl Settings {
    /// Checks options.
    ///
    /// # Errors
    /// The first option that is out of its range.
    pub fn new(options: Options) -> Result<Self, SettingsError> {
        let datacenter_label = label(options.datacenter.as_str());
        let catalog_zones = catalog_zones(&options, datacenter_label.len())?;
        let slow_zones = slow_zones(&options.slow_zones)?;
        let (service_ttl_exact, service_ttl_prefix) = service_ttls(&options.service_ttl)?;
        check_range(
            "dns_config.udp_answer_limit",
            options.udp_answer_limit,
            1,
            usize::MAX,
        )?;
        check_range(
            "dns_config.udp_response_max",
            options.udp_response_max.into(),
            UDP_OCTETS_MIN.into(),
            UDP_OCTETS_MAX.into(),
        )?;
        check_range(
            "the EDNS size",
            options.edns_size.into(),
            UDP_OCTETS_MIN.into(),
            u16::MAX.into(),
        )?;
        let (soa_timers, soa_ttl) = soa_timers(&options.soa)?;
        Ok(Self {
            catalog_zones,
            reverse_zones: reverse_zones(&options.reverse_zones)?,
            slow_labels_max: slow_zones.iter().map(|wire| count_labels(wire)).max(),
            slow_zones,
            datacenter: options.datacenter,
            unreachable_datacenters: options.unreachable_datacenters,
            datacenter_label,
            node_folded: options.node_name.folded(),
            node_ttl: seconds("dns_config.node_ttl", options.node_ttl)?,
            service_ttl_exact,
            service_ttl_prefix,
            only_passing: options.only_passing,
            enable_truncate: options.enable_truncate,
            udp_answer_limit: options.udp_answer_limit.min(UDP_ANSWERS_MAX),
            a_record_limit: match options.a_record_limit {
                0 => usize::MAX,
                limit => limit,
            },
            compress: !options.disable_compression,
            additional_txt: options.enable_additional_node_meta_txt,
            soa_timers,
            soa_ttl,
            allow_stale: options.allow_stale,
            max_stale: options.max_stale,
            udp_response_max: options.udp_response_max,
            edns_size: options.edns_size,
            recursion_available: options.recursion_available,
        })
    }

    /// The part of herald that `name` belongs to: the longest suffix decides.
    pub(super) fn home(&self, name: &Name) -> Home<'_> {
        let catalog = self
            .catalog_zones
            .iter()
            .filter(|zone| zone.covers(name))
            .max_by_key(|zone| zone.labels);
        let (home, depth) = match catalog {
            Some(zone) => (Home::Catalog(zone), zone.labels),
            None => match self.reverse_zones.iter().find(|zone| zone.covers(name)) {
                Some(zone) => (Home::Reverse(zone), zone.labels),
                None => (Home::Outside, 0),
            },
        };
        let longer = self
            .slow_labels_max
            .filter(|_| self.in_slow_zone(name, depth, &home));
        longer.map_or(home, |_| Home::Slow)
    }

    /// Whether a zone of the slow path with more than `depth` labels covers `name`; outside all
    /// other zones, the root counts too.
    fn in_slow_zone(&self, name: &Name, depth: usize, home: &Home<'_>) -> bool {
        let least = match home {
            Home::Outside => 0,
            _ => depth + 1,
        };
        let most = self.slow_labels_max.unwrap_or(0).min(name.labels());
        (least..=most).rev().any(|labels| {
            self.slow_zones
                .contains(name.suffix(name.labels() - labels))
        })
    }

    /// `domain` and `alt_domain` in wire format.
    pub(super) fn catalog_zones(&self) -> impl Iterator<Item = &[u8]> {
        self.catalog_zones.iter().map(|zone| &*zone.wire)
    }

    /// `domain`.
    pub(super) fn primary(&self) -> &Zone {
        self.catalog_zones
            .first()
            .expect("`catalog_zones` puts `domain` first")
    }

    /// Whether the labels of `name` before `zone_label` end in one of the catalog's zones again, as
    /// in `web.service.consul.consul`: what a resolver with a search list asks, never a name here.
    pub(super) fn is_doubled(&self, name: &Name, zone_label: usize) -> bool {
        self.catalog_zones.iter().any(|zone| {
            zone_label.checked_sub(zone.labels).is_some_and(|first| {
                let labels = name.wire(first, zone_label);
                zone.wire
                    .split_last()
                    .is_some_and(|(_, wire)| wire == labels)
                    && !self.is_known_datacenter_wire(labels)
            })
        })
    }

    fn is_known_datacenter_wire(&self, labels: &[u8]) -> bool {
        let is = |datacenter: &Datacenter| *label(datacenter.as_str()) == *labels;
        *self.datacenter_label == *labels || self.unreachable_datacenters.iter().any(is)
    }

    /// TTL of the service whose name in lower case this is, in seconds.
    pub(super) fn service_ttl(&self, folded: &[u8]) -> u32 {
        self.service_ttl_entry(folded).map_or(0, |entry| entry.ttl)
    }

    /// The entry of `dns_config.service_ttl` that the service's TTL comes from, if any does.
    pub(super) fn service_ttl_entry(&self, folded: &[u8]) -> Option<TtlEntry<'_>> {
        let entry = |key, is_prefix, ttl| TtlEntry {
            key,
            is_prefix,
            ttl,
        };
        if let Some((key, ttl)) = self.service_ttl_exact.get_key_value(folded) {
            return Some(entry(key, false, *ttl));
        }
        let mut prefixes = self.service_ttl_prefix.iter();
        let (key, ttl) = prefixes.find(|(prefix, _)| folded.starts_with(prefix))?;
        Some(entry(key, true, *ttl))
    }

    /// The longest zone of the slow path that `name` is in, as its first label.
    pub(super) fn slow_zone_label(&self, name: &Name) -> Option<usize> {
        let mut labels = 0..=name.labels();
        labels.find(|label| self.slow_zones.contains(name.suffix(*label)))
    }
}

/// A datacenter's label with its length octet.
fn label(text: &str) -> Box<[u8]> {
    let length = u8::try_from(text.len()).expect("a datacenter has at most 63 octets");
    let mut wire = vec![length];
    wire.extend_from_slice(text.as_bytes());
    wire.into()
}

fn catalog_zones(options: &Options, label_octets: usize) -> Result<Vec<Zone>, SettingsError> {
    let octets_max = NAME_OCTETS_MAX - ADDRESS_LABELS_OCTETS - label_octets;
    let zone = |key: &'static str, text: &str| {
        let wire = wire_from_text(text, octets_max)
            .map_err(|source| SettingsError::Domain { key, source })?;
        match wire.len() {
            1 => Err(SettingsError::Root { key }),
            _ => Ok(Zone::new(wire)),
        }
    };
    let mut zones = vec![zone("domain", &options.domain)?];
    if let Some(text) = options
        .alt_domain
        .as_deref()
        .filter(|text| !text.is_empty())
    {
        let alternative = zone("alt_domain", text)?;
        if !zones.contains(&alternative) {
            zones.push(alternative);
        }
    }
    Ok(zones)
}

fn reverse_zones(texts: &[String]) -> Result<Vec<Zone>, SettingsError> {
    let key = "dns_config.reverse_zones";
    let standard = ["in-addr.arpa.", "ip6.arpa.", "arpa."];
    let mut zones = Vec::new();
    for text in texts.iter().map(String::as_str).chain(standard) {
        let wire = wire_from_text(text, NAME_OCTETS_MAX)
            .map_err(|source| SettingsError::Domain { key, source })?;
        let within = text == "arpa."
            || wire.ends_with(b"\x07in-addr\x04arpa\0")
            || wire.ends_with(b"\x03ip6\x04arpa\0");
        if !within {
            return Err(SettingsError::ReverseZone {
                zone: text.to_owned(),
            });
        }
        zones.push(Zone::new(wire));
    }
    zones.sort_by_key(|zone| std::cmp::Reverse(zone.labels));
    Ok(zones)
}

fn slow_zones(texts: &[String]) -> Result<HashSet<Box<[u8]>>, SettingsError> {
    let wire = |text: &String| {
        wire_from_text(text, NAME_OCTETS_MAX).map_err(|source| SettingsError::Domain {
            key: "zones",
            source,
        })
    };
    texts.iter().map(wire).collect()
}

type Ttls = (BTreeMap<Box<[u8]>, u32>, Vec<(Box<[u8]>, u32)>);

fn service_ttls(configured: &BTreeMap<String, Duration>) -> Result<Ttls, SettingsError> {
    let (mut exact, mut prefixes) = (BTreeMap::new(), Vec::new());
    for (key, ttl) in configured {
        let ttl = seconds(&format!("dns_config.service_ttl[{key:?}]"), *ttl)?;
        let folded = key.to_ascii_lowercase();
        match folded.strip_suffix('*') {
            Some(prefix) => prefixes.push((Box::from(prefix.as_bytes()), ttl)),
            None => {
                exact.insert(Box::from(folded.as_bytes()), ttl);
            }
        }
    }
    prefixes.sort_by_key(|(prefix, _): &(Box<[u8]>, u32)| std::cmp::Reverse(prefix.len()));
    Ok((exact, prefixes))
}

fn seconds(key: &str, time: Duration) -> Result<u32, SettingsError> {
    match u32::try_from(time.as_secs()) {
        Ok(seconds) if time.as_secs() <= TTL_SECONDS_MAX => Ok(seconds),
        _ => Err(SettingsError::Seconds {
            key: key.to_owned(),
            seconds: time.as_secs(),
        }),
    }
}

fn soa_timers(soa: &Soa) -> Result<([u8; 16], u32), SettingsError> {
    let mut timers = [0; 16];
    let configured = [
        ("dns_config.soa.refresh", soa.refresh),
        ("dns_config.soa.retry", soa.retry),
        ("dns_config.soa.expire", soa.expire),
        ("dns_config.soa.min_ttl", soa.min_ttl),
    ];
    for (timer, (key, time)) in timers.chunks_exact_mut(4).zip(configured) {
        timer.copy_from_slice(&seconds(key, time)?.to_be_bytes());
    }
    Ok((timers, seconds("dns_config.soa.min_ttl", soa.min_ttl)?))
}

fn check_range(
    key: &'static str,
    value: usize,
    min: usize,
    max: usize,
) -> Result<(), SettingsError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(SettingsError::Range {
        key,
        value,
        min,
        max,
    })
}

#[cfg(test)]
mod tests;
