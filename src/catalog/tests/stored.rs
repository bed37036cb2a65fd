//! Stored forms: what goes in comes out, and nothing else is taken for it.

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::catalog::Refusal;
use crate::catalog::stored::{StoredError, decode, decode_outcome, encode, encode_outcome};
use crate::types::{CheckDefinition, CheckId, ServiceId};

/// Text as users write it, in many lengths.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just(String::new()),
        5 => "[ -~]{1,20}",
        2 => "\\PC{1,8}",
        1 => "[a-z]{100,300}",
    ]
}

fn any_boxed() -> impl Strategy<Value = Box<str>> {
    any_text().prop_map(Into::into)
}

fn any_name<N: FromStr<Err: std::fmt::Debug> + std::fmt::Debug>() -> impl Strategy<Value = N> {
    "[A-Za-z0-9_ é-]{1,20}(\\.[a-z]{1,30}){0,2}".prop_map(|text| text.parse().unwrap())
}

fn any_address() -> impl Strategy<Value = Address> {
    prop_oneof![
        Just(Address::None),
        any::<u32>().prop_map(|bits| Address::V4(bits.into())),
        any::<u128>().prop_map(|bits| Address::V6(bits.into())),
        any_boxed().prop_map(Address::Text),
    ]
}

fn any_meta() -> impl Strategy<Value = Meta> {
    vec((any_text(), any_text()), 0..4).prop_map(Meta::from_pairs)
}

fn any_node() -> impl Strategy<Value = Node> {
    let id = option::of(any::<u128>().prop_map(NodeId::from_u128));
    let tagged = btree_map(any_boxed(), any_address(), 0..3);
    let parts = (id, any_name(), any_address(), tagged, any_meta());
    parts.prop_map(|(id, name, address, tagged_addresses, meta)| Node {
        id,
        name,
        address,
        tagged_addresses,
        meta,
    })
}

fn any_service() -> impl Strategy<Value = Service> {
    let tagged = (any_address(), any::<u16>());
    let tagged = tagged.prop_map(|(address, port)| TaggedAddress { address, port });
    let tagged = btree_map(any_boxed(), tagged, 0..3);
    let names = (any_name(), any_name(), vec(any_text(), 0..4));
    let weights = prop_oneof![Just((1, 1)), any::<(u16, u16)>()];
    let rest = (weights, any::<bool>(), option::of(tagged));
    (names, any_address(), any::<u16>(), any_meta(), rest).prop_map(
        |((id, name, tags), address, port, meta, (weights, enable_tag_override, tagged))| Service {
            id,
            name,
            tags: tags.into_iter().map(Arc::from).collect(),
            address,
            port,
            meta,
            weights: Weights {
                passing: weights.0,
                warning: weights.1,
            },
            enable_tag_override,
            tagged_addresses: tagged.map(Box::new),
        },
    )
}

fn any_definition() -> impl Strategy<Value = CheckDefinition> {
    let time = || option::of(any::<Duration>());
    let header = vec((any_boxed(), vec(any_boxed(), 0..3)), 0..3);
    let texts = (any_boxed(), any_boxed(), any_boxed());
    let parts = (time(), time(), time(), texts, header, any::<bool>());
    parts.prop_map(
        |(interval, timeout, after, texts, header, tls_skip_verify)| CheckDefinition {
            interval,
            timeout,
            deregister_critical_service_after: after,
            http: texts.0,
            header,
            method: texts.1,
            tls_skip_verify,
            tcp: texts.2,
        },
    )
}

fn any_check() -> impl Strategy<Value = Check> {
    let types = [
        "",
        "ttl",
        "http",
        "tcp",
        "udp",
        "script",
        "grpc",
        "h2ping",
        "docker",
        "os_service",
        "alias",
        "maintenance",
    ];
    let check_type = select(types.to_vec());
    let check_type = check_type.prop_map(|name| CheckType::named(name).unwrap_or_default());
    let status = select(vec![Status::Passing, Status::Warning, Status::Critical]);
    let texts = (any_boxed(), any_boxed(), any_boxed());
    let definition = option::of(any_definition().prop_map(Box::new));
    let names = (any_name(), option::of(any_name()));
    (names, texts, status, check_type, definition).prop_map(
        |((id, service_id), (name, notes, output), status, check_type, definition)| Check {
            id,
            name,
            status,
            notes,
            output,
            service_id,
            check_type,
            definition,
        },
    )
}

