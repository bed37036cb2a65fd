//! Addresses that are chosen from this machine's interfaces when the configuration is read, as in
//! `{{ GetInterfaceIP "eth0" }}`: the subset of the go-sockaddr templates in common use. A part
//! that is not supported is named.

use std::cmp::Ordering;

use nix::net::if_::InterfaceFlags;
use regex::Regex;

use super::interfaces::{Interface, Network, networks_of};

/// Longest template, in octets.
const OCTETS_MAX: usize = 4_096;

/// Replaces every `{{ … }}` in `text` by what it chooses among `interfaces`.
///
/// # Errors
/// What is wrong, with the part that is.
pub(super) fn expand(text: &str, interfaces: &[Interface]) -> Result<String, String> {
    if text.len() > OCTETS_MAX {
        let octets = text.len();
        return Err(format!(
            "address template of {octets} octets, at most {OCTETS_MAX} are allowed"
        ));
    }
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("{{") {
        let (template, after) = from
            .split_once("}}")
            .ok_or_else(|| format!("address template {text:?} has no closing }}}}"))?;
        expanded.push_str(before);
        let chosen = evaluate(template, interfaces)
            .map_err(|reason| format!("address template {text:?}: {reason}"))?;
        expanded.push_str(&chosen);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// What a part of a template passes on.
enum Passed {
    Interfaces(Vec<Interface>),
    Text(String),
}

fn evaluate(template: &str, interfaces: &[Interface]) -> Result<String, String> {
    let mut passed = None;
    for words in stages(template)? {
        let Some((name, arguments)) = words.split_first() else {
            return Err("a part between | is empty".to_owned());
        };
        let Word::Name(name) = name else {
            return Err(format!("{name} stands where a function must"));
        };
        passed = Some(match passed {
            None => source(name, arguments, interfaces)?,
            Some(Passed::Interfaces(found)) => stage(name, arguments, found)?,
            Some(Passed::Text(_)) => return Err(format!("{name} takes interfaces, not a text")),
        });
    }
    match passed {
        None => Err("it is empty".to_owned()),
        Some(Passed::Interfaces(_)) => {
            Err("it ends with interfaces: add | attr \"address\"".to_owned())
        }
        Some(Passed::Text(text)) if text.is_empty() => {
            Err("no address of this machine fits".to_owned())
        }
        Some(Passed::Text(text)) => Ok(text),
    }
}

/// A word of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Name(String),
    Text(String),
}

impl std::fmt::Display for Word {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => formatter.write_str(name),
            Self::Text(text) => write!(formatter, "{text:?}"),
        }
    }
}

/// The words of a template, split at `|`.
fn stages(template: &str) -> Result<Vec<Vec<Word>>, String> {
    let mut stages = vec![Vec::new()];
    let mut letters = template.trim_matches('-').chars().peekable();
    while let Some(&letter) = letters.peek() {
        let word = match letter {
            blank if blank.is_whitespace() => {
                letters.next();
                continue;
            }
            '|' => {
                letters.next();
                stages.push(Vec::new());
                continue;
            }
            '"' | '`' => {
                letters.next();
                Word::Text(quoted(&mut letters, letter)?)
            }
            other if other.is_alphanumeric() => {
                let mut name = String::new();
                while let Some(part) = letters.next_if(|letter| letter.is_alphanumeric()) {
                    name.push(part);
                }
                Word::Name(name)
            }
            other => return Err(format!("{other:?} is not supported")),
        };
        if let Some(words) = stages.last_mut() {
            words.push(word);
        }
    }
    Ok(stages)
}

fn quoted(letters: &mut impl Iterator<Item = char>, quote: char) -> Result<String, String> {
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            letter if letter == quote => return Ok(text),
            '\\' if quote == '"' => match letters.next() {
                Some(escaped @ ('\\' | '"')) => text.push(escaped),
                other => return Err(format!("\\{} is no escape", String::from_iter(other))),
            },
            letter => text.push(letter),
        }
    }
    Err(format!("{text:?} has no closing quote"))
}

