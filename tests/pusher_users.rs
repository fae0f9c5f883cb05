//! Pusher Channels over real sockets: cache channels, users and their watchlists, counts, and what an app can be set to.

mod support;

use gusher::dialect::signature::hmac_hex;
use md5::{Digest, Md5};
use reqwest::Method;
use serde_json::{Value, json};
use support::{Answer, Client, SUPER, Server, send};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const SECRET: &str = "a-shared-secret";

/// A node with an app that has these settings.
async fn server(settings: Value) -> Server {
    let server = Server::start().await;
    let fields = [
        ("app_key", "key"),
        ("auth_account", "admin"),
        ("auth_password", "secret"),
        ("app_id", "77"),
        ("app_secret", SECRET),
    ];
    assert_eq!(server.post("/api/register", &fields).await.status, 200);
    configure(&server, settings).await;
    server
}

async fn configure(server: &Server, settings: Value) {
    let call = server.call(Method::PATCH, "/api/key/settings").basic_auth(SUPER.0, Some(SUPER.1));
    let answer = send(call.body(settings.to_string())).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

async fn open(server: &Server, query: &str, origin: Option<&str>) -> Client {
    let mut request =
        format!("ws://{}/app/key?{query}", server.public()).into_client_request().expect("a request");
    let origin = origin.map(|origin| origin.parse().expect("a header"));
    origin.into_iter().for_each(|origin| drop(request.headers_mut().insert("Origin", origin)));
    let (socket, _) = connect_async(request).await.expect("upgraded");
    Client { socket }
}

/// A client, and the id that the server gave it.
async fn connect(server: &Server) -> (Client, String) {
    connect_with(server, "protocol=7").await
}

async fn connect_with(server: &Server, query: &str) -> (Client, String) {
    let mut client = open(server, query, None).await;
    let data = data(&next(&mut client).await);
    let id = data["socket_id"].as_str().expect("an id").to_owned();
    (client, id)
}

async fn next(client: &mut Client) -> Value {
    serde_json::from_str(&client.text().await).expect("every message is JSON")
}

fn data(message: &Value) -> Value {
    serde_json::from_str(message["data"].as_str().expect("data is a string")).expect("JSON")
}

async fn say(client: &mut Client, message: Value) {
    client.send(Message::text(message.to_string())).await;
}

/// Subscribes, and returns the first answer.
async fn subscribe(client: &mut Client, channel: &str) -> Value {
    say(client, json!({ "event": "pusher:subscribe", "data": { "channel": channel, "auth": "" } })).await;
    next(client).await
}

async fn sign_in(client: &mut Client, id: &str, user_data: Value) -> Value {
    let user_data = user_data.to_string();
    let auth = format!("key:{}", hmac_hex(SECRET, &format!("{id}::user::{user_data}")));
    say(client, json!({ "event": "pusher:signin", "data": { "auth": auth, "user_data": user_data } })).await;
    next(client).await
}

async fn call_as(
    server: &Server,
    (key, secret): (&str, &str),
    method: Method,
    path: &str,
    more: &str,
    body: &str,
) -> Answer {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut query = format!("auth_key={key}&auth_timestamp={now}&auth_version=1.0");
    if !body.is_empty() {
        query.push_str(&format!("&body_md5={}", hex::encode(Md5::digest(body))));
    }
    query.push_str(more);
    let signature = hmac_hex(secret, &format!("{method}\n{path}\n{query}"));
    let url = format!("http://{}{path}?{query}&auth_signature={signature}", server.public());
    send(reqwest::Client::new().request(method, url).body(body.to_owned())).await
}

async fn trigger(server: &Server, channel: &str, name: &str, data: &str) {
    let body = json!({ "name": name, "channel": channel, "data": data }).to_string();
    let answer = call_as(server, ("key", SECRET), Method::POST, "/apps/77/events", "", &body).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "{}"));
}

async fn terminate(server: &Server, path: &str) {
    let answer = call_as(server, ("key", SECRET), Method::POST, path, "", "{}").await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "{}"));
}

#[tokio::test]
async fn pc_084_an_empty_cache_is_a_miss() {
    let server = server(json!({})).await;
    let (mut client, _) = connect(&server).await;
    assert_eq!(subscribe(&mut client, "cache-a").await["event"], "pusher_internal:subscription_succeeded");
    assert_eq!(
        next(&mut client).await,
        json!({ "event": "pusher:cache_miss", "channel": "cache-a", "data": "{}" })
    );
}

#[tokio::test]
async fn pc_085_who_comes_later_gets_the_last_event() {
    let server = server(json!({})).await;
    trigger(&server, "cache-a", "first", "1").await;
    trigger(&server, "cache-a", "second", "2").await;
    let (mut client, _) = connect(&server).await;
    subscribe(&mut client, "cache-a").await;
    assert_eq!(next(&mut client).await, json!({ "event": "second", "channel": "cache-a", "data": "2" }));
    trigger(&server, "cache-a", "third", "3").await;
    assert_eq!(next(&mut client).await["event"], "third");
}

