//! Views over servers that are made up, in time that stands still.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::*;
use crate::catalog::fragment::{Fragment, Stamps};
use crate::catalog::open_client;
use crate::catalog::state::AddressOwner;
use crate::clock;
use crate::directory::NoServers;
use crate::types::{Address, Index, Meta, Node, Service, Weights};

/// Servers that have services with one instance each.
#[derive(Debug, Default)]
struct Servers {
    ports: Mutex<BTreeMap<ServiceName, (u16, Index)>>,
    index: Mutex<u64>,
    changed: Notify,
    down: AtomicBool,
    /// Whether they follow nobody: what they say may be old.
    cut_off: AtomicBool,
    reads: AtomicUsize,
    follows: AtomicUsize,
}

impl Servers {
    fn set(&self, name: &str, port: Option<u16>) {
        let name: ServiceName = name.parse().unwrap();
        let mut index = self.index.lock().unwrap();
        *index += 1;
        let mut ports = self.ports.lock().unwrap();
        match port {
            Some(port) => drop(ports.insert(name, (port, Index(*index)))),
            None => drop(ports.remove(&name)),
        }
        self.changed.notify_waiters();
    }

    fn picture(&self, wanted: &Wanted) -> Picture {
        let last = Index(self.index.lock().unwrap().max(1));
        let ports = self.ports.lock().unwrap();
        let content = match wanted {
            Wanted::Service(name) => ports
                .get(name)
                .map(|(port, index)| (Content::Service(Box::new(state_of(name, *port))), *index)),
            Wanted::Node(name) => {
                (name.as_str() == "n1").then(|| (Content::Node(Arc::new(node())), Index(1)))
            }
            Wanted::Address(ip) => {
                let owner = AddressOwner::Node("n1".parse().unwrap());
                (*ip == IpAddr::from([10, 0, 0, 1])).then_some((Content::Owner(owner), Index(1)))
            }
        };
        Picture {
            follows: !self.cut_off.load(Ordering::Relaxed),
            index: content.as_ref().map_or(last, |(_, index)| *index),
            last_contact: Duration::ZERO,
            content: content.map(|(content, _)| content),
        }
    }

    async fn answer(&self, wanted: &Wanted, how: &How) -> Result<Picture, ReadError> {
        let count = if how.follows {
            &self.follows
        } else {
            &self.reads
        };
        count.fetch_add(1, Ordering::Relaxed);
        let until = clock::now() + how.wait;
        // As long as a call takes.
        tokio::time::sleep(Duration::from_millis(1)).await;
        loop {
            if self.down.load(Ordering::Relaxed) {
                return Err(NoServers.into());
            }
            let changed = self.changed.notified();
            let picture = self.picture(wanted);
            let waits = how.index > Index::ZERO && picture.index <= how.index;
            if !waits || clock::now() >= until {
                return Ok(picture);
            }
            drop(tokio::time::timeout_at(until, changed).await);
        }
    }
}

impl Source for Servers {
    fn read<'a>(&'a self, wanted: &'a Wanted, how: &'a How) -> Reading<'a> {
        Box::pin(self.answer(wanted, how))
    }
}

fn node() -> Node {
    Node {
        id: None,
        name: "n1".parse().unwrap(),
        address: Address::from_text("10.0.0.1"),
        tagged_addresses: BTreeMap::new(),
        meta: Meta::default(),
    }
}

fn state_of(name: &ServiceName, port: u16) -> crate::catalog::State {
    let service = Service {
        id: name.as_str().parse().unwrap(),
        name: name.clone(),
        tags: [].into(),
        address: Address::None,
        port,
        meta: Meta::default(),
        weights: Weights::default(),
        enable_tag_override: false,
        tagged_addresses: None,
    };
    let mut fragment = Fragment::default();
    let node = node();
    let at = node.name.clone();
    fragment.put_node(node, Stamps::default()).unwrap();
    fragment
        .put_instance(&at, service, Stamps::default())
        .unwrap();
    fragment.finish(Index(1))
}

struct World {
    servers: Arc<Servers>,
    views: Views,
    reader: Reader,
    metrics: Metrics,
    heard: Arc<AtomicUsize>,
    _tasks: Tasks,
}

impl World {
    fn new(config: Config) -> Self {
        let servers = Arc::new(Servers::default());
        let (metrics, tasks) = (Metrics::new(), Tasks::new());
        let (writer, reader) = open_client();
        let heard = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&heard);
        let start = Start {
            writer,
            reader: reader.clone(),
            source: Arc::clone(&servers) as Arc<dyn Source>,
            heard: Arc::new(move |_| {
                count.fetch_add(1, Ordering::Relaxed);
            }),
        };
        let views = Views::start(config, start, &metrics, &tasks);
        Self {
            servers,
            views,
            reader,
            metrics,
            heard,
            _tasks: tasks,
        }
    }

    async fn want(&self, name: &str) -> Result<Presence, WantError> {
        self.views.want(service(name)).await
    }

    fn port(&self, name: &str) -> Option<u16> {
        let slot = self.reader.dns().service(name.as_bytes())?;
        let view = slot.load();
        view.as_ref()?.all.instances().get(0).map(|it| it.port)
    }

    fn figure(&self, name: &str) -> f64 {
        let text = self.metrics.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    }

    fn reads(&self) -> usize {
        self.servers.reads.load(Ordering::Relaxed)
    }
}

