//! Connections recorded with the reference. Where its sessions die of what one stream does, ours
//! go on.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;

/// Answers, by request.
type Answers = BTreeMap<Vec<u8>, Vec<u8>>;

/// One connection: octets and what became of it, `>` to the server and `<` from it.
#[derive(serde::Deserialize)]
struct Transcript {
    name: String,
    transcript: Vec<(String, String)>,
}

impl Transcript {
    /// What went in one direction, without the first octet of the connection.
    fn parts(&self, direction: &str) -> Vec<Vec<u8>> {
        let parts = self.transcript.iter();
        parts
            .filter(|(of, text)| of == direction && text != "04" && !text.starts_with('<'))
            .map(|(_, text)| octets(text))
            .collect()
    }

    fn octets(&self, direction: &str) -> Vec<u8> {
        self.parts(direction).concat()
    }

    fn ends(&self) -> bool {
        let mut parts = self.transcript.iter();
        parts.any(|(_, text)| text.starts_with('<'))
    }
}

/// Octets of a text; one that was cut ends with the length that it had.
fn octets(text: &str) -> Vec<u8> {
    let (text, length) = match text.split_once("...") {
        Some((text, length)) => (text, length.trim_end_matches('B').parse().unwrap()),
        None => (text, 0),
    };
    let mut octets = data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
    octets.resize(octets.len().max(length), b'x');
    octets
}

fn sessions() -> Vec<Transcript> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/rpc/transport.json");
    let all: Vec<Transcript> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut sessions = all;
    sessions.retain(|transcript| transcript.transcript[0].1 == "04");
    assert_eq!(sessions.len(), 13);
    sessions
}

/// The octets of each stream.
fn payloads(frames: &[Frame]) -> BTreeMap<u32, Vec<u8>> {
    let mut payloads = BTreeMap::<u32, Vec<u8>>::new();
    for frame in frames {
        payloads
            .entry(frame.stream)
            .or_default()
            .extend(&frame.payload);
    }
    payloads
}

/// What the reference answered to what.
fn answers(sessions: &[Transcript]) -> Answers {
    let mut answers = Answers::new();
    for session in sessions.iter().filter(|session| !session.ends()) {
        let requests = frames(&session.octets(">"));
        let asked = requests.iter().filter(|frame| frame.flags & SYN != 0);
        let replies = frames(&session.octets("<"));
        for stream in asked.map(|frame| frame.stream) {
            let of = |all: &[Frame]| {
                let first = all
                    .iter()
                    .find(|frame| frame.stream == stream && frame.kind == DATA);
                first.map(|frame| frame.payload.clone())
            };
            if let (Some(request), Some(reply)) = (of(&requests), of(&replies)) {
                answers.insert(request, reply);
            }
        }
    }
    assert_eq!(answers.len(), 2, "a call, and one of an unknown method");
    answers
}

/// Answers the requests of one stream as the reference did.
async fn answer(mut stream: Stream, answers: Answers) {
    let mut request = Vec::new();
    while let Ok(octet) = stream.read_u8().await {
        request.push(octet);
        // No request starts with this: the first octet of something that is not served.
        if request == [6] {
            break;
        }
        if let Some(reply) = answers.get(&request) {
            stream.write_all(reply).await.unwrap();
            if String::from_utf8_lossy(reply).contains("can't find") {
                break;
            }
            request.clear();
        }
    }
    // A stream that was reset cannot be shut down.
    let _ = stream.shutdown().await;
}

/// Replays a connection, in pieces of at most `length` octets. What came back, and whether the
/// session ended.
async fn replay(transcript: &Transcript, answers: &Answers, length: usize) -> (Vec<Frame>, bool) {
    let mut session = Accepting::start(settings());
    let tasks = Tasks::new();
    let mut opened = std::mem::replace(&mut session.opened, mpsc::channel(1).1);
    let (answers, spawner) = (answers.clone(), tasks.clone());
    tasks.spawn(async move {
        while let Some(stream) = opened.recv().await {
            spawner.spawn(answer(stream, answers.clone()));
        }
    });
    let (mut received, mut closed) = (Vec::new(), false);
    let parts = transcript.parts(">");
    for piece in parts.iter().flat_map(|part| part.chunks(length)) {
        if session.peer.0.write_all(piece).await.is_err() {
            break;
        }
        // Everything is quiet in between, so that answers keep their order.
        if length > 1 {
            let (more, end) = session.peer.octets().await;
            received.extend(more);
            closed |= end;
        }
    }
    let (more, end) = session.peer.octets().await;
    received.extend(more);
    (frames(&received), closed || end)
}

/// Frames that say something else than that a stream was taken.
fn told(frames: &[Frame]) -> Vec<Frame> {
    let taken = |frame: &&Frame| frame.kind == UPDATE && frame.flags == ACK && frame.length == 0;
    frames.iter().filter(|f| !taken(f)).cloned().collect()
}

#[tokio::test(start_paused = true)]
async fn sessions_are_answered_as_the_reference_answers_them() {
    let sessions = sessions();
    let answers = answers(&sessions);
    for transcript in sessions.iter().filter(|session| !session.ends()) {
        for length in [7, 24, 1 << 20] {
            let (received, closed) = replay(transcript, &answers, length).await;
            let recorded = frames(&transcript.octets("<"));
            assert_eq!(told(&received), told(&recorded), "{}", transcript.name);
            assert_eq!(payloads(&received), payloads(&recorded));
            assert!(!closed, "{}", transcript.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_reference_takes_as_a_violation_is_one() {
    let sessions = sessions();
    let answers = answers(&sessions);
    let mut seen = 0;
    for transcript in &sessions {
        let violates = ["bad yamux", "bad frame", "duplicate SYN", "data over"];
        if !violates.iter().any(|name| transcript.name.contains(name)) {
            continue;
        }
        seen += 1;
        for length in [1, 24, 1 << 20] {
            let (received, closed) = replay(transcript, &answers, length).await;
            assert!(closed, "{}", transcript.name);
            let last = received.last().unwrap();
            assert_eq!(*last, Frame::bare(GO_AWAY, 0, 0, 1), "{}", transcript.name);
        }
    }
    assert_eq!(seen, 4);
}

#[tokio::test(start_paused = true)]
async fn streams_without_octets_do_not_harm_the_others() {
    // The reference ends the session.
    let sessions = sessions();
    let answers = answers(&sessions);
    let mut seen = 0;
    for transcript in &sessions {
        if !["RST from", "FINed without"]
            .iter()
            .any(|name| transcript.name.contains(name))
        {
            continue;
        }
        seen += 1;
        for length in [1, 24, 1 << 20] {
            let (received, closed) = replay(transcript, &answers, length).await;
            assert!(!closed, "{}", transcript.name);
            let request = frames(&transcript.octets(">")).pop().unwrap();
            assert_eq!(payloads(&received)[&3], answers[&request.payload]);
        }
    }
    assert_eq!(seen, 2);
}
