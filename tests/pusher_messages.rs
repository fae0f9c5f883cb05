//! Pusher Channels over real sockets: what messages look like, who gets them, and who does not.

mod support;

use std::collections::HashSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use support::Server;
use support::pusher::{PusherClient, SECRET, call, call_as, configure, register, serve, trigger};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

/// What the `data` of a message hold as JSON.
fn data(message: &Value) -> Value {
    serde_json::from_str(message["data"].as_str().expect("a text")).expect("JSON in it")
}

fn error(message: &Value) -> &str {
    assert_eq!(message["event"], "pusher:error", "{message}");
    message["data"]["message"].as_str().expect("a text")
}

#[tokio::test]
async fn pc_004_no_two_of_10_000_connections_have_the_same_id() {
    let server = serve(json!({})).await;
    let mut ids = HashSet::new();
    for _ in 0..100 {
        let hundred = (0..100).map(|_| PusherClient::connect(&server));
        ids.extend(futures_util::future::join_all(hundred).await.into_iter().map(|client| client.id));
    }
    assert_eq!(ids.len(), 10_000);
}

#[tokio::test]
async fn pc_006_unknown_query_parameters_are_ignored() {
    let server = serve(json!({})).await;
    let path = "/app/key?protocol=7&flash=false&unknown=1&unknown=%F0%9F&=&&;x";
    PusherClient::connect_to(&server, path).await.subscribe("news").await;
}

#[tokio::test]
async fn pc_010_any_version_of_a_library_is_welcome() {
    let server = serve(json!({})).await;
    for version in ["8.4.0-rc2", "", "%00", "0", "latest%20one"] {
        let path = format!("/app/key?protocol=7&client=js&version={version}");
        PusherClient::connect_to(&server, &path).await.subscribe("news").await;
    }
}

