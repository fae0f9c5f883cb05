//! RFC 6455, the server's side: bytes to messages, messages to bytes, and the handshake in front of them.
//!
//! No I/O, no clock, no state beyond one [`Reader`] per stream: whoever owns the stream reads into a buffer,
//! hands it to the `Reader`, and writes what this module encodes. Nothing here decides when to ping or to close.
//!
//! What always holds:
//! - A `Reader` between two messages is one null pointer. Heap memory is held only while a header, a control
//!   frame or a message is incomplete, and never much more than the largest message allowed.
//! - A frame is judged by its header before room is made for its payload.
//! - A complete, unfragmented frame is delivered where it lies in the caller's buffer, unmasked in place.
//! - Frames to the client are never masked and never fragmented.
//!
//! The one extension is permessage-deflate ([`deflate`]), if whoever owns the stream wants it.

pub mod deflate;
pub mod frame;
pub mod handshake;
mod mask;
pub mod reader;

pub use deflate::Deflater;
pub use frame::{Opcode, close, close_empty, encode, encode_into, ping, pong, text};
pub use handshake::{NotAnUpgrade, accept, accept_key};
pub use reader::{Close, Inbound, Reader, Rules, Violation};

use bytes::Bytes;

/// The close frame that answers a client's close: the same code without the reason, or none for none
/// (RFC 6455 section 5.5.1). The [`Reader`] has refused the codes that must not be echoed.
pub fn close_reply(close: &Option<Close<'_>>) -> Bytes {
    match close {
        Some(close) => frame::close(close.code, ""),
        None => frame::close_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_is_answered_with_its_code_alone() {
        let close = Some(Close { code: 4001, reason: "going" });
        assert_eq!(close_reply(&close).as_ref(), [0x88, 2, 0x0f, 0xa1]);
        assert_eq!(close_reply(&None).as_ref(), [0x88, 0]);
    }
}
