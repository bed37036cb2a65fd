//! Looks up what aliases follow: this agent's own checks, or those of another node in the catalog.

use std::sync::Arc;

use crate::catalog::WatchKey;
use crate::directory::Directory;
use crate::health::{Followed, FollowedCheck, Mechanism, Probe};
use crate::types::{Check, CheckId, Consistency, NodeName, RequestContext, ServiceId};

use super::Shared;
use super::state::LocalState;

/// Looks on behalf of one alias.
pub(super) struct AliasProbe {
    pub(super) shared: Arc<Shared>,
    pub(super) directory: Directory,
    pub(super) id: CheckId,
}

impl Probe for AliasProbe {
    async fn look(&self, node: &str, service: &str) -> Result<Followed, String> {
        let own = &self.shared.node_name;
        if node.is_empty() || node.eq_ignore_ascii_case(own.as_str()) {
            return Ok(self.look_here(&self.shared.published.load(), service));
        }
        self.look_there(node, service).await
    }
}

impl AliasProbe {
    fn look_here(&self, state: &LocalState, service: &str) -> Followed {
        let unknown = || {
            let node = &self.shared.node_name;
            Followed::Unknown(format!(
                "Service {service} is not registered on node {node}"
            ))
        };
        let checks: Vec<_> = if service.is_empty() {
            state.node_checks().collect()
        } else {
            match service.parse::<ServiceId>() {
                Ok(id) if state.service(&id).is_some() => state.checks_deciding(&id),
                _ => return unknown(),
            }
        };
        let others = checks.into_iter().filter(|local| {
            // Aliases among the node's own checks would hold each other where they are.
            let alias = matches!(local.definition.mechanism, Mechanism::Alias { .. });
            local.check.id != self.id && !(alias && local.check.service_id.is_none())
        });
        Followed::Known(others.map(|local| follow(&local.check)).collect())
    }

    async fn look_there(&self, node: &str, service: &str) -> Result<Followed, String> {
        let unknown = |what: String| Ok(Followed::Unknown(what));
        let Ok(name) = node.parse::<NodeName>() else {
            return unknown(format!("{node:?} is no name of a node"));
        };
        let context = RequestContext {
            consistency: Consistency::Stale,
            ..RequestContext::default()
        };
        let key = WatchKey::NodeChecks(name.clone());
        let answer = self.directory.read(&context, &key).await;
        let state = answer.map_err(|error| error.to_string())?.state;
        let Some(entry) = state.node(&name) else {
            return unknown(format!("Node {node} is not in the catalog"));
        };
        let of_node = entry.node_checks();
        if service.is_empty() {
            return Ok(Followed::Known(
                of_node.map(|found| follow(&found.check)).collect(),
            ));
        }
        let instance = service.parse().ok().and_then(|id| entry.instance(&id));
        let Some(instance) = instance else {
            return unknown(format!(
                "Service {service} is not registered on node {node}"
            ));
        };
        let checks = instance.checks.iter().chain(of_node);
        Ok(Followed::Known(
            checks.map(|found| follow(&found.check)).collect(),
        ))
    }
}

fn follow(check: &Check) -> FollowedCheck {
    FollowedCheck {
        name: check.name.clone(),
        status: check.status,
        output: check.output.clone(),
    }
}
