//! Packets that are no good queries.

use super::world::{World, ask, wire};
use crate::dns::{Reply, Transport};

fn world() -> World {
    let mut world = World::new();
    world.node("n1", "10.0.0.1");
    world
}

fn query() -> Vec<u8> {
    ask("n1.node.consul", "A").plain().octets()
}

/// RCODE and length of the reply.
fn outcome(world: &mut World, octets: &[u8]) -> (u8, usize) {
    let reply = world.raw(octets, Transport::Udp).unwrap();
    assert!(reply[2] & 0x80 != 0);
    (reply[3] & 0x0f, reply.len())
}

const FORMERR: (u8, usize) = (1, 12);

#[test]
fn responses_and_runts_get_silence() {
    let mut world = world();
    let mut response = query();
    response[2] |= 0x80;
    assert_eq!(world.raw(&response, Transport::Udp), Err(Reply::Drop));
    for length in 0..12 {
        assert_eq!(
            world.raw(&query()[..length], Transport::Udp),
            Err(Reply::Drop)
        );
    }
    assert_eq!(outcome(&mut world, &query()).0, 0);
}

#[test]
fn any_number_of_questions_but_one_is_malformed() {
    let mut world = world();
    let mut none = query();
    none[5] = 0;
    assert_eq!(outcome(&mut world, &none), FORMERR);
    for edns in [None, Some(1232)] {
        for count in [0, 2] {
            let mut packet = b"\x12\x34\0\0\0\0\0\0\0\0\0\0".to_vec();
            packet[5] = count;
            for _ in 0..count {
                packet.extend(wire("n1.node.consul"));
                packet.extend(b"\0\x01\0\x01");
            }
            if edns.is_some() {
                packet[11] = 1;
                packet.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
            }
            let length = if edns.is_some() { 23 } else { 12 };
            assert_eq!(outcome(&mut world, &packet), (1, length), "{count}");
        }
    }
}

#[test]
fn too_many_records_are_malformed() {
    let mut world = world();
    for (count, most) in [(7, 1), (9, 1), (11, 2)] {
        let mut packet = query();
        packet[count] = most + 1;
        for _ in 0..=most {
            packet.extend(b"\0\0\x01\0\x01\0\0\0\0\0\x04\x01\x02\x03\x04");
        }
        assert_eq!(outcome(&mut world, &packet), FORMERR);
        packet[count] = most;
        assert_eq!(outcome(&mut world, &packet).0, 0);
    }
}

#[test]
fn records_of_a_query_are_ignored_but_must_be_whole() {
    let mut world = world();
    for count in [7, 9, 11] {
        let mut packet = query();
        packet[count] = 1;
        packet.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x01\x02\x03\x04");
        assert_eq!(outcome(&mut world, &packet).0, 0);
        packet.pop();
        assert_eq!(outcome(&mut world, &packet), FORMERR);
    }
}

#[test]
fn octets_after_the_message_are_ignored() {
    let mut world = world();
    let mut packet = query();
    let whole = outcome(&mut world, &packet);
    packet.extend([0xff; 40]);
    assert_eq!(outcome(&mut world, &packet), whole);
}

#[test]
fn a_question_that_is_cut_off_is_read_as_far_as_it_goes() {
    let mut world = world();
    let packet = query();
    let end = packet.len();
    assert_eq!(outcome(&mut world, &packet[..12]), (5, 12));
    for length in 13..end - 4 {
        assert_eq!(outcome(&mut world, &packet[..length]), FORMERR, "{length}");
    }
    // Without type and class: a question for type 0.
    let answer = world
        .ask_octets(&packet[..end - 4], Transport::Udp)
        .unwrap();
    assert!(answer.is_nodata());
    assert_eq!(outcome(&mut world, &packet[..end - 3]), FORMERR);
    let answer = world
        .ask_octets(&packet[..end - 2], Transport::Udp)
        .unwrap();
    assert_eq!(answer.answers().len(), 1);
    assert_eq!(outcome(&mut world, &packet[..end - 1]), FORMERR);
    let mut lying = packet[..end - 4].to_vec();
    lying[11] = 1;
    assert_eq!(outcome(&mut world, &lying), FORMERR);
}

#[test]
fn names_against_the_format_are_malformed() {
    let mut world = world();
    let header = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0";
    let long_label = [&[64][..], &[b'a'; 64], &[0]].concat();
    let long_name = [&[63][..], &[b'a'; 63]].concat().repeat(4);
    for name in [
        b"\xc0\x0c".as_slice(), // to itself
        b"\xc0\x40",            // forward
        b"\xc0\x00",            // into the header
        b"\x01a\xc0\x0c",       // to its own start
        b"\x40a\0",
        b"\x80a\0",
        b"\x3fab",
        &long_label,
        &[&long_name[..], &[0]].concat(),
    ] {
        let packet = [header, name, b"\0\x01\0\x01"].concat();
        assert_eq!(outcome(&mut world, &packet), FORMERR, "{name:02x?}");
    }
}

#[test]
fn pointers_of_records_lead_backwards() {
    let mut world = world();
    let with = |owner: &[u8]| {
        let mut packet = query();
        packet[11] = 1;
        packet.extend(owner);
        packet.extend(b"\0\x01\0\x01\0\0\0\0\0\x04\x01\x02\x03\x04");
        packet
    };
    let at = query().len();
    let itself = [0xc0, u8::try_from(at).unwrap()];
    let forward = [0xc0, u8::try_from(at + 4).unwrap()];
    let loops = [1, b'a', 0xc0, u8::try_from(at).unwrap()];
    for owner in [&itself[..], &forward, &loops, b"\xc0\x02", b"\xff\xff"] {
        assert_eq!(outcome(&mut world, &with(owner)), FORMERR, "{owner:02x?}");
    }
    for owner in [&b"\xc0\x0c"[..], b"\x01a\xc0\x0f", b"\0"] {
        assert_eq!(outcome(&mut world, &with(owner)).0, 0, "{owner:02x?}");
    }
}

#[test]
fn an_opt_record_against_the_format_is_malformed() {
    let mut world = world();
    for record in [
        b"\x01a\0\0\x29\x04\xd0\0\0\0\0\0\0".as_slice(), // owner
        b"\0\0\x29\x04\xd0\0\0\0\0\0\x04\0\x0a\0\x05",   // option longer than the record
        b"\0\0\x29\x04\xd0\0\0\0\0\0\x02\0\x0a",         // half an option
        b"\0\0\x29\x04\xd0\0\0\0\0\0\x09",               // record longer than the packet
        b"\0\0\x29\x04\xd0\0\0\0\0\0\x08\0\x08\0\x04\0\x01\x21\0", // subnet
    ] {
        let mut packet = query();
        packet[11] = 1;
        packet.extend(record);
        assert_eq!(outcome(&mut world, &packet), FORMERR, "{record:02x?}");
    }
}

#[test]
fn rd_and_cd_come_back_and_ad_and_z_do_not() {
    let mut world = world();
    let mut packet = query();
    packet[2] = 0x01;
    packet[3] = 0x7f;
    let reply = world.raw(&packet, Transport::Udp).unwrap();
    assert_eq!((reply[2], reply[3]), (0x85, 0x10));
    packet[2] = 0;
    packet[3] = 0;
    let reply = world.raw(&packet, Transport::Udp).unwrap();
    assert_eq!((reply[2], reply[3]), (0x84, 0x00));
}
