use proptest::prelude::*;

use super::*;

fn push_pull(nodes: usize, user_octets: usize) -> Vec<u8> {
    let node = NodeState {
        name: "s1",
        address: "127.0.0.9:8301".parse().unwrap(),
        meta: &[0xff, 0x80],
        incarnation: 5,
        state: 0,
        versions: Versions::OWN,
    };
    let mut out = Vec::new();
    StreamMessage::PushPull(PushPull {
        join: true,
        nodes: vec![node; nodes],
        user_state: &vec![7; user_octets],
    })
    .encode(&mut out);
    out
}

/// Pushes in pieces; the content, and how many octets it took.
fn assemble(
    mut assembler: Assembler,
    octets: &[u8],
    piece: usize,
) -> Result<Option<(Vec<u8>, usize)>, Dropped> {
    let mut pushed = 0;
    for piece in octets.chunks(piece) {
        pushed += piece.len();
        if let Some(plain) = assembler.push(piece)? {
            return Ok(Some((plain.to_vec(), pushed)));
        }
    }
    Ok(None)
}

fn plain() -> Assembler {
    Assembler::new(settings(""), None)
}

fn keyed(octet: u8) -> Assembler {
    Assembler::new(settings(""), Some(&keyring(octet)))
}

fn malformed<T>(reason: &'static str) -> Result<T, Dropped> {
    Err(Dropped::Malformed(reason))
}

#[test]
fn the_end_of_a_stream_is_known_from_its_content() {
    let mut ack = Vec::new();
    let message = Ack {
        sequence: 1,
        payload: &[],
    };
    StreamMessage::Ack(message).encode(&mut ack);
    let mut user = Vec::new();
    StreamMessage::User(&[3, 0x80]).encode(&mut user);
    for content in [
        push_pull(3, 50),
        push_pull(0, 0),
        push_pull(1, 0),
        ack,
        user,
    ] {
        for compress in [false, true] {
            for keyring in [None, Some(keyring(1))] {
                let settings = Settings {
                    compress,
                    ..settings("blue")
                };
                let sealed = seal_stream(&content, &settings, keyring.as_ref());
                let longer = [sealed.as_slice(), b"rest"].concat();
                let assembler = Assembler::new(settings, keyring.as_ref());
                let outcome = assemble(assembler, &longer, 1);
                assert_eq!(outcome, Ok(Some((content.clone(), sealed.len()))));
            }
        }
    }
}

#[test]
fn what_arrives_after_the_end_changes_nothing() {
    let content = push_pull(1, 1);
    let mut assembler = plain();
    for _ in 0..2 {
        assert_eq!(assembler.push(&content), Ok(Some(content.as_slice())));
    }
    let mut assembler = plain();
    let unknown = malformed("message type is not supported on streams");
    assert_eq!(assembler.push(&[99]), unknown);
    assert_eq!(assembler.push(&content), unknown);
}

#[test]
fn streams_are_compressed_even_if_they_grow() {
    let content = push_pull(0, 0);
    let sealed = seal_stream(&content, &settings(""), None);
    assert_eq!(sealed[0], 9);
    assert!(sealed.len() > content.len());
}

#[test]
fn encryption_must_be_as_it_is_configured() {
    let content = push_pull(1, 1);
    let sealed = seal_stream(&content, &settings(""), Some(&keyring(1)));
    let here = "remote state is encrypted and encryption is not configured";
    assert_eq!(assemble(plain(), &sealed, 1), malformed(here));
    let there = "encryption is configured but remote state is not encrypted";
    assert_eq!(assemble(keyed(1), &content, 1), malformed(there));
    assert_eq!(assemble(keyed(2), &sealed, 1), Err(Dropped::Key));
    let lenient = Settings {
        verify_incoming: false,
        verify_outgoing: false,
        ..settings("")
    };
    let ours = seal_stream(&content, &lenient, Some(&keyring(1)));
    assert_eq!(ours, seal_stream(&content, &lenient, None));
    for octets in [ours, sealed] {
        let assembler = Assembler::new(lenient.clone(), Some(&keyring(1)));
        let (opened, _) = assemble(assembler, &octets, 7).unwrap().unwrap();
        assert_eq!(opened, content);
    }
}

