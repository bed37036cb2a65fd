//! `/v1/catalog`: nodes and services as registered, and registration past the agents.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::catalog::{Deregistration, Instance, NodeEntry, Operation, WatchKey};
use crate::directory::{DeregistrationDraft, RegistrationDraft, find_node, warn_of_names};
use crate::filter::{CatalogRow, NodeRow, RowKind, ServiceRow};
use crate::types::{Consistency, NodeName, RequestContext, SERF_HEALTH, Status};

use super::Shared;
use super::error::ApiError;
use super::extract::{ApiJson, Tail};
use super::health::asked_service;
use super::json::{self, Json};
use super::query::Query;
use super::reply::{self, Size};
use super::routes::Routes;
use super::select::{Selection, instances_of, is_cached};
use super::shape::{Mapping, NodeShape, RowShape, Sequence, ServiceShape};

/// Names the node whose agent has what was removed, and brings it back.
const OWNER: HeaderName = HeaderName::from_static("x-herald-owner");

/// Adds the paths of this group.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .write("/v1/catalog/register", register)
        .write("/v1/catalog/deregister", deregister)
        .read("/v1/catalog/datacenters", datacenters)
        .read("/v1/catalog/nodes", nodes)
        .read("/v1/catalog/services", services)
        .read_below("/v1/catalog/service/", service)
        .read_below("/v1/catalog/connect/", connect)
        .read_below("/v1/catalog/node/", node)
        .read_below("/v1/catalog/node-services/", node_services)
}

/// `PUT /v1/catalog/register`: `true` once the entries are in the catalog.
async fn register(
    State(api): State<Shared>,
    mut context: RequestContext,
    ApiJson(body): ApiJson<RegistrationDraft>,
) -> Result<Json<bool>, ApiError> {
    let (datacenter, registration) = body.check()?;
    context.datacenter = datacenter;
    warn_of_names(&registration, &api.directory.reader().state());
    let operation = Operation::Register(Box::new(registration));
    api.directory.write(&context, vec![operation]).await?;
    Ok(Json(true))
}

/// `PUT /v1/catalog/deregister`: `true`, also where there was nothing to remove. What an agent that
/// is alive still has, it registers again: the answer names its node.
async fn deregister(
    State(api): State<Shared>,
    mut context: RequestContext,
    ApiJson(body): ApiJson<DeregistrationDraft>,
) -> Result<Response, ApiError> {
    let (datacenter, deregistration) = body.check()?;
    context.datacenter = datacenter;
    let owner = owner(&api, &context, &deregistration).await;
    let operation = Operation::Deregister(deregistration);
    api.directory.write(&context, vec![operation]).await?;
    let mut response = Json(true).into_response();
    if let Some(owner) = owner.and_then(|name| HeaderValue::from_str(name.as_str()).ok()) {
        response.headers_mut().insert(OWNER, owner);
    }
    Ok(response)
}

/// The node that has what is to be removed, if its agent is alive.
async fn owner(
    api: &Shared,
    context: &RequestContext,
    deregistration: &Deregistration,
) -> Option<NodeName> {
    let (Deregistration::Node(name)
    | Deregistration::Service(name, _)
    | Deregistration::Check(name, _)) = deregistration;
    let context = RequestContext {
        consistency: Consistency::Stale,
        index: None,
        ..context.clone()
    };
    let keys = [
        WatchKey::NodeServices(name.clone()),
        WatchKey::NodeChecks(name.clone()),
    ];
    // Without an answer the removal is tried all the same; its own error says what is wrong.
    let answer = api.directory.read_several(&context, &keys).await.ok()?;
    let entry = answer.state.node(name)?;
    let there = match deregistration {
        Deregistration::Node(_) => true,
        Deregistration::Service(_, id) => entry.instance(id).is_some(),
        Deregistration::Check(_, id) => entry.check(id).is_some(),
    };
    let alive = entry.check(&SERF_HEALTH.parse().ok()?)?.check.status == Status::Passing;
    (there && alive).then(|| entry.node.name.clone())
}

/// `GET /v1/catalog/datacenters`: their names, the nearest first; no index, answers without a
/// leader.
///
/// # Errors
/// 500: a client agent reaches no server.
async fn datacenters(State(api): State<Shared>) -> Result<Json<Vec<String>>, ApiError> {
    let names = api.directory.find_datacenters(api.wan()).await;
    let names = names.map_err(ApiError::plain)?;
    Ok(Json(names.iter().map(ToString::to_string).collect()))
}

/// `GET /v1/catalog/nodes`: all nodes; blocks.
async fn nodes(
    State(api): State<Shared>,
    context: RequestContext,
    query: Query,
) -> Result<Response, ApiError> {
    let selection = Selection::of(&query, RowKind::Node)?;
    let answer = api.read(&context, &WatchKey::Nodes).await?;
    let answer = api.located(&context, answer, &selection, false).await?;
    let (datacenter, own) = (api.datacenter_of(&context), api.local.node_name().clone());
    reply::build(&api, answer, &context, Size::Large, move |state| {
        let rows = || {
            let nodes = state
                .nodes()
                .filter(|entry| selection.takes_node(&entry.node))
                .filter(|entry| {
                    let (node, datacenter) = (&*entry.node, &datacenter);
                    selection.takes_row(&NodeRow { node, datacenter })
                });
            let nodes = selection.in_order(state, Some(&own), nodes, |entry| entry);
            nodes.map(|entry| NodeShape::new(entry, &datacenter))
        };
        json::to_vec(&Sequence(rows))
    })
    .await
}

