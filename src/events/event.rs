//! One event: what it says, whom it is for, and how it is written.

use uuid::Uuid;

use crate::gossip::membership::EVENT_PREFIX;
use crate::gossip::pool::{Pool, PoolError};
use crate::gossip::serf::LamportTime;
use crate::msgpack::{ReadError, Reader, Writer};

use super::filters::{FilterError, Filters};

/// Octets that the name with its prefix and the written event may have together.
pub const OCTETS_MAX: usize = 512;
/// Form of events that this agent sends.
const VERSION: u64 = 1;
/// Characters of an id as text; clients derive the index of a list from them.
const ID_CHARACTERS: usize = 36;

/// An event. Empty filters let everybody through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Tells it from all others.
    pub id: Uuid,
    /// What it is called.
    pub name: String,
    /// What it carries.
    pub payload: Vec<u8>,
    /// Regular expression for the names of the nodes that it is for.
    pub node_filter: String,
    /// Regular expression for the name or id of a service: it is for nodes that have one.
    pub service_filter: String,
    /// Regular expression for a tag of such a service.
    pub tag_filter: String,
    /// Its form. 1.
    pub version: u64,
    /// When it was sent, in Lamport time of events; 0 where it was not yet.
    pub time: LamportTime,
}

/// Why something is no event; nothing was sent. The texts are those of the reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// It has no name.
    #[error("Missing name")]
    Name,
    /// Tags are those of services.
    #[error("Cannot provide tag filter without service filter")]
    Tag,
    /// A filter is no regular expression, or too large a one.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// It is too long to be sent.
    #[error("user event exceeds configured limit of {OCTETS_MAX} bytes before encoding")]
    Length,
}

/// Why what came is no event; it is left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// It is not written as one.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A filter cannot be followed.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// It cannot be told from others.
    #[error("id has no {ID_CHARACTERS} characters of a UUID")]
    Id,
}

impl Event {
    /// An event of this agent, with an id of its own.
    ///
    /// # Errors
    /// [`EventError`].
    pub fn new(
        name: &str,
        payload: &[u8],
        node_filter: &str,
        service_filter: &str,
        tag_filter: &str,
    ) -> Result<Self, EventError> {
        let event = Self {
            id: Uuid::new_v4(),
            name: name.to_owned(),
            payload: payload.to_owned(),
            node_filter: node_filter.to_owned(),
            service_filter: service_filter.to_owned(),
            tag_filter: tag_filter.to_owned(),
            version: VERSION,
            time: 0,
        };
        if event.name.is_empty() {
            return Err(EventError::Name);
        }
        if event.service_filter.is_empty() && !event.tag_filter.is_empty() {
            return Err(EventError::Tag);
        }
        // First, so that no long expression is compiled.
        if EVENT_PREFIX.len() + event.name.len() + event.written().len() > OCTETS_MAX {
            return Err(EventError::Length);
        }
        event.filters()?;
        Ok(event)
    }

    /// Sends it to all agents of the pool, this one too.
    ///
    /// # Errors
    /// The pool does not take it; nothing was sent.
    pub async fn fire(&self, pool: &Pool) -> Result<(), PoolError> {
        let name = format!("{EVENT_PREFIX}{}", self.name);
        pool.fire(&name, &self.written(), false).await.map(drop)
    }

    /// The event that a user event of this time carries.
    ///
    /// # Errors
    /// [`ReceiveError`].
    pub(super) fn receive(time: LamportTime, payload: &[u8]) -> Result<Self, ReceiveError> {
        let mut id = "";
        let mut event = Self {
            id: Uuid::nil(),
            name: String::new(),
            payload: Vec::new(),
            node_filter: String::new(),
            service_filter: String::new(),
            tag_filter: String::new(),
            version: 0,
            time,
        };
        let mut reader = Reader::new(payload);
        for _ in 0..reader.map()? {
            match reader.text()? {
                "ID" => id = reader.text()?,
                "n" => reader.text()?.clone_into(&mut event.name),
                "p" => reader.octets()?.clone_into(&mut event.payload),
                "nf" => reader.text()?.clone_into(&mut event.node_filter),
                "sf" => reader.text()?.clone_into(&mut event.service_filter),
                "tf" => reader.text()?.clone_into(&mut event.tag_filter),
                "v" => event.version = reader.unsigned()?,
                _ => reader.skip()?,
            }
        }
        match Uuid::try_parse(id) {
            Ok(id_read) if id.len() == ID_CHARACTERS => Ok(Self {
                id: id_read,
                ..event
            }),
            _ => Err(ReceiveError::Id),
        }
    }

    /// Whom it is for.
    ///
    /// # Errors
    /// A filter is no regular expression.
    pub(super) fn filters(&self) -> Result<Filters, FilterError> {
        Filters::new(&self.node_filter, &self.service_filter, &self.tag_filter)
    }

    /// What identifies it among the answers to a list: not 0, and not in any order.
    pub fn index(&self) -> u64 {
        let (high, low) = self.id.as_u64_pair();
        (high ^ low).max(1)
    }

