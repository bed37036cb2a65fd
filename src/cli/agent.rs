//! `herald agent`: runs an agent until a signal ends it.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::FromArgMatches;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Exit, explain, flags, print};
use crate::agent::logging::{self, Gate};
use crate::agent::{Agent, GREETING, banner};
use crate::clock;
use crate::config::{Config, Flags, Format, Identity, Leave, Setting, SettingValue};
use crate::types::is_dns_label;

/// A further signal within this time belongs to the first: `timeout` and terminals signal a program
/// and then its whole group.
const SAME_SIGNAL: Duration = Duration::from_millis(250);
/// Longest time for threads of the runtime that do not end by themselves.
const RUNTIME_END: Duration = Duration::from_millis(50);

/// Runs an agent until it is interrupted: registration over HTTP, answers over DNS.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {
    /// Address to advertise to others, or a template. Default: the one bound to.
    #[arg(long, value_name = "address")]
    advertise: Option<String>,
    /// A second domain with the same content.
    #[arg(long, value_name = "domain")]
    alt_domain: Option<String>,
    /// Address for traffic between agents, or a template: `{{ GetInterfaceIP "eth0" }}`. Also
    /// `HERALD_BIND_INTERFACE` or `CONSUL_BIND_INTERFACE`: the name of an interface.
    #[arg(long, value_name = "address")]
    bind: Option<String>,
    /// Start a cluster with this server as its first.
    #[arg(long, num_args = 0..=1)]
    bootstrap: Option<bool>,
    /// Servers to wait for before a cluster starts; only 1 so far.
    #[arg(long, value_name = "count")]
    bootstrap_expect: Option<i64>,
    /// Addresses for HTTP and DNS, with blanks between them, or templates. Also
    /// `HERALD_CLIENT_INTERFACE` or `CONSUL_CLIENT_INTERFACE`: the name of an interface.
    #[arg(long, value_name = "addresses")]
    client: Option<String>,
    /// Most octets of a check's output that are kept. Default 4096.
    #[arg(long = "check_output_max_size", value_name = "octets")]
    check_output_max_size: Option<i64>,
    /// Directory whose .json and .hcl files are read in name order; may be repeated.
    #[arg(long, value_name = "path")]
    config_dir: Vec<PathBuf>,
    /// JSON or HCL file to read; may be repeated.
    #[arg(long, value_name = "path")]
    config_file: Vec<PathBuf>,
    /// Language of all configuration files, whatever their names: hcl or json.
    #[arg(long, value_name = "language")]
    config_format: Option<Format>,
    /// Directory for what must survive a restart.
    #[arg(long, value_name = "path")]
    data_dir: Option<String>,
    /// Name of the datacenter. Default dc1.
    #[arg(long, value_name = "name")]
    datacenter: Option<String>,
    /// How long a blocking read waits that names no time. Default 300s.
    #[arg(long, value_name = "duration")]
    default_query_time: Option<String>,
    /// Development mode: one server in memory on 127.0.0.1.
    #[arg(long, num_args = 0..=1, default_value_t = false)]
    dev: bool,
    /// Port for DNS; -1 is off, 0 lets the system choose. Default 8600.
    #[arg(long, value_name = "port")]
    dns_port: Option<i64>,
    /// Domain to answer for. Default consul.
    #[arg(long, value_name = "domain")]
    domain: Option<String>,
    /// Let checks from this agent's own files start programs.
    #[arg(long, num_args = 0..=1)]
    enable_local_script_checks: Option<bool>,
    /// Let checks start programs, also those that are registered over HTTP.
    #[arg(long, num_args = 0..=1)]
    enable_script_checks: Option<bool>,
    /// A piece of configuration in HCL, which wins over all else; may be repeated.
    #[arg(long, value_name = "text")]
    hcl: Vec<String>,
    /// Port for HTTP; -1 is off, 0 lets the system choose. Default 8500.
    #[arg(long, value_name = "port")]
    http_port: Option<i64>,
    /// Log as JSON.
    #[arg(long, num_args = 0..=1)]
    log_json: Option<bool>,
    /// How much to log: trace, debug, info, warn or error.
    #[arg(long, value_name = "level")]
    log_level: Option<String>,
    /// How long a blocking read may wait. Default 600s.
    #[arg(long, value_name = "duration")]
    max_query_time: Option<String>,
    /// Name of this node. Default: the host's name.
    #[arg(long, value_name = "name")]
    node: Option<String>,
    /// Id of this node, a UUID. Default: a new one.
    #[arg(long, value_name = "uuid")]
    node_id: Option<String>,
    /// Metadata of this node; may be repeated.
    #[arg(long, value_name = "key:value")]
    node_meta: Vec<String>,
    /// File for the process id.
    #[arg(long, value_name = "path")]
    pid_file: Option<String>,
    /// Port for gossip within the datacenter. Default 8301.
    #[arg(long, value_name = "port")]
    serf_lan_port: Option<i64>,
    /// Port for gossip between datacenters; -1 is off. Default 8302.
    #[arg(long, value_name = "port")]
    serf_wan_port: Option<i64>,
    /// Run as a server.
    #[arg(long, num_args = 0..=1)]
    server: Option<bool>,
    /// Port of the servers' own protocol. Default 8300.
    #[arg(long, value_name = "port")]
    server_port: Option<i64>,
    /// Serve the page for people at /ui/.
    #[arg(long, num_args = 0..=1)]
    ui: Option<bool>,
}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let flags = read_flags(arguments)?;
    let config = match Config::load(&flags) {
        Ok(config) => config,
        Err(error) => return Err(fail(&error)),
    };
    print(&format!("{GREETING}\n"));
    let gate = Gate::default();
    let log = logging::install(config.log, gate.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(serve(&config, log, &gate));
    runtime.shutdown_timeout(RUNTIME_END);
    gate.open();
    match code {
        Ok(0) => Ok(()),
        Ok(code) => Err(Exit::Code(code)),
        Err(error) => Err(fail(format!("Error starting agent: {}", explain(&error)))),
    }
}

