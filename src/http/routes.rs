//! Which handler answers which path and method, and what holds for all of them.

use std::convert::Infallible;
use std::io::Write as _;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::handler::Handler;
use axum::http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName,
    HeaderValue, VARY,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, put};
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt;

use super::Shared;
use super::body;
use super::error::ApiError;
use super::extract::Tail;
use super::json;
use super::query::Query;

const NAMESPACE: HeaderName = HeaderName::from_static("x-consul-namespace");
const NO_SNIFF: HeaderName = HeaderName::from_static("x-content-type-options");
const READ: &str = "OPTIONS,GET";
const WRITE: &str = "OPTIONS,PUT";
/// Longer bodies are compressed and indented on a thread that may block.
const QUICK_OCTETS_MAX: usize = 64 * 1024;

/// The routes of all API groups: each group adds its own.
#[derive(Debug, Default)]
pub(crate) struct Routes(Router<Shared>);

impl Routes {
    /// A read at exactly `path`: GET and HEAD.
    pub(crate) fn read<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        self.add(path, get(handler), READ)
    }

    /// A read of everything below `prefix`, which ends in a slash; what follows the prefix is the
    /// [`Tail`], possibly empty.
    pub(crate) fn read_below<H, T>(self, prefix: &'static str, handler: H) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        self.add_below(prefix, get(handler), READ)
    }

    /// A write at exactly `path`: PUT.
    pub(crate) fn write<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        self.add(path, put(handler), WRITE)
    }

    /// A write to everything below `prefix`, which ends in a slash, with a [`Tail`].
    pub(crate) fn write_below<H, T>(self, prefix: &'static str, handler: H) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        self.add_below(prefix, put(handler), WRITE)
    }

    /// Several methods at exactly `path`; `allow` lists them.
    pub(crate) fn methods(
        self,
        path: &'static str,
        methods: MethodRouter<Shared, Infallible>,
        allow: &'static str,
    ) -> Self {
        self.add(path, methods, allow)
    }

    /// The whole service.
    pub(crate) fn finish(self, api: Shared) -> Router {
        self.0
            .route_layer(from_fn_with_state(api.clone(), around))
            .fallback(async || StatusCode::NOT_FOUND)
            .with_state(api)
    }

    fn add(
        self,
        path: &str,
        methods: MethodRouter<Shared, Infallible>,
        allow: &'static str,
    ) -> Self {
        let methods = methods
            .options(async move || [(ALLOW, allow)])
            .fallback(async move |method: Method| method_not_allowed(&method, allow));
        Self(self.0.route(path, methods))
    }

    fn add_below(
        self,
        prefix: &str,
        methods: MethodRouter<Shared, Infallible>,
        allow: &'static str,
    ) -> Self {
        self.add(prefix, methods.clone(), allow)
            .add(&format!("{prefix}{{*tail}}"), methods, allow)
    }
}

fn method_not_allowed(method: &Method, allow: &'static str) -> Response {
    let text = format!("method {method} not allowed");
    let mut response = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, text).into_response();
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// Does for every known path what is the same for all: bounds, namespaces, then indentation,
/// compression and headers of the answer.
async fn around(
    State(api): State<Shared>,
    tail: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let tail = match &tail {
        Ok(parts) => Ok(parts.iter().next().map_or("", |(_, tail)| tail)),
        Err(_) => Err(ApiError::bad_request(
            "path is not UTF-8 once it is decoded",
        )),
    };
    let zip = accepts_gzip(request.headers());
    let mut pretty = api.control.description().development;
    let checked = body::check_length(request.headers(), api.bounds.octets_max, &api.counts)
        .and_then(|()| Query::parse(request.uri().query().unwrap_or_default()))
        .and_then(|query| check_namespace(&query, request.headers()).map(|()| query))
        .and_then(|query| Ok((query, tail?.to_owned())));
    let response = match checked {
        Ok((query, tail)) => {
            pretty |= query.has("pretty");
            request.extensions_mut().insert(query);
            request.extensions_mut().insert(Tail(tail));
            next.run(request).await
        }
        Err(error) => error.into_response(),
    };
    let mut response = reshape(response, pretty, zip).await;
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(NO_SNIFF, HeaderValue::from_static("nosniff"));
    response
}

/// Namespaces other than the default one do not exist; the header is not accepted at all.
fn check_namespace(query: &Query, headers: &HeaderMap) -> Result<(), ApiError> {
    let named = query.get_filled("ns").filter(|name| *name != "default");
    let wrong = if named.is_some() {
        "query parameter: \"ns\""
    } else if headers.contains_key(NAMESPACE) {
        "header: \"X-Consul-Namespace\""
    } else {
        return Ok(());
    };
    Err(ApiError::bad_request(format!(
        "Bad request: Invalid {wrong} - Namespaces are a Consul Enterprise feature"
    )))
}

/// Indents JSON and compresses, as asked for.
async fn reshape(response: Response, pretty: bool, zip: bool) -> Response {
    let is_json = response.headers().get(CONTENT_TYPE) == Some(&json::MEDIA_TYPE);
    let pretty = pretty && is_json;
    let (mut parts, body) = response.into_parts();
    let whole = axum::body::HttpBody::size_hint(&body).exact();
    if !(pretty || zip) || whole.is_none_or(|octets| octets == 0) {
        return Response::from_parts(parts, body);
    }
    let Ok(collected) = body.collect().await else {
        return ApiError::internal("answer broke off").into_response();
    };
    let octets = collected.to_bytes();
    let work = move || {
        let octets = if pretty {
            json::indent(&octets).into()
        } else {
            octets
        };
        if zip { gzip(&octets) } else { octets }
    };
    let quick = whole.is_some_and(|octets| octets <= QUICK_OCTETS_MAX as u64);
    let octets = if quick {
        work()
    } else {
        match tokio::task::spawn_blocking(work).await {
            Ok(octets) => octets,
            Err(_) => {
                return ApiError::internal("agent is stopping")
                    .retry()
                    .into_response();
            }
        }
    };
    parts.headers.remove(CONTENT_LENGTH);
    if zip {
        let encoding = HeaderValue::from_static("gzip");
        parts.headers.insert(CONTENT_ENCODING, encoding);
    }
    Response::from_parts(parts, Body::from(octets))
}

fn gzip(octets: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(octets.len() / 4), Compression::fast());
    encoder
        .write_all(octets)
        .and_then(|()| encoder.finish())
        .expect("compressing into memory does not fail")
        .into()
}

/// Whether `Accept-Encoding` (RFC 9110 §12.5.3) names gzip with a weight above zero. Other
/// codings are never needed: uncompressed answers are always acceptable here.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let named = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            let refused = parts.any(|part| {
                let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
                weight.is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0))
            });
            named && !refused
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_only_where_it_is_accepted() {
        let accepts = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            accepts_gzip(&headers)
        };
        for value in ["gzip", "deflate, GZIP;q=0.5", "br, gzip"] {
            assert!(accepts(value), "{value}");
        }
        for value in ["", "identity", "gzip;q=0", "gzip; q=0.0", "*", "x-gzip"] {
            assert!(!accepts(value), "{value}");
        }
    }
}
