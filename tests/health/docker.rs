//! Programs in containers: through a server that answers as the engine does, and through the
//! engine itself where there is one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use herald::health::{Report, RunnerConfig, Settings};
use herald::task::Tasks;
use herald::types::Status;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;

use super::{assert_critical, run_with, said, settings};
use crate::support::directory::Directory;
use crate::support::peers::{answer, read_request};

fn in_container(container: &str, args: &[&str]) -> Settings {
    settings(|settings| {
        container.clone_into(&mut settings.docker_container_id);
        settings.args = args.iter().map(ToString::to_string).collect();
    })
}

async fn run(socket: &Path, settings: Settings) -> Report {
    let config = RunnerConfig {
        docker_socket: socket.to_owned(),
        ..RunnerConfig::default()
    };
    run_with(config, settings).await
}

/// An engine that has the container `web`, in which every program says its first argument, warns on
/// standard error, and ends with the code that is its second.
struct Engine {
    tasks: Tasks,
    socket: PathBuf,
    _directory: Directory,
}

impl Engine {
    fn start() -> Self {
        let directory = Directory::new();
        let socket = directory.0.join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let tasks = Tasks::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = read_request(&mut stream).await;
                let octets = reply(&request);
                let _ = stream.write_all(&octets).await;
                let _ = stream.shutdown().await;
            }
        });
        Self {
            tasks,
            socket,
            _directory: directory,
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

/// Answers in the engine's shapes (API 1.41).
fn reply(request: &str) -> Vec<u8> {
    let (head, body) = request.split_once("\r\n\r\n").unwrap_or((request, ""));
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    match (method, path) {
        ("POST", "/containers/web/exec") => {
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            let id = format!("{}-{}", body["Cmd"][0], body["Cmd"][1]).replace('"', "");
            answer("201 Created", &format!("{{\"Id\":\"{id}\"}}")).into()
        }
        ("POST", path) if path.starts_with("/exec/") => {
            let said = path.trim_start_matches("/exec/").split('-').next().unwrap();
            let mut octets = b"HTTP/1.1 200 OK\r\n\
                Content-Type: application/vnd.docker.raw-stream\r\n\r\n"
                .to_vec();
            for (stream, text) in [(1, said), (2, "!")] {
                let length = u8::try_from(text.len()).unwrap();
                octets.extend([stream, 0, 0, 0, 0, 0, 0, length]);
                octets.extend(text.as_bytes());
            }
            octets
        }
        ("GET", path) => {
            let code = path.trim_end_matches("/json").rsplit('-').next().unwrap();
            answer(
                "200 OK",
                &format!("{{\"Running\":false,\"ExitCode\":{code}}}"),
            )
            .into()
        }
        _ => answer("404 Not Found", r#"{"message":"No such container: db"}"#).into(),
    }
}

#[tokio::test]
async fn the_exit_code_in_the_container_decides() {
    let engine = Engine::start();
    for (code, expected) in [
        ("0", "passing up!"),
        ("1", "warning up!"),
        ("2", "critical up!"),
        ("137", "critical up!"),
    ] {
        let report = run(&engine.socket, in_container("web", &["up", code])).await;
        assert_eq!(said(&report), expected);
    }
    let missing = run(&engine.socket, in_container("db", &["up", "0"])).await;
    assert_critical(&missing, "No such container: db");
}

#[tokio::test]
async fn without_an_engine_the_check_is_critical() {
    let check = in_container("web", &["true"]);
    let report = run(Path::new("/no/such/docker.sock"), check).await;
    assert_critical(&report, "dial unix /no/such/docker.sock");
}

/// A container of the real engine; it goes with the test.
struct Container(String);

impl Container {
    /// Starts one from a static busybox alone; a reason if that cannot be.
    fn start() -> Result<Self, String> {
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .into_iter()
            .find(|path| {
                let linked = Command::new("ldd").arg(path).output();
                Path::new(path).exists() && linked.is_ok_and(|output| !output.status.success())
            });
        let busybox = busybox.ok_or("there is no static busybox (package busybox-static)")?;
        docker(&["version"])?;
        let directory = Directory::new();
        std::fs::copy(busybox, directory.0.join("busybox")).map_err(|error| error.to_string())?;
        directory.write(
            "Dockerfile",
            "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n\
             CMD [\"/bin/busybox\", \"sleep\", \"600\"]\n",
        );
        let name = format!("herald-test-{}", std::process::id());
        let path = directory.0.to_string_lossy().into_owned();
        docker(&["build", "-q", "-t", &name, &path])?;
        docker(&[
            "run",
            "-d",
            "--rm",
            "--network",
            "none",
            "--name",
            &name,
            &name,
        ])?;
        Ok(Self(name))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = docker(&["rm", "-f", &self.0]);
        let _ = docker(&["rmi", "-f", &self.0]);
    }
}

fn docker(args: &[&str]) -> Result<(), String> {
    let output = Command::new("docker").args(args).output();
    let output = output.map_err(|error| format!("docker: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("docker {}: {said}", args.join(" ")))
}

#[tokio::test]
async fn the_real_engine_runs_programs_in_a_container() {
    let socket = Path::new("/var/run/docker.sock");
    let container = match tokio::task::spawn_blocking(Container::start).await.unwrap() {
        Ok(container) => container,
        Err(reason) => {
            eprintln!("SKIPPED: checks in containers of a real engine: {reason}");
            return;
        }
    };
    let script = |script| in_container(&container.0, &["/bin/sh", "-c", script]);
    for (text, expected) in [
        ("echo fine", "passing fine\n"),
        ("echo hm; exit 1", "warning hm\n"),
        ("echo bad >&2; exit 3", "critical bad\n"),
    ] {
        assert_eq!(said(&run(socket, script(text)).await), expected);
    }
    let long = run(socket, script("busybox yes x | busybox head -c 10000")).await;
    assert_eq!(long.status, Status::Passing);
    let head = "Captured 4096 of 10000 bytes\n...\n";
    assert!(long.output.starts_with(head), "{}", long.output);
    let mut hanging = script("busybox sleep 30");
    hanging.timeout = Duration::from_millis(500);
    let report = run(socket, hanging).await;
    assert_eq!(said(&report), "critical Timed out (500ms) running check");
    let missing = run(socket, in_container("herald-no-such", &["true"])).await;
    assert_critical(&missing, "No such container");
}
