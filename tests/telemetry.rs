//! What an agent shows of itself: figures, its log as it is written, its machine.

use herald::client::Transport;
use herald::client::dns::Question;
use serde_json::{Value, json};

use super::support::agent::TestAgent;
use super::support::http::{Reply, get, request};

const PROMETHEUS: &str = "/v1/agent/metrics?format=prometheus";

impl TestAgent {
    async fn get(&self, path: &str) -> Reply {
        get(self.http_address(), path).await
    }

    /// Waits until the figures have all these lines; the ones of an answer come after it is sent.
    async fn shows(&self, lines: &[&str]) {
        let mut text = String::new();
        let found = tokio::time::timeout(std::time::Duration::from_secs(10), async {
            loop {
                text = self.get(PROMETHEUS).await.text();
                if lines
                    .iter()
                    .all(|line| text.lines().any(|have| have == *line))
                {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
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
            json!({"Name": "herald_catalog_nodes", "Value": 1.0, "Labels": {}})
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

    #[tokio::test]
    async fn another_format_is_refused() {
        let agent = TestAgent::start().await;
        let reply = agent.get("/v1/agent/metrics?format=xml").await;
        let text = "unknown format \"xml\", it must be prometheus or absent";
        assert_eq!((reply.status, &*reply.text()), (400, text));
        agent.stop().await;
    }
}
