//! Error answers: a status and a plain text that names what is wrong.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};

use crate::catalog::Refusal;
use crate::directory::turns::TurnError;
use crate::directory::{NoServers, ProposeError, ReadError, RemoteError, WriteError};

use super::reply;

/// Media type of error answers.
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// Pause after which a refused client may try again, in seconds.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// A request without a result. Whether state changed is said where the error is made; a refused
/// request changes nothing.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    text: Cow<'static, str>,
    retry: bool,
    close: bool,
    /// Failed reads of shared state still carry index headers, which clients unpack first.
    indexed: bool,
}

impl ApiError {
    /// An answer with this status; `text` is the whole body.
    pub(crate) fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            text: text.into(),
            retry: false,
            close: false,
            indexed: false,
        }
    }

    /// 400: the request is wrong and would be refused again.
    pub(crate) fn bad_request(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// 404: what the request names does not exist.
    pub(crate) fn not_found(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// 500: not the client's fault.
    pub(crate) fn internal(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    /// Adds `Retry-After`: the same request may succeed soon.
    pub(crate) fn retry(mut self) -> Self {
        self.retry = true;
        self
    }

    /// Closes the connection after the answer: what follows on it cannot be told apart from the
    /// rest of this request.
    pub(crate) fn close(mut self) -> Self {
        self.close = true;
        self
    }

    /// Adds the index headers of a failed read.
    pub(crate) fn indexed(mut self) -> Self {
        self.indexed = true;
        self
    }

    /// A failed read that has no index.
    pub(crate) fn plain(error: ReadError) -> Self {
        Self {
            indexed: false,
            ..error.into()
        }
    }

    /// The body.
    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The status.
    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = match self.text {
            Cow::Borrowed(text) => Body::from(text),
            Cow::Owned(text) => Body::from(text),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, MEDIA_TYPE);
        if self.retry {
            headers.insert(RETRY_AFTER, RETRY_SECONDS);
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.indexed {
            reply::mark_failed_read(headers);
        }
        response
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NoPathToDatacenter => Self::bad_request(error.to_string()).indexed(),
            ReadError::NoServers(error) => Self::from(error).indexed(),
            ReadError::Fresh(error) => Self::internal(error.to_string()).retry().indexed(),
            ReadError::Remote(error) => Self::from(error).indexed(),
        }
    }
}

impl From<NoServers> for ApiError {
    fn from(error: NoServers) -> Self {
        Self::internal(error.to_string()).retry()
    }
}

impl From<RemoteError> for ApiError {
    fn from(error: RemoteError) -> Self {
        let text = error.to_string();
        match error {
            RemoteError::Denied(_) => Self::new(StatusCode::FORBIDDEN, text),
            RemoteError::Unavailable(_) => Self::internal(text).retry(),
            // As agents of the reference, which cannot tell whose fault it is.
            RemoteError::Refused(_) | RemoteError::Failed(_) => Self::internal(text),
        }
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        let text = error.to_string();
        match error {
            WriteError::NoPathToDatacenter => Self::bad_request(text),
            WriteError::NoServers(error) => error.into(),
            WriteError::Refused(refusal) => refusal.into(),
            WriteError::Propose(ProposeError::NoLeader | ProposeError::NoRoom) => {
                Self::internal(text).retry()
            }
            WriteError::Propose(ProposeError::Deadline { .. }) => Self::internal(text),
            WriteError::Propose(ProposeError::TooLarge { .. }) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, text)
            }
            WriteError::Propose(ProposeError::Busy { .. }) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, text).retry()
            }
            WriteError::Remote(error) => error.into(),
        }
    }
}

impl From<TurnError> for ApiError {
    fn from(error: TurnError) -> Self {
        let text = error.to_string();
        match error {
            TurnError::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, text).retry(),
            TurnError::Stopping => Self::internal(text).retry(),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::MissingService { .. } | Refusal::NodeNameTaken { .. } => {
                Self::bad_request(refusal.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn status_of(error: impl Into<ApiError>) -> (u16, bool) {
        let response = error.into().into_response();
        (
            response.status().as_u16(),
            response.headers().contains_key(RETRY_AFTER),
        )
    }

    #[test]
    fn writes_that_may_succeed_later_say_so() {
        assert_eq!(
            status_of(WriteError::Propose(ProposeError::NoLeader)),
            (500, true)
        );
        let busy = ProposeError::Busy { limit: 1 };
        assert_eq!(status_of(WriteError::Propose(busy)), (429, true));
        let limit = Duration::from_secs(1);
        assert_eq!(
            status_of(WriteError::Propose(ProposeError::Deadline { limit })),
            (500, false)
        );
    }

    #[test]
    fn a_client_agent_without_servers_says_so_in_the_words_that_clients_know() {
        let error = ApiError::from(ReadError::NoServers(NoServers));
        assert_eq!(error.text(), "No known Consul servers");
        let response = error.into_response();
        assert_eq!(response.status().as_u16(), 500);
        let index = response.headers().get("X-Consul-Index");
        assert_eq!(index.unwrap(), "1");
        assert_eq!(status_of(WriteError::NoServers(NoServers)), (500, true));
    }

    #[test]
    fn large_answers_without_a_turn_are_503() {
        assert_eq!(status_of(TurnError::Busy), (503, true));
        assert_eq!(status_of(TurnError::Stopping), (500, true));
    }

    #[test]
    fn mistakes_of_the_client_are_400() {
        assert_eq!(status_of(ReadError::NoPathToDatacenter), (400, false));
        assert_eq!(status_of(WriteError::NoPathToDatacenter), (400, false));
        let refusal = Refusal::MissingService {
            node: "a".to_owned(),
        };
        assert_eq!(status_of(WriteError::Refused(refusal)), (400, false));
    }
}
