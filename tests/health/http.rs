//! HTTP and HTTPS.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use herald::health::{Report, Roots, RunnerConfig, Settings};
use herald::types::Status;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{assert_critical, run, run_with, said, settings};
use crate::support::peers::{Identity, Peer, answer, nobody, read_request, redirect};

fn http(url: String) -> Settings {
    settings(|settings| settings.http = url)
}

async fn ask(peer: &Peer, path: &str) -> Report {
    run(http(format!("http://{}{path}", peer.address))).await
}

#[tokio::test]
async fn the_status_of_the_answer_decides() {
    let peer = Peer::http(None, |request| {
        let path = request.split(' ').nth(1).unwrap_or_default();
        match path {
            "/gone" => answer("404 Not Found", "no such page"),
            "/own" => answer("299 Fine By Me", ""),
            "/busy" => answer("429 Too Many Requests", ""),
            "/down" => answer("503 Service Unavailable", ""),
            _ => answer("200 OK", "up"),
        }
    })
    .await;
    let url = format!("http://{}", peer.address);
    for (path, expected) in [
        ("/", format!("passing HTTP GET {url}/: 200 OK Output: up")),
        (
            "/own",
            format!("passing HTTP GET {url}/own: 299 Fine By Me Output: "),
        ),
        (
            "/busy",
            format!("warning HTTP GET {url}/busy: 429 Too Many Requests Output: "),
        ),
        (
            "/gone",
            format!("critical HTTP GET {url}/gone: 404 Not Found Output: no such page"),
        ),
        (
            "/down",
            format!("critical HTTP GET {url}/down: 503 Service Unavailable Output: "),
        ),
    ] {
        assert_eq!(said(&ask(&peer, path).await), expected);
    }
}

#[tokio::test]
async fn method_headers_and_body_are_sent_as_registered() {
    let seen = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&seen);
    let peer = Peer::http(None, move |request| {
        request.clone_into(&mut kept.lock().unwrap());
        answer("200 OK", "")
    })
    .await;
    let mut check = http(format!("http://{}/health?deep=1", peer.address));
    check.method = "Post".to_owned();
    check.body = "ping".to_owned();
    check.header = vec![
        ("Host".to_owned(), vec!["web.example".to_owned()]),
        ("X-Tag".to_owned(), vec!["a".to_owned(), "b".to_owned()]),
    ];
    assert_eq!(run(check).await.status, Status::Passing);
    let request = seen.lock().unwrap().to_ascii_lowercase();
    assert!(
        request.starts_with("post /health?deep=1 http/1.1\r\n"),
        "{request}"
    );
    for line in [
        "host: web.example",
        "x-tag: a",
        "x-tag: b",
        "user-agent: consul health check",
        "accept: text/plain, text/*, */*",
        "content-length: 4",
    ] {
        assert!(
            request.lines().any(|have| have == line),
            "{line}: {request}"
        );
    }
    assert!(request.ends_with("\r\n\r\nping"), "{request}");
}

#[tokio::test]
async fn redirects_are_followed_on_the_same_host_and_port_only() {
    let other = Peer::http(None, |_| answer("200 OK", "should not be asked")).await;
    let elsewhere = format!("http://{}/", other.address);
    let peer = Peer::http(None, move |request| {
        match request.split(' ').nth(1).unwrap_or_default() {
            "/first" => redirect("/second"),
            "/second" => redirect("/third?x"),
            "/third?x" => answer("200 OK", "found"),
            "/loop" => redirect("/loop"),
            "/metadata" => redirect("http://169.254.169.254/latest"),
            "/file" => redirect("file:///etc/passwd"),
            _ => redirect(&elsewhere),
        }
    })
    .await;
    let followed = ask(&peer, "/first").await;
    assert_eq!(
        said(&followed),
        format!(
            "passing HTTP GET http://{}/first: 200 OK Output: found",
            peer.address
        )
    );
    assert_critical(&ask(&peer, "/loop").await, "stopped after 5 redirects");
    for path in ["/metadata", "/file", "/away"] {
        let report = ask(&peer, path).await;
        assert_critical(&report, "is not followed");
    }
    let mut still = http(format!("http://{}/first", peer.address));
    still.disable_redirects = true;
    assert_critical(&run(still).await, "302 Found");
}

#[tokio::test]
async fn a_connection_that_is_refused_says_so() {
    let address = nobody();
    let report = run(http(format!("http://{address}/health"))).await;
    assert_eq!(
        said(&report),
        format!(
            "critical Get \"http://{address}/health\": dial tcp {address}: connect: connection refused"
        )
    );
}

