//! Events that users send to the agents of a datacenter (`event`, `/v1/event`): which of them this
//! agent keeps, and how they travel.
//!
//! An event is a user event of the LAN pool whose name begins with `consul:event:`; what the user said
//! is in its payload (`event`). This part keeps the newest that are meant for this agent. How
//! events spread, and that each comes once, is the business of `gossip`.
//!
//! **Invariant**: at most [`KEPT_MAX`] events are kept; what comes from the network is checked
//! before it is.

mod event;
mod filters;

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use crate::gossip::membership::EVENT_PREFIX;
use crate::gossip::serf::UserEvent;
use crate::local::Local;
use crate::task::Tasks;

pub use event::{Event, EventError, OCTETS_MAX, ReceiveError};
pub use filters::FilterError;

use filters::Filters;

/// Events that are kept at most; a further one takes the place of the oldest.
pub const KEPT_MAX: usize = 256;
/// The event of the reference that asks agents to run a command, which none does here.
const EXECUTION: &str = "_rexec";

/// Events in the order in which they came, the newest last.
pub type Recent = Arc<[Arc<Event>]>;

/// The events that this agent has been told. Clones share them.
#[derive(Clone, Debug)]
pub struct Events {
    recent: watch::Receiver<Recent>,
}

impl Events {
    /// The events that are kept; changes with each that comes.
    pub fn recent(&self) -> watch::Receiver<Recent> {
        self.recent.clone()
    }
}

/// Keeps the events among those that `heard` tells, as long as they are for the node and services
/// of `local`.
pub fn start(heard: broadcast::Receiver<UserEvent>, local: Local, tasks: &Tasks) -> Events {
    let (keep, recent) = watch::channel(Recent::from([]));
    tasks.spawn(follow(heard, local, keep));
    Events { recent }
}

async fn follow(
    mut heard: broadcast::Receiver<UserEvent>,
    local: Local,
    keep: watch::Sender<Recent>,
) {
    loop {
        match heard.recv().await {
            Ok(told) => take(&told, &local, &keep),
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "events came faster than they could be looked at");
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Keeps what was told, if it is an event for this agent.
fn take(told: &UserEvent, local: &Local, keep: &watch::Sender<Recent>) {
    if !told.name.starts_with(EVENT_PREFIX) {
        return;
    }
    let (event, filters) = match receive(told) {
        Ok(received) => received,
        Err(error) => {
            tracing::debug!(name = %told.name, "an event is left out: {error}");
            return;
        }
    };
    let state = local.state();
    let services = state.services().map(AsRef::as_ref);
    if event.name == EXECUTION || !filters.take(local.node_name().as_str(), services) {
        tracing::debug!(name = %event.name, id = %event.id, "an event is not for this agent");
        return;
    }
    tracing::debug!(name = %event.name, id = %event.id, "new event");
    keep.send_modify(|recent| *recent = with(recent, event));
}

fn receive(told: &UserEvent) -> Result<(Event, Filters), ReceiveError> {
    let event = Event::receive(told.time, &told.payload)?;
    let filters = event.filters()?;
    Ok((event, filters))
}

/// The newest of `recent`, and `event`.
fn with(recent: &Recent, event: Event) -> Recent {
    let surplus = (recent.len() + 1).saturating_sub(KEPT_MAX);
    let newest = recent.iter().skip(surplus).cloned();
    newest.chain([Arc::new(event)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_events_are_kept_in_their_order() {
        let mut recent = Recent::from([]);
        for number in 0..KEPT_MAX + 3 {
            let event = Event::new(&number.to_string(), &[], "", "", "").unwrap();
            recent = with(&recent, event);
        }
        let names: Vec<&str> = recent.iter().map(|event| event.name.as_str()).collect();
        let expected: Vec<String> = (3..KEPT_MAX + 3).map(|number| number.to_string()).collect();
        assert_eq!(names, expected);
    }
}
