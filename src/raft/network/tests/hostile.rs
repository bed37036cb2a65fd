//! Strangers, servers of other clusters and versions, and those that go silent.

use proptest::prelude::*;

use super::*;
use crate::raft::network::message;

/// A connection that has said nothing but its first octet.
pub(super) async fn stranger(world: &World) -> TcpStream {
    let mut connection = TcpStream::connect(world.address).await.unwrap();
    connection.write_u8(crate::rpc::octet::RAFT).await.unwrap();
    connection
}

pub(super) fn hello(purpose: Purpose) -> Hello {
    Hello {
        cluster: Some(CLUSTER),
        from: LEADER,
        to: Some(FOLLOWER),
        purpose,
    }
}

/// What the follower says to a first message, until it hangs up or welcomes.
pub(super) async fn answer(connection: &mut TcpStream, octets: &[u8]) -> Welcome {
    connection.write_all(octets).await.unwrap();
    let mut prefix = [0; 4];
    connection.read_exact(&mut prefix).await.unwrap();
    let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
    connection.read_exact(&mut frame).await.unwrap();
    match message::read_first(&frame).unwrap() {
        First::Known(welcome) => welcome,
        First::Other(version) => panic!("version {version}"),
    }
}

/// Waits until the other side has hung up.
pub(super) async fn hung_up(connection: &mut TcpStream) {
    let mut rest = Vec::new();
    // Whether it ends or is reset does not matter.
    drop(connection.read_to_end(&mut rest).await);
}

#[tokio::test]
async fn a_server_of_another_cluster_is_refused() {
    let mut world = World::new(Some(CLUSTER + 1), Some(CLUSTER)).await;
    let mut client = world.client().await;
    let voted = client
        .vote(VoteRequest::new(candidate(1), None), option())
        .await;
    let text = voted.unwrap_err().to_string();
    assert!(text.contains("in another cluster"), "{text}");
    let ours = format!("{CLUSTER:032x}");
    assert!(!text.contains(&ours), "it tells its own: {text}");
    world.refused(Refusal::Cluster).await;
    assert_eq!(world.node.cluster(), Some(CLUSTER));
}

#[tokio::test]
async fn an_address_that_belongs_to_another_server_is_noticed() {
    let mut world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let peer = world.peer();
    let mut client = world.network.new_client(ServerId(3), &peer).await;
    let appended = client.append_entries(entries(1..=1, 1), option()).await;
    assert!(appended.unwrap_err().to_string().contains("this is server"));
    world.refused(Refusal::Target).await;
    assert!(world.node.appended.lock().unwrap().is_empty());
}

#[tokio::test]
async fn another_version_is_refused_in_words() {
    let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut connection = stranger(&world).await;
    let octets = message::put_first(VERSION + 1, &hello(Purpose::Log)).unwrap();
    let Welcome::Refused(text) = answer(&mut connection, &octets).await else {
        panic!("it is welcome");
    };
    assert!(text.contains("version 2"), "{text}");
    hung_up(&mut connection).await;
    world.refused(Refusal::Version).await;
}

#[tokio::test]
async fn a_huge_length_is_refused_at_once() {
    let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut connection = stranger(&world).await;
    connection.write_all(&[0xff; 4]).await.unwrap();
    hung_up(&mut connection).await;
    world.refused(Refusal::Garbage).await;
}

#[tokio::test]
async fn garbage_is_refused_at_once() {
    let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut connection = stranger(&world).await;
    let octets = [0, 0, 0, 6, 0, 1, 9, 9, 9, 9];
    connection.write_all(&octets).await.unwrap();
    hung_up(&mut connection).await;
    world.refused(Refusal::Garbage).await;
}

#[tokio::test]
async fn silence_is_ended() {
    let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut nothing = stranger(&world).await;
    let mut half = stranger(&world).await;
    half.write_all(&[0, 0, 0, 9, 0]).await.unwrap();
    hung_up(&mut nothing).await;
    hung_up(&mut half).await;
    world.refused(Refusal::Silent).await;
}

#[tokio::test]
async fn a_welcome_server_that_sends_half_a_message_is_left() {
    let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut connection = stranger(&world).await;
    let octets = message::put_first(VERSION, &hello(Purpose::Log)).unwrap();
    let welcome = answer(&mut connection, &octets).await;
    assert!(matches!(welcome, Welcome::Accepted { id: FOLLOWER, .. }));
    connection
        .write_all(&[0, 0x70, 0, 0, 1, 2, 3])
        .await
        .unwrap();
    hung_up(&mut connection).await;
}

