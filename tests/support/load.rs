//! What must hold whatever happens to the servers of a cluster, watched while it happens.
//!
//! Each server gets three tasks: one registers services under names of their own and remembers what
//! was acknowledged; one asks DNS; one reads the index of the catalog. [`Load::finish`] tells what
//! they have seen:
//!
//! 1. no registration that was acknowledged is lost (how many were not shown at once by whoever
//!    acknowledged them is told);
//! 2. no server that has answered a question of DNS since its start leaves one without the answer;
//! 3. the index of stale reads never goes back while a server runs, and that of default reads never
//!    goes back at all, whichever servers are asked one after the other;
//! 4. in the end all servers have the same catalog.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use herald::client::Transport;
use herald::client::dns::{Answer, AskError, Question, ask};
use herald::client::http::{HttpClient, RequestError};
use herald::task::Tasks;
use serde_json::{Value, json};

use super::cluster::{TestCluster, within};

/// The service that is there from the beginning.
const STEADY: &str = "steady";
/// Where it is, and where all others are.
const PLACE: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);
/// Between two registrations, questions or reads of one task. Two cores must do for several
/// clusters at a time.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for DNS, which waits for nobody; the question is repeated meanwhile.
const DNS: Duration = Duration::from_secs(3);
/// Longest wait for a write or a read: longer than a server holds it while nobody leads.
const HTTP: Duration = Duration::from_secs(15);
/// Names that DNS is asked for in the end, at each server.
const ASKED_MAX: usize = 50;
/// No figure of a load counts before the tasks have had so many turns.
const TURNS_MIN: u64 = 10;

/// The load on a cluster and what watches it.
pub(crate) struct Load {
    shared: Arc<Shared>,
    tasks: Tasks,
}

struct Shared {
    targets: Vec<Target>,
    /// Names of services.
    acknowledged: Mutex<BTreeSet<String>>,
    /// What must not be, in words.
    broken: Mutex<Vec<String>>,
    /// The highest index of a default read, of any server.
    highest: AtomicU64,
    answers: AtomicU64,
    reads: AtomicU64,
    refused: AtomicU64,
    late: AtomicU64,
}

/// One server, as the tasks see it.
struct Target {
    name: String,
    client: Ipv4Addr,
    life: Arc<AtomicU64>,
    acknowledged: AtomicU64,
}

impl Load {
    /// Begins, with the servers that the cluster has now, once all answer for a first service.
    pub(crate) async fn begin(cluster: &TestCluster) -> Self {
        within(async || cluster.servers[0].register(STEADY, PLACE).await.is_ok()).await;
        cluster.all_answer(STEADY, &[PLACE]).await;
        let target = |server: &super::cluster::Server| Target {
            name: server.name.clone(),
            client: server.client,
            life: Arc::clone(&server.life),
            acknowledged: AtomicU64::new(0),
        };
        let load = Self {
            shared: Arc::new(Shared {
                targets: cluster.servers.iter().map(target).collect(),
                acknowledged: Mutex::default(),
                broken: Mutex::default(),
                highest: AtomicU64::new(0),
                answers: AtomicU64::new(0),
                reads: AtomicU64::new(0),
                refused: AtomicU64::new(0),
                late: AtomicU64::new(0),
            }),
            tasks: Tasks::new(),
        };
        for place in 0..load.shared.targets.len() {
            let shared = || Arc::clone(&load.shared);
            load.tasks.spawn(register(shared(), place));
            load.tasks.spawn(resolve(shared(), place));
            load.tasks.spawn(read(shared(), place, true));
            load.tasks.spawn(read(shared(), place, false));
        }
        load
    }

    /// Registrations that a server has acknowledged so far.
    pub(crate) fn acknowledged_by(&self, place: usize) -> u64 {
        self.shared.targets[place]
            .acknowledged
            .load(Ordering::SeqCst)
    }

    /// Waits until these servers have acknowledged more, several times each, and nothing is broken.
    pub(crate) async fn goes_on_at(&self, places: &[usize]) {
        self.check();
        let before: Vec<_> = places.iter().map(|it| self.acknowledged_by(*it)).collect();
        within(async || {
            let mut pairs = places.iter().zip(&before);
            pairs.all(|(place, before)| self.acknowledged_by(*place) >= before + 5)
        })
        .await;
        self.check();
    }

    /// Says at once what is broken already.
    #[track_caller]
    pub(crate) fn check(&self) {
        let broken = self.shared.broken.lock().unwrap();
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    }

