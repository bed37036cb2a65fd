//! What a pool remembers over a restart.

use std::net::SocketAddr;

use herald::types::MemberStatus::{Alive, Failed, Left};

use super::{Node, setup};
use crate::support::directory::Directory;
use crate::support::eventually;

/// A node `a` that remembers in `directory`; on `address`, if it was there before.
fn remembering(
    directory: &Directory,
    last: u8,
    address: Option<SocketAddr>,
    rejoin_after_leave: bool,
) -> Node {
    let mut setup = setup("a", last);
    if let Some(address) = address {
        (setup.config.bind, setup.config.own.address) = (address, address);
    }
    setup.config.snapshot = Some(directory.0.join("serf/local.snapshot"));
    setup.config.rejoin_after_leave = rejoin_after_leave;
    setup.start()
}

#[tokio::test]
async fn one_that_was_killed_rejoins_whom_it_knew() {
    let directory = Directory::new();
    let first = remembering(&directory, 95, None, false);
    let others = [setup("b", 96).start(), setup("c", 97).start()];
    for other in &others {
        other.join(&first).await;
    }
    eventually(async || first.alive().len() == 3).await;
    // The clock of events goes with it, so that what it has heard does not come again.
    let mut heard = first.pool.events();
    others[0].pool.fire("old", b"", false).await.unwrap();
    eventually(async || heard.try_recv().is_ok()).await;
    let [gone, other] = others;
    // A failed name stays with its address.
    let address = Some(first.address());
    first.kill().await;
    gone.kill().await;
    other.sees("b", Failed).await;
    let again = remembering(&directory, 95, address, false);
    let mut heard = again.pool.events();
    again.sees("c", Alive).await;
    other.sees("a", Alive).await;
    other.pool.fire("new", b"", false).await.unwrap();
    assert_eq!(heard.recv().await.unwrap().name, "new");
    again.kill().await;
    other.kill().await;
}

#[tokio::test]
async fn one_that_has_left_rejoins_only_if_it_is_told_to() {
    let directory = Directory::new();
    let first = remembering(&directory, 100, None, false);
    let other = setup("b", 101).start();
    other.join(&first).await;
    first.sees("b", Alive).await;
    first.pool.leave().await.unwrap();
    other.sees("a", Left).await;
    first.kill().await;
    let content = std::fs::read_to_string(directory.0.join("serf/local.snapshot")).unwrap();
    assert!(content.lines().any(|line| line == "leave"), "{content}");
    let alone = remembering(&directory, 100, None, false);
    assert_eq!(alone.alive(), ["a"]);
    // It knows nobody whom it could join.
    alone.kill().await;
    std::fs::write(directory.0.join("serf/local.snapshot"), content).unwrap();
    let back = remembering(&directory, 100, None, true);
    back.sees("b", Alive).await;
    other.sees("a", Alive).await;
    back.kill().await;
    other.kill().await;
}
