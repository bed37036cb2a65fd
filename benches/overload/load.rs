//! Load for the overload and peers benches.
//!
//! `closed SECONDS ADDRESS:PORT NAME TYPE` keeps a server busy that runs already, with a window of
//! queries in flight, and prints `answers=N`.
//!
//! `failure SECONDS SERVER [ARGUMENT …]` shows what a node that fails does to the latency of
//! others' queries: see `failure`.
//!
//! `SECONDS SERVER [ARGUMENT …]` starts the server (which prints `ready ADDRESS:PORT` and answers
//! `stats`), then
//! 1. measures its saturation with as many queries in flight as keep it busy;
//! 2. sends twice that rate for SECONDS, whether answered or not, and reconciles every query;
//! 3. sends half that rate while the server is stopped for 500 ms.
//!
//! Queries leave as segments of large datagrams (udp(7), `UDP_SEGMENT`), so that one core can send
//! more than another can answer. The time of each query is kept by socket and message id. It runs
//! from the return of the call that sent it to the kernel's stamp on the answer, so that this
//! program's own waits for a core, of which it takes all it gets, do not count as the server's.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "rates and shares are small and never negative"
)]

use std::io::{IoSlice, IoSliceMut, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, bail};
use herald::clock::{monotonic, since_epoch};
use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage,
    recvmmsg, sendmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use process::Server;

mod failure;
mod process;

/// Message ids wrap after 65,536 queries of a socket: with this many sockets, after seconds.
const SOCKETS: usize = 16;

/// Queries of one datagram.
const SEGMENTS: usize = 32;

/// Longest query.
const QUERY_OCTETS: usize = 64;

/// Datagrams of one receive.
const BATCH: usize = 64;

/// Queries in flight while saturation is measured.
const WINDOW: u64 = 1_024;

/// The same beside peers: what a socket holds whose buffer nobody has enlarged.
const SMALL_WINDOW: u64 = 200;

/// The deadline whose keeping is shown.
const DEADLINE: Duration = Duration::from_millis(100);

/// How long the server is stopped.
const PAUSE: Duration = Duration::from_millis(500);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (seconds, server, rest) = match arguments.as_slice() {
        [mode, seconds, address, name, record] if mode == "closed" => {
            return closed(seconds, address, query(name, record)?);
        }
        [mode, seconds, server, rest @ ..] if mode == "failure" => {
            return failure::run(seconds, server, rest);
        }
        [seconds, server, rest @ ..] => (seconds, server, rest),
        _ => {
            return say(
                "usage: overload_load closed SECONDS ADDRESS:PORT NAME TYPE \
                 | [failure] SECONDS SERVER ...",
            );
        }
    };
    let time = Duration::from_secs(seconds.parse().context("SECONDS")?);
    let mut server = Server::start(server, rest)?;
    let mut load = Load::new(server.address, query("web.service.consul", "SRV")?)?;
    let saturation = saturate(&mut load, time.min(Duration::from_secs(5)))?;
    say(&format!("saturation: {saturation:.0} answers/s"))?;
    overload(&mut server, &mut load, saturation, time)?;
    pause(&mut server, &mut load, saturation)?;
    server.stop()
}

fn closed(seconds: &str, address: &str, query: Vec<u8>) -> anyhow::Result<()> {
    let mut load = Load::new(address.parse().context("ADDRESS:PORT")?, query)?;
    let time = Duration::from_secs(seconds.parse().context("SECONDS")?);
    let seen = load.closed_loop(time, SMALL_WINDOW)?;
    let late = load.settle();
    say(&format!(
        "answers={} lost={}",
        seen.answers + late.answers,
        seen.sent - seen.answers - late.answers
    ))
}

/// Answers/s with a window of queries in flight.
fn saturate(load: &mut Load, time: Duration) -> anyhow::Result<f64> {
    // The first half warms up.
    load.closed_loop(time / 2, WINDOW)?;
    load.settle();
    let start = monotonic();
    let seen = load.closed_loop(time / 2, WINDOW)?;
    let rate = rate(seen.answers, start.elapsed());
    load.settle();
    Ok(rate)
}