fn service(name: &str) -> Wanted {
    Wanted::Service(name.parse().unwrap())
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn the_first_who_ask_share_one_read_and_the_next_need_none() {
    let world = World::new(Config::default());
    world.servers.set("web", Some(80));
    let asking = (0..100).map(|_| -> Boxed<'_> { Box::pin(world.want("web")) });
    for answer in all(asking.collect()).await {
        assert_eq!(answer, Ok(Presence::Present));
    }
    assert_eq!((world.reads(), world.port("web")), (1, Some(80)));
    assert_eq!(world.want("WEB").await, Ok(Presence::Present));
    assert_eq!(world.reads(), 1);
}

type Boxed<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Presence, WantError>> + Send + 'a>>;

/// All at the same time.
async fn all(mut asking: Vec<Boxed<'_>>) -> Vec<Result<Presence, WantError>> {
    let mut answers = Vec::new();
    std::future::poll_fn(|context| {
        asking.retain_mut(|it| match it.as_mut().poll(context) {
            std::task::Poll::Ready(answer) => {
                answers.push(answer);
                false
            }
            std::task::Poll::Pending => true,
        });
        if asking.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    answers
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_and_what_goes_is_missing() {
    let world = World::new(Config::default());
    world.servers.set("web", Some(80));
    world.want("web").await.unwrap();
    world.servers.set("web", Some(81));
    pass(SECOND / 5).await;
    assert_eq!(world.port("web"), Some(81));
    world.servers.set("web", None);
    pass(SECOND / 5).await;
    assert_eq!(world.port("web"), None);
    assert_eq!(world.want("web").await, Ok(Presence::Missing));
    assert_eq!(world.reads(), 1, "it was told that it is missing");
    world.servers.set("web", Some(82));
    pass(SECOND).await;
    assert_eq!(world.want("web").await, Ok(Presence::Present));
    assert_eq!(world.port("web"), Some(82));
}

#[tokio::test(start_paused = true)]
async fn a_missing_name_is_believed_for_a_second_only() {
    let world = World::new(Config::default());
    for _ in 0..10 {
        assert_eq!(world.want("web").await, Ok(Presence::Missing));
    }
    assert_eq!(world.reads(), 1);
    world.servers.set("web", Some(80));
    pass(SECOND).await;
    assert_eq!(world.want("web").await, Ok(Presence::Present));
}

#[tokio::test(start_paused = true)]
async fn nodes_and_owners_of_addresses_are_views_too() {
    let world = World::new(Config::default());
    let (n1, n2) = ("n1".parse().unwrap(), "n2".parse().unwrap());
    assert_eq!(
        world.views.want(Wanted::Node(n1)).await,
        Ok(Presence::Present)
    );
    assert_eq!(
        world.views.want(Wanted::Node(n2)).await,
        Ok(Presence::Missing)
    );
    assert!(world.reader.dns().node(b"n1").is_some());
    let ip = IpAddr::from([10, 0, 0, 1]);
    assert_eq!(world.reader.dns().owner_of(ip), None, "nobody has said so");
    assert_eq!(
        world.views.want(Wanted::Address(ip)).await,
        Ok(Presence::Present)
    );
    assert!(world.reader.dns().owner_of(ip).is_some());
    pass(SECOND * 60).await;
    assert_eq!(world.reader.dns().owner_of(ip), None, "nobody has asked");
}

#[tokio::test(start_paused = true)]
async fn a_view_that_nobody_uses_goes_and_one_in_use_stays() {
    let world = World::new(Config::default());
    world.servers.set("used", Some(80));
    world.servers.set("unused", Some(80));
    world.want("used").await.unwrap();
    world.want("unused").await.unwrap();
    for _ in 0..130 {
        world.reader.dns().service(b"used").unwrap().mark_used();
        pass(SECOND * 5).await;
    }
    assert_eq!((world.port("used"), world.port("unused")), (Some(80), None));
    assert!(world.figure("herald_views ") >= 2.0);
}

#[tokio::test(start_paused = true)]
async fn while_no_server_answers_views_stay_and_new_names_are_not_known() {
    let world = World::new(Config::default());
    world.servers.set("web", Some(80));
    world.want("web").await.unwrap();
    world.servers.down.store(true, Ordering::Relaxed);
    world.servers.changed.notify_waiters();
    pass(SECOND * 3_600).await;
    let heard = world.heard.load(Ordering::Relaxed);
    pass(SECOND * 3_600).await;
    assert_eq!(world.heard.load(Ordering::Relaxed), heard);
    assert_eq!(world.port("web"), Some(80));
    let error = world.want("other").await.unwrap_err();
    assert_eq!(error, WantError::Read(NoServers.into()));
    // Back again: heard of within seconds, and changes are seen soon of what is still in use.
    world.reader.dns().service(b"web").unwrap().mark_used();
    world.servers.down.store(false, Ordering::Relaxed);
    world.servers.set("web", Some(81));
    pass(SECOND * 7).await;
    assert!(world.heard.load(Ordering::Relaxed) > heard);
    assert_eq!(world.port("web"), Some(81));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_missing_names_pushes_nothing_out() {
    let world = World::new(Config::default());
    world.servers.set("web", Some(80));
    world.want("web").await.unwrap();
    let (mut missing, mut refused) = (0, 0);
    for batch in 0..200 {
        let names: Vec<_> = (0..100).map(|it| format!("x{batch}-{it}")).collect();
        let asking = names
            .iter()
            .map(|name| -> Boxed<'_> { Box::pin(world.want(name)) });
        for answer in all(asking.collect()).await {
            match answer {
                Ok(Presence::Missing) => missing += 1,
                Err(WantError::Busy) => refused += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(refused > 10_000 && missing >= 500, "{missing} {refused}");
    assert_eq!(missing + refused, 20_000);
    assert_eq!(world.port("web"), Some(80));
    assert!(world.figure("herald_views_missing ") <= 4_096.0);
    assert!(world.figure("herald_views ") <= 2.0);
    assert!(world.figure("herald_views_refused_total ") > 10_000.0);
}

#[tokio::test(start_paused = true)]
async fn where_there_are_too_many_views_the_least_recently_used_go() {
    let config = Config {
        views_max: 8,
        ..Config::default()
    };
    let world = World::new(config);
    for number in 0..100 {
        world.servers.set(&format!("s{number}"), Some(80));
    }
    for number in 0..100 {
        world.want(&format!("s{number}")).await.unwrap();
        pass(SECOND / 10).await;
        world.reader.dns().service(b"s0").unwrap().mark_used();
    }
    let held = (0..100).filter(|it| world.port(&format!("s{it}")).is_some());
    let held: Vec<_> = held.collect();
    assert_eq!(held, [0, 94, 95, 96, 97, 98, 99]);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_read_begins_after_it_was_asked_for() {
    let world = World::new(Config::default());
    world.servers.set("web", Some(80));
    let early = world.views.want_fresh(service("web"));
    let late = async {
        // The first read is under way.
        pass(SECOND / 2_000).await;
        world.servers.set("web", Some(81));
        world.views.want_fresh(service("web")).await
    };
    let (early, late) = tokio::join!(early, late);
    assert_eq!(
        (early, late),
        (Ok(Presence::Present), Ok(Presence::Present))
    );
    assert_eq!((world.port("web"), world.reads()), (Some(81), 2));
}

#[tokio::test(start_paused = true)]
async fn servers_that_count_anew_are_believed_in_the_end() {
    let world = World::new(Config::default());
    for port in 80..100 {
        world.servers.set("web", Some(port));
    }
    world.want("web").await.unwrap();
    *world.servers.index.lock().unwrap() = 1;
    world.servers.set("web", Some(7));
    pass(SECOND * 130).await;
    assert_eq!(world.port("web"), Some(7));
    world.servers.set("web", Some(8));
    pass(SECOND).await;
    assert_eq!(world.port("web"), Some(8));
}

#[tokio::test(start_paused = true)]
async fn servers_that_follow_nobody_are_never_believed_what_is_older() {
    let world = World::new(Config::default());
    for port in 80..100 {
        world.servers.set("web", Some(port));
    }
    world.want("web").await.unwrap();
    world.servers.cut_off.store(true, Ordering::Relaxed);
    *world.servers.index.lock().unwrap() = 1;
    world.servers.set("web", Some(7));
    for _ in 0..100 {
        pass(SECOND * 5).await;
        world.reader.dns().service(b"web").unwrap().mark_used();
        let fresh = world.views.want_fresh(service("web")).await;
        assert_eq!(
            (fresh, world.port("web")),
            (Ok(Presence::Present), Some(99))
        );
    }
    let asked = world.servers.follows.load(Ordering::Relaxed);
    assert!(asked > 100, "it goes on asking: {asked}");
    // Nor that it is gone, of which they may not have heard.
    world.servers.set("web", None);
    *world.servers.index.lock().unwrap() = 3;
    pass(SECOND * 60).await;
    assert_eq!(world.port("web"), Some(99));
    // They follow somebody again, who counts anew.
    world.servers.cut_off.store(false, Ordering::Relaxed);
    world.servers.set("web", Some(8));
    pass(SECOND * 130).await;
    assert_eq!(world.port("web"), Some(8));
}
