//! One frame (RFC 6455 section 5.2): what a client's header says, and the bytes of a frame to a client.
//!
//! A header is judged on its own; whether the frame may come at this point is the reader's matter.

use bytes::Bytes;

/// The longest payload of a control frame, in bytes (RFC 6455 section 5.5).
pub(super) const CONTROL_BYTES_MAX: usize = 125;
/// The longest header of a client's frame: two bytes, a 64-bit length, the mask.
pub(super) const HEADER_BYTES_MAX: usize = 14;
/// The least length that may be written in 16 bits.
const TWO_BYTE_LENGTH_MIN: u64 = 126;
/// The least length that may be written in 64 bits.
const EIGHT_BYTE_LENGTH_MIN: u64 = 0x1_0000;

const FIN: u8 = 0x80;
/// RSV1: the first frame of a deflated message has it (RFC 7692 section 6).
const DEFLATED: u8 = 0x40;
/// RSV2 and RSV3, which nobody uses.
const RESERVED: u8 = 0x30;
const MASKED: u8 = 0x80;

/// What a frame is (RFC 6455 section 11.8). The numbers in between are reserved and refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The next fragment of the message begun by a text or binary frame without FIN.
    Continuation = 0x0,
    /// A message, or its first fragment, of UTF-8 text.
    Text = 0x1,
    /// A message, or its first fragment, of any bytes.
    Binary = 0x2,
    /// The last frame of either side.
    Close = 0x8,
    /// Asks for a pong with the same payload.
    Ping = 0x9,
    /// Answers a ping, or comes unasked.
    Pong = 0xA,
}

impl Opcode {
    /// Close, ping and pong: at most 125 bytes, never fragmented, allowed between fragments.
    pub fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }

    fn from_bits(bits: u8) -> Option<Opcode> {
        [Opcode::Continuation, Opcode::Text, Opcode::Binary, Opcode::Close, Opcode::Ping, Opcode::Pong]
            .into_iter()
            .find(|opcode| *opcode as u8 == bits)
    }
}

/// The header of a client's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// The message ends with this frame.
    pub fin: bool,
    /// Its message is said to be deflated.
    pub deflated: bool,
    pub opcode: Opcode,
    /// Payload bytes yet to come: at first all of them, at most 2^63 - 1.
    pub missing: u64,
    /// Turned to the next payload byte.
    pub mask: [u8; 4],
}

impl Header {
    /// The header at the start of `bytes` and its length, or `None` when more bytes are needed. Only the first frame of
    /// a message may say that it is deflated, if that `may_deflate` was agreed on.
    ///
    /// # Errors
    /// What breaks the protocol, as soon as the bytes that show it are there.
    pub fn decode(bytes: &[u8], may_deflate: bool) -> Result<Option<(Header, usize)>, &'static str> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let fin = first & FIN != 0;
        let deflated = first & DEFLATED != 0;
        let short = second & !MASKED;
        if first & RESERVED != 0 || (deflated && !may_deflate) {
            return Err("reserved bit set");
        }
        let opcode = Opcode::from_bits(first & !(FIN | DEFLATED)).ok_or("unknown opcode")?;
        if deflated && !matches!(opcode, Opcode::Text | Opcode::Binary) {
            return Err("reserved bit set");
        }
        if second & MASKED == 0 {
            return Err("unmasked frame");
        }
        if opcode.is_control() && !fin {
            return Err("fragmented control frame");
        }
        if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
            return Err("control frame over 125 bytes");
        }
        let Some((missing, rest)) = decode_length(short, rest)? else { return Ok(None) };
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        Ok(Some((Header { fin, deflated, opcode, missing, mask: *mask }, bytes.len() - rest.len())))
    }
}

/// The payload length, and what follows it. Only the shortest of the three ways to write it is legal.
fn decode_length(short: u8, bytes: &[u8]) -> Result<Option<(u64, &[u8])>, &'static str> {
    let (decoded, least) = match short {
        126 => (
            bytes.split_first_chunk().map(|(n, rest)| (u16::from_be_bytes(*n).into(), rest)),
            TWO_BYTE_LENGTH_MIN,
        ),
        127 => {
            (bytes.split_first_chunk().map(|(n, rest)| (u64::from_be_bytes(*n), rest)), EIGHT_BYTE_LENGTH_MIN)
        }
        _ => (Some((short.into(), bytes)), 0),
    };
    match decoded {
        Some((length, _)) if length > i64::MAX as u64 => Err("length with its top bit set"),
        Some((length, _)) if length < least => Err("length not written in the shortest way"),
        decoded => Ok(decoded),
    }
}

/// A whole message or control frame to the client. The caller answers for what the opcode promises: UTF-8 in
/// text, at most 125 bytes in a control frame.
pub fn encode(opcode: Opcode, payload: &[u8]) -> Bytes {
    // The exact capacity lets `Bytes` take the vector over without a second allocation.
    let mut out = Vec::with_capacity(header_bytes(payload.len()) + payload.len());
    encode_into(&mut out, opcode, payload);
    out.into()
}

