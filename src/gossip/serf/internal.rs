//! What the pool asks of itself, in queries whose names begin with `_serf_`.

use super::members::Record;
use super::message::{MessageError, read_map, write_ip_address};
use super::{KeyAnswer, KeyOperation, Query, meta};
use crate::msgpack::{Reader, Writer};

/// Whether anybody is there: the acknowledgement is all.
pub(super) const PING: &str = "_serf_ping";
/// Where somebody of a name is, for a node whose name another uses.
pub(super) const CONFLICT: &str = "_serf_conflict";
const INSTALL: &str = "_serf_install-key";
const USE: &str = "_serf_use-key";
const REMOVE: &str = "_serf_remove-key";
const LIST: &str = "_serf_list-keys";

/// Type octets of payloads.
const CONFLICT_ANSWER: u8 = 6;
const KEY_REQUEST: u8 = 7;
const KEY_ANSWER: u8 = 8;

/// The payload of an answer to a key query is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("answer to a key query is malformed: {0}")]
pub struct KeyAnswerError(String);

impl From<MessageError> for KeyAnswerError {
    fn from(cause: MessageError) -> Self {
        Self(cause.to_string())
    }
}

impl Query {
    /// The query that has every member do something with its keys; acknowledged by nobody, with
    /// the default time for answers. Payloads of answers are read by [`KeyAnswer::decode`].
    pub fn keys(operation: &KeyOperation, relay_factor: u8) -> Self {
        let (name, key): (_, &[u8]) = match operation {
            KeyOperation::Install(key) => (INSTALL, key),
            KeyOperation::Use(key) => (USE, key),
            KeyOperation::Remove(key) => (REMOVE, key),
            KeyOperation::List => (LIST, &[]),
        };
        let mut payload = vec![KEY_REQUEST];
        let mut writer = Writer::old(&mut payload);
        writer.map(1);
        writer.text("Key");
        writer.octets(key);
        Self {
            name: name.to_owned(),
            payload,
            nodes: Vec::new(),
            acknowledge: false,
            relay_factor,
            timeout: None,
        }
    }
}

/// What a key query asks for; `None` for another query.
///
/// # Errors
/// It is a key query without a key request.
pub(super) fn key_operation(
    name: &str,
    payload: &[u8],
) -> Result<Option<KeyOperation>, MessageError> {
    if !matches!(name, INSTALL | USE | REMOVE | LIST) {
        return Ok(None);
    }
    let (kind, body) = payload.split_first().ok_or(MessageError::Empty)?;
    if *kind != KEY_REQUEST {
        return Err(MessageError::Type(*kind));
    }
    let mut key: &[u8] = &[];
    read_map(&mut Reader::new(body), |name, value| {
        if name != b"Key" {
            return Ok(false);
        }
        key = value.octets()?;
        Ok(true)
    })?;
    let key = key.to_vec();
    Ok(Some(match name {
        INSTALL => KeyOperation::Install(key),
        USE => KeyOperation::Use(key),
        REMOVE => KeyOperation::Remove(key),
        _ => KeyOperation::List,
    }))
}

/// The payload that tells where a node is; without one that nobody is known.
pub(super) fn conflict_answer(record: Option<&Record>) -> Vec<u8> {
    let mut payload = vec![CONFLICT_ANSWER];
    let mut writer = Writer::old(&mut payload);
    let Some(record) = record else {
        writer.nil();
        return payload;
    };
    let [
        least,
        greatest,
        spoken,
        delegate_least,
        delegate_greatest,
        delegate_spoken,
    ] = record.versions.0;
    writer.map(11);
    writer.text("Addr");
    write_ip_address(record.address.ip(), &mut writer);
    for (key, version) in [
        ("DelegateCur", delegate_spoken),
        ("DelegateMax", delegate_greatest),
        ("DelegateMin", delegate_least),
    ] {
        writer.text(key);
        writer.unsigned(version);
    }
    writer.text("Name");
    writer.text(&record.name);
    writer.text("Port");
    writer.unsigned(record.address.port());
    for (key, version) in [
        ("ProtocolCur", spoken),
        ("ProtocolMax", greatest),
        ("ProtocolMin", least),
    ] {
        writer.text(key);
        writer.unsigned(version);
    }
    writer.text("Status");
    writer.unsigned(record.status as u8);
    writer.text("Tags");
    meta::write(&record.tags, &mut writer);
    payload
}

impl KeyAnswer {
    /// Reads the payload of an answer to a query of [`Query::keys`].
    ///
    /// # Errors
    /// It is none.
    pub fn decode(payload: &[u8]) -> Result<Self, KeyAnswerError> {
        let (kind, body) = payload.split_first().ok_or(MessageError::Empty)?;
        if *kind != KEY_ANSWER {
            return Err(MessageError::Type(*kind).into());
        }
        let mut answer = Self::default();
        read_map(&mut Reader::new(body), |name, value| {
            match name {
                b"Result" => answer.done = value.boolean()?,
                b"Message" => value.text()?.clone_into(&mut answer.message),
                b"PrimaryKey" => value.text()?.clone_into(&mut answer.primary),
                b"Keys" => {
                    for _ in 0..value.array()? {
                        answer.keys.push(value.text()?.to_owned());
                    }
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(answer)
    }

    /// The payload that tells it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut payload = vec![KEY_ANSWER];
        let mut writer = Writer::old(&mut payload);
        writer.map(4);
        writer.text("Keys");
        if self.keys.is_empty() {
            writer.nil();
        } else {
            writer.array(self.keys.len());
            for key in &self.keys {
                writer.text(key);
            }
        }
        writer.text("Message");
        writer.text(&self.message);
        writer.text("PrimaryKey");
        writer.text(&self.primary);
        writer.text("Result");
        writer.boolean(self.done);
        payload
    }

    /// The payload, with as many of the keys as fit `octets_max`. An answer that had to be cut
    /// says so.
    pub(super) fn encode_within(mut self, octets_max: usize) -> Vec<u8> {
        let keys = self.keys.len();
        let mut payload = self.encode();
        while payload.len() > octets_max && self.keys.pop().is_some() {
            let shown = self.keys.len();
            self.message =
                format!("truncated key list response, showing first {shown} of {keys} keys");
            payload = self.encode();
        }
        payload
    }
}
