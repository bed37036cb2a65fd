//! What an agent shows of itself: figures, its log as it is written, its machine.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use herald::client::Transport;
use herald::client::dns::Question;
use herald::clock::Utc;
use herald::http;
use herald::log::Event;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tracing::Level;

use super::cli::agent::Running;
use super::cli::program;
use super::support::agent::TestAgent;
use super::support::http::{Connection, Reply, get, put, request};
use super::support::parts::{self, Parts};

const PROMETHEUS: &str = "/v1/agent/metrics?format=prometheus";

impl TestAgent {
    async fn get(&self, path: &str) -> Reply {
        get(self.http_address(), path).await
    }

    /// Waits until the figures have all these lines; the ones of an answer come after it is sent.
    async fn shows(&self, lines: &[&str]) {
        let mut text = String::new();
        let found = tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                text = self.get(PROMETHEUS).await.text();
                if lines
                    .iter()
                    .all(|line| text.lines().any(|have| have == *line))
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(found.await.is_ok(), "{lines:?} are not in\n{text}");
    }

    async fn register_web(&self) {
        self.register(json!({"Name": "web", "Port": 80, "Address": "10.0.0.1",
            "Check": {"TTL": "10m", "Status": "warning"}}))
            .await;
    }
}

mod figures {
    use super::*;

    #[tokio::test]
    async fn known_dns_traffic_is_counted_to_the_query() {
        let agent = TestAgent::start().await;
        agent.register_web().await;
        for _ in 0..3 {
            agent.ask("web.service.consul. SRV").await;
        }
        agent.ask("web.service.consul. A").await;
        agent.ask("no.service.consul. AAAA").await;
        agent.ask("web.service.consul. PTR").await;
        let question: Question = "web.service.consul. A".parse().unwrap();
        agent.ask_as(Transport::Tcp, question).await;
        agent
            .shows(&[
                "herald_dns_queries_total{transport=\"udp\"} 6",
                "herald_dns_questions_total{transport=\"udp\",type=\"SRV\"} 3",
                "herald_dns_questions_total{transport=\"udp\",type=\"A\"} 1",
                "herald_dns_questions_total{transport=\"udp\",type=\"AAAA\"} 1",
                "herald_dns_questions_total{transport=\"udp\",type=\"PTR\"} 1",
                "herald_dns_questions_total{transport=\"tcp\",type=\"A\"} 1",
                "herald_dns_answers_total{transport=\"udp\",rcode=\"0\"} 5",
                "herald_dns_answers_total{transport=\"udp\",rcode=\"3\"} 1",
                "herald_dns_answers_total{transport=\"tcp\",rcode=\"0\"} 1",
                "herald_dns_query_seconds_count{transport=\"udp\"} 6",
                "herald_dns_query_seconds_count{transport=\"tcp\"} 1",
                "herald_dns_shed_total{transport=\"udp\"} 0",
                "herald_dns_stale_answers_total{transport=\"udp\"} 0",
                "herald_dns_panics_total{transport=\"udp\"} 0",
            ])
            .await;
        agent.stop().await;
    }

    #[tokio::test]
    async fn the_catalog_and_its_checks_are_gauges() {
        let agent = TestAgent::start().await;
        agent.register_web().await;
        // The agent's own node with its health, the server's service, and `web`.
        agent
            .shows(&[
                "herald_catalog_nodes 1.0",
                "herald_catalog_services 2.0",
                "herald_catalog_instances 2.0",
                "herald_catalog_checks{status=\"passing\"} 1.0",
                "herald_catalog_checks{status=\"warning\"} 1.0",
                "herald_catalog_checks{status=\"critical\"} 0.0",
                "herald_raft_queue_length 0.0",
            ])
            .await;
        agent
            .put("/v1/agent/check/fail/service:web", Value::Null)
            .await;
        agent
            .shows(&["herald_catalog_checks{status=\"critical\"} 1.0"])
            .await;
        agent
            .put("/v1/agent/service/deregister/web", Value::Null)
            .await;
        agent
            .shows(&[
                "herald_catalog_instances 1.0",
                "herald_catalog_checks{status=\"critical\"} 0.0",
            ])
            .await;
        agent.stop().await;
    }

