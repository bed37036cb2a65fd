//! Docker: a program inside a container, through the engine's API on its socket.
//!
//! Three requests: create the call, start it and read its output to the end, ask for its exit code.
//! The engine cannot end a program that was started so: one that takes too long goes on, and only
//! its result is no longer waited for.

use std::path::Path;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::dial::drive;
use super::program::judge_code;
use super::tail::Tail;
use super::{Deadline, critical, report};
use crate::client::http::{encode, explain, reason};
use crate::health::Report;

/// Octets of an answer that is JSON.
const JSON_OCTETS_MAX: usize = 256 * 1024;
/// Octets of a message that tells why the engine refuses.
const REFUSAL_OCTETS_MAX: usize = 1_024;

/// A program to be called.
#[derive(Clone, Copy)]
pub(super) struct Exec<'a> {
    pub(super) socket: &'a Path,
    pub(super) container: &'a str,
    pub(super) args: &'a [String],
}

pub(super) async fn run(exec: Exec<'_>, deadline: Deadline, octets_max: usize) -> Report {
    let late = |limit| format!("Timed out ({limit:?}) running check");
    match deadline.or_late(call(exec, octets_max), late).await {
        Ok((code, output)) => report(judge_code(Some(code)), output),
        Err(error) => critical(error),
    }
}

async fn call(exec: Exec<'_>, octets_max: usize) -> Result<(i64, String), String> {
    let create = format!("/containers/{}/exec", encode(exec.container));
    let body = json!({"AttachStdout": true, "AttachStderr": true, "Cmd": exec.args});
    let created = ask_json(exec.socket, Method::POST, &create, Some(body)).await?;
    let id = created.get("Id").and_then(Value::as_str);
    let id = encode(id.ok_or("the container engine names no exec id")?);
    let output = start(exec.socket, &id, octets_max).await?;
    let state = ask_json(exec.socket, Method::GET, &format!("/exec/{id}/json"), None).await?;
    let code = state.get("ExitCode").and_then(Value::as_i64);
    let code = code.ok_or("the container engine tells no exit code")?;
    Ok((code, output))
}

/// Starts the program and reads its output until it ends.
async fn start(socket: &Path, id: &str, octets_max: usize) -> Result<String, String> {
    let body = json!({"Detach": false, "Tty": false});
    let path = format!("/exec/{id}/start");
    ask(socket, Method::POST, &path, Some(body), async |answer| {
        let mut output = Output::new(octets_max);
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| explain(&error))?;
            output.push(&frame.into_data().unwrap_or_default());
        }
        Ok(output.tail.into_text())
    })
    .await
}

async fn ask_json(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<Value, String> {
    ask(socket, method, path, body, async |answer| {
        let octets = read(answer, JSON_OCTETS_MAX).await?;
        serde_json::from_slice(&octets)
            .map_err(|error| format!("cannot read the container engine's answer: {error}"))
    })
    .await
}

/// Sends one request on a connection of its own, and hands a good answer to `take`.
async fn ask<T>(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<Value>,
    take: impl AsyncFnOnce(Response<Incoming>) -> Result<T, String>,
) -> Result<T, String> {
    let stream = UnixStream::connect(socket).await.map_err(|error| {
        let reason = reason(&error);
        format!("dial unix {}: {reason}", socket.display())
    })?;
    let failed = |error: hyper::Error| format!("container engine: {}", explain(&error));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(failed)?;
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "docker")
        .header(CONNECTION, "close")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(failed)?;
        if answer.status().is_success() {
            take(answer).await
        } else {
            Err(refusal(answer).await)
        }
    };
    drive(exchange, connection).await
}

async fn read(answer: Response<Incoming>, octets_max: usize) -> Result<Bytes, String> {
    let body = Limited::new(answer.into_body(), octets_max).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|error| format!("container engine: {}", explain(error.as_ref())))
}

/// Why the engine refuses, in its own words where it has some.
async fn refusal(answer: Response<Incoming>) -> String {
    let status: StatusCode = answer.status();
    let octets = read(answer, JSON_OCTETS_MAX).await.unwrap_or_default();
    let message = serde_json::from_slice::<Value>(&octets).ok();
    let message = message
        .as_ref()
        .and_then(|body| body.get("message")?.as_str());
    let message = super::text(message.unwrap_or_default().as_bytes(), REFUSAL_OCTETS_MAX);
    format!("container engine: {status}: {message}")
}

/// Output of a program as the engine sends it: each part behind eight octets, of which the first
/// tells output from errors and the last four are the part's length.
struct Output {
    tail: Tail,
    head: Vec<u8>,
    /// Octets of the current part that have yet to come.
    left: usize,
}

impl Output {
    const HEAD_OCTETS: usize = 8;

    fn new(octets_max: usize) -> Self {
        Self {
            tail: Tail::new(octets_max),
            head: Vec::with_capacity(Self::HEAD_OCTETS),
            left: 0,
        }
    }

    fn push(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            if self.left == 0 {
                let missing = Self::HEAD_OCTETS - self.head.len();
                let (head, rest) = octets.split_at(missing.min(octets.len()));
                self.head.extend_from_slice(head);
                octets = rest;
                if let [_, _, _, _, length @ ..] = self.head.as_slice()
                    && let Ok(length) = <[u8; 4]>::try_from(length)
                {
                    self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                    self.head.clear();
                }
            } else {
                let (part, rest) = octets.split_at(self.left.min(octets.len()));
                self.tail.push(part);
                self.left -= part.len();
                octets = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_put_together_however_it_is_cut() {
        let sent = [
            &[1, 0, 0, 0, 0, 0, 0, 2, b'a', b'b'][..],
            &[2, 0, 0, 0, 0, 0, 0, 0],
            &[2, 0, 0, 0, 0, 0, 0, 3, b'c', b'd', b'e'],
        ]
        .concat();
        for size in 1..=sent.len() {
            let mut output = Output::new(100);
            for part in sent.chunks(size) {
                output.push(part);
            }
            assert_eq!(output.tail.into_text(), "abcde");
        }
    }
}
