//! `/v1/operator/raft` and `/v1/operator/catalog`: the servers of the cluster, and whether their
//! catalogs are equal.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::delete;
use serde::Serialize;

use crate::control::ClusterServer;
use crate::types::{NodeId, RequestContext};

use super::error::ApiError;
use super::json::Json;
use super::query::{Query, cut};
use super::routes::Routes;
use super::{Api, Shared};

/// What a client agent answers: it knows nothing of the cluster's inside.
const NO_SERVER: &str = "this must be asked of a server";

/// Adds the paths of this group.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .read("/v1/operator/raft/configuration", configuration)
        .methods(
            "/v1/operator/raft/peer",
            delete(remove_peer),
            "OPTIONS,DELETE",
        )
        .read("/v1/operator/catalog/digest", digest)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigurationShape {
    servers: Vec<ServerShape>,
    index: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServerShape {
    #[serde(rename = "ID")]
    id: String,
    node: String,
    address: String,
    leader: bool,
    protocol_version: &'static str,
    voter: bool,
}

impl From<&ClusterServer> for ServerShape {
    fn from(server: &ClusterServer) -> Self {
        Self {
            id: server.id.to_string(),
            node: server.node.clone(),
            address: server.address.to_string(),
            leader: server.leader,
            protocol_version: "3",
            voter: server.voter,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DigestShape {
    index: u64,
    digest: String,
}

/// `GET /v1/operator/raft/configuration`: the servers of the cluster, as this one knows them.
///
/// # Errors
/// 500: this is a client agent.
async fn configuration(
    State(api): State<Shared>,
    context: RequestContext,
) -> Result<Response, ApiError> {
    api.check_local(&context)?;
    let servers = api.cluster_servers()?;
    let shape = ConfigurationShape {
        servers: servers.iter().map(ServerShape::from).collect(),
        // Which entry of the log said so last is not kept.
        index: 0,
    };
    Ok(Json(shape).into_response())
}

/// `DELETE /v1/operator/raft/peer?id=|address=`: takes a server out of the cluster. One that is
/// alive in the pool is taken in again.
///
/// # Errors
/// 400: neither or both are given. 500: the cluster has no such server, or this one does not lead.
async fn remove_peer(
    State(api): State<Shared>,
    context: RequestContext,
    query: Query,
) -> Result<StatusCode, ApiError> {
    api.check_local(&context)?;
    let choice = Choice::of(&query)?;
    let id = choice.find(&api.cluster_servers()?)?;
    let removed = api.control.remove_server(id).await;
    removed.map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(StatusCode::OK)
}

/// `GET /v1/operator/catalog/digest`: herald's own. Servers that have applied the same log answer
/// the same; takes as long as a pass over the whole catalog.
///
/// # Errors
/// 500: this is a client agent, or it is stopping.
async fn digest(State(api): State<Shared>, context: RequestContext) -> Result<Response, ApiError> {
    api.check_local(&context)?;
    api.cluster_servers()?;
    let state = api.directory.reader().state();
    let work = move || DigestShape {
        index: state.applied().0,
        digest: format!("{:016x}", state.digest()),
    };
    let shape = tokio::task::spawn_blocking(work).await;
    let shape = shape.map_err(|_| ApiError::internal("agent is stopping").retry())?;
    Ok(Json(shape).into_response())
}

/// Which server is meant.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    Id(String),
    Address(String),
}

impl Choice {
    /// Reads `?id=` or `?address=`.
    ///
    /// # Errors
    /// 400: neither or both are given.
    fn of(query: &Query) -> Result<Self, ApiError> {
        match (query.get_filled("id"), query.get_filled("address")) {
            (Some(id), None) => Ok(Self::Id(id.to_owned())),
            (None, Some(address)) => Ok(Self::Address(address.to_owned())),
            (None, None) => Err(ApiError::bad_request(
                "Bad request: Must specify either ?id with the server's ID or ?address with \
                 IP:port of peer to remove",
            )),
            (Some(_), Some(_)) => Err(ApiError::bad_request(
                "Bad request: Must specify only one of ?id or ?address",
            )),
        }
    }

    /// # Errors
    /// 500, as in the reference: there is no such server.
    fn find(&self, servers: &[ClusterServer]) -> Result<NodeId, ApiError> {
        let (what, text) = match self {
            Self::Id(text) => ("id", text),
            Self::Address(text) => ("address", text),
        };
        let mut servers = servers.iter();
        let found = servers.find(|server| match self {
            Self::Id(id) => server.id.to_string().eq_ignore_ascii_case(id),
            Self::Address(address) => server.address.to_string() == *address,
        });
        let server = found.ok_or_else(|| {
            let text = cut(text);
            ApiError::internal(format!(
                "{what} {text} was not found in the Raft configuration"
            ))
        })?;
        Ok(server.id)
    }
}

impl Api {
    /// The servers of the cluster.
    ///
    /// # Errors
    /// 500: this is a client agent.
    fn cluster_servers(&self) -> Result<Vec<ClusterServer>, ApiError> {
        self.control
            .servers()
            .ok_or_else(|| ApiError::internal(NO_SERVER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(number: u8) -> ClusterServer {
        ClusterServer {
            id: NodeId::from_u128(number.into()),
            node: format!("s{number}"),
            address: ([10, 0, 0, number], 8300).into(),
            leader: number == 1,
            voter: true,
        }
    }

    fn found(query: &str) -> Result<NodeId, (u16, String)> {
        let told = |error: ApiError| (error.status().as_u16(), error.text().to_owned());
        let choice = Choice::of(&Query::parse(query).unwrap()).map_err(told)?;
        choice.find(&[server(1), server(2)]).map_err(told)
    }

    #[test]
    fn servers_are_shown_as_the_reference_shows_them() {
        let shape = ConfigurationShape {
            servers: vec![ServerShape::from(&server(1))],
            index: 0,
        };
        let text = String::from_utf8(super::super::json::to_vec(&shape).unwrap()).unwrap();
        assert_eq!(
            text,
            "{\"Servers\":[{\"ID\":\"00000000-0000-0000-0000-000000000001\",\"Node\":\"s1\",\
             \"Address\":\"10.0.0.1:8300\",\"Leader\":true,\"ProtocolVersion\":\"3\",\
             \"Voter\":true}],\"Index\":0}"
        );
    }

    #[test]
    fn a_server_is_chosen_by_its_id_or_its_address() {
        let second = NodeId::from_u128(2);
        assert_eq!(found("address=10.0.0.2:8300"), Ok(second));
        assert_eq!(found(&format!("id={second}")), Ok(second));
    }

    #[test]
    fn a_choice_of_none_of_two_or_of_nobody_is_refused() {
        let refused = |query| found(query).unwrap_err();
        let (status, text) = refused("");
        assert_eq!(status, 400);
        assert!(
            text.starts_with("Bad request: Must specify either ?id"),
            "{text}"
        );
        let both = "Bad request: Must specify only one of ?id or ?address";
        assert_eq!(refused("id=a&address=b"), (400, both.to_owned()));
        let nobody = "address \"x\" was not found in the Raft configuration";
        assert_eq!(refused("address=x"), (500, nobody.to_owned()));
        let nobody = "id \"x\" was not found in the Raft configuration";
        assert_eq!(refused("id=x"), (500, nobody.to_owned()));
    }
}
