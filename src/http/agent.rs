//! `/v1/agent`: the services and checks of this node, and the agent itself.
//!
//! All of it works without a leader: reads come from `local`'s memory, and a registration is taken
//! at once and brought to the catalog as soon as that is possible.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::clock;
use crate::filter::{CheckRow, Filter, FilterError, RowKind, ServiceRow};
use crate::local::{
    ChangeError, KeepError, MaintenanceError, Mechanism, RegisterError, Report, ReportError,
    UnknownCheck, UnknownService,
};
use crate::types::{Coordinate, RequestContext, Status};

use super::agent_body::{CheckBody, ServiceBody, UpdateBody};
use super::agent_shape::{AgentCheck, AgentMember, AgentService};
use super::coordinate::CoordinateShape;
use super::error::ApiError;
use super::extract::{ApiJson, Tail};
use super::json::{self, Json};
use super::query::{Query, cut, parse_bool};
use super::routes::Routes;
use super::select::filter_of;
use super::shape::Pairs;
use super::{
    Blocked, Shared, agent_about, agent_health, agent_members, agent_metrics, agent_monitor, reply,
};

const CONTENT_HASH: HeaderName = HeaderName::from_static("x-consul-contenthash");

/// Adds the paths of this group.
pub(crate) fn routes(routes: Routes) -> Routes {
    let routes = routes
        .read("/v1/agent/self", itself)
        .read("/v1/agent/services", services)
        .read("/v1/agent/checks", checks)
        .read_below("/v1/agent/service/", service)
        .write("/v1/agent/service/register", register_service)
        .write_below("/v1/agent/service/deregister/", deregister_service)
        .write_below("/v1/agent/service/maintenance/", service_maintenance)
        .write("/v1/agent/maintenance", node_maintenance)
        .write("/v1/agent/reload", reload)
        .write("/v1/agent/check/register", register_check)
        .write_below("/v1/agent/check/deregister/", deregister_check)
        .write_below("/v1/agent/check/pass/", pass)
        .write_below("/v1/agent/check/warn/", warn)
        .write_below("/v1/agent/check/fail/", fail)
        .write_below("/v1/agent/check/update/", update);
    let routes = agent_about::routes(agent_health::routes(routes));
    let routes = agent_members::routes(routes);
    agent_monitor::routes(agent_metrics::routes(routes))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Itself<'a> {
    config: ItselfConfig<'a>,
    debug_config: &'a serde_json::Value,
    coord: CoordinateShape,
    member: Option<AgentMember<'a>>,
    stats: BTreeMap<String, BTreeMap<String, String>>,
    meta: Pairs<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ItselfConfig<'a> {
    datacenter: &'a str,
    node_name: &'a str,
    #[serde(rename = "NodeID")]
    node_id: String,
    revision: &'a str,
    server: bool,
    version: &'a str,
}

/// `GET /v1/agent/self`: the agent's configuration, member entry, figures and metadata.
async fn itself(State(api): State<Shared>) -> Response {
    let description = api.control.description();
    let members = api.control.members(false);
    let own = members
        .iter()
        .find(|member| member.name == description.node.as_str());
    let node = api.local.node();
    let configuration = api.control.configuration();
    let pools = api.membership.as_ref();
    let coordinate = pools.map_or(Coordinate::START, |pools| pools.lan.coordinate());
    let mut stats = api.control.statistics();
    let own_stats = stats.entry("agent".to_owned()).or_default();
    for (name, count) in counts(&api) {
        own_stats.insert(name.to_owned(), count.to_string());
    }
    let shown = Itself {
        config: ItselfConfig {
            datacenter: description.datacenter.as_str(),
            node_name: description.node.as_str(),
            node_id: description.node_id.to_string(),
            revision: &description.revision,
            server: description.server,
            version: &description.version,
        },
        debug_config: &configuration,
        coord: (&coordinate).into(),
        member: own.map(AgentMember::new),
        stats,
        meta: Pairs(&node.meta),
    };
    Json(shown).into_response()
}

