//! What the tests share.

pub(crate) mod agent;
pub(crate) mod cluster;
pub(crate) mod directory;
pub(crate) mod front;
pub(crate) mod history;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod parts;
pub(crate) mod peers;
pub(crate) mod script;

use std::time::Duration;

/// Waits until `holds`, at most 10 s.
///
/// # Panics
/// It does not hold in time.
pub(crate) async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), poll)
        .await
        .expect("it holds within 10 s");
}
