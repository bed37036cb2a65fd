use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::msgpack::Writer;

#[test]
fn a_captured_ping_is_read_and_written_back() {
    let octets = hex(concat!(
        "0085a44e6f6465a26331a55365714e6f01aa536f7572636541646472a47f0000c4",
        "aa536f757263654e6f6465a26332aa536f75726365506f7274cd206d"
    ));
    let message = Message::decode(&octets).unwrap();
    let ping = Ping {
        sequence: 1,
        node: "c1",
        source: Some(Source {
            address: "127.0.0.196:8301".parse().unwrap(),
            node: "c2",
        }),
    };
    assert_eq!(message, Message::Ping(ping));
    assert_eq!(encode(&message), octets);
}

#[test]
fn every_message_is_read_back_as_it_was_written() {
    let address: SocketAddr = "[2001:db8::1]:8302".parse().unwrap();
    let accusation = Accusation {
        incarnation: u32::MAX,
        node: "s1",
        from: "s2",
    };
    let source = Some(Source { address, node: "" });
    for message in [
        Message::Ping(Ping {
            sequence: 300,
            node: "",
            source: None,
        }),
        Message::IndirectPing(IndirectPing {
            sequence: 70_000,
            target: address,
            node: "s1",
            nack: true,
            source,
        }),
        Message::Ack(Ack {
            sequence: 0,
            payload: &[],
        }),
        Message::Ack(Ack {
            sequence: 1,
            payload: &[1; 200],
        }),
        Message::Nack { sequence: 128 },
        Message::Suspect(accusation),
        Message::Dead(accusation),
        Message::Alive(alive()),
        Message::User(&[3, 0x80]),
    ] {
        assert_eq!(Message::decode(&encode(&message)), Ok(message));
    }
}

#[test]
fn a_push_pull_is_read_back_as_it_was_written() {
    let node = NodeState {
        name: "s1",
        address: "127.0.0.9:8301".parse().unwrap(),
        meta: &[0xff, 0x80],
        incarnation: 5,
        state: 3,
        versions: Versions::OWN,
    };
    for message in [
        StreamMessage::PushPull(PushPull {
            join: true,
            nodes: vec![node; 200],
            user_state: &vec![7; 70_000],
        }),
        StreamMessage::User(&[3, 0x80]),
        StreamMessage::Ping(Ping {
            sequence: 1,
            node: "s1",
            source: None,
        }),
        StreamMessage::Ack(Ack {
            sequence: 1,
            payload: &[],
        }),
        StreamMessage::Error("remote state is encrypted and encryption is not configured"),
    ] {
        let mut out = Vec::new();
        message.encode(&mut out);
        assert_eq!(StreamMessage::decode(&out), Ok(message));
    }
}

/// A message of `kind` whose body `write` writes; `pairs` is how many.
fn message(kind: u8, pairs: usize, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = vec![kind];
    let mut writer = Writer::old(&mut out);
    writer.map(pairs);
    write(&mut writer);
    out
}

/// An alive message with these values.
fn alive_of(name: &[u8], address: &[u8], port: u32, meta: &[u8], versions: &[u8]) -> Vec<u8> {
    message(4, 5, |writer| {
        for (field, octets) in [("Node", name), ("Addr", address), ("Meta", meta)] {
            writer.text(field);
            writer.octets(octets);
        }
        writer.text("Port");
        writer.unsigned(port);
        writer.text("Vsn");
        writer.raw(versions);
    })
}

const VERSIONS: &[u8] = b"\xa6\x01\x05\x02\x02\x05\x04";
const LOCAL: &[u8] = &[127, 0, 0, 9];

#[track_caller]
fn refused(octets: &[u8], reason: &'static str) {
    assert_eq!(Message::decode(octets), Err(Malformed(reason)));
}

#[test]
fn an_alive_message_keeps_within_its_limits() {
    let good = alive_of(&[b'n'; 255], LOCAL, 65_535, &[0; 512], VERSIONS);
    assert!(Message::decode(&good).is_ok());
    let name = alive_of(&[b'n'; 256], LOCAL, 1, &[], VERSIONS);
    refused(&name, "node name is longer than 255 octets");
    refused(
        &alive_of(b"", LOCAL, 1, &[], VERSIONS),
        "node name is empty",
    );
    refused(
        &alive_of(b"\xff", LOCAL, 1, &[], VERSIONS),
        "text is not UTF-8",
    );
    let meta = alive_of(b"n", LOCAL, 1, &[0; 513], VERSIONS);
    refused(&meta, "meta is longer than 512 octets");
    refused(
        &alive_of(b"n", LOCAL, 65_536, &[], VERSIONS),
        "number out of range",
    );
    for address in [&[][..], &[127, 0, 1], &[0; 5], &[0; 17]] {
        let octets = alive_of(b"n", address, 1, &[], VERSIONS);
        refused(&octets, "address must have 4 or 16 octets");
    }
}

