//! How many files and sockets this process may have open, and how they are shared out.
//!
//! Each side of the agent keeps its part: clients of HTTP, however many, take nothing that DNS or
//! the checks need.

use crate::{dns, http, local};

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
/// rest is for everything else.
pub(super) fn share(
    limit: usize,
    http: &mut http::Config,
    dns: Option<&mut dns::Config>,
    checks: &mut local::Limits,
) {
    http.connections_max = http.connections_max.min(limit / 2);
    checks.runs_max = checks.runs_max.min((limit / 8).max(1));
    if let Some(dns) = dns {
        dns.tcp.connections_max = dns.tcp.connections_max.min(limit / 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_the_rest() {
        let (mut http, mut dns) = (http::Config::default(), dns::Config::default());
        let mut checks = local::Limits::default();
        share(1_024, &mut http, Some(&mut dns), &mut checks);
        assert_eq!((http.connections_max, dns.tcp.connections_max), (512, 128));
        assert_eq!(checks.runs_max, 128);
    }

    #[test]
    fn a_high_limit_leaves_the_bounds_as_they_are() {
        let (mut http, mut dns) = (http::Config::default(), dns::Config::default());
        let mut checks = local::Limits::default();
        share(1_048_576, &mut http, Some(&mut dns), &mut checks);
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
