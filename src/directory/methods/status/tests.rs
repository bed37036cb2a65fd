//! Recorded answers; those of the server at the recorded address are the same, octet for octet.

use super::*;
use crate::directory::methods::fixture::{Fixture, read, recorded};

#[tokio::test]
async fn leader_peers_and_pings_are_answered_as_recorded() {
    let fixture = Fixture::new().await;
    let mut compared = 0;
    for file in ["agent_status.json", "check_status.json"] {
        for call in recorded(file) {
            match fixture.call(&call.method, &call.request).await {
                Ok(answer) => assert_eq!(answer, call.response, "{}", call.method),
                Err(fault) => assert_eq!(fault.to_string(), call.error),
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 16);
}

#[tokio::test]
async fn raft_stats_tell_the_last_index() {
    let fixture = Fixture::new().await;
    let answer = fixture.call("Status.RaftStats", &[0x80]).await.unwrap();
    let stats: RaftStats<'_> = read(&answer);
    let applied = fixture.methods.directory.reader().applied().0;
    let expected = ("0", TERM, applied);
    let found = (&*stats.last_contact, stats.last_term, stats.last_index);
    assert_eq!(found, expected);
}
