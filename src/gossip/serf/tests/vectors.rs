//! What real agents were seen to send, and what was played against them.

use std::path::Path;

use serde_json::Value;

use super::*;
use crate::gossip::serf::message::read_map;
use crate::gossip::serf::state::State;
use crate::msgpack::Reader;

/// One recorded message of this layer, and what an independent decoder made of it.
struct Recorded {
    id: String,
    captured: bool,
    octets: Vec<u8>,
    decoded: Value,
}

fn files() -> Vec<Value> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/gossip");
    [
        "packets_plain",
        "packets_encrypted",
        "constructed",
        "wan",
        "hostile",
        "streams_plain",
    ]
    .into_iter()
    .flat_map(|name| {
        let text = std::fs::read_to_string(directory.join(format!("{name}.json"))).unwrap();
        let Value::Array(vectors) = serde_json::from_str(&text).unwrap() else {
            panic!("{name} is no array");
        };
        vectors
    })
    .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

/// Takes checksum, compression and compounds off: the messages of a packet, in order.
fn unwrap(octets: &[u8], messages: &mut Vec<Vec<u8>>) {
    match octets[0] {
        12 => unwrap(&octets[5..], messages),
        9 => unwrap(&inflate(&octets[1..]), messages),
        7 => {
            let count = usize::from(octets[1]);
            let (lengths, mut rest) = octets[2..].split_at(2 * count);
            for length in lengths.chunks(2) {
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                let Some((part, behind)) = rest.split_at_checked(length) else {
                    return;
                };
                unwrap(part, messages);
                rest = behind;
            }
        }
        _ => messages.push(octets.to_vec()),
    }
}

fn inflate(map: &[u8]) -> Vec<u8> {
    let mut packed: &[u8] = &[];
    read_map(&mut Reader::new(map), |key, value| {
        if key == b"Buf" {
            packed = value.octets()?;
        }
        Ok(key == b"Buf")
    })
    .unwrap();
    let mut decoder = weezl::decode::Decoder::new(weezl::BitOrder::Lsb, 8);
    decoder.decode(packed).unwrap()
}

/// The messages of a decoded tree in the same order.
fn decoded_users<'a>(tree: &'a Value, found: &mut Vec<Option<&'a Value>>) {
    if let Some(inner) = tree.get("inner") {
        return decoded_users(inner, found);
    }
    if let Some(parts) = tree.get("parts").and_then(Value::as_array) {
        return parts.iter().for_each(|part| decoded_users(part, found));
    }
    found.push(tree.get("user"));
}

/// Every message of this layer in packets that a strict decoder takes.
fn recorded() -> Vec<Recorded> {
    let mut all = Vec::new();
    for vector in files() {
        if vector["transport"] != "udp" || vector["expect"]["decode"] != "ok" {
            continue;
        }
        let decoded = &vector["decoded"];
        let plain = decoded["plain_hex"]
            .as_str()
            .unwrap_or(vector["hex"].as_str().unwrap());
        if vector["label"].is_string() {
            continue;
        }
        let (mut messages, mut trees) = (Vec::new(), Vec::new());
        unwrap(&unhex(plain), &mut messages);
        decoded_users(&decoded["message"], &mut trees);
        for (message, tree) in messages.iter().zip(trees) {
            let Some(tree) = tree else { continue };
            assert_eq!(message[0], USER);
            all.push(Recorded {
                id: vector["id"].as_str().unwrap().to_owned(),
                captured: vector["origin"] == "captured",
                octets: message[1..].to_vec(),
                decoded: tree.clone(),
            });
        }
    }
    all
}

/// Time and who or what it is about, as the other decoder names them.
fn essence(message: &Message<'_>) -> (&'static str, LamportTime, String) {
    match message {
        Message::Leave(leave) => ("leave", leave.time, leave.node.to_owned()),
        Message::Join(join) => ("join", join.time, join.node.to_owned()),
        Message::Event(event) => ("userEvent", event.time, event.name.to_owned()),
        Message::Query(query) => ("query", query.time, query.name.to_owned()),
        Message::Answer(answer) => ("queryResponse", answer.time, answer.from.to_owned()),
        Message::Relay(relay) => ("relay", 0, relay.node.to_owned()),
    }
}