fn overload(
    server: &mut Server,
    load: &mut Load,
    saturation: f64,
    time: Duration,
) -> anyhow::Result<()> {
    let (before, memory) = (server.stats()?, server.memory()?);
    let drops = load.drops()?;
    let start = monotonic();
    let mut seen = load.open_loop(2.0 * saturation, time)?;
    let goodput = rate(seen.answers, start.elapsed());
    let sent_rate = rate(seen.sent, start.elapsed());
    seen.add(&load.settle());
    let (after, memory_after) = (server.stats()?, server.memory()?);
    let drops = load.drops()? - drops;
    let count = |key: &str| after.get(key) - before.get(key);
    say(&format!(
        "\n| 2 x saturation for {} s | figure | bar |\n|---|---|---|",
        time.as_secs()
    ))?;
    say(&format!(
        "| offered | {sent_rate:.0}/s ({:.2} x) | 2 x |",
        sent_rate / saturation
    ))?;
    say(&format!(
        "| goodput | {goodput:.0}/s ({:.1} % of saturation) | >= 90 % |",
        100.0 * goodput / saturation
    ))?;
    say(&format!(
        "| p50 of answered | {:.2} ms | |",
        seen.quantile(0.50)
    ))?;
    say(&format!(
        "| p99 of answered | {:.2} ms | <= 10 ms |",
        seen.quantile(0.99)
    ))?;
    say(&format!("| longest | {:.2} ms | |", millis(seen.longest)))?;
    let sum = count("answered") + count("shed") + count("kernel_dropped");
    say(&format!(
        "| sent {} - answered {} - shed {} - kernel-dropped {} | {} | 0 |",
        seen.sent,
        count("answered"),
        count("shed"),
        count("kernel_dropped"),
        i128::from(seen.sent) - i128::from(sum)
    ))?;
    let lost = i128::from(count("answered")) - i128::from(seen.answers + drops);
    say(&format!(
        "| answers sent - seen here {} - dropped here {drops} | {lost} | 0 |",
        seen.answers
    ))?;
    say(&format!(
        "| RSS before, after | {memory} KiB, {memory_after} KiB | flat |"
    ))
}

fn pause(server: &mut Server, load: &mut Load, saturation: f64) -> anyhow::Result<()> {
    let before = server.stats()?;
    let mut seen = load.open_loop(saturation / 2.0, Duration::from_millis(500))?;
    server.signal("-STOP")?;
    let stopped = load.open_loop(saturation / 2.0, PAUSE);
    server.signal("-CONT")?;
    seen.add(&stopped?);
    seen.add(&load.open_loop(saturation / 2.0, Duration::from_secs(1))?);
    seen.add(&load.settle());
    let after = server.stats()?;
    let count = |key: &str| after.get(key) - before.get(key);
    say("\n| SIGSTOP for 500 ms at half of saturation | figure | bar |\n|---|---|---|")?;
    say(&format!(
        "| sent {}, answered {}, shed {}, kernel-dropped {} | | |",
        seen.sent,
        count("answered"),
        count("shed"),
        count("kernel_dropped")
    ))?;
    say(&format!(
        "| answered later than {} ms | {} | 0 |",
        DEADLINE.as_millis(),
        seen.later_than(DEADLINE)
    ))?;
    say(&format!("| longest | {:.2} ms | |", millis(seen.longest)))
}

/// What was sent and came back.
struct Seen {
    sent: u64,
    answers: u64,
    /// Answers by how long they took: a bucket for each 10 µs up to 1 s.
    times: Vec<u64>,
    longest: Duration,
}

impl Seen {
    fn new() -> Self {
        Self {
            sent: 0,
            answers: 0,
            times: vec![0; 100_000],
            longest: Duration::ZERO,
        }
    }

