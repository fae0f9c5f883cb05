//! One socket of the crowd: from connecting to being subscribed, and what it makes of the bytes that come.

use super::clock::now_ns;
use super::stamp::Stamp;
use super::tally::Tally;
use super::target::Target;
use super::wire;
use crate::net::stream::Stream;
use crate::net::websocket::Opcode;

/// What a socket is opened for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The tally that it counts for.
    pub group: usize,
    /// The number of its channel, to count members by.
    pub channel: usize,
    /// How many lanes it may hear of.
    pub lanes: usize,
    /// Where it wants to be.
    pub entry: Entry,
    /// What it does there.
    pub conduct: Conduct,
}

/// Where a socket wants to be.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Connected.
    Connected,
    /// In a channel; where there are no channels, connected.
    Subscribed(String),
    /// In a presence channel, by this user's name.
    Joined(String, String),
}

/// What a socket does once it is where it wanted to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// Reads and counts.
    Read,
    /// Reads and counts who joins and leaves.
    Watch,
    /// Reads and does not count: it is there to say something.
    Act,
    /// Reads nothing.
    Stall,
    /// Closes.
    Leave,
}

/// How far a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// TCP.
    Connecting,
    /// The upgrade is asked for.
    Upgrading,
    /// The server's greeting is awaited.
    Greeting,
    /// The subscription is asked for.
    Subscribing,
    /// It is where it wanted to be.
    Open,
    /// It is, and does not read.
    Stalled,
    /// It did not read, and now does.
    Revived,
}

/// What all receivers of a crowd have in common.
pub(super) struct Shared<'t> {
    /// The server.
    pub target: &'t Target,
    /// By group.
    pub tallies: Vec<Tally>,
    /// Where in a message the stamp was last time.
    pub stamp_at: usize,
    /// The first thing that went wrong.
    pub complaint: Option<String>,
}

impl Shared<'_> {
    /// Notes what went wrong, if it is the first thing.
    pub fn complain(&mut self, reason: String) {
        self.complaint.get_or_insert(reason);
    }
}

/// One socket.
pub(super) struct Receiver {
    pub stream: Stream,
    pub phase: Phase,
    pub conduct: Conduct,
    pub group: usize,
    pub channel: usize,
    /// Per lane, the least number that may come.
    pub next: Box<[u32]>,
    /// The bytes of a frame, or of an answer's head, that is incomplete.
    pub carry: Vec<u8>,
    /// What the server calls it; empty where it does not say.
    pub socket_id: Box<str>,
    pub began_ns: u64,
    entry: Entry,
    number: usize,
}

impl Receiver {
    pub fn new(stream: Stream, wish: Wish, number: usize) -> Self {
        Self {
            stream,
            phase: Phase::Connecting,
            conduct: wish.conduct,
            group: wish.group,
            channel: wish.channel,
            next: vec![0; wish.lanes].into(),
            carry: Vec::new(),
            socket_id: Box::default(),
            began_ns: now_ns(),
            entry: wish.entry,
            number,
        }
    }