#[test]
fn an_address_of_16_octets_that_is_an_ipv4_one_is_read_as_such() {
    let mapped = [&[0; 10][..], &[0xff, 0xff], LOCAL].concat();
    let octets = alive_of(b"n", &mapped, 8301, &[], VERSIONS);
    let Ok(Message::Alive(alive)) = Message::decode(&octets) else {
        panic!("no alive message");
    };
    assert_eq!(alive.address, "127.0.0.9:8301".parse().unwrap());
}

#[test]
fn versions_are_six_octets_or_an_array_of_six() {
    let read = |versions: &[u8]| match Message::decode(&alive_of(b"n", LOCAL, 1, &[], versions)) {
        Ok(Message::Alive(alive)) => Ok(alive.versions),
        Ok(_) => panic!("no alive message"),
        Err(Malformed(reason)) => Err(reason),
    };
    let array = b"\x96\x01\x05\xd3\x00\x00\x00\x00\x00\x00\x00\x02\x02\x05\x04";
    assert_eq!(read(VERSIONS), Ok(Versions::OWN));
    assert_eq!(read(b"\xc4\x06\x01\x05\x02\x02\x05\x04"), Ok(Versions::OWN));
    assert_eq!(read(array), Ok(Versions::OWN));
    for none in [&b"\xa0"[..], b"\xc0", b"\x90"] {
        assert_eq!(read(none), Err("alive message without versions"));
    }
    for short in [
        &b"\xa1\x01"[..],
        b"\xa7\x01\x05\x02\x02\x05\x04\x00",
        b"\x91\x01",
    ] {
        assert_eq!(read(short), Err("versions must have 6 octets"));
    }
    for nonsense in [[0, 5, 2], [1, 0, 2], [3, 2, 2]] {
        let versions = [&[0xa6][..], &nonsense, &[2, 5, 4]].concat();
        assert_eq!(read(&versions), Err("bad protocol versions"));
    }
    let large = b"\x96\xcd\x01\x01\x05\x02\x02\x05\x04";
    assert_eq!(read(large), Err("number out of range"));
}

#[test]
fn only_a_ping_may_be_for_nobody() {
    let nobody = |kind| message(kind, 0, |_| {});
    let ping = Ping {
        sequence: 0,
        node: "",
        source: None,
    };
    assert_eq!(Message::decode(&nobody(0)), Ok(Message::Ping(ping)));
    refused(&nobody(1), "address must have 4 or 16 octets");
    refused(&nobody(3), "node name is empty");
    refused(&nobody(5), "node name is empty");
    let from_nobody = message(3, 1, |writer| {
        writer.text("Node");
        writer.text("s1");
    });
    refused(&from_nobody, "node name is empty");
}

#[test]
fn answers_go_to_a_source_with_address_and_port() {
    let source = |address: &[u8], port: u16| {
        let octets = message(0, 3, |writer| {
            writer.text("SourceAddr");
            writer.octets(address);
            writer.text("SourceNode");
            writer.text("s1");
            writer.text("SourcePort");
            writer.unsigned(port);
        });
        match Message::decode(&octets) {
            Ok(Message::Ping(ping)) => Ok(ping.source.map(|source| source.address.to_string())),
            Ok(_) => panic!("no ping"),
            Err(Malformed(reason)) => Err(reason),
        }
    };
    assert_eq!(source(LOCAL, 8301), Ok(Some("127.0.0.9:8301".into())));
    assert_eq!(source(LOCAL, 0), Ok(None));
    assert_eq!(source(&[], 8301), Ok(None));
    assert_eq!(source(&[1], 8301), Err("address must have 4 or 16 octets"));
}

