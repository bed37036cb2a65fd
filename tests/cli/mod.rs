//! The program as people and scripts call it: what it prints and how it exits.

pub(crate) mod agent;
mod cluster;
mod connection;
mod generated;
mod maint;
mod monitor;
mod tables;
mod usage;
mod watch;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use crate::support::agent::TestAgent;

/// Longest life of a program that a test starts.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .kill_on_drop(true)
        .stdin(Stdio::null());
    // What the developer's own shell sets must not decide a test.
    for (name, _) in std::env::vars() {
        if name.starts_with("CONSUL_") || name.starts_with("HERALD_") {
            command.env_remove(name);
        }
    }
    command
}

/// What a finished program left.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("it was not killed"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) async fn finish(mut command: Command) -> Finished {
    let output = tokio::time::timeout(LIMIT, command.output()).await;
    output.expect("the program ends in time").unwrap().into()
}

/// Runs the program to its end.
pub(crate) async fn herald(arguments: &[&str]) -> Finished {
    finish(command(program(), arguments)).await
}

/// Runs a client command with these variables set.
pub(crate) async fn herald_with(variables: &[(&str, &str)], arguments: &[&str]) -> Finished {
    let mut command = command(program(), arguments);
    command.envs(variables.iter().copied());
    finish(command).await
}

impl Finished {
    /// Asserts exit code and everything printed.
    #[track_caller]
    pub(crate) fn is(&self, code: i32, out: &str, err: &str) {
        let have = (self.code, self.out.as_str(), self.err.as_str());
        assert_eq!(have, (code, out, err));
    }
}

/// Runs a client command against `agent`.
pub(crate) async fn ask(agent: &TestAgent, arguments: &str) -> Finished {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let mut command = command(program(), &arguments);
    command.env("CONSUL_HTTP_ADDR", agent.http_address().to_string());
    finish(command).await
}

/// Sends the signal `name` to the process `id`, which the test started.
pub(crate) async fn signal(id: u32, name: &str) {
    let mut kill = Command::new("kill");
    let status = kill.args(["-s", name, &id.to_string()]).status().await;
    assert!(status.unwrap().success());
}

pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_herald"))
}
