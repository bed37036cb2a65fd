//! Flags as Go programs take them, in front of clap: one or two dashes, `-flag value` or
//! `-flag=value`, booleans only `-flag` or `-flag=true`, the first other argument ends the flags.

use std::fmt::Write as _;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Command, CommandFactory};

use super::Exit;

/// Longest line of a help text.
const COLUMNS: usize = 80;
/// Flags of the reference for features that do not exist yet; no command has them for itself.
const LATER: [&str; 15] = [
    "allow-write-http-from",
    "disable-host-node-id",
    "grpc-port",
    "https-port",
    "log-file",
    "log-rotate-bytes",
    "log-rotate-duration",
    "log-rotate-max-files",
    "namespace",
    "non-voting-server",
    "primary-gateway",
    "recursor",
    "syslog",
    "ui-content-path",
    "ui-dir",
];

/// Reads `arguments` into `T`; `name` is the command as typed, as in `catalog nodes`.
///
/// # Errors
/// `-h` was given, or something that `T` does not take.
pub(super) fn parse<T: clap::Parser>(name: &str, arguments: &[String]) -> Result<T, Exit> {
    let matches = matches::<T>(name, arguments)?;
    Ok(T::from_arg_matches(&matches)?)
}

/// As [`parse`], for callers who also need to know where an argument stood.
///
/// # Errors
/// `-h` was given, or something that `T` does not take.
pub(super) fn matches<T: CommandFactory>(
    name: &str,
    arguments: &[String],
) -> Result<ArgMatches, Exit> {
    let command = T::command();
    let refuse = |message: String| Exit::Usage {
        message,
        usage: usage(name, &command),
    };
    let Some(normal) = normalise(&command, arguments).map_err(refuse)? else {
        return Err(Exit::Help(usage(name, &command)));
    };
    // As in Go, the last of several counts; flags that take a list gather them all.
    let parsed = command
        .clone()
        .args_override_self(true)
        .try_get_matches_from(normal);
    parsed.map_err(|error| refuse(complaint(&error)))
}

/// Arguments in the one form that clap is given, `--flag=value`; `None` if help is asked for.
fn normalise(command: &Command, arguments: &[String]) -> Result<Option<Vec<String>>, String> {
    let mut normal = vec![command.get_name().to_owned()];
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            break;
        }
        let Some(flag) = strip_dashes(argument) else {
            // As in Go, flags end at the first argument that is none.
            normal.push("--".to_owned());
            normal.push(argument.clone());
            break;
        };
        let (flag, value) = match flag.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (flag, None),
        };
        let Some(known) = find(command, flag) else {
            match flag {
                "h" | "help" => return Ok(None),
                _ if LATER.contains(&flag) => {
                    return Err(format!("flag not supported yet: -{flag}"));
                }
                _ => return Err(format!("flag provided but not defined: -{flag}")),
            }
        };
        let value = match (is_boolean(known), value) {
            (true, value) => boolean(flag, value.as_deref())?.to_string(),
            (false, Some(value)) => value,
            (false, None) => rest
                .next()
                .cloned()
                .ok_or_else(|| format!("flag needs an argument: -{flag}"))?,
        };
        normal.push(format!("--{flag}={value}"));
    }
    if let Some(first) = rest.next() {
        if normal.iter().all(|argument| argument != "--") {
            normal.push("--".to_owned());
        }
        normal.push(first.clone());
        normal.extend(rest.cloned());
    }
    Ok(Some(normal))
}

/// The flag without its dashes; `None` for anything else, `-` alone too.
fn strip_dashes(argument: &str) -> Option<&str> {
    let flag = argument.strip_prefix('-')?;
    let flag = flag.strip_prefix('-').unwrap_or(flag);
    (!flag.is_empty()).then_some(flag)
}

fn find<'a>(command: &'a Command, flag: &str) -> Option<&'a Arg> {
    command
        .get_arguments()
        .find(|argument| argument.get_long() == Some(flag))
}

