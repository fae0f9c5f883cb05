//! The calls under `/v1`: what a backend sends becomes nouns of the model, what the hub answers becomes JSON (spec 2.4,
//! 2.8, 2.9).
//!
//! Names of members match whatever their case and the last of several counts; only the first JSON value of a body is
//! read; the data of an event is handed on byte for byte (E20).

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;

use super::token::Claims;
use super::{json, raw, socket};
use crate::model::json::Text;
use crate::model::{ChannelFault, ChannelName, PermissionChange, Permissions, Refusal, ValueEvent};

/// What a body that cannot be read is answered.
const BODY_FAULT: &str = "body decode error";

/// What an `Authorization` header shows as bearer (RFC 6750 section 2.1).
pub fn bearer(authorization: Option<&[u8]>) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(authorization?).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Why a call fails: a status and one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The status.
    pub status: StatusCode,
    /// The line, without its end.
    pub text: String,
}

impl Fault {
    fn invalid(text: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text: text.into() }
    }

    /// The body of a call for a token is no JSON.
    pub fn token_body() -> Self {
        Self::invalid("body decode fail")
    }

    /// The token of a call for a token is not to be believed.
    pub fn token() -> Self {
        Self { status: StatusCode::UNAUTHORIZED, text: "jwt decode fail".to_owned() }
    }

    /// There is nothing to decode.
    pub fn claims() -> Self {
        Self::invalid("data error")
    }

    /// A socket is refused: it shows no token.
    pub fn token_missing() -> Self {
        Self { status: StatusCode::UNAUTHORIZED, text: "app_key is nil".to_owned() }
    }

    /// A socket is refused: its token is not to be believed.
    pub fn token_refused() -> Self {
        Self { status: StatusCode::UNAUTHORIZED, text: "token error".to_owned() }
    }

    /// A socket is refused: its token is for another app, or for none that is registered.
    pub fn wrong_app() -> Self {
        Self { status: StatusCode::UNAUTHORIZED, text: "appkey error".to_owned() }
    }
}

impl From<&Refusal> for Fault {
    /// What is not worded here is worded as everywhere else.
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::PatternInvalid(_) => Self::invalid("channel_pattern cant regex"),
            Refusal::PatternTooSlow => Self::invalid("channel_pattern takes too long to match"),
            Refusal::Overloaded | Refusal::BusDown => {
                Self { status: StatusCode::SERVICE_UNAVAILABLE, text: "push error".to_owned() }
            }
            other => {
                let (status, text) = crate::dialect::gusher::api::refusal(other);
                Self { status, text }
            }
        }
    }
}

/// An event for all live channels whose names match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternEvent {
    /// What names must match.
    pub pattern: String,
    /// Its name.
    pub name: Arc<str>,
    /// Its data: the text of a JSON value.
    pub value: Arc<str>,
}

/// The members of a JSON object under their names in small letters.
struct Fields<'b>(HashMap<String, &'b RawValue>);

impl<'b> Fields<'b> {
    fn read(body: &'b [u8]) -> Result<Self, Fault> {
        Self::of(first_value(body)?)
    }

