//! `/v1/agent/members`, `join`, `leave`, `force-leave`: this agent among the members of its pools.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::directory::several;
use crate::gossip::pool::{JoinFailure, Joined, Pool, PoolError, Target};
use crate::gossip::serf::SerfError;

use super::agent_shape::AgentMember;
use super::error::ApiError;
use super::extract::Tail;
use super::json::Json;
use super::query::{Query, cut};
use super::routes::Routes;
use super::{Api, Shared};

/// Adds the paths of this group.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .read("/v1/agent/members", members)
        .write_below("/v1/agent/join/", join)
        .write("/v1/agent/leave", leave)
        .write_below("/v1/agent/force-leave/", force_leave)
}

/// `GET /v1/agent/members[?wan=1][&segment=]`: the members of the LAN pool, or of the WAN pool;
/// `null` where there is no WAN pool.
///
/// # Errors
/// 400: a segment other than the one that there is.
async fn members(State(api): State<Shared>, query: Query) -> Result<Response, ApiError> {
    if let Some(segment) = query.get_filled("segment")
        && segment != "_all"
    {
        let text = format!(
            "Network segments are not supported: there is none with the name {}",
            cut(segment)
        );
        return Err(ApiError::bad_request(text));
    }
    let members = api.control.members(is_wan(&query));
    let shown: Vec<_> = members.iter().map(AgentMember::new).collect();
    let shown = (!shown.is_empty()).then_some(shown);
    Ok(Json(shown).into_response())
}

/// `PUT /v1/agent/join/:address[?wan=1]`: joins the pool of the agent at that address.
///
/// # Errors
/// 400: no address. 500: it was not reached, or one of both sides refuses; nothing changed.
async fn join(
    State(api): State<Shared>,
    query: Query,
    Tail(address): Tail,
) -> Result<StatusCode, ApiError> {
    if address.is_empty() {
        return Err(ApiError::bad_request("Missing address to join"));
    }
    let pool = if is_wan(&query) {
        let wan = api.membership()?.wan.as_ref();
        wan.ok_or_else(|| ApiError::internal("Must be a server to join WAN cluster"))?
    } else {
        &api.membership()?.lan
    };
    // What was said before this agent came is not for it.
    match pool.join(&[address], true).await {
        Joined { reached: 0, failed } => Err(not_joined(&failed)),
        Joined { .. } => Ok(StatusCode::OK),
    }
}

/// What to say where nobody was reached: a line for each address.
fn not_joined(failed: &[(Target, JoinFailure)]) -> ApiError {
    let line = |(target, failure): &(Target, JoinFailure)| match failure {
        JoinFailure::Lookup(reason) => format!("Failed to resolve {target}: {reason}"),
        JoinFailure::Join(reason) => format!("Failed to join {target}: {reason}"),
    };
    let lines: Vec<String> = failed.iter().map(line).collect();
    ApiError::internal(several(&lines))
}

/// `PUT /v1/agent/leave`: leaves the pools, tells everybody, and ends the agent.
///
/// # Errors
/// 500: it could not leave; the agent runs on.
async fn leave(State(api): State<Shared>) -> Result<StatusCode, ApiError> {
    match api.control.leave().await {
        Ok(()) => Ok(StatusCode::OK),
        Err(error) => Err(ApiError::internal(error.to_string())),
    }
}

/// `PUT /v1/agent/force-leave/:node[?prune]`: declares that a failed member has left, in the LAN
/// pool and, where the agent is in it, under its full name in the WAN pool.
///
/// # Errors
/// 500: no such member, or the agent stops; nothing changed.
async fn force_leave(
    State(api): State<Shared>,
    query: Query,
    Tail(node): Tail,
) -> Result<StatusCode, ApiError> {
    let prune = query.has("prune");
    let membership = api.membership()?;
    expel(&membership.lan, &node, prune).await?;
    if let Some(wan) = &membership.wan {
        let name = format!("{node}.{}", api.control.description().datacenter);
        match wan.force_leave(&name, prune).await {
            // Only servers are in it.
            Ok(()) | Err(PoolError::Serf(SerfError::Unknown(_))) => {}
            Err(error) => return Err(ApiError::internal(error.to_string())),
        }
    }
    Ok(StatusCode::OK)
}

async fn expel(pool: &Pool, node: &str, prune: bool) -> Result<(), ApiError> {
    let left = pool.force_leave(node, prune).await;
    left.map_err(|error| refused(node, &error))
}

fn refused(node: &str, error: &PoolError) -> ApiError {
    match error {
        PoolError::Serf(SerfError::Unknown(_)) => ApiError::internal(format!(
            "agent: No node found with name '{}'",
            super::query::shown(node)
        )),
        error => ApiError::internal(error.to_string()),
    }
}

fn is_wan(query: &Query) -> bool {
    query.get_filled("wan").is_some()
}

impl Api {
    /// The pools of this agent.
    ///
    /// # Errors
    /// 500: the API stands without an agent that is in any.
    pub(super) fn membership(&self) -> Result<&crate::gossip::membership::Membership, ApiError> {
        let none = || ApiError::internal("this agent is in no pool");
        self.membership.as_ref().ok_or_else(none)
    }

    /// The pool of all datacenters; `None` where this agent is not in it.
    pub(super) fn wan(&self) -> Option<&crate::gossip::pool::Pool> {
        self.membership.as_ref()?.wan.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_not_reached_is_listed_as_go_lists_errors() {
        let join = |reason: &str| JoinFailure::Join(reason.to_owned());
        let lookup = |reason: &str| JoinFailure::Lookup(reason.to_owned());
        let one = [(
            "127.0.0.1".to_owned(),
            join("dial tcp 127.0.0.1:1: connect: connection refused"),
        )];
        assert_eq!(
            not_joined(&one).text(),
            "1 error occurred:\n\t* Failed to join 127.0.0.1: dial tcp 127.0.0.1:1: connect: \
             connection refused\n\n"
        );
        let two = [
            (
                "nope.invalid".to_owned(),
                lookup("lookup nope.invalid: no such host"),
            ),
            (
                "n2".to_owned(),
                join("Member 'n2' part of wrong datacenter 'dc2'"),
            ),
        ];
        assert_eq!(
            not_joined(&two).text(),
            "2 errors occurred:\n\t* Failed to resolve nope.invalid: lookup nope.invalid: no such \
             host\n\t* Failed to join n2: Member 'n2' part of wrong datacenter 'dc2'\n\n"
        );
        assert_eq!(not_joined(&two).status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn a_member_that_is_not_there_is_named() {
        let unknown = PoolError::Serf(SerfError::Unknown("x".to_owned()));
        let error = refused("x", &unknown);
        assert_eq!(error.text(), "agent: No node found with name 'x'");
        assert_eq!(error.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let stopped = refused("x", &PoolError::Stopped);
        assert_eq!(stopped.text(), "the agent is stopping");
    }
}
