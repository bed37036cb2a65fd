//! The one task that decides about views: which there are, what is read for whom, and what goes.
//!
//! Long, since every event of a view is decided here, where nothing else happens meanwhile.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::budget::Budget;
use super::follow::{Follower, Shared};
use super::held::{Held, HoldError};
use super::missing::Missing;
use super::{Config, Content, Heard, How, Picture, Presence, ReadError, Start, WantError, Wanted};
use crate::catalog::Reader;
use crate::clock;
use crate::metrics::Metrics;
use crate::task::Tasks;
use crate::types::{Consistency, Index, SERVERS_SERVICE};

/// What the tasks that read have told and nobody has looked at yet.
const TOLD_MAX: usize = 64;
/// How often in a row a view may be told something older than what it holds before that is believed.
/// Servers that lag behind say so now and then; those that count anew go on doing so.
pub(super) const REGRESSIONS_MAX: u8 = 3;
/// Share of all views that goes at a time when there are too many, so that the oldest are not looked
/// for at each one.
const EVICTED_SHARE: usize = 64;

/// Somebody wants something.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) wanted: Wanted,
    /// Whether memory is not enough.
    pub(super) fresh: bool,
    pub(super) answer: oneshot::Sender<Result<Presence, WantError>>,
}

/// What a task that reads tells.
#[derive(Debug)]
pub(super) enum Told {
    /// A read that somebody waits for has ended.
    Read {
        wanted: Wanted,
        fresh: bool,
        outcome: Result<Picture, ReadError>,
    },
    /// A view was read again; nothing has changed if there is no picture.
    Followed {
        wanted: Wanted,
        life: u64,
        last_contact: Duration,
        picture: Option<Picture>,
    },
}

/// Something that exists and is kept current.
#[derive(Debug)]
struct View {
    life: u64,
    index: Index,
    /// Whether anything was told of it yet; only `consul` is kept before.
    told: bool,
    /// Whether it exists; only `consul` is kept otherwise.
    exists: bool,
    regressions: u8,
    used: Instant,
    /// Ends its follower.
    _follower: DropGuard,
}

/// Those who wait for one read.
#[derive(Debug, Default)]
struct Waiting {
    now: Vec<oneshot::Sender<Result<Presence, WantError>>>,
    /// Those who came when the read had begun, and want one that begins later.
    next: Vec<oneshot::Sender<Result<Presence, WantError>>>,
}

/// What is counted.
#[derive(Debug)]
struct Counts {
    first: Counter,
    refused: Counter,
    failed: Counter,
    missing: Arc<AtomicUsize>,
}

/// The state of all views.
pub(super) struct Keeper {
    config: Config,
    held: Held,
    reader: Reader,
    heard: Heard,
    /// When a server last answered.
    heard_at: Option<Instant>,
    views: HashMap<Wanted, View>,
    addresses: usize,
    lives: u64,
    reading: HashMap<(Wanted, bool), Waiting>,
    missing: Missing,
    budget: Budget,
    shared: Shared,
    told: mpsc::Receiver<Told>,
    counts: Counts,
    tasks: Tasks,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl Counts {
    #[expect(clippy::cast_precision_loss, reason = "figures to be shown")]
    fn new(metrics: &Metrics, views: &Arc<AtomicUsize>) -> Self {
        let counter = |name, help| metrics.register(name, help, Counter::default());
        let show = |name, help, count: &Arc<AtomicUsize>| {
            let count = Arc::clone(count);
            metrics.show(name, help, move || count.load(Ordering::Relaxed) as f64);
        };
        let missing = Arc::default();
        show("views", "Names that are kept current for DNS", views);
        show(
            "views_missing",
            "Names that servers have said do not exist",
            &missing,
        );
        Self {
            first: counter(
                "views_reads",
                "Reads of names that DNS was asked and did not have",
            ),
            refused: counter(
                "views_refused",
                "Such reads that were refused since there were too many",
            ),
            failed: counter("views_failures", "Such reads that failed"),
            missing,
        }
    }
}

impl Keeper {
    pub(super) fn new(
        config: Config,
        start: Start,
        woken: watch::Sender<()>,
        metrics: &Metrics,
        tasks: &Tasks,
    ) -> Self {
        let (tell, told) = mpsc::channel(TOLD_MAX);
        let views = Arc::default();
        let counts = Counts::new(metrics, &views);
        let now = clock::now();
        let shared = Shared {
            source: start.source,
            places: Arc::new(Semaphore::new(config.pace.reads_max)),
            pace: config.pace.clone(),
            told: tell,
            views,
            woken,
        };
        let mut keeper = Self {
            held: Held::new(start.writer),
            reader: start.reader,
            heard: start.heard,
            heard_at: None,
            views: HashMap::new(),
            addresses: 0,
            lives: 0,
            reading: HashMap::new(),
            missing: Missing::new(config.missing_max, config.missing_time),
            budget: Budget::new(config.first_per_second, config.first_max, now),
            config,
            shared,
            told,
            counts,
            tasks: tasks.clone(),
        };
        if let Ok(servers) = SERVERS_SERVICE.parse() {
            keeper.keep(Wanted::Service(servers), Index::ZERO, false);
        }
        keeper
    }