    /// Ends the load, waits until all servers agree, and checks that all that was to hold held.
    pub(crate) async fn finish(self, cluster: &TestCluster) {
        assert!(self.tasks.stop(HTTP).await, "the load ends");
        self.check();
        cluster.elects().await;
        cluster.same_catalogs().await;
        let shared = &self.shared;
        let acknowledged = std::mem::take(&mut *shared.acknowledged.lock().unwrap());
        for server in cluster.running() {
            let services = server.get("/v1/catalog/services?stale").await.unwrap();
            let is_lost = |name: &&String| services.get(name.as_str()).is_none();
            let lost: Vec<_> = acknowledged.iter().filter(is_lost).collect();
            assert!(lost.is_empty(), "{} lost {lost:?}", server.name);
            for name in acknowledged
                .iter()
                .step_by(acknowledged.len() / ASKED_MAX + 1)
            {
                assert_eq!(server.addresses(name).await, [PLACE.to_string()], "{name}");
            }
        }
        let figure = |figure: &AtomicU64| figure.load(Ordering::SeqCst);
        let (answers, reads) = (figure(&shared.answers), figure(&shared.reads));
        eprintln!(
            "load: {} registrations acknowledged, {} of them not shown at once, {} refused; {answers} \
             answers, {reads} reads",
            acknowledged.len(),
            figure(&shared.late),
            figure(&shared.refused),
        );
        assert!(acknowledged.len() as u64 >= TURNS_MIN);
        assert!(answers >= TURNS_MIN && reads >= TURNS_MIN);
    }
}

impl Shared {
    fn broken(&self, what: impl Display) {
        let mut broken = self.broken.lock().unwrap();
        // The first ones tell enough.
        if broken.len() < 20 {
            broken.push(what.to_string());
        }
    }
}

impl Target {
    /// In which of its lives it is to answer, if it is.
    fn life(&self) -> Option<u64> {
        Some(self.life.load(Ordering::SeqCst)).filter(|life| life % 2 == 1)
    }

    fn http(&self) -> HttpClient {
        let address = SocketAddr::from((self.client, 8500)).to_string().parse();
        HttpClient::new(address.expect("it is an address"), None, HTTP)
    }

    async fn ask(&self, service: &str) -> Result<Answer, AskError> {
        let question: Question = format!("{service}.service.consul A").parse().unwrap();
        let server = SocketAddr::from((self.client, 8600));
        ask(server, Transport::Udp, &question.with_edns(1232), DNS).await
    }

    /// Asks in a life in which it has answered before; what is wrong, if it is in that life still.
    async fn wrong(&self, service: &str, life: u64) -> Option<String> {
        let answer = self.ask(service).await;
        let what = match answer {
            Ok(answer) if answer.data() == [PLACE.to_string()] => return None,
            Ok(answer) => format!("{} {:?}", answer.code(), answer.data()),
            Err(error) => error.to_string(),
        };
        (self.life() == Some(life)).then(|| format!("DNS of {}: {service}: {what}", self.name))
    }
}

/// Registers at one server, again and again.
async fn register(shared: Arc<Shared>, place: usize) {
    let target = &shared.targets[place];
    for number in 0_u64.. {
        tokio::time::sleep(PAUSE).await;
        let Some(life) = target.life() else { continue };
        let name = format!("at-{}-{number}", target.name);
        let body = json!({"Node": format!("node-{name}"), "Address": PLACE,
            "Service": {"Service": name, "Port": 80}});
        if target
            .http()
            .put("/v1/catalog/register", &body)
            .await
            .is_err()
        {
            shared.refused.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        // Whoever acknowledges shows it at once, unless the leader is slow to say what is decided.
        if target.wrong(&name, life).await.is_some() {
            shared.late.fetch_add(1, Ordering::SeqCst);
        }
        shared.acknowledged.lock().unwrap().insert(name);
        target.acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

/// Asks one server for the service that is always there.
async fn resolve(shared: Arc<Shared>, place: usize) {
    let target = &shared.targets[place];
    let mut answered = None;
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(life) = target.life() else { continue };
        let wrong = target.wrong(STEADY, life).await;
        match wrong {
            None if target.life() == Some(life) => {
                answered = Some(life);
                shared.answers.fetch_add(1, Ordering::SeqCst);
            }
            // It starts, and may have nothing yet.
            Some(wrong) if answered == Some(life) => shared.broken(wrong),
            _ => {}
        }
    }
}

/// Follows the index of the catalog at one server.
async fn read(shared: Arc<Shared>, place: usize, stale: bool) {
    let target = &shared.targets[place];
    let path = if stale {
        "/v1/catalog/services?stale"
    } else {
        "/v1/catalog/services"
    };
    let (mut seen, mut seen_in) = (0, 0);
    loop {
        tokio::time::sleep(2 * PAUSE).await;
        let Some(life) = target.life() else { continue };
        if stale && seen_in != life {
            (seen, seen_in) = (0, life);
        }
        let least = if stale {
            seen
        } else {
            shared.highest.load(Ordering::SeqCst)
        };
        let Ok(index) = index(&target.http(), path).await else {
            continue;
        };
        shared.reads.fetch_add(1, Ordering::SeqCst);
        if target.life() == Some(life) && index < least {
            shared.broken(format!("{}: {path}: {index} after {least}", target.name));
        }
        if stale {
            seen = index;
        } else {
            shared.highest.fetch_max(index, Ordering::SeqCst);
        }
    }
}

async fn index(http: &HttpClient, path: &str) -> Result<u64, RequestError> {
    let (headers, _) = http.read::<Value>(path).await?;
    let index = headers.get("X-Consul-Index").expect("reads have an index");
    Ok(index.to_str().unwrap().parse().unwrap())
}
