//! A DNS server for the peers and overload benches: `MODE ADDRESS:PORT WORKERS`, where the mode is
//!
//! - `herald`: the engine with the real answers, from a catalog of one service with one instance;
//! - `filled:SERVICES:INSTANCES`: the same with so many services of so many instances each, named
//!   `service-0`, `service-1` …;
//! - `identity`: the engine with a handler that only sets the response bit;
//! - `echo`: a plain receive and send for each datagram, one thread and socket for each worker.
//!
//! Prints `ready ADDRESS:PORT`, then `key=value` counts for every line `stats` of its input, and
//! ends with the input. A filled catalog also takes `fail` and `recover`: the first node's own
//! check turns critical and back; the answer says how long that took to be published.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use herald::catalog::{Command, Operation, Reader, Registration, Writer, open_server};
use herald::clock::monotonic;
use herald::dns::{
    self, Config, Freshness, Handle, Handler, Options, Received, Reply, Responder, Settings,
    Sources, StaticZones,
};
use herald::metrics::Metrics;
use herald::task::Tasks;
use herald::types::{Address, Meta, Node, Service, Status, Weights};
use prometheus_client::metrics::counter::Counter;
use socket2::{Domain, Socket, Type};

#[path = "../support/mod.rs"]
mod support;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sets the response bit, as little as an answer can be.
struct Identity;

impl Handler for Identity {
    fn handle(&mut self, received: &Received, buffer: &mut [u8]) -> Reply {
        match buffer.get_mut(2) {
            Some(flags) if *flags & 0x80 == 0 => {
                *flags |= 0x80;
                Reply::Send(received.length)
            }
            _ => Reply::Drop,
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, address, workers] = arguments.as_slice() else {
        say("usage: peers_server herald|identity|echo ADDRESS:PORT WORKERS");
        return Ok(());
    };
    let address: SocketAddr = address.parse().context("ADDRESS:PORT")?;
    let workers: NonZeroUsize = workers.parse().context("WORKERS")?;
    let config = Config {
        addresses: vec![address.ip()],
        port: address.port(),
        workers: Some(workers),
        ..Config::default()
    };
    let (metrics, tasks) = (Metrics::new(), Tasks::new());
    let mut writer = None;
    let zones = StaticZones::none();
    let handle = match mode.as_str() {
        "identity" => dns::start(&config, zones, || Identity, &metrics, &tasks)?,
        "herald" => {
            let sources = sources(catalog()?)?;
            let make = move || Responder::new(sources.clone());
            dns::start(&config, zones, make, &metrics, &tasks)?
        }
        "echo" => return echo(address, workers.get()),
        filled if filled.starts_with("filled:") => {
            let (filled, reader) = filled_catalog(filled)?;
            writer = Some(filled);
            let sources = sources(reader)?;
            let make = move || Responder::new(sources.clone());
            dns::start(&config, zones, make, &metrics, &tasks)?
        }
        other => bail!("unknown mode {other}"),
    };
    say(&format!("ready {}", handle.addresses()[0]));
    tokio::task::spawn_blocking(move || report(&handle, writer)).await?;
    tasks.stop(Duration::from_secs(2)).await;
    Ok(())
}

/// Answers commands until the input ends.
fn report(handle: &Handle, mut writer: Option<Writer>) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let status = match line.as_str() {
            "fail" => Some(Status::Critical),
            "recover" => Some(Status::Passing),
            _ => None,
        };
        if let (Some(status), Some(writer)) = (status, &mut writer) {
            let start = monotonic();
            support::apply(writer, [support::set_node_status(0, status)]);
            say(&format!("applied_us={}", start.elapsed().as_micros()));
        } else if line == "stats" {
            let totals = handle.totals();
            say(&format!(
                "received={} answered={} shed={} dropped={} refused={} kernel_dropped={} \
                 batches={}",
                totals.received,
                totals.answered,
                totals.shed,
                totals.dropped,
                totals.refused,
                totals.kernel_dropped,
                totals.batches,
            ));
        }
    }
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    // Whoever reads has gone: the input will end too.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn sources(catalog: Reader) -> anyhow::Result<Sources> {
    let mut options = Options::new("dc1".parse()?, "n1".parse()?);
    options.enable_additional_node_meta_txt = false;
    Ok(Sources {
        catalog,
        settings: Arc::new(ArcSwap::from_pointee(Settings::new(options)?)),
        freshness: Arc::new(Freshness::fresh()),
        unencodable: Counter::default(),
    })
}

/// A catalog as the mode `filled` describes it, on as many nodes as it has instances, 10,000 at
/// most.
///
/// With a fourth part there are so many nodes: `filled:1000:10:10` has 1,000 services on each.
fn filled_catalog(mode: &str) -> anyhow::Result<(Writer, Reader)> {
    let mut parts = mode.split(':').skip(1).map(str::parse::<usize>);
    let (Some(services), Some(instances)) = (parts.next(), parts.next()) else {
        bail!("filled:SERVICES:INSTANCES");
    };
    let (services, instances) = (services?, instances?);
    let (mut writer, reader) = open_server();
    let nodes = match parts.next() {
        Some(nodes) => nodes?,
        None => (services * instances).clamp(1, 10_000),
    };
    support::fill(&mut writer, nodes, services, instances);
    Ok((writer, reader))
}

/// A catalog with one instance of `web` on the node `n1`.
fn catalog() -> anyhow::Result<Reader> {
    let node = Node {
        id: None,
        name: "n1".parse()?,
        address: Address::from_text("10.0.0.1"),
        tagged_addresses: BTreeMap::new(),
        meta: Meta::default(),
    };
    let service = Service {
        id: "web".parse()?,
        name: "web".parse()?,
        tags: Arc::default(),
        address: Address::from_text(""),
        port: 8080,
        meta: Meta::default(),
        weights: Weights {
            passing: 1,
            warning: 1,
        },
        enable_tag_override: false,
        tagged_addresses: None,
    };
    let registration = Registration {
        node,
        skip_node_update: false,
        service: Some(service),
        checks: Vec::new(),
    };
    let operations = vec![Operation::Register(Box::new(registration))];
    let (mut writer, reader) = open_server();
    let index = writer.applied().next();
    writer.apply(vec![(
        index,
        Command {
            request: 0,
            operations,
        },
    )])?;
    Ok(reader)
}

fn echo(address: SocketAddr, workers: usize) -> anyhow::Result<()> {
    let mut address = address;
    for _ in 0..workers {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from(socket);
        address = socket.local_addr()?;
        std::thread::spawn(move || -> io::Result<()> {
            let mut buffer = vec![0; 65_535];
            loop {
                let (length, source) = socket.recv_from(&mut buffer)?;
                if let Some(octets) = buffer.get_mut(..length)
                    && let Some(flags) = octets.get_mut(2)
                {
                    *flags |= 0x80;
                    socket.send_to(octets, source)?;
                }
            }
        });
    }
    say(&format!("ready {address}"));
    for _ in io::stdin().lock().lines().map_while(Result::ok) {}
    Ok(())
}
