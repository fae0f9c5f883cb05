//! A backend that publishes: keep-alive HTTP/1.1 connections, one call at a time on each. One that the server closes
//! is opened anew for the next call.
//!
//! One call at a time gives what is published on one connection an order, which is what receivers check. All
//! connections are served by the thread that publishes.

use std::io::ErrorKind;
use std::net::TcpStream as Blocking;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Poll, Registry, Token};

use super::clock::now_ns;
use super::receiver::find;
use super::tally::Delays;
use super::target::Endpoint;
use super::{Fault, Outcome, PATIENCE};
use crate::net::stream::Stream;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What became of one call.
#[derive(Debug)]
pub struct Answered {
    /// The connection that is free again.
    pub connection: usize,
    /// Published; otherwise the server is too busy, and said so.
    pub is_accepted: bool,
}

/// The connections of a backend.
pub struct Backend {
    endpoint: Endpoint,
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    buffer: Box<[u8]>,
    answered: Vec<Answered>,
    /// From the call to its answer.
    pub delays: Delays,
    /// Connections that had to be opened anew.
    pub reopened: u64,
}

struct Connection {
    stream: Stream,
    /// What the kernel has not taken yet of a call.
    unsent: Vec<u8>,
    answer: Vec<u8>,
    /// When the call was made that is not answered.
    asked_ns: Option<u64>,
    /// The server takes no further call on it.
    is_spent: bool,
}

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    head_bytes: usize,
    body_bytes: usize,
    /// It is the last on its connection.
    is_last: bool,
}

impl Backend {
    /// Connects.
    ///
    /// # Errors
    /// Nobody is there.
    pub fn connect(endpoint: Endpoint, connections: usize) -> Outcome<Self> {
        let poll = Poll::new().map_err(|error| Fault::because("cannot wait for answers", error))?;
        let open = |place| Connection::open(&endpoint, poll.registry(), Token(place));
        Ok(Self {
            connections: (0..connections).map(open).collect::<Outcome<_>>()?,
            endpoint,
            poll,
            events: Events::with_capacity(64),
            buffer: vec![0; 16 * 1024].into_boxed_slice(),
            answered: Vec::new(),
            delays: Delays::default(),
            reopened: 0,
        })
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Whether a call on that connection awaits its answer.
    pub fn is_busy(&self, connection: usize) -> bool {
        self.connections[connection].asked_ns.is_some()
    }

    /// Whether any does.
    pub fn is_any_busy(&self) -> bool {
        self.connections.iter().any(|connection| connection.asked_ns.is_some())
    }

    /// Makes a call on a connection that is not busy.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn call(&mut self, connection: usize, request: &[u8]) -> Outcome<()> {
        let asked_ns = now_ns();
        if self.connections[connection].is_spent {
            let registry = self.poll.registry();
            self.connections[connection] = Connection::open(&self.endpoint, registry, Token(connection))?;
            self.reopened += 1;
        }
        let connection = &mut self.connections[connection];
        connection.asked_ns = Some(asked_ns);
        connection.unsent.extend_from_slice(request);
        connection.flush()
    }

    /// Waits for answers, at most `timeout`, and hands them over one by one.
    ///
    /// # Errors
    /// A connection is lost, or a call was refused for another reason than the server's load.
    pub fn gather(&mut self, timeout: Duration, mut take: impl FnMut(Answered)) -> Outcome<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                return Err(Fault::because("cannot wait for answers", error));
            }
            _ => {}
        }
        for event in &self.events {
            let place = event.token().0;
            let connection = &mut self.connections[place];
            connection.flush()?;
            if let Some((is_accepted, delay_ns)) = connection.read(&mut self.buffer)? {
                self.delays.note(delay_ns);
                self.answered.push(Answered { connection: place, is_accepted });
            }
        }
        self.answered.drain(..).for_each(&mut take);
        Ok(())
    }

    /// Waits until no call awaits its answer.
    ///
    /// # Errors
    /// As [`Backend::gather`], and when an answer stays away for [`PATIENCE`].
    pub fn finish(&mut self, mut take: impl FnMut(Answered)) -> Outcome<()> {
        let end = now_ns() + PATIENCE.as_nanos() as u64;
        while self.is_any_busy() {
            self.gather(super::crowd::TURN, &mut take)?;
            if now_ns() > end {
                return Err(no_answer());
            }
        }
        Ok(())
    }
}

/// The sentence for an answer that stays away.
pub(super) fn no_answer() -> Fault {
    Fault(format!("a call was not answered within {} s", PATIENCE.as_secs()))
}

impl Connection {
    fn open(endpoint: &Endpoint, registry: &Registry, token: Token) -> Outcome<Self> {
        let connect = || {
            let stream = Blocking::connect_timeout(&endpoint.address, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = endpoint.stream(TcpStream::from_std(stream))?;
            stream.register(registry, token)?;
            Ok(stream)
        };
        let stream = connect().map_err(|error: std::io::Error| {
            Fault::because(&format!("cannot connect to {}", endpoint.address), error)
        })?;
        Ok(Self { stream, unsent: Vec::new(), answer: Vec::new(), asked_ns: None, is_spent: false })
    }

    fn flush(&mut self) -> Outcome<()> {
        self.stream.send_on().map_err(lost)?;
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(length) => drop(self.unsent.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(lost(error)),
            }
        }
        Ok(())
    }

