//! How long the log is.

use openraft::async_runtime::watch::WatchReceiver;

use super::*;
use crate::catalog::Registration;
use crate::types::{Address, Check, CheckType, Meta, Node, Status as Health};

/// A check whose result is so long.
fn long_result(octets: usize) -> Command {
    let node = Node {
        id: None,
        name: "one".parse().unwrap(),
        address: Address::from_text("10.0.0.1"),
        tagged_addresses: BTreeMap::new(),
        meta: Meta::default(),
    };
    let check = Check {
        id: "result".parse().unwrap(),
        name: "".into(),
        status: Health::Passing,
        notes: "".into(),
        output: "x".repeat(octets).into(),
        service_id: None,
        check_type: CheckType::Unknown,
        definition: None,
    };
    let registration = Registration {
        node,
        skip_node_update: false,
        service: None,
        checks: vec![check],
    };
    Command {
        request: rand::random(),
        operations: vec![Operation::Register(Box::new(registration))],
    }
}

#[tokio::test]
async fn a_few_long_entries_do_not_make_the_log_long() {
    let mut cluster = Cluster::start(1).await;
    let leader = cluster.leader().await;
    let context = RequestContext::default();
    let library = &leader.raft.node.core.library;
    // Far fewer entries than are kept.
    let mut written = 0;
    while library.metrics().borrow_watched().purged.is_none() {
        assert!(written < 100, "nothing is purged");
        let outcome = leader.raft.propose(&context, long_result(3 << 20)).await;
        assert!(
            matches!(outcome, Ok(Outcome::Applied { .. })),
            "{outcome:?}"
        );
        written += 1;
    }
    assert!(3 * written > 64, "what may stay is kept: {written}");
}
