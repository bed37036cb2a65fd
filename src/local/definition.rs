//! What is registered at this agent, after all checks of its values.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::health::{Limits, Mechanism};
use crate::types::{
    CheckId, NameError, Service, ServiceId, Status, TaggedAddress, TaggedAddresses,
};

/// A service with its checks, as registered at the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceDefinition {
    /// The service.
    pub service: Service,
    /// Its checks, in the order in which those without an id are numbered. Their `service_id` is
    /// not looked at.
    pub checks: Vec<CheckDefinition>,
}

/// A check as registered at the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckDefinition {
    /// Id. Where a check of a service has none: `service:<id>`, or `service:<id>:1`, `:2` … where
    /// the registration has several checks. A check registered by itself takes its name.
    pub id: Option<CheckId>,
    /// Human-readable name; for checks of a service `Service '<name>' check` where empty.
    pub name: Box<str>,
    /// Free text of the operator.
    pub notes: Box<str>,
    /// Status until the first result, unless a check with this id is already there, which keeps
    /// its own. `None` is critical.
    pub status: Option<Status>,
    /// The service it belongs to; `None` for a check of the node.
    pub service_id: Option<ServiceId>,
    /// How it is carried out.
    pub mechanism: Mechanism,
    /// Time in critical state after which the service is removed from this agent.
    pub deregister_critical_service_after: Option<Duration>,
    /// Consecutive good results before a run check turns passing. Default 0.
    pub success_before_passing: u32,
    /// Consecutive bad results before a run check turns warning. Default 0.
    pub failures_before_warning: u32,
    /// Consecutive bad results before a run check turns critical. Default 0.
    pub failures_before_critical: u32,
    /// Most octets of output that are kept, where fewer than the agent's limit.
    pub output_octets_max: Option<usize>,
}

impl CheckDefinition {
    /// A check carried out by `mechanism` and otherwise with all defaults.
    pub fn new(mechanism: Mechanism) -> Self {
        Self {
            id: None,
            name: Box::default(),
            notes: Box::default(),
            status: None,
            service_id: None,
            mechanism,
            deregister_critical_service_after: None,
            success_before_passing: 0,
            failures_before_warning: 0,
            failures_before_critical: 0,
            output_octets_max: None,
        }
    }

    pub(super) fn limits(&self, output_octets_max: usize) -> Limits {
        Limits {
            ttl: self.mechanism.ttl(),
            reap_after: self
                .deregister_critical_service_after
                .filter(|_| self.service_id.is_some()),
            output_octets_max: self
                .output_octets_max
                .map_or(output_octets_max, |own| own.min(output_octets_max)),
            interval: self.mechanism.interval(),
            success_before_passing: self.success_before_passing,
            failures_before_warning: self.failures_before_warning,
            failures_before_critical: self.failures_before_critical,
        }
    }
}

/// Gives the checks of `definition` their ids, names and service; of those with equal ids the last
/// stays.
pub(super) fn numbered(
    definition: ServiceDefinition,
) -> Result<(Service, BTreeMap<CheckId, CheckDefinition>), NameError> {
    let ServiceDefinition { service, checks } = definition;
    let several = checks.len() > 1;
    let mut numbered = BTreeMap::new();
    for (position, mut check) in checks.into_iter().enumerate() {
        let id: CheckId = match check.id.take() {
            Some(id) => id,
            None if several => format!("service:{}:{}", service.id, position + 1).parse()?,
            None => format!("service:{}", service.id).parse()?,
        };
        if check.name.is_empty() {
            check.name = format!("Service '{}' check", service.name).into();
        }
        check.service_id = Some(service.id.clone());
        // Taken out first, so that the spelling of the last one stays, too.
        numbered.remove(&id);
        numbered.insert(id, check);
    }
    Ok((service, numbered))
}

