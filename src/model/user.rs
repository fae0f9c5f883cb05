//! A user: an identity that may hold many sockets.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Refusal;

/// The longest user id, in bytes (spec D27).
const USER_ID_BYTES_MAX: usize = 1024;

/// The name of a user within an app; in the Gusher dialect, the `user_tag` that a client chose. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(Arc<str>);

impl UserId {
    /// Checks a user id: 1 to 1024 bytes, no control characters (spec D27).
    ///
    /// # Errors
    /// [`Refusal::FieldInvalid`] says which rule was broken.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let fault = match text {
            _ if text.is_empty() => return Err(Refusal::FieldMissing("user_tag")),
            _ if text.len() > USER_ID_BYTES_MAX => "is longer than 1024 bytes",
            _ if text.contains(char::is_control) => "contains a control character",
            _ => return Ok(Self(text.into())),
        };
        Err(Refusal::FieldInvalid { field: "user_tag", fault })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UserId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).map_err(|_| "no user id")
    }
}

impl From<UserId> for String {
    fn from(user: UserId) -> Self {
        user.as_str().to_owned()
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Lets a map keyed by `UserId` be asked with a `&str`: both hash and compare as the text.
impl std::borrow::Borrow<str> for UserId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_any_printable_text_of_bounded_length() {
        for good in ["A:1", "张 x", &"u".repeat(1024)] {
            assert_eq!(UserId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "a\tb", "a\u{85}b", &"u".repeat(1025)] {
            assert!(UserId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
