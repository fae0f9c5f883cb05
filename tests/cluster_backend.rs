//! The calls of backends of Gusher Cluster over real connections: publishing, permissions, who is there (spec 2.8, 2.9).

mod support;

use reqwest::Method;
use serde_json::{Value, json};
use support::cluster::{ClusterClient, ask, call, post, publish, serve, serve_with, token_for};
use support::pusher::{self, PusherClient};
use support::raw::Raw;
use support::{ADMIN, SUPER, Server, send, soon};

/// A socket of `app` that is in a channel.
async fn subscriber(server: &Server, user: &str, channel: &str) -> ClusterClient {
    let mut client = ClusterClient::connect(server, user, &["*"]).await;
    client.subscribe(channel).await;
    client
}

/// A socket of `other`.
async fn stranger(server: &Server, user: &str) -> ClusterClient {
    let token = token_for("other", user, &["*"]);
    ClusterClient::connect_with(server, "other", &token).await.expect("it is admitted")
}

async fn put_channels(server: &Server, body: Value) -> Value {
    let answer = call(server, Method::PUT, "/v1/apps/app/users/u/channels", &body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

// Publishing.

#[tokio::test]
async fn gc_046_subscribers_get_what_the_backend_is_told() {
    let server = serve().await;
    let mut client = subscriber(&server, "u", "c").await;
    let answer = post(&server, "/channels/c/messages", json!({ "event": "e", "data": { "a": 1 } })).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json;charset=UTF-8");
    assert_eq!(answer.text, r#"{"channel":"c","event":"e","data":{"a":1}}"#);
    assert_eq!(client.client.text().await, answer.text);
}

#[tokio::test]
async fn gc_047_every_kind_of_data_arrives() {
    let server = serve().await;
    let mut client = subscriber(&server, "u", "c").await;
    for data in [json!({ "a": [1] }), json!("7"), json!(1.5), json!([1, "x"]), json!(true), json!(null)] {
        publish(&server, "c", "e", data.clone()).await;
        assert_eq!(client.next().await, json!({ "channel": "c", "event": "e", "data": data }));
    }
}

#[tokio::test]
async fn gc_048_long_numbers_keep_their_digits() {
    let server = serve().await;
    let mut client = subscriber(&server, "u", "c").await;
    let body = r#"{"event":"e","data":12345678901234567890123}"#;
    call(&server, Method::POST, "/v1/apps/app/channels/c/messages", body).await;
    assert!(client.client.text().await.ends_with(r#""data":12345678901234567890123}"#));
}

#[tokio::test]
async fn gc_049_what_is_no_event_is_refused() {
    let server = serve().await;
    for (body, text) in [("{}", "empty event"), ("{", "body decode error"), ("[]", "body decode error")] {
        let answer = call(&server, Method::POST, "/v1/apps/app/channels/c/messages", body).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (400, text));
    }
}

#[tokio::test]
async fn gc_050_the_same_channel_of_another_app_gets_nothing() {
    let server = serve().await;
    let mut client = subscriber(&server, "u", "c").await;
    let mut other = stranger(&server, "u").await;
    other.subscribe("c").await;
    publish(&server, "c", "e", json!(1)).await;
    assert_eq!(client.next().await["event"], "e");
    other.hears_nothing().await;
}

#[tokio::test]
async fn gc_051_a_pattern_reaches_the_live_channels_that_match() {
    let server = serve().await;
    let mut clients = Vec::new();
    for channel in ["App1", "App2", "Zed"] {
        clients.push(subscriber(&server, "u", channel).await);
    }
    let answer =
        post(&server, "/messages", json!({ "channel_pattern": "^App", "event": "e", "data": 1 })).await;
    assert_eq!(answer.text, r#"{"total":2,"pattern":"^App"}"#);
    assert_eq!(clients[0].next().await, json!({ "channel": "App1", "event": "e", "data": 1 }));
    assert_eq!(clients[1].next().await["channel"], "App2");
    clients[2].hears_nothing().await;
}

#[tokio::test]
async fn gc_052_a_pattern_is_there_and_can_be_read() {
    let server = serve().await;
    for (body, text) in [
        (json!({ "channel_pattern": "(", "event": "e" }), "channel_pattern cant regex"),
        (json!({ "channel_pattern": "", "event": "e" }), "empty param"),
        (json!({ "channel_pattern": "x", "event": "" }), "empty param"),
    ] {
        let answer = post(&server, "/messages", body).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (400, text));
    }
}

#[tokio::test]
async fn gc_053_a_batch_arrives_in_its_order() {
    let server = serve().await;
    let mut client = subscriber(&server, "u", "c").await;
    let events: Vec<_> = (1..=3).map(|data| json!({ "channel": "c", "event": "e", "data": data })).collect();
    let answer = post(&server, "/messages/batch", json!(events)).await;
    assert_eq!(answer.text, r#"{"total":3}"#);
    for data in 1..=3 {
        assert_eq!(client.next().await["data"], data);
    }
}

#[tokio::test]
async fn gc_054_a_batch_is_a_list_and_may_be_empty() {
    let server = serve().await;
    assert_eq!(post(&server, "/messages/batch", json!([])).await.text, r#"{"total":0}"#);
    assert_eq!(post(&server, "/messages/batch", json!({})).await.status, 400);
}

#[tokio::test]
async fn a_batch_with_one_incomplete_event_sends_nothing() {
    let server = serve().await;
    let mut client = subscriber(&server, "u", "c").await;
    let events = json!([{ "channel": "c", "event": "e" }, { "channel": "c" }]);
    let answer = post(&server, "/messages/batch", events).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (400, "empty event at index 1"));
    client.hears_nothing().await;
}

#[tokio::test]
async fn gc_055_all_sockets_of_a_user_get_a_bare_value() {
    let server = serve().await;
    let mut own =
        [ClusterClient::connect(&server, "u", &[]).await, ClusterClient::connect(&server, "u", &[]).await];
    let mut others = [ClusterClient::connect(&server, "v", &[]).await, stranger(&server, "u").await];
    let answer = post(&server, "/users/u/messages", json!({ "data": { "a": 1 } })).await;
    assert_eq!(answer.text, r#"{"user_id":"u","data":{"a":1}}"#);
    for client in &mut own {
        assert_eq!(client.client.text().await, r#"{"a":1}"#);
    }
    for client in &mut others {
        client.hears_nothing().await;
    }
}

#[tokio::test]
async fn gc_056_a_socket_is_reached_by_its_name() {
    let server = serve().await;
    let mut one = ClusterClient::connect(&server, "u", &[]).await;
    let mut two = ClusterClient::connect(&server, "u", &[]).await;
    let mut other = stranger(&server, "u").await;
    let id = one.id().await;
    let answer = post(&server, &format!("/sockets/{id}/messages"), json!({ "data": 1 })).await;
    assert_eq!(answer.text, format!(r#"{{"socket_id":"{id}","data":1}}"#));
    let foreign = other.id().await;
    post(&server, &format!("/sockets/{foreign}/messages"), json!({ "data": 2 })).await;
    assert_eq!(one.client.text().await, "1");
    one.hears_nothing().await;
    two.hears_nothing().await;
    other.hears_nothing().await;
}

#[tokio::test]
async fn gc_057_nobody_is_a_receiver_like_others() {
    let server = serve().await;
    for path in ["/users/nobody/messages", "/sockets/nothing/messages", "/channels/empty/messages"] {
        assert_eq!(post(&server, path, json!({ "event": "e", "data": 1 })).await.status, 200);
    }
}

#[tokio::test]
async fn gc_058_a_channel_may_have_a_slash_in_its_name() {
    let server = serve().await;
    for (channel, path) in [("a/b", "a%2Fb"), (" x ", "%20x%20")] {
        let mut client = subscriber(&server, "u", channel).await;
        let path = format!("/v1/apps/app/channels/{path}/messages");
        call(&server, Method::POST, &path, r#"{"event":"e"}"#).await;
        assert_eq!(client.next().await, json!({ "channel": channel, "event": "e", "data": null }));
    }
}

#[tokio::test]
async fn gc_059_names_are_data() {
    let server = serve().await;
    let mut anonymous = ClusterClient::connect(&server, "", &["*"]).await;
    let mut client = subscriber(&server, "u", "#GUSHERFUNC-TOUID#").await;
    publish(&server, "%23GUSHERFUNC-TOUID%23", "e", json!({ "uid": "", "data": 1 })).await;
    assert_eq!(client.next().await["channel"], "#GUSHERFUNC-TOUID#");
    anonymous.hears_nothing().await;
}

#[tokio::test]
async fn gc_060_a_body_over_the_limit_is_refused() {
    let server = serve_with(&[("limits.body_bytes_max", "1024")]).await;
    let data = "x".repeat(2000);
    for (path, body) in [
        ("/channels/c/messages", json!({ "event": "e", "data": data })),
        ("/users/u/messages", json!({ "data": data })),
        ("/sockets/s/messages", json!({ "data": data })),
        ("/messages/batch", json!([{ "channel": "c", "event": "e", "data": data }])),
    ] {
        assert_eq!(post(&server, path, body).await.status, 413, "{path}");
    }
}

#[tokio::test]
async fn a_channel_that_cannot_be_is_refused() {
    let server = serve().await;
    for path in ["a%0Ab", "%23server-to-user-u"] {
        let answer = post(&server, &format!("/channels/{path}/messages"), json!({ "event": "e" })).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (400, "channel name invalid"));
    }
}

// What users may subscribe to.

#[tokio::test]
async fn gc_061_a_channel_is_added_to_a_user() {
    let server = serve().await;
    let mut client = ClusterClient::connect(&server, "u", &[]).await;
    let answer = post(&server, "/users/u/channels", json!({ "channel": "new" })).await;
    assert_eq!(answer.text, r#"{"user_id":"u","data":"new"}"#);
    let notice = json!({ "event": "gusher.addchannel", "socket_id": "", "data": { "channel": "new" } });
    assert_eq!(client.next().await, notice);
    client.subscribe("new").await;
}

#[tokio::test]
async fn gc_062_a_channel_to_add_is_named() {
    let answer = post(&serve().await, "/users/u/channels", json!({})).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (400, "channel empty error"));
}

#[tokio::test]
async fn gc_063_adding_subscribes_nobody_and_ends_with_the_socket() {
    let server = serve().await;
    let mut client = ClusterClient::connect(&server, "u", &["own"]).await;
    post(&server, "/users/u/channels", json!({ "channel": "new" })).await;
    client.next().await;
    publish(&server, "new", "e", json!(1)).await;
    client.hears_nothing().await;
    let mut again = ClusterClient::connect(&server, "u", &["own"]).await;
    let reply = again.request("gusher.querychannel", json!({})).await;
    assert_eq!(reply["data"], json!({ "channels": ["own"] }));
}

#[tokio::test]
async fn gc_064_replacing_ends_what_is_no_longer_permitted() {
    let server = serve().await;
    let mut client = subscriber(&server, "u", "AA").await;
    let told = put_channels(&server, json!({ "channels": ["gg"] })).await;
    assert_eq!(told, json!({ "user_id": "u", "data": ["gg"] }));
    let notice = json!({ "event": "gusher.reloadchannel", "socket_id": "", "data": { "channels": ["gg"] } });
    assert_eq!(client.next().await, notice);
    publish(&server, "AA", "e", json!(1)).await;
    let reply = client.request("gusher.querychannel", json!({})).await;
    assert_eq!(reply["data"], json!({ "channels": ["gg"] }));
    assert_eq!(ask(&server, "/channels").await, json!([]));
    assert_eq!(put_channels(&server, json!({})).await, json!({ "user_id": "u", "data": null }));
    assert_eq!(client.next().await["data"], json!({ "channels": [] }));
}

#[tokio::test]
async fn gc_065_replacing_keeps_what_the_new_patterns_permit() {
    let server = serve().await;
    let mut client = subscriber(&server, "u", "AA").await;
    put_channels(&server, json!({ "channels": ["A*"] })).await;
    assert_eq!(client.next().await["event"], "gusher.reloadchannel");
    publish(&server, "AA", "e", json!(1)).await;
    assert_eq!(client.next().await["channel"], "AA");
}

#[tokio::test]
async fn gc_066_permissions_of_another_app_stay() {
    let server = serve().await;
    let mut other = stranger(&server, "u").await;
    other.subscribe("c").await;
    post(&server, "/users/u/channels", json!({ "channel": "new" })).await;
    put_channels(&server, json!({ "channels": [] })).await;
    let reply = other.request("gusher.querychannel", json!({})).await;
    assert_eq!(reply["data"], json!({ "channels": ["*"] }));
}

// Who is there.

#[tokio::test]
async fn gc_067_who_is_there_agrees_with_the_sockets() {
    let server = serve().await;
    let _a = subscriber(&server, "b", "x").await;
    let _b = subscriber(&server, "a", "x").await;
    let _c = subscriber(&server, "a", "y").await;
    let mut gone = subscriber(&server, "a", "z").await;
    gone.request("gusher.unsubscribe", json!({ "channel": "z" })).await;
    for (path, told) in [
        ("/channels", json!(["x", "y"])),
        ("/channels/count", json!({ "count": 2 })),
        ("/users", json!(["a", "b"])),
        ("/users/count", json!({ "count": 2 })),
        ("/channels/x/users", json!(["a", "b"])),
        ("/channels/y/users", json!(["a"])),
        ("/channels/x/users/count", json!({ "count": 2 })),
    ] {
        assert_eq!(ask(&server, path).await, told, "{path}");
    }
}

#[tokio::test]
async fn gc_068_who_closes_is_gone_within_a_second() {
    let server = serve().await;
    let client = subscriber(&server, "u", "c").await;
    client.client.close().await;
    soon("nobody", async {
        while ask(&server, "/users").await != json!([]) || ask(&server, "/channels").await != json!([]) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn gc_069_who_subscribes_to_nothing_is_there() {
    let server = serve().await;
    let _client = ClusterClient::connect(&server, "u", &[]).await;
    assert_eq!(ask(&server, "/users").await, json!(["u"]));
}

#[tokio::test]
async fn gc_070_nobody_in_particular_is_a_connection_and_no_user() {
    let server = serve().await;
    let _client = subscriber(&server, "", "c").await;
    assert_eq!(ask(&server, "/users").await, json!([]));
    assert_eq!(ask(&server, "/channels").await, json!(["c"]));
    assert_eq!(ask(&server, "/channels/c/users").await, json!([]));
    let stats = call(&server, Method::GET, "/v1/stats", "").await;
    assert_eq!(stats.text, r#"{"apps":1,"connections":1,"users":0}"#);
}

#[tokio::test]
async fn gc_071_nobody_is_in_what_is_unknown() {
    let server = serve().await;
    for path in ["/v1/apps/unknown/users", "/v1/apps/unknown/channels", "/v1/apps/app/channels/c/users"] {
        let (list, count) = (call(&server, Method::GET, path, "").await, format!("{path}/count"));
        assert_eq!((list.status.as_u16(), list.text.as_str()), (200, "[]"), "{path}");
        assert_eq!(call(&server, Method::GET, &count, "").await.text, r#"{"count":0}"#);
    }
}

#[tokio::test]
async fn gc_072_apps_are_told_in_order() {
    let server = serve().await;
    let _sockets = (
        stranger(&server, "a").await,
        ClusterClient::connect(&server, "a", &[]).await,
        ClusterClient::connect(&server, "a", &[]).await,
    );
    let apps = call(&server, Method::GET, "/v1/apps", "").await;
    let rows = json!([
        { "app": "app", "connections": 2, "users": 1 },
        { "app": "other", "connections": 1, "users": 1 },
    ]);
    assert_eq!(apps.json(), rows);
    let stats = call(&server, Method::GET, "/v1/stats", "").await;
    assert_eq!(stats.json(), json!({ "apps": 2, "connections": 3, "users": 2 }));
}

#[tokio::test]
async fn gc_080_backends_say_who_they_are() {
    let server = serve().await;
    server
        .post("/api/register", &[("app_key", "foreign"), ("auth_account", "f"), ("auth_password", "p")])
        .await;
    let body = json!({ "event": "e" }).to_string();
    let status = async |who: Option<(&str, &str)>, method: Method, path: &str| {
        let call = server.call(method, path).body(body.clone());
        let call = who.map_or_else(
            || call.try_clone().unwrap(),
            |(account, password)| call.try_clone().unwrap().basic_auth(account, Some(password)),
        );
        let answer = send(call).await;
        assert!(answer.status != 401 || answer.header("www-authenticate").starts_with("Basic"));
        answer.status.as_u16()
    };
    let publish = "/v1/apps/app/channels/c/messages";
    for (who, expected) in [(Some(SUPER), 200), (Some(ADMIN), 200), (Some(("f", "p")), 401), (None, 401)] {
        assert_eq!(status(who, Method::POST, publish).await, expected);
        assert_eq!(status(who, Method::GET, "/v1/apps/app/users").await, expected);
    }
    for (who, expected) in [(Some(SUPER), 200), (Some(ADMIN), 401), (None, 401)] {
        assert_eq!(status(who, Method::GET, "/v1/apps").await, expected);
        assert_eq!(status(who, Method::GET, "/v1/stats").await, expected);
    }
    assert_eq!(status(Some(SUPER), Method::POST, "/v1/apps/unknown/channels/c/messages").await, 404);
    assert_eq!(status(Some(ADMIN), Method::GET, "/v1/apps/unknown/users").await, 401);
}

// With Pusher Channels.

#[tokio::test]
async fn channels_are_shared_with_pusher_channels_each_in_its_own_words() {
    let server = serve().await;
    pusher::register(&server, json!({ "client_events": true })).await;
    let token = token_for("key", "u", &["*"]);
    let mut cluster = ClusterClient::connect_with(&server, "key", &token).await.ok().unwrap();
    cluster.subscribe("c").await;
    let mut pusher = PusherClient::connect(&server).await;
    pusher.subscribe("c").await;
    let path = "/v1/apps/key/channels/c/messages";
    for (value, text) in [(r#"{"a":1.0}"#, r#"{"a":1.0}"#), (r#""7""#, "7")] {
        call(&server, Method::POST, path, &format!(r#"{{"event":"e","data":{value}}}"#)).await;
        let heard = cluster.client.text().await;
        assert_eq!(heard, format!(r#"{{"channel":"c","event":"e","data":{value}}}"#));
        assert_eq!(pusher.next().await, json!({ "event": "e", "channel": "c", "data": text }));
    }
    pusher::trigger(&server, "c", "p", r#"{"b":2}"#).await;
    assert_eq!(cluster.next().await, json!({ "channel": "c", "event": "p", "data": { "b": 2 } }));
    assert_eq!(pusher.next().await["event"], "p");
    // Names of the protocol's own stay where they are.
    call(&server, Method::POST, path, r#"{"event":"pusher:error","data":1}"#).await;
    assert_eq!(cluster.next().await["event"], "pusher:error");
    pusher::trigger(&server, "c", "last", "x").await;
    assert_eq!(
        (cluster.next().await["data"].clone(), pusher.next().await["event"].clone()),
        (json!("x"), json!("last"))
    );
    let told = call(&server, Method::GET, "/v1/apps/key/channels/c/users", "").await;
    assert_eq!(told.json(), json!(["u"]));
}

#[tokio::test]
async fn a_socket_sees_the_order_in_which_things_were_accepted() {
    let server = serve().await;
    let mut client = subscriber(&server, "u", "c").await;
    for number in 0..50 {
        publish(&server, "c", "e", json!(number)).await;
        post(&server, "/users/u/messages", json!({ "data": { "event": "e", "data": number } })).await;
    }
    for number in 0..50 {
        assert_eq!(client.next().await["channel"], "c");
        assert_eq!(client.next().await, json!({ "event": "e", "data": number }));
    }
}

#[tokio::test]
async fn a_body_is_not_waited_for_where_its_head_is_refused() {
    let (server, keyless) = (serve().await, Server::start().await);
    let (public, private) = ((server.public(), "/v1/auth"), (server.private(), "/v1/auth/decode"));
    for ((address, path), length, status) in [
        (public, 16_385, 413),
        (private, 2, 401),
        ((keyless.public(), "/v1/auth"), 2, 404),
        ((keyless.private(), "/v1/auth/decode"), 2, 404),
    ] {
        let mut raw = Raw::connect(address).await;
        raw.send(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")).await;
        assert_eq!(raw.response().await.0, status, "{path}");
    }
}