/// Adds the addresses by family that an IP address given as the service's own implies: `lan_ipv4`
/// and `wan_ipv4`, or the same for IPv6, with its port. Those that were given stay.
pub(super) fn tag_addresses(service: &mut Service) {
    let labels = match service.address.ip() {
        None => return,
        Some(IpAddr::V4(_)) => ["lan_ipv4", "wan_ipv4"],
        Some(IpAddr::V6(_)) => ["lan_ipv6", "wan_ipv6"],
    };
    let tagged: &mut TaggedAddresses = service.tagged_addresses.get_or_insert_default();
    for label in labels {
        tagged.entry(label.into()).or_insert_with(|| TaggedAddress {
            address: service.address.clone(),
            port: service.port,
        });
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::types::{Address, Meta, Weights};

    /// A service without checks: name, id and defaults.
    pub(crate) fn service(name: &str, id: &str) -> Service {
        Service {
            id: id.parse().unwrap(),
            name: name.parse().unwrap(),
            tags: [].into(),
            address: Address::None,
            port: 80,
            meta: Meta::default(),
            weights: Weights::default(),
            enable_tag_override: false,
            tagged_addresses: None,
        }
    }

    /// A TTL check of so many seconds with an id.
    pub(crate) fn ttl(id: &str, seconds: u64) -> CheckDefinition {
        CheckDefinition {
            id: (!id.is_empty()).then(|| id.parse().unwrap()),
            ..CheckDefinition::new(Mechanism::Ttl(Duration::from_secs(seconds)))
        }
    }

    fn ids(checks: &[CheckDefinition]) -> Vec<(String, u64)> {
        let definition = ServiceDefinition {
            service: service("web", "w1"),
            checks: checks.to_vec(),
        };
        let (_, checks) = numbered(definition).unwrap();
        checks
            .iter()
            .map(|(id, check)| {
                assert_eq!(*check.name, *"Service 'web' check");
                (id.to_string(), check.mechanism.ttl().unwrap().as_secs())
            })
            .collect()
    }

    #[test]
    fn one_check_takes_the_id_of_its_service_and_several_are_numbered() {
        assert_eq!(ids(&[ttl("", 1)]), [("service:w1".into(), 1)]);
        assert_eq!(
            ids(&[ttl("", 1), ttl("own", 2), ttl("", 3)]),
            [
                ("own".into(), 2),
                ("service:w1:1".into(), 1),
                ("service:w1:3".into(), 3)
            ]
        );
    }

    #[test]
    fn of_checks_with_equal_ids_the_last_stays() {
        assert_eq!(ids(&[ttl("a", 1), ttl("a", 2)]), [("a".into(), 2)]);
    }

    #[test]
    fn an_ip_address_is_tagged_by_family() {
        let tagged = |address: &str| {
            let mut service = service("web", "w1");
            service.address = Address::from_text(address);
            tag_addresses(&mut service);
            let tagged = service.tagged_addresses.unwrap_or_default();
            tagged
                .iter()
                .map(|(label, at)| format!("{label}={}:{}", at.address, at.port))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            tagged("10.0.0.1"),
            "lan_ipv4=10.0.0.1:80 wan_ipv4=10.0.0.1:80"
        );
        assert_eq!(
            tagged("2001:db8::1"),
            "lan_ipv6=2001:db8::1:80 wan_ipv6=2001:db8::1:80"
        );
        // An IPv4-mapped address counts as IPv4, in the spelling it was given.
        assert_eq!(
            tagged("::ffff:10.0.0.1"),
            "lan_ipv4=::ffff:10.0.0.1:80 wan_ipv4=::ffff:10.0.0.1:80"
        );
        assert_eq!(tagged(""), "");
        assert_eq!(tagged("db.example"), "");
    }

    #[test]
    fn given_tagged_addresses_stay() {
        let mut service = service("web", "w1");
        service.address = Address::from_text("10.0.0.1");
        let own = TaggedAddress {
            address: Address::from_text("192.0.2.1"),
            port: 8080,
        };
        let given = TaggedAddresses::from([("wan_ipv4".into(), own.clone())]);
        service.tagged_addresses = Some(Box::new(given));
        tag_addresses(&mut service);
        let tagged = service.tagged_addresses.unwrap();
        assert_eq!(tagged.get("wan_ipv4"), Some(&own));
        assert_eq!(tagged.len(), 2);
    }
}
