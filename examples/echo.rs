//! A WebSocket server that says back what it hears: `cargo run --release --example echo [ADDRESS]`.
//!
//! The least that a stream needs around `gusher::net::websocket`: a handshake, a loop that reads and writes, and a
//! careful end. One blocking thread per connection keeps it short; that is not how Gusher itself works.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::ControlFlow::Continue;
use std::time::{Duration, Instant};
use std::{env, thread};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use gusher::net::websocket::{self, Deflater, Inbound, Opcode, Reader, Rules, deflate};

const HEAD_BYTES_MAX: u64 = 16 * 1024;
const READ_BYTES: usize = 64 * 1024;
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
const LINGER: Duration = Duration::from_secs(2);

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("ws://{}", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept()?;
        thread::spawn(move || {
            if let Err(error) = serve(stream) {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // The buffer may already hold frames sent right behind the request, so it stays in front of the stream.
    let mut input = BufReader::new(stream.try_clone()?);
    let (method, version, headers) = read_head(&mut input)?;
    match websocket::accept(&method, version, &headers) {
        Ok(accept) => {
            let accept = accept.to_str().map_err(io::Error::other)?;
            let agreed = deflate::agree(&headers);
            let extension = agreed.as_ref().and_then(|agreed| agreed.to_str().ok());
            let extension = extension.map(|agreed| format!("Sec-WebSocket-Extensions: {agreed}\r\n"));
            write!(
                stream,
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n{}\r\n",
                extension.unwrap_or_default()
            )?;
            echo(&mut input, &mut stream, agreed.map(|_| Deflater::default()))?;
        }
        Err(lack) => write!(
            stream,
            "HTTP/1.1 400 Bad Request\r\nSec-WebSocket-Version: 13\r\nConnection: close\r\n\r\n{lack}\r\n"
        )?,
    }
    linger(stream)
}

/// Echoes until the client closes or breaks the protocol; either way the last thing written is a close frame. What a
/// client that agreed gets is deflated where that makes it shorter.
fn echo(input: &mut impl Read, output: &mut impl Write, mut deflater: Option<Deflater>) -> io::Result<()> {
    let rules = Rules { message_bytes_max: MESSAGE_BYTES_MAX, may_deflate: deflater.is_some() };
    let mut reader = Reader::default();
    let mut bytes = vec![0; READ_BYTES];
    let mut answer = Vec::new();
    loop {
        let count = input.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        let outcome = reader.read(&mut bytes[..count], rules, &mut |inbound| {
            match inbound {
                Inbound::Text(text) => say(&mut answer, &mut deflater, Opcode::Text, text.as_bytes()),
                Inbound::Binary(bytes) => say(&mut answer, &mut deflater, Opcode::Binary, bytes),
                Inbound::Ping(payload) => websocket::encode_into(&mut answer, Opcode::Pong, payload),
                Inbound::Pong(_) => {}
                Inbound::Close(close) => answer.extend_from_slice(&websocket::close_reply(&close)),
            }
            Continue(())
        });
        if let Err(violation) = outcome {
            answer.extend_from_slice(&websocket::close(violation.close_code(), &violation.to_string()));
        }
        output.write_all(&answer)?;
        answer.clear();
        if outcome != Ok(Continue(())) {
            return Ok(());
        }
    }
}

fn say(answer: &mut Vec<u8>, deflater: &mut Option<Deflater>, opcode: Opcode, payload: &[u8]) {
    match deflater.as_mut().and_then(|deflater| deflater.message(opcode, payload, 0)) {
        Some(deflated) => answer.extend_from_slice(&deflated),
        None => websocket::encode_into(answer, opcode, payload),
    }
}

/// Ends the stream so that the client gets all that was written. The server says first that it is done (RFC 6455
/// section 7.1.1), then reads on for a while: closing with unread bytes would send a reset, and a reset overtakes
/// the close frame.
fn linger(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    let deadline = Instant::now() + LINGER;
    let mut bytes = vec![0; READ_BYTES];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        stream.set_read_timeout(Some(left))?;
        // A client that resets or stays silent has made its choice: neither is an error any more.
        if !stream.read(&mut bytes).is_ok_and(|count| count > 0) {
            return Ok(());
        }
    }
}

/// The request, as far as a handshake cares.
fn read_head(input: &mut impl BufRead) -> io::Result<(Method, Version, HeaderMap)> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let mut lines = input.take(HEAD_BYTES_MAX).lines();
    let request = lines.next().ok_or_else(malformed)??;
    let mut words = request.split(' ');
    let method = words.next().and_then(|word| word.parse().ok()).ok_or_else(malformed)?;
    let version = match words.nth(1) {
        Some("HTTP/1.1") => Version::HTTP_11,
        _ => Version::HTTP_10,
    };
    let mut headers = HeaderMap::new();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            return Ok((method, version, headers));
        }
        let (name, value) = line.split_once(':').ok_or_else(malformed)?;
        let name = HeaderName::try_from(name).map_err(io::Error::other)?;
        headers.append(name, HeaderValue::try_from(value.trim()).map_err(io::Error::other)?);
    }
    Err(malformed())
}
