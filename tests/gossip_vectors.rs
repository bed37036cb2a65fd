//! Packets and streams that real agents wrote, and hostile ones, against the codec of gossip.

mod tree;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use data_encoding::HEXLOWER;
use herald::gossip::keyring::{Key, Keyring};
use herald::gossip::wire::{
    Assembler, Codec, Dropped, Message, Settings, StreamMessage, append_compound, seal_stream,
};
use proptest::prelude::*;
use serde_json::Value;

const FILES: [&str; 7] = [
    "constructed",
    "hostile",
    "packets_encrypted",
    "packets_plain",
    "streams_encrypted",
    "streams_plain",
    "wan",
];

/// Refused by the layers above, which know what a user message means.
const REFUSED_ABOVE: [&str; 1] = [
    "hostile/h-query-empty-filter", // the filters of a query are serf's
];

/// Has no effect although its tree can be drawn: a checksum is understood around a packet only.
const WITHOUT_EFFECT: [&str; 1] = ["constructed/crc-inside-compound"];

struct Vector {
    id: String,
    octets: Vec<u8>,
    is_stream: bool,
    keyring: Option<Arc<Keyring>>,
    label: Arc<[u8]>,
    accepted: bool,
    decoded: Value,
}

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

impl Vector {
    fn new(vector: &Value) -> Self {
        let key = vector["key"].as_str();
        let key = key.map(|key| Key::new(&hex(key)).unwrap());
        Self {
            id: vector["id"].as_str().unwrap().into(),
            octets: hex(vector["hex"].as_str().unwrap()),
            is_stream: vector["transport"] == "tcp",
            keyring: key.map(|key| Arc::new(Keyring::new(key))),
            label: vector["label"].as_str().unwrap_or("").as_bytes().into(),
            accepted: vector["expect"]["decode"] == "ok",
            decoded: vector["decoded"].clone(),
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            label: self.label.clone(),
            compress: false,
            verify_incoming: true,
            verify_outgoing: true,
        }
    }

    fn codec(&self) -> Codec {
        let keyring = Arc::new(ArcSwapOption::new(self.keyring.clone()));
        Codec::new(self.settings(), keyring)
    }

    fn assembler(&self) -> Assembler {
        Assembler::new(self.settings(), self.keyring.as_ref())
    }

    /// The messages of the packet as trees, and each as it is written again.
    fn open(&self, octets: &[u8]) -> (Result<(), Dropped>, Vec<Value>, Vec<Vec<u8>>) {
        let (mut trees, mut written) = (Vec::new(), Vec::new());
        let outcome = self.codec().open(octets, &mut |message: Message<'_>| {
            trees.push(tree::message(&message));
            let mut out = Vec::new();
            message.encode(&mut out);
            written.push(out);
        });
        (outcome, trees, written)
    }

    /// The plain content of the stream, which arrives in pieces of `piece` octets.
    fn assemble(&self, octets: &[u8], piece: usize) -> Result<Vec<u8>, Dropped> {
        let mut assembler = self.assembler();
        for piece in octets.chunks(piece) {
            if let Some(plain) = assembler.push(piece)? {
                return Ok(plain.to_vec());
            }
        }
        Err(Assembler::cut())
    }
}

fn vectors() -> Vec<Vector> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/gossip");
    let mut vectors = Vec::new();
    for file in FILES {
        let text = std::fs::read_to_string(directory.join(file).with_extension("json")).unwrap();
        let list: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert!(!list.is_empty(), "{file}");
        vectors.extend(list.iter().map(Vector::new));
    }
    vectors
}

fn accepted(is_stream: bool) -> impl Iterator<Item = Vector> {
    let matches = move |vector: &Vector| vector.accepted && vector.is_stream == is_stream;
    vectors().into_iter().filter(matches)
}

/// The messages of a tree without the layers around them; what the codec skips is left out.
fn flatten(tree: &Value) -> Vec<Value> {
    if let Some(parts) = tree["parts"].as_array() {
        return parts.iter().flat_map(flatten).collect();
    }
    if !tree["inner"].is_null() {
        return flatten(&tree["inner"]);
    }
    vec![normalise(tree)]
}