    fn note(&mut self, time: Duration) {
        let bucket = usize::try_from(time.as_micros() / 10).unwrap_or(usize::MAX);
        let last = self.times.len() - 1;
        self.times[bucket.min(last)] += 1;
        self.answers += 1;
        self.longest = self.longest.max(time);
    }

    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.answers += other.answers;
        self.longest = self.longest.max(other.longest);
        for (bucket, more) in self.times.iter_mut().zip(&other.times) {
            *bucket += more;
        }
    }

    /// In milliseconds.
    fn quantile(&self, quantile: f64) -> f64 {
        let wanted = (self.answers as f64 * quantile).ceil() as u64;
        let mut sum = 0;
        let bucket = self.times.iter().position(|count| {
            sum += count;
            sum >= wanted
        });
        bucket.map_or(f64::NAN, |bucket| (bucket + 1) as f64 / 100.0)
    }

    fn later_than(&self, limit: Duration) -> u64 {
        let bucket = usize::try_from(limit.as_micros() / 10).unwrap_or(usize::MAX);
        self.times.iter().skip(bucket + 1).sum()
    }
}

/// The client: sockets, and when each of their queries left.
struct Load {
    sockets: Vec<UdpSocket>,
    times: Vec<Vec<Duration>>,
    next: Vec<u16>,
    turn: usize,
    query: Vec<u8>,
    headers: MultiHeaders<SockaddrStorage>,
    buffers: Vec<[u8; 512]>,
}

