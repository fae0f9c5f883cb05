//! The outbox of a socket: frames that the kernel did not take yet, shared with all other receivers.
//!
//! An idle socket has none: it is borrowed from a pool when something has to wait and given back when all is
//! sent, so that a burst of pushes costs no allocation per receiver once the pool is warm.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};

use crate::net::stream::Stream;
use crate::net::timer::Tick;

/// How many pieces go into one write.
const PIECES_MAX: usize = 64;

/// Whole frames, one behind the other, as they go onto the wire.
#[derive(Clone, Debug)]
pub struct Frames {
    /// Their bytes.
    pub bytes: Bytes,
    /// How many they are.
    pub count: u32,
}

/// What bounds an outbox. What is being written does not count: only what comes behind it.
#[derive(Clone, Copy, Debug)]
pub struct OutboxLimits {
    /// Bytes waiting.
    pub bytes_max: usize,
    /// Frames waiting.
    pub frames_max: u32,
}

/// The outbox would grow past its limits: its socket does not read.
#[derive(Debug, PartialEq, Eq)]
pub struct Overflow;

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Frames>,
    bytes: usize,
    frames: u32,
    /// The kernel took less than it was given; it will say when it takes more.
    is_blocked: bool,
    /// When it last took something.
    progressed: Tick,
}

/// Out to a socket, in order.
#[derive(Debug, Default)]
pub struct Outbox(Option<Box<Queue>>);

impl Outbox {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Since when the kernel takes nothing; `None` when it does, or nothing waits.
    pub fn blocked_since(&self) -> Option<Tick> {
        self.0.as_ref().filter(|queue| queue.is_blocked).map(|queue| queue.progressed)
    }

    /// The kernel takes bytes again.
    pub fn unblock(&mut self) {
        if let Some(queue) = &mut self.0 {
            queue.is_blocked = false;
        }
    }

    /// The kernel takes no bytes: because it said so, or because there is no stream yet.
    pub fn block(&mut self, now: Tick) {
        if let Some(queue) = &mut self.0 {
            queue.is_blocked = true;
            queue.progressed = now;
        }
    }

    /// Adds frames behind all that wait. An empty outbox takes any number of them; they are being written, and do not count.
    pub fn push(&mut self, frames: Frames, limits: OutboxLimits, pool: &mut Pool) -> Result<(), Overflow> {
        let fits = self.0.as_ref().is_none_or(|queue| {
            let (bytes, count) = queue.behind_first();
            bytes + frames.bytes.len() <= limits.bytes_max && count + frames.count <= limits.frames_max
        });
        if !fits {
            return Err(Overflow);
        }
        self.push_anyway(frames, pool);
        Ok(())
    }

    /// Adds frames whatever the limits say: for a last word, once.
    pub fn push_anyway(&mut self, frames: Frames, pool: &mut Pool) {
        let queue = self.0.get_or_insert_with(|| pool.take());
        queue.bytes += frames.bytes.len();
        pool.out_bytes += frames.bytes.len();
        queue.frames += frames.count;
        queue.waiting.push_back(frames);
    }

    /// Throws away all but what is being written, which must go out whole.
    pub fn keep_first(&mut self, pool: &mut Pool) {
        if let Some(queue) = &mut self.0 {
            pool.out_bytes -= queue.bytes;
            queue.waiting.truncate(1);
            queue.bytes = queue.waiting.iter().map(|frames| frames.bytes.len()).sum();
            queue.frames = queue.waiting.iter().map(|frames| frames.count).sum();
            pool.out_bytes += queue.bytes;
        }
    }

    /// Writes as much as the kernel takes, several pieces at a time. Returns the bytes and the writes it took.
    ///
    /// # Errors
    /// The stream is broken.
    pub fn flush(&mut self, stream: &mut Stream, now: Tick, pool: &mut Pool) -> io::Result<(usize, usize)> {
        let (mut total, mut writes) = (0, 0);
        while let Some(queue) = self.0.as_mut().filter(|queue| !queue.is_blocked) {
            let (offered, written) = queue.write(stream)?;
            total += written;
            writes += 1;
            queue.drop_front(written);
            pool.out_bytes -= written;
            if written > 0 {
                queue.progressed = now;
            }
            queue.is_blocked = written < offered;
            if queue.waiting.is_empty() {
                pool.give_back(self.0.take());
            }
        }
        Ok((total, writes))
    }

