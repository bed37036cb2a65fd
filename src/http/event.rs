//! `/v1/event`: what users tell all agents of the datacenter.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use serde::Serialize;

use crate::clock;
use crate::directory::unsent;
use crate::events::{Event, EventError};
use crate::gossip::pool::PoolError;
use crate::gossip::serf::SerfError;
use crate::types::{Index, RequestContext};

use super::error::ApiError;
use super::extract::{Octets, Tail};
use super::json::Json;
use super::query::Query;
use super::routes::Routes;
use super::{Blocked, Shared, reply};

/// Index of a list without events: clients take 0 for "no index" and would never wait.
const NO_EVENT: u64 = 1;

/// Adds the paths of this group.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .write_below("/v1/event/fire/", fire)
        .read("/v1/event/list", list)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown<'a> {
    #[serde(rename = "ID")]
    id: String,
    name: &'a str,
    payload: Option<String>,
    node_filter: &'a str,
    service_filter: &'a str,
    tag_filter: &'a str,
    version: u64,
    #[serde(rename = "LTime")]
    time: u64,
}

impl<'a> Shown<'a> {
    fn new(event: &'a Event) -> Self {
        Self {
            id: event.id.to_string(),
            name: &event.name,
            payload: (!event.payload.is_empty()).then(|| BASE64.encode(&event.payload)),
            node_filter: &event.node_filter,
            service_filter: &event.service_filter,
            tag_filter: &event.tag_filter,
            version: event.version,
            time: event.time,
        }
    }
}

/// `PUT /v1/event/fire/:name[?node=&service=&tag=]`: tells the agents that the filters match; the
/// body is what the event carries.
///
/// # Errors
/// 400: no name, a filter that is none, or more than 512 octets. 500: the agent stops. Nothing was
/// sent.
async fn fire(
    State(api): State<Shared>,
    context: RequestContext,
    query: Query,
    Tail(name): Tail,
    Octets(payload): Octets,
) -> Result<Response, ApiError> {
    api.check_local(&context)?;
    let filter = |name| query.get(name).unwrap_or_default();
    let [node, service, tag] = ["node", "service", "tag"].map(filter);
    let event = Event::new(&name, &payload, node, service, tag)?;
    let fired = event.fire(&api.membership()?.lan).await;
    fired.map_err(|error| not_fired(&error))?;
    Ok(Json(Shown::new(&event)).into_response())
}

/// `GET /v1/event/list[?name=]`: the newest events for this agent, the last one last. The index
/// follows from that one's id and is in no order: a read waits while it is the one given.
///
/// # Errors
/// 500: the agent stops.
async fn list(
    State(api): State<Shared>,
    context: RequestContext,
    query: Query,
) -> Result<Response, ApiError> {
    api.check_local(&context)?;
    let wanted = query.get_filled("name");
    let deadline = clock::now() + api.directory.wait(&context);
    let waits = context.index.is_some_and(|index| index > Index::ZERO);
    let _blocked = waits.then(|| Blocked::new(&api.counts));
    let mut recent = api.events.recent();
    let mut timed_out = false;
    loop {
        let events = recent.borrow_and_update().clone();
        let shown = events
            .iter()
            .filter(|event| wanted.is_none_or(|name| event.name == name));
        let shown: Vec<&Arc<Event>> = shown.collect();
        let index = Index(shown.last().map_or(NO_EVENT, |event| event.index()));
        if context.index == Some(index) && !timed_out {
            let next = async {
                if recent.changed().await.is_err() {
                    // No further event comes.
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = api.stopping.cancelled() => {
                    return Err(ApiError::internal("agent is stopping").retry().close());
                }
                next = tokio::time::timeout_at(deadline, next) => timed_out = next.is_err(),
            }
            continue;
        }
        let shown: Vec<_> = shown.into_iter().map(|event| Shown::new(event)).collect();
        let mut response = Json(shown).into_response();
        reply::mark_index(response.headers_mut(), index);
        return Ok(response);
    }
}

impl From<EventError> for ApiError {
    fn from(error: EventError) -> Self {
        match error {
            EventError::Length => Self::bad_request(unsent(&error.to_string())),
            EventError::Name | EventError::Tag | EventError::Filter(_) => {
                Self::bad_request(error.to_string())
            }
        }
    }
}

fn not_fired(error: &PoolError) -> ApiError {
    let text = unsent(&error.to_string());
    match error {
        PoolError::Serf(SerfError::Event(_)) => ApiError::bad_request(text),
        PoolError::Serf(_) | PoolError::Stopped => ApiError::internal(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::json;

    #[test]
    fn an_event_is_shown_with_every_field_in_the_order_of_the_reference() {
        let mut event = Event::new("dep", b"hello", "p.*", "web", "x").unwrap();
        event.id = "8564f27e-7537-960e-8a71-51df980b6240".parse().unwrap();
        let text = json::to_vec(&Shown::new(&event)).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "{\"ID\":\"8564f27e-7537-960e-8a71-51df980b6240\",\"Name\":\"dep\",\
             \"Payload\":\"aGVsbG8=\",\"NodeFilter\":\"p.*\",\"ServiceFilter\":\"web\",\
             \"TagFilter\":\"x\",\"Version\":1,\"LTime\":0}"
        );
        let bare = Event::new("dep", b"", "", "", "").unwrap();
        assert!(Shown::new(&bare).payload.is_none());
    }

    #[test]
    fn an_event_that_is_too_long_is_the_fault_of_who_sends_it() {
        for (error, text) in [
            (
                ApiError::from(EventError::Length),
                "1 error occurred:\n\t* error broadcasting event to segment \"\": user event \
                 exceeds configured limit of 512 bytes before encoding\n\n",
            ),
            (
                not_fired(&PoolError::Serf(SerfError::Event("after"))),
                "1 error occurred:\n\t* error broadcasting event to segment \"\": user event \
                 exceeds configured limit of 512 bytes after encoding\n\n",
            ),
        ] {
            assert_eq!((error.status().as_u16(), error.text()), (400, text));
        }
        assert_eq!(not_fired(&PoolError::Stopped).status().as_u16(), 500);
    }
}
