//! Changes and reads at all servers while messages are lost, late or cut off, and leaders step
//! down: what clients saw must have an order. Each schedule of faults has a seed of its own; its
//! clients and faults choose by it, but how they fall together is the machine's.
//!
//! For many schedules, so many at a time as `HERALD_HISTORY_TOGETHER` says (4):
//!
//! ```text
//! HERALD_HISTORY_SCHEDULES=200 HERALD_HISTORY_TOGETHER=8 HERALD_HISTORY_SEED=1 \
//!     cargo test --lib -- --nocapture raft::tests::history
//! ```

#[path = "../../../tests/support/history.rs"]
mod record;

use std::cell::Cell;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::catalog::Registration;
use crate::types::{Address, Meta, Service, Weights};
use record::{Counts, Ending, Keys, Operation as Asked, assert_linearizable, client};

/// How many keys are in use at a time in one schedule, and how many clients each has.
const KEYS: usize = 2;
const CLIENTS: usize = 5;
/// Faults of one schedule.
const FAULTS: usize = 10;
/// How long writes and reads wait for a leader, and writes for their outcome.
const HOLD: Duration = Duration::from_millis(700);
const DEADLINE: Duration = Duration::from_millis(1_500);

fn register(key: &str, port: u16) -> Operation {
    Operation::Register(Box::new(Registration {
        node: crate::types::Node {
            id: None,
            name: key.parse().unwrap(),
            address: Address::from_text("10.0.0.1"),
            tagged_addresses: BTreeMap::new(),
            meta: Meta::default(),
        },
        skip_node_update: false,
        service: Some(Service {
            id: key.parse().unwrap(),
            name: key.parse().unwrap(),
            tags: Arc::new([]),
            address: Address::None,
            port,
            meta: Meta::default(),
            weights: Weights::default(),
            enable_tag_override: false,
            tagged_addresses: None,
        }),
        checks: Vec::new(),
    }))
}

fn deregister(key: &str) -> Operation {
    let (node, id) = (key.parse().unwrap(), key.parse().unwrap());
    Operation::Deregister(Deregistration::Service(node, id))
}

async fn change(server: &TestServer, operation: Operation) -> Ending {
    let command = Command {
        request: rand::random(),
        operations: vec![operation],
    };
    let context = RequestContext::default();
    match server.raft.propose(&context, command).await {
        Ok(Outcome::Applied { .. }) => Ending::Done,
        Ok(Outcome::Refused(refusal)) => panic!("{refusal}"),
        Err(ProposeError::NoLeader | ProposeError::Busy { .. }) => Ending::Nothing,
        Err(ProposeError::Deadline { .. }) => Ending::Unknown,
        Err(error @ (ProposeError::TooLarge { .. } | ProposeError::NoRoom)) => panic!("{error}"),
    }
}

fn stored(server: &TestServer, key: &str) -> Ending {
    let state = server.reader.state();
    let service = state.service(&key.parse().unwrap());
    let instance = service.and_then(|service| service.instances().next());
    Ending::Saw(instance.map(|instance| instance.service.port))
}

async fn read(server: &TestServer, key: &str, consistency: Consistency) -> Ending {
    match server.raft.fresh(consistency).await {
        Ok(_) => stored(server, key),
        Err(_) => Ending::Unknown,
    }
}

async fn ask(server: &TestServer, key: &str, asked: Asked) -> Ending {
    match asked {
        Asked::Register(port) => change(server, register(key, port)).await,
        Asked::Deregister => change(server, deregister(key)).await,
        Asked::Read => read(server, key, Consistency::Consistent).await,
        Asked::ReadLeased => read(server, key, Consistency::Default).await,
    }
}

