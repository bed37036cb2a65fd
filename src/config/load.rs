//! Finds and reads configuration files, and lays development mode, files, flags and fragments over
//! each other in this order, later ones winning.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

use super::definitions;
use super::error::{ConfigError, Problem};
use super::hcl;
use super::raw::Raw;
use super::tree::{Node, Value};
use super::written::Written;
use crate::local::FileDefinitions;

/// Largest configuration file, in octets.
const FILE_OCTETS_MAX: u64 = 4 * 1024 * 1024;

/// What `-dev` sets, below files and flags.
const DEVELOPMENT: &str = r#"{
    "bind_addr": "127.0.0.1", "log_level": "DEBUG", "server": true, "ui": true,
    "gossip_lan": {"gossip_interval": "100ms", "probe_interval": "100ms",
        "probe_timeout": "100ms", "suspicion_mult": 3},
    "gossip_wan": {"gossip_interval": "100ms", "probe_interval": "100ms",
        "probe_timeout": "100ms", "suspicion_mult": 3}
}"#;

/// Everything said on the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Development mode: one server in memory, on the loopback address.
    pub development: bool,
    /// Files and directories in the order given.
    pub files: Vec<PathBuf>,
    /// Language of all files, whatever their names (`-config-format`).
    pub format: Option<Format>,
    /// Pieces of configuration in HCL (`-hcl`); they win over all else.
    pub fragments: Vec<String>,
    /// Flags that stand for a key of the files.
    pub settings: Vec<Setting>,
}

/// Language of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.json`.
    Json,
    /// `.hcl`.
    Hcl,
}

/// The text names no language of files; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be hcl or json")]
pub struct FormatError;

impl FromStr for Format {
    type Err = FormatError;
    fn from_str(text: &str) -> Result<Self, FormatError> {
        match text {
            "json" => Ok(Self::Json),
            "hcl" => Ok(Self::Hcl),
            _ => Err(FormatError),
        }
    }
}

impl Format {
    /// The language that a file's name tells.
    fn of(path: &Path) -> Option<Self> {
        let end = path.extension()?.to_str()?;
        end.parse().ok()
    }

    fn parse(self, source: &str, text: &str) -> Result<Node, Problem> {
        match self {
            Self::Json => Node::parse(source, text),
            Self::Hcl => hcl::parse(source, text),
        }
    }
}

/// One flag that stands for a key of the files and wins over them.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The flag's name without dashes.
    pub flag: &'static str,
    /// The key it stands for, as in `ports.dns`.
    pub key: &'static str,
    /// Its value.
    pub value: SettingValue,
}

/// Value of a flag.
#[derive(Clone, Debug)]
pub enum SettingValue {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// On or off.
    Boolean(bool),
    /// One item of a list, as in `-retry-join 10.0.0.1`.
    Item(String),
    /// One pair of a map, as in `-node-meta rack:7`.
    Pair(String, String),
}

/// Most mistakes of one file that are told at once: each costs another reading of the whole.
const PROBLEMS_MAX: usize = 100;

/// What files and flags say, put together.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The keys.
    pub(super) raw: Raw,
    /// Services and checks with their places.
    pub(super) definitions: FileDefinitions,
    /// The same as it was written.
    pub(super) written: Written,
    /// The same with the place of each value.
    pub(super) tree: Node,
}

/// Reads everything that `flags` name into one checked mirror.
pub(super) fn load(flags: &Flags) -> Result<Loaded, ConfigError> {
    let mut whole = Node::empty("default");
    if flags.development {
        whole = whole.merge(Node::parse("flag -dev", DEVELOPMENT)?);
    }
    let mut problems = Vec::new();
    for (path, format) in find_files(&flags.files, flags.format)? {
        let node = read(&path, format)?;
        // A mistake is an error also where a later file or flag hides it.
        if let Err(mistakes) = mirror(&node) {
            problems.extend(mistakes);
        }
        whole = whole.merge(node);
    }
    if !problems.is_empty() {
        return Err(ConfigError::Values(problems));
    }
    for setting in &flags.settings {
        whole = whole.merge(setting.node());
    }
    for fragment in &flags.fragments {
        whole = whole.merge(hcl::parse("flag -hcl", fragment)?);
    }
    let raw = mirror(&whole).map_err(ConfigError::Values)?;
    Ok(Loaded {
        definitions: definitions::collect(&raw, &whole),
        written: Written::of(&whole),
        raw,
        tree: whole,
    })
}

/// The mirror of `tree`, or every mistake in it: what is wrong is left out and the rest is read
/// again, until nothing more is found.
fn mirror(tree: &Node) -> Result<Raw, Vec<Problem>> {
    let mut last = match Raw::deserialize(tree) {
        Ok(raw) => return Ok(raw),
        Err(problem) => problem,
    };
    let mut rest = tree.clone();
    let mut problems: Vec<Problem> = Vec::new();
    while problems.len() < PROBLEMS_MAX {
        let more = rest.remove(last.culprit());
        if !problems.iter().any(|earlier| last.follows_from(earlier)) {
            problems.push(last);
        }
        match Raw::deserialize(&rest) {
            Err(next) if more => last = next,
            _ => break,
        }
    }
    Err(problems)
}

