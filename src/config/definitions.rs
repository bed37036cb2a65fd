//! Services and checks in configuration files: mirror of their keys. What they mean is checked by
//! the same rules as over HTTP, here, while the place of each is known.
//!
//! `token` is taken and has no effect, as over HTTP: there is no access control yet.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::raw::{Bounded, Raw, Span};
use super::tree::{Node, Place, Value};
use crate::health::Settings;
use crate::local::{
    CheckDefinition, CheckDraft, FileDefinitions, Placed, RESULTS_MAX, ServiceDefinition,
    ServiceDraft,
};
use crate::types::{Address, TaggedAddress};

/// One or several of a kind: an object alone counts as a list of one.
#[derive(Debug, Deserialize)]
pub(super) struct Several<T>(pub(super) Vec<T>);

impl<T> Default for Several<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// A service with its checks, checked.
#[derive(Debug)]
pub(super) struct DefinedService(ServiceDefinition);

/// A check that stands by itself, checked.
#[derive(Debug)]
pub(super) struct DefinedCheck(CheckDefinition);

/// A check of a service; checked, but only its service can number it.
#[derive(Debug)]
struct OwnCheck(CheckDraft);

/// All definitions of the merged `tree`, of which `raw` was made.
pub(super) fn collect(raw: &Raw, tree: &Node) -> FileDefinitions {
    let services = [("services", &raw.services), ("service", &raw.service)];
    let checks = [("checks", &raw.checks), ("check", &raw.check)];
    FileDefinitions {
        services: services
            .into_iter()
            .flat_map(|(key, several)| several.0.iter().zip(places(tree, key)))
            .map(|(service, place)| placed(place, &service.0))
            .collect(),
        checks: checks
            .into_iter()
            .flat_map(|(key, several)| several.0.iter().zip(places(tree, key)))
            .map(|(check, place)| placed(place, &check.0))
            .collect(),
    }
}

fn placed<T: Clone>(place: &Place, definition: &T) -> Placed<T> {
    Placed {
        place: place.to_string().into(),
        definition: definition.clone(),
    }
}

