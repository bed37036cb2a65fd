//! The admission of a pool, with the networks that it is confined to before it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::config::{Network, is_allowed};
use crate::gossip::admission::{Admission, Candidate, Refusal};

/// Asks the networks, then the admission.
pub(super) struct Gate {
    /// Who decides about whoever is in an allowed network.
    pub(super) inner: Arc<dyn Admission>,
    /// The networks; none for all.
    pub(super) allowed: Vec<Network>,
    /// This node, which may be anywhere.
    pub(super) own: SocketAddr,
}

impl Admission for Gate {
    fn may_join(&self, present: &[Candidate<'_>]) -> Result<(), Refusal> {
        self.inner.may_join(present)
    }

    fn may_merge(&self, candidates: &[Candidate<'_>]) -> Result<(), Refusal> {
        self.inner.may_merge(candidates)
    }

    fn may_enter(&self, candidate: &Candidate<'_>) -> Result<(), Refusal> {
        let address = candidate.address;
        if address != self.own && !is_allowed(&self.allowed, address.ip()) {
            let name = candidate.name;
            let ip = address.ip();
            return Err(Refusal(format!(
                "Member '{name}' has address {ip}, which is not allowed"
            )));
        }
        self.inner.may_enter(candidate)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::gossip::admission::Open;
    use crate::gossip::swim::State;

    #[test]
    fn members_outside_the_networks_are_refused_but_not_this_node() {
        let gate = Gate {
            inner: Arc::new(Open),
            allowed: vec!["10.0.0.0/8".parse().unwrap()],
            own: "192.0.2.1:8301".parse().unwrap(),
        };
        let tags = BTreeMap::new();
        for (address, allowed) in [
            ("10.1.1.1:8301", true),
            ("192.0.2.2:8301", false),
            ("192.0.2.1:8301", true),
        ] {
            let candidate = Candidate {
                name: "n",
                address: address.parse().unwrap(),
                tags: &tags,
                state: State::Alive,
            };
            assert_eq!(gate.may_enter(&candidate).is_ok(), allowed, "{address}");
        }
    }
}
