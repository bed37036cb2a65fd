//! What is decoded, drawn as the vectors draw it.

use std::net::{IpAddr, SocketAddr};

use data_encoding::HEXLOWER;
use herald::gossip::wire::{
    Accusation, Ack, Alive, IndirectPing, Message, NodeState, Ping, PushPull, Source, StreamMessage,
};
use herald::msgpack::Reader;
use serde_json::{Map, Value, json};

/// A message of a packet.
pub(crate) fn message(message: &Message<'_>) -> Value {
    match message {
        Message::Ping(ping) => named(0, "ping", "body", ping_body(ping)),
        Message::IndirectPing(ping) => named(1, "indirectPing", "body", indirect_body(ping)),
        Message::Ack(ack) => named(2, "ackResp", "body", ack_body(ack)),
        Message::Suspect(accusation) => named(3, "suspect", "body", accused(accusation)),
        Message::Alive(alive) => named(4, "alive", "body", alive_body(alive)),
        Message::Dead(accusation) => named(5, "dead", "body", accused(accusation)),
        Message::User(octets) => named(8, "user", "user", serf(octets)),
        Message::Nack { sequence } => named(11, "nackResp", "body", json!({ "SeqNo": sequence })),
    }
}

/// The message of a stream.
pub(crate) fn stream(message: &StreamMessage<'_>) -> Value {
    match message {
        StreamMessage::PushPull(state) => push_pull(state),
        StreamMessage::User(octets) => json!({
            "type": 8,
            "name": "user",
            "header": { "UserMsgLen": octets.len() },
            "user": serf(octets),
        }),
        StreamMessage::Ping(ping) => named(0, "ping", "body", ping_body(ping)),
        StreamMessage::Ack(ack) => named(2, "ackResp", "body", ack_body(ack)),
        StreamMessage::Error(text) => named(13, "err", "body", json!({ "Error": text })),
    }
}

fn named(number: u8, name: &str, field: &str, value: Value) -> Value {
    let mut object = Map::new();
    object.insert("type".into(), number.into());
    object.insert("name".into(), name.into());
    object.insert(field.into(), value);
    object.into()
}

fn insert_source(body: &mut Value, source: Option<&Source<'_>>) {
    let Some(source) = source else { return };
    body["SourceAddr"] = source.address.ip().to_string().into();
    body["SourcePort"] = source.address.port().into();
    if !source.node.is_empty() {
        body["SourceNode"] = source.node.into();
    }
}

fn ping_body(ping: &Ping<'_>) -> Value {
    let mut body = json!({ "SeqNo": ping.sequence, "Node": ping.node });
    insert_source(&mut body, ping.source.as_ref());
    body
}

fn indirect_body(ping: &IndirectPing<'_>) -> Value {
    let mut body = json!({
        "SeqNo": ping.sequence,
        "Target": ping.target.ip().to_string(),
        "Port": ping.target.port(),
        "Node": ping.node,
        "Nack": ping.nack,
    });
    insert_source(&mut body, ping.source.as_ref());
    body
}

fn ack_body(ack: &Ack<'_>) -> Value {
    let payload = match ack.payload.split_first() {
        None => Value::Null,
        Some((1, coordinate)) => json!({ "version": 1, "coordinate": whole(coordinate) }),
        Some(_) => octets(ack.payload),
    };
    json!({ "SeqNo": ack.sequence, "Payload": payload })
}

fn accused(accusation: &Accusation<'_>) -> Value {
    json!({
        "Incarnation": accusation.incarnation,
        "Node": accusation.node,
        "From": accusation.from,
    })
}

fn alive_body(alive: &Alive<'_>) -> Value {
    let mut body = node_body(alive.address, alive.meta, alive.versions.0);
    body["Incarnation"] = alive.incarnation.into();
    body["Node"] = alive.node.into();
    body
}

fn node_state(node: &NodeState<'_>) -> Value {
    let mut body = node_body(node.address, node.meta, node.versions.0);
    body["Incarnation"] = node.incarnation.into();
    body["Name"] = node.name.into();
    body["State"] = node.state.into();
    body
}

fn node_body(address: SocketAddr, meta: &[u8], versions: [u8; 6]) -> Value {
    let meta = match meta.split_first() {
        Some((0xff, tags)) => match value(&mut Reader::new(tags)) {
            Some(tags) => json!({ "tags": tags }),
            None => octets_in_hex(meta),
        },
        _ => json!({ "role": octets(meta) }),
    };
    json!({
        "Addr": address.ip().to_string(),
        "Port": address.port(),
        "Meta": meta,
        "Vsn": versions,
    })
}

