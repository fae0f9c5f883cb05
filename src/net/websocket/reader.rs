//! A client's bytes become messages, in whatever pieces they arrive (RFC 6455 sections 5 to 8).
//!
//! The caller's buffer is borrowed for one call and may be shared by all streams of a thread: what must be
//! remembered of an incomplete frame or message is copied out of it. Every byte costs a constant amount of work
//! however small the pieces are, and text is checked as it arrives, so that bad text fails before its end.
//!
//! After a close frame, a violation or a `Break` the stream is over: the `Reader` holds nothing, and is not to be
//! given the rest.

use std::fmt;
use std::ops::ControlFlow::{self, Break, Continue};

use super::deflate;
use super::frame::{HEADER_BYTES_MAX, Header, Opcode};
use super::mask;

/// What one stream remembers between reads: nothing but a null pointer while no frame or message is incomplete.
#[derive(Debug, Default)]
pub struct Reader {
    partial: Option<Box<Partial>>,
}

/// What a client may send.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The longest message, in bytes.
    pub message_bytes_max: usize,
    /// Messages may be deflated: [`deflate::agree`] was answered.
    pub may_deflate: bool,
}

impl Rules {
    /// No extension was agreed on.
    pub fn plain(message_bytes_max: usize) -> Self {
        Self { message_bytes_max, may_deflate: false }
    }

    /// How long the payload of a message may be as it comes, in bytes.
    fn bytes_max(self, is_deflated: bool) -> usize {
        if is_deflated { deflate::deflated_bytes_max(self.message_bytes_max) } else { self.message_bytes_max }
    }
}

/// A complete message or control frame from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbound<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// To be answered with a pong of the same payload, at most 125 bytes.
    Ping(&'a [u8]),
    /// The answer to a ping, or unasked.
    Pong(&'a [u8]),
    /// To be answered with [`close_reply`](super::close_reply), unless a close was sent before. Always the last.
    Close(Option<Close<'a>>),
}

/// Why the client closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close<'a> {
    /// 1000 to 1003, 1007 to 1014, or 3000 to 4999.
    pub code: u16,
    /// For people; at most 123 bytes.
    pub reason: &'a str,
}

/// Why a stream cannot go on: the client broke the protocol, or the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A rule of RFC 6455 is broken, this one.
    Protocol(&'static str),
    /// A text message or a close reason is not UTF-8.
    InvalidText,
    /// A message is announced that is longer than the limit.
    TooBig,
}

impl Violation {
    /// The code of the close frame that tells the client (RFC 6455 section 7.4.1).
    pub fn close_code(&self) -> u16 {
        match self {
            Violation::Protocol(_) => 1002,
            Violation::InvalidText => 1007,
            Violation::TooBig => 1009,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Protocol(rule) => f.write_str(rule),
            Violation::InvalidText => f.write_str("text is not UTF-8"),
            Violation::TooBig => f.write_str("message too big"),
        }
    }
}

impl std::error::Error for Violation {}

type Outcome = Result<ControlFlow<()>, Violation>;
type On<'a> = dyn FnMut(Inbound<'_>) -> ControlFlow<()> + 'a;

impl Reader {
    /// Takes the next bytes of the stream, which it unmasks in place, and calls `on` for each message and control
    /// frame that they complete, in order. A message of `message_bytes_max` bytes, all fragments together and inflated,
    /// passes; control frames do not count. `Break`, from `on` or after a close frame, means: nothing more was looked at.
    ///
    /// # Errors
    /// The first violation; what was complete before it has been delivered.
    pub fn read(
        &mut self,
        bytes: &mut [u8],
        rules: Rules,
        on: &mut dyn FnMut(Inbound<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Violation> {
        let outcome = self.read_frames(bytes, rules, on);
        if outcome != Ok(Continue(())) || self.partial.as_ref().is_some_and(|partial| partial.is_empty()) {
            self.partial = None;
        }
        outcome
    }

    /// Whether no frame and no message is incomplete; then no heap memory is held.
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// How much of the frame that is under way has not come yet, in bytes; 0 when its header is not known.
    pub fn missing_bytes(&self) -> usize {
        let frame = self.partial.as_ref().and_then(|partial| partial.frame.as_ref());
        frame.map_or(0, |frame| usize::try_from(frame.missing).unwrap_or(usize::MAX))
    }

    /// Heap memory held, in bytes: at most `message_bytes_max` and a few hundred.
    pub fn held_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| {
            let message = partial.message.as_ref().map_or(0, |message| message.bytes.capacity());
            size_of::<Partial>() + partial.control.capacity() + message
        })
    }

