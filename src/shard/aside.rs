//! Streams put aside: a socket whose reply must wait for the bus is, meanwhile, one whose stream is not there. So all that
//! it is sent waits in its outbox, in order and within bounds, and what its client says further waits in the kernel.
//!
//! Always: the hub says for each number that it is followed, late at the worst; so every stream comes back.

use std::collections::{BTreeSet, HashMap};

use super::Shard;
use super::list::Slot;
use super::socket::Unread;
use crate::hub::FollowNumber;
use crate::net::stream::Stream;

/// The streams, and what each of them waits for.
#[derive(Debug, Default)]
pub struct Aside {
    streams: HashMap<Slot, (FollowNumber, Stream)>,
    in_order: BTreeSet<(FollowNumber, Slot)>,
}

impl Aside {
    /// Puts the stream of a socket aside until that is followed. Without one it is here already, and waits longer.
    fn put(&mut self, slot: Slot, number: FollowNumber, stream: Option<Stream>) {
        let (former, stream) = match (self.take(slot), stream) {
            (Some((former, stream)), _) => (former, stream),
            (None, Some(stream)) => (0, stream),
            (None, None) => return,
        };
        let number = number.max(former);
        self.in_order.insert((number, slot));
        self.streams.insert(slot, (number, stream));
    }

    /// Takes the stream of a socket back, whether what it waits for is followed or not.
    pub fn take(&mut self, slot: Slot) -> Option<(FollowNumber, Stream)> {
        let (number, stream) = self.streams.remove(&slot)?;
        self.in_order.remove(&(number, slot));
        Some((number, stream))
    }

    /// The next socket that waits for nothing above this number, and its stream.
    fn next(&mut self, followed: FollowNumber) -> Option<(Slot, Stream)> {
        let (_, slot) = self.in_order.first().filter(|(number, _)| *number <= followed)?;
        let slot = *slot;
        self.take(slot).map(|(_, stream)| (slot, stream))
    }
}

impl Shard {
    /// What a socket is told from here on goes out when that is followed.
    pub(super) fn put_aside(&mut self, slot: Slot, number: FollowNumber) {
        let Some(socket) = self.sockets.get_mut(slot as usize) else { return };
        let stream = socket.stream.take();
        self.aside.put(slot, number, stream);
    }

    /// All up to this number is followed: whoever waited for it goes on.
    pub(super) fn take_up_again(&mut self, followed: FollowNumber) {
        while let Some((slot, stream)) = self.aside.next(followed) {
            let Some((socket, mut delivery)) = self.socket(slot) else { continue };
            socket.stream = Some(stream);
            socket.outbox.unblock();
            let flushed = socket.flush(&mut delivery);
            self.settle(slot, flushed);
            if !self.is_live(slot) {
                // It was closed meanwhile, and its client's time to end its side begins to count.
                self.schedule(slot);
            }
            // What came meanwhile is not said again.
            self.note_unread(slot, Unread::ToTheEnd);
        }
    }
}
