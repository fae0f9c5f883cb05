//! The live feed of the console, and what it tells of webhooks.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::IntoResponse;
use gusher::config::BusKind;
use reqwest::Method;
use serde_json::{Value, json};
use support::cluster::{self, ClusterClient};
use support::console::{Browser, Feed, error};
use support::hook::{Asked, Hook};
use support::pusher::{self, PusherClient};
use support::real_nodes::{Cluster, until};
use support::{ADMIN, Server, send, soon};

/// The members of an item that say what happened.
fn brief(item: &Value) -> (&str, &str) {
    let what = ["channel", "user", "reason", "target"].iter().find_map(|name| item[*name].as_str());
    (item["kind"].as_str().expect("a kind"), what.unwrap_or_default())
}

#[tokio::test]
async fn a_socket_is_seen_from_its_first_to_its_last() {
    let server = pusher::serve(json!({})).await;
    let browser = Browser::sign_in(&server, ADMIN, Some("key")).await;
    let mut feed = Feed::watch(&server, &browser, "key").await;
    let mut client = PusherClient::connect(&server).await;
    let id = client.id.clone();
    let connected = feed.item().await;
    assert_eq!(
        (brief(&connected).0, &connected["socket_id"], &connected["dialect"]),
        ("connected", &json!(id), &json!("pusher"))
    );
    assert!(connected["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")));
    client.join("presence-room", json!("anna")).await;
    assert_eq!(
        feed.item().await,
        json!({ "kind": "subscribed", "socket_id": id, "channel": "presence-room" })
    );
    client.say(json!({ "event": "client-a", "channel": "presence-room", "data": "x".repeat(2000) })).await;
    let event = feed.item().await;
    assert_eq!(
        (&event["kind"], &event["event"], &event["socket_id"]),
        (&json!("client_event"), &json!("client-a"), &json!(id))
    );
    assert_eq!(event["data"].as_str().map(str::len), Some(1024));
    client.say(json!({ "event": "client-a", "channel": "private-other", "data": "" })).await;
    let refused = feed.item().await;
    assert_eq!((&refused["kind"], &refused["where"]), (&json!("refused"), &json!("socket")));
    client.leave("presence-room").await;
    assert_eq!(
        feed.item().await,
        json!({ "kind": "unsubscribed", "socket_id": id, "channel": "presence-room" })
    );
    client.client.close().await;
    let gone = feed.item().await;
    assert_eq!(
        (&gone["kind"], &gone["socket_id"], &gone["code"]),
        (&json!("disconnected"), &json!(id), &json!(1005))
    );
}