    fn read_frames(&mut self, mut bytes: &mut [u8], rules: Rules, on: &mut On<'_>) -> Outcome {
        while !bytes.is_empty() {
            let Some((mut header, rest)) = self.next_header(bytes, rules)? else { break };
            let here = usize::try_from(header.missing).unwrap_or(usize::MAX).min(rest.len());
            let (payload, rest) = rest.split_at_mut(here);
            mask::apply(&mut header.mask, payload);
            header.missing -= here as u64;
            let flow = if header.opcode.is_control() {
                self.read_control(header, payload, on)?
            } else {
                self.read_data(header, payload, rules, on)?
            };
            if flow.is_break() {
                return Ok(flow);
            }
            bytes = rest;
        }
        Ok(Continue(()))
    }

    /// The header of the frame that `bytes` go on with or begin, and the bytes after it; `None` when they do not
    /// complete a header.
    fn next_header<'b>(
        &mut self,
        bytes: &'b mut [u8],
        rules: Rules,
    ) -> Result<Option<(Header, &'b mut [u8])>, Violation> {
        if let Some(header) = self.partial.as_mut().and_then(|partial| partial.frame.take()) {
            return Ok(Some((header, bytes)));
        }
        let held = self.partial.as_mut().map(|partial| std::mem::take(&mut partial.head)).unwrap_or_default();
        let head = held.followed_by(bytes);
        let Some((header, header_bytes)) =
            Header::decode(head.as_slice(), rules.may_deflate).map_err(Violation::Protocol)?
        else {
            self.partial.get_or_insert_default().head = head;
            return Ok(None);
        };
        self.admit(&header, rules)?;
        Ok(Some((header, &mut bytes[header_bytes - held.len..])))
    }

    /// Whether the frame may come now, and its payload too; before any of it is taken in.
    fn admit(&self, header: &Header, rules: Rules) -> Result<(), Violation> {
        if header.opcode.is_control() {
            return Ok(());
        }
        let message = self.partial.as_ref().and_then(|partial| partial.message.as_ref());
        match (message, header.opcode) {
            (None, Opcode::Continuation) => return Err(CONTINUES_NOTHING),
            (Some(_), Opcode::Text | Opcode::Binary) => {
                return Err(Violation::Protocol("message begun inside another"));
            }
            _ => {}
        }
        let is_deflated = message.map_or(header.deflated, |message| message.is_deflated);
        let bytes_max = rules.bytes_max(is_deflated);
        let room = bytes_max.saturating_sub(message.map_or(0, |message| message.bytes.len()));
        if header.missing > room as u64 { Err(Violation::TooBig) } else { Ok(()) }
    }

    fn read_control(&mut self, header: Header, payload: &[u8], on: &mut On<'_>) -> Outcome {
        if header.missing > 0 {
            let partial = self.partial.get_or_insert_default();
            partial.control.extend_from_slice(payload);
            partial.frame = Some(header);
            return Ok(Continue(()));
        }
        match &mut self.partial {
            Some(partial) if !partial.control.is_empty() => {
                let mut control = std::mem::take(&mut partial.control);
                control.extend_from_slice(payload);
                deliver(header.opcode, &control, on)
            }
            _ => deliver(header.opcode, payload, on),
        }
    }

    fn read_data(&mut self, header: Header, payload: &[u8], rules: Rules, on: &mut On<'_>) -> Outcome {
        let complete = header.fin && header.missing == 0;
        let begun = self.partial.as_ref().is_some_and(|partial| partial.message.is_some());
        if complete && !begun {
            return deliver_message(header.opcode, header.deflated, payload, rules, on);
        }
        let partial = self.partial.get_or_insert_default();
        let mut message = partial.message.take().unwrap_or_else(|| Message::new(&header));
        message.append(payload, rules.bytes_max(message.is_deflated))?;
        if complete {
            return deliver_message(message.opcode, message.is_deflated, &message.bytes, rules, on);
        }
        partial.message = Some(message);
        partial.frame = Some(header).filter(|header| header.missing > 0);
        Ok(Continue(()))
    }
}