/// What a template begins with.
fn source(name: &str, arguments: &[Word], all: &[Interface]) -> Result<Passed, String> {
    let interfaces = |found| Ok(Passed::Interfaces(found));
    match (name, arguments) {
        ("GetAllInterfaces", []) => interfaces(all.to_vec()),
        ("GetDefaultInterfaces", []) => {
            interfaces(all.iter().filter(|own| own.default).cloned().collect())
        }
        ("GetPrivateInterfaces", []) => interfaces(usable(all, true)),
        ("GetPublicInterfaces", []) => interfaces(usable(all, false)),
        ("GetPrivateIP", []) => Ok(first(&usable(all, true))),
        ("GetPrivateIPs", []) => join(&usable(all, true), "address", " "),
        ("GetPublicIP", []) => Ok(first(&usable(all, false))),
        ("GetPublicIPs", []) => join(&usable(all, false), "address", " "),
        ("GetInterfaceIP", [Word::Text(pattern)]) => {
            let mut found = of_interface(all, pattern)?;
            found.retain(Interface::is_forwardable);
            Ok(first(&found))
        }
        ("GetInterfaceIPs", [Word::Text(pattern)]) => {
            join(&of_interface(all, pattern)?, "address", " ")
        }
        _ => Err(unsupported(name, arguments)),
    }
}

/// What a template goes on with.
fn stage(name: &str, arguments: &[Word], mut found: Vec<Interface>) -> Result<Passed, String> {
    match (name, arguments) {
        ("include", [Word::Text(by), Word::Text(value)]) => {
            let fits = filter(by, value)?;
            found.retain(fits);
        }
        ("exclude", [Word::Text(by), Word::Text(value)]) => {
            let fits = filter(by, value)?;
            found.retain(|own| !fits(own));
        }
        ("sort", [Word::Text(keys)]) => sort(&mut found, keys)?,
        ("limit", [Word::Name(count)]) => found.truncate(number(count)?),
        ("offset", [Word::Name(count)]) => drop(found.drain(..number(count)?.min(found.len()))),
        ("attr", [Word::Text(name)]) => {
            let value = found.first().map(|own| attribute(own, name)).transpose()?;
            return Ok(Passed::Text(value.unwrap_or_default()));
        }
        ("join", [Word::Text(name), Word::Text(separator)]) => {
            return join(&found, name, separator);
        }
        _ => return Err(unsupported(name, arguments)),
    }
    Ok(Passed::Interfaces(found))
}

fn unsupported(name: &str, arguments: &[Word]) -> String {
    let arguments: Vec<String> = arguments.iter().map(Word::to_string).collect();
    let call = format!("{name} {}", arguments.join(" "));
    format!("{} is not supported here", call.trim_end())
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text} is not a count"))
}

/// Addresses that others can reach, private or public ones: those of the default route first, then
/// IPv4 before IPv6, then the larger network.
fn usable(all: &[Interface], private: bool) -> Vec<Interface> {
    let fits = |own: &&Interface| {
        own.has(InterfaceFlags::IFF_UP) && own.is_forwardable() && own.is_private() == private
    };
    let mut found: Vec<Interface> = all.iter().filter(fits).cloned().collect();
    found.sort_by(|left, right| {
        let by_default = left.compare_default(right);
        by_default.then_with(|| by_type_and_size(left, right))
    });
    found
}

/// Addresses of the interfaces whose names match: IPv4 before IPv6, then the larger network.
fn of_interface(all: &[Interface], pattern: &str) -> Result<Vec<Interface>, String> {
    let pattern = expression(pattern)?;
    let fits = |own: &&Interface| pattern.is_match(&own.name);
    let mut found: Vec<Interface> = all.iter().filter(fits).cloned().collect();
    found.sort_by(by_type_and_size);
    Ok(found)
}

fn by_type_and_size(left: &Interface, right: &Interface) -> Ordering {
    let by_type = left.compare_type(right);
    by_type.then_with(|| left.compare_size(right))
}

fn first(found: &[Interface]) -> Passed {
    let address = found.first().map(|own| own.address.to_string());
    Passed::Text(address.unwrap_or_default())
}

fn join(found: &[Interface], name: &str, separator: &str) -> Result<Passed, String> {
    let values = found.iter().map(|own| attribute(own, name));
    let values: Vec<String> = values.collect::<Result<_, _>>()?;
    Ok(Passed::Text(values.join(separator)))
}

