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
    let catalog = "\
Usage: herald catalog <subcommand> [options]

  Shows what the catalog holds.

Subcommands:

    datacenters    Lists all known datacenters
    nodes          Lists the nodes of a datacenter
    services       Lists the services of a datacenter
";
    herald(&["catalog"]).await.is(1, "", catalog);
    herald(&["catalog", "nope"]).await.is(1, "", catalog);
    herald(&["catalog", "--help"]).await.is(0, catalog, "");
    let services = "\
Usage: herald services <subcommand> [options]

  Registers and deregisters services at an agent.

Subcommands:

    deregister     Removes services from an agent
    register       Adds services to an agent
";
    herald(&["services"]).await.is(1, "", services);
}

#[tokio::test]
async fn the_version_is_printed() {
    let text = format!(
        "herald v{}\nHTTP API, DNS and configuration as of release 1.8.7 of the reference\n",
        env!("CARGO_PKG_VERSION")
    );
    for arguments in [&["version"][..], &["-v"], &["--version"], &["-version"]] {
        herald(arguments).await.is(0, &text, "");
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
    let usage = herald(&["-h"]).await.out;
    let text = format!(
        "Invalid flags before the subcommand. If these flags are for\n\
         the subcommand, please put them after the subcommand.\n\n{usage}\n"
    );
    for flag in ["-http-addr=127.0.0.1:1", "--token", "-stale"] {
        herald(&[flag, "members"]).await.is(1, "", &text);
    }
}

#[tokio::test]
async fn commands_to_come_say_with_what_they_come() {
    let text = "The command \"snapshot\" is not there yet: it comes with replication.\n";
    herald(&["snapshot", "x"]).await.is(1, "", text);
}

#[tokio::test]
async fn commands_that_are_not_offered_say_why() {
    for (name, reason) in [
        ("acl", "herald has no access control lists"),
        (
            "config",
            "configuration entries are for a service mesh, and herald is none",
        ),
        ("connect", "herald is not a service mesh"),
        ("exec", "herald does not run commands on other machines"),
        (
            "intention",
            "intentions are for a service mesh, and herald is none",
        ),
        (
            "kv",
            "herald discovers services and stores no keys and values",
        ),
        (
            "lock",
            "locks need a store of keys and values, and herald has none",
        ),
    ] {
        let text = format!("The command \"{name}\" is not offered: {reason}.\n");
        herald(&[name, "get", "-x"]).await.is(1, "", &text);
    }
}

#[tokio::test]
async fn what_old_guides_type_to_join_is_understood() {
    let notice = "-rpc-addr=127.0.0.254:8400: there is no RPC interface for commands any more; \
                  asking 127.0.0.254:8500 over HTTP. -http-addr=127.0.0.254:8500 says the same \
                  without this notice.\n";
    let refused = "Error joining address '127.0.0.1': Put \
                   \"http://127.0.0.254:8500/v1/agent/join/127.0.0.1\": dial tcp \
                   127.0.0.254:8500: connect: connection refused\nFailed to join any nodes.\n";
    let arguments = ["join", "-rpc-addr=127.0.0.254:8400", "127.0.0.1"];
    let finished = herald(&arguments).await;
    finished.is(1, "", &format!("{notice}{refused}"));
    let finished = herald(&["join", "-nope"]).await;
    assert!(
        finished
            .err
            .starts_with("flag provided but not defined: -nope\nUsage: herald join")
    );
}

#[tokio::test]
async fn every_command_explains_itself() {
    let finished = herald(&["-h"]).await;
    let commands: Vec<&str> = finished
        .out
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(commands.contains(&"watch"), "{}", finished.out);
    for name in commands {
        for flag in ["-h", "-help", "--help"] {
            let finished = herald(&[name, flag]).await;
            assert_eq!((finished.code, finished.err.as_str()), (0, ""), "{name}");
            let usage = format!("Usage: herald {name} ");
            assert!(finished.out.starts_with(&usage), "{}", finished.out);
        }
    }
}

#[tokio::test]
async fn help_says_what_each_flag_does() {
    let text = "\
Usage: herald validate [options] [FILES...]

  Checks that an agent would start from these configuration files and
  directories

  -config-format=<language>
     Language of all files, whatever their names: hcl or json

  -quiet
     Say nothing if all is well
";
    herald(&["validate", "-h"]).await.is(0, text, "");
    let finished = herald(&["members", "-h"]).await;
    let part = "
  -http-addr=<address>
     Address of the agent's HTTP interface: host:port, http://host:port,
     https://host:port or unix:///path. Also HERALD_HTTP_ADDR or
     CONSUL_HTTP_ADDR. Default 127.0.0.1:8500
";
    assert!(finished.out.contains(part), "{}", finished.out);
    assert!(finished.out.lines().all(|line| line.len() <= 80));
    let wrong = herald(&["members", "-nope"]).await;
    let text = format!("flag provided but not defined: -nope\n{}\n", finished.out);
    wrong.is(1, "", &text);
}

#[tokio::test]
async fn a_key_is_32_octets_in_base64_and_never_the_same() {
    let (first, second) = (herald(&["keygen"]).await, herald(&["keygen"]).await);
    for finished in [&first, &second] {
        let key = finished.out.strip_suffix('\n').unwrap();
        let octets = data_encoding::BASE64.decode(key.as_bytes()).unwrap();
        assert_eq!((finished.code, octets.len(), key.len()), (0, 32, 44));
    }
    assert_ne!(first.out, second.out);
}