const CONTINUES_NOTHING: Violation = Violation::Protocol("continuation of no message");

fn deliver_message(
    opcode: Opcode,
    is_deflated: bool,
    payload: &[u8],
    rules: Rules,
    on: &mut On<'_>,
) -> Outcome {
    if is_deflated {
        return deliver(opcode, &deflate::inflate(payload, rules.message_bytes_max)?, on);
    }
    deliver(opcode, payload, on)
}

fn deliver(opcode: Opcode, payload: &[u8], on: &mut On<'_>) -> Outcome {
    let inbound = match opcode {
        Opcode::Text => Inbound::Text(decode_text(payload)?),
        Opcode::Binary => Inbound::Binary(payload),
        Opcode::Ping => Inbound::Ping(payload),
        Opcode::Pong => Inbound::Pong(payload),
        Opcode::Close => Inbound::Close(decode_close(payload)?),
        // A message has the opcode of its first frame, and `admit` let no other continuation in.
        Opcode::Continuation => return Err(CONTINUES_NOTHING),
    };
    let flow = on(inbound);
    Ok(if opcode == Opcode::Close { Break(()) } else { flow })
}

fn decode_text(payload: &[u8]) -> Result<&str, Violation> {
    simdutf8::basic::from_utf8(payload).map_err(|_| Violation::InvalidText)
}

fn decode_close(payload: &[u8]) -> Result<Option<Close<'_>>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation::Protocol("close of one byte")) };
    };
    match u16::from_be_bytes(*code) {
        code @ (1000..=1003 | 1007..=1014 | 3000..=4999) => {
            Ok(Some(Close { code, reason: decode_text(reason)? }))
        }
        _ => Err(Violation::Protocol("illegal close code")),
    }
}

/// What is incomplete. Any of the parts may be absent, and a message may wait while control frames pass.
#[derive(Debug, Default)]
struct Partial {
    /// The bytes of an incomplete header.
    head: Head,
    /// The frame whose payload is incomplete.
    frame: Option<Header>,
    /// Its payload so far, when it is a control frame.
    control: Vec<u8>,
    /// The fragments so far, with the incomplete frame's payload when it carries data.
    message: Option<Message>,
}

impl Partial {
    fn is_empty(&self) -> bool {
        self.head.len == 0 && self.frame.is_none() && self.message.is_none()
    }
}

/// The beginning of a frame, at least as much of it as a header may need when that much is there.
#[derive(Debug, Default, Clone, Copy)]
struct Head {
    bytes: [u8; HEADER_BYTES_MAX],
    len: usize,
}

