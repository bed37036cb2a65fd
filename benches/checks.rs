//! What ten thousand HTTP checks cost: CPU and memory of an agent that runs each every 10 s against
//! a server beside it, and how late the runs are.
//!
//! The agent is a process of its own. The server, in this process, notes when it is asked for which
//! check: every run of a check should come a whole number of intervals after the others, so what it
//! comes later than the earliest of them allows is its lateness, with the way to the server
//! included.
//!
//!     cargo bench --bench checks              10,000 checks, 60 s
//!     HERALD_BENCH_SMOKE=1                    500 checks every second, 5 s
//!     CONSUL=/path/to/consul                  the same with the reference as the agent

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use herald::client::http::HttpClient;
use herald::clock::monotonic;
use herald::task::Tasks;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[path = "support/mod.rs"]
mod support;

/// Checks that are registered together.
const BATCH: usize = 500;
/// Addresses of the server, so that connections do not run out of ports.
const ADDRESSES: u8 = 10;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nup";

/// What is measured.
struct Plan {
    checks: usize,
    interval: Duration,
    measured: Duration,
}

/// When each check was carried out.
type Arrivals = Arc<Mutex<Vec<Vec<Instant>>>>;

/// The agent under load; killed when it goes.
struct Agent {
    child: Child,
    client: HttpClient,
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() -> Result<()> {
    let plan = if support::is_smoke() {
        Plan {
            checks: 500,
            interval: Duration::from_secs(1),
            measured: Duration::from_secs(5),
        }
    } else {
        Plan {
            checks: 10_000,
            interval: Duration::from_secs(10),
            measured: Duration::from_secs(60),
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(measure(&plan))
}

async fn measure(plan: &Plan) -> Result<()> {
    let tasks = Tasks::new();
    let arrivals: Arrivals = Arc::new(Mutex::new(vec![Vec::new(); plan.checks]));
    let servers = serve(&tasks, &arrivals).await?;
    let agent = start_agent().await?;
    let idle = agent.memory()?;
    let began = monotonic();
    register(plan, &agent, &servers).await?;
    let registered = began.elapsed();
    // By then every check has run.
    tokio::time::sleep(plan.interval + Duration::from_secs(2)).await;
    lock(&arrivals).iter_mut().for_each(Vec::clear);
    let (cpu, began) = (agent.cpu()?, monotonic());
    tokio::time::sleep(plan.measured).await;
    let (cpu, elapsed) = (agent.cpu()?.saturating_sub(cpu), began.elapsed());
    let memory = agent.memory()?;
    let counted = agent.passing().await?;
    let arrivals = std::mem::take(&mut *lock(&arrivals));
    let figures = Figures {
        idle,
        memory,
        cpu,
        elapsed,
        registered,
        passing: counted,
    };
    say(&figures.table(plan, &arrivals)?);
    tasks.stop(Duration::from_secs(1)).await;
    Ok(())
}

fn lock(arrivals: &Arrivals) -> std::sync::MutexGuard<'_, Vec<Vec<Instant>>> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the server on all its addresses, which are returned.
async fn serve(tasks: &Tasks, arrivals: &Arrivals) -> Result<Vec<SocketAddr>> {
    let mut servers = Vec::new();
    for number in 1..=ADDRESSES {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 2, number), 0)).await?;
        servers.push(listener.local_addr()?);
        let (spawner, arrivals) = (tasks.clone(), Arc::clone(arrivals));
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let arrivals = Arc::clone(&arrivals);
                spawner.spawn(async move { drop(answer(stream, &arrivals).await) });
            }
        });
    }
    Ok(servers)
}

/// Answers one request, `GET /NUMBER`, and notes when it came.
async fn answer(mut stream: TcpStream, arrivals: &Arrivals) -> Result<()> {
    let mut octets = Vec::with_capacity(512);
    while !octets.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut octets).await? == 0 {
            bail!("the request breaks off");
        }
    }
    let now = monotonic();
    let text = String::from_utf8_lossy(&octets);
    let path = text.split(' ').nth(1).context("a path")?;
    let number: usize = path.trim_start_matches('/').parse()?;
    if let Some(of_check) = lock(arrivals).get_mut(number) {
        of_check.push(now);
    }
    stream.write_all(ANSWER).await?;
    stream.shutdown().await?;
    Ok(())
}

