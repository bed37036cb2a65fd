use arc_swap::ArcSwapOption;
use proptest::prelude::*;

use super::*;
use crate::gossip::wire::encryption::Ciphers;

fn codec(label: &str, keyring: Option<Arc<Keyring>>) -> Codec {
    Codec::new(settings(label), Arc::new(ArcSwapOption::new(keyring)))
}

/// What is opened, each message as it is written again.
fn open(codec: &mut Codec, datagram: &[u8]) -> (Result<(), Dropped>, Vec<Vec<u8>>) {
    let mut messages = Vec::new();
    let outcome = codec.open(datagram, &mut |message| messages.push(encode(&message)));
    (outcome, messages)
}

fn seal(codec: &mut Codec, payload: &[u8], checksum: bool) -> Vec<u8> {
    let mut datagram = b"something old".to_vec();
    codec.seal(payload, checksum, &mut datagram);
    datagram
}

fn ping(sequence: u32) -> Vec<u8> {
    encode(&Message::Ping(Ping {
        sequence,
        node: "s1",
        source: None,
    }))
}

fn compound(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    append_compound(parts.iter().copied(), &mut out);
    out
}

fn compressed(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    crate::gossip::wire::compression::append_stream(payload, &mut out);
    out
}

fn checked(content: &[u8]) -> Vec<u8> {
    [&[12], &crc32fast::hash(content).to_be_bytes()[..], content].concat()
}

fn malformed(reason: &'static str) -> Result<(), Dropped> {
    Err(Dropped::Malformed(reason))
}

#[test]
fn layers_are_opened_in_their_order() {
    let inner = compound(&[&ping(1), &compressed(&ping(2)), &ping(3)]);
    let mut codec = codec("", None);
    for content in [inner.clone(), checked(&inner)] {
        let opened = open(&mut codec, &content);
        assert_eq!(opened, (Ok(()), vec![ping(1), ping(2), ping(3)]));
    }
    let plain = compound(&[&ping(1), &ping(2)]);
    let opened = open(&mut codec, &checked(&compressed(&plain)));
    assert_eq!(opened, (Ok(()), vec![ping(1), ping(2)]));
}

#[test]
fn a_layer_in_the_wrong_place_is_refused() {
    let mut codec = codec("", None);
    let mut open = |content: &[u8]| open(&mut codec, content);
    let once = compressed(&ping(1));
    let nested = malformed("nested compression");
    assert_eq!(open(&compressed(&once)), (nested, vec![]));
    assert_eq!(open(&compressed(&compound(&[&once]))), (nested, vec![]));
    let twice = compound(&[&compound(&[&ping(1)])]);
    assert_eq!(open(&twice), (malformed("nested compound"), vec![]));
    let checksum = malformed("message type is not supported on packets");
    let check = checked(&ping(1));
    assert_eq!(open(&compound(&[&check])), (checksum, vec![]));
    assert_eq!(open(&compressed(&check)), (checksum, vec![]));
    assert_eq!(open(&checked(&check)), (checksum, vec![]));
}

#[test]
fn parts_beside_a_malformed_one_are_handed_over() {
    let mut codec = codec("", None);
    let whole = compound(&[&ping(1), &[], &[200], &ping(2)]);
    let expected = (malformed("message without a type"), vec![ping(1), ping(2)]);
    assert_eq!(open(&mut codec, &whole), expected);
    let body_cut = &whole[..whole.len() - 1];
    let expected = (malformed("message without a type"), vec![ping(1)]);
    assert_eq!(open(&mut codec, body_cut), expected);
}

#[test]
fn a_compound_with_cut_lengths_has_no_effect() {
    let mut codec = codec("", None);
    let whole = compound(&[&ping(1), &ping(2)]);
    let lengths = malformed("lengths of a compound are cut");
    for octets in 1..6 {
        assert_eq!(open(&mut codec, &whole[..octets]), (lengths, vec![]));
    }
    let parts = malformed("parts of a compound are cut");
    assert_eq!(open(&mut codec, &whole[..6]), (parts, vec![]));
    assert_eq!(open(&mut codec, &[7, 0]), (Ok(()), vec![]));
}

