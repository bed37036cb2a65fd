//! Completions and manual pages.

use std::process::Stdio;

use super::{command, finish, herald};
use crate::support::directory::Directory;

/// Completes the last of `words` in bash.
async fn complete(words: &[&str]) -> Vec<String> {
    let script = herald(&["completion", "bash"]).await;
    assert_eq!((script.code, script.err.as_str()), (0, ""));
    let ask = "\nCOMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1))\n\
               _herald herald \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"\n\
               printf '%s\\n' \"${COMPREPLY[@]}\"\n";
    let text = script.out + ask;
    let arguments = [&["-c", &text, "bash"], words].concat();
    let finished = finish(command("bash".as_ref(), &arguments)).await;
    assert_eq!(finished.code, 0, "{}", finished.err);
    finished.out.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn bash_completes_commands_and_flags_with_one_dash() {
    assert_eq!(complete(&["herald", "mem"]).await, ["members"]);
    assert_eq!(complete(&["herald", "catalog", "se"]).await, ["services"]);
    assert_eq!(
        complete(&["herald", "catalog", "services", "-node"]).await,
        ["-node", "-node-meta"]
    );
    assert_eq!(complete(&["herald", "members", "--"]).await, [""]);
    assert_eq!(
        complete(&["herald", "completion", ""]).await,
        ["-h", "bash", "zsh", "fish"]
    );
    let flags = complete(&["herald", "agent", "-"]).await;
    for flag in ["-dev", "-config-file", "-http-port"] {
        assert!(flags.iter().any(|have| have == flag), "{flag} in {flags:?}");
    }
}

#[tokio::test]
async fn other_shells_take_their_scripts() {
    for shell in ["zsh", "fish"] {
        let script = herald(&["completion", shell]).await;
        assert_eq!((script.code, script.err.as_str()), (0, ""));
        let directory = Directory::new();
        let file = directory.write("script", &script.out);
        let mut check = command(shell.as_ref(), &["-n", file.to_str().unwrap()]);
        check.stdout(Stdio::null());
        if check.spawn().is_err() {
            eprintln!("SKIPPED: {shell} is not installed, its completion is not tried");
            continue;
        }
        let finished = finish(check).await;
        finished.is(0, "", "");
    }
}

#[tokio::test]
async fn fish_completes_flags_with_one_dash() {
    let script = herald(&["completion", "fish"]).await.out;
    let ask = script + "\ncomplete -C 'herald members -wa'; complete -C 'herald catalog no'\n";
    let mut fish = command("fish".as_ref(), &["-c", &ask]);
    if fish
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .is_err()
    {
        eprintln!("SKIPPED: fish is not installed, its completion is not tried");
        return;
    }
    let finished = finish(command("fish".as_ref(), &["-c", &ask])).await;
    finished.is(
        0,
        "-wan\tList the servers of all datacenters\nnodes\tLists the nodes of a datacenter\n",
        "",
    );
}

#[tokio::test]
async fn a_shell_must_be_known() {
    let finished = herald(&["completion", "tcsh"]).await;
    assert_eq!(finished.code, 1);
    let text = "invalid value \"tcsh\" for shell: expected one of bash, zsh, fish\nUsage: herald ";
    assert!(finished.err.starts_with(text), "{}", finished.err);
    let text = "completion needs one shell: bash, zsh or fish\n";
    herald(&["completion"]).await.is(1, "", text);
}

#[tokio::test]
async fn there_is_a_manual_page_for_each_command() {
    let directory = Directory::new();
    let below = directory.0.join("man1");
    let finished = herald(&["man", below.to_str().unwrap()]).await;
    let mut pages: Vec<String> = std::fs::read_dir(&below)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    let text = format!("Wrote {} pages to {}\n", pages.len(), below.display());
    finished.is(0, &text, "");
    for page in [
        "herald.1",
        "herald-catalog.1",
        "herald-catalog-nodes.1",
        "herald-watch.1",
    ] {
        assert!(pages.iter().any(|have| have == page), "{page} in {pages:?}");
    }
    for page in &pages {
        let text = std::fs::read_to_string(below.join(page)).unwrap();
        assert!(!text.contains(r"\-\-"), "{page}: a flag with two dashes");
        assert_eq!(text.matches(".ds Aq").count(), 2, "{page}");
    }
    let text = std::fs::read_to_string(below.join("herald-maint.1")).unwrap();
    let start = "herald\\-maint \\- Takes a node or a service out of service and back\n\
                 .SH SYNOPSIS\n\\fBherald maint\\fR [options]\n.SH DESCRIPTION\n";
    assert!(text.contains(start), "{text}");
    let flag = "\\fB\\-reason\\fR \\fI<text>\\fR\nWhy, for people to read; only with \\-enable\n";
    assert!(text.contains(flag), "{text}");
}

#[tokio::test]
async fn manual_pages_need_a_directory() {
    let text = "man needs one directory to write to\n";
    herald(&["man"]).await.is(1, "", text);
    let directory = Directory::new();
    let file = directory.write("file", "");
    let file = file.to_str().unwrap();
    let text = format!("cannot make the directory {file}: File exists (os error 17)\n");
    herald(&["man", file]).await.is(1, "", &text);
}
