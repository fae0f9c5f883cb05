//! A channel: a named set of subscriptions in an app. Its name says what kind it is.

use std::fmt;
use std::sync::Arc;

/// The longest name of a channel, in characters, which are all ASCII (pusher-channels 3.1).
pub const CHANNEL_NAME_BYTES_MAX: usize = 200;

/// The name of a channel: 1 to 200 of `A-Z a-z 0-9 - _ = @ , . ;`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

/// What is wrong with the name of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelFault {
    /// It is empty or holds a character that no name may hold.
    Invalid,
    /// It is longer than 200 bytes.
    TooLong,
}

/// Who may subscribe to a channel, and what it adds (pusher-channels 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// Everybody.
    Public,
    /// Who shows a signature of the app.
    Private,
    /// As private; and its members are known to each other.
    Presence,
}

impl ChannelName {
    /// Checks a name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ChannelFault> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=@,.;".contains(&byte);
        match text {
            _ if text.is_empty() || !text.bytes().all(is_allowed) => Err(ChannelFault::Invalid),
            _ if text.len() > CHANNEL_NAME_BYTES_MAX => Err(ChannelFault::TooLong),
            _ => Ok(Self(text.into())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its kind, by the prefix. Encrypted channels are private ones: the payload is not ours to read.
    pub fn kind(&self) -> ChannelKind {
        match &*self.0 {
            name if name.starts_with("private-") => ChannelKind::Private,
            name if name.starts_with("presence-") => ChannelKind::Presence,
            _ => ChannelKind::Public,
        }
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Lets a map keyed by `ChannelName` be asked with a `&str`: both hash and compare as the text.
impl std::borrow::Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_the_documented_characters() {
        for good in ["a", "A-z_0=@,.;", &"c".repeat(200)] {
            assert!(ChannelName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "a:b", "#a", "é"] {
            assert_eq!(ChannelName::parse(bad), Err(ChannelFault::Invalid), "{bad}");
        }
        assert_eq!(ChannelName::parse(&"c".repeat(201)), Err(ChannelFault::TooLong));
    }

    #[test]
    fn the_prefix_is_the_kind() {
        let kind = |name| ChannelName::parse(name).unwrap().kind();
        assert_eq!(kind("private"), ChannelKind::Public);
        assert_eq!(kind("a-private-x"), ChannelKind::Public);
        assert_eq!(kind("private-encrypted-x"), ChannelKind::Private);
        assert_eq!(kind("presence-x"), ChannelKind::Presence);
    }
}
