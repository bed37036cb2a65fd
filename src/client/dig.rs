//! Prints questions and answers in the layout of `dig`, which operators read fluently.

use std::fmt;

use hickory_proto::op::{Edns, Message, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{RData, Record};

use super::Transport;
use super::dns::Answer;

/// Code of the option for extended errors (RFC 8914 §2).
const EXTENDED_ERROR: u16 = 15;

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = &self.message;
        writeln!(formatter, ";; Got answer:")?;
        write_header(formatter, message)?;
        if let Some(edns) = &message.edns {
            write_edns(formatter, edns)?;
        }
        writeln!(formatter, ";; QUESTION SECTION:")?;
        for query in &message.queries {
            let name = query.name.to_ascii();
            let (class, kind) = (query.query_class, query.query_type);
            writeln!(formatter, ";{name}{}{class}\t{kind}", tabs(&name, 1, 4))?;
        }
        write_section(formatter, "ANSWER", &message.answers)?;
        write_section(formatter, "AUTHORITY", &message.authorities)?;
        write_section(formatter, "ADDITIONAL", &message.additionals)?;
        let transport = match self.transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        };
        let (ip, port) = (self.server.ip(), self.server.port());
        writeln!(
            formatter,
            "\n;; Query time: {} usec\n;; SERVER: {ip}#{port}({ip}) ({transport})\n;; MSG SIZE  rcvd: {}",
            self.elapsed.as_micros(),
            self.octets
        )
    }
}

fn write_header(formatter: &mut fmt::Formatter<'_>, message: &Message) -> fmt::Result {
    let header = &message.metadata;
    let code = mnemonic(header.response_code);
    writeln!(
        formatter,
        ";; ->>HEADER<<- opcode: {}, status: {code}, id: {}",
        header.op_code.to_string().to_uppercase(),
        header.id
    )?;
    let flags = [
        (true, " qr"),
        (header.authoritative, " aa"),
        (header.truncation, " tc"),
        (header.recursion_desired, " rd"),
        (header.recursion_available, " ra"),
    ];
    let set: String = flags
        .iter()
        .filter_map(|(set, name)| set.then_some(*name))
        .collect();
    writeln!(
        formatter,
        ";; flags:{set}; QUERY: {}, ANSWER: {}, AUTHORITY: {}, ADDITIONAL: {}\n",
        message.queries.len(),
        message.answers.len(),
        message.authorities.len(),
        message.additionals.len() + usize::from(message.edns.is_some()),
    )
}

/// The name of a response code, as `dig` shows it.
pub fn mnemonic(code: ResponseCode) -> String {
    let text = match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::BADVERS => "BADVERS",
        other => return format!("RESERVED{}", u16::from(other)),
    };
    text.to_owned()
}

fn write_edns(formatter: &mut fmt::Formatter<'_>, edns: &Edns) -> fmt::Result {
    writeln!(formatter, ";; OPT PSEUDOSECTION:")?;
    let (version, octets) = (edns.version(), edns.max_payload());
    writeln!(
        formatter,
        "; EDNS: version: {version}, flags:; udp: {octets}"
    )?;
    for (code, text) in extended_errors(edns) {
        writeln!(formatter, "; EDE: {code}: ({text})")?;
    }
    Ok(())
}

/// Codes and texts of the extended errors (RFC 8914 §2).
pub fn extended_errors(edns: &Edns) -> Vec<(u16, String)> {
    let options = edns.options().as_ref().iter();
    let error = |(_, option): &(_, EdnsOption)| {
        let EdnsOption::Unknown(EXTENDED_ERROR, data) = option else {
            return None;
        };
        let (code, text) = data.split_first_chunk::<2>()?;
        let text = String::from_utf8_lossy(text).into_owned();
        Some((u16::from_be_bytes(*code), text))
    };
    options.filter_map(error).collect()
}

fn write_section(
    formatter: &mut fmt::Formatter<'_>,
    name: &str,
    records: &[Record],
) -> fmt::Result {
    if !records.is_empty() {
        writeln!(formatter, "\n;; {name} SECTION:")?;
    }
    for record in records {
        writeln!(formatter, "{}", line(record))?;
    }
    Ok(())
}

/// One record as a zone file would hold it.
pub fn line(record: &Record) -> String {
    let name = record.name.to_ascii();
    let (ttl, class, kind) = (record.ttl, record.dns_class, record.record_type());
    let data = data(&record.data);
    format!("{name}{}{ttl}\t{class}\t{kind}\t{data}", tabs(&name, 0, 3))
}

/// The data of a record as a zone file would hold it; strings are quoted (RFC 1035 §5.1).
pub fn data(data: &RData) -> String {
    let RData::TXT(text) = data else {
        return data.to_string();
    };
    let strings: Vec<String> = text.txt_data.iter().map(|string| quote(string)).collect();
    strings.join(" ")
}

fn quote(string: &[u8]) -> String {
    let escaped = string
        .iter()
        .fold(String::new(), |text, octet| match octet {
            b'"' | b'\\' => text + "\\" + &char::from(*octet).to_string(),
            0x20..0x7f => text + &char::from(*octet).to_string(),
            _ => text + &format!("\\{octet:03}"),
        });
    format!("\"{escaped}\"")
}

/// Tabs from the end of `name`, after `before` octets more, to the column of tab stop `stop`.
fn tabs(name: &str, before: usize, stop: usize) -> String {
    let reached = (name.len() + before) / 8;
    "\t".repeat(stop.saturating_sub(reached).max(1))
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::TXT;

    use super::*;

    #[test]
    fn strings_are_quoted_and_escaped() {
        let text = RData::TXT(TXT::from_bytes(vec![b"a=\"b\"", b"\xff x"]));
        assert_eq!(data(&text), r#""a=\"b\"" "\255 x""#);
    }
}
