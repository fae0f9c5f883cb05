//! The permission to subscribe that an app's backend gives to one socket for one channel (pusher-channels 3.4).

use crate::dialect::signature::is_signed;
use crate::dialect::{Terms, cut};
use crate::model::{ChannelName, SocketId};

/// Checks `auth`, which is `key:signature`. Signed are the socket, the channel and, whenever the message has it and
/// whatever the channel's kind, `channel_data` exactly as it was received.
///
/// # Errors
/// What the client is told (the table of pusher-channels 3.4).
pub fn check_channel(
    terms: &Terms<'_>,
    socket_id: SocketId,
    channel: &ChannelName,
    auth: Option<&str>,
    channel_data: Option<&str>,
) -> Result<(), String> {
    let Some(auth) = auth.filter(|auth| !auth.is_empty()) else {
        return Err(format!("Auth info required to subscribe to {channel}"));
    };
    let text = match channel_data {
        Some(channel_data) => format!("{socket_id}:{channel}:{channel_data}"),
        None => format!("{socket_id}:{channel}"),
    };
    check(terms, auth, &text, &format!("subscription to {channel}"), "subscription auth data")
}

/// Checks the `auth` of a sign-in. Signed are the socket and `user_data` exactly as it was received.
///
/// # Errors
/// What the client is told (pusher-channels 8.1).
pub fn check_user(terms: &Terms<'_>, socket_id: SocketId, auth: &str, user_data: &str) -> Result<(), String> {
    let text = format!("{socket_id}::user::{user_data}");
    check(terms, auth, &text, "sign-in", "sign-in auth data")
}

fn check(terms: &Terms<'_>, auth: &str, text: &str, purpose: &str, source: &str) -> Result<(), String> {
    // A signature has no colon, but a key may have some.
    let Some((key, signature)) = auth.rsplit_once(':') else {
        return Err(format!("Auth value for {purpose} is invalid: should be of format 'key:signature'"));
    };
    let secret = terms.secret_of(key).ok_or_else(|| format!("Invalid key in {source}: '{}'", cut(key)))?;
    if !is_signed(&secret.0, text, signature) {
        return Err(format!(
            "Invalid signature: Expected HMAC SHA256 hex digest of {}, but got {}",
            cut(text),
            cut(signature)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::signature::hmac_hex;
    use crate::model::AppSettings;

    const KEY: &str = "278d425bdf160c739803";
    const SECRET: &str = "7ad3773142a6692b25b8";
    const SOCKET: SocketId = SocketId { high: 1234, low: 1234 };

    fn checked(channel: &str, auth: &str, channel_data: Option<&str>) -> Result<(), String> {
        let app = crate::model::App::sample(KEY, SECRET);
        let settings = AppSettings::default();
        let terms = Terms { app: &app, settings: &settings, signed_in: None, is_subscribed: &|_| false };
        check_channel(&terms, SOCKET, &ChannelName::parse(channel).unwrap(), Some(auth), channel_data)
    }

    fn checked_with(key: &str, channel: &ChannelName, auth: Option<&str>) -> Result<(), String> {
        let (app, settings) = (crate::model::App::sample(key, SECRET), AppSettings::default());
        let terms = Terms { app: &app, settings: &settings, signed_in: None, is_subscribed: &|_| false };
        check_channel(&terms, SOCKET, channel, auth, None)
    }

    fn signed(text: &str) -> String {
        format!("{KEY}:{}", hmac_hex(SECRET, text))
    }

    #[test]
    fn pc_050_the_vectors_are_accepted() {
        let vectors = [
            ("private-foobar", None, "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"),
            (
                "presence-foobar",
                Some(r#"{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#),
                "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80",
            ),
            (
                "presence-foobar",
                Some(r#"{"user_id":10,"user_info":{"name":"Mr. Pusher"}}"#),
                "afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c",
            ),
            (
                "private-encrypted-foobar",
                None,
                "e6a18892d037c5d5e76a2265df4f086ffc38631605530dfd214aa5bff495f533",
            ),
            (
                "presence-foobar",
                Some(r#"{"user_id":"ü1","user_info":{"n":"日本"}}"#),
                "4dcb390c0cb550d32d8a02a995877652bfbb4a6125fc2d4673125d7988fcb38f",
            ),
        ];
        for (channel, channel_data, signature) in vectors {
            assert_eq!(checked(channel, &format!("{KEY}:{signature}"), channel_data), Ok(()), "{signature}");
        }
    }

    #[test]
    fn pc_051_auth_is_required() {
        let channel = ChannelName::parse("private-x").unwrap();
        for auth in [None, Some("")] {
            let refused = checked_with(KEY, &channel, auth).unwrap_err();
            assert_eq!(refused, "Auth info required to subscribe to private-x");
        }
    }

    #[test]
    fn pc_052_auth_is_a_key_and_a_signature() {
        assert_eq!(
            checked("private-x", "nonsense", None).unwrap_err(),
            "Auth value for subscription to private-x is invalid: should be of format 'key:signature'"
        );
    }

    #[test]
    fn pc_053_the_key_is_the_apps() {
        assert_eq!(
            checked("private-x", "other:00", None).unwrap_err(),
            "Invalid key in subscription auth data: 'other'"
        );
    }

    #[test]
    fn pc_054_a_wrong_signature_is_told_what_was_expected() {
        assert_eq!(
            checked("private-x", &format!("{KEY}:00"), None).unwrap_err(),
            "Invalid signature: Expected HMAC SHA256 hex digest of 1234.1234:private-x, but got 00"
        );
    }

    #[test]
    fn pc_057_a_signature_is_for_one_socket_and_one_channel() {
        for text in ["1234.1235:private-x", "1234.1234:private-y"] {
            assert!(checked("private-x", &signed(text), None).is_err(), "{text}");
        }
    }

    #[test]
    fn pc_058_channel_data_is_signed_on_every_kind_of_channel() {
        let with_data = signed("1234.1234:private-x:{}");
        assert_eq!(checked("private-x", &with_data, Some("{}")), Ok(()));
        assert!(checked("private-x", &with_data, None).is_err());
        assert!(checked("private-x", &signed("1234.1234:private-x"), Some("{}")).is_err());
    }

    #[test]
    fn pc_059_the_case_of_the_key_does_not_count() {
        let channel = ChannelName::parse("private-x").unwrap();
        let auth = format!("KEY:{}", hmac_hex(SECRET, "1234.1234:private-x"));
        assert_eq!(checked_with("kEy", &channel, Some(&auth)), Ok(()));
    }
}