    fn of(value: &'b RawValue) -> Result<Self, Fault> {
        // An object whose members keep their order, so that the last of several counts; `null` is an empty one.
        let members: Option<indexmap::IndexMap<Text, &RawValue>> = decoded(value)?;
        let small = |(name, value): (Text, &'b RawValue)| (name.0.to_lowercase(), value);
        Ok(Self(members.unwrap_or_default().into_iter().map(small).collect()))
    }

    /// A string; empty when absent or `null`.
    fn string(&self, name: &str) -> Result<String, Fault> {
        let value = self.0.get(name).map(|value| decoded::<Option<Text>>(value)).transpose()?;
        Ok(value.flatten().unwrap_or_default().0)
    }

    /// The text of the data; that of `null` when absent.
    fn data(&self) -> Arc<str> {
        self.0.get("data").map_or("null", |value| value.get()).into()
    }
}

fn first_value(body: &[u8]) -> Result<&RawValue, Fault> {
    let text = std::str::from_utf8(body).map_err(|_| Fault::invalid(BODY_FAULT))?;
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    values.next().and_then(Result::ok).ok_or_else(|| Fault::invalid(BODY_FAULT))
}

fn decoded<'b, T: serde::Deserialize<'b>>(value: &'b RawValue) -> Result<T, Fault> {
    serde_json::from_str(value.get()).map_err(|_| Fault::invalid(BODY_FAULT))
}

/// The token in the body of a call for one.
///
/// # Errors
/// [`Fault::token_body`].
pub fn token(body: &[u8]) -> Result<String, Fault> {
    Fields::read(body).and_then(|fields| fields.string("jwt")).map_err(|_| Fault::token_body())
}

/// A channel that a path or a body names (E29, E30).
///
/// # Errors
/// No channel can be called that.
pub fn channel(name: &str) -> Result<ChannelName, Fault> {
    ChannelName::parse_free(name).map_err(|fault| {
        Fault::invalid(match fault {
            ChannelFault::Invalid if name.is_empty() => "channel empty error",
            ChannelFault::Invalid => "channel name invalid",
            ChannelFault::TooLong => "channel name too long",
        })
    })
}

/// `POST .../channels/{channel}/messages`.
///
/// # Errors
/// The body cannot be read, or names no event.
pub fn event(channel: ChannelName, body: &[u8]) -> Result<ValueEvent, Fault> {
    let fields = Fields::read(body)?;
    let name = fields.string("event")?;
    if name.is_empty() {
        return Err(Fault::invalid("empty event"));
    }
    Ok(ValueEvent { channel, event: name.into(), value: fields.data() })
}

/// `POST .../messages`.
///
/// # Errors
/// The body cannot be read, or lacks the pattern or the event.
pub fn pattern_event(body: &[u8]) -> Result<PatternEvent, Fault> {
    let fields = Fields::read(body)?;
    let (pattern, name) = (fields.string("channel_pattern")?, fields.string("event")?);
    if pattern.is_empty() || name.is_empty() {
        return Err(Fault::invalid("empty param"));
    }
    Ok(PatternEvent { pattern, name: name.into(), value: fields.data() })
}

/// `POST .../messages/batch`: all of it is checked before any of it is sent (E21, E27).
///
/// # Errors
/// The body cannot be read, or an event in it is not complete; the text says which.
pub fn batch(body: &[u8]) -> Result<Vec<ValueEvent>, Fault> {
    let items: Option<Vec<&RawValue>> = decoded(first_value(body)?)?;
    let item = |(index, item): (usize, &RawValue)| {
        let fields = Fields::of(item)?;
        let named = channel(&fields.string("channel")?);
        let named = named.and_then(|channel| match fields.string("event")? {
            name if name.is_empty() => Err(Fault::invalid("empty event")),
            name => Ok(ValueEvent { channel, event: name.into(), value: fields.data() }),
        });
        named.map_err(|fault| Fault::invalid(format!("{} at index {index}", fault.text)))
    };
    items.unwrap_or_default().into_iter().enumerate().map(item).collect()
}

/// `POST .../users/{user}/messages` and `POST .../sockets/{socket}/messages`.
///
/// # Errors
/// The body cannot be read.
pub fn value(body: &[u8]) -> Result<Arc<str>, Fault> {
    Fields::read(body).map(|fields| fields.data())
}

/// `POST .../users/{user}/channels`.
///
/// # Errors
/// The body cannot be read, or names no channel.
pub fn added(body: &[u8]) -> Result<PermissionChange, Fault> {
    match Fields::read(body)?.string("channel")? {
        pattern if pattern.is_empty() => Err(Fault::invalid("channel empty error")),
        pattern => Ok(PermissionChange::Add(pattern.into())),
    }
}

/// `PUT .../users/{user}/channels`.
///
/// # Errors
/// The body cannot be read.
pub fn replaced(body: &[u8]) -> Result<PermissionChange, Fault> {
    let fields = Fields::read(body)?;
    let patterns = fields.0.get("channels").map(|value| decoded::<Option<Vec<Text>>>(value)).transpose()?;
    let patterns = patterns.flatten().map(|patterns| patterns.into_iter().map(|Text(pattern)| pattern));
    Ok(PermissionChange::Replace(patterns.map(Permissions::new)))
}

/// The token that was believed, and a line's end.
pub fn token_told(token: &str) -> String {
    #[derive(Serialize)]
    struct Told<'m> {
        token: &'m str,
    }
    json(&Told { token }) + "\n"
}

/// What a token says.
pub fn claims_told(claims: &Claims) -> String {
    json(claims)
}

/// An event as its subscribers get it.
pub fn event_told(event: &ValueEvent) -> String {
    socket::envelope(event.channel.as_str(), &event.event, &event.value)
}

/// How many channels matched.
pub fn pattern_told(total: usize, pattern: &str) -> String {
    #[derive(Serialize)]
    struct Told<'m> {
        total: usize,
        pattern: &'m str,
    }
    json(&Told { total, pattern })
}

/// How many events there were.
pub fn batch_told(total: usize) -> String {
    #[derive(Serialize)]
    struct Told {
        total: usize,
    }
    json(&Told { total })
}

#[derive(Serialize)]
struct UserTold<'m, D: Serialize> {
    user_id: &'m str,
    data: D,
}

/// What went to a user.
pub fn user_told(user: &str, value: &str) -> String {
    json(&UserTold { user_id: user, data: raw(value) })
}

/// What went to a socket.
pub fn socket_told(socket: &str, value: &str) -> String {
    #[derive(Serialize)]
    struct Told<'m> {
        socket_id: &'m str,
        data: &'m RawValue,
    }
    json(&Told { socket_id: socket, data: raw(value) })
}

/// What changed for a user.
pub fn change_told(user: &str, change: &PermissionChange) -> String {
    match change {
        PermissionChange::Add(pattern) => json(&UserTold { user_id: user, data: &**pattern }),
        PermissionChange::Replace(permissions) => {
            json(&UserTold { user_id: user, data: permissions.as_ref().map(Permissions::patterns) })
        }
    }
}

/// Names of channels or users.
pub fn names_told<'m>(names: impl Iterator<Item = &'m str>) -> String {
    json(&names.collect::<Vec<_>>())
}

