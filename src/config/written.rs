//! What was written, key by key, so that a reload can say what it would take a restart to change.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::tree::{Node, Value};

/// Keys that a running agent takes on, and everything below them.
const RELOADED: [&str; 13] = [
    "check",
    "check_output_max_size",
    "check_update_interval",
    "checks",
    "dns_config",
    "enable_local_script_checks",
    "enable_script_checks",
    "limits.http_max_conns_per_client",
    "limits.rpc_max_conns_per_client",
    "log_level",
    "node_meta",
    "service",
    "services",
];

/// Keys below those that still need a restart: they size threads, sockets and queues.
const NOT_RELOADED: [&str; 3] = [
    "dns_config.queueing_deadline",
    "dns_config.tcp_connections_max",
    "dns_config.workers",
];

/// Every key that files and flags give, by its path, with its value.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Written(BTreeMap<String, String>);

impl Written {
    pub(super) fn of(tree: &Node) -> Self {
        let mut keys = BTreeMap::new();
        collect(&mut keys, String::new(), &tree.value);
        Self(keys)
    }

    /// Keys that `newer` gives another value, and that only a restart can change; sorted.
    pub fn needing_restart<'a>(&'a self, newer: &'a Self) -> Vec<&'a str> {
        let mut keys: Vec<&str> = self
            .0
            .keys()
            .chain(newer.0.keys())
            .filter(|key| !is_reloaded(key) && self.0.get(*key) != newer.0.get(*key))
            .map(String::as_str)
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// Values may be secret.
impl fmt::Debug for Written {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

fn is_reloaded(key: &str) -> bool {
    let within = |parent: &&str| {
        key.strip_prefix(*parent)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    RELOADED.iter().any(within) && !NOT_RELOADED.iter().any(within)
}

fn collect(keys: &mut BTreeMap<String, String>, path: String, value: &Value) {
    match value {
        Value::Null => {}
        Value::Object(entries) => {
            for entry in entries {
                let key = entry.key.to_ascii_lowercase();
                let path = match path.as_str() {
                    "" => key,
                    path => format!("{path}.{key}"),
                };
                collect(keys, path, &entry.node.value);
            }
        }
        value => {
            keys.insert(path, text(value));
        }
    }
}

/// A value in a form in which equal ones are equal.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| text(&item.value)).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(entries) => {
            let mut text_of_all = String::new();
            for entry in entries {
                write!(text_of_all, "{:?}={};", entry.key, text(&entry.node.value))
                    .expect("writing to a string does not fail");
            }
            text_of_all
        }
    }
}
