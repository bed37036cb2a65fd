//! Registers, deregisters and reads at all servers while servers are killed, stopped, ended and
//! started again: what clients saw must have an order (linearizability).
//!
//! The choices of clients and faults come from a seed, which is printed; how they fall together does
//! not, so the same seed makes a similar run, not the same. To repeat one, or for a long one:
//!
//! ```text
//! HERALD_HISTORY_SEED=7 HERALD_HISTORY_SECONDS=600 \
//!     cargo test --test suite -- --nocapture cluster::history::reads_and_changes
//! ```

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use herald::client::http::{HttpClient, RequestError};
use herald::clock;
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::support::cluster::{Server, TestCluster, within};
use crate::support::history::{
    Counts, Ending, History, Keys, Operation, assert_linearizable, client,
};

/// How many keys are in use at a time, and how many clients each has.
const KEYS: usize = 4;
const CLIENTS: usize = 4;
/// How long most clients wait: more than a server holds a request while nobody leads.
const PATIENT: Duration = Duration::from_secs(5);
/// How long the others do; what they asked for goes on without them.
const IMPATIENT: Duration = Duration::from_millis(300);

/// Carries an operation out at the server at `ip`.
async fn ask(ip: Ipv4Addr, limit: Duration, key: &str, operation: Operation) -> Ending {
    let address = SocketAddr::from((ip, 8500)).to_string();
    let http = HttpClient::new(address.parse().unwrap(), None, limit);
    let changed = match operation {
        Operation::Register(port) => {
            let body = json!({"Node": key, "Address": "10.0.0.1",
                "Service": {"ID": key, "Service": key, "Port": port}});
            http.put("/v1/catalog/register", &body).await
        }
        Operation::Deregister => {
            let body = json!({"Node": key, "ServiceID": key});
            http.put("/v1/catalog/deregister", &body).await
        }
        Operation::Read => return read(&http, key, "?consistent").await,
        Operation::ReadLeased => return read(&http, key, "").await,
    };
    match changed {
        Ok(_) => Ending::Done,
        Err(RequestError::Connect { .. }) => Ending::Nothing,
        Err(RequestError::Status { status, text }) => match (status.as_u16(), &*text) {
            (500, "No cluster leader") | (429, _) => Ending::Nothing,
            (500, text) if text.starts_with("write may have been stored") => Ending::Unknown,
            (status, text) => panic!("{operation:?} is answered with {status}: {text}"),
        },
        Err(_) => Ending::Unknown,
    }
}

async fn read(http: &HttpClient, key: &str, how: &str) -> Ending {
    let path = format!("/v1/catalog/service/{key}{how}");
    let instances: Vec<Value> = match http.get(&path).await {
        Ok(instances) => instances,
        Err(_) => return Ending::Unknown,
    };
    assert!(instances.len() <= 1, "{instances:?}");
    Ending::Saw(instances.first().map(|instance| {
        let port = instance["ServicePort"].as_u64().unwrap();
        u16::try_from(port).unwrap()
    }))
}

/// One fault after the other, and how often each was.
struct Faults {
    random: StdRng,
    counts: BTreeMap<&'static str, usize>,
}

impl Faults {
    async fn pause(&mut self, milliseconds: std::ops::Range<u64>) {
        let pause = self.random.random_range(milliseconds);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    /// Does something to the leader or, before the last fault is over, to any server.
    async fn next(&mut self, cluster: &mut TestCluster) {
        let (whose, place) = if self.random.random_range(0..3) > 0 {
            ("the leader", cluster.elects().await)
        } else {
            (
                "a server",
                self.random.random_range(0..cluster.servers.len()),
            )
        };
        let server = &mut cluster.servers[place];
        let what = match (self.random.random_range(0..7), whose) {
            (0..2, _) => {
                server.kill();
                self.pause(0..1_500).await;
                server.start();
                "killed"
            }
            (2..4, _) => {
                server.signal(Signal::SIGSTOP);
                self.pause(1_000..2_000).await;
                server.signal(Signal::SIGCONT);
                "stopped"
            }
            (4..6, _) => {
                server.terminate().await;
                self.pause(0..1_000).await;
                server.start();
                "ended"
            }
            _ => {
                cluster.servers.iter_mut().for_each(Server::kill);
                cluster.servers.iter_mut().for_each(Server::start);
                "killed with all others"
            }
        };
        let name = match (what, whose) {
            ("killed", "the leader") => "the leader killed",
            ("stopped", "the leader") => "the leader stopped",
            ("ended", "the leader") => "the leader ended",
            ("killed", _) => "a server killed",
            ("stopped", _) => "a server stopped",
            ("ended", _) => "a server ended",
            _ => "all killed",
        };
        *self.counts.entry(name).or_default() += 1;
        self.pause(100..1_000).await;
    }
}

/// A figure from the environment.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("it is a number"))
}