    pub(super) async fn run(mut self, mut asked: mpsc::Receiver<Ask>) {
        let mut sweep = tokio::time::interval(self.config.sweep);
        loop {
            tokio::select! {
                ask = asked.recv() => match ask {
                    Some(ask) => self.ask(ask),
                    None => return,
                },
                // `shared` holds a sender, so that this never ends.
                Some(told) = self.told.recv() => self.hear(told),
                _ = sweep.tick() => self.sweep(),
            }
            self.counts
                .missing
                .store(self.missing.len(), Ordering::Relaxed);
            self.shared.views.store(self.views.len(), Ordering::Relaxed);
        }
    }

    fn ask(&mut self, ask: Ask) {
        let now = clock::now();
        let view = self.views.get_mut(&ask.wanted).filter(|view| view.told);
        let is_first = view.is_none();
        if !ask.fresh {
            if let Some(view) = view {
                view.used = now;
                let presence = if view.exists {
                    Presence::Present
                } else {
                    Presence::Missing
                };
                return tell(ask.answer, Ok(presence));
            }
            if self.missing.holds(&ask.wanted, now) {
                return tell(ask.answer, Ok(Presence::Missing));
            }
        }
        let key = (ask.wanted, ask.fresh);
        let has_place = self.has_place(&key.0);
        match self.reading.get_mut(&key) {
            Some(waiting) if ask.fresh => waiting.next.push(ask.answer),
            Some(waiting) => waiting.now.push(ask.answer),
            None if has_place && self.budget.begin(now, is_first) => {
                self.begin(key, vec![ask.answer]);
            }
            None => {
                self.counts.refused.inc();
                tell(ask.answer, Err(WantError::Busy));
            }
        }
    }

    /// Whether not too many of its kind are being read.
    fn has_place(&self, wanted: &Wanted) -> bool {
        let is_address = |it: &Wanted| matches!(it, Wanted::Address(_));
        let reading = self.reading.keys().filter(|(it, _)| is_address(it));
        !is_address(wanted) || reading.count() < self.config.addresses_first_max
    }

    /// Begins a read that there is room for.
    fn begin(
        &mut self,
        (wanted, fresh): (Wanted, bool),
        waiting: Vec<oneshot::Sender<Result<Presence, WantError>>>,
    ) {
        self.counts.first.inc();
        let how = How {
            consistency: if fresh {
                Consistency::Default
            } else {
                Consistency::Stale
            },
            index: Index::ZERO,
            wait: Duration::ZERO,
            limit: self.config.first_limit,
            follows: false,
        };
        let entry = self.reading.entry((wanted.clone(), fresh)).or_default();
        entry.now = waiting;
        let (source, told) = (Arc::clone(&self.shared.source), self.shared.told.clone());
        self.tasks.spawn(async move {
            let outcome = source.read(&wanted, &how).await;
            let ended = Told::Read {
                wanted,
                fresh,
                outcome,
            };
            // Nobody listens once the agent stops.
            drop(told.send(ended).await);
        });
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Read {
                wanted,
                fresh,
                outcome,
            } => self.end(wanted, fresh, outcome),
            Told::Followed {
                wanted,
                life,
                last_contact,
                picture,
            } => {
                if self.views.get(&wanted).is_none_or(|view| view.life != life) {
                    return;
                }
                if let Some(picture) = picture
                    && let Err(error) = self.take(&wanted, picture)
                {
                    tracing::error!("{wanted} cannot be kept current: {error}");
                    self.give_up(&wanted);
                    return;
                }
                self.contact(last_contact);
            }
        }
    }

