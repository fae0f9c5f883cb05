//! What no well-behaved client or backend of Pusher Channels sends. What is wrong is answered, the socket stays open
//! where the protocol says so, and nothing of it is done.
//!
//! Long because it is a list of short cases, one for each way to be wrong.

mod support;

use gusher::dialect::signature::hmac_hex;
use md5::{Digest, Md5};
use reqwest::Method;
use serde_json::{Value, json};
use support::raw::{Raw, frame, upgrade};
use support::{Answer, SUPER, Server, send, soon};

const SECRET: &str = "a-shared-secret";

/// Characters that names of channels are made of, besides letters and digits.
const SIGNS: &[u8] = b"-_=@,.;";

/// A node with the apps `key` (77) and `other` (78).
struct Node {
    server: Server,
    http: reqwest::Client,
}

impl Node {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn with(settings: &[(&str, &str)]) -> Self {
        let server = Server::with(settings).await;
        for (key, id, secret) in [("key", "77", SECRET), ("other", "78", "another-secret")] {
            let app = [("app_key", key), ("app_id", id), ("app_secret", secret)];
            let fields = [&app[..], &[("auth_account", "admin"), ("auth_password", "secret")]].concat();
            assert_eq!(server.post("/api/register", &fields).await.status, 200);
        }
        Self { server, http: reqwest::Client::new() }
    }

    /// Makes a call as it is.
    async fn call(&self, call: Call) -> Answer {
        let mut query = format!("auth_key={}&auth_timestamp={}&auth_version=1.0", call.key, call.timestamp);
        call.digest.iter().for_each(|digest| query += &format!("&body_md5={digest}"));
        let text = format!("{}\n{}\n{query}", call.method, call.path);
        let signature = hmac_hex(&call.secret, &text);
        let url = format!("http://{}{}?{query}&auth_signature={signature}", self.server.public(), call.path);
        send(self.http.request(call.method, url).body(call.body)).await
    }

    async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.call(Call::post(path, body)).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Call { method: Method::GET, digest: None, ..Call::post(path, "") }).await
    }

    async fn trigger(&self, event: Value) -> u16 {
        self.post("/apps/77/events", event.to_string()).await.status.as_u16()
    }

    /// A socket, and the id that it was given.
    async fn socket(&self) -> (Raw, String) {
        let mut raw = Raw::connect(self.server.public()).await;
        raw.send(upgrade("x", "a").replacen("/ws/x/a", "/app/key?protocol=7", 1)).await;
        assert_eq!(raw.response().await.0, 101);
        let data = data(&heard(&mut raw).await);
        (raw, data["socket_id"].as_str().unwrap().to_owned())
    }

    async fn occupied(&self) -> usize {
        self.get("/apps/77/channels").await.json()["channels"].as_object().unwrap().len()
    }
}

/// A call, signed whatever is in it, so that a test can spoil one thing at a time.
struct Call {
    method: Method,
    path: String,
    key: String,
    secret: String,
    timestamp: String,
    digest: Option<String>,
    body: Vec<u8>,
}

impl Call {
    fn post(path: &str, body: impl AsRef<[u8]>) -> Self {
        Self {
            method: Method::POST,
            path: path.to_owned(),
            key: "key".to_owned(),
            secret: SECRET.to_owned(),
            timestamp: jiff::Timestamp::now().as_second().to_string(),
            digest: Some(hex::encode(Md5::digest(&body))),
            body: body.as_ref().to_vec(),
        }
    }

    /// An event `name` for the channel `news`.
    fn event(name: &str) -> Self {
        Self::post("/apps/77/events", json!({ "name": name, "channel": "news", "data": "" }).to_string())
    }
}

async fn heard(raw: &mut Raw) -> Value {
    serde_json::from_str(&raw.text().await).expect("every message is JSON")
}

/// What is in the JSON within the string `data`.
fn data(message: &Value) -> Value {
    serde_json::from_str(message["data"].as_str().expect("a string")).expect("JSON")
}

async fn say(raw: &mut Raw, message: impl ToString) {
    raw.send(frame(0x81, message.to_string().as_bytes())).await;
}

