//! What three kinds of client are answered right now: the question is put to the code that answers
//! queries, along the way that a query would take.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::Message;

use crate::client::dig;
use crate::clock;

use super::super::answer::{Responder, Sources};
use super::super::batch::OCTETS_MAX;
use super::super::behind::Known;
use super::super::encode::rtype;
use super::super::handler::{Handler, Received, Reply, Transport};
use super::super::question::CLASS_IN;
use super::super::settings::Settings;
use super::super::slow::Help;
use super::super::static_zones::Answer;
use super::Question;

/// Octets that most clients with EDNS offer room for.
const EDNS_OCTETS: u16 = 1232;
/// Octets that go to a client without EDNS (RFC 1035 §4.2.1).
const PLAIN_OCTETS: usize = 512;
/// Longest wait for whoever is asked for what memory lacks.
const ASK: Duration = Duration::from_secs(1);
/// The client whose records are shown.
const SHOWN: usize = 1;

/// A kind of client.
struct Client {
    name: &'static str,
    transport: Transport,
    /// Octets that it offers room for.
    edns: Option<u16>,
}

const CLIENTS: [Client; 3] = [
    Client {
        name: "UDP without EDNS",
        transport: Transport::Udp,
        edns: None,
    },
    Client {
        name: "UDP with EDNS 1232",
        transport: Transport::Udp,
        edns: Some(EDNS_OCTETS),
    },
    Client {
        name: "TCP",
        transport: Transport::Tcp,
        edns: Some(EDNS_OCTETS),
    },
];

/// What one kind of client is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAnswer {
    /// Which client.
    pub client: &'static str,
    /// The response code, as `dig` shows it.
    pub status: String,
    /// Records in the answer section.
    pub records: usize,
    /// Length of the message.
    pub octets: usize,
    /// Whether TC is set.
    pub truncated: bool,
    /// Codes and texts of extended errors (RFC 8914).
    pub errors: Vec<String>,
    /// What left out records, if any were.
    pub limit: Option<String>,
}

/// The records of an answer as a zone file would hold them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Answer section.
    pub answer: Vec<String>,
    /// Authority section.
    pub authority: Vec<String>,
    /// Additional section.
    pub additional: Vec<String>,
}

/// Asks as each kind of client would.
pub(super) async fn ask_all(sources: &Sources, help: &Help, question: &Question) -> Vec<Vec<u8>> {
    let mut responder = Responder::new(sources.clone());
    let mut replies = Vec::with_capacity(CLIENTS.len());
    for client in &CLIENTS {
        replies.push(ask(&mut responder, help, question, client).await);
    }
    replies
}

/// From the worker to the slow path, as a query goes; empty where that would be SERVFAIL.
async fn ask(
    responder: &mut Responder,
    help: &Help,
    question: &Question,
    client: &Client,
) -> Vec<u8> {
    let query = query(question, client.edns);
    let received = Received {
        length: query.len(),
        transport: client.transport,
        source: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    };
    let mut buffer = query.clone();
    buffer.resize(OCTETS_MAX, 0);
    match responder.handle(&received, &mut buffer) {
        Reply::Send(octets) => {
            buffer.truncate(octets);
            return buffer;
        }
        Reply::Drop => return Vec::new(),
        Reply::Slow => {}
    }
    match help.zones.answer(&query, &received).await {
        Answer::Made(answer) => return answer,
        Answer::Failed => return Vec::new(),
        Answer::NotCovered => {}
    }
    let attempt = |known: &Known| match responder.handle_knowing(&received, &mut buffer, known) {
        Reply::Send(octets) => Ok(buffer.get(..octets).map(<[u8]>::to_vec)),
        Reply::Drop => Ok(None),
        Reply::Slow => responder.lacks().map_or(Ok(None), Err),
    };
    let settled = help.behind.settle(clock::now() + ASK, attempt).await;
    settled.unwrap_or_default()
}

