//! `/v1/agent/host` and `/v1/agent/version`: the machine, and the program that runs on it.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Shared;
use super::error::ApiError;
use super::json::Json;
use super::routes::Routes;

/// Adds the paths of this group.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .read("/v1/agent/host", host)
        .read("/v1/agent/version", version)
}

/// `GET /v1/agent/host`: memory, processors, system and disk of the agent's machine.
///
/// # Errors
/// 500: the agent stops.
async fn host(State(api): State<Shared>) -> Result<Response, ApiError> {
    let control = api.control.clone();
    // It is read from many files.
    let machine = tokio::task::spawn_blocking(move || control.machine()).await;
    let machine = machine.map_err(|_| ApiError::internal("agent is stopping").retry())?;
    Ok(Json(machine).into_response())
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Program<'a> {
    #[serde(rename = "SHA")]
    sha: &'a str,
    build_date: &'a str,
    human_version: &'a str,
    #[serde(rename = "FIPS")]
    fips: &'static str,
}

/// `GET /v1/agent/version`.
async fn version(State(api): State<Shared>) -> Response {
    let description = api.control.description();
    let shown = Program {
        sha: &description.revision,
        build_date: &description.build_date,
        human_version: &description.version,
        fips: "",
    };
    Json(shown).into_response()
}
