//! What of an app this node holds, item by item: what it tells the other nodes.

use super::Directory;
use crate::model::{Item, Share};

impl Directory {
    /// How much this node has of an item, now.
    pub fn share(&self, item: &Item) -> Share {
        let count = match item {
            Item::User(user) => self.tally(user).here,
            Item::Others => self.others_here() as u32,
            Item::Bearers => self.bearers.sockets.here,
            Item::Bearer(user) => self.bearers.tally(user).here,
            Item::SignedIn(user) => self.signed_in.tally(user).here,
            Item::Channel(channel) => self.channels.tally(channel).here,
            Item::Attended(channel) => self.bearers.tally_in(channel, None).here,
            Item::Attendee(channel, user) => self.bearers.tally_in(channel, Some(user)).here,
            Item::Member(channel, user) => {
                let info = self.channels.info_here(channel, user);
                return Share { count: u32::from(info.is_some()), info };
            }
        };
        Share::of(count)
    }

    /// All items of which this node has some.
    pub fn items_here(&self) -> Vec<Item> {
        let sums = [Item::Others, Item::Bearers].into_iter().filter(|item| self.share(item).count > 0);
        let users = self.users_here().cloned().map(Item::User);
        let signed_in = self.signed_in.here().cloned().map(Item::SignedIn);
        sums.chain(users).chain(signed_in).chain(self.bearers.here()).chain(self.channels.here()).collect()
    }
}
