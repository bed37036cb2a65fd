//! HTTP/2 ping: the peer speaks HTTP/2 and answers a PING frame (RFC 9113 §6.7).

use h2::Ping;

use super::dial::{Dialer, Target, drive};
use super::tls::{Security, Tls};
use super::{Deadline, critical, http2, passing};
use crate::health::Report;

pub(super) async fn run(
    dialer: &Dialer,
    tls: &Tls,
    target: &str,
    security: Option<Security<'_>>,
    deadline: Deadline,
) -> Report {
    let opened = match Target::parse(target) {
        Ok(parsed) => http2::open(dialer, tls, &parsed, security, deadline).await,
        Err(error) => Err(error),
    };
    let (sender, mut connection) = match opened {
        Ok(opened) => opened,
        Err(error) => return critical(format!("Failed to dial to {target}: {error}")),
    };
    let Some(mut pinger) = connection.ping_pong() else {
        return critical("HTTP2 ping failed: the connection has no room for a ping");
    };
    let pong = async {
        let answered = pinger.ping(Ping::opaque()).await;
        drop(sender);
        answered.map(drop).map_err(|error| error.to_string())
    };
    let late = |limit| format!("no answer within {limit:?}");
    match deadline.or_late(drive(pong, connection), late).await {
        Ok(()) => passing("HTTP2 ping was successful"),
        Err(error) => critical(format!("HTTP2 ping failed: {error}")),
    }
}