/// How many channels or users there are.
pub fn count_told(count: usize) -> String {
    #[derive(Serialize)]
    struct Told {
        count: usize,
    }
    json(&Told { count })
}

/// What all apps add up to: apps with sockets, sockets, users of each app.
pub fn stats_told(rows: &[AppRow]) -> String {
    #[derive(Serialize)]
    struct Told {
        apps: usize,
        connections: usize,
        users: usize,
    }
    let (connections, users) = rows
        .iter()
        .fold((0, 0), |(connections, users), row| (connections + row.connections, users + row.users));
    json(&Told { apps: rows.len(), connections, users })
}

/// One app that has sockets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AppRow {
    /// Its key.
    pub app: String,
    /// Its sockets that came with a token.
    pub connections: usize,
    /// Distinct users among them.
    pub users: usize,
}

/// The apps that have sockets.
pub fn apps_told(rows: &[AppRow]) -> String {
    json(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> ChannelName {
        ChannelName::parse_free(name).unwrap()
    }

    fn text<T: std::fmt::Debug>(refused: Result<T, Fault>) -> String {
        let fault = refused.unwrap_err();
        assert_eq!(fault.status, 400);
        fault.text
    }

    #[test]
    fn gc_046_an_event_is_answered_as_it_is_delivered() {
        let read = event(named("c"), br#"{"event":"e","data":{"b":1.0, "a":12345678901234567890}}"#).unwrap();
        assert_eq!(
            event_told(&read),
            r#"{"channel":"c","event":"e","data":{"b":1.0, "a":12345678901234567890}}"#
        );
    }

    #[test]
    fn members_match_whatever_their_case_and_the_first_value_is_read() {
        let read = event(named("c"), br#"{"EVENT":"x","Event":"e","DATA":1} trailing {"#).unwrap();
        assert_eq!((&*read.event, &*read.value), ("e", "1"));
        assert_eq!(&*event(named("c"), br#"{"event":"e"}"#).unwrap().value, "null");
    }

    #[test]
    fn gc_049_what_is_no_event_is_refused() {
        for empty in ["{}", "null", r#"{"event":""}"#, r#"{"event":null,"data":1}"#] {
            assert_eq!(text(event(named("c"), empty.as_bytes())), "empty event");
        }
        for broken in [&b""[..], b"{", b"[]", b"1", br#"{"event":1}"#, b"{\"event\":\"\xff\"}"] {
            assert_eq!(text(event(named("c"), broken)), BODY_FAULT);
        }
    }

    #[test]
    fn gc_052_pattern_and_event_are_required() {
        for body in ["{}", r#"{"channel_pattern":"x"}"#, r#"{"event":"e","channel_pattern":""}"#] {
            assert_eq!(text(pattern_event(body.as_bytes())), "empty param");
        }
        let refused = Fault::from(&Refusal::PatternInvalid("missing )".into()));
        assert_eq!((refused.status.as_u16(), &*refused.text), (400, "channel_pattern cant regex"));
    }

    #[test]
    fn gc_054_a_batch_is_a_list() {
        assert_eq!(batch(b"[]"), Ok(Vec::new()));
        assert_eq!(batch_told(0), r#"{"total":0}"#);
        assert_eq!(text(batch(b"{}")), BODY_FAULT);
    }

    #[test]
    fn an_incomplete_event_fails_its_batch_by_its_index() {
        let good = r#"{"channel":"a","event":"e"}"#;
        for (bad, fault) in [
            (r#"{"channel":"a"}"#, "empty event at index 1"),
            (r#"{"event":"e"}"#, "channel empty error at index 1"),
            (r#"{"channel":"a\n","event":"e"}"#, "channel name invalid at index 1"),
        ] {
            assert_eq!(text(batch(format!("[{good},{bad}]").as_bytes())), fault);
        }
        assert_eq!(text(batch(format!("[{good},7]").as_bytes())), BODY_FAULT);
    }

    #[test]
    fn gc_062_a_channel_to_add_is_not_empty() {
        assert_eq!(text(added(b"{}")), "channel empty error");
        let change = added(br#"{"channel":"new"}"#).unwrap();
        assert_eq!(change_told("u", &change), r#"{"user_id":"u","data":"new"}"#);
    }

    #[test]
    fn a_list_that_is_missing_replaces_by_nothing() {
        let told = |body: &[u8]| change_told("u", &replaced(body).unwrap());
        assert_eq!(told(b"{}"), r#"{"user_id":"u","data":null}"#);
        assert_eq!(told(br#"{"channels":["a","b"]}"#), r#"{"user_id":"u","data":["a","b"]}"#);
        assert_eq!(text(replaced(br#"{"channels":"a"}"#)), BODY_FAULT);
    }

    #[test]
    fn gc_013_a_body_without_json_holds_no_token() {
        assert_eq!(token(b"jwt=x"), Err(Fault::token_body()));
        assert_eq!(token(br#"{"jwt":"x"}"#).as_deref(), Ok("x"));
        assert_eq!(token(b"{}").as_deref(), Ok(""));
    }
}
