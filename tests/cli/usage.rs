//! Usage, help, versions, and commands that are not there.

use super::herald;

#[tokio::test]
async fn without_a_known_command_usage_goes_to_stderr_and_127_is_the_exit_code() {
    for arguments in [&[][..], &["nope"], &["nope", "-h"]] {
        let finished = herald(arguments).await;
        assert_eq!((finished.code, finished.out.as_str()), (127, ""));
        assert!(
            finished.err.starts_with("Usage: herald "),
            "{}",
            finished.err
        );
        assert!(finished.err.contains("\n    members "));
    }
}

#[tokio::test]
async fn help_is_no_error() {
    for arguments in [
        &["-h"][..],
        &["--help"],
        &["members", "-h"],
        &["catalog", "-help"],
    ] {
        let finished = herald(arguments).await;
        assert_eq!((finished.code, finished.err.as_str()), (0, ""));
        assert!(finished.out.starts_with("Usage: herald "));
    }
    let finished = herald(&["agent", "--help"]).await;
    assert!(
        finished.out.contains("\n  -dns-port=<port>\n"),
        "{}",
        finished.out
    );
}

#[tokio::test]
async fn a_parent_without_subcommand_prints_its_help_and_fails() {
    for arguments in [&["catalog"][..], &["services"], &["catalog", "nope"]] {
        let finished = herald(arguments).await;
        assert_eq!(finished.code, 1);
        assert!(finished.err.contains("Subcommands:"));
    }
}

#[tokio::test]
async fn the_version_is_printed() {
    for arguments in [&["version"][..], &["-v"], &["--version"], &["-version"]] {
        let finished = herald(arguments).await;
        let first = format!("herald v{}\n", env!("CARGO_PKG_VERSION"));
        assert!(finished.code == 0 && finished.out.starts_with(&first));
    }
}

#[tokio::test]
async fn flags_must_be_known_and_stand_after_the_command() {
    let finished = herald(&["members", "-nope"]).await;
    assert_eq!(finished.code, 1);
    assert!(
        finished
            .err
            .starts_with("flag provided but not defined: -nope\nUsage: herald members")
    );
    let finished = herald(&["-http-addr=127.0.0.1:1", "members"]).await;
    assert_eq!(finished.code, 1);
    assert!(
        finished
            .err
            .starts_with("Invalid flags before the subcommand.")
    );
}

#[tokio::test]
async fn commands_to_come_say_so() {
    for name in ["join", "kv", "snapshot", "reload"] {
        let finished = herald(&[name]).await;
        assert_eq!(finished.code, 1);
        assert_eq!(
            finished.err,
            format!("The command \"{name}\" is not supported yet.\n")
        );
    }
}