#[tokio::test]
async fn pc_167_a_kept_event_can_be_asked_for() {
    let server = server(json!({})).await;
    let ask =
        || call_as(&server, ("key", SECRET), Method::GET, "/apps/77/channels/cache-a", "&info=cache", "");
    assert_eq!(ask().await.json(), json!({ "occupied": false, "cache": null }));
    trigger(&server, "cache-a", "e", "d").await;
    assert_eq!(ask().await.json(), json!({ "occupied": false, "cache": { "data": "d", "ttl": 1800 } }));
}

#[tokio::test]
async fn pc_094_subscribers_are_told_how_many_they_are() {
    let server = server(json!({ "subscription_count": true })).await;
    let ((mut one, _), (mut two, _)) = (connect(&server).await, connect(&server).await);
    subscribe(&mut one, "a").await;
    let count = |message: Value| (message["event"].clone(), data(&message)["subscription_count"].clone());
    let told = |number: u32| (json!("pusher_internal:subscription_count"), json!(number));
    assert_eq!(count(next(&mut one).await), told(1));
    assert_eq!(subscribe(&mut two, "a").await["event"], "pusher_internal:subscription_succeeded");
    assert_eq!(count(next(&mut two).await), told(2));
    assert_eq!(count(next(&mut one).await), told(2));
    say(&mut two, json!({ "event": "pusher:unsubscribe", "data": { "channel": "a" } })).await;
    assert_eq!(count(next(&mut one).await), told(1));
}

#[tokio::test]
async fn pc_098_java_is_spared_counts_that_it_would_decrypt() {
    let server = server(json!({ "subscription_count": true })).await;
    let (mut java, id) = connect_with(&server, "protocol=5&client=java-client").await;
    let channel = "private-encrypted-a";
    let auth = format!("key:{}", hmac_hex(SECRET, &format!("{id}:{channel}")));
    say(&mut java, json!({ "event": "pusher:subscribe", "data": { "channel": channel, "auth": auth } }))
        .await;
    assert_eq!(next(&mut java).await["event"], "pusher_internal:subscription_succeeded");
    trigger(&server, channel, "marker", "m").await;
    assert_eq!(next(&mut java).await["event"], "marker");
}

