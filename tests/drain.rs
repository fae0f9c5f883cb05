//! What clients, backends and load balancers see of a node that stops.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use support::pusher::{PusherClient, register};
use support::real_nodes::{Cluster, on_each_bus, until};
use support::{Client, Server, send, soon};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn a_node_is_not_ready_while_its_listeners_still_accept() {
    let server = Server::with(&[("drain.seconds", "4"), ("drain.delay_seconds", "1")]).await;
    server.register("x").await;
    let mut early = server.connect("x", "early").await;
    assert_eq!(server.get("/readyz").await.status, 200);
    let ready = [
        server.call(Method::GET, "/readyz"),
        server.public_call(Method::GET, "/readyz"),
        server.call(Method::GET, "/healthz"),
    ];
    // The node is stopped while somebody asks all the same.
    let late_url = server.socket_url("x", "late");
    let connector = server.authority.as_ref().map(support::tls::Authority::connector);
    let asked = Instant::now();
    let clients = async {
        for (call, expected) in ready.into_iter().zip([(503, "stopping"), (503, "stopping"), (200, "ok")]) {
            let answer = send(call).await;
            assert_eq!((answer.status.as_u16(), &*answer.text), expected);
        }
        let late = tokio_tungstenite::connect_async_tls_with_config(late_url, None, false, connector).await;
        let mut late = Client { socket: late.expect("it is let in").0 };
        late.settle().await;
        assert_eq!(late.closed().await.0, 1001);
        assert!(asked.elapsed() >= Duration::from_secs(1), "not before the delay is over");
        assert_eq!(early.closed().await.0, 1001);
    };
    tokio::join!(server.stop(), clients);
}

/// What one client has heard, and when it came back.
struct Story {
    before: Vec<usize>,
    after: Vec<usize>,
    /// The first push that was begun after it was back.
    owed_from: usize,
}

#[tokio::test]
async fn whoever_comes_back_to_another_node_has_missed_nothing_but_the_time_between() {
    on_each_bus(async |kind| {
        let mut cluster = Cluster::with(kind, 2, &[("drain.seconds", "6")]).await;
        let (other, stops) = (cluster.nodes.pop().expect("two"), cluster.nodes.pop().expect("two"));
        let tags: Vec<String> = (0..120).map(|number| format!("u{number}")).collect();
        let clients = join_all(tags.iter().map(|tag| stops.connect("app", tag))).await;
        until("all are known there", async || other.online("app").await.len() == tags.len()).await;
        let (begun, back) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let live = async |tag: &str, mut client: Client| {
            let mut story = Story { before: Vec::new(), after: Vec::new(), owed_from: 0 };
            while let Some(Ok(message)) = client.socket.next().await {
                match message {
                    Message::Text(text) => story.before.push(text.parse().expect("a number")),
                    Message::Close(frame) => assert_eq!(u16::from(frame.expect("a code").code), 1001),
                    _ => {}
                }
            }
            let mut client = other.connect("app", tag).await;
            story.owed_from = begun.load(Ordering::SeqCst);
            back.fetch_add(1, Ordering::SeqCst);
            loop {
                match client.text().await.as_str() {
                    "end" => return story,
                    number => story.after.push(number.parse().expect("a number")),
                }
            }
        };
        let publish = async {
            while back.load(Ordering::SeqCst) < tags.len() {
                let number = begun.fetch_add(1, Ordering::SeqCst);
                assert_eq!(other.push("app", &number.to_string()).await.status, 200);
            }
            other.push("app", "end").await;
        };
        let stories = join_all(tags.iter().zip(clients).map(|(tag, client)| live(tag, client)));
        let (stories, (), ()) = tokio::join!(stories, publish, stops.stop());
        let total = begun.load(Ordering::SeqCst);
        for Story { before, after, owed_from } in stories {
            assert!(before.iter().copied().eq(0..before.len()), "nothing is missing before: {before:?}");
            let first = after.first().copied().unwrap_or(total);
            assert!(first >= before.len() && first <= owed_from, "{first} of {owed_from}");
            assert!(after.into_iter().eq(first..total), "nothing is missing after");
        }
    })
    .await;
}

#[tokio::test]
async fn who_comes_while_a_single_node_stops_is_told_to_come_back_in_a_second() {
    let server = Server::plain(&[]).await;
    register(&server, json!({})).await;
    let mut early = PusherClient::connect(&server).await;
    let url = server.url("ws", server.public(), "/app/key?protocol=7");
    let newcomer = async {
        assert_eq!(early.client.closed().await.0, 4100);
        let opened = soon("the upgrade", tokio_tungstenite::connect_async(url)).await;
        let mut late = Client { socket: opened.expect("the listener still accepts").0 };
        let told: serde_json::Value = serde_json::from_str(&late.text().await).expect("JSON");
        assert_eq!(told["data"]["code"], 4100, "{told}");
        assert_eq!(late.closed().await.0, 4100);
    };
    tokio::join!(server.stop(), newcomer);
}

#[tokio::test]
async fn clients_of_a_node_that_stops_are_sent_to_others_at_once() {
    on_each_bus(async |kind| {
        let mut cluster = Cluster::with_pusher(kind, 2).await;
        let stops = cluster.nodes.pop().expect("two");
        let mut client = PusherClient::connect(&stops).await;
        let sent_away = async {
            assert_eq!(client.client.closed().await.0, 4200);
            drop(client);
        };
        tokio::join!(stops.stop(), sent_away);
    })
    .await;
}
