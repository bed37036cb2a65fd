//! Keys of the pools.

use super::*;

fn sorted(mut reply: KeyringReply<'_>) -> KeyringReply<'_> {
    for response in &mut reply.responses {
        if let Some(Map(messages)) = &mut response.messages {
            messages.sort();
        }
    }
    reply
}

#[tokio::test]
async fn a_list_of_keys_is_answered_as_recorded() {
    // The recordings have a server and an agent, without encryption.
    let fixture = Fixture::new().await.with_agent("rcli").await;
    let calls = calls("Internal.KeyringOperation");
    assert_eq!(calls.len(), 2);
    for call in &calls {
        let answer = fixture.call(&call.method, &call.request).await.unwrap();
        // Go writes the keys of maps in any order.
        let expected = sorted(read(&call.response));
        assert_eq!(answer, written(&expected));
        assert_eq!(written(&expected).len(), call.response.len());
    }
}

fn keyring_request<'a>(operation: &'a str, key: &'a str) -> KeyringRequest<'a> {
    KeyringRequest {
        operation: operation.into(),
        key: key.into(),
        ..KeyringRequest::default()
    }
}

#[tokio::test]
async fn only_the_lan_pool_is_asked_where_that_is_wanted_or_passed_on() {
    let fixture = Fixture::new().await;
    let pools = async |request: KeyringRequest<'_>| {
        let reply = fixture.ask("Internal.KeyringOperation", &request).await;
        let reply: KeyringReply<'_> = read(&reply);
        reply
            .responses
            .iter()
            .map(|one| one.wan)
            .collect::<Vec<_>>()
    };
    let list = || keyring_request("list", "");
    assert_eq!(pools(list()).await, [true, false]);
    let local_only = true;
    assert_eq!(
        pools(KeyringRequest {
            local_only,
            ..list()
        })
        .await,
        [false]
    );
    let forwarded = true;
    assert_eq!(
        pools(KeyringRequest {
            forwarded,
            ..list()
        })
        .await,
        [false]
    );
}

#[tokio::test]
async fn changes_ask_both_pools_and_tell_why_they_failed() {
    let fixture = Fixture::new().await;
    for operation in ["install", "use", "remove"] {
        let request = keyring_request(operation, "YmJiYmJiYmJiYmJiYmJiYg==");
        let reply = fixture.ask("Internal.KeyringOperation", &request).await;
        let reply: KeyringReply<'_> = read(&reply);
        assert_eq!(reply.responses.len(), 2);
        for response in reply.responses {
            assert_eq!(response.error, "1/1 nodes reported failure");
            let Some(Map(messages)) = response.messages else {
                panic!("there is no message");
            };
            let text = "No keyring to modify (encryption not enabled)";
            assert!(messages.iter().all(|(_, message)| message == text));
        }
    }
}

#[tokio::test]
async fn what_is_no_key_operation_is_refused_before_anybody_is_asked() {
    let fixture = Fixture::new().await;
    let key = "YmJiYmJiYmJiYmJiYmJiYg==";
    let range = "Relay factor must be in range: [0, 5]";
    let local = "argument LocalOnly can only be used for list operations";
    let relay = KeyringRequest {
        relay_factor: 6,
        ..keyring_request("list", "")
    };
    let change = KeyringRequest {
        local_only: true,
        ..keyring_request("install", key)
    };
    for (request, text) in [
        (keyring_request("", key), "unknown keyring operation \"\""),
        (
            keyring_request("List", key),
            "unknown keyring operation \"List\"",
        ),
        (keyring_request("use", "zz!"), "key is not base64 text"),
        (
            keyring_request("install", "AAAA"),
            "key has 3 octets, it must have 16, 24 or 32",
        ),
        (relay, range),
        (change, local),
    ] {
        let body = written(&request);
        let fault = fixture.call("Internal.KeyringOperation", &body).await;
        assert_eq!(fault, Err(Fault::Answer(text.to_owned())));
    }
}