    /// Whether it is, or has been, where it wanted to be.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Stalled | Phase::Revived)
    }

    /// Asks for the upgrade, if the connection is made.
    ///
    /// # Errors
    /// Why it is not going to be.
    pub fn connected(&mut self, target: &Target) -> Result<(), String> {
        let failure = self.stream.tcp().take_error().unwrap_or_else(Some);
        if let Some(error) = failure {
            return Err(error.to_string());
        }
        if self.stream.tcp().peer_addr().is_err() {
            return Ok(());
        }
        self.phase = Phase::Upgrading;
        // Whoever measures small messages does not want them held back.
        self.stream.tcp().set_nodelay(true).map_err(|error| error.to_string())?;
        self.write(&target.upgrade(self.number))
    }

    /// Sends a text.
    ///
    /// # Errors
    /// The stream did not take it.
    pub fn say(&mut self, text: &str) -> Result<(), String> {
        self.write(&wire::masked(Opcode::Text, text.as_bytes()))
    }

    /// What is sent is small and seldom: a stream that does not take it at once is stuck.
    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        match self.stream.write(bytes) {
            Ok(length) if length == bytes.len() => Ok(()),
            Ok(_) => Err("the server does not read".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Takes what is complete of `bytes`; says how many bytes that were.
    ///
    /// # Errors
    /// Why the receiver is to be removed.
    pub fn take(&mut self, bytes: &[u8], shared: &mut Shared<'_>, now_ns: u64) -> Result<usize, String> {
        let mut rest = bytes;
        if self.phase == Phase::Upgrading {
            let Some(head) = find(bytes, b"\r\n\r\n") else { return Ok(0) };
            self.upgraded(&bytes[..head], shared)?;
            rest = &bytes[head + 4..];
        }
        while let Some((frame, behind)) = wire::next(rest) {
            rest = behind;
            self.hear(&frame, shared, now_ns)?;
        }
        Ok(bytes.len() - rest.len())
    }

    fn upgraded(&mut self, head: &[u8], shared: &Shared<'_>) -> Result<(), String> {
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(line(head.split(|byte| *byte == b'\r').next().unwrap_or_default()));
        }
        self.phase = if shared.target.has_channels() { Phase::Greeting } else { Phase::Open };
        Ok(())
    }

    fn hear(&mut self, frame: &wire::Frame<'_>, shared: &mut Shared<'_>, now_ns: u64) -> Result<(), String> {
        const PING: u8 = Opcode::Ping as u8;
        const CLOSE: u8 = Opcode::Close as u8;
        match (frame.opcode, self.phase) {
            (PING, _) => self.write(&wire::masked(Opcode::Pong, frame.payload)),
            (CLOSE, _) => Err(closing(frame.payload)),
            (_, Phase::Open) => self.count(frame.payload, shared, now_ns),
            (_, Phase::Greeting) => self.greeted(frame.payload, shared),
            (_, Phase::Subscribing) if contains(frame.payload, b"subscription_succeeded") => {
                self.phase = Phase::Open;
                Ok(())
            }
            (_, Phase::Subscribing) => refusal(frame.payload),
            _ => Ok(()),
        }
    }

    fn count(&mut self, payload: &[u8], shared: &mut Shared<'_>, now_ns: u64) -> Result<(), String> {
        let tally = &mut shared.tallies[self.group];
        match Stamp::find(payload, &mut shared.stamp_at) {
            Some(_) if self.conduct == Conduct::Act => Ok(()),
            Some(_) if self.conduct == Conduct::Watch && contains(payload, b"member_removed") => {
                tally.leaves += 1;
                tally.last_ns = now_ns;
                Ok(())
            }
            Some(stamp) => {
                tally.take(stamp, now_ns, &mut self.next);
                Ok(())
            }
            None if contains(payload, b"\"pusher:ping\"") => self.say(r#"{"event":"pusher:pong","data":{}}"#),
            None => {
                refusal(payload).unwrap_or_else(|reason| shared.complain(reason));
                Ok(())
            }
        }
    }

    fn greeted(&mut self, payload: &[u8], shared: &Shared<'_>) -> Result<(), String> {
        if !contains(payload, b"connection_established") {
            return refusal(payload);
        }
        self.socket_id = socket_id(payload);
        let message = match &self.entry {
            Entry::Connected => {
                self.phase = Phase::Open;
                return Ok(());
            }
            Entry::Subscribed(channel) => shared.target.subscribe(channel),
            Entry::Joined(channel, user) => shared.target.join(&self.socket_id, channel, user),
        };
        self.phase = Phase::Subscribing;
        self.say(&message)
    }
}

/// What a socket says when it leaves.
pub(super) fn goodbye() -> Vec<u8> {
    wire::masked(Opcode::Close, &1000_u16.to_be_bytes())
}

/// A message that refuses something is an error in its own words.
fn refusal(payload: &[u8]) -> Result<(), String> {
    let is_one = contains(payload, b"pusher:error") || contains(payload, b"subscription_error");
    if is_one { Err(line(payload)) } else { Ok(()) }
}

fn closing(payload: &[u8]) -> String {
    match payload.split_first_chunk() {
        Some((code, reason)) => {
            format!("closed by the server with {} {}", u16::from_be_bytes(*code), line(reason))
        }
        None => "closed by the server without a code".to_owned(),
    }
}

/// The digits and the dot behind the name, however often the JSON around them is escaped.
fn socket_id(payload: &[u8]) -> Box<str> {
    const NAME: &[u8] = b"socket_id";
    let behind = find(payload, NAME).map_or(&[][..], |at| &payload[at + NAME.len()..]);
    let is_part = |byte: &&u8| byte.is_ascii_digit() || **byte == b'.';
    let id: Vec<u8> = behind.iter().skip_while(|byte| !is_part(byte)).take_while(is_part).copied().collect();
    String::from_utf8_lossy(&id).into()
}

/// What a server says, fit for one line.
fn line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
    text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    find(text, part).is_some()
}

/// Where `part` begins. For what is not done per delivery.
pub(super) fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_id_is_found_in_data_that_is_text_or_object() {
        let text =
            br#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"12.34\",\"activity_timeout\":120}"}"#;
        assert_eq!(&*socket_id(text), "12.34");
        assert_eq!(&*socket_id(br#"{"data":{"socket_id":"1.2"}}"#), "1.2");
        assert_eq!(&*socket_id(b"{}"), "");
    }

    #[test]
    fn a_close_tells_its_code_and_reason() {
        assert_eq!(closing(b"\x03\xf5too slow"), "closed by the server with 1013 too slow");
        assert_eq!(closing(b""), "closed by the server without a code");
        assert!(refusal(br#"{"event":"pusher:error","data":{"code":4001}}"#).unwrap_err().contains("4001"));
    }
}
