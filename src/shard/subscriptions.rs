//! The channels of one socket. Most sockets are in one, and that costs no memory beside the socket's own.

use std::collections::HashMap;

use crate::model::{ChannelName, UserId};

/// One socket in one channel.
#[derive(Debug)]
pub struct Subscription {
    /// Its place in the channel's list.
    pub place: u32,
    /// On a presence channel, as whom.
    pub member: Option<UserId>,
}

/// The channels that a socket is in, and how.
#[derive(Debug, Default)]
pub enum Subscriptions {
    /// In none.
    #[default]
    None,
    /// In this one alone.
    One(ChannelName, Subscription),
    /// In several.
    Many(HashMap<ChannelName, Subscription>),
}

impl Subscriptions {
    /// How many they are.
    pub fn len(&self) -> usize {
        match self {
            Subscriptions::None => 0,
            Subscriptions::One(..) => 1,
            Subscriptions::Many(many) => many.len(),
        }
    }

    /// Whether the socket is in this channel.
    pub fn contains(&self, channel: &ChannelName) -> bool {
        self.get(channel).is_some()
    }

    /// How it is in this channel.
    pub fn get(&self, channel: &ChannelName) -> Option<&Subscription> {
        match self {
            Subscriptions::One(name, subscription) if name == channel => Some(subscription),
            Subscriptions::None | Subscriptions::One(..) => None,
            Subscriptions::Many(many) => many.get(channel),
        }
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, channel: &ChannelName) -> Option<&mut Subscription> {
        match self {
            Subscriptions::One(name, subscription) if name == channel => Some(subscription),
            Subscriptions::None | Subscriptions::One(..) => None,
            Subscriptions::Many(many) => many.get_mut(channel),
        }
    }

    /// Adds one to a channel that the socket is not in.
    pub fn insert(&mut self, channel: ChannelName, subscription: Subscription) {
        *self = match std::mem::take(self) {
            Subscriptions::None => Subscriptions::One(channel, subscription),
            Subscriptions::One(name, only) => {
                Subscriptions::Many(HashMap::from([(name, only), (channel, subscription)]))
            }
            Subscriptions::Many(mut many) => {
                many.insert(channel, subscription);
                Subscriptions::Many(many)
            }
        };
    }

    /// Takes one away.
    pub fn remove(&mut self, channel: &ChannelName) -> Option<Subscription> {
        match std::mem::take(self) {
            Subscriptions::One(name, subscription) if name == *channel => Some(subscription),
            Subscriptions::Many(mut many) => {
                let removed = many.remove(channel);
                if !many.is_empty() {
                    *self = Subscriptions::Many(many);
                }
                removed
            }
            other => {
                *self = other;
                None
            }
        }
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&ChannelName, &Subscription)> {
        let (one, many) = match self {
            Subscriptions::None => (None, None),
            Subscriptions::One(name, subscription) => (Some((name, subscription)), None),
            Subscriptions::Many(many) => (None, Some(many.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_what_was_inserted_and_not_removed() {
        let names = ["a", "b", "c"].map(|name| ChannelName::parse(name).unwrap());
        let mut subscriptions = Subscriptions::default();
        for (place, name) in (0..).zip(&names) {
            subscriptions.insert(name.clone(), Subscription { place, member: None });
            assert_eq!(subscriptions.len(), place as usize + 1);
            assert_eq!(subscriptions.iter().count(), subscriptions.len());
            assert_eq!(subscriptions.get(name).map(|found| found.place), Some(place));
        }
        subscriptions.get_mut(&names[1]).unwrap().place = 7;
        assert_eq!(subscriptions.remove(&names[1]).map(|gone| gone.place), Some(7));
        assert!(subscriptions.remove(&names[1]).is_none() && !subscriptions.contains(&names[1]));
        for name in [&names[0], &names[2]] {
            assert!(subscriptions.remove(name).is_some(), "{name:?}");
        }
        assert_eq!((subscriptions.len(), subscriptions.iter().count()), (0, 0));
    }

    #[test]
    fn they_take_hardly_more_than_a_map_would() {
        assert!(size_of::<Subscriptions>() <= 8 + size_of::<HashMap<ChannelName, Subscription>>());
    }
}