    #[tokio::test]
    async fn requests_are_counted_by_group_method_and_status() {
        let agent = TestAgent::start().await;
        agent.get("/v1/catalog/nodes").await;
        agent.get("/v1/catalog/nodes?index=0").await;
        agent.get("/v1/catalog/service/").await;
        request(agent.http_address(), "BREW", "/v1/catalog/nodes", &[], "").await;
        let group = "herald_http_requests_total{group=\"catalog\"";
        agent
            .shows(&[
                &format!("{group},method=\"GET\",status=\"200\"}} 2"),
                &format!("{group},method=\"GET\",status=\"400\"}} 1"),
                &format!("{group},method=\"other\",status=\"405\"}} 1"),
                "herald_http_request_seconds_count{group=\"catalog\",waits=\"No\"} 3",
                "herald_http_request_seconds_count{group=\"catalog\",waits=\"Yes\"} 1",
            ])
            .await;
        agent.stop().await;
    }

    #[tokio::test]
    async fn json_has_the_reference_s_shape() {
        let agent = TestAgent::start().await;
        agent.ask("no.service.consul. A").await;
        agent.shows(&["herald_catalog_nodes 1.0"]).await;
        let reply = agent.get("/v1/agent/metrics").await;
        assert_eq!(reply.header("Content-Type"), Some("application/json"));
        let shown = reply.json();
        let keys: Vec<_> = shown.as_object().unwrap().keys().cloned().collect();
        let expected = ["Counters", "Gauges", "Points", "Samples", "Timestamp"];
        assert_eq!(keys, expected);
        let timestamp = shown["Timestamp"].as_str().unwrap();
        assert!(timestamp.ends_with(" +0000 UTC") && timestamp.len() == 29);
        let named = |list: &str, name: &str| {
            let rows = shown[list].as_array().unwrap();
            rows.iter().find(|row| row["Name"] == name).cloned()
        };
        let nodes = named("Gauges", "herald_catalog_nodes").unwrap();
        assert_eq!(
            nodes,
            json!({"Name": "herald_catalog_nodes", "Value": 1, "Labels": {}})
        );
        let questions = named("Counters", "herald_dns_questions").unwrap();
        assert_eq!(questions["Count"], 1);
        assert_eq!(
            questions["Labels"],
            json!({"transport": "udp", "type": "A"})
        );
        let times = named("Samples", "herald_raft_apply_seconds").unwrap();
        assert!(times["Count"].as_u64().unwrap() > 0);
        let mean = times["Sum"].as_f64().unwrap() / times["Count"].as_f64().unwrap();
        assert!((times["Mean"].as_f64().unwrap() - mean).abs() < 1e-9);
        agent.stop().await;
    }

    #[tokio::test]
    async fn each_scraper_gets_the_text_that_it_understands() {
        let agent = TestAgent::start().await;
        let plain = agent.get(PROMETHEUS).await;
        assert_eq!(
            plain.header("Content-Type"),
            Some("text/plain; version=0.0.4; charset=utf-8")
        );
        let text = plain.text();
        assert!(text.contains("# TYPE herald_dns_queries_total counter\n"));
        assert!(text.contains("# TYPE herald_build_info gauge\n"));
        assert!(!text.contains("# EOF"));
        let accept = [("Accept", "application/openmetrics-text;version=1.0.0")];
        let open = request(agent.http_address(), "GET", PROMETHEUS, &accept, "").await;
        assert_eq!(
            open.header("Content-Type"),
            Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
        );
        assert!(open.text().contains("# TYPE herald_dns_queries counter\n"));
        assert!(open.text().ends_with("# EOF\n"));
        agent.stop().await;
    }