#[test]
fn fields_are_read_in_any_order_and_unknown_ones_are_skipped() {
    let octets = message(5, 5, |writer| {
        writer.text("Node");
        writer.text("s1");
        writer.text("Later");
        writer.raw(b"\x82\x01\x93\xc0\xc2\xcb\0\0\0\0\0\0\0\0\xa1a\xd4\0\0");
        writer.text("From");
        writer.text("s2");
        writer.text("node"); // names are exact
        writer.text("s3");
        writer.text("Incarnation");
        writer.raw(b"\xd1\x01\x00");
    });
    let accusation = Accusation {
        incarnation: 256,
        node: "s1",
        from: "s2",
    };
    assert_eq!(Message::decode(&octets), Ok(Message::Dead(accusation)));
    let longer = [octets.as_slice(), b"rest"].concat();
    assert_eq!(Message::decode(&longer), Ok(Message::Dead(accusation)));
    for cut in 0..octets.len() {
        assert!(Message::decode(&octets[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn a_negative_number_is_refused() {
    let octets = message(11, 1, |writer| {
        writer.text("SeqNo");
        writer.signed(-1);
    });
    refused(&octets, "number out of range");
}

#[test]
fn types_that_are_no_messages_of_packets_are_refused() {
    refused(&[], "message without a type");
    refused(&[8], "user message is empty");
    for kind in [6, 7, 9, 10, 12, 13, 14, 200, 244] {
        refused(&[kind, 0x80], "message type is not supported on packets");
    }
}

/// Nodes that a push/pull has, each written by one of `nodes`.
fn push_pull(nodes: &[&dyn Fn(&mut Writer<'_>)]) -> Vec<u8> {
    let mut octets = message(6, 2, |writer| {
        writer.text("Nodes");
        writer.unsigned(u32::try_from(nodes.len()).unwrap());
        writer.text("UserStateLen");
        writer.unsigned(3_u32);
    });
    for node in nodes {
        node(&mut Writer::old(&mut octets));
    }
    octets.extend_from_slice(&[2, 0x80, 0xc0]);
    octets
}

#[test]
fn a_node_beyond_a_limit_is_left_out_of_a_push_pull() {
    let node = |name: &'static str, address: &'static [u8], state: u8| {
        move |writer: &mut Writer<'_>| {
            writer.map(4);
            writer.text("Name");
            writer.text(name);
            writer.text("Addr");
            writer.octets(address);
            writer.text("State");
            writer.unsigned(state);
            writer.text("Later");
            writer.array(0);
        }
    };
    let octets = push_pull(&[
        &node("s1", LOCAL, 0),
        &node("", LOCAL, 0),
        &node("s3", &[127, 0, 1], 0),
        &node("s4", LOCAL, 4),
        &|writer| writer.nil(),
        &node("s6", LOCAL, 3),
    ]);
    let Ok(StreamMessage::PushPull(state)) = StreamMessage::decode(&octets) else {
        panic!("no push/pull");
    };
    let names: Vec<_> = state.nodes.iter().map(|node| node.name).collect();
    assert_eq!(names, ["s1", "s6"]);
    assert_eq!(state.nodes[0].versions, Versions([0; 6]));
    assert_eq!(
        (state.join, state.user_state),
        (false, &[2, 0x80, 0xc0][..])
    );
    for cut in 0..octets.len() {
        assert!(StreamMessage::decode(&octets[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn a_push_pull_keeps_within_its_limits() {
    let head = |field: &str, number: i64| {
        message(6, 1, |writer| {
            writer.text(field);
            writer.signed(number);
        })
    };
    let refused = |octets: &[u8]| StreamMessage::decode(octets).unwrap_err().0;
    let nodes = "number of nodes exceeds the limit";
    assert_eq!(refused(&head("Nodes", (1 << 20) + 1)), nodes);
    assert_eq!(refused(&head("Nodes", i64::MAX)), nodes);
    assert_eq!(refused(&head("Nodes", -1)), "number out of range");
    assert_eq!(
        refused(&head("Nodes", 1 << 20)),
        "message ends inside a value"
    );
    let user = "length of the user state exceeds the limit";
    assert_eq!(refused(&head("UserStateLen", (20 << 20) + 1)), user);
    assert_eq!(
        refused(&head("UserStateLen", 1)),
        "message ends inside a value"
    );
    let message = "length of the user message exceeds the limit";
    assert_eq!(
        refused(b"\x08\x81\xaaUserMsgLen\xce\x01\x40\x00\x01"),
        message
    );
    assert_eq!(
        refused(&[99, 0x80]),
        "message type is not supported on streams"
    );
    assert_eq!(refused(&[]), "message without a type");
}

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9.é-]{1,60}"
}

fn source() -> impl Strategy<Value = Option<(SocketAddr, String)>> {
    prop::option::of((
        any::<std::net::IpAddr>(),
        1..=u16::MAX,
        prop_oneof![Just(String::new()), name()],
    ))
    .prop_map(|source| {
        source.map(|(ip, port, node)| (SocketAddr::new(ip.to_canonical(), port), node))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_message_is_read_back_as_it_was_written(
        kind in 0..8, number: u32, node in name(), from in name(), source in source(),
        ip: std::net::IpAddr, port: u16, nack: bool,
        octets in prop::collection::vec(any::<u8>(), 1..=512),
    ) {
        let source = source.as_ref().map(|(address, node)| Source { address: *address, node });
        let address = SocketAddr::new(ip.to_canonical(), port);
        let accusation = Accusation { incarnation: number, node: &node, from: &from };
        let message = match kind {
            0 => Message::Ping(Ping { sequence: number, node: &node, source }),
            1 => Message::IndirectPing(IndirectPing {
                sequence: number, target: address, node: &node, nack, source,
            }),
            2 => Message::Ack(Ack { sequence: number, payload: &octets }),
            3 => Message::Suspect(accusation),
            4 => Message::Alive(Alive {
                incarnation: number, node: &node, address, meta: &octets, versions: Versions::OWN,
            }),
            5 => Message::Dead(accusation),
            6 => Message::Nack { sequence: number },
            _ => Message::User(&octets),
        };
        let written = encode(&message);
        prop_assert_eq!(Message::decode(&written), Ok(message));
    }
}