fn push_pull(state: &PushPull<'_>) -> Value {
    let nodes: Vec<_> = state.nodes.iter().map(node_state).collect();
    let mut tree = json!({
        "type": 6,
        "name": "pushPull",
        "header": {
            "Join": state.join,
            "Nodes": nodes.len(),
            "UserStateLen": state.user_state.len(),
        },
        "nodes": nodes,
    });
    if !state.user_state.is_empty() {
        let mut user = serf(state.user_state);
        if let Some(slots) = user["body"]["Events"].as_array() {
            let filled: Vec<_> = slots.iter().filter(|slot| !slot.is_null()).collect();
            let events = json!({ "slots": slots.len(), "non_nil": filled });
            user["body"]["Events"] = events;
        }
        tree["user_state"] = user;
    }
    tree
}

/// A message of serf, which the wire knows as octets.
fn serf(message: &[u8]) -> Value {
    const NAMES: [&str; 10] = [
        "leave",
        "join",
        "pushPull",
        "userEvent",
        "query",
        "queryResponse",
        "conflictResponse",
        "keyRequest",
        "keyResponse",
        "relay",
    ];
    let (kind, body) = message.split_first().unwrap();
    let name = NAMES[usize::from(*kind)];
    let mut reader = Reader::new(body);
    if name == "relay" {
        let header = value(&mut reader).unwrap();
        return json!({ "serf": name, "header": header, "inner": serf(reader.rest()) });
    }
    let mut tree = json!({ "serf": name, "body": value(&mut reader).unwrap() });
    let payload = payload_of(body).unwrap_or_default();
    match (name, payload.split_first()) {
        ("query" | "queryResponse", Some((6..=8, _))) => tree["payload_serf"] = serf(payload),
        ("userEvent", _)
            if tree["body"]["Name"]
                .as_str()
                .unwrap()
                .starts_with("consul:event:") =>
        {
            tree["payload_consul_event"] = whole(payload);
        }
        _ => {}
    }
    tree
}

/// The octets of the field `Payload`.
fn payload_of(body: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(body);
    for _ in 0..reader.map().ok()? {
        if reader.octets().ok()? == b"Payload" {
            return reader.octets().ok();
        }
        reader.skip().ok()?;
    }
    None
}

fn whole(input: &[u8]) -> Value {
    let mut reader = Reader::new(input);
    let value = value(&mut reader).unwrap();
    assert!(reader.rest().is_empty());
    value
}

/// Any value; `None` if it is malformed.
fn value(reader: &mut Reader<'_>) -> Option<Value> {
    Some(match *reader.rest().first()? {
        0xc0 => {
            reader.nil();
            Value::Null
        }
        0xc2 | 0xc3 => reader.boolean().ok()?.into(),
        0xca | 0xcb => fraction(reader.float().ok()?),
        0xcf => reader.unsigned::<u64>().ok()?.into(),
        0x00..=0x7f | 0xcc..=0xce | 0xd0..=0xd3 | 0xe0.. => reader.signed::<i64>().ok()?.into(),
        0x80..=0x8f | 0xde | 0xdf => {
            let mut object = Map::new();
            for _ in 0..reader.map().ok()? {
                let name = reader.text().ok()?;
                let field = match name {
                    "Addr" | "IP" => address(reader.octets().ok()?),
                    "Filters" if !reader.nil() => filters(reader)?,
                    "Filters" => Value::Null,
                    _ => value(reader)?,
                };
                object.insert(name.into(), field);
            }
            object.into()
        }
        0x90..=0x9f | 0xdc | 0xdd => {
            let mut array = Vec::new();
            for _ in 0..reader.array().ok()? {
                array.push(value(reader)?);
            }
            array.into()
        }
        _ => octets(reader.octets().ok()?),
    })
}

fn filters(reader: &mut Reader<'_>) -> Option<Value> {
    let mut filters = Vec::new();
    for _ in 0..reader.array().ok()? {
        let (kind, body) = reader.octets().ok()?.split_first()?;
        let kind = ["node", "tag"].get(usize::from(*kind))?;
        filters.push(json!({ "type": kind, "value": whole(body) }));
    }
    Some(filters.into())
}

/// Through its text, as the vectors were read: the JSON reader may be off by the last bit.
fn fraction(number: f64) -> Value {
    serde_json::from_str(&format!("{number:?}")).unwrap()
}

fn address(octets: &[u8]) -> Value {
    let address: IpAddr = match octets.len() {
        4 => <[u8; 4]>::try_from(octets).unwrap().into(),
        _ => <[u8; 16]>::try_from(octets).unwrap().into(),
    };
    address.to_string().into()
}

fn octets(octets: &[u8]) -> Value {
    match std::str::from_utf8(octets) {
        Ok(text) if !text.chars().any(char::is_control) => text.into(),
        _ => octets_in_hex(octets),
    }
}

fn octets_in_hex(octets: &[u8]) -> Value {
    json!({ "hex": HEXLOWER.encode(octets) })
}