/// Where the objects below `key` stand, in order.
fn places<'a>(tree: &'a Node, key: &str) -> Vec<&'a Place> {
    let entries = match &tree.value {
        Value::Object(entries) => entries.as_slice(),
        _ => &[],
    };
    let found = entries
        .iter()
        .find(|entry| entry.key.eq_ignore_ascii_case(key));
    match found.map(|entry| &entry.node) {
        Some(Node {
            value: Value::List(items),
            ..
        }) => items
            .iter()
            .filter(|item| !matches!(item.value, Value::Null))
            .map(|item| &item.place)
            .collect(),
        Some(alone) => vec![&alone.place],
        None => Vec::new(),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawService {
    address: String,
    check: Several<OwnCheck>,
    checks: Several<OwnCheck>,
    enable_tag_override: bool,
    id: String,
    meta: BTreeMap<String, String>,
    name: String,
    port: Option<Bounded<0, 65_535>>,
    tagged_addresses: BTreeMap<String, RawTaggedAddress>,
    tags: Vec<String>,
    #[serde(rename = "token")]
    _token: Option<String>,
    weights: Option<RawWeights>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawTaggedAddress {
    address: String,
    port: Option<Bounded<0, 65_535>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawWeights {
    passing: i64,
    warning: i64,
}

/// A number of consecutive results.
type Results = Bounded<0, RESULTS_MAX>;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawCheck {
    alias_node: String,
    alias_service: String,
    #[serde(alias = "script_args")]
    args: Vec<String>,
    body: String,
    deregister_critical_service_after: Option<Span>,
    disable_redirects: bool,
    docker_container_id: String,
    failures_before_critical: Option<Results>,
    failures_before_warning: Option<Results>,
    grpc: String,
    grpc_use_tls: bool,
    h2ping: String,
    h2ping_use_tls: Option<bool>,
    header: BTreeMap<String, Vec<String>>,
    http: String,
    #[serde(alias = "check_id")]
    id: String,
    interval: Option<Span>,
    method: String,
    name: String,
    notes: String,
    os_service: String,
    output_max_size: Option<Bounded<0, 2_147_483_647>>,
    service_id: String,
    shell: String,
    status: String,
    success_before_passing: Option<Results>,
    tcp: String,
    timeout: Option<Span>,
    tls_server_name: String,
    tls_skip_verify: bool,
    #[serde(rename = "token")]
    _token: Option<String>,
    ttl: Option<Span>,
    udp: String,
}

impl<'de> Deserialize<'de> for DefinedService {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let draft = RawService::deserialize(deserializer)?.draft();
        draft.check().map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for DefinedCheck {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut draft = RawCheck::deserialize(deserializer)?.draft();
        if draft.name.is_empty() {
            draft.name.clone_from(&draft.id);
        }
        draft.check().map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for OwnCheck {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let draft = RawCheck::deserialize(deserializer)?.draft();
        if draft != CheckDraft::default() {
            // Checked again with its service; here a complaint has the check's own place.
            let checked = draft.clone().check_of_service();
            checked.map_err(D::Error::custom)?;
        }
        Ok(Self(draft))
    }
}

impl RawService {
    fn draft(self) -> ServiceDraft {
        let checks = self.checks.0.into_iter().chain(self.check.0);
        let tagged = self.tagged_addresses.into_iter();
        ServiceDraft {
            id: self.id,
            name: self.name,
            tags: self.tags,
            address: self.address,
            tagged_addresses: tagged
                .map(|(label, tagged)| (label, tagged.checked()))
                .collect(),
            port: self.port.and_then(Bounded::get).unwrap_or_default(),
            meta: self.meta.into_iter().collect(),
            enable_tag_override: self.enable_tag_override,
            weights: self
                .weights
                .map(|weights| (weights.passing, weights.warning)),
            checks: checks.map(|check| check.0).collect(),
        }
    }
}

impl RawTaggedAddress {
    fn checked(self) -> TaggedAddress {
        TaggedAddress {
            address: Address::from_text(&self.address),
            port: self.port.and_then(Bounded::get).unwrap_or_default(),
        }
    }
}

impl RawCheck {
    fn draft(self) -> CheckDraft {
        let results = |count: Option<Results>| count.and_then(Bounded::get).unwrap_or_default();
        let output_octets_max = self.output_max_size.and_then(Bounded::get);
        CheckDraft {
            deregister_after: span(self.deregister_critical_service_after),
            success_before_passing: results(self.success_before_passing),
            failures_before_warning: results(self.failures_before_warning),
            failures_before_critical: results(self.failures_before_critical),
            output_octets_max: output_octets_max.filter(|octets| *octets > 0),
            settings: Settings {
                ttl: span(self.ttl),
                interval: span(self.interval),
                timeout: span(self.timeout),
                http: self.http,
                header: self.header.into_iter().collect(),
                method: self.method,
                body: self.body,
                disable_redirects: self.disable_redirects,
                tls_skip_verify: self.tls_skip_verify,
                tls_server_name: self.tls_server_name,
                tcp: self.tcp,
                udp: self.udp,
                grpc: self.grpc,
                grpc_use_tls: self.grpc_use_tls,
                // Of the two, a ping alone uses TLS unless told otherwise.
                h2ping_use_tls: self.h2ping_use_tls.unwrap_or(!self.h2ping.is_empty()),
                h2ping: self.h2ping,
                args: self.args,
                docker_container_id: self.docker_container_id,
                shell: self.shell,
                os_service: self.os_service,
                alias_node: self.alias_node,
                alias_service: self.alias_service,
            },
            id: self.id,
            name: self.name,
            notes: self.notes,
            status: self.status,
            service_id: self.service_id,
        }
    }
}

fn span(given: Option<Span>) -> Duration {
    given.map(|span| span.0).unwrap_or_default()
}