    /// Fails on what a strict reader refuses: samples without their family, a family or series that
    /// is there twice, buckets that do not add up.
    fn check_format(text: &str) {
        let (mut families, mut series) = (BTreeSet::new(), BTreeSet::new());
        let (mut family, mut kind) = ("", "");
        // Of the histogram in hand: all it counts, what its last bucket counts, and whether that
        // was the bucket for all.
        let (mut count, mut bucket) = (0.0, (0.0, true));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                (family, kind) = rest.split_once(' ').unwrap();
                assert!(families.insert(family), "{family} is there twice");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(kind != "counter" || family.ends_with("_total"), "{line}");
            }
            if line.starts_with('#') {
                continue;
            }
            let (name, value) = line.rsplit_once(' ').unwrap();
            let value: f64 = value.parse().unwrap();
            assert!(series.insert(name), "{name} is there twice");
            let suffix = name
                .strip_prefix(family)
                .unwrap_or_else(|| panic!("{line}"));
            let suffix = suffix.split('{').next().unwrap();
            match (kind, suffix) {
                ("histogram", "_sum") => assert!(bucket.1, "no bucket for all before {line}"),
                ("histogram", "_count") => (count, bucket) = (value, (0.0, false)),
                ("histogram", "_bucket") => {
                    assert!(value >= bucket.0, "{line}");
                    bucket = (value, name.contains("le=\"+Inf\""));
                    assert!(
                        !bucket.1 || (value - count).abs() < 0.5,
                        "{line} of {count}"
                    );
                }
                (_, "") => {}
                _ => panic!("{line} is no {kind}"),
            }
        }
        assert!(bucket.1 && families.len() > 30);
    }

    #[tokio::test]
    async fn a_strict_reader_takes_every_line() {
        let agent = TestAgent::start().await;
        agent.register_web().await;
        agent.ask("web.service.consul. SRV").await;
        agent
            .shows(&["herald_dns_query_seconds_count{transport=\"udp\"} 1"])
            .await;
        check_format(&agent.get(PROMETHEUS).await.text());
        agent.stop().await;
    }

    #[tokio::test]
    async fn prometheus_can_be_off_and_names_can_be_others() {
        let agent = TestAgent::with(
            r#"{"telemetry": {"prometheus_retention_time": "0s", "metrics_prefix": "own",
                "prefix_filter": ["-own.dns"]}}"#,
        )
        .await;
        let reply = agent.get(PROMETHEUS).await;
        let text = "Prometheus is not enabled since its retention time is not positive";
        assert_eq!((reply.status, &*reply.text()), (415, text));
        let shown = agent.get("/v1/agent/metrics").await.text();
        assert!(shown.contains("\"own_catalog_nodes\""), "{shown}");
        assert!(!shown.contains("own_dns"), "{shown}");
        assert!(!shown.contains("herald_"), "{shown}");
        agent.stop().await;
    }

    #[tokio::test]
    async fn another_format_is_refused() {
        let agent = TestAgent::start().await;
        let reply = agent.get("/v1/agent/metrics?format=xml").await;
        let text = "unknown format \"xml\", it must be prometheus or absent";
        assert_eq!((reply.status, &*reply.text()), (400, text));
        agent.stop().await;
    }
}

mod monitor {
    use super::*;

    /// Longest wait for something to come.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// An answer without an end.
    struct Stream {
        stream: TcpStream,
        text: String,
    }

    impl Stream {
        async fn open(address: SocketAddr, query: &str) -> Self {
            let socket = TcpSocket::new_v4().unwrap();
            // What it does not read shall not vanish in the system's buffers.
            socket.set_recv_buffer_size(16_384).unwrap();
            let mut stream = socket.connect(address).await.unwrap();
            let request = format!(
                "GET /v1/agent/monitor{query} HTTP/1.1\r\nHost: localhost\r\n\
                 Accept-Encoding: gzip\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let text = String::new();
            Self { stream, text }
        }

        /// Whether more came.
        async fn more(&mut self) -> bool {
            let mut octets = vec![0; 65_536];
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut octets)).await;
            let length = read.expect("something comes in time").unwrap_or(0);
            self.text += &String::from_utf8_lossy(&octets[..length]);
            length > 0
        }

