//! Sessions of agents that have nothing to say: memory and CPU of each.

use std::time::Duration;

use anyhow::Result;
use herald::task::Tasks;

use super::requests;
use super::server::Server;
use super::table;

/// How long a server has to put its memory in order before it is looked at.
const SETTLE: Duration = Duration::from_secs(2);

/// Opens `count` sessions at each server, one server after the other, with one call each, and then
/// leaves them alone for `time`.
pub(crate) async fn measure(
    count: usize,
    time: Duration,
    servers: &[Server],
    tasks: &Tasks,
) -> Result<String> {
    let mut rows = Vec::new();
    for server in servers {
        let before = server.used()?;
        let mut sessions = Vec::with_capacity(count);
        for _ in 0..count {
            let session = server.session(tasks);
            session
                .call("Health.ServiceNodes", &requests::health("web", 0))
                .await?;
            sessions.push(session);
        }
        tokio::time::sleep(SETTLE).await;
        let open = server.used()?;
        tokio::time::sleep(time).await;
        let later = server.used()?;
        let memory = later.memory.saturating_sub(before.memory) as f64 / 1_024.0;
        let cpu = later.busy_since(&open) * 1e6;
        rows.push(vec![
            server.name.clone(),
            count.to_string(),
            format!("{:.1} KiB", memory / count as f64),
            format!("{:.1} µs/s", cpu / count as f64),
        ]);
        // All are still good.
        for session in sessions {
            session
                .call("Health.ServiceNodes", &requests::health("web", 0))
                .await?;
        }
    }
    let head = ["server", "idle sessions", "memory each", "CPU each"];
    Ok(table(&head, &rows))
}
