//! `herald completion`: scripts that complete commands and flags in a shell.

use clap_complete::Shell;
use regex::Regex;

use super::tree::tree;
use super::{Exit, flags, print};

/// Prints a script that completes commands and flags in bash, zsh or fish, for example with
/// `source <(herald completion bash)`.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {
    /// Shell to write for: bash, zsh or fish.
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    shell: Vec<String>,
}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let options: Options = flags::parse("completion", arguments)?;
    let [name] = options.shell.as_slice() else {
        return Err(anyhow::anyhow!("completion needs one shell: bash, zsh or fish").into());
    };
    let script = match name.as_str() {
        "bash" => bash(&generate(Shell::Bash)),
        "zsh" => zsh(&generate(Shell::Zsh)),
        _ => fish(&generate(Shell::Fish)),
    };
    print(&script);
    Ok(())
}

/// What the library makes of the definitions: flags with two dashes, where people type one.
fn generate(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree(), "herald", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Words to offer and branches of a `case` begin with the flag.
fn bash(script: &str) -> String {
    replace(script, r#"(?m)(^ +| |")--([a-z])"#, "$1-$2")
}

/// Specifications stand one a line, in quotes. Without `-s`, which is for stacked letters, `-wan`
/// is one flag and not three.
fn zsh(script: &str) -> String {
    let script = replace(script, r"(?m)^'(\*)?--([a-z])", "'$1-$2");
    replace(&script, r"_arguments_options=\(-s ", "_arguments_options=(")
}

/// `-o` declares a long flag with one dash, `-l` one with two.
fn fish(script: &str) -> String {
    replace(
        script,
        r#"(?m)^(complete -c herald -n "[^"]*") -l "#,
        "$1 -o ",
    )
}

fn replace(script: &str, pattern: &str, with: &str) -> String {
    let pattern = Regex::new(pattern).expect("the pattern is valid");
    pattern.replace_all(script, with).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_one_dash_in_every_shell() {
        let two = Regex::new("--[a-z]").unwrap();
        for (script, expected) in [
            (bash(&generate(Shell::Bash)), " -http-addr "),
            (zsh(&generate(Shell::Zsh)), "\n'-http-addr=["),
            (fish(&generate(Shell::Fish)), " -o http-addr "),
        ] {
            assert!(script.contains(expected), "{expected}");
            assert_eq!(two.find(&script), None);
        }
        let fish = fish(&generate(Shell::Fish));
        let mut declared = fish.lines().filter(|line| line.starts_with("complete "));
        assert!(declared.clone().count() > 100);
        assert!(declared.all(|line| !line.contains("\" -l ")));
        assert!(!zsh(&generate(Shell::Zsh)).contains("(-s "));
    }
}