fn normalise(tree: &Value) -> Value {
    let mut tree = tree.clone();
    let object = tree.as_object_mut().unwrap();
    object.remove("field_order");
    let is_ack = object["name"] == "ackResp";
    if let Some(body) = object.get_mut("body") {
        let body = body.as_object_mut().unwrap();
        body.remove("Extra"); // a field that nobody knows
        if !body.contains_key("SourcePort") {
            body.remove("SourceAddr"); // nothing can be sent to an address without a port
        }
        if is_ack && body["Payload"] == "" {
            body["Payload"] = Value::Null;
        }
        if let Some(meta) = body.get_mut("Meta") {
            meta.as_object_mut().unwrap().remove("bad"); // the reason of another decoder
        }
    }
    tree
}

fn holds(tree: &Value, name: &str) -> bool {
    let parts = tree["parts"].as_array().into_iter().flatten();
    tree["name"] == name
        || holds_in(tree.get("inner"), name)
        || parts.into_iter().any(|part| holds(part, name))
}

fn holds_in(tree: Option<&Value>, name: &str) -> bool {
    tree.is_some_and(|tree| holds(tree, name))
}

/// Whether each map of the memberlist messages was written with its keys in order.
fn is_sorted(tree: &Value) -> bool {
    match tree {
        Value::Object(fields) => fields.iter().all(|(name, value)| match name.as_str() {
            "field_order" => {
                let names: Vec<_> = value.as_array().unwrap().iter().collect();
                names.is_sorted_by_key(|name| name.as_str().unwrap())
            }
            _ => is_sorted(value),
        }),
        Value::Array(values) => values.iter().all(is_sorted),
        _ => true,
    }
}

#[test]
fn every_packet_decodes_to_its_tree() {
    let mut count = 0;
    for vector in accepted(false) {
        let (outcome, trees, _) = vector.open(&vector.octets);
        let message = &vector.decoded["message"];
        if WITHOUT_EFFECT.contains(&vector.id.as_str()) {
            assert!(outcome.is_err() && trees.is_empty(), "{}", vector.id);
            continue;
        }
        assert_eq!(
            outcome.is_err(),
            !message["truncated"].is_null(),
            "{}",
            vector.id
        );
        assert_eq!(trees, flatten(message), "{}", vector.id);
        count += 1;
    }
    assert!(count > 180, "{count}");
}

#[test]
fn every_stream_decodes_to_its_tree_however_it_arrives() {
    let mut count = 0;
    for vector in accepted(true) {
        let plain = vector.assemble(&vector.octets, usize::MAX).unwrap();
        for piece in [1, 7, 1_000] {
            let pieced = vector.assemble(&vector.octets, piece);
            assert_eq!(pieced.as_ref(), Ok(&plain), "{} {piece}", vector.id);
        }
        let message = StreamMessage::decode(&plain).unwrap();
        let mut expected = vector.decoded.clone();
        let object = expected.as_object_mut().unwrap();
        for layer in [
            "label",
            "encrypted_len",
            "encryption_version",
            "compressed_len",
        ] {
            object.remove(layer);
        }
        object.remove("plain_sha256");
        if let Some(octets) = object.remove("plain_len") {
            assert_eq!(octets, plain.len(), "{}", vector.id);
            object.remove("plain_hex");
        }
        if let Some(octets) = object.remove("plain_hex") {
            assert_eq!(octets, HEXLOWER.encode(&plain), "{}", vector.id);
        }
        assert_eq!(
            tree::stream(&message),
            normalise(&expected),
            "{}",
            vector.id
        );
        count += 1;
    }
    assert!(count > 30, "{count}");
}