    /// What a server says of a view is not taken in: what is held is too old to be answered, and the
    /// next query reads it anew.
    fn give_up(&mut self, wanted: &Wanted) {
        if !is_pinned(wanted)
            && let Err(error) = self.remove(wanted)
        {
            tracing::error!("{wanted} cannot be let go of: {error}");
        }
    }

    /// A read has ended that somebody waited for.
    fn end(&mut self, wanted: Wanted, fresh: bool, outcome: Result<Picture, ReadError>) {
        self.budget.end();
        let key = (wanted, fresh);
        let Some(waiting) = self.reading.remove(&key) else {
            return;
        };
        let outcome = outcome.map_err(WantError::from).and_then(|picture| {
            let last_contact = picture.last_contact;
            let presence = self.take(&key.0, picture);
            let presence = presence.map_err(|error| WantError::Answer(error.to_string()))?;
            self.contact(last_contact);
            Ok(presence)
        });
        if let Err(error) = &outcome {
            self.counts.failed.inc();
            tracing::debug!("{} is not known: {error}", key.0);
        }
        for answer in waiting.now {
            tell(answer, outcome.clone());
        }
        if !waiting.next.is_empty() {
            // The place of the one that has ended is free.
            self.budget.begin(clock::now(), false);
            self.begin(key, waiting.next);
        }
    }

    /// A server has answered.
    fn contact(&mut self, last_contact: Duration) {
        self.heard_at = Some(clock::now());
        (self.heard)(last_contact);
    }

    /// Takes in what a server says. Once this returns, DNS sees it.
    fn take(&mut self, wanted: &Wanted, picture: Picture) -> Result<Presence, HoldError> {
        let now = clock::now();
        let index = picture.index;
        if let Some(view) = self.views.get_mut(wanted).filter(|view| view.told) {
            if index < view.index && !(picture.follows && view.regressions >= REGRESSIONS_MAX) {
                view.regressions += u8::from(picture.follows);
                return Ok(if view.exists {
                    Presence::Present
                } else {
                    Presence::Missing
                });
            }
            if index < view.index {
                self.held.begin_anew();
            }
        }
        let Some(content) = picture.content else {
            self.missing.put(wanted.clone(), now);
            return self.lose(wanted, index).map(|()| Presence::Missing);
        };
        self.missing.remove(wanted);
        if !self.views.contains_key(wanted) {
            self.make_room(wanted, now)?;
        }
        match (wanted, content) {
            (Wanted::Service(name), Content::Service(state)) => {
                self.held.put_service(name, &state, index)?;
            }
            (_, Content::Node(node)) => self.held.put_node(&node, index)?,
            (Wanted::Address(ip), Content::Owner(owner)) => {
                self.held.writer().set_owner(*ip, Some(owner));
            }
            (_, Content::Service(_) | Content::Owner(_)) => {}
        }
        match self.views.get_mut(wanted) {
            Some(view) => {
                view.index = index;
                (view.told, view.exists, view.regressions) = (true, true, 0);
            }
            None => self.keep(wanted.clone(), index, true),
        }
        Ok(Presence::Present)
    }

    /// Something does not exist (any more).
    fn lose(&mut self, wanted: &Wanted, index: Index) -> Result<(), HoldError> {
        let pinned = is_pinned(wanted);
        match self.views.get_mut(wanted) {
            Some(view) if pinned => {
                view.index = index;
                (view.told, view.exists, view.regressions) = (true, false, 0);
                self.let_go(wanted)
            }
            Some(_) => self.remove(wanted),
            None => Ok(()),
        }
    }

