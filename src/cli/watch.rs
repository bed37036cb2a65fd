//! `herald watch`: shows a view of the catalog once, or runs a program at each change of it.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::value::RawValue;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::connection::{Connection, ServerRead, with_query};
use super::interruption::Interruption;
use super::text::escape;
use super::{Exit, block_on, flags, print};
use crate::client::http::{HttpClient, RequestError, encode};

/// How long an agent may hold back an answer.
const WAIT: Duration = Duration::from_secs(300);
/// How much longer an answer may take: agents add a sixteenth, networks some.
const GRACE: Duration = Duration::from_secs(30);
/// Pause after the first failed read; it doubles with each further one.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long a program that still runs may go on after the watch was interrupted.
const PROGRAM_END: Duration = Duration::from_secs(5);

/// Shows services, nodes or checks as JSON; or, if a program is given, runs it now and at each
/// change with the JSON on its standard input and the index in `CONSUL_INDEX`.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    read: ServerRead,
    /// Of a service, only instances with all checks passing: true or false.
    #[arg(long, value_name = "boolean")]
    passingonly: Option<String>,
    /// Service to watch; needed for the type service, possible for checks.
    #[arg(long, value_name = "name")]
    service: Option<String>,
    /// Run the program through a shell; -shell=false runs it itself.
    #[arg(long, num_args = 0..=1, default_value_t = true)]
    shell: bool,
    /// Of checks, only those in this state: passing, warning, critical or any.
    #[arg(long, value_name = "state")]
    state: Option<String>,
    /// Of a service, only instances with this tag; may be repeated.
    #[arg(long, value_name = "tag")]
    tag: Vec<String>,
    /// What to watch: services, service, nodes or checks.
    #[arg(long = "type", value_name = "type")]
    kind: Option<String>,
    /// Program to run at each change, with its arguments.
    #[arg(trailing_var_arg = true, value_hint = clap::ValueHint::CommandWithArguments)]
    program: Vec<String>,
}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let options: Options = flags::parse("watch", arguments)?;
    let path = options.path()?;
    let client = options.connection.client()?;
    if options.program.is_empty() {
        let path = format!("{path}{}pretty", joint(&path));
        let view: Box<RawValue> = block_on(client.get(&path))?.context("Error querying agent")?;
        print(&format!("{view}\n"));
        return Ok(());
    }
    let view = View {
        client: client.with_limit(WAIT + GRACE),
        path,
        index: 0,
        last: None,
    };
    let program = Program {
        words: options.program,
        shell: options.shell,
    };
    block_on(follow(view, &program))??;
    Ok(())
}

impl Options {
    /// What to ask for, with its query.
    fn path(&self) -> Result<String> {
        let mut parameters = self.read.parameters();
        let kind = self.kind.as_deref();
        let kind = kind.context("-type is missing: services, service, nodes or checks")?;
        self.refuse_foreign_flags(kind)?;
        let path = match kind {
            "services" => "/v1/catalog/services".to_owned(),
            "nodes" => "/v1/catalog/nodes".to_owned(),
            "service" => {
                let name = self.service.as_deref();
                let name = name.context("-type=service needs -service")?;
                let tags = self.tag.iter();
                parameters.extend(tags.map(|tag| format!("tag={}", encode(tag))));
                if self.passing_only()? {
                    parameters.push("passing=1".to_owned());
                }
                format!("/v1/health/service/{}", encode(name))
            }
            "checks" => match (&self.service, &self.state) {
                (Some(_), Some(_)) => bail!("-type=checks takes -service or -state, not both"),
                (Some(name), None) => format!("/v1/health/checks/{}", encode(name)),
                (None, state) => state_path(state.as_deref().unwrap_or("any"))?,
            },
            "key" | "keyprefix" => bail!("-type={kind} is not offered: herald stores no keys"),
            "event" => bail!("-type=event is not there yet: it comes with user events"),
            _ => bail!("-type={kind}: expected services, service, nodes or checks"),
        };
        Ok(with_query(&path, &parameters))
    }

