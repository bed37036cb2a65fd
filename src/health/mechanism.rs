//! How a check is carried out, checked once when it is registered.

use std::time::Duration;

use crate::types::CheckType;

/// Shortest time between two runs; shorter ones are raised to it.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Longest time for one run where none is given.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The same for external programs.
const TIMEOUT_PROGRAM_DEFAULT: Duration = Duration::from_secs(30);
/// Time between two looks of an alias at what it follows, should nothing tell it of a change.
const ALIAS_INTERVAL: Duration = Duration::from_secs(1);
/// Methods that are meant whatever their case: `Get` is common in guides (RFC 9110 §9, RFC 5789).
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

/// Everything a registration can say about how a check is carried out, not yet checked. Empty
/// texts and zero durations mean that a field was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "these are the fields of the API, not states"
)]
pub struct Settings {
    /// Time to live of a TTL check.
    pub ttl: Duration,
    /// Time between runs.
    pub interval: Duration,
    /// Longest time for one run.
    pub timeout: Duration,
    /// URL of an HTTP check.
    pub http: String,
    /// Headers of an HTTP check.
    pub header: Vec<(String, Vec<String>)>,
    /// Method of an HTTP check; GET where empty.
    pub method: String,
    /// Body of an HTTP check.
    pub body: String,
    /// Whether an HTTP check stays where a redirect points elsewhere.
    pub disable_redirects: bool,
    /// Whether any certificate is accepted.
    pub tls_skip_verify: bool,
    /// Name that the certificate must have; the host of the target where empty.
    pub tls_server_name: String,
    /// `host:port` of a TCP check.
    pub tcp: String,
    /// `host:port` of a UDP check.
    pub udp: String,
    /// `host:port[/service]` of a gRPC check.
    pub grpc: String,
    /// Whether a gRPC check uses TLS.
    pub grpc_use_tls: bool,
    /// `host:port` of an HTTP/2 ping.
    pub h2ping: String,
    /// Whether an HTTP/2 ping uses TLS.
    pub h2ping_use_tls: bool,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Container in which the program runs.
    pub docker_container_id: String,
    /// Shell inside the container.
    pub shell: String,
    /// Name of a service of the operating system.
    pub os_service: String,
    /// Node whose health is followed.
    pub alias_node: String,
    /// Service whose health is followed.
    pub alias_service: String,
}

/// When a check runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Time between runs: at least 1 s.
    pub interval: Duration,
    /// Longest time for one run. Default 10 s, 30 s for external programs.
    pub timeout: Duration,
}

/// What an HTTP check asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// URL.
    pub url: Box<str>,
    /// Headers with their values.
    pub header: Vec<(String, Vec<String>)>,
    /// Method; one of the nine standard ones is in upper case.
    pub method: Box<str>,
    /// Body.
    pub body: Box<str>,
    /// Whether any certificate is accepted.
    pub tls_skip_verify: bool,
    /// Name that the certificate must have; the URL's host where empty.
    pub tls_server_name: Box<str>,
    /// Whether redirects are not followed.
    pub disable_redirects: bool,
}

/// How a check is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The service reports by itself at least this often.
    Ttl(Duration),
    /// HTTP request.
    Http(Schedule, Box<Http>),
    /// TCP connection to `host:port`.
    Tcp(Schedule, Box<str>),
    /// UDP datagram to `host:port`.
    Udp(Schedule, Box<str>),
    /// gRPC health protocol.
    Grpc {
        /// When.
        schedule: Schedule,
        /// `host:port[/service]`.
        target: Box<str>,
        /// Whether TLS is used.
        tls: bool,
        /// Whether any certificate is accepted.
        tls_skip_verify: bool,
        /// Name that the certificate must have; the target's host where empty.
        tls_server_name: Box<str>,
    },
    /// HTTP/2 ping.
    H2Ping {
        /// When.
        schedule: Schedule,
        /// `host:port`.
        target: Box<str>,
        /// Whether TLS is used.
        tls: bool,
        /// Whether any certificate is accepted.
        tls_skip_verify: bool,
    },
    /// External program with its arguments.
    Script(Schedule, Vec<String>),
    /// Program inside a container.
    Docker {
        /// When.
        schedule: Schedule,
        /// The container.
        container: Box<str>,
        /// Shell for one-line scripts of old registrations; programs are started without one.
        shell: Box<str>,
        /// Program and arguments.
        args: Vec<String>,
    },
    /// State of a service of the operating system.
    OsService(Schedule, Box<str>),
    /// Health of another service or node; either may be empty, not both.
    Alias {
        /// The node; this one where empty.
        node: Box<str>,
        /// The service; the node itself where empty.
        service: Box<str>,
    },
    /// Stands while a node or service is in maintenance.
    Maintenance,
}

