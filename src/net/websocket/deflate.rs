//! permessage-deflate (RFC 7692): agreeing on it, deflating what goes out, inflating what came in.
//!
//! Neither side takes its context over from message to message. So one deflated frame is good for every stream that
//! agreed, and a stream remembers nothing between messages. An offer that asks the server for a smaller window than
//! the full one is declined: a shared frame has one window.

use std::cell::RefCell;

use axum::http::header::SEC_WEBSOCKET_EXTENSIONS;
use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame;
use super::reader::Violation;

/// What ends a deflated message and is left out on the wire (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Shorter texts gain less than they cost, in bytes.
const TEXT_BYTES_MIN: usize = 128;

/// The first room for an inflated message, in bytes.
const ROOM_BYTES: usize = 1024;

/// So many blocks of one message may say that they are the last (RFC 7692 section 7.2.3.5). Each costs a beginning anew, and
/// they may be two bytes long and stand for nothing.
const LAST_BLOCKS_MAX: usize = 8;

const BROKEN: Violation = Violation::Protocol("deflated data is broken");
const TOO_MANY_LAST_BLOCKS: Violation = Violation::Protocol("deflated data has too many last blocks");

thread_local! {
    /// Good for every stream, as each message begins afresh; a thread that inflates nothing never makes one.
    static INFLATER: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// What to answer in `Sec-WebSocket-Extensions`, if the client offers permessage-deflate in a way that can be agreed
/// to. Its first such offer is taken (RFC 7692 section 5.1).
pub fn agree(headers: &HeaderMap) -> Option<HeaderValue> {
    let values =
        headers.get_all(SEC_WEBSOCKET_EXTENSIONS).into_iter().filter_map(|value| value.to_str().ok());
    let answer = values.flat_map(|value| value.split(',')).find_map(answer_offer)?;
    Some(HeaderValue::from_static(answer))
}

fn answer_offer(offer: &str) -> Option<&'static str> {
    let mut parts = offer.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("permessage-deflate") {
        return None;
    }
    let mut seen: Vec<String> = Vec::new();
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(value.trim_start().trim_matches('"'))),
            None => (part, None),
        };
        let name = name.to_ascii_lowercase();
        let is_legal = match (name.as_str(), value) {
            (
                "server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits",
                None,
            ) => true,
            ("client_max_window_bits", Some(bits)) => is_window(bits),
            ("server_max_window_bits", Some(bits)) => bits == "15",
            _ => false,
        };
        if !is_legal || seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
    Some(if seen.iter().any(|name| name == "server_max_window_bits") {
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15"
    } else {
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    })
}

