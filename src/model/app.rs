//! An app: a tenant with its key, its admin and its connect hook.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Refusal;

/// The longest id of an app, in bytes.
const APP_ID_BYTES_MAX: usize = 64;

/// How long a secret that somebody chose may be. All are ASCII.
const APP_SECRET_BYTES: std::ops::RangeInclusive<usize> = 8..=128;

/// The longest account and password together, in bytes: bcrypt looks no further (spec D16).
pub const CREDENTIAL_BYTES_MAX: usize = 72;

/// The longest key of an app, in bytes (spec D27).
const APP_KEY_BYTES_MAX: usize = 200;

/// The name of an app, unique and case-sensitive. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct AppKey(Arc<str>);

impl AppKey {
    /// Checks a key that somebody wants to register: 1 to 200 bytes, no `/`, no control characters (spec D27).
    ///
    /// # Errors
    /// [`Refusal::FieldInvalid`] says which rule was broken.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let fault = match text {
            _ if text.is_empty() => return Err(Refusal::FieldMissing("app_key")),
            _ if text.len() > APP_KEY_BYTES_MAX => "is longer than 200 bytes",
            _ if text.contains('/') => "contains a slash",
            // No client can ask for such a path.
            "." | ".." => "is . or ..",
            _ if text.contains(char::is_control) => "contains a control character",
            _ => return Ok(Self(text.into())),
        };
        Err(Refusal::FieldInvalid { field: "app_key", fault })
    }

    /// A key as an older version may have stored it: taken as it is.
    pub fn stored(text: &str) -> Self {
        Self(text.into())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for AppKey {
    fn from(text: String) -> Self {
        Self::stored(&text)
    }
}

impl From<AppKey> for String {
    fn from(key: AppKey) -> Self {
        key.as_str().to_owned()
    }
}

impl fmt::Display for AppKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Lets a map keyed by `AppKey` be asked with a `&str`: both hash and compare as the text.
impl std::borrow::Borrow<str> for AppKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Names one registration of an app within this process. A key that is registered again gets a new number, so
/// nothing that was meant for the former app can reach the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppNumber(pub u32);

/// A bcrypt hash of an account directly followed by its password (spec 1.6). Never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash(pub String);

impl Hash {
    /// Whether a secret is one of which this can be the whole. bcrypt reads no further than 72 bytes, and behind a NUL it
    /// begins anew: what differs there has the same hash. This server hashes no such secrets. The original did, so with
    /// its hashes (`$2a$`) they still count as far as they are read (spec D16).
    pub fn can_be_of(&self, secret: &str) -> bool {
        self.0.starts_with("$2a$") || (secret.len() <= CREDENTIAL_BYTES_MAX && !secret.contains('\0'))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// Who may administer something: an account name and the hash that proves its password.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The account name.
    pub account: String,
    /// The proof of the password.
    pub hash: Hash,
}

/// What a backend asks for when it registers an app; password and secret are in clear, so this is never printed.
pub struct Registration {
    /// The app's name.
    pub key: AppKey,
    /// Its admin's account name.
    pub account: String,
    /// Its admin's password.
    pub password: String,
    /// The URL to ask before a socket is admitted, or empty.
    pub connect_hook: String,
    /// What it is called in signed calls, unless that is to be made up.
    pub id: Option<String>,
    /// Its secret, unless one is to be made up.
    pub secret: Option<String>,
}

/// When an app was registered, in the two forms that the database keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Unix time in milliseconds.
    pub timestamp_ms: i64,
    /// Local time, `YYYY/MM/DD hh:mm:ss`.
    pub date: String,
}

/// A secret that signs. Never printed by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AppSecret(pub String);

impl AppSecret {
    /// Whether somebody may choose it: 8 to 128 printable ASCII characters without blanks.
    pub fn is_acceptable(&self) -> bool {
        APP_SECRET_BYTES.contains(&self.0.len()) && self.0.bytes().all(|byte| byte.is_ascii_graphic())
    }
}

impl fmt::Debug for AppSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

impl Registered {
    /// Both forms of a point in local time.
    pub fn at(time: &jiff::ZonedDateTime) -> Self {
        let timestamp_ms = time.timestamp().as_millisecond();
        Self { timestamp_ms, date: time.strftime("%Y/%m/%d %H:%M:%S").to_string() }
    }
}

/// A registered app.
#[derive(Clone, Debug)]
pub struct App {
    /// Its name.
    pub key: AppKey,
    /// What it is called in signed calls.
    pub id: String,
    /// What signed calls and channel permissions are signed with; the key is the app's.
    pub secret: AppSecret,
    /// Who may push to it, list it and unregister it, besides the super admin.
    pub admin: Admin,
    /// The URL that is asked before a socket is admitted; empty when anybody may connect.
    pub connect_hook: String,
    /// The address and port that registered it.
    pub request_ip: String,
    /// When.
    pub registered: Registered,
}

impl App {
    /// Whether somebody may choose this id: 1 to 64 letters, digits, `-` and `_`. Those that are made up are digits, which
    /// every library takes.
    pub fn is_acceptable_id(id: &str) -> bool {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=APP_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_allowed)
    }
}

#[cfg(test)]
impl App {
    /// An app of that key and secret, for tests.
    pub fn sample(key: &str, secret: &str) -> Self {
        Self {
            key: AppKey::stored(key),
            id: "1".into(),
            secret: AppSecret(secret.into()),
            admin: Admin { account: "admin".into(), hash: Hash(String::new()) },
            connect_hook: String::new(),
            request_ip: String::new(),
            registered: Registered { timestamp_ms: 0, date: String::new() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_path_segment_of_printable_text() {
        for good in ["a", "...", ".a", "chat-1", "键", "with blank", &"k".repeat(200)] {
            assert_eq!(AppKey::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "a\nb", "\u{7f}", &"k".repeat(201)] {
            assert!(AppKey::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_id_is_a_word_of_letters_digits_and_two_signs() {
        for good in ["1", "app-id", "A_9", &"i".repeat(64)] {
            assert!(App::is_acceptable_id(good), "{good}");
        }
        for bad in ["", "a b", "a.b", "a/b", "é", &"i".repeat(65)] {
            assert!(!App::is_acceptable_id(bad), "{bad}");
        }
    }

    #[test]
    fn what_bcrypt_does_not_read_counts_unless_the_original_hashed_it() {
        let (own, old) = (Hash("$2b$10$x".into()), Hash("$2a$05$x".into()));
        for (secret, is_whole) in [("s".repeat(72), true), ("s".repeat(73), false), ("a\0a".into(), false)] {
            assert_eq!((own.can_be_of(&secret), old.can_be_of(&secret)), (is_whole, true), "{secret:?}");
        }
    }

    #[test]
    fn a_hash_does_not_print() {
        assert_eq!(format!("{:?}", Hash("$2a$05$secret".into())), "***");
    }
}