fn counts(api: &Shared) -> [(&'static str, usize); 4] {
    let state = api.local.state();
    let ttls = state
        .checks()
        .filter(|local| matches!(local.definition.mechanism, Mechanism::Ttl(_)));
    [
        ("check_monitors", 0), // no program is run yet
        ("check_ttls", ttls.count()),
        ("checks", state.checks().count()),
        ("services", state.services().count()),
    ]
}

/// `GET /v1/agent/services[?filter=]`: services registered at this agent, by id.
async fn services(State(api): State<Shared>, query: Query) -> Result<Response, ApiError> {
    let filter = filter_of(&query, RowKind::Service)?;
    let state = api.local.state();
    in_turn_if_costly(&api, filter, move |filter| {
        let taken = state
            .services()
            .filter(|service| filter.is_none_or(|filter| filter.takes(&ServiceRow(service))));
        let shown: BTreeMap<_, _> = taken
            .map(|service| (service.id.as_str(), AgentService::new(service)))
            .collect();
        Json(shown).into_response()
    })
    .await
}

/// `GET /v1/agent/checks[?filter=]`: checks registered at this agent, by id.
async fn checks(State(api): State<Shared>, query: Query) -> Result<Response, ApiError> {
    let filter = filter_of(&query, RowKind::Check)?;
    let (local, state) = (api.local.clone(), api.local.state());
    in_turn_if_costly(&api, filter, move |filter| {
        let node = local.node_name().as_str();
        let taken = state.checks().filter(|local| {
            let service_name = local.service_name.as_ref();
            let row = CheckRow {
                node,
                check: &local.check,
                service_name: service_name.map_or("", |name| name.as_str()),
                service_tags: &local.service_tags,
            };
            filter.is_none_or(|filter| filter.takes(&row))
        });
        let shown: BTreeMap<_, _> = taken
            .map(|local| (local.check.id.as_str(), AgentCheck::new(node, local)))
            .collect();
        Json(shown).into_response()
    })
    .await
}

/// The answer that `write` makes: where looking at a row takes long, on a thread of its own.
async fn in_turn_if_costly(
    api: &Shared,
    filter: Option<Filter>,
    write: impl FnOnce(Option<&Filter>) -> Response + Send + 'static,
) -> Result<Response, ApiError> {
    if filter.as_ref().is_some_and(Filter::is_costly) {
        return reply::in_turn(&api.large, move || write(filter.as_ref())).await;
    }
    Ok(write(filter.as_ref()))
}

/// `GET /v1/agent/service/:id[?hash=&wait=]`: one service with the hash of its content; with a hash
/// it waits until the content has another one.
async fn service(
    State(api): State<Shared>,
    context: RequestContext,
    query: Query,
    Tail(id): Tail,
) -> Result<Response, ApiError> {
    let seen = query.get_filled("hash");
    let deadline = clock::now() + api.directory.wait(&context);
    let _blocked = seen.map(|_| Blocked::new(&api.counts));
    let mut changed = api.local.services_changed();
    loop {
        // Marked as seen before the state is read, so that no change falls between.
        changed.mark_unchanged();
        let state = api.local.state();
        let found = id.parse().ok().and_then(|id| state.service(&id).cloned());
        let Some(service) = found else {
            return Err(ApiError::not_found(format!("unknown service ID: {id}")));
        };
        let mut shown = AgentService::new(&service);
        let hash = content_hash(&shown)?;
        if seen == Some(&hash) {
            let stopped = api.stopping.cancelled();
            let next = tokio::time::timeout_at(deadline, changed.changed());
            let timed_out = tokio::select! {
                () = stopped => {
                    return Err(ApiError::internal("agent is stopping").retry().close());
                }
                next = next => next.is_err(),
            };
            if !timed_out {
                continue;
            }
        }
        let header = HeaderValue::from_str(&hash).expect("hexadecimal digits are visible");
        shown.content_hash = Some(hash);
        return Ok(([(CONTENT_HASH, header)], Json(shown)).into_response());
    }
}

/// 16 hexadecimal digits of the answer without the hash itself (64-bit FNV-1a).
fn content_hash(shown: &AgentService<'_>) -> Result<String, ApiError> {
    let text = json::to_vec(shown)
        .map_err(|error| ApiError::internal(format!("answer cannot be written: {error}")))?;
    let hash = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
    });
    Ok(format!("{hash:016x}"))
}

