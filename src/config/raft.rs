//! How a server takes part in Raft, checked.

use std::time::Duration;

use super::Identity;
use super::error::Problem;
use super::raw::{Bounded, Entries, Raw};
use super::tree::Node;
use crate::raft::{Bounds, Compaction, Config, Peer};
use crate::rpc::Tls;

/// Directory of the log below `data_dir`.
const DIRECTORY: &str = "raft";

/// How long what needs a leader waits for one, as in the reference.
const HOLD: Duration = Duration::from_secs(7);

/// `performance.raft_multiplier` where none is given, as in the reference.
const MULTIPLIER: u8 = 5;

/// In development mode nothing is kept on disk.
pub(super) fn config(raw: &Raw, identity: &Identity, tls: Option<Tls>) -> Config {
    let multiplier = raw.performance.raft_multiplier.and_then(Bounded::get);
    let hold = raw.performance.rpc_hold_timeout.map(|span| span.0);
    let standard = Compaction::default();
    let entries = |given: Option<Entries>, standard| {
        let given = given.and_then(Bounded::get).filter(|given| *given > 0);
        given.unwrap_or(standard)
    };
    let data_dir = identity.data_dir.as_ref().filter(|_| !identity.development);
    Config {
        id: identity.node_id.into(),
        peer: Peer {
            name: identity.node.to_string(),
            address: identity.server_address,
        },
        directory: data_dir.map(|directory| directory.join(DIRECTORY)),
        multiplier: multiplier.unwrap_or(MULTIPLIER),
        compaction: Compaction {
            entries: entries(raw.raft_snapshot_threshold, standard.entries),
            kept: entries(raw.raft_trailing_logs, standard.kept),
        },
        hold: hold.unwrap_or(HOLD),
        bounds: Bounds::default(),
        tls,
    }
}

/// How a server is told to found a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Founding {
    /// Alone.
    pub(super) bootstrap: bool,
    /// With so many others and itself; 0 if not that way.
    pub(super) expect: u32,
}

/// Reads `bootstrap` and `bootstrap_expect`, which is the same as `bootstrap` where it is 1.
///
/// # Errors
/// They exclude each other, only servers may be told so, and a server in development mode leads
/// alone anyway.
pub(super) fn founding(raw: &Raw, tree: &Node, development: bool) -> Result<Founding, Problem> {
    let refuse = |key: &str, text: String| {
        let problem = Problem::about(key, text);
        match tree.place_of(key) {
            Some(place) => problem.or_at(place),
            None => problem,
        }
    };
    let bootstrap = raw.bootstrap.unwrap_or(false);
    let expect: u32 = raw.bootstrap_expect.and_then(Bounded::get).unwrap_or(0);
    let server = raw.server.unwrap_or(false);
    let key = "bootstrap_expect";
    if expect > 0 && bootstrap {
        let text = format!("{expect} excludes bootstrap, which means that there are no others");
        return Err(refuse(key, text));
    }
    if expect > 0 && development {
        let text = format!("{expect} is not possible with -dev, where a server is always alone");
        return Err(refuse(key, text));
    }
    for (key, asked) in [(key, expect > 0), ("bootstrap", bootstrap)] {
        if asked && !server {
            let text = "only a server founds a cluster: it needs -server".to_owned();
            return Err(refuse(key, text));
        }
    }
    Ok(match expect {
        0 | 1 => Founding {
            bootstrap: bootstrap || expect == 1,
            expect: 0,
        },
        expect => Founding {
            bootstrap: false,
            expect,
        },
    })
}
