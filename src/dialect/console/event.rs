//! An event that is sent from the console, to try something out.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::Fault;
use crate::model::json::Text;
use crate::model::{
    AppSettings, ChannelName, Pattern, Publication, Refusal, Target, UserId, ValueEvent, text_of_json,
};

/// What is to be published.
#[derive(Debug)]
pub enum Wanted {
    /// To a channel, in each dialect that is heard there.
    Channel(ValueEvent),
    /// To all sockets of a user. Those with a tag get no name of an event, nor do those whom a token names.
    User {
        /// Who.
        user: UserId,
        /// The event's name.
        event: Arc<str>,
        /// The text of a JSON value.
        value: Arc<str>,
    },
    /// To sockets with a tag.
    Tags(Publication),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum To {
    Channel,
    User,
    Pattern,
    Everyone,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed<'a> {
    target: To,
    #[serde(default)]
    to: Text,
    #[serde(default)]
    event: Text,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// `POST /console/api/apps/{app_key}/events`; `compile` makes a pattern of a text.
///
/// # Errors
/// 400 for what breaks a rule, 413 for data that is longer than the app allows.
pub fn read(
    body: &[u8],
    settings: &AppSettings,
    compile: impl FnOnce(&str) -> Result<Pattern, Refusal>,
) -> Result<Wanted, Fault> {
    let typed: Typed<'_> = serde_json::from_slice(body)
        .map_err(|error| Fault::invalid(format!("the body is no event: {error}")))?;
    let Typed { target, to: Text(to), event: Text(event), data } = typed;
    if data.get().len() > settings.max_event_bytes as usize {
        return Err(Fault::too_long(settings.max_event_bytes));
    }
    let text = || text_of_json(data.get()).into();
    Ok(match target {
        To::Channel => {
            let (channel, value) = (channel(&to, settings)?, data.get().into());
            Wanted::Channel(ValueEvent { channel, event: named(event, settings)?, value })
        }
        To::User => {
            Wanted::User { user: user(&to)?, event: named(event, settings)?, value: data.get().into() }
        }
        To::Pattern => Wanted::Tags(tagged(Target::UsersMatching(compile(&to)?), text())),
        To::Everyone => Wanted::Tags(tagged(Target::Everyone, text())),
    })
}

fn tagged(target: Target, data: Arc<str>) -> Publication {
    Publication { target, event: "".into(), data, except: None }
}

/// Either kind of name, no longer than the app allows.
fn channel(name: &str, settings: &AppSettings) -> Result<ChannelName, Fault> {
    if name.chars().count() > settings.max_channel_name_length as usize {
        return Err(Fault::invalid("to is longer than the name of a channel may be"));
    }
    ChannelName::parse_free(name).map_err(|_| Fault::invalid("to is no name of a channel"))
}

fn user(name: &str) -> Result<UserId, Fault> {
    UserId::parse(name).map_err(|_| Fault::invalid("to is no name of a user"))
}

fn named(event: String, settings: &AppSettings) -> Result<Arc<str>, Fault> {
    let is_reserved =
        ["pusher:", "pusher_internal:", "gusher."].iter().any(|prefix| event.starts_with(prefix));
    match event.chars().count() {
        0 => Err(Fault::invalid("event is empty")),
        _ if is_reserved => Err(Fault::invalid("event begins like an event of the protocol")),
        chars if chars > settings.max_event_name_length as usize => {
            Err(Fault::invalid("event is longer than the name of an event may be"))
        }
        _ => Ok(event.into()),
    }
}

/// The answer: how many it was for. Users are told of where there are tags.
pub fn published(users: Option<usize>, sockets: usize) -> String {
    match users {
        Some(users) => json!({ "reach": { "users": users, "sockets": sockets } }),
        None => json!({ "reach": { "sockets": sockets } }),
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pattern::PatternLimits;

    fn asked(body: &str) -> Result<Wanted, Fault> {
        let settings =
            AppSettings { max_event_bytes: 20, max_channel_name_length: 10, ..AppSettings::default() };
        let limits = PatternLimits { pattern_bytes_max: 100, compiled_bytes_max: 100_000 };
        read(body.as_bytes(), &settings, |source| {
            Pattern::parse(source, limits).map_err(|error| Refusal::PatternInvalid(error.to_string()))
        })
    }

    #[test]
    fn what_a_channel_hears_is_a_value_and_what_tags_hear_a_text() {
        let body = r#"{"target":"channel","to":"news","event":"e","data":{"b":1.0, "a":2}}"#;
        let Ok(Wanted::Channel(event)) = asked(body) else { panic!("{body}") };
        assert_eq!(
            (event.channel.as_str(), &*event.event, &*event.value),
            ("news", "e", r#"{"b":1.0, "a":2}"#)
        );
        let Ok(Wanted::Tags(to_all)) = asked(r#"{"target":"everyone","data":"say \"hi\""}"#) else {
            panic!()
        };
        assert_eq!((&*to_all.event, &*to_all.data), ("", r#"say "hi""#));
    }

    #[test]
    fn what_breaks_a_rule_is_refused_with_a_sentence() {
        let refused = |body: &str| asked(body).unwrap_err().text;
        let channel = |to: &str, event: &str| {
            format!(r#"{{"target":"channel","to":"{to}","event":"{event}","data":1}}"#)
        };
        assert_eq!(refused(&channel("", "e")), "to is no name of a channel");
        assert_eq!(refused(&channel("eleven char", "e")), "to is longer than the name of a channel may be");
        assert_eq!(refused(&channel("news", "")), "event is empty");
        assert_eq!(refused(&channel("news", "pusher:x")), "event begins like an event of the protocol");
        let long = r#"{"target":"everyone","data":"twenty-one characters"}"#;
        assert_eq!(asked(long).unwrap_err().status.as_u16(), 413);
        assert!(refused(r#"{"target":"pattern","to":"(","data":1}"#).starts_with("pattern error: "));
        assert!(refused(r#"{"target":"nobody","data":1}"#).starts_with("the body is no event: "));
    }
}
