//! Reaches the peers of checks: reads `host:port`, looks names up, connects.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::pin;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::client::http::reason;
use crate::clock;

use super::Deadline;

/// Lookups of names that may be under way together. One that the system's resolver does not answer
/// cannot be given up, and keeps its place until it ends.
const LOOKUPS_MAX: usize = 64;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// Host and port of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Host name or IP address; IPv6 without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Target {
    /// Reads `host:port`, with an IPv6 address in brackets.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let invalid = |problem| format!("dial tcp: address {text}: {problem}");
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| invalid("missing port in address"))?;
        let bare = host
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err(invalid("too many colons in address"));
        }
        let port = port.parse().map_err(|_| invalid("invalid port"))?;
        let host = match bare.unwrap_or(host) {
            // As in Go: without a host, this machine.
            "" => "localhost",
            host => host,
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// Connects to peers.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    lookups: Arc<Semaphore>,
}

impl Dialer {
    pub(super) fn new() -> Self {
        Self {
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        }
    }

    /// Addresses of a peer, in the resolver's order; at least one. The caller bounds the wait.
    pub(super) async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, String> {
        if let Ok(ip) = target.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, target.port)]);
        }
        let failed = |problem: String| format!("dial tcp: lookup {}: {problem}", target.host);
        let permit = Arc::clone(&self.lookups).acquire_owned().await;
        let (host, port) = (target.host.clone(), target.port);
        let lookup = move || {
            let _permit = permit;
            let found = (host.as_str(), port).to_socket_addrs();
            found.map(|found| found.take(ADDRESSES_MAX).collect::<Vec<_>>())
        };
        let found = tokio::task::spawn_blocking(lookup)
            .await
            .map_err(|error| failed(error.to_string()))?;
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err(failed("no such host".to_owned())),
            Err(error) if error.raw_os_error().is_none() => Err(failed("no such host".to_owned())),
            Err(error) => Err(failed(reason(&error))),
        }
    }

    /// Connects to the first of the peer's addresses that answers; each gets an equal share of the
    /// time that is left. The first failure is told.
    pub(super) async fn connect(
        &self,
        target: &Target,
        deadline: Deadline,
    ) -> Result<TcpStream, String> {
        let late = |_| format!("dial tcp {target}: i/o timeout");
        let addresses = deadline.or_late(self.addresses(target), late).await?;
        let mut first = None;
        for (tried, address) in addresses.iter().enumerate() {
            let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let share = deadline.at.saturating_duration_since(clock::now()) / left;
            let error = match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => explain(*address, &error),
                Err(_) => format!("dial tcp {address}: i/o timeout"),
            };
            first.get_or_insert(error);
        }
        Err(first.unwrap_or_else(|| late(deadline.limit)))
    }
}

/// Why `address` was not reached.
fn explain(address: SocketAddr, error: &io::Error) -> String {
    format!("dial tcp {address}: {}", reason(error))
}

/// The result of `exchange`, for which `connection` must be driven meanwhile. A connection that
/// ends first leaves behind what it has received.
pub(super) async fn drive<T>(exchange: impl Future<Output = T>, connection: impl Future) -> T {
    let mut exchange = pin!(exchange);
    tokio::select! {
        biased;
        result = &mut exchange => result,
        _ = connection => exchange.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_host_and_port() {
        for (text, shown) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:8080", "[::1]:8080"),
            ("db.example:5432", "db.example:5432"),
            (":80", "localhost:80"),
        ] {
            assert_eq!(Target::parse(text).unwrap().to_string(), shown);
        }
        for (text, problem) in [
            ("host", "missing port"),
            ("", "missing port"),
            ("::1:80", "too many colons"),
            ("host:70000", "invalid port"),
            ("host:http", "invalid port"),
        ] {
            let error = Target::parse(text).unwrap_err();
            assert!(error.contains(problem) && error.contains(text), "{error}");
        }
    }

    #[tokio::test]
    async fn a_name_that_is_none_says_so() {
        let target = Target::parse("no-such-host.invalid:80").unwrap();
        let error = Dialer::new().addresses(&target).await.unwrap_err();
        assert_eq!(error, "dial tcp: lookup no-such-host.invalid: no such host");
    }
}