    /// Whether the call was accepted and how long that took, once the answer is complete.
    fn read(&mut self, buffer: &mut [u8]) -> Outcome<Option<(bool, u64)>> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => {
                    self.is_spent = true;
                    break;
                }
                Ok(length) => self.answer.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(lost(error)),
            }
            if self.answer.len() > ANSWER_BYTES_MAX {
                return Err(Fault(format!("an answer of more than {ANSWER_BYTES_MAX} bytes")));
            }
        }
        let head = Head::read(&self.answer)?;
        let Some(head) = head.filter(|head| self.answer.len() >= head.head_bytes + head.body_bytes) else {
            // Between two calls the server may close as it likes.
            let is_lost = self.is_spent && self.asked_ns.is_some();
            return if is_lost { Err(lost("the server closed it")) } else { Ok(None) };
        };
        self.is_spent |= head.is_last;
        let is_accepted = self.judge(&head)?;
        self.answer.clear();
        Ok(self.asked_ns.take().map(|asked_ns| (is_accepted, now_ns().saturating_sub(asked_ns))))
    }

    fn judge(&self, head: &Head) -> Outcome<bool> {
        match head.status {
            200..300 => Ok(true),
            429 | 503 => Ok(false),
            status => {
                let words = String::from_utf8_lossy(&self.answer[head.head_bytes..]);
                let words: String = words.chars().filter(|letter| !letter.is_control()).take(300).collect();
                Err(Fault(format!("the server refused to publish: {status} {words}")))
            }
        }
    }
}

fn lost(reason: impl std::fmt::Display) -> Fault {
    Fault::because("lost a connection to publish on", reason)
}

impl Head {
    /// The head at the start of an answer; `None` while it is incomplete.
    ///
    /// # Errors
    /// It is no answer, or one whose length is not told in advance.
    fn read(answer: &[u8]) -> Outcome<Option<Head>> {
        let Some(end) = find(answer, b"\r\n\r\n") else { return Ok(None) };
        let text = String::from_utf8_lossy(&answer[..end]);
        let mut lines = text.split("\r\n");
        let (version, status) = lines.next().and_then(|line| line.split_once(' ')).unwrap_or_default();
        let status = status.get(..3).and_then(|status| status.parse().ok());
        let status = status.filter(|_| matches!(version, "HTTP/1.0" | "HTTP/1.1"));
        let status: u16 = status.ok_or_else(|| Fault("the server does not answer in HTTP/1".to_owned()))?;
        let fields: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
        let field = |wanted: &str| {
            let found = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.trim())
        };
        let length = field("content-length").and_then(|value| value.parse().ok());
        let connection = field("connection").unwrap_or_default();
        let is_last = match version {
            // Of that version a connection is closed behind an answer unless this says otherwise.
            "HTTP/1.0" => !connection.eq_ignore_ascii_case("keep-alive"),
            _ => connection.eq_ignore_ascii_case("close"),
        };
        let body_bytes = match (status, length) {
            (_, Some(length)) => length,
            (204, None) => 0,
            _ => return Err(Fault("the server answers without Content-Length".to_owned())),
        };
        Ok(Some(Head { status, head_bytes: end + 4, body_bytes, is_last }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn the_head_of_an_answer_is_read_once_it_is_there() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 2\r\n\r\n{}";
        assert_eq!(Head::read(&answer[..20]), Ok(None));
        let head = Head { status: 200, head_bytes: 38, body_bytes: 2, is_last: false };
        assert_eq!(Head::read(answer), Ok(Some(head)));
        let empty = b"HTTP/1.1 204 No Content\r\nConnection: Close\r\n\r\n";
        let head = Head { status: 204, head_bytes: 46, body_bytes: 0, is_last: true };
        assert_eq!(Head::read(empty), Ok(Some(head)));
    }

    #[test]
    fn an_answer_of_the_old_version_is_the_last_unless_it_says_otherwise() {
        for (field, is_last) in [("", true), ("Connection: keep-alive\r\n", false)] {
            let answer = format!("HTTP/1.0 200 OK\r\n{field}Content-Length: 2\r\n\r\n{{}}");
            let head_bytes = answer.len() - 2;
            let head = Head { status: 200, head_bytes, body_bytes: 2, is_last };
            assert_eq!(Head::read(answer.as_bytes()), Ok(Some(head)));
        }
    }

    #[test]
    fn what_cannot_be_followed_is_a_fault() {
        for answer in ["SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"] {
            assert!(Head::read(answer.as_bytes()).is_err(), "{answer}");
        }
    }

    #[test]
    fn a_connection_that_the_server_closes_is_opened_anew() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                stream.read_exact(&mut [0; 4]).unwrap();
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                    .unwrap();
            }
        });
        let mut backend = Backend::connect(Endpoint::plain(address), 1).unwrap();
        for _ in 0..2 {
            backend.call(0, b"call").unwrap();
            backend.finish(|answered| assert!(answered.is_accepted)).unwrap();
        }
        assert_eq!((backend.reopened, backend.delays.count()), (1, 2));
        server.join().unwrap();
    }
}
