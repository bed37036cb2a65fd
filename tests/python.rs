//! The Python clients that people use, python-consul and py-consul, against an agent.
//!
//! They are looked for where `.ci/run` installs them, `target/peers/<name>`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::support::agent::TestAgent;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/consul_client.py");

/// Where a client is installed; says so if it is not.
fn installed(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/peers")
        .join(name);
    if path.join("consul").is_dir() {
        return Some(path);
    }
    eprintln!(
        "SKIPPED: {name} is not installed; python3 -m pip install --target {} {name}",
        path.display()
    );
    None
}

async fn drive(name: &str) {
    let Some(path) = installed(name) else {
        return;
    };
    let agent = TestAgent::settled().await;
    let address = agent.http_address();
    let run = Command::new("python3")
        .args([
            SCRIPT,
            &address.ip().to_string(),
            &address.port().to_string(),
        ])
        .env("PYTHONPATH", path)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let run = tokio::time::timeout(Duration::from_secs(120), run).await;
    let output = run.expect("the script ends in time").unwrap();
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}{error}");
    assert_eq!(out, "9 groups passed\n");
    agent.stop().await;
}

#[tokio::test]
async fn python_consul_finds_what_it_relies_on() {
    drive("python-consul").await;
}

#[tokio::test]
async fn py_consul_finds_what_it_relies_on() {
    drive("py-consul").await;
}
