//! Messages that are whole, and that no server would send: each ends the connection, and nothing is
//! handed on.

use openraft::entry::RaftEntry as _;

use super::hostile::{answer, hello, stranger};
use super::*;
use crate::raft::network::message::{self, Numbered, Request, Response};

type Entries = AppendEntriesRequest<Types>;

/// What comes back for a request on a connection for that purpose; `None` if it is hung up.
async fn asked(world: &World, purpose: Purpose, body: Request) -> Option<Response> {
    let mut connection = stranger(world).await;
    let mut octets = message::put_first(VERSION, &hello(purpose)).unwrap();
    let number = 1;
    message::put(&mut octets, &Numbered { number, body }).unwrap();
    let welcome = answer(&mut connection, &octets).await;
    assert!(matches!(welcome, Welcome::Accepted { .. }), "{welcome:?}");
    let mut prefix = [0; 4];
    if connection.read_exact(&mut prefix).await.is_err() {
        return None;
    }
    let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
    connection.read_exact(&mut frame).await.unwrap();
    Some(message::read::<Numbered<Response>>(&frame).unwrap().body)
}

/// Each is a violation, and is not handed on.
async fn are_refused(purpose: Purpose, requests: Vec<Request>) {
    let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    for (number, request) in (1..).zip(requests) {
        let text = format!("{request:?}");
        let text: String = text.chars().take(300).collect();
        let answered = asked(&world, purpose, request).await;
        assert_eq!(answered, None, "{text}");
        let counted = async {
            while world.counts.violations.get() < number {
                tokio::task::yield_now().await;
            }
        };
        let counted = tokio::time::timeout(Duration::from_secs(20), counted).await;
        assert!(counted.is_ok(), "{text}");
    }
    assert!(world.node.appended.lock().unwrap().is_empty());
    assert!(world.node.installed.lock().unwrap().is_none());
}

fn with(change: impl FnOnce(&mut Entries)) -> Request {
    let mut request = entries(5..=7, 1);
    change(&mut request);
    Request::Append(request)
}

fn damaged() -> Bytes {
    let mut octets = command(1).to_vec();
    octets[20] ^= 1;
    octets.into()
}

/// A frame of a kind that this release knows, whose body is none.
fn misread() -> Bytes {
    let mut out = vec![1, 0, 0, 0, 1, 0, 0, 0, 9];
    let checksum = crc32c::crc32c(&out);
    out.extend(checksum.to_le_bytes());
    out.into()
}

#[tokio::test]
async fn commands_that_are_none_are_not_proposed() {
    let garbage = [
        Bytes::from_static(&[0xff, 0xfe, 0xfd, 0xfc, 0xfb]),
        Bytes::new(),
        damaged(),
        misread(),
    ];
    let proposals =
        garbage.map(|last| Request::Propose(vec![Proposal(command(1)), Proposal(last)]));
    are_refused(Purpose::Asks, proposals.into()).await;
}

#[tokio::test]
async fn commands_of_a_later_release_are_not_proposed_either() {
    let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let proposal = Request::Propose(vec![Proposal(later(1))]);
    let answered = asked(&world, Purpose::Asks, proposal).await;
    let Some(Response::Failed(text)) = answered else {
        panic!("{answered:?}");
    };
    assert!(text.contains("later release"), "{text}");
    assert_eq!(world.counts.violations.get(), 0);
}

#[tokio::test]
async fn entries_that_are_no_commands_are_not_handed_on() {
    let garbage = [
        Bytes::from_static(&[0xff, 0xfe, 0xfd, 0xfc, 0xfb]),
        Bytes::new(),
        damaged(),
    ];
    let entries = garbage.map(|command| {
        with(|request| request.entries[1].payload = EntryPayload::Normal(Proposal(command)))
    });
    are_refused(Purpose::Log, entries.into()).await;
}

