//! Bodies of registrations at the agent.
//!
//! Decoding takes the fields as they are; a second step checks what they mean, with the texts that
//! clients of the reference know.

use std::time::Duration;

use crate::local::{CheckDefinition, Mechanism, ServiceDefinition, Settings};
use crate::types::{
    Address, CheckId, Meta, NameError, Service, ServiceId, Status, TaggedAddress, Weights,
};

use super::error::ApiError;
use super::extract::ApiBody;
use super::fields::{FieldError, Fields, Unknown};
use super::register::{read_tagged_address, read_weights};

/// Spellings of fields of checks that are taken beside the usual ones.
const CHECK_ALIASES: [(&str, &str); 5] = [
    ("script_args", "ScriptArgs"),
    (
        "deregister_critical_service_after",
        "DeregisterCriticalServiceAfter",
    ),
    ("docker_container_id", "DockerContainerID"),
    ("tls_skip_verify", "TLSSkipVerify"),
    ("service_id", "ServiceID"),
];
/// Largest number of consecutive results.
const RESULTS_MAX: i64 = 1_000_000;

/// Body of `PUT /v1/agent/service/register`.
#[derive(Debug, PartialEq)]
pub(crate) struct ServiceBody {
    id: String,
    name: String,
    tags: Vec<String>,
    address: String,
    tagged_addresses: Vec<(String, TaggedAddress)>,
    port: u16,
    meta: Vec<(String, String)>,
    enable_tag_override: bool,
    /// Passing and warning, as given.
    weights: Option<(i64, i64)>,
    checks: Vec<CheckBody>,
}

/// Body of `PUT /v1/agent/check/register`, or a check of a service.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct CheckBody {
    id: String,
    name: String,
    notes: String,
    status: String,
    service_id: String,
    settings: Settings,
    deregister_after: Duration,
    success_before_passing: u32,
    failures_before_warning: u32,
    failures_before_critical: u32,
    output_octets_max: Option<usize>,
}

/// Body of `PUT /v1/agent/check/update/:id`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct UpdateBody {
    /// The status, not yet checked.
    pub(crate) status: String,
    /// The output.
    pub(crate) output: String,
}

impl ApiBody for ServiceBody {
    const UNKNOWN: Unknown = Unknown::Refused;

    fn read(fields: &mut Fields) -> Result<Self, FieldError> {
        fields.rename(&[
            ("enable_tag_override", "EnableTagOverride"),
            ("tagged_addresses", "TaggedAddresses"),
        ]);
        for unused in ["Token", "Kind", "Proxy", "Connect"] {
            fields.skip(unused);
        }
        let mut checks = fields
            .objects("Checks", CheckBody::read_of_service)?
            .unwrap_or_default();
        checks.extend(fields.object("Check", CheckBody::read_of_service)?);
        // A check of which nothing is said is no check.
        checks.retain(|check| *check != CheckBody::default());
        Ok(Self {
            id: fields.text("ID")?.unwrap_or_default(),
            name: fields.text("Name")?.unwrap_or_default(),
            tags: fields.texts("Tags")?.unwrap_or_default(),
            address: fields.text("Address")?.unwrap_or_default(),
            tagged_addresses: fields
                .object_map("TaggedAddresses", read_tagged_address)?
                .unwrap_or_default(),
            port: fields.port("Port")?.unwrap_or_default(),
            meta: fields.text_map("Meta")?.unwrap_or_default(),
            enable_tag_override: fields.boolean("EnableTagOverride")?.unwrap_or_default(),
            weights: fields.object("Weights", read_weights)?,
            checks,
        })
    }
}

impl ServiceBody {
    /// Checks what the fields mean.
    ///
    /// # Errors
    /// 400: a value is not allowed.
    pub(crate) fn check(self) -> Result<ServiceDefinition, ApiError> {
        if self.name.is_empty() {
            return Err(ApiError::bad_request("Missing service name"));
        }
        let id = if self.id.is_empty() {
            &self.name
        } else {
            &self.id
        };
        let weights = match self.weights {
            None => Weights::default(),
            Some((passing, warning)) => Weights::checked(passing, warning).map_err(refused)?,
        };
        let meta = Meta::checked(self.meta)
            .map_err(|error| ApiError::bad_request(format!("Invalid Service Meta: {error}")))?;
        let tagged = self
            .tagged_addresses
            .into_iter()
            .map(|(label, address)| (label.into(), address));
        let tagged = Some(tagged.collect()).filter(|tagged: &crate::types::TaggedAddresses| {
            !tagged.is_empty() // none are shown as an absent field
        });
        let service = Service {
            id: id.parse().map_err(refused::<NameError>)?,
            name: self.name.parse().map_err(refused::<NameError>)?,
            tags: self.tags.into_iter().map(Into::into).collect(),
            address: Address::from_text(&self.address),
            port: self.port,
            meta,
            weights,
            enable_tag_override: self.enable_tag_override,
            tagged_addresses: tagged.map(Box::new),
        };
        let checks = self.checks.into_iter().map(CheckBody::check_of_service);
        Ok(ServiceDefinition {
            service,
            checks: checks.collect::<Result<_, _>>()?,
        })
    }
}

impl ApiBody for CheckBody {
    const UNKNOWN: Unknown = Unknown::Refused;

    fn read(fields: &mut Fields) -> Result<Self, FieldError> {
        fields.rename(&CHECK_ALIASES);
        fields.skip("Token");
        let id = fields.text("ID")?.unwrap_or_default();
        let service_id = fields.text("ServiceID")?.unwrap_or_default();
        Ok(Self {
            id,
            service_id,
            ..Self::read_common(fields)?
        })
    }
}

