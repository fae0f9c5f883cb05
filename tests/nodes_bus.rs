//! What a node makes of what others say on a real bus, though it was no node of ours, or a newer one; and what anybody who
//! listens on the bus can hear.

mod support;

use std::time::Duration;

use futures_util::StreamExt;
use gusher::config::BusKind;
use reqwest::Method;
use serde_json::{Value, json};
use support::cluster::{ClusterClient, KEY_SETTING, token_for};
use support::fleet::{Fleet, until};
use support::pusher::{self, PusherClient, SECRET};
use support::servers::BusServer;
use support::{SUPER, Server, soon};
use tokio_tungstenite::connect_async;

/// The node that a test plays.
const STRANGER: u64 = 0x2a;

/// A node, and somebody else on its bus.
struct Stage {
    server: Server,
    bus: async_nats::Client,
    _server: BusServer,
}

impl Stage {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn with(more: &[(&str, &str)]) -> Self {
        let nats = BusServer::start(BusKind::Nats);
        let settings = nats.settings();
        let settings = settings.iter().map(|(key, value)| (*key, value.as_str()));
        let settings: Vec<_> =
            [KEY_SETTING].into_iter().chain(settings).chain(more.iter().copied()).collect();
        let server = Server::with(&settings).await;
        pusher::register(&server, json!({})).await;
        let bus = async_nats::connect(nats.url()).await.expect("the server is there");
        Self { server, bus, _server: nats }
    }

    async fn say(&self, subject: &str, frame: Vec<u8>) {
        self.bus.publish(subject.to_owned(), frame.into()).await.expect("it is connected");
        self.bus.flush().await.expect("it is connected");
    }

    fn skipped(&self) -> u64 {
        let metrics = self.server.node.metrics();
        metrics.facts_skipped.get() + metrics.relays_unmatched.get()
    }

    /// How many subscribe to a channel, as the node tells it.
    async fn count(&self, channel: &str) -> u64 {
        let body = json!({ "name": "e", "channel": channel, "data": "{}", "info": "subscription_count" });
        let answer = pusher::call(&self.server, Method::POST, "/apps/77/events", &body.to_string()).await;
        answer.json()["channels"][channel]["subscription_count"].as_u64().unwrap_or(0)
    }
}

/// A frame as a node lays it out.
fn frame(note: &str, data: &[u8]) -> Vec<u8> {
    let head = [&[b'G', 1, 0, 0][..], &STRANGER.to_be_bytes(), &(note.len() as u32).to_be_bytes()];
    [&head.concat(), note.as_bytes(), data].concat()
}

fn said(fact: &Value) -> Vec<u8> {
    frame(&fact.to_string(), b"")
}

