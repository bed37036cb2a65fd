//! One pool of this program and real serf agents. They are skipped, and say so, where serf is not
//! installed.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use herald::gossip::keyring::{Key, Keyring};
use herald::gossip::serf::KeyOperation;
use herald::types::MemberStatus::{Alive, Failed, Left};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::{Node, setup};
use crate::support::directory::Directory;

const PROGRAM: &str = "/usr/bin/serf";

/// What a real agent may take: it probes once a second, and a suspect has three.
const PATIENCE: Duration = Duration::from_secs(40);

/// A running serf agent; ended with this value.
struct SerfAgent {
    process: Child,
    /// Where it gossips, and where it takes commands.
    gossip: SocketAddr,
    commands: SocketAddr,
    directory: Directory,
}

/// Whether there is a serf to run.
fn installed() -> bool {
    let installed = Path::new(PROGRAM).exists();
    if !installed {
        eprintln!("SKIPPED: {PROGRAM} is not installed; apt-get install serf");
    }
    installed
}

/// Waits until `holds`, as long as a real agent may take.
async fn in_time(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let held = tokio::time::timeout(PATIENCE, poll).await;
    held.unwrap_or_else(|_| panic!("{what} within {PATIENCE:?}"));
}

/// A port of `ip` that nobody has: serf takes no port 0.
fn free(ip: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    listener.local_addr().unwrap()
}

impl SerfAgent {
    /// An agent named `name` on 127.0.21.`last`, ready for commands. Its events go to a file.
    async fn start(name: &str, last: u8, more: &[&str]) -> Self {
        Self::start_at(name, free([127, 0, 21, last].into()), more).await
    }

    async fn start_at(name: &str, gossip: SocketAddr, more: &[&str]) -> Self {
        let directory = Directory::new();
        let commands = free(gossip.ip());
        let events = directory.0.join("events");
        // The payload has no line end of its own.
        let handler = format!(
            "user=echo \"$SERF_USER_EVENT $(cat)\" >> {}",
            events.display()
        );
        let process = Command::new(PROGRAM)
            .arg("agent")
            .arg(format!("-bind={gossip}"))
            .arg(format!("-rpc-addr={commands}"))
            .arg(format!("-node={name}"))
            .args(["-profile=local", "-tag", "kind=serf"])
            .arg(format!("-event-handler={handler}"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let agent = Self {
            process,
            gossip,
            commands,
            directory,
        };
        in_time("serf answers", async || {
            agent.run("info", &[]).await.status.success()
        })
        .await;
        agent
    }

    fn address(&self) -> String {
        self.gossip.to_string()
    }

    /// Runs `serf COMMAND`.
    async fn run(&self, command: &str, arguments: &[&str]) -> Output {
        let output = Command::new(PROGRAM)
            .arg(command)
            .arg(format!("-rpc-addr={}", self.commands))
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, output).await;
        output.expect("the command ends in time").unwrap()
    }

    /// The same for commands that must succeed; what they print.
    async fn ask(&self, command: &str, arguments: &[&str]) -> String {
        let output = self.run(command, arguments).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "serf {command}: {text}{error}");
        text
    }

    async fn member(&self, name: &str) -> Value {
        let text = self.ask("members", &["-format=json"]).await;
        let members: Value = serde_json::from_str(&text).unwrap();
        let members = members["members"].as_array().cloned().unwrap_or_default();
        let found = members.into_iter().find(|member| member["name"] == name);
        found.unwrap_or_default()
    }

    /// Waits until it shows `name` as `status`.
    async fn sees(&self, name: &str, status: &str) {
        let what = format!("serf shows {name} as {status}");
        in_time(&what, async || self.member(name).await["status"] == status).await;
    }

    /// The events that it has heard.
    fn events(&self) -> String {
        let events = self.directory.0.join("events");
        std::fs::read_to_string(events).unwrap_or_default()
    }

    /// Ends it without a word to the others.
    async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }
}

/// A node of this program and an agent of serf in one pool.
async fn pair(last: u8) -> (Node, SerfAgent) {
    let node = setup("h", last).start();
    let serf = SerfAgent::start("s", last + 1, &[]).await;
    let joined = node.pool.join(&[serf.address()], false).await;
    assert_eq!((joined.reached, joined.failed), (1, Vec::new()));
    serf.sees("h", "alive").await;
    node.sees("s", Alive).await;
    (node, serf)
}

#[tokio::test]
async fn both_see_each_other_with_tags_events_and_distances() {
    if !installed() {
        return;
    }
    let (node, serf) = pair(150).await;
    let member = serf.member("h").await;
    assert_eq!(member["addr"], node.address().to_string());
    assert_eq!(member["tags"]["of"], "h");
    let members = node.pool.members();
    assert_eq!(members[1].tags["kind"], "serf");
    assert_eq!(members[1].port, serf.gossip.port());
    // Events, from either side.
    node.pool.fire("from-herald", b"1", false).await.unwrap();
    in_time("serf hears the event", async || {
        serf.events() == "from-herald 1\n"
    })
    .await;
    let mut events = node.pool.events();
    serf.ask("event", &["-coalesce=false", "from-serf", "2"])
        .await;
    let event = tokio::time::timeout(PATIENCE, events.recv()).await;
    let event = event.expect("the event comes in time").unwrap();
    assert_eq!((&*event.name, &*event.payload), ("from-serf", &b"2"[..]));
    // A query that all members acknowledge.
    let reached = serf.ask("reachability", &[]).await;
    assert!(
        reached.contains("Successfully contacted all live nodes"),
        "{reached}"
    );
    // Tags that change on either side.
    serf.ask("tags", &["-set", "kind=changed"]).await;
    in_time("tags of serf arrive", async || {
        node.pool.members()[1].tags["kind"] == "changed"
    })
    .await;
    let tags = super::tags(&[("of", "other")]);
    node.pool.set_tags(tags).await.unwrap();
    in_time("tags arrive at serf", async || {
        serf.member("h").await["tags"]["of"] == "other"
    })
    .await;
    // Each has measured the other.
    in_time("serf knows a distance", async || {
        serf.run("rtt", &["h", "s"]).await.status.success()
    })
    .await;
    in_time("a coordinate of serf arrives", async || {
        node.pool.coordinate_of("s").is_some()
    })
    .await;
    serf.kill().await;
    node.kill().await;
}

