//! Registrations as they come, from HTTP or from an agent: decoded, then checked.

use crate::catalog::{Deregistration, Registration, State};
use crate::types::{
    Address, Check, CheckDefinition, CheckType, Datacenter, Meta, NameError, Node, NodeId,
    NodeIdError, NodeName, Service, ServiceId, Status, StatusError, TaggedAddress, Weights,
    WeightsError, is_dns_label,
};

/// Why a well-formed registration is refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
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

/// A registration that is not checked yet.
#[derive(Clone, Debug, Default)]
pub struct RegistrationDraft {
    /// Datacenter it is for; `None` or empty is the local one.
    pub datacenter: Option<String>,
    /// Id of the node; `None` or empty is none.
    pub id: Option<String>,
    /// Name of the node.
    pub node: String,
    /// Its address.
    pub address: String,
    /// Its further addresses.
    pub tagged_addresses: Vec<(String, String)>,
    /// Its metadata.
    pub node_meta: Vec<(String, String)>,
    /// Leaves a stored node as it is.
    pub skip_node_update: bool,
    /// A service on it.
    pub service: Option<ServiceDraft>,
    /// Checks on it.
    pub checks: Vec<CheckDraft>,
}

/// A service that is not checked yet.
#[derive(Clone, Debug, Default)]
pub struct ServiceDraft {
    /// Its id; empty is its name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its own address; empty is that of its node.
    pub address: String,
    /// Its port; 0 is none.
    pub port: u16,
    /// Its metadata.
    pub meta: Vec<(String, String)>,
    /// Weights when it passes and when it warns.
    pub weights: Option<(i64, i64)>,
    /// Whether others may change its tags.
    pub enable_tag_override: bool,
    /// Its further addresses.
    pub tagged_addresses: Vec<(String, TaggedAddress)>,
}

/// A check that is not checked yet.
#[derive(Clone, Debug, Default)]
pub struct CheckDraft {
    /// Its node; empty is that of the registration.
    pub node: String,
    /// Its id; empty is its name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its status; empty is critical.
    pub status: String,
    /// What people should know of it.
    pub notes: String,
    /// What its last run printed.
    pub output: String,
    /// The service that it checks; empty is the node itself.
    pub service_id: String,
    /// Its type; `None` follows from the definition.
    pub check_type: Option<CheckType>,
    /// What it does.
    pub definition: CheckDefinition,
}

/// A removal that is not checked yet.
#[derive(Clone, Debug, Default)]
pub struct DeregistrationDraft {
    /// Datacenter it is for; `None` or empty is the local one.
    pub datacenter: Option<String>,
    /// The node.
    pub node: String,
    /// A service on it; empty is none.
    pub service_id: String,
    /// A check on it; empty is none.
    pub check_id: String,
}

impl RegistrationDraft {
    /// The registration and the datacenter it is for; `None` is the local one. Names that DNS
    /// clients will have trouble with are accepted: see [`warn_of_names`].
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn check(self) -> Result<(Option<Datacenter>, Registration), RegisterError> {
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
        let service = self.service.map(ServiceDraft::check).transpose()?;
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

impl ServiceDraft {
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

impl CheckDraft {
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
            check_type: self.check_type.unwrap_or(match &self.definition {
                definition if !definition.http.is_empty() => CheckType::Http,
                definition if !definition.tcp.is_empty() => CheckType::Tcp,
                _ => CheckType::Unknown,
            }),
            definition: defined.then(|| Box::new(self.definition)),
            name: self.name.into(),
            notes: self.notes.into(),
            output: self.output.into(),
        })
    }
}

impl DeregistrationDraft {
    /// What to remove, and from which datacenter; `None` is the local one. A service id goes
    /// before a check id.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn check(self) -> Result<(Option<Datacenter>, Deregistration), RegisterError> {
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
pub fn warn_of_names(registration: &Registration, known: &State) {
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
mod tests;
