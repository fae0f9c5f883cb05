//! Who holds sockets, and where: counted on this node by shard, and on the others as they tell it.

use super::directory::{ShardIndex, ShardSet};
use crate::model::Share;

/// So many on this node, so many on the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// On this node.
    pub here: u32,
    /// On all the others.
    pub elsewhere: u32,
}

impl Tally {
    /// Everywhere.
    pub fn total(self) -> usize {
        self.here as usize + self.elsewhere as usize
    }

    /// Nowhere.
    pub fn is_zero(self) -> bool {
        self.total() == 0
    }

    /// Another node's share is `to` instead of `from`.
    pub fn learn(&mut self, from: &Share, to: &Share) {
        // In this order neither step leaves the range: `from` is part of `elsewhere`.
        self.elsewhere = self.elsewhere.saturating_sub(from.count).saturating_add(to.count);
    }
}

/// The sockets of one holder.
#[derive(Debug, Default)]
pub struct Holders {
    /// The shards of this node that hold any.
    pub shards: ShardSet,
    /// How many there are.
    pub sockets: Tally,
}

impl Holders {
    /// One more, on `shard`. Whether it is the first of all.
    pub fn join(&mut self, shard: ShardIndex) -> bool {
        let is_first = self.sockets.is_zero();
        self.shards.insert(shard);
        self.sockets.here += 1;
        is_first
    }

    /// One less; `last_on_shard` when that shard holds no other. Whether it was the last of all.
    pub fn leave(&mut self, shard: ShardIndex, last_on_shard: bool) -> bool {
        self.sockets.here -= 1;
        if last_on_shard {
            self.shards.remove(shard);
        }
        self.sockets.is_zero()
    }
}
