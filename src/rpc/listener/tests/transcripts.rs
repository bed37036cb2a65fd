//! Connections as they were recorded between the reference and a client.

use serde_json::Value as Json;

use super::*;

/// Transcripts in which the reference ends a connection for what one of its streams does. We end
/// the stream, so that the next one is answered.
const DEFECTS: [&str; 2] = [
    "mode 4: RST from client",
    "mode 4: stream opened and FINed without data (1.8.7 drops the whole connection)",
];

fn transcripts() -> Vec<(String, Vec<(bool, String)>)> {
    let text = include_str!("../../../../tests/vectors/rpc/transport.json");
    let all: Vec<Json> = serde_json::from_str(text).unwrap();
    let step = |step: &Json| (step[0] == ">", step[1].as_str().unwrap().to_owned());
    let transcript = |entry: &Json| {
        let steps = entry["transcript"].as_array().unwrap();
        let name = entry["name"].as_str().unwrap().to_owned();
        (name, steps.iter().map(step).collect())
    };
    all.iter().map(transcript).collect()
}

/// Octets from hexadecimal digits; long ones are cut in the recording, with their number.
fn octets(hex: &str) -> Vec<u8> {
    let (hex, length) = match hex.split_once("...") {
        Some((hex, length)) => (hex, length.trim_end_matches('B').parse().unwrap()),
        None => (hex, hex.len() / 2),
    };
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let mut octets: Vec<u8> = hex.as_bytes().chunks(2).map(digits).collect();
    octets.resize(length, b'x');
    octets
}

/// Compares what comes with what was recorded.
async fn expect(stream: &mut TcpStream, session: bool, recorded: &[u8]) {
    if !session {
        assert_eq!(take(stream, recorded.len()).await, recorded);
        return;
    }
    let mut recorded = recorded;
    while !recorded.is_empty() {
        // A window or an acknowledgement at the end says nothing.
        if recorded.len() == 12 && recorded[1] == 1 && recorded[3] & 0x0c == 0 {
            return;
        }
        let expected = next_frame(&mut recorded).await;
        assert_eq!(next_frame(stream).await, expected);
    }
}

async fn replay(served: &Served, name: &str, steps: &[(bool, String)]) {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let session = steps[0].1 == "04";
    for (sent, hex) in steps {
        if *sent {
            // The server may have ended the connection at what came before.
            let _ = stream.write_all(&octets(hex)).await;
        } else if DEFECTS.contains(&name) {
        } else if hex.starts_with('<') {
            let last = rest(&mut stream).await;
            let go_away = last.get(..2) == Some(&[0, 3]) && last.len() == 12;
            assert!(last.is_empty() || go_away, "{name}: {last:?}");
        } else {
            expect(&mut stream, session, &octets(hex)).await;
        }
    }
    if DEFECTS.contains(&name) {
        let answer = loop {
            let frame = next_frame(&mut stream).await;
            if frame.2 == 3 {
                break frame;
            }
        };
        let expected = response(1, "Status.Leader", "", LEADER);
        assert_eq!(answer, (0, 0, 3, expected));
    }
}

#[tokio::test]
async fn recorded_connections_go_as_they_went_with_the_reference() {
    let served = Served::start(config());
    let all = transcripts();
    assert_eq!(all.len(), 15);
    for (name, steps) in &all {
        replay(&served, name, steps).await;
    }
}
