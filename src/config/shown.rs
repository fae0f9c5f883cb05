//! Settings as they may be shown: each secret replaced by `…`.
//!
//! What is a secret is told by its name and its form, not by a list, so that a new setting cannot be forgotten: a name
//! that ends in `password`, `secret` or `token`, and whatever a URL holds before its last `@` or behind its `?`.

use serde_json::Value;

/// What stands for a secret.
const MASK: &str = "…";

/// How the name of a secret ends.
const SECRET_NAMES: [&str; 3] = ["password", "secret", "token"];

/// A copy of `settings` without their secrets. One that is not set stays empty, for that is worth knowing.
pub(super) fn shown(settings: &Value) -> Value {
    match settings {
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| (name.clone(), member_shown(name, value));
            members.iter().map(member).collect()
        }
        other => other.clone(),
    }
}

fn member_shown(name: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if text.is_empty() => value.clone(),
        Value::String(_) if SECRET_NAMES.iter().any(|ending| name.ends_with(ending)) => MASK.into(),
        Value::String(text) => text_shown(text).into(),
        other => shown(other),
    }
}

/// A text, if it is one or several URLs without their credentials. Where one ends and the next begins is not for sure
/// while passwords may hold commas, so of several with credentials only the last host is left.
fn text_shown(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let rest = match rest.rsplit_once('@') {
        Some((_, hosts)) => format!("{MASK}@{hosts}"),
        None => rest.to_owned(),
    };
    match rest.split_once('?') {
        Some((place, _)) => format!("{scheme}://{place}?{MASK}"),
        None => format!("{scheme}://{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::typed::Typed;
    use serde_json::json;

    #[test]
    fn secrets_are_gone_at_every_depth_and_the_rest_is_as_it_was() {
        let settings = json!({
            "auth_password": "hidden", "listen": ":1",
            "bus": { "password": "", "url": "nats://me:hid,den@one:1", "user": "me", "buffer_bytes_max": 1 },
        });
        let expected = json!({
            "auth_password": "…", "listen": ":1",
            "bus": { "password": "", "url": "nats://…@one:1", "user": "me", "buffer_bytes_max": 1 },
        });
        assert_eq!(shown(&settings), expected);
    }

    #[test]
    fn urls_lose_credentials_and_queries_alone() {
        for (text, expected) in [
            ("redis://one:6379,two:6379", "redis://one:6379,two:6379"),
            ("redis://u:hidden@one,redis://u:hid@den@two/0", "redis://…@two/0"),
            ("postgres://one/apps?password=hidden", "postgres://one/apps?…"),
            ("./a@b?.sqlite", "./a@b?.sqlite"),
        ] {
            assert_eq!(text_shown(text), expected);
        }
    }

    #[test]
    fn no_default_is_changed_by_being_shown() {
        let defaults = serde_json::to_value(Typed::default()).unwrap();
        assert_eq!(shown(&defaults), defaults);
    }
}
