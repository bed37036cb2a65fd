//! Whom this node knew and what time it was, kept in a file for a restart.
//!
//! Text, one line for each thing that became known, in the format that serf agents keep, so that
//! the file of a replaced agent serves on: `alive: NAME ADDRESS`, `not-alive: NAME`, `clock: N`,
//! `event-clock: N`, `query-clock: N`, `leave`. What else is there, and a line that a crash has
//! torn, says nothing. Lines are appended and reach the disk within half a second; a file that
//! has grown too long is written anew beside the old one and takes its place.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::serf::{LamportTime, Memory, Remembered};
use super::swim::Name;

/// Octets that a file may have before it is written anew, at least.
const COMPACT_OCTETS_MIN: u64 = 128 * 1_024;

/// Octets for each member before the file is written anew.
const COMPACT_OCTETS_EACH: u64 = 256;

/// Octets of a file that is read at the start; a longer one is none of this program.
const READ_OCTETS_MAX: u64 = 256 * 1_024 * 1_024;

/// Time between two writes: a crash forgets no more than this.
const WRITE_INTERVAL: Duration = Duration::from_millis(500);

/// Keeps what it is told in a file. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// What has not been written yet.
    pending: Mutex<Pending>,
    woken: Notify,
}

/// The newest of each kind: bounded by the members, however fast they come and go.
#[derive(Debug, Default)]
struct Pending {
    members: HashMap<Name, Option<SocketAddr>>,
    clocks: Clocks,
    leave: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Clocks {
    member: Option<LamportTime>,
    event: Option<LamportTime>,
    query: Option<LamportTime>,
}

/// The file, and what it says.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    file: File,
    octets: u64,
    known: Known,
    rejoin_after_leave: bool,
}

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    alive: BTreeMap<Name, SocketAddr>,
    clock: LamportTime,
    event_clock: LamportTime,
    query_clock: LamportTime,
}

impl Store {
    /// Opens the file at `path`, which need not exist, and reads what it says. After a `leave` that
    /// is nothing, unless `rejoin_after_leave`.
    ///
    /// # Errors
    /// It cannot be read or written, or is longer than 256 MiB.
    pub(crate) fn open(path: &Path, rejoin_after_leave: bool) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        if file.metadata()?.len() > READ_OCTETS_MAX {
            let text = format!("snapshot is longer than {READ_OCTETS_MAX} octets");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut content = Vec::new();
        (&file).take(READ_OCTETS_MAX).read_to_end(&mut content)?;
        // A crash may have torn the last line; it goes, so that the next one begins where a line
        // begins.
        let whole = content.iter().rposition(|octet| *octet == b'\n');
        content.truncate(whole.map_or(0, |end| end + 1));
        let octets = u64::try_from(content.len()).unwrap_or(READ_OCTETS_MAX);
        file.set_len(octets)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            octets,
            known: Known::read(&content, rejoin_after_leave),
            rejoin_after_leave,
        })
    }

    /// What is known from before.
    pub(crate) fn remembered(&self) -> Remembered {
        let alive = self.known.alive.iter();
        Remembered {
            alive: alive.map(|(name, at)| (Name::clone(name), *at)).collect(),
            clock: self.known.clock,
            event_clock: self.known.event_clock,
            query_clock: self.known.query_clock,
        }
    }

    /// Appends what has come, and waits for the disk.
    fn append(&mut self, pending: Pending) -> io::Result<()> {
        let mut lines = String::new();
        self.known
            .take(pending, self.rejoin_after_leave, &mut lines);
        self.file.write_all(lines.as_bytes())?;
        self.file.sync_data()?;
        self.octets += u64::try_from(lines.len()).unwrap_or(READ_OCTETS_MAX);
        let members = u64::try_from(self.known.alive.len()).unwrap_or(u64::MAX);
        if self.octets > COMPACT_OCTETS_MIN.max(members.saturating_mul(COMPACT_OCTETS_EACH)) {
            self.compact()?;
        }
        Ok(())
    }

    /// Writes what is known anew: whole under another name first, so that a crash leaves one or the
    /// other.
    fn compact(&mut self) -> io::Result<()> {
        let mut beside = self.path.clone().into_os_string();
        beside.push(".compact");
        let beside = PathBuf::from(beside);
        let lines = self.known.lines();
        let mut file = File::create(&beside)?;
        file.write_all(lines.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        self.file = file;
        self.octets = u64::try_from(lines.len()).unwrap_or(READ_OCTETS_MAX);
        Ok(())
    }
}