fn any_location() -> impl Strategy<Value = Location> {
    (any_name(), any::<[f64; 8]>(), any::<[f64; 3]>()).prop_map(
        |(node, vector, [error, adjustment, height])| Location {
            node,
            coordinate: Coordinate {
                vector,
                error,
                adjustment,
                height,
            },
        },
    )
}

fn any_deregistration() -> impl Strategy<Value = Deregistration> {
    prop_oneof![
        any_name().prop_map(Deregistration::Node),
        (any_name(), any_name::<ServiceId>())
            .prop_map(|(node, id)| Deregistration::Service(node, id)),
        (any_name(), any_name::<CheckId>()).prop_map(|(node, id)| Deregistration::Check(node, id)),
    ]
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let parts = (
        any_node(),
        any::<bool>(),
        option::of(any_service()),
        vec(any_check(), 0..3),
    );
    let register = parts.prop_map(|(node, skip_node_update, service, checks)| {
        Operation::Register(Box::new(Registration {
            node,
            skip_node_update,
            service,
            checks,
        }))
    });
    prop_oneof![
        3 => register,
        1 => any_deregistration().prop_map(Operation::Deregister),
        1 => vec(any_location(), 0..3).prop_map(Operation::Locate),
    ]
}

fn any_command() -> impl Strategy<Value = Command> {
    (any::<u128>(), vec(any_operation(), 0..4)).prop_map(|(request, operations)| Command {
        request,
        operations,
    })
}

/// Names compare without case, their spelling shows in the text only.
fn text(value: &dyn std::fmt::Debug) -> String {
    format!("{value:?}")
}

/// `octets` as a command's body and all around it as it should be.
fn framed(format: u16, kind: u16, body: &[u8]) -> Vec<u8> {
    let mut octets = format.to_le_bytes().to_vec();
    octets.extend(kind.to_le_bytes());
    octets.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    octets.extend(body);
    let checksum = crc32c::crc32c(&octets);
    octets.extend(checksum.to_le_bytes());
    octets
}

/// A body with one operation.
fn body(kind: u8, record: &[u8]) -> Vec<u8> {
    let mut octets = vec![0; 16];
    octets.push(kind);
    octets.push(u8::try_from(record.len()).unwrap());
    octets.extend(record);
    octets
}