/// Says why no agent runs, in the way the banner speaks.
fn fail(message: impl std::fmt::Display) -> Exit {
    eprintln!("==> {message}");
    Exit::Code(1)
}

fn read_flags(arguments: &[String]) -> Result<Flags, Exit> {
    let matches = flags::matches::<Options>("agent", arguments)?;
    let options = Options::from_arg_matches(&matches)?;
    let mut files: Vec<(usize, PathBuf)> = Vec::new();
    for (id, paths) in [
        ("config_file", &options.config_file),
        ("config_dir", &options.config_dir),
    ] {
        // Files and directories count in the order in which they were given.
        let positions = matches.indices_of(id).into_iter().flatten();
        files.extend(positions.zip(paths.iter().cloned()));
    }
    files.sort();
    Ok(Flags {
        development: options.dev,
        files: files.into_iter().map(|(_, path)| path).collect(),
        format: options.config_format,
        fragments: options.hcl.clone(),
        settings: interface_settings(|name| std::env::var(name).ok())?
            .into_iter()
            .chain(options.settings()?)
            .collect(),
    })
}

/// Variables that name an interface whose first IPv4 address is bound to, as container images know
/// them; the first that is set counts, and flags win.
const INTERFACES: [(&str, [(&str, &str); 2]); 2] = [
    (
        "bind_addr",
        [
            ("HERALD_BIND_INTERFACE", "bind (HERALD_BIND_INTERFACE)"),
            ("CONSUL_BIND_INTERFACE", "bind (CONSUL_BIND_INTERFACE)"),
        ],
    ),
    (
        "client_addr",
        [
            (
                "HERALD_CLIENT_INTERFACE",
                "client (HERALD_CLIENT_INTERFACE)",
            ),
            (
                "CONSUL_CLIENT_INTERFACE",
                "client (CONSUL_CLIENT_INTERFACE)",
            ),
        ],
    ),
];

/// What those variables set.
fn interface_settings(variable: impl Fn(&str) -> Option<String>) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    for (key, variables) in INTERFACES {
        let given = variables.into_iter().find_map(|(name, flag)| {
            let interface = variable(name).filter(|interface| !interface.is_empty())?;
            Some((name, flag, interface))
        });
        let Some((name, flag, interface)) = given else {
            continue;
        };
        let part = |letter: char| letter.is_ascii_alphanumeric() || "_-.:@".contains(letter);
        if !interface.chars().all(part) {
            anyhow::bail!("{name} is {interface:?}, which is no name of an interface");
        }
        let pattern = interface.replace('.', "[.]");
        let template = format!(
            "{{{{ GetAllInterfaces | include \"name\" \"^{pattern}$\" | include \"type\" \"IPv4\" | attr \"address\" }}}}"
        );
        settings.push(setting(flag, key, SettingValue::Text(template)));
    }
    Ok(settings)
}