/// Whether a flag may stand without a value: declared with `num_args = 0..=1`.
pub(super) fn is_boolean(argument: &Arg) -> bool {
    argument
        .get_num_args()
        .is_some_and(|range| range.min_values() == 0)
}

fn boolean(flag: &str, value: Option<&str>) -> Result<bool, String> {
    let Some(value) = value else {
        return Ok(true);
    };
    truth(value).ok_or_else(|| {
        format!("invalid boolean value {value:?} for -{flag}: it is neither true nor false")
    })
}

/// A truth value in the spellings that Go takes.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// clap's complaint in the words of Go's flag package.
fn complaint(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    match error.kind() {
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let (flag, value) = (
                text(ContextKind::InvalidArg),
                text(ContextKind::InvalidValue),
            );
            let what = shown(&flag);
            let reason = std::error::Error::source(error)
                .map(|source| format!(": {source}"))
                .or_else(|| expected(error))
                .unwrap_or_default();
            format!("invalid value {value:?} for {what}{reason}")
        }
        ErrorKind::UnknownArgument | ErrorKind::TooManyValues => {
            format!("unexpected argument {:?}", text(ContextKind::InvalidArg))
        }
        ErrorKind::MissingRequiredArgument => "an argument is missing".to_owned(),
        ErrorKind::ArgumentConflict => {
            let given = text(ContextKind::InvalidArg);
            let others = match error.get(ContextKind::PriorArg) {
                Some(ContextValue::String(other)) => vec![shown(other)],
                Some(ContextValue::Strings(others)) => others.iter().map(|it| shown(it)).collect(),
                _ => Vec::new(),
            };
            let others = match others.as_slice() {
                [] => "other flags".to_owned(),
                others => others.join(", "),
            };
            format!("{} cannot be used with {others}", shown(&given))
        }
        _ => error.kind().to_string(),
    }
}

/// What a complaint calls the argument that clap shows as `--flag <value>` or `[FILES]...`.
fn shown(argument: &str) -> String {
    let name = argument.split(['=', ' ']).next().unwrap_or_default();
    match strip_dashes(name) {
        Some(name) => format!("flag -{name}"),
        None => name.trim_matches(['[', ']', '<', '>', '.']).to_lowercase(),
    }
}

/// The values that would do, where there are only so many.
fn expected(error: &clap::Error) -> Option<String> {
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => {
            Some(format!(": expected one of {}", values.join(", ")))
        }
        _ => None,
    }
}

/// What a command takes, for people.
fn usage(name: &str, command: &Command) -> String {
    let mut text = format!("Usage: herald {name} [options]");
    for argument in command.get_positionals() {
        write!(text, " [{}...]", argument.get_id().as_str().to_uppercase())
            .expect("writing to a string does not fail");
    }
    let about = command.get_long_about().or(command.get_about());
    write!(text, "\n\n{}\n", indent(about, "  ")).expect("writing to a string does not fail");
    let mut flags: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| argument.get_long().is_some() && !argument.is_hide_set())
        .collect();
    flags.sort_by_key(|argument| argument.get_long());
    for flag in flags {
        let name = flag.get_long().unwrap_or_default();
        let value = match (is_boolean(flag), flag.get_value_names()) {
            (true, _) => String::new(),
            (false, Some([value, ..])) => format!("=<{}>", value.to_lowercase()),
            (false, _) => "=<value>".to_owned(),
        };
        let help = indent(flag.get_help(), "     ");
        write!(text, "\n  -{name}{value}\n{help}\n").expect("writing to a string does not fail");
    }
    text
}

/// What a definition says, for people: the marks that documentation sets around names are left out.
pub(super) fn plain(text: Option<&StyledStr>) -> String {
    text.map(ToString::to_string)
        .unwrap_or_default()
        .replace('`', "")
}

