//! What a socket is answered while it is read from: gathered, so that all of it leaves in one write.
//!
//! Always: it goes out before anything else that the socket is sent, and before the shard takes mail again.

use super::Shard;
use super::list::Slot;
use super::outbox::Frames;
use super::receive::BYTES_PER_WORK;
use super::socket::Fault;
use crate::net::websocket::{Opcode, frame};

/// So much is gathered before it is sent, in bytes.
const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// Frames for the socket that is read from.
#[derive(Debug, Default)]
pub struct Replies {
    to: Option<Slot>,
    bytes: Vec<u8>,
    count: u32,
}

impl Replies {
    /// Whether it is this socket that is read from.
    pub fn are_to(&self, slot: Slot) -> bool {
        self.to == Some(slot)
    }

    fn take(&mut self) -> Option<Frames> {
        let count = std::mem::take(&mut self.count);
        (count > 0).then(|| Frames { bytes: std::mem::take(&mut self.bytes).into(), count })
    }
}

impl Shard {
    /// What a socket is sent from here on is gathered.
    pub(super) fn gather_replies(&mut self, slot: Slot) {
        self.replies.to = Some(slot);
    }

    /// Sends what was gathered, and what comes from here on at once.
    pub(super) fn send_gathered(&mut self, slot: Slot) {
        let sent = self.deliver_replies(slot);
        self.replies.to = None;
        if let Err(fault) = sent {
            self.settle(slot, Err(fault));
        }
    }

    /// Sends a socket a message of its own.
    pub(super) fn answer(&mut self, slot: Slot, opcode: Opcode, payload: &[u8]) {
        if self.replies.are_to(slot) && self.is_live(slot) {
            return self.add_reply(slot, |replies| frame::encode_into(replies, opcode, payload));
        }
        self.send(slot, frame::encode(opcode, payload));
    }

    /// Adds a frame to what is gathered for a socket.
    pub(super) fn add_reply(&mut self, slot: Slot, encode: impl FnOnce(&mut Vec<u8>)) {
        let before = self.replies.bytes.len();
        encode(&mut self.replies.bytes);
        self.replies.count += 1;
        self.work += (self.replies.bytes.len() - before) / BYTES_PER_WORK;
        if self.replies.bytes.len() >= GATHERED_BYTES_MAX
            && let Err(fault) = self.deliver_replies(slot)
        {
            self.settle(slot, Err(fault));
        }
    }

    /// Sends what was gathered for a socket, if something was.
    pub(super) fn deliver_replies(&mut self, slot: Slot) -> Result<(), Fault> {
        if !self.replies.are_to(slot) {
            return Ok(());
        }
        let Some(frames) = self.replies.take() else { return Ok(()) };
        let Some((socket, mut delivery)) = self.socket(slot) else { return Ok(()) };
        socket.deliver(frames, &mut delivery)?;
        self.settle(slot, Ok(()));
        Ok(())
    }

    /// Sends what was gathered for a socket. Whether the socket is still live then.
    pub(super) fn is_live_behind_replies(&mut self, slot: Slot) -> bool {
        if let Err(fault) = self.deliver_replies(slot) {
            self.settle(slot, Err(fault));
        }
        self.is_live(slot)
    }

    /// Gives up what was gathered for a socket.
    pub(super) fn forget_replies(&mut self, slot: Slot) {
        if self.replies.are_to(slot) {
            self.replies.take();
        }
    }
}