#[tokio::test]
async fn pc_021_a_node_that_stops_sends_newcomers_away() {
    // What is sent in two pieces is sent as it is written.
    let server = Server::plain(&[]).await;
    register(&server, json!({})).await;
    // Accepted before the node stops, heard to the end after.
    let mut late = TcpStream::connect(server.public()).await.expect("accepted");
    late.write_all(b"GET /app/key?protocol=7 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n")
        .await
        .expect("sent");
    let mut early = PusherClient::connect(&server).await;
    let newcomer = async {
        // After a second, as there is no other node.
        assert_eq!(early.client.closed().await.0, 4100);
        let rest = "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        drop(early);
        let mut answer = Vec::new();
        late.write_all(rest.as_bytes()).await.expect("heard");
        late.read_to_end(&mut answer).await.expect("closed in order");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let ((), answer) = tokio::join!(server.stop(), newcomer);
    assert!(answer.contains("\"code\":4100"), "{answer}");
}

#[tokio::test]
async fn pc_022_every_message_is_a_text_frame_with_one_object() {
    let server = serve(json!({ "subscription_count": true, "watchlists": true })).await;
    let (mut client, mut other) =
        (PusherClient::connect(&server).await, PusherClient::connect(&server).await);
    client.sign_in(json!({ "id": "1", "watchlist": ["2"] })).await;
    client.join("presence-a", json!("1")).await;
    for channel in ["cache-a", "private-a"] {
        client.say(json!({ "event": "pusher:subscribe", "data": { "channel": channel } })).await;
    }
    client.say(json!({ "event": "pusher:ping" })).await;
    other.sign_in(json!({ "id": "2" })).await;
    other.join("presence-a", json!("2")).await;
    other.say(json!({ "event": "client-a", "channel": "presence-a" })).await;
    other.leave("presence-a").await;
    trigger(&server, "presence-a", "published", "d").await;
    let mut awaited = HashSet::from([
        "client-a",
        "published",
        "pusher:cache_miss",
        "pusher:error",
        "pusher:pong",
        "pusher:subscription_error",
        "pusher_internal:member_added",
        "pusher_internal:member_removed",
        "pusher_internal:subscription_count",
        "pusher_internal:subscription_succeeded",
        "pusher_internal:watchlist_events",
    ]);
    // Of what is said and what is published, either may come first.
    while !awaited.is_empty() {
        let Message::Text(text) = client.client.next().await else { panic!("no text") };
        let message: serde_json::Map<String, Value> = serde_json::from_str(&text).expect("one object");
        awaited.remove(message["event"].as_str().expect("a text"));
    }
}

#[tokio::test]
async fn pc_025_what_is_no_object_is_refused_and_the_socket_stays() {
    let server = serve(json!({})).await;
    let mut client = PusherClient::connect(&server).await;
    for nonsense in [json!([]), json!("text"), json!(7), json!(null), json!(true), json!([{}])] {
        client.say(nonsense).await;
        error(&client.next().await);
    }
    client.subscribe("news").await;
}

#[tokio::test]
async fn pc_026_an_object_without_an_event_is_refused_and_the_socket_stays() {
    let server = serve(json!({})).await;
    let mut client = PusherClient::connect(&server).await;
    for nonsense in [json!({}), json!({ "data": {} }), json!({ "event": 7 }), json!({ "event": null })] {
        client.say(nonsense).await;
        error(&client.next().await);
    }
    client.subscribe("news").await;
}

#[tokio::test]
async fn pc_033_unknown_members_are_ignored() {
    let server = serve(json!({})).await;
    let mut client = PusherClient::connect(&server).await;
    let data = json!({ "channel": "news", "auth": "", "more": { "a": [1, 2] } });
    client.say(json!({ "more": [null], "event": "pusher:subscribe", "data": data, "id": 7 })).await;
    assert_eq!(client.next().await["event"], "pusher_internal:subscription_succeeded");
    client.say(json!({ "event": "pusher:ping", "data": {}, "channel": "x", "more": 1 })).await;
    assert_eq!(client.next().await["event"], "pusher:pong");
}

#[tokio::test]
async fn pc_036_a_close_says_why() {
    let server = serve(json!({})).await;
    for path in ["/app/unknown", "/app/key?protocol=x", "/app/key?protocol=99", "/nowhere"] {
        let (socket, _) = server.open(server.url("ws", server.public(), path)).await.expect("upgraded");
        let mut client = support::Client { socket };
        client.text().await;
        let (code, reason) = client.closed().await;
        assert!((4000..4300).contains(&code) && !reason.is_empty(), "{path}: {code} {reason:?}");
    }
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(PusherClient::connect(&server).await);
    }
    clients[0].client.send(Message::text("x".repeat(65_537))).await;
    let mut codes = vec![reasoned_close(&mut clients[0]).await];
    clients[1].sign_in(json!({ "id": "1" })).await;
    call(&server, Method::POST, "/apps/77/users/1/terminate_connections", "{}").await;
    codes.push(reasoned_close(&mut clients[1]).await);
    configure(&server, json!({ "enabled": false })).await;
    codes.push(reasoned_close(&mut clients[2]).await);
    assert_eq!(codes, [1009, 4009, 4003]);
}

/// The code of the close frame that must come next, with a reason.
async fn reasoned_close(client: &mut PusherClient) -> u16 {
    let (code, reason) = client.client.closed().await;
    assert!(!reason.is_empty(), "{code} comes without a reason");
    code
}

#[tokio::test]
async fn pc_037_a_subscription_is_confirmed_with_its_channel() {
    let server = serve(json!({})).await;
    let mut client = PusherClient::connect(&server).await;
    let expected = |channel| json!({ "event": "pusher_internal:subscription_succeeded", "channel": channel, "data": "{}" });
    for channel in ["news", "private-a", "cache-a", "private-cache-a"] {
        assert_eq!(client.subscribe(channel).await, expected(channel));
    }
}