#[test]
fn packets_with_their_keys_in_order_are_written_as_they_were() {
    let mut count = 0;
    for vector in accepted(false) {
        let message = &vector.decoded["message"];
        let compressed = holds(message, "compress");
        let skip = compressed || !is_sorted(message) || !message["truncated"].is_null();
        if skip || WITHOUT_EFFECT.contains(&vector.id.as_str()) {
            continue;
        }
        let (_, _, written) = vector.open(&vector.octets);
        let mut payload = Vec::new();
        if holds(message, "compound") {
            append_compound(written.iter().map(Vec::as_slice), &mut payload);
        } else {
            payload.clone_from(&written[0]);
        }
        // As it was before it was encrypted, which has a random part.
        let settings = vector.settings();
        let mut plain = Vec::new();
        Codec::new(settings, Arc::default()).seal(&payload, holds(message, "hasCrc"), &mut plain);
        let expected = vector.decoded["plain_hex"]
            .as_str()
            .map_or_else(|| vector.octets.clone(), hex);
        assert_eq!(plain, expected, "{}", vector.id);
        // And encrypted it is read back as the same.
        let mut sealed = Vec::new();
        vector.codec().seal(&payload, true, &mut sealed);
        assert_eq!(
            vector.open(&sealed),
            (Ok(()), flatten(message), written),
            "{}",
            vector.id
        );
        count += 1;
    }
    assert!(count > 80, "{count}");
}

#[test]
fn captured_streams_are_written_as_they_were() {
    let mut count = 0;
    for vector in accepted(true) {
        let plain = vector.assemble(&vector.octets, usize::MAX).unwrap();
        let mut written = Vec::new();
        StreamMessage::decode(&plain).unwrap().encode(&mut written);
        if !vector.id.starts_with("constructed/") && !vector.id.starts_with("hostile/") {
            assert_eq!(written, plain, "{}", vector.id);
            count += 1;
        }
        // Wrapped in any way it is the same stream.
        for compress in [false, true] {
            let settings = Settings {
                compress,
                ..vector.settings()
            };
            let sealed = seal_stream(&written, &settings, vector.keyring.as_ref());
            assert_eq!(
                vector.assemble(&sealed, 1_000).as_ref(),
                Ok(&written),
                "{}",
                vector.id
            );
        }
    }
    assert!(count > 20, "{count}");
}

#[test]
fn what_is_to_be_rejected_has_no_effect() {
    let mut count = 0;
    for vector in vectors() {
        if vector.accepted || REFUSED_ABOVE.contains(&vector.id.as_str()) {
            continue;
        }
        count += 1;
        if vector.is_stream {
            for piece in [1, 1_000, usize::MAX] {
                let plain = vector.assemble(&vector.octets, piece);
                let decoded = plain.as_ref().map(|plain| StreamMessage::decode(plain));
                assert!(!matches!(decoded, Ok(Ok(_))), "{}", vector.id);
            }
        } else {
            let (outcome, trees, _) = vector.open(&vector.octets);
            assert!(outcome.is_err() && trees.is_empty(), "{}", vector.id);
        }
    }
    assert!(count > 40, "{count}");
}

/// Opens octets as whatever they may be; there is nothing to see but that it ends well.
fn open_anyhow(vector: &Vector, octets: &[u8]) {
    let _ = vector.codec().open(octets, &mut |_| {});
    for piece in [97, usize::MAX] {
        if let Ok(plain) = vector.assemble(octets, piece) {
            let _ = StreamMessage::decode(&plain);
        }
    }
    let _ = Message::decode(octets);
    let _ = StreamMessage::decode(octets);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..300), kind in 0..16u8) {
        let vector = Vector::new(&serde_json::json!({ "id": "", "hex": "" }));
        open_anyhow(&vector, &octets);
        let typed: Vec<_> = [kind].into_iter().chain(octets).collect();
        open_anyhow(&vector, &typed);
    }

    #[test]
    fn mutated_vectors_never_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        // The long ones are left out, so that each case is quick.
        let vectors: Vec<_> = SHORT.with(Clone::clone);
        let (vector, plain) = which.get(&vectors);
        let mut octets = plain.clone();
        for (place, octet) in changes {
            let place = place.index(octets.len());
            octets[place] = octet;
        }
        open_anyhow(vector, &octets);
        octets.truncate(cut.index(octets.len()));
        open_anyhow(vector, &octets);
    }
}

thread_local! {
    /// Vectors with a plain content to change: encrypted ones would only fail to decrypt.
    static SHORT: Vec<(Arc<Vector>, Vec<u8>)> = vectors()
        .into_iter()
        .filter(|vector| (1..3_000).contains(&vector.octets.len()))
        .map(|mut vector| {
            let plain = vector.decoded["plain_hex"].as_str();
            let plain = plain.map_or_else(|| vector.octets.clone(), hex);
            vector.keyring = None;
            (Arc::new(vector), plain)
        })
        .collect();
}