/// `PUT /v1/agent/service/register[?replace-existing-checks]`.
async fn register_service(
    State(api): State<Shared>,
    query: Query,
    ApiJson(body): ApiJson<ServiceBody>,
) -> Result<StatusCode, ApiError> {
    let definition = body.check()?;
    // Anything that does not clearly say so keeps the checks.
    let replace = query
        .get("replace-existing-checks")
        .is_some_and(|value| value.is_empty() || parse_bool(value) == Some(true));
    api.local.register_service(definition, replace).await?;
    Ok(StatusCode::OK)
}

/// `PUT /v1/agent/service/deregister/:id`.
async fn deregister_service(
    State(api): State<Shared>,
    Tail(id): Tail,
) -> Result<StatusCode, ApiError> {
    if id.is_empty() {
        return Err(ApiError::bad_request("ServiceID missing"));
    }
    let parsed = id.parse().map_err(|_| UnknownService { id })?;
    api.local.deregister_service(&parsed).await?;
    Ok(StatusCode::OK)
}

/// `PUT /v1/agent/service/maintenance/:id?enable=&reason=`.
async fn service_maintenance(
    State(api): State<Shared>,
    query: Query,
    Tail(id): Tail,
) -> Result<StatusCode, ApiError> {
    if id.is_empty() {
        return Err(ApiError::bad_request("Missing service ID"));
    }
    let reason = maintenance_reason(&query)?;
    let unknown = || ApiError::not_found(format!("No service registered with ID {id:?}"));
    let parsed = id.parse().map_err(|_| unknown())?;
    match api.local.service_maintenance(&parsed, reason).await {
        Ok(()) => Ok(StatusCode::OK),
        Err(ChangeError::Refused(MaintenanceError::Unknown(_))) => Err(unknown()),
        Err(ChangeError::Refused(MaintenanceError::Id(error))) => {
            Err(ApiError::bad_request(error.to_string()))
        }
        Err(ChangeError::Keep(error)) => Err(error.into()),
    }
}

/// `PUT /v1/agent/maintenance?enable=&reason=`.
async fn node_maintenance(State(api): State<Shared>, query: Query) -> Result<StatusCode, ApiError> {
    let reason = maintenance_reason(&query)?;
    match api.local.node_maintenance(reason).await {
        Ok(()) => {}
        Err(ChangeError::Keep(error)) => return Err(error.into()),
    }
    Ok(StatusCode::OK)
}

/// `PUT /v1/agent/reload`.
///
/// # Errors
/// 500: the configuration is refused, and nothing changed.
async fn reload(State(api): State<Shared>) -> Result<StatusCode, ApiError> {
    match api.control.reload().await {
        Ok(()) => Ok(StatusCode::OK),
        Err(error) => Err(ApiError::internal(error.to_string())),
    }
}

/// The reason, which may be empty, to go into maintenance; `None` to come out.
fn maintenance_reason(query: &Query) -> Result<Option<&str>, ApiError> {
    let Some(enable) = query.get("enable") else {
        return Err(ApiError::bad_request("Missing value for enable"));
    };
    match parse_bool(enable) {
        Some(true) => Ok(Some(query.get("reason").unwrap_or_default())),
        Some(false) => Ok(None),
        None => Err(ApiError::bad_request(format!(
            "Invalid value for enable: {}",
            cut(enable)
        ))),
    }
}

/// `PUT /v1/agent/check/register`.
async fn register_check(
    State(api): State<Shared>,
    ApiJson(body): ApiJson<CheckBody>,
) -> Result<StatusCode, ApiError> {
    api.local.register_check(body.check()?).await?;
    Ok(StatusCode::OK)
}

