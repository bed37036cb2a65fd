//! How many files and sockets this process may have open, and how they are shared out.
//!
//! Each side of the agent keeps its part: clients of HTTP, however many, take nothing that DNS or
//! the checks need.

use crate::{dns, http, local, rpc};

/// Lifts the soft limit of open descriptors to the hard one. The limit that holds then; `None`
/// where there is none or none is known.
pub(super) fn raise() -> Option<usize> {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
        let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
        usize::try_from(if raised { hard } else { soft }).ok()
    }
    #[cfg(not(unix))]
    None
}

/// Of `limit` descriptors, half are for connections over HTTP, an eighth for those over DNS, and an
/// eighth for runs of checks (most have one, programs two), if those may be so many at all; the
/// rest is for everything else. On a server HTTP has three eighths, and the agents that call it
/// have a quarter: each has one connection.
pub(super) fn share(
    limit: usize,
    http: &mut http::Config,
    dns: Option<&mut dns::Config>,
    rpc: Option<&mut rpc::Config>,
    checks: &mut local::Limits,
) {
    let eighth = limit / 8;
    let http_max = if rpc.is_some() {
        3 * eighth
    } else {
        4 * eighth
    };
    http.connections_max = http.connections_max.min(http_max);
    if let Some(rpc) = rpc {
        rpc.connections_max = rpc.connections_max.min(2 * eighth);
    }
    checks.runs_max = checks.runs_max.min(eighth.max(1));
    if let Some(dns) = dns {
        dns.tcp.connections_max = dns.tcp.connections_max.min(eighth);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_the_rest() {
        let (mut http, mut dns) = (http::Config::default(), dns::Config::default());
        let mut checks = local::Limits::default();
        share(1_024, &mut http, Some(&mut dns), None, &mut checks);
        assert_eq!((http.connections_max, dns.tcp.connections_max), (512, 128));
        assert_eq!(checks.runs_max, 128);
    }

    #[test]
    fn agents_have_room_of_their_own_on_a_server() {
        let (mut http, mut checks) = (http::Config::default(), local::Limits::default());
        let mut rpc = rpc::Config {
            bind: ([127, 0, 0, 1], 0).into(),
            connections_max: 16_384,
            connections_of_client_max: 100,
            handshake_timeout: std::time::Duration::from_secs(5),
            streams_max: 1,
            request_octets_max: 1,
            tls: None,
            tls_only: false,
        };
        share(1_048_576, &mut http, None, Some(&mut rpc), &mut checks);
        assert_eq!(rpc.connections_max, 16_384);
        share(1_024, &mut http, None, Some(&mut rpc), &mut checks);
        assert_eq!((http.connections_max, rpc.connections_max), (384, 256));
        assert_eq!(rpc.connections_of_client_max, 100);
    }

    #[test]
    fn a_high_limit_leaves_the_bounds_as_they_are() {
        let (mut http, mut dns) = (http::Config::default(), dns::Config::default());
        let mut checks = local::Limits::default();
        share(1_048_576, &mut http, Some(&mut dns), None, &mut checks);
        assert_eq!(checks.runs_max, local::Limits::default().runs_max);
        assert_eq!(
            http.connections_max,
            http::Config::default().connections_max
        );
        assert_eq!(dns, dns::Config::default());
    }

    #[cfg(unix)]
    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        use nix::sys::resource::{Resource, getrlimit};
        let limit = raise();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(soft, hard);
        assert_eq!(limit, usize::try_from(hard).ok());
    }
}
