//! Clients of Pusher Channels that are refused again and again, on a node in a process of its own, whose memory is
//! looked at from outside.
//!
//! One test takes a minute without optimization, and is left out unless asked for:
//! `cargo test --release --test pusher_memory -- --ignored --nocapture`

#![cfg(target_os = "linux")]

mod support;

use serde_json::json;
use support::process::{Directory, run};
use support::raw::{Raw, frame, upgrade};

/// What memory may grow by that has nothing to do with the number of subscribes, in bytes.
const NOISE_BYTES: usize = 4 << 20;

/// Subscribes are sent so many at a time.
const AT_ONCE: usize = 1_000;

/// A subscribe that is refused, each for another channel.
fn request(number: usize) -> Vec<u8> {
    let (channel, auth) = match number % 4 {
        0 => (format!("private-{number}"), ""),
        1 => (format!("private-{number}"), "stranger:00"),
        2 => (format!("presence-{number}"), "key:00"),
        _ => (format!("# {number}"), ""),
    };
    let request = json!({ "event": "pusher:subscribe", "data": { "channel": channel, "auth": auth } });
    frame(0x81, request.to_string().as_bytes())
}

/// Lets that many subscribes be refused on one socket; returns how much memory the node occupied after the first tenth
/// and at the end, in bytes.
async fn refuse(count: usize) -> (usize, usize) {
    let directory = Directory::new();
    directory.configure("config.json", &[]);
    let serving = directory.serve(&["start"]);
    let words = ["app", "add", "key", "--admin-account", "admin", "--admin-password", "secret"];
    assert_eq!(run(&mut serving.ask(&directory, &words)).code, Some(0));
    // Memory is the subject here, and not how fast a socket may send.
    let words = ["app", "set", "key", "max_frames_per_second=1000000"];
    assert_eq!(run(&mut serving.ask(&directory, &words)).code, Some(0));
    let mut raw = Raw::connect(serving.public).await;
    raw.send(upgrade("x", "a").replacen("/ws/x/a", "/app/key", 1)).await;
    assert_eq!(raw.response().await.0, 101);
    assert!(raw.text().await.contains("connection_established"));
    let mut before = 0;
    for sent in (0..count).step_by(AT_ONCE) {
        if sent == count / 10 {
            before = serving.process.resident_bytes();
        }
        raw.send((sent..sent + AT_ONCE).map(request).collect::<Vec<_>>().concat()).await;
        let texts = raw.texts(2 * AT_ONCE).await;
        assert!(texts.iter().step_by(2).all(|text| text.contains("pusher:error")));
        assert!(texts.iter().skip(1).step_by(2).all(|text| text.contains("pusher:subscription_error")));
    }
    raw.send(frame(0x81, br#"{"event":"pusher:ping"}"#)).await;
    assert!(raw.text().await.contains("pusher:pong"), "the socket is in use");
    (before, serving.process.resident_bytes())
}

#[tokio::test]
async fn refused_subscribes_leave_nothing_behind() {
    let (before, after) = refuse(50_000).await;
    assert!(after < before + NOISE_BYTES, "{before} bytes grew to {after}");
}

#[tokio::test]
#[ignore = "takes a minute without optimization"]
async fn a_million_refused_subscribes_leave_nothing_behind() {
    let (before, after) = refuse(1_000_000).await;
    println!("{before} bytes after the first tenth, {after} after a million");
    assert!(after < before + NOISE_BYTES, "{before} bytes grew to {after}");
}
