//! The last event of each channel that keeps one (pusher-channels 6), for a while and within bounds.

use std::collections::{BTreeMap, HashMap};

use super::agenda::Millis;
use crate::model::{ChannelName, Kept, NodeId};

/// When an event was published, Unix time in milliseconds, and on which node. Of two events the later is kept, by this, so
/// that all nodes keep the same.
pub type Published = (i64, NodeId);

/// What an entry weighs besides its texts, in bytes: roughly what it occupies.
const ENTRY_BYTES: usize = 200;

#[derive(Debug)]
struct Entry {
    kept: Kept,
    published: Published,
    end: Millis,
    number: u64,
}

impl Entry {
    fn weight_bytes(&self, channel: &ChannelName) -> usize {
        ENTRY_BYTES + channel.as_str().len() + self.kept.event.len() + self.kept.data.len()
    }
}

/// The kept events of one app.
#[derive(Debug, Default)]
pub struct KeptEvents {
    by_channel: HashMap<ChannelName, Entry>,
    /// The same by their end; the number tells those of one millisecond apart.
    by_end: BTreeMap<(Millis, u64), ChannelName>,
    next_number: u64,
    weight_bytes: usize,
}

impl KeptEvents {
    /// Keeps an event in place of an earlier one. When all weigh more than `bytes_max`, those that end first are given
    /// up; returns how many.
    pub fn keep(
        &mut self,
        channel: &ChannelName,
        kept: Kept,
        published: Published,
        end: Millis,
        bytes_max: usize,
    ) -> u64 {
        if self.by_channel.get(channel).is_some_and(|entry| entry.published > published) {
            return 0;
        }
        self.forget(channel);
        let entry = Entry { kept, published, end, number: self.next_number };
        self.next_number += 1;
        self.weight_bytes += entry.weight_bytes(channel);
        self.by_end.insert((entry.end, entry.number), channel.clone());
        self.by_channel.insert(channel.clone(), entry);
        let mut given_up = 0;
        while self.weight_bytes > bytes_max
            && let Some((_, channel)) = self.by_end.first_key_value()
        {
            let channel = channel.clone();
            self.forget(&channel);
            given_up += 1;
        }
        given_up
    }

    /// The event that a channel keeps, and how long it will yet, in milliseconds.
    pub fn get(&self, channel: &ChannelName, now: Millis) -> Option<(&Kept, Millis)> {
        let entry = self.by_channel.get(channel).filter(|entry| entry.end > now)?;
        Some((&entry.kept, entry.end - now))
    }

    /// All that is kept: the channel, the event, when it was published, and for how long it is kept yet.
    pub fn all(&self, now: Millis) -> Vec<(ChannelName, Kept, i64, Millis)> {
        let kept = self.by_channel.iter().filter(|(_, entry)| entry.end > now);
        kept.map(|(channel, entry)| (channel.clone(), entry.kept.clone(), entry.published.0, entry.end - now))
            .collect()
    }

    /// Forgets what has ended.
    pub fn sweep(&mut self, now: Millis) {
        while self.next_end().is_some_and(|end| end <= now)
            && let Some((_, channel)) = self.by_end.pop_first()
        {
            self.forget(&channel);
        }
    }

    /// When the next one ends.
    pub fn next_end(&self) -> Option<Millis> {
        self.by_end.first_key_value().map(|((end, _), _)| *end)
    }

    fn forget(&mut self, channel: &ChannelName) {
        let Some(entry) = self.by_channel.remove(channel) else { return };
        self.weight_bytes -= entry.weight_bytes(channel);
        self.by_end.remove(&(entry.end, entry.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId(1);

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    fn kept(data: &str) -> Kept {
        Kept { event: "e".into(), data: data.into() }
    }

    #[test]
    fn the_last_event_is_kept_until_its_end() {
        let (mut events, name) = (KeptEvents::default(), channel("cache-a"));
        events.keep(&name, kept("1"), (1, ME), 100, usize::MAX);
        events.keep(&name, kept("2"), (1, ME), 200, usize::MAX);
        events.keep(&name, kept("earlier"), (0, ME), 300, usize::MAX);
        assert_eq!(events.get(&name, 50), Some((&kept("2"), 150)));
        assert_eq!(events.get(&name, 200), None);
        events.sweep(200);
        assert_eq!((events.next_end(), events.weight_bytes), (None, 0));
    }

    #[test]
    fn what_ends_first_is_given_up_when_there_is_too_much() {
        let mut events = KeptEvents::default();
        let room = 2 * (ENTRY_BYTES + "cache-a".len() + "e".len() + 1);
        for (name, end) in [("cache-a", 300), ("cache-b", 200)] {
            assert_eq!(events.keep(&channel(name), kept("x"), (1, ME), end, room), 0);
        }
        assert_eq!(events.keep(&channel("cache-c"), kept("x"), (1, ME), 400, room), 1);
        assert!(events.get(&channel("cache-b"), 0).is_none());
        assert!(events.get(&channel("cache-a"), 0).is_some());
    }
}
