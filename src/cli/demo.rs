//! `herald demo`: one command shows the whole way from a registration over HTTP to answers over
//! DNS. It checks what it shows and fails if an answer is not what it must be.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::interruption::Interruption;
use super::{Exit, VERSION, flags, print};
use crate::agent::Agent;
use crate::client::Transport;
use crate::client::dns::{Answer, Question, ask};
use crate::client::http::HttpClient;
use crate::config::{Config, Flags, Setting, SettingValue};

/// Longest time for one question or request.
const LIMIT: Duration = Duration::from_secs(10);
/// Octets that the questions leave room for, as resolvers do.
const EDNS_OCTETS: u16 = 1232;
/// The instances: id, address and port.
const INSTANCES: [(&str, &str, u16); 3] = [
    ("hello-1", "10.0.0.1", 8001),
    ("hello-2", "10.0.0.2", 8002),
    ("hello-3", "10.0.0.3", 8003),
];

/// Starts an agent on free ports, registers three instances of a service, asks for them over DNS,
/// and lets one fail.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {
    /// Keep running afterwards and print what to type to try more.
    #[arg(long, num_args = 0..=1, default_value_t = false)]
    stay: bool,
}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let options: Options = flags::parse("demo", arguments)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(demonstrate(options.stay))?;
    Ok(())
}

async fn demonstrate(stay: bool) -> Result<()> {
    let free = |flag, key| Setting {
        flag,
        key,
        value: SettingValue::Number(0),
    };
    let config = Config::load(&Flags {
        development: true,
        settings: vec![
            free("dns-port", "ports.dns"),
            free("http-port", "ports.http"),
            free("serf-lan-port", "ports.serf_lan"),
            free("serf-wan-port", "ports.serf_wan"),
            free("server-port", "ports.server"),
        ],
        ..Flags::default()
    })?;
    let agent = Agent::start(&config)
        .await
        .context("cannot start an agent")?;
    let result = show(&agent, stay).await;
    agent.stop().await;
    result
}

async fn show(agent: &Agent, stay: bool) -> Result<()> {
    let dns = *agent.dns_addresses().first().context("DNS is off")?;
    let http = *agent.http_addresses().first().context("HTTP is off")?;
    say(&format!(
        "An agent runs: HTTP on {http}, DNS on {dns} (UDP and TCP)."
    ));
    let stage = Stage {
        dns,
        client: HttpClient::new(http.to_string().parse()?, None, LIMIT),
    };
    stage.register().await?;
    stage.show_all().await?;
    stage.show_failure().await?;
    if stay {
        stage.keep(http).await?;
    } else {
        say("All answers were as they must be. (herald demo -stay keeps the agent running.)");
    }
    Ok(())
}

/// One line about what happens next.
fn say(text: &str) {
    print(&format!("\n==> {text}\n"));
}

struct Stage {
    dns: SocketAddr,
    client: HttpClient,
}

impl Stage {
    async fn register(&self) -> Result<()> {
        say("Three instances of \"hello\" register over HTTP, each with a TTL check that passes:");
        for (id, address, port) in INSTANCES {
            let body = json!({
                "ID": id, "Name": "hello", "Address": address, "Port": port,
                "Check": {"TTL": "10m", "Status": "passing"},
            });
            self.put("/v1/agent/service/register", &body).await?;
        }
        Ok(())
    }

    async fn show_all(&self) -> Result<()> {
        say("DNS answers all three in the same instant:");
        let answer = self.dig("hello.service.consul SRV").await?;
        expect("ports", &answer.ports(), &INSTANCES.map(|(.., port)| port))?;
        expect_glue(&answer, INSTANCES.len())?;
        let answer = self.dig("hello.service.consul A").await?;
        expect(
            "addresses",
            &answer.data(),
            &INSTANCES.map(|(_, address, _)| address),
        )
    }

    async fn show_failure(&self) -> Result<()> {
        let [(failed, ..), rest @ ..] = INSTANCES;
        say(&format!("The check of {failed} fails:"));
        let path = format!("/v1/agent/check/fail/service:{failed}?note=out%20of%20order");
        self.put(&path, &Value::Null).await?;
        say("From now on nobody is sent there:");
        let answer = self.dig("hello.service.consul SRV").await?;
        expect("ports", &answer.ports(), &rest.map(|(.., port)| port))?;
        expect_glue(&answer, rest.len())
    }

    /// Sends a request and shows it.
    async fn put(&self, path: &str, body: &Value) -> Result<()> {
        let shown = match body {
            Value::Null => String::new(),
            body => format!("  {body}"),
        };
        print(&format!("PUT {path}{shown}\n"));
        self.client.put(path, body).await?;
        Ok(())
    }

    /// Asks a question and shows it with its answer.
    async fn dig(&self, question: &str) -> Result<Answer> {
        let (ip, port) = (self.dns.ip(), self.dns.port());
        print(&format!(
            "\n; <<>> herald {VERSION} <<>> @{ip} -p {port} {question}\n"
        ));
        let question: Question = question.parse()?;
        let question = question.with_edns(EDNS_OCTETS);
        let answer = ask(self.dns, Transport::Udp, &question, LIMIT).await?;
        print(&answer.to_string());
        Ok(answer)
    }

    async fn keep(&self, http: SocketAddr) -> Result<()> {
        let (ip, port) = (self.dns.ip(), self.dns.port());
        let mut interruption = Interruption::listen()?;
        say("The agent keeps running; try, and end it with ^C:");
        print(&format!(
            "dig @{ip} -p {port} hello.service.consul SRV\n\
             dig @{ip} -p {port} hello.service.consul A +tcp\n\
             dig @{ip} -p {port} -x 10.0.0.2\n\
             curl http://{http}/v1/health/service/hello?pretty\n\
             curl -X PUT http://{http}/v1/agent/check/pass/service:hello-1\n"
        ));
        interruption.wait().await;
        Ok(())
    }
}

/// Fails unless an answer is what it must be.
fn expect<T, E>(what: &str, found: &[T], expected: &[E]) -> Result<()>
where
    T: PartialEq<E> + std::fmt::Debug,
    E: std::fmt::Debug,
{
    if found != expected {
        bail!("wrong answer: {what} {found:?}, expected {expected:?}");
    }
    Ok(())
}

/// Fails unless every target comes with its address, so that nobody has to ask again.
fn expect_glue(answer: &Answer, count: usize) -> Result<()> {
    let with_address = answer
        .targets()
        .iter()
        .filter(|target| answer.glue(target).is_some())
        .count();
    ensure!(
        with_address == count,
        "wrong answer: {with_address} targets come with their address, expected {count}"
    );
    Ok(())
}
