//! Sockets of Gusher Cluster over real connections: tokens, connecting, and what clients ask (spec 2.3 to 2.7).

mod support;

use reqwest::Method;
use serde_json::{Value, json};
use support::cluster::{ClusterClient, call, post, publish, serve, serve_with, signed, token, token_for};
use support::{ADMIN, Answer, Server, send, soon};
use tokio_tungstenite::tungstenite::Message;

/// Calls `/v1/auth` on the public listener.
async fn authenticate(server: &Server, method: Method, body: &str) -> Answer {
    let call = server.public_call(method, "/v1/auth").header("Origin", "https://example.com");
    send(call.body(body.to_owned())).await
}

fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

// Tokens.

#[tokio::test]
async fn gc_011_a_good_token_is_told() {
    let server = serve().await;
    let good = token("u", &[]);
    let answer = authenticate(&server, Method::POST, &json!({ "jwt": good }).to_string()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.text.as_str()),
        (200, &*format!("{{\"token\":\"{good}\"}}\n"))
    );
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("content-type"), "application/json;charset=UTF-8");
}

#[tokio::test]
async fn gc_012_a_bad_token_is_refused() {
    let server = serve().await;
    let unsigned = token("u", &[]).rsplit_once('.').map(|(rest, _)| format!("{rest}.")).unwrap();
    for bad in ["", "garbage", &unsigned] {
        let answer = authenticate(&server, Method::POST, &json!({ "jwt": bad }).to_string()).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (401, "jwt decode fail\n"));
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
}

#[tokio::test]
async fn gc_013_a_body_that_is_no_json_is_refused() {
    let answer = authenticate(&serve().await, Method::POST, "jwt=x").await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (400, "body decode fail\n"));
    assert_eq!(answer.header("access-control-allow-origin"), "*");
}

#[tokio::test]
async fn gc_014_the_time_of_a_token_holds() {
    let server = serve().await;
    for (claims, status) in [
        (json!({ "gusher": {}, "exp": now() - 2 }), 401),
        (json!({ "gusher": {}, "nbf": now() + 60 }), 401),
        (json!({ "gusher": {} }), 200),
    ] {
        let body = json!({ "jwt": signed(&claims) }).to_string();
        assert_eq!(authenticate(&server, Method::POST, &body).await.status, status, "{claims}");
    }
}

#[tokio::test]
async fn gc_015_a_token_without_our_claim_is_refused() {
    let body = json!({ "jwt": signed(&json!({ "sub": "x" })) }).to_string();
    assert_eq!(authenticate(&serve().await, Method::POST, &body).await.status, 401);
}

#[tokio::test]
async fn gc_016_pages_of_other_origins_may_ask() {
    let answer = authenticate(&serve().await, Method::OPTIONS, "").await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert!(answer.header("access-control-allow-methods").contains("POST"));
    assert!(answer.header("access-control-allow-headers").to_ascii_lowercase().contains("content-type"));
}

#[tokio::test]
async fn gc_017_a_token_is_decoded_for_backends() {
    let server = serve().await;
    let claims = json!({
        "gusher": { "app_key": "app", "user_id": "u", "channels": ["c"] }, "exp": now() + 60, "aud": "x"
    });
    let body = json!({ "jwt": signed(&claims) }).to_string();
    let told = call(&server, Method::POST, "/v1/auth/decode", &body).await;
    assert_eq!(told.status, 200);
    let told = told.json();
    assert_eq!(
        (&told["gusher"], &told["exp"], &told["aud"]),
        (&claims["gusher"], &claims["exp"], &json!(["x"]))
    );
    for bad in ["no json", r#"{"jwt":"x"}"#] {
        let refused = call(&server, Method::POST, "/v1/auth/decode", bad).await;
        assert_eq!((refused.status.as_u16(), refused.text.as_str()), (400, "data error"));
    }
    let call = server.call(Method::POST, "/v1/auth/decode").body(body);
    let own = call.try_clone().unwrap().basic_auth(ADMIN.0, Some(ADMIN.1));
    assert_eq!((send(own).await.status.as_u16(), send(call).await.status.as_u16()), (200, 401));
}