fn attribute(own: &Interface, name: &str) -> Result<String, String> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "address" | "host" => own.address.to_string(),
        "name" => own.name.clone(),
        "network" => own.network(),
        "type" if own.address.is_ipv4() => "IPv4".to_owned(),
        "type" => "IPv6".to_owned(),
        _ => return Err(format!("attribute {name:?} is not supported")),
    })
}

type Filter = Box<dyn Fn(&Interface) -> bool>;

fn filter(by: &str, value: &str) -> Result<Filter, String> {
    Ok(match by.to_ascii_lowercase().as_str() {
        "name" => {
            let pattern = expression(value)?;
            Box::new(move |own| pattern.is_match(&own.name))
        }
        "address" => {
            let pattern = expression(value)?;
            Box::new(move |own| pattern.is_match(&own.address.to_string()))
        }
        "network" => {
            let networks: Vec<Network> =
                value.split('|').map(str::parse).collect::<Result<_, _>>()?;
            Box::new(move |own| networks.iter().any(|network| own.is_within(network)))
        }
        "flag" | "flags" => {
            let flags: Vec<fn(&Interface) -> bool> =
                value.split('|').map(flag).collect::<Result<_, _>>()?;
            Box::new(move |own| flags.iter().all(|flag| flag(own)))
        }
        "size" => {
            let prefix = value.parse::<u8>();
            let prefix = prefix.map_err(|_| format!("size {value:?} is no number of bits"))?;
            Box::new(move |own| own.prefix == prefix)
        }
        "rfc" | "rfcs" => {
            let tables: Vec<_> = value.split('|').map(rfc).collect::<Result<_, _>>()?;
            Box::new(move |own| tables.iter().any(|networks| own.is_in(networks)))
        }
        "type" => match value.to_ascii_lowercase().as_str() {
            "ip" => Box::new(|_| true),
            "ipv4" => Box::new(|own| own.address.is_ipv4()),
            "ipv6" => Box::new(|own| own.address.is_ipv6()),
            _ => return Err(format!("type {value:?} is not supported")),
        },
        _ => return Err(format!("filter {by:?} is not supported")),
    })
}

fn rfc(text: &str) -> Result<&'static [&'static str], String> {
    let networks = text.parse().ok().and_then(networks_of);
    networks.ok_or_else(|| format!("RFC {text:?} is not supported"))
}

fn flag(name: &str) -> Result<fn(&Interface) -> bool, String> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "up" => |own| own.has(InterfaceFlags::IFF_UP),
        "down" => |own| !own.has(InterfaceFlags::IFF_UP),
        "broadcast" => |own| own.has(InterfaceFlags::IFF_BROADCAST),
        "loopback" => |own| own.has(InterfaceFlags::IFF_LOOPBACK),
        "multicast" => |own| own.has(InterfaceFlags::IFF_MULTICAST),
        "point-to-point" => |own| own.has(InterfaceFlags::IFF_POINTOPOINT),
        "forwardable" => Interface::is_forwardable,
        "global unicast" => |own| {
            let address = own.address;
            !(address.is_loopback() || address.is_multicast() || address.is_unspecified())
        },
        _ => return Err(format!("flag {name:?} is not supported")),
    })
}

fn expression(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|_| format!("{pattern:?} is not a regular expression"))
}

/// Sorts by several keys, the first counting most; `-` before one turns it round.
fn sort(found: &mut [Interface], keys: &str) -> Result<(), String> {
    type Compare = fn(&Interface, &Interface) -> Ordering;
    let mut order: Vec<(bool, Compare)> = Vec::new();
    for key in keys.split(',').map(str::trim) {
        let down = key.starts_with('-');
        let name = key.trim_start_matches(['+', '-']).to_ascii_lowercase();
        let compare: Compare = match name.as_str() {
            "address" => |left, right| left.address.cmp(&right.address),
            "name" => |left, right| left.name.cmp(&right.name),
            "default" => Interface::compare_default,
            "private" => |left, right| right.is_private().cmp(&left.is_private()),
            "type" => Interface::compare_type,
            "size" => Interface::compare_size,
            _ => return Err(format!("sort key {key:?} is not supported")),
        };
        order.push((down, compare));
    }
    found.sort_by(|left, right| {
        let parts = order.iter().map(|(down, compare)| match down {
            false => compare(left, right),
            true => compare(right, left),
        });
        parts.fold(Ordering::Equal, Ordering::then)
    });
    Ok(())
}

#[cfg(test)]
mod tests;