impl Setting {
    fn node(&self) -> Node {
        let source = format!("flag -{}", self.flag);
        match &self.value {
            SettingValue::Text(text) => Node::at(&source, self.key, Value::Text(text.clone())),
            SettingValue::Number(number) => {
                Node::at(&source, self.key, Value::Number((*number).into()))
            }
            SettingValue::Boolean(value) => Node::at(&source, self.key, Value::Boolean(*value)),
            SettingValue::Item(text) => {
                let item = Node::alone(&source, Value::Text(text.clone()));
                Node::at(&source, self.key, Value::List(vec![item]))
            }
            SettingValue::Pair(key, value) => {
                let pair = Node::pair(&source, key, Value::Text(value.clone()));
                Node::at(&source, self.key, pair.value)
            }
        }
    }
}

/// Files as given, and in the place of each directory its `.json` and `.hcl` files in name order;
/// with a `format`, all its files.
fn find_files(
    paths: &[PathBuf],
    format: Option<Format>,
) -> Result<Vec<(PathBuf, Format)>, ConfigError> {
    let mut files = Vec::new();
    for path in paths {
        let cannot_read = |source: io::Error| ConfigError::Read {
            path: path.clone(),
            source,
        };
        if !fs::metadata(path).map_err(cannot_read)?.is_dir() {
            let path = path.clone();
            match format.or_else(|| Format::of(&path)) {
                Some(format) => files.push((path, format)),
                None => return Err(ConfigError::Extension { path }),
            }
            continue;
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(cannot_read)? {
            let path = entry.map_err(cannot_read)?.path();
            let Some(format) = format.or_else(|| Format::of(&path)) else {
                continue;
            };
            // A link that leads nowhere, or a file that may not be looked at, is not "no file":
            // what it held would go from the catalog without a word.
            let metadata = fs::metadata(&path).map_err(|source| ConfigError::Read {
                path: path.clone(),
                source,
            })?;
            if metadata.is_file() {
                found.push((path, format));
            }
        }
        found.sort_by(|(left, _), (right, _)| left.cmp(right));
        files.extend(found);
    }
    Ok(files)
}

/// Keys of a file that holds services and nothing else.
const SERVICE_KEYS: [&str; 2] = ["service", "services"];

/// The services of a file that holds nothing else, as it spells them and in their order: HCL where
/// its name ends in `.hcl`, else JSON.
///
/// # Errors
/// It cannot be read or is not of its language, or its mistakes: what an agent would not take from
/// a file of its own.
pub fn read_services(path: &Path) -> Result<Vec<serde_json::Value>, ConfigError> {
    let node = read_service_file(path)?;
    mirror(&node).map_err(ConfigError::Values)?;
    Ok(services(node))
}

/// The same for who only needs to know which services they are: of each an id or a name will do.
///
/// # Errors
/// It cannot be read or is not of its language, or it has other keys.
pub fn read_services_to_remove(path: &Path) -> Result<Vec<serde_json::Value>, ConfigError> {
    read_service_file(path).map(services)
}

fn read_service_file(path: &Path) -> Result<Node, ConfigError> {
    let node = read(path, Format::of(path).unwrap_or(Format::Json))?;
    let entries = match &node.value {
        Value::Object(entries) => entries.as_slice(),
        _ => &[],
    };
    let is_known = |key: &str| {
        SERVICE_KEYS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(key))
    };
    let foreign = entries.iter().find(|entry| !is_known(&entry.key));
    match foreign {
        Some(entry) => {
            let message = format!(
                "invalid config key {}, expected service or services",
                entry.key
            );
            Err(Problem::at(entry.place.clone(), message).into())
        }
        None => Ok(node),
    }
}

fn services(node: Node) -> Vec<serde_json::Value> {
    let Value::Object(entries) = node.value else {
        return Vec::new();
    };
    let several = entries.into_iter().flat_map(|entry| {
        let mut node = entry.node;
        node.make_list();
        match node.value {
            Value::List(items) => items,
            _ => vec![node],
        }
    });
    let given = several.filter(|node| !matches!(node.value, Value::Null));
    given.map(|node| node.to_json()).collect()
}

fn read(path: &Path, format: Format) -> Result<Node, ConfigError> {
    let cannot_read = |source: io::Error| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let octets = fs::metadata(path).map_err(cannot_read)?.len();
    if octets > FILE_OCTETS_MAX {
        return Err(ConfigError::Size {
            path: path.to_owned(),
            octets,
            max: FILE_OCTETS_MAX,
        });
    }
    let text = fs::read_to_string(path).map_err(cannot_read)?;
    let node = format.parse(&path.display().to_string(), &text);
    node.map_err(Problem::into)
}