impl Known {
    fn read(content: &[u8], rejoin_after_leave: bool) -> Self {
        let mut known = Self::default();
        for line in content.split(|octet| *octet == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else {
                continue;
            };
            if line == "leave" {
                if !rejoin_after_leave {
                    known = Self::default();
                }
                continue;
            }
            let Some((what, value)) = line.split_once(": ") else {
                continue;
            };
            match what {
                "alive" => known.read_alive(value),
                "not-alive" => drop(known.alive.remove(value)),
                "clock" => known.clock = value.parse().unwrap_or(known.clock),
                "event-clock" => known.event_clock = value.parse().unwrap_or(known.event_clock),
                "query-clock" => known.query_clock = value.parse().unwrap_or(known.query_clock),
                _ => {}
            }
        }
        known
    }

    fn read_alive(&mut self, value: &str) {
        // The address stands last; a name may have spaces.
        let Some((name, address)) = value.rsplit_once(' ') else {
            return;
        };
        if let Ok(address) = address.parse() {
            self.alive.insert(name.into(), address);
        }
    }

    /// Takes what has come and appends its lines to `lines`.
    fn take(&mut self, pending: Pending, rejoin_after_leave: bool, lines: &mut String) {
        for (name, address) in pending.members {
            if let Some(address) = address {
                line(lines, "alive", &format_args!("{name} {address}"));
                self.alive.insert(name, address);
            } else {
                line(lines, "not-alive", &name);
                self.alive.remove(&name);
            }
        }
        let Clocks {
            member,
            event,
            query,
        } = pending.clocks;
        for (what, new, known) in [
            ("clock", member, &mut self.clock),
            ("event-clock", event, &mut self.event_clock),
            ("query-clock", query, &mut self.query_clock),
        ] {
            if let Some(new) = new {
                line(lines, what, &new);
                *known = new;
            }
        }
        if pending.leave {
            lines.push_str("leave\n");
            if !rejoin_after_leave {
                *self = Self::default();
            }
        }
    }

    fn lines(&self) -> String {
        let mut lines = String::new();
        for (name, address) in &self.alive {
            line(&mut lines, "alive", &format_args!("{name} {address}"));
        }
        line(&mut lines, "clock", &self.clock);
        line(&mut lines, "event-clock", &self.event_clock);
        line(&mut lines, "query-clock", &self.query_clock);
        lines
    }
}

fn line(lines: &mut String, what: &str, value: &dyn std::fmt::Display) {
    writeln!(lines, "{what}: {value}").expect("a string takes all that is written to it");
}