/// Breaks a text into lines no longer than a terminal is wide, with a margin before each.
fn indent(text: Option<&StyledStr>, margin: &str) -> String {
    let mut lines = Vec::new();
    for paragraph in plain(text).lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && margin.len() + line.len() + 1 + word.len() > COLUMNS {
                lines.push(format!("{margin}{line}"));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(format!("{margin}{line}").trim_end().to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// Tries flags.
    #[derive(Debug, Parser)]
    struct Sample {
        /// A boolean.
        #[arg(long, num_args = 0..=1)]
        dev: Option<bool>,
        /// A text.
        #[arg(long)]
        bind: Option<String>,
        /// A number.
        #[arg(long)]
        dns_port: Option<i64>,
        /// Several.
        #[arg(long)]
        tag: Vec<String>,
        files: Vec<String>,
    }

    fn read(line: &str) -> Result<Sample, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse("sample", &arguments).map_err(|exit| match exit {
            Exit::Usage { message, .. } => message,
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn one_and_two_dashes_with_and_without_equals_sign_are_the_same() {
        for line in ["-bind 1", "--bind 1", "-bind=1", "--bind=1"] {
            assert_eq!(read(line).unwrap().bind.as_deref(), Some("1"), "{line}");
        }
        assert_eq!(read("-dns-port -1").unwrap().dns_port, Some(-1));
        assert_eq!(read("-tag a --tag=b").unwrap().tag, ["a", "b"]);
        assert_eq!(read("-bind=a=b").unwrap().bind.as_deref(), Some("a=b"));
    }

    #[test]
    fn booleans_take_a_value_only_after_an_equals_sign() {
        assert_eq!(read("-dev").unwrap().dev, Some(true));
        assert_eq!(read("-dev=false").unwrap().dev, Some(false));
        assert_eq!(read("--dev=t").unwrap().dev, Some(true));
        assert_eq!(read("").unwrap().dev, None);
        let sample = read("-dev false").unwrap();
        assert_eq!(
            (sample.dev, sample.files.as_slice()),
            (Some(true), &["false".to_owned()][..])
        );
        assert!(read("-dev=maybe").unwrap_err().contains("\"maybe\""));
    }

    #[test]
    fn the_first_other_argument_ends_the_flags() {
        let sample = read("-bind 1 file -dev").unwrap();
        assert_eq!((sample.files.len(), sample.dev), (2, None));
        assert_eq!(read("-- -dev").unwrap().files, ["-dev"]);
    }

    #[test]
    fn of_a_flag_given_twice_the_last_counts_and_lists_gather_all() {
        let sample = read("-dev -bind a -dns-port=1 -tag x -dev=false --bind=b -dns-port 2 -tag y");
        let sample = sample.unwrap();
        assert_eq!(sample.dev, Some(false));
        assert_eq!(sample.bind.as_deref(), Some("b"));
        assert_eq!(sample.dns_port, Some(2));
        assert_eq!(sample.tag, ["x", "y"]);
        // What does not count must still be well formed.
        let complaint = read("-dns-port=x -dns-port=1").unwrap_err();
        assert!(complaint.contains("flag -dns-port"), "{complaint}");
    }

    #[test]
    fn flags_that_exclude_each_other_are_named() {
        let command = Command::new("sample").args([
            Arg::new("bind").long("bind").conflicts_with("client"),
            Arg::new("client").long("client"),
        ]);
        let parsed = command.try_get_matches_from(["sample", "--bind=a", "--client=b"]);
        assert_eq!(
            complaint(&parsed.unwrap_err()),
            "flag -bind cannot be used with flag -client"
        );
    }

    #[test]
    fn complaints_are_those_of_go() {
        for (line, message) in [
            ("-nope", "flag provided but not defined: -nope"),
            ("--nope=1", "flag provided but not defined: -nope"),
            ("-recursor x", "flag not supported yet: -recursor"),
            ("-bind", "flag needs an argument: -bind"),
            ("-dns-port x", "invalid value \"x\" for flag -dns-port"),
        ] {
            let complaint = read(line).unwrap_err();
            assert!(complaint.starts_with(message), "{complaint}");
        }
        assert!(read("-h").unwrap_err().starts_with("Help"));
    }
}
