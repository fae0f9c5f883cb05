//! What an app bounds within a second, what a node refuses when it is short of memory, and whose pages may call. A bound is
//! one a second: then it shows soon, however long a call takes, and no test waits for a second to pass.

mod support;

use gusher::config::BusKind;
use gusher::config::read::{self, Overlay};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::cluster::{self, ClusterClient};
use support::pusher::{self, PusherClient, configure, signed, trigger};
use support::real_nodes::Cluster;
use support::{Answer, Client, SUPER, Server, send};
use tokio_tungstenite::tungstenite::Message;

/// What must come does within so many tries.
const TRIES: usize = 200;

/// A figure, by its name and labels.
async fn figure(server: &Server, name: &str) -> u64 {
    let text = server.get("/metrics").await.text;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}

async fn exceeded(server: &Server, app: &str, rate: &str) -> u64 {
    figure(server, &format!("gusher_app_rate_exceeded_total{{app=\"{app}\",rate=\"{rate}\"}}")).await
}

/// A node with the app `key` of Pusher Channels, `app` of Gusher and Gusher Cluster, and these settings for both.
async fn serve(settings: Value) -> Server {
    serve_with(&[], settings).await
}

async fn serve_with(node: &[(&str, &str)], settings: Value) -> Server {
    let server = cluster::serve_with(node).await;
    pusher::register(&server, settings.clone()).await;
    set(&server, settings).await;
    server
}

/// Changes settings of `app`.
async fn set(server: &Server, settings: Value) {
    let call = server.call(Method::PATCH, "/api/app/settings").basic_auth(SUPER.0, Some(SUPER.1));
    assert_eq!(send(call.body(settings.to_string())).await.status, StatusCode::OK);
}

/// Makes a call until it is refused for the rate: the second within a second is, however slow this machine is. Returns that
/// answer, and how many were good before it.
async fn refused(setting: &str, call: impl AsyncFn() -> Answer) -> (Answer, usize) {
    for good in 0..TRIES {
        let answer = call().await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(answer.header("Retry-After"), "1");
            let text = format!("the app's {setting} is reached");
            assert!(answer.text.contains(&text), "{}", answer.text);
            return (answer, good);
        }
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    panic!("{setting} refuses nothing");
}

/// Connects until that is refused.
async fn not_let_in<T>(connect: impl AsyncFn() -> Result<T, (u16, String)>) -> (u16, String) {
    for _ in 0..TRIES {
        if let Err((status, text)) = connect().await {
            return (status, text.trim_end().to_owned());
        }
    }
    panic!("everybody is let in");
}

/// Connects by Pusher Channels until that is turned away: what is told then, and how it is closed.
async fn turned_away(server: &Server) -> (Value, (u16, String)) {
    for _ in 0..TRIES {
        let url = server.url("ws", server.public(), "/app/key?protocol=7");
        let (socket, _) = server.open(url).await.expect("upgraded");
        let mut client = Client { socket };
        let told: Value = serde_json::from_str(&client.text().await).expect("JSON");
        if told["event"] == "pusher:error" {
            return (told["data"].clone(), client.closed().await);
        }
    }
    panic!("everybody is let in");
}

#[tokio::test]
async fn calls_over_the_apps_rate_are_refused_in_each_dialect() {
    let setting = "max_calls_per_second";
    let server = serve(json!({ (setting): 1 })).await;
    refused(setting, async || pusher::call(&server, Method::GET, "/apps/77/channels", "").await).await;
    let (as_json, _) = refused(setting, async || {
        let path = signed("key", &Method::GET, "/apps/77/channels", "");
        send(server.public_call(Method::GET, &path).header("Accept", "application/json")).await
    })
    .await;
    assert_eq!(as_json.json(), json!({ "error": format!("the app's {setting} is reached"), "code": 429 }));
    let bad = pusher::call_as(&server, "other", Method::GET, "/apps/77/channels", "").await;
    assert_eq!(bad.status, 401, "who cannot sign learns nothing of it");
    assert_eq!(exceeded(&server, "key", "calls").await, 2);

    refused(setting, async || server.push("app", "x").await).await;
    refused(setting, async || server.get("/api/app/listonlineuser").await).await;
    refused(setting, async || cluster::call(&server, Method::GET, "/v1/apps/app/users", "").await).await;
    let event = json!({ "event": "e" });
    refused(setting, async || cluster::post(&server, "/channels/c/messages", event.clone()).await).await;
    assert_eq!(exceeded(&server, "app", "calls").await, 4);
    assert_eq!(server.push("other", "not concerned").await.status, 200);
}

