//! How a shard empties when its node stops, or is cut off from the others: share by share, so that the clients of a large
//! node do not all look for another one in the same instant.
//!
//! Always holds: a share is due with each tick, in an order that nobody can foresee, and the last one at three quarters of
//! the time, so that clients have the rest of it for their part of the close; a socket leaves the hub first, and is closed
//! when the mail is carried out that was posted until then, so that it misses nothing for which it was counted, unless the shard
//! is still behind when the time is over: then the socket is counted as one that did.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::Shard;
use super::fan_out::CHUNK;
use super::list::Slot;
use super::socket::Phase;
use crate::model::Parting;
use crate::net::timer::{TICK, Tick};

/// So many sockets leave a shard with each tick at least, 100 in a second: where there are few, nobody is to wait.
const SHARE_MIN: usize = 25;

/// How long a share waits for its mail at the least, when the time for all shares is over. A shard that is further behind then
/// closes its sockets before all is carried out, and counts them: the end of the process would cut them without a word.
const PATIENCE_TICKS: Tick = 4;

/// How long a client may take to end its side where time is short: up to a quarter of a second. What the kernel has by then
/// still goes out.
const HASTY_TICKS: Tick = 1;

/// The entry of the wheel that is no socket's: the next share is due.
pub(super) const SHARE_DUE: Slot = Slot::MAX;

/// The sockets of a shard that are still to be closed.
#[derive(Debug, Default)]
pub(super) struct Exodus {
    /// In the order in which they go, the last one first.
    order: Vec<Slot>,
    /// So many of them are to go now.
    due: usize,
    /// Since this tick.
    due_since: Tick,
    /// When the last share is due.
    end: Tick,
    /// The hub has been told of these. They are closed when their mail is carried out.
    leaving: Vec<Slot>,
    /// Why they go.
    parting: Option<Parting>,
}

impl Exodus {
    /// Whether some are to go now.
    pub(super) fn is_due(&self) -> bool {
        self.due > 0 || !self.leaving.is_empty()
    }

    /// When those that are due wait for their mail no longer.
    fn patient_until(&self) -> Tick {
        self.end.max(self.due_since + PATIENCE_TICKS)
    }

    /// The sockets that have left the hub and are still to be closed.
    pub(super) fn leaving(&self) -> impl ExactSizeIterator<Item = Slot> {
        self.leaving.iter().copied()
    }

    /// A socket that was let in before its node stopped is to go as well, now.
    pub(super) fn add_late(&mut self, slot: Slot, now: Tick) {
        if self.due == 0 {
            self.due_since = now;
        }
        self.order.push(slot);
        self.due += 1;
    }

    /// The next share becomes due. How many are left after it.
    fn add_share(&mut self, now: Tick) -> usize {
        let waiting = self.order.len() - self.due;
        let shares = self.end.saturating_sub(now) as usize + 1;
        if self.due == 0 {
            self.due_since = now;
        }
        let share = waiting.div_ceil(shares).max(SHARE_MIN).min(waiting);
        self.due += share;
        waiting - share
    }
}

impl Shard {
    /// Begins to close every socket for that reason; those that have not answered when `time` is over end with the process.
    pub(super) fn drain(&mut self, time: Duration, parting: Parting) {
        self.draining = Some(parting);
        if time.is_zero() {
            self.hurry();
        }
        self.empty(time, parting);
    }

    /// Begins to close every socket that is there.
    pub(super) fn empty(&mut self, time: Duration, parting: Parting) {
        // It may be emptying already: then a share is due, and some have left the hub.
        let is_under_way = self.exodus.order.len() > self.exodus.due;
        let leaving = std::mem::take(&mut self.exodus.leaving);
        let mut order = self.slots(|_| true);
        let dice = RandomState::new();
        order.sort_by_cached_key(|slot| dice.hash_one(slot));
        let ticks = (time * 3 / 4).as_millis() / TICK.as_millis();
        let end = self.now.saturating_add(Tick::try_from(ticks).unwrap_or(Tick::MAX));
        self.exodus = Exodus { order, end, leaving, parting: Some(parting), ..Exodus::default() };
        if self.exodus.add_share(self.now) > 0 && !is_under_way {
            self.wheel.enter(self.now + 1, SHARE_DUE);
        }
    }

    /// From now on nobody waits long for what clients answer to a close: others wait for the end of the process.
    fn hurry(&mut self) {
        self.closing_ticks = HASTY_TICKS;
        let latest = self.now + HASTY_TICKS;
        for slot in self.slots(|socket| matches!(socket.phase, Phase::Closing(end) if end > latest)) {
            self.sockets[slot as usize].phase = Phase::Closing(latest);
            self.schedule(slot);
        }
    }

    /// The tick of a share has come.
    pub(super) fn next_share(&mut self) {
        if self.exodus.add_share(self.now) > 0 {
            self.wheel.enter(self.now + 1, SHARE_DUE);
        }
    }

    /// Takes sockets that are due out of the hub, a chunk in a turn, and closes those of the last chunk. Both when there is no
    /// mail left of what was taken from the mailbox: the next that is taken has all that was posted before they left.
    pub(super) fn let_go(&mut self) {
        if !self.exodus.is_due() {
            return;
        }
        let is_behind = !self.mail.is_empty();
        if is_behind && self.now < self.exodus.patient_until() {
            return;
        }
        while let Some(slot) = self.exodus.leaving.pop() {
            self.metrics.closed_early.add(u64::from(is_behind));
            self.part(slot, self.exodus.parting.unwrap_or(Parting::NodeStops));
        }
        for _ in 0..CHUNK.min(self.exodus.due) {
            self.exodus.due -= 1;
            let Some(slot) = self.exodus.order.pop() else { return };
            if self.is_known(slot) {
                self.leave_hub(slot);
                self.exodus.leaving.push(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many go with each tick.
    fn shares(sockets: usize, end: Tick) -> Vec<usize> {
        let mut exodus = Exodus { order: vec![0; sockets], end, ..Exodus::default() };
        let mut shares = Vec::new();
        for now in 0.. {
            let left = exodus.add_share(now);
            shares.push(std::mem::take(&mut exodus.due));
            exodus.order.truncate(left);
            if left == 0 {
                return shares;
            }
        }
        unreachable!("ticks do not end")
    }

    #[test]
    fn many_go_evenly_until_the_end() {
        let shares = shares(31_000, 30);
        assert_eq!(shares, [1000; 31]);
    }

    #[test]
    fn few_go_at_once_and_some_more_at_the_least_pace() {
        assert_eq!(shares(25, 30), [25]);
        assert_eq!(shares(60, 30), [25, 25, 10]);
        assert_eq!(shares(0, 30), [0]);
    }

    #[test]
    fn without_time_all_go_at_once() {
        assert_eq!(shares(31_000, 0), [31_000]);
    }

    #[test]
    fn what_did_not_go_in_its_tick_is_still_due_in_the_next() {
        let mut exodus = Exodus { order: vec![0; 100], end: 3, ..Exodus::default() };
        assert_eq!([0, 1, 2, 3].map(|now| exodus.add_share(now)), [75, 50, 25, 0]);
        assert_eq!((exodus.due, exodus.due_since), (100, 0));
    }
}
