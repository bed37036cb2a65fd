//! Arbitrary octets and frames, to both sides.

use proptest::prelude::*;

use super::*;
use crate::rpc::yamux::WINDOW;
use crate::rpc::yamux::receive::Receiver;
use crate::rpc::yamux::state::Output;

/// What the holder of a stream does with it.
#[derive(Clone, Copy, Debug)]
enum Act {
    Open,
    Read(u16),
    Write(u16),
    Shutdown,
    Release,
    Fill,
}

/// Frames that are nearly right, of few streams.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![0..20_u32, Just(WINDOW), Just(WINDOW + 1), Just(u32::MAX)];
    let one = (0..5_u8, 0..16_u16, 0..6_u32, length, 0..40_000_usize);
    one.prop_map(|(kind, flags, stream, length, follows)| {
        let follows = match kind {
            DATA => follows.min(usize::try_from(length).unwrap()),
            _ => 0,
        };
        let mut octets = header(kind, flags, stream, length);
        octets.extend(vec![1; follows]);
        octets
    })
}

fn octets() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => frame(),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        Just(Act::Open),
        any::<u16>().prop_map(Act::Read),
        any::<u16>().prop_map(Act::Write),
        Just(Act::Shutdown),
        Just(Act::Release),
        Just(Act::Fill),
    ]
}

/// A session, the streams that are held, and one more thing that happens.
fn step(state: &mut State, held: &mut Vec<u32>, act: Act, of: usize) {
    let waker = std::task::Waker::noop();
    let cx = std::task::Context::from_waker(waker);
    let at = of.checked_rem(held.len());
    let number = at.map_or(0, |at| held[at]);
    match act {
        Act::Open => held.extend(state.open()),
        Act::Read(length) => {
            let mut space = vec![0; usize::from(length)];
            let mut buf = tokio::io::ReadBuf::new(&mut space);
            let _ = state.poll_read(number, &cx, &mut buf);
        }
        Act::Write(length) => {
            let _ = state.poll_write(number, &cx, &vec![2; usize::from(length)]);
        }
        Act::Shutdown => {
            let _ = state.poll_shutdown(number, &cx);
        }
        Act::Release => {
            if let Some(at) = at {
                state.release(held.swap_remove(at));
            }
        }
        Act::Fill => {
            let mut out = Vec::new();
            state.fill(&mut out, waker);
            assert!(out.len() < 100_000);
            frames(&out);
        }
    }
    drop(state.take_wakes());
}

fn session(side: Side, events: Vec<(Vec<u8>, Act, usize)>) {
    let mut state = State::new(side);
    let mut receiver = Receiver::new();
    let mut held = Vec::new();
    let mut over = false;
    for (octets, act, of) in events {
        if !over && receiver.feed(&octets, &mut state, &mut held).is_err() {
            state.end();
            over = true;
        }
        step(&mut state, &mut held, act, of);
        // Each stream has two queues, and a queue at most doubles when it grows.
        let window = usize::try_from(WINDOW).unwrap();
        let bound = 2 * (window + 65_536) * held.len() + 32_768;
        assert!(state.memory() <= bound, "{} {bound}", state.memory());
    }
    // Whatever happened, nothing is left once nobody holds streams and all was said.
    for number in held {
        state.release(number);
    }
    let mut out = Vec::new();
    while state.fill(&mut out, std::task::Waker::noop()) == Output::Some {
        out.clear();
    }
    state.end();
    assert_eq!((state.streams(), state.memory()), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_that_comes_makes_an_accepting_session_panic_or_grow(
        events in prop::collection::vec((octets(), act(), any::<usize>()), 0..60),
    ) {
        session(Side::Accepting { streams_max: 4 }, events);
    }

    #[test]
    fn nothing_that_comes_makes_an_opening_session_panic_or_grow(
        events in prop::collection::vec((octets(), act(), any::<usize>()), 0..60),
    ) {
        session(Side::Opening, events);
    }

    #[test]
    fn it_does_not_matter_how_octets_are_cut(
        octets in prop::collection::vec(frame(), 0..10),
        cut in 1_usize..50,
    ) {
        let octets = octets.concat();
        let run = |length: usize| {
            let mut state = State::new(Side::Accepting { streams_max: 4 });
            let (mut receiver, mut opened) = (Receiver::new(), Vec::new());
            let mut result = Ok(());
            for piece in octets.chunks(length) {
                result = result.and_then(|()| receiver.feed(piece, &mut state, &mut opened));
            }
            let mut out = Vec::new();
            state.fill(&mut out, std::task::Waker::noop());
            (result, opened, out)
        };
        prop_assert_eq!(run(cut), run(usize::MAX));
    }
}

#[tokio::test(start_paused = true)]
async fn random_connections_end_or_go_on_without_a_panic() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..200 {
        let tree = prop::collection::vec(octets(), 0..20)
            .new_tree(&mut runner)
            .unwrap();
        let mut session = Accepting::start(settings());
        let _ = session.peer.0.write_all(&tree.current().concat()).await;
        let _ = session.peer.octets().await;
        drop(session.peer);
        // Had the driver panicked, there would be no reason.
        session.end.await.unwrap();
    }
}