async fn ask(raw: &mut Raw, message: impl ToString) -> Value {
    say(raw, message).await;
    heard(raw).await
}

fn subscribe(data: Value) -> Value {
    json!({ "event": "pusher:subscribe", "data": data })
}

/// Asks, and returns the text of the error that is the answer.
async fn error(raw: &mut Raw, message: impl ToString) -> String {
    let answer = ask(raw, message).await;
    assert_eq!((&answer["event"], &answer["data"]["code"]), (&json!("pusher:error"), &Value::Null));
    answer["data"]["message"].as_str().expect("a text").to_owned()
}

/// Asks for a channel, and returns the type of the error that is the answer.
async fn refusal(raw: &mut Raw, data: Value) -> String {
    error(raw, subscribe(data)).await;
    let second = heard(raw).await;
    assert_eq!(second["event"], "pusher:subscription_error");
    self::data(&second)["type"].as_str().expect("a text").to_owned()
}

/// Makes sure that nothing more was said, and that the socket is in use.
async fn still_open(raw: &mut Raw) {
    let pong = ask(raw, json!({ "event": "pusher:ping" })).await;
    assert_eq!(pong, json!({ "event": "pusher:pong", "data": "{}" }));
}

/// The permission for a presence channel.
fn presence(id: &str, channel: &str, channel_data: &str) -> Value {
    let auth = format!("key:{}", hmac_hex(SECRET, &format!("{id}:{channel}:{channel_data}")));
    json!({ "channel": channel, "auth": auth, "channel_data": channel_data })
}

#[tokio::test]
async fn a_replayed_call_is_refused_and_does_nothing() {
    let node = Node::start().await;
    let (mut raw, _) = node.socket().await;
    ask(&mut raw, subscribe(json!({ "channel": "news" }))).await;
    let now = jiff::Timestamp::now().as_second();
    let mut refused: Vec<String> =
        [-100_000_000, -601, 660, 100_000_000].map(|off: i64| (now + off).to_string()).into();
    refused
        .extend(["0", "-1", "9223372036854775807", "99999999999999999999", "1e9", "soon"].map(String::from));
    for timestamp in refused {
        let answer = node.call(Call { timestamp, ..Call::event("replayed") }).await;
        assert_eq!(answer.status, 401, "{}", answer.text);
        assert!(answer.text.starts_with("Timestamp expired"), "{}", answer.text);
    }
    for off in [-540, 540] {
        let timestamp = (now + off).to_string();
        assert_eq!(node.call(Call { timestamp, ..Call::event("in time") }).await.status, 200);
        assert_eq!(heard(&mut raw).await["event"], "in time");
    }
}

#[tokio::test]
async fn a_body_that_is_not_the_digested_one_is_refused() {
    let node = Node::start().await;
    let empty = hex::encode(Md5::digest(""));
    let another = Call::event("another").digest;
    for digest in [None, another, Some(empty.clone()), Some("x".into()), Some(String::new())] {
        let answer = node.call(Call { digest, ..Call::event("e") }).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (401, "Invalid body_md5\n"));
    }
    for (digest, status) in [(Some(empty), 200), (Call::event("e").digest, 401)] {
        let call = Call { method: Method::GET, digest, ..Call::post("/apps/77/channels", "") };
        assert_eq!(node.call(call).await.status.as_u16(), status);
    }
}

#[tokio::test]
async fn an_app_takes_its_own_key_and_secret_only() {
    let node = Node::start().await;
    let [other, another] = ["other", "another-secret"].map(str::to_owned);
    let foreign_key = Call { key: other.clone(), secret: another.clone(), ..Call::event("e") };
    assert_eq!(node.call(foreign_key).await.text, "Unknown auth_key\n");
    let foreign_secret = Call { secret: another.clone(), ..Call::event("e") };
    assert!(node.call(foreign_secret).await.text.starts_with("Invalid signature"));
    let alien = Call { path: "/apps/78/events".into(), ..Call::event("e") };
    assert_eq!(node.call(alien).await.status, 401);
    let own = Call { path: "/apps/78/events".into(), key: other, secret: another, ..Call::event("e") };
    assert_eq!(node.call(own).await.status, 200);
    for id in ["1", "77%00", "%37%37%37", "key", "99999999999999999999", "%FF"] {
        let unknown = Call { path: format!("/apps/{id}/events"), ..Call::event("e") };
        assert_eq!(node.call(unknown).await.status, 404, "{id}");
    }
}

