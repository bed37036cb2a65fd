//! Arbitrary octets.

use proptest::prelude::*;

use super::*;

/// A first octet, then octets that are often nearly right.
fn conversation() -> impl Strategy<Value = (u8, Vec<Vec<u8>>)> {
    let first = prop_oneof![
        Just(octet::CALLS),
        Just(octet::SESSION),
        Just(octet::SNAPSHOT),
        Just(octet::TLS),
        any::<u8>(),
    ];
    let frames = (
        0_u8..4,
        0_u16..16,
        0_u32..6,
        prop::collection::vec(any::<u8>(), 0..40),
    );
    let part = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        frames.prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload)),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(|body| frame(
            0,
            1,
            1,
            &request(1, "Test.Echo", &body)
        )),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(|body| request(1, "Test.Echo", &body)),
    ];
    (first, prop::collection::vec(part, 0..6))
}

#[test]
fn arbitrary_octets_harm_no_other_connection_and_no_other_stream() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let served = Served::start(config());
    proptest!(ProptestConfig::with_cases(200), |((first, parts) in conversation())| {
        runtime.block_on(async {
            let mut stream = served.connect(&[first]).await;
            for part in &parts {
                // The server may have closed it.
                let _ = stream.write_all(part).await;
            }
            served.assert_answers().await;
            // Inside a stream of a session, beside another one.
            let mut session = served.connect(&[octet::SESSION]).await;
            let octets = parts.concat();
            session.write_all(&frame(0, 1, 1, &octets)).await.unwrap();
            let echo = request(9, "Test.Echo", b"\x05");
            session.write_all(&frame(0, 1, 3, &echo)).await.unwrap();
            loop {
                let frame = next_frame(&mut session).await;
                if frame.2 == 3 {
                    let expected = response(9, "Test.Echo", "", b"\x05");
                    assert_eq!(frame, (0, 0, 3, expected));
                    break;
                }
            }
        });
    });
}
