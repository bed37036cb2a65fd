//! What herald does not have: the texts by which agents know it.
//!
//! | method | answer |
//! |---|---|
//! | a name without a dot | `rpc: service/method request ill-formed: X` |
//! | another method of a group that herald has | `rpc: can't find method X.Y` |
//! | `ACL.GetPolicy` | `ACL not found` |
//! | the other methods of `ACL` | `ACL support disabled` |
//! | `ConnectCA.Roots`, `Sign`, `ConfigurationGet`, `ConfigurationSet`, `SignIntermediate` | `Connect must be enabled in order to use this endpoint` |
//! | `PreparedQuery.Execute`, `ExecuteRemote`, `Explain`, `Get` | `Query not found` |
//! | other methods of `ConnectCA` and `PreparedQuery` | `rpc: can't find method X.Y` |
//! | `KVS`, `Session`, `Txn`, `Intention`, `DiscoveryChain`, `ConfigEntry`, `Operator`, `FederationState`, `AutoEncrypt`, and whatever else | `rpc: can't find service X.Y` |
//!
//! Features that are off answer as those of the reference do when they are off, and the stream goes
//! on; agents then do without them. Methods that cannot be found end their stream, as agents expect.
//! There are no prepared queries, so that none of them is found; a list of them is refused all the
//! same, because a blocking read of a list that never changes would look like a feature.
//!
//! No answer waits for anything.

use super::{Methods, encode};
use crate::directory::wire::{Decode, SnapshotReply, SnapshotRequest, Text};
use crate::msgpack::Reader;
use crate::rpc::{Answered, Fault};

/// Characters of a method's name that an error shows.
const SHOWN_MAX: usize = 128;

/// Groups of which herald has some methods.
const GROUPS: [&str; 7] = [
    "Status",
    "Catalog",
    "Health",
    "Coordinate",
    "Internal",
    "ConnectCA",
    "PreparedQuery",
];

/// The answer to a method that is not in the table.
pub(super) fn answer(method: &str) -> Answered {
    Err(fault(method))
}

fn fault(method: &str) -> Fault {
    let Some((group, name)) = method.rsplit_once('.') else {
        let text = format!("rpc: service/method request ill-formed: {}", shown(method));
        return Fault::Call(text);
    };
    let off = match (group, name) {
        ("ACL", "GetPolicy") => "ACL not found",
        ("ACL", _) => "ACL support disabled",
        (
            "ConnectCA",
            "Roots" | "Sign" | "ConfigurationGet" | "ConfigurationSet" | "SignIntermediate",
        ) => "Connect must be enabled in order to use this endpoint",
        ("PreparedQuery", "Execute" | "ExecuteRemote" | "Explain" | "Get") => "Query not found",
        (group, _) => {
            let known = GROUPS.contains(&group);
            let missing = if known { "method" } else { "service" };
            let text = format!("rpc: can't find {missing} {}", shown(method));
            return Fault::Call(text);
        }
    };
    Fault::Answer(off.to_owned())
}

/// A name as an error shows it: cut, and without control characters.
fn shown(name: &str) -> String {
    let mut shown = String::new();
    for character in name.chars().take(SHOWN_MAX) {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// What a snapshot connection is for.
const SAVE: i64 = 0;
/// The archive follows the request.
const RESTORE: i64 = 1;

/// The answer to a request for a snapshot, of which there are none yet.
pub(super) fn snapshot(methods: &Methods, request: &[u8]) -> Vec<u8> {
    let error = match SnapshotRequest::read(&mut Reader::new(request)) {
        Ok(request) => refusal(methods, &request),
        Err(error) => error.to_string(),
    };
    encode(&SnapshotReply {
        error: Text::from(error),
        ..SnapshotReply::default()
    })
}

fn refusal(methods: &Methods, request: &SnapshotRequest<'_>) -> String {
    if request.datacenter != methods.directory.datacenter().as_str() {
        return "No path to datacenter".to_owned();
    }
    match request.operation {
        SAVE | RESTORE => "snapshots are not available on this server".to_owned(),
        other => format!("unrecognized snapshot op {}", quoted(other)),
    }
}

/// A number as clients of the reference see it: the character that it stands for, in quotes.
fn quoted(number: i64) -> String {
    let character = u32::try_from(number).ok().and_then(char::from_u32);
    let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
    let inner = match character {
        '\u{7}' => "\\a".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\u{b}' => "\\v".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\n' | '\r' | '\t' | '\\' | '\'' => character.escape_default().to_string(),
        '\0'..='\u{1f}' | '\u{7f}' => format!("\\x{number:02x}"),
        '\u{80}'..='\u{9f}' => format!("\\u{number:04x}"),
        _ => character.to_string(),
    };
    format!("'{inner}'")
}

#[cfg(test)]
mod tests;