impl Head {
    fn followed_by(mut self, bytes: &[u8]) -> Head {
        let taken = bytes.len().min(HEADER_BYTES_MAX - self.len);
        self.bytes[self.len..self.len + taken].copy_from_slice(&bytes[..taken]);
        self.len += taken;
        self
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[derive(Debug)]
struct Message {
    opcode: Opcode,
    is_deflated: bool,
    bytes: Vec<u8>,
    /// So many of `bytes` are known to be UTF-8; at most three after them may begin a character. Unused for binary, and
    /// for what is deflated.
    checked: usize,
}

impl Message {
    fn new(first: &Header) -> Message {
        Message { opcode: first.opcode, is_deflated: first.deflated, bytes: Vec::new(), checked: 0 }
    }

    /// Adds what `admit` allowed. Grows with what arrived, not with what was announced, by doubling but not past
    /// the limit: many small pieces cost linear time, and a great announcement nothing.
    fn append(&mut self, payload: &[u8], bytes_max: usize) -> Result<(), Violation> {
        let needed = self.bytes.len() + payload.len();
        if needed > self.bytes.capacity() {
            let capacity = needed.max(bytes_max.min(2 * self.bytes.len()));
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(payload);
        if self.opcode == Opcode::Text && !self.is_deflated { self.check() } else { Ok(()) }
    }

    fn check(&mut self) -> Result<(), Violation> {
        match simdutf8::compat::from_utf8(&self.bytes[self.checked..]) {
            Ok(_) => self.checked = self.bytes.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(Violation::InvalidText),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

    /// A client's frame of at most 125 bytes.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut masked = payload.to_vec();
        mask::apply(&mut MASK.clone(), &mut masked);
        [&[first, 0x80 | payload.len() as u8], &MASK[..], &masked].concat()
    }

    /// What `reader` makes of `bytes`, at most 100 in a message.
    fn read(reader: &mut Reader, bytes: &[u8]) -> (Vec<String>, Outcome) {
        let mut seen = Vec::new();
        let outcome = reader.read(&mut bytes.to_vec(), Rules::plain(100), &mut |inbound| {
            seen.push(format!("{inbound:?}"));
            Continue(())
        });
        (seen, outcome)
    }

    fn outcome_of(bytes: &[u8]) -> Outcome {
        read(&mut Reader::default(), bytes).1
    }

    #[test]
    fn an_idle_reader_is_one_pointer() {
        assert_eq!(size_of::<Reader>(), size_of::<usize>());
        assert_eq!(Reader::default().held_bytes(), 0);
    }

    #[test]
    fn a_whole_frame_is_delivered_where_it_lies() {
        let mut bytes = frame(0x81, b"hello");
        let within = bytes.as_ptr_range();
        let mut reader = Reader::default();
        let outcome = reader.read(&mut bytes, Rules::plain(100), &mut |inbound| {
            assert!(
                matches!(inbound, Inbound::Text(text) if text == "hello" && within.contains(&text.as_ptr()))
            );
            Break(())
        });
        assert_eq!(outcome, Ok(Break(())));
        assert!(reader.is_idle());
    }

    #[test]
    fn control_frames_pass_between_fragments() {
        let mut reader = Reader::default();
        let bytes = [frame(0x01, "h\u{e9}".as_bytes()), frame(0x89, b"?"), frame(0x80, b"llo")].concat();
        let (head, tail) = bytes.split_at(bytes.len() - 1);
        assert_eq!(read(&mut reader, head), (vec!["Ping([63])".to_owned()], Ok(Continue(()))));
        assert!(!reader.is_idle());
        assert_eq!(read(&mut reader, tail).0, [r#"Text("héllo")"#]);
        assert!(reader.is_idle());
    }

    #[test]
    fn nothing_after_a_break_or_a_close_is_looked_at() {
        let bytes = [frame(0x88, b""), frame(0x81, b"late")].concat();
        assert_eq!(read(&mut Reader::default(), &bytes), (vec!["Close(None)".to_owned()], Ok(Break(()))));
        let mut count = 0;
        let mut bytes = [frame(0x01, b"a"), frame(0x8a, b""), frame(0x8a, b""), frame(0x00, b"a")].concat();
        let mut reader = Reader::default();
        let outcome = reader.read(&mut bytes, Rules::plain(100), &mut |_| {
            count += 1;
            Break(())
        });
        assert_eq!((outcome, count, reader.held_bytes()), (Ok(Break(())), 1, 0));
    }

    #[test]
    fn close_codes_are_checked() {
        let outcome = |code: u16| outcome_of(&frame(0x88, &code.to_be_bytes()));
        for code in [1000, 1003, 1007, 1014, 3000, 4999] {
            assert_eq!(outcome(code), Ok(Break(())), "{code}");
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
            assert_eq!(outcome(code), Err(Violation::Protocol("illegal close code")), "{code}");
        }
        assert_eq!(outcome_of(&frame(0x88, b"x")), Err(Violation::Protocol("close of one byte")));
        assert_eq!(outcome_of(&frame(0x88, b"\x03\xe8\xff")), Err(Violation::InvalidText));
        let (seen, _) = read(&mut Reader::default(), &frame(0x88, b"\x0f\xa0bye"));
        assert_eq!(seen, [r#"Close(Some(Close { code: 4000, reason: "bye" }))"#]);
    }

    #[test]
    fn fragments_come_in_order() {
        let begun_twice = [frame(0x01, b"a"), frame(0x81, b"b")].concat();
        assert_eq!(outcome_of(&begun_twice), Err(Violation::Protocol("message begun inside another")));
        assert_eq!(outcome_of(&frame(0x80, b"a")), Err(CONTINUES_NOTHING));
        let after_the_end = [frame(0x82, b"a"), frame(0x00, b"b")].concat();
        let mut reader = Reader::default();
        assert_eq!(
            read(&mut reader, &after_the_end),
            (vec!["Binary([97])".to_owned()], Err(CONTINUES_NOTHING))
        );
        assert!(reader.is_idle());
    }

    #[test]
    fn bad_text_fails_before_its_frame_ends() {
        let bytes = frame(0x81, b"ok \xf4\x90\x80\x80 and more");
        let (head, tail) = bytes.split_at(6 + 4);
        let mut reader = Reader::default();
        assert_eq!(read(&mut reader, head).1, Ok(Continue(())), "so far it may become a character");
        assert_eq!(read(&mut reader, &tail[..1]).1, Err(Violation::InvalidText));
        assert!(reader.is_idle());
        assert_eq!(outcome_of(&frame(0x81, b"\xc3")), Err(Violation::InvalidText), "ends inside a character");
        assert_eq!(outcome_of(&frame(0x01, b"\xc3")), Ok(Continue(())), "may go on in the next fragment");
        assert_eq!(outcome_of(&frame(0x82, b"\xc3")), Ok(Continue(())), "binary is any bytes");
    }

    #[test]
    fn the_limit_counts_all_fragments_and_is_met_exactly() {
        let fragments = |last: usize| {
            [frame(0x02, &[0; 60]), frame(0x89, &[0; 99]), frame(0x80, &vec![0; last])].concat()
        };
        assert_eq!(outcome_of(&fragments(40)), Ok(Continue(())));
        assert_eq!(outcome_of(&fragments(41)), Err(Violation::TooBig));
        assert_eq!(outcome_of(&frame(0x82, &[0; 101])), Err(Violation::TooBig));
    }

    #[test]
    fn an_announcement_costs_nothing() {
        let huge = [&[0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0], &MASK[..]].concat();
        assert_eq!(outcome_of(&huge), Err(Violation::TooBig));
        let mut reader = Reader::default();
        let mut allowed = huge.clone();
        assert_eq!(reader.read(&mut allowed, Rules::plain(usize::MAX), &mut |_| Break(())), Ok(Continue(())));
        assert!(reader.held_bytes() < 300);
    }

    #[test]
    fn a_message_in_tiny_fragments_grows_by_doubling() {
        let mut reader = Reader::default();
        let (mut sizes, mut first) = (std::collections::BTreeSet::new(), 0x02);
        for _ in 0..10_000 {
            let outcome = reader.read(&mut frame(first, b"x"), Rules::plain(10_000), &mut |_| Break(()));
            assert_eq!(outcome, Ok(Continue(())));
            sizes.insert(reader.held_bytes());
            first = 0x00;
        }
        assert!(sizes.len() < 20, "{} sizes", sizes.len());
        assert!(reader.held_bytes() < 10_000 + 300);
    }
}
