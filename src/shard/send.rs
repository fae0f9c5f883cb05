//! The way out of a chunk: what several sockets are to get leaves in one system call where that is possible, and else
//! socket by socket.
//!
//! Always: a batch holds a socket once, and is sent before anything else is said to its sockets; so each way keeps the
//! order and both do the same.

use std::io;

use slab::Slab;

use super::Shard;
use super::fan_out::CHUNK;
use super::list::Slot;
use super::outbox::Frames;
use super::socket::{Delivery, Socket};
use crate::metrics::ShardMetrics;
use crate::net::ring::Ring;

/// From so many sockets on, one system call for all of them is cheaper than one for each.
const RING_SENDS_MIN: usize = 16;

/// What is to be sent to sockets for which nothing waits, one stretch of a list at a time.
#[derive(Debug, Default)]
pub struct Batch {
    ring: Option<Ring>,
    parcels: Vec<Parcel>,
}

#[derive(Debug)]
struct Parcel {
    slot: Slot,
    frames: Frames,
    /// What the kernel said, if it was asked.
    written: Option<io::Result<usize>>,
}

impl Batch {
    /// One that leaves through a ring, if the kernel permits.
    ///
    /// # Errors
    /// It does not.
    pub fn through_ring() -> io::Result<Self> {
        Ok(Self { ring: Some(Ring::new(CHUNK as u32)?), parcels: Vec::with_capacity(CHUNK) })
    }

    /// Adds what a socket that is ready is to get.
    pub fn add(&mut self, slot: Slot, frames: Frames) {
        self.parcels.push(Parcel { slot, frames, written: None });
    }

    /// Has the kernel take all of it at once, if that is worth while. What is not written afterwards was not tried.
    fn write(&mut self, sockets: &Slab<Socket>, metrics: &ShardMetrics) {
        let is_worth_while = self.parcels.len() >= RING_SENDS_MIN;
        let Some(ring) = self.ring.as_mut().filter(|_| is_worth_while) else { return };
        let mut written: [Option<io::Result<usize>>; CHUNK] = [const { None }; CHUNK];
        let sends = self.parcels.iter().map(|parcel| {
            (sockets[parcel.slot as usize].batchable().unwrap_or(-1), &parcel.frames.bytes[..])
        });
        if let Err(error) = ring.send(sends, |place, outcome| written[place] = Some(outcome)) {
            self.ring = None;
            metrics.ring_failures.add(1);
            tracing::warn!(%error, "io_uring failed: from now on sockets are written to one by one");
        }
        metrics.ring_batches.add(1);
        for (parcel, written) in self.parcels.iter_mut().zip(written) {
            parcel.written = written;
        }
    }
}

impl Shard {
    /// Sends what was gathered, and deals with what became of it.
    pub(super) fn send_batch(&mut self) {
        if self.batch.parcels.is_empty() {
            return;
        }
        self.batch.write(&self.sockets, &self.metrics);
        let (limits, now) = (self.settings.outbox, self.now);
        let mut delivery = Delivery { limits, pool: &mut self.pool, metrics: &self.metrics, now };
        for Parcel { slot, frames, written } in self.batch.parcels.drain(..) {
            let socket = &mut self.sockets[slot as usize];
            let sent = match written {
                Some(written) => socket.sent(frames, written, &mut delivery),
                None => socket.deliver(frames, &mut delivery),
            };
            match sent {
                Ok(()) => socket.watch_stall(slot, &self.rhythm, &mut self.wheel),
                Err(fault) => self.faulty.push((slot, fault)),
            }
        }
    }
}