#[tokio::test]
async fn numbers_that_nobody_counts_to_are_refused() {
    let vote_of = |term| VoteOf::<Types>::new(term, LEADER);
    let led_by = |term| VoteOf::<Types>::new_committed(term, LEADER);
    let at = |term, index| Some(log_id::<Types>(term, LEADER, index));
    let terms = [u64::MAX, (1 << 62) + 1];
    let mut signs = Vec::new();
    for before in [false, true] {
        // A candidate takes along whoever believes it.
        let request = VoteRequest::new(vote_of((1 << 16) + 1), None);
        signs.push(Request::Vote { request, before });
    }
    for term in terms {
        for before in [false, true] {
            let request = VoteRequest::new(vote_of(term), None);
            signs.push(Request::Vote { request, before });
            let request = VoteRequest::new(vote_of(1), at(term, 1));
            signs.push(Request::Vote { request, before });
        }
        let transfer = TransferLeaderRequest::new(led_by(term), FOLLOWER, None);
        signs.push(Request::Transfer(transfer));
        signs.push(with(|request| request.vote = led_by(term)));
    }
    for index in [u64::MAX, (1 << 62) + 1, (1 << 48) + 1] {
        let request = VoteRequest::new(vote_of(1), at(1, index));
        let before = false;
        signs.push(Request::Vote { request, before });
        signs.push(with(|request| request.leader_commit = at(1, index)));
        signs.push(with(|request| {
            request.entries.clear();
            request.prev_log_id = at(1, index);
        }));
    }
    are_refused(Purpose::Signs, signs).await;
    let end = |vote, meta| Request::SnapshotEnd {
        vote,
        meta,
        octets: 0,
        checksum: 0,
    };
    let mut ends = Vec::new();
    for last in [at(1, u64::MAX), at(1, (1 << 48) + 1)] {
        let mut meta = meta();
        meta.last_log_id = last;
        ends.push(end(vote(1), meta));
    }
    ends.push(end(led_by(u64::MAX), meta()));
    are_refused(Purpose::Snapshot, ends).await;
}

#[tokio::test]
async fn who_has_a_log_believes_in_no_leader_far_ahead() {
    let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    *world.node.newest.lock().unwrap() = Newest { term: 1, index: 1 };
    let term = 2 + (1 << 32);
    let request = with(|request| {
        request.vote = VoteOf::<Types>::new_committed(term, LEADER);
    });
    assert_eq!(asked(&world, Purpose::Signs, request).await, None);
    assert_eq!(world.counts.violations.get(), 1);
}

#[tokio::test]
async fn an_answer_of_a_term_that_nobody_counts_to_is_none() {
    let mut world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut client = world.client().await;
    *world.node.higher.lock().unwrap() = (1 << 32) + 1;
    let higher = entries(778..=778, 0);
    let answered = client.append_entries(higher.clone(), option()).await;
    let taken = AppendEntriesResponse::HigherVote(vote((1 << 32) + 1));
    assert_eq!(answered.unwrap(), taken);
    *world.node.higher.lock().unwrap() = u64::MAX;
    assert!(client.append_entries(higher, option()).await.is_err());
    assert_eq!(world.counts.violations.get(), 1);
}

#[tokio::test]
async fn who_is_far_behind_catches_up() {
    let (term, index) = (1 << 40, 1 << 50);
    for (newest, term, index) in [
        (Newest { term, index }, term + (1 << 32), index + (1 << 40)),
        // That is far, but it has nothing that could be mistaken.
        (Newest::default(), term, 1 << 40),
    ] {
        let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
        *world.node.newest.lock().unwrap() = newest;
        let request = with(|request| {
            request.vote = VoteOf::<Types>::new_committed(term, LEADER);
            request.prev_log_id = Some(log_id::<Types>(term, LEADER, index));
            request.entries.clear();
        });
        let answered = asked(&world, Purpose::Signs, request).await;
        let taken = Response::Append(AppendEntriesResponse::Success);
        assert_eq!(answered, Some(taken));
    }
}

#[tokio::test]
async fn more_servers_than_a_cluster_may_have_are_refused() {
    let many = |count: u128| {
        let ids: BTreeSet<_> = (1..=count).map(ServerId).collect();
        let peer = Peer {
            name: "s".to_owned(),
            address: ([127, 0, 0, 1], 8300).into(),
        };
        let peers = ids.iter().map(|id| (*id, peer.clone()));
        let peers: BTreeMap<_, _> = peers.collect();
        let servers = Membership::new(vec![ids], peers).unwrap();
        with(|request| request.entries[1].payload = EntryPayload::Membership(servers))
    };
    let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let answered = asked(&world, Purpose::Log, many(64)).await;
    let taken = Response::Append(AppendEntriesResponse::Success);
    assert_eq!(answered, Some(taken));
    are_refused(Purpose::Log, vec![many(65), many(100_000)]).await;
}