#[tokio::test]
async fn pc_070_a_number_as_user_id_is_told_as_a_text() {
    let server = serve(json!({})).await;
    let (mut one, mut other) = (PusherClient::connect(&server).await, PusherClient::connect(&server).await);
    one.join("presence-a", json!("first")).await;
    let roster = data(&other.join("presence-a", json!(12_345_678_901_234_u64)).await);
    assert_eq!(roster["presence"]["ids"], json!(["first", "12345678901234"]));
    assert_eq!(data(&one.until("pusher_internal:member_added").await)["user_id"], "12345678901234");
    let users = call(&server, Method::GET, "/apps/77/channels/presence-a/users", "").await.json();
    assert_eq!(users, json!({ "users": [{ "id": "first" }, { "id": "12345678901234" }] }));
    other.say(json!({ "event": "client-a", "channel": "presence-a", "data": 1 })).await;
    assert_eq!(one.until("client-a").await["user_id"], "12345678901234");
    other.leave("presence-a").await;
    let removed = one.until("pusher_internal:member_removed").await;
    assert_eq!(data(&removed), json!({ "user_id": "12345678901234" }));
}

#[tokio::test]
async fn pc_071_a_member_of_whom_nothing_is_told_is_an_empty_object() {
    let server = serve(json!({})).await;
    let (mut one, mut other) = (PusherClient::connect(&server).await, PusherClient::connect(&server).await);
    let roster = data(&one.join("presence-a", json!("1")).await);
    assert_eq!(roster["presence"]["hash"], json!({ "1": {} }));
    other.join("presence-a", json!("2")).await;
    let added = data(&one.until("pusher_internal:member_added").await);
    assert_eq!(added, json!({ "user_id": "2", "user_info": {} }));
}

#[tokio::test]
async fn pc_074_channel_data_go_before_who_is_signed_in() {
    let server = serve(json!({})).await;
    let mut client = PusherClient::connect(&server).await;
    client.sign_in(json!({ "id": "signed-in", "user_info": { "a": 1 } })).await;
    let roster = data(&client.join("presence-a", json!("other")).await);
    assert_eq!(roster["presence"]["hash"], json!({ "other": {} }));
}

#[tokio::test]
async fn pc_089_events_of_clients_are_not_kept() {
    let server = serve(json!({})).await;
    let (mut one, mut other) = (PusherClient::connect(&server).await, PusherClient::connect(&server).await);
    one.subscribe("private-cache-a").await;
    one.until("pusher:cache_miss").await;
    one.say(json!({ "event": "client-a", "channel": "private-cache-a", "data": "d" })).await;
    one.settle().await;
    other.subscribe("private-cache-a").await;
    assert_eq!(other.next().await["event"], "pusher:cache_miss");
}

#[tokio::test]
async fn pc_092_what_is_encrypted_is_passed_on_byte_for_byte() {
    let server = serve(json!({})).await;
    let mut client = PusherClient::connect(&server).await;
    client.subscribe("private-encrypted-a").await;
    let encrypted = "{\"nonce\" : \"4sVYwy4j/8dCcjyxtPCWyk19GaaViaW9\",\n\"ciphertext\":\"\u{2028}\\/+=\" }";
    trigger(&server, "private-encrypted-a", "e", encrypted).await;
    assert_eq!(client.next().await["data"], encrypted);
}

#[tokio::test]
async fn pc_093_an_encrypted_channel_is_confirmed_with_an_empty_object() {
    let server = serve(json!({})).await;
    let mut client = PusherClient::connect(&server).await;
    assert_eq!(client.subscribe("private-encrypted-a").await["data"], "{}");
}

#[tokio::test]
async fn pc_096_members_are_not_counted_for_subscribers() {
    let server = serve(json!({ "subscription_count": true })).await;
    let mut client = PusherClient::connect(&server).await;
    client.join("presence-a", json!("1")).await;
    client.say(json!({ "event": "pusher:ping" })).await;
    assert_eq!(client.next().await["event"], "pusher:pong");
}