/// Clients of all servers until `faults` have been going on for `length`.
async fn run(cluster: &mut TestCluster, seed: u64, length: Duration, keys: &[Keys]) -> Faults {
    let ips: Vec<_> = cluster.servers.iter().map(|server| server.ip).collect();
    let running = Cell::new(true);
    let clients = (0..keys.len() * CLIENTS).map(|number| {
        let random = StdRng::seed_from_u64(seed.wrapping_add(1 + number as u64));
        let carry_out = async |random: &mut StdRng, key: &str, operation| {
            let ip = ips[random.random_range(0..ips.len())];
            let limit = match random.random_range(0..10) {
                0 => IMPATIENT,
                _ => PATIENT,
            };
            let pause = Duration::from_millis(random.random_range(0..50));
            tokio::time::sleep(pause).await;
            ask(ip, limit, key, operation).await
        };
        let keys = &keys[number % keys.len()];
        client(number, keys, random, || running.get(), carry_out)
    });
    let mut faults = Faults {
        random: StdRng::seed_from_u64(seed),
        counts: BTreeMap::new(),
    };
    let disturb = async {
        let until = clock::now() + length;
        while clock::now() < until {
            faults.next(cluster).await;
        }
        // What is under way ends while all is well again.
        cluster.elects().await;
        running.set(false);
    };
    tokio::join!(disturb, join_all(clients));
    faults
}

/// Reads each key once more, at servers in turn: nothing that was decided goes later.
async fn read_all(cluster: &TestCluster, keys: &[Keys]) {
    let all = keys.iter().flat_map(Keys::all);
    for (place, (key, history)) in all.enumerate() {
        let server = &cluster.servers[place % cluster.servers.len()];
        within(async || {
            let number = history.called(Operation::Read, usize::MAX);
            let ending = ask(server.ip, PATIENT, &key, Operation::Read).await;
            history.ended(number, ending);
            ending != Ending::Unknown
        })
        .await;
    }
}

#[tokio::test]
async fn reads_and_changes_have_an_order_whatever_happens_to_servers() {
    let seed = setting("HERALD_HISTORY_SEED").unwrap_or_else(|| rand::random::<u32>().into());
    let seconds = setting("HERALD_HISTORY_SECONDS").unwrap_or(12);
    eprintln!("HERALD_HISTORY_SEED={seed} HERALD_HISTORY_SECONDS={seconds}");
    let mut cluster = TestCluster::start(71, 3).await;
    let keys: Vec<_> = (0..KEYS)
        .map(|number| Keys::new(&format!("key{number}")))
        .collect();
    let length = Duration::from_secs(seconds);
    let faults = run(&mut cluster, seed, length, &keys).await;
    read_all(&cluster, &keys).await;
    let counts: Counts = assert_linearizable(&keys);
    eprintln!("{counts:?}\n{:?}", faults.counts);
    for server in &cluster.servers {
        eprintln!("{}: {:?}", server.name, server.digest().await);
    }
    cluster.same_catalogs().await;
    assert!(!faults.counts.is_empty());
    assert!(counts.changes > 0 && counts.reads > 0 && counts.leased > 0);
}

