//! Whether the bus follows yet what this node asked it to follow. That takes one trip to the server of the bus; a probe
//! that a node sends itself behind what it asked for is back when it is so (promise 4 of `bus`). Until then whoever came
//! first is not told that it is there: what it is told, it can rely on.
//!
//! Always: a probe's number was drawn after what it stands for was handed to the bus; nobody waits for another node, and
//! nobody waits for ever.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::watch;

use super::agenda::Millis;
use super::directory::{ShardIndex, ShardSet};
use super::link::lock;

/// How long the bus may leave a probe unanswered before those who wait for it are told all the same, in milliseconds.
const FOLLOW_WITHIN_MS: Millis = 2_000;

/// Numbers of probes, from 1; 0 stands for what needs none.
pub type FollowNumber = u64;

/// What was asked for, and what is followed.
#[derive(Debug, Default)]
pub struct Follows {
    state: Mutex<State>,
    /// All up to this is followed, for those who may wait.
    known: watch::Sender<FollowNumber>,
}

#[derive(Debug, Default)]
struct State {
    drawn: FollowNumber,
    known: FollowNumber,
    /// Since when somebody waits for a number, and on which shards.
    waiting: BTreeMap<FollowNumber, (Millis, ShardSet)>,
}

impl Follows {
    /// A number for what was just handed to the bus.
    pub fn draw(&self) -> FollowNumber {
        let mut state = self.state();
        state.drawn += 1;
        state.drawn
    }

    /// Whether that is not followed yet. Then it is waited for from now on: on a shard, or at the door.
    pub fn must_wait(&self, number: FollowNumber, shard: Option<ShardIndex>, now: Millis) -> bool {
        let mut state = self.state();
        if number <= state.known {
            return false;
        }
        let (_, shards) = state.waiting.entry(number).or_insert((now, ShardSet::default()));
        shard.into_iter().for_each(|shard| shards.insert(shard));
        true
    }

    /// All up to this number is followed. Returns the shards where somebody waited for it.
    pub fn learn(&self, number: FollowNumber) -> ShardSet {
        let mut state = self.state();
        state.known = state.known.max(number);
        let later = state.waiting.split_off(&(number + 1));
        let served = std::mem::replace(&mut state.waiting, later);
        self.known.send_replace(state.known);
        let mut shards = ShardSet::default();
        served.into_values().for_each(|(_, waiting)| shards.add_all(waiting));
        shards
    }

    /// The last number that was drawn.
    pub fn drawn(&self) -> FollowNumber {
        self.state().drawn
    }

    /// Whether anybody waits.
    pub fn is_awaited(&self) -> bool {
        !self.state().waiting.is_empty()
    }

    /// The highest number that was waited for too long.
    pub fn overdue(&self, now: Millis) -> Option<FollowNumber> {
        let state = self.state();
        let is_late = |since: Millis| since + FOLLOW_WITHIN_MS <= now;
        state.waiting.iter().rev().find(|(_, (since, _))| is_late(*since)).map(|(number, _)| *number)
    }

    /// Waits until all up to this number is followed, or was waited for too long.
    pub async fn until(&self, number: FollowNumber) {
        // It fails only when the link is gone, and then nobody is left to be told.
        let _ = self.known.subscribe().wait_for(|known| *known >= number).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_when_the_probe_is_back_or_late() {
        let follows = Follows::default();
        let (first, second) = (follows.draw(), follows.draw());
        assert!(!follows.must_wait(0, Some(1), 0));
        assert!(follows.must_wait(first, Some(1), 0));
        assert!(follows.must_wait(first, Some(3), 10));
        assert!(follows.must_wait(second, Some(2), 1_000));
        assert_eq!(follows.learn(first).iter().collect::<Vec<_>>(), [1, 3]);
        assert!(!follows.must_wait(first, Some(1), 20));
        assert_eq!((follows.overdue(2_999), follows.overdue(3_000)), (None, Some(second)));
        assert_eq!(follows.learn(second).iter().collect::<Vec<_>>(), [2]);
        assert!(!follows.is_awaited());
    }
}
