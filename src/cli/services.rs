//! `herald services`: registers and deregisters services at an agent, from flags or files. Files
//! are those that agents read, and are checked by the same rules before anybody is asked.

use std::path::Path;

use anyhow::{Context, Result};
use clap::CommandFactory as _;
use serde_json::{Map, Value, json};

use super::connection::{Connection, ServerRead, with_query};
use super::text::escape;
use super::{Command, Definition, Exit, block_on, dispatch_below, flags, print};
use crate::client::http::{RequestError, encode};
use crate::config;

pub(super) const COMMANDS: [Command; 2] = [
    Command {
        name: "deregister",
        about: "Removes services from an agent",
        definition: Definition::Flags(DeregisterOptions::command),
        run: deregister,
    },
    Command {
        name: "register",
        about: "Adds services to an agent",
        definition: Definition::Flags(RegisterOptions::command),
        run: register,
    },
];

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let about = "Registers and deregisters services at an agent.";
    dispatch_below("services", about, &COMMANDS, arguments)
}

/// Adds a service described by flags, or the services described by JSON or HCL files, to an agent.
#[derive(Debug, clap::Parser)]
struct RegisterOptions {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    read: ServerRead,
    /// Address of the instance; default is that of the agent's node.
    #[arg(long, value_name = "address")]
    address: Option<String>,
    /// Id of the instance; default is the name.
    #[arg(long, value_name = "id")]
    id: Option<String>,
    /// Metadata; may be repeated.
    #[arg(long, value_name = "key=value")]
    meta: Vec<String>,
    /// Name of the service.
    #[arg(long, value_name = "name")]
    name: Option<String>,
    /// Port of the instance.
    #[arg(long, value_name = "port")]
    port: Option<i64>,
    /// A tag; may be repeated.
    #[arg(long, value_name = "tag")]
    tag: Vec<String>,
    /// A further address; may be repeated.
    #[arg(long, value_name = "label=address:port")]
    tagged_address: Vec<String>,
    /// JSON or HCL files with definitions of services.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    files: Vec<String>,
}

/// Removes a service by its id, or the services described by JSON or HCL files, from an agent. One
/// that is not there is gone as asked, so this is no error.
#[derive(Debug, clap::Parser)]
struct DeregisterOptions {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    read: ServerRead,
    /// Id of the instance.
    #[arg(long, value_name = "id")]
    id: Option<String>,
    /// JSON or HCL files with definitions of services.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    files: Vec<String>,
}

fn register(arguments: &[String]) -> Result<(), Exit> {
    let options: RegisterOptions = flags::parse("services register", arguments)?;
    let services = match (&options.name, options.files.as_slice()) {
        (Some(_), [_, ..]) => return Err(both().into()),
        (None, []) => {
            let error = "Service registration requires at least one argument or the -name flag.";
            return Err(anyhow::anyhow!(error).into());
        }
        (Some(name), []) => vec![from_flags(name, &options)?],
        (None, files) => from_files(files)?,
    };
    let client = options.connection.client()?;
    let path = with_query("/v1/agent/service/register", &options.read.parameters());
    for service in services {
        let name = text(&service, "name").unwrap_or_default().to_owned();
        block_on(client.put(&path, &service))?
            .with_context(|| format!("Error registering service {name:?}"))?;
        print(&format!("Registered service: {}\n", escape(&name)));
    }
    Ok(())
}

fn deregister(arguments: &[String]) -> Result<(), Exit> {
    let options: DeregisterOptions = flags::parse("services deregister", arguments)?;
    let ids = match (options.id, options.files.as_slice()) {
        (Some(_), [_, ..]) => return Err(both().into()),
        (None, []) => {
            let error = "Service deregistration requires at least one argument or the -id flag.";
            return Err(anyhow::anyhow!(error).into());
        }
        (Some(id), []) => vec![id],
        (None, files) => ids_from_files(files)?,
    };
    let client = options.connection.client()?;
    for id in ids {
        let path = format!("/v1/agent/service/deregister/{}", encode(&id));
        let path = with_query(&path, &options.read.parameters());
        match block_on(client.put(&path, &Value::Null))? {
            // Releases up to 1.8.7 of the reference answer 200 here, and scripts rely on it.
            Err(error) if is_unknown_service(&error) => {}
            result => {
                result.with_context(|| format!("Error deregistering service {id:?}"))?;
            }
        }
        print(&format!("Deregistered service: {}\n", escape(&id)));
    }
    Ok(())
}

/// Whether an agent says that it has no such service. A 404 with any other text comes from
/// something that is no agent.
fn is_unknown_service(error: &RequestError) -> bool {
    matches!(error, RequestError::Status { status, text }
        if status.as_u16() == 404 && text.starts_with("Unknown service ID"))
}

fn both() -> anyhow::Error {
    anyhow::anyhow!("Either flags or files describe services, not both.")
}

