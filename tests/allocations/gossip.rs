//! Gossip: a probe costs no allocation, and what is hostile none beyond its own length.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use data_encoding::HEXLOWER;
use herald::gossip::actions::Actions;
use herald::gossip::admission::Open;
use herald::gossip::keyring::{Key, Keyring};
use herald::gossip::serf::{self, Input, Own, Remembered, Serf, Tags};
use herald::gossip::swim;
use herald::gossip::wire::{
    Ack, Alive, Assembler, CONTENT_OCTETS_MAX, Codec, Message, Ping, Settings, Source,
    StreamMessage, Versions, append_compound,
};
use serde_json::Value;
use stats_alloc::{Region, Stats};

use super::ALLOCATOR;

/// Packets before the count starts, and while it runs.
const WARM: usize = 10;
const COUNTED: usize = 1_000;

fn settings(label: &str) -> Settings {
    Settings {
        label: label.as_bytes().into(),
        compress: true,
        verify_incoming: true,
        verify_outgoing: true,
    }
}

fn measure(run: impl FnOnce()) -> Stats {
    let region = Region::new(ALLOCATOR);
    run();
    region.change()
}

/// A node that is asked whether it lives, and says so.
pub(super) fn an_answer_to_a_ping_costs_no_allocation() {
    let address = |last| SocketAddr::from(([127, 0, 0, last], 8301));
    let own = Own {
        name: "node-1".into(),
        address: address(1),
        tags: Tags::new(),
    };
    let (serf, swim) = (serf::Config::default(), swim::Config::lan());
    let (admission, nothing) = (Arc::new(Open), Remembered::default());
    let pool = Serf::new(serf, swim, own, admission, &nothing, 1, Duration::ZERO);
    let (mut pool, mut actions) = (pool.unwrap(), Actions::new());
    let alive = Message::Alive(Alive {
        incarnation: 1,
        node: "node-2",
        address: address(2),
        meta: &[0xff, 0x80],
        versions: Versions::OWN,
    });
    let ping = Message::Ping(Ping {
        sequence: 70_000,
        node: "node-1",
        source: Some(Source {
            address: address(2),
            node: "node-2",
        }),
    });
    let from = address(2);
    let mut hear = |message, count| {
        for _ in 0..count {
            actions.clear();
            let input = Input::Packet { from, message };
            pool.handle(Duration::ZERO, input, &mut actions).unwrap();
        }
        actions.packets().count()
    };
    hear(alive, 1);
    // At first the answers also carry what there is to tell.
    assert_eq!(hear(ping, 100), 1);
    let stats = measure(|| assert_eq!(hear(ping, COUNTED), 1));
    assert_eq!(stats.allocations + stats.reallocations, 0, "{stats:?}");
}

/// Seals and opens what a probe sends, and a packet that is long enough to be compressed.
pub(super) fn a_probe_costs_no_allocation() {
    let address = "127.0.0.9:8301".parse().unwrap();
    let ping = Message::Ping(Ping {
        sequence: 70_000,
        node: "node-1",
        source: Some(Source {
            address,
            node: "node-2",
        }),
    });
    let ack = Message::Ack(Ack {
        sequence: 70_000,
        payload: &[7; 130],
    });
    let alive = Message::Alive(Alive {
        incarnation: 1,
        node: "node-1",
        address,
        meta: &[0xff; 200],
        versions: Versions::OWN,
    });
    for octets in [None, Some(16), Some(24), Some(32)] {
        let keyring = octets.map(|octets| Keyring::new(Key::new(&vec![7; octets]).unwrap()));
        let keyring = Arc::new(ArcSwapOption::from_pointee(keyring));
        for label in ["", "blue"] {
            let mut codec = Codec::new(settings(label), keyring.clone());
            let (mut payload, mut datagram) = (Vec::new(), Vec::new());
            let mut probe = |count| {
                for message in [ping, ack, alive].iter().cycle().take(3 * count) {
                    payload.clear();
                    message.encode(&mut payload);
                    codec.seal(&payload, true, &mut datagram);
                    let mut opened = 0;
                    let check = &mut |other: Message<'_>| {
                        opened += 1;
                        assert_eq!(other, *message);
                    };
                    codec.open(&datagram, check).unwrap();
                    assert_eq!(opened, 1);
                }
            };
            probe(WARM);
            let change = measure(|| probe(COUNTED));
            let allocations = change.allocations + change.reallocations;
            assert_eq!(allocations, 0, "key of {octets:?}, label {label:?}");
        }
    }
}

