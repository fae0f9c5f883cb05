//! The life of a socket: how it is admitted, what it may send, and the ways in which it ends.

mod support;

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use support::raw::Raw;
use support::{Answer, Client, Server, send, soon};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// A server with the app `x`.
async fn with_app() -> Server {
    let server = Server::start().await;
    server.register("x").await;
    server
}

#[tokio::test]
async fn gu_061_a_tag_is_listed_until_its_last_socket_closes() {
    let server = with_app().await;
    let (first, second) = (server.connect("x", "a").await, server.connect("x", "a").await);
    first.close().await;
    assert_eq!(server.online("x").await, ["a"]);
    second.close().await;
    let closed = Instant::now();
    server.until_online("x", &[]).await;
    assert!(closed.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn gu_062_an_unknown_app_is_refused_before_the_upgrade() {
    let server = Server::start().await;
    let (status, text) = server.try_connect("nobody", "a").await.err().expect("refused");
    assert_eq!((status, text.as_str()), (404, "app_key does not exist\n"));
}

#[tokio::test]
async fn gu_063_a_plain_get_is_no_upgrade() {
    let server = with_app().await;
    let answer = plain_get(&server, "/ws/x/a").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.header("sec-websocket-version"), "13");
    assert!(server.online("x").await.is_empty());
}

async fn plain_get(server: &Server, path: &str) -> Answer {
    let url = format!("http://{}{path}", server.public());
    send(reqwest::Client::new().request(Method::GET, url)).await
}

#[tokio::test]
async fn gu_064_without_a_hook_any_token_is_let_in() {
    let server = with_app().await;
    let _with = server.connect("x", "a?token=t").await;
    let _without = server.connect("x", "b").await;
    assert_eq!(server.online("x").await, ["a", "b"]);
}

#[tokio::test]
async fn gu_065_a_tag_is_listed_decoded() {
    let server = with_app().await;
    let _client = server.connect("x", "%E5%BC%A0%20x").await;
    assert_eq!(server.online("x").await, ["张 x"]);
}

#[tokio::test]
async fn gu_066_a_foreign_origin_is_accepted() {
    let server = with_app().await;
    let mut request = server.socket_url("x", "a").into_client_request().expect("a request");
    request.headers_mut().insert("Origin", "https://elsewhere.example".parse().expect("a value"));
    let (_socket, response) = soon("the upgrade", connect_async(request)).await.expect("admitted");
    assert_eq!(response.status(), 101);
    assert!(response.headers().get("sec-websocket-protocol").is_none());
    assert!(response.headers().get("sec-websocket-extensions").is_none());
}

#[tokio::test]
async fn gu_067_what_a_client_sends_is_discarded() {
    let server = with_app().await;
    let (mut talker, mut other) = (server.connect("x", "a").await, server.connect("x", "b").await);
    talker.send(Message::text("hello")).await;
    talker.send(Message::binary(vec![0, 1, 2])).await;
    talker.settle().await;
    other.settle().await;
    server.push("x", "next").await;
    assert_eq!(talker.text().await, "next");
    assert_eq!(other.text().await, "next");
}

#[tokio::test]
async fn gu_068_a_message_of_512_bytes_passes_and_one_more_closes() {
    let server = with_app().await;
    let mut client = server.connect("x", "a").await;
    client.send(Message::text("m".repeat(512))).await;
    client.settle().await;
    client.send(Message::text("m".repeat(513))).await;
    assert_eq!(client.closed().await, (1009, String::new()));
    server.until_online("x", &[]).await;
    assert_eq!(server.count(|shard| shard.violations.get()), 1);
}

#[tokio::test]
async fn gu_069_a_ping_is_answered_with_its_payload() {
    let server = with_app().await;
    let mut client = server.connect("x", "a").await;
    for payload in [vec![], b"p".to_vec(), vec![7; 125]] {
        client.send(Message::Ping(payload.clone().into())).await;
        assert_eq!(client.next().await, Message::Pong(payload.into()));
    }
}

#[tokio::test]
async fn a_clients_close_is_echoed() {
    let server = with_app().await;
    let mut raw = Raw::socket(&server, "x", "a").await;
    raw.send(support::raw::frame(0x88, &[0x0f, 0xa0])).await;
    assert_eq!(raw.close_code().await, 4000);
    server.until_online("x", &[]).await;
}

/// A server on which a client that does not read is noticed after a few kilobytes.
async fn impatient() -> Server {
    let settings = [("limits.outbox_bytes_max", "4096"), ("node.send_buffer_bytes", "4096")];
    let server = Server::with(&settings).await;
    server.register("x").await;
    server
}

/// Pushes until the server cuts `slow`, which does not read, while `healthy` gets everything; then `slow` looks.
async fn is_cut(push: impl AsyncFn(&Server, &str) -> Answer) {
    let server = impatient().await;
    let mut slow = Client::connect_narrow(&server, "x", "slow").await;
    let mut healthy = server.connect("x", "healthy").await;
    let mut pushes = 0;
    while server.count(|shard| shard.slow_cuts.get()) == 0 {
        let content = format!("{pushes:05000}");
        let asked = Instant::now();
        assert_eq!(push(&server, &content).await.status, StatusCode::OK);
        assert!(asked.elapsed() < Duration::from_secs(1));
        assert_eq!(healthy.text().await, content);
        pushes += 1;
        assert!(pushes < 1000, "nobody was cut");
    }
    server.until_online("x", &["healthy"]).await;
    assert_eq!(push(&server, "after").await.json()["sockets"], 1);
    assert_eq!(healthy.text().await, "after");
    let (received, code, reason) = read_to_the_close(&mut slow).await;
    assert!(received < pushes);
    assert_eq!((code, reason.as_str()), (1013, "slow consumer"));
    assert_eq!(server.count(|shard| shard.slow_cuts.get()), 1);
    server.still_serves().await;
}

/// Reads numbered pushes, in order and whole, to the close frame: how many they were, and what it says.
async fn read_to_the_close(client: &mut Client) -> (usize, u16, String) {
    let mut number = 0;
    loop {
        match client.next().await {
            Message::Text(text) => assert_eq!(text.as_str(), format!("{number:05000}")),
            Message::Close(Some(close)) => return (number, close.code.into(), close.reason.to_string()),
            other => panic!("expected a text or a close, got {other:?}"),
        }
        number += 1;
    }
}

#[tokio::test]
async fn gu_072_a_client_that_does_not_read_pushes_to_all_is_cut() {
    is_cut(async |server, content| server.push("x", content).await).await;
}

#[tokio::test]
async fn gu_072_a_client_that_does_not_read_pushes_by_pattern_is_cut() {
    is_cut(async |server, content| server.push_to("x", "^(slow|healthy)$", content).await).await;
}

#[tokio::test]
async fn gu_072_too_many_messages_cut_like_too_many_bytes() {
    let settings = [("limits.outbox_messages_max", "3"), ("node.send_buffer_bytes", "4096")];
    let server = Server::with(&settings).await;
    server.register("x").await;
    let _slow = Client::connect_narrow(&server, "x", "slow").await;
    for _ in 0..100 {
        server.push("x", &"m".repeat(2000)).await;
    }
    server.until_online("x", &[]).await;
    assert_eq!(server.count(|shard| shard.slow_cuts.get()), 1);
    server.still_serves().await;
}

#[tokio::test]
async fn gu_072_a_client_that_takes_nothing_is_cut_when_its_time_is_over() {
    let settings = [("limits.write_stall_seconds_max", "1"), ("node.send_buffer_bytes", "4096")];
    let server = Server::with(&settings).await;
    server.register("x").await;
    let _slow = Client::connect_narrow(&server, "x", "slow").await;
    server.push("x", &"m".repeat(500_000)).await;
    assert_eq!(server.online("x").await, ["slow"]);
    server.until_online("x", &[]).await;
    assert_eq!(server.count(|shard| shard.slow_cuts.get()), 1);
    server.still_serves().await;
}

#[tokio::test]
async fn gu_073_a_stop_closes_every_socket_behind_what_was_pushed() {
    let server = with_app().await;
    let mut clients = [server.connect("x", "a").await, server.connect("x", "b").await];
    server.push("x", "last").await;
    let public = server.public();
    let stopping = tokio::spawn(server.stop());
    for client in &mut clients {
        assert_eq!(client.text().await, "last");
        assert_eq!(client.closed().await, (1001, "server stops".to_owned()));
    }
    drop(clients);
    stopping.await.expect("it stops");
    assert!(tokio::net::TcpStream::connect(public).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn gu_073_a_client_that_does_not_answer_cannot_hold_up_a_stop() {
    let server = Server::with(&[("drain.seconds", "1")]).await;
    server.register("x").await;
    let (_deaf, _silent) = (server.connect("x", "a").await, Raw::connect(server.public()).await);
    let asked = Instant::now();
    server.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn gu_043_unregistering_closes_the_sockets_of_that_app_only() {
    let server = with_app().await;
    server.register("y").await;
    let mut clients = [server.connect("x", "a").await, server.connect("x", "b").await];
    let mut other = server.connect("y", "a").await;
    server.push("x", "last").await;
    assert_eq!(server.unregister("x").await.status, StatusCode::OK);
    for client in &mut clients {
        assert_eq!(client.text().await, "last");
        assert_eq!(client.closed().await, (4001, "app unregistered".to_owned()));
    }
    other.settle().await;
    assert_eq!(server.push("x", "gone").await.status, StatusCode::NOT_FOUND);
    assert_eq!(server.try_connect("x", "a").await.err().map(|(status, _)| status), Some(404));
}

#[tokio::test]
async fn gu_044_a_key_that_is_registered_again_begins_empty() {
    let server = with_app().await;
    let mut former = server.connect("x", "a").await;
    server.unregister("x").await;
    server.register("x").await;
    assert!(server.online("x").await.is_empty());
    let mut client = server.connect("x", "b").await;
    assert_eq!(server.push("x", "new").await.json()["sockets"], 1);
    assert_eq!(client.text().await, "new");
    assert_eq!(former.closed().await.0, 4001);
    assert_eq!(server.online("x").await, ["b"]);
}