#[tokio::test]
async fn what_backends_publish_and_are_refused_is_seen() {
    let server = cluster::serve().await;
    let browser = Browser::super_admin(&server).await;
    let mut feed = Feed::watch(&server, &browser, "app").await;
    let mut other = Feed::watch(&server, &browser, "other").await;
    let anna = server.connect("app", "anna").await;
    assert_eq!(brief(&feed.item().await), ("connected", "anna"));
    server.push("app", "hello").await;
    let published = json!({
        "kind": "published", "target": "everyone", "event": "", "bytes": 5, "data": "hello",
        "reach": { "sockets": 1 },
    });
    assert_eq!(feed.item().await, published);
    cluster::publish(&server, "news", "e", json!({ "a": 1 })).await;
    let published = feed.item().await;
    assert_eq!(
        (brief(&published), &published["data"]),
        (("published", "channel news"), &json!(r#"{"a":1}"#))
    );
    assert_eq!(published["reach"], Value::Null);
    server.push_to("app", "(", "hello").await;
    let refused = feed.item().await;
    assert_eq!((&refused["where"], &refused["status"]), (&json!("api"), &json!(400)));
    assert!(brief(&refused).1.starts_with("user_tag regex error"), "{refused}");
    server.call_as(Some((ADMIN.0, "wrong")), Method::POST, "/api/push/app").await;
    assert_eq!(feed.item().await["status"], 401);
    send(server.public_call(Method::GET, "/ws/app/anna")).await;
    let refused = feed.item().await;
    assert_eq!((&refused["where"], &refused["code"]), (&json!("socket"), &json!(400)));
    anna.close().await;
    assert_eq!(feed.item().await["kind"], "disconnected");
    server.push("other", "here").await;
    assert_eq!(other.item().await["data"], "here", "an app shows nothing of another");
}

#[tokio::test]
async fn a_bearer_is_seen_by_its_uuid_and_one_turned_away_by_its_code() {
    let server = cluster::serve().await;
    let browser = Browser::super_admin(&server).await;
    let mut feed = Feed::watch(&server, &browser, "app").await;
    let mut client = ClusterClient::connect(&server, "anna", &["a"]).await;
    let connected = feed.item().await;
    assert_eq!((brief(&connected), &connected["dialect"]), (("connected", "anna"), &json!("cluster")));
    assert_eq!(connected["socket_id"].as_str().map(str::len), Some(36));
    client.send("gusher.subscribe", json!({ "channel": "b" })).await;
    assert_eq!(
        (&feed.item().await["kind"], client.next().await["event"].as_str()),
        (&json!("refused"), Some("gusher.subscribe_error"))
    );
    let browser_settings = json!({ "enabled": false });
    browser.send(&server, Method::PATCH, "/apps/app/settings", browser_settings).await;
    assert_eq!(feed.item().await["kind"], "disconnected");
    let turned_away = server.open(server.url("ws", server.public(), "/app/app?protocol=7")).await;
    assert!(turned_away.is_ok());
    let refused = feed.item().await;
    assert_eq!((&refused["where"], &refused["code"]), (&json!("socket"), &json!(4003)));
}

#[tokio::test]
async fn a_feed_says_how_much_it_skipped() {
    let server = Server::with(&[("console.items_per_second_max", "1")]).await;
    server.register("x").await;
    let browser = Browser::super_admin(&server).await;
    let mut feed = Feed::watch(&server, &browser, "x").await;
    for _ in 0..20 {
        server.push("x", "hello").await;
    }
    let (mut items, mut skipped) = (0, 0);
    while items + skipped < 20 {
        match feed.next().await.expect("the feed goes on") {
            (name, _) if name == "item" => items += 1,
            (name, data) if name == "skipped" => skipped += data["count"].as_u64().expect("a count"),
            other => panic!("{other:?}"),
        }
    }
    assert!(skipped > 0 && items + skipped == 20, "{items} {skipped}");
    let figures = server.get("/metrics").await.text;
    assert!(figures.contains("gusher_feed_watchers 1\n"), "{figures}");
    assert!(figures.contains(&format!("gusher_feed_items_skipped_total {skipped}\n")), "{figures}");
}

#[tokio::test]
async fn so_many_watch_one_app_and_others_wait_until_one_goes() {
    let server = Server::with(&[("console.watchers_max", "1")]).await;
    server.register("x").await;
    let browser = Browser::super_admin(&server).await;
    let feed = Feed::watch(&server, &browser, "x").await;
    let refused = browser.get(&server, "/apps/x/feed").await;
    assert_eq!(error(&refused), (503, "too many watch the feed of this app already".into()));
    drop(feed);
    soon("a place", async {
        let watch = || browser.call(&server, Method::GET, "/apps/x/feed").send();
        while watch().await.expect("an answer").status() != 200 {}
    })
    .await;
}

#[tokio::test]
async fn a_feed_ends_with_its_session_its_app_and_its_node() {
    let server = Server::start().await;
    server.register("x").await;
    server.register("y").await;
    let browser = Browser::super_admin(&server).await;
    let other = Browser::super_admin(&server).await;
    let mut of_session = Feed::watch(&server, &browser, "x").await;
    let mut of_app = Feed::watch(&server, &other, "y").await;
    let mut of_node = Feed::watch(&server, &other, "x").await;
    assert_eq!(browser.delete(&server, "/session").await.status, 204);
    of_session.ended().await;
    assert_eq!(other.delete(&server, "/apps/y").await.status, 204);
    of_app.ended().await;
    tokio::join!(of_node.ended(), server.stop());
}

/// A node whose app `key` tells `hook` what happens.
async fn telling(hook: &Hook, more: Value) -> Server {
    let mut settings = json!({ "webhooks": [{ "url": hook.url() + "?token=hidden" }] });
    settings.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    pusher::serve(settings).await
}

/// The log of the webhooks, once it is so.
async fn log_when(server: &Server, browser: &Browser, is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    soon("the log", async {
        loop {
            let log = browser.get(server, "/apps/key/webhooks").await.json()["log"].clone();
            let log = log.as_array().expect("a list").clone();
            if is_so(&log) {
                return log;
            }
        }
    })
    .await
}

#[tokio::test]
async fn what_became_of_webhooks_is_logged_and_shown() {
    let hook = Hook::answering(204, "").await;
    let server = telling(&hook, json!({})).await;
    let browser = Browser::sign_in(&server, ADMIN, Some("key")).await;
    let mut feed = Feed::watch(&server, &browser, "key").await;
    let mut client = PusherClient::connect(&server).await;
    client.subscribe("news").await;
    // What the shard and the webhooks do at once is seen in either order.
    let mut items = [feed.item().await, feed.item().await, feed.item().await].into_iter();
    let webhook = items.find(|item| item["kind"] == "webhook").expect("it is told");
    let url = hook.url();
    assert_eq!(
        webhook,
        json!({ "kind": "webhook", "url": url, "events": ["channel_occupied"], "status": 204, "fault": null })
    );
    let log = log_when(&server, &browser, |log| !log.is_empty()).await;
    let row = &log[0];
    assert_eq!(
        (&row["outcome"], &row["status"], &row["attempt"]),
        (&json!("delivered"), &json!(204), &json!(1))
    );
    assert!(row["body"].as_str().is_some_and(|body| body.contains(r#""channel":"news""#)), "{row}");
    let told = browser.get(&server, "/apps/key/webhooks").await;
    assert!(!told.text.contains("hidden"), "{}", told.text);
    assert_eq!(told.json()["webhooks"][0]["delivered"], 1);
}

/// A backend that refuses what it is told until it is mended.
async fn broken_hook() -> (Hook, Arc<AtomicBool>) {
    let is_mended = Arc::<AtomicBool>::default();
    let script = Arc::clone(&is_mended);
    let answer = move |_: &Asked| match script.load(Ordering::SeqCst) {
        true => StatusCode::OK.into_response(),
        false => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    (Hook::scripted(answer).await, is_mended)
}

#[tokio::test]
async fn what_waits_is_tried_at_once() {
    let (hook, is_mended) = broken_hook().await;
    let server = telling(&hook, json!({})).await;
    let browser = Browser::super_admin(&server).await;
    let mut client = PusherClient::connect(&server).await;
    client.subscribe("news").await;
    // After the third failure the pause is four seconds.
    log_when(&server, &browser, |log| log.len() == 3).await;
    is_mended.store(true, Ordering::SeqCst);
    let asked = Instant::now();
    let wanted = json!({ "url": hook.url() });
    let retried = browser.send(&server, Method::POST, "/apps/key/webhooks/retry", wanted).await.json();
    assert_eq!(retried["retried"], 1);
    let log = log_when(&server, &browser, |log| log[0]["outcome"] == "delivered").await;
    assert_eq!((log.len(), &log[0]["attempt"]), (4, &json!(4)));
    assert!(asked.elapsed() < Duration::from_secs(3), "it did not wait for the pause");
}

#[tokio::test]
async fn what_was_given_up_is_told_again() {
    let (hook, is_mended) = broken_hook().await;
    let server = telling(&hook, json!({ "webhook_retry_span": 0 })).await;
    let browser = Browser::sign_in(&server, ADMIN, Some("key")).await;
    let mut client = PusherClient::connect(&server).await;
    client.subscribe("news").await;
    let log =
        log_when(&server, &browser, |log| log.first().is_some_and(|row| row["outcome"] == "given_up")).await;
    assert_eq!((&log[0]["can_retry"], &log[0]["fault"]), (&json!(true), &json!("it was not accepted")));
    is_mended.store(true, Ordering::SeqCst);
    let id = log[0]["id"].clone();
    let retry =
        async || browser.send(&server, Method::POST, "/apps/key/webhooks/retry", json!({ "id": id })).await;
    assert_eq!(retry().await.json(), json!({ "retried": 1 }));
    assert_eq!(retry().await.json(), json!({ "retried": 0 }), "once");
    log_when(&server, &browser, |log| log[0]["outcome"] == "delivered").await;
    let asked = hook.asked();
    assert!(asked.iter().all(|asked| asked.body.contains(r#""channel":"news""#)));
    assert_eq!(browser.send(&server, Method::POST, "/apps/key/webhooks/retry", json!({})).await.status, 400);
}

#[tokio::test]
async fn the_feed_and_the_overview_tell_how_many_other_nodes_there_are() {
    let mut cluster = Cluster::start(BusKind::Nats, 2).await;
    let browser = Browser::super_admin(&cluster.nodes[0]).await;
    let others = async || browser.get(&cluster.nodes[0], "/overview").await.json()["other_nodes"].clone();
    until("the other is known", async || others().await == 1).await;
    let mut feed = Feed::watch(&cluster.nodes[0], &browser, "app").await;
    assert_eq!(feed.others, 1);
    let elsewhere = cluster.nodes[1].connect("app", "anna").await;
    let here = cluster.nodes[0].connect("app", "ben").await;
    assert_eq!(brief(&feed.item().await), ("connected", "ben"), "what is elsewhere is not shown");
    elsewhere.close().await;
    cluster.nodes.pop().expect("it is there").stop().await;
    assert_eq!(feed.next().await, Some(("nodes".to_owned(), json!({ "others": 0 }))));
    let overview = browser.get(&cluster.nodes[0], "/overview").await.json();
    assert_eq!((&overview["other_nodes"], &overview["bus"]["up"]), (&json!(0), &json!(true)));
    // Of whom nothing can be heard, nothing is known.
    cluster.bus.kill();
    assert_eq!(feed.next().await, Some(("nodes".to_owned(), json!({ "others": null }))));
    here.close().await;
}
