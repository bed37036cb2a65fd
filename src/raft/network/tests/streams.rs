//! When a stream of entries opens its connection.

use openraft::errors::RPCError;

use super::*;

/// A world whose follower has gone.
async fn deserted() -> World {
    let mut world = World::new(Some(CLUSTER), Some(CLUSTER)).await;
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.address = socket.local_addr().unwrap();
    world
}

#[tokio::test]
async fn a_server_that_is_gone_is_missed_once_there_is_something_to_send() {
    let mut world = deserted().await;
    let mut client = world.client().await;
    let requests = futures_util::stream::iter([sign_of_life()]);
    let mut results = client.stream_append(requests, option()).await.unwrap();
    let missed = results.next().await.unwrap();
    assert!(
        matches!(missed, Err(RPCError::Unreachable(_))),
        "{missed:?}"
    );
    assert!(results.next().await.is_none());
}

#[tokio::test]
async fn nobody_is_dialled_for_nothing() {
    let mut world = deserted().await;
    let mut client = world.client().await;
    let nothing = futures_util::stream::empty();
    let mut results = client.stream_append(nothing, option()).await.unwrap();
    assert!(results.next().await.is_none());
}
