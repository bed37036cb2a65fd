//! Reads `src/` and fails on an import between modules that the design does not allow, and on a
//! framework that is named outside its home.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each module may name besides itself and [`OPEN`]; each only modules above its own line.
const ALLOWED: [(&str, &[&str]); 26] = [
    ("types", &[]),
    ("clock", &[]),
    ("clients", &[]),
    ("task", &[]),
    ("metrics", &[]),
    ("log", &[]),
    ("control", &[]),
    ("msgpack", &[]),
    ("client", &[]),
    ("catalog", &[]),
    ("filter", &["catalog"]),
    ("health", &[]),
    ("gossip", &[]),
    ("rpc", &[]),
    ("raft", &["catalog", "rpc"]),
    ("directory", &["catalog", "filter", "gossip", "raft", "rpc"]),
    ("local", &["catalog", "health", "directory"]),
    ("events", &["filter", "gossip", "local"]),
    ("reconcile", &["catalog", "gossip", "raft"]),
    ("dns", &["catalog", "directory"]),
    (
        "http",
        &[
            "catalog",
            "filter",
            "gossip",
            "local",
            "directory",
            "events",
            "dns",
        ],
    ),
    (
        "config",
        &[
            "catalog",
            "gossip",
            "health",
            "raft",
            "rpc",
            "directory",
            "local",
            "reconcile",
            "dns",
            "http",
        ],
    ),
    (
        "agent",
        &[
            "catalog",
            "gossip",
            "health",
            "raft",
            "rpc",
            "directory",
            "local",
            "events",
            "reconcile",
            "dns",
            "http",
            "config",
        ],
    ),
    ("cli", &["agent", "config"]),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Vocabulary and helpers that every module may use.
const OPEN: [&str; 9] = [
    "types", "clock", "clients", "task", "metrics", "log", "control", "msgpack", "client",
];

/// Where each framework may be named: modules, or paths below one.
const HOMES: [(&str, &[&str]); 21] = [
    ("aes_gcm", &["gossip"]),
    ("anyhow", &["cli", "main"]),
    ("axum", &["http"]),
    ("clap", &["cli"]),
    ("crc32fast", &["gossip"]),
    ("dashmap", &["catalog"]),
    ("h2", &["health"]),
    ("hickory_proto", &["dns", "client"]),
    ("hickory_server", &["dns"]),
    ("hyper", &["health", "http", "client"]),
    ("hyper_util", &["health", "http", "client"]),
    ("mimalloc", &["main"]),
    ("nix", &["health", "dns", "config", "agent", "raft"]),
    ("regex", &["cli", "config", "filter", "gossip"]),
    ("rustls", &["client", "health", "rpc"]),
    ("rustls_native_certs", &["client", "health"]),
    ("socket2", &["dns", "gossip", "http", "rpc"]),
    ("tokio_rustls", &["client", "health", "rpc"]),
    ("tracing_subscriber", &["agent"]),
    ("url", &["health"]),
    ("weezl", &["gossip"]),
];

/// One source file: its module and its code without comments, string literals and unit tests (which
/// may put together what they need).
struct Source {
    path: PathBuf,
    module: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let below = path.strip_prefix(&root).unwrap();
                if path.ends_with("tests.rs") || below.iter().any(|part| part == "tests") {
                    continue;
                }
                let first = below
                    .components()
                    .next()
                    .unwrap()
                    .as_os_str()
                    .to_str()
                    .unwrap();
                found.push(Source {
                    module: first.trim_end_matches(".rs").to_owned(),
                    code: strip(&fs::read_to_string(&path).unwrap()),
                    path: below.to_owned(),
                });
            }
        }
    }
    assert!(found.len() > 40, "the sources were found");
    found
}

/// Blanks comments, string and character literals, so that only code is left.
fn strip(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < letters.len() {
        let rest = &letters[at..];
        let end = match rest {
            ['/', '/', ..] => rest.iter().position(|letter| *letter == '\n'),
            ['/', '*', ..] => find(rest, "*/"),
            ['r', '#', '"', ..] => find(rest, "\"#"),
            ['b', '"', ..] => string_end(rest, 2),
            ['"', ..] => string_end(rest, 1),
            // A character literal; a lifetime has no closing quote.
            ['\'', '\\', ..] => rest
                .iter()
                .skip(2)
                .position(|l| *l == '\'')
                .map(|end| end + 3),
            ['\'', _, '\'', ..] => Some(3),
            _ => {
                code.push(letters[at]);
                at += 1;
                continue;
            }
        };
        code.push(' ');
        at += end.unwrap_or(rest.len());
    }
    // Unit tests stand at the end of a file.
    let tests = code.find("#[cfg(test)]\nmod ").unwrap_or(code.len());
    code.truncate(tests);
    code
}

