use std::path::Path;

use serde_json::Value as Json;
use tokio::io::AsyncWriteExt;

use super::*;

/// Any value, as far as the old dialect tells values apart.
enum Tree {
    Nil,
    Boolean(bool),
    Whole(i64),
    Large(u64),
    Fraction(f64),
    Octets(Vec<u8>),
    Array(Vec<Tree>),
    Map(Vec<(Tree, Tree)>),
}

impl Tree {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(match reader.rest().first().copied() {
            Some(0xc0) => {
                reader.skip()?;
                Self::Nil
            }
            Some(0xc2 | 0xc3) => Self::Boolean(reader.boolean()?),
            Some(0xca | 0xcb) => Self::Fraction(reader.float()?),
            Some(0xcf) => Self::Large(reader.unsigned()?),
            Some(0xa0..=0xbf | 0xd9..=0xdb | 0xc4..=0xc6) => Self::Octets(reader.octets()?.into()),
            Some(0x90..=0x9f | 0xdc | 0xdd) => {
                let count = reader.array()?;
                Self::Array(
                    (0..count)
                        .map(|_| Self::read(reader))
                        .collect::<Result<_, _>>()?,
                )
            }
            Some(0x80..=0x8f | 0xde | 0xdf) => {
                let count = reader.map()?;
                let pair = |_| Ok((Self::read(reader)?, Self::read(reader)?));
                Self::Map((0..count).map(pair).collect::<Result<_, _>>()?)
            }
            _ => Self::Whole(reader.signed()?),
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Nil => writer.nil(),
            Self::Boolean(value) => writer.boolean(*value),
            Self::Whole(value) => writer.signed(*value),
            Self::Large(value) => writer.unsigned(*value),
            Self::Fraction(value) => writer.float(*value),
            Self::Octets(value) => writer.octets(value),
            Self::Array(values) => {
                writer.array(values.len());
                for value in values {
                    value.write(writer);
                }
            }
            Self::Map(pairs) => {
                writer.map(pairs.len());
                for (key, value) in pairs {
                    key.write(writer);
                    value.write(writer);
                }
            }
        }
    }
}

/// One recorded call.
struct Recorded {
    request: Vec<u8>,
    response: Vec<u8>,
}

/// All recorded calls, without connections of another kind.
fn recorded() -> Vec<Recorded> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/rpc");
    let mut calls = Vec::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.extension().is_none_or(|it| it != "json") || name == "transport.json" {
            continue;
        }
        let entries: Vec<Json> =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for entry in entries
            .iter()
            .filter(|it| it["method"] != "SNAPSHOT(first byte 05)")
        {
            calls.push(Recorded {
                request: octets(&entry["request_hex"]),
                response: octets(&entry["response_hex"]),
            });
        }
    }
    calls
}

fn octets(hex: &Json) -> Vec<u8> {
    let hex = hex.as_str().unwrap().as_bytes();
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    hex.chunks(2).map(digits).collect()
}

/// The octets of two values, read and written again.
fn again(octets: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(octets);
    let mut out = Vec::new();
    for _ in 0..2 {
        let tree = Tree::read(&mut reader).unwrap();
        tree.write(&mut Writer::old(&mut out));
    }
    assert!(reader.rest().is_empty());
    out
}

fn incoming(octets: &[u8]) -> Incoming<&[u8]> {
    Incoming::new(octets, Budget::new(1 << 20))
}

#[tokio::test]
async fn headers_of_recorded_calls_are_written_as_they_were() {
    let mut of_agents = 0;
    for call in recorded() {
        let mut response = incoming(&call.response);
        let octets = response.value(1 << 20).await.unwrap().unwrap();
        let mut written = Vec::new();
        ResponseHeader::read(&octets).unwrap().write(&mut written);
        assert_eq!(written, octets);
        let mut request = incoming(&call.request);
        let octets = request.value(HEADER_OCTETS_MAX).await.unwrap().unwrap();
        let header = RequestHeader::read(&octets).unwrap();
        let mut written = Vec::new();
        header.write(&mut written);
        // The program that was used beside agents writes its keys in another order.
        if octets.starts_with(b"\x82\xa3Seq") {
            of_agents += 1;
            assert_eq!(written, octets);
        } else {
            assert!(octets.starts_with(b"\x82\xadServiceMethod"));
            assert_eq!(RequestHeader::read(&written).unwrap(), header);
        }
        assert!(request.value(1 << 20).await.unwrap().is_some());
        assert!(request.value(1 << 20).await.unwrap().is_none());
    }
    assert_eq!(of_agents, OF_AGENTS);
}

/// Recorded requests with the header that agents write.
const OF_AGENTS: usize = 87;

#[test]
fn recorded_values_are_written_as_they_were() {
    let calls = recorded();
    let equal = |octets: &[u8]| again(octets) == octets;
    let responses = calls.iter().filter(|it| equal(&it.response)).count();
    assert_eq!(responses, calls.len());
    // Requests of agents are too. The program that was used beside them, which orders the header's
    // keys otherwise, also tried the new dialect.
    let mut equal_requests = 0;
    for call in &calls {
        if equal(&call.request) {
            equal_requests += 1;
        } else {
            assert!(call.request.starts_with(b"\x82\xadServiceMethod"));
            assert!(call.request.iter().any(|it| matches!(it, 0xd9 | 0xc4)));
            assert!(equal(&again(&call.request)));
        }
    }
    assert_eq!((calls.len(), equal_requests), (448, 445));
}

