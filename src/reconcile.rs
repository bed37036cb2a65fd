//! Turns members into entries of the catalog.
//!
//! In this release the only member is this agent. Its node is created if it is missing (what the
//! entry says is for `local` to keep), with the check `serfHealth` that every alive member has and,
//! on a server, the service `consul`. All of it is looked at again every so often.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;

use crate::catalog::{Command, NodeEntry, Operation, Outcome, Reader, Registration};
use crate::raft::Proposer;
use crate::task::Tasks;
use crate::types::{
    Address, Check, CheckType, Meta, Node, RequestContext, SERF_HEALTH, SERVERS_SERVICE, Service,
    Status, Weights,
};

/// First pause after a failed write.
const RETRY_MIN: Duration = Duration::from_millis(100);

/// Who is a member.
#[derive(Clone, Debug)]
pub struct Config {
    /// This agent's node.
    pub node: Node,
    /// What it says as a server; `None` for a client agent.
    pub server: Option<Server>,
    /// Time between two looks, and the longest pause after failures; not zero. Default 60 s.
    pub interval: Duration,
}

/// What a server says about itself in the catalog.
#[derive(Clone, Debug)]
pub struct Server {
    /// Port of the servers' protocol. Default 8300.
    pub port: u16,
    /// Version that others in the pool decide by, as in `1.8.7`.
    pub version: String,
}

/// Starts to keep this agent's member in the catalog.
pub fn start(config: Config, reader: Reader, proposer: Proposer, tasks: &Tasks) {
    tasks.spawn(async move {
        let mut retry = RETRY_MIN;
        loop {
            let entry = reader.state().node(&config.node.name).cloned();
            let result = match missing(&config, entry.as_deref()) {
                Some(operations) => propose(&proposer, operations).await,
                None => Ok(()),
            };
            let pause = match result {
                Ok(()) => {
                    retry = RETRY_MIN;
                    config.interval
                }
                Err(reason) => {
                    let pause = retry;
                    retry = (retry * 2).min(config.interval);
                    tracing::warn!(
                        "this node could not be registered, next attempt in {pause:?}: {reason}"
                    );
                    pause
                }
            };
            tokio::time::sleep(pause).await;
        }
    });
}

async fn propose(proposer: &Proposer, operations: Vec<Operation>) -> Result<(), String> {
    let command = Command {
        request: rand::rng().random(),
        operations,
    };
    match proposer.propose(&RequestContext::default(), command).await {
        Ok(Outcome::Applied { .. }) => Ok(()),
        Ok(Outcome::Refused(refusal)) => Err(refusal.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// What to register; `None` if `entry` has it all.
fn missing(config: &Config, entry: Option<&NodeEntry>) -> Option<Vec<Operation>> {
    let check = serf_health();
    let check_differs = entry
        .and_then(|entry| entry.check(&check.id))
        .is_none_or(|stored| stored.check != check);
    let service = config.server.as_ref().map(service).filter(|service| {
        entry
            .and_then(|entry| entry.instance(&service.id))
            .is_none_or(|stored| stored.service != Arc::new(service.clone()))
    });
    if !check_differs && service.is_none() {
        return None;
    }
    Some(vec![Operation::Register(Box::new(Registration {
        node: config.node.clone(),
        skip_node_update: true,
        service,
        checks: vec![check],
    }))])
}

fn serf_health() -> Check {
    Check {
        id: SERF_HEALTH.parse().expect("the id is short"),
        name: "Serf Health Status".into(),
        status: Status::Passing,
        notes: Box::default(),
        output: "Agent alive and reachable".into(),
        service_id: None,
        check_type: CheckType::Unknown,
        definition: None,
    }
}

fn service(server: &Server) -> Service {
    let meta = [
        ("non_voter", "false"),
        ("raft_version", "3"),
        ("serf_protocol_current", "2"),
        ("serf_protocol_max", "5"),
        ("serf_protocol_min", "1"),
        ("version", &server.version),
    ];
    Service {
        id: SERVERS_SERVICE.parse().expect("the id is short"),
        name: SERVERS_SERVICE.parse().expect("the name is a label"),
        tags: [].into(),
        address: Address::None,
        port: server.port,
        meta: Meta::from_pairs(meta.map(|(key, value)| (key.to_owned(), value.to_owned()))),
        weights: Weights::default(),
        enable_tag_override: false,
        tagged_addresses: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NodeId;

    fn config(server: bool) -> Config {
        Config {
            node: Node {
                id: Some(NodeId::random()),
                name: "n1".parse().unwrap(),
                address: Address::from_text("127.0.0.1"),
                tagged_addresses: [].into(),
                meta: Meta::default(),
            },
            server: server.then(|| Server {
                port: 8300,
                version: "1.8.7".into(),
            }),
            interval: Duration::from_secs(60),
        }
    }

    fn registration(operations: Option<Vec<Operation>>) -> Registration {
        match operations.unwrap().pop() {
            Some(Operation::Register(registration)) => *registration,
            other => panic!("not a registration: {other:?}"),
        }
    }

    #[test]
    fn a_new_server_becomes_a_node_with_its_service_and_its_health() {
        let registration = registration(missing(&config(true), None));
        assert!(registration.skip_node_update);
        assert_eq!(registration.service.unwrap().port, 8300);
        assert_eq!(registration.checks[0].id.as_str(), "serfHealth");
    }

    #[test]
    fn a_client_agent_has_no_service() {
        let registration = registration(missing(&config(false), None));
        assert_eq!(registration.service, None);
        assert_eq!(registration.checks.len(), 1);
    }
}