    /// Gives what it holds back to the pool.
    pub fn clear(&mut self, pool: &mut Pool) {
        pool.give_back(self.0.take());
    }
}

impl Queue {
    /// Returns how many bytes were offered to the kernel and how many it took.
    fn write(&self, stream: &mut Stream) -> io::Result<(usize, usize)> {
        let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
        let mut offered = 0;
        let mut count = 0;
        for (piece, frames) in pieces.iter_mut().zip(&self.waiting) {
            *piece = IoSlice::new(&frames.bytes);
            offered += frames.bytes.len();
            count += 1;
        }
        match stream.write_vectored(&pieces[..count]) {
            Ok(written) => Ok((offered, written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok((offered, 0)),
            Err(error) => Err(error),
        }
    }

    /// What waits behind the frames that are being written, in bytes and frames.
    fn behind_first(&self) -> (usize, u32) {
        let (bytes, count) = self.waiting.front().map_or((0, 0), |first| (first.bytes.len(), first.count));
        (self.bytes - bytes, self.frames - count)
    }

    fn drop_front(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(first) = self.waiting.front_mut() {
            if written < first.bytes.len() {
                first.bytes.advance(written);
                return;
            }
            written -= first.bytes.len();
            self.frames -= first.count;
            self.waiting.pop_front();
        }
    }
}

/// Spare queues of one shard.
#[derive(Debug, Default)]
#[allow(clippy::vec_box, reason = "a queue moves between pool and socket as the one pointer it is")]
pub struct Pool {
    spare: Vec<Box<Queue>>,
    /// What those hold that were taken, in bytes.
    out_bytes: usize,
}

impl Pool {
    fn take(&mut self) -> Box<Queue> {
        self.spare.pop().unwrap_or_default()
    }

    fn give_back(&mut self, queue: Option<Box<Queue>>) {
        let Some(mut queue) = queue else { return };
        self.out_bytes -= queue.bytes;
        // One that grew long is not worth keeping.
        if queue.waiting.capacity() <= 16 {
            queue.waiting.clear();
            *queue = Queue { waiting: std::mem::take(&mut queue.waiting), ..Queue::default() };
            self.spare.push(queue);
        }
    }

    /// Frees half of the spare queues; called now and then, so that a peak does not stay for ever.
    pub fn shrink(&mut self) {
        self.spare.truncate(self.spare.len() / 2);
        self.spare.shrink_to(self.spare.len() * 2);
    }

    /// What waits in all outboxes of the shard, in bytes.
    pub fn waiting_bytes(&self) -> usize {
        self.out_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: OutboxLimits = OutboxLimits { bytes_max: 10, frames_max: 3 };

    fn frames(bytes: &'static [u8]) -> Frames {
        Frames { bytes: Bytes::from_static(bytes), count: 1 }
    }

    #[test]
    fn what_waits_behind_the_first_is_bounded_in_bytes_and_frames() {
        let (mut outbox, mut pool) = (Outbox::default(), Pool::default());
        for text in [&b"longer than the limit"[..], b"x", b"x", b"x"] {
            assert_eq!(outbox.push(frames(text), LIMITS, &mut pool), Ok(()));
        }
        assert_eq!(outbox.push(frames(b"x"), LIMITS, &mut pool), Err(Overflow), "one frame too many");
        assert_eq!(pool.waiting_bytes(), 24);
        outbox.keep_first(&mut pool);
        assert_eq!(outbox.push(frames(b"123456789"), LIMITS, &mut pool), Ok(()));
        assert_eq!(outbox.push(frames(b"x"), LIMITS, &mut pool), Ok(()));
        assert_eq!(outbox.push(frames(b"x"), LIMITS, &mut pool), Err(Overflow), "one byte too many");
        assert_eq!(pool.waiting_bytes(), 31);
        outbox.clear(&mut pool);
        assert_eq!(pool.waiting_bytes(), 0);
    }

    #[test]
    fn a_partial_write_keeps_the_rest_in_order() {
        let mut queue = Queue::default();
        queue.waiting.extend([frames(b"abc"), frames(b"def"), frames(b"ghi")]);
        (queue.bytes, queue.frames) = (9, 3);
        queue.drop_front(4);
        assert_eq!(queue.waiting[0].bytes, "ef");
        assert_eq!((queue.bytes, queue.frames), (5, 2));
        queue.drop_front(5);
        assert!(queue.waiting.is_empty());
        assert_eq!((queue.bytes, queue.frames), (0, 0));
    }
}