    /// As the payload of a user event: keys in order, what is empty left out.
    fn written(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.payload.len());
        let id = self.id.to_string();
        let before = [
            ("ID", id.as_str()),
            ("n", &self.name),
            ("nf", &self.node_filter),
        ];
        let after = [("sf", &*self.service_filter), ("tf", &*self.tag_filter)];
        let is_given = |(_, text): &&(&str, &str)| !text.is_empty();
        let texts = before.iter().chain(&after).filter(is_given).count();
        let mut writer = Writer::new(&mut out);
        writer.map(texts + usize::from(!self.payload.is_empty()) + 1);
        for (key, text) in before.iter().filter(is_given) {
            writer.text(key);
            writer.text(text);
        }
        if !self.payload.is_empty() {
            writer.text("p");
            writer.octets(&self.payload);
        }
        for (key, text) in after.iter().filter(is_given) {
            writer.text(key);
            writer.text(text);
        }
        writer.text("v");
        writer.unsigned(self.version);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As an agent of the reference sent it.
    const CAPTURED: &str = "84a24944d92465303336646566322d323731302d333137622d303363652d653532353\
                            732376335626531a16ea3736563a170c403746f70a17601";

    fn captured() -> Vec<u8> {
        data_encoding::HEXLOWER.decode(CAPTURED.as_bytes()).unwrap()
    }

    fn refusal(name: &str, payload: &[u8], filters: [&str; 3]) -> String {
        let [node, service, tag] = filters;
        let refused = Event::new(name, payload, node, service, tag).unwrap_err();
        refused.to_string()
    }

    #[test]
    fn an_event_of_the_reference_is_read_and_written_octet_for_octet() {
        let event = Event::receive(7, &captured()).unwrap();
        assert_eq!(event.id.to_string(), "e036def2-2710-317b-03ce-e525727c5be1");
        assert_eq!((event.name.as_str(), event.version), ("sec", 1));
        assert_eq!((event.payload.as_slice(), event.time), (&b"top"[..], 7));
        assert_eq!(event.written(), captured());
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (payload, filters) in [
            (&b""[..], ["", "", ""]),
            (b"\xff\0", ["^n", "web", "v1|v2"]),
            (&[7; 300], ["", &"s".repeat(40), ""]),
        ] {
            let [node, service, tag] = filters;
            let mut event = Event::new("deploy", payload, node, service, tag).unwrap();
            event.time = 3;
            assert_eq!(Event::receive(3, &event.written()).unwrap(), event);
        }
    }

    #[test]
    fn events_are_told_apart_by_the_index_that_clients_of_the_reference_derive() {
        let mut event = Event::new("a", b"", "", "", "").unwrap();
        event.id = "644bd222-a0fb-f654-dc14-b6e4dfff7339".parse().unwrap();
        assert_eq!(event.index(), 13_285_448_229_463_557_485);
        event.id = "00000000-0000-0001-0000-000000000001".parse().unwrap();
        assert_eq!(event.index(), 1);
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_the_reason() {
        assert_eq!(refusal("", b"", ["", "", ""]), "Missing name");
        assert_eq!(
            refusal("a", b"", ["", "", "v1"]),
            "Cannot provide tag filter without service filter"
        );
        let too_long = "user event exceeds configured limit of 512 bytes before encoding";
        assert_eq!(refusal("a", &[0; 600], ["", "", ""]), too_long);
        assert_eq!(refusal("a", b"", [&"[".repeat(600), "", ""]), too_long);
        for (filters, which) in [
            (["[", "", ""], "node"),
            (["", "[", ""], "service"),
            (["", "a", "["], "tag"),
        ] {
            let expected = format!("Invalid {which} filter: error parsing regexp: ");
            let text = refusal("a", b"", filters);
            assert!(text.starts_with(&expected), "{text}");
        }
        let huge = "(a{1000}){1000}";
        assert!(refusal("a", b"", [huge, "", ""]).contains("octets"));
    }

    #[test]
    fn the_limit_counts_every_octet() {
        let written = Event::new("a", &[0; 256], "", "", "").unwrap().written();
        let room = OCTETS_MAX - EVENT_PREFIX.len() - 1 - written.len() + 256;
        assert!(Event::new("a", &vec![0; room], "", "", "").is_ok());
        let more = Event::new("a", &vec![0; room + 1], "", "", "");
        assert_eq!(more, Err(EventError::Length));
    }

    #[test]
    fn what_is_no_event_is_left_out() {
        let whole = captured();
        for end in 0..whole.len() {
            assert!(Event::receive(1, &whole[..end]).is_err(), "{end} octets");
        }
        for id in [
            "",
            "x",
            "e036def22710317b03cee525727c5be1",
            "urn:uuid:e036def2",
        ] {
            let mut out = Vec::new();
            let mut writer = Writer::new(&mut out);
            writer.map(1);
            writer.text("ID");
            writer.text(id);
            assert_eq!(Event::receive(1, &out), Err(ReceiveError::Id), "{id:?}");
        }
    }

    #[test]
    fn fields_to_come_are_passed_over() {
        let mut out = Vec::new();
        let mut writer = Writer::old(&mut out);
        writer.map(3);
        writer.text("zz");
        writer.array(1);
        writer.nil();
        writer.text("ID");
        writer.text("e036def2-2710-317b-03ce-e525727c5be1");
        writer.text("n");
        writer.text("deploy");
        assert_eq!(Event::receive(1, &out).unwrap().name, "deploy");
    }

    proptest::proptest! {
        #[test]
        fn no_octets_make_reading_panic(octets in proptest::collection::vec(0_u8.., 0..200)) {
            drop(Event::receive(1, &octets));
        }
    }
}
