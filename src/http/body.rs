//! Reads request bodies within bounds: size, time, and memory over all requests together.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;

use super::counts::{Counts, Limit};
use super::error::ApiError;

/// Bounds of request bodies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Longest body, in octets.
    pub(crate) octets_max: usize,
    /// Time for the whole body to arrive.
    pub(crate) deadline: Duration,
}

/// Octets that the bodies of all requests may hold while they are read and decoded.
#[derive(Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    /// Room for `octets_max` octets.
    pub(crate) fn new(octets_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(
            octets_max.min(Semaphore::MAX_PERMITS),
        )))
    }
}

/// Refuses a body by the length it announces, before anything of it is read.
///
/// # Errors
/// 413: more than `octets_max` octets.
pub(crate) fn check_length(
    headers: &HeaderMap,
    octets_max: usize,
    counts: &Counts,
) -> Result<(), ApiError> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let limit = u64::try_from(octets_max).unwrap_or(u64::MAX);
    match announced.filter(|octets| *octets > limit) {
        None => Ok(()),
        Some(octets) => {
            counts.limit_hit(Limit::Body);
            Err(too_large(&octets.to_string(), octets_max))
        }
    }
}

/// Reads a whole body. Memory grows with what has arrived, never with what was announced.
///
/// # Errors
/// 413: longer than allowed. 408: too slow. 503: too many bodies are being read. 400: broken
/// chunks, or the client went away.
pub(crate) async fn read(
    body: Body,
    bounds: Bounds,
    budget: &Budget,
    counts: &Counts,
) -> Result<Vec<u8>, ApiError> {
    let collected = tokio::time::timeout(bounds.deadline, collect(body, bounds, budget, counts));
    collected.await.unwrap_or_else(|_| {
        counts.limit_hit(Limit::BodyTime);
        let text = format!("request body did not arrive within {:?}", bounds.deadline);
        Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, text).close())
    })
}

async fn collect(
    mut body: Body,
    bounds: Bounds,
    budget: &Budget,
    counts: &Counts,
) -> Result<Vec<u8>, ApiError> {
    let mut octets = Vec::new();
    let mut held = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            ApiError::bad_request(format!("request body is broken: {error}")).close()
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if octets.len() + data.len() > bounds.octets_max {
            counts.limit_hit(Limit::Body);
            let found = format!("more than {}", bounds.octets_max);
            return Err(too_large(&found, bounds.octets_max));
        }
        hold(&mut held, budget, data.len()).ok_or_else(|| {
            counts.limit_hit(Limit::BodyMemory);
            let text = "too many request bodies are being read, try again";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text)
                .retry()
                .close()
        })?;
        octets.extend_from_slice(&data);
    }
    Ok(octets)
}

fn hold(
    held: &mut Option<tokio::sync::OwnedSemaphorePermit>,
    budget: &Budget,
    octets: usize,
) -> Option<()> {
    let octets = u32::try_from(octets).ok()?;
    let more = Arc::clone(&budget.0).try_acquire_many_owned(octets).ok()?;
    match held {
        Some(held) => held.merge(more),
        None => *held = Some(more),
    }
    Some(())
}

fn too_large(found: &str, octets_max: usize) -> ApiError {
    let text = format!("request body has {found} octets, at most {octets_max} are allowed");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, text).close()
}