#[tokio::test]
async fn a_newer_node_is_understood_as_far_as_possible() {
    let stage = Stage::start().await;
    let mut to_stranger =
        stage.bus.subscribe(format!("gusher.node.{STRANGER:016x}")).await.expect("subscribed");
    stage.bus.flush().await.expect("it is connected");
    let beat = |number: u64| {
        said(
            &json!({ "beat": { "number": number, "is_ready": false, "peers": [], "mood": { "is": "good" } } }),
        )
    };
    stage.say("gusher.nodes", said(&json!("hello"))).await;
    stage.say("gusher.nodes", beat(0)).await;
    // It is asked for all that it holds.
    let token = loop {
        let asked = soon("a question", to_stranger.next()).await.expect("the bus is there").payload;
        let note: Value = serde_json::from_slice(&asked[16..]).expect("a note");
        if let Some(token) = note["ask"]["token"].as_u64() {
            break token;
        }
    };
    let holdings = json!([
        { "item": { "channel": "news" }, "n": 3, "since": 7 },
        { "item": { "hologram": "x" }, "n": 1 },
        { "item": { "member": ["presence-room", "them"] }, "n": 1, "info": "{}", "mood": "good" },
        { "item": { "channel": "presence-room" }, "n": 1 },
    ]);
    let page = json!({ "page": { "token": token, "number": 0, "index": 0, "is_last": true,
        "apps": [{ "app": "key", "holdings": holdings, "region": "north" }], "owed": [{ "kind": "hologram" }] } });
    stage.say(&format!("gusher.node.{}", asker(&stage).await), said(&page)).await;
    until("what is known of it counts", async || stage.count("news").await == 3).await;
    // Then it says things that nobody here has a word for, and one that everybody has.
    let before = stage.skipped();
    stage.say("gusher.nodes", said(&json!({ "hologram": { "of": "x" } }))).await;
    stage.say("gusher.nodes", said(&json!("wave"))).await;
    let change = json!({ "changed": { "number": 1, "apps": [{ "app": "key", "holdings": [
        { "item": { "hologram": "x" }, "n": 2 }, { "item": { "channel": "news" }, "n": 4 },
    ] }], "told": [{ "app": "key", "channel": "news", "kind": "hologram" }], "mood": "good" } });
    stage.say("gusher.nodes", said(&change)).await;
    stage.say("gusher.nodes", beat(1)).await;
    until("the change counts", async || stage.count("news").await == 4).await;
    assert_eq!(stage.skipped(), before + 2);
    // What it publishes is delivered.
    let mut client = PusherClient::connect(&stage.server).await;
    client.subscribe("news").await;
    let relay =
        json!({ "relay": { "app": "key", "to": { "channel": "news" }, "event": "e", "priority": 9 } });
    let subject = "gusher.channel.a2V5.bmV3cw";
    stage.say(subject, frame(&relay.to_string(), b"{\"a\":1}")).await;
    let heard = client.next().await;
    assert_eq!((&heard["event"], &heard["data"]), (&json!("e"), &json!("{\"a\":1}")));
    stage.say("gusher.nodes", said(&json!("bye"))).await;
    until("what it held is gone", async || stage.count("news").await == 1).await;
    stage.server.still_serves().await;
}