fn find(letters: &[char], end: &str) -> Option<usize> {
    let end: Vec<char> = end.chars().collect();
    let start = letters
        .windows(end.len())
        .skip(2)
        .position(|window| window == end);
    start.map(|start| start + 2 + end.len())
}

fn string_end(letters: &[char], open: usize) -> Option<usize> {
    let mut escaped = false;
    letters
        .iter()
        .enumerate()
        .skip(open)
        .find_map(|(at, letter)| {
            let closes = *letter == '"' && !escaped;
            escaped = *letter == '\\' && !escaped;
            closes.then_some(at + 1)
        })
}

/// Modules of this crate that `code` names: after `crate::` or `herald::`, also in groups.
fn named_modules(code: &str) -> BTreeSet<String> {
    ["crate::", "herald::"]
        .iter()
        .flat_map(|root| {
            code.match_indices(root)
                .map(|(at, _)| &code[at + root.len()..])
        })
        .flat_map(first_names)
        .collect()
}

/// First name of each path in `rest`: one, or those of a group `{a, b::c, d::{e, f}}`.
fn first_names(rest: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        let letters = text.trim_start().chars();
        letters
            .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
            .collect()
    };
    let Some(group) = rest.trim_start().strip_prefix('{') else {
        return vec![name(rest)];
    };
    let mut names = vec![name(group)];
    let mut depth = 0;
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name(&group[at + 1..])),
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Whether `code` names the crate `name`: `name::`, or `use name`, not as the end of another name.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + name.len()..];
        let part_of_name = before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
        // `self::name`, `crate::name` and `.name` are something else.
        let below = code[..at].ends_with("::") || before == Some('.');
        !part_of_name && !below && after.starts_with("::")
    })
}

#[test]
fn modules_only_name_what_the_design_allows() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    let modules: BTreeSet<&str> = allowed.keys().copied().collect();
    let mut complaints = Vec::new();
    for source in sources() {
        let module = source.module.as_str();
        let Some(permitted) = allowed.get(module) else {
            complaints.push(format!("src/{}: not in the table", source.path.display()));
            continue;
        };
        for name in named_modules(&source.code) {
            let open = OPEN.contains(&name.as_str()) && module != "types";
            let permitted = name == module || open || permitted.contains(&name.as_str());
            if modules.contains(name.as_str()) && !permitted {
                let path = source.path.display();
                complaints.push(format!("src/{path}: {module} must not name {name}"));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn frameworks_are_only_named_at_home() {
    let mut complaints = Vec::new();
    for source in sources() {
        for (name, homes) in HOMES {
            let path = source.path.display();
            if names_crate(&source.code, name) && !homes.contains(&source.module.as_str()) {
                complaints.push(format!(
                    "src/{path}: {name} is only for {}",
                    homes.join(", ")
                ));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn the_table_has_no_cycle() {
    for (at, (module, permitted)) in ALLOWED.iter().enumerate() {
        let above: Vec<&str> = ALLOWED[..at].iter().map(|(name, _)| *name).collect();
        for name in *permitted {
            assert!(
                above.contains(name),
                "{module} may name {name}, which is not above it"
            );
        }
    }
}

#[test]
fn imports_are_found_in_every_form() {
    let code = strip(
        "use crate::{a, b::{c, d}, e::f};\nlet x = crate::g::h(); // crate::no\n\
         let text = \"crate::no\"; use crate::i;\nfn f<'a>(x: &'a str) { herald::j::k('\"') }",
    );
    let names: Vec<String> = named_modules(&code).into_iter().collect();
    assert_eq!(names, ["a", "b", "e", "g", "i", "j"]);
    assert!(names_crate("use axum::Router;", "axum"));
    assert!(!names_crate(
        "use crate::axum::Router; my_axum::x()",
        "axum"
    ));
}