#[tokio::test]
async fn a_server_speaks_for_itself_only() {
    let other = ServerId(9);
    let led = VoteOf::<Types>::new_committed(1, other);
    let candidate_of = |vote| Request::Vote {
        request: VoteRequest::new(vote, None),
        before: false,
    };
    let transfer = |vote| Request::Transfer(TransferLeaderRequest::new(vote, FOLLOWER, None));
    let signs = vec![
        with(|request| request.vote = led),
        with(|request| request.vote = candidate(1)),
        candidate_of(VoteOf::<Types>::new(1, other)),
        // Not even this server's own vote.
        candidate_of(VoteOf::<Types>::new(1, FOLLOWER)),
        candidate_of(vote(1)),
        transfer(led),
        transfer(candidate(1)),
    ];
    are_refused(Purpose::Signs, signs).await;
    let ends = [led, candidate(1)].map(|vote| Request::SnapshotEnd {
        vote,
        meta: meta(),
        octets: 0,
        checksum: 0,
    });
    are_refused(Purpose::Snapshot, ends.into()).await;
}

#[tokio::test]
async fn logs_that_cannot_be_are_refused() {
    let blank = |term, index| blank_ent::<Types>(term, LEADER, index);
    let at = |term, index| Some(log_id::<Types>(term, LEADER, index));
    let later = |change: fn(&mut Entries)| {
        with(|request| {
            request.vote = vote(3);
            change(request);
        })
    };
    let logs = vec![
        // Later than who sends it.
        with(|request| request.entries[2] = blank(2, 7)),
        with(|request| request.prev_log_id = at(2, 4)),
        with(|request| request.leader_commit = at(2, 4)),
        // Leaders that go back.
        later(|request| request.entries[0] = blank_ent::<Types>(2, LEADER, 5)),
        later(|request| request.leader_commit = Some(log_id::<Types>(2, LEADER, 6))),
        later(|request| {
            for entry in &mut request.entries {
                *entry = blank_ent::<Types>(3, LEADER, entry.index());
            }
            request.leader_commit = Some(log_id::<Types>(1, LEADER, 900));
        }),
        // Not one behind the other.
        with(|request| drop(request.entries.remove(1))),
        with(|request| request.prev_log_id = None),
        with(|request| request.prev_log_id = at(1, 5)),
    ];
    are_refused(Purpose::Log, logs).await;
}

#[tokio::test]
async fn servers_without_voters_are_refused() {
    let nobody = || Membership::<ServerId, Peer>::default();
    let entry = with(|request| request.entries[1].payload = EntryPayload::Membership(nobody()));
    are_refused(Purpose::Log, vec![entry]).await;
    let mut meta = meta();
    meta.last_membership =
        openraft::StoredMembership::new(*meta.last_membership.log_id(), nobody());
    let (octets, checksum) = (0, 0);
    let end = Request::SnapshotEnd {
        vote: vote(1),
        meta,
        octets,
        checksum,
    };
    are_refused(Purpose::Snapshot, vec![end]).await;
}

#[tokio::test]
async fn messages_of_too_many_are_refused() {
    let propose = Request::Propose(vec![Proposal(command(1)); 513]);
    are_refused(Purpose::Asks, vec![propose]).await;
    let many = Request::Append(entries(1..=4_097, 0));
    are_refused(Purpose::Log, vec![many]).await;
    let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let propose = Request::Propose(vec![Proposal(command(1)); 512]);
    let answered = asked(&world, Purpose::Asks, propose).await;
    assert!(matches!(answered, Some(Response::Propose(all)) if all.len() == 512));
}

#[tokio::test]
async fn what_is_sent_keeps_to_the_bounds() {
    let mut world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut client = world.client().await;
    let appended = client.append_entries(entries(1..=9_000, 0), option()).await;
    assert_eq!(appended.unwrap(), AppendEntriesResponse::Success);
    assert_eq!(*world.node.appended.lock().unwrap(), [1, 4_097, 8_193]);
    let ask = world.network.ask();
    let commands = vec![command(1); 1_300];
    let outcomes = ask.propose(FOLLOWER, world.address, commands).await;
    assert_eq!(outcomes.unwrap().len(), 1_300);
    assert_eq!(world.counts.violations.get(), 0);
}