        /// Reads until `text` has come.
        async fn until(&mut self, text: &str) -> &str {
            let mut seen = 0;
            while !self.text[seen..].contains(text) {
                // All of it is ASCII. Long streams are not searched again from their begin.
                seen = self.text.len().saturating_sub(text.len());
                assert!(self.more().await, "it ended with {:?}", self.text);
            }
            &self.text
        }

        /// Reads what comes to the end.
        async fn rest(mut self) -> String {
            while self.more().await {}
            self.text
        }
    }

    fn say(parts: &Parts, message: &str) {
        parts.monitor.publish(&Event {
            time: Utc::new(Duration::ZERO),
            level: Level::INFO,
            module: "test",
            message,
            fields: &[],
        });
    }

    #[tokio::test]
    async fn the_header_comes_before_any_line() {
        let parts = Parts::start().await;
        let mut stream = Stream::open(parts.address, "").await;
        let head = stream.until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let head = head.to_ascii_lowercase();
        assert!(head.contains("content-type: text/plain; charset=utf-8\r\n"));
        // Compressed, a line would wait for the next ones.
        assert!(!head.contains("content-encoding"), "{head}");
        say(&parts, "first");
        stream.until("[INFO]  test: first\n").await;
    }

    #[tokio::test]
    async fn lines_are_json_if_asked_for() {
        let parts = Parts::start().await;
        let mut stream = Stream::open(parts.address, "?logjson&loglevel=INFO").await;
        stream.until("\r\n\r\n").await;
        say(&parts, "first");
        let line = r#"{"@level":"info","@message":"first","@module":"test","#;
        stream.until(line).await;
    }

    #[tokio::test]
    async fn a_slow_client_loses_lines_and_holds_up_nobody() {
        let config = http::Config {
            write_deadline: Duration::from_secs(600), // A busy machine may be slow, too.
            ..parts::config()
        };
        let parts = Parts::start_with(config, false).await;
        let mut slow = Stream::open(parts.address, "").await;
        slow.until("\r\n\r\n").await;
        let mut quick = Stream::open(parts.address, "").await;
        quick.until("\r\n\r\n").await;
        let long = "x".repeat(200_000);
        // More than the sockets' buffers take. Each is written before the next one, here.
        for number in 0..100 {
            say(&parts, &format!("{number} {long}"));
            quick.until(&format!("test: {number} ")).await;
            quick.text.clear();
        }
        let gap = "lines were left out: lines=";
        slow.until(gap).await;
        let lost = loop {
            let (_, rest) = slow.text.split_once(gap).unwrap();
            if let Some((lost, _)) = rest.split_once('\n') {
                break lost.parse::<usize>().unwrap();
            }
            assert!(slow.more().await, "it ended");
        };
        let seen = slow.text.matches("[INFO]  test: ").count();
        assert!(lost > 0);
        assert_eq!(seen + lost, 100);
        say(&parts, "goes on");
        slow.until("test: goes on\n").await;
    }

    #[tokio::test]
    async fn it_ends_with_the_agent() {
        let parts = Parts::start().await;
        let mut stream = Stream::open(parts.address, "").await;
        stream.until("\r\n\r\n").await;
        assert!(parts.tasks.stop(PATIENCE).await);
        let rest = stream.rest().await;
        assert!(rest.ends_with("\r\n0\r\n\r\n"), "{rest}");
    }

    #[tokio::test]
    async fn the_number_of_clients_is_bounded_and_one_that_goes_makes_room() {
        let parts = Parts::start().await;
        let mut streams = Vec::new();
        for _ in 0..16 {
            let mut stream = Stream::open(parts.address, "").await;
            stream.until("200 OK").await;
            streams.push(stream);
        }
        let reply = get(parts.address, "/v1/agent/monitor").await;
        let text = "too many listen to the log, at most 16 may";
        assert_eq!((reply.status, &*reply.text()), (429, text));
        assert_eq!(reply.header("Retry-After"), Some("1"));
        streams.pop();
        let opens = async || {
            let mut stream = Stream::open(parts.address, "").await;
            stream.until("\r\n\r\n").await.contains("200 OK")
        };
        crate::support::eventually(opens).await;
    }

    #[tokio::test]
    async fn an_unknown_level_is_refused() {
        let parts = Parts::start().await;
        let reply = get(parts.address, "/v1/agent/monitor?loglevel=bogus").await;
        let text = "Bad request: Unknown log level: bogus";
        assert_eq!((reply.status, &*reply.text()), (400, text));
    }

    #[tokio::test]
    async fn it_shows_the_agent_s_own_log_also_what_that_leaves_out() {
        let agent = Running::start(program(), &["-dev", "-log-level=error"]).await;
        let (http, dns) = agent.ports();
        let local = |port| SocketAddr::new(IpAddr::from(Ipv4Addr::LOCALHOST), port);
        let mut info = Stream::open(local(http), "").await;
        let mut trace = Stream::open(local(http), "?loglevel=trace").await;
        for stream in [&mut info, &mut trace] {
            stream.until("\r\n\r\n").await;
        }
        let body = r#"{"Name": "no_host"}"#;
        let reply = put(local(http), "/v1/agent/service/register", body).await;
        assert_eq!(reply.status, 200);
        let line = "[WARN]  local: the service's name is no host name";
        info.until(line).await;
        trace.until(line).await;
        // A connection that says nothing useful is only worth a trace.
        let mut runt = Connection::open(local(dns)).await;
        runt.send(&[0, 1, 0]).await;
        trace.until("[TRACE] dns: DNS connection closed").await;
        let (_, _, printed) = agent.end("TERM").await;
        assert_eq!(
            printed,
            Vec::<String>::new(),
            "the log itself has errors only"
        );
        let seen = info.rest().await;
        assert!(!seen.contains("[TRACE]"), "{seen}");
        assert!(seen.contains("Caught signal: signal=terminated"), "{seen}");
    }
}