#[test]
fn a_compound_has_255_parts_at_most() {
    let mut codec = codec("", None);
    let ping = ping(1);
    let whole = compound(&vec![ping.as_slice(); PARTS_MAX]);
    let datagram = seal(&mut codec, &whole, true);
    assert_eq!(open(&mut codec, &datagram), (Ok(()), vec![ping; 255]));
}

#[test]
fn compressed_parts_inflate_to_64_kib_all_together() {
    let user = |octets: usize| [&[8][..], &vec![7; octets - 1]].concat();
    let (half, more) = (user(32 << 10), user((32 << 10) + 1));
    let mut codec = codec("", None);
    let mut open = |parts: [&[u8]; 2]| {
        let parts = parts.map(compressed);
        open(&mut codec, &compound(&[&parts[0], &parts[1]]))
    };
    assert_eq!(open([&half, &half]).0, Ok(()));
    let beyond = malformed("compressed data inflates beyond the limit");
    assert_eq!(open([&half, &more]), (beyond, vec![half.clone()]));
    // What one packet used up is there again for the next.
    assert_eq!(open([&half, &half]).1.len(), 2);
}

#[test]
fn a_wrong_checksum_drops_the_packet() {
    let mut codec = codec("", None);
    let mut datagram = seal(&mut codec, &ping(1), true);
    assert_eq!(datagram, checked(&ping(1)));
    datagram[3] ^= 1;
    assert_eq!(open(&mut codec, &datagram).0, Err(Dropped::Checksum));
    let cut = malformed("checksum is cut");
    assert_eq!(open(&mut codec, &[12, 0, 0, 0]), (cut, vec![]));
}

#[test]
fn a_label_must_be_there_exactly_if_the_pool_has_one() {
    let payload = ping(1);
    let mut blue = codec("blue", None);
    let datagram = seal(&mut blue, &payload, false);
    assert_eq!(datagram, [b"\xf4\x04blue", payload.as_slice()].concat());
    assert_eq!(open(&mut blue, &datagram), (Ok(()), vec![payload.clone()]));
    let label = (Err(Dropped::Label), vec![]);
    assert_eq!(open(&mut codec("", None), &datagram), label);
    assert_eq!(open(&mut codec("blu", None), &datagram), label);
    assert_eq!(open(&mut blue, &payload), label);
    for octets in 0..6 {
        assert_eq!(open(&mut blue, &datagram[..octets]), label, "{octets}");
    }
    let empty = [&[0xf4, 0], payload.as_slice()].concat();
    assert_eq!(open(&mut codec("", None), &empty), label);
}

#[test]
fn a_label_is_authenticated_with_the_text() {
    let mut blue = codec("blue", Some(keyring(1)));
    let mut datagram = seal(&mut blue, &ping(1), false);
    assert_eq!(open(&mut blue, &datagram).0, Ok(()));
    datagram[2..6].copy_from_slice(b"teal");
    let mut teal = codec("teal", Some(keyring(1)));
    assert_eq!(open(&mut teal, &datagram), (Err(Dropped::Key), vec![]));
}

#[test]
fn any_installed_key_opens_and_the_primary_seals() {
    let pool = Arc::new(ArcSwapOption::new(Some(keyring(1))));
    let mut ours = Codec::new(settings(""), pool.clone());
    let mut first = codec("", Some(keyring(1)));
    let mut second = codec("", Some(keyring(2)));
    let (one, two) = (
        seal(&mut first, &ping(1), true),
        seal(&mut second, &ping(2), true),
    );
    assert_ne!(
        one,
        seal(&mut first, &ping(1), true),
        "the nonce is another each time"
    );
    assert_eq!(open(&mut ours, &one).0, Ok(()));
    assert_eq!(open(&mut ours, &two), (Err(Dropped::Key), vec![]));
    // A change of the keyring takes effect with the next packet.
    pool.store(Some(Arc::new(
        Keyring::new(key(1)).install(key(2)).unwrap(),
    )));
    assert_eq!(open(&mut ours, &one).0, Ok(()));
    assert_eq!(open(&mut ours, &two), (Ok(()), vec![ping(2)]));
    let sealed = seal(&mut ours, &ping(3), false);
    assert_eq!(open(&mut first, &sealed).0, Ok(()));
    let keyring = Keyring::new(key(1)).install(key(2)).unwrap();
    pool.store(Some(Arc::new(keyring.use_key(&key(2)).unwrap())));
    let sealed = seal(&mut ours, &ping(3), false);
    assert_eq!(open(&mut second, &sealed).0, Ok(()));
    assert_eq!(open(&mut first, &sealed).0, Err(Dropped::Key));
    pool.store(None);
    assert_eq!(seal(&mut ours, &ping(3), false), ping(3));
}