/// One fault, on top of those before.
async fn disturb(cluster: &Cluster, random: &mut StdRng) {
    let (network, servers) = (&cluster.network, &cluster.servers);
    let mut any = || &servers[random.random_range(0..servers.len())];
    let leader = servers.iter().find(|server| server.status().leads());
    let leader = leader.unwrap_or_else(&mut any);
    let (one, other) = (any(), any());
    match random.random_range(0..9) {
        0 => network.isolate(leader.id()),
        1 => network.isolate(one.id()),
        2 => network.cut(one.id(), other.id()),
        // Who leads is heard, and hears nobody.
        3 => {
            let others = servers.iter().filter(|server| server.id() != leader.id());
            others.for_each(|other| network.cut(other.id(), leader.id()));
        }
        4 => network.disturb(random.random_range(0..200), Duration::from_millis(30)),
        5 => network.disturb(0, Duration::from_millis(random.random_range(0..300))),
        6 => drop(leader.raft.step_down().await),
        _ => {
            network.heal();
            network.disturb(0, Duration::from_millis(2));
        }
    }
    let pause = random.random_range(50..900);
    tokio::time::sleep(Duration::from_millis(pause)).await;
}

/// Three or five servers, and clients of them until all faults are over; all histories are checked.
async fn schedule(seed: u64) -> Counts {
    let mut random = StdRng::seed_from_u64(seed);
    let count = if random.random_bool(0.5) { 3 } else { 5 };
    let configs = (1..=count).map(|number| Config {
        hold: HOLD,
        bounds: Bounds {
            deadline: DEADLINE,
            ..Bounds::default()
        },
        ..config(number, None)
    });
    let cluster = Cluster::of(configs.collect()).await;
    let keys = ["a", "b"].map(Keys::new);
    assert_eq!(keys.len(), KEYS);
    let running = Cell::new(true);
    let clients = (0..KEYS * CLIENTS).map(|number| {
        let random = StdRng::seed_from_u64(random.random());
        let (cluster, running) = (&cluster, &running);
        let carry_out = async move |random: &mut StdRng, key: &str, asked| {
            let server = &cluster.servers[random.random_range(0..cluster.servers.len())];
            let pause = Duration::from_millis(random.random_range(0..40));
            tokio::time::sleep(pause).await;
            ask(server, key, asked).await
        };
        client(
            number,
            &keys[number % KEYS],
            random,
            || running.get(),
            carry_out,
        )
    });
    let clients = join_all(clients.collect::<Vec<_>>());
    let faults = async {
        for _ in 0..FAULTS {
            disturb(&cluster, &mut random).await;
        }
        cluster.network.heal();
        cluster.network.disturb(0, Duration::from_millis(2));
        eventually("one leads again", async || {
            let ending = read(&cluster.servers[0], "a", Consistency::Consistent).await;
            ending != Ending::Unknown
        })
        .await;
        running.set(false);
    };
    tokio::join!(faults, clients);
    cluster.converge().await;
    for (key, history) in keys.iter().flat_map(Keys::all) {
        for server in &cluster.servers {
            let number = history.called(Asked::Read, usize::MAX);
            history.ended(number, stored(server, &key));
        }
    }
    cluster.stop().await;
    assert_linearizable(&keys)
}

fn setting(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().unwrap())
}

#[tokio::test]
async fn reads_and_changes_have_an_order_whatever_the_network_does() {
    let first = setting("HERALD_HISTORY_SEED", rand::random::<u32>().into());
    let schedules = setting("HERALD_HISTORY_SCHEDULES", 4);
    let together = setting("HERALD_HISTORY_TOGETHER", 4);
    let mut done = 0;
    while done < schedules {
        let seeds = (done..schedules.min(done + together)).map(|number| first + number);
        let counts = join_all(seeds.clone().map(async |seed| {
            eprintln!("HERALD_HISTORY_SEED={seed} begins");
            let counts = schedule(seed).await;
            eprintln!("HERALD_HISTORY_SEED={seed}: {counts:?}");
            counts
        }));
        for counts in counts.await {
            assert!(counts.changes > 0 && counts.reads > 0 && counts.leased > 0);
        }
        done += together;
    }
}
