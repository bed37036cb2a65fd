//! `/v1/agent/monitor`: the agent's log, line by line as it is written, without an end.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use hyper::body::Frame;
use tracing::Level;

use crate::log::{Format, Listener};

use super::Shared;
use super::error::ApiError;
use super::query::{Query, shown};
use super::routes::Routes;

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Adds the paths of this group.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes.read("/v1/agent/monitor", monitor)
}

/// `GET /v1/agent/monitor[?loglevel=][&logjson]`: ends when the client goes or the agent stops. A
/// client that reads too slowly misses lines and is told how many.
///
/// # Errors
/// 400: no such level. 429: too many clients listen.
async fn monitor(State(api): State<Shared>, query: Query) -> Result<Response, ApiError> {
    let level = level(query.get_filled("loglevel").unwrap_or("info"))?;
    let format = if query.has("logjson") {
        Format::Json
    } else {
        Format::Plain
    };
    let listener = api
        .control
        .monitor()
        .listen(level, format)
        .map_err(|error| ApiError::new(StatusCode::TOO_MANY_REQUESTS, error.to_string()).retry())?;
    let lines = Lines {
        listener,
        stopping: Box::pin(api.stopping.clone().cancelled_owned()),
    };
    let mut response = Response::new(Body::new(lines));
    response.headers_mut().insert(CONTENT_TYPE, MEDIA_TYPE);
    Ok(response)
}

/// A level by its name in any case; `err` is the reference's name for errors.
fn level(name: &str) -> Result<Level, ApiError> {
    match name.to_ascii_lowercase().as_str() {
        "trace" => Ok(Level::TRACE),
        "debug" => Ok(Level::DEBUG),
        "info" => Ok(Level::INFO),
        "warn" | "warning" => Ok(Level::WARN),
        "err" | "error" => Ok(Level::ERROR),
        _ => Err(ApiError::bad_request(format!(
            "Bad request: Unknown log level: {}",
            shown(name)
        ))),
    }
}

/// A body that ends with the agent.
struct Lines {
    listener: Listener,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        // First what there is: the last lines say why the agent stops.
        if let Poll::Ready(lines) = self.listener.poll_lines(context) {
            return Poll::Ready(Some(Ok(Frame::data(lines.into()))));
        }
        self.stopping.as_mut().poll(context).map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_the_configuration() {
        for name in ["trace", "DEBUG", "Info", "warn", "warning", "err", "error"] {
            let level = level(name).unwrap().as_str().to_ascii_lowercase();
            assert!(level.starts_with(&name.to_ascii_lowercase()[..3]));
        }
        let error = level("bogus").unwrap_err();
        assert_eq!(error.text(), "Bad request: Unknown log level: bogus");
    }
}
