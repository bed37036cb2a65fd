//! Which calls answer a read of some keys.

use super::encoded;
use crate::catalog::WatchKey;
use crate::directory::wire::{
    DatacenterRequest, NodeRequest, QueryOptions, Rows, ServiceDumpRequest, ServiceRequest,
    StateRequest,
};

/// One call of a read.
#[derive(Clone, Debug)]
pub(super) struct Step<'a> {
    pub(super) method: &'static str,
    asked: Asked<'a>,
    /// What its rows are; `None` where only its index counts.
    pub(super) rows: Option<Rows>,
    /// Whether its index counts, and whether it may wait.
    pub(super) counts: bool,
}

/// What a request names.
#[derive(Clone, Copy, Debug)]
enum Asked<'a> {
    Datacenter,
    Node(&'a str),
    Service(&'a str),
    /// Checks in any state.
    State,
    Dump,
}

/// The calls that give all that `keys` cover. Names of services alone come as such; where other
/// keys stand beside them, instances are asked for, since nodes and checks go with those.
pub(super) fn steps(keys: &[WatchKey]) -> Vec<Step<'_>> {
    let mut steps: Vec<_> = keys.iter().map(Step::of).collect();
    if keys.len() > 1
        && let Some(names) = steps.iter_mut().find(|it| it.rows == Some(Rows::Names))
    {
        names.rows = None;
        let instances = Step::new("Internal.ServiceDump", Asked::Dump, Rows::Health);
        steps.push(Step {
            counts: false,
            ..instances
        });
    }
    steps
}

impl<'a> Step<'a> {
    fn new(method: &'static str, asked: Asked<'a>, rows: Rows) -> Self {
        Self {
            method,
            asked,
            rows: Some(rows),
            counts: true,
        }
    }

    pub(super) fn of(key: &'a WatchKey) -> Self {
        use WatchKey as Key;
        match key {
            Key::Nodes => Self::new("Catalog.ListNodes", Asked::Datacenter, Rows::Nodes),
            Key::Services => Self::new("Catalog.ListServices", Asked::Datacenter, Rows::Names),
            Key::Checks => Self::new("Health.ChecksInState", Asked::State, Rows::Checks),
            Key::NodeServices(name) => {
                let node = Asked::Node(name.as_str());
                Self::new("Catalog.NodeServices", node, Rows::NodeServices)
            }
            Key::NodeChecks(name) => Self::new(
                "Health.NodeChecks",
                Asked::Node(name.as_str()),
                Rows::Checks,
            ),
            Key::ServiceInstances(name) => {
                let service = Asked::Service(name.as_str());
                Self::new("Catalog.ServiceNodes", service, Rows::Instances)
            }
            Key::ServiceChecks(name) => {
                let service = Asked::Service(name.as_str());
                Self::new("Health.ServiceChecks", service, Rows::Checks)
            }
            Key::ServiceHealth(name) => {
                let service = Asked::Service(name.as_str());
                Self::new("Health.ServiceNodes", service, Rows::Health)
            }
            Key::Locations => Self::locations(),
            Key::NodeLocation(name) => {
                let node = Asked::Node(name.as_str());
                Self::new("Coordinate.Node", node, Rows::Locations)
            }
        }
    }

    /// Where all nodes are.
    pub(super) fn locations() -> Self {
        Self::new("Coordinate.ListNodes", Asked::Datacenter, Rows::Locations)
    }

    /// The request, one value.
    pub(super) fn request(&self, datacenter: &str, options: QueryOptions<'_>) -> Vec<u8> {
        let datacenter = datacenter.into();
        match self.asked {
            Asked::Datacenter => encoded(&DatacenterRequest {
                datacenter,
                options,
                ..DatacenterRequest::default()
            }),
            Asked::Node(node) => encoded(&NodeRequest {
                datacenter,
                node: node.into(),
                options,
            }),
            Asked::Service(name) => encoded(&ServiceRequest {
                datacenter,
                service_name: name.into(),
                options,
                ..ServiceRequest::default()
            }),
            Asked::State => encoded(&StateRequest {
                datacenter,
                state: "any".into(),
                options,
                ..StateRequest::default()
            }),
            Asked::Dump => encoded(&ServiceDumpRequest {
                datacenter,
                options,
                ..ServiceDumpRequest::default()
            }),
        }
    }
}
