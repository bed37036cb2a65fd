//! What a name below `domain` denotes, by its form alone. The catalog is not asked here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::name::Name;
use super::settings::Settings;

/// What a name denotes. Numbers of labels count from the start of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The zone itself.
    Apex,
    /// `ns.<zone>`, which SOA names.
    NameServer,
    /// A name without records above names that have some (RFC 8020: it exists).
    Empty,
    /// No name of any form.
    Missing,
    /// A name of a datacenter that is known but cannot be reached.
    Unreachable,
    /// `<hex>.addr`.
    Address(IpAddr),
    /// `<node>.node`: the first labels, joined with dots.
    Node {
        /// How many.
        labels: usize,
    },
    /// `[<tag>.]<service>.service`, or `_<service>._<tag>.service` (RFC 2782).
    Service {
        /// Labels before the keyword.
        labels: usize,
        /// The keyword was left out, as in `_web._tcp.consul`: only SRV records are there.
        implied: bool,
    },
}

/// Words that say what the labels before them mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keyword {
    Service,
    Node,
    Address,
    Query,
    /// A form that herald does not have: nothing exists below it.
    Unbuilt,
    /// A label that starts with `_` stands for itself and `service` after it.
    Implied,
}

/// What the labels after the keyword say.
enum Place {
    Here,
    Unreachable,
    Unknown,
}

impl Subject {
    /// Reads `name`, whose labels from `zone_label` on are a zone of the catalog.
    pub(super) fn of(name: &Name, zone_label: usize, settings: &Settings) -> Self {
        match last_keyword(name, zone_label) {
            None => without_keyword(name, zone_label, settings),
            Some((label, Keyword::Address)) => address(name, label, zone_label, settings),
            Some((label, Keyword::Implied)) => {
                let labels = label + 1;
                match place(name, labels, zone_label, settings) {
                    Place::Here => Self::Service {
                        labels,
                        implied: true,
                    },
                    Place::Unreachable => Self::Unreachable,
                    Place::Unknown => Self::Missing,
                }
            }
            Some((labels, keyword)) => match place(name, labels + 1, zone_label, settings) {
                Place::Unknown => Self::Missing,
                _ if keyword == Keyword::Unbuilt => Self::Missing,
                Place::Here | Place::Unreachable if labels == 0 => Self::Empty,
                // Prepared queries are not built: none has a name yet.
                _ if keyword == Keyword::Query => Self::Missing,
                Place::Unreachable => Self::Unreachable,
                Place::Here if keyword == Keyword::Node => Self::Node { labels },
                Place::Here => Self::Service {
                    labels,
                    implied: false,
                },
            },
        }
    }
}

impl Subject {
    /// Whether what is answered comes from the catalog. The zone itself does not: its SOA is always
    /// known.
    pub(super) fn needs_catalog(&self) -> bool {
        match self {
            Self::NameServer | Self::Node { .. } | Self::Service { .. } => true,
            Self::Apex | Self::Empty | Self::Missing | Self::Unreachable | Self::Address(_) => {
                false
            }
        }
    }
}

/// Why a name has no form, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// What follows the keyword is no known datacenter.
    Datacenter,
    /// `connect`, `ingress` and `virtual` do not exist here.
    Unbuilt,
    /// There are no prepared queries.
    Query,
    /// What stands before `addr` is no address.
    Address,
    /// The zone stands in the name twice.
    Doubled,
}

impl Flaw {
    /// Why `name` is [`Subject::Missing`].
    pub(super) fn of(name: &Name, zone_label: usize, settings: &Settings) -> Self {
        let Some((label, keyword)) = last_keyword(name, zone_label) else {
            return Self::Doubled;
        };
        let first = label + 1;
        if first < zone_label && settings.is_doubled(name, zone_label) {
            return Self::Doubled;
        }
        match keyword {
            Keyword::Address => Self::Address,
            _ if matches!(place(name, first, zone_label, settings), Place::Unknown) => {
                Self::Datacenter
            }
            Keyword::Query => Self::Query,
            _ => Self::Unbuilt,
        }
    }
}

/// The last label before the zone that is a keyword.
fn last_keyword(name: &Name, zone_label: usize) -> Option<(usize, Keyword)> {
    let mut labels = (0..zone_label).rev();
    labels.find_map(|label| Some((label, keyword(name.label(label))?)))
}

fn keyword(label: &[u8]) -> Option<Keyword> {
    match label {
        b"service" => Some(Keyword::Service),
        b"node" => Some(Keyword::Node),
        b"addr" => Some(Keyword::Address),
        b"query" => Some(Keyword::Query),
        b"connect" | b"ingress" | b"virtual" => Some(Keyword::Unbuilt),
        [b'_', ..] => Some(Keyword::Implied),
        _ => None,
    }
}

fn place(name: &Name, first: usize, zone_label: usize, settings: &Settings) -> Place {
    match zone_label - first {
        0 => Place::Here,
        1 if name.label(first) == settings.datacenter.as_str().as_bytes() => Place::Here,
        1 if is_unreachable(name.label(first), settings) => Place::Unreachable,
        _ => Place::Unknown,
    }
}

fn is_unreachable(label: &[u8], settings: &Settings) -> bool {
    let mut others = settings.unreachable_datacenters.iter();
    others.any(|datacenter| datacenter.as_str().as_bytes() == label)
}

/// Any label could stand above `<hex>.addr.<label>`, so all of these names exist, but a zone within
/// a zone (`consul.consul`) does not: resolvers with a search list ask for those.
fn without_keyword(name: &Name, zone_label: usize, settings: &Settings) -> Subject {
    match zone_label {
        0 => Subject::Apex,
        1 if name.label(0) == b"ns" => Subject::NameServer,
        _ if settings.is_doubled(name, zone_label) => Subject::Missing,
        _ => Subject::Empty,
    }
}

