//! What comes in from a socket.

use std::io;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::Shard;
use super::list::Slot;
use super::socket::Phase;
use crate::net::websocket::{Inbound, Violation, close_reply, frame};

/// How often one socket is read in one turn before the others have theirs.
const READS_PER_TURN: usize = 4;

impl Shard {
    /// Reads what a socket has. `to_the_end`: go on until the kernel has nothing more, as it will not say again
    /// that something is there.
    pub(super) fn receive(&mut self, slot: Slot, to_the_end: bool) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let is_done = (0..READS_PER_TURN).any(|_| self.read_once(slot, &mut scratch, to_the_end));
        self.scratch = scratch;
        if !is_done {
            self.unread.push(slot);
        }
    }

    /// Whether this socket is done with in this turn.
    fn read_once(&mut self, slot: Slot, scratch: &mut [u8], to_the_end: bool) -> bool {
        let Some(stream) = self.sockets.get_mut(slot as usize).and_then(|socket| socket.stream.as_mut())
        else {
            return true;
        };
        match stream.read(scratch) {
            Ok(0) => self.remove(slot),
            Ok(length) => {
                self.take_in(slot, &mut scratch[..length]);
                // Less than there is room for means that there was no more.
                return length < scratch.len() && !to_the_end;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.remove(slot),
        }
        true
    }

    /// Understands bytes of a socket. A closing one is not listened to any more.
    pub(super) fn take_in(&mut self, slot: Slot, bytes: &mut [u8]) {
        let Some(socket) = self.sockets.get_mut(slot as usize).filter(|socket| socket.phase == Phase::Live)
        else {
            return;
        };
        let mut pongs = Vec::new();
        let mut goodbye = None;
        let mut is_heard = false;
        let read = socket.reader.read(bytes, self.settings.message_bytes_max, &mut |inbound| {
            is_heard = true;
            match inbound {
                // Spec 1.8: read and discarded; never forwarded, never answered.
                Inbound::Text(_) | Inbound::Binary(_) | Inbound::Pong(_) => {}
                Inbound::Ping(payload) => pongs.push(frame::pong(payload)),
                Inbound::Close(close) => {
                    goodbye = Some(close_reply(&close));
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        if is_heard {
            socket.last_heard = self.now;
        }
        pongs.into_iter().for_each(|pong| self.send(slot, pong));
        match (read, goodbye) {
            (Err(violation), _) => self.refuse(slot, &violation),
            (Ok(_), Some(reply)) => self.close(slot, reply),
            (Ok(_), None) => {}
        }
    }

    /// The client broke the protocol or a limit of it (RFC 6455 section 7.1.7).
    fn refuse(&mut self, slot: Slot, violation: &Violation) {
        self.metrics.violations.add(1);
        tracing::debug!(%violation, "a socket broke the protocol");
        self.close(slot, close_for(violation));
    }
}

/// A message that is too big is answered without a reason, as the original does (spec 1.8).
fn close_for(violation: &Violation) -> Bytes {
    let reason = match violation {
        Violation::TooBig => String::new(),
        other => other.to_string(),
    };
    frame::close(violation.close_code(), &reason)
}
