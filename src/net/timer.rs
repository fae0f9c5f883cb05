//! A timing wheel: many coarse deadlines in one array, so that a deadline costs its owner twelve bytes and no
//! system call.
//!
//! Entries are never removed before they are due. Each owner has one that counts, the earliest; all others are passed over.
//! It counts as well for whoever has the owner's number next: however many come and go, each number has few entries.

use std::time::{Duration, Instant};

/// How long one tick is; a deadline fires in the first tick that begins at or after it.
pub const TICK: Duration = Duration::from_millis(250);

/// One turn of the wheel is 64 s; a later deadline is put back when its slot comes round.
const SLOTS: usize = 256;

/// A point in time, in ticks since the wheel was made. 32 bits last 34 years.
pub type Tick = u32;

/// Whose deadline it is; owners are numbered from 0.
pub type Owner = u32;

/// Deadlines of owners.
#[derive(Debug)]
pub struct Wheel {
    origin: Instant,
    /// Everything due before this tick has fired.
    current: Tick,
    slots: Vec<Vec<(Tick, Owner)>>,
    /// By owner: the tick of the entry that counts, or of the last that did.
    earliest: Vec<Tick>,
}

impl Wheel {
    /// An empty wheel whose tick 0 is `origin`.
    pub fn new(origin: Instant) -> Self {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        Self { origin, current: 0, slots, earliest: Vec::new() }
    }

    /// So much time is not counted: what is due becomes due so much later.
    pub fn leave_out(&mut self, time: Duration) {
        self.origin += time;
    }

    /// The tick that `now` lies in.
    pub fn tick(&self, now: Instant) -> Tick {
        (now.saturating_duration_since(self.origin).as_millis() / TICK.as_millis()) as Tick
    }

    /// Lets `owner` fire once at `due` at the latest, or in the next tick if that is past. Where it fires earlier anyway nothing
    /// changes: it says then for when it is to be scheduled again.
    pub fn schedule(&mut self, due: Tick, owner: Owner) {
        let due = due.max(self.current);
        let index = owner as usize;
        if self.earliest.len() <= index {
            self.earliest.resize(index + 1, 0);
        }
        // Tick 0 says nothing: it is what one has that was never scheduled.
        let is_waiting = self.earliest[index] >= self.current.max(1);
        if !is_waiting || due < self.earliest[index] {
            self.earliest[index] = due;
            self.enter(due, owner);
        }
    }

    /// Owners from this number on are gone, and their memory is given back. What they waited for may fire yet.
    pub fn forget_from(&mut self, owner: Owner) {
        self.earliest.truncate(owner as usize);
        self.earliest.shrink_to_fit();
    }

    /// Lets `owner`, which has no number that is ever scheduled, fire at `due`, whatever it waits for besides.
    pub fn enter(&mut self, due: Tick, owner: Owner) {
        self.slots[due as usize % SLOTS].push((due, owner));
    }

    /// Hands every owner that is due by `now` to `fired`.
    pub fn expire(&mut self, now: Instant, fired: &mut Vec<Owner>) {
        let end = self.tick(now) + 1;
        let turns = (end.saturating_sub(self.current) as usize).min(SLOTS);
        let first = self.current;
        self.current = end.max(self.current);
        for step in 0..turns {
            // Taken, not drained: a slot that once held many must not keep their memory.
            let slot = std::mem::take(&mut self.slots[(first as usize + step) % SLOTS]);
            for (due, owner) in slot {
                if due >= end {
                    self.enter(due, owner);
                } else if self.earliest.get(owner as usize).is_none_or(|earliest| *earliest == due) {
                    fired.push(owner);
                }
            }
        }
    }

    /// How long nothing will fire, looking one turn ahead at most; `None` when nothing is scheduled.
    pub fn rest(&self, now: Instant) -> Option<Duration> {
        let ahead = (0..SLOTS).find(|step| !self.slots[(self.current as usize + step) % SLOTS].is_empty())?;
        let due = TICK * (self.current + ahead as Tick);
        Some((self.origin + due).saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(wheel: &mut Wheel, now: Instant) -> Vec<Owner> {
        let mut fired = Vec::new();
        wheel.expire(now, &mut fired);
        fired
    }

    #[test]
    fn a_deadline_fires_in_its_tick_and_once() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        wheel.schedule(4, 7);
        assert_eq!(wheel.rest(start), Some(TICK * 4));
        assert!(fired(&mut wheel, start + TICK * 3).is_empty());
        assert_eq!(fired(&mut wheel, start + TICK * 4), [7]);
        assert!(fired(&mut wheel, start + TICK * 400).is_empty());
        assert_eq!(wheel.rest(start), None);
    }

    #[test]
    fn a_deadline_beyond_one_turn_waits_for_its_own_turn() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        wheel.schedule(600, 1);
        for tick in [88, 300, 599] {
            assert!(fired(&mut wheel, start + TICK * tick).is_empty(), "{tick}");
        }
        assert_eq!(fired(&mut wheel, start + TICK * 600), [1]);
    }

    #[test]
    fn a_past_deadline_fires_next() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        fired(&mut wheel, start + TICK * 10);
        wheel.schedule(3, 1);
        assert_eq!(fired(&mut wheel, start + TICK * 11), [1]);
    }

    #[test]
    fn of_several_deadlines_of_one_owner_the_earliest_fires_and_no_other() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        [9, 12, 5, 7].into_iter().for_each(|due| wheel.schedule(due, 1));
        assert_eq!(fired(&mut wheel, start + TICK * 5), [1]);
        assert!(fired(&mut wheel, start + TICK * 20).is_empty());
        wheel.schedule(25, 1);
        assert_eq!(fired(&mut wheel, start + TICK * 25), [1]);
    }

    #[test]
    fn owners_that_come_and_go_under_one_number_leave_few_entries() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        for tick in 1..200 {
            // Each comes, to be pinged much later, and closes, which is to be over soon.
            (0..100).for_each(|_| [tick + 480, tick + 20].into_iter().for_each(|due| wheel.schedule(due, 3)));
            fired(&mut wheel, start + TICK * tick);
        }
        assert!(wheel.slots.iter().map(Vec::len).sum::<usize>() < 30);
    }

    #[test]
    fn who_is_only_entered_fires_each_time() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        [3, 2].into_iter().for_each(|due| wheel.enter(due, Owner::MAX));
        assert_eq!(fired(&mut wheel, start + TICK * 2), [Owner::MAX]);
        assert_eq!(fired(&mut wheel, start + TICK * 3), [Owner::MAX]);
    }

    #[test]
    fn a_long_sleep_loses_nothing() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        (0..1000).for_each(|due| wheel.schedule(due, due));
        let mut all = fired(&mut wheel, start + TICK * 2000);
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
    }
}