/// Why settings describe no check; nothing was changed. The texts are those of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MechanismError {
    /// Nothing says how the check is carried out, or a TTL check has no time to live.
    #[error("TTL must be > 0 for TTL checks")]
    NoTtl,
    /// A check that runs does not say how often.
    #[error("Interval must be > 0 for Script, HTTP, or TCP checks")]
    NoInterval,
    /// A check either runs or is reported.
    #[error("Interval and TTL cannot both be specified")]
    IntervalAndTtl,
    /// An alias only follows another check.
    #[error("TTL must be not be set for Alias checks")]
    AliasWithTtl,
    /// An alias does not run.
    #[error("Interval cannot be set for Alias checks")]
    AliasWithInterval,
}

impl Mechanism {
    /// Checks settings. Where several targets are given, the first of gRPC, HTTP, TCP, UDP, HTTP/2
    /// ping, container, program and service of the operating system counts.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn checked(settings: Settings) -> Result<Self, MechanismError> {
        let alias = !settings.alias_node.is_empty() || !settings.alias_service.is_empty();
        let runs = settings.runs();
        let (interval, ttl) = (!settings.interval.is_zero(), !settings.ttl.is_zero());
        match (runs, alias) {
            _ if interval && ttl => Err(MechanismError::IntervalAndTtl),
            (true, _) if !interval => Err(MechanismError::NoInterval),
            (true, true) => Err(MechanismError::AliasWithInterval),
            (_, true) if ttl => Err(MechanismError::AliasWithTtl),
            (false, true) => Ok(Self::Alias {
                node: settings.alias_node.into(),
                service: settings.alias_service.into(),
            }),
            (true, false) => Ok(Self::running(settings)),
            (false, false) if ttl => Ok(Self::Ttl(settings.ttl)),
            (false, false) => Err(MechanismError::NoTtl),
        }
    }

    /// The type as the API names it.
    pub fn check_type(&self) -> CheckType {
        match self {
            Self::Ttl(_) => CheckType::Ttl,
            Self::Http(..) => CheckType::Http,
            Self::Tcp(..) => CheckType::Tcp,
            Self::Udp(..) => CheckType::Udp,
            Self::Grpc { .. } => CheckType::Grpc,
            Self::H2Ping { .. } => CheckType::H2Ping,
            Self::Script(..) => CheckType::Script,
            Self::Docker { .. } => CheckType::Docker,
            Self::OsService(..) => CheckType::OsService,
            Self::Alias { .. } => CheckType::Alias,
            Self::Maintenance => CheckType::Maintenance,
        }
    }

    /// Time to live of a TTL check.
    pub fn ttl(&self) -> Option<Duration> {
        match self {
            Self::Ttl(ttl) => Some(*ttl),
            _ => None,
        }
    }

    /// Whether it starts a program of the registrant's choice on this machine.
    pub fn is_program(&self) -> bool {
        matches!(self, Self::Script(..) | Self::Docker { .. })
    }

    /// Whether it starts a program on this machine, which costs more than a packet or two.
    pub fn is_heavy(&self) -> bool {
        self.is_program() || matches!(self, Self::OsService(..))
    }

    /// Time between two runs; `None` if it does not run by itself.
    pub fn interval(&self) -> Option<Duration> {
        match self {
            Self::Ttl(_) | Self::Maintenance => None,
            Self::Alias { .. } => Some(ALIAS_INTERVAL),
            Self::Http(schedule, _)
            | Self::Tcp(schedule, _)
            | Self::Udp(schedule, _)
            | Self::Grpc { schedule, .. }
            | Self::H2Ping { schedule, .. }
            | Self::Script(schedule, _)
            | Self::Docker { schedule, .. }
            | Self::OsService(schedule, _) => Some(schedule.interval),
        }
    }

    fn running(settings: Settings) -> Self {
        let schedule = settings.schedule();
        if !settings.http.is_empty() && settings.grpc.is_empty() {
            return Self::Http(schedule, Box::new(Http::new(settings)));
        }
        let (tls_skip_verify, args) = (settings.tls_skip_verify, settings.args);
        if !settings.grpc.is_empty() {
            Self::Grpc {
                schedule,
                target: settings.grpc.into(),
                tls: settings.grpc_use_tls,
                tls_skip_verify,
                tls_server_name: settings.tls_server_name.into(),
            }
        } else if !settings.tcp.is_empty() {
            Self::Tcp(schedule, settings.tcp.into())
        } else if !settings.udp.is_empty() {
            Self::Udp(schedule, settings.udp.into())
        } else if !settings.h2ping.is_empty() {
            Self::H2Ping {
                schedule,
                target: settings.h2ping.into(),
                tls: settings.h2ping_use_tls,
                tls_skip_verify,
            }
        } else if !settings.docker_container_id.is_empty() {
            Self::Docker {
                schedule,
                container: settings.docker_container_id.into(),
                shell: settings.shell.into(),
                args,
            }
        } else if !args.is_empty() {
            Self::Script(schedule, args)
        } else {
            Self::OsService(schedule, settings.os_service.into())
        }
    }
}