impl Options {
    fn settings(self) -> Result<Vec<Setting>> {
        let text = |flag, key, value: Option<String>| {
            value.map(|value| setting(flag, key, SettingValue::Text(value)))
        };
        let number = |flag, key, value: Option<i64>| {
            value.map(|value| setting(flag, key, SettingValue::Number(value)))
        };
        let boolean = |flag, key, value: Option<bool>| {
            value.map(|value| setting(flag, key, SettingValue::Boolean(value)))
        };
        let settings = [
            text("advertise", "advertise_addr", self.advertise),
            text("alt-domain", "alt_domain", self.alt_domain),
            text("bind", "bind_addr", self.bind),
            boolean("bootstrap", "bootstrap", self.bootstrap),
            number(
                "bootstrap-expect",
                "bootstrap_expect",
                self.bootstrap_expect,
            ),
            number(
                "check_output_max_size",
                "check_output_max_size",
                self.check_output_max_size,
            ),
            text("client", "client_addr", self.client),
            text("data-dir", "data_dir", self.data_dir),
            text("datacenter", "datacenter", self.datacenter),
            text(
                "default-query-time",
                "default_query_time",
                self.default_query_time,
            ),
            number("dns-port", "ports.dns", self.dns_port),
            text("domain", "domain", self.domain),
            boolean(
                "enable-local-script-checks",
                "enable_local_script_checks",
                self.enable_local_script_checks,
            ),
            boolean(
                "enable-script-checks",
                "enable_script_checks",
                self.enable_script_checks,
            ),
            number("http-port", "ports.http", self.http_port),
            boolean("log-json", "log_json", self.log_json),
            text("log-level", "log_level", self.log_level),
            text("max-query-time", "max_query_time", self.max_query_time),
            text("node", "node_name", self.node),
            text("node-id", "node_id", self.node_id),
            text("pid-file", "pid_file", self.pid_file),
            number("serf-lan-port", "ports.serf_lan", self.serf_lan_port),
            number("serf-wan-port", "ports.serf_wan", self.serf_wan_port),
            boolean("server", "server", self.server),
            number("server-port", "ports.server", self.server_port),
            boolean("ui", "ui", self.ui),
        ];
        let pairs = self.node_meta.iter().map(|pair| {
            let (key, value) = pair
                .split_once(':')
                .with_context(|| format!("-node-meta {pair:?} is not of the form key:value"))?;
            let value = SettingValue::Pair(key.to_owned(), value.to_owned());
            Ok(setting("node-meta", "node_meta", value))
        });
        settings
            .into_iter()
            .flatten()
            .map(Ok)
            .chain(pairs)
            .collect()
    }
}

fn setting(flag: &'static str, key: &'static str, value: SettingValue) -> Setting {
    Setting { flag, key, value }
}

/// Runs an agent until a signal comes, and returns the exit code.
async fn serve(config: &Config, log: logging::Access, gate: &Gate) -> Result<u8> {
    // Listen before anything else, so that no signal during the start is lost.
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let leave = config.leave;
    let agent = Agent::start_logged(config, log).await?;
    print(&banner(&config.identity, &agent));
    for warning in warnings(&config.identity) {
        print(&format!("==> {warning}\n"));
        tracing::warn!(target: "herald::agent", "{warning}");
    }
    print("==> Log data will now stream in as it occurs:\n\n");
    gate.open();
    print("==> herald agent running!\n");
    let code = signals.wait(leave, || drop(agent.reload())).await;
    let caught = clock::now();
    let forced = async {
        while caught.elapsed() < SAME_SIGNAL {
            signals.wait(leave, || ()).await;
        }
    };
    let stopped = tokio::select! {
        stopped = agent.stop() => stopped,
        () = forced => false,
    };
    if !stopped {
        tracing::warn!(target: "herald::agent", "stopped without waiting for everything in progress");
    }
    tracing::info!(target: "herald::agent", "Exit code: code={code}");
    Ok(code)
}

