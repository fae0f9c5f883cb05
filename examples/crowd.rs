//! A crowd of clients against a running node: what an idle socket costs it, and whether a steady push loses anything.
//!
//! ```text
//! gusher start --dev &
//! cargo run --release --example crowd -- idle 19000 $!
//! cargo run --release --example crowd -- push 1000 30 10
//! ```
//! `idle SOCKETS PID` connects that many users with distinct tags to the demo app and prints how the resident memory
//! of process PID grew. `push SOCKETS RATE SECONDS` pushes to everyone RATE times a second and counts what arrives.

use std::error::Error;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

const PUBLIC: &str = "127.0.0.1:8001";
const PRIVATE: &str = "http://127.0.0.1:8002/api/push/demo";

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["idle", sockets, pid] => idle(sockets.parse()?, pid).await,
        ["push", sockets, rate, seconds] => push(sockets.parse()?, rate.parse()?, seconds.parse()?).await,
        _ => Err("usage: crowd idle SOCKETS PID | push SOCKETS RATE SECONDS".into()),
    }
}

async fn idle(sockets: usize, pid: &str) -> Outcome<()> {
    let before = resident_bytes(pid)?;
    let mut held = Vec::with_capacity(sockets);
    for number in 0..sockets {
        held.push(connect(number).await?);
    }
    // The node gives back what the handshakes took once it is quiet.
    sleep(Duration::from_secs(4)).await;
    let after = resident_bytes(pid)?;
    let each = after.saturating_sub(before) / sockets;
    println!("{sockets} idle sockets: {before} bytes before, {after} after, {each} bytes each");
    drop(held);
    sleep(Duration::from_secs(4)).await;
    println!("all closed: {} bytes", resident_bytes(pid)?);
    Ok(())
}

/// An upgraded stream with nothing above it: the client's own memory is not the subject.
async fn connect(number: usize) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(PUBLIC).await?;
    let request = format!(
        "GET /ws/demo/user-{number} HTTP/1.1\r\nHost: {PUBLIC}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 512];
    let length = stream.read(&mut answer).await?;
    if answer[..length].starts_with(b"HTTP/1.1 101") { Ok(stream) } else { Err("refused".into()) }
}

fn resident_bytes(pid: &str) -> Outcome<usize> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim_end_matches("kB").trim().parse::<usize>()? * 1024)
}

async fn push(sockets: usize, rate: u32, seconds: u32) -> Outcome<()> {
    let pushes = rate * seconds;
    let mut readers = Vec::with_capacity(sockets);
    for number in 0..sockets {
        let (mut socket, _) = connect_async(format!("ws://{PUBLIC}/ws/demo/user-{number}")).await?;
        readers.push(tokio::spawn(async move {
            let mut next = 0;
            while next < pushes {
                match timeout(Duration::from_secs(10), socket.next()).await {
                    Ok(Some(Ok(Message::Text(text)))) if text.starts_with(&format!("{next} ")) => next += 1,
                    Ok(Some(Ok(Message::Ping(_)))) => {}
                    _ => break,
                }
            }
            next
        }));
    }
    let http = reqwest::Client::new();
    let mut beat = interval(Duration::from_secs(1) / rate);
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0..pushes {
        beat.tick().await;
        let content = format!("{number} {}", "x".repeat(200));
        let call = http.post(PRIVATE).basic_auth("account", Some("password")).form(&[("content", content)]);
        call.send().await?.error_for_status()?;
    }
    let mut arrived = 0;
    for reader in readers {
        arrived += u64::from(reader.await?);
    }
    let expected = u64::from(pushes) * sockets as u64;
    println!(
        "{pushes} pushes to {sockets} sockets: {arrived} of {expected} arrived in order, {} lost",
        expected - arrived
    );
    Ok(())
}