#[tokio::test]
async fn of_a_body_without_end_only_the_first_octets_are_read() {
    let (gone, mut is_gone) = tokio::sync::mpsc::channel(1);
    let peer = Peer::start(None, move |mut stream| {
        let gone = gone.clone();
        async move {
            read_request(&mut stream).await;
            let head = b"HTTP/1.1 200 OK\r\n\r\n";
            let mut sent = stream.write_all(head).await;
            while sent.is_ok() {
                sent = stream.write_all(&[b'x'; 8192]).await;
            }
            let _ = gone.send(()).await;
        }
    })
    .await;
    let report = ask(&peer, "/").await;
    assert_eq!(report.status, Status::Passing);
    assert!(report.output.ends_with(&"x".repeat(4_096)));
    assert!(report.output.len() < 4_200);
    // The connection is given up, not read to its end.
    is_gone.recv().await.unwrap();
}

#[tokio::test]
async fn a_body_of_one_octet_at_a_time_takes_no_longer_than_the_time_out() {
    let peer = Peer::start(None, |mut stream| async move {
        read_request(&mut stream).await;
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while sent.is_ok() {
            sent = stream.write_all(b"x").await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    let mut check = http(format!("http://{}/", peer.address));
    check.timeout = Duration::from_millis(1_500);
    let report = tokio::time::timeout(Duration::from_secs(10), run(check)).await;
    let report = report.unwrap();
    // The head has decided; the body is shown as far as it came.
    assert_eq!(report.status, Status::Passing);
    assert!(
        report.output.contains("200 OK Output: x"),
        "{}",
        report.output
    );
}

#[tokio::test]
async fn a_head_that_does_not_come_or_does_not_end_is_critical() {
    let silent = Peer::start(None, |mut stream| async move {
        read_request(&mut stream).await;
        // Until the check has gone.
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    let mut check = http(format!("http://{}/", silent.address));
    check.timeout = Duration::from_millis(300);
    assert_critical(&run(check).await, "no answer within 300ms");
    let endless = Peer::start(None, |mut stream| async move {
        read_request(&mut stream).await;
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while sent.is_ok() {
            sent = stream
                .write_all(b"X-Long: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n")
                .await;
        }
    })
    .await;
    assert_critical(&ask(&endless, "/").await, "Get \"http://");
    let wordy = Peer::http(None, |_| answer(&format!("500 {}", "x".repeat(30_000)), "")).await;
    let report = ask(&wordy, "/").await;
    assert_critical(&report, "500 xxx");
    assert!(report.output.len() < 1_000);
    let far = Peer::http(None, |_| redirect(&format!("//{}/", "x".repeat(30_000)))).await;
    let report = ask(&far, "/").await;
    assert_critical(&report, "redirect to \"//xxx");
    assert!(report.output.len() <= 4_096);
    let garbage = Peer::http(None, |_| "SSH-2.0-x\r\n".to_owned()).await;
    assert_critical(&ask(&garbage, "/").await, "Get \"http://");
}

mod tls {
    use super::*;

    fn https(peer: &Peer) -> Settings {
        http(format!("https://{}/", peer.address))
    }

    #[tokio::test]
    async fn a_certificate_that_nobody_vouches_for_is_critical_unless_any_will_do() {
        let identity = Identity::new("web.example", b"http/1.1");
        let peer = Peer::http(Some(&identity), |_| answer("200 OK", "secret")).await;
        assert_critical(&run(https(&peer)).await, "tls: ");
        let mut any = https(&peer);
        any.tls_skip_verify = true;
        let report = run(any).await;
        assert_eq!(report.status, Status::Passing, "{}", report.output);
        assert!(report.output.ends_with("200 OK Output: secret"));
    }

    #[tokio::test]
    async fn a_trusted_certificate_must_have_the_name() {
        let identity = Identity::new("web.example", b"http/1.1");
        let peer = Peer::http(Some(&identity), |_| answer("200 OK", "")).await;
        let trusting = || RunnerConfig {
            roots: Roots::Given(vec![identity.certificate.clone()]),
            ..RunnerConfig::default()
        };
        let report = run_with(trusting(), https(&peer)).await;
        assert_critical(&report, "tls: ");
        for (name, status) in [
            ("web.example", Status::Passing),
            ("db.example", Status::Critical),
            ("not a name", Status::Critical),
        ] {
            let mut named = https(&peer);
            named.tls_server_name = name.to_owned();
            let report = run_with(trusting(), named).await;
            assert_eq!(report.status, status, "{name}: {}", report.output);
        }
    }

    #[tokio::test]
    async fn a_peer_without_tls_is_critical() {
        let peer = Peer::start(None, |mut stream| async move {
            let _ = stream.read(&mut [0; 512]).await;
            let _ = stream
                .write_all(answer("400 Bad Request", "").as_bytes())
                .await;
        })
        .await;
        let mut any = https(&peer);
        any.tls_skip_verify = true;
        assert_critical(&run(any).await, "tls: ");
    }

    #[tokio::test]
    async fn a_handshake_that_does_not_end_is_critical() {
        let silent = Peer::start(None, |mut stream| async move {
            while matches!(stream.read(&mut [0; 512]).await, Ok(1..)) {}
        })
        .await;
        let mut check = https(&silent);
        check.timeout = Duration::from_millis(300);
        assert_critical(&run(check).await, "no handshake within 300ms");
    }
}
