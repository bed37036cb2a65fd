//! The gRPC health protocol: one call of `grpc.health.v1.Health/Check`.
//!
//! Request and answer have one field each, so they are written and read here (field 1 as text, and
//! field 1 as a number), inside the five octets that gRPC puts before a message.

use h2::client::{ResponseFuture, SendRequest};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request, StatusCode};

use super::dial::{Dialer, Target, drive};
use super::tls::{Security, Tls};
use super::{Deadline, critical, http2, passing};
use crate::health::Report;

const PATH: &str = "/grpc.health.v1.Health/Check";
/// Octets of an answer; a proper one has seven.
const ANSWER_OCTETS_MAX: usize = 4 * 1024;
/// Octets of the name of a service.
const NAME_OCTETS_MAX: usize = 4 * 1024;
/// `SERVING` of `HealthCheckResponse.ServingStatus`.
const SERVING: u64 = 1;
/// The code of a call that went well.
const OK: &str = "0";

pub(super) async fn run(
    dialer: &Dialer,
    tls: &Tls,
    target: &str,
    security: Option<Security<'_>>,
    deadline: Deadline,
) -> Report {
    let (address, service) = target.split_once('/').unwrap_or((target, ""));
    let checked = async {
        let parsed = Target::parse(address)?;
        let opened = http2::open(dialer, tls, &parsed, security, deadline).await?;
        let (sender, connection) = opened;
        let scheme = if security.is_some() { "https" } else { "http" };
        let call = call(sender, format!("{scheme}://{parsed}{PATH}"), service);
        let late = |limit| format!("no answer within {limit:?}");
        deadline.or_late(drive(call, connection), late).await
    };
    match checked.await {
        Ok(SERVING) => passing(format!("gRPC check {target}: success")),
        Ok(status) => critical(format!(
            "gRPC check {target}: the service is {}",
            status_name(status)
        )),
        Err(error) => critical(format!("gRPC check {target}: {error}")),
    }
}

fn status_name(status: u64) -> String {
    match status {
        0 => "UNKNOWN".to_owned(),
        2 => "NOT_SERVING".to_owned(),
        3 => "SERVICE_UNKNOWN".to_owned(),
        other => format!("in the unknown state {other}"),
    }
}

/// The serving status that the peer tells.
async fn call(sender: SendRequest<Bytes>, url: String, service: &str) -> Result<u64, String> {
    let message = request_message(service)?;
    let request = Request::post(url)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", concat!("herald/", env!("CARGO_PKG_VERSION")))
        .body(())
        .map_err(|error| error.to_string())?;
    let broken = |error: h2::Error| error.to_string();
    let mut sender = sender.ready().await.map_err(broken)?;
    let (answer, mut body) = sender.send_request(request, false).map_err(broken)?;
    body.send_data(message, true).map_err(broken)?;
    read(answer).await
}

async fn read(answer: ResponseFuture) -> Result<u64, String> {
    let broken = |error: h2::Error| error.to_string();
    let (head, mut body) = answer.await.map_err(broken)?.into_parts();
    if head.status != StatusCode::OK {
        return Err(format!(
            "the server answers with HTTP status {}",
            head.status
        ));
    }
    // An answer without a message has its outcome among the headers.
    outcome(&head.headers)?;
    let mut octets = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(broken)?;
        if octets.len() + data.len() > ANSWER_OCTETS_MAX {
            return Err(format!("the answer has over {ANSWER_OCTETS_MAX} octets"));
        }
        octets.extend_from_slice(&data);
        // Only fails for more than was received.
        drop(body.flow_control().release_capacity(data.len()));
    }
    if let Some(trailers) = body.trailers().await.map_err(broken)? {
        outcome(&trailers)?;
    }
    serving_status(&octets).ok_or_else(|| "the answer is no health status".to_owned())
}

/// Whether the call went well, where `headers` tell.
fn outcome(headers: &HeaderMap) -> Result<(), String> {
    let text = |name| {
        let value = headers.get(name).map(hyper::header::HeaderValue::as_bytes);
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    };
    match text("grpc-status").as_str() {
        "" | OK => Ok(()),
        // Asked about a service that it does not know, a server answers with NOT_FOUND.
        "5" => Err("unknown service".to_owned()),
        "12" => Err("the server does not offer the health protocol".to_owned()),
        code => Err(format!("code {code}: {}", text("grpc-message"))),
    }
}

/// `HealthCheckRequest { service }` with its prefix.
fn request_message(service: &str) -> Result<Bytes, String> {
    let octets = service.len();
    let length = u32::try_from(octets)
        .ok()
        .filter(|_| octets <= NAME_OCTETS_MAX)
        .ok_or_else(|| format!("service name of {octets} octets, at most {NAME_OCTETS_MAX}"))?;
    let mut message = Vec::new();
    if length > 0 {
        message.push(0x0a);
        let mut rest = length;
        while rest > 0x7f {
            message.push(u8::try_from(rest & 0x7f).unwrap_or_default() | 0x80);
            rest >>= 7;
        }
        message.push(u8::try_from(rest).unwrap_or_default());
        message.extend_from_slice(service.as_bytes());
    }
    let total = u32::try_from(message.len()).unwrap_or_default();
    let mut framed = vec![0];
    framed.extend(total.to_be_bytes());
    framed.extend(message);
    Ok(framed.into())
}

/// `HealthCheckResponse.status`; `None` where the octets are no such message. Fields that are not
/// known are skipped.
fn serving_status(octets: &[u8]) -> Option<u64> {
    let (prefix, message) = octets.split_at_checked(5)?;
    let [0, length @ ..] = prefix else {
        return None; // compressed, which nobody offered
    };
    let length = u32::from_be_bytes(length.try_into().ok()?);
    if usize::try_from(length).ok()? != message.len() {
        return None;
    }
    let (mut status, mut rest) = (0, message);
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        match key & 7 {
            0 => {
                let value = varint(&mut rest)?;
                if key >> 3 == 1 {
                    status = value;
                }
            }
            1 => rest = rest.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_request_names_the_service() {
        assert_eq!(&*request_message("").unwrap(), [0, 0, 0, 0, 0]);
        assert_eq!(
            &*request_message("web").unwrap(),
            [0, 0, 0, 0, 5, 0x0a, 3, b'w', b'e', b'b']
        );
        let long = request_message(&"x".repeat(200)).unwrap();
        assert_eq!(long.get(..8), Some(&[0, 0, 0, 0, 203, 0x0a, 0xc8, 1][..]));
        assert!(request_message(&"x".repeat(5_000)).is_err());
    }

    #[test]
    fn the_status_is_read_past_fields_that_are_not_known() {
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        // No field is the default, UNKNOWN.
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0));
        let later = [0, 0, 0, 0, 7, 0x12, 1, b'x', 0x18, 5, 8, 2];
        assert_eq!(serving_status(&later), Some(2));
        for bad in [
            &[][..],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 3, 8, 1],
            &[0, 0, 0, 0, 1, 8],
            &[0, 0, 0, 0, 2, 0x12, 9],
            &[0, 0, 0, 0, 2, 0x0f, 1],
        ] {
            assert_eq!(serving_status(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_a_status_or_none(octets in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = serving_status(&octets);
        }
    }
}