    /// Begins to keep something current.
    fn keep(&mut self, wanted: Wanted, index: Index, told: bool) {
        self.lives += 1;
        let stop = CancellationToken::new();
        let follower = Follower {
            shared: self.shared.clone(),
            wanted: wanted.clone(),
            life: self.lives,
            index,
            regressions: 0,
            beats: is_pinned(&wanted),
        };
        let stopped = stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = follower.run() => {}
            }
        });
        self.addresses += usize::from(matches!(wanted, Wanted::Address(_)));
        let view = View {
            life: self.lives,
            index,
            told,
            exists: told,
            regressions: 0,
            used: clock::now(),
            _follower: stop.drop_guard(),
        };
        self.views.insert(wanted, view);
    }

    /// Ends a view and lets go of what it holds.
    fn remove(&mut self, wanted: &Wanted) -> Result<(), HoldError> {
        if self.views.remove(wanted).is_some() {
            self.addresses -= usize::from(matches!(wanted, Wanted::Address(_)));
        }
        self.let_go(wanted)
    }

    fn let_go(&mut self, wanted: &Wanted) -> Result<(), HoldError> {
        match wanted {
            Wanted::Service(name) => self.held.drop_service(name),
            Wanted::Node(name) => self.held.drop_node(name),
            Wanted::Address(ip) => {
                self.held.writer().set_owner(*ip, None);
                Ok(())
            }
        }
    }

    /// Where there are too many views, those go that were not used for the longest time.
    fn make_room(&mut self, wanted: &Wanted, now: Instant) -> Result<(), HoldError> {
        let is_address = matches!(wanted, Wanted::Address(_));
        let (count, most) = if is_address {
            (self.addresses, self.config.addresses_max)
        } else {
            (self.views.len(), self.config.views_max)
        };
        if count < most {
            return Ok(());
        }
        self.note_used(now);
        let views = self.views.iter();
        let views = views.filter(|(it, _)| !is_pinned(it));
        let views = views.filter(|(it, _)| !is_address || matches!(it, Wanted::Address(_)));
        let mut oldest: Vec<_> = views.map(|(it, view)| (view.used, it.clone())).collect();
        oldest.sort_unstable_by_key(|(used, _)| *used);
        let going = (count - most + 1).max(most / EVICTED_SHARE);
        for (_, wanted) in oldest.into_iter().take(going) {
            self.remove(&wanted)?;
        }
        Ok(())
    }

    /// Lets go of views that nobody uses, while servers can be asked for them again.
    fn sweep(&mut self) {
        let now = clock::now();
        self.missing.sweep(now);
        self.note_used(now);
        let recent = self.config.pace.beat + self.config.pace.limit;
        if self.heard_at.is_none_or(|at| now - at > recent) {
            return;
        }
        let config = &self.config;
        let views = self.views.iter().filter(|(wanted, view)| {
            let most = match wanted {
                Wanted::Address(_) => config.address_unused_max,
                Wanted::Service(_) | Wanted::Node(_) => config.unused_max,
            };
            !is_pinned(wanted) && now - view.used > most
        });
        let unused: Vec<_> = views.map(|(wanted, _)| wanted.clone()).collect();
        for wanted in unused {
            if let Err(error) = self.remove(&wanted) {
                tracing::error!("{wanted} cannot be let go of: {error}");
            }
        }
    }

    /// Takes from the slots which views were used since this was last done.
    fn note_used(&mut self, now: Instant) {
        let dns = self.reader.dns();
        for (wanted, view) in &mut self.views {
            let used = match wanted {
                Wanted::Service(name) => {
                    let slot = dns.service(&name.folded());
                    slot.is_some_and(|slot| slot.take_used())
                }
                Wanted::Node(name) => {
                    let slot = dns.node(&name.folded());
                    slot.is_some_and(|slot| slot.take_used())
                }
                Wanted::Address(ip) => dns.take_owner_used(*ip),
            };
            if used {
                view.used = now;
            }
        }
    }
}

/// The view that is always there.
fn is_pinned(wanted: &Wanted) -> bool {
    matches!(wanted, Wanted::Service(name) if name.as_str() == SERVERS_SERVICE)
}

fn tell(
    answer: oneshot::Sender<Result<Presence, WantError>>,
    outcome: Result<Presence, WantError>,
) {
    // Whoever asked may have given up.
    drop(answer.send(outcome));
}
