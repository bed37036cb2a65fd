//! `herald maint`.

use serde_json::json;

use super::ask;
use crate::support::agent::TestAgent;

#[tokio::test]
async fn a_node_goes_into_maintenance_and_comes_back() {
    let agent = TestAgent::start().await;
    ask(&agent, "maint").await.is(0, "", "");
    let finished = ask(&agent, "maint -enable -reason=disk").await;
    finished.is(0, "Node maintenance is now enabled\n", "");
    let shown = "Node:\n  Name:   n1\n  Reason: disk\n\n";
    ask(&agent, "maint").await.is(0, shown, "");
    let finished = ask(&agent, "maint --disable").await;
    finished.is(0, "Node maintenance is now disabled\n", "");
    ask(&agent, "maint").await.is(0, "", "");
    agent.stop().await;
}

#[tokio::test]
async fn a_service_in_maintenance_leaves_dns() {
    let agent = TestAgent::start().await;
    let service = json!({"Name": "web", "ID": "web/1", "Port": 80});
    agent.register(service).await;
    let finished = ask(&agent, "maint -enable -service web/1").await;
    let text = "Service maintenance is now enabled for \"web/1\"\n";
    finished.is(0, text, "");
    let shown = "Service:\n  ID:     web/1\n  Reason: Maintenance mode is enabled for this \
                 service, but no reason was provided. This is a default message.\n\n";
    ask(&agent, "maint").await.is(0, shown, "");
    let answer = agent.ask("web.service.consul SRV").await;
    assert_eq!(answer.message.answers.len(), 0);
    let finished = ask(&agent, "maint -service=web/1 -disable=true").await;
    let text = "Service maintenance is now disabled for \"web/1\"\n";
    finished.is(0, text, "");
    let answer = agent.ask("web.service.consul SRV").await;
    assert_eq!(answer.message.answers.len(), 1);
    agent.stop().await;
}

#[tokio::test]
async fn a_node_and_a_service_are_shown_one_after_the_other() {
    let agent = TestAgent::start().await;
    agent.register(json!({"Name": "web"})).await;
    ask(&agent, "maint -enable -service web -reason b").await;
    ask(&agent, "maint -enable -reason a").await;
    let shown = "Node:\n  Name:   n1\n  Reason: a\n\nService:\n  ID:     web\n  Reason: b\n\n";
    ask(&agent, "maint").await.is(0, shown, "");
    agent.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_together_is_refused_and_changes_nothing() {
    let agent = TestAgent::start().await;
    for (arguments, text) in [
        (
            "maint -enable -disable",
            "Only one of -enable or -disable may be provided\n",
        ),
        (
            "maint -disable -reason x",
            "-reason may only be provided with -enable\n",
        ),
        (
            "maint -reason x",
            "-reason may only be provided with -enable\n",
        ),
        (
            "maint -service x",
            "-service may only be provided with -enable or -disable\n",
        ),
        (
            "maint -enable -service nope",
            "Error enabling service maintenance: Unexpected response code: 404 (No service \
             registered with ID \"nope\")\n",
        ),
    ] {
        ask(&agent, arguments).await.is(1, "", text);
    }
    ask(&agent, "maint").await.is(0, "", "");
    agent.stop().await;
}
