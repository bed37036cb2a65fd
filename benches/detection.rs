//! How soon a killed agent is known to have failed: three herald agents beside three `serf` agents,
//! all with the timing for one datacenter, in the same rounds on one machine.
//!
//! Each round kills the third agent of either pool with `kill -9` and notes when the log of each
//! survivor says so; then it starts them again and waits until all see each other.
//!
//!     cargo bench --bench detection           20 rounds, about 4 minutes
//!     HERALD_BENCH_SMOKE=1                    1 round
//!     ROUNDS                                  another number of rounds
//!     SERF=/path/to/serf                      another peer than the one in PATH

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use herald::clock::monotonic;
use serde_json::json;

#[path = "support/mod.rs"]
mod support;

/// Agents of a pool; the last one is killed.
const AGENTS: usize = 3;
/// Longest wait for all agents to see each other, or for a death to be known.
const PATIENCE: Duration = Duration::from_secs(90);

/// Lines that may wait to be looked at.
const LINES_MAX: usize = 4_096;

/// One line of a log, and when it came.
struct Line {
    at: Instant,
    agent: usize,
    text: String,
}

/// Whose agents a pool has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Make {
    Herald,
    Serf,
}

impl Make {
    fn name(self) -> &'static str {
        match self {
            Self::Herald => "herald",
            Self::Serf => "serf",
        }
    }

    /// What a log says when the last agent is there, or has failed.
    fn marks(self) -> (&'static str, &'static str) {
        match self {
            Self::Herald => ("member joined: a3 ", "member failed: a3 "),
            Self::Serf => ("EventMemberJoin: a3", "EventMemberFailed: a3"),
        }
    }

    /// Group of addresses, `127.0.GROUP.N`.
    fn group(self) -> u8 {
        match self {
            Self::Herald => 51,
            Self::Serf => 52,
        }
    }
}

/// Agents of one make; killed when it goes.
struct Pool {
    make: Make,
    program: PathBuf,
    work: PathBuf,
    agents: Vec<Child>,
    lines: Receiver<Line>,
    sender: SyncSender<Line>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        for agent in &mut self.agents {
            // It may have ended already.
            let _ = agent.kill();
            let _ = agent.wait();
        }
        let _ = std::fs::remove_dir_all(&self.work);
    }
}

impl Pool {
    fn start(make: Make, program: &Path) -> Result<Self> {
        let name = format!("herald-detection-{}-{}", std::process::id(), make.name());
        let work = std::env::temp_dir().join(name);
        std::fs::create_dir(&work)?;
        let (sender, lines) = sync_channel(LINES_MAX);
        let mut pool = Self {
            make,
            program: program.to_owned(),
            work,
            agents: Vec::new(),
            lines,
            sender,
        };
        for agent in 0..AGENTS {
            let child = pool.spawn(agent)?;
            pool.agents.push(child);
            // The first must listen before others join it.
            std::thread::sleep(Duration::from_secs(1));
        }
        Ok(pool)
    }

    fn address(&self, agent: usize) -> String {
        format!("127.0.{}.{}", self.make.group(), agent + 1)
    }

    fn spawn(&self, agent: usize) -> Result<Child> {
        let (name, address) = (format!("a{}", agent + 1), self.address(agent));
        let mut command = Command::new(&self.program);
        match self.make {
            Make::Serf => {
                command
                    .args(["agent", &format!("-node={name}")])
                    .arg(format!("-bind={address}:8301"))
                    .arg(format!("-rpc-addr={address}:7373"));
                if agent > 0 {
                    command.arg(format!("-join={}:8301", self.address(0)));
                }
            }
            Make::Herald => {
                let file = self.work.join(format!("{name}.json"));
                let mut config = json!({
                    "node_name": name, "bind_addr": address, "client_addr": address,
                    "data_dir": self.work.join(&name), "ports": {"dns": -1, "serf_wan": -1},
                });
                if let Some(config) = config.as_object_mut() {
                    if agent == 0 {
                        config.insert("server".into(), json!(true));
                        config.insert("bootstrap_expect".into(), json!(1));
                    } else {
                        config.insert("start_join".into(), json!([self.address(0)]));
                    }
                }
                std::fs::write(&file, config.to_string())?;
                command.args(["agent", "-config-file"]).arg(file);
            }
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let out = child.stdout.take().context("the output is a pipe")?;
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            for text in BufReader::new(out).lines().map_while(Result::ok) {
                let at = monotonic();
                if sender.send(Line { at, agent, text }).is_err() {
                    return;
                }
            }
        });
        Ok(child)
    }

    /// Waits until both survivors have said `mark`; when each did.
    fn wait(&self, mark: &str) -> Result<[Instant; AGENTS - 1]> {
        let end = monotonic() + PATIENCE;
        let mut seen = [None; AGENTS - 1];
        loop {
            if let [Some(first), Some(second)] = seen {
                return Ok([first, second]);
            }
            let left = end.saturating_duration_since(monotonic());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.text.contains(mark) => {
                    if let Some(seen) = seen.get_mut(line.agent) {
                        seen.get_or_insert(line.at);
                    }
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    bail!("{}: no {mark:?} within {PATIENCE:?}", self.make.name());
                }
            }
        }
    }

    fn kill(&mut self) -> Result<Instant> {
        while self.lines.try_recv().is_ok() {}
        let last = self.agents.last_mut().context("there are agents")?;
        let at = monotonic();
        last.kill()?;
        last.wait()?;
        Ok(at)
    }

    fn restart(&mut self) -> Result<()> {
        let child = self.spawn(AGENTS - 1)?;
        *self.agents.last_mut().context("there are agents")? = child;
        Ok(())
    }
}

