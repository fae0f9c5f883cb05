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
async fn pc_045_an_event_reaches_the_subscribers_of_its_channel_as_it_was_published() {
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
async fn pc_049_many_events_of_one_publisher_arrive_in_order() {
    let server = server().await;
    let (mut client, _) = connect(&server).await;
    subscribe(&mut client, json!({ "channel": "news" })).await;
    for number in 0..500 {
        trigger(&server, json!({ "name": "n", "channel": "news", "data": number.to_string() })).await;
    }
    for number in 0..500 {
        assert_eq!(next(&mut client).await["data"], number.to_string());
    }
}

#[tokio::test]
async fn pc_151_the_socket_that_caused_an_event_is_spared_it() {
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
async fn pc_044_subscribing_and_unsubscribing_back_to_back_ends_subscribed() {
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
async fn pc_065_members_of_a_presence_channel_see_each_other_come_and_go() {
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
async fn pc_079_nobody_hears_of_a_member_it_was_told_of_already() {
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
async fn pc_121_a_client_event_reaches_the_others_with_its_true_sender() {
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
async fn pc_011_who_may_not_connect_is_told_after_the_upgrade() {
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
async fn pc_017_an_offered_subprotocol_is_taken() {
    let server = server().await;
    let mut request = format!("ws://{}/app/key", server.public()).into_client_request().unwrap();
    let offered = "pusher-channels-protocol-7";
    request.headers_mut().insert("Sec-WebSocket-Protocol", offered.parse().unwrap());
    let (_socket, response) = connect_async(request).await.unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], offered);
}

#[tokio::test]
async fn pc_136_a_call_that_is_not_signed_well_is_refused() {
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
async fn pc_024_nonsense_is_answered_and_the_socket_stays() {
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
async fn a_single_node_that_stops_asks_its_clients_to_come_back_in_a_second() {
    let server = server().await;
    let (mut client, _) = connect(&server).await;
    let stopping = tokio::spawn(server.stop());
    assert_eq!(client.closed().await.0, 4100);
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

/// Errors leave the socket open: a ping is answered next.
async fn error(client: &mut Client, message: Value) -> String {
    say(client, message).await;
    let answer = next(client).await;
    assert_eq!((&answer["event"], &answer["data"]["code"]), (&json!("pusher:error"), &Value::Null));
    answer["data"]["message"].as_str().unwrap().to_owned()
}

async fn still_open(client: &mut Client) {
    say(client, json!({ "event": "pusher:ping" })).await;
    assert_eq!(next(client).await, json!({ "event": "pusher:pong", "data": "{}" }));
}

fn message(event: &str, channel: &str) -> Value {
    json!({ "event": event, "data": { "channel": channel } })
}

#[tokio::test]
async fn pc_001_the_first_message_greets() {
    let server = server().await;
    for protocol in ["protocol=7", "protocol=7&flash=false&x=y", "protocol=7&version=0.0.0-dev", ""] {
        let mut client = open(&server, &format!("/app/key?{protocol}")).await;
        assert_eq!(next(&mut client).await["event"], "pusher:connection_established");
    }
}

#[tokio::test]
async fn pc_005_every_protocol_is_told_the_activity_timeout() {
    let server = server().await;
    for protocol in 4..=7 {
        let mut client = open(&server, &format!("/app/key?protocol={protocol}")).await;
        let data: Value = serde_json::from_str(next(&mut client).await["data"].as_str().unwrap()).unwrap();
        assert_eq!(data["activity_timeout"], 120);
    }
}

#[tokio::test]
async fn pc_007_a_protocol_that_is_no_number_is_refused() {
    let mut client = open(&server().await, "/app/key?protocol=abc").await;
    assert_eq!(next(&mut client).await["data"]["code"], 4006);
    assert_eq!(client.closed().await.0, 4006);
}

#[tokio::test]
async fn pc_008_a_protocol_that_is_not_spoken_is_refused() {
    let server = server().await;
    for protocol in [1, 99] {
        let mut client = open(&server, &format!("/app/key?protocol={protocol}")).await;
        assert_eq!(next(&mut client).await["data"]["code"], 4007);
        assert_eq!(client.closed().await.0, 4007);
    }
}

#[tokio::test]
async fn pc_015_an_upgrade_elsewhere_is_told_so() {
    let mut client = open(&server().await, "/elsewhere").await;
    assert_eq!(next(&mut client).await["data"]["code"], 4005);
    let (code, reason) = client.closed().await;
    assert_eq!((code, reason.as_str()), (4005, "Path not found"));
}

#[tokio::test]
async fn pc_027_an_unknown_event_is_named() {
    let (mut client, _) = connect(&server().await).await;
    let text = error(&mut client, json!({ "event": "foo", "extra": 1 })).await;
    assert_eq!(text, "Unsupported event received on socket: foo");
    still_open(&mut client).await;
}

#[tokio::test]
async fn pc_028_a_client_cannot_speak_for_the_server() {
    let server = server().await;
    let ((mut one, _), (mut other, _)) = (connect(&server).await, connect(&server).await);
    subscribe(&mut other, json!({ "channel": "news" })).await;
    let forged = json!({ "event": "pusher_internal:member_added", "channel": "news", "data": "{}" });
    error(&mut one, forged).await;
    still_open(&mut other).await;
}

#[tokio::test]
async fn pc_029_a_binary_frame_is_refused_in_words() {
    let (mut client, _) = connect(&server().await).await;
    client.send(Message::binary(br#"["pusher:ping"]"#.to_vec())).await;
    assert_eq!(next(&mut client).await["data"]["message"], "Binary frames are not supported");
    still_open(&mut client).await;
}

#[tokio::test]
async fn json_in_a_binary_frame_is_read_as_text() {
    let (mut client, _) = connect(&server().await).await;
    let ping = r#" {"event":"pusher:ping","more":"é😀"}"#;
    let utf_16 = |text: &str| text.trim().encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    for bytes in [ping.as_bytes().to_vec(), utf_16(ping)] {
        client.send(Message::binary(bytes)).await;
        assert_eq!(next(&mut client).await, json!({ "event": "pusher:pong", "data": "{}" }));
    }
    client.send(Message::binary(utf_16("{\"event\":"))).await;
    assert_eq!(next(&mut client).await["data"]["message"], "Invalid message format");
    still_open(&mut client).await;
}

#[tokio::test]
async fn events_are_taken_as_backends_published_them_before_2013() {
    let server = server().await;
    let (mut client, _) = connect(&server).await;
    subscribe(&mut client, json!({ "channel": "news" })).await;
    let (path, body) = ("/apps/77/channels/news/events", r#"{"price":1.10}"#);
    let now = jiff::Timestamp::now().as_second();
    // As the Perl library signs it: escaped, and a socket that it was not given without a value.
    let md5 = hex::encode(Md5::digest(body));
    let query = format!(
        "auth_key=key&auth_timestamp={now}&auth_version=1.0&body_md5={md5}&name=my+event%21&socket_id"
    );
    let signature = hmac_hex(SECRET, &format!("POST\n{path}\n{query}"));
    let call = server.public_call(Method::POST, &format!("{path}?{query}&auth_signature={signature}"));
    let answer = send(call.body(body)).await;
    assert_eq!((answer.status.as_u16(), &*answer.text), (202, "202 ACCEPTED\n"));
    let event = next(&mut client).await;
    assert_eq!(event, json!({ "event": "my event!", "channel": "news", "data": body }));
    let changed = query.replace("event%21", "event%22");
    let call = server.public_call(Method::POST, &format!("{path}?{changed}&auth_signature={signature}"));
    assert_eq!(send(call.body(body)).await.status, 401);
}

#[tokio::test]
async fn pc_030_a_message_above_the_limit_closes() {
    let (mut client, _) = connect(&server().await).await;
    client.send(Message::text("x".repeat(65_537))).await;
    let (code, reason) = client.closed().await;
    assert_eq!((code, reason.is_empty()), (1009, false));
}

#[tokio::test]
async fn pc_039_names_hold_the_documented_characters() {
    let (mut client, _) = connect(&server().await).await;
    for name in ["a_b", "a-b", "a=b", "a@b", "a,b", "a.b", "a;b"] {
        let reply = subscribe(&mut client, json!({ "channel": name })).await;
        assert_eq!(reply["event"], "pusher_internal:subscription_succeeded", "{name}");
    }
    for name in ["a b", "a/b", "a:b", "#a", "é", ""] {
        let text = error(&mut client, message("pusher:subscribe", name)).await;
        assert_eq!(text, format!("Invalid channel name: {name}"));
        assert_eq!(next(&mut client).await["event"], "pusher:subscription_error");
    }
}

#[tokio::test]
async fn pc_040_names_have_at_most_200_characters() {
    let (mut client, _) = connect(&server().await).await;
    let reply = subscribe(&mut client, json!({ "channel": "c".repeat(200) })).await;
    assert_eq!(reply["event"], "pusher_internal:subscription_succeeded");
    let text = error(&mut client, message("pusher:subscribe", &"c".repeat(201))).await;
    assert!(text.starts_with("Channel name too long"), "{text}");
}

#[tokio::test]
async fn pc_041_a_second_subscribe_changes_nothing() {
    let server = server().await;
    let (mut client, _) = connect(&server).await;
    subscribe(&mut client, json!({ "channel": "news" })).await;
    let text = error(&mut client, message("pusher:subscribe", "news")).await;
    assert_eq!(text, "Existing subscription to channel news");
    trigger(&server, json!({ "name": "once", "channel": "news", "data": "" })).await;
    assert_eq!(next(&mut client).await["event"], "once");
    still_open(&mut client).await;
}

#[tokio::test]
async fn pc_043_who_is_not_subscribed_cannot_unsubscribe() {
    let (mut client, _) = connect(&server().await).await;
    let text = error(&mut client, message("pusher:unsubscribe", "news")).await;
    assert_eq!(text, "No current subscription to channel news, or subscription in progress");
}

#[tokio::test]
async fn pc_047_data_keeps_every_byte() {
    let server = server().await;
    let (mut client, _) = connect(&server).await;
    subscribe(&mut client, json!({ "channel": "news" })).await;
    let text = "😀\u{2028}\\u00e9\"\n\t";
    let data = format!("{text}{}", "d".repeat(10_240 - text.len()));
    trigger(&server, json!({ "name": "e", "channel": "news", "data": data })).await;
    assert_eq!(next(&mut client).await["data"], data);
}

#[tokio::test]
async fn pc_063_the_first_member_sees_itself() {
    let server = server().await;
    let (mut client, id) = connect(&server).await;
    let reply = join(&mut client, &id, "presence-x", "a").await;
    let data: Value = serde_json::from_str(reply["data"].as_str().unwrap()).unwrap();
    assert_eq!(data["presence"], json!({ "ids": ["a"], "hash": { "a": { "name": "a" } }, "count": 1 }));
}

#[tokio::test]
async fn pc_076_a_full_channel_takes_nobody_until_somebody_leaves() {
    let server = server().await;
    let mut members = Vec::new();
    for number in 0..100 {
        let (mut client, id) = connect(&server).await;
        join(&mut client, &id, "presence-x", &format!("u{number}")).await;
        members.push(client);
    }
    let (mut late, id) = connect(&server).await;
    assert_eq!(join(&mut late, &id, "presence-x", "late").await["event"], "pusher:error");
    assert!(next(&mut late).await["data"].as_str().unwrap().contains("LimitReached"));
    members.pop().unwrap().close().await;
    let reply = join(&mut late, &id, "presence-x", "late").await;
    assert_eq!(reply["event"], "pusher_internal:subscription_succeeded");
}

#[tokio::test]
async fn pc_119_a_client_that_sends_too_fast_is_told_so() {
    let server = server().await;
    let (mut client, id) = connect(&server).await;
    join(&mut client, &id, "presence-x", "a").await;
    for _ in 0..11 {
        say(&mut client, json!({ "event": "client-hi", "channel": "presence-x", "data": "" })).await;
    }
    assert_eq!(next(&mut client).await["data"]["code"], 4301);
    still_open(&mut client).await;
}

#[tokio::test]
async fn pc_126_a_ping_is_answered_with_its_payload() {
    let (mut client, _) = connect(&server().await).await;
    client.send(Message::Ping("payload".into())).await;
    assert_eq!(client.next().await, Message::Pong("payload".into()));
}

#[tokio::test]
async fn pc_129_a_pong_that_nobody_asked_for_is_passed_over() {
    let (mut client, _) = connect(&server().await).await;
    say(&mut client, json!({ "event": "pusher:pong", "data": {} })).await;
    still_open(&mut client).await;
}

#[tokio::test]
async fn pc_152_a_socket_to_spare_need_not_be_there() {
    let server = server().await;
    let event = |id: &str| json!({ "name": "e", "channel": "a", "data": "", "socket_id": id });
    assert_eq!(trigger(&server, event("1.2")).await.status, StatusCode::OK);
    assert_eq!(trigger(&server, event("1-2")).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn pc_161_one_bad_event_keeps_the_whole_batch_back() {
    let server = server().await;
    let (mut client, _) = connect(&server).await;
    subscribe(&mut client, json!({ "channel": "news" })).await;
    let good = json!({ "name": "good", "channel": "news", "data": "" });
    let batch = json!({ "batch": [good, { "name": "bad", "channel": "b a d", "data": "" }] }).to_string();
    let answer = call(&server, Method::POST, "/apps/77/batch_events", "", &batch).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    trigger(&server, json!({ "name": "end", "channel": "news", "data": "" })).await;
    assert_eq!(next(&mut client).await["event"], "end");
}