proptest! {
    #[test]
    fn commands_come_back_to_the_letter(command in any_command()) {
        let octets = encode(&command);
        let read = decode(&octets).unwrap();
        prop_assert_eq!(&read, &command);
        prop_assert_eq!(text(&read), text(&command));
        prop_assert_eq!(encode(&read), octets);
    }

    #[test]
    fn a_cut_command_is_an_error(command in any_command(), end in any::<prop::sample::Index>()) {
        let octets = encode(&command);
        let end = end.index(octets.len());
        let cut = matches!(decode(&octets[..end]), Err(StoredError::Malformed { .. }));
        prop_assert!(cut, "{} octets", end);
    }

    #[test]
    fn a_flipped_bit_is_never_taken_for_a_later_release(
        command in any_command(),
        places in vec((any::<prop::sample::Index>(), 0..8_u8), 16),
    ) {
        let octets = encode(&command);
        for (place, bit) in places {
            prop_assert!(is_found_out(&octets, place.index(octets.len()), bit));
        }
    }

    #[test]
    fn no_octets_make_it_panic(octets in vec(any::<u8>(), 0..300)) {
        let _ = decode(&octets);
        let _ = decode_outcome(&octets);
        for kind in 1..=Operation::KIND_NEWEST {
            let _ = decode(&framed(1, kind, &octets));
        }
    }

    #[test]
    fn no_change_with_a_right_checksum_makes_it_panic(
        command in any_command(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let octets = encode(&command);
        let mut changed = octets[8..octets.len() - 4].to_vec();
        for (place, octet) in changes {
            let place = place.index(changed.len());
            changed[place] = octet;
        }
        let kind = u16::from_le_bytes([octets[2], octets[3]]);
        // What is read all the same is a command like any other.
        if let Ok(read) = decode(&framed(1, kind, &changed)) {
            prop_assert_eq!(text(&decode(&encode(&read)).unwrap()), text(&read));
        }
    }

    #[test]
    fn outcomes_come_back(index in any::<u64>(), name in any_text(), owner in any_text()) {
        let outcomes = [
            Outcome::Applied { index: Index(index) },
            Outcome::Refused(Refusal::MissingService { node: name.clone() }),
            Outcome::Refused(Refusal::NodeNameTaken { name, owner }),
        ];
        for outcome in outcomes {
            let octets = encode_outcome(&outcome);
            prop_assert_eq!(decode_outcome(&octets), Ok(outcome));
            for end in 0..octets.len() {
                prop_assert!(decode_outcome(&octets[..end]).is_err());
            }
        }
    }
}

/// Whether one flipped bit is seen to be damage.
fn is_found_out(octets: &[u8], place: usize, bit: u8) -> bool {
    let mut changed = octets.to_vec();
    changed[place] ^= 1 << bit;
    matches!(
        decode(&changed),
        Err(StoredError::Checksum { .. } | StoredError::Malformed { .. })
    )
}

#[test]
fn every_cut_and_every_flipped_bit_of_a_command_is_an_error() {
    let own = service("web-1", "web", &["t"], "10.0.0.1");
    let checks = vec![check("c", Some("web-1"), Status::Passing)];
    let octets = encode(&Command {
        request: 7,
        operations: vec![registration(node_with_id("n1", "", 1), Some(own), checks)],
    });
    for place in 0..octets.len() {
        assert!(decode(&octets[..place]).is_err(), "{place} octets");
        for bit in 0..8 {
            assert!(is_found_out(&octets, place, bit), "octet {place} bit {bit}");
        }
    }
}

#[test]
fn the_frame_is_the_documented_one() {
    let octets = encode(&Command {
        request: 0x0102,
        operations: vec![deregister_node("web")],
    });
    let body = [&[2, 1], &[0; 14][..], &[2, 5, 0, 3, b'w', b'e', b'b']].concat();
    assert_eq!(octets, framed(1, 2, &body));
    assert_eq!(octets[..8], [1, 0, 2, 0, 23, 0, 0, 0]);
}

#[test]
fn a_record_without_its_later_fields_reads_with_defaults() {
    // A registration that ends after the name of its node.
    let octets = framed(1, 1, &body(1, &[4, 3, b'd', b'b', b'1']));
    let command = decode(&octets).unwrap();
    let expected = registration(node("db1", ""), None, Vec::new());
    assert_eq!(command.operations, [expected]);
    // And this is how it is written.
    assert_eq!(encode(&command), octets);
}

#[test]
fn what_a_later_release_writes_is_refused_whole() {
    let newer = |octets: &[u8]| match decode(octets) {
        Err(StoredError::Newer { what, number }) => (what, number),
        other => panic!("{other:?}"),
    };
    let plain = body(2, &[0, 1, b'a']);
    assert!(decode(&framed(1, 2, &plain)).is_ok());
    let zero = decode(&framed(0, 2, &plain));
    assert!(matches!(zero, Err(StoredError::Malformed { at: 0, .. })));
    assert_eq!(newer(&framed(2, 2, &plain)), ("format of a command", 2));
    assert_eq!(newer(&framed(1, 4, &plain)), ("kind of a command", 4));
    let kind = body(4, &[0, 1, b'a']);
    assert_eq!(newer(&framed(1, 3, &kind)), ("kind of an operation", 4));
    let variant = body(2, &[3, 1, b'a']);
    assert_eq!(
        newer(&framed(1, 2, &variant)),
        ("kind of deregistration", 3)
    );
    let longer = body(2, &[0, 1, b'a', 7, 7]);
    let beyond = "octets after the last field of an operation";
    assert_eq!(newer(&framed(1, 2, &longer)), (beyond, 2));
    let node = body(1, &[8, 1, b'a', 0, 0, 0, 0, 9, 9]);
    let beyond = "octets after the last field of a node";
    assert_eq!(newer(&framed(1, 1, &node)), (beyond, 2));
}

#[test]
fn announced_lengths_are_not_believed() {
    let far = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    for record in [&far[..], &[0, 0xff, 0xff, 0xff, 0x7f], &[0, 2, b'a']] {
        let read = decode(&framed(1, 2, &body(2, record)));
        assert!(
            matches!(read, Err(StoredError::Malformed { .. })),
            "{read:?}"
        );
    }
    let mut list = vec![0; 16];
    list.extend([3, 10]);
    list.extend(far);
    let read = decode(&framed(1, 3, &list));
    assert!(
        matches!(read, Err(StoredError::Malformed { .. })),
        "{read:?}"
    );
}

#[test]
fn errors_say_what_and_where() {
    let read = decode(&framed(1, 2, &body(2, &[0, 2, 0xff, 0xfe])));
    let error = read.unwrap_err().to_string();
    assert_eq!(error, "malformed at octet 30: a text is not UTF-8");
    let mut octets = framed(1, 2, &body(2, &[0, 1, b'a']));
    octets[27] ^= 1;
    let error = decode(&octets).unwrap_err().to_string();
    assert!(error.ends_with("the octets are damaged"), "{error}");
}
