//! Programs: an exit code of 0 is passing, 1 a warning, anything else critical.
//!
//! A program is the leader of a process group of its own, so that on time-out it can be ended with
//! everything it started. Output and errors share one pipe and are kept in the order in which they
//! were written; of what is written, however much, the end is kept. What the program leaves behind
//! may hold the pipe open: once the program itself has ended, nobody waits for more.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};

use super::tail::Tail;
use super::{Deadline, critical, report};
use crate::client::http::reason;
use crate::health::Report;
use crate::types::Status;

/// Octets read at a time.
const READ_OCTETS: usize = 8 * 1024;
/// Most octets that are still read once a program has ended: what a pipe may hold, with some to
/// spare.
const LEFT_OCTETS_MAX: usize = 1024 * 1024;
/// The program that asks the service manager.
const SERVICE_MANAGER: &str = "systemctl";

/// What became of a program.
struct Ended {
    /// `None` where it did not end in time.
    status: Option<ExitStatus>,
    output: String,
}

pub(super) async fn run(args: &[String], deadline: Deadline, octets_max: usize) -> Report {
    match carry_out(args, deadline, octets_max).await {
        Ok(Ended { status: None, .. }) => critical(late(deadline)),
        Ok(Ended {
            status: Some(status),
            output,
        }) => judge(status, output),
        Err(error) => critical(error),
    }
}

/// State of a service of the operating system, as its manager tells it.
pub(super) async fn run_os_service(name: &str, deadline: Deadline, octets_max: usize) -> Report {
    let args = [SERVICE_MANAGER, "is-active", "--", name].map(str::to_owned);
    match carry_out(&args, deadline, octets_max).await {
        Ok(Ended { status: None, .. }) => critical(late(deadline)),
        Ok(Ended {
            status: Some(status),
            output,
        }) => {
            let said = output.trim();
            if status.success() {
                report(
                    Status::Passing,
                    format!("Service {name:?} is healthy: {said}"),
                )
            } else {
                critical(format!("service {name:?} is not healthy: {said}"))
            }
        }
        Err(error) => critical(format!(
            "no service manager to ask about service {name:?}: {error}"
        )),
    }
}

fn late(deadline: Deadline) -> String {
    format!("Timed out ({:?}) running check", deadline.limit)
}

fn judge(status: ExitStatus, output: String) -> Report {
    let code = status.code();
    let output = match status.signal() {
        Some(signal) if output.is_empty() => format!("ended by signal {signal}"),
        _ => output,
    };
    report(judge_code(code.map(i64::from)), output)
}

/// What an exit code means; without one, a signal ended the program.
pub(super) fn judge_code(code: Option<i64>) -> Status {
    match code {
        Some(0) => Status::Passing,
        Some(1) => Status::Warning,
        _ => Status::Critical,
    }
}

async fn carry_out(
    args: &[String],
    deadline: Deadline,
    octets_max: usize,
) -> Result<Ended, String> {
    let (mut program, mut pipe) = start(args)?;
    let mut tail = Tail::new(octets_max);
    let end = deadline.within(watch(&mut program.child, &mut pipe, &mut tail));
    let Some(ended) = end.await else {
        // Dropping the program ends it whole.
        return Ok(Ended {
            status: None,
            output: String::new(),
        });
    };
    let status = ended.map_err(|error| format!("cannot wait for the program: {error}"))?;
    program.has_ended = true;
    read_left(&pipe, &mut tail);
    Ok(Ended {
        status: Some(status),
        output: tail.into_text(),
    })
}

/// Starts a program whose output and errors come through one pipe.
fn start(args: &[String]) -> Result<(Program, Receiver), String> {
    let [name, rest @ ..] = args else {
        return Err("no program is given".to_owned());
    };
    let failed = |error: io::Error| {
        let missing = error.kind() == io::ErrorKind::NotFound && !name.contains('/');
        if missing {
            format!("exec: {name:?}: executable file not found in $PATH")
        } else {
            let reason = reason(&error);
            let reason = reason.strip_prefix("connect: ").unwrap_or(&reason);
            format!("fork/exec {name}: {reason}")
        }
    };
    let (read, write) = io::pipe().map_err(failed)?;
    let pipe = Receiver::from_owned_fd(read.into()).map_err(failed)?;
    let child = Command::new(name)
        .args(rest)
        .stdin(Stdio::null())
        .stderr(write.try_clone().map_err(failed)?)
        .stdout(write)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    // The command is gone by now, and with it this process's ends for writing.
    let program = Program {
        child,
        has_ended: false,
    };
    Ok((program, pipe))
}

/// Reads along until the program ends. Once nothing holds the pipe open, only its end counts.
async fn watch(child: &mut Child, pipe: &mut Receiver, tail: &mut Tail) -> io::Result<ExitStatus> {
    let mut buffer = vec![0; READ_OCTETS];
    let mut open = true;
    loop {
        tokio::select! {
            ended = child.wait() => return ended,
            read = pipe.read(&mut buffer), if open => match read {
                Ok(0) | Err(_) => open = false,
                Ok(octets) => tail.push(buffer.get(..octets).unwrap_or_default()),
            },
        }
    }
}

/// Reads what the program had written before it ended.
fn read_left(pipe: &Receiver, tail: &mut Tail) {
    let mut buffer = vec![0; READ_OCTETS];
    for _ in 0..LEFT_OCTETS_MAX / READ_OCTETS {
        match pipe.try_read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(octets) => tail.push(buffer.get(..octets).unwrap_or_default()),
        }
    }
}

/// A running program. Dropped before it has ended, it is killed with all of its group.
struct Program {
    child: Child,
    has_ended: bool,
}

impl Drop for Program {
    fn drop(&mut self) {
        // Nobody has waited for the leader yet, so its number still belongs to its group.
        let group = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = group.filter(|_| !self.has_ended) {
            // It fails only where the whole group has ended by itself.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}
