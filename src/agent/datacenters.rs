//! Keeps DNS told of the other datacenters. Their names exist, but this release cannot ask there:
//! they get SERVFAIL, not the NXDOMAIN of a datacenter that nobody knows, which would be remembered.

use std::sync::Arc;

use super::reload::Reloader;
use crate::directory::Directory;
use crate::gossip::membership::Membership;
use crate::task::Tasks;

/// Follows the servers of all datacenters; nothing where this agent is not among them.
pub(super) fn follow(
    reloader: &Arc<Reloader>,
    directory: &Directory,
    membership: &Membership,
    tasks: &Tasks,
) {
    let Some(wan) = membership.wan.clone() else {
        return;
    };
    let (reloader, directory) = (Arc::clone(reloader), directory.clone());
    tasks.spawn(async move {
        let mut changed = wan.members_changed();
        loop {
            if let Ok(known) = directory.datacenters(Some(&wan)) {
                // The local one is first.
                let mut others: Vec<_> = known.into_iter().skip(1).collect();
                // Their order by distance is nothing to DNS.
                others.sort_unstable();
                reloader.set_other_datacenters(others).await;
            }
            if changed.changed().await.is_err() {
                return;
            }
        }
    });
}