/// Each hostile vector that is to be rejected, after the codec of the pool has been made.
pub(super) fn hostile_input_allocates_little() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/gossip/hostile.json");
    let vectors: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut rejected = 0;
    for vector in &vectors {
        if vector["expect"]["decode"] != "reject" {
            continue;
        }
        rejected += 1;
        let id = vector["id"].as_str().unwrap();
        let octets = HEXLOWER
            .decode(vector["hex"].as_str().unwrap().as_bytes())
            .unwrap();
        let key = vector["key"].as_str();
        let key = key.map(|key| HEXLOWER.decode(key.as_bytes()).unwrap());
        let keyring = key.map(|key| Arc::new(Keyring::new(Key::new(&key).unwrap())));
        // The filters of a query are serf's to refuse.
        let above = id == "hostile/h-query-empty-filter";
        let label = vector["label"].as_str().unwrap_or("");
        let change = if vector["transport"] == "tcp" {
            measure(|| {
                let mut assembler = Assembler::new(settings(label), keyring.as_ref());
                for piece in octets.chunks(1_000) {
                    if let Ok(Some(plain)) = assembler.push(piece) {
                        assert!(StreamMessage::decode(plain).is_err(), "{id}");
                    }
                }
            })
        } else {
            let mut codec = Codec::new(settings(label), Arc::new(ArcSwapOption::new(keyring)));
            measure(|| assert!(codec.open(&octets, &mut |_| {}).is_err() || above, "{id}"))
        };
        let mut limit = 2 * octets.len() + (64 << 10);
        if id.ends_with("h-stream-lzw-bomb") {
            limit += CONTENT_OCTETS_MAX + (64 << 10); // tables for the compression
        }
        let allocated = change.bytes_allocated;
        assert!(allocated <= limit, "{id}: {allocated} of {limit} octets");
    }
    assert!(rejected > 30, "{rejected}");
}

/// A number that announces much reserves nothing: what is made grows with what is there.
pub(super) fn an_announced_push_pull_reserves_nothing() {
    let mut header = vec![6, 0x83, 0xa5];
    header.extend_from_slice(b"Nodes\xce\x00\x10\x00\x00\xacUserStateLen\xce\x01\x40\x00\x00");
    header.extend_from_slice(b"\xa4Join\xc3\x80\x80\x80");
    let change = measure(|| {
        let mut assembler = Assembler::new(settings(""), None);
        assert_eq!(assembler.push(&header), Ok(None));
        assert!(StreamMessage::decode(&header).is_err());
    });
    assert!(change.bytes_allocated < 1_000, "{}", change.bytes_allocated);
}

/// Parts of one compound, so that the buffers of layers within each other are used as well.
pub(super) fn a_compound_costs_no_allocation() {
    let mut nack = Vec::new();
    Message::Nack { sequence: 1 }.encode(&mut nack);
    let parts: Vec<&[u8]> = vec![&nack; 255];
    let mut codec = Codec::new(settings(""), Arc::default());
    let (mut payload, mut datagram) = (Vec::new(), Vec::new());
    let mut round = |count| {
        for _ in 0..count {
            payload.clear();
            append_compound(parts.iter().copied(), &mut payload);
            codec.seal(&payload, true, &mut datagram);
            let mut opened = 0;
            codec.open(&datagram, &mut |_| opened += 1).unwrap();
            assert_eq!(opened, 255);
        }
        assert!(datagram.len() < payload.len() / 2);
    };
    round(WARM);
    let change = measure(|| round(100));
    assert_eq!(change.allocations + change.reallocations, 0, "compound");
}
