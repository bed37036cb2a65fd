//! `herald explain`: why a DNS question gets the answer that it gets.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use super::connection::Connection;
use super::table::table;
use super::text::{escape, escape_but_tabs};
use super::{Exit, block_on, flags, print};
use crate::client::http::encode;

/// Says why a DNS question gets the answer that it gets: which rule the name falls under, why each
/// instance is in or out, what limits leave out, and where the TTL comes from.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {
    #[command(flatten)]
    connection: Connection,
    /// `text` or `json`.
    #[arg(long, value_name = "format", default_value = "text")]
    format: String,
    /// The name, and the type, which is A unless given.
    #[arg(value_name = "NAME [TYPE]")]
    question: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Explanation {
    name: String,
    #[serde(rename = "Type")]
    record_type: String,
    rule: String,
    meaning: String,
    index: u64,
    #[serde(rename = "TTL")]
    ttl: Option<Ttl>,
    instances: Option<Instances>,
    answers: Vec<Answer>,
    records: Records,
    notes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ttl {
    seconds: u32,
    source: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instances {
    registered: usize,
    included: usize,
    list: Vec<Instance>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    node: String,
    #[serde(rename = "ID")]
    id: String,
    address: String,
    port: u16,
    included: bool,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    client: String,
    status: String,
    records: usize,
    octets: usize,
    truncated: bool,
    extended_errors: Vec<String>,
    limit: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Records {
    answer: Vec<String>,
    authority: Vec<String>,
    additional: Vec<String>,
}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let options: Options = flags::parse("explain", arguments)?;
    let path = path(&options.question)?;
    let client = options.connection.client()?;
    let error = "Error explaining";
    match options.format.as_str() {
        "text" => {
            let explanation: Explanation = block_on(client.get(&path))?.context(error)?;
            print(&text(&explanation));
        }
        "json" => {
            let explanation: Value = block_on(client.get(&path))?.context(error)?;
            print(&format!("{explanation:#}\n"));
        }
        other => {
            let error = anyhow::anyhow!("-format {other:?} is none of text, json");
            return Err(error.into());
        }
    }
    Ok(())
}

fn path(question: &[String]) -> Result<String> {
    match question {
        [name] => Ok(format!("/v1/dns/explain?name={}", encode(name))),
        [name, record_type] => Ok(format!(
            "/v1/dns/explain?name={}&type={}",
            encode(name),
            encode(record_type)
        )),
        [] => bail!("A name is needed, as in: herald explain web.service.consul SRV"),
        [..] => bail!(
            "Only a name and a type are taken, {} were given",
            question.len()
        ),
    }
}

fn text(explanation: &Explanation) -> String {
    let mut rows = vec![
        row([
            "Question:",
            &format!("{} {}", explanation.name, explanation.record_type),
        ]),
        row(["Rule:", &explanation.rule]),
        row(["Meaning:", &explanation.meaning]),
    ];
    if let Some(ttl) = &explanation.ttl {
        rows.push(row([
            "TTL:",
            &format!("{} s ({})", ttl.seconds, ttl.source),
        ]));
    }
    rows.push(row(["State:", &format!("index {}", explanation.index)]));
    rows.extend(explanation.notes.iter().map(|note| row(["Note:", note])));
    let mut text = table(&rows);
    if let Some(instances) = &explanation.instances {
        text += &instances.text();
    }
    text += &answers(&explanation.answers);
    text + &explanation.records.text()
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

impl Instances {
    fn text(&self) -> String {
        let (registered, included) = (self.registered, self.included);
        let mut text = format!("\nInstances: {registered} registered, {included} in the answer\n");
        if self.list.len() < registered {
            writeln!(text, "Only the first {} are listed.", self.list.len())
                .expect("writing to a string does not fail");
        }
        let mut rows = vec![row(["In", "Node", "ID", "Address", "Port", "Why"])];
        rows.extend(self.list.iter().map(|instance| {
            row([
                if instance.included { "yes" } else { "no" },
                &instance.node,
                &instance.id,
                &instance.address,
                &instance.port.to_string(),
                &instance.reason,
            ])
        }));
        text + &table(&rows)
    }
}

fn answers(answers: &[Answer]) -> String {
    let mut rows = vec![row([
        "Client", "Status", "Records", "Octets", "TC", "Left out",
    ])];
    rows.extend(answers.iter().map(|answer| {
        row([
            &answer.client,
            &answer.status,
            &answer.records.to_string(),
            &answer.octets.to_string(),
            if answer.truncated { "yes" } else { "no" },
            answer.limit.as_deref().unwrap_or("nothing"),
        ])
    }));
    let mut errors: Vec<&String> = answers
        .iter()
        .flat_map(|answer| &answer.extended_errors)
        .collect();
    errors.dedup();
    let errors = errors
        .into_iter()
        .map(|error| format!("Extended error {}\n", escape(error)));
    format!("\n{}{}", table(&rows), errors.collect::<String>())
}

impl Records {
    /// The sections of the answer in the middle row.
    fn text(&self) -> String {
        let sections = [
            ("Answer", &self.answer),
            ("Authority", &self.authority),
            ("Additional", &self.additional),
        ];
        let filled = sections.iter().filter(|(_, records)| !records.is_empty());
        filled.fold(String::new(), |text, (name, records)| {
            let records: Vec<_> = records
                .iter()
                .map(|record| escape_but_tabs(record))
                .collect();
            let records = records.join("\n");
            format!("{text}\n{name} (UDP with EDNS 1232):\n{records}\n")
        })
    }
}
