//! What of an app this node holds, item by item: what it tells the other nodes.

use super::Directory;
use crate::model::{ChannelName, Item, Share};

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

    /// The next items of which this node has some, after looking at `count` or a few more.
    ///
    /// What stays is in it; what comes or goes meanwhile may be. Positions are walked from the end down: what leaves makes the
    /// last, already seen, take the free one.
    pub fn items_from(&self, cursor: &mut Cursor, count: usize) -> Vec<Item> {
        let mut items = Vec::new();
        let mut rest = count;
        while rest > 0 && !cursor.is_at_end() {
            let looked_at = self.step(cursor, rest, &mut items);
            rest = rest.saturating_sub(looked_at.max(1));
        }
        items
    }

    /// Goes on with what the cursor is at, for `count` rows at most; how many it looked at.
    // Long because it is the list of all that is walked, in order, each a few lines.
    fn step(&self, cursor: &mut Cursor, count: usize, items: &mut Vec<Item>) -> usize {
        let before = |end: usize| (end.saturating_sub(count)..end, end.saturating_sub(count));
        match cursor {
            Cursor::Start => {
                let sums = [Item::Others, Item::Bearers].into_iter();
                items.extend(sums.filter(|item| self.share(item).count > 0));
                *cursor = Cursor::Users(self.len());
                2
            }
            Cursor::Users(end) => {
                let (range, next) = before((*end).min(self.len()));
                items.extend(self.users_here_at(range.clone()).cloned().map(Item::User));
                *cursor = if next > 0 { Cursor::Users(next) } else { Cursor::SignedIn(self.signed_in.len()) };
                range.len()
            }
            Cursor::SignedIn(end) => {
                let (range, next) = before((*end).min(self.signed_in.len()));
                items.extend(self.signed_in.here_at(range.clone()).cloned().map(Item::SignedIn));
                *cursor = if next > 0 {
                    Cursor::SignedIn(next)
                } else {
                    Cursor::Bearers(self.bearers.user_count())
                };
                range.len()
            }
            Cursor::Bearers(end) => {
                let (range, next) = before((*end).min(self.bearers.user_count()));
                items.extend(self.bearers.here_at(range.clone()).cloned().map(Item::Bearer));
                *cursor = if next > 0 {
                    Cursor::Bearers(next)
                } else {
                    Cursor::Attended(self.bearers.channel_count())
                };
                range.len()
            }
            Cursor::Attended(end) => {
                let end = (*end).min(self.bearers.channel_count());
                let channel = self.bearers.page_of_channels(end, 1).next();
                let is_here = |channel: &&ChannelName| self.bearers.tally_in(channel, None).here > 0;
                items.extend(channel.filter(is_here).cloned().map(Item::Attended));
                *cursor = match channel {
                    Some(channel) => {
                        let below = self.bearers.user_count_in(channel);
                        Cursor::AttendedBy { channel: channel.clone(), below, end: end - 1 }
                    }
                    None => Cursor::Channels(self.channels.len()),
                };
                1
            }
            Cursor::AttendedBy { channel, below, end } => {
                let (range, next) = before((*below).min(self.bearers.user_count_in(channel)));
                let users = self.bearers.page_in(channel, range.end, range.len());
                let here = users.filter(|user| self.bearers.tally_in(channel, Some(user)).here > 0);
                items.extend(here.map(|user| Item::Attendee(channel.clone(), user.clone())));
                match next {
                    0 => *cursor = Cursor::Attended(*end),
                    next => *below = next,
                }
                range.len()
            }
            Cursor::Channels(end) => {
                let end = (*end).min(self.channels.len());
                let channel = end.checked_sub(1).and_then(|place| self.channels.name_at(place));
                items.extend(
                    channel.filter(|name| self.channels.tally(name).here > 0).cloned().map(Item::Channel),
                );
                *cursor = match channel {
                    Some(channel) => Cursor::Members { channel: channel.clone(), from: 0, end: end - 1 },
                    None => Cursor::End,
                };
                1
            }
            Cursor::Members { channel, from, end } => {
                let (looked_at, next) = self.channels.members_from(channel, *from, count, items);
                match next {
                    Some(next) => *from = next,
                    None => *cursor = Cursor::Channels(*end),
                }
                looked_at
            }
            Cursor::End => 0,
        }
    }
}

/// How far a walk over the items of this node has come.
#[derive(Debug, Default)]
pub enum Cursor {
    /// Nothing was looked at.
    #[default]
    Start,
    /// The users below this position.
    Users(usize),
    /// The signed-in users below this position.
    SignedIn(usize),
    /// Those who came with a token below this position.
    Bearers(usize),
    /// The channels of those below this position.
    Attended(usize),
    /// The users with a token below this position in a channel; then the channels below `end`.
    AttendedBy { channel: ChannelName, below: usize, end: usize },
    /// The channels below this position.
    Channels(usize),
    /// The members of a channel from this seat on; then the channels below `end`.
    Members { channel: ChannelName, from: u64, end: usize },
    /// All was looked at.
    End,
}

impl Cursor {
    /// Whether nothing was looked at yet.
    pub fn is_at_start(&self) -> bool {
        matches!(self, Self::Start)
    }

    /// Whether all was looked at.
    pub fn is_at_end(&self) -> bool {
        matches!(self, Self::End)
    }
}
