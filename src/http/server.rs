//! Listens, bounds the connections, and hands each request to the router.

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::clients::{self, Clients, Full};
use crate::task::Tasks;

use super::connection::{Deadlines, Guarded, Phase, ReceivedBody, ServedBody, linger};
use super::counts::{self, Counts, Limit};
use super::error::ApiError;
use super::extract::Client;
use super::host;
use super::path::{clean, escape_html};
use super::{Config, StartError};

/// Pause after a connection could not be accepted, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Refused connections that may wait for their client to read why; further ones are just closed.
const REFUSALS_MAX: usize = 256;
/// Smallest buffer that hyper accepts.
const BUFFER_OCTETS_MIN: usize = 8_192;

/// Binds every address.
///
/// # Errors
/// The first address that cannot be bound; the others are released again.
pub(crate) async fn listen(
    addresses: &[SocketAddr],
) -> Result<Vec<(SocketAddr, TcpListener)>, StartError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for &address in addresses {
        let error = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(error)?;
        let bound = listener.local_addr().map_err(error)?;
        listeners.push((bound, listener));
    }
    Ok(listeners)
}

/// Accepts connections until the tasks stop.
pub(crate) fn serve(
    config: Config,
    clients: Arc<Clients>,
    listeners: Vec<(SocketAddr, TcpListener)>,
    router: Router,
    counts: Counts,
    tasks: &Tasks,
) {
    let server = Arc::new(Server {
        clients,
        refusals: Arc::new(Semaphore::new(
            REFUSALS_MAX.min(config.connections_max / 4).max(1),
        )),
        router,
        counts,
        tasks: tasks.clone(),
        stopping: tasks.stopping(),
        config,
    });
    for (_, listener) in listeners {
        let server = Arc::clone(&server);
        tasks.spawn(async move { server.accept(&listener).await });
    }
}

struct Server {
    config: Config,
    router: Router,
    counts: Counts,
    clients: Arc<Clients>,
    refusals: Arc<Semaphore>,
    tasks: Tasks,
    stopping: CancellationToken,
}

impl Server {
    async fn accept(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, client)) => self.admit(stream, client),
                Err(error) => {
                    tracing::warn!("http cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, client: SocketAddr) {
        self.counts.accepted();
        match self.clients.enter(client.ip()) {
            Ok(place) => {
                let place = Place {
                    server: Arc::clone(self),
                    _place: place,
                };
                self.counts.open.inc();
                // The connection watches for the end itself, so that its answer gets out.
                self.tasks.spawn_draining(place.run(stream, client));
            }
            Err(Full::All) => self.refuse(stream, Limit::Connections),
            Err(Full::Client) => self.refuse(stream, Limit::ClientConnections),
        }
    }

    fn refuse(&self, mut stream: TcpStream, limit: Limit) {
        self.counts.limit_hit(limit);
        let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else {
            return;
        };
        let (status, text) = match limit {
            Limit::ClientConnections => (
                "429 Too Many Requests",
                "too many connections from this address",
            ),
            _ => ("503 Service Unavailable", "too many connections"),
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 1\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        self.tasks.spawn(async move {
            if stream.write_all(answer.as_bytes()).await.is_ok() {
                linger(stream).await;
            }
            drop(permit);
        });
    }

    fn builder(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            // `Guarded` has the deadlines. This one only makes hyper read again after an answer,
            // which starts the idle time there.
            .header_read_timeout(self.config.idle_deadline + self.config.header_deadline)
            .max_headers(self.config.header_fields_max)
            .max_header_size(self.config.header_octets_max)
            .max_buf_size(self.config.header_octets_max.max(BUFFER_OCTETS_MIN))
            .title_case_headers(true);
        builder
    }
}

/// The place that one open connection takes.
struct Place {
    server: Arc<Server>,
    _place: clients::Place,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.counts.open.dec();
    }
}