#[tokio::test]
async fn each_sees_that_the_other_was_killed_and_came_back() {
    if !installed() {
        return;
    }
    let (node, serf) = pair(155).await;
    let place = serf.gossip;
    serf.kill().await;
    in_time("serf has failed", async || node.status_of("s") == Failed).await;
    // A failed name stays with its address.
    let join = format!("-join={}", node.address());
    let serf = SerfAgent::start_at("s", place, &[&join]).await;
    node.sees("s", Alive).await;
    serf.sees("h", "alive").await;
    let address = node.address();
    node.kill().await;
    serf.sees("h", "failed").await;
    let mut again = setup("h", 155);
    (again.config.bind, again.config.own.address) = (address, address);
    let again = again.start();
    let joined = again.pool.join(&[serf.address()], false).await;
    assert_eq!(joined.reached, 1, "{joined:?}");
    serf.sees("h", "alive").await;
    again.kill().await;
    serf.kill().await;
}

#[tokio::test]
async fn each_sees_that_the_other_has_left() {
    if !installed() {
        return;
    }
    let (node, serf) = pair(160).await;
    serf.ask("leave", &[]).await;
    in_time("serf has left", async || node.status_of("s") == Left).await;
    // A name that has left may come back from elsewhere.
    let serf = SerfAgent::start("s", 162, &[&format!("-join={}", node.address())]).await;
    node.sees("s", Alive).await;
    serf.sees("h", "alive").await;
    node.pool.leave().await.unwrap();
    serf.sees("h", "left").await;
    serf.kill().await;
    node.kill().await;
}

#[tokio::test]
async fn a_failed_member_is_declared_gone_from_either_side() {
    if !installed() {
        return;
    }
    let (node, serf) = pair(165).await;
    let second = SerfAgent::start("t", 167, &[&format!("-join={}", serf.address())]).await;
    node.sees("t", Alive).await;
    second.kill().await;
    in_time("it has failed", async || node.status_of("t") == Failed).await;
    serf.sees("t", "failed").await;
    node.pool.force_leave("t", false).await.unwrap();
    serf.sees("t", "left").await;
    let third = setup("u", 168).start();
    third.join(&node).await;
    serf.sees("u", "alive").await;
    third.kill().await;
    serf.sees("u", "failed").await;
    in_time("it has failed", async || node.status_of("u") == Failed).await;
    serf.ask("force-leave", &["u"]).await;
    in_time("it has left", async || node.status_of("u") == Left).await;
    node.kill().await;
    serf.kill().await;
}

/// The keys that serf lists, and how many members have each.
async fn keys(serf: &SerfAgent) -> Vec<(String, String)> {
    let listed = serf.ask("keys", &["-list"]).await;
    let lines = listed.lines().filter(|line| line.ends_with(']'));
    let pairs = lines.map(|line| {
        let (key, count) = line.trim().split_once(' ').unwrap();
        (key.to_owned(), count.trim().to_owned())
    });
    pairs.collect()
}

#[tokio::test]
async fn keys_are_rotated_from_either_side() {
    if !installed() {
        return;
    }
    let key = |octet: u8| Key::new(&[octet; 32]).unwrap();
    let node = setup("h", 170).keyring(Keyring::new(key(1))).start();
    let encrypt = format!("-encrypt={}", key(1).to_base64());
    let join = format!("-join={}", node.address());
    let serf = SerfAgent::start("s", 171, &[&encrypt, &join]).await;
    node.sees("s", Alive).await;
    serf.sees("h", "alive").await;
    // By serf's commands: the new key on all, in use, the old one gone.
    let second = key(2).to_base64();
    serf.ask("keys", &["-install", &second]).await;
    serf.ask("keys", &["-use", &second]).await;
    serf.ask("keys", &["-remove", &key(1).to_base64()]).await;
    assert_eq!(keys(&serf).await, [(second, "[2/2]".to_owned())]);
    // And once more by this program's.
    for operation in [
        KeyOperation::Install(key(3).octets().to_vec()),
        KeyOperation::Use(key(3).octets().to_vec()),
        KeyOperation::Remove(key(2).octets().to_vec()),
        KeyOperation::List,
    ] {
        let report = node.pool.keys(operation, 0).await.unwrap();
        assert_eq!((report.members, report.answers.len()), (2, 2), "{report:?}");
        assert!(
            report.answers.iter().all(|(_, answer)| answer.done),
            "{report:?}"
        );
    }
    let third = key(3).to_base64();
    assert_eq!(keys(&serf).await, [(third, "[2/2]".to_owned())]);
    // A stranger with the first key is out.
    let stranger = setup("x", 172).keyring(Keyring::new(key(1))).start();
    let joined = stranger.pool.join(&[serf.address()], false).await;
    assert_eq!(joined.reached, 0, "{joined:?}");
    for node in [node, stranger] {
        node.kill().await;
    }
    serf.kill().await;
}
