//! Answers of reads of shared state: the headers that blocking queries hang on.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue};
use axum::response::Response;
use tokio::sync::Semaphore;

use crate::catalog::State;
use crate::directory::{Answer, turns};
use crate::types::{Consistency, Index, RequestContext, ServiceName};

use super::Shared;
use super::error::ApiError;
use super::json;

const INDEX: HeaderName = HeaderName::from_static("x-consul-index");
const KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
const LAST_CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");
const CONSISTENCY: HeaderName = HeaderName::from_static("x-consul-effective-consistency");
const CACHE: HeaderName = HeaderName::from_static("x-cache");
/// Instances that are written at once: about a millisecond.
const SMALL_INSTANCES_MAX: usize = 200;

/// How long an answer may get, so that writing it does not hold up other requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// What one node or a small service has: written at once.
    Small,
    /// Any number of rows: written on a thread that may block.
    Large,
}

impl Size {
    /// By the number of instances of a service.
    pub(crate) fn of_service(state: &State, name: &ServiceName) -> Self {
        match state.service(name) {
            Some(entry) if entry.len() > SMALL_INSTANCES_MAX => Self::Large,
            _ => Self::Small,
        }
    }
}

/// The answer of a read with its headers; `write` makes the body from the state that was read.
///
/// # Errors
/// 500: the agent stops. 503: too many large answers wait to be written.
pub(crate) async fn build<F>(
    api: &Shared,
    answer: Answer,
    context: &RequestContext,
    size: Size,
    write: F,
) -> Result<Response, ApiError>
where
    F: FnOnce(&State) -> serde_json::Result<Vec<u8>> + Send + 'static,
{
    let state = Arc::clone(&answer.state);
    let written = match size {
        Size::Small => write(&state),
        Size::Large => {
            let written = in_turn(&api.large, move || write(&state)).await;
            written.map_err(ApiError::indexed)?
        }
    };
    let body = written
        .map_err(|error| ApiError::internal(format!("answer cannot be written: {error}")))?;
    let mut response = json::body_response(body);
    mark(response.headers_mut(), &answer, context);
    Ok(response)
}

/// What `write` makes on a thread of its own, once it has one of the `turns`.
///
/// # Errors
/// 500: the agent stops. 503: no turn in time.
pub(crate) async fn in_turn<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    write: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    Ok(turns::in_turn(turns, write).await?)
}

/// The answer of a read that found an empty list.
pub(crate) fn none(answer: &Answer, context: &RequestContext) -> Response {
    let mut response = json::body_response(b"[]".to_vec());
    mark(response.headers_mut(), answer, context);
    response
}

/// Says of an answer to `?cached` that it came from the catalog itself.
pub(crate) fn mark_cached(mut response: Response, cached: bool) -> Response {
    if cached {
        let headers = response.headers_mut();
        headers.insert(CACHE, HeaderValue::from_static("MISS"));
    }
    response
}

/// Takes out how consistent the answer is, which reads of some groups do not say.
pub(crate) fn without_consistency(mut response: Response) -> Response {
    response.headers_mut().remove(CONSISTENCY);
    response
}

/// Adds the headers of a read: what it saw, and how fresh that was.
fn mark(headers: &mut HeaderMap, answer: &Answer, context: &RequestContext) {
    // Clients take 0 for "no index" and would never block.
    let index = answer.index.max(Index(1));
    put(headers, index, answer.known_leader, answer.last_contact);
    let effective = match context.consistency {
        Consistency::Default => "leader",
        Consistency::Consistent => "consistent",
        Consistency::Stale => "stale",
    };
    headers.insert(CONSISTENCY, HeaderValue::from_static(effective));
}

/// Adds the index alone, for answers that come from this agent's own memory.
pub(crate) fn mark_index(headers: &mut HeaderMap, index: Index) {
    headers.insert(INDEX, HeaderValue::from(index.0));
}

/// Adds the headers of a read that failed.
pub(crate) fn mark_failed_read(headers: &mut HeaderMap) {
    put(headers, Index(1), false, Duration::ZERO);
}

fn put(headers: &mut HeaderMap, index: Index, known_leader: bool, last_contact: Duration) {
    let known = HeaderValue::from_static(if known_leader { "true" } else { "false" });
    let contact = u64::try_from(last_contact.as_millis()).unwrap_or(u64::MAX);
    headers.insert(INDEX, HeaderValue::from(index.0));
    headers.insert(KNOWN_LEADER, known);
    headers.insert(LAST_CONTACT, HeaderValue::from(contact));
}
