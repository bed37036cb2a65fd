//! What goes into the layer and what comes out of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::gossip::swim::{InputError, Name};
use crate::gossip::wire::{Message, PushPull};
use crate::types::Member;

/// A point in Lamport time.
pub type LamportTime = u64;

/// Tags of a member.
pub type Tags = BTreeMap<String, String>;

/// What became of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is alive and was not before.
    Joined,
    /// It has left, as it had announced, or was forced to.
    Left,
    /// It answers no more.
    Failed,
    /// It is alive and says something else of itself, or is at another address.
    Updated,
    /// It was failed or gone for so long that it is forgotten.
    Reaped,
}

/// Something that one member told all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserEvent {
    /// When, in Lamport time of events.
    pub time: LamportTime,
    /// What it is called.
    pub name: String,
    /// What it carries.
    pub payload: Vec<u8>,
    /// Whether only the newest of several with one name counts.
    pub coalesce: bool,
}

/// Names a query that this node has been asked; for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueryId {
    /// When it was asked, in Lamport time of queries.
    pub time: LamportTime,
    /// Its number.
    pub id: u32,
}

/// What a key query asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOperation {
    /// Add a key.
    Install(Vec<u8>),
    /// Encrypt with it.
    Use(Vec<u8>),
    /// Take it away.
    Remove(Vec<u8>),
    /// Say which keys there are.
    List,
}

/// Answer of one member to a key query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyAnswer {
    /// Whether it was done.
    pub done: bool,
    /// What went wrong, or needs saying.
    pub message: String,
    /// Installed keys in base64, in the order of the keyring; only for a list.
    pub keys: Vec<String>,
    /// The one that encrypts, in base64; only for a list.
    pub primary: String,
}

/// What the rest of the agent is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A member changed; what it is now, or was if it is forgotten.
    Member(Change, Member),
    /// Somebody told all something.
    Event(UserEvent),
    /// Somebody asks for something to be done with the keyring: answer with
    /// [`Input::AnswerKeys`].
    Keys {
        /// Name of who asks, as it says itself.
        by: Box<str>,
        /// Whom to answer.
        query: QueryId,
        /// What to do.
        operation: KeyOperation,
    },
    /// A query of this node has an answer, to be told to who asked.
    Answer {
        /// What [`Input::Query`] gave.
        query: QueryId,
        /// Who answers.
        from: Name,
        /// `None` is an acknowledgement.
        payload: Option<Vec<u8>>,
    },
    /// The time for answers to a query of this node is over.
    QueryOver(QueryId),
    /// The leave has been told to everybody: the agent may stop.
    LeftPool,
    /// The admission refused somebody (counted and logged by the driver).
    Refused {
        /// Whom.
        node: String,
        /// Where it is.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// Two nodes use one name; at most one notice a minute for each name.
    Conflict {
        /// The name.
        node: Name,
        /// Who has it.
        known: SocketAddr,
        /// Who wants it.
        other: SocketAddr,
    },
    /// One of the Lamport clocks has moved, or a member's address: what a snapshot keeps.
    Remember(Memory),
}

/// What a snapshot keeps, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Memory {
    /// A member is alive at an address.
    Alive(Name, SocketAddr),
    /// A member is not.
    NotAlive(Name),
    /// The clock of members.
    Clock(LamportTime),
    /// The clock of events.
    EventClock(LamportTime),
    /// The clock of queries.
    QueryClock(LamportTime),
    /// This node has left.
    Leave,
}

/// What is asked of all members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// What it is called; names that begin with `_serf_` are for the pool itself.
    pub name: String,
    /// What it carries.
    pub payload: Vec<u8>,
    /// Who is asked; empty for all.
    pub nodes: Vec<String>,
    /// Whether each is to acknowledge at once.
    pub acknowledge: bool,
    /// Members that repeat each answer. 0 to 5.
    pub relay_factor: u8,
    /// Time for answers; `None` for the default, which follows from the number of members.
    pub timeout: Option<Duration>,
}

/// What comes in.
#[derive(Debug)]
pub enum Input<'a> {
    /// A message of a packet.
    Packet {
        /// Where the packet came from.
        from: SocketAddr,
        /// The message.
        message: Message<'a>,
    },
    /// A ping over a stream was answered.
    StreamAck {
        /// Of the ping.
        sequence: u32,
    },
    /// A ping over a stream was refused by the host: nobody listens where the node was.
    StreamRefused {
        /// Of the ping.
        sequence: u32,
    },
    /// The other side of a push/pull, whoever began it.
    Exchanged {
        /// Who is there.
        from: SocketAddr,
        /// What it knows.
        remote: PushPull<'a>,
        /// Whether events from before the join are of no interest (joins only).
        ignore_old: bool,
    },
    /// [`Serf::deadline`](super::Serf::deadline) has come.
    Tick,
    /// This node has other tags from now on.
    SetTags(Tags),
    /// Tell all members something.
    Fire {
        /// What it is called.
        name: &'a str,
        /// What it carries.
        payload: &'a [u8],
        /// Whether only the newest of several with one name counts.
        coalesce: bool,
    },
    /// Ask all members something; answers come as [`Notice::Answer`].
    Query(Query),
    /// Answer of this node to [`Notice::Keys`].
    AnswerKeys {
        /// Who asked.
        query: QueryId,
        /// The answer.
        answer: KeyAnswer,
    },
    /// This node leaves the pool: ends with [`Notice::LeftPool`].
    Leave,
    /// Another node that has failed is declared to have left.
    ForceLeave {
        /// Its name.
        node: &'a str,
        /// Whether it is forgotten at once.
        prune: bool,
    },
}

/// What an input led to, besides [`Actions`](crate::gossip::actions::Actions).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to say.
    Done,
    /// The event was sent at this time.
    Fired(LamportTime),
    /// The query was sent.
    Asked(QueryId),
}

/// Why an input had no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SerfError {
    /// The other side of an exchange is not taken in.
    #[error(transparent)]
    Exchange(#[from] InputError),
    /// Tags are longer than a packet can carry.
    #[error("encoded tags have {octets} octets, at most 512 are allowed")]
    Tags {
        /// Octets that they have.
        octets: usize,
    },
    /// An event is too long.
    #[error("user event exceeds configured limit of 512 bytes {0} encoding")]
    Event(&'static str),
    /// A query is too long.
    #[error("query exceeds limit of 1024 bytes")]
    Query,
    /// Nobody has that name.
    #[error("no node found with name {0:?}")]
    Unknown(String),
    /// Too many queries of this node wait for answers.
    #[error("{limit} queries of this node wait for answers already")]
    Queries {
        /// How many may.
        limit: usize,
    },
    /// This node has left, or is about to.
    #[error("this node is leaving")]
    Leaving,
}

/// Who this node is, in its pool.
#[derive(Clone, Debug)]
pub struct Own {
    /// Name in the pool.
    pub name: Name,
    /// Address that others reach it at.
    pub address: SocketAddr,
    /// What it says of itself.
    pub tags: Tags,
}

/// What is known from before the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Members that were alive, with their addresses.
    pub alive: Vec<(Name, SocketAddr)>,
    /// The clock of members.
    pub clock: LamportTime,
    /// The clock of events; older ones are not told again.
    pub event_clock: LamportTime,
    /// The clock of queries.
    pub query_clock: LamportTime,
}
