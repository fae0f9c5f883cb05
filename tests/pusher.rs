//! Pusher Channels over real sockets: what every official SDK builds on.

mod support;

use futures_util::StreamExt;
use gusher::dialect::signature::hmac_hex;
use md5::{Digest, Md5};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::{Answer, Client, Server, send};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const SECRET: &str = "a-shared-secret";

async fn server() -> Server {
    let server = Server::start().await;
    let fields = [
        ("app_key", "key"),
        ("auth_account", "admin"),
        ("auth_password", "secret"),
        ("app_id", "77"),
        ("app_secret", SECRET),
    ];
    assert_eq!(server.post("/api/register", &fields).await.status, StatusCode::OK);
    server
}

/// A client, and the id that the server gave it.
async fn connect(server: &Server) -> (Client, String) {
    let mut client = open(server, "/app/key?protocol=7&client=js&version=8.6.0&flash=false").await;
    let established = next(&mut client).await;
    assert_eq!(established["event"], "pusher:connection_established");
    let data: Value = serde_json::from_str(established["data"].as_str().unwrap()).unwrap();
    assert_eq!(data["activity_timeout"], 120);
    (client, data["socket_id"].as_str().unwrap().to_owned())
}

async fn open(server: &Server, path: &str) -> Client {
    let (socket, _) = connect_async(format!("ws://{}{path}", server.public())).await.expect("upgraded");
    Client { socket }
}

async fn next(client: &mut Client) -> Value {
    serde_json::from_str(&client.text().await).expect("every message is JSON")
}

async fn say(client: &mut Client, message: Value) {
    client.send(Message::text(message.to_string())).await;
}

async fn subscribe(client: &mut Client, data: Value) -> Value {
    say(client, json!({ "event": "pusher:subscribe", "data": data })).await;
    next(client).await
}

/// Subscribes as a member of a presence channel.
async fn join(client: &mut Client, id: &str, channel: &str, user: &str) -> Value {
    let channel_data = json!({ "user_id": user, "user_info": { "name": user } }).to_string();
    let auth = format!("key:{}", hmac_hex(SECRET, &format!("{id}:{channel}:{channel_data}")));
    subscribe(client, json!({ "channel": channel, "auth": auth, "channel_data": channel_data })).await
}

/// A signed call, as every server SDK makes it.
async fn call(server: &Server, method: Method, path: &str, query: &str, body: &str) -> Answer {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut parameters = vec![format!("auth_key=key&auth_timestamp={now}&auth_version=1.0")];
    if !body.is_empty() {
        parameters.push(format!("body_md5={}", hex::encode(Md5::digest(body))));
    }
    // Each name that a test adds sorts behind these.
    parameters.extend((!query.is_empty()).then(|| query.to_owned()));
    let query = parameters.join("&");
    let signature = hmac_hex(SECRET, &format!("{method}\n{path}\n{query}"));
    let url = format!("http://{}{path}?{query}&auth_signature={signature}", server.public());
    send(reqwest::Client::new().request(method, url).body(body.to_owned())).await
}

async fn trigger(server: &Server, event: Value) -> Answer {
    call(server, Method::POST, "/apps/77/events", "", &event.to_string()).await
}

#[tokio::test]
async fn an_event_reaches_the_subscribers_of_its_channel_as_it_was_published() {
    let server = server().await;
    let ((mut one, _), (mut other, _)) = (connect(&server).await, connect(&server).await);
    let reply = subscribe(&mut one, json!({ "channel": "news", "auth": "" })).await;
    assert_eq!(
        reply,
        json!({ "event": "pusher_internal:subscription_succeeded", "channel": "news", "data": "{}" })
    );
    subscribe(&mut other, json!({ "channel": "other" })).await;
    let data = "not json \u{2028} \\u00e9 😀";
    let answer = trigger(&server, json!({ "name": "ev", "channels": ["news"], "data": data })).await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "{}"));
    assert_eq!(answer.header("Content-Type"), "application/json");
    assert_eq!(next(&mut one).await, json!({ "event": "ev", "channel": "news", "data": data }));
    trigger(&server, json!({ "name": "last", "channels": ["other", "news"], "data": "" })).await;
    assert_eq!(next(&mut other).await["event"], "last");
}

#[tokio::test]
async fn many_events_of_one_publisher_arrive_in_order() {
    let server = server().await;
    let (mut client, _) = connect(&server).await;
    subscribe(&mut client, json!({ "channel": "news" })).await;
    for number in 0..200 {
        trigger(&server, json!({ "name": "n", "channel": "news", "data": number.to_string() })).await;
    }
    for number in 0..200 {
        assert_eq!(next(&mut client).await["data"], number.to_string());
    }
}

