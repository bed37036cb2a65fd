//! Servers whose disk is full, or holds something else than they wrote.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::cluster::{Server, TestCluster, within};
use crate::support::load::Load;
use crate::support::network::run;

use super::load::newest_snapshot;

/// A small disk in memory at the data directory of one server.
struct Disk(PathBuf);

impl Disk {
    /// One for a server that has not started; `None`, said loudly, where the system has none.
    fn under(server: &Server) -> Option<Self> {
        let path = server.directory.0.join("data");
        fs::create_dir(&path).unwrap();
        let mounted = run(&[
            "mount",
            "-t",
            "tmpfs",
            "-o",
            "size=24m",
            "herald",
            text(&path),
        ]);
        match mounted {
            Ok(()) => Some(Self(path)),
            Err(reason) => {
                eprintln!("SKIPPED: no small disk can be made here: {reason}");
                None
            }
        }
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut ballast = File::create(self.ballast()).unwrap();
        for length in [1 << 20, 1 << 12, 1] {
            while ballast.write_all(&vec![0; length]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Its server may run still.
        drop(run(&["umount", "--lazy", text(&self.0)]));
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("directories of tests are plain text")
}

/// Registers something long, so that the logs grow.
async fn register_much(server: &Server, name: &str) {
    let pairs = (0..60).map(|number| (format!("key{number}"), json!("x".repeat(500))));
    let meta: serde_json::Map<_, _> = pairs.collect();
    let body = json!({"Node": name, "Address": "10.0.0.1",
        "Service": {"Service": name, "Meta": meta}});
    // Some of it meets the change of the leader, or the full disk.
    drop(server.put("/v1/catalog/register", &body).await);
}

/// What a server says whose log has met a full disk.
fn is_full(server: &Server) -> bool {
    let log = server.log();
    log.contains("stores no more writes until there is room")
        && log.contains("No space left on device")
}

/// Who runs out of disk, and what happens then.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Full {
    Leader,
    Follower,
    /// It is killed meanwhile.
    Killed,
}

/// Three servers with a small disk each, of which one runs out of it.
async fn a_disk_fills_up(group: u8, who: Full) {
    let mut cluster = TestCluster::empty(group);
    let mut disks = Vec::new();
    for number in 1..=3 {
        let name = format!("s{number}");
        let mut server = cluster.prepare(&name, number, &["-bootstrap-expect=3"]);
        let Some(disk) = Disk::under(&server) else {
            return;
        };
        disks.push(disk);
        server.start();
        cluster.servers.push(server);
    }
    let leader = cluster.elects().await;
    let load = Load::begin(&cluster).await;
    load.goes_on_at(&[0, 1, 2]).await;
    let full = match who {
        Full::Leader => leader,
        Full::Follower | Full::Killed => (leader + 1) % 3,
    };
    let others: Vec<_> = (0..3).filter(|place| *place != full).collect();
    disks[full].fill();
    let mut number = 0;
    within(async || {
        number += 1;
        register_much(&cluster.servers[others[0]], &format!("much{number}")).await;
        is_full(&cluster.servers[full])
    })
    .await;
    // Another one leads, if it did, and whoever has room stores; it answers from memory.
    load.goes_on_at(&others).await;
    let address = format!("{}:8300", cluster.servers[full].ip);
    within(async || {
        let leader = cluster.servers[others[0]].leader().await;
        !leader.is_empty() && leader != address
    })
    .await;
    // It says at once what is wrong, and that what it answers may be old.
    let server = &cluster.servers[full];
    within(async || server.extended_errors("steady").await == [3]).await;
    let refused = server.register("refused", [10, 0, 0, 1].into()).await;
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("no room for writes on the disk"), "{text}");
    let server = &mut cluster.servers[full];
    if who == Full::Killed {
        server.kill();
    }
    disks[full].make_room();
    if who == Full::Killed {
        server.start();
    }
    cluster.elects().await;
    load.goes_on_at(&[0, 1, 2]).await;
    cluster.all_have_voters(&["s1", "s2", "s3"]).await;
    load.finish(&cluster).await;
    if who != Full::Killed {
        // It looks once a second.
        within(async || cluster.servers[full].log().contains("there is room again")).await;
    }
    // They are unmounted before their directories go.
    drop(disks);
}

#[tokio::test]
async fn a_follower_with_a_full_disk_answers_from_memory_and_comes_back() {
    a_disk_fills_up(51, Full::Follower).await;
}

#[tokio::test]
async fn a_follower_that_is_killed_while_its_disk_is_full_comes_back() {
    a_disk_fills_up(55, Full::Killed).await;
}

#[tokio::test]
async fn a_leader_with_a_full_disk_leaves_the_lead_to_others_and_comes_back() {
    a_disk_fills_up(52, Full::Leader).await;
}

/// What starts a program none of whose files can become longer than 8 MiB. No room helps against
/// that, as against a disk that breaks.
const WITH_SHORT_FILES: [&str; 3] = [
    "sh",
    "-c",
    r#"trap "" XFSZ; ulimit -f 16384; exec "$0" "$@""#,
];

#[tokio::test]
async fn a_server_whose_disk_fails_says_so_and_answers_from_memory() {
    let mut cluster = TestCluster::empty(57);
    for number in 1..=3 {
        let name = format!("s{number}");
        let mut server = cluster.prepare(&name, number, &["-bootstrap-expect=3"]);
        if number == 3 {
            server.behind = WITH_SHORT_FILES.map(str::to_owned).into();
        }
        server.start();
        cluster.servers.push(server);
    }
    cluster.elects().await;
    let load = Load::begin(&cluster).await;
    load.goes_on_at(&[0, 1, 2]).await;
    let mut number = 0;
    within(async || {
        number += 1;
        register_much(&cluster.servers[0], &format!("much{number}")).await;
        cluster.servers[2].log().contains("Raft has stopped: ")
    })
    .await;
    load.goes_on_at(&[0, 1]).await;
    // It answers from memory, and says that this may be old.
    let server = &mut cluster.servers[2];
    assert!(server.log().contains("the log takes no more: "));
    within(async || server.extended_errors("steady").await == [3]).await;
    assert_eq!(server.figure("herald_raft_stopped").await, Some(1));
    let refused = server.register("refused", [10, 0, 0, 1].into()).await;
    refused.unwrap_err();
    server.kill();
    server.behind.clear();
    server.start();
    cluster.elects().await;
    load.goes_on_at(&[0, 1, 2]).await;
    cluster.all_have_voters(&["s1", "s2", "s3"]).await;
    load.finish(&cluster).await;
}

#[tokio::test]
async fn a_server_on_its_own_refuses_writes_while_its_disk_is_full() {
    let mut cluster = TestCluster::empty(56);
    let mut server = cluster.prepare("s1", 1, &["-bootstrap"]);
    let Some(disk) = Disk::under(&server) else {
        return;
    };
    server.start();
    cluster.servers.push(server);
    cluster.elects().await;
    let server = &cluster.servers[0];
    let place = [10, 9, 9, 9].into();
    within(async || server.register("before", place).await.is_ok()).await;
    disk.fill();
    within(async || {
        register_much(server, "much").await;
        is_full(server)
    })
    .await;
    let refused = server.register("refused", place).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("no room for writes on the disk"), "{text}");
    assert_eq!(server.addresses("before").await, [place.to_string()]);
    disk.make_room();
    within(async || server.register("after", place).await.is_ok()).await;
    let (_, digest) = server.digest().await.unwrap();
    // What is acknowledged lasts.
    let server = &mut cluster.servers[0];
    server.kill();
    server.start();
    within(async || server.digest().await.is_some_and(|(_, now)| now == digest)).await;
    drop(disk);
}