mod machine {
    use super::*;

    #[tokio::test]
    async fn the_host_is_described_in_the_shape_that_clients_decode() {
        let directory = crate::support::directory::Directory::new();
        let data_dir = directory.0.join("data");
        let config = json!({"data_dir": data_dir.to_str().unwrap()}).to_string();
        let agent = TestAgent::with(&config).await;
        let host = agent.get("/v1/agent/host").await.json();
        let keys: Vec<_> = host.as_object().unwrap().keys().cloned().collect();
        let expected = ["CPU", "CollectionTime", "Disk", "Errors", "Host", "Memory"];
        assert_eq!(keys, expected);
        assert_eq!(host["Errors"], Value::Null);
        let positive = |value: &Value| value.as_f64().is_some_and(|value| value > 0.0);
        for key in ["total", "available", "used", "usedPercent", "free"] {
            assert!(positive(&host["Memory"][key]), "Memory.{key} of {host}");
        }
        for key in ["total", "used", "usedPercent", "free"] {
            assert!(positive(&host["Disk"][key]), "Disk.{key} of {host}");
        }
        assert_eq!(host["Disk"]["path"], data_dir.to_str().unwrap());
        for key in ["hostname", "os", "kernelVersion", "kernelArch"] {
            let text = host["Host"][key].as_str().unwrap();
            assert!(
                !text.is_empty() && !text.ends_with('\n'),
                "Host.{key} of {host}"
            );
        }
        for key in ["uptime", "bootTime", "procs"] {
            assert!(
                host["Host"][key].as_u64().unwrap() > 0,
                "Host.{key} of {host}"
            );
        }
        let processors = host["CPU"].as_array().unwrap();
        assert!(!processors.is_empty());
        for processor in processors {
            assert!(processor["modelName"].is_string() && processor["mhz"].is_number());
            assert!(processor["cpu"].is_u64() && processor["flags"].is_array());
        }
        agent.stop().await;
    }

    #[tokio::test]
    async fn the_version_has_the_reference_s_keys() {
        let agent = TestAgent::start().await;
        let version = agent.get("/v1/agent/version").await.json();
        let keys: Vec<_> = version.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["BuildDate", "FIPS", "HumanVersion", "SHA"]);
        assert_eq!(version["HumanVersion"], env!("CARGO_PKG_VERSION"));
        agent.stop().await;
    }
}
