//! `herald keyring`: the keys that encrypt gossip.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::json;

use super::connection::{Connection, with_query};
use super::text::escape;
use super::{Exit, block_on, flags, print};
use crate::client::http::HttpClient;

const PATH: &str = "/v1/operator/keyring";
/// Most members that repeat each answer.
const RELAY_FACTOR_MAX: i64 = 5;

/// Lists and changes the keys that encrypt gossip, on all members of the cluster at once: install a
/// key everywhere, use it everywhere, then remove the old one. Ask a server.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {
    #[command(flatten)]
    connection: Connection,
    /// Add this key; it decrypts from then on.
    #[arg(long, value_name = "key", default_value = "")]
    install: String,
    /// List the keys, and how many members have each.
    #[arg(long, num_args = 0..=1, default_value_t = false)]
    list: bool,
    /// List the keys that encrypt, and how many members use each.
    #[arg(long, num_args = 0..=1, default_value_t = false)]
    list_primary: bool,
    /// Ask only the members of this datacenter; only for lists.
    #[arg(long, num_args = 0..=1, default_value_t = false)]
    local_only: bool,
    /// Number of other members through which each answer also travels, from 0 to 5.
    #[arg(long, value_name = "number", default_value_t = 0)]
    relay_factor: i64,
    /// Take this key away; it must not be the one that encrypts.
    #[arg(long, value_name = "key", default_value = "")]
    remove: String,
    /// Encrypt with this key, which must be installed.
    #[arg(long = "use", value_name = "key", default_value = "")]
    make_primary: String,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action<'a> {
    Install(&'a str),
    List,
    ListPrimary,
    Remove(&'a str),
    Use(&'a str),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pool {
    #[serde(rename = "WAN")]
    wan: bool,
    datacenter: String,
    segment: String,
    #[serde(default)]
    messages: BTreeMap<String, String>,
    keys: BTreeMap<String, usize>,
    /// Absent where an older agent answers.
    #[serde(default)]
    primary_keys: BTreeMap<String, usize>,
    num_nodes: usize,
}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let options: Options = flags::parse("keyring", arguments)?;
    let action = options.action()?;
    let path = options.path(action)?;
    let client = options.connection.client()?;
    match action {
        Action::List => {
            print("==> Gathering installed encryption keys...\n");
            show(&client, &path, |pool| &pool.keys)?;
        }
        Action::ListPrimary => {
            print("==> Gathering installed primary encryption keys...\n");
            show(&client, &path, |pool| &pool.primary_keys)?;
        }
        Action::Install(key) => {
            print("==> Installing new gossip encryption key...\n");
            block_on(client.post(&path, &json!({"Key": key})))?.context("error")?;
        }
        Action::Use(key) => {
            print("==> Changing primary gossip encryption key...\n");
            block_on(client.put(&path, &json!({"Key": key})))?.context("error")?;
        }
        Action::Remove(key) => {
            print("==> Removing gossip encryption key...\n");
            block_on(client.delete(&path, &json!({"Key": key})))?.context("error")?;
        }
    }
    Ok(())
}

impl Options {
    /// The one thing that is asked for.
    fn action(&self) -> Result<Action<'_>> {
        let key = |key: &str| !key.is_empty();
        let actions = [
            (key(&self.install), Action::Install(&self.install)),
            (self.list, Action::List),
            (self.list_primary, Action::ListPrimary),
            (key(&self.remove), Action::Remove(&self.remove)),
            (key(&self.make_primary), Action::Use(&self.make_primary)),
        ];
        let mut given = actions.iter().filter(|(given, _)| *given);
        match (given.next(), given.next()) {
            (Some((_, action)), None) => Ok(*action),
            (None, _) => {
                bail!("keyring needs one of -install, -list, -list-primary, -remove and -use")
            }
            (Some(_), Some(_)) => bail!("Only a single action is allowed"),
        }
    }

    fn path(&self, action: Action<'_>) -> Result<String> {
        let mut parameters = Vec::new();
        match self.relay_factor {
            0 => {}
            factor @ 1..=RELAY_FACTOR_MAX => parameters.push(format!("relay-factor={factor}")),
            _ => bail!(
                "Error parsing relay factor: Relay factor must be in range: [0, {RELAY_FACTOR_MAX}]"
            ),
        }
        match (self.local_only, action) {
            (true, Action::List | Action::ListPrimary) => {
                parameters.push("local-only=true".to_owned());
            }
            (true, _) => bail!("-local-only may only be provided with -list or -list-primary"),
            (false, _) => {}
        }
        Ok(with_query(PATH, &parameters))
    }
}

fn show(
    client: &HttpClient,
    path: &str,
    keys: fn(&Pool) -> &BTreeMap<String, usize>,
) -> Result<()> {
    let pools: Vec<Pool> = block_on(client.get(path))?.context("error")?;
    let mut text = String::new();
    for pool in &pools {
        pool.write(keys(pool), &mut text)
            .expect("writing to a string does not fail");
    }
    print(&text);
    Ok(())
}

impl Pool {
    fn write(&self, keys: &BTreeMap<String, usize>, text: &mut String) -> std::fmt::Result {
        text.push('\n');
        match (self.wan, self.segment.as_str()) {
            (true, _) => writeln!(text, "WAN:")?,
            (false, "") => writeln!(text, "{} (LAN):", escape(&self.datacenter))?,
            (false, segment) => {
                let datacenter = escape(&self.datacenter);
                writeln!(text, "{datacenter} (LAN) [{}]:", escape(segment))?;
            }
        }
        for (name, message) in &self.messages {
            writeln!(text, "  ===> {}: {}", escape(name), escape(message))?;
        }
        for (key, members) in keys {
            writeln!(text, "  {} [{members}/{}]", escape(key), self.num_nodes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Options {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        flags::parse("keyring", &arguments).unwrap()
    }

    #[test]
    fn one_action_is_chosen() {
        for (line, action) in [
            ("-list", Action::List),
            ("-list-primary", Action::ListPrimary),
            ("-install=YQ== -list=false", Action::Install("YQ==")),
            ("-use YQ==", Action::Use("YQ==")),
            ("--remove=YQ== -install=", Action::Remove("YQ==")),
        ] {
            assert_eq!(options(line).action().unwrap(), action, "{line}");
        }
        for line in [
            "-list -use=a",
            "-install=a -remove=b",
            "-list -list-primary",
        ] {
            let error = options(line).action().unwrap_err();
            assert_eq!(
                error.to_string(),
                "Only a single action is allowed",
                "{line}"
            );
        }
        assert!(options("-relay-factor=1").action().is_err());
    }

    #[test]
    fn the_relay_factor_travels_along_within_its_range() {
        let path = |line: &str| options(line).path(Action::List).map_err(|e| e.to_string());
        assert_eq!(path("-list"), Ok(PATH.to_owned()));
        assert_eq!(
            path("-list -relay-factor=5 -local-only"),
            Ok(format!("{PATH}?relay-factor=5&local-only=true"))
        );
        for line in ["-relay-factor=6", "-relay-factor -1"] {
            let text = "Error parsing relay factor: Relay factor must be in range: [0, 5]";
            assert_eq!(path(line), Err(text.to_owned()), "{line}");
        }
        let local = options("-local-only").path(Action::Use("a"));
        assert!(local.unwrap_err().to_string().starts_with("-local-only"));
    }
}
