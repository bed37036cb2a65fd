//! Finds where the catalog differs from what this agent knows: anti-entropy.

use crate::catalog::NodeEntry;
use crate::local::core::Core;
use crate::local::pending::Pending;
use crate::types::{Check, Node, SERF_HEALTH, SERVERS_SERVICE};

/// Everything on this node in which the catalog's `entry` is not what it should be: missing,
/// different, or unknown to the agent. Entries of other nodes are not even looked at, nor are the
/// ones that the servers keep on every node.
///
/// A service that allows others to change its tags takes on the catalog's.
pub(super) fn differences(core: &mut Core, node: &Node, entry: Option<&NodeEntry>) -> Pending {
    adopt_tags(core, entry);
    let mut differences = Pending::new(usize::MAX);
    differences.node = entry.is_none_or(|entry| *entry.node != *node);
    let state = core.state();
    for service in state.services() {
        let stored = entry.and_then(|entry| entry.instance(&service.id));
        if stored.is_none_or(|stored| stored.service != *service) {
            differences.service(service.id.clone());
        }
    }
    for local in state.checks() {
        let id = &local.check.id;
        let stored = entry.and_then(|entry| entry.check(id));
        let any_output = core.output_waits(id);
        if stored.is_none_or(|stored| !is_same(&stored.check, &local.check, any_output)) {
            differences.check(id.clone());
        }
    }
    let Some(entry) = entry else {
        return differences;
    };
    for id in entry.instances().map(|instance| &instance.service.id) {
        if state.service(id).is_none() && !id.as_str().eq_ignore_ascii_case(SERVERS_SERVICE) {
            differences.service(id.clone());
        }
    }
    for id in entry.checks().map(|stored| &stored.check.id) {
        if state.check(id).is_none() && !id.as_str().eq_ignore_ascii_case(SERF_HEALTH) {
            differences.check(id.clone());
        }
    }
    differences
}

fn adopt_tags(core: &mut Core, entry: Option<&NodeEntry>) {
    let open: Vec<_> = core
        .state()
        .services()
        .filter(|service| service.enable_tag_override)
        .cloned()
        .collect();
    for service in open {
        if let Some(stored) = entry.and_then(|entry| entry.instance(&service.id))
            && stored.service.tags != service.tags
        {
            core.adopt_tags(&service.id, &stored.service.tags);
        }
    }
}

fn is_same(stored: &Check, own: &Check, any_output: bool) -> bool {
    if any_output && stored.output != own.output {
        let mut stored = stored.clone();
        stored.output.clone_from(&own.output);
        stored == *own
    } else {
        stored == own
    }
}
