//! Bodies of registrations at the agent.
//!
//! Decoding takes the fields as they are; `local` checks what they mean, with the texts that
//! clients of the reference know.

use crate::local::{
    CheckDefinition, CheckDraft, DraftError, RESULTS_MAX, ServiceDefinition, ServiceDraft, Settings,
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

/// Body of `PUT /v1/agent/service/register`.
#[derive(Debug, PartialEq)]
pub(crate) struct ServiceBody(ServiceDraft);

/// Body of `PUT /v1/agent/check/register`.
#[derive(Debug, PartialEq)]
pub(crate) struct CheckBody(CheckDraft);

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
            .objects("Checks", read_check_of_service)?
            .unwrap_or_default();
        checks.extend(fields.object("Check", read_check_of_service)?);
        Ok(Self(ServiceDraft {
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
        }))
    }
}

impl ServiceBody {
    /// Checks what the fields mean.
    ///
    /// # Errors
    /// 400: a value is not allowed.
    pub(crate) fn check(self) -> Result<ServiceDefinition, ApiError> {
        Ok(self.0.check()?)
    }
}

impl ApiBody for CheckBody {
    const UNKNOWN: Unknown = Unknown::Refused;

    fn read(fields: &mut Fields) -> Result<Self, FieldError> {
        fields.rename(&CHECK_ALIASES);
        fields.skip("Token");
        let id = fields.text("ID")?.unwrap_or_default();
        let service_id = fields.text("ServiceID")?.unwrap_or_default();
        Ok(Self(CheckDraft {
            id,
            service_id,
            ..read_check(fields)?
        }))
    }
}

impl CheckBody {
    /// Checks what the fields of a check that is registered by itself mean.
    ///
    /// # Errors
    /// 400: a value is not allowed.
    pub(crate) fn check(self) -> Result<CheckDefinition, ApiError> {
        Ok(self.0.check()?)
    }
}

impl From<DraftError> for ApiError {
    fn from(error: DraftError) -> Self {
        Self::bad_request(error.to_string())
    }
}

fn read_check_of_service(fields: &mut Fields) -> Result<CheckDraft, FieldError> {
    fields.rename(&CHECK_ALIASES);
    let id = fields.text("CheckID")?.unwrap_or_default();
    Ok(CheckDraft {
        id,
        ..read_check(fields)?
    })
}

fn read_check(fields: &mut Fields) -> Result<CheckDraft, FieldError> {
    for unused in ["ProxyHTTP", "ProxyGRPC"] {
        fields.skip(unused);
    }
    let octets_max = fields.integer("OutputMaxSize", 0..=i64::from(i32::MAX))?;
    Ok(CheckDraft {
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
        ..CheckDraft::default()
    })
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
    // Of the two, a ping alone uses TLS unless told otherwise.
    let pings = !settings.h2ping.is_empty();
    settings.h2ping_use_tls = fields.boolean("H2PingUseTLS")?.unwrap_or(pings);
    Ok(settings)
}

fn read_results(fields: &mut Fields, name: &str) -> Result<u32, FieldError> {
    let count = fields.integer(name, 0..=RESULTS_MAX)?;
    Ok(count
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or_default())
}

#[cfg(test)]
mod tests;
