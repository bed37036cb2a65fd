//! How services and checks are spelled in the files of `kept`. Fields are only ever added, each with
//! a default that means what its absence meant before.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::health::{Mechanism, Schedule, Settings};
use crate::types::{Address, Meta, Service, TaggedAddress, TaggedAddresses, Weights};

use super::super::definition::CheckDefinition;

/// Why a value of a file is none that could have been written there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ShapeError(String);

impl ShapeError {
    pub(super) fn new(reason: &impl ToString) -> Self {
        Self(reason.to_string())
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A service.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ServiceShape {
    id: String,
    name: String,
    #[serde(default, skip_serializing_if = "is_default")]
    tags: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    address: String,
    #[serde(default, skip_serializing_if = "is_default")]
    port: u16,
    #[serde(default, skip_serializing_if = "is_default")]
    meta: Vec<(String, String)>,
    weights: (u16, u16),
    #[serde(default, skip_serializing_if = "is_default")]
    enable_tag_override: bool,
    /// Label, address and port.
    #[serde(default, skip_serializing_if = "is_default")]
    tagged_addresses: Vec<(String, String, u16)>,
}

impl ServiceShape {
    pub(super) fn new(service: &Service) -> Self {
        let tagged = service.tagged_addresses.iter().flat_map(|all| all.iter());
        let meta = service.meta.iter();
        Self {
            id: service.id.to_string(),
            name: service.name.to_string(),
            tags: service.tags.iter().map(|tag| tag.as_ref().into()).collect(),
            address: service.address.to_string(),
            port: service.port,
            meta: meta
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
            weights: (service.weights.passing, service.weights.warning),
            enable_tag_override: service.enable_tag_override,
            tagged_addresses: tagged
                .map(|(label, at)| (label.to_string(), at.address.to_string(), at.port))
                .collect(),
        }
    }

    pub(super) fn check(self) -> Result<Service, ShapeError> {
        let tagged = self.tagged_addresses.into_iter();
        let tagged: TaggedAddresses = tagged
            .map(|(label, address, port)| {
                let address = Address::from_text(&address);
                (label.into(), TaggedAddress { address, port })
            })
            .collect();
        let (passing, warning) = self.weights;
        let weights = Weights::checked(passing.into(), warning.into());
        Ok(Service {
            id: self.id.parse().map_err(|error| ShapeError::new(&error))?,
            name: self.name.parse().map_err(|error| ShapeError::new(&error))?,
            tags: self.tags.into_iter().map(Into::into).collect(),
            address: Address::from_text(&self.address),
            port: self.port,
            meta: Meta::checked(self.meta).map_err(|error| ShapeError::new(&error))?,
            weights: weights.map_err(|error| ShapeError::new(&error))?,
            enable_tag_override: self.enable_tag_override,
            tagged_addresses: (!tagged.is_empty()).then(|| Box::new(tagged)),
        })
    }
}

/// How a check was registered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CheckShape {
    name: String,
    #[serde(default, skip_serializing_if = "is_default")]
    notes: String,
    #[serde(default, skip_serializing_if = "is_default")]
    status: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    service_id: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    deregister_after: Option<Duration>,
    #[serde(default, skip_serializing_if = "is_default")]
    success_before_passing: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    failures_before_warning: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    failures_before_critical: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    output_octets_max: Option<usize>,
    /// Stands for maintenance; nothing else is said then.
    #[serde(default, skip_serializing_if = "is_default")]
    maintenance: bool,
    #[serde(flatten)]
    means: Means,
}

/// How a check is carried out.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Means {
    #[serde(skip_serializing_if = "is_default")]
    ttl: Duration,
    #[serde(skip_serializing_if = "is_default")]
    interval: Duration,
    #[serde(skip_serializing_if = "is_default")]
    timeout: Duration,
    #[serde(skip_serializing_if = "is_default")]
    http: String,
    #[serde(skip_serializing_if = "is_default")]
    header: Vec<(String, Vec<String>)>,
    #[serde(skip_serializing_if = "is_default")]
    method: String,
    #[serde(skip_serializing_if = "is_default")]
    body: String,
    #[serde(skip_serializing_if = "is_default")]
    disable_redirects: bool,
    #[serde(skip_serializing_if = "is_default")]
    tls: bool,
    #[serde(skip_serializing_if = "is_default")]
    tls_skip_verify: bool,
    #[serde(skip_serializing_if = "is_default")]
    tls_server_name: String,
    #[serde(skip_serializing_if = "is_default")]
    tcp: String,
    #[serde(skip_serializing_if = "is_default")]
    udp: String,
    #[serde(skip_serializing_if = "is_default")]
    grpc: String,
    #[serde(skip_serializing_if = "is_default")]
    h2ping: String,
    #[serde(skip_serializing_if = "is_default")]
    args: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    container: String,
    #[serde(skip_serializing_if = "is_default")]
    shell: String,
    #[serde(skip_serializing_if = "is_default")]
    os_service: String,
    #[serde(skip_serializing_if = "is_default")]
    alias_node: String,
    #[serde(skip_serializing_if = "is_default")]
    alias_service: String,
}

