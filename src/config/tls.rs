//! TLS of the agent RPC, in both spellings of the reference: the keys at the top, and those of `tls`,
//! where what `internal_rpc` says wins over `defaults`.
//!
//! Both may be there, as in files for agents of several releases, if they say the same.

use std::path::PathBuf;

use serde::Deserialize;

use super::Identity;
use super::check::non_empty;
use super::error::{ConfigError, Problem};
use super::raw::Raw;
use super::tree::Node;
use crate::rpc::{Tls, TlsConfig, TlsError};

/// The keys of `tls`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawTls {
    defaults: RawTlsSettings,
    internal_rpc: RawTlsSettings,
}

/// The keys of each part of `tls`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawTlsSettings {
    ca_file: Option<String>,
    ca_path: Option<String>,
    cert_file: Option<String>,
    key_file: Option<String>,
    verify_incoming: Option<bool>,
    verify_outgoing: Option<bool>,
    verify_server_hostname: Option<bool>,
}

/// Where the keys of `tls` for one setting stand, the stronger first.
const PARTS: [&str; 2] = ["tls.internal_rpc", "tls.defaults"];

/// What `raw` says of TLS.
///
/// # Errors
/// Both spellings of one setting are there and differ.
pub(super) fn settings(raw: &Raw, tree: &Node) -> Result<TlsConfig, ConfigError> {
    let RawTls {
        defaults,
        internal_rpc,
    } = &raw.tls;
    let mut problems = Vec::new();
    let mut file = |key, top: &Option<String>, parts: [&Option<String>; 2]| -> Option<PathBuf> {
        let parts = parts.map(|part| non_empty(part.as_deref()));
        one(tree, key, non_empty(top.as_deref()), parts, &mut problems)
    };
    let files = [
        file(
            "ca_file",
            &raw.ca_file,
            [&internal_rpc.ca_file, &defaults.ca_file],
        ),
        file(
            "ca_path",
            &raw.ca_path,
            [&internal_rpc.ca_path, &defaults.ca_path],
        ),
        file(
            "cert_file",
            &raw.cert_file,
            [&internal_rpc.cert_file, &defaults.cert_file],
        ),
        file(
            "key_file",
            &raw.key_file,
            [&internal_rpc.key_file, &defaults.key_file],
        ),
    ];
    let mut switch = |key, top: Option<bool>, parts: [Option<bool>; 2]| {
        one(tree, key, top, parts, &mut problems).unwrap_or(false)
    };
    // Either key of the old spelling asks for it.
    let incoming = [raw.verify_incoming, raw.verify_incoming_rpc];
    let incoming = incoming
        .into_iter()
        .flatten()
        .reduce(|one, other| one || other);
    let [ca_file, ca_path, cert_file, key_file] = files;
    let settings = TlsConfig {
        ca_file,
        ca_path,
        cert_file,
        key_file,
        verify_incoming: switch(
            "verify_incoming",
            incoming,
            [internal_rpc.verify_incoming, defaults.verify_incoming],
        ),
        verify_outgoing: switch(
            "verify_outgoing",
            raw.verify_outgoing,
            [internal_rpc.verify_outgoing, defaults.verify_outgoing],
        ),
        verify_server_hostname: switch(
            "verify_server_hostname",
            raw.verify_server_hostname,
            [
                internal_rpc.verify_server_hostname,
                defaults.verify_server_hostname,
            ],
        ),
    };
    if problems.is_empty() {
        Ok(settings)
    } else {
        Err(ConfigError::Values(problems))
    }
}

/// The value of one setting, from its key at the top or from those in [`PARTS`].
fn one<T: PartialEq>(
    tree: &Node,
    key: &str,
    top: Option<T>,
    parts: [Option<T>; 2],
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let given = parts.into_iter().zip(PARTS);
    let mut given = given.filter_map(|(value, part)| Some((value?, format!("{part}.{key}"))));
    let Some((value, path)) = given.next() else {
        return top;
    };
    if top.is_some_and(|top| top != value) {
        let message = format!("is not what {key} says, which is another spelling of it");
        problems.push(placed(tree, &path, message));
    }
    Some(value)
}

/// Reads the files that `settings` name, if there are any. A client agent takes nothing in, so that
/// `verify_incoming` asks it for nothing.
///
/// # Errors
/// A setting lacks another, or a file cannot be used.
pub(super) fn load(
    settings: &TlsConfig,
    tree: &Node,
    identity: &Identity,
    domain: &str,
) -> Result<Option<Tls>, ConfigError> {
    let mut settings = settings.clone();
    settings.verify_incoming &= identity.server;
    if settings == TlsConfig::default() {
        return Ok(None);
    }
    let server_name = format!("server.{}.{domain}", identity.datacenter);
    match Tls::load(&settings, &server_name) {
        Ok(tls) => Ok(Some(tls)),
        Err(TlsError::Lacking { setting, lacking }) => {
            Err(placed(tree, &spelling(tree, setting), format!("needs {lacking}")).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The key by which `setting` was given.
fn spelling(tree: &Node, setting: &str) -> String {
    let parts = PARTS.map(|part| format!("{part}.{setting}"));
    let mut keys = parts.into_iter().chain([format!("{setting}_rpc")]);
    let written = keys.find(|key| tree.place_of(key).is_some());
    written.unwrap_or_else(|| setting.to_owned())
}

/// A complaint about `key`, with its place if it was written.
fn placed(tree: &Node, key: &str, message: String) -> Problem {
    let problem = Problem::about(key, message);
    match tree.place_of(key) {
        Some(place) => problem.or_at(place),
        None => problem,
    }
}
