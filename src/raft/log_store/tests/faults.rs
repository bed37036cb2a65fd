//! Kills, full disks and damaged files. Children are this test program once more.

#![expect(clippy::print_stdout, reason = "what a child says is read")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Condition, Directory, LogStore, OpenError, Tasks};
use super::{all, append, close, command, commands, open, position};
use crate::raft::log_store::record::seal;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;

use crate::raft::types::Types;

const DIRECTORY: &str = "HERALD_TEST_LOG";
const THIS: &str = "raft::log_store::tests::faults::child";

/// Appends with 16 in flight, and prints each index that is acknowledged, until it is killed or the
/// disk fails; then the error.
#[tokio::test]
#[ignore = "others start it"]
async fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    let tasks = Tasks::new();
    let mut log = LogStore::open(Some(Path::new(&directory)), &tasks).unwrap();
    let mut waiting = std::collections::VecDeque::new();
    for index in 0.. {
        let (caller, told) = Types::oneshot();
        let appended = log.append([command(1, index, 1_000)], IOFlushed::signal(caller));
        if appended.await.is_ok() {
            waiting.push_back((index, told));
        }
        if waiting.len() == 16 || log.condition().borrow().clone() != Condition::Open {
            let Some((index, told)) = waiting.pop_front() else {
                break;
            };
            match told.await.unwrap() {
                Ok(()) => println!("acknowledged {index}"),
                Err(error) => println!("failed {error}"),
            }
        }
    }
    let mut condition = log.condition();
    let failed = condition.wait_for(|now| *now != Condition::Open).await;
    assert!(matches!(&*failed.unwrap(), Condition::Failed(_)));
    // It can be opened again by the same process.
    let again = append(&mut log, vec![command(1, 0, 1)]).await.unwrap_err();
    println!("later {again}");
    drop(log);
    match LogStore::open(Some(Path::new(&directory)), &tasks) {
        Ok(mut log) => println!("reopened {}", all(&mut log).await.len()),
        Err(error) => println!("not reopened {error}"),
    }
}

fn start(directory: &Directory, shell: &str) -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{shell} exec \"$0\" \"$@\"")]);
    command.arg(program);
    command.args([THIS, "--exact", "--ignored", "--nocapture"]);
    command.env(DIRECTORY, &directory.0);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// The last index that a child's line acknowledges.
fn acknowledged(line: &str) -> Option<u64> {
    let (_, index) = line.split_once("acknowledged ")?;
    index.parse().ok()
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let directory = Directory::new();
    for lines in [1, 40, 333] {
        drop(fs::remove_dir_all(&directory.0));
        let mut child = start(&directory, "");
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut told = output.lines().map_while(Result::ok);
        let mut last = told
            .by_ref()
            .filter_map(|line| acknowledged(&line))
            .nth(lines);
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before the kill counts as well.
        last = told.filter_map(|line| acknowledged(&line)).last().or(last);
        let last = last.unwrap();
        let tasks = Tasks::new();
        let mut log = open(&directory, &tasks);
        let entries = all(&mut log).await;
        assert!(entries.len() as u64 > last, "{} of {last}", entries.len());
        for (index, entry) in (0..).zip(entries) {
            assert_eq!(entry, command(1, index, 1_000));
        }
        close(log).await;
    }
}

#[tokio::test]
async fn a_write_that_fails_ends_the_log_and_loses_nothing() {
    let directory = Directory::new();
    // The shell's unit is 512 or 1,024 octets: some megabytes.
    let child = start(&directory, "trap '' XFSZ; ulimit -f 6000;");
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let last = text.lines().filter_map(acknowledged).next_back();
    assert!(text.contains("failed log "), "{text}");
    assert!(text.contains("later the log takes no more: "), "{text}");
    assert!(text.contains("eopened "), "{text}");
    let after_failure = text.split_once("failed ").unwrap().1;
    assert_eq!(acknowledged(after_failure), None, "nothing more is claimed");
    let tasks = Tasks::new();
    let mut log = open(&directory, &tasks);
    let entries = all(&mut log).await;
    let last = last.unwrap();
    assert!(entries.len() as u64 > last, "{} of {last}", entries.len());
    // There is room again: it goes on.
    let next = entries.len() as u64;
    append(&mut log, vec![command(1, next, 10)]).await.unwrap();
}

/// A closed log of 300 entries.
async fn made(directory: &Directory) -> Vec<u8> {
    let tasks = Tasks::new();
    let mut log = open(directory, &tasks);
    append(&mut log, commands(0..300)).await.unwrap();
    log.save_committed(Some(position(1, 200))).await.unwrap();
    close(log).await;
    fs::read(directory.file()).unwrap()
}

