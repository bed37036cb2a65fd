//! Bodies of `catalog/register` and `catalog/deregister`: read into drafts.

use crate::directory::{
    CheckDraft, DeregistrationDraft, RegisterError, RegistrationDraft, ServiceDraft,
};
use crate::types::{Address, CheckDefinition, TaggedAddress};

use super::error::ApiError;
use super::extract::ApiBody;
use super::fields::{FieldError, Fields, Unknown};

impl From<RegisterError> for ApiError {
    fn from(error: RegisterError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl ApiBody for RegistrationDraft {
    const UNKNOWN: Unknown = Unknown::Ignored;

    fn read(fields: &mut Fields) -> Result<Self, FieldError> {
        let single = fields.object("Check", read_check)?;
        let several = fields.objects("Checks", read_check)?;
        Ok(Self {
            datacenter: fields.text("Datacenter")?,
            id: fields.text("ID")?,
            node: fields.text("Node")?.unwrap_or_default(),
            address: fields.text("Address")?.unwrap_or_default(),
            tagged_addresses: fields.text_map("TaggedAddresses")?.unwrap_or_default(),
            node_meta: fields.text_map("NodeMeta")?.unwrap_or_default(),
            skip_node_update: fields.boolean("SkipNodeUpdate")?.unwrap_or_default(),
            service: fields.object("Service", read_service)?,
            checks: several.into_iter().flatten().chain(single).collect(),
        })
    }
}

impl ApiBody for DeregistrationDraft {
    const UNKNOWN: Unknown = Unknown::Ignored;

    fn read(fields: &mut Fields) -> Result<Self, FieldError> {
        Ok(Self {
            datacenter: fields.text("Datacenter")?,
            node: fields.text("Node")?.unwrap_or_default(),
            service_id: fields.text("ServiceID")?.unwrap_or_default(),
            check_id: fields.text("CheckID")?.unwrap_or_default(),
        })
    }
}

fn read_service(fields: &mut Fields) -> Result<ServiceDraft, FieldError> {
    Ok(ServiceDraft {
        id: fields.text("ID")?.unwrap_or_default(),
        name: fields.text("Service")?.unwrap_or_default(),
        tags: fields.texts("Tags")?.unwrap_or_default(),
        address: fields.text("Address")?.unwrap_or_default(),
        port: fields.port("Port")?.unwrap_or_default(),
        meta: fields.text_map("Meta")?.unwrap_or_default(),
        weights: fields.object("Weights", read_weights)?,
        enable_tag_override: fields.boolean("EnableTagOverride")?.unwrap_or_default(),
        tagged_addresses: fields
            .object_map("TaggedAddresses", read_tagged_address)?
            .unwrap_or_default(),
    })
}

/// `Passing` and `Warning`; what is not given is 0.
///
/// # Errors
/// Another kind of value.
pub(crate) fn read_weights(fields: &mut Fields) -> Result<(i64, i64), FieldError> {
    let mut weight = |name| fields.integer(name, i64::MIN..=i64::MAX);
    Ok((
        weight("Passing")?.unwrap_or_default(),
        weight("Warning")?.unwrap_or_default(),
    ))
}

/// One of a service's further addresses.
///
/// # Errors
/// Another kind of value, or a port outside its range.
pub(crate) fn read_tagged_address(fields: &mut Fields) -> Result<TaggedAddress, FieldError> {
    Ok(TaggedAddress {
        address: Address::from_text(&fields.text("Address")?.unwrap_or_default()),
        port: fields.port("Port")?.unwrap_or_default(),
    })
}

fn read_check(fields: &mut Fields) -> Result<CheckDraft, FieldError> {
    Ok(CheckDraft {
        node: fields.text("Node")?.unwrap_or_default(),
        id: fields.text("CheckID")?.unwrap_or_default(),
        name: fields.text("Name")?.unwrap_or_default(),
        status: fields.text("Status")?.unwrap_or_default(),
        notes: fields.text("Notes")?.unwrap_or_default(),
        output: fields.text("Output")?.unwrap_or_default(),
        service_id: fields.text("ServiceID")?.unwrap_or_default(),
        definition: fields
            .object("Definition", read_definition)?
            .unwrap_or_default(),
        check_type: None,
    })
}

fn read_definition(fields: &mut Fields) -> Result<CheckDefinition, FieldError> {
    let header = fields.texts_map("Header")?.unwrap_or_default();
    let boxed = |(name, values): (String, Vec<String>)| {
        (name.into(), values.into_iter().map(Into::into).collect())
    };
    Ok(CheckDefinition {
        interval: fields.duration_or_blank("Interval")?,
        timeout: fields.duration_or_blank("Timeout")?,
        deregister_critical_service_after: fields
            .duration_or_blank("DeregisterCriticalServiceAfter")?,
        http: fields.text("HTTP")?.unwrap_or_default().into(),
        header: header.into_iter().map(boxed).collect(),
        method: fields.text("Method")?.unwrap_or_default().into(),
        tls_skip_verify: fields.boolean("TLSSkipVerify")?.unwrap_or_default(),
        tcp: fields.text("TCP")?.unwrap_or_default().into(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::arbitrary;
    use super::super::extract::decode_body;
    use super::*;
    use crate::catalog::{Deregistration, Registration};
    use crate::types::{CheckType, Status, Weights};

    const NAMES: &[&str] = &[
        "Datacenter",
        "ID",
        "Node",
        "Address",
        "TaggedAddresses",
        "NodeMeta",
        "SkipNodeUpdate",
        "Service",
        "Tags",
        "Port",
        "Meta",
        "Weights",
        "Passing",
        "Warning",
        "EnableTagOverride",
        "Check",
        "Checks",
        "CheckID",
        "Name",
        "Status",
        "Notes",
        "Output",
        "ServiceID",
        "Definition",
        "Interval",
        "Timeout",
        "Header",
        "TCP",
        "HTTP",
    ];

    fn registered(body: &str) -> Result<Registration, ApiError> {
        let body = decode_body::<RegistrationDraft>(body.as_bytes())?;
        Ok(body.check().map(|(_, registration)| registration)?)
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let body = r#"{"node":"n","address":"10.0.0.1","datacenter":null,
            "service":{"service":"web","weights":{"passing":3}},
            "check":{"name":"c","serviceid":"web","definition":{"tcp":"x:1","interval":""}}}"#;
        let registration = registered(body).unwrap();
        let service = registration.service.unwrap();
        assert_eq!(service.id.as_str(), "web");
        assert_eq!(
            service.weights,
            Weights {
                passing: 3,
                warning: 0
            }
        );
        let check = registration.checks.first().unwrap();
        assert_eq!((check.id.as_str(), check.status), ("c", Status::Critical));
        assert_eq!(check.check_type, CheckType::Tcp);
        assert_eq!(check.definition.as_ref().unwrap().interval, None);
    }

    #[test]
    fn a_service_goes_before_a_check() {
        let body = r#"{"Node":"n","ServiceID":"s","CheckID":"c"}"#;
        let body = decode_body::<DeregistrationDraft>(body.as_bytes()).unwrap();
        let (_, deregistration) = body.check().unwrap();
        assert!(matches!(deregistration, Deregistration::Service(_, _)));
    }

    proptest! {
        #[test]
        fn any_json_registers_or_is_refused(body in arbitrary::body(NAMES)) {
            if let Err(error) = registered(&body) {
                prop_assert_eq!(error.status().as_u16(), 400);
            }
        }

        #[test]
        fn any_json_deregisters_or_is_refused(body in arbitrary::body(NAMES)) {
            let decoded = decode_body::<DeregistrationDraft>(body.as_bytes());
            if let Err(error) = decoded.and_then(|body| Ok(body.check()?)) {
                prop_assert_eq!(error.status().as_u16(), 400);
            }
        }
    }
}