fn text<'a>(service: &'a Value, key: &str) -> Option<&'a str> {
    let members = service.as_object()?;
    let found = members
        .iter()
        .find(|(have, _)| have.eq_ignore_ascii_case(key));
    found.and_then(|(_, value)| value.as_str())
}

/// Id of a service; the name where it has none.
fn id(service: &Value) -> Option<String> {
    let id = text(service, "id").filter(|id| !id.is_empty());
    id.or_else(|| text(service, "name")).map(str::to_owned)
}

fn from_flags(name: &str, options: &RegisterOptions) -> Result<Value> {
    let mut service = json!({"name": name, "tags": options.tag});
    let mut set = |key: &str, value: Value| service[key] = value;
    if let Some(id) = &options.id {
        set("id", json!(id));
    }
    if let Some(address) = &options.address {
        set("address", json!(address));
    }
    if let Some(port) = options.port {
        set("port", json!(port));
    }
    let meta = split_pairs("meta", &options.meta)?
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect::<Map<_, _>>();
    if !meta.is_empty() {
        set("meta", Value::Object(meta));
    }
    let mut tagged = Map::new();
    for (label, target) in split_pairs("tagged-address", &options.tagged_address)? {
        tagged.insert(label.to_owned(), tagged_address(target)?);
    }
    if !tagged.is_empty() {
        set("taggedaddresses", Value::Object(tagged));
    }
    Ok(service)
}

fn split_pairs<'a>(
    flag: &str,
    pairs: &'a [String],
) -> Result<impl Iterator<Item = (&'a str, &'a str)>> {
    let split: Option<Vec<_>> = pairs.iter().map(|pair| pair.split_once('=')).collect();
    split
        .map(Vec::into_iter)
        .with_context(|| format!("-{flag}: expected key=value"))
}

fn tagged_address(target: &str) -> Result<Value> {
    let (address, port) = target
        .rsplit_once(':')
        .with_context(|| format!("-tagged-address {target:?} is not of the form address:port"))?;
    let port: u16 = port
        .parse()
        .with_context(|| format!("-tagged-address {target:?} has no port from 0 to 65535"))?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    Ok(json!({"address": address, "port": port}))
}

/// The services of JSON or HCL files, as the API takes them.
fn from_files(files: &[String]) -> Result<Vec<Value>> {
    let mut services = Vec::new();
    for file in files {
        let found = config::read_services(Path::new(file))?;
        services.extend(found.into_iter().map(for_api));
    }
    Ok(services)
}

/// The ids of the services of JSON or HCL files.
fn ids_from_files(files: &[String]) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for file in files {
        for service in config::read_services_to_remove(Path::new(file))? {
            let id = id(&service);
            ids.push(id.with_context(|| format!("{file}: a service has neither id nor name"))?);
        }
    }
    Ok(ids)
}

/// A definition in the spelling of files as the API takes it: keys without underscores (the API
/// does not regard case), all checks in one list, `id` of a check as `checkid`.
fn for_api(service: Value) -> Value {
    let Value::Object(members) = service else {
        return service;
    };
    let mut translated = Map::new();
    let (mut checks, mut last) = (Vec::new(), Vec::new());
    for (key, value) in members {
        let key = key.replace('_', "").to_ascii_lowercase();
        let into = match key.as_str() {
            "checks" => &mut checks,
            "check" => &mut last,
            _ => {
                translated.insert(key, value);
                continue;
            }
        };
        match value {
            Value::Array(values) => into.extend(values.into_iter().map(check_for_api)),
            value => into.push(check_for_api(value)),
        }
    }
    checks.append(&mut last);
    if !checks.is_empty() {
        translated.insert("checks".to_owned(), Value::Array(checks));
    }
    Value::Object(translated)
}

fn check_for_api(check: Value) -> Value {
    let Value::Object(members) = check else {
        return check;
    };
    let translate = |(key, value): (String, Value)| {
        let key = key.replace('_', "").to_ascii_lowercase();
        let key = if key == "id" {
            "checkid".to_owned()
        } else {
            key
        };
        (key, value)
    };
    members.into_iter().map(translate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_of_files_are_translated_for_the_api() {
        let service = json!({
            "name": "web", "enable_tag_override": true, "meta": {"Keep_Me": "1"},
            "check": {"id": "c", "ttl": "10s", "deregister_critical_service_after": "1m"},
        });
        let expected = json!({
            "name": "web", "enabletagoverride": true, "meta": {"Keep_Me": "1"},
            "checks": [{"checkid": "c", "ttl": "10s", "deregistercriticalserviceafter": "1m"}],
        });
        assert_eq!(for_api(service), expected);
    }

    #[test]
    fn tagged_addresses_are_split_at_the_last_colon() {
        let expected = json!({"address": "2001:db8::1", "port": 80});
        assert_eq!(tagged_address("[2001:db8::1]:80").unwrap(), expected);
        assert!(tagged_address("10.0.0.1").is_err());
        assert!(tagged_address("10.0.0.1:70000").is_err());
    }
}