#[test]
fn nothing_but_the_sealed_octets_opens() {
    let mut codec = codec("", Some(keyring(1)));
    let datagram = seal(&mut codec, &ping(1), true);
    for place in 0..datagram.len() {
        let mut changed = datagram.clone();
        changed[place] ^= 0x80;
        let opened = open(&mut codec, &changed);
        assert_eq!(opened, (Err(Dropped::Key), vec![]), "{place}");
        let opened = open(&mut codec, &datagram[..place]);
        assert_eq!(opened, (Err(Dropped::Key), vec![]), "{place}");
    }
}

#[test]
fn plain_packets_pass_while_a_pool_turns_encryption_on() {
    let lenient = Settings {
        verify_incoming: false,
        verify_outgoing: false,
        ..settings("")
    };
    let pool = Arc::new(ArcSwapOption::new(Some(keyring(1))));
    let mut lenient = Codec::new(lenient, pool);
    let mut strict = codec("", Some(keyring(1)));
    let plain = seal(&mut lenient, &ping(1), false);
    assert_eq!(plain, ping(1));
    assert_eq!(open(&mut lenient, &plain), (Ok(()), vec![ping(1)]));
    assert_eq!(open(&mut strict, &plain).0, Err(Dropped::Key));
    let sealed = seal(&mut strict, &ping(2), false);
    assert_eq!(open(&mut lenient, &sealed), (Ok(()), vec![ping(2)]));
}

#[test]
fn padding_of_version_0_is_taken_off() {
    let ciphers = Ciphers::new(Some(&keyring(1)));
    let open = |text: &[u8]| {
        let mut sealed = Vec::new();
        ciphers.seal(b"", &mut sealed, |out| out.extend_from_slice(text));
        sealed[0] = 0; // the version is not authenticated
        let mut opened = Vec::new();
        ciphers.open(b"", &sealed, &mut opened).map(|()| opened)
    };
    let padding = Err(Dropped::Malformed("bad padding"));
    assert_eq!(open(b"text\x02\x02"), Ok(b"text".to_vec()));
    assert_eq!(open(&[16; 16]), Ok(vec![]));
    assert_eq!(open(&[17; 32]), padding);
    assert_eq!(open(b"text\x00"), padding);
    assert_eq!(open(b"\x02"), padding);
    assert_eq!(open(b""), padding);
}

#[test]
fn the_layers_lengthen_a_packet_by_no_more_than_is_said() {
    for label in ["", "blue"] {
        for keyring in [None, Some(keyring(1))] {
            let mut codec = codec(label, keyring);
            // Nothing to be gained by compression.
            let payload: Vec<u8> = (0..=255).collect();
            let sealed = seal(&mut codec, &payload, true).len();
            assert_eq!(sealed, payload.len() + codec.overhead());
        }
    }
}

#[test]
fn what_is_dropped_is_told_to_the_sender_of_a_stream_only_where_peers_do() {
    assert_eq!(Dropped::Label.answer(), None);
    assert_eq!(Dropped::Malformed("too long").answer(), Some("too long"));
    assert!(Dropped::Key.answer().is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_payload_is_opened_as_it_was_sealed(
        parts in prop::collection::vec(prop::collection::vec(0..4u8, 1..200), 0..20),
        checksum: bool, compress: bool, keyed: bool, label in "[a-z]{0,9}",
    ) {
        let parts: Vec<_> = parts.into_iter().map(|part| [vec![8], part].concat()).collect();
        let slices: Vec<_> = parts.iter().map(Vec::as_slice).collect();
        let settings = Settings { compress, ..settings(&label) };
        let pool = Arc::new(ArcSwapOption::new(keyed.then(|| keyring(1))));
        let mut codec = Codec::new(settings, pool);
        let datagram = seal(&mut codec, &compound(&slices), checksum);
        prop_assert_eq!(open(&mut codec, &datagram), (Ok(()), parts));
    }
}
