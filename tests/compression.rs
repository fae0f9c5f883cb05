//! permessage-deflate (RFC 7692) over real sockets: off unless an app wants it, agreed on, and bounded.

mod support;

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde_json::{Value, json};
use support::Server;
use support::pusher::{serve, trigger};
use support::raw::{Raw, frame};

const OFFER: &str = "permessage-deflate; client_max_window_bits";
const DEFLATED_TEXT: u8 = 0xc1;
const LONG: &str = "one and the same again and again, one and the same again and again, one and the same again, \
                    and once more, and once more, and once more";

/// A socket of the app `key` that offered permessage-deflate, and what was answered to that.
async fn offer(server: &Server) -> (Raw, Option<String>) {
    let mut raw = Raw::connect(server.public()).await;
    let request = format!(
        "GET /app/key?protocol=7 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: {OFFER}\r\n\r\n"
    );
    raw.send(request).await;
    let (status, head, _) = raw.whole_response().await;
    assert_eq!(status, 101);
    let named =
        head.lines().find_map(|line| line.strip_prefix("sec-websocket-extensions: ")).map(str::to_owned);
    assert!(raw.text().await.contains("connection_established"));
    (raw, named)
}

fn deflate(text: &str) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.flush().unwrap();
    let mut deflated = encoder.get_ref().clone();
    assert!(deflated.ends_with(&[0, 0, 0xff, 0xff]));
    deflated.truncate(deflated.len() - 4);
    deflated
}

fn inflate(payload: &[u8]) -> Value {
    let mut text = String::new();
    // Without a last block the end is unexpected, but all is there by then.
    let _ = DeflateDecoder::new(&[payload, &[0, 0, 0xff, 0xff]].concat()[..]).read_to_string(&mut text);
    serde_json::from_str(&text).unwrap()
}

async fn subscribe(raw: &mut Raw) {
    let subscribe = r#"{"event":"pusher:subscribe","data":{"channel":"c"}}"#;
    raw.send(frame(DEFLATED_TEXT, &deflate(subscribe))).await;
    assert!(raw.text().await.contains("subscription_succeeded"));
}

#[tokio::test]
async fn an_app_that_does_not_want_it_declines() {
    let server = serve(json!({})).await;
    let (mut raw, agreed) = offer(&server).await;
    assert_eq!(agreed, None);
    raw.send(frame(DEFLATED_TEXT, &deflate("{}"))).await;
    assert_eq!(raw.close_code().await, 1002);
}

#[tokio::test]
async fn events_are_deflated_where_that_is_shorter() {
    let server = serve(json!({ "compression": true })).await;
    let (mut raw, agreed) = offer(&server).await;
    let without_context = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(agreed.as_deref(), Some(without_context));
    subscribe(&mut raw).await;
    for _ in 0..2 {
        trigger(&server, "c", "e", LONG).await;
        let (first, payload) = raw.frame().await;
        assert_eq!(first, DEFLATED_TEXT);
        assert!(payload.len() < LONG.len());
        assert_eq!(inflate(&payload), json!({ "event": "e", "channel": "c", "data": LONG }));
    }
    trigger(&server, "c", "e", "short").await;
    assert!(raw.text().await.contains("short"));
}

#[tokio::test]
async fn a_user_of_the_original_dialect_may_have_it_too() {
    let server = serve(json!({ "compression": true })).await;
    let mut raw = Raw::connect(server.public()).await;
    let request = support::raw::upgrade("key", "tag");
    let offer = format!("Sec-WebSocket-Extensions: {OFFER}\r\n\r\n");
    raw.send(request.strip_suffix("\r\n").unwrap().to_owned() + &offer).await;
    assert!(raw.whole_response().await.1.contains("permessage-deflate"));
    assert_eq!(server.push("key", LONG).await.status, 200);
    assert_eq!(raw.frame().await.0, DEFLATED_TEXT);
}

#[tokio::test]
async fn what_inflates_beyond_the_limit_closes_with_1009() {
    let server = serve(json!({ "compression": true })).await;
    let (mut raw, _) = offer(&server).await;
    let bomb = deflate(&" ".repeat(20_000_000));
    assert!(bomb.len() < 20_000);
    raw.send(frame(DEFLATED_TEXT, &bomb)).await;
    assert_eq!(raw.close_code().await, 1009);
}

#[tokio::test]
async fn what_does_not_inflate_closes_with_1002() {
    let server = serve(json!({ "compression": true })).await;
    let (mut raw, _) = offer(&server).await;
    raw.send(frame(DEFLATED_TEXT, &[0x07, 0x07])).await;
    assert_eq!(raw.close_code().await, 1002);
}