    fn passing_only(&self) -> Result<bool> {
        let Some(text) = &self.passingonly else {
            return Ok(false);
        };
        flags::truth(text).with_context(|| format!("-passingonly={text}: expected true or false"))
    }

    /// A condition that would be left out of the question must not look as if it were met.
    fn refuse_foreign_flags(&self, kind: &str) -> Result<()> {
        let given = [
            ("-passingonly", self.passingonly.is_some(), &["service"][..]),
            ("-service", self.service.is_some(), &["service", "checks"]),
            ("-state", self.state.is_some(), &["checks"]),
            ("-tag", !self.tag.is_empty(), &["service"]),
        ];
        for (flag, given, kinds) in given {
            if given && !kinds.contains(&kind) {
                bail!(
                    "{flag} is not for -type={kind}, only for {}",
                    kinds.join(" and ")
                );
            }
        }
        Ok(())
    }
}

fn state_path(state: &str) -> Result<String> {
    if !["any", "passing", "warning", "critical"].contains(&state) {
        bail!("-state={state}: expected passing, warning, critical or any");
    }
    Ok(format!("/v1/health/state/{state}"))
}

/// What stands between `path` and a further parameter.
fn joint(path: &str) -> char {
    if path.contains('?') { '&' } else { '?' }
}

/// A view of the catalog that is read again and again.
struct View {
    client: HttpClient,
    path: String,
    /// Index of the last answer; 0 before the first and after an index that went back.
    index: u64,
    last: Option<String>,
}

impl View {
    /// Reads, blocking if there was an answer before. The content and its index, unless nothing
    /// changed.
    async fn read(&mut self) -> Result<Option<(u64, String)>, ReadError> {
        let path = match self.index {
            0 => self.path.clone(),
            index => {
                let (path, wait) = (&self.path, WAIT.as_secs());
                format!("{path}{}index={index}&wait={wait}s", joint(path))
            }
        };
        let (headers, content) = self.client.read::<Box<RawValue>>(&path).await?;
        let index = headers.get("x-consul-index");
        let index = index.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let index = index.ok_or(ReadError::Index)?;
        let changed = index != self.index && self.last.as_deref() != Some(content.get());
        // An index that went back belongs to another history: begin again.
        self.index = if index < self.index { 0 } else { index.max(1) };
        if !changed {
            return Ok(None);
        }
        self.last = Some(content.get().to_owned());
        Ok(Some((index, content.get().to_owned())))
    }
}

/// Why a view could not be read. Reading again is safe.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("the answer has no X-Consul-Index")]
    Index,
}

/// How long to pause after so many failures in a row.
fn pause(failures: u32) -> Duration {
    let doubled = 1_u32
        .checked_shl(failures.saturating_sub(1))
        .unwrap_or(u32::MAX);
    PAUSE.saturating_mul(doubled).min(PAUSE_MAX)
}

/// Runs `program` with the view now and at each change, until it fails or the watch is interrupted.
async fn follow(mut view: View, program: &Program) -> Result<()> {
    let mut interruption = Interruption::listen()?;
    let mut answered = false;
    let mut failures = 0;
    loop {
        let read = tokio::select! {
            read = view.read() => read,
            () = interruption.wait() => return Ok(()),
        };
        match read {
            Ok(changed) => {
                (answered, failures) = (true, 0);
                if let Some((index, content)) = changed
                    && !program.run(index, &content, &mut interruption).await?
                {
                    return Ok(());
                }
            }
            Err(error) if !answered => return Err(anyhow!(error).context("Error querying agent")),
            Err(error) => {
                failures += 1;
                let pause = pause(failures);
                let error = error.to_string();
                let error = escape(&error);
                eprintln!("Error querying agent: {error}; trying again in {pause:?}");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = interruption.wait() => return Ok(()),
                }
            }
        }
    }
}

/// The program to run, as typed.
struct Program {
    words: Vec<String>,
    shell: bool,
}

