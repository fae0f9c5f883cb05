//! Fan-out: what is pending goes to the sockets, a chunk at a time, so that new mail can join in between.

use std::time::Instant;

use super::socket::{Delivery, Fault};
use super::{Shard, Slot, Walking};

/// How many sockets are visited, and how many outboxes flushed, in one turn.
pub(super) const CHUNK: usize = 64;

impl Shard {
    /// Visits the next sockets of the lists that have something pending, each list in its turn.
    pub(super) fn fan_out(&mut self) {
        let (mut budget, mut delivered_to_all) = (CHUNK, 0);
        while budget > 0 {
            let Some(mut walking) = self.walks.pop_front() else { break };
            let Some((app, walked)) = walking.walk.list(&mut self.apps) else { continue };
            let mut delivered = 0;
            self.behind_bytes -= walked.list.behind_bytes();
            let (limits, now) = (self.settings.outbox, self.now);
            let mut delivery = Delivery { limits, pool: &mut self.pool, metrics: &self.metrics, now };
            walked.is_walking = loop {
                if budget == 0 {
                    break true;
                }
                let sockets = &self.sockets;
                let next = walked.list.next(|slot| sockets[slot as usize].deflates);
                let Some((slot, frames)) = next else { break false };
                budget -= 1;
                delivered += u64::from(frames.count);
                let socket = &mut self.sockets[slot as usize];
                if socket.batchable().is_some() {
                    self.batch.add(slot, frames);
                    continue;
                }
                match socket.deliver(frames, &mut delivery) {
                    Ok(()) => socket.watch_stall(slot, &self.rhythm, &mut self.wheel),
                    Err(fault) => self.faulty.push((slot, fault)),
                }
            };
            self.behind_bytes += walked.list.behind_bytes();
            let (is_walking, laps) = (walked.is_walking, walked.list.laps());
            app.metrics.deliveries.add(delivered);
            delivered_to_all += delivered;
            self.laps.extend(walking.ended(laps, is_walking, self.turn));
            self.send_batch();
            if is_walking {
                self.walks.push_back(walking);
            }
        }
        self.metrics.deliveries.add(delivered_to_all);
        self.settle_faulty();
    }

    /// Flushes the next outboxes that pushes to some users went into.
    pub(super) fn flush_dirty(&mut self) {
        for _ in 0..CHUNK {
            let Some(slot) = self.dirty.pop_front() else { return };
            let Some((socket, mut delivery)) = self.socket(slot) else { continue };
            socket.is_dirty = false;
            let flushed = socket.flush(&mut delivery);
            self.settle(slot, flushed);
        }
    }

    /// The kernel takes bytes for a socket again.
    pub(super) fn resume(&mut self, slot: Slot) {
        let Some((socket, mut delivery)) = self.socket(slot) else { return };
        let resumed = socket.resume(&mut delivery);
        self.settle(slot, resumed);
    }

    /// Deals with what came of a delivery.
    pub(super) fn settle(&mut self, slot: Slot, outcome: Result<(), Fault>) {
        match outcome {
            Ok(()) => {
                if let Some(socket) = self.sockets.get_mut(slot as usize) {
                    socket.watch_stall(slot, &self.rhythm, &mut self.wheel);
                }
            }
            Err(Fault::Gone) => self.remove(slot),
            Err(Fault::Slow) => self.cut(slot),
        }
    }

    pub(super) fn settle_faulty(&mut self) {
        while let Some((slot, fault)) = self.faulty.pop() {
            self.settle(slot, Err(fault));
        }
    }
}

impl Walking {
    /// When the lap began that has ended by now, if one has: the list has begun so many `laps`, and goes on or not. The
    /// next one began in this `turn`. In one chunk at most one lap ends that leaves something to do.
    fn ended(&mut self, laps: u32, goes_on: bool, turn: Instant) -> Option<Instant> {
        let begun = self.begun;
        match laps.wrapping_sub(self.laps_before) {
            // Everybody left before it began.
            0 => None,
            1 => (!goes_on).then_some(begun),
            _ => {
                (self.laps_before, self.begun) = (laps.wrapping_sub(1), turn);
                Some(begun)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Walk;
    use super::*;
    use crate::model::AppNumber;

    #[test]
    fn a_lap_ends_when_the_next_begins_or_nothing_is_left() {
        let origin = Instant::now();
        let at = |second| origin + Duration::from_secs(second);
        let walk = |laps_before| Walking { walk: Walk::Everyone(AppNumber(1)), laps_before, begun: at(0) };
        let mut walking = walk(u32::MAX);
        assert_eq!(walking.ended(0, true, at(1)), None, "it is under way");
        assert_eq!(walking.ended(1, true, at(2)), Some(at(0)), "the next has begun");
        assert_eq!(walking.ended(1, true, at(3)), None);
        assert_eq!(walking.ended(1, false, at(4)), Some(at(2)), "that was the last");
        assert_eq!(walk(7).ended(7, false, at(1)), None, "everybody left before it began");
        assert_eq!(walk(7).ended(8, false, at(1)), Some(at(0)), "a short list takes one turn");
    }
}