#[tokio::test]
async fn without_a_key_no_socket_is_served() {
    let server = Server::start().await;
    server.register("app").await;
    let refused = ClusterClient::connect_with(&server, "app", &token("u", &[])).await;
    assert_eq!(refused.err().map(|(status, _)| status), Some(404));
    let body = json!({ "jwt": token("u", &[]) }).to_string();
    assert_eq!(authenticate(&server, Method::POST, &body).await.status, 404);
    assert_eq!(call(&server, Method::POST, "/v1/auth/decode", &body).await.status, 404);
}

// Connecting.

#[tokio::test]
async fn gc_018_a_socket_shows_a_good_token_for_its_app() {
    let server = serve().await;
    let nowhere = token_for("nowhere", "u", &[]);
    for (app, token, text) in [
        ("app", "", "app_key is nil\n"),
        ("app", "garbage", "token error\n"),
        ("app", &token_for("other", "u", &[]), "appkey error\n"),
        ("nowhere", &nowhere, "appkey error\n"),
    ] {
        let refused = ClusterClient::connect_with(&server, app, token).await.err();
        assert_eq!(refused, Some((401, text.to_owned())));
    }
}

#[tokio::test]
async fn gc_019_a_token_works_at_once() {
    let mut client = ClusterClient::connect(&serve().await, "u", &[]).await;
    client.hears_nothing().await;
}

#[tokio::test]
async fn gc_020_a_request_that_is_no_upgrade_is_refused() {
    let server = serve().await;
    let path = format!("/v1/apps/app/ws?token={}", token("u", &[]));
    let answer = send(server.public_call(Method::GET, &path)).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (400, "Bad Request\n"));
}

// What clients ask.

#[tokio::test]
async fn gc_021_a_subscription_is_told() {
    let mut client = ClusterClient::connect(&serve().await, "u", &["c"]).await;
    let reply = client.request("gusher.subscribe", json!({ "channel": "c" })).await;
    assert_eq!(reply["event"], "gusher.subscribe_succeeded");
    assert_eq!(reply["data"], json!({ "channel": "c" }));
    let id = reply["socket_id"].as_str().unwrap();
    assert_eq!((id.len(), &id[14..15]), (36, "4"));
}

#[tokio::test]
async fn gc_022_a_channel_that_is_not_allowed_stays_closed() {
    let server = serve().await;
    let mut client = ClusterClient::connect(&server, "u", &["c"]).await;
    let reply = client.request("gusher.subscribe", json!({ "channel": "d" })).await;
    assert_eq!(
        (&reply["event"], &reply["data"]),
        (&json!("gusher.subscribe_error"), &json!({ "channel": "d" }))
    );
    publish(&server, "d", "e", json!(1)).await;
    client.hears_nothing().await;
}

#[tokio::test]
async fn gc_023_a_socket_keeps_its_name() {
    let server = serve().await;
    let mut client = ClusterClient::connect(&server, "u", &["c"]).await;
    let mut other = ClusterClient::connect(&server, "u", &["c"]).await;
    let id = client.id().await;
    for (event, data) in [
        ("gusher.subscribe", json!({ "channel": "c" })),
        ("gusher.subscribe", json!({ "channel": "d" })),
        ("gusher.querychannel", json!({})),
        ("nonsense", json!({})),
    ] {
        assert_eq!(client.request(event, data).await["socket_id"], *id);
    }
    assert_ne!(other.id().await, id);
}