async fn start_agent() -> Result<Agent> {
    let free = StdListener::bind("127.0.0.1:0")?.local_addr()?;
    let reference = std::env::var_os("CONSUL").filter(|path| !path.is_empty());
    let program = reference.unwrap_or_else(|| env!("CARGO_BIN_EXE_herald").into());
    let child = Command::new(program)
        .args(["agent", "-dev", "-node", "bench", "-dns-port", "-1"])
        .args(["-http-port", &free.port().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let address = free.to_string().parse()?;
    let agent = Agent {
        child,
        client: HttpClient::new(address, None, Duration::from_secs(30)),
    };
    for _ in 0..200 {
        if agent.client.get::<Value>("/v1/status/leader").await.is_ok() {
            return Ok(agent);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the agent does not answer on {free}")
}

async fn register(plan: &Plan, agent: &Agent, servers: &[SocketAddr]) -> Result<()> {
    let numbers: Vec<usize> = (0..plan.checks).collect();
    for batch in numbers.chunks(BATCH) {
        let checks = batch.iter().zip(servers.iter().cycle());
        let interval = format!("{}s", plan.interval.as_secs());
        let checks: Vec<_> = checks
            .map(|(number, server)| {
                let url = format!("http://{server}/{number}");
                json!({"CheckID": format!("c{number}"), "HTTP": url, "Interval": interval})
            })
            .collect();
        let first = batch.first().context("no batch is empty")?;
        let name = format!("web-{first}");
        let service = json!({"Name": name, "Port": 80, "Checks": checks});
        let path = "/v1/agent/service/register";
        agent.client.put(path, &service).await?;
    }
    Ok(())
}

impl Agent {
    /// Resident memory in KiB.
    fn memory(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path)?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let text = line.context("no VmRSS")?.trim().trim_end_matches(" kB");
        Ok(text.parse()?)
    }

    /// User and system time of all threads so far. The kernel counts in hundredths of a second.
    fn cpu(&self) -> Result<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, rest) = text.rsplit_once(") ").context("no name")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let ticks = |at: usize| -> Result<u64> { Ok(fields.get(at).context("fields")?.parse()?) };
        Ok(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
    }

    /// Number of checks that pass.
    async fn passing(&self) -> Result<usize> {
        let checks: Value = self.client.get("/v1/agent/checks").await?;
        let checks = checks.as_object().context("checks are an object")?;
        let passes = |check: &&Value| {
            check
                .get("Status")
                .is_some_and(|status| status == "passing")
        };
        Ok(checks.values().filter(passes).count())
    }
}

struct Figures {
    idle: u64,
    memory: u64,
    cpu: Duration,
    elapsed: Duration,
    registered: Duration,
    passing: usize,
}

impl Figures {
    fn table(&self, plan: &Plan, arrivals: &[Vec<Instant>]) -> Result<String> {
        let late = lateness(arrivals, plan.interval);
        let runs = late.len();
        if runs == 0 || self.passing != plan.checks {
            let passing = self.passing;
            bail!("{runs} runs, {passing} of {} checks pass", plan.checks);
        }
        let at = |share: f64| {
            let place = (share * f64::from(u32::try_from(runs - 1).unwrap_or(u32::MAX))).round();
            let places = late.iter().enumerate();
            let found = places.take_while(|(number, _)| {
                f64::from(u32::try_from(*number).unwrap_or(u32::MAX)) <= place
            });
            found.last().map(|(_, late)| *late).unwrap_or_default()
        };
        let runs_counted = f64::from(u32::try_from(runs)?);
        let seconds = self.elapsed.as_secs_f64();
        let share = 100.0 * self.cpu.as_secs_f64() / seconds;
        let each = self.cpu.as_secs_f64() * 1e6 / runs_counted;
        let Plan {
            checks, interval, ..
        } = plan;
        let (idle, memory, registered) = (self.idle, self.memory, self.registered);
        let mut text =
            format!("\n| {checks} HTTP checks every {interval:?} | figure |\n|---|---|\n");
        write!(
            text,
            "| runs/s over {seconds:.0} s | {:.0} |\n\
             | CPU of the agent | {share:.1} % of a core |\n\
             | CPU per run | {each:.0} µs |\n\
             | RSS without checks, with them | {idle} KiB, {memory} KiB |\n\
             | lateness p50, p99, longest | {:.2?}, {:.2?}, {:.2?} |\n\
             | registration of all | {registered:.2?} |\n",
            runs_counted / seconds,
            at(0.5),
            at(0.99),
            at(1.0),
        )?;
        Ok(text)
    }
}

/// How late every run came, sorted.
fn lateness(arrivals: &[Vec<Instant>], interval: Duration) -> Vec<Duration> {
    let mut late = Vec::new();
    for of_check in arrivals {
        let Some(first) = of_check.first() else {
            continue;
        };
        // Seconds by which each run comes after, or before, its turn as the first one sets it.
        let shift = |at: &Instant| {
            let seconds = at.duration_since(*first).as_secs_f64();
            let interval = interval.as_secs_f64();
            seconds - (seconds / interval).round() * interval
        };
        let shifts: Vec<f64> = of_check.iter().map(shift).collect();
        let earliest = shifts.iter().copied().fold(f64::INFINITY, f64::min);
        late.extend(
            shifts
                .iter()
                .map(|shift| Duration::from_secs_f64((shift - earliest).max(0.0))),
        );
    }
    late.sort_unstable();
    late
}

fn say(text: &str) {
    // A closed output only ends the talk.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