impl CheckBody {
    /// Checks what the fields of a check that is registered by itself mean.
    ///
    /// # Errors
    /// 400: a value is not allowed.
    pub(crate) fn check(self) -> Result<CheckDefinition, ApiError> {
        if self.name.is_empty() {
            return Err(ApiError::bad_request("Missing check name"));
        }
        let service_id = parse_filled::<ServiceId>(&self.service_id)?;
        let definition = self.into_definition("Bad check status")?;
        Ok(CheckDefinition {
            service_id,
            ..definition
        })
    }

    fn check_of_service(self) -> Result<CheckDefinition, ApiError> {
        self.into_definition("Status for checks must 'passing', 'warning', 'critical'")
    }

    fn into_definition(self, bad_status: &'static str) -> Result<CheckDefinition, ApiError> {
        let status = match &*self.status {
            "" => None,
            text => match text.parse::<Status>() {
                Ok(status) => Some(status),
                Err(_) => return Err(ApiError::bad_request(bad_status)),
            },
        };
        let mechanism = Mechanism::checked(self.settings)
            .map_err(|error| ApiError::bad_request(format!("Invalid check: {error}")))?;
        let reap_after = Some(self.deregister_after).filter(|after| !after.is_zero());
        Ok(CheckDefinition {
            id: parse_filled::<CheckId>(&self.id)?,
            name: self.name.into(),
            notes: self.notes.into(),
            status,
            deregister_critical_service_after: reap_after,
            success_before_passing: self.success_before_passing,
            failures_before_warning: self.failures_before_warning,
            failures_before_critical: self.failures_before_critical,
            output_octets_max: self.output_octets_max,
            ..CheckDefinition::new(mechanism)
        })
    }

    fn read_of_service(fields: &mut Fields) -> Result<Self, FieldError> {
        fields.rename(&CHECK_ALIASES);
        let id = fields.text("CheckID")?.unwrap_or_default();
        Ok(Self {
            id,
            ..Self::read_common(fields)?
        })
    }

    fn read_common(fields: &mut Fields) -> Result<Self, FieldError> {
        for unused in ["ProxyHTTP", "ProxyGRPC"] {
            fields.skip(unused);
        }
        let octets_max = fields.integer("OutputMaxSize", 0..=i64::from(i32::MAX))?;
        Ok(Self {
            name: fields.text("Name")?.unwrap_or_default(),
            notes: fields.text("Notes")?.unwrap_or_default(),
            status: fields.text("Status")?.unwrap_or_default(),
            settings: read_settings(fields)?,
            deregister_after: fields
                .duration("DeregisterCriticalServiceAfter")?
                .unwrap_or_default(),
            success_before_passing: read_results(fields, "SuccessBeforePassing")?,
            failures_before_warning: read_results(fields, "FailuresBeforeWarning")?,
            failures_before_critical: read_results(fields, "FailuresBeforeCritical")?,
            output_octets_max: octets_max
                .and_then(|octets| usize::try_from(octets).ok())
                .filter(|octets| *octets > 0),
            ..Self::default()
        })
    }
}

impl ApiBody for UpdateBody {
    const UNKNOWN: Unknown = Unknown::Refused;

    fn read(fields: &mut Fields) -> Result<Self, FieldError> {
        Ok(Self {
            status: fields.text("Status")?.unwrap_or_default(),
            output: fields.text("Output")?.unwrap_or_default(),
        })
    }
}

fn read_settings(fields: &mut Fields) -> Result<Settings, FieldError> {
    let mut args = fields.texts("ScriptArgs")?.unwrap_or_default();
    if let Some(given) = fields.texts("Args")?.filter(|given| !given.is_empty()) {
        args = given;
    }
    let mut text = |name| fields.text(name).map(Option::unwrap_or_default);
    let mut settings = Settings {
        http: text("HTTP")?,
        method: text("Method")?,
        body: text("Body")?,
        tls_server_name: text("TLSServerName")?,
        tcp: text("TCP")?,
        udp: text("UDP")?,
        grpc: text("GRPC")?,
        h2ping: text("H2PING")?,
        docker_container_id: text("DockerContainerID")?,
        shell: text("Shell")?,
        os_service: text("OSService")?,
        alias_node: text("AliasNode")?,
        alias_service: text("AliasService")?,
        args,
        ..Settings::default()
    };
    settings.ttl = fields.duration("TTL")?.unwrap_or_default();
    settings.interval = fields.duration("Interval")?.unwrap_or_default();
    settings.timeout = fields.duration("Timeout")?.unwrap_or_default();
    settings.header = fields.texts_map("Header")?.unwrap_or_default();
    settings.disable_redirects = fields.boolean("DisableRedirects")?.unwrap_or_default();
    settings.tls_skip_verify = fields.boolean("TLSSkipVerify")?.unwrap_or_default();
    settings.grpc_use_tls = fields.boolean("GRPCUseTLS")?.unwrap_or_default();
    settings.h2ping_use_tls = fields.boolean("H2PingUseTLS")?.unwrap_or_default();
    Ok(settings)
}

fn read_results(fields: &mut Fields, name: &str) -> Result<u32, FieldError> {
    let count = fields.integer(name, 0..=RESULTS_MAX)?;
    Ok(count
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or_default())
}

fn parse_filled<T: std::str::FromStr<Err = NameError>>(text: &str) -> Result<Option<T>, ApiError> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(refused),
    }
}

fn refused<E: std::fmt::Display>(error: E) -> ApiError {
    ApiError::bad_request(error.to_string())
}

#[cfg(test)]
mod tests;
