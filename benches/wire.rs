//! The wire of gossip: what messages, packets and streams cost to read and to write.
//!
//! `HERALD_BENCH_SMOKE=1` makes everything small and quick.

mod support;

use std::hint::black_box;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use criterion::{Criterion, Throughput};
use herald::gossip::keyring::{Key, Keyring};
use herald::gossip::wire::{
    Ack, Alive, Assembler, Codec, Message, NodeState, Ping, PushPull, Settings, Source,
    StreamMessage, Versions, append_compound, seal_stream,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Nodes of a push/pull; the ids say so.
const NODES: usize = 200;

/// Messages of a compound.
const PARTS: u32 = 6;

/// Tags as an agent has them, in the form of their layer: `ff`, then a map.
const META: &[u8] = b"\xff\x84\xa4role\xa4node\xa2dc\xa3dc1\xa2id\
    \xda\x00$11111111-2222-3333-4444-555555555555\xa5build\xa61.8.7:";

fn main() {
    let mut criterion = support::criterion();
    messages(&mut criterion);
    packets(&mut criterion);
    push_pulls(&mut criterion);
    criterion.final_summary();
}

fn encode(message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

fn ping<'a>() -> Message<'a> {
    Message::Ping(Ping {
        sequence: 70_000,
        node: "node-1",
        source: Some(Source {
            address: ([10, 0, 0, 7], 8301).into(),
            node: "node-2",
        }),
    })
}

/// With room for a coordinate of 8 dimensions.
fn ack<'a>() -> Message<'a> {
    Message::Ack(Ack {
        sequence: 70_000,
        payload: &[7; 130],
    })
}

fn alive(incarnation: u32) -> Vec<u8> {
    encode(&Message::Alive(Alive {
        incarnation,
        node: "node-1",
        address: ([10, 0, 0, 7], 8301).into(),
        meta: META,
        versions: Versions::OWN,
    }))
}

/// One ping with five alive messages.
fn compound() -> Vec<u8> {
    let mut parts = vec![encode(&ping())];
    parts.extend((1..PARTS).map(alive));
    let mut out = Vec::new();
    append_compound(parts.iter().map(Vec::as_slice), &mut out);
    out
}

/// Time for one message; throughput counts its octets.
fn messages(criterion: &mut Criterion) {
    for (name, message) in [("ping", ping()), ("ack", ack())] {
        let octets = encode(&message);
        let mut group = criterion.benchmark_group("wire/decode");
        group.throughput(Throughput::Bytes(octets.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| Message::decode(black_box(&octets)).map(black_box).is_ok());
        });
        group.finish();
        let mut group = criterion.benchmark_group("wire/encode");
        group.throughput(Throughput::Bytes(octets.len() as u64));
        let mut out = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(&message).encode(&mut out);
            });
        });
        group.finish();
    }
}

fn settings(compress: bool) -> Settings {
    Settings {
        label: [].into(),
        compress,
        verify_incoming: true,
        verify_outgoing: true,
    }
}

fn keyring() -> Arc<Keyring> {
    let key = Key::new(&[7; 32]).expect("a key has 32 octets");
    Arc::new(Keyring::new(key))
}

/// Time to wrap and unwrap one packet; throughput counts the octets of its content.
fn packets(criterion: &mut Criterion) {
    for (name, payload, compress, keyed) in [
        ("ping", encode(&ping()), true, false),
        ("ping/encrypted", encode(&ping()), true, true),
        ("compound", compound(), false, false),
        ("compound/compressed", compound(), true, false),
        ("compound/encrypted", compound(), false, true),
    ] {
        let pool = Arc::new(ArcSwapOption::new(keyed.then(keyring)));
        let mut codec = Codec::new(settings(compress), pool);
        let mut datagram = Vec::new();
        let octets = Throughput::Bytes(payload.len() as u64);
        let mut group = criterion.benchmark_group("wire/seal");
        group.throughput(octets.clone());
        group.bench_function(name, |bencher| {
            bencher.iter(|| codec.seal(black_box(&payload), true, &mut datagram));
        });
        group.finish();
        let mut group = criterion.benchmark_group("wire/open");
        group.throughput(octets);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut messages = 0;
                let opened = codec.open(black_box(&datagram), &mut |message| {
                    black_box(message);
                    messages += 1;
                });
                opened.map(|()| messages)
            });
        });
        group.finish();
    }
}

/// Time for the whole state of a pool; throughput counts nodes.
fn push_pulls(criterion: &mut Criterion) {
    let names: Vec<_> = (0..NODES).map(|number| format!("node-{number}")).collect();
    let nodes = names.iter().zip(0_u8..).map(|(name, last)| NodeState {
        name,
        address: ([10, 0, 0, last], 8301).into(),
        meta: META,
        incarnation: 1,
        state: 0,
        versions: Versions::OWN,
    });
    let message = StreamMessage::PushPull(PushPull {
        join: true,
        nodes: nodes.collect(),
        user_state: &[7; 600],
    });
    let mut plain = Vec::new();
    message.encode(&mut plain);
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Elements(NODES as u64));
    let mut out = Vec::new();
    group.bench_function("encode/push-pull/200", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(&message).encode(&mut out);
        });
    });
    group.bench_function("decode/push-pull/200", |bencher| {
        bencher.iter(|| {
            StreamMessage::decode(black_box(&plain))
                .map(black_box)
                .is_ok()
        });
    });
    let keyring = keyring();
    let settings = settings(true);
    group.bench_function("seal/push-pull/200", |bencher| {
        bencher.iter(|| seal_stream(black_box(&plain), &settings, Some(&keyring)));
    });
    let sealed = seal_stream(&plain, &settings, Some(&keyring));
    group.bench_function("open/push-pull/200", |bencher| {
        bencher.iter(|| {
            let mut assembler = Assembler::new(settings.clone(), Some(&keyring));
            assembler
                .push(black_box(&sealed))
                .map(|plain| plain.is_some())
        });
    });
    group.finish();
}