#[tokio::test]
async fn a_value_that_comes_octet_by_octet_survives_being_given_up() {
    let (mut writer, reader) = tokio::io::duplex(1);
    let mut incoming = Incoming::new(reader, Budget::new(1 << 20));
    for octet in [0x82, 0xa1, b'a', 0x01, 0xa1, b'b', 0x92, 0x02] {
        writer.write_all(&[octet]).await.unwrap();
        tokio::select! {
            biased;
            _ = incoming.value(64) => panic!("the value has not ended"),
            () = tokio::task::yield_now() => {}
        }
    }
    writer.write_all(&[0x03]).await.unwrap();
    let value = incoming.value(64).await.unwrap().unwrap();
    assert_eq!(value, b"\x82\xa1a\x01\xa1b\x92\x02\x03");
}

#[tokio::test]
async fn an_announced_length_beyond_the_limit_is_refused_at_once() {
    for hostile in [
        b"\xdb\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
    ] {
        let mut incoming = incoming(hostile);
        let refused = incoming.value(1_024).await;
        assert!(matches!(
            refused,
            Err(FrameError::Value(ReadError::Limit { .. }))
        ));
        assert!(incoming.buffer.capacity() < 1_024);
    }
}

#[tokio::test]
async fn an_end_inside_a_value_is_an_error() {
    let cut = incoming(b"\x82\xa1a").value(64).await;
    assert!(
        matches!(cut, Err(FrameError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof)
    );
}

#[tokio::test]
async fn values_that_come_in_pieces_of_any_length_are_the_same() {
    let call = recorded().into_iter().max_by_key(|it| it.response.len());
    let octets = call.unwrap().response;
    for piece in [1, 2, 3, 7, 100, 4_095, 4_097] {
        let (mut writer, reader) = tokio::io::duplex(piece);
        let mut incoming = Incoming::new(reader, Budget::new(1 << 20));
        let sent = octets.repeat(3);
        let write = async {
            writer.write_all(&sent).await.unwrap();
            drop(writer);
        };
        let read = async {
            let mut received = Vec::new();
            while let Some(value) = incoming.value(1 << 20).await.unwrap() {
                received.push(value);
            }
            received
        };
        let ((), received) = tokio::join!(write, read);
        assert_eq!((received.len(), received.concat()), (6, sent.clone()));
    }
}

#[tokio::test]
async fn a_stream_without_a_request_has_no_memory() {
    let (mut writer, reader) = tokio::io::duplex(100_000);
    let budget = Budget::new(1 << 20);
    let mut incoming = Incoming::new(reader, budget.clone());
    let long = [&b"\xdb\x00\x00\x80\x00"[..], &vec![b'x'; 32_768]].concat();
    writer.write_all(&long).await.unwrap();
    assert!(incoming.begin().await.unwrap());
    assert_eq!(incoming.value(1 << 20).await.unwrap().unwrap(), long);
    assert!(budget.0.try_hold(250).is_none());
    // Waiting for the next one gives all of it back.
    assert!(now(incoming.begin()).await.is_none());
    assert_eq!(incoming.buffer.capacity(), 0);
    assert!(budget.0.try_hold(256).is_some());
    writer.write_all(&long).await.unwrap();
    assert_eq!(incoming.value(1 << 20).await.unwrap().unwrap(), long);
}

#[tokio::test(start_paused = true)]
async fn a_large_value_waits_for_memory_and_a_small_one_does_not() {
    let budget = Budget::new(16_384);
    let long = [&b"\xdb\x00\x00\x80\x00"[..], &vec![b'x'; 32_768]].concat();
    let mut first = Incoming::new(&long[..20_000], budget.clone());
    // Nothing more comes for the first one, which keeps what it has.
    assert!(matches!(first.value(1 << 20).await, Err(FrameError::Io(_))));
    let mut second = Incoming::new(&long[..], budget.clone());
    let started = crate::clock::now();
    assert!(matches!(
        second.value(1 << 20).await,
        Err(FrameError::Memory)
    ));
    assert_eq!(started.elapsed(), MEMORY_WAIT);
    let mut small = Incoming::new(&long[..5], budget.clone());
    assert!(small.begin().await.unwrap());
    let mut small = Incoming::new(&b"\x2a"[..], budget);
    assert_eq!(small.value(10).await.unwrap().unwrap(), b"\x2a");
}

#[tokio::test]
async fn an_end_is_seen_behind_what_was_read_ahead_and_no_more_is_read() {
    let mut incoming = incoming(b"\x01\x02");
    incoming.end().await.unwrap();
    assert_eq!(incoming.value(10).await.unwrap().unwrap(), b"\x01");
    assert_eq!(incoming.value(10).await.unwrap().unwrap(), b"\x02");
    assert!(!incoming.begin().await.unwrap());
    let many = vec![7; 100_000];
    let mut incoming = Incoming::new(&many[..], Budget::new(1 << 20));
    assert!(now(incoming.end()).await.is_none());
    assert!(incoming.buffer.len() < 2 * CHUNK);
}

/// What a future has now.
async fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    }
}

#[test]
fn headers_may_lack_keys_and_have_others() {
    let header = RequestHeader::read(b"\x82\xa1x\x92\x01\x02\xa3Seq\x07").unwrap();
    assert_eq!((header.method.as_str(), header.sequence), ("", 7));
    assert_eq!(
        ResponseHeader::read(b"\xc0").unwrap(),
        ResponseHeader::default()
    );
    assert!(RequestHeader::read(b"\x93\x01\x02\x03").is_err());
}