#[test]
fn recorded_messages_are_read_as_they_were_meant() {
    let recorded = recorded();
    assert!(recorded.len() > 100, "{}", recorded.len());
    for Recorded {
        id,
        octets,
        decoded,
        ..
    } in recorded
    {
        if id == "hostile/h-event-giant" {
            assert!(Message::decode(&octets).is_err());
            continue;
        }
        let message = Message::decode(&octets).unwrap_or_else(|cause| panic!("{id}: {cause}"));
        let (kind, time, about) = essence(&message);
        assert_eq!(decoded["serf"], kind, "{id}");
        if kind == "relay" {
            assert_eq!(decoded["header"]["DestName"], about, "{id}");
            continue;
        }
        let body = &decoded["body"];
        assert_eq!(body["LTime"], time, "{id}");
        let key = match kind {
            "leave" | "join" => "Node",
            "queryResponse" => "From",
            _ => "Name",
        };
        assert_eq!(body[key], about, "{id}");
    }
}

#[test]
fn captured_messages_are_written_octet_for_octet_as_they_came() {
    let mut kinds = std::collections::BTreeSet::new();
    for recorded in recorded().iter().filter(|recorded| recorded.captured) {
        let message = Message::decode(&recorded.octets).unwrap();
        let mut again = Vec::new();
        message.encode(&mut again);
        assert_eq!(again, recorded.octets, "{}: {message:?}", recorded.id);
        kinds.insert(essence(&message).0);
    }
    let all = [
        "join",
        "leave",
        "query",
        "queryResponse",
        "relay",
        "userEvent",
    ];
    assert!(kinds.iter().eq(all.iter()), "{kinds:?}");
}

#[test]
fn recorded_states_are_read_as_they_were_meant() {
    let mut count = 0;
    for vector in files() {
        let decoded = &vector["decoded"];
        let tree = decoded.get("inner").unwrap_or(decoded);
        let state = &tree["user_state"]["body"];
        if vector["transport"] != "tcp" || !state.is_object() || !vector["key"].is_null() {
            continue;
        }
        let octets = unhex(vector["hex"].as_str().unwrap());
        let plain = if octets[0] == 9 {
            inflate(&octets[1..])
        } else {
            octets
        };
        let length = tree["header"]["UserStateLen"].as_u64().unwrap();
        let length = usize::try_from(length).unwrap();
        let id = &vector["id"];
        let read = State::decode(&plain[plain.len() - length..]).unwrap();
        assert_eq!(state["LTime"], read.time, "{id}");
        assert_eq!(state["EventLTime"], read.event_time, "{id}");
        assert_eq!(state["QueryLTime"], read.query_time, "{id}");
        let times: serde_json::Map<_, _> = (read.statuses.iter())
            .map(|(name, time)| ((*name).to_owned(), (*time).into()))
            .collect();
        assert_eq!(state["StatusLTimes"], Value::Object(times), "{id}");
        let left = state["LeftMembers"].as_array().cloned().unwrap_or_default();
        assert_eq!(left, read.left, "{id}");
        let slots = state["Events"]["non_nil"].as_array();
        let events = slots.map_or(0, |slots| {
            slots
                .iter()
                .map(|slot| slot["Events"].as_array().map_or(0, Vec::len))
                .sum()
        });
        assert_eq!(events, read.events.len(), "{id}: {}", state["Events"]);
        count += 1;
    }
    assert!(count > 20, "{count}");
}

#[test]
fn recorded_messages_do_no_harm() {
    let mut bench = Bench::new();
    for recorded in recorded() {
        bench.receive_octets(&recorded.octets);
    }
    // Among them is one from the end of time.
    assert!(bench.layer.event_clock.time() < 1 << 32);
    assert_eq!(
        bench.status("own").map(|(status, _)| status),
        Some(MemberStatus::Alive)
    );
    // Some of them ask for answers, to addresses that are no members'.
    assert_eq!(bench.take_packets(), []);
}
