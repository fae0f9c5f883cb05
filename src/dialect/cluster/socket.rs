//! Sockets at `/v1/apps/{app}/ws`: what a client says becomes a command, what the server says becomes JSON (spec 2.6).
//!
//! JSON is taken strictly (E8). What makes no sense is answered with `gusher.error` and counted; what is not permitted
//! is answered by the error of its own event and is no nonsense.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{json, raw};
use crate::dialect::pusher::socket::is_own_event;
use crate::dialect::{Complaint, cut};
use crate::model::json::{Text, members, text_in};
use crate::model::{
    Audience, ChannelName, Command, Content, Parting, Permissions, Push, Refusal, Reply, SocketId, UserId,
};

/// What is remembered of a socket that speaks this dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its public name: the bits of a random UUID.
    pub socket_id: SocketId,
    /// Whose it is; `None` is nobody in particular.
    pub user: Option<UserId>,
    /// What it may subscribe to now.
    pub permissions: Permissions,
    /// How long it may live, in seconds, if that is bounded.
    pub life_s: Option<u32>,
}

/// A socket's name as clients and backends know it: a UUID of version 4 (RFC 9562 section 5.4).
pub fn uuid(id: SocketId) -> String {
    let SocketId { high, low } = id;
    let (time_low, time_mid, time_high) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
    format!("{time_low:08x}-{time_mid:04x}-{time_high:04x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff)
}

/// A UUID of version 4 out of 128 random bits. Its variant sets the highest bit of `low`, so it is never the name of a
/// socket of another dialect.
pub fn random_uuid(bits: SocketId) -> SocketId {
    let high = bits.high & !0xf000 | 0x4000;
    let low = bits.low & !(0b11 << 62) | 0b10 << 62;
    SocketId { high, low }
}

/// The socket that a UUID names, whatever the case of its letters.
pub fn parse_uuid(text: &str) -> Option<SocketId> {
    let groups: Vec<&str> = text.split('-').collect();
    let is_hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) || !groups.iter().all(is_hex) {
        return None;
    }
    let bits = u128::from_str_radix(&groups.concat(), 16).ok()?;
    Some(SocketId { high: (bits >> 64) as u64, low: bits as u64 })
}

/// What makes no sense in a message (E7).
#[derive(Clone, Copy)]
enum Nonsense {
    NoJson,
    NoEvent,
    UnknownEvent,
    NoChannel,
    NoChannels,
    Binary,
}

impl Nonsense {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Nonsense::NoJson => ("invalid_json", "the message is no JSON object"),
            Nonsense::NoEvent => ("missing_event", "event is no string"),
            Nonsense::UnknownEvent => ("unknown_event", "the server knows no such event"),
            Nonsense::NoChannel => ("missing_channel", "data.channel is no string"),
            Nonsense::NoChannels => ("invalid_channels", "data.multi_channel is no list of strings"),
            Nonsense::Binary => ("binary_message", "binary messages are not understood"),
        }
    }

    fn complaint(self, session: &Session) -> Complaint {
        #[derive(Serialize)]
        struct Fault {
            code: &'static str,
            message: &'static str,
        }
        let (code, message) = self.words();
        Complaint { texts: vec![told(session, "gusher.error", &Fault { code, message })], is_nonsense: true }
    }
}

/// Reads a message of a client.
///
/// # Errors
/// What to send back.
pub fn understand(session: &Session, text: &str) -> Result<Command, Complaint> {
    let nonsense = |nonsense: Nonsense| nonsense.complaint(session);
    let message = members(text).ok_or_else(|| nonsense(Nonsense::NoJson))?;
    let event = text_in(&message, "event").ok_or_else(|| nonsense(Nonsense::NoEvent))?;
    let data = message.get("data").copied().unwrap_or(RawValue::NULL);
    match event.as_str() {
        "gusher.subscribe" => {
            let channel = permitted(session, data, "gusher.subscribe_error")?;
            Ok(Command::Subscribe { channel, member: None })
        }
        "gusher.unsubscribe" => {
            permitted(session, data, "gusher.unsubscribe_error").map(Command::Unsubscribe)
        }
        "gusher.multi_subscribe" => all_permitted(session, data).map(Command::SubscribeAll),
        "gusher.querychannel" => Ok(Command::ShowPermissions),
        "gusher.ping" => Ok(Command::Echo(data.get().into())),
        _ => Err(nonsense(Nonsense::UnknownEvent)),
    }
}