impl Settings {
    fn runs(&self) -> bool {
        let targets = [
            &self.http,
            &self.tcp,
            &self.udp,
            &self.grpc,
            &self.h2ping,
            &self.os_service,
        ];
        !self.args.is_empty() || targets.iter().any(|target| !target.is_empty())
    }

    fn schedule(&self) -> Schedule {
        let program = !self.args.is_empty() && self.http.is_empty();
        let timeout = match self.timeout {
            Duration::ZERO if program => TIMEOUT_PROGRAM_DEFAULT,
            Duration::ZERO => TIMEOUT_DEFAULT,
            given => given,
        };
        if self.interval < INTERVAL_MIN {
            let given = self.interval;
            tracing::warn!(
                "a check's interval of {given:?} is too short, it is raised to {INTERVAL_MIN:?}"
            );
        }
        Schedule {
            interval: self.interval.max(INTERVAL_MIN),
            timeout,
        }
    }
}

impl Http {
    fn new(settings: Settings) -> Self {
        let standard = METHODS
            .iter()
            .find(|method| method.eq_ignore_ascii_case(&settings.method));
        let method = match standard {
            Some(standard) => (*standard).into(),
            None if settings.method.is_empty() => "GET".into(),
            None => settings.method.into(),
        };
        Self {
            url: settings.http.into(),
            header: settings.header,
            method,
            body: settings.body.into(),
            tls_skip_verify: settings.tls_skip_verify,
            tls_server_name: settings.tls_server_name.into(),
            disable_redirects: settings.disable_redirects,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(fill: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings = Settings::default();
        fill(&mut settings);
        settings
    }

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn each_rule_has_its_own_error() {
        let error = |fill: fn(&mut Settings)| Mechanism::checked(settings(fill)).unwrap_err();
        assert_eq!(error(|_| ()), MechanismError::NoTtl);
        assert_eq!(error(|s| s.interval = TEN), MechanismError::NoTtl);
        assert_eq!(error(|s| s.http = "x".into()), MechanismError::NoInterval);
        assert_eq!(
            error(|s| s.args = vec!["x".into()]),
            MechanismError::NoInterval
        );
        assert_eq!(
            error(|s| (s.ttl, s.interval) = (TEN, TEN)),
            MechanismError::IntervalAndTtl
        );
        assert_eq!(
            error(|s| (s.ttl, s.alias_node) = (TEN, "n".into())),
            MechanismError::AliasWithTtl
        );
        assert_eq!(
            error(|s| (s.tcp, s.interval, s.alias_node) = ("t".into(), TEN, "n".into())),
            MechanismError::AliasWithInterval
        );
    }

    #[test]
    fn http_comes_before_tcp() {
        let both = settings(|s| {
            (s.http, s.tcp, s.interval) = ("http://a/".into(), "a:1".into(), TEN);
        });
        assert_eq!(
            Mechanism::checked(both).unwrap().check_type(),
            CheckType::Http
        );
    }

    #[test]
    fn grpc_comes_before_http() {
        let both = settings(|s| {
            (s.http, s.grpc, s.interval) = ("http://a/".into(), "a:1".into(), TEN);
        });
        assert_eq!(
            Mechanism::checked(both).unwrap().check_type(),
            CheckType::Grpc
        );
    }

    #[test]
    fn short_intervals_are_raised_and_timeouts_filled_in() {
        let short = settings(|s| {
            (s.tcp, s.interval) = ("a:1".into(), Duration::from_millis(1));
        });
        let Ok(Mechanism::Tcp(schedule, _)) = Mechanism::checked(short) else {
            panic!("not a TCP check");
        };
        assert_eq!(schedule.interval, Duration::from_secs(1));
        assert_eq!(schedule.timeout, TEN);
    }

    #[test]
    fn standard_methods_are_upper_cased() {
        for (given, kept) in [("Get", "GET"), ("", "GET"), ("purge", "purge")] {
            let http = settings(|s| {
                (s.http, s.interval, s.method) = ("http://a/".into(), TEN, given.into());
            });
            let Ok(Mechanism::Http(_, http)) = Mechanism::checked(http) else {
                panic!("not an HTTP check");
            };
            assert_eq!(*http.method, *kept);
        }
    }
}