#[tokio::test]
async fn pc_106_an_event_for_a_user_reaches_all_its_sockets() {
    let server = server(json!({})).await;
    let ((mut one, one_id), (mut two, two_id)) = (connect(&server).await, connect(&server).await);
    for (client, id) in [(&mut one, &one_id), (&mut two, &two_id)] {
        let told = sign_in(client, id, json!({ "id": "u1", "x": 1 })).await;
        assert_eq!(told["event"], "pusher:signin_success");
        assert_eq!(data(&told)["user_data"], r#"{"id":"u1","x":1}"#);
        let answer = subscribe(client, "#server-to-user-u1").await;
        assert_eq!(answer["event"], "pusher_internal:subscription_succeeded");
    }
    trigger(&server, "#server-to-user-u1", "hi", "there").await;
    for client in [&mut one, &mut two] {
        let event = json!({ "event": "hi", "channel": "#server-to-user-u1", "data": "there" });
        assert_eq!(next(client).await, event);
    }
    let channels = call_as(&server, ("key", SECRET), Method::GET, "/apps/77/channels", "", "").await;
    assert_eq!(channels.text, r#"{"channels":{}}"#);
}

#[tokio::test]
async fn pc_102_a_socket_stays_whose_it_is() {
    let server = server(json!({})).await;
    let (mut client, id) = connect(&server).await;
    sign_in(&mut client, &id, json!({ "id": "u1" })).await;
    assert_eq!(sign_in(&mut client, &id, json!({ "id": "u2" })).await["data"]["code"], 4009);
    assert_eq!(sign_in(&mut client, &id, json!({ "id": "u1" })).await["event"], "pusher:signin_success");
}

#[tokio::test]
async fn pc_108_who_watches_is_told_of_the_first_and_the_last_socket() {
    let server = server(json!({ "watchlists": true })).await;
    let (mut watcher, id) = connect(&server).await;
    sign_in(&mut watcher, &id, json!({ "id": "w", "watchlist": ["a", "b"] })).await;
    let told = next(&mut watcher).await;
    assert_eq!(told["event"], "pusher_internal:watchlist_events");
    assert_eq!(told.get("channel"), None);
    assert_eq!(data(&told), json!({ "events": [{ "name": "offline", "user_ids": ["a", "b"] }] }));
    let ((mut one, one_id), (mut two, two_id)) = (connect(&server).await, connect(&server).await);
    sign_in(&mut one, &one_id, json!({ "id": "a" })).await;
    assert_eq!(
        data(&next(&mut watcher).await),
        json!({ "events": [{ "name": "online", "user_ids": ["a"] }] })
    );
    sign_in(&mut two, &two_id, json!({ "id": "a" })).await;
    terminate(&server, "/apps/77/users/a/terminate_connections").await;
    assert_eq!(
        data(&next(&mut watcher).await),
        json!({ "events": [{ "name": "offline", "user_ids": ["a"] }] })
    );
}

#[tokio::test]
async fn pc_112_a_terminated_user_is_closed_and_others_stay() {
    let server = server(json!({})).await;
    let ((mut user, user_id), (mut other, other_id)) = (connect(&server).await, connect(&server).await);
    sign_in(&mut user, &user_id, json!({ "id": "a" })).await;
    sign_in(&mut other, &other_id, json!({ "id": "b" })).await;
    terminate(&server, "/apps/77/users/a/terminate_connections").await;
    assert_eq!(user.closed().await, (4009, "You got disconnected by the app.".to_owned()));
    say(&mut other, json!({ "event": "pusher:ping", "data": {} })).await;
    assert_eq!(next(&mut other).await["event"], "pusher:pong");
}

#[tokio::test]
async fn pc_170_python_s_path_terminates_as_well() {
    let server = server(json!({})).await;
    let (mut user, id) = connect(&server).await;
    sign_in(&mut user, &id, json!({ "id": "a" })).await;
    terminate(&server, "/users/a/terminate_connections").await;
    assert_eq!(user.closed().await.0, 4009);
}

#[tokio::test]
async fn pc_012_a_disabled_app_closes_its_sockets_and_takes_no_others() {
    let server = server(json!({})).await;
    let (mut client, _) = connect(&server).await;
    configure(&server, json!({ "enabled": false })).await;
    assert_eq!(client.closed().await.0, 4003);
    let mut late = open(&server, "protocol=7", None).await;
    assert_eq!(next(&mut late).await["data"]["code"], 4003);
    assert_eq!(late.closed().await.0, 4003);
}

#[tokio::test]
async fn pc_144_signed_calls_of_a_disabled_app_are_refused() {
    let server = server(json!({ "enabled": false })).await;
    let answer = call_as(&server, ("key", SECRET), Method::GET, "/apps/77/channels", "", "").await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn pc_013_one_socket_more_than_the_quota_is_turned_away() {
    let server = server(json!({ "max_connections": 1 })).await;
    let (mut first, _) = connect(&server).await;
    assert_eq!(next(&mut open(&server, "protocol=7", None).await).await["data"]["code"], 4004);
    first.socket.close(None).await.expect("closed");
    while let Some(Ok(_)) = futures_util::StreamExt::next(&mut first.socket).await {}
    let again = next(&mut open(&server, "protocol=7", None).await).await;
    assert_eq!(again["event"], "pusher:connection_established");
}

#[tokio::test]
async fn pc_016_pages_from_elsewhere_are_turned_away() {
    let server = server(json!({ "allowed_origins": ["example.com"] })).await;
    let mut bad = open(&server, "protocol=7", Some("https://evil.com")).await;
    assert_eq!(next(&mut bad).await["data"]["code"], 4009);
    for origin in [None, Some("https://example.com")] {
        let mut good = open(&server, "protocol=7", origin).await;
        assert_eq!(next(&mut good).await["event"], "pusher:connection_established");
    }
}

#[tokio::test]
async fn pc_061_two_key_pairs_work_while_one_replaces_the_other() {
    let pair = json!({ "key": "new-key", "secret": "new-secret" });
    let server = server(json!({ "additional_keys": [pair] })).await;
    for (key, secret) in [("key", SECRET), ("new-key", "new-secret")] {
        let answer = call_as(&server, (key, secret), Method::GET, "/apps/77/channels", "", "").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let (mut client, id) = connect(&server).await;
        let auth = format!("{key}:{}", hmac_hex(secret, &format!("{id}:private-a")));
        say(
            &mut client,
            json!({ "event": "pusher:subscribe", "data": { "channel": "private-a", "auth": auth } }),
        )
        .await;
        assert_eq!(next(&mut client).await["event"], "pusher_internal:subscription_succeeded");
    }
}

#[tokio::test]
async fn pc_035_old_protocols_are_told_before_they_are_closed() {
    let server = server(json!({})).await;
    let (mut old, _) = connect_with(&server, "protocol=5").await;
    let (mut new, _) = connect_with(&server, "protocol=7").await;
    configure(&server, json!({ "enabled": false })).await;
    assert_eq!(next(&mut old).await["data"]["code"], 4003);
    assert_eq!(old.closed().await.0, 4003);
    assert_eq!(new.closed().await.0, 4003);
}

#[tokio::test]
async fn pc_114_who_does_not_show_who_it_is_is_closed() {
    let server = server(json!({ "authorized_connections": true, "authorization_timeout": 1 })).await;
    let ((mut stranger, _), (mut user, id)) = (connect(&server).await, connect(&server).await);
    sign_in(&mut user, &id, json!({ "id": "a" })).await;
    let reason = "Connection not authorized within timeout".to_owned();
    assert_eq!(stranger.closed().await, (4009, reason));
    say(&mut user, json!({ "event": "pusher:ping" })).await;
    assert_eq!(next(&mut user).await["event"], "pusher:pong");
}
