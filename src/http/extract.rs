//! What handlers take out of a request: its context, its query, its body.
//!
//! Everything is checked here, or answered 400; nothing unchecked goes further in.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::types::{Consistency, Index, RequestContext};

use super::Shared;
use super::body;
use super::decode::{DecodeError, decode};
use super::duration::{self, Span};
use super::error::ApiError;
use super::fields::{FieldError, Fields, Unknown, read_body};
use super::query::{Query, cut};

/// Address of the client, put into each request by the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client(pub(crate) SocketAddr);

/// The part of the path after a route's prefix, decoded once; it may hold slashes and be empty.
#[derive(Clone, Debug)]
pub(crate) struct Tail(pub(crate) String);

/// A request body with a checked type of its own.
pub(crate) trait ApiBody: Sized {
    /// What becomes of fields that [`ApiBody::read`] does not take.
    const UNKNOWN: Unknown;

    /// Takes every field it knows.
    ///
    /// # Errors
    /// A field has no acceptable value.
    fn read(fields: &mut Fields) -> Result<Self, FieldError>;
}

/// A request body, decoded and checked whatever its media type says.
#[derive(Debug)]
pub(crate) struct ApiJson<T>(pub(crate) T);

/// A request body as it is, within the bounds of bodies.
#[derive(Debug)]
pub(crate) struct Octets(pub(crate) Vec<u8>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // The server has decoded it already, unless a route stands outside of its checks.
        match parts.extensions.get::<Self>() {
            Some(query) => Ok(query.clone()),
            None => Self::parse(parts.uri.query().unwrap_or_default()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Tail {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let tail = parts.extensions.get::<Self>().cloned();
        tail.ok_or_else(|| ApiError::internal("route has no variable part"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestContext {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::from_request_parts(parts, state).await?;
        let client = parts.extensions.get::<Client>();
        let datacenter = match query.get_filled("dc") {
            None => None,
            Some(name) => {
                let known = name.parse();
                Some(known.map_err(|_| ApiError::bad_request("No path to datacenter").indexed())?)
            }
        };
        Ok(Self {
            token: token(parts, &query).map(Into::into),
            datacenter,
            consistency: consistency(&query)?,
            index: index(&query)?,
            wait: wait(&query)?,
            deadline: None,
            source: client.map(|client| client.0.ip().to_canonical()),
        })
    }
}

impl<T: ApiBody> FromRequest<Shared> for ApiJson<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, api: &Shared) -> Result<Self, ApiError> {
        let octets = body::read(request.into_body(), api.bounds, &api.bodies, &api.counts).await?;
        decode_body(&octets).map(Self)
    }
}

impl FromRequest<Shared> for Octets {
    type Rejection = ApiError;
    async fn from_request(request: Request, api: &Shared) -> Result<Self, ApiError> {
        let octets = body::read(request.into_body(), api.bounds, &api.bodies, &api.counts).await?;
        Ok(Self(octets))
    }
}

/// Decodes and checks a body.
///
/// # Errors
/// 400 `Request decode failed: …` with field, value and limit.
pub(crate) fn decode_body<T: ApiBody>(octets: &[u8]) -> Result<T, ApiError> {
    let tree = decode(octets)?;
    Ok(read_body(tree, T::UNKNOWN, T::read)?)
}

impl From<DecodeError> for ApiError {
    fn from(error: DecodeError) -> Self {
        Self::bad_request(format!("Request decode failed: {error}"))
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self::bad_request(format!("Request decode failed: {error}"))
    }
}

/// `?token=`, else `X-Consul-Token`, else `Authorization: Bearer`.
fn token<'a>(parts: &'a Parts, query: &'a Query) -> Option<&'a str> {
    let header = |name: &str| parts.headers.get(name)?.to_str().ok();
    let bearer = || {
        let (scheme, token) = header(AUTHORIZATION.as_str())?.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(token.trim())
    };
    query
        .get_filled("token")
        .or_else(|| header("x-consul-token"))
        .or_else(bearer)
        .filter(|token| !token.is_empty())
}

fn consistency(query: &Query) -> Result<Consistency, ApiError> {
    let bound = query.get_filled("max_stale");
    if let Some(text) = bound
        && !matches!(duration::parse(text), Ok(Span::Forward(_)))
    {
        let text = format!("Invalid max_stale value {}", cut(text));
        return Err(ApiError::bad_request(text));
    }
    let stale = query.has("stale") || bound.is_some();
    match (stale, query.has("consistent")) {
        (true, true) => Err(ApiError::bad_request(
            "Cannot specify ?stale with ?consistent, conflicting semantics.",
        )),
        (true, false) => Ok(Consistency::Stale),
        (false, true) => Ok(Consistency::Consistent),
        (false, false) => Ok(Consistency::Default),
    }
}

fn index(query: &Query) -> Result<Option<Index>, ApiError> {
    let Some(text) = query.get_filled("index") else {
        return Ok(None);
    };
    // `u64::from_str` takes a sign, which is no index.
    match text.parse() {
        Ok(index) if !text.starts_with('+') => Ok(Some(Index(index))),
        _ => Err(ApiError::bad_request("Invalid index")),
    }
}

/// The wait as asked for; a negative one is the shortest there is. The directory caps it.
fn wait(query: &Query) -> Result<Option<Duration>, ApiError> {
    let Some(text) = query.get_filled("wait") else {
        return Ok(None);
    };
    match duration::parse(text) {
        Ok(Span::Forward(wait)) => Ok(Some(wait)),
        Ok(Span::Backward(_)) => Ok(Some(Duration::from_nanos(1))),
        Err(_) => Err(ApiError::bad_request("Invalid wait time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn context(request: axum::http::request::Builder) -> Result<RequestContext, String> {
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        match RequestContext::from_request_parts(&mut parts, &()).await {
            Ok(context) => Ok(context),
            Err(error) => Err(error.text().to_owned()),
        }
    }

    async fn query(text: &str) -> Result<RequestContext, String> {
        context(axum::http::Request::builder().uri(format!("/?{text}"))).await
    }

    #[tokio::test]
    async fn index_and_wait_are_read() {
        let context = query("index=42&wait=120000ms").await.unwrap();
        assert_eq!(context.index, Some(Index(42)));
        assert_eq!(context.wait, Some(Duration::from_secs(120)));
        let absent = query("index=&wait=").await.unwrap();
        assert_eq!((absent.index, absent.wait), (None, None));
        assert_eq!(query("wait=0s").await.unwrap().wait, Some(Duration::ZERO));
        let negative = query("wait=-1s").await.unwrap();
        assert_eq!(negative.wait, Some(Duration::from_nanos(1)));
    }

    #[tokio::test]
    async fn bad_index_and_wait_are_refused() {
        for text in ["abc", "-1", "1.5", "%2B1", "18446744073709551616"] {
            assert_eq!(
                query(&format!("index={text}")).await.unwrap_err(),
                "Invalid index"
            );
        }
        for text in ["abc", "5", "s"] {
            assert_eq!(
                query(&format!("wait={text}")).await.unwrap_err(),
                "Invalid wait time"
            );
        }
    }

    #[tokio::test]
    async fn consistency_follows_the_query_whatever_its_value() {
        for (text, expected) in [
            ("", Consistency::Default),
            ("stale=false", Consistency::Stale),
            ("max_stale=10s", Consistency::Stale),
            ("consistent", Consistency::Consistent),
        ] {
            assert_eq!(query(text).await.unwrap().consistency, expected, "{text}");
        }
        assert_eq!(
            query("stale&consistent").await.unwrap_err(),
            "Cannot specify ?stale with ?consistent, conflicting semantics."
        );
        assert_eq!(
            query("max_stale=zz").await.unwrap_err(),
            "Invalid max_stale value \"zz\""
        );
    }

    #[tokio::test]
    async fn tokens_come_from_query_or_headers() {
        let request = || axum::http::Request::builder().uri("/");
        let token = |context: RequestContext| context.token.map(|token| token.to_string());
        let own = context(request().header("X-Consul-Token", "a"))
            .await
            .unwrap();
        assert_eq!(token(own).as_deref(), Some("a"));
        let bearer = context(request().header("Authorization", "Bearer b"))
            .await
            .unwrap();
        assert_eq!(token(bearer).as_deref(), Some("b"));
        assert_eq!(token(query("token=c").await.unwrap()).as_deref(), Some("c"));
        assert_eq!(token(query("token=").await.unwrap()), None);
    }

    #[tokio::test]
    async fn unknown_names_of_datacenters_have_no_path() {
        assert_eq!(
            query("dc=DC1").await.unwrap().datacenter,
            "dc1".parse().ok()
        );
        assert_eq!(query("dc=").await.unwrap().datacenter, None);
        assert_eq!(query("dc=a.b").await.unwrap_err(), "No path to datacenter");
    }
}
