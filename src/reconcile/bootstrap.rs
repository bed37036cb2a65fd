//! How a cluster begins: a server without a log founds one, alone or with those that gossip shows.
//!
//! `decide` is pure; `run` asks others what it wants to know and carries out what it says. Of the
//! servers that wait for each other exactly one founds: with the same members in sight all agree on
//! who that is.
//!
//! **Invariant**: a server that has a log never founds a cluster, whatever it is told to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock;
use crate::gossip::tags;
use crate::raft::{Peer, Raft, ServerId, Status};
use crate::types::{Member, MemberStatus};

use super::{Members, OwnServer, changed};

/// Time between two looks while nothing changes: others are asked again.
const LOOK: Duration = Duration::from_secs(1);
/// How long the same servers must be in sight before one of them founds: whoever starts at the same
/// time is heard of by all others within that.
const SETTLE: Duration = Duration::from_millis(500);
/// How long a server that is to lead alone, but also to join others, looks for those first: its host
/// may have been rebuilt while they went on.
const LOOK_FOR_OTHERS: Duration = Duration::from_secs(5);
/// Longest wait for another server's answer.
const ANSWER: Duration = Duration::from_secs(2);

/// Another server of this datacenter that is alive, as gossip has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    id: ServerId,
    peer: Peer,
    expect: u32,
    bootstrap: bool,
}

/// What another server said when it was asked whether it is in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// It is in none.
    Free,
    /// It is in one already.
    InCluster,
    /// It could not be asked.
    Silent,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    /// Nothing: this server is in a cluster.
    Member,
    /// Wait for others; the text says for whom.
    Wait(String),
    /// A mistake of whoever configured the servers keeps the cluster from beginning.
    Mistake(String),
    /// This one is to be asked first.
    Ask(ServerId, SocketAddr),
    /// Found the cluster with these.
    Found(BTreeMap<ServerId, Peer>),
}

/// Other servers of herald in this datacenter that are alive and may vote.
fn candidates(own: &OwnServer, members: &[Member]) -> Vec<Candidate> {
    let alive = members
        .iter()
        .filter(|member| member.status == MemberStatus::Alive);
    let servers = alive.filter_map(tags::Server::of);
    let peers = servers.filter(|server| {
        server.is_herald() && !server.read_replica && server.datacenter == own.datacenter
    });
    let candidates = peers.filter_map(|server| {
        Some(Candidate {
            id: server.id?.into(),
            peer: Peer {
                name: server.name,
                address: server.address,
            },
            expect: server.expect,
            bootstrap: server.bootstrap,
        })
    });
    candidates
        .filter(|candidate| candidate.id != own.id && candidate.peer.name != own.peer.name)
        .collect()
}

/// Decides from what is known. `asked` is what others have answered so far; `early` says that others
/// may be about to show.
fn decide(
    own: &OwnServer,
    members: &[Member],
    status: &Status,
    asked: &BTreeMap<ServerId, Asked>,
    early: bool,
) -> Decision {
    if status.is_initialized() {
        return Decision::Member;
    }
    let alone = BTreeMap::from([(own.id, own.peer.clone())]);
    if own.bootstrap {
        let others = candidates(own, members);
        if others.is_empty() && own.joins && early {
            return Decision::Wait("the servers that it is to join".to_owned());
        }
        return wait_for_answers(&others, asked).unwrap_or(Decision::Found(alone));
    }
    if own.expect == 0 {
        return Decision::Wait("a server of the cluster to take this one in".to_owned());
    }
    let others = candidates(own, members);
    if let Some(mistake) = mistake(own, &others) {
        return Decision::Mistake(mistake);
    }
    let (here, expected) = (others.len() + 1, own.expect);
    if u32::try_from(here).unwrap_or(u32::MAX) < expected {
        return Decision::Wait(format!("{expected} servers, {here} here"));
    }
    if let Some(wait) = wait_for_answers(&others, asked) {
        return wait;
    }
    let founders = others.iter().filter(|other| other.expect == expected);
    if let Some(first) = founders.min_by_key(|other| other.id)
        && first.id < own.id
    {
        return Decision::Wait(format!("{} to found the cluster", first.peer.name));
    }
    let others = others.into_iter().map(|other| (other.id, other.peer));
    Decision::Found(alone.into_iter().chain(others).collect())
}

/// What is wrong with how the servers were told to begin.
fn mistake(own: &OwnServer, others: &[Candidate]) -> Option<String> {
    let expected = own.expect;
    others.iter().find_map(|other| {
        let name = &other.peer.name;
        if other.expect != 0 && other.expect != expected {
            let theirs = other.expect;
            Some(format!(
                "{name} has bootstrap_expect {theirs}, this server {expected}: all servers must \
                 have the same"
            ))
        } else if other.bootstrap {
            Some(format!(
                "{name} has bootstrap set, so that it leads a cluster of its own: this server does \
                 not found one with bootstrap_expect {expected}"
            ))
        } else {
            None
        }
    })
}

