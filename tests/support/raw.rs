//! A client of bare bytes, for what no well-behaved client would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Server, soon};

/// How long it has to stay quiet to count as quiet. Too short a time can only hide a failure, never cause one.
const QUIET: Duration = Duration::from_millis(100);

/// A connection and what came on it and was not looked at yet.
pub struct Raw {
    /// The connection itself.
    pub stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    /// Connects, and says nothing yet.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(address)).await.expect("the listener accepts");
        Self::over(stream)
    }

    /// The same on a stream that is there.
    pub fn over(stream: TcpStream) -> Self {
        // What is sent in pieces is to arrive in pieces.
        stream.set_nodelay(true).expect("a live stream");
        Self { stream, read: Vec::new() }
    }

    /// A socket of a user, upgraded.
    pub async fn socket(server: &Server, app: &str, tag: &str) -> Self {
        let mut raw = Self::connect(server.public()).await;
        raw.send(upgrade(app, tag)).await;
        assert_eq!(raw.response().await.0, 101);
        raw
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon("sending", self.stream.write_all(bytes.as_ref())).await.expect("the stream takes it");
    }

    /// The next response: its status and its body.
    pub async fn response(&mut self) -> (u16, String) {
        let (status, _, body) = self.whole_response().await;
        (status, body)
    }

    /// The next response: its status, its head and its body.
    pub async fn whole_response(&mut self) -> (u16, String, String) {
        let end = self.until(|read| read.windows(4).position(|four| four == b"\r\n\r\n")).await + 4;
        let head = String::from_utf8(self.take(end)).expect("a head is text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let length = head.to_ascii_lowercase().split_once("content-length: ").map_or(0, |(_, rest)| {
            rest.lines().next().and_then(|length| length.parse().ok()).expect("a length")
        });
        self.until(|read| (read.len() >= length).then_some(())).await;
        (status, head, String::from_utf8(self.take(length)).expect("a body is text"))
    }

    /// The next frame of the server's: its first byte and its payload.
    pub async fn frame(&mut self) -> (u8, Vec<u8>) {
        let (head, length) = self.until(frame_length).await;
        self.until(|read| (read.len() >= head + length).then_some(())).await;
        let frame = self.take(head + length);
        (frame[0], frame[head..].to_vec())
    }

    /// The next frame of the server's, which must be a text.
    pub async fn text(&mut self) -> String {
        let (first, payload) = self.frame().await;
        assert_eq!(first, 0x81, "a text, not {payload:?}");
        String::from_utf8(payload).expect("a text is UTF-8")
    }

    /// The next frames of the server's, so many, which must all be texts.
    pub async fn texts(&mut self, count: usize) -> Vec<String> {
        let (mut texts, mut end) = (Vec::with_capacity(count), 0);
        while texts.len() < count {
            let (head, length) = self.until(|read| frame_length(&read[end..])).await;
            self.until(|read| (read.len() >= end + head + length).then_some(())).await;
            assert_eq!(self.read[end], 0x81, "a text");
            let payload = self.read[end + head..][..length].to_vec();
            texts.push(String::from_utf8(payload).expect("a text is UTF-8"));
            end += head + length;
        }
        self.read.drain(..end);
        texts
    }

    /// The code of the close frame that must come next, and the end of the stream behind it.
    pub async fn close_code(&mut self) -> u16 {
        let (first, payload) = self.frame().await;
        assert_eq!(first, 0x88, "a close frame, not {payload:?}");
        self.ended().await;
        u16::from_be_bytes([payload[0], payload[1]])
    }

    /// Waits for the server to end the stream in order, with nothing before.
    pub async fn ended(&mut self) {
        let mut rest = Vec::new();
        let read = soon("the end", self.stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "an orderly end, not {read:?}");
        let all = [std::mem::take(&mut self.read), rest].concat();
        assert!(all.is_empty(), "nothing more, not {:?}", String::from_utf8_lossy(&all));
    }

    /// Makes sure that nothing comes.
    pub async fn is_quiet(&mut self) {
        let come = tokio::time::timeout(QUIET, self.stream.readable()).await;
        assert!(come.is_err() && self.read.is_empty(), "nothing should have come yet");
    }

    /// Disappears: the other side gets a reset.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("a live stream");
    }

    /// Reads on until `found` finds what it looks for.
    async fn until<T>(&mut self, found: impl Fn(&[u8]) -> Option<T>) -> T {
        loop {
            if let Some(found) = found(&self.read) {
                return found;
            }
            let read = soon("bytes", self.stream.read_buf(&mut self.read)).await;
            let length = read.expect("the stream is sound");
            assert!(length > 0, "ended behind {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        self.read.drain(..length).collect()
    }
}

/// The request that makes a socket.
pub fn upgrade(app: &str, tag: &str) -> String {
    format!(
        "GET /ws/{app}/{tag} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A client's frame of at most 65535 bytes whose first byte is `first`, under a mask that changes nothing.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("no very long payload");
    let head = match u8::try_from(length) {
        Ok(length @ ..=125) => vec![first, 0x80 | length],
        _ => [&[first, 0x80 | 126][..], &length.to_be_bytes()].concat(),
    };
    [&head, &[0; 4][..], payload].concat()
}

/// The lengths of the head and of the payload of the server's frame that bytes begin with, once they tell.
pub fn frame_length(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? {
        126 => Some((4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into())),
        127 => Some((10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?)),
        short => Some((2, short.into())),
    }
}

/// The header of a client's binary frame that announces `length` bytes, at least 65536.
pub fn long_header(length: u64) -> Vec<u8> {
    [&[0x82, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat()
}
