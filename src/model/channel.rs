//! A channel: a named set of subscriptions in an app. Its name says what kind it is.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest name of a channel that any app may allow, in bytes.
const CHANNEL_NAME_BYTES_MAX: usize = 1000;

/// What the name of a user's own channel begins with. No other name may hold a `#`.
const USER_PREFIX: &str = "#server-to-user-";

/// The name of a channel: `A-Z a-z 0-9 - _ = @ , . ;`, at most as many as its app allows; or, in Gusher Cluster, any
/// text without control characters. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChannelName(Arc<str>);

/// What is wrong with the name of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelFault {
    /// It is empty or holds a character that no name may hold.
    Invalid,
    /// It is longer than any name may be.
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
    /// The user it is named after, once signed in. Only backends publish to it, and it is nobody else's matter:
    /// neither listed nor counted nor noticed.
    User,
}

impl ChannelName {
    /// Checks a name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ChannelFault> {
        let name = text.strip_prefix(USER_PREFIX).unwrap_or(text);
        match name {
            _ if name.is_empty() || !name.bytes().all(is_allowed) => Err(ChannelFault::Invalid),
            _ if name.len() > CHANNEL_NAME_BYTES_MAX => Err(ChannelFault::TooLong),
            _ => Ok(Self(text.into())),
        }
    }

    /// Checks a name as Gusher Cluster has them: not empty and without control characters (spec E29, E30). The channels
    /// of single users are none of its.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse_free(text: &str) -> Result<Self, ChannelFault> {
        match text {
            _ if text.is_empty() || text.contains(char::is_control) || text.starts_with(USER_PREFIX) => {
                Err(ChannelFault::Invalid)
            }
            _ if text.len() > CHANNEL_NAME_BYTES_MAX => Err(ChannelFault::TooLong),
            _ => Ok(Self(text.into())),
        }
    }

    /// Whether an id consists of the characters that names of channels do, and is not empty.
    pub fn is_word(text: &str) -> bool {
        !text.is_empty() && text.bytes().all(is_allowed)
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
            name if name.starts_with(USER_PREFIX) => ChannelKind::User,
            _ => ChannelKind::Public,
        }
    }

    /// Whether its last event is kept for those who come later.
    pub fn is_cached(&self) -> bool {
        ["cache-", "private-cache-", "private-encrypted-cache-", "presence-cache-"]
            .iter()
            .any(|prefix| self.0.starts_with(prefix))
    }

    /// Whether only its subscribers can read what is published.
    pub fn is_encrypted(&self) -> bool {
        self.0.starts_with("private-encrypted-")
    }

    /// Whose own channel it is.
    pub fn user(&self) -> Option<&str> {
        self.0.strip_prefix(USER_PREFIX)
    }
}

/// Either kind of name.
impl TryFrom<String> for ChannelName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).or_else(|_| Self::parse_free(&text)).map_err(|_| "no name of a channel")
    }
}

impl From<ChannelName> for String {
    fn from(name: ChannelName) -> Self {
        name.as_str().to_owned()
    }
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_=@,.;".contains(&byte)
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
        for good in ["a", "A-z_0=@,.;", &"c".repeat(1000), "#server-to-user-a"] {
            assert!(ChannelName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "a:b", "#a", "#server-to-user-", "a#server-to-user-b", "é"] {
            assert_eq!(ChannelName::parse(bad), Err(ChannelFault::Invalid), "{bad}");
        }
        assert_eq!(ChannelName::parse(&"c".repeat(1001)), Err(ChannelFault::TooLong));
    }

    #[test]
    fn a_free_name_is_any_text_of_one_line_but_a_user_s() {
        for good in ["a/b", " a ", "#GUSHERFUNC-TOUID#", "键", &"c".repeat(1000)] {
            assert!(ChannelName::parse_free(good).is_ok(), "{good}");
        }
        for bad in ["", "a\nb", "a\u{7f}", "#server-to-user-a"] {
            assert_eq!(ChannelName::parse_free(bad), Err(ChannelFault::Invalid), "{bad}");
        }
        assert_eq!(ChannelName::parse_free(&"c".repeat(1001)), Err(ChannelFault::TooLong));
    }

    #[test]
    fn the_prefix_is_the_kind() {
        let kind = |name| ChannelName::parse(name).unwrap().kind();
        assert_eq!(kind("private"), ChannelKind::Public);
        assert_eq!(kind("a-private-x"), ChannelKind::Public);
        assert_eq!(kind("private-encrypted-x"), ChannelKind::Private);
        assert_eq!(kind("presence-x"), ChannelKind::Presence);
        assert_eq!(kind("#server-to-user-x"), ChannelKind::User);
    }

    #[test]
    fn four_prefixes_keep_the_last_event() {
        let is_cached = |name| ChannelName::parse(name).unwrap().is_cached();
        assert!(
            ["cache-x", "private-cache-x", "private-encrypted-cache-x", "presence-cache-x"]
                .map(is_cached)
                .iter()
                .all(|is| *is)
        );
        assert!(!is_cached("a-cache-x") && !is_cached("private-x-cache-"));
    }
}