impl CheckShape {
    pub(super) fn new(definition: &CheckDefinition) -> Self {
        Self {
            name: definition.name.to_string(),
            notes: definition.notes.to_string(),
            status: definition.status.map(|status| status.to_string()),
            service_id: definition.service_id.as_ref().map(ToString::to_string),
            deregister_after: definition.deregister_critical_service_after,
            success_before_passing: definition.success_before_passing,
            failures_before_warning: definition.failures_before_warning,
            failures_before_critical: definition.failures_before_critical,
            output_octets_max: definition.output_octets_max,
            maintenance: definition.mechanism == Mechanism::Maintenance,
            means: Means::new(&definition.mechanism),
        }
    }

    pub(super) fn check(self) -> Result<CheckDefinition, ShapeError> {
        let mechanism = if self.maintenance {
            Mechanism::Maintenance
        } else {
            let checked = Mechanism::checked(self.means.settings());
            checked.map_err(|error| ShapeError::new(&error))?
        };
        let status = self.status.map(|status| status.parse()).transpose();
        let service_id = self.service_id.map(|id| id.parse()).transpose();
        Ok(CheckDefinition {
            name: self.name.into(),
            notes: self.notes.into(),
            status: status.map_err(|error| ShapeError::new(&error))?,
            service_id: service_id.map_err(|error| ShapeError::new(&error))?,
            deregister_critical_service_after: self.deregister_after,
            success_before_passing: self.success_before_passing,
            failures_before_warning: self.failures_before_warning,
            failures_before_critical: self.failures_before_critical,
            output_octets_max: self.output_octets_max,
            ..CheckDefinition::new(mechanism)
        })
    }
}

impl Means {
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each mechanism, none of them long"
    )]
    fn new(mechanism: &Mechanism) -> Self {
        let at = |schedule: &Schedule| Self {
            interval: schedule.interval,
            timeout: schedule.timeout,
            ..Self::default()
        };
        match mechanism {
            Mechanism::Maintenance => Self::default(),
            Mechanism::Ttl(ttl) => Self {
                ttl: *ttl,
                ..Self::default()
            },
            Mechanism::Http(schedule, http) => Self {
                http: http.url.to_string(),
                header: http.header.clone(),
                method: http.method.to_string(),
                body: http.body.to_string(),
                tls_skip_verify: http.tls_skip_verify,
                tls_server_name: http.tls_server_name.to_string(),
                disable_redirects: http.disable_redirects,
                ..at(schedule)
            },
            Mechanism::Tcp(schedule, target) => Self {
                tcp: target.to_string(),
                ..at(schedule)
            },
            Mechanism::Udp(schedule, target) => Self {
                udp: target.to_string(),
                ..at(schedule)
            },
            Mechanism::Grpc {
                schedule,
                target,
                tls,
                tls_skip_verify,
                tls_server_name,
            } => Self {
                grpc: target.to_string(),
                tls: *tls,
                tls_skip_verify: *tls_skip_verify,
                tls_server_name: tls_server_name.to_string(),
                ..at(schedule)
            },
            Mechanism::H2Ping {
                schedule,
                target,
                tls,
                tls_skip_verify,
            } => Self {
                h2ping: target.to_string(),
                tls: *tls,
                tls_skip_verify: *tls_skip_verify,
                ..at(schedule)
            },
            Mechanism::Script(schedule, args) => Self {
                args: args.clone(),
                ..at(schedule)
            },
            Mechanism::Docker {
                schedule,
                container,
                shell,
                args,
            } => Self {
                container: container.to_string(),
                shell: shell.to_string(),
                args: args.clone(),
                ..at(schedule)
            },
            Mechanism::OsService(schedule, service) => Self {
                os_service: service.to_string(),
                ..at(schedule)
            },
            Mechanism::Alias { node, service } => Self {
                alias_node: node.to_string(),
                alias_service: service.to_string(),
                ..Self::default()
            },
        }
    }

    fn settings(self) -> Settings {
        Settings {
            ttl: self.ttl,
            interval: self.interval,
            timeout: self.timeout,
            http: self.http,
            header: self.header,
            method: self.method,
            body: self.body,
            disable_redirects: self.disable_redirects,
            tls_skip_verify: self.tls_skip_verify,
            tls_server_name: self.tls_server_name,
            tcp: self.tcp,
            udp: self.udp,
            grpc: self.grpc,
            grpc_use_tls: self.tls,
            h2ping: self.h2ping,
            h2ping_use_tls: self.tls,
            args: self.args,
            docker_container_id: self.container,
            shell: self.shell,
            os_service: self.os_service,
            alias_node: self.alias_node,
            alias_service: self.alias_service,
        }
    }
}