/// Whoever has not been asked is asked; while one is in a cluster or silent, none is founded.
fn wait_for_answers(others: &[Candidate], asked: &BTreeMap<ServerId, Asked>) -> Option<Decision> {
    let said = |other: &&Candidate, answer| asked.get(&other.id) == Some(&answer);
    if let Some(member) = others.iter().find(|other| said(other, Asked::InCluster)) {
        let name = &member.peer.name;
        let text = format!("the cluster of {name} to take this server in");
        return Some(Decision::Wait(text));
    }
    if let Some(silent) = others.iter().find(|other| said(other, Asked::Silent)) {
        let Peer { name, address } = &silent.peer;
        let text = format!("{name} to say at {address} whether it is in a cluster");
        return Some(Decision::Wait(text));
    }
    let unasked = others.iter().find(|other| !asked.contains_key(&other.id))?;
    Some(Decision::Ask(unasked.id, unasked.peer.address))
}

/// Founds a cluster if this server is to, and ends once it is in one.
pub(super) async fn run(own: OwnServer, members: impl Members, raft: Raft) {
    if raft.status().is_initialized() {
        if own.bootstrap || own.expect > 0 {
            tracing::info!(
                "this server is in a cluster already: bootstrap and bootstrap_expect are ignored"
            );
        }
        return;
    }
    let driver = Driver {
        own,
        members,
        raft,
        until: clock::now() + LOOK_FOR_OTHERS,
        said: String::new(),
    };
    driver.run().await;
}

struct Driver<M> {
    own: OwnServer,
    members: M,
    raft: Raft,
    /// Until when others may be about to show.
    until: Instant,
    /// What was logged last, so that it is not said twice.
    said: String,
}

impl<M: Members> Driver<M> {
    async fn run(mut self) {
        let mut changes = self.members.members_changed();
        let mut status = self.raft.status_changed();
        let mut seen = None;
        loop {
            changes.borrow_and_update();
            status.borrow_and_update();
            let pause = match self.look().await {
                Decision::Member => return,
                Decision::Found(servers) => match settled(&mut seen, &servers, clock::now()) {
                    None => {
                        self.found(servers).await;
                        LOOK
                    }
                    Some(pause) => pause,
                },
                Decision::Mistake(mistake) => {
                    seen = None;
                    self.say(mistake, |text| tracing::error!("no cluster begins: {text}"));
                    LOOK
                }
                Decision::Wait(text) => {
                    seen = None;
                    self.say(text, |text| {
                        tracing::info!("no cluster yet, waiting for {text}");
                    });
                    LOOK
                }
                // `look` goes on until nobody is left to ask.
                Decision::Ask(..) => LOOK,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = changed(&mut changes) => {}
                () = changed(&mut status) => {}
            }
        }
    }

    /// Decides afresh, and asks whom it takes for that.
    async fn look(&self) -> Decision {
        let members = self.members.members();
        let mut asked = BTreeMap::new();
        loop {
            let early = clock::now() < self.until;
            match decide(&self.own, &members, &self.raft.status(), &asked, early) {
                Decision::Ask(id, address) => {
                    asked.insert(id, self.ask(address).await);
                }
                decision => return decision,
            }
        }
    }

    async fn ask(&self, address: SocketAddr) -> Asked {
        match tokio::time::timeout(ANSWER, self.raft.is_in_cluster(address)).await {
            Ok(Ok(true)) => Asked::InCluster,
            Ok(Ok(false)) => Asked::Free,
            Ok(Err(_)) | Err(_) => Asked::Silent,
        }
    }

    async fn found(&mut self, servers: BTreeMap<ServerId, Peer>) {
        let names: Vec<_> = servers.values().map(|peer| peer.name.clone()).collect();
        let names = names.join(", ");
        match self.raft.bootstrap(servers).await {
            Ok(()) => tracing::info!("founded a cluster of {names}"),
            Err(error) => self.say(error.to_string(), |text| {
                tracing::error!("cannot found a cluster of {names}: {text}");
            }),
        }
    }

    /// Logs what is new.
    fn say(&mut self, text: String, log: impl FnOnce(&str)) {
        if text != self.said {
            log(&text);
            self.said = text;
        }
    }
}

/// How long the same servers must still be in sight; `None` once they were for long enough. A server
/// that founds alone waits for nobody.
fn settled(
    seen: &mut Option<(BTreeMap<ServerId, Peer>, Instant)>,
    servers: &BTreeMap<ServerId, Peer>,
    now: Instant,
) -> Option<Duration> {
    let since = match seen {
        Some((same, since)) if same == servers => *since,
        _ => {
            *seen = Some((servers.clone(), now));
            now
        }
    };
    let rest = SETTLE.saturating_sub(now.saturating_duration_since(since));
    (servers.len() > 1 && !rest.is_zero()).then_some(rest)
}

#[cfg(test)]
mod tests;
