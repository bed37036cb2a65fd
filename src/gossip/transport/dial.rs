//! Finds and reaches others. What goes wrong is told in the words that operators know from Go
//! programs: `dial tcp 127.0.0.1:1: connect: connection refused`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// Addresses of one name that are tried at most.
const ADDRESSES_MAX: usize = 64;

/// Octets of a target that can be a name with a port.
const TARGET_OCTETS_MAX: usize = 512;

/// Why nobody was reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DialError {
    /// The host has answered: nobody listens there.
    #[error("dial tcp {address}: connect: connection refused")]
    Refused {
        /// Who was tried.
        address: SocketAddr,
    },
    /// Nobody has answered in time.
    #[error("dial tcp {address}: i/o timeout")]
    TimedOut {
        /// Who was tried.
        address: SocketAddr,
    },
    /// Something on the way says that there is no way.
    #[error("dial tcp {address}: connect: {reason}")]
    Unreachable {
        /// Who was tried.
        address: SocketAddr,
        /// What the system says.
        reason: String,
    },
}

/// Connects to `address` within `limit`.
///
/// # Errors
/// Why not, as Go prints it.
pub(crate) async fn dial(address: SocketAddr, limit: Duration) -> Result<TcpStream, DialError> {
    match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            // One short message each way: nothing is gained by waiting for more.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Err(_) => Err(DialError::TimedOut { address }),
        Ok(Err(error)) => Err(match error.kind() {
            io::ErrorKind::TimedOut => DialError::TimedOut { address },
            io::ErrorKind::ConnectionRefused => DialError::Refused { address },
            _ => DialError::Unreachable {
                address,
                reason: reason(&error),
            },
        }),
    }
}

/// The addresses that `target` stands for: an address or a name, with a port or without one, for
/// which `port` stands in. At most 64, each once.
///
/// # Errors
/// It is no target, or the name is not known.
pub(crate) async fn resolve(
    target: &str,
    port: u16,
    limit: Duration,
) -> Result<Vec<SocketAddr>, String> {
    let (host, port) = split(target, port)?;
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let looked_up = match timeout(limit, lookup_host((host, port))).await {
        Ok(Ok(looked_up)) => looked_up,
        Ok(Err(error)) => return Err(format!("lookup {host}: {}", lookup_reason(&error))),
        Err(_) => return Err(format!("lookup {host}: i/o timeout")),
    };
    let mut addresses = Vec::new();
    for address in looked_up {
        if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(format!("lookup {host}: no such host"));
    }
    Ok(addresses)
}

/// Host and port of `10.0.0.1`, `10.0.0.1:8301`, `::1`, `[::1]`, `[::1]:8301`, `name`, `name:8301`.
fn split(target: &str, port: u16) -> Result<(&str, u16), String> {
    if target.is_empty() || target.len() > TARGET_OCTETS_MAX {
        return Err(format!("address {target:?}: missing host"));
    }
    if target.parse::<IpAddr>().is_ok() {
        return Ok((target, port));
    }
    let (host, rest) = if let Some(bracketed) = target.strip_prefix('[') {
        let bracketed = bracketed.split_once(']');
        bracketed.ok_or_else(|| format!("address {target}: missing ']' in address"))?
    } else {
        let end = target.find(':').unwrap_or(target.len());
        target.split_at(end)
    };
    if host.is_empty() {
        return Err(format!("address {target}: missing host"));
    }
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Ok((host, port)),
        Some(number) => match number.parse() {
            Ok(number) if number != 0 => Ok((host, number)),
            _ => Err(format!("address {target}: invalid port")),
        },
        None => Err(format!("address {target}: invalid port")),
    }
}

/// The text of the system's error without its number, in lower case.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => "unknown error".to_owned(),
    }
}

fn lookup_reason(error: &io::Error) -> String {
    let text = error.to_string();
    // The resolver of the system has a text for each of its errors, of which these two mean that
    // nobody has the name.
    if ["Name or service not known", "No address associated"]
        .iter()
        .any(|unknown| text.contains(unknown))
    {
        return "no such host".to_owned();
    }
    reason(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refused_dial_is_told_as_go_tells_it() {
        let error = dial("127.0.0.1:1".parse().unwrap(), Duration::from_secs(5)).await;
        assert_eq!(
            error.unwrap_err().to_string(),
            "dial tcp 127.0.0.1:1: connect: connection refused"
        );
    }

    #[test]
    fn targets_are_split_into_host_and_port() {
        for (target, split_up) in [
            ("10.0.0.1", Ok(("10.0.0.1", 8301))),
            ("10.0.0.1:7", Ok(("10.0.0.1", 7))),
            ("::1", Ok(("::1", 8301))),
            ("[::1]", Ok(("::1", 8301))),
            ("[::1]:7", Ok(("::1", 7))),
            ("agent.example", Ok(("agent.example", 8301))),
            ("agent.example:7", Ok(("agent.example", 7))),
            ("agent:0", Err("address agent:0: invalid port")),
            ("agent:65536", Err("address agent:65536: invalid port")),
            ("agent:x", Err("address agent:x: invalid port")),
            ("[::1", Err("address [::1: missing ']' in address")),
            ("[::1]7", Err("address [::1]7: invalid port")),
            (":7", Err("address :7: missing host")),
            ("", Err("address \"\": missing host")),
        ] {
            assert_eq!(split(target, 8301), split_up.map_err(str::to_owned));
        }
    }

    #[tokio::test]
    async fn names_are_looked_up() {
        let limit = Duration::from_secs(10);
        let found = resolve("localhost:7", 8301, limit).await.unwrap();
        assert!(found.iter().all(|address| address.port() == 7));
        let unknown = resolve("no-such-name.invalid", 8301, limit).await;
        assert!(
            unknown
                .unwrap_err()
                .starts_with("lookup no-such-name.invalid: ")
        );
    }
}