#[tokio::test]
async fn a_peer_that_vanishes_amid_a_snapshot_leaves_nothing_behind() {
    let mut world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut connection = stranger(&world).await;
    let mut octets = message::put_first(VERSION, &hello(Purpose::Snapshot)).unwrap();
    let part = message::Request::SnapshotPart(message::Octets(Bytes::from(vec![1; 1_000])));
    for (number, body) in [(1, message::Request::SnapshotBegin), (2, part)] {
        message::put(&mut octets, &message::Numbered { number, body }).unwrap();
    }
    let welcome = answer(&mut connection, &octets).await;
    assert!(matches!(welcome, Welcome::Accepted { .. }));
    drop(connection);
    // The next one is whole.
    let mut client = world.client().await;
    let snapshot = Snapshot {
        meta: meta(),
        snapshot: Image::Memory(Bytes::from_static(b"whole")),
    };
    let never = std::future::pending();
    client
        .full_snapshot(vote(1), snapshot, never, option())
        .await
        .unwrap();
    assert_eq!(
        world.node.installed.lock().unwrap().take().unwrap(),
        b"whole"
    );
}

#[tokio::test]
async fn a_connection_asks_only_for_what_it_is_for() {
    let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut connection = stranger(&world).await;
    let mut octets = message::put_first(VERSION, &hello(Purpose::Asks)).unwrap();
    let (number, body) = (1, message::Request::Append(entries(1..=1, 1)));
    message::put(&mut octets, &message::Numbered { number, body }).unwrap();
    answer(&mut connection, &octets).await;
    hung_up(&mut connection).await;
    assert_eq!(world.counts.violations.get(), 1);
    assert!(world.node.appended.lock().unwrap().is_empty());
}

#[tokio::test]
async fn entries_out_of_order_are_not_handed_on() {
    let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut connection = stranger(&world).await;
    let mut octets = message::put_first(VERSION, &hello(Purpose::Log)).unwrap();
    let mut request = entries(5..=7, 1);
    request.entries.remove(1);
    let (number, body) = (1, message::Request::Append(request));
    message::put(&mut octets, &message::Numbered { number, body }).unwrap();
    answer(&mut connection, &octets).await;
    hung_up(&mut connection).await;
    assert_eq!(world.counts.violations.get(), 1);
    assert!(world.node.appended.lock().unwrap().is_empty());
}

#[tokio::test]
async fn whoever_says_hello_alone_decides_nothing() {
    let world = World::new(Some(CLUSTER), None).await;
    let mut connection = stranger(&world).await;
    let first = Hello {
        cluster: Some(CLUSTER + 1),
        ..hello(Purpose::Log)
    };
    let octets = message::put_first(VERSION, &first).unwrap();
    let welcome = answer(&mut connection, &octets).await;
    assert!(matches!(welcome, Welcome::Accepted { cluster: None, .. }));
    assert_eq!(world.node.cluster(), None);
    // A leader gives it a part of its log.
    let mut world = world;
    let mut client = world.client().await;
    let beat = client.append_entries(sign_of_life(), option()).await;
    assert_eq!(beat.unwrap(), AppendEntriesResponse::Success);
    assert_eq!(world.node.cluster(), None, "there is no log yet");
    let appended = client.append_entries(entries(1..=1, 1), option()).await;
    assert_eq!(appended.unwrap(), AppendEntriesResponse::Success);
    assert_eq!(world.node.cluster(), Some(CLUSTER));
    // Who has said hello before is out of place now.
    let mut octets = Vec::new();
    let (number, body) = (1, message::Request::Append(entries(2..=2, 1)));
    message::put(&mut octets, &message::Numbered { number, body }).unwrap();
    connection.write_all(&octets).await.unwrap();
    hung_up(&mut connection).await;
    assert_eq!(*world.node.appended.lock().unwrap(), [1]);
}

#[tokio::test]
async fn a_snapshot_makes_a_member() {
    let mut world = World::new(Some(CLUSTER), None).await;
    let mut client = world.client().await;
    let snapshot = Snapshot {
        meta: meta(),
        snapshot: Image::Memory(Bytes::from_static(b"whole")),
    };
    let never = std::future::pending();
    let sent = client
        .full_snapshot(vote(1), snapshot, never, option())
        .await;
    assert_eq!(sent.unwrap().vote, vote(1));
    assert_eq!(world.node.cluster(), Some(CLUSTER));
}

#[tokio::test]
async fn who_only_asks_whether_there_is_a_cluster_does_not_hear_which() {
    let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut connection = stranger(&world).await;
    let first = Hello {
        cluster: None,
        ..hello(Purpose::Inquiry)
    };
    let octets = message::put_first(VERSION, &first).unwrap();
    let welcome = answer(&mut connection, &octets).await;
    let expected = Welcome::Accepted {
        id: FOLLOWER,
        cluster: None,
        initialized: true,
    };
    assert_eq!(welcome, expected);
}

