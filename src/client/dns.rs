//! Asks DNS questions over real sockets: one datagram, or any number of messages down one TCP
//! connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::Transport;
use crate::clock;

/// One question, as `dig` would take it: a name and a type.
#[derive(Clone, Debug)]
pub struct Question {
    name: Name,
    record_type: RecordType,
    edns_octets: Option<u16>,
}

/// The text is no question; nothing was sent.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text:?} is no question, expected a name and a type as in \"web.service.consul SRV\"")]
pub struct QuestionError {
    /// The text that was refused.
    pub text: String,
}

impl FromStr for Question {
    type Err = QuestionError;

    /// Reads `NAME TYPE`, as in `web.service.consul SRV`; the name is always taken as complete.
    fn from_str(text: &str) -> Result<Self, QuestionError> {
        let error = || QuestionError {
            text: text.to_owned(),
        };
        let (name, record_type) = text.split_once(' ').ok_or_else(error)?;
        let mut name = Name::from_ascii(name).map_err(|_| error())?;
        name.set_fqdn(true);
        Ok(Self {
            name,
            record_type: record_type.trim().parse().map_err(|_| error())?,
            edns_octets: None,
        })
    }
}

impl Question {
    /// The same question with an OPT record (RFC 6891) that offers room for `octets`.
    #[must_use]
    pub fn with_edns(mut self, octets: u16) -> Self {
        self.edns_octets = Some(octets);
        self
    }

    /// The name and type, as `dig` takes them.
    pub fn to_dig(&self) -> String {
        let name = self.name.to_ascii();
        format!("{} {}", name.trim_end_matches('.'), self.record_type)
    }

    /// A query message with a random id and RD set, as stub resolvers send it.
    fn message(&self) -> Message {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(self.name.clone(), self.record_type));
        if let Some(octets) = self.edns_octets {
            let mut edns = Edns::new();
            edns.set_max_payload(octets);
            message.set_edns(edns);
        }
        message
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The question cannot be encoded.
    #[error("cannot encode the question: {0}")]
    Encode(#[source] hickory_proto::ProtoError),
    /// No connection, or it broke.
    #[error("cannot ask {server}: {source}")]
    Connection {
        /// Who was asked.
        server: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("no answer from {server} within {limit:?}")]
    Timeout {
        /// Who was asked.
        server: SocketAddr,
        /// How long was waited.
        limit: Duration,
    },
    /// The answer is no DNS message.
    #[error("cannot read the answer of {server}: {reason}")]
    Decode {
        /// Who was asked.
        server: SocketAddr,
        /// What is wrong with it.
        reason: String,
    },
}

/// An answer as received.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The message.
    pub message: Message,
    /// Its length, in octets.
    pub octets: usize,
    /// Time from sending the question.
    pub elapsed: Duration,
    /// Who answered.
    pub server: SocketAddr,
    /// How it was asked.
    pub transport: Transport,
}

impl Answer {
    /// The response code, with the bits that EDNS adds.
    pub fn code(&self) -> ResponseCode {
        self.message.metadata.response_code
    }

    /// Data of the answer section with the type asked for, as text, sorted.
    pub fn data(&self) -> Vec<String> {
        let asked = self.message.queries.first().map(|query| query.query_type);
        let mut data: Vec<String> = self
            .message
            .answers
            .iter()
            .filter(|record| Some(record.record_type()) == asked)
            .map(|record| super::dig::data(&record.data))
            .collect();
        data.sort();
        data
    }

    /// Ports of the SRV records in the answer section, sorted.
    pub fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self
            .message
            .answers
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some(srv.port),
                _ => None,
            })
            .collect();
        ports.sort_unstable();
        ports
    }

    /// Targets of the SRV records in the answer section, in their order.
    pub fn targets(&self) -> Vec<Name> {
        let target = |record: &Record| match &record.data {
            RData::SRV(srv) => Some(srv.target.clone()),
            _ => None,
        };
        self.message.answers.iter().filter_map(target).collect()
    }

    /// Address that an SRV target has in the additional section.
    pub fn glue(&self, target: &Name) -> Option<IpAddr> {
        self.message
            .additionals
            .iter()
            .filter(|record| record.name == *target)
            .find_map(address)
    }

    /// Whether the authority section holds the zone's SOA, as negative answers must (RFC 2308 §3).
    pub fn has_soa(&self) -> bool {
        let soa = |record: &Record| record.record_type() == RecordType::SOA;
        self.message.authorities.iter().any(soa)
    }
}