#[tokio::test]
async fn a_read_that_may_be_stale_is_found_to_be() {
    let mut cluster = TestCluster::start(72, 3).await;
    let leader = cluster.elects().await;
    let alone = (leader + 1) % 3;
    let (key, consistent, stale) = ("key", History::default(), History::default());
    let record = async |server: &Server, operation| {
        within(async || {
            let numbers = [&consistent, &stale].map(|history| history.called(operation, 0));
            let ending = ask(server.ip, PATIENT, key, operation).await;
            consistent.ended(numbers[0], ending);
            stale.ended(numbers[1], ending);
            ending == Ending::Done
        })
        .await;
    };
    record(&cluster.servers[leader], Operation::Register(1)).await;
    // With the next entry each server keeps that the one before is decided.
    let later = cluster.servers[leader].register("later", Ipv4Addr::LOCALHOST);
    later.await.unwrap();
    cluster.same_catalogs().await;
    cluster.servers[alone].kill();
    record(&cluster.servers[leader], Operation::Register(2)).await;
    cluster
        .servers
        .iter_mut()
        .filter(|it| it.runs())
        .for_each(Server::kill);
    cluster.servers[alone].start();
    let address = SocketAddr::from((cluster.servers[alone].ip, 8500)).to_string();
    let http = HttpClient::new(address.parse().unwrap(), None, PATIENT);
    let number = stale.called(Operation::Read, 1);
    within(async || {
        let seen = read(&http, key, "?stale").await;
        if seen != Ending::Unknown {
            stale.ended(number, seen);
        }
        seen != Ending::Unknown
    })
    .await;
    let number = consistent.called(Operation::Read, 1);
    consistent.ended(number, read(&http, key, "?consistent").await);
    consistent.check(true).unwrap();
    let violation = stale.check(true).unwrap_err().to_string();
    assert!(violation.contains("Saw(Some(1))"), "{violation}");
}

/// A history from operations with where they begin and end.
fn history<const N: usize>(operations: [(Operation, Ending, u32, u32); N]) -> History {
    let history = History::default();
    let mut numbers = [0; N];
    for instant in 0..20 {
        for (place, (operation, ending, begin, end)) in operations.iter().enumerate() {
            if *begin == instant {
                numbers[place] = history.called(*operation, place);
            }
            if *end == instant {
                history.ended(numbers[place], *ending);
            }
        }
    }
    history
}

#[test]
fn what_has_an_order_is_accepted() {
    use {Ending::*, Operation::*};
    // In the opposite order to that in which they begin.
    let reversed = history([
        (Register(1), Done, 0, 9),
        (Register(2), Done, 1, 10),
        (Read, Saw(Some(2)), 2, 3),
        (Read, Saw(Some(1)), 4, 5),
    ]);
    reversed.check(true).unwrap();
    // What nobody knows the fate of may be done late, or never.
    let late = history([
        (Register(1), Unknown, 0, 1),
        (Register(2), Done, 2, 3),
        (Read, Saw(Some(2)), 4, 5),
        (Read, Saw(Some(1)), 6, 7),
        (Deregister, Unknown, 8, 9),
        (Read, Saw(Some(1)), 10, 11),
    ]);
    late.check(true).unwrap();
    History::default().check(true).unwrap();
}

#[test]
fn what_has_no_order_is_rejected() {
    use {Ending::*, Operation::*};
    let lost = history([(Register(1), Done, 0, 1), (Read, Saw(None), 2, 3)]);
    let back = history([
        (Register(1), Done, 0, 1),
        (Register(2), Done, 2, 9),
        (Read, Saw(Some(2)), 3, 4),
        (Read, Saw(Some(1)), 5, 6),
    ]);
    let refused = history([(Register(1), Nothing, 0, 1), (Read, Saw(Some(1)), 2, 3)]);
    let twice = history([
        (Register(1), Done, 0, 9),
        (Read, Saw(Some(1)), 1, 2),
        (Deregister, Done, 3, 4),
        (Read, Saw(Some(1)), 5, 6),
    ]);
    for wrong in [lost, back, refused, twice] {
        wrong.check(true).unwrap_err();
    }
}

#[test]
fn leased_reads_can_be_left_out_and_a_rejection_shows_what_it_takes() {
    use {Ending::*, Operation::*};
    let history = history([
        (Register(1), Done, 0, 1),
        (Read, Saw(Some(1)), 2, 3),
        (Register(2), Done, 4, 5),
        (ReadLeased, Saw(Some(1)), 6, 7),
        (Deregister, Done, 8, 9),
    ]);
    history.check(false).unwrap();
    let shown = history.check(true).unwrap_err().to_string();
    let expected = "   0 client 0 calls Register(1) (#0)\n   \
                    1          #0 ends: Done\n   \
                    4 client 2 calls Register(2) (#4)\n   \
                    5          #4 ends: Done\n   \
                    6 client 3 calls ReadLeased (#6)\n   \
                    7          #6 ends: Saw(Some(1))\n";
    assert_eq!(shown, expected);
}
