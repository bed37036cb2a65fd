//! The command line: one file for each subcommand.
//!
//! `flags` takes arguments the way Go programs do; commands return an `Exit` instead of ending
//! the process. Tables, messages and exit codes are those that scripts around the reference rely
//! on: 0 all is well, 1 an error, 2 `members` without members, 127 no such command.
//!
//! The program behaves the same under any name (`consul` through a link) and always calls itself
//! herald.

mod absent;
mod agent;
mod catalog;
mod completion;
mod connection;
mod demo;
mod event;
mod explain;
mod flags;
mod force_leave;
mod info;
mod interruption;
mod join;
mod keygen;
mod keyring;
mod leave;
mod maint;
mod man;
mod members;
mod monitor;
mod operator;
mod reload;
mod rtt;
mod services;
mod table;
mod text;
mod tree;
mod validate;
mod version;
mod watch;

use std::io::Write as _;

use clap::CommandFactory as _;

/// Version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How a command ends, where it does not simply succeed.
#[derive(Debug)]
enum Exit {
    /// Help was asked for.
    Help(String),
    /// The arguments were not understood.
    Usage { message: String, usage: String },
    /// No such command.
    UnknownCommand,
    /// It has said what there is to say.
    Code(u8),
    /// It failed.
    Error(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Exit {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

struct Command {
    name: &'static str,
    about: &'static str,
    definition: Definition,
    run: fn(&[String]) -> Result<(), Exit>,
}

/// What a command takes.
enum Definition {
    /// Flags and arguments.
    Flags(fn() -> clap::Command),
    /// A further command.
    Below(&'static [Command]),
}

const COMMANDS: [Command; 23] = [
    Command {
        name: "agent",
        about: "Runs an agent: HTTP, DNS, checks",
        definition: Definition::Flags(agent::Options::command),
        run: agent::run,
    },
    Command {
        name: "catalog",
        about: "Shows datacenters, nodes and services",
        definition: Definition::Below(&catalog::COMMANDS),
        run: catalog::run,
    },
    Command {
        name: "completion",
        about: "Prints completions for a shell",
        definition: Definition::Flags(completion::Options::command),
        run: completion::run,
    },
    Command {
        name: "demo",
        about: "Starts an agent, registers services and asks its DNS",
        definition: Definition::Flags(demo::Options::command),
        run: demo::run,
    },
    Command {
        name: "event",
        about: "Sends an event to the agents of a datacenter",
        definition: Definition::Flags(event::Options::command),
        run: event::run,
    },
    Command {
        name: "explain",
        about: "Says why a DNS question gets its answer",
        definition: Definition::Flags(explain::Options::command),
        run: explain::run,
    },
    Command {
        name: "force-leave",
        about: "Declares that a failed member has left",
        definition: Definition::Flags(force_leave::Options::command),
        run: force_leave::run,
    },
    Command {
        name: "info",
        about: "Shows figures of an agent",
        definition: Definition::Flags(info::Options::command),
        run: info::run,
    },
    Command {
        name: "join",
        about: "Makes an agent join the cluster of others",
        definition: Definition::Flags(join::Options::command),
        run: join::run,
    },
    Command {
        name: "keygen",
        about: "Prints a new key for the encryption of gossip",
        definition: Definition::Flags(keygen::Options::command),
        run: keygen::run,
    },
    Command {
        name: "keyring",
        about: "Lists and changes the keys that encrypt gossip",
        definition: Definition::Flags(keyring::Options::command),
        run: keyring::run,
    },
    Command {
        name: "leave",
        about: "Makes an agent leave its cluster and stop",
        definition: Definition::Flags(leave::Options::command),
        run: leave::run,
    },
    Command {
        name: "maint",
        about: "Takes a node or a service out of service and back",
        definition: Definition::Flags(maint::Options::command),
        run: maint::run,
    },
    Command {
        name: "man",
        about: "Writes manual pages",
        definition: Definition::Flags(man::Options::command),
        run: man::run,
    },
    Command {
        name: "members",
        about: "Lists the members of the cluster",
        definition: Definition::Flags(members::Options::command),
        run: members::run,
    },
    Command {
        name: "monitor",
        about: "Shows the log of an agent as it is written",
        definition: Definition::Flags(monitor::Options::command),
        run: monitor::run,
    },
    Command {
        name: "operator",
        about: "Shows and removes the servers of the cluster",
        definition: Definition::Below(&operator::COMMANDS),
        run: operator::run,
    },
    Command {
        name: "reload",
        about: "Makes an agent read its configuration again",
        definition: Definition::Flags(reload::Options::command),
        run: reload::run,
    },
    Command {
        name: "rtt",
        about: "Estimates the round-trip time between two nodes",
        definition: Definition::Flags(rtt::Options::command),
        run: rtt::run,
    },
    Command {
        name: "services",
        about: "Registers and deregisters services at an agent",
        definition: Definition::Below(&services::COMMANDS),
        run: services::run,
    },
    Command {
        name: "validate",
        about: "Checks configuration files",
        definition: Definition::Flags(validate::Options::command),
        run: validate::run,
    },
    Command {
        name: "version",
        about: "Prints the version",
        definition: Definition::Flags(version::Options::command),
        run: version::run,
    },
    Command {
        name: "watch",
        about: "Shows a view of the catalog, or runs a program at each change",
        definition: Definition::Flags(watch::Options::command),
        run: watch::run,
    },
];

/// Runs the command that `arguments` (without the program's name) spell and returns the exit code.
pub fn run(arguments: &[String]) -> u8 {
    let exit = match dispatch(arguments) {
        Ok(()) => return 0,
        Err(exit) => exit,
    };
    match exit {
        Exit::Help(text) => {
            print(&text);
            0
        }
        Exit::Usage { message, usage } => {
            eprintln!("{message}\n{usage}");
            1
        }
        Exit::UnknownCommand => {
            eprint!("{}", overview());
            127
        }
        Exit::Code(code) => code,
        Exit::Error(error) => {
            // Agents have their say in it.
            eprintln!("{}", text::escape_lines(&explain(&error)));
            1
        }
    }
}

/// An error with its causes, without those that are part of the text already.
fn explain(error: &anyhow::Error) -> String {
    let plain = |text: &str| {
        let end = text.find(" (os error").unwrap_or(text.len());
        text.get(..end).unwrap_or(text).to_lowercase()
    };
    error.chain().fold(String::new(), |text, cause| {
        let cause = cause.to_string();
        match text.as_str() {
            "" => cause,
            said if plain(said).contains(&plain(&cause)) => text,
            said => format!("{said}: {cause}"),
        }
    })
}

fn dispatch(arguments: &[String]) -> Result<(), Exit> {
    let Some((first, rest)) = arguments.split_first() else {
        return Err(Exit::UnknownCommand);
    };
    if let Some(flag) = first.strip_prefix('-') {
        return match flag.trim_start_matches('-') {
            "v" | "version" => version::run(&[]),
            "h" | "help" => Err(Exit::Help(overview())),
            _ => Err(Exit::Usage {
                message: "Invalid flags before the subcommand. If these flags are for\nthe \
                          subcommand, please put them after the subcommand.\n"
                    .to_owned(),
                usage: overview(),
            }),
        };
    }
    if let Some(refusal) = absent::refusal(first) {
        return Err(refusal);
    }
    let known = COMMANDS.iter().find(|command| command.name == first);
    known.map_or(Err(Exit::UnknownCommand), |command| (command.run)(rest))
}

/// Runs the subcommand of `name` that the first argument spells.
fn dispatch_below(
    name: &str,
    about: &str,
    commands: &[Command],
    arguments: &[String],
) -> Result<(), Exit> {
    let help = || {
        let about = format!("Usage: herald {name} <subcommand> [options]\n\n  {about}\n\n");
        about + "Subcommands:\n\n" + &list(commands)
    };
    let first = arguments.first().map(String::as_str).unwrap_or_default();
    if matches!(first, "-h" | "--h" | "-help" | "--help") {
        return Err(Exit::Help(help()));
    }
    let known = commands.iter().find(|command| command.name == first);
    if let (Some(command), Some((_, rest))) = (known, arguments.split_first()) {
        (command.run)(rest)
    } else {
        eprint!("{}", help());
        Err(Exit::Code(1))
    }
}

fn overview() -> String {
    let usage = "Usage: herald [--version] [--help] <command> [<args>]\n\n";
    format!("{usage}Available commands are:\n{}\n", list(&COMMANDS))
}

fn list(commands: &[Command]) -> String {
    let line = |command: &Command| format!("    {:14} {}\n", command.name, command.about);
    let lines: Vec<String> = commands.iter().map(line).collect();
    lines.concat()
}

/// Prints `text` as it is; a reader that went away is no error (`herald members | head -1`).
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Runs a client command's future; client commands need no more than this thread.
fn block_on<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(future))
}