#[tokio::test]
async fn pc_103_who_signs_in_twice_as_the_same_succeeds_twice() {
    let server = serve(json!({})).await;
    let mut client = PusherClient::connect(&server).await;
    for _ in 0..2 {
        assert_eq!(client.sign_in(json!({ "id": "1" })).await["event"], "pusher:signin_success");
    }
}

#[tokio::test]
async fn pc_111_nobody_is_watched_unless_the_app_wants_it() {
    let server = serve(json!({ "watchlists": false })).await;
    let (mut one, mut other) = (PusherClient::connect(&server).await, PusherClient::connect(&server).await);
    one.sign_in(json!({ "id": "1", "watchlist": ["2"] })).await;
    other.sign_in(json!({ "id": "2" })).await;
    one.say(json!({ "event": "pusher:ping" })).await;
    assert_eq!(one.next().await["event"], "pusher:pong");
}

#[tokio::test]
async fn pc_122_a_client_cannot_claim_to_be_somebody() {
    let server = serve(json!({})).await;
    let (mut one, mut other) = (PusherClient::connect(&server).await, PusherClient::connect(&server).await);
    for channel in ["private-a", "private-b"] {
        one.subscribe(channel).await;
        other.subscribe(channel).await;
    }
    let forged =
        json!({ "event": "client-a", "channel": "private-a", "data": "d", "user_id": "root", "more": 1 });
    other.say(forged).await;
    assert_eq!(one.next().await, json!({ "event": "client-a", "channel": "private-a", "data": "d" }));
}

#[tokio::test]
async fn pc_123_a_client_event_of_one_byte_too_many_is_not_delivered() {
    let server = serve(json!({})).await;
    let (mut one, mut other) = (PusherClient::connect(&server).await, PusherClient::connect(&server).await);
    one.subscribe("private-a").await;
    other.subscribe("private-a").await;
    for (length, name) in [(10_241, "client-long"), (10_240, "client-fits")] {
        other.say(json!({ "event": name, "channel": "private-a", "data": "x".repeat(length) })).await;
    }
    error(&other.next().await);
    let passed = one.next().await;
    assert_eq!(
        (&passed["event"], passed["data"].as_str().map(str::len)),
        (&json!("client-fits"), Some(10_240))
    );
}

#[tokio::test]
async fn pc_125_a_ping_is_answered_whatever_its_data() {
    let server = serve(json!({})).await;
    let mut client = PusherClient::connect(&server).await;
    for ping in [
        "{\"event\":\"pusher:ping\",\"data\":{}}",
        "{\"event\":\"pusher:ping\",\"data\":null}",
        "{\"event\":\"pusher:ping\"}",
    ] {
        client.client.send(Message::text(ping)).await;
        assert_eq!(client.next().await["event"], "pusher:pong", "{ping}");
    }
}