/// A query as stub resolvers send it, with RD.
fn query(question: &Question, edns: Option<u16>) -> Vec<u8> {
    let additional = u8::from(edns.is_some());
    let mut query = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, additional];
    query.extend_from_slice(&question.wire);
    query.extend(question.qtype().to_be_bytes());
    query.extend(CLASS_IN.to_be_bytes());
    if let Some(octets) = edns {
        // Root, type 41, the size, no flags and no options (RFC 6891 §6.1.2).
        query.extend([0, 0, 41]);
        query.extend(octets.to_be_bytes());
        query.extend([0; 6]);
    }
    query
}

/// Reads the replies. `possible` are the records that an answer without limits has, where that is
/// known; else it is what TCP carries.
pub(super) fn describe(
    replies: &[Vec<u8>],
    settings: &Settings,
    qtype: u16,
    possible: Option<usize>,
) -> (Vec<ClientAnswer>, Records) {
    let messages: Vec<Option<Message>> = replies
        .iter()
        .map(|reply| Message::from_vec(reply).ok())
        .collect();
    let most = messages
        .iter()
        .flatten()
        .map(|message| message.answers.len())
        .max();
    let possible = possible.or(most).unwrap_or(0);
    let answers = CLIENTS.iter().zip(replies.iter().zip(&messages));
    let answers = answers
        .map(|(client, (reply, message))| match message {
            Some(message) => ClientAnswer {
                limit: limit(client, settings, qtype, message, possible),
                ..read(client, reply.len(), message)
            },
            None => failure(client),
        })
        .collect();
    let shown = messages.get(SHOWN).and_then(Option::as_ref);
    (answers, shown.map(records).unwrap_or_default())
}

fn read(client: &Client, octets: usize, message: &Message) -> ClientAnswer {
    let errors = message.edns.as_ref().map(dig::extended_errors);
    let errors = errors.unwrap_or_default().into_iter();
    ClientAnswer {
        client: client.name,
        status: dig::mnemonic(message.metadata.response_code),
        records: message.answers.len(),
        octets,
        truncated: message.metadata.truncation,
        errors: errors.map(|(code, text)| error_text(code, &text)).collect(),
        limit: None,
    }
}

/// What the slow path makes of a query that nothing answers.
fn failure(client: &Client) -> ClientAnswer {
    ClientAnswer {
        client: client.name,
        status: "SERVFAIL".to_owned(),
        records: 0,
        octets: 0,
        truncated: false,
        errors: Vec::new(),
        limit: None,
    }
}

fn error_text(code: u16, text: &str) -> String {
    match text {
        "" => format!("{code}"),
        text => format!("{code}: {text}"),
    }
}

/// Which limit left out records of the answer section.
fn limit(
    client: &Client,
    settings: &Settings,
    qtype: u16,
    message: &Message,
    possible: usize,
) -> Option<String> {
    let written = message.answers.len();
    if written >= possible {
        return None;
    }
    let is_address = matches!(qtype, rtype::A | rtype::AAAA | rtype::ANY);
    let is_plain = client.transport == Transport::Udp && client.edns.is_none();
    let reason = if is_address && written == settings.a_record_limit {
        format!("dns_config.a_record_limit is {written}")
    } else if is_plain && written == settings.udp_answer_limit {
        format!("dns_config.udp_answer_limit is {written}")
    } else {
        let octets = match (client.transport, client.edns) {
            (Transport::Tcp, _) => usize::from(u16::MAX),
            (Transport::Udp, Some(octets)) => octets.min(settings.udp_response_max).into(),
            (Transport::Udp, None) => PLAIN_OCTETS,
        };
        format!("the message may have {octets} octets")
    };
    let left_out = possible - written;
    Some(format!("{left_out} of {possible}: {reason}"))
}

fn records(message: &Message) -> Records {
    let lines = |records: &[hickory_proto::rr::Record]| records.iter().map(dig::line).collect();
    Records {
        answer: lines(&message.answers),
        authority: lines(&message.authorities),
        additional: lines(&message.additionals),
    }
}