#[tokio::test]
async fn gc_024_several_channels_are_subscribed_at_once() {
    let server = serve().await;
    let mut client = ClusterClient::connect(&server, "u", &["a", "b"]).await;
    let reply = client.request("gusher.multi_subscribe", json!({ "multi_channel": ["a", "b"] })).await;
    assert_eq!(reply["event"], "gusher.multi_subscribe_succeeded");
    assert_eq!(reply["data"], json!({ "channel": ["a", "b"], "multi_channel": ["a", "b"] }));
    for channel in ["a", "b"] {
        publish(&server, channel, "e", json!(1)).await;
        assert_eq!(client.next().await["channel"], channel);
    }
}

#[tokio::test]
async fn gc_025_all_are_subscribed_or_none() {
    let server = serve().await;
    let mut client = ClusterClient::connect(&server, "u", &["a", "b"]).await;
    let reply = client.request("gusher.multi_subscribe", json!({ "multi_channel": ["a", "x", "b"] })).await;
    assert_eq!(reply["event"], "gusher.multi_subscribe_error");
    assert_eq!(reply["data"]["multi_channel"], json!(["a", "x", "b"]));
    publish(&server, "a", "e", json!(1)).await;
    client.hears_nothing().await;
}

#[tokio::test]
async fn gc_026_no_channels_are_an_error() {
    let mut client = ClusterClient::connect(&serve().await, "u", &["*"]).await;
    let reply = client.request("gusher.multi_subscribe", json!({ "multi_channel": [] })).await;
    assert_eq!(reply["event"], "gusher.multi_subscribe_error");
}

#[tokio::test]
async fn gc_027_patterns_hold_for_several_channels() {
    let mut client = ClusterClient::connect(&serve().await, "u", &["t*st"]).await;
    let reply = client.request("gusher.multi_subscribe", json!({ "multi_channel": ["test", "toast"] })).await;
    assert_eq!(reply["event"], "gusher.multi_subscribe_succeeded");
}

#[tokio::test]
async fn gc_028_a_channel_is_left() {
    let server = serve().await;
    let mut client = ClusterClient::connect(&server, "u", &["c"]).await;
    client.subscribe("c").await;
    let reply = client.request("gusher.unsubscribe", json!({ "channel": "c" })).await;
    assert_eq!(
        (&reply["event"], &reply["data"]["channel"]),
        (&json!("gusher.unsubscribe_succeeded"), &json!("c"))
    );
    publish(&server, "c", "e", json!(1)).await;
    client.hears_nothing().await;
}

#[tokio::test]
async fn gc_029_leaving_is_asked_of_the_permissions_alone() {
    let mut client = ClusterClient::connect(&serve().await, "u", &["c"]).await;
    let mut left = async |channel| client.request("gusher.unsubscribe", json!({ "channel": channel })).await;
    assert_eq!(left("c").await["event"], "gusher.unsubscribe_succeeded");
    assert_eq!(left("d").await["event"], "gusher.unsubscribe_error");
}

#[tokio::test]
async fn gc_030_permissions_are_told_whatever_is_subscribed() {
    let mut client = ClusterClient::connect(&serve().await, "u", &["a*", "c"]).await;
    client.subscribe("ab").await;
    let reply = client.request("gusher.querychannel", json!({})).await;
    assert_eq!(reply["event"], "gusher.querychannel_succeeded");
    assert_eq!(reply["data"], json!({ "channels": ["a*", "c"] }));
}

#[tokio::test]
async fn gc_031_a_ping_is_answered_with_its_data_and_the_time() {
    let mut client = ClusterClient::connect(&serve().await, "u", &[]).await;
    let reply = client.request("gusher.ping", json!({ "a": 1 })).await;
    assert_eq!((&reply["event"], &reply["data"]), (&json!("gusher.pong_succeeded"), &json!({ "a": 1 })));
    assert!(reply["time"].as_u64().unwrap().abs_diff(now()) < 60);
}

#[tokio::test]
async fn gc_032_data_may_be_missing() {
    let mut client = ClusterClient::connect(&serve().await, "u", &[]).await;
    for (event, answer) in
        [("gusher.ping", "gusher.pong_succeeded"), ("gusher.querychannel", "gusher.querychannel_succeeded")]
    {
        client.say(&json!({ "event": event }).to_string()).await;
        assert_eq!(client.next().await["event"], answer);
    }
}

