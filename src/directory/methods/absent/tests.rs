//! The texts, as recorded and as the table has them.

use proptest::prelude::*;

use super::*;
use crate::directory::methods::fixture::{Fixture, read, recorded, recorded_snapshots, written};

#[tokio::test]
async fn what_a_server_without_access_control_lacks_is_answered_as_recorded() {
    let fixture = Fixture::new().await;
    let mut compared = 0;
    for file in [
        "agent_acl.json",
        "check_acl.json",
        "agent_nope.json",
        "check_nope.json",
        "agent_statusping.json",
        "check_misc.json",
    ] {
        for call in recorded(file).iter().filter(|call| !call.guarded) {
            let fault = fixture.call(&call.method, &call.request).await.unwrap_err();
            assert_eq!(fault.to_string(), call.error);
            compared += 1;
        }
    }
    assert_eq!(compared, 8);
}

#[test]
fn methods_that_cannot_be_found_end_their_stream() {
    for (method, text) in [
        ("", "rpc: service/method request ill-formed: "),
        ("Ping", "rpc: service/method request ill-formed: Ping"),
        ("Status.Nope", "rpc: can't find method Status.Nope"),
        ("Internal.", "rpc: can't find method Internal."),
        (
            "PreparedQuery.List",
            "rpc: can't find method PreparedQuery.List",
        ),
        (
            "PreparedQuery.Apply",
            "rpc: can't find method PreparedQuery.Apply",
        ),
        ("ConnectCA.Nope", "rpc: can't find method ConnectCA.Nope"),
        ("status.Ping", "rpc: can't find service status.Ping"),
        ("A.Status.Ping", "rpc: can't find service A.Status.Ping"),
        ("KVS.Apply", "rpc: can't find service KVS.Apply"),
        ("Session.List", "rpc: can't find service Session.List"),
        ("Intention.Match", "rpc: can't find service Intention.Match"),
        (
            "AutoEncrypt.Sign",
            "rpc: can't find service AutoEncrypt.Sign",
        ),
    ] {
        assert_eq!(fault(method), Fault::Call(text.to_owned()), "{method}");
    }
}

#[test]
fn features_that_are_off_say_so_and_the_stream_goes_on() {
    let connect = "Connect must be enabled in order to use this endpoint";
    for (method, text) in [
        ("ACL.GetPolicy", "ACL not found"),
        ("ACL.TokenRead", "ACL support disabled"),
        ("ACL.RoleResolve", "ACL support disabled"),
        ("ConnectCA.Roots", connect),
        ("ConnectCA.Sign", connect),
        ("ConnectCA.ConfigurationGet", connect),
        ("PreparedQuery.Execute", "Query not found"),
        ("PreparedQuery.Explain", "Query not found"),
        ("PreparedQuery.Get", "Query not found"),
    ] {
        assert_eq!(fault(method), Fault::Answer(text.to_owned()), "{method}");
    }
}

#[test]
fn long_names_are_cut_and_control_characters_shown() {
    let name = format!("a\n\u{7}.{}", "é".repeat(10_000));
    let text = fault(&name).to_string();
    let shown = "é".repeat(SHOWN_MAX - 4);
    let expected = format!("rpc: can't find service a\\n\\u{{7}}.{shown}");
    assert_eq!(text, expected);
}

proptest! {
    #[test]
    fn any_name_has_a_short_answer_without_control_characters(name in "\\PC{0,40}\\.?.{0,400}") {
        let text = fault(&name).to_string();
        prop_assert!(!text.contains(char::is_control), "{text:?}");
        prop_assert!(text.chars().count() <= 64 + SHOWN_MAX * 8);
    }
}

#[tokio::test]
async fn snapshots_are_refused_as_recorded() {
    let fixture = Fixture::new().await;
    let mut compared = 0;
    for (request, response) in recorded_snapshots("check_misc.json") {
        let recorded: SnapshotReply<'_> = read(&response);
        // The one that was given has an archive behind its answer.
        if !recorded.error.is_empty() {
            assert_eq!(snapshot(&fixture.methods, &request), response);
            compared += 1;
        }
    }
    assert_eq!(compared, 2);
}

#[tokio::test]
async fn there_are_no_snapshots_to_save_or_restore() {
    let fixture = Fixture::new().await;
    let refusal = |datacenter: &'static str, operation| {
        let request = written(&SnapshotRequest {
            datacenter: datacenter.into(),
            operation,
            ..SnapshotRequest::default()
        });
        let answer = snapshot(&fixture.methods, &request);
        read::<SnapshotReply<'_>>(&answer).error.into_owned()
    };
    for operation in [SAVE, RESTORE] {
        let text = "snapshots are not available on this server";
        assert_eq!(refusal("dc1", operation), text);
        assert_eq!(refusal("dc2", operation), "No path to datacenter");
        assert_eq!(refusal("", operation), "No path to datacenter");
    }
    assert_eq!(refusal("dc1", 7), "unrecognized snapshot op '\\a'");
}

#[tokio::test]
async fn a_request_for_a_snapshot_that_cannot_be_read_is_answered() {
    let fixture = Fixture::new().await;
    for request in [
        &[][..],
        &[0x01],
        &[0xff; 9],
        &[0xdf, 0xff, 0xff, 0xff, 0xff],
    ] {
        let answer = snapshot(&fixture.methods, request);
        let reply: SnapshotReply<'_> = read(&answer);
        assert!(reply.error.starts_with("codec.decoder: "), "{reply:?}");
    }
}

#[test]
fn operations_are_shown_as_the_characters_that_they_stand_for() {
    for (number, shown) in [
        (2, "'\\x02'"),
        (7, "'\\a'"),
        (9, "'\\t'"),
        (39, "'\\''"),
        (65, "'A'"),
        (127, "'\\x7f'"),
        (133, "'\\u0085'"),
        (-1, "'\u{fffd}'"),
        (i64::MAX, "'\u{fffd}'"),
    ] {
        assert_eq!(quoted(number), shown);
    }
}