/// Like [`encode`], at the end of `out`.
pub fn encode_into(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    debug_assert!(!opcode.is_control() || payload.len() <= CONTROL_BYTES_MAX, "{opcode:?} over 125 bytes");
    let length = payload.len() as u64;
    out.push(FIN | opcode as u8);
    match header_bytes(payload.len()) {
        2 => out.push(length as u8),
        4 => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// A message whose payload is deflated, to a client that agreed to that.
pub(super) fn encode_deflated(opcode: Opcode, deflated: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(header_bytes(deflated.len()) + deflated.len());
    encode_into(&mut out, opcode, deflated);
    out[0] |= DEFLATED;
    out.into()
}

/// The length of an unmasked header, in bytes.
fn header_bytes(payload_bytes: usize) -> usize {
    match payload_bytes as u64 {
        EIGHT_BYTE_LENGTH_MIN.. => 10,
        TWO_BYTE_LENGTH_MIN..EIGHT_BYTE_LENGTH_MIN => 4,
        _ => 2,
    }
}

/// A text message; `payload` is UTF-8.
pub fn text(payload: &[u8]) -> Bytes {
    encode(Opcode::Text, payload)
}

/// A ping; `payload` is at most 125 bytes.
pub fn ping(payload: &[u8]) -> Bytes {
    encode(Opcode::Ping, payload)
}

/// A pong; `payload` is that of the ping it answers, so at most 125 bytes.
pub fn pong(payload: &[u8]) -> Bytes {
    encode(Opcode::Pong, payload)
}

/// A close with a code and a reason for people. The reason is cut, between characters, to the 123 bytes that fit.
pub fn close(code: u16, reason: &str) -> Bytes {
    let reason = &reason[..reason.floor_char_boundary(CONTROL_BYTES_MAX - size_of::<u16>())];
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    encode(Opcode::Close, &payload)
}

/// A close that says nothing; the other side sees code 1005.
pub fn close_empty() -> Bytes {
    encode(Opcode::Close, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_in_the_shortest_way() {
        let header = |len: usize| encode(Opcode::Binary, &vec![0; len])[..header_bytes(len)].to_vec();
        assert_eq!(header(0), [0x82, 0]);
        assert_eq!(header(125), [0x82, 125]);
        assert_eq!(header(126), [0x82, 126, 0, 126]);
        assert_eq!(header(65535), [0x82, 126, 0xff, 0xff]);
        assert_eq!(header(65536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_close_reason_is_cut_between_characters() {
        let frame = close(1000, &"é".repeat(100));
        assert_eq!(frame.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
        assert_eq!(close(1000, &"e".repeat(124)).len(), 2 + 125);
    }

    #[test]
    fn a_header_is_decoded_once_it_is_complete() {
        let bytes = [0x01, 0xfe, 1, 0, 9, 8, 7, 6, b'x'];
        for len in 0..8 {
            assert_eq!(Header::decode(&bytes[..len], false), Ok(None));
        }
        let header =
            Header { fin: false, deflated: false, opcode: Opcode::Text, missing: 256, mask: [9, 8, 7, 6] };
        assert_eq!(Header::decode(&bytes, false), Ok(Some((header, 8))));
    }

    #[test]
    fn illegal_headers_are_refused_without_their_mask() {
        let cases: [(&[u8], &str); 11] = [
            (&[0xa1, 0x80], "reserved bit set"),
            (&[0x91, 0x80], "reserved bit set"),
            (&[0x83, 0x80], "unknown opcode"),
            (&[0x8b, 0x80], "unknown opcode"),
            (&[0x81, 0x00], "unmasked frame"),
            (&[0x09, 0x80], "fragmented control frame"),
            (&[0x89, 0xfe], "control frame over 125 bytes"),
            (&[0x88, 0xff], "control frame over 125 bytes"),
            (&[0x81, 0xfe, 0, 125], "length not written in the shortest way"),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], "length not written in the shortest way"),
            (&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], "length with its top bit set"),
        ];
        for (bytes, reason) in cases {
            assert_eq!(Header::decode(bytes, true), Err(reason), "{bytes:02x?}");
        }
    }

    #[test]
    fn only_who_agreed_says_that_a_message_is_deflated_and_only_at_its_start() {
        for first in [0xc1, 0xc2, 0x41] {
            assert_eq!(Header::decode(&[first, 0x80], false), Err("reserved bit set"));
            assert_eq!(Header::decode(&[first, 0x80], true), Ok(None));
        }
        for first in [0xc0, 0xc8, 0xc9, 0xca] {
            assert_eq!(Header::decode(&[first, 0x80], true), Err("reserved bit set"));
        }
    }
}