#[test]
fn the_length_and_the_label_of_a_stream_are_authenticated() {
    let content = push_pull(1, 1);
    let sealed = seal_stream(&content, &settings("blue"), Some(&keyring(1)));
    let blue = || Assembler::new(settings("blue"), Some(&keyring(1)));
    assert!(assemble(blue(), &sealed, 1).unwrap().is_some());
    let mut longer = sealed.clone();
    longer[10] += 1;
    longer.push(0);
    assert_eq!(assemble(blue(), &longer, 1), Err(Dropped::Key));
    let mut other = sealed.clone();
    other[2..6].copy_from_slice(b"teal");
    let teal = Assembler::new(settings("teal"), Some(&keyring(1)));
    assert_eq!(assemble(teal, &other, 1), Err(Dropped::Key));
}

#[test]
fn a_label_must_be_there_exactly_if_the_pool_has_one() {
    let content = push_pull(1, 1);
    let sealed = seal_stream(&content, &settings("blue"), None);
    assert_eq!(assemble(plain(), &sealed, 1), Err(Dropped::Label));
    let red = || Assembler::new(settings("red"), None);
    assert_eq!(assemble(red(), &sealed, 1), Err(Dropped::Label));
    assert_eq!(assemble(red(), &content, 1), Err(Dropped::Label));
    // It is refused as soon as it differs.
    let mut assembler = Assembler::new(settings("blue"), None);
    assert_eq!(assembler.push(b"\xf4\x04bl"), Ok(None));
    assert_eq!(assembler.push(b"a"), Err(Dropped::Label));
}

#[test]
fn what_is_too_long_is_refused_before_it_is_read() {
    let too_long = malformed("remote node state is larger than the limit of 20 MiB");
    assert_eq!(keyed(1).push(b"\x0a\x01\x40\x00\x01"), too_long);
    assert_eq!(keyed(1).push(b"\x0a\x01\x40\x00\x00"), Ok(None));
    let limit = malformed("value is longer than the limit");
    assert_eq!(plain().push(b"\x09\x81\xa3Buf\xdb\x01\x40\x00\x00"), limit);
    assert_eq!(plain().push(b"\x00\x81\xa4Node\xdb\x00\x01\x00\x00"), limit);
    let head = b"\x06\x81\xa5Nodes\x01\x81\xa4Meta\xdb";
    let node = |octets: u32| [&head[..], &octets.to_be_bytes()].concat();
    assert_eq!(plain().push(&node(20 << 20)), limit);
    assert_eq!(plain().push(&node(19 << 20)), Ok(None));
    let nodes = malformed("number of nodes exceeds the limit");
    assert_eq!(
        plain().push(b"\x06\x81\xa5Nodes\xce\x00\x10\x00\x01"),
        nodes
    );
}

#[test]
fn content_within_a_layer_must_be_whole() {
    let content = push_pull(2, 9);
    for octets in 0..content.len() {
        for keyring in [None, Some(keyring(1))] {
            let sealed = seal_stream(&content[..octets], &settings(""), keyring.as_ref());
            let assembler = Assembler::new(settings(""), keyring.as_ref());
            let outcome = assemble(assembler, &sealed, usize::MAX);
            assert_eq!(outcome, Err(Assembler::cut()), "{octets}");
        }
    }
    let twice = seal_stream(
        &seal_stream(&content, &settings(""), None),
        &settings(""),
        None,
    );
    assert_eq!(
        assemble(plain(), &twice, 9),
        malformed("nested compression")
    );
}

#[test]
fn a_stream_that_stops_is_neither_complete_nor_dropped() {
    let content = push_pull(2, 9);
    let sealed = seal_stream(&content, &settings(""), Some(&keyring(1)));
    for octets in 0..content.len() {
        assert_eq!(
            assemble(plain(), &content[..octets], 3),
            Ok(None),
            "{octets}"
        );
    }
    for octets in 0..sealed.len() {
        assert_eq!(
            assemble(keyed(1), &sealed[..octets], 3),
            Ok(None),
            "{octets}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_is_the_same_however_it_arrives(
        nodes in 0..20_usize, user_octets in 0..3_000_usize, piece in 1..4_000_usize,
        compress: bool, is_keyed: bool, cut in any::<prop::sample::Index>(),
    ) {
        let content = push_pull(nodes, user_octets);
        let settings = Settings { compress, ..settings("") };
        let keyring = is_keyed.then(|| keyring(1));
        let sealed = seal_stream(&content, &settings, keyring.as_ref());
        let assembler = || Assembler::new(settings.clone(), keyring.as_ref());
        let whole = assemble(assembler(), &sealed, piece);
        prop_assert_eq!(whole, Ok(Some((content, sealed.len()))));
        let part = assemble(assembler(), &sealed[..cut.index(sealed.len())], piece);
        prop_assert_eq!(part, Ok(None));
    }
}
