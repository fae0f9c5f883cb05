//! What happens in the channels of a node, as its webhooks tell it.

mod support;

use serde_json::{Value, json};
use support::Server;
use support::hook::Hook;
use support::process::Directory;
use support::pusher::{PusherClient, configure, register};

/// A backend that is told, and a node that tells it.
async fn serve(settings: Value) -> (Hook, Server) {
    let hook = Hook::answering(200, "").await;
    let server = Server::start().await;
    register(&server, settings).await;
    configure(&server, json!({ "webhooks": [{ "url": hook.url() }] })).await;
    (hook, server)
}

/// All events so far.
fn told(hook: &Hook) -> Vec<Value> {
    let events = |body: &str| serde_json::from_str::<Value>(body).expect("JSON")["events"].clone();
    let mut told = Vec::new();
    for asked in hook.asked() {
        told.extend(events(&asked.body).as_array().expect("a list").iter().cloned());
    }
    told
}

/// Waits for so many events, and tells them without their channel, which is the same of all.
async fn tells(hook: &Hook, events: usize) -> Vec<Value> {
    hook.until_asked(events).await;
    let mut told = told(hook);
    told.iter_mut().for_each(|event| drop(event.as_object_mut().expect("an object").remove("channel")));
    told
}

#[tokio::test]
async fn pc_176_a_channel_is_occupied_once_by_however_many() {
    let (hook, server) = serve(json!({ "webhook_grace": 0 })).await;
    let (mut one, mut other) = (PusherClient::connect(&server).await, PusherClient::connect(&server).await);
    one.subscribe("news").await;
    other.subscribe("news").await;
    one.leave("news").await;
    other.leave("news").await;
    let expected = [json!({ "name": "channel_occupied" }), json!({ "name": "channel_vacated" })];
    assert_eq!(tells(&hook, 2).await, expected);
    assert_eq!(told(&hook)[0]["channel"], "news");
    drop((one, other));
    server.stop().await;
    assert_eq!(told(&hook).len(), 2);
}

#[tokio::test]
async fn pc_177_a_channel_to_which_somebody_returns_was_never_vacated() {
    let (hook, server) = serve(json!({ "webhook_grace": 1 })).await;
    let mut client = PusherClient::connect(&server).await;
    client.subscribe("news").await;
    client.leave("news").await;
    client.subscribe("news").await;
    drop(client);
    let names = tells(&hook, 2).await;
    assert_eq!(names, [json!({ "name": "channel_occupied" }), json!({ "name": "channel_vacated" })]);
}

#[tokio::test]
async fn pc_178_members_come_and_go_for_good() {
    let (hook, server) = serve(json!({ "webhook_grace": 1 })).await;
    let (mut one, mut other) = (PusherClient::connect(&server).await, PusherClient::connect(&server).await);
    one.join("presence-a", json!(7)).await;
    other.join("presence-a", json!("7")).await;
    one.leave("presence-a").await;
    other.leave("presence-a").await;
    one.join("presence-a", json!("7")).await;
    drop((one, other));
    let event = |name| json!({ "name": name, "user_id": "7" });
    let told = tells(&hook, 4).await;
    let bare = |name| json!({ "name": name });
    assert_eq!(
        told,
        [bare("channel_occupied"), event("member_added"), event("member_removed"), bare("channel_vacated")]
    );
}

#[tokio::test]
async fn pc_179_client_events_are_told_as_subscribers_get_them() {
    let (hook, server) = serve(json!({})).await;
    let mut client = PusherClient::connect(&server).await;
    client.join("presence-a", json!("7")).await;
    let said = json!({ "event": "client-typing", "channel": "presence-a", "data": { "a": [1] } });
    client.say(said).await;
    let expected = json!({
        "name": "client_event", "event": "client-typing", "data": "{\"a\":[1]}",
        "socket_id": client.id, "user_id": "7",
    });
    assert_eq!(tells(&hook, 3).await[2], expected);
}

#[tokio::test]
async fn pc_179_nobody_is_named_on_a_private_channel() {
    let (hook, server) = serve(json!({})).await;
    let mut client = PusherClient::connect(&server).await;
    client.subscribe("private-a").await;
    client.say(json!({ "event": "client-a", "channel": "private-a", "data": "text" })).await;
    let expected =
        json!({ "name": "client_event", "event": "client-a", "data": "text", "socket_id": client.id });
    assert_eq!(tells(&hook, 2).await[1], expected);
}

#[tokio::test]
async fn pc_180_a_cache_that_misses_is_told_once() {
    let (hook, server) = serve(json!({ "webhook_grace": 0 })).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = PusherClient::connect(&server).await;
        client.subscribe("cache-a").await;
        clients.push(client);
    }
    drop(clients);
    let names: Vec<_> = tells(&hook, 3).await.iter().map(|event| event["name"].clone()).collect();
    assert_eq!(names, ["channel_occupied", "cache_miss", "channel_vacated"]);
}

#[tokio::test]
async fn pc_181_counts_are_told_as_integers() {
    let (hook, server) = serve(json!({ "subscription_count": true, "webhook_grace": 0 })).await;
    let (mut one, mut other) = (PusherClient::connect(&server).await, PusherClient::connect(&server).await);
    one.subscribe("a").await;
    other.subscribe("a").await;
    one.leave("a").await;
    other.leave("a").await;
    let count = |count| json!({ "name": "subscription_count", "subscription_count": count });
    let bare = |name| json!({ "name": name });
    let expected = [bare("channel_occupied"), count(1), count(2), count(1), bare("channel_vacated")];
    assert_eq!(tells(&hook, 5).await, expected);
}

#[tokio::test]
async fn the_channels_of_users_and_apps_without_webhooks_tell_nothing() {
    let (hook, server) = serve(json!({ "webhook_grace": 0 })).await;
    let mut client = PusherClient::connect(&server).await;
    configure(&server, json!({ "webhooks": null })).await;
    client.subscribe("a").await;
    configure(&server, json!({ "webhooks": [{ "url": hook.url() }] })).await;
    assert_eq!(client.sign_in(json!({ "id": "7" })).await["event"], "pusher:signin_success");
    client.subscribe("#server-to-user-7").await;
    client.subscribe("b").await;
    drop(client);
    // Everybody else's lot is told at the end of a node at the latest.
    hook.until_asked(3).await;
    server.stop().await;
    let mut told: Vec<_> =
        told(&hook).iter().map(|event| (event["name"].to_string(), event["channel"].to_string())).collect();
    told.sort();
    let expected = [("channel_occupied", "b"), ("channel_vacated", "a"), ("channel_vacated", "b")];
    assert_eq!(told, expected.map(|(name, channel)| (format!("{name:?}"), format!("{channel:?}"))));
}

#[tokio::test]
async fn who_is_gone_when_a_node_stops_is_told_of_by_the_next() {
    let (directory, hook) = (Directory::new(), Hook::answering(200, "").await);
    let database = directory.path("gusher.db");
    let settings = [("sqlfile", database.to_str().expect("a path in UTF-8"))];
    let server = Server::with(&settings).await;
    register(&server, json!({ "webhook_grace": 60, "webhooks": [{ "url": hook.url() }] })).await;
    let mut client = PusherClient::connect(&server).await;
    client.subscribe("a").await;
    hook.until_asked(1).await;
    client.leave("a").await;
    drop(client);
    server.stop().await;
    let _next = Server::with(&settings).await;
    assert_eq!(tells(&hook, 2).await[1], json!({ "name": "channel_vacated" }));
}