#[tokio::test]
async fn a_flipped_bit_in_an_entry_is_told_with_the_repair() {
    let directory = Directory::new();
    let mut octets = made(&directory).await;
    let value = 77_u64.to_be_bytes().repeat(12);
    let at = octets
        .windows(value.len())
        .position(|window| window == value);
    octets[at.unwrap() + 5] ^= 4;
    fs::write(directory.file(), &octets).unwrap();
    let error = LogStore::open(Some(&directory.0), &Tasks::new()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    let text = error.to_string();
    let path = directory.file().display().to_string();
    assert!(
        text.starts_with(&format!("the log {path} is damaged: ")),
        "{text}"
    );
    let repair = format!(
        "move the directory {} away and start again",
        directory.0.display()
    );
    assert!(text.contains(&repair), "{text}");
}

#[tokio::test]
async fn damage_anywhere_is_refused_or_harmless() {
    let directory = Directory::new();
    let octets = made(&directory).await;
    let tasks = Tasks::new();
    let mut refused = 0;
    let used: Vec<usize> = (0..octets.len()).filter(|at| octets[*at] != 0).collect();
    for at in used.iter().step_by(used.len() / 40) {
        let mut damaged = octets.clone();
        damaged[*at] ^= 0x10;
        fs::write(directory.file(), &damaged).unwrap();
        match LogStore::open(Some(&directory.0), &tasks) {
            Err(error) => {
                assert!(matches!(error, OpenError::Damaged { .. }), "{at}: {error}");
                refused += 1;
            }
            Ok(mut log) => {
                assert_eq!(all(&mut log).await, commands(0..300), "octet {at}");
                close(log).await;
            }
        }
    }
    // Most pages are of earlier transactions, and free.
    assert!(refused > 2, "{refused} of 40");
}

#[tokio::test]
async fn a_file_that_was_cut_short_is_refused_or_whole() {
    let directory = Directory::new();
    let octets = made(&directory).await;
    for length in [1, 100, 4_096, 5_000, octets.len() / 2, octets.len() - 1] {
        fs::write(directory.file(), &octets[..length]).unwrap();
        match LogStore::open(Some(&directory.0), &Tasks::new()) {
            Err(error) => assert!(matches!(error, OpenError::Damaged { .. }), "{error}"),
            Ok(mut log) => {
                assert_eq!(all(&mut log).await, commands(0..300), "{length} octets");
                close(log).await;
            }
        }
    }
}

#[tokio::test]
async fn a_log_of_a_later_build_is_refused_and_left_alone() {
    let directory = Directory::new();
    made(&directory).await;
    {
        let database = redb::Database::open(directory.file()).unwrap();
        let write = database.begin_write().unwrap();
        let facts = redb::TableDefinition::<&str, &[u8]>::new("facts");
        let format = seal(b"format", 2_u16.to_be_bytes().to_vec());
        let mut table = write.open_table(facts).unwrap();
        table.insert("format", format.as_slice()).unwrap();
        drop(table);
        write.commit().unwrap();
    }
    for _ in 0..2 {
        let error = LogStore::open(Some(&directory.0), &Tasks::new()).unwrap_err();
        assert!(
            matches!(error, OpenError::Newer { found: 2, .. }),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_file_that_was_never_finished_is_made_anew() {
    let directory = Directory::new();
    fs::create_dir_all(&directory.0).unwrap();
    let unfinished = directory.0.join("log.redb.new");
    fs::write(&unfinished, "half").unwrap();
    let mut log = open(&directory, &Tasks::new());
    append(&mut log, commands(0..1)).await.unwrap();
    assert!(!unfinished.exists());
}

#[tokio::test]
async fn what_was_decided_is_known_after_a_kill() {
    let directory = Directory::new();
    let tasks = Tasks::new();
    let mut log = LogStore::open(Some(&directory.0), &tasks).unwrap();
    let entries = (0..5).map(|index| command(1, index, 8)).collect();
    append(&mut log, entries).await.unwrap();
    log.save_committed(Some(position(1, 3))).await.unwrap();
    // As after kill -9: what no transaction has written is not in the log.
    let image = Directory::new();
    fs::create_dir_all(&image.0).unwrap();
    for entry in fs::read_dir(&directory.0).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, image.0.join(path.file_name().unwrap())).unwrap();
    }
    let mut log = LogStore::open(Some(&image.0), &tasks).unwrap();
    assert_eq!(log.read_committed().await.unwrap(), Some(position(1, 3)));
    assert!(tasks.stop(Duration::from_secs(10)).await);
}