impl Snapshot {
    /// Keeps what it will be told in `store`, which [`Snapshot::write`] writes.
    pub(crate) fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                pending: Mutex::default(),
                woken: Notify::new(),
            }),
        }
    }

    /// Keeps one thing. Never waits; it is on the disk within half a second.
    pub(crate) fn remember(&self, memory: Memory) {
        let mut pending = self.lock();
        match memory {
            // A name that is no line of its own could say anything in the file.
            Memory::Alive(name, _) | Memory::NotAlive(name) if name.contains(['\n', '\r']) => {
                return;
            }
            Memory::Alive(name, address) => drop(pending.members.insert(name, Some(address))),
            Memory::NotAlive(name) => drop(pending.members.insert(name, None)),
            Memory::Clock(time) => pending.clocks.member = Some(time),
            Memory::EventClock(time) => pending.clocks.event = Some(time),
            Memory::QueryClock(time) => pending.clocks.query = Some(time),
            Memory::Leave => pending.leave = true,
        }
        drop(pending);
        self.shared.woken.notify_one();
    }

    /// Writes what comes until `stopping`, and then what has come by then.
    pub(crate) async fn write(self, store: Store, stopping: CancellationToken) {
        let mut store = Some(store);
        let mut failing = false;
        while let Some(mut open) = store.take() {
            let stop = tokio::select! {
                () = stopping.cancelled() => true,
                () = self.shared.woken.notified() => false,
            };
            let pending = std::mem::take(&mut *self.lock());
            let write = move || {
                let written = open.append(pending);
                (open, written)
            };
            let Ok((open, written)) = tokio::task::spawn_blocking(write).await else {
                return; // The runtime ends.
            };
            match written {
                Ok(()) => failing = false,
                // Once, not for each line: a full disk does not empty by being told of.
                Err(error) if !failing => {
                    failing = true;
                    let path = open.path.display();
                    tracing::error!("cannot write the snapshot {path}: {error}");
                }
                Err(_) => {}
            }
            if stop {
                return;
            }
            store = Some(open);
            tokio::select! {
                () = stopping.cancelled() => {}
                () = tokio::time::sleep(WRITE_INTERVAL) => {}
            }
        }
    }

    /// A panic elsewhere does not make it useless.
    fn lock(&self) -> MutexGuard<'_, Pending> {
        let pending = &self.shared.pending;
        pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("herald-snapshot-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
        fn file(&self) -> PathBuf {
            self.0.join("local.snapshot")
        }
        fn with(name: &str, content: &str) -> Self {
            let directory = Self::new(name);
            fs::write(directory.file(), content).unwrap();
            directory
        }
        fn remembered(&self, rejoin_after_leave: bool) -> Remembered {
            let store = Store::open(&self.file(), rejoin_after_leave);
            store.unwrap().remembered()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    fn all() -> Pending {
        Pending {
            members: [("a".into(), Some(at("10.0.0.1:8301"))), ("b".into(), None)].into(),
            clocks: Clocks {
                member: Some(5),
                event: Some(6),
                query: Some(7),
            },
            leave: false,
        }
    }

    #[test]
    fn what_serf_agents_write_is_read() {
        let directory = Directory::with(
            "serf",
            "alive: a 10.0.0.1:7946\nclock: 3\nalive: b c 10.0.0.2:7946\nevent-clock: 4\n\
             alive: d [::1]:7946\nnot-alive: a\ncoordinate: {\"Vec\":[0]}\n# comment\n\
             query-clock: 5\nalive: e nowhere\nclock: x\n\nalive: torn 10.0.0.3:79",
        );
        let remembered = directory.remembered(false);
        let alive = [("b c", "10.0.0.2:7946"), ("d", "[::1]:7946")];
        assert_eq!(
            remembered,
            Remembered {
                alive: alive
                    .map(|(name, address)| (name.into(), at(address)))
                    .into(),
                clock: 3,
                event_clock: 4,
                query_clock: 5,
            }
        );
    }

    #[test]
    fn a_torn_line_does_not_spoil_the_next_one() {
        let directory = Directory::with("torn", "alive: z 10.0.0.9:1\nalive: torn 10.0.0.3:79");
        let mut store = Store::open(&directory.file(), false).unwrap();
        store.append(all()).unwrap();
        let names: Vec<_> = directory.remembered(false).alive;
        let expected = [("a", "10.0.0.1:8301"), ("z", "10.0.0.9:1")];
        assert_eq!(
            names,
            expected.map(|(name, address)| (name.into(), at(address)))
        );
    }

    #[test]
    fn a_leave_clears_unless_it_is_to_be_rejoined() {
        let content = "alive: a 10.0.0.1:7946\nclock: 3\nleave\nevent-clock: 4\n";
        let directory = Directory::with("leave", content);
        let cleared = directory.remembered(false);
        assert_eq!(cleared.alive, []);
        assert_eq!((cleared.clock, cleared.event_clock), (0, 4));
        let kept = directory.remembered(true);
        assert_eq!(kept.alive.len(), 1);
        assert_eq!((kept.clock, kept.event_clock), (3, 4));
    }

    #[test]
    fn a_long_file_is_written_anew_and_says_the_same() {
        let directory = Directory::new("compact");
        let mut store = Store::open(&directory.file(), false).unwrap();
        let mut longest = 0;
        for clock in 0..1_000 {
            let many = |of| (0..20).map(move |n| (format!("{of}{n:030}").into(), None));
            let mut pending = all();
            pending.members.extend(many('x'));
            pending.clocks.member = Some(clock);
            store.append(pending).unwrap();
            longest = longest.max(fs::metadata(directory.file()).unwrap().len());
        }
        assert!(longest <= COMPACT_OCTETS_MIN + 2_000, "{longest}");
        let known = store.known.clone();
        assert_eq!(known.clock, 999);
        drop(store);
        assert_eq!(Store::open(&directory.file(), false).unwrap().known, known);
    }

    #[tokio::test]
    async fn what_was_told_before_the_end_is_in_the_file() {
        let directory = Directory::new("stop");
        let store = Store::open(&directory.file(), false).unwrap();
        let snapshot = Snapshot::new();
        snapshot.remember(Memory::Alive("a".into(), at("10.0.0.1:8301")));
        snapshot.remember(Memory::Alive("evil\nleave".into(), at("10.0.0.2:8301")));
        snapshot.remember(Memory::Clock(9));
        let stopping = CancellationToken::new();
        stopping.cancel();
        snapshot.write(store, stopping).await;
        let remembered = directory.remembered(false);
        assert_eq!(remembered.alive, [("a".into(), at("10.0.0.1:8301"))]);
        assert_eq!(remembered.clock, 9);
    }
}
