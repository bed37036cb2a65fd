//! `/v1/health`: checks, and instances with the checks that decide about them.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use crate::catalog::{self, CheckEntry, Instance, NodeEntry, WatchKey};
use crate::filter::{HealthRow, RowKind, check_row};
use crate::types::{Datacenter, NodeName, RequestContext, ServiceName, Status};

use super::Shared;
use super::error::ApiError;
use super::extract::Tail;
use super::query::Query;
use super::reply::{self, Size};
use super::routes::Routes;
use super::select::{Selection, instances_of, is_cached};
use super::shape::{CheckShape, NodeShape, Sequence, ServiceShape};

/// Adds the paths of this group.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .read_below("/v1/health/service/", service)
        .read_below("/v1/health/node/", node)
        .read_below("/v1/health/checks/", checks)
        .read_below("/v1/health/state/", state)
}

/// An instance with everything that decides about its health.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct HealthShape<'a> {
    node: NodeShape<'a>,
    service: ServiceShape<'a>,
    checks: Vec<CheckShape<'a>>,
}

impl<'a> HealthShape<'a> {
    fn new(node: &'a NodeEntry, instance: &'a Instance, datacenter: &'a Datacenter) -> Self {
        let of_node = node.node_checks().map(|entry| (entry, None));
        let own = instance.checks.iter().map(|entry| (entry, Some(instance)));
        let shape = |(entry, owner): (&'a Arc<CheckEntry>, _)| CheckShape::new(node, entry, owner);
        Self {
            node: NodeShape::new(node, datacenter),
            service: instance.into(),
            checks: of_node.chain(own).map(shape).collect(),
        }
    }
}

/// `GET /v1/health/service/:service`: its instances with node and checks; blocks.
async fn service(
    State(api): State<Shared>,
    context: RequestContext,
    query: Query,
    Tail(name): Tail,
) -> Result<Response, ApiError> {
    let selection = Selection::of(&query, RowKind::Health)?;
    let cached = is_cached(&query, &context)?;
    let Some(name) = asked_service(&name)? else {
        let answer = api.read(&context, &WatchKey::Services).await?;
        return Ok(reply::none(&answer, &context));
    };
    let key = WatchKey::ServiceHealth(name.clone());
    let answer = api.read(&context, &key).await?;
    let answer = api.located(&context, answer, &selection, true).await?;
    let size = selection.weigh(Size::of_service(&answer.state, &name));
    let (datacenter, own) = (api.datacenter_of(&context), api.local.node_name().clone());
    let response = reply::build(&api, answer, &context, size, move |state| {
        let rows = || {
            let rows = instances_of(state, &name)
                .filter(|(node, instance)| selection.takes_healthy(node, instance))
                .filter(|(node, instance)| {
                    let datacenter = &datacenter;
                    selection.takes_row(&HealthRow {
                        node,
                        instance,
                        datacenter,
                    })
                });
            let rows = selection.in_order(state, Some(&own), rows, |(node, _)| node);
            rows.map(|(node, instance)| HealthShape::new(node, instance, &datacenter))
        };
        super::json::to_vec(&Sequence(rows))
    });
    Ok(reply::mark_cached(response.await?, cached))
}

/// `GET /v1/health/node/:node`: its checks and those of its services; blocks.
async fn node(
    State(api): State<Shared>,
    context: RequestContext,
    query: Query,
    Tail(name): Tail,
) -> Result<Response, ApiError> {
    let selection = Selection::of(&query, RowKind::Check)?;
    if name.is_empty() {
        return Err(ApiError::bad_request("Missing node name"));
    }
    let Ok(name) = name.parse::<NodeName>() else {
        let answer = api.read(&context, &WatchKey::Nodes).await?;
        return Ok(reply::none(&answer, &context));
    };
    let answer = api
        .read(&context, &WatchKey::NodeChecks(name.clone()))
        .await?;
    let size = selection.weigh(Size::Small);
    reply::build(&api, answer, &context, size, move |state| {
        let rows = || {
            let node = state.node(&name).into_iter();
            node.flat_map(|node| node.checks().map(move |entry| check_on(node, entry)))
                .filter(|(node, entry, owner)| takes_check(&selection, node, entry, *owner))
                .map(|(node, entry, owner)| CheckShape::new(node, entry, owner))
        };
        super::json::to_vec(&Sequence(rows))
    })
    .await
}

/// `GET /v1/health/checks/:service`: the checks of its instances; blocks.
async fn checks(
    State(api): State<Shared>,
    context: RequestContext,
    query: Query,
    Tail(name): Tail,
) -> Result<Response, ApiError> {
    let selection = Selection::of(&query, RowKind::Check)?;
    let Some(name) = asked_service(&name)? else {
        let answer = api.read(&context, &WatchKey::Services).await?;
        return Ok(reply::none(&answer, &context));
    };
    let key = WatchKey::ServiceChecks(name.clone());
    let answer = api.read_selected(&context, &key, &selection).await?;
    let answer = api.located(&context, answer, &selection, true).await?;
    let size = selection.weigh(Size::of_service(&answer.state, &name));
    let own = api.local.node_name().clone();
    reply::build(&api, answer, &context, size, move |state| {
        let rows = || {
            let rows = instances_of(state, &name)
                .filter(|(node, _)| selection.takes_node(&node.node))
                .flat_map(|(node, instance)| {
                    let checks = instance.checks.iter();
                    checks.map(move |entry| (node, entry, Some(&**instance)))
                })
                .filter(|(node, entry, owner)| takes_check(&selection, node, entry, *owner));
            let rows = selection.in_order(state, Some(&own), rows, |(node, _, _)| node);
            rows.map(|(node, entry, owner)| CheckShape::new(node, entry, owner))
        };
        super::json::to_vec(&Sequence(rows))
    })
    .await
}

/// `GET /v1/health/state/:state`: the checks in this state, or all for `any`; blocks. There are
/// none in a state that does not exist.
async fn state(
    State(api): State<Shared>,
    context: RequestContext,
    query: Query,
    Tail(name): Tail,
) -> Result<Response, ApiError> {
    let selection = Selection::of(&query, RowKind::Check)?;
    let status = match name.as_str() {
        "" => return Err(ApiError::bad_request("Missing check state")),
        "any" => Ok(None),
        name => name.parse::<Status>().map(Some),
    };
    let answer = api
        .read_selected(&context, &WatchKey::Checks, &selection)
        .await?;
    let answer = api.located(&context, answer, &selection, true).await?;
    let Ok(status) = status else {
        return Ok(reply::none(&answer, &context));
    };
    let own = api.local.node_name().clone();
    reply::build(
        &api,
        answer,
        &context,
        Size::Large,
        move |state: &catalog::State| {
            let rows = || {
                let rows = state
                    .checks_in(status)
                    .filter(|(node, _, _)| selection.takes_node(&node.node))
                    .map(|(node, entry, owner)| (node, entry, owner.map(|owner| &**owner)))
                    .filter(|(node, entry, owner)| takes_check(&selection, node, entry, *owner));
                let rows = selection.in_order(state, Some(&own), rows, |(node, _, _)| node);
                rows.map(|(node, entry, owner)| CheckShape::new(node, entry, owner))
            };
            super::json::to_vec(&Sequence(rows))
        },
    )
    .await
}

/// A check on its node, with the instance it belongs to.
type Owned<'a> = (&'a NodeEntry, &'a CheckEntry, Option<&'a Instance>);

fn check_on<'a>(node: &'a NodeEntry, entry: &'a CheckEntry) -> Owned<'a> {
    (node, entry, node.owner_of(entry).map(AsRef::as_ref))
}

fn takes_check(
    selection: &Selection,
    node: &NodeEntry,
    entry: &CheckEntry,
    owner: Option<&Instance>,
) -> bool {
    selection.takes_row(&check_row(node, &entry.check, owner))
}

/// The service asked for; `None` for a name that no service can have.
///
/// # Errors
/// 400: no name at all.
pub(crate) fn asked_service(name: &str) -> Result<Option<ServiceName>, ApiError> {
    if name.is_empty() {
        return Err(ApiError::bad_request("Missing service name"));
    }
    Ok(name.parse().ok())
}