#[tokio::test]
async fn the_socket_that_caused_an_event_is_spared_it() {
    let server = server().await;
    let ((mut one, id), (mut other, _)) = (connect(&server).await, connect(&server).await);
    subscribe(&mut one, json!({ "channel": "news" })).await;
    subscribe(&mut other, json!({ "channel": "news" })).await;
    trigger(&server, json!({ "name": "first", "channel": "news", "data": "" })).await;
    trigger(&server, json!({ "name": "spared", "channel": "news", "data": "", "socket_id": id })).await;
    trigger(&server, json!({ "name": "last", "channel": "news", "data": "" })).await;
    for (client, events) in [(&mut one, &["first", "last"][..]), (&mut other, &["first", "spared", "last"])] {
        for event in events {
            assert_eq!(next(client).await["event"], *event);
        }
    }
}

#[tokio::test]
async fn subscribing_and_unsubscribing_back_to_back_ends_subscribed() {
    let server = server().await;
    let (mut client, _) = connect(&server).await;
    for event in ["pusher:subscribe", "pusher:unsubscribe", "pusher:subscribe", "pusher:subscribe"] {
        say(&mut client, json!({ "event": event, "data": { "channel": "news" } })).await;
    }
    assert_eq!(next(&mut client).await["event"], "pusher_internal:subscription_succeeded");
    assert_eq!(next(&mut client).await["event"], "pusher_internal:subscription_succeeded");
    let error = next(&mut client).await;
    assert_eq!(error["data"], json!({ "code": null, "message": "Existing subscription to channel news" }));
}

#[tokio::test]
async fn a_private_channel_asks_for_a_signature() {
    let server = server().await;
    let (mut client, id) = connect(&server).await;
    let signed = |channel: &str| format!("key:{}", hmac_hex(SECRET, &format!("{id}:{channel}")));
    for auth in [json!(""), json!("key:00"), json!(signed("private-y")), json!("nokey")] {
        let error = subscribe(&mut client, json!({ "channel": "private-x", "auth": auth })).await;
        assert_eq!(error["event"], "pusher:error");
        assert_eq!(next(&mut client).await["event"], "pusher:subscription_error");
    }
    for channel in ["private-x", "private-encrypted-x"] {
        let reply = subscribe(&mut client, json!({ "channel": channel, "auth": signed(channel) })).await;
        assert_eq!(reply["data"], "{}");
    }
}