#[tokio::test]
async fn gc_033_nonsense_is_told_and_the_socket_stays() {
    let mut client = ClusterClient::connect(&serve().await, "u", &["c"]).await;
    for (text, code) in [
        ("{", "invalid_json"),
        (r#"{"event":"mine","data":{}}"#, "unknown_event"),
        (r#"{"event":"gusher.subscribe","data":{}}"#, "missing_channel"),
    ] {
        client.say(text).await;
        let reply = client.next().await;
        assert_eq!((&reply["event"], &reply["data"]["code"]), (&json!("gusher.error"), &json!(code)));
    }
    client.client.send(Message::Binary("[]".into())).await;
    assert_eq!(client.next().await["data"]["code"], "binary_message");
    client.subscribe("c").await;
}

#[tokio::test]
async fn json_in_a_binary_frame_is_read_as_text() {
    let mut client = ClusterClient::connect(&serve().await, "u", &["c"]).await;
    let ask = r#"{"event":"gusher.subscribe","data":{"channel":"c"}}"#;
    // The second is what the JavaScript client sends with its option `binary`.
    let utf_16: Vec<u8> = ask.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [ask.as_bytes().to_vec(), utf_16] {
        client.client.send(Message::Binary(bytes.into())).await;
        assert_eq!(client.next().await["event"], "gusher.subscribe_succeeded");
    }
}

#[tokio::test]
async fn a_name_that_is_refused_is_told_back_cut() {
    let mut client = ClusterClient::connect(&serve().await, "u", &["c"]).await;
    let long = "c".repeat(9_000);
    let one = client.request("gusher.subscribe", json!({ "channel": long })).await;
    let several = client.request("gusher.multi_subscribe", json!({ "multi_channel": [long] })).await;
    for (reply, event) in [(one, "gusher.subscribe_error"), (several, "gusher.multi_subscribe_error")] {
        assert_eq!(reply["event"], event);
        assert!(reply.to_string().len() < 3_000, "{reply:.100}");
    }
}

#[tokio::test]
async fn half_a_character_in_an_escape_is_a_replacement_character() {
    let mut client = ClusterClient::connect(&serve().await, "u", &["c*"]).await;
    client.say(r#"{"event":"gusher.subscribe","data":{"channel":"c\ud83d","\ud83d":1}}"#).await;
    assert_eq!(client.next().await["data"]["channel"], "c\u{fffd}");
}

#[tokio::test]
async fn gc_034_too_much_nonsense_closes_the_socket() {
    let mut client = ClusterClient::connect(&serve().await, "u", &[]).await;
    for _ in 0..10 {
        assert_eq!(client.request("nonsense", Value::Null).await["event"], "gusher.error");
    }
    client.hears_nothing().await;
    client.send("nonsense", Value::Null).await;
    assert_eq!(client.client.closed().await.0, 1008);
}

#[tokio::test]
async fn gc_035_a_message_is_as_long_as_the_setting_allows() {
    let server = serve_with(&[("cluster.message_bytes_max", "512")]).await;
    let mut client = ClusterClient::connect(&server, "u", &[]).await;
    let ping = |bytes: usize| {
        let empty = json!({ "event": "gusher.ping", "data": "" }).to_string();
        json!({ "event": "gusher.ping", "data": "x".repeat(bytes - empty.len()) }).to_string()
    };
    client.say(&ping(512)).await;
    assert_eq!(client.next().await["event"], "gusher.pong_succeeded");
    client.say(&ping(513)).await;
    assert_eq!(client.client.closed().await.0, 1009);
}

#[tokio::test]
async fn gc_036_ten_long_names_fit_into_a_message() {
    let mut client = ClusterClient::connect(&serve().await, "u", &["*"]).await;
    let names: Vec<String> = (0..10).map(|number| format!("{number:060}")).collect();
    let reply = client.request("gusher.multi_subscribe", json!({ "multi_channel": names })).await;
    assert_eq!(reply["event"], "gusher.multi_subscribe_succeeded");
}

#[tokio::test]
async fn gc_037_replies_come_in_the_order_of_the_requests() {
    let mut client = ClusterClient::connect(&serve().await, "u", &["*"]).await;
    for number in 0..100 {
        client.send("gusher.subscribe", json!({ "channel": number.to_string() })).await;
        client.send("gusher.unsubscribe", json!({ "channel": number.to_string() })).await;
    }
    for number in 0..100 {
        for event in ["gusher.subscribe_succeeded", "gusher.unsubscribe_succeeded"] {
            let reply = client.next().await;
            assert_eq!(
                (&reply["event"], &reply["data"]["channel"]),
                (&json!(event), &json!(number.to_string()))
            );
        }
    }
}

#[tokio::test]
async fn gc_038_who_subscribes_twice_hears_once() {
    let server = serve().await;
    let mut client = ClusterClient::connect(&server, "u", &["c"]).await;
    client.subscribe("c").await;
    client.subscribe("c").await;
    publish(&server, "c", "e", json!(1)).await;
    assert_eq!(client.next().await["event"], "e");
    client.hears_nothing().await;
}

#[tokio::test]
async fn gc_039_a_socket_may_subscribe_to_nothing() {
    let server = serve_with(&[("limits.ping_seconds", "1")]).await;
    let mut client = ClusterClient::connect(&server, "u", &[]).await;
    for _ in 0..2 {
        assert!(matches!(client.client.next().await, Message::Ping(_)));
    }
    client.hears_nothing().await;
}

#[tokio::test]
async fn gc_040_a_socket_is_pinged_at_the_pace_of_the_node() {
    let server = serve_with(&[("limits.ping_seconds", "1")]).await;
    let mut client = ClusterClient::connect(&server, "u", &[]).await;
    client.hears_nothing().await;
    assert!(matches!(client.client.next().await, Message::Ping(_)));
}

#[tokio::test]
async fn a_node_may_want_every_socket_to_subscribe() {
    let settings = [("limits.ping_seconds", "1"), ("cluster.must_subscribe", "true")];
    let server = serve_with(&settings).await;
    let mut idle = ClusterClient::connect(&server, "u", &["c"]).await;
    let mut subscriber = ClusterClient::connect(&server, "v", &["c"]).await;
    subscriber.subscribe("c").await;
    assert_eq!(idle.client.closed().await, (1008, "timeout to subscribe".to_owned()));
    assert!(matches!(subscriber.client.next().await, Message::Ping(_)));
}

#[tokio::test]
async fn a_node_may_close_sockets_whose_tokens_expire() {
    let server = serve_with(&[("cluster.close_at_expiry", "true")]).await;
    let grant = json!({ "app_key": "app", "user_id": "u", "channels": [] });
    let brief = signed(&json!({ "gusher": grant, "exp": now() + 2 }));
    let mut client = ClusterClient::connect_with(&server, "app", &brief).await.ok().unwrap();
    let mut lasting = ClusterClient::connect(&server, "v", &[]).await;
    assert_eq!(client.client.closed().await, (4009, "token expired".to_owned()));
    lasting.hears_nothing().await;
}

// Permissions.

async fn is_allowed(client: &mut ClusterClient, channel: &str) -> bool {
    let reply = client.request("gusher.subscribe", json!({ "channel": channel })).await;
    reply["event"] == "gusher.subscribe_succeeded"
}

#[tokio::test]
async fn gc_041_to_gc_044_patterns_are_those_of_the_token() {
    let server = serve().await;
    for (pattern, good, bad) in [
        ("*", &["a", "a/b", "#GUSHERFUNC-TOUID#"][..], &["", "a\n"][..]),
        ("t*st", &["test"], &["tst", "testx"]),
        ("app*", &["apple"], &["app"]),
        ("a.c", &["a.c"], &["abc"]),
    ] {
        let mut client = ClusterClient::connect(&server, "u", &[pattern]).await;
        for channel in good {
            assert!(is_allowed(&mut client, channel).await, "{channel}");
        }
        for channel in bad {
            assert!(!is_allowed(&mut client, channel).await, "{channel}");
        }
    }
}

#[tokio::test]
async fn gc_045_no_channels_are_none() {
    let server = serve().await;
    let grant = json!({ "app_key": "app", "user_id": "u" });
    for token in [signed(&json!({ "gusher": grant })), token("u", &[])] {
        let mut client = ClusterClient::connect_with(&server, "app", &token).await.ok().unwrap();
        assert!(!is_allowed(&mut client, "a").await);
        let reply = client.request("gusher.querychannel", json!({})).await;
        assert_eq!(reply["data"], json!({ "channels": [] }));
    }
}

// The end.

#[tokio::test]
async fn gc_077_a_node_that_stops_says_so() {
    let server = serve().await;
    let mut client = ClusterClient::connect(&server, "u", &[]).await;
    client.hears_nothing().await;
    let (closed, ()) = tokio::join!(client.client.closed(), server.stop());
    assert_eq!(closed.0, 1001);
}

#[tokio::test]
async fn gc_076_a_client_that_does_not_read_holds_up_nobody() {
    let settings = [("limits.outbox_bytes_max", "100000"), ("node.send_buffer_bytes", "4096")];
    let server = serve_with(&settings).await;
    let mut deaf = ClusterClient::connect(&server, "deaf", &["c"]).await;
    deaf.subscribe("c").await;
    let mut client = ClusterClient::connect(&server, "u", &["c"]).await;
    client.subscribe("c").await;
    let data = json!("x".repeat(50_000));
    soon("a cut", async {
        while server.count(|metrics| metrics.slow_cuts.get()) == 0 {
            publish(&server, "c", "e", data.clone()).await;
            assert_eq!(client.next().await["data"], data);
        }
    })
    .await;
    client.hears_nothing().await;
}

// Operation.

#[tokio::test]
async fn gc_005_a_node_says_that_it_lives() {
    let server = serve().await;
    for (path, text) in [("/healthz", "ok"), ("/readyz", "ready"), ("/version", env!("CARGO_PKG_VERSION"))] {
        for call in [Server::public_call, Server::call] {
            let answer = send(call(&server, Method::GET, path)).await;
            assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, text));
            assert!(answer.header("content-type").starts_with("text/plain"));
            assert_eq!(send(call(&server, Method::HEAD, path)).await.status, 200);
        }
    }
}

#[tokio::test]
async fn gc_007_a_node_says_its_version() {
    let answer = call(&serve().await, Method::GET, "/version", "").await;
    assert_eq!(answer.text, env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn gc_078_paths_and_methods_are_told_apart() {
    let server = serve().await;
    let wrong = call(&server, Method::GET, "/v1/apps/app/messages", "").await;
    assert_eq!((wrong.status.as_u16(), wrong.header("allow")), (405, "POST"));
    assert_eq!(wrong.text.trim_end(), "Method Not Allowed");
    for unknown in ["/v1/nothing", "/v1/apps/app/messages/", "/v1/apps//channels"] {
        let answer = call(&server, Method::GET, unknown, "").await;
        assert_eq!(
            (answer.status.as_u16(), answer.text.trim_end()),
            (404, "404 page not found"),
            "{unknown}"
        );
    }
    assert_eq!(post(&server, "/channels//messages", json!({})).await.status, 404);
}

#[tokio::test]
async fn gc_083_an_event_of_a_client_s_own_drops_nobody() {
    let server = serve().await;
    let mut client = ClusterClient::connect(&server, "u", &["c"]).await;
    client.say(r#"{"event":"mine","data":{"a":1},"channel":"c"}"#).await;
    assert_eq!(client.next().await["data"]["code"], "unknown_event");
    client.subscribe("c").await;
}