#[tokio::test]
async fn nobody_else_is_this_server() {
    let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let mut connection = stranger(&world).await;
    let first = Hello {
        from: FOLLOWER,
        ..hello(Purpose::Log)
    };
    let octets = message::put_first(VERSION, &first).unwrap();
    let welcome = answer(&mut connection, &octets).await;
    assert!(matches!(welcome, Welcome::Refused(_)), "{welcome:?}");
    world.refused(Refusal::Target).await;
}

/// Connections with invented ids until no more are taken.
async fn crowd(world: &World) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for id in 100..400 {
        let mut connection = stranger(world).await;
        let first = Hello {
            from: ServerId(id),
            ..hello(Purpose::Asks)
        };
        let octets = message::put_first(VERSION, &first).unwrap();
        if let Welcome::Refused(text) = answer(&mut connection, &octets).await {
            assert!(text.contains("too many"), "{text}");
            return crowd;
        }
        crowd.push(connection);
    }
    panic!("{} connections of one address", crowd.len());
}

#[tokio::test]
async fn invented_ids_give_no_further_places_and_take_none_of_servers() {
    let mut world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let crowd = crowd(&world).await;
    assert!(crowd.len() <= 32, "{}", crowd.len());
    world.refused(Refusal::Crowded).await;
    *world.node.is_member.lock().unwrap() = true;
    let mut client = world.client().await;
    let appended = client.append_entries(entries(1..=1, 1), option()).await;
    assert_eq!(appended.unwrap(), AppendEntriesResponse::Success);
    drop(crowd);
}

/// Serves one end of a pipe, so that only the clock of the test runs.
pub(super) async fn piped(world: &World, purpose: Purpose) -> tokio::io::DuplexStream {
    let (mut ours, theirs) = tokio::io::duplex(1 << 20);
    let metrics = Metrics::new();
    let handler = handler(
        FOLLOWER,
        Arc::clone(&world.node) as _,
        &metrics,
        &world.tasks,
    );
    world.tasks.spawn(async move {
        let peer = SocketAddr::from(([127, 0, 0, 9], 9));
        handler.serve(Box::new(theirs), peer).await;
    });
    let octets = message::put_first(VERSION, &hello(purpose)).unwrap();
    ours.write_all(&octets).await.unwrap();
    let mut prefix = [0; 4];
    ours.read_exact(&mut prefix).await.unwrap();
    let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
    ours.read_exact(&mut frame).await.unwrap();
    ours
}

#[tokio::test(start_paused = true)]
async fn a_hello_and_then_silence_is_ended() {
    let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    for purpose in [
        Purpose::Log,
        Purpose::Signs,
        Purpose::Snapshot,
        Purpose::Asks,
    ] {
        for pings in [0, 3] {
            let mut connection = piped(&world, purpose).await;
            let start = crate::clock::now();
            let mut octets = Vec::new();
            for number in 1..=pings {
                let body = message::Request::Ping;
                message::put(&mut octets, &message::Numbered { number, body }).unwrap();
            }
            connection.write_all(&octets).await.unwrap();
            let mut rest = Vec::new();
            connection.read_to_end(&mut rest).await.unwrap();
            let took = start.elapsed().as_secs();
            assert!((9..=11).contains(&took), "{purpose:?}: {took} s");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stranger_that_asks_no_more_is_left_and_a_server_is_not() {
    for is_member in [false, true] {
        let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
        *world.node.is_member.lock().unwrap() = is_member;
        let mut connection = piped(&world, Purpose::Log).await;
        let mut octets = Vec::new();
        let (number, body) = (1, message::Request::Append(sign_of_life()));
        message::put(&mut octets, &message::Numbered { number, body }).unwrap();
        connection.write_all(&octets).await.unwrap();
        let mut rest = Vec::new();
        let ended = connection.read_to_end(&mut rest);
        let ended = tokio::time::timeout(Duration::from_secs(3_600), ended).await;
        assert_eq!(ended.is_err(), is_member);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_octets_end_a_connection_and_no_more(
        purpose in prop::sample::select(vec![
            Purpose::Log, Purpose::Signs, Purpose::Snapshot, Purpose::Asks,
        ]),
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
        rest in prop::collection::vec(any::<u8>(), 0..50),
        is_known in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
            let mut connection = stranger(&world).await;
            let mut octets = Vec::new();
            if is_known {
                octets = message::put_first(VERSION, &hello(purpose)).unwrap();
            }
            for body in bodies {
                octets.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
                octets.extend(body);
            }
            octets.extend(rest);
            drop(connection.write_all(&octets).await);
            drop(connection.shutdown().await);
            hung_up(&mut connection).await;
            // It goes on for others.
            let ask = world.network.ask();
            prop_assert!(ask.is_in_cluster(world.address).await.unwrap());
            prop_assert!(world.tasks.stop(Duration::from_secs(5)).await);
            Ok(())
        })?;
    }
}
