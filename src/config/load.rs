//! Finds and reads configuration files, and lays development mode, files and flags over each other
//! in this order, later ones winning.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::definitions;
use super::error::{ConfigError, Problem};
use super::raw::Raw;
use super::tree::{Node, Value};
use super::written::Written;
use crate::local::FileDefinitions;

/// Largest configuration file, in octets.
const FILE_OCTETS_MAX: u64 = 4 * 1024 * 1024;

/// What `-dev` sets, below files and flags.
const DEVELOPMENT: &str =
    r#"{"bind_addr": "127.0.0.1", "log_level": "DEBUG", "server": true, "ui": true}"#;

/// Everything said on the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Development mode: one server in memory, on the loopback address.
    pub development: bool,
    /// Files and directories in the order given.
    pub files: Vec<PathBuf>,
    /// Flags that stand for a key of the files.
    pub settings: Vec<Setting>,
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
    /// One pair of a map, as in `-node-meta rack:7`.
    Pair(String, String),
}

/// Most mistakes that are told at once.
const PROBLEMS_MAX: usize = 1_000;

/// What files and flags say, put together.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The keys.
    pub(super) raw: Raw,
    /// Services and checks with their places.
    pub(super) definitions: FileDefinitions,
    /// The same as it was written.
    pub(super) written: Written,
}

/// Reads everything that `flags` name into one checked mirror.
pub(super) fn load(flags: &Flags) -> Result<Loaded, ConfigError> {
    let mut whole = Node::empty("default");
    if flags.development {
        whole = whole.merge(Node::parse("flag -dev", DEVELOPMENT)?);
    }
    let mut problems = Vec::new();
    for path in find_files(&flags.files)? {
        let node = read(&path)?;
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
    let raw = mirror(&whole).map_err(ConfigError::Values)?;
    Ok(Loaded {
        definitions: definitions::collect(&raw, &whole),
        written: Written::of(&whole),
        raw,
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
            SettingValue::Pair(key, value) => {
                let pair = Node::pair(&source, key, Value::Text(value.clone()));
                Node::at(&source, self.key, pair.value)
            }
        }
    }
}

/// Files as given, and in the place of each directory its `.json` files in name order.
fn find_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ConfigError> {
    let mut files = Vec::new();
    for path in paths {
        let cannot_read = |source: io::Error| ConfigError::Read {
            path: path.clone(),
            source,
        };
        if !fs::metadata(path).map_err(cannot_read)?.is_dir() {
            check_extension(path)?;
            files.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(cannot_read)? {
            let entry = entry.map_err(cannot_read)?;
            let is_file = fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file());
            let named = extension(&entry.path()).is_some_and(|end| end == "json" || end == "hcl");
            if is_file && named {
                check_extension(&entry.path())?;
                found.push(entry.path());
            }
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

fn extension(path: &Path) -> Option<&str> {
    path.extension().and_then(|end| end.to_str())
}

fn check_extension(path: &Path) -> Result<(), ConfigError> {
    let path = path.to_owned();
    match extension(&path) {
        Some("json") => Ok(()),
        Some("hcl") => Err(ConfigError::Hcl { path }),
        _ => Err(ConfigError::Extension { path }),
    }
}

fn read(path: &Path) -> Result<Node, ConfigError> {
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
    Node::parse(&path.display().to_string(), &text).map_err(Problem::into)
}