/// `GET /v1/catalog/services`: each service's distinct tags; blocks.
async fn services(
    State(api): State<Shared>,
    context: RequestContext,
    query: Query,
) -> Result<Response, ApiError> {
    let selection = Selection::without_filter(&query)?;
    let cached = is_cached(&query, &context)?;
    let answer = api
        .read_selected(&context, &WatchKey::Services, &selection)
        .await?;
    let response = reply::build(&api, answer, &context, Size::Large, move |state| {
        if selection.looks_at_nodes() {
            return json::to_vec(&selection.tags_on_nodes(state));
        }
        let rows = || {
            state
                .services()
                .map(|entry| (entry.name.as_str(), entry.tags()))
        };
        json::to_vec(&Mapping(rows))
    });
    Ok(reply::mark_cached(response.await?, cached))
}

/// `GET /v1/catalog/service/:service`: its instances, in the order of `health/service`; blocks.
async fn service(
    State(api): State<Shared>,
    context: RequestContext,
    query: Query,
    Tail(name): Tail,
) -> Result<Response, ApiError> {
    let selection = Selection::of(&query, RowKind::Catalog)?;
    let cached = is_cached(&query, &context)?;
    let Some(name) = asked_service(&name)? else {
        let answer = api.read(&context, &WatchKey::Services).await?;
        return Ok(reply::none(&answer, &context));
    };
    let key = WatchKey::ServiceInstances(name.clone());
    let answer = api.read_selected(&context, &key, &selection).await?;
    let answer = api.located(&context, answer, &selection, true).await?;
    let size = selection.weigh(Size::of_service(&answer.state, &name));
    let (datacenter, own) = (api.datacenter_of(&context), api.local.node_name().clone());
    let response = reply::build(&api, answer, &context, size, move |state| {
        let rows = || {
            let rows = instances_of(state, &name)
                .filter(|(node, instance)| selection.takes_instance(&node.node, instance))
                .filter(|(entry, instance)| {
                    let (node, datacenter) = (&*entry.node, &datacenter);
                    selection.takes_row(&CatalogRow {
                        node: NodeRow { node, datacenter },
                        service: ServiceRow(&instance.service),
                    })
                });
            let rows = selection.in_order(state, Some(&own), rows, |(node, _)| node);
            rows.map(|(node, instance)| RowShape::new(node, instance, &datacenter))
        };
        json::to_vec(&Sequence(rows))
    });
    Ok(reply::mark_cached(response.await?, cached))
}

/// `GET /v1/catalog/connect/:service`: there are no mesh proxies, so the list is empty; blocks.
async fn connect(
    State(api): State<Shared>,
    context: RequestContext,
    query: Query,
    Tail(name): Tail,
) -> Result<Response, ApiError> {
    Selection::of(&query, RowKind::Catalog)?;
    let name = asked_service(&name)?;
    let key = name.map_or(WatchKey::Services, WatchKey::ServiceInstances);
    let answer = api.read(&context, &key).await?;
    Ok(reply::none(&answer, &context))
}

/// A node with its services: as an object by id, or as a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct NodeWith<'a, T> {
    node: Option<NodeShape<'a>>,
    services: Option<T>,
}

/// `GET /v1/catalog/node/:node`: the node and its services by id, or null; blocks.
async fn node(
    State(api): State<Shared>,
    context: RequestContext,
    query: Query,
    Tail(asked): Tail,
) -> Result<Response, ApiError> {
    let selection = Selection::of(&query, RowKind::Service)?;
    let answer = api.read(&context, &node_key(&api, &asked)?).await?;
    let size = selection.weigh(Size::Small);
    let datacenter = api.datacenter_of(&context);
    reply::build(&api, answer, &context, size, move |state| {
        let found = find_node(state, &asked);
        json::to_vec(&found.map(|entry| NodeWith {
            node: Some(NodeShape::new(entry, &datacenter)),
            services: Some(Mapping(|| {
                services_on(entry, &selection).map(|instance| {
                    (
                        instance.service.id.as_str(),
                        ServiceShape::from(&**instance),
                    )
                })
            })),
        }))
    })
    .await
}

/// `GET /v1/catalog/node-services/:node`: the node and a list of its services, or nulls; blocks.
async fn node_services(
    State(api): State<Shared>,
    context: RequestContext,
    query: Query,
    Tail(asked): Tail,
) -> Result<Response, ApiError> {
    let selection = Selection::of(&query, RowKind::Service)?;
    let answer = api.read(&context, &node_key(&api, &asked)?).await?;
    let size = selection.weigh(Size::Small);
    let datacenter = api.datacenter_of(&context);
    reply::build(&api, answer, &context, size, move |state| {
        let found = find_node(state, &asked);
        json::to_vec(&NodeWith {
            node: found.map(|entry| NodeShape::new(entry, &datacenter)),
            services: found.map(|entry| -> Vec<_> {
                services_on(entry, &selection)
                    .map(|instance| ServiceShape::from(&**instance))
                    .collect()
            }),
        })
    })
    .await
}

/// The instances on a node that the filter takes.
fn services_on<'a>(
    entry: &'a NodeEntry,
    selection: &Selection,
) -> impl Iterator<Item = &'a Arc<Instance>> {
    let instances = entry.instances();
    instances.filter(|instance| selection.takes_row(&ServiceRow(&instance.service)))
}

/// What a read of this node watches: its own services, or all nodes where it cannot exist.
///
/// # Errors
/// 400: no name at all.
fn node_key(api: &Shared, asked: &str) -> Result<WatchKey, ApiError> {
    if asked.is_empty() {
        return Err(ApiError::bad_request("Missing node name"));
    }
    let state = api.directory.reader().state();
    let found = find_node(&state, asked).map(|entry| entry.node.name.clone());
    let name = found.or_else(|| asked.parse().ok());
    Ok(name.map_or(WatchKey::Nodes, WatchKey::NodeServices))
}