/// Times from the kill until the first, and until every survivor knew.
#[derive(Default)]
struct Times {
    first: Vec<Duration>,
    all: Vec<Duration>,
}

impl Times {
    fn row(&mut self, make: Make) -> String {
        let mut text = format!("| {} |", make.name());
        for times in [&mut self.first, &mut self.all] {
            times.sort_unstable();
            let middle = times.get(times.len() / 2).copied().unwrap_or_default();
            let least = times.first().copied().unwrap_or_default();
            let most = times.last().copied().unwrap_or_default();
            write!(text, " {middle:.2?} | {least:.2?} | {most:.2?} |")
                .expect("writing to a string does not fail");
        }
        text + "\n"
    }
}

fn main() -> Result<()> {
    let rounds = match std::env::var("ROUNDS") {
        Ok(text) => text.parse()?,
        Err(_) if support::is_smoke() => 1,
        Err(_) => 20,
    };
    let herald = PathBuf::from(env!("CARGO_BIN_EXE_herald"));
    let mut pools = vec![Pool::start(Make::Herald, &herald)?];
    match std::env::var_os("SERF").map_or_else(find_serf, |path| Some(path.into())) {
        Some(serf) => pools.push(Pool::start(Make::Serf, &serf)?),
        None => say("SKIPPED: the pool of serf agents: apt-get install serf\n"),
    }
    for pool in &pools {
        pool.wait(pool.make.marks().0)?;
    }
    let mut times: Vec<Times> = pools.iter().map(|_| Times::default()).collect();
    let mut spread = support::Spread::new();
    for _ in 0..rounds {
        // Not in step with the probes.
        let pause = 2_000 + u64::try_from(spread.below(1_000))?;
        std::thread::sleep(Duration::from_millis(pause));
        let killed: Vec<Instant> = pools.iter_mut().map(Pool::kill).collect::<Result<_>>()?;
        for ((pool, times), killed) in pools.iter().zip(&mut times).zip(killed) {
            let mut known = pool.wait(pool.make.marks().1)?;
            known.sort_unstable();
            let [first, all] = known.map(|at| at.duration_since(killed));
            times.first.push(first);
            times.all.push(all);
        }
        for pool in &mut pools {
            pool.restart()?;
        }
        for pool in &pools {
            pool.wait(pool.make.marks().0)?;
        }
    }
    let mut text = format!(
        "\n| {rounds} kills, {AGENTS} agents | first survivor knows: median | least | most | all \
         know: median | least | most |\n|---|---|---|---|---|---|---|\n"
    );
    for (pool, times) in pools.iter().zip(&mut times) {
        text += &times.row(pool.make);
    }
    if let [herald, serf] = times.as_slice() {
        let median = |times: &[Duration]| times.get(times.len() / 2).map(Duration::as_secs_f64);
        let ratio = median(&herald.all).zip(median(&serf.all));
        let (herald, serf) = ratio.context("there were rounds")?;
        writeln!(
            text,
            "\nherald / serf, median until all know: {:.2}",
            herald / serf
        )?;
    }
    say(&text);
    Ok(())
}

fn find_serf() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    let mut found = std::env::split_paths(&paths).map(|path| path.join("serf"));
    found.find(|path| path.is_file())
}

fn say(text: &str) {
    // A closed output only ends the talk.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
