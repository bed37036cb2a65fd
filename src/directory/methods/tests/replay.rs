//! The calls of a test client on an empty catalog, in the order in which it made them, answered as
//! recorded.

use crate::directory::methods::fixture::{Fixture, Recorded, read, recorded};
use crate::directory::wire::QueryMeta;
use crate::rpc::Fault;

use super::tree::Tree;

/// Errors of which only the beginning is the same: the rest is in the words of a parser.
const OWN_WORDS: [&str; 3] = [
    "codec.decoder: ",
    "Failed to create boolean expression evaluator: ",
    "Bad node ID: ",
];

/// What an answer says, without what differs from one server to another: indexes, and the nodes and
/// services that the recorded server had besides.
fn shown(octets: &[u8]) -> Tree {
    let is_foreign = |item: &Tree| {
        let node = item
            .get("Node")
            .map(|node| node.get("Node").unwrap_or(node));
        matches!(node.and_then(Tree::text), Some("rsrv" | "rcli"))
    };
    Tree::of(octets).without(&|key, item| {
        let index = matches!(key, "CreateIndex" | "ModifyIndex" | "Index");
        // Agents send an empty map for no further addresses, and get it; this client leaves them out.
        let no_addresses = key == "TaggedAddresses" && item.is_nothing();
        !index && !no_addresses && !matches!(key, "web" | "consul") && !is_foreign(item)
    })
}

/// The place of the write that made the index of a recorded answer of `Health`, while others waited
/// for it on connections of their own; 0 for another answer.
fn made(call: &Recorded) -> u64 {
    if !call.method.starts_with("Health.") || !call.error.is_empty() {
        return 0;
    }
    let index = read::<QueryMeta<'_>>(&call.response).index;
    let writes = [
        (179, 93),
        (180, 94),
        (181, 95),
        (186, 100),
        (187, 101),
        (188, 102),
    ];
    let write = writes.iter().find(|(made, _)| *made == index);
    write.map_or(0, |(_, place)| *place)
}

#[tokio::test(start_paused = true)]
async fn a_client_is_answered_as_recorded() {
    let fixture = Fixture::new().await;
    let mut calls = Vec::new();
    for file in ["check_catalog.json", "check_health.json"] {
        let mut place = 0;
        for call in recorded(file) {
            // Calls on connections of their own count anew: they follow the one before, or the one
            // that made their index.
            let own = place.max(call.sequence);
            place = if call.sequence < place {
                own.max(made(&call))
            } else {
                own
            };
            calls.push((place, call));
        }
    }
    calls.sort_by_key(|(place, _)| *place);
    let (mut alike, mut differ) = (0, Vec::new());
    for (place, call) in calls {
        let answered = fixture.call(&call.method, &call.request).await;
        let (error, body) = match answered {
            Ok(body) => (String::new(), body),
            Err(Fault::Answer(text) | Fault::Call(text)) => (text, vec![0x80]),
        };
        let begins = |start: &&str| error.starts_with(*start) && call.error.starts_with(*start);
        let same_error = error == call.error || OWN_WORDS.iter().any(begins);
        let (mut own, mut recorded) = (shown(&body), shown(&call.response));
        if call.method == "Catalog.ListServices" {
            // The tags of a service are a set, which Go writes in any order.
            (own, recorded) = (own.sorted(), recorded.sorted());
        }
        if same_error && own == recorded {
            alike += 1;
        } else {
            let about = format!("{place} {}", call.method);
            differ.push(format!(
                "{about}: {error:?} {own:?}\nrecorded: {:?} {recorded:?}",
                call.error
            ));
        }
    }
    assert!(
        differ.is_empty(),
        "{alike} alike, else\n{}",
        differ.join("\n")
    );
    assert_eq!(alike, 171);
}