/// The channel that `data` names, if the socket may have to do with it.
fn permitted(session: &Session, data: &RawValue, error_event: &str) -> Result<ChannelName, Complaint> {
    let data = members(data.get()).unwrap_or_default();
    let name = text_in(&data, "channel").ok_or_else(|| Nonsense::NoChannel.complaint(session))?;
    permit(session, &name).ok_or_else(|| Complaint {
        texts: vec![told(session, error_event, &OneChannel { channel: &cut(&name) })],
        is_nonsense: false,
    })
}

fn all_permitted(session: &Session, data: &RawValue) -> Result<Vec<ChannelName>, Complaint> {
    let data = members(data.get()).unwrap_or_default();
    let names: Option<Vec<Text>> =
        data.get("multi_channel").map_or(Some(Vec::new()), |names| serde_json::from_str(names.get()).ok());
    let names = names.ok_or_else(|| Nonsense::NoChannels.complaint(session))?;
    let channels: Option<Vec<ChannelName>> = names.iter().map(|Text(name)| permit(session, name)).collect();
    let cut_names: Vec<_> = names.iter().map(|Text(name)| cut(name)).collect();
    channels.filter(|channels| !channels.is_empty()).ok_or_else(|| Complaint {
        texts: vec![told(
            session,
            "gusher.multi_subscribe_error",
            &channels_told(cut_names.iter().map(|name| &**name)),
        )],
        is_nonsense: false,
    })
}

fn permit(session: &Session, name: &str) -> Option<ChannelName> {
    ChannelName::parse_free(name).ok().filter(|_| session.permissions.allow(name))
}

#[derive(Serialize)]
struct OneChannel<'m> {
    channel: &'m str,
}

/// The same list under two names: clients look for the first, the documents have the second (E4).
#[derive(Serialize)]
struct SeveralChannels<'m> {
    channel: Vec<&'m str>,
    multi_channel: Vec<&'m str>,
}

fn channels_told<'m>(names: impl Iterator<Item = &'m str>) -> SeveralChannels<'m> {
    let names: Vec<&str> = names.collect();
    SeveralChannels { channel: names.clone(), multi_channel: names }
}

#[derive(Serialize)]
struct Permitted<'m> {
    channels: &'m [Box<str>],
}

/// What is told to a socket of itself, in the order in which its members are written.
#[derive(Serialize)]
struct Told<'m, D: Serialize> {
    event: &'m str,
    socket_id: String,
    data: D,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<i64>,
}

fn told(session: &Session, event: &str, data: &impl Serialize) -> String {
    json(&Told { event, socket_id: uuid(session.socket_id), data, time: None })
}

/// What a client is told in answer. What it asked for and has already is a success, as in the original.
pub fn reply(session: &Session, reply: &Reply<'_>) -> Option<String> {
    let one =
        |event, channel: &ChannelName| Some(told(session, event, &OneChannel { channel: channel.as_str() }));
    match reply {
        Reply::Subscribed { channel, .. } | Reply::NotSubscribed(channel, Refusal::SubscribedAlready) => {
            one("gusher.subscribe_succeeded", channel)
        }
        Reply::NotSubscribed(channel, _) => one("gusher.subscribe_error", channel),
        Reply::SubscribedToAll(channels) => Some(told(
            session,
            "gusher.multi_subscribe_succeeded",
            &channels_told(channels.iter().map(ChannelName::as_str)),
        )),
        Reply::SubscribedToNone(channels, _) => Some(told(
            session,
            "gusher.multi_subscribe_error",
            &channels_told(channels.iter().map(ChannelName::as_str)),
        )),
        Reply::Unsubscribed(channel) | Reply::NotUnsubscribed(channel, _) => {
            one("gusher.unsubscribe_succeeded", channel)
        }
        Reply::Permissions => {
            let channels = session.permissions.patterns();
            Some(told(session, "gusher.querychannel_succeeded", &Permitted { channels }))
        }
        Reply::Echo { value, at_s } => {
            let (event, socket_id) = ("gusher.pong_succeeded", uuid(session.socket_id));
            Some(json(&Told { event, socket_id, data: raw(value), time: Some(*at_s) }))
        }
        // Nobody asks for these in this dialect.
        Reply::Pong
        | Reply::NotPublished(..)
        | Reply::SignedIn(_)
        | Reply::NotSignedIn(_)
        | Reply::Watched { .. }
        | Reply::WatchlistCut(_)
        | Reply::WatchlistInvalid => None,
    }
}