impl Load {
    fn new(server: SocketAddr, query: Vec<u8>) -> anyhow::Result<Self> {
        let mut sockets = Vec::new();
        for _ in 0..SOCKETS {
            let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0))?;
            socket.connect(server)?;
            socket.set_nonblocking(true)?;
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
            let octets = 16 << 20;
            if setsockopt(&socket, sockopt::RcvBufForce, &octets).is_err() {
                setsockopt(&socket, sockopt::RcvBuf, &octets)?;
            }
            sockets.push(socket);
        }
        Ok(Self {
            sockets,
            times: vec![vec![Duration::ZERO; 65_536]; SOCKETS],
            next: vec![0; SOCKETS],
            turn: 0,
            query,
            headers: MultiHeaders::preallocate(BATCH, Some(cmsg_space!(TimeSpec))),
            buffers: vec![[0; 512]; BATCH],
        })
    }

    /// Keeps `window` queries in flight.
    fn closed_loop(&mut self, time: Duration, window: u64) -> anyhow::Result<Seen> {
        let start = monotonic();
        let mut seen = Seen::new();
        let mut progress = start;
        let mut flying = 0;
        while start.elapsed() < time {
            if flying + SEGMENTS as u64 <= window {
                flying += self.send(SEGMENTS, &mut seen)?;
            }
            let answers = self.receive(&mut seen);
            flying = flying.saturating_sub(answers);
            if answers > 0 {
                progress = monotonic();
            } else if progress.elapsed() > Duration::from_millis(200) {
                flying = 0; // lost ones do not count for ever
            }
        }
        Ok(seen)
    }

    /// Sends `rate` queries/s whatever comes back.
    fn open_loop(&mut self, rate: f64, time: Duration) -> anyhow::Result<Seen> {
        let start = monotonic();
        let mut seen = Seen::new();
        let mut turns = 0_u32;
        while start.elapsed() < time {
            let due = (start.elapsed().as_secs_f64() * rate) as u64;
            if due >= seen.sent + SEGMENTS as u64 {
                self.send(SEGMENTS, &mut seen)?;
                turns += 1;
            }
            // Receiving looks at every socket, so it is done for several sends.
            if turns >= 8 || due < seen.sent + SEGMENTS as u64 {
                turns = 0;
                self.receive(&mut seen);
            }
        }
        Ok(seen)
    }

    /// Receives until nothing has come for 300 ms.
    fn settle(&mut self) -> Seen {
        let mut seen = Seen::new();
        let mut last = monotonic();
        while last.elapsed() < Duration::from_millis(300) {
            if self.receive(&mut seen) > 0 {
                last = monotonic();
            }
        }
        seen
    }

    /// Sends `count` queries from the next socket.
    fn send(&mut self, count: usize, seen: &mut Seen) -> anyhow::Result<u64> {
        let socket = self.turn;
        self.turn = (self.turn + 1) % SOCKETS;
        let mut octets = [0_u8; SEGMENTS * QUERY_OCTETS];
        let length = self.query.len();
        let first = self.next[socket];
        for segment in octets.chunks_exact_mut(length).take(count) {
            segment.copy_from_slice(&self.query);
            segment[..2].copy_from_slice(&self.next[socket].to_be_bytes());
            self.next[socket] = self.next[socket].wrapping_add(1);
        }
        let size = u16::try_from(length)?;
        let slices = [IoSlice::new(&octets[..length * count])];
        let segments = [ControlMessage::UdpGsoSegments(&size)];
        let fd = self.sockets[socket].as_raw_fd();
        sendmsg::<SockaddrStorage>(fd, &slices, &segments, MsgFlags::empty(), None)?;
        let now = since_epoch();
        for offset in 0..u16::try_from(count)? {
            self.times[socket][usize::from(first.wrapping_add(offset))] = now;
        }
        seen.sent += count as u64;
        Ok(count as u64)
    }

    /// Takes what answers are there.
    fn receive(&mut self, seen: &mut Seen) -> u64 {
        let mut answers = 0;
        for (socket, times) in self.sockets.iter().zip(&self.times) {
            loop {
                let mut arrivals = [(0, Duration::ZERO); BATCH];
                let mut filled = 0;
                {
                    let slices = self
                        .buffers
                        .iter_mut()
                        .map(|buffer| [IoSliceMut::new(buffer)]);
                    let mut slices: Vec<_> = slices.collect();
                    let flags = MsgFlags::MSG_DONTWAIT;
                    let fd = socket.as_raw_fd();
                    let messages = recvmmsg(fd, &mut self.headers, slices.iter_mut(), flags, None);
                    for message in messages.into_iter().flatten() {
                        arrivals[filled] = (message.bytes, stamp(&message));
                        filled += 1;
                    }
                }
                for (buffer, (length, arrived)) in self.buffers.iter().zip(arrivals).take(filled) {
                    if length >= 12 && buffer[2] & 0x80 != 0 {
                        let id = u16::from_be_bytes([buffer[0], buffer[1]]);
                        seen.note(arrived.saturating_sub(times[usize::from(id)]));
                        answers += 1;
                    }
                }
                if filled < BATCH {
                    break;
                }
            }
        }
        answers
    }

    /// Answers that the kernel dropped before they were read here.
    fn drops(&self) -> anyhow::Result<u64> {
        let table = std::fs::read_to_string("/proc/net/udp")?;
        let mut sum = 0;
        for socket in &self.sockets {
            let port = format!(":{:04X}", socket.local_addr()?.port());
            for line in table.lines().filter(|line| {
                line.split_whitespace()
                    .nth(1)
                    .is_some_and(|local| local.ends_with(&port))
            }) {
                let drops = line.split_whitespace().last().context("drops")?;
                sum += drops.parse::<u64>()?;
            }
        }
        Ok(sum)
    }
}

/// When the kernel received it, since the epoch.
fn stamp(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Duration {
    let stamps = message.cmsgs().into_iter().flatten();
    let mut stamps = stamps.filter_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp.into()),
        _ => None,
    });
    stamps.next().unwrap_or_else(since_epoch)
}

/// A query without EDNS; room for its id comes first.
fn query(name: &str, record: &str) -> anyhow::Result<Vec<u8>> {
    let mut query = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.').chain([""]) {
        query.push(u8::try_from(label.len())?);
        query.extend_from_slice(label.as_bytes());
    }
    let record = match record {
        "A" => 1,
        "SRV" => 33,
        other => bail!("asks for A and SRV, not {other}"),
    };
    query.extend_from_slice(&[0, record, 0, 1]);
    if query.len() > QUERY_OCTETS {
        bail!(
            "a query of {} octets, at most {QUERY_OCTETS} are sent",
            query.len()
        );
    }
    Ok(query)
}

fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}
