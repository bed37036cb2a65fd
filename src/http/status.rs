//! `/v1/status`: who leads, who takes part. A server answers even without a leader.

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use crate::types::RequestContext;

use super::Shared;
use super::error::ApiError;
use super::json::Json;
use super::routes::Routes;

/// Adds the paths of this group.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .read("/v1/status/leader", leader)
        .read("/v1/status/peers", peers)
}

/// `GET /v1/status/leader`: the leader's address, or an empty text.
///
/// # Errors
/// 500: a client agent reaches no server.
async fn leader(State(api): State<Shared>, context: RequestContext) -> Result<Response, ApiError> {
    api.check_local(&context)?;
    let leader = api.directory.find_leader().await.map_err(ApiError::plain)?;
    let text = leader
        .map(|address| address.to_string())
        .unwrap_or_default();
    Ok(Json(text).into_response())
}

/// `GET /v1/status/peers`: the addresses of all servers.
///
/// # Errors
/// 500: a client agent reaches no server.
async fn peers(State(api): State<Shared>, context: RequestContext) -> Result<Response, ApiError> {
    api.check_local(&context)?;
    let peers = api.directory.find_peers().await.map_err(ApiError::plain)?;
    let texts: Vec<_> = peers.iter().map(ToString::to_string).collect();
    Ok(Json(texts).into_response())
}
