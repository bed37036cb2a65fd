//! `herald agent`: runs an agent until a signal ends it.

mod options;

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::FromArgMatches;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

pub(super) use options::Options;
use options::setting;

use super::{Exit, explain, flags, print};
use crate::agent::logging::{self, Gate};
use crate::agent::{Agent, End, GREETING, banner};
use crate::clock;
use crate::config::{Config, Flags, Identity, Leave, Setting, SettingValue};
use crate::types::is_dns_label;

/// A further signal within this time belongs to the first: `timeout` and terminals signal a program
/// and then its whole group.
const SAME_SIGNAL: Duration = Duration::from_millis(250);
/// Longest time for a leave: more than its own bounds add up to is never needed.
const LEAVE_MAX: Duration = Duration::from_secs(30);
/// Longest time for threads of the runtime that do not end by themselves.
const RUNTIME_END: Duration = Duration::from_millis(50);

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

/// Runs an agent until a signal comes, and returns the exit code.
async fn serve(config: &Config, log: logging::Access, gate: &Gate) -> Result<u8> {
    // Listen before anything else, so that no signal during the start is lost.
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let leave = config.leave;
    let agent = Agent::start_logged(config, log).await?;
    print(&banner(config, &agent));
    for warning in warnings(&config.identity) {
        print(&format!("==> {warning}\n"));
        tracing::warn!(target: "herald::agent", "{warning}");
    }
    print("==> Log data will now stream in as it occurs:\n\n");
    gate.open();
    print("==> herald agent running!\n");
    let asked = tokio::select! {
        asked = signals.wait(leave, || drop(agent.reload())) => asked,
        end = agent.ended() => Asked::of(end),
    };
    let caught = clock::now();
    let code = match asked {
        Asked::Stop { code } => code,
        Asked::Leave => depart(&agent, &mut signals).await,
    };
    let forced = signals.another(caught);
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

/// How an agent is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// It takes leave of the other members first.
    Leave,
    /// At once.
    Stop {
        /// With this exit code.
        code: u8,
    },
}

impl Asked {
    /// What an end asks for that no signal has brought.
    fn of(end: End) -> Self {
        match end {
            End::Left => Self::Stop { code: 0 },
            End::Failed(reason) => {
                tracing::error!(target: "herald::agent", "{reason}");
                Self::Stop { code: 1 }
            }
        }
    }
}

/// Takes leave of the other members, and returns the exit code: 0 once they know. HTTP and DNS go
/// on meanwhile, since lookups still come until the others have taken this agent out. Another
/// signal ends the wait.
async fn depart(agent: &Agent, signals: &mut Signals) -> u8 {
    print("==> Gracefully shutting down agent...\n");
    let caught = clock::now();
    let left = tokio::select! {
        left = tokio::time::timeout(LEAVE_MAX, agent.leave()) => left,
        () = signals.another(caught) => {
            tracing::warn!(target: "herald::agent", "Caught second signal, exiting without leaving");
            return 1;
        }
    };
    match left {
        Ok(Ok(())) => {
            tracing::info!(target: "herald::agent", "Graceful exit completed");
            0
        }
        Ok(Err(error)) => {
            tracing::error!(target: "herald::agent", "Error on leave: {error}");
            1
        }
        Err(_) => {
            tracing::warn!(target: "herald::agent", "the leave took longer than {LEAVE_MAX:?}, exiting without it");
            1
        }
    }
}

/// What an operator must know before relying on this agent.
fn warnings(identity: &Identity) -> Vec<Cow<'static, str>> {
    let mut warnings: Vec<Cow<'static, str>> = Vec::new();
    if let Some(warning) = warning_of_count(identity.expect) {
        warnings.push(warning.into());
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

/// About a number of servers that tolerates no more failures than one server less.
fn warning_of_count(expect: u32) -> Option<String> {
    let less = expect.checked_sub(1)?;
    let more = expect.saturating_add(1);
    match expect {
        2 => Some(
            "bootstrap_expect is 2: a cluster of two servers survives no failure of either. Take 3."
                .to_owned(),
        ),
        _ if expect.is_multiple_of(2) => Some(format!(
            "bootstrap_expect is {expect}: an even number of servers survives no more failures \
             than {less} do. Take {more}."
        )),
        _ => None,
    }
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

    /// Waits for a signal that ends the agent and returns how. Calls `reload` for each that asks for
    /// it.
    async fn wait(&mut self, leave: Leave, reload: impl Fn()) -> Asked {
        let asked = |leaves: bool| {
            if leaves {
                Asked::Leave
            } else {
                Asked::Stop { code: 1 }
            }
        };
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {
                    tracing::info!(target: "herald::agent", "Caught signal: signal=interrupt");
                    return asked(leave.on_interrupt);
                }
                _ = self.terminate.recv() => {
                    tracing::info!(target: "herald::agent", "Caught signal: signal=terminated");
                    return asked(leave.on_terminate);
                }
                _ = self.hangup.recv() => {
                    tracing::info!(target: "herald::agent", "Caught signal: signal=hangup; reloading the configuration");
                    reload();
                }
            }
        }
    }

    /// Waits for another signal that ends the agent than the one that was caught at `caught`.
    async fn another(&mut self, caught: Instant) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            if caught.elapsed() >= SAME_SIGNAL {
                return;
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
