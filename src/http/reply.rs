//! Answers of reads of shared state: the headers that blocking queries hang on.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use tokio::sync::Semaphore;

use crate::catalog::State;
use crate::directory::Answer;
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
/// Longest wait for a turn to write a large answer.
const TURN_WAIT_MAX: Duration = Duration::from_secs(10);

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

/// What `write` makes on a thread of its own, once it has one of the `turns`. It keeps its turn
/// also when nobody waits for it any more: a client that goes away does not make room for the next.
///
/// # Errors
/// 500: the agent stops. 503: no turn in time.
pub(crate) async fn in_turn<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    write: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let stops = || ApiError::internal("agent is stopping").retry();
    let turn = tokio::time::timeout(TURN_WAIT_MAX, Arc::clone(turns).acquire_owned()).await;
    let busy = |_| {
        let text = format!("large answers are waiting for more than {TURN_WAIT_MAX:?}, try again");
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text).retry()
    };
    let turn = turn.map_err(busy)?.map_err(|_| stops())?;
    let written = tokio::task::spawn_blocking(move || {
        let written = write();
        drop(turn);
        written
    });
    written.await.map_err(|_| stops())
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[tokio::test]
    async fn a_large_answer_keeps_its_turn_after_its_client_has_gone() {
        let turns = Arc::new(Semaphore::new(1));
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (finish, may_finish) = sync_channel::<()>(1);
        let write = move || {
            begun.send(()).unwrap();
            may_finish.recv().unwrap();
        };
        tokio::select! {
            _ = in_turn(&turns, write) => unreachable!("it may not finish yet"),
            begun = has_begun => begun.unwrap(),
        }
        assert_eq!(turns.available_permits(), 0);
        finish.send(()).unwrap();
        assert!(in_turn(&turns, || 7).await.is_ok_and(|value| value == 7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_answer_does_not_wait_for_ever() {
        let turns = Arc::new(Semaphore::new(0));
        let error = in_turn(&turns, || ()).await.unwrap_err();
        assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