/// Starts a server whose disk was changed. It comes back by itself, or refuses, and comes back
/// after the repair that it names. Whether it came back by itself.
async fn comes_back(cluster: &mut TestCluster, place: usize) -> bool {
    let server = &mut cluster.servers[place];
    let before = server.log().len();
    server.start();
    let mut refused = false;
    within(async || {
        refused = server.has_ended();
        refused || !server.leader().await.is_empty()
    })
    .await;
    if refused {
        let said = server.log().split_off(before);
        let raft = server.directory.0.join("data/raft");
        let repair = format!("move {}", raft.display());
        let named = said
            .replace("move the directory ", "move ")
            .contains(&repair);
        assert!(named && said.contains("start again"), "{said}");
        fs::rename(&raft, server.directory.0.join(format!("moved-{before}"))).unwrap();
        server.start();
    }
    cluster.elects().await;
    !refused
}

/// Flips a bit in each copy of `text` in a file.
fn flip(path: &Path, text: &str) {
    let mut octets = fs::read(path).unwrap();
    let windows = octets.windows(text.len()).enumerate();
    let places = windows.filter(|(_, octets)| *octets == text.as_bytes());
    let places: Vec<_> = places.map(|(place, _)| place).collect();
    assert!(!places.is_empty(), "{text} is not in {}", path.display());
    for place in places {
        octets[place] ^= 4;
    }
    fs::write(path, octets).unwrap();
}