fn address(record: &Record) -> Option<IpAddr> {
    match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

/// Time without an answer after which a datagram counts as lost, and the question is sent again.
const RETRY: Duration = Duration::from_millis(500);

/// Asks one question. Datagrams get lost, also at a server that sheds load: over UDP the question
/// is sent again every 500 ms, as resolvers do.
///
/// # Errors
/// [`AskError`].
pub async fn ask(
    server: SocketAddr,
    transport: Transport,
    question: &Question,
    limit: Duration,
) -> Result<Answer, AskError> {
    match transport {
        Transport::Udp => ask_udp(server, question, limit).await,
        Transport::Tcp => {
            let answers = ask_pipelined(server, std::slice::from_ref(question), limit).await?;
            let missing = || AskError::Decode {
                server,
                reason: "the connection ended without an answer".to_owned(),
            };
            answers.into_iter().next().ok_or_else(missing)
        }
    }
}

async fn ask_udp(
    server: SocketAddr,
    question: &Question,
    limit: Duration,
) -> Result<Answer, AskError> {
    let message = question.message();
    let octets = message.to_vec().map_err(AskError::Encode)?;
    let started = clock::now();
    let receive = async {
        // Connected: only what comes from the address that was asked is received.
        let socket = UdpSocket::bind(any_address(server)).await?;
        socket.connect(server).await?;
        let mut buffer = vec![0; 65_535];
        loop {
            socket.send(&octets).await?;
            let Ok(received) = tokio::time::timeout(RETRY, socket.recv(&mut buffer)).await else {
                continue;
            };
            let length = received?;
            let datagram = buffer.get(..length).unwrap_or_default();
            if datagram.get(..2) == octets.get(..2) {
                return Ok(datagram.to_vec());
            }
        }
    };
    let datagram = within(server, limit, receive).await?;
    decode(server, Transport::Udp, &datagram, started.elapsed())
}

/// Sends all questions down one TCP connection before reading the first answer (RFC 7766 §6.2.1.1)
/// and returns the answers in the order of the questions.
///
/// # Errors
/// [`AskError`]; one missing answer fails all.
pub async fn ask_pipelined(
    server: SocketAddr,
    questions: &[Question],
    limit: Duration,
) -> Result<Vec<Answer>, AskError> {
    // Ids are what answers are matched by, so they must differ: a random start, then counting.
    let first = rand::random::<u16>();
    let ids = |position: usize| first.wrapping_add(u16::try_from(position).unwrap_or(u16::MAX));
    let mut octets = Vec::new();
    for (position, question) in questions.iter().enumerate() {
        let mut message = question.message();
        message.metadata.id = ids(position);
        let message = message.to_vec().map_err(AskError::Encode)?;
        // A message with one question is far shorter than what the length can say.
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
        octets.extend_from_slice(&length.to_be_bytes());
        octets.extend_from_slice(&message);
    }
    let started = clock::now();
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(&octets).await?;
        let mut answers = Vec::with_capacity(questions.len());
        for _ in questions {
            let mut message = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut message).await?;
            answers.push(message);
        }
        Ok(answers)
    };
    let mut answers = within(server, limit, exchange)
        .await?
        .iter()
        .map(|message| decode(server, Transport::Tcp, message, started.elapsed()))
        .collect::<Result<Vec<_>, _>>()?;
    answers.sort_by_key(|answer| answer.message.metadata.id.wrapping_sub(first));
    Ok(answers)
}

fn any_address(server: SocketAddr) -> SocketAddr {
    match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

async fn within<T>(
    server: SocketAddr,
    limit: Duration,
    work: impl Future<Output = std::io::Result<T>>,
) -> Result<T, AskError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result.map_err(|source| AskError::Connection { server, source }),
        Err(_) => Err(AskError::Timeout { server, limit }),
    }
}

fn decode(
    server: SocketAddr,
    transport: Transport,
    octets: &[u8],
    elapsed: Duration,
) -> Result<Answer, AskError> {
    let message = Message::from_vec(octets).map_err(|error| AskError::Decode {
        server,
        reason: error.to_string(),
    })?;
    Ok(Answer {
        message,
        octets: octets.len(),
        elapsed,
        server,
        transport,
    })
}