/// `<hex>.addr.<anything>`: what follows `addr` is ignored.
fn address(name: &Name, labels: usize, zone_label: usize, settings: &Settings) -> Subject {
    if labels + 1 < zone_label && settings.is_doubled(name, zone_label) {
        return Subject::Missing;
    }
    match labels {
        0 => Subject::Empty,
        1 => hexadecimal(name.label(0)).map_or(Subject::Missing, Subject::Address),
        _ => Subject::Missing,
    }
}

/// 8 digits are an IPv4 address, 32 an IPv6 one.
fn hexadecimal(label: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(label).ok()?;
    if !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    match text.len() {
        8 => u32::from_str_radix(text, 16)
            .ok()
            .map(|bits| Ipv4Addr::from_bits(bits).into()),
        32 => u128::from_str_radix(text, 16)
            .ok()
            .map(|bits| Ipv6Addr::from_bits(bits).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::name::wire_from_text;
    use super::super::options::Options;
    use super::*;

    fn subject(text: &str) -> Subject {
        let mut options = Options::new("dc1".parse().unwrap(), "n1".parse().unwrap());
        options.unreachable_datacenters = vec!["dc2".parse().unwrap()];
        let settings = Settings::new(options).unwrap();
        let mut name = Name::default();
        name.read(&wire_from_text(text, 255).unwrap()).unwrap();
        Subject::of(&name, name.labels() - 1, &settings)
    }

    fn service(labels: usize, implied: bool) -> Subject {
        Subject::Service { labels, implied }
    }

    #[test]
    fn the_last_keyword_decides() {
        assert_eq!(subject("web.service.consul"), service(1, false));
        assert_eq!(subject("v1.0.WEB.Service.DC1.consul"), service(3, false));
        assert_eq!(subject("node.service.consul"), service(1, false));
        assert_eq!(subject("service.node.consul"), Subject::Node { labels: 1 });
        assert_eq!(subject("a.b.node.dc1.consul"), Subject::Node { labels: 2 });
    }

    #[test]
    fn an_underscore_implies_the_service_keyword() {
        assert_eq!(subject("_web._tcp.consul"), service(2, true));
        assert_eq!(subject("_web._tcp.dc1.consul"), service(2, true));
        assert_eq!(subject("_web._tcp.dc9.consul"), Subject::Missing);
        assert_eq!(subject("_web._tcp.service.consul"), service(2, false));
    }

    #[test]
    fn only_the_local_and_unreachable_datacenters_are_known() {
        assert_eq!(subject("web.service.dc9.consul"), Subject::Missing);
        assert_eq!(subject("web.service.dc2.consul"), Subject::Unreachable);
        assert_eq!(subject("_web._tcp.dc2.consul"), Subject::Unreachable);
        assert_eq!(subject("web.service.a.dc1.consul"), Subject::Missing);
        assert_eq!(subject("service.dc2.consul"), Subject::Empty);
        assert_eq!(subject("service.dc9.consul"), Subject::Missing);
    }

    #[test]
    fn names_above_answers_are_empty() {
        for text in [
            "service.consul",
            "node.consul",
            "query.consul",
            "addr.consul",
            "dc1.consul",
            "service.dc1.consul",
            "addr.any.suffix.consul",
            "suffix.consul",
        ] {
            assert_eq!(subject(text), Subject::Empty, "{text}");
        }
        assert_eq!(subject("consul"), Subject::Apex);
        assert_eq!(subject("ns.consul"), Subject::NameServer);
    }

    #[test]
    fn forms_that_are_not_built_are_missing() {
        for text in [
            "web.connect.consul",
            "web.ingress.consul",
            "web.virtual.consul",
            "q.query.consul",
            "_q._tcp.query.consul",
            "consul.consul",
            "web.service.consul.consul",
        ] {
            assert_eq!(subject(text), Subject::Missing, "{text}");
        }
    }

    #[test]
    fn a_name_without_form_has_a_flaw() {
        let flaw = |text: &str| {
            let mut options = Options::new("dc1".parse().unwrap(), "n1".parse().unwrap());
            options.unreachable_datacenters = vec!["dc2".parse().unwrap()];
            let settings = Settings::new(options).unwrap();
            let mut name = Name::default();
            name.read(&wire_from_text(text, 255).unwrap()).unwrap();
            assert_eq!(subject(text), Subject::Missing, "{text}");
            Flaw::of(&name, name.labels() - 1, &settings)
        };
        for (text, expected) in [
            ("web.service.dc9.consul", Flaw::Datacenter),
            ("_web._tcp.dc9.consul", Flaw::Datacenter),
            ("web.connect.consul", Flaw::Unbuilt),
            ("q.query.consul", Flaw::Query),
            ("xyz.addr.consul", Flaw::Address),
            ("consul.consul", Flaw::Doubled),
            ("web.service.consul.consul", Flaw::Doubled),
        ] {
            assert_eq!(flaw(text), expected, "{text}");
        }
    }

    #[test]
    fn addresses_have_8_or_32_digits() {
        let v4 = Subject::Address(IpAddr::from([10, 0, 0, 1]));
        assert_eq!(subject("0A000001.addr.consul"), v4);
        assert_eq!(subject("0a000001.addr.nowhere.at.all.consul"), v4);
        assert_eq!(
            subject("20010db8000000000000000000000001.addr.dc1.consul"),
            Subject::Address("2001:db8::1".parse().unwrap())
        );
        for text in ["0a00001", "0a0000012", "0a00000g", "+a000001", "x.0a000001"] {
            assert_eq!(
                subject(&format!("{text}.addr.consul")),
                Subject::Missing,
                "{text}"
            );
        }
    }
}
