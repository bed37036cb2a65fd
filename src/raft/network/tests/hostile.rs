//! Strangers, servers of other clusters and versions, and those that go silent.

use proptest::prelude::*;

use super::*;
use crate::raft::network::message;

/// A connection that has said nothing but its first octet.
async fn stranger(world: &World) -> TcpStream {
    let mut connection = TcpStream::connect(world.address).await.unwrap();
    connection.write_u8(crate::rpc::octet::RAFT).await.unwrap();
    connection
}

fn hello(purpose: Purpose) -> Hello {
    Hello {
        cluster: Some(CLUSTER),
        from: LEADER,
        to: Some(FOLLOWER),
        purpose,
    }
}

/// What the follower says to a first message, until it hangs up or welcomes.
async fn answer(connection: &mut TcpStream, octets: &[u8]) -> Welcome {
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
async fn hung_up(connection: &mut TcpStream) {
    let mut rest = Vec::new();
    // Whether it ends or is reset does not matter.
    drop(connection.read_to_end(&mut rest).await);
}

#[tokio::test]
async fn a_server_of_another_cluster_is_refused() {
    let mut world = World::new(Some(CLUSTER + 1), Some(CLUSTER)).await;
    let mut client = world.client().await;
    let voted = client.vote(VoteRequest::new(vote(1), None), option()).await;
    let text = voted.unwrap_err().to_string();
    assert!(text.contains("this server is in cluster"), "{text}");
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