#[tokio::test]
async fn a_change_of_the_rate_counts_at_once_and_begins_anew() {
    let server = serve(json!({})).await;
    let push = async || server.push("app", "x").await;
    for _ in 0..2 {
        set(&server, json!({ "max_calls_per_second": 1 })).await;
        let (_, good) = refused("max_calls_per_second", push).await;
        assert!(good > 0, "it begins with a second's worth");
        for bound in [json!(1_000), Value::Null] {
            set(&server, json!({ "max_calls_per_second": bound })).await;
            for _ in 0..10 {
                assert_eq!(push().await.status, 200);
            }
        }
    }
}

#[tokio::test]
async fn a_publication_counts_once_for_each_of_its_channels() {
    let setting = "max_publications_per_second";
    let server = serve(json!({ (setting): 4 })).await;
    let mut client = PusherClient::connect(&server).await;
    client.subscribe("private-a").await;
    let event = json!({ "name": "e", "channels": ["private-a", "b", "c", "d"], "data": "x" }).to_string();
    let events = async || pusher::call(&server, Method::POST, "/apps/77/events", &event).await;
    let (_, good) = refused(setting, events).await;
    assert!(good > 0, "four at once are as many as there may be");
    let item = json!({ "name": "e", "channel": "private-a", "data": "x" });
    let batch = json!({ "batch": [item, item, item, item] }).to_string();
    let batches = async || pusher::call(&server, Method::POST, "/apps/77/batch_events", &batch).await;
    let (_, good_batches) = refused(setting, batches).await;
    assert_eq!(exceeded(&server, "key", "publications").await, 4 + 4);
    let reason = "gusher_publications_refused_total{reason=\"too_many_publications\"}";
    assert_eq!(figure(&server, reason).await, 1 + 4);

    configure(&server, json!({ (setting): null })).await;
    assert_eq!(trigger(&server, "private-a", "last", "x").await.status, 200);
    for _ in 0..good + 4 * good_batches {
        assert_eq!(client.next().await["event"], "e");
    }
    assert_eq!(client.next().await["event"], "last", "of what was refused nothing arrived");
}

#[tokio::test]
async fn more_at_once_than_a_second_allows_is_not_refused_for_ever() {
    let setting = "max_publications_per_second";
    let server = serve(json!({ (setting): 1 })).await;
    let batch = json!([{ "channel": "a", "event": "e" }, { "channel": "b", "event": "e" }]);
    let batches = async || cluster::post(&server, "/messages/batch", batch.clone()).await;
    let (_, good) = refused(setting, batches).await;
    assert!(good > 0);
    let value = json!({ "data": 1 });
    refused(setting, async || cluster::post(&server, "/users/anna/messages", value.clone()).await).await;
    refused(setting, async || server.push("app", "x").await).await;
}

#[tokio::test]
async fn connects_over_the_apps_rate_are_refused_in_each_dialect() {
    let server = serve(json!({ "max_connects_per_second": 1 })).await;
    let message = "App is over its rate of connections";
    let (told, closed) = turned_away(&server).await;
    assert_eq!(told, json!({ "code": 4100, "message": message }));
    assert_eq!(closed, (4100, message.to_owned()));
    assert_eq!(exceeded(&server, "key", "connects").await, 1);

    let expected = (429, "the app's max_connects_per_second is reached".to_owned());
    assert_eq!(not_let_in(async || server.try_connect("app", "anna").await).await, expected);
    let token = cluster::token("anna", &["*"]);
    assert_eq!(
        not_let_in(async || ClusterClient::connect_with(&server, "app", &token).await).await,
        expected
    );
    assert_eq!(exceeded(&server, "app", "connects").await, 2);
    assert_eq!(figure(&server, "gusher_connections_refused_total{reason=\"too_many_connects\"}").await, 3);

    set(&server, json!({ "max_connects_per_second": null })).await;
    server.connect("app", "anna").await;
}