#[tokio::test]
async fn pc_150_one_bad_channel_keeps_an_event_from_all() {
    let server = serve(json!({})).await;
    let mut client = PusherClient::connect(&server).await;
    client.subscribe("news").await;
    for channels in [json!(["news", "bad channel"]), json!(["news", ""]), json!(["a".repeat(201), "news"])] {
        let body = json!({ "name": "lost", "channels": channels, "data": "" }).to_string();
        let answer = call(&server, Method::POST, "/apps/77/events", &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{channels}");
    }
    trigger(&server, "news", "next", "").await;
    assert_eq!(client.next().await["event"], "next");
}

#[tokio::test]
async fn pc_173_unknown_routes_and_methods_are_told_apart() {
    let server = serve(json!({})).await;
    for path in ["/apps/77", "/apps/77/nothing", "/apps/77/channels/a/b", "/apps"] {
        assert_eq!(call(&server, Method::GET, path, "").await.status, StatusCode::NOT_FOUND, "{path}");
    }
    for (method, path) in [
        (Method::GET, "/apps/77/events"),
        (Method::POST, "/apps/77/channels"),
        (Method::DELETE, "/apps/77/channels/a"),
        (Method::PUT, "/apps/77/batch_events"),
    ] {
        let answer = call(&server, method.clone(), path, "").await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
    }
}

/// A second app, `other`, with the same secret.
async fn register_other(server: &Server) {
    let fields = [
        ("app_key", "other"),
        ("auth_account", "admin"),
        ("auth_password", "secret"),
        ("app_id", "78"),
        ("app_secret", SECRET),
    ];
    assert_eq!(server.post("/api/register", &fields).await.status, StatusCode::OK);
}

async fn trigger_other(server: &Server, channel: &str, event: &str) {
    let body = json!({ "name": event, "channel": channel, "data": "" }).to_string();
    let answer = call_as(server, "other", Method::POST, "/apps/78/events", &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
}

#[tokio::test]
async fn pc_189_channels_of_the_same_name_in_two_apps_know_nothing_of_each_other() {
    // One shard, so that nothing but their apps keeps the sockets apart.
    let server = Server::with(&[("node.shards", "1")]).await;
    register(&server, json!({})).await;
    register_other(&server).await;
    let mut one = PusherClient::connect(&server).await;
    let mut other = PusherClient::connect_to(&server, "/app/other?protocol=7").await;
    for (client, user) in [(&mut one, "1"), (&mut other, "2")] {
        let roster = data(&client.join("presence-a", json!(user)).await);
        assert_eq!(roster["presence"]["ids"], json!([user]));
        client.subscribe("private-a").await;
    }
    trigger(&server, "private-a", "of the one", "").await;
    one.say(json!({ "event": "client-a", "channel": "private-a", "data": "" })).await;
    assert_eq!(one.next().await["event"], "of the one");
    one.settle().await;
    trigger_other(&server, "private-a", "of the other").await;
    assert_eq!(other.next().await["event"], "of the other");
    trigger(&server, "private-a", "last", "").await;
    assert_eq!(one.next().await["event"], "last");
}

#[tokio::test]
async fn pc_189_what_one_app_keeps_and_counts_is_not_told_to_another() {
    let server = serve(json!({})).await;
    register_other(&server).await;
    let mut one = PusherClient::connect(&server).await;
    let mut other = PusherClient::connect_to(&server, "/app/other?protocol=7").await;
    trigger(&server, "cache-a", "kept", "").await;
    one.subscribe("cache-a").await;
    assert_eq!(one.next().await["event"], "kept");
    other.subscribe("cache-a").await;
    assert_eq!(other.next().await["event"], "pusher:cache_miss");
    one.join("presence-a", json!("1")).await;
    other.join("presence-a", json!("2")).await;
    for (key, id, user) in [("key", 77, "1"), ("other", 78, "2")] {
        let ask = async |path| call_as(&server, key, Method::GET, &format!("/apps/{id}/{path}"), "").await;
        assert_eq!(ask("channels").await.text, r#"{"channels":{"cache-a":{},"presence-a":{}}}"#);
        let users = ask("channels/presence-a/users").await.json();
        assert_eq!(users, json!({ "users": [{ "id": user }] }));
    }
    other.leave("cache-a").await;
    let channels = call_as(&server, "other", Method::GET, "/apps/78/channels", "").await;
    assert_eq!(channels.text, r#"{"channels":{"presence-a":{}}}"#);
    let foreign = call(&server, Method::GET, "/apps/78/channels", "").await;
    assert_eq!(foreign.status, StatusCode::UNAUTHORIZED, "the key of another app");
}

#[tokio::test]
async fn nobody_learns_whether_a_user_is_there_by_its_channel() {
    let server = serve(json!({})).await;
    let mut client = PusherClient::connect(&server).await;
    client.sign_in(json!({ "id": "7" })).await;
    client.subscribe("#server-to-user-7").await;
    let answer = call(&server, Method::GET, "/apps/77/channels/%23server-to-user-7", "").await;
    assert_eq!(answer.json(), json!({ "occupied": false }));
}
