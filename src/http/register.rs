//! Bodies of `catalog/register` and `catalog/deregister`: decoded, then checked.

use crate::catalog::{Deregistration, Registration, State};
use crate::types::{
    Address, Check, CheckDefinition, CheckType, Datacenter, Meta, NameError, Node, NodeId,
    NodeIdError, NodeName, Service, ServiceId, Status, StatusError, TaggedAddress, Weights,
    WeightsError, is_dns_label,
};

use super::error::ApiError;
use super::extract::ApiBody;
use super::fields::{FieldError, Fields, Unknown};

/// Why a well-formed registration is refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegisterError {
    /// `Node` is missing.
    #[error("Must provide node")]
    NoNode,
    /// `Address` is missing.
    #[error("Must provide address if SkipNodeUpdate is not set")]
    NoAddress,
    /// A service has an id but no name.
    #[error("Must provide service name with ID")]
    NoServiceName,
    /// A service's address is `0.0.0.0` or `::`.
    #[error("Invalid service address")]
    ServiceAddress,
    /// `Datacenter` names none that is known.
    #[error("No path to datacenter")]
    NoPathToDatacenter,
    /// `ID` is no UUID.
    #[error("Bad node ID: {0}")]
    NodeId(#[from] NodeIdError),
    /// A check names another node.
    #[error("check node {check:?} does not match node {node:?}")]
    CheckNode {
        /// Node that the check names.
        check: String,
        /// Node of the registration.
        node: String,
    },
    /// A name or id that could never be answered, or is too long.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A status outside the three.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// Weights outside their range.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

impl From<RegisterError> for ApiError {
    fn from(error: RegisterError) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// Body of `PUT /v1/catalog/register`, decoded but not checked.
#[derive(Debug)]
pub(crate) struct RegisterBody {
    datacenter: Option<String>,
    id: Option<String>,
    node: String,
    address: String,
    tagged_addresses: Vec<(String, String)>,
    node_meta: Vec<(String, String)>,
    skip_node_update: bool,
    service: Option<ServiceBody>,
    checks: Vec<CheckBody>,
}

#[derive(Debug)]
struct ServiceBody {
    id: String,
    name: String,
    tags: Vec<String>,
    address: String,
    port: u16,
    meta: Vec<(String, String)>,
    weights: Option<(i64, i64)>,
    enable_tag_override: bool,
    tagged_addresses: Vec<(String, TaggedAddress)>,
}

#[derive(Debug)]
struct CheckBody {
    node: String,
    id: String,
    name: String,
    status: String,
    notes: String,
    output: String,
    service_id: String,
    definition: CheckDefinition,
}

/// Body of `PUT /v1/catalog/deregister`, decoded but not checked.
#[derive(Debug)]
pub(crate) struct DeregisterBody {
    datacenter: Option<String>,
    node: String,
    service_id: String,
    check_id: String,
}

impl ApiBody for RegisterBody {
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

impl ApiBody for DeregisterBody {
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

fn read_service(fields: &mut Fields) -> Result<ServiceBody, FieldError> {
    Ok(ServiceBody {
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

fn read_check(fields: &mut Fields) -> Result<CheckBody, FieldError> {
    Ok(CheckBody {
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

impl RegisterBody {
    /// The registration and the datacenter it is for; `None` is the local one. Names that DNS
    /// clients will have trouble with are accepted: see [`warn_of_names`].
    ///
    /// # Errors
    /// [`RegisterError`].
    pub(crate) fn check(self) -> Result<(Option<Datacenter>, Registration), RegisterError> {
        if self.node.is_empty() {
            return Err(RegisterError::NoNode);
        }
        if self.address.is_empty() && !self.skip_node_update {
            return Err(RegisterError::NoAddress);
        }
        let node = Node {
            id: node_id(self.id.as_deref())?,
            name: self.node.parse()?,
            address: Address::from_text(&self.address),
            tagged_addresses: self
                .tagged_addresses
                .into_iter()
                .map(|(label, text)| (label.into(), Address::from_text(&text)))
                .collect(),
            meta: Meta::from_pairs(self.node_meta),
        };
        let service = self.service.map(ServiceBody::check).transpose()?;
        let checks = self.checks.into_iter().map(|check| check.check(&node.name));
        let registration = Registration {
            skip_node_update: self.skip_node_update,
            checks: checks.collect::<Result<_, _>>()?,
            service,
            node,
        };
        Ok((datacenter(self.datacenter.as_deref())?, registration))
    }
}

impl ServiceBody {
    fn check(self) -> Result<Service, RegisterError> {
        if self.name.is_empty() && !self.id.is_empty() {
            return Err(RegisterError::NoServiceName);
        }
        let address = Address::from_text(&self.address);
        if address.is_unspecified() {
            return Err(RegisterError::ServiceAddress);
        }
        let id = if self.id.is_empty() {
            &self.name
        } else {
            &self.id
        };
        let tagged: crate::types::TaggedAddresses = self
            .tagged_addresses
            .into_iter()
            .map(|(label, tagged)| (label.into(), tagged))
            .collect();
        Ok(Service {
            name: self.name.parse()?,
            id: id.parse()?,
            tags: self.tags.iter().map(|tag| tag.as_str().into()).collect(),
            address,
            port: self.port,
            meta: Meta::from_pairs(self.meta),
            weights: match self.weights {
                // Go clients send zeros for weights that were not set.
                None | Some((0, 0)) => Weights::default(),
                Some((passing, warning)) => Weights::checked(passing, warning)?,
            },
            enable_tag_override: self.enable_tag_override,
            tagged_addresses: (!tagged.is_empty()).then(|| Box::new(tagged)),
        })
    }
}

impl CheckBody {
    fn check(self, node: &NodeName) -> Result<Check, RegisterError> {
        if !self.node.is_empty() && !self.node.eq_ignore_ascii_case(node.as_str()) {
            return Err(RegisterError::CheckNode {
                check: self.node,
                node: node.to_string(),
            });
        }
        let id = if self.id.is_empty() {
            &self.name
        } else {
            &self.id
        };
        let defined = self.definition != CheckDefinition::default();
        Ok(Check {
            id: id.parse()?,
            status: match self.status.as_str() {
                "" => Status::Critical,
                text => text.parse()?,
            },
            service_id: filled(&self.service_id).map(str::parse).transpose()?,
            check_type: match &self.definition {
                definition if !definition.http.is_empty() => CheckType::Http,
                definition if !definition.tcp.is_empty() => CheckType::Tcp,
                _ => CheckType::Unknown,
            },
            definition: defined.then(|| Box::new(self.definition)),
            name: self.name.into(),
            notes: self.notes.into(),
            output: self.output.into(),
        })
    }
}

impl DeregisterBody {
    /// What to remove, and from which datacenter; `None` is the local one. A service id goes
    /// before a check id.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub(crate) fn check(self) -> Result<(Option<Datacenter>, Deregistration), RegisterError> {
        if self.node.is_empty() {
            return Err(RegisterError::NoNode);
        }
        let node = self.node.parse()?;
        let deregistration = match (filled(&self.service_id), filled(&self.check_id)) {
            (Some(id), _) => Deregistration::Service(node, id.parse::<ServiceId>()?),
            (None, Some(id)) => Deregistration::Check(node, id.parse()?),
            (None, None) => Deregistration::Node(node),
        };
        Ok((datacenter(self.datacenter.as_deref())?, deregistration))
    }
}

fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn node_id(text: Option<&str>) -> Result<Option<NodeId>, NodeIdError> {
    text.and_then(filled).map(str::parse).transpose()
}

fn datacenter(name: Option<&str>) -> Result<Option<Datacenter>, RegisterError> {
    let parsed = name.and_then(filled).map(str::parse).transpose();
    parsed.map_err(|_| RegisterError::NoPathToDatacenter)
}

/// Says in the log which names of a registration clients will have trouble with; once for each
/// name, not at every write: only what `known`, the catalog so far, does not have.
pub(crate) fn warn_of_names(registration: &Registration, known: &State) {
    let node = &registration.node.name;
    if known.node(node).is_none() && !node.as_str().split('.').all(is_dns_label) {
        tracing::warn!(
            %node,
            "node name is hard to ask for over DNS: use a-z, 0-9, - and ."
        );
    }
    if let Some(service) = &registration.service
        && known.service(&service.name).is_none()
        && !is_dns_label(service.name.as_str())
    {
        tracing::warn!(
            service = %service.name,
            "service name is hard to ask for over DNS: use a-z, 0-9 and -"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::arbitrary;
    use super::super::extract::decode_body;
    use super::*;

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
        let body = decode_body::<RegisterBody>(body.as_bytes())?;
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
        let body = decode_body::<DeregisterBody>(body.as_bytes()).unwrap();
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
            let decoded = decode_body::<DeregisterBody>(body.as_bytes());
            if let Err(error) = decoded.and_then(|body| Ok(body.check()?)) {
                prop_assert_eq!(error.status().as_u16(), 400);
            }
        }
    }
}