/// `PUT /v1/agent/check/deregister/:id`.
async fn deregister_check(
    State(api): State<Shared>,
    Tail(id): Tail,
) -> Result<StatusCode, ApiError> {
    if id.is_empty() {
        return Err(ApiError::bad_request("CheckID missing"));
    }
    let parsed = id.parse().map_err(|_| UnknownCheck { id })?;
    api.local.deregister_check(&parsed).await?;
    Ok(StatusCode::OK)
}

/// `PUT /v1/agent/check/pass/:id[?note=]`.
async fn pass(api: State<Shared>, query: Query, id: Tail) -> Result<StatusCode, ApiError> {
    note(&api, &query, id, Status::Passing).await
}

/// `PUT /v1/agent/check/warn/:id[?note=]`.
async fn warn(api: State<Shared>, query: Query, id: Tail) -> Result<StatusCode, ApiError> {
    note(&api, &query, id, Status::Warning).await
}

/// `PUT /v1/agent/check/fail/:id[?note=]`.
async fn fail(api: State<Shared>, query: Query, id: Tail) -> Result<StatusCode, ApiError> {
    note(&api, &query, id, Status::Critical).await
}

async fn note(
    api: &Shared,
    query: &Query,
    id: Tail,
    status: Status,
) -> Result<StatusCode, ApiError> {
    let output = query.get("note").unwrap_or_default().into();
    report(api, id, Report { status, output }).await
}

/// `PUT /v1/agent/check/update/:id`.
async fn update(
    State(api): State<Shared>,
    id: Tail,
    ApiJson(body): ApiJson<UpdateBody>,
) -> Result<StatusCode, ApiError> {
    let Ok(status) = body.status.parse() else {
        let text = format!(
            "Invalid check status: '{}'",
            super::query::shown(&body.status)
        );
        return Err(ApiError::bad_request(text));
    };
    let output = body.output.into();
    report(&api, id, Report { status, output }).await
}

async fn report(api: &Shared, Tail(id): Tail, report: Report) -> Result<StatusCode, ApiError> {
    if id.is_empty() {
        return Err(ApiError::bad_request("CheckID missing"));
    }
    let parsed = id.parse().map_err(|_| UnknownCheck { id })?;
    api.local.report(&parsed, report).await?;
    Ok(StatusCode::OK)
}

impl From<FilterError> for ApiError {
    fn from(error: FilterError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl<E: Into<ApiError>> From<ChangeError<E>> for ApiError {
    fn from(error: ChangeError<E>) -> Self {
        match error {
            ChangeError::Refused(error) => error.into(),
            ChangeError::Keep(error) => error.into(),
        }
    }
}

impl From<KeepError> for ApiError {
    fn from(error: KeepError) -> Self {
        let text = error.to_string();
        match error {
            KeepError::Disk { .. } | KeepError::Stopping => Self::internal(text),
            KeepError::Busy { .. } => Self::new(StatusCode::TOO_MANY_REQUESTS, text).retry(),
        }
    }
}

impl From<RegisterError> for ApiError {
    fn from(error: RegisterError) -> Self {
        let text = error.to_string();
        match error {
            RegisterError::ServiceAddress
            | RegisterError::UnknownService { .. }
            | RegisterError::Reserved { .. }
            | RegisterError::CheckName
            | RegisterError::Id(_) => Self::bad_request(text),
            RegisterError::TooMany { .. } => Self::new(StatusCode::TOO_MANY_REQUESTS, text),
            // The request is in order; the agent is not set up for it.
            RegisterError::ScriptsDisabled | RegisterError::LocalScriptsDisabled { .. } => {
                Self::internal(text)
            }
        }
    }
}

impl From<UnknownService> for ApiError {
    fn from(error: UnknownService) -> Self {
        Self::not_found(error.to_string())
    }
}

impl From<UnknownCheck> for ApiError {
    fn from(error: UnknownCheck) -> Self {
        Self::not_found(error.to_string())
    }
}

impl From<ReportError> for ApiError {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Unknown(unknown) => unknown.into(),
            // Clients register again on exactly this status.
            ReportError::NotTtl { .. } => Self::internal(error.to_string()),
        }
    }
}
