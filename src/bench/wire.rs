//! WebSocket frames from the client's side, as few rules as measuring needs: what a server sends is believed.

use crate::net::websocket::Opcode;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// A server's frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'b> {
    /// The number of its opcode.
    pub opcode: u8,
    /// What it carries.
    pub payload: &'b [u8],
}

/// The first frame of `bytes` and what follows it; `None` while it is incomplete.
pub fn next(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match second & !MASKED {
        126 => rest.split_first_chunk().map(|(length, rest)| (u16::from_be_bytes(*length).into(), rest))?,
        127 => rest.split_first_chunk().map(|(length, rest)| (u64::from_be_bytes(*length), rest))?,
        short => (short.into(), rest),
    };
    let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((Frame { opcode: first & !FIN, payload }, rest))
}

/// A client's frame. The mask is zero, which is legal and leaves the payload as it is: there is no proxy to protect
/// here, and no time to waste. Longer payloads than 65,535 bytes are cut.
pub fn masked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let payload = &payload[..length.into()];
    let mut frame = Vec::with_capacity(payload.len() + 8);
    frame.push(FIN | opcode as u8);
    match length {
        0..126 => frame.push(MASKED | length as u8),
        _ => {
            frame.push(MASKED | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::websocket::{Inbound, Reader, Rules, encode};
    use std::ops::ControlFlow;

    #[test]
    fn a_server_s_frames_are_read_once_they_are_complete() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let frame = encode(Opcode::Text, &payload);
            let bytes = [&frame[..], b"more"].concat();
            assert_eq!(next(&bytes), Some((Frame { opcode: 1, payload: &payload }, &b"more"[..])));
            assert_eq!(next(&frame[..frame.len() - 1]), None);
        }
    }

    #[test]
    fn a_server_understands_what_is_sent() {
        for length in [0, 125, 126, 2000] {
            let text = "x".repeat(length);
            let mut heard = None;
            let mut frame = masked(Opcode::Text, text.as_bytes());
            let outcome = Reader::default().read(&mut frame, Rules::plain(10_000), &mut |inbound| {
                if let Inbound::Text(text) = inbound {
                    heard = Some(text.to_owned());
                }
                ControlFlow::Continue(())
            });
            assert!(outcome.is_ok());
            assert_eq!(heard, Some(text));
        }
    }
}