impl Place {
    async fn run(self, stream: TcpStream, client: SocketAddr) {
        let server = &self.server;
        let Ok(local) = stream.local_addr() else {
            return; // The client is gone.
        };
        // An answer must not wait for the client's acknowledgement of the one before.
        drop(stream.set_nodelay(true));
        let phase = Arc::new(Phase::new());
        let deadlines = Deadlines {
            idle: server.config.idle_deadline,
            header: server.config.header_deadline,
            write: server.config.write_deadline,
        };
        let guarded = Guarded::new(stream, Arc::clone(&phase), deadlines, server.counts.clone());
        let service = service_fn(|request: Request<Incoming>| {
            let serving = phase.serve();
            let request = request.map(|body| ReceivedBody::new(body, Arc::clone(&phase)));
            Box::pin(async move {
                let response = answer(server, request, client, local.ip()).await;
                Ok::<_, Infallible>(response.map(|body| ServedBody::new(body, serving)))
            })
        });
        let mut connection = server
            .builder()
            .serve_connection(TokioIo::new(guarded), service);
        let ended = tokio::select! {
            result = poll_fn(|context| connection.poll_without_shutdown(context)) => Some(result),
            () = server.stopping.cancelled() => None,
        };
        let result = if let Some(result) = ended {
            result
        } else {
            Pin::new(&mut connection).graceful_shutdown();
            let rest = poll_fn(|context| connection.poll_without_shutdown(context));
            match tokio::time::timeout(server.config.drain, rest).await {
                Ok(result) => result,
                Err(_) => return,
            }
        };
        match result {
            Err(error) if error.is_parse_too_large() => server.counts.limit_hit(Limit::Header),
            Err(error) if !error.is_parse() => {
                let mut guarded = connection.into_parts().io.into_inner();
                guarded.explain().await;
                return;
            }
            _ => {}
        }
        linger(connection.into_parts().io.into_inner()).await;
    }
}

/// Answers one request, whatever it is; `local` is the address that it came to.
async fn answer(
    server: &Server,
    mut request: Request<ReceivedBody<Incoming>>,
    client: SocketAddr,
    local: IpAddr,
) -> Response<Body> {
    let counted = counts::Request::begin(request.method(), request.uri());
    let response = if let Err(error) = host::check(&request, local, &server.config.domains) {
        error.into_response()
    } else if let Some(response) = redirect(request.method(), request.uri()) {
        response
    } else {
        request.extensions_mut().insert(Client(client));
        let Ok(response) = server.router.clone().oneshot(request).await;
        response
    };
    server.counts.answered(counted, response.status().as_u16());
    response
}

/// 301 to the cleaned path where the path is not clean; 400 where there is none.
fn redirect(method: &Method, uri: &Uri) -> Option<Response<Body>> {
    let path = uri.path();
    if !path.starts_with('/') {
        let text = "request target has no path";
        return Some(ApiError::bad_request(text).into_response());
    }
    let Cow::Owned(mut target) = clean(path) else {
        return None;
    };
    if let Some(query) = uri.query() {
        target.push('?');
        target.push_str(query);
    }
    Some(moved(method, &target))
}

/// 301 to `target`, with a link in the body for GET.
pub(crate) fn moved(method: &Method, target: &str) -> Response<Body> {
    let Ok(location) = HeaderValue::from_str(target) else {
        return ApiError::bad_request("request target is no URL").into_response();
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(LOCATION, location);
    if *method == Method::GET {
        let link = format!(
            "<a href=\"{}\">Moved Permanently</a>.\n\n",
            escape_html(target)
        );
        *response.body_mut() = Body::from(link);
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, html);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let taken = listen(&[free]).await.unwrap();
        let address = taken.first().unwrap().0;
        let error = listen(&[address]).await.unwrap_err().to_string();
        assert!(error.contains(&address.to_string()), "{error}");
        assert!(error.contains("Address already in use"), "{error}");
    }
}
