//! An agent inside the test's own process, and what tests ask it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use herald::agent::{Agent, StartError};
use herald::client::Transport;
use herald::client::dns::{Answer, Question, ask};
use herald::client::http::HttpClient;
use herald::config::{Config, Flags, Setting, SettingValue};
use serde_json::Value;

use super::directory::Directory;
use super::eventually;
use super::http::get;

/// Longest time for one question or request.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// A running agent on free ports of 127.0.0.1. Stop it at the end: dropping leaves its threads to
/// the runtime.
pub(crate) struct TestAgent {
    agent: Agent,
    pub(crate) http: HttpClient,
}

impl TestAgent {
    /// In development mode, named `n1`.
    pub(crate) async fn start() -> Self {
        Self::with("{}").await
    }

    /// The same once it is in its own catalog: what it registers of itself right after its start is
    /// no change that a test waits for.
    pub(crate) async fn settled() -> Self {
        let agent = Self::start().await;
        eventually(async || {
            let node = get(agent.http_address(), "/v1/catalog/node/n1?stale=").await;
            let checks = get(agent.http_address(), "/v1/health/node/n1?stale=").await;
            node.json()["Services"]["consul"].is_object() && checks.json()[0].is_object()
        })
        .await;
        agent
    }

    /// The same with a configuration file of this content.
    pub(crate) async fn with(content: &str) -> Self {
        Self::try_with(content).await.expect("the agent starts")
    }

    /// The same, for configurations that must fail.
    pub(crate) async fn try_with(content: &str) -> Result<Self, StartError> {
        Self::try_named("n1", content).await
    }

    /// The same under another name.
    pub(crate) async fn try_named(name: &str, content: &str) -> Result<Self, StartError> {
        let directory = Directory::new();
        let file = directory.write("test.json", content);
        Self::start_from(name, vec![file], !content.contains("\"ports\"")).await
    }

    /// The same with the configuration files of a directory, which stays for reloads.
    pub(crate) async fn reading(directory: &Directory) -> Self {
        let started = Self::start_from("n1", vec![directory.0.clone()], true).await;
        started.expect("the agent starts")
    }

    async fn start_from(
        name: &str,
        files: Vec<PathBuf>,
        free_ports: bool,
    ) -> Result<Self, StartError> {
        let number = |flag, key| Setting {
            flag,
            key,
            value: SettingValue::Number(0),
        };
        let mut settings = vec![
            number("http-port", "ports.http"),
            number("serf-lan-port", "ports.serf_lan"),
            number("serf-wan-port", "ports.serf_wan"),
            number("server-port", "ports.server"),
        ];
        if free_ports {
            settings.push(number("dns-port", "ports.dns"));
        }
        settings.push(Setting {
            flag: "node",
            key: "node_name",
            value: SettingValue::Text(name.to_owned()),
        });
        let config = Config::load(&Flags {
            development: true,
            files,
            settings,
            ..Flags::default()
        })
        .expect("the configuration is valid");
        let agent = Agent::start(&config).await?;
        let address = agent.http_addresses().first().expect("HTTP is on");
        let address = address.to_string().parse();
        let address = address.expect("the client takes every address");
        Ok(Self {
            http: HttpClient::new(address, None, LIMIT),
            agent,
        })
    }

    /// Where its HTTP interface listens.
    pub(crate) fn http_address(&self) -> SocketAddr {
        *self.agent.http_addresses().first().expect("HTTP is on")
    }

    /// Where its DNS listens first.
    pub(crate) fn dns(&self) -> SocketAddr {
        *self.agent.dns_addresses().first().expect("DNS is on")
    }

    /// Where its LAN pool listens.
    pub(crate) fn lan(&self) -> SocketAddr {
        self.agent.membership().lan.address()
    }

    /// Where its WAN pool listens.
    pub(crate) fn wan(&self) -> SocketAddr {
        let wan = self.agent.membership().wan.as_ref();
        wan.expect("it is a server").address()
    }

    /// Where its agent RPC listens.
    pub(crate) fn rpc(&self) -> SocketAddr {
        self.agent.rpc_address().expect("it is a server")
    }

    /// Asks `NAME TYPE` in one datagram with room for 1232 octets.
    pub(crate) async fn ask(&self, question: &str) -> Answer {
        let question: Question = question.parse().expect("tests ask proper questions");
        self.ask_as(Transport::Udp, question.with_edns(1232)).await
    }

    /// Asks any question.
    pub(crate) async fn ask_as(&self, transport: Transport, question: Question) -> Answer {
        let answer = ask(self.dns(), transport, &question, LIMIT).await;
        answer.expect("every accepted question is answered")
    }

    /// Sends a request that must succeed.
    pub(crate) async fn put(&self, path: &str, body: Value) {
        let answer = self.http.put(path, &body).await;
        answer.unwrap_or_else(|error| panic!("PUT {path} {body}: {error}"));
    }

    /// Registers through the agent API.
    pub(crate) async fn register(&self, service: Value) {
        self.put("/v1/agent/service/register", service).await;
    }

    /// Registers through the catalog API.
    pub(crate) async fn register_in_catalog(&self, registration: Value) {
        self.put("/v1/catalog/register", registration).await;
    }

    /// Stops it. That this takes no longer than it may is a test of its own: a machine that is busy
    /// with many tests must not fail them all.
    pub(crate) async fn stop(self) {
        self.agent.stop().await;
    }
}
