//! Which aliases look at which services of this agent, so that a change is seen at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::health::Mechanism;
use crate::types::{CheckId, NodeName, ServiceId};

/// Aliases by what they follow here. Those that follow another node are not among them.
#[derive(Debug)]
pub(super) struct Followers {
    node: NodeName,
    by_target: BTreeMap<Target, BTreeSet<CheckId>>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Node,
    Service(ServiceId),
}

impl Followers {
    pub(super) fn new(node: NodeName) -> Self {
        Self {
            node,
            by_target: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, id: &CheckId, mechanism: &Mechanism) {
        if let Some(target) = self.target(mechanism) {
            let followers = self.by_target.entry(target).or_default();
            followers.insert(id.clone());
        }
    }

    pub(super) fn remove(&mut self, id: &CheckId, mechanism: &Mechanism) {
        let Some(target) = self.target(mechanism) else {
            return;
        };
        if let Some(followers) = self.by_target.get_mut(&target) {
            followers.remove(id);
            if followers.is_empty() {
                self.by_target.remove(&target);
            }
        }
    }

    /// The aliases that look at the checks of `service`; for those of the node, all.
    pub(super) fn of(&self, service: Option<&ServiceId>) -> Vec<CheckId> {
        match service {
            None => self.by_target.values().flatten().cloned().collect(),
            // Most agents have none, and this is asked at every result.
            Some(_) if self.by_target.is_empty() => Vec::new(),
            Some(service) => {
                let target = Target::Service(service.clone());
                let followers = self.by_target.get(&target);
                followers.into_iter().flatten().cloned().collect()
            }
        }
    }

    /// What an alias follows here; `None` if it is none, or follows another node.
    fn target(&self, mechanism: &Mechanism) -> Option<Target> {
        let Mechanism::Alias { node, service } = mechanism else {
            return None;
        };
        let own = node.is_empty() || node.eq_ignore_ascii_case(self.node.as_str());
        // What is no id of a service, such as the empty text, leaves the node.
        let target = service.parse().map_or(Target::Node, Target::Service);
        own.then_some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(node: &str, service: &str) -> Mechanism {
        Mechanism::Alias {
            node: node.into(),
            service: service.into(),
        }
    }

    #[test]
    fn aliases_hear_of_what_they_follow_on_this_node() {
        let mut followers = Followers::new("n1".parse().unwrap());
        for (id, node, service) in [
            ("a", "", "web"),
            ("b", "N1", "web"),
            ("c", "n2", "web"),
            ("d", "n1", ""),
        ] {
            followers.add(&id.parse().unwrap(), &alias(node, service));
        }
        let of = |followers: &Followers, service: Option<&str>| {
            let service = service.map(|service| service.parse().unwrap());
            let found = followers.of(service.as_ref());
            found.iter().map(ToString::to_string).collect::<String>()
        };
        assert_eq!(of(&followers, Some("web")), "ab");
        assert_eq!(of(&followers, Some("db")), "");
        assert_eq!(of(&followers, None), "dab");
        followers.remove(&"a".parse().unwrap(), &alias("", "web"));
        assert_eq!(of(&followers, Some("web")), "b");
    }
}
