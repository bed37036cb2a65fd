//! The server under load: a process of its own that says what it counted.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, anyhow, bail};

/// The server's process.
pub(crate) struct Server {
    /// Where it answers.
    pub(crate) address: SocketAddr,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// One line of counts.
pub(crate) struct Stats(String);

impl Stats {
    pub(crate) fn get(&self, key: &str) -> u64 {
        let pairs = self
            .0
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='));
        let value = pairs
            .filter(|(name, _)| *name == key)
            .map(|(_, value)| value)
            .next();
        value
            .and_then(|value| value.parse().ok())
            .unwrap_or_default()
    }
}

impl Server {
    pub(crate) fn start(program: &str, arguments: &[String]) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| program.to_owned())?;
        let input = child.stdin.take().context("its input")?;
        let mut output = BufReader::new(child.stdout.take().context("its output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let Some(address) = line.strip_prefix("ready ") else {
            bail!("the server said {line:?} instead of ready");
        };
        let address = address.trim().parse()?;
        Ok(Self {
            address,
            child,
            input,
            output,
        })
    }

    pub(crate) fn stats(&mut self) -> anyhow::Result<Stats> {
        self.ask("stats")
    }

    /// Sends one line and reads the line that answers it.
    pub(crate) fn ask(&mut self, line: &str) -> anyhow::Result<Stats> {
        writeln!(self.input, "{line}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(Stats(line))
    }

    /// Resident memory in KiB.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let line = line.ok_or_else(|| anyhow!("no VmRSS"))?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    pub(crate) fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let status = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()?;
        if !status.success() {
            bail!("kill {signal} failed");
        }
        Ok(())
    }

    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        drop(self.input);
        self.child.wait()?;
        Ok(())
    }
}
