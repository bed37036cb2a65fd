//! Pools with keys.

use herald::gossip::keyring::{Key, Keyring};
use herald::gossip::pool::KeyReport;
use herald::gossip::serf::KeyOperation;

use super::{Node, connect, setup};
use crate::support::directory::Directory;

fn key(octet: u8) -> Vec<u8> {
    vec![octet; 32]
}

fn ring(octet: u8) -> Keyring {
    Keyring::new(Key::new(&key(octet)).unwrap())
}

fn base64(octet: u8) -> String {
    ring(octet).primary().to_base64()
}

async fn ask(node: &Node, operation: KeyOperation) -> KeyReport {
    node.pool.keys(operation, 0).await.unwrap()
}

/// All of `members` members answered, and did it.
fn all_done(report: &KeyReport, members: usize) -> bool {
    report.members == members
        && report.answers.len() == members
        && report.answers.iter().all(|(_, answer)| answer.done)
}

#[tokio::test]
async fn members_with_one_key_form_a_pool_that_others_do_not_enter() {
    let nodes = [
        setup("a", 80).keyring(ring(1)).start(),
        setup("b", 81).keyring(ring(1)).start(),
    ];
    connect(&nodes).await;
    assert!(nodes[0].pool.encrypted());
    let target = [nodes[0].address().to_string()];
    for outsider in [
        setup("c", 82).keyring(ring(2)).start(),
        setup("d", 83).start(),
    ] {
        let joined = outsider.pool.join(&target, false).await;
        assert_eq!(joined.reached, 0, "{joined:?}");
        assert_eq!(outsider.alive().len(), 1);
        outsider.kill().await;
    }
    assert_eq!(nodes[0].alive(), ["a", "b"]);
    for node in nodes {
        node.kill().await;
    }
}

#[tokio::test]
async fn keys_are_rotated_over_all_members_and_kept() {
    let directory = Directory::new();
    let file = directory.0.join("local.keyring");
    let mut first = setup("a", 85).keyring(ring(1));
    first.config.keyring_file = Some(file.clone());
    let nodes = [
        first.start(),
        setup("b", 86).keyring(ring(1)).start(),
        setup("c", 87).keyring(ring(1)).start(),
    ];
    connect(&nodes).await;
    let missing = ask(&nodes[1], KeyOperation::Use(key(2))).await;
    assert_eq!(missing.answers.len(), 3);
    for (_, answer) in missing.answers {
        assert!(!answer.done);
        assert_eq!(answer.message, "requested key is not in the keyring");
    }
    for operation in [
        KeyOperation::Install(key(2)),
        KeyOperation::Use(key(2)),
        KeyOperation::Remove(key(1)),
    ] {
        let report = ask(&nodes[1], operation).await;
        assert!(all_done(&report, 3), "{report:?}");
    }
    let listed = ask(&nodes[2], KeyOperation::List).await;
    assert!(all_done(&listed, 3), "{listed:?}");
    for (_, answer) in listed.answers {
        assert_eq!(answer.keys, [base64(2)]);
        assert_eq!(answer.primary, base64(2));
    }
    assert_eq!(Keyring::load(&file).unwrap(), ring(2));
    // Packets went on all the while.
    nodes[0].pool.fire("x", b"", false).await.unwrap();
    let undecrypted = "herald_gossip_dropped_total{pool=\"lan\",reason=\"key\"}";
    for node in &nodes {
        assert_eq!(node.alive().len(), 3);
        assert!(node.figure(undecrypted) < f64::EPSILON);
    }
    for node in nodes {
        node.kill().await;
    }
}

#[tokio::test]
async fn a_pool_without_keys_says_so() {
    let nodes = Node::cluster(["a", "b"], 90).await;
    let report = ask(&nodes[0], KeyOperation::Install(key(1))).await;
    assert_eq!((report.members, report.answers.len()), (2, 2));
    for (_, answer) in report.answers {
        assert!(!answer.done);
        assert_eq!(
            answer.message,
            "No keyring to modify (encryption not enabled)"
        );
    }
    for node in nodes {
        node.kill().await;
    }
}
