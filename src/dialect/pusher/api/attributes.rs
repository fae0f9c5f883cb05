//! What a backend wants to know of a channel besides whether it is occupied (pusher-channels 14.6).

use super::Fault;
use crate::model::{ChannelKind, ChannelName};

/// The attributes that an `info` parameter asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Distinct users of a presence channel.
    pub user_count: bool,
    /// Sockets in the channel.
    pub subscription_count: bool,
    /// The event that a cache channel keeps. Only a call about a single channel can ask for it.
    pub cache: bool,
}

impl Info {
    /// Reads a list of attributes with commas between them.
    ///
    /// # Errors
    /// There is no such attribute.
    pub(super) fn parse(list: &str) -> Result<Self, Fault> {
        let mut info = Self::default();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "user_count" => info.user_count = true,
                "subscription_count" => info.subscription_count = true,
                "cache" => info.cache = true,
                _ => return Err(Fault::invalid("info should be a comma separated list of attributes")),
            }
        }
        Ok(info)
    }

    /// As it is, for calls that cannot ask for the cache.
    ///
    /// # Errors
    /// It asks for the cache.
    pub(super) fn without_cache(self) -> Result<Self, Fault> {
        match self.cache {
            true => Err(Fault::invalid("cache can only be asked for with a single channel")),
            false => Ok(self),
        }
    }

    /// As it is, for a call about this channel.
    ///
    /// # Errors
    /// It asks for something that the channel's kind does not have.
    pub(super) fn fitting(self, channel: &ChannelName) -> Result<Self, Fault> {
        if self.user_count && channel.kind() != ChannelKind::Presence {
            return Err(Fault::invalid(
                "Cannot retrieve the user count unless the channel is a presence channel",
            ));
        }
        if self.cache && !channel.is_cached() {
            return Err(Fault::invalid("cache is known of cache channels only"));
        }
        Ok(self)
    }

    /// Whether it asks for nothing.
    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_a_comma_list() {
        assert_eq!(Info::parse("").unwrap(), Info::default());
        let both = Info { user_count: true, subscription_count: true, cache: false };
        assert_eq!(Info::parse("user_count, subscription_count").unwrap(), both);
        let refused = Info::parse("user_count,users").unwrap_err();
        assert_eq!(refused.text, "info should be a comma separated list of attributes");
    }
}