impl Program {
    /// Runs it to its end with `content` on its standard input. `false` if the watch was
    /// interrupted meanwhile: the program then gets a little time before it is killed.
    async fn run(
        &self,
        index: u64,
        content: &str,
        interruption: &mut Interruption,
    ) -> Result<bool> {
        let mut child = self
            .command()
            .env("CONSUL_INDEX", index.to_string())
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("Error executing handler {:?}", self.words.join(" ")))?;
        let mut input = child
            .stdin
            .take()
            .context("the handler has no standard input")?;
        let work = async {
            let line = one_line(content) + "\n";
            // A program that does not read its input is not at fault.
            drop(input.write_all(line.as_bytes()).await);
            drop(input);
            child.wait().await
        };
        tokio::pin!(work);
        let status = tokio::select! {
            status = &mut work => status,
            () = interruption.wait() => {
                drop(tokio::time::timeout(PROGRAM_END, work).await);
                return Ok(false);
            }
        };
        check(status.context("Error executing handler")?)?;
        Ok(true)
    }

    fn command(&self) -> Command {
        if !self.shell {
            let (program, arguments) = self.words.split_first().expect("there is a program");
            let mut command = Command::new(program);
            command.args(arguments);
            return command;
        }
        let shell = std::env::var("SHELL")
            .ok()
            .filter(|shell| !shell.is_empty());
        let mut command = Command::new(shell.as_deref().unwrap_or("/bin/sh"));
        command.arg("-c").arg(self.words.join(" "));
        command
    }
}

/// JSON without blanks between its parts: programs read it by the line, and an agent in development
/// mode breaks its answers into many.
fn one_line(json: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    json.chars()
        .filter(|letter| {
            let kept = quoted || !letter.is_ascii_whitespace();
            quoted ^= *letter == '"' && !escaped;
            escaped = *letter == '\\' && !escaped;
            kept
        })
        .collect()
}

fn check(status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("Error executing handler: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(line: &str) -> Result<String, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let options: Options = flags::parse("watch", &arguments).unwrap();
        options.path().map_err(|error| error.to_string())
    }

    #[test]
    fn types_and_conditions_become_reads() {
        for (line, expected) in [
            ("-type services", "/v1/catalog/services"),
            ("-type=nodes -stale", "/v1/catalog/nodes?stale="),
            (
                "-type service -service a/b -tag x -tag y -passingonly true -datacenter dc2",
                "/v1/health/service/a%2Fb?dc=dc2&tag=x&tag=y&passing=1",
            ),
            (
                "-type service -service web -passingonly=false",
                "/v1/health/service/web",
            ),
            ("-type checks", "/v1/health/state/any"),
            ("-type checks -state critical", "/v1/health/state/critical"),
            ("-type checks -service web", "/v1/health/checks/web"),
        ] {
            assert_eq!(path(line).as_deref(), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_watched_is_refused_with_the_reason() {
        for (line, part) in [
            ("", "-type is missing"),
            ("-type x", "expected services, service, nodes or checks"),
            ("-type key", "stores no keys"),
            ("-type event", "not there yet"),
            ("-type service", "needs -service"),
            (
                "-type nodes -tag x",
                "-tag is not for -type=nodes, only for service",
            ),
            ("-type services -service x", "only for service and checks"),
            ("-type checks -service x -state any", "not both"),
            ("-type checks -state bad", "expected passing, warning"),
            (
                "-type service -service x -passingonly maybe",
                "expected true or false",
            ),
        ] {
            let refused = path(line).unwrap_err();
            assert!(refused.contains(part), "{line}: {refused}");
        }
    }

    #[test]
    fn a_program_is_given_one_line() {
        let json = "{\n  \"a b\": [1,\n 2], \"c\\\\\": \"x \\\" y\"\n}";
        assert_eq!(one_line(json), "{\"a b\":[1,2],\"c\\\\\":\"x \\\" y\"}");
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let seconds = [1, 2, 6, 7, 100].map(|failures| pause(failures).as_secs());
        assert_eq!(seconds, [1, 2, 32, 60, 60]);
    }
}