/// The answer to a binary message.
pub fn binary_refused(session: &Session) -> Complaint {
    Nonsense::Binary.complaint(session)
}

/// Tells a user's sockets that they may subscribe to one more pattern.
pub fn permission_added(pattern: &str) -> String {
    json(&Told {
        event: "gusher.addchannel",
        socket_id: String::new(),
        data: OneChannel { channel: pattern },
        time: None,
    })
}

/// Tells a user's sockets what they may subscribe to from now on.
pub fn permissions_replaced(permissions: &Permissions) -> String {
    let data = Permitted { channels: permissions.patterns() };
    json(&Told { event: "gusher.reloadchannel", socket_id: String::new(), data, time: None })
}

/// An event as subscribers of a channel get it; `value` is the text of a JSON value.
pub fn envelope(channel: &str, event: &str, value: &str) -> String {
    #[derive(Serialize)]
    struct Envelope<'m> {
        channel: &'m str,
        event: &'m str,
        data: &'m RawValue,
    }
    json(&Envelope { channel, event, data: raw(value) })
}

/// What the receivers of a push read; `None` when it is none of theirs. Data that came from another dialect is handed
/// on as the JSON value it is the text of, or else as a string (spec 2.15).
pub fn encode(push: &Push) -> Option<String> {
    match (&push.audience, &push.content) {
        (Audience::Channel(channel), Content::Value { event, value }) => {
            Some(envelope(channel.as_str(), event, value))
        }
        (Audience::Channel(_), Content::Event { event, .. }) if is_own_event(event) => None,
        (Audience::Channel(channel), Content::Event { event, data, .. }) => {
            let is_json = serde_json::from_str::<&RawValue>(data).is_ok();
            let string = (!is_json).then(|| json(&&**data));
            Some(envelope(channel.as_str(), event, string.as_deref().unwrap_or(data)))
        }
        (Audience::Bearers(_) | Audience::Socket(_), Content::Value { value, .. }) => Some(value.to_string()),
        _ => None,
    }
}