/// Cuts off the last part of a file.
fn cut(path: &Path, octets: u64) {
    let file = File::options().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length - octets).unwrap();
}

async fn three_that_make_snapshots(group: u8, threshold: u32) -> TestCluster {
    let mut cluster = TestCluster::empty(group);
    for number in 1..=3 {
        let threshold = format!("-hcl=raft_snapshot_threshold = {threshold}");
        let flags = [
            "-bootstrap-expect=3",
            &threshold,
            "-hcl=raft_trailing_logs = 10",
        ];
        cluster.add(number, &flags);
    }
    cluster.elects().await;
    cluster
}

#[tokio::test]
async fn a_log_with_a_flipped_bit_or_without_its_end_is_refused_or_recovered() {
    let mut cluster = TestCluster::start(53, 3).await;
    let load = Load::begin(&cluster).await;
    for damage in ["flipped", "cut"] {
        load.goes_on_at(&[0, 1, 2]).await;
        let leader = cluster.elects().await;
        let place = (leader + 1) % 3;
        cluster.servers[place].kill();
        let log = cluster.servers[place]
            .directory
            .0
            .join("data/raft/log.redb");
        match damage {
            "flipped" => flip(&log, "node-steady"),
            _ => cut(&log, 4_096 + 100),
        }
        let itself = comes_back(&mut cluster, place).await;
        assert!(damage != "flipped" || !itself, "a flipped bit is noticed");
    }
    load.goes_on_at(&[0, 1, 2]).await;
    cluster.all_have_voters(&["s1", "s2", "s3"]).await;
    load.finish(&cluster).await;
}

#[tokio::test]
async fn a_half_written_snapshot_is_passed_over_or_refused() {
    let mut cluster = three_that_make_snapshots(54, 50).await;
    let load = Load::begin(&cluster).await;
    let leader = cluster.elects().await;
    let place = (leader + 1) % 3;
    within(async || newest_snapshot(&cluster.servers[place]).is_some()).await;
    cluster.servers[place].kill();
    let directory = cluster.servers[place]
        .directory
        .0
        .join("data/raft/snapshots");
    let unfinished = directory.join("7.partial");
    fs::write(&unfinished, "hrldsnap and no more").unwrap();
    assert!(
        comes_back(&mut cluster, place).await,
        "what was not finished does not count"
    );
    assert!(!unfinished.exists());
    load.goes_on_at(&[0, 1, 2]).await;
    cluster.servers[place].kill();
    let newest = newest_snapshot(&cluster.servers[place]).unwrap();
    let mut files = fs::read_dir(&directory)
        .unwrap()
        .map(|file| file.unwrap().path());
    let is_newest = |path: &PathBuf| text(path).ends_with(&format!("-{newest}.snapshot"));
    cut(&files.find(is_newest).unwrap(), 100);
    comes_back(&mut cluster, place).await;
    load.goes_on_at(&[0, 1, 2]).await;
    load.finish(&cluster).await;
}
