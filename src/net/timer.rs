//! A timing wheel: many coarse deadlines in one array, so that a deadline costs its owner twelve bytes and no
//! system call.
//!
//! Entries are never removed before they are due. An owner that moved its deadline remembers the tick it waits
//! for and passes over an entry that fires at any other.

use std::time::{Duration, Instant};

/// How long one tick is; a deadline fires in the first tick that begins at or after it.
pub const TICK: Duration = Duration::from_millis(250);

/// One turn of the wheel is 64 s; a later deadline is put back when its slot comes round.
const SLOTS: usize = 256;

/// A point in time, in ticks since the wheel was made. 32 bits last 34 years.
pub type Tick = u32;

/// Deadlines of owners of type `T`.
#[derive(Debug)]
pub struct Wheel<T> {
    origin: Instant,
    /// Everything due before this tick has fired.
    current: Tick,
    slots: Vec<Vec<(Tick, T)>>,
}

impl<T: Copy> Wheel<T> {
    /// An empty wheel whose tick 0 is `origin`.
    pub fn new(origin: Instant) -> Self {
        Self { origin, current: 0, slots: (0..SLOTS).map(|_| Vec::new()).collect() }
    }

    /// The tick that `now` lies in.
    pub fn tick(&self, now: Instant) -> Tick {
        (now.saturating_duration_since(self.origin).as_millis() / TICK.as_millis()) as Tick
    }

    /// Lets `owner` fire at `due`, or in the next tick if that is past.
    pub fn schedule(&mut self, due: Tick, owner: T) {
        let slot = due.max(self.current) as usize % SLOTS;
        self.slots[slot].push((due, owner));
    }

    /// Hands every entry that is due by `now` to `fired`, with the tick it was scheduled for.
    pub fn expire(&mut self, now: Instant, fired: &mut Vec<(Tick, T)>) {
        let end = self.tick(now) + 1;
        let turns = (end.saturating_sub(self.current) as usize).min(SLOTS);
        let first = self.current;
        self.current = end.max(self.current);
        for step in 0..turns {
            // Taken, not drained: a slot that once held many must not keep their memory.
            let slot = std::mem::take(&mut self.slots[(first as usize + step) % SLOTS]);
            for (due, owner) in slot {
                if due < end { fired.push((due, owner)) } else { self.schedule(due, owner) }
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

    fn fired(wheel: &mut Wheel<u32>, now: Instant) -> Vec<u32> {
        let mut fired = Vec::new();
        wheel.expire(now, &mut fired);
        fired.into_iter().map(|(_, owner)| owner).collect()
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
    fn a_long_sleep_loses_nothing() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        (0..1000).for_each(|due| wheel.schedule(due, due));
        let mut all = fired(&mut wheel, start + TICK * 2000);
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
    }
}