/// The close code and reason that tell a client why the node closes it.
pub fn close(parting: Parting) -> (u16, &'static str) {
    match parting {
        Parting::AppUnregistered => (4001, "app unregistered"),
        Parting::AppDisabled => (4003, "app disabled"),
        Parting::TokenExpired => (4009, "token expired"),
        Parting::Nonsense => (1008, "too many errors"),
        Parting::TooManyFrames => (1008, "too many frames"),
        Parting::Unsubscribed => (1008, "timeout to subscribe"),
        // Not asked of its sockets.
        Parting::Terminated | Parting::Unauthorized => (1008, "closed by the app"),
        Parting::NodeStops | Parting::NodeRestarts => (1001, "server stops"),
        Parting::NodeCutOff => (1001, "server lost the other servers"),
        Parting::SlowReader => (1013, "slow consumer"),
        Parting::Silent => (1001, "not heard of"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::AppNumber;

    const ID: &str = "0123abcd-4567-4abc-8def-0123456789ab";

    fn session(permitted: &[&str]) -> Session {
        let permissions = Permissions::new(permitted.iter().map(|pattern| (*pattern).to_owned()));
        Session { socket_id: parse_uuid(ID).unwrap(), user: None, permissions, life_s: None }
    }

    fn asked(permitted: &[&str], message: &Value) -> Result<Command, (String, Value)> {
        understand(&session(permitted), &message.to_string()).map_err(|complaint| {
            let told: Value = serde_json::from_str(&complaint.texts[0]).unwrap();
            assert_eq!(told["socket_id"], ID);
            assert_eq!(complaint.is_nonsense, told["event"] == "gusher.error");
            (told["event"].as_str().unwrap().to_owned(), told["data"].clone())
        })
    }

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse_free(name).unwrap()
    }

    fn told_in(answer: &Reply<'_>) -> Value {
        serde_json::from_str(&reply(&session(&["a*"]), answer).unwrap()).unwrap()
    }

    #[test]
    fn a_name_is_a_uuid_of_version_4_both_ways() {
        assert_eq!(uuid(parse_uuid(ID).unwrap()), ID);
        for bits in [SocketId { high: 0, low: 0 }, SocketId { high: u64::MAX, low: u64::MAX }] {
            let name = uuid(random_uuid(bits));
            assert_eq!((name.len(), &name[14..15]), (36, "4"));
            assert!(matches!(&name[19..20], "8" | "b"), "{name}");
        }
        for bad in ["", "12.34", &ID[1..], &ID.replace('a', "g"), &ID.replace('-', ""), &format!("{ID}-")] {
            assert_eq!(parse_uuid(bad), None, "{bad}");
        }
    }

    #[test]
    fn gc_021_an_allowed_channel_is_subscribed() {
        let message = json!({ "event": "gusher.subscribe", "data": { "channel": "a/b" }, "more": 1 });
        let subscribe = Command::Subscribe { channel: channel("a/b"), member: None };
        assert_eq!(asked(&["a*"], &message), Ok(subscribe));
        let reply = told_in(&Reply::NotSubscribed(&channel("ab"), Refusal::SubscribedAlready));
        let data = json!({ "channel": "ab" });
        assert_eq!(reply, json!({ "event": "gusher.subscribe_succeeded", "socket_id": ID, "data": data }));
    }

    #[test]
    fn gc_022_what_is_not_allowed_is_refused_by_its_name() {
        for name in ["b", "", "a\n", "#server-to-user-a"] {
            for (event, error) in [
                ("gusher.subscribe", "gusher.subscribe_error"),
                ("gusher.unsubscribe", "gusher.unsubscribe_error"),
            ] {
                let refused = asked(&["a*", "#*"], &json!({ "event": event, "data": { "channel": name } }));
                assert_eq!(refused, Err((error.to_owned(), json!({ "channel": name }))));
            }
        }
    }

    #[test]
    fn gc_025_one_channel_that_is_not_allowed_fails_all() {
        let ask = |names: Value| {
            asked(&["a*"], &json!({ "event": "gusher.multi_subscribe", "data": { "multi_channel": names } }))
        };
        assert_eq!(ask(json!(["a1", "a2"])), Ok(Command::SubscribeAll(vec![channel("a1"), channel("a2")])));
        for names in [json!(["a1", "b"]), json!([])] {
            let told = json!({ "channel": names, "multi_channel": names });
            assert_eq!(ask(names), Err(("gusher.multi_subscribe_error".to_owned(), told)));
        }
        assert_eq!(ask(json!("a1")).unwrap_err().1["code"], "invalid_channels");
    }

    #[test]
    fn gc_026_a_missing_list_is_an_empty_one() {
        for data in [json!({}), json!(null)] {
            let refused = asked(&["*"], &json!({ "event": "gusher.multi_subscribe", "data": data }));
            assert_eq!(refused.unwrap_err().0, "gusher.multi_subscribe_error");
        }
    }

    #[test]
    fn gc_024_several_channels_are_told_under_two_names() {
        let told = told_in(&Reply::SubscribedToAll(&[channel("a"), channel("b")]));
        assert_eq!(told["event"], "gusher.multi_subscribe_succeeded");
        assert_eq!(told["data"], json!({ "channel": ["a", "b"], "multi_channel": ["a", "b"] }));
    }

    #[test]
    fn gc_032_data_may_be_left_out_where_nothing_is_in_it() {
        assert_eq!(asked(&[], &json!({ "event": "gusher.ping" })), Ok(Command::Echo("null".into())));
        assert_eq!(asked(&[], &json!({ "event": "gusher.querychannel" })), Ok(Command::ShowPermissions));
    }

    #[test]
    fn gc_031_a_ping_is_echoed_byte_for_byte() {
        let text = r#"{"event":"gusher.ping","data":{"b":1.0, "a":12345678901234567890}}"#;
        let Ok(Command::Echo(value)) = understand(&session(&[]), text) else { panic!("no echo") };
        let told = reply(&session(&[]), &Reply::Echo { value: &value, at_s: 7 }).unwrap();
        let data = r#"{"b":1.0, "a":12345678901234567890}"#;
        let expected =
            format!(r#"{{"event":"gusher.pong_succeeded","socket_id":"{ID}","data":{data},"time":7}}"#);
        assert_eq!(told, expected);
    }

    #[test]
    fn gc_033_nonsense_is_told_with_its_code() {
        for (message, code) in [
            (json!([]), "invalid_json"),
            (json!({}), "missing_event"),
            (json!({ "event": 1 }), "missing_event"),
            (json!({ "event": "gusher.login" }), "unknown_event"),
            (json!({ "event": "mine", "data": {}, "channel": "a" }), "unknown_event"),
            (json!({ "event": "gusher.subscribe" }), "missing_channel"),
            (json!({ "event": "gusher.unsubscribe", "data": { "channel": 1 } }), "missing_channel"),
        ] {
            let (event, data) = asked(&["*"], &message).unwrap_err();
            assert_eq!((&*event, &data["code"]), ("gusher.error", &json!(code)), "{message}");
            assert!(data["message"].is_string());
        }
        for text in ["", "{", r#"{"event":"gusher.ping"} x"#, r#"{"event":"gusher.ping",}"#] {
            assert!(understand(&session(&[]), text).is_err_and(|complaint| complaint.is_nonsense), "{text}");
        }
    }

    #[test]
    fn gc_045_no_permissions_are_an_empty_list() {
        let told = reply(&session(&[]), &Reply::Permissions).unwrap();
        assert!(told.ends_with(r#""data":{"channels":[]}}"#), "{told}");
    }

    fn pushed(audience: Audience, content: Content) -> Option<String> {
        encode(&Push { app: AppNumber(0), audience, content, except: None, revision: 0 })
    }

    #[test]
    fn gc_048_a_value_arrives_digit_for_digit() {
        let value = |value: &str| Content::Value { event: "e".into(), value: value.into() };
        for text in ["12345678901234567890", "1.0", r#"{"b":1, "a":"<&>"}"#, "null"] {
            let on_channel = pushed(Audience::Channel(channel("c")), value(text)).unwrap();
            assert_eq!(on_channel, format!(r#"{{"channel":"c","event":"e","data":{text}}}"#));
            let user = UserId::parse("u").unwrap();
            assert_eq!(pushed(Audience::Bearers(user), value(text)).as_deref(), Some(text));
        }
    }

    #[test]
    fn data_of_another_dialect_is_a_value_if_it_reads_as_one() {
        let event = |data: &str| Content::Event { event: "e".into(), data: data.into(), user: None };
        for (data, value) in
            [(r#"{"a":1.0}"#, r#"{"a":1.0}"#), ("7", "7"), ("not json", r#""not json""#), ("", r#""""#)]
        {
            let told = pushed(Audience::Channel(channel("c")), event(data)).unwrap();
            assert_eq!(told, format!(r#"{{"channel":"c","event":"e","data":{value}}}"#));
        }
    }

    #[test]
    fn what_other_dialects_tell_of_channels_is_none_of_its_business() {
        assert_eq!(pushed(Audience::Channel(channel("c")), Content::SubscriptionCount(1)), None);
        assert_eq!(pushed(Audience::Everyone, Content::Value { event: "".into(), value: "1".into() }), None);
    }
}