#[tokio::test]
async fn members_of_a_presence_channel_see_each_other_come_and_go() {
    let server = server().await;
    let ((mut a, id_a), (mut b, id_b)) = (connect(&server).await, connect(&server).await);
    join(&mut a, &id_a, "presence-x", "a").await;
    let roster = join(&mut b, &id_b, "presence-x", "b").await;
    let data: Value = serde_json::from_str(roster["data"].as_str().unwrap()).unwrap();
    assert_eq!(
        data["presence"],
        json!({ "ids": ["a", "b"], "hash": { "a": { "name": "a" }, "b": { "name": "b" } }, "count": 2 })
    );
    let added = next(&mut a).await;
    assert_eq!(added["event"], "pusher_internal:member_added");
    assert_eq!(added["data"], r#"{"user_id":"b","user_info":{"name":"b"}}"#);
    let (mut again, id_again) = connect(&server).await;
    join(&mut again, &id_again, "presence-x", "b").await;
    b.close().await;
    again.close().await;
    let removed = next(&mut a).await;
    assert_eq!(removed["event"], "pusher_internal:member_removed");
    assert_eq!(removed["data"], r#"{"user_id":"b"}"#);
    let users = call(&server, Method::GET, "/apps/77/channels/presence-x/users", "", "").await;
    assert_eq!(users.text, r#"{"users":[{"id":"a"}]}"#);
}

#[tokio::test]
async fn nobody_hears_of_a_member_it_was_told_of_already() {
    let server = server().await;
    let mut clients = Vec::new();
    for number in 0..20 {
        let (mut client, id) = connect(&server).await;
        let reply = join(&mut client, &id, "presence-x", &format!("u{number}")).await;
        let data: Value = serde_json::from_str(reply["data"].as_str().unwrap()).unwrap();
        assert_eq!(data["presence"]["count"], number + 1);
        clients.push(client);
    }
    trigger(&server, json!({ "name": "end", "channel": "presence-x", "data": "" })).await;
    for (number, client) in clients.iter_mut().enumerate() {
        for later in number + 1..20 {
            let added = next(client).await["data"].as_str().unwrap().to_owned();
            assert!(added.contains(&format!("\"u{later}\"")), "{added}");
        }
        assert_eq!(next(client).await["event"], "end");
    }
}

#[tokio::test]
async fn a_client_event_reaches_the_others_with_its_true_sender() {
    let server = server().await;
    let ((mut a, id_a), (mut b, id_b)) = (connect(&server).await, connect(&server).await);
    join(&mut a, &id_a, "presence-x", "a").await;
    join(&mut b, &id_b, "presence-x", "b").await;
    next(&mut a).await;
    let event =
        json!({ "event": "client-hi", "channel": "presence-x", "data": { "x": 1 }, "user_id": "forged" });
    say(&mut a, event).await;
    let expected =
        json!({ "event": "client-hi", "channel": "presence-x", "data": "{\"x\":1}", "user_id": "a" });
    assert_eq!(next(&mut b).await, expected);
    for _ in 0..10 {
        say(&mut a, json!({ "event": "client-hi", "channel": "presence-x", "data": "" })).await;
    }
    assert_eq!(next(&mut a).await["data"]["code"], 4301);
}

#[tokio::test]
async fn who_may_not_connect_is_told_after_the_upgrade() {
    let server = server().await;
    for (path, code) in [
        ("/app/unknown?protocol=7", 4001),
        ("/app/key?protocol=abc", 4006),
        ("/app/key?protocol=99", 4007),
        ("/elsewhere", 4005),
    ] {
        let mut client = open(&server, path).await;
        let error = next(&mut client).await;
        assert_eq!(
            (&error["event"], &error["data"]["code"]),
            (&json!("pusher:error"), &json!(code)),
            "{path}"
        );
        assert_eq!(client.closed().await.0, code, "{path}");
    }
}

#[tokio::test]
async fn an_offered_subprotocol_is_taken() {
    let server = server().await;
    let mut request = format!("ws://{}/app/key", server.public()).into_client_request().unwrap();
    let offered = "pusher-channels-protocol-7";
    request.headers_mut().insert("Sec-WebSocket-Protocol", offered.parse().unwrap());
    let (_socket, response) = connect_async(request).await.unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], offered);
}

#[tokio::test]
async fn a_call_that_is_not_signed_well_is_refused() {
    let server = server().await;
    let path = "/apps/77/events";
    let post = |url: String| send(reqwest::Client::new().post(url).body("{}"));
    let unsigned = post(format!("http://{}{path}", server.public())).await;
    assert_eq!(unsigned.status, StatusCode::UNAUTHORIZED);
    let unknown = post(format!("http://{}/apps/1/events", server.private())).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let wrong = call(&server, Method::POST, path, "auth_timestamp=1", "{}").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn nonsense_is_answered_and_the_socket_stays() {
    let server = server().await;
    let (mut client, _) = connect(&server).await;
    for text in ["", "[]", "{", "{\"event\":1}", "{\"event\":\"foo\"}", &"[".repeat(10_000)] {
        client.send(Message::text(text)).await;
        assert_eq!(next(&mut client).await["data"]["code"], Value::Null, "{text:.20}");
    }
    client.send(Message::binary(vec![0])).await;
    assert_eq!(next(&mut client).await["event"], "pusher:error");
    say(&mut client, json!({ "event": "pusher:ping", "data": null })).await;
    assert_eq!(next(&mut client).await, json!({ "event": "pusher:pong", "data": "{}" }));
}

#[tokio::test]
async fn a_node_that_stops_asks_its_clients_to_reconnect() {
    let server = server().await;
    let (mut client, _) = connect(&server).await;
    let stopping = tokio::spawn(server.stop());
    assert_eq!(client.closed().await.0, 4200);
    drop(client.socket.next().await);
    drop(client);
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_push_of_the_original_dialect_does_not_reach_channels() {
    let server = server().await;
    let (mut client, _) = connect(&server).await;
    subscribe(&mut client, json!({ "channel": "news" })).await;
    let pushed = server.push("key", "for tags only").await;
    assert_eq!(pushed.json()["sockets"], 0);
    trigger(&server, json!({ "name": "end", "channel": "news", "data": "" })).await;
    assert_eq!(next(&mut client).await["event"], "end");
    assert!(server.online("key").await.is_empty());
}