/// Sends frames until the socket is closed for them.
async fn flood(client: &mut Client, frame: Message) {
    // More than two seconds' worth, whenever the second turns.
    for _ in 0..20 {
        client.send(frame.clone()).await;
    }
    loop {
        match client.next().await {
            Message::Close(Some(close)) => {
                assert_eq!((u16::from(close.code), &*close.reason), (1008, "too many frames"));
                return;
            }
            Message::Close(None) => panic!("closed without a reason"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_socket_that_sends_too_many_frames_is_closed_in_each_dialect() {
    let server = serve(json!({ "max_frames_per_second": 5 })).await;
    let mut pusher = PusherClient::connect(&server).await;
    flood(&mut pusher.client, Message::text(r#"{"event":"pusher:ping"}"#)).await;
    assert_eq!(exceeded(&server, "key", "frames").await, 1);
    let mut gusher = server.connect("app", "anna").await;
    flood(&mut gusher, Message::Ping("x".into())).await;
    let mut cluster = ClusterClient::connect(&server, "anna", &["*"]).await;
    flood(&mut cluster.client, Message::text(r#"{"event":"gusher.ping"}"#)).await;
    assert_eq!(exceeded(&server, "app", "frames").await, 2);

    let mut calm = server.connect("app", "anna").await;
    set(&server, json!({ "max_frames_per_second": null })).await;
    for _ in 0..20 {
        calm.send(Message::text("x")).await;
    }
    calm.settle().await;
}

#[tokio::test]
async fn the_quota_of_connections_is_that_of_the_whole_cluster() {
    let cluster = Cluster::with_pusher(BusKind::Nats, 2).await;
    let [one, two] = &cluster.nodes[..] else { panic!("two nodes") };
    configure(one, json!({ "max_connections": 1 })).await;
    let first = PusherClient::connect(one).await;
    let (_, closed) = turned_away(two).await;
    assert_eq!(closed, (4004, "App is over its connection quota".to_owned()));
    first.client.close().await;
}

#[tokio::test]
async fn short_of_memory_nobody_is_let_in_and_all_else_goes_on() {
    let server = serve(json!({})).await;
    let (mut pusher, mut gusher) =
        (PusherClient::connect(&server).await, server.connect("app", "anna").await);
    pusher.subscribe("private-a").await;
    limit_memory(&server, "1");

    let (told, closed) = turned_away(&server).await;
    assert_eq!((&told["code"], closed), (&json!(4100), (4100, "Over capacity".to_owned())));
    let text = "server is short of memory";
    let refused = server.try_connect("app", "bert").await.err().expect("refused");
    assert_eq!((refused.0, refused.1.trim_end()), (503, text));
    let token = cluster::token("anna", &["*"]);
    let refused = ClusterClient::connect_with(&server, "app", &token).await.err().expect("refused");
    assert_eq!((refused.0, refused.1.trim_end()), (503, text));
    let as_http = server.public_call(Method::GET, "/ws/app/bert").header("Connection", "Upgrade");
    let as_http = as_http.header("Upgrade", "websocket").header("Sec-WebSocket-Version", "13");
    let as_http = send(as_http.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")).await;
    assert_eq!((as_http.status.as_u16(), as_http.header("Retry-After")), (503, "5"));

    assert_eq!(trigger(&server, "private-a", "e", "x").await.status, 200);
    assert_eq!(pusher.next().await["event"], "e");
    assert_eq!(server.push("app", "still").await.status, 200);
    assert_eq!(gusher.text().await, "still");
    assert_eq!(server.get("/readyz").await.status, 200);
    assert_eq!(figure(&server, "gusher_memory_short").await, 1);
    assert_eq!(figure(&server, "gusher_memory_bytes_max").await, 1);
    assert_eq!(figure(&server, "gusher_connections_refused_total{reason=\"memory_short\"}").await, 4);

    limit_memory(&server, "1000000000000");
    server.connect("app", "bert").await;
    assert_eq!(figure(&server, "gusher_memory_short").await, 0);
}

/// Has the node read its configuration again, with this limit.
fn limit_memory(server: &Server, bytes: &str) {
    let mut flags = Overlay::default();
    flags.set("limits.memory_bytes_max", bytes);
    flags.set(cluster::KEY_SETTING.0, cluster::KEY_SETTING.1);
    server.node.reload(&read::dev([], &flags).expect("a configuration")).expect("it can be used");
}

const PAGE: &str = "https://admin.example.com";

/// What pages may send: also what the libraries of Pusher, Echo and Laravel add.
const PERMITTED_HEADERS: &str = "Authorization, Content-Type, X-CSRF-Token, X-Pusher-Library, X-Requested-With, X-Socket-ID, X-XSRF-Token";

/// What a browser asks before it makes a call for a page.
async fn preflight(call: reqwest::RequestBuilder, origin: &str) -> Answer {
    let call = call.header("Origin", origin).header("Access-Control-Request-Method", "POST");
    send(call.header("Access-Control-Request-Headers", "authorization,content-type")).await
}

fn has(answer: &Answer, name: &str) -> bool {
    answer.headers.contains_key(name)
}

#[tokio::test]
async fn pages_of_named_origins_may_call_on_both_listeners() {
    let server = serve_with(&[("cors.origins", PAGE)], json!({})).await;
    for call in [
        server.call(Method::OPTIONS, "/api/push/app"),
        server.call(Method::OPTIONS, "/v1/apps/app/channels/c/messages"),
        server.public_call(Method::OPTIONS, "/apps/77/events"),
    ] {
        let other = preflight(call.try_clone().expect("no body"), "https://evil.example").await;
        assert!(other.status == 405 && !has(&other, "Access-Control-Allow-Origin"), "{}", other.text);
        let answer = preflight(call, PAGE).await;
        assert_eq!(answer.status, 204);
        for (header, value) in [
            ("Access-Control-Allow-Origin", PAGE),
            ("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE"),
            ("Access-Control-Allow-Headers", PERMITTED_HEADERS),
            ("Access-Control-Max-Age", "600"),
            ("Vary", "Origin"),
        ] {
            assert_eq!(answer.header(header), value);
        }
        assert!(!has(&answer, "Access-Control-Allow-Credentials"));
    }
    let push = |origin: &str| {
        let call = server.call(Method::POST, "/api/push/app").basic_auth(SUPER.0, Some(SUPER.1));
        send(call.header("Origin", origin).form(&[("content", "x")]))
    };
    assert_eq!(push(PAGE).await.header("Access-Control-Allow-Origin"), PAGE);
    let other = push("https://evil.example").await;
    assert_eq!((other.status.as_u16(), other.header("Vary")), (403, "Origin"));
    assert!(!has(&other, "Access-Control-Allow-Origin"));
    // Also what is refused, so that the page learns why.
    let call = server.call(Method::POST, "/api/push/app").header("Origin", PAGE);
    let refused = send(call).await;
    assert_eq!((refused.status.as_u16(), refused.header("Access-Control-Allow-Origin")), (401, PAGE));
    let nowhere = preflight(server.call(Method::OPTIONS, "/nowhere"), PAGE).await;
    assert_eq!(nowhere.status, 404);
}

#[tokio::test]
async fn anybodys_pages_may_call_or_nobodys() {
    let server = serve_with(&[("cors.origins", "*")], json!({})).await;
    let answer = preflight(server.call(Method::OPTIONS, "/api/push/app"), PAGE).await;
    assert_eq!((answer.status.as_u16(), answer.header("Access-Control-Allow-Origin")), (204, "*"));
    assert!(!has(&answer, "Vary") && !has(&answer, "Access-Control-Allow-Credentials"));

    let server = serve(json!({})).await;
    let answer = preflight(server.call(Method::OPTIONS, "/api/push/app"), PAGE).await;
    assert!(answer.status == 405 && !has(&answer, "Access-Control-Allow-Origin"), "{}", answer.text);
    let own_rule = preflight(server.public_call(Method::OPTIONS, "/v1/auth"), PAGE).await;
    assert_eq!((own_rule.status.as_u16(), own_rule.header("Access-Control-Allow-Origin")), (204, "*"));
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing_with_the_credentials_of_a_browser() {
    const EVIL: &str = "https://evil.example";
    let server = Server::plain(&[("cors.origins", PAGE)]).await;
    let own = format!("http://{}", server.private());
    let register = async |app: &str, headers: &[(&str, &str)]| {
        let mut call = server.call(Method::POST, "/api/register").basic_auth(SUPER.0, Some(SUPER.1));
        for (name, value) in headers {
            call = call.header(*name, *value);
        }
        send(call.form(&[("app_key", app), ("auth_account", "a"), ("auth_password", "b")])).await
    };
    for headers in [
        &[("Origin", EVIL)][..],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Origin", EVIL), ("Sec-Fetch-Site", "same-site")],
    ] {
        let answer = register("forged", headers).await;
        assert_eq!(answer.status, 403, "{headers:?}: {}", answer.text);
    }
    assert!(!server.get("/api/app-list").await.text.contains("forged"));
    let text = server.call(Method::POST, "/v1/apps/x/messages/batch").basic_auth(SUPER.0, Some(SUPER.1));
    let text = text.header("Content-Type", "text/plain").header("Origin", EVIL).body("[]");
    assert_eq!(send(text).await.status, 403);
    // To look is another matter: without CORS the page does not see the answer.
    let looks = server.call(Method::GET, "/api/app-list").basic_auth(SUPER.0, Some(SUPER.1));
    assert_eq!(send(looks.header("Origin", EVIL)).await.status, 200);
    for (app, headers) in [
        ("backend", &[][..]),
        ("own", &[("Origin", &*own)]),
        ("own-behind-proxy", &[("Origin", "https://gusher.example"), ("Sec-Fetch-Site", "same-origin")]),
        ("allowed", &[("Origin", PAGE), ("Sec-Fetch-Site", "cross-site")]),
        ("node-fetch", &[("Sec-Fetch-Mode", "cors"), ("Accept-Language", "*"), ("Host", "gusher:8002")]),
    ] {
        let answer = register(app, headers).await;
        assert_eq!(answer.status, 200, "{app}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_trial_run_serves_browsers_under_no_name_that_dns_could_change() {
    let server = Server::plain(&[]).await;
    let port = server.private().port();
    let looks = async |host: &str, headers: &[(&str, &str)]| {
        let mut call = server.call(Method::GET, "/api/app-list").basic_auth(SUPER.0, Some(SUPER.1));
        for (name, value) in headers {
            call = call.header(*name, *value);
        }
        send(call.header("Host", format!("{host}:{port}"))).await.status.as_u16()
    };
    let browsers: [&[(&str, &str)]; 3] = [
        &[("Origin", "http://evil.example")],
        &[("Sec-Fetch-Site", "same-origin")],
        &[("Accept-Language", "en-US,en;q=0.5")],
    ];
    for headers in browsers {
        assert_eq!(looks("evil.example", headers).await, 403, "{headers:?}");
        assert_eq!(looks("localhost", headers).await, 200, "{headers:?}");
        assert_eq!(looks("127.0.0.1", headers).await, 200, "{headers:?}");
    }
    assert_eq!(looks("gusher", &[]).await, 200, "a backend names it as it likes");
}

/// What of this process is resident, in bytes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is there");
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.map(|kib: u64| kib * 1024).expect("a number")
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[tokio::test]
async fn memory_that_nobody_uses_any_more_keeps_nobody_out() {
    const WASTE: u64 = 256 << 20;
    let server = serve(json!({})).await;
    // Between two pieces that go is one that stays, so the allocator keeps what is free.
    let pieces: Vec<(Vec<u8>, Vec<u8>)> = (0..WASTE >> 16).map(|_| (vec![1; 1 << 16], vec![1; 64])).collect();
    let (large, small): (Vec<_>, Vec<_>) = pieces.into_iter().unzip();
    drop(large);
    limit_memory(&server, &(resident() - WASTE / 2).to_string());
    assert_eq!(figure(&server, "gusher_memory_short").await, 0);
    server.connect("app", "anna").await;
    drop(small);
}

#[tokio::test]
async fn sockets_are_none_of_its_business() {
    let server = serve_with(&[("cors.origins", PAGE)], json!({})).await;
    let (_, response) = server.open(server.socket_url("app", "anna")).await.expect("upgraded");
    let headers = response.headers();
    assert!(!headers.contains_key("Vary") && !headers.contains_key("Access-Control-Allow-Origin"));
}
