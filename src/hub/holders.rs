//! Who holds sockets where: counted for users, and for those who watch them.

use super::directory::{ShardIndex, ShardSet};

/// The sockets of one holder on this node.
#[derive(Debug, Default)]
pub struct Holders {
    /// The shards that hold any.
    pub shards: ShardSet,
    /// How many there are.
    pub sockets: u32,
}

impl Holders {
    /// One more, on `shard`.
    pub fn join(&mut self, shard: ShardIndex) {
        self.shards.insert(shard);
        self.sockets += 1;
    }

    /// One less; `last_on_shard` when that shard holds no other. Whether it was the last of all.
    pub fn leave(&mut self, shard: ShardIndex, last_on_shard: bool) -> bool {
        self.sockets -= 1;
        if last_on_shard {
            self.shards.remove(shard);
        }
        self.sockets == 0
    }
}