/// JSON of that many levels, in arrays and in objects.
fn deep(levels: usize) -> [String; 2] {
    let objects = format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    ["[".repeat(levels) + &"]".repeat(levels), objects]
}

#[tokio::test]
async fn a_socket_that_says_something_very_deep_stays_open() {
    let node = Node::start().await;
    let (mut raw, id) = node.socket().await;
    for deep in deep(10_000) {
        for (message, answer) in [
            (deep.clone(), "pusher:error"),
            (deep[..10_000].to_owned(), "pusher:error"),
            (format!(r#"{{"event":{deep}}}"#), "pusher:error"),
            (format!(r#"{{"event":"pusher:ping","data":{deep}}}"#), "pusher:pong"),
            (format!(r#"{{"event":"pusher:ping","more":{deep}}}"#), "pusher:pong"),
            (format!(r#"{{"event":"pusher:subscribe","data":{deep}}}"#), "pusher:error"),
            (format!(r#"{{"event":"pusher:subscribe","data":{{"channel":{deep}}}}}"#), "pusher:error"),
            (format!(r#"{{"event":"pusher:signin","data":{{"user_data":{deep}}}}}"#), "pusher:error"),
            (format!(r#"{{"event":"client-x","channel":"private-x","data":{deep}}}"#), "pusher:error"),
        ] {
            assert_eq!(ask(&mut raw, &message).await["event"], answer, "{message:.60}");
            still_open(&mut raw).await;
        }
    }
    let [arrays, _] = deep(10_000);
    assert_eq!(refusal(&mut raw, presence(&id, "presence-x", &arrays)).await, "AuthError");
    let info = format!(r#"{{"user_id":"a","user_info":{arrays}}}"#);
    assert_eq!(refusal(&mut raw, presence(&id, "presence-x", &info)).await, "LimitReached");
    let auth = format!("key:{}", hmac_hex(SECRET, &format!("{id}::user::{arrays}")));
    let sign_in = json!({ "event": "pusher:signin", "data": { "auth": auth, "user_data": arrays } });
    assert_eq!(ask(&mut raw, sign_in).await["data"]["code"], 4009);
    still_open(&mut raw).await;
}

#[tokio::test]
async fn what_is_deep_and_short_enough_is_relayed_as_it_is() {
    let node = Node::start().await;
    let ((mut one, id_one), (mut other, id_other)) = (node.socket().await, node.socket().await);
    let [info, _] = deep(500);
    let member = |user: &str| format!(r#"{{"user_id":"{user}","user_info":{info}}}"#);
    ask(&mut one, subscribe(presence(&id_one, "presence-x", &member("a")))).await;
    let roster = ask(&mut other, subscribe(presence(&id_other, "presence-x", &member("b")))).await;
    assert!(roster["data"].as_str().unwrap().contains(&format!(r#""b":{info}"#)));
    assert!(heard(&mut one).await["data"].as_str().unwrap().contains(&info));
    let [data, _] = deep(5_000);
    say(&mut one, format!(r#"{{"event":"client-x","channel":"presence-x","data":{data}}}"#)).await;
    assert_eq!(heard(&mut other).await["data"], data);
    let users = node.get("/apps/77/channels/presence-x/users").await;
    assert_eq!(users.text, r#"{"users":[{"id":"a"},{"id":"b"}]}"#);
}

#[tokio::test]
async fn a_body_that_is_very_deep_is_read_as_any_other() {
    let node = Node::start().await;
    for deep in deep(10_000) {
        let event = |more: &str| format!(r#"{{"name":"e","channel":"news","data":"",{more}}}"#);
        let data = event(&format!(r#""data":{deep}"#));
        for (path, body, status) in [
            ("/apps/77/events", deep.clone(), 400),
            ("/apps/77/events", deep[..10_000].to_owned(), 400),
            ("/apps/77/events", data.clone(), 413),
            ("/apps/77/events", event(&format!(r#""more":{deep}"#)), 200),
            ("/apps/77/batch_events", deep.clone(), 400),
            ("/apps/77/batch_events", format!(r#"{{"batch":{deep}}}"#), 400),
            ("/apps/77/batch_events", format!(r#"{{"batch":[{data}]}}"#), 413),
        ] {
            assert_eq!(node.post(path, &body).await.status, status, "{path} {body:.60}");
        }
        let settings = node.server.call(Method::PATCH, "/api/key/settings");
        let settings = settings.basic_auth(SUPER.0, Some(SUPER.1));
        assert_eq!(send(settings.body(format!(r#"{{"enabled":{deep}}}"#))).await.status, 400);
    }
    assert_eq!(node.trigger(json!({ "name": "e", "channel": "news", "data": "" })).await, 200);
}

/// Every ASCII character that no name may hold, and some others.
fn forbidden() -> Vec<char> {
    let is_allowed = |letter: &char| letter.is_ascii_alphanumeric() || SIGNS.contains(&(*letter as u8));
    let ascii = (0..128_u8).map(char::from).filter(|letter| !is_allowed(letter));
    ascii.chain(['\u{80}', 'é', 'ÿ', '\u{2028}', '٣', 'Ａ', '😀']).collect()
}

#[tokio::test]
async fn a_socket_may_not_name_a_channel_as_it_likes() {
    let node = Node::start().await;
    let (mut raw, _) = node.socket().await;
    for letter in forbidden() {
        for name in [format!("a{letter}b"), format!("{letter}"), format!("#server-to-user-a{letter}")] {
            let text = error(&mut raw, subscribe(json!({ "channel": name }))).await;
            assert_eq!(text, format!("Invalid channel name: {name}"));
            let second = heard(&mut raw).await;
            assert_eq!((second["channel"].as_str(), &data(&second)["status"]), (Some(&*name), &json!(400)));
            error(&mut raw, json!({ "event": "pusher:unsubscribe", "data": { "channel": name } })).await;
            error(&mut raw, json!({ "event": "client-x", "channel": name, "data": "" })).await;
        }
    }
    still_open(&mut raw).await;
    assert_eq!(node.occupied().await, 0);
}

#[tokio::test]
async fn a_backend_may_not_name_a_channel_as_it_likes() {
    let node = Node::start().await;
    for letter in forbidden() {
        let name = format!("a{letter}b");
        let event = |channel: &str| json!({ "name": "e", "channel": channel, "data": "" });
        assert_eq!(node.trigger(event(&name)).await, 400, "{name:?}");
        assert_eq!(node.trigger(json!({ "name": "e", "channels": ["a", name], "data": "" })).await, 400);
        let batch = json!({ "batch": [event("a"), event(&name)] });
        assert_eq!(node.post("/apps/77/batch_events", batch.to_string()).await.status, 400, "{name:?}");
    }
    for byte in (0..=255_u8).filter(|byte| !byte.is_ascii_alphanumeric() && !SIGNS.contains(byte)) {
        // What is no text, or no single segment, is no path that anything is at.
        let expected = if byte == b'/' || !byte.is_ascii() { 404 } else { 400 };
        for end in ["", "/users"] {
            let path = format!("/apps/77/channels/presence-a%{byte:02X}b{end}");
            assert_eq!(node.get(&path).await.status, expected, "{path}");
        }
    }
}

/// A client's text frame under a mask, so that where it is cut matters.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x44, 0x88];
    let mut bytes = frame(first, payload);
    let start = bytes.len() - payload.len();
    bytes[start - 4..start].copy_from_slice(&mask);
    bytes[start..].iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    bytes
}

/// A subscribe with characters of every length in it.
fn long_subscribe(channel: &str) -> Vec<u8> {
    json!({ "event": "pusher:subscribe", "more": "aé\u{2028}😀", "data": { "channel": channel } })
        .to_string()
        .into_bytes()
}

async fn subscribed(raw: &mut Raw, channel: &str) {
    let reply = heard(raw).await;
    assert_eq!(reply["event"], "pusher_internal:subscription_succeeded");
    assert_eq!(reply["channel"], channel);
}

#[tokio::test]
async fn a_subscribe_may_come_in_two_writes_cut_anywhere_or_byte_by_byte() {
    // One shard: when it has answered another socket, it has read what this one wrote before.
    let node = Node::with(&[("node.shards", "1")]).await;
    let ((mut raw, _), (mut other, _)) = (node.socket().await, node.socket().await);
    for cut in 1..masked(0x81, &long_subscribe("c000")).len() {
        let channel = format!("c{cut:03}");
        let bytes = masked(0x81, &long_subscribe(&channel));
        raw.send(&bytes[..cut]).await;
        still_open(&mut other).await;
        raw.send(&bytes[cut..]).await;
        subscribed(&mut raw, &channel).await;
    }
    for byte in masked(0x81, &long_subscribe("bytes")) {
        raw.send([byte]).await;
        still_open(&mut other).await;
    }
    subscribed(&mut raw, "bytes").await;
}

#[tokio::test]
async fn a_message_may_come_in_fragments_cut_anywhere() {
    let node = Node::start().await;
    let (mut raw, _) = node.socket().await;
    for cut in 0..=long_subscribe("c000").len() {
        let channel = format!("c{cut:03}");
        let (begin, end) = (&long_subscribe(&channel)[..cut], &long_subscribe(&channel)[cut..]);
        let fragments = [masked(0x01, begin), masked(0x89, b"amid"), masked(0x80, end)].concat();
        raw.send(fragments).await;
        assert_eq!(raw.frame().await, (0x8a, b"amid".to_vec()));
        subscribed(&mut raw, &channel).await;
    }
    for (channel, is_one_write) in [("one", true), ("many", false)] {
        let message = long_subscribe(channel);
        let middle = message.iter().map(|byte| masked(0x00, &[*byte]));
        let fragments: Vec<_> =
            [masked(0x01, b"")].into_iter().chain(middle).chain([masked(0x80, b"")]).collect();
        let writes = if is_one_write { vec![fragments.concat()] } else { fragments };
        for write in writes {
            raw.send(write).await;
        }
        subscribed(&mut raw, channel).await;
    }
}

#[tokio::test]
async fn a_socket_in_as_many_channels_as_it_may_be_goes_on() {
    let node = Node::start().await;
    // Channels are the subject here, and not how fast a socket may send.
    let call = node.server.call(Method::PATCH, "/api/key/settings").basic_auth(SUPER.0, Some(SUPER.1));
    assert_eq!(send(call.body(json!({ "max_frames_per_second": 1_000_000 }).to_string())).await.status, 200);
    let (mut raw, _) = node.socket().await;
    let request = |number: usize| subscribe(json!({ "channel": format!("c{number}") })).to_string();
    for hundred in 0..100 {
        let requests =
            (hundred * 100..hundred * 100 + 100).map(|number| frame(0x81, request(number).as_bytes()));
        raw.send(requests.collect::<Vec<_>>().concat()).await;
        let answers = if hundred < 10 { 100 } else { 200 };
        let texts = raw.texts(answers).await;
        let is_in = texts.iter().all(|text| text.contains("subscription_succeeded"));
        let is_out = texts.iter().skip(1).step_by(2).all(|text| text.contains("LimitReached"));
        assert!(if hundred < 10 { is_in } else { is_out }, "{hundred}");
    }
    still_open(&mut raw).await;
    assert_eq!(node.occupied().await, 1_000);
    say(&mut raw, json!({ "event": "pusher:unsubscribe", "data": { "channel": "c0" } })).await;
    assert_eq!(ask(&mut raw, request(5_000)).await["channel"], "c5000");
    assert_eq!(refusal(&mut raw, json!({ "channel": "c0" })).await, "LimitReached");
    drop(raw);
    soon("its channels are gone", async { while node.occupied().await > 0 {} }).await;
}

#[tokio::test]
async fn what_is_too_long_on_a_socket_is_refused() {
    let node = Node::start().await;
    let (mut raw, id) = node.socket().await;
    for length in [201, 1_001, 60_000] {
        assert_eq!(refusal(&mut raw, json!({ "channel": "c".repeat(length) })).await, "InvalidChannel");
    }
    for member in [
        json!({ "user_id": "u".repeat(129) }),
        json!({ "user_id": "u".repeat(10_000) }),
        json!({ "user_id": "a", "user_info": "i".repeat(1_023) }),
    ] {
        let data = presence(&id, "presence-x", &member.to_string());
        assert_eq!(refusal(&mut raw, data).await, "LimitReached");
    }
    let numbers = ["1.5", "1e3", "true", "null", "[]", "\"\"", "\"\\u0000\""];
    for user in numbers {
        let data = presence(&id, "presence-x", &format!(r#"{{"user_id":{user}}}"#));
        assert_eq!(refusal(&mut raw, data).await, "AuthError", "{user}");
    }
    let user_data = json!({ "id": "u".repeat(201) }).to_string();
    let auth = format!("key:{}", hmac_hex(SECRET, &format!("{id}::user::{user_data}")));
    let sign_in = json!({ "event": "pusher:signin", "data": { "auth": auth, "user_data": user_data } });
    assert_eq!(ask(&mut raw, sign_in).await["data"]["code"], 4009);
    ask(&mut raw, subscribe(presence(&id, "presence-x", r#"{"user_id":"a"}"#))).await;
    for (event, data) in [("c".repeat(194), String::new()), ("x".into(), "d".repeat(10_241))] {
        let event = format!("client-{event}");
        error(&mut raw, json!({ "event": event, "channel": "presence-x", "data": data })).await;
    }
    still_open(&mut raw).await;
    say(&mut raw, "x".repeat(65_500) + &"y".repeat(35)).await;
    assert_eq!(heard(&mut raw).await["event"], "pusher:error");
    raw.send([&[0x81, 0xff][..], &65_537_u64.to_be_bytes(), &[0; 4]].concat()).await;
    assert_eq!(raw.close_code().await, 1009);
}

#[tokio::test]
async fn the_body_of_a_call_is_not_waited_for_where_the_rest_is_refused() {
    let node = Node::start().await;
    let now = jsonwebtoken::get_current_timestamp();
    let query = |key: &str, time: u64, version: &str, more: &str| {
        format!("auth_key={key}&auth_timestamp={time}&auth_version={version}&{more}")
    };
    let proven = "body_md5=0&auth_signature=s";
    let signed = |more: &str| {
        let query = format!("auth_key=key&auth_timestamp={now}&auth_version=1.0&{more}");
        let signature = hmac_hex(SECRET, &format!("POST\n/apps/77/events\n{query}"));
        format!("{query}&auth_signature={signature}")
    };
    for (query, length, status, text) in [
        (query("other", now, "1.0", proven), 2, 401, "Unknown auth_key"),
        (query("key", now, "2.0", proven), 2, 401, "Version not supported"),
        (query("key", 1, "1.0", proven), 2, 401, "Timestamp expired"),
        (query("key", now, "1.0", "body_md5=0"), 2, 401, "auth_signature is required"),
        (query("key", now, "1.0", "auth_signature=s"), 2, 401, "Invalid signature"),
        (query("key", now, "1.0", proven), (1 << 20) + 1, 401, "Invalid signature"),
        (signed("body_md5=0"), (1 << 20) + 1, 413, "request body too large"),
    ] {
        let mut raw = Raw::connect(node.server.public()).await;
        let head = format!("POST /apps/77/events?{query} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}");
        raw.send(head + "\r\n\r\n").await;
        let (told, body) = raw.response().await;
        assert_eq!((told, body.starts_with(text)), (status, true), "{body}");
    }
}

#[tokio::test]
async fn what_is_too_long_in_a_call_is_refused() {
    let node = Node::start().await;
    let event = |member: &str, value: Value| {
        let mut event = json!({ "name": "e", "channel": "news", "data": "" });
        event[member] = value;
        event
    };
    for (member, value, status) in [
        ("name", json!("e".repeat(201)), 400),
        ("name", json!(""), 400),
        ("channel", json!("c".repeat(201)), 400),
        ("channel", json!(format!("#server-to-user-{}", "u".repeat(201))), 400),
        ("channels", json!((0..101).map(|number| format!("c{number}")).collect::<Vec<_>>()), 400),
        ("channels", json!([]), 400),
        ("data", json!("d".repeat(10_241)), 413),
        ("data", json!(vec![0; 10_000]), 413),
        ("socket_id", json!("1".repeat(9_999)), 400),
        ("socket_id", json!(1.5), 400),
        ("socket_id", json!(format!("{0}.{0}", "9".repeat(9_999))), 200),
        ("info", json!("i".repeat(100_000)), 400),
    ] {
        assert_eq!(node.trigger(event(member, value)).await, status, "{member}");
    }
    let eleven = json!({ "batch": vec![event("name", json!("e")); 11] }).to_string();
    assert_eq!(node.post("/apps/77/batch_events", eleven).await.status, 400);
    let long = event("more", json!("m".repeat(1 << 20))).to_string();
    assert_eq!(node.post("/apps/77/events", long).await.status, 413);
    let user = format!("/apps/77/users/{}/terminate_connections", "u".repeat(1_025));
    assert_eq!(node.post(&user, "{}").await.status, 400);
    assert_eq!(node.get(&format!("/apps/77/channels/{}", "c".repeat(1_001))).await.status, 400);
    assert_eq!(node.get(&format!("/apps/77/channels/{}", "c".repeat(20_000))).await.status, 431);
}

#[tokio::test]
async fn text_that_breaks_off_within_a_character_closes() {
    let node = Node::start().await;
    let message = long_subscribe("news");
    let inside = message.iter().position(|byte| !byte.is_ascii()).unwrap() + 1;
    for bytes in [masked(0x81, &message[..inside]), masked(0x81, b"{\"event\":\"\xed\xa0\x80\"}")] {
        let (mut raw, _) = node.socket().await;
        raw.send(bytes).await;
        assert_eq!(raw.close_code().await, 1007);
    }
    for body in [&message[..inside], b"{\"name\":\"\xff\"}"] {
        assert_eq!(node.post("/apps/77/events", body).await.status, 400);
    }
}

#[tokio::test]
async fn half_a_character_in_an_escape_is_a_replacement_character() {
    let node = Node::start().await;
    let ((mut raw, id), (mut other, id_other)) = (node.socket().await, node.socket().await);
    ask(&mut other, subscribe(presence(&id_other, "presence-x", r#"{"user_id":"b"}"#))).await;
    ask(&mut raw, subscribe(presence(&id, "presence-x", r#"{"user_id":"a"}"#))).await;
    assert_eq!(heard(&mut other).await["event"], "pusher_internal:member_added");
    for message in [
        r#"{"event":"\ud800"}"#,
        r#"{"event":"pusher:subscribe","data":"\ud800"}"#,
        r#"{"event":"pusher:unsubscribe","data":{"channel":"a\udfff"}}"#,
        r#"{"event":"client-x","channel":"\ud83dpresence-x","data":""}"#,
    ] {
        error(&mut raw, message).await;
    }
    let named = r#"{"event":"pusher:subscribe","data":{"channel":"\ud800"}}"#;
    assert_eq!(error(&mut raw, named).await, "Invalid channel name: \u{fffd}");
    heard(&mut raw).await;
    let event = r#"{"\udc00":1,"event":"client-\ud83d","channel":"presence-x","data":"a\ud83d"}"#;
    say(&mut raw, event).await;
    let relayed = heard(&mut other).await;
    assert_eq!((&relayed["event"], &relayed["data"]), (&json!("client-\u{fffd}"), &json!("a\u{fffd}")));
    let body = r#"{"batch":[{"name":"e","channel":"presence-x","data":"x\ud83d"},
                            {"name":"f","channel":"presence-x","data":{"n":1.10,"t":"\ud83d"}}]}"#;
    assert_eq!(node.post("/apps/77/batch_events", body).await.status, 200);
    assert_eq!(heard(&mut other).await["data"], "x\u{fffd}");
    assert_eq!(heard(&mut other).await["data"], r#"{"n":1.10,"t":"\ud83d"}"#);
    still_open(&mut other).await;
}

#[tokio::test]
async fn what_a_client_is_told_back_is_cut() {
    let node = Node::start().await;
    let (mut raw, _) = node.socket().await;
    let long = "c".repeat(60_000);
    let auth = |auth: String| subscribe(json!({ "channel": "private-x", "auth": auth })).to_string();
    for message in [
        subscribe(json!({ "channel": long })).to_string(),
        json!({ "event": "pusher:unsubscribe", "data": { "channel": format!("/{long}") } }).to_string(),
        json!({ "event": long }).to_string(),
        auth(format!("{long}:x")),
        auth(format!("key:{long}")),
    ] {
        say(&mut raw, message).await;
        say(&mut raw, json!({ "event": "pusher:ping" })).await;
        loop {
            let text = raw.text().await;
            assert!(text.len() < 5_000, "{text:.100}");
            if text.contains("pusher:pong") {
                break;
            }
        }
    }
}

#[tokio::test]
async fn binary_frames_are_refused_in_words_however_they_come() {
    let node = Node::start().await;
    let (mut raw, _) = node.socket().await;
    let fragments = [masked(0x02, b""), masked(0x00, b"\xff"), masked(0x80, b"\x00")].concat();
    let (json, text) = (masked(0x82, b"[{}]"), masked(0x82, b"ping"));
    let broken = masked(0x82, b"{\"event\":\"\xff\"}");
    for bytes in [masked(0x82, b""), json, text, broken, masked(0x82, &[0xff; 65_535]), fragments] {
        raw.send(bytes).await;
        assert_eq!(heard(&mut raw).await["data"]["message"], "Binary frames are not supported");
    }
    still_open(&mut raw).await;
}

#[tokio::test]
async fn a_client_cannot_say_what_only_the_server_says() {
    let node = Node::start().await;
    let ((mut raw, _), (mut other, _)) = (node.socket().await, node.socket().await);
    for socket in [&mut raw, &mut other] {
        ask(socket, subscribe(json!({ "channel": "news" }))).await;
    }
    for event in [
        "",
        "x",
        "client",
        "client_x",
        "Client-x",
        "pusher:",
        "Pusher:ping",
        "pusher:PING",
        "pusher:error",
        "pusher:connection_established",
        "pusher:signin_success",
        "pusher:cache_miss",
        "pusher:subscription_error",
        "pusher_internal:",
        "pusher_internal:subscription_succeeded",
        "pusher_internal:member_added",
        "pusher_internal:member_removed",
        "pusher:ping\0",
        " pusher:ping",
        "\u{202e}",
        &"e".repeat(1_000),
    ] {
        let message = json!({ "event": event, "channel": "news", "data": { "code": 4001, "message": "" } });
        let text = error(&mut raw, message).await;
        assert_eq!(text, format!("Unsupported event received on socket: {event}"));
    }
    still_open(&mut raw).await;
    still_open(&mut other).await;
}

#[tokio::test]
async fn an_address_that_names_no_app_is_answered_with_a_code() {
    let node = Node::start().await;
    for (path, code) in [
        (format!("/app/{}", "k".repeat(4_000)), 4001),
        (format!("/app/{}", "%C3%A9".repeat(500)), 4001),
        ("/app/key%00".to_owned(), 4001),
        ("/app/KEY".to_owned(), 4001),
        ("/app/%FF".to_owned(), 4005),
        ("/app/key/more".to_owned(), 4005),
        ("/app/key?protocol=".to_owned(), 4006),
        ("/app/key?protocol=%FF".to_owned(), 4006),
        ("/app/key?protocol=7.0".to_owned(), 4006),
        (format!("/app/key?protocol={}", "7".repeat(4_000)), 4007),
        ("/app/key?protocol=-7".to_owned(), 4007),
    ] {
        let mut raw = Raw::connect(node.server.public()).await;
        raw.send(upgrade("x", "a").replacen("/ws/x/a", &path, 1)).await;
        assert_eq!(raw.response().await.0, 101);
        assert_eq!(heard(&mut raw).await["data"]["code"], code, "{path:.60}");
        let (first, reason) = raw.frame().await;
        assert_eq!((first, &reason[..2]), (0x88, &u16::to_be_bytes(code)[..]), "{path:.60}");
        assert!(reason.len() <= 125 && std::str::from_utf8(&reason[2..]).is_ok());
    }
}