/// What an operator must know before relying on this agent.
fn warnings(identity: &Identity) -> Vec<Cow<'static, str>> {
    let mut warnings: Vec<Cow<'static, str>> = Vec::new();
    if !identity.development {
        warnings.push(
            "State is not kept yet: nothing is written to data_dir, and what is registered is lost \
             when this agent stops."
                .into(),
        );
    }
    if !identity.server {
        warnings.push(
            "Agents do not join servers yet: without -server, too, this agent answers from a \
             catalog of its own."
                .into(),
        );
    }
    // Only servers are name servers, and `dns` leaves out those that resolvers could not use.
    if identity.server && !is_dns_label(identity.node.as_str()) {
        let warning = format!(
            "The node name {:?} is no host name of letters, digits and '-' alone: NS answers leave \
             this server out. Without another server the domain has no name server and cannot be \
             delegated; -node gives another name.",
            identity.node
        );
        warnings.push(warning.into());
    }
    warnings
}

/// The signals that an agent obeys.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal that ends the agent and returns the exit code that it asks for: 0 where
    /// the agent is to leave, else 1. Calls `reload` for each that asks for it.
    async fn wait(&mut self, leave: Leave, reload: impl Fn()) -> u8 {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {
                    tracing::info!(target: "herald::agent", "Caught signal: signal=interrupt");
                    return u8::from(!leave.on_interrupt);
                }
                _ = self.terminate.recv() => {
                    tracing::info!(target: "herald::agent", "Caught signal: signal=terminated");
                    return u8::from(!leave.on_terminate);
                }
                _ = self.hangup.recv() => {
                    tracing::info!(target: "herald::agent", "Caught signal: signal=hangup; reloading the configuration");
                    reload();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn read(line: &str) -> Flags {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        read_flags(&arguments).unwrap()
    }

    #[test]
    fn files_and_directories_keep_the_order_given() {
        let flags = read("-config-dir d -config-file=a --config-dir e -config-file b");
        assert_eq!(flags.files, ["d", "a", "e", "b"].map(PathBuf::from));
    }

    #[test]
    fn the_last_of_a_flag_counts_and_lists_go_on() {
        let line =
            "-dev -http-port=1 -node-meta a:1 -hcl x -dev -http-port=2 -node-meta b:2 -hcl y";
        let flags = read(line);
        assert_eq!(flags.fragments, ["x", "y"]);
        let shown = flags.settings.iter();
        let shown: Vec<String> = shown
            .map(|setting| format!("{:?}", setting.value))
            .collect();
        assert_eq!(
            shown,
            ["Number(2)", "Pair(\"a\", \"1\")", "Pair(\"b\", \"2\")"]
        );
    }

    #[test]
    fn flags_become_settings() {
        let flags = read("-dev -ui=false -dns-port -1 -node-meta rack:7:8 -bind=10.0.0.1");
        assert!(flags.development);
        let shown: Vec<String> = flags
            .settings
            .iter()
            .map(|setting| format!("{} {:?}", setting.key, setting.value))
            .collect();
        assert_eq!(
            shown,
            [
                "bind_addr Text(\"10.0.0.1\")",
                "ports.dns Number(-1)",
                "ui Boolean(false)",
                "node_meta Pair(\"rack\", \"7:8\")",
            ]
        );
    }

    #[test]
    fn variables_name_interfaces_to_bind_to() {
        let shown = |variables: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = variables.iter().find(|(have, _)| *have == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let settings = interface_settings(variable).map_err(|error| error.to_string())?;
            let settings = settings.into_iter();
            let shown = settings.map(|setting| format!("{} {:?}", setting.flag, setting.value));
            Ok::<Vec<String>, String>(shown.collect())
        };
        assert_eq!(shown(&[("CONSUL_BIND_INTERFACE", "")]), Ok(Vec::new()));
        let both = shown(&[
            ("CONSUL_BIND_INTERFACE", "eth0"),
            ("HERALD_BIND_INTERFACE", "eth0.7"),
            ("CONSUL_CLIENT_INTERFACE", "lo"),
        ]);
        let [bind, client] = &both.unwrap()[..] else {
            panic!("two settings");
        };
        assert!(
            bind.starts_with("bind (HERALD_BIND_INTERFACE) ") && bind.contains("^eth0[.]7$"),
            "{bind}"
        );
        assert!(client.contains("^lo$"), "{client}");
        let bad = shown(&[("CONSUL_BIND_INTERFACE", "a\" | x")]).unwrap_err();
        assert!(bad.contains("CONSUL_BIND_INTERFACE is \"a"), "{bad}");
    }

    #[test]
    fn every_flag_is_declared_once() {
        Options::command().debug_assert();
    }
}
