//! A program that a test started: it goes with the test, and its log is shown where the test fails.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::directory::Directory;

/// A running program with a directory of its own.
pub(super) struct Process {
    child: Child,
    pub(super) directory: Directory,
}

impl Process {
    /// Starts `program`; its output goes to a file.
    pub(super) fn start(program: &Path, directory: Directory, arguments: &[String]) -> Self {
        let child = spawn(program, &directory, arguments);
        Self { child, directory }
    }

    /// Ends it as `kill -9` does, and waits until it is gone.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again in its directory after it has ended.
    pub(super) fn restart(&mut self, program: &Path, arguments: &[String]) {
        self.child = spawn(program, &self.directory, arguments);
    }

    /// Its exit code once it has ended by itself.
    pub(super) fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().and_then(|it| it.code())
    }

    /// What it has printed.
    pub(super) fn log(&self) -> String {
        let octets = std::fs::read(log_path(&self.directory)).unwrap();
        String::from_utf8_lossy(&octets).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.directory.0.display(), self.log());
        }
    }
}

fn log_path(directory: &Directory) -> PathBuf {
    directory.0.join("log")
}

fn spawn(program: &Path, directory: &Directory, arguments: &[String]) -> Child {
    let mut options = File::options();
    let log = options.create(true).append(true).open(log_path(directory));
    let log = log.unwrap();
    Command::new(program)
        .args(arguments)
        .current_dir(&directory.0)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// An address of the loopback network that no other test uses: `group` is the test's own.
pub(super) fn address(group: u8, number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, group, number)
}