/// The name of the node, as it says it itself.
async fn asker(stage: &Stage) -> String {
    let mut all = stage.bus.subscribe("gusher.nodes").await.expect("subscribed");
    stage.bus.flush().await.expect("it is connected");
    let heard = soon("a sign of life", all.next()).await.expect("the bus is there").payload;
    heard[4..12].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn what_makes_no_sense_on_the_bus_is_counted_and_does_no_harm() {
    let stage = Stage::start().await;
    let mut client = PusherClient::connect(&stage.server).await;
    client.subscribe("news").await;
    let whole = said(&json!({ "beat": { "number": 0, "is_ready": false, "peers": [] } }));
    let mut frames: Vec<Vec<u8>> = (0..whole.len()).map(|length| whole[..length].to_vec()).collect();
    let mut newer_layout = whole.clone();
    newer_layout[1] = 2;
    let too_long = [&[b'G', 1, 0, 0][..], &STRANGER.to_be_bytes(), &u32::MAX.to_be_bytes(), b"{}"].concat();
    let relay = json!({ "relay": { "app": "key", "to": { "channel": "news" } } }).to_string();
    frames.extend([
        newer_layout,
        too_long,
        vec![0; 1_000_000],
        frame(&"[".repeat(900_000), b""),
        frame(&"{\"relay\":".repeat(10_000), b""),
        frame(&relay, b"\xff\xfe not UTF-8"),
        said(&json!({ "relay": { "app": "nobody's", "to": "everyone" } })),
        said(&json!({ "relay": { "app": "key", "to": { "users_matching": "(" } } })),
        said(&json!({ "beat": { "number": -1 } })),
        said(&json!({ "changed": { "number": 1e300, "apps": [] } })),
        said(&json!(null)),
    ]);
    let before = stage.skipped();
    for (number, bytes) in frames.iter().enumerate() {
        let subject = ["gusher.nodes", "gusher.channel.a2V5.bmV3cw", "gusher.app.a2V5"][number % 3];
        stage.say(subject, bytes.clone()).await;
    }
    until("all are counted", async || stage.skipped() == before + frames.len() as u64).await;
    // Nonsense that can be read: an answer to nothing, changes out of nowhere, a crowd that is not there.
    for fact in [
        json!({ "page": { "token": 9, "number": 9, "index": 9, "is_last": true, "apps": [] } }),
        json!({ "changed": { "number": 77, "apps": [{ "app": "key", "holdings": [
            { "item": { "channel": "news" }, "n": u32::MAX },
        ] }] } }),
        json!({ "terminate": ["key", "nobody"] }),
        json!({ "followed": u64::MAX }),
        json!({ "ask": { "token": 1 } }),
        json!("bye"),
    ] {
        stage.say("gusher.nodes", said(&fact)).await;
    }
    assert_eq!(pusher::trigger(&stage.server, "news", "still", "here").await.status, 200);
    assert_eq!(client.until("still").await["data"], "here");
    assert_eq!(stage.count("news").await, 1);
    stage.server.still_serves().await;
}

#[tokio::test]
async fn nobody_who_listens_on_the_bus_hears_a_secret() {
    let mut fleet = Fleet::start(BusKind::Nats, 1, json!({})).await;
    let spy = async_nats::connect(fleet.bus.url()).await.expect("connected");
    let mut all = spy.subscribe(">").await.expect("subscribed");
    spy.flush().await.expect("it is connected");
    fleet.add();
    fleet.until_ready().await;
    // A second app, with secrets of its own, is registered while somebody listens.
    let settings = json!({ "webhooks": [{ "url": fleet.hook.url(), "headers": { "X-Key": "hush-hush" } }] });
    let answer = fleet.call(0, Method::PATCH, "/api/key/settings", &settings).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let mut member = fleet.connect(0).await;
    member.join("presence-room", json!("anna")).await;
    member.sign_in(json!({ "id": "anna" })).await;
    let token = token_for("key", "ben", &["*"]);
    let url = format!("ws://{}/v1/apps/key/ws?token={token}", fleet.public(1));
    let (socket, _) = soon("the upgrade", connect_async(url)).await.expect("it is admitted");
    let mut bearer = ClusterClient { client: support::Client { socket } };
    bearer.subscribe("news").await;
    assert!(fleet.publish(0, "news", "headline", json!("for all to hear")).await);
    assert_eq!(bearer.next().await["data"], "for all to hear");
    let path = "/v1/apps/key/users/ben/channels";
    assert_eq!(fleet.call(0, Method::POST, path, &json!({ "channel": "more" })).await.status, 200);
    fleet
        .until_told(&[
            "channel_occupied presence-room",
            "member_added presence-room anna",
            "channel_occupied news",
        ])
        .await;
    drop((member, bearer));
    let mut heard = Vec::new();
    // Nodes show that they live every second, so there is always something more.
    while let Ok(Some(message)) = tokio::time::timeout(Duration::from_secs(2), all.next()).await {
        heard.push(format!("{} {}", message.subject, String::from_utf8_lossy(&message.payload)));
        if heard.iter().filter(|text| text.contains("beat")).count() > 8 {
            break;
        }
    }
    for public in ["for all to hear", "presence-room", "anna", "ben", "more"] {
        assert!(heard.iter().any(|text| text.contains(public)), "{public:?} was not heard: the spy is deaf");
    }
    let signature = token.rsplit('.').next().expect("three parts");
    for secret in [SECRET, SUPER.1, &token, signature, "hush-hush", "$2", "auth", "secret", "password"] {
        let leak = heard.iter().find(|text| text.contains(secret));
        assert!(leak.is_none(), "{secret:?} was heard in {leak:?}");
    }
}

#[tokio::test]
async fn a_node_whose_shards_are_full_goes_on_hearing_and_counts_what_it_drops() {
    let stage = Stage::with(&[("limits.mailbox_bytes_max", "1024")]).await;
    let mut client = PusherClient::connect(&stage.server).await;
    client.subscribe("news").await;
    let relay = json!({ "relay": { "app": "key", "to": { "channel": "news" }, "event": "e" } }).to_string();
    let large = frame(&relay, format!("\"{}\"", "x".repeat(8_000)).as_bytes());
    let metrics = stage.server.node.metrics();
    until("what has no room is dropped", async || {
        for _ in 0..100 {
            stage.say("gusher.channel.a2V5.bmV3cw", large.clone()).await;
        }
        metrics.relays_shed.get() > 0
    })
    .await;
    let broken = json!({ "relay": { "app": "key", "to": { "users_matching": "(" }, "event": "" } });
    // One that comes while there is no room is dropped as well.
    until("a pattern beyond this node's bounds is counted", async || {
        stage.say("gusher.nodes", frame(&broken.to_string(), b"x")).await;
        metrics.relays_unmatched.get() > 0
    })
    .await;
}
