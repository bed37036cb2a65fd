//! Registrations as they were written, and the one check of what they mean: for bodies of the HTTP
//! API and for configuration files alike.

use std::time::Duration;

use crate::health::{Mechanism, MechanismError, Settings};
use crate::types::{
    Address, CheckId, Meta, MetaError, NameError, Service, ServiceId, Status, TaggedAddress,
    TaggedAddresses, Weights, WeightsError,
};

use super::definition::{CheckDefinition, ServiceDefinition};

/// Most consecutive results that a check may need before it changes.
pub const RESULTS_MAX: i64 = 1_000_000;

/// Most tags or checks of one service: far above what anybody registers, far below what would hold
/// up the writer of the catalog.
pub const LIST_LENGTH_MAX: usize = 1_024;

/// A service with its checks, not yet checked. Empty texts mean that a field was not given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceDraft {
    /// Id; the name where empty.
    pub id: String,
    /// Name.
    pub name: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Own address.
    pub address: String,
    /// Further addresses by label.
    pub tagged_addresses: Vec<(String, TaggedAddress)>,
    /// Port; 0 where there is none.
    pub port: u16,
    /// Metadata.
    pub meta: Vec<(String, String)>,
    /// Whether others may change the tags in the catalog.
    pub enable_tag_override: bool,
    /// Weights while passing and while warning.
    pub weights: Option<(i64, i64)>,
    /// Its checks, in the order in which they are numbered.
    pub checks: Vec<CheckDraft>,
}

/// A check, not yet checked. Empty texts and zeros mean that a field was not given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckDraft {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Free text.
    pub notes: String,
    /// Status until the first result.
    pub status: String,
    /// The service it belongs to, for a check registered by itself.
    pub service_id: String,
    /// How it is carried out.
    pub settings: Settings,
    /// Time in critical state after which the service goes; zero never.
    pub deregister_after: Duration,
    /// Consecutive good results before it turns passing: at most [`RESULTS_MAX`].
    pub success_before_passing: u32,
    /// Consecutive bad results before it turns warning: at most [`RESULTS_MAX`].
    pub failures_before_warning: u32,
    /// Consecutive bad results before it turns critical: at most [`RESULTS_MAX`].
    pub failures_before_critical: u32,
    /// Most octets of output that are kept; `None` is the agent's limit.
    pub output_octets_max: Option<usize>,
}

/// Why a draft describes nothing that can be registered; nothing was changed. The texts are those
/// of the reference, which clients show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// The service has no name.
    #[error("Missing service name")]
    ServiceName,
    /// The check has no name.
    #[error("Missing check name")]
    CheckName,
    /// The status of a check registered by itself is none of the three.
    #[error("Bad check status")]
    Status,
    /// The status of a check of a service is none of the three.
    #[error("Status for checks must 'passing', 'warning', 'critical'")]
    StatusOfService,
    /// A list of the service is too long.
    #[error("{count} {what}, at most {LIST_LENGTH_MAX} are allowed")]
    Length {
        /// `tags` or `checks`.
        what: &'static str,
        /// Its length.
        count: usize,
    },
    /// The settings describe no check.
    #[error("Invalid check: {0}")]
    Mechanism(#[from] MechanismError),
    /// The metadata is not acceptable.
    #[error("Invalid Service Meta: {0}")]
    Meta(#[from] MetaError),
    /// The weights are out of their range.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A name or id that could never be answered, or is too long.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl ServiceDraft {
    /// Checks what the fields mean. A check of which nothing is said is no check.
    ///
    /// # Errors
    /// [`DraftError`].
    pub fn check(self) -> Result<ServiceDefinition, DraftError> {
        if self.name.is_empty() {
            return Err(DraftError::ServiceName);
        }
        for (what, count) in [("tags", self.tags.len()), ("checks", self.checks.len())] {
            if count > LIST_LENGTH_MAX {
                return Err(DraftError::Length { what, count });
            }
        }
        let checks = self
            .checks
            .into_iter()
            .filter(|check| *check != CheckDraft::default())
            .map(CheckDraft::check_of_service)
            .collect::<Result<_, _>>()?;
        let id = match self.id.as_str() {
            "" => &self.name,
            id => id,
        };
        let weights = match self.weights {
            None => Weights::default(),
            Some((passing, warning)) => Weights::checked(passing, warning)?,
        };
        let tagged = self.tagged_addresses.into_iter();
        let tagged: TaggedAddresses = tagged
            .map(|(label, address)| (label.into(), address))
            .collect();
        let service = Service {
            id: id.parse()?,
            name: self.name.parse()?,
            tags: self.tags.into_iter().map(Into::into).collect(),
            address: Address::from_text(&self.address),
            port: self.port,
            meta: Meta::checked(self.meta)?,
            weights,
            enable_tag_override: self.enable_tag_override,
            // None are shown as an absent field.
            tagged_addresses: (!tagged.is_empty()).then(|| Box::new(tagged)),
        };
        Ok(ServiceDefinition { service, checks })
    }
}

impl CheckDraft {
    /// Checks what the fields of a check that is registered by itself mean.
    ///
    /// # Errors
    /// [`DraftError`].
    pub fn check(self) -> Result<CheckDefinition, DraftError> {
        if self.name.is_empty() {
            return Err(DraftError::CheckName);
        }
        let service_id = parse_filled::<ServiceId>(&self.service_id)?;
        let definition = self.into_definition(&DraftError::Status)?;
        Ok(CheckDefinition {
            service_id,
            ..definition
        })
    }

    /// Checks what the fields of a check of a service mean.
    ///
    /// # Errors
    /// [`DraftError`].
    pub fn check_of_service(self) -> Result<CheckDefinition, DraftError> {
        self.into_definition(&DraftError::StatusOfService)
    }

    fn into_definition(self, bad_status: &DraftError) -> Result<CheckDefinition, DraftError> {
        let status = match &*self.status {
            "" => None,
            text => match text.parse::<Status>() {
                Ok(status) => Some(status),
                Err(_) => return Err(bad_status.clone()),
            },
        };
        let mechanism = Mechanism::checked(self.settings)?;
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
}

fn parse_filled<T: std::str::FromStr<Err = NameError>>(
    text: &str,
) -> Result<Option<T>, DraftError> {
    match text {
        "" => Ok(None),
        text => Ok(Some(text.parse()?)),
    }
}
