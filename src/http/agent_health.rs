//! `/v1/agent/health/service/…`: the health of this agent's services, in the status of the answer.

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::local::{Health, Local, LocalState};
use crate::types::Service;

use super::Shared;
use super::agent_shape::{AgentCheck, AgentService};
use super::error::ApiError;
use super::extract::Tail;
use super::json::Json;
use super::query::Query;
use super::routes::Routes;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain");
const REASON: HeaderName = HeaderName::from_static("x-consul-reason");

/// Adds the paths of this group.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .read_below("/v1/agent/health/service/id/", by_id)
        .read_below("/v1/agent/health/service/name/", by_name)
}

/// Health of one instance.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceHealth<'a> {
    aggregated_status: &'static str,
    service: Option<AgentService<'a>>,
    checks: Option<Vec<AgentCheck<'a>>>,
}

impl<'a> ServiceHealth<'a> {
    fn new(local: &'a Local, state: &'a LocalState, service: &'a Service) -> Self {
        let checks = state.checks_deciding(&service.id);
        let node = local.node_name().as_str();
        let shown = checks
            .into_iter()
            .map(|check| AgentCheck::new(node, check).in_health());
        Self {
            aggregated_status: state.health(&service.id).as_str(),
            service: Some(AgentService::new(service)),
            checks: Some(shown.collect()),
        }
    }
}

/// `GET /v1/agent/health/service/id/:id`: 200 passing, 429 warning, 503 critical or in
/// maintenance, 404 unknown. `?format=text` answers one word.
async fn by_id(
    State(api): State<Shared>,
    query: Query,
    headers: HeaderMap,
    Tail(id): Tail,
) -> Result<Response, ApiError> {
    if id.is_empty() {
        return Err(ApiError::bad_request("Bad request: Missing serviceID"));
    }
    let text = wants_text(&query, &headers);
    let state = api.local.state();
    let service = id.parse().ok().and_then(|id| state.service(&id).cloned());
    let Some(service) = service else {
        let unknown = ServiceHealth {
            aggregated_status: Health::Critical.as_str(),
            service: None,
            checks: None,
        };
        let reason = format!("ServiceId {id} not found");
        return Ok(answer(StatusCode::NOT_FOUND, reason, text, unknown));
    };
    let health = state.health(&service.id);
    let shown = ServiceHealth::new(&api.local, &state, &service);
    let word = health.as_str().to_owned();
    Ok(answer(status(health), word, text, shown))
}

/// `GET /v1/agent/health/service/name/:name`: the instances of a service, with the status of the
/// worst of them.
async fn by_name(
    State(api): State<Shared>,
    query: Query,
    headers: HeaderMap,
    Tail(name): Tail,
) -> Result<Response, ApiError> {
    if name.is_empty() {
        return Err(ApiError::bad_request("Bad request: Missing service Name"));
    }
    let text = wants_text(&query, &headers);
    let state = api.local.state();
    let instances: Vec<_> = state
        .services()
        .filter(|service| service.name.as_str().eq_ignore_ascii_case(&name))
        .collect();
    let worst = instances
        .iter()
        .map(|service| state.health(&service.id))
        .max();
    let (status, reason) = match worst {
        Some(worst) => (status(worst), worst.as_str().to_owned()),
        None => (
            StatusCode::NOT_FOUND,
            format!("ServiceName {name} Not Found"),
        ),
    };
    let shown: Vec<_> = instances
        .into_iter()
        .map(|service| ServiceHealth::new(&api.local, &state, service))
        .collect();
    Ok(answer(status, reason, text, shown))
}

/// `reason` as the body where text is asked for, else `shown`; the reason is a header too.
fn answer(status: StatusCode, reason: String, text: bool, shown: impl Serialize) -> Response {
    // A name from the path may hold what no header can.
    let header = HeaderValue::from_str(&reason);
    let mut response = if text {
        (status, [(CONTENT_TYPE, TEXT)], reason).into_response()
    } else {
        (status, Json(shown)).into_response()
    };
    if let Ok(header) = header {
        response.headers_mut().insert(REASON, header);
    }
    response
}

fn status(health: Health) -> StatusCode {
    match health {
        Health::Passing => StatusCode::OK,
        Health::Warning => StatusCode::TOO_MANY_REQUESTS,
        Health::Critical | Health::Maintenance => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The header counts before the parameter, as with the reference.
fn wants_text(query: &Query, headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.starts_with("text/plain"))
        || query.get("format") == Some("text")
}
