//! Programs and services of the operating system.

use std::path::{Path, PathBuf};
use std::time::Duration;

use herald::health::Settings;
use herald::types::Status;

use super::{assert_critical, run, said, settings};
use crate::support::directory::Directory;
use crate::support::eventually;

fn program(args: &[&str]) -> Settings {
    settings(|settings| settings.args = args.iter().map(ToString::to_string).collect())
}

fn shell(script: &str) -> Settings {
    program(&["/bin/sh", "-c", script])
}

/// Process ids that a script has written into a file, one a line, once there are `count`.
async fn written(file: &Path, count: usize) -> Vec<String> {
    let read = || std::fs::read_to_string(file).unwrap_or_default();
    eventually(async || read().lines().count() >= count).await;
    read().lines().map(str::to_owned).collect()
}

/// Whether a process runs; one that has ended but was not waited for does not.
fn runs(id: &str) -> bool {
    let status = std::fs::read_to_string(PathBuf::from("/proc").join(id).join("stat"));
    status.is_ok_and(|text| !text.contains(") Z "))
}

async fn have_ended(ids: &[String]) {
    eventually(async || !ids.iter().any(|id| runs(id))).await;
}

#[tokio::test]
async fn the_exit_code_decides_and_the_output_is_shown_as_written() {
    for (script, expected) in [
        ("echo fine", "passing fine\n"),
        ("echo hm; exit 1", "warning hm\n"),
        ("echo a; echo b >&2; echo c; exit 2", "critical a\nb\nc\n"),
        ("exit 255", "critical "),
        ("kill -9 $$", "critical ended by signal 9"),
    ] {
        assert_eq!(said(&run(shell(script)).await), expected, "{script}");
    }
}

#[tokio::test]
async fn a_program_that_is_missing_is_critical() {
    let report = run(program(&["/no/such/program"])).await;
    assert_eq!(
        said(&report),
        "critical fork/exec /no/such/program: no such file or directory"
    );
    let report = run(program(&["no-such-program-anywhere"])).await;
    assert_critical(&report, "executable file not found in $PATH");
    let report = run(program(&["/etc/passwd"])).await;
    assert_critical(&report, "fork/exec /etc/passwd: permission denied");
}

#[tokio::test]
async fn of_a_long_output_the_end_is_kept() {
    let report = run(shell("yes x | head -c 100000; echo end; exit 1")).await;
    assert_eq!(report.status, Status::Warning);
    let head = "Captured 4096 of 100004 bytes\n...\n";
    assert!(report.output.starts_with(head), "{}", report.output);
    assert!(report.output.ends_with("x\nend\n"));
    assert_eq!(report.output.len(), head.len() + 4_096);
}

#[tokio::test]
async fn a_program_that_hangs_is_ended_with_all_that_it_started() {
    let directory = Directory::new();
    let file = directory.0.join("ids");
    let script = format!(
        "echo $$ >>{0}; (echo hanging; sleep 1000) & echo $! >>{0}; sh -c 'echo $$ >>{0}; sleep 1000'",
        file.display()
    );
    let mut check = shell(&script);
    check.timeout = Duration::from_millis(1_500);
    let (report, ids) = tokio::join!(run(check), written(&file, 3));
    assert_eq!(said(&report), "critical Timed out (1.5s) running check");
    have_ended(&ids).await;
}

#[tokio::test]
async fn a_program_that_writes_without_end_is_ended_in_time() {
    let directory = Directory::new();
    let file = directory.0.join("ids");
    let mut check = shell(&format!("echo $$ >{}; exec yes", file.display()));
    check.timeout = Duration::from_secs(1);
    let report = run(check).await;
    assert_eq!(said(&report), "critical Timed out (1s) running check");
    let ids = written(&file, 1).await;
    have_ended(&ids).await;
}

#[tokio::test]
async fn what_a_program_leaves_behind_is_not_waited_for() {
    let directory = Directory::new();
    let file = directory.0.join("ids");
    let script = format!("sleep 1000 & echo $! >{}; echo started", file.display());
    let limit = Duration::from_secs(15);
    let report = tokio::time::timeout(limit, run(shell(&script))).await;
    assert_eq!(said(&report.unwrap()), "passing started\n");
    for id in written(&file, 1).await {
        assert!(runs(&id), "what a program starts on purpose is its own");
        let id = nix::unistd::Pid::from_raw(id.parse().unwrap());
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
}

#[tokio::test]
async fn a_run_that_is_given_up_ends_its_program() {
    let directory = Directory::new();
    let file = directory.0.join("ids");
    let check = shell(&format!("echo $$ >{}; sleep 1000; true", file.display()));
    let ids = tokio::select! {
        ids = written(&file, 1) => ids,
        report = run(check) => panic!("ended by itself: {report:?}"),
    };
    have_ended(&ids).await;
}

#[tokio::test]
async fn a_service_that_the_system_does_not_run_is_critical() {
    // Without a service manager, too, the output names what was asked for.
    let name = "herald-no-such-service";
    let report = run(settings(|settings| settings.os_service = name.to_owned())).await;
    assert_critical(&report, "service \"herald-no-such-service\"");
}