/// 8 to 15, without a leading zero (RFC 7692 section 7.1.2).
fn is_window(bits: &str) -> bool {
    matches!(bits, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")
}

/// Deflates messages to clients, one after the other. Holds some 300 KB.
#[derive(Debug)]
pub struct Deflater {
    compress: Compress,
    deflated: Vec<u8>,
}

impl Default for Deflater {
    fn default() -> Self {
        Self { compress: Compress::new(Compression::fast(), false), deflated: Vec::new() }
    }
}

impl Deflater {
    /// A text message, deflated; `None` when that would not make it shorter.
    pub fn text(&mut self, text: &[u8]) -> Option<Bytes> {
        self.message(frame::Opcode::Text, text, TEXT_BYTES_MIN)
    }

    /// A message of at least `bytes_min` bytes, deflated; `None` when it has fewer, or that would not make it shorter.
    pub fn message(&mut self, opcode: frame::Opcode, payload: &[u8], bytes_min: usize) -> Option<Bytes> {
        if payload.len() < bytes_min {
            return None;
        }
        self.deflated.clear();
        self.compress.reset();
        let mut rest = payload;
        loop {
            // The room left over tells when all is out.
            self.deflated.reserve(rest.len() / 2 + ROOM_BYTES);
            let before = self.compress.total_in();
            let step = self.compress.compress_vec(rest, &mut self.deflated, FlushCompress::Sync);
            step.ok()?;
            rest = &rest[(self.compress.total_in() - before) as usize..];
            if rest.is_empty() && self.deflated.len() < self.deflated.capacity() {
                break;
            }
        }
        let length = self.deflated.len().checked_sub(TAIL.len())?;
        self.deflated.truncate(length);
        (length < payload.len()).then(|| frame::encode_deflated(opcode, &self.deflated))
    }
}

/// How long the deflated form of a message may be, in bytes: what does not shrink grows a little.
pub(super) fn deflated_bytes_max(message_bytes_max: usize) -> usize {
    message_bytes_max.saturating_add(message_bytes_max / 1024).saturating_add(64)
}

/// The message that `deflated` stands for. Never holds much more than `message_bytes_max` bytes of it.
///
/// # Errors
/// [`Violation::TooBig`] as soon as it is longer than that; it is no deflated data, or has more than [`LAST_BLOCKS_MAX`].
pub(super) fn inflate(deflated: &[u8], message_bytes_max: usize) -> Result<Vec<u8>, Violation> {
    INFLATER.with_borrow_mut(|inflater| {
        inflater.reset(false);
        let (mut message, mut last_blocks) = (Vec::new(), LAST_BLOCKS_MAX);
        for piece in [deflated, &TAIL] {
            inflate_piece(inflater, piece, &mut message, message_bytes_max, &mut last_blocks)?;
        }
        Ok(message)
    })
}

fn inflate_piece(
    inflater: &mut Decompress,
    mut piece: &[u8],
    message: &mut Vec<u8>,
    message_bytes_max: usize,
    last_blocks: &mut usize,
) -> Result<(), Violation> {
    loop {
        if message.len() == message.capacity() {
            // One byte more than allowed is enough to see that there is one.
            let room = message_bytes_max.saturating_add(1) - message.len();
            message.reserve_exact(room.min(message.len().max(ROOM_BYTES)));
        }
        let before = inflater.total_in();
        let status = inflater.decompress_vec(piece, message, FlushDecompress::Sync);
        let status = status.map_err(|_| BROKEN)?;
        piece = &piece[(inflater.total_in() - before) as usize..];
        if message.len() > message_bytes_max {
            return Err(Violation::TooBig);
        }
        if status == Status::StreamEnd {
            *last_blocks = last_blocks.checked_sub(1).ok_or(TOO_MANY_LAST_BLOCKS)?;
            inflater.reset(false);
        }
        if piece.is_empty() && message.len() < message.capacity() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(offers: &'static str) -> Option<HeaderValue> {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(offers));
        agree(&headers)
    }

    /// The payload of a frame of ours.
    fn payload(frame: &[u8]) -> &[u8] {
        match frame[1] {
            126 => &frame[4..],
            127 => &frame[10..],
            _ => &frame[2..],
        }
    }

    #[test]
    fn browsers_are_agreed_with() {
        let agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        for offers in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "PerMessage-Deflate ; client_max_window_bits = \"10\" ;server_no_context_takeover",
            "x-webkit-deflate-frame, permessage-deflate; server_max_window_bits=9, permessage-deflate",
        ] {
            assert_eq!(answer(offers).unwrap(), agreed, "{offers}");
        }
        let full = answer("permessage-deflate; server_max_window_bits=15").unwrap();
        assert!(full.to_str().unwrap().ends_with("; server_max_window_bits=15"));
    }

    #[test]
    fn other_offers_are_declined() {
        for offers in [
            "",
            "permessage-bzip2",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=010",
            "permessage-deflate; client_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; fast",
        ] {
            assert_eq!(answer(offers), None, "{offers}");
        }
        assert_eq!(agree(&HeaderMap::new()), None);
    }

    #[test]
    fn the_samples_of_the_rfc_are_inflated() {
        // Section 7.2.3: one block, two blocks, no compression, a last block.
        for sample in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        ] {
            assert_eq!(inflate(sample, 5).unwrap(), b"Hello", "{sample:02x?}");
            assert_eq!(inflate(sample, 4), Err(Violation::TooBig));
        }
        assert_eq!(inflate(&[], 0).unwrap(), b"");
        assert_eq!(inflate(&[0x07], 100), Err(BROKEN));
    }

    #[test]
    fn what_is_deflated_is_inflated_to_the_same() {
        let mut deflater = Deflater::default();
        for length in [128, 4_000, 70_000, 1_000_000] {
            let text = "{\"event\":\"tick\"}".repeat(length / 16);
            let frame = deflater.text(text.as_bytes()).unwrap();
            assert_eq!(frame[0], 0xc1, "a text with RSV1");
            assert!(frame.len() < text.len() / 2);
            assert_eq!(inflate(payload(&frame), text.len()).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn what_would_not_become_shorter_stays_as_it_is() {
        let mut deflater = Deflater::default();
        assert_eq!(deflater.text("a".repeat(127).as_bytes()), None, "too short");
        let mut state = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(4_000)
        .collect();
        assert_eq!(deflater.text(&noise), None);
    }

    #[test]
    fn a_message_may_begin_anew_a_few_times_and_not_without_end() {
        // A last block with fixed codes that ends at once.
        let last_blocks = |number: usize| [0x03, 0x00].repeat(number);
        assert_eq!(inflate(&last_blocks(LAST_BLOCKS_MAX), 100).unwrap(), b"");
        assert_eq!(inflate(&last_blocks(LAST_BLOCKS_MAX + 1), 100), Err(TOO_MANY_LAST_BLOCKS));
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let mut bomb = Vec::new();
        let mut compress = Compress::new(Compression::best(), false);
        bomb.reserve(1_000_000);
        compress.compress_vec(&vec![0; 100_000_000], &mut bomb, FlushCompress::Sync).unwrap();
        assert!(bomb.len() < 200_000);
        assert_eq!(inflate(&bomb, 10_000), Err(Violation::TooBig));
    }
}
