//! The long waits of a socket's life, in real time. Their logic is tested under a fake clock in `world.rs`.

mod support;

use std::time::Duration;

use futures_util::StreamExt;
use support::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
#[ignore = "takes 130 s"]
async fn gu_070_for_real_a_client_that_answers_pings_stays() {
    let server = Server::start().await;
    server.register("x").await;
    let mut client = server.connect("x", "a").await;
    let begun = Instant::now();
    let ping = timeout(Duration::from_secs(55), client.socket.next()).await.expect("a ping within 55 s");
    assert!(matches!(ping, Some(Ok(Message::Ping(_)))));
    // Reading on is what answers the pings; nothing else comes.
    let rest = timeout(Duration::from_secs(130) - begun.elapsed(), async {
        while let Some(Ok(Message::Ping(_))) = client.socket.next().await {}
    });
    assert!(rest.await.is_err(), "still connected after 130 s");
}

#[tokio::test]
#[ignore = "takes 60 s"]
async fn gu_071_for_real_a_client_that_is_never_heard_of_is_dropped() {
    let server = Server::start().await;
    server.register("x").await;
    let mut stream = TcpStream::connect(server.public()).await.unwrap();
    let request = "GET /ws/x/a HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let begun = Instant::now();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    assert!((55..75).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}
