//! Sockets at `/app/{key}`: what a client says becomes a command, what the server says becomes JSON
//! (pusher-channels 1 to 4, 9, 11).
//!
//! A message is judged here as far as it can be without the hub: whether the socket is subscribed, how full a channel
//! is and how fast a client sends is found out by the shard, which has its refusals worded here. Whatever is refused,
//! the socket stays open. In what is sent, `data` is a JSON string, except in `pusher:error`, where it is an object.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::auth;
use super::data::data_of;
use super::handshake::is_integer;
pub use super::handshake::{ClientKind, Closing, Session};
use crate::dialect::{Terms, cut};
use crate::model::json::{self as json_text, Members, members, text_in};
use crate::model::{
    AppRate, AppSettings, Audience, ChannelFault, ChannelKind, ChannelName, Command, Content, Kept, Member,
    Parting, Push, Refusal, Reply, SignIn, UserId, text_of_json,
};

/// The name that subscribers know a refused subscription by.
const SUBSCRIPTION_ERROR: &str = "pusher:subscription_error";

/// The code of a refused sign-in. It is told, and never closes (pusher-channels 8.1).
const SIGN_IN_REFUSED: u16 = 4009;
const SIGNED_IN_ALREADY: &str = "Already signed in as another user";

/// The only name that the dotnet library knows it by.
const SUBSCRIPTION_ERROR_DOTNET: &str = "pusher_internal:subscription_error";

/// Reads a message of a client. `None` is a message that asks for nothing.
///
/// # Errors
/// What to send back, in this order.
pub fn understand(session: &Session, terms: &Terms<'_>, text: &str) -> Result<Option<Command>, Vec<String>> {
    let malformed = || vec![error(None, "Invalid message format")];
    let message = members(text).ok_or_else(malformed)?;
    let event = text_in(&message, "event").ok_or_else(malformed)?;
    let data = message.get("data").map(|data| data.get());
    match event.as_str() {
        "pusher:ping" => Ok(Some(Command::Ping)),
        "pusher:pong" => Ok(None),
        "pusher:subscribe" => subscribe(session, terms, data).map(Some),
        "pusher:unsubscribe" => unsubscribe(data).map(Some),
        "pusher:signin" => sign_in(session, terms, data).map(Some),
        name if name.starts_with("client-") => match client_event(terms, &message, &event) {
            Ok(command) => Ok(Some(command)),
            Err(message) => Err(vec![error(None, &message)]),
        },
        name => Err(vec![error(None, &format!("Unsupported event received on socket: {}", cut(name)))]),
    }
}

fn subscribe(session: &Session, terms: &Terms<'_>, data: Option<&str>) -> Result<Command, Vec<String>> {
    let data = decoded_once(data);
    let data = members(&data).unwrap_or_default();
    let name = text_in(&data, "channel").ok_or_else(|| missing("channel"))?;
    let refused = |(kind, status, message): SubscriptionFault| {
        not_subscribed(session, &cut(&name), kind, status, &message)
    };
    let channel = channel_name(terms.settings, &name).map_err(|fault| {
        let message = match fault {
            ChannelFault::Invalid => format!("Invalid channel name: {}", cut(&name)),
            ChannelFault::TooLong => format!("Channel name too long: {}", cut(&name)),
        };
        refused((ErrorKind::InvalidChannel, 400, message))
    })?;
    let channel_data = text_in(&data, "channel_data");
    let member = match channel.kind() {
        ChannelKind::Public => None,
        ChannelKind::User => {
            let is_own = terms.signed_in.is_some_and(|own| channel.user() == Some(own.user.as_str()));
            let message = || format!("Not signed in as the user of channel {channel}");
            is_own.then_some(None).ok_or_else(|| refused((ErrorKind::AuthError, 401, message())))?
        }
        kind @ (ChannelKind::Private | ChannelKind::Presence) => {
            let permission = text_in(&data, "auth");
            auth::check_channel(
                terms,
                session.socket_id,
                &channel,
                permission.as_deref(),
                channel_data.as_deref(),
            )
            .map_err(|message| refused((ErrorKind::AuthError, 401, message)))?;
            let is_presence = kind == ChannelKind::Presence;
            is_presence.then(|| member(terms, channel_data.as_deref())).transpose().map_err(refused)?
        }
    };
    Ok(Command::Subscribe { channel, member })
}

/// A name as long as the app allows; that of a user's own channel is bounded by the user's id.
///
/// # Errors
/// What is wrong with it.
pub fn channel_name(settings: &AppSettings, name: &str) -> Result<ChannelName, ChannelFault> {
    let channel = ChannelName::parse(name)?;
    let (length, length_max) = match channel.user() {
        Some(user) => (user.len(), settings.max_user_id_length),
        None => (name.len(), settings.max_channel_name_length),
    };
    if length <= length_max as usize { Ok(channel) } else { Err(ChannelFault::TooLong) }
}

/// Reads who has signed in (pusher-channels 8.1).
fn sign_in(session: &Session, terms: &Terms<'_>, data: Option<&str>) -> Result<Command, Vec<String>> {
    let data = decoded_once(data);
    let data = members(&data).unwrap_or_default();
    let required = |name| text_in(&data, name).filter(|text| !text.is_empty()).ok_or_else(|| missing(name));
    let (permission, user_data) = (required("auth")?, required("user_data")?);
    let refused = |message: &str| vec![error(Some(SIGN_IN_REFUSED), message)];
    auth::check_user(terms, session.socket_id, &permission, &user_data)
        .map_err(|message| refused(&message))?;
    let user = members(&user_data).ok_or_else(|| refused("user_data is not a JSON object"))?;
    let is_id =
        |id: &String| ChannelName::is_word(id) && id.len() <= terms.settings.max_user_id_length as usize;
    let id = text_in(&user, "id").filter(is_id).ok_or_else(|| refused("user_data has no valid id"))?;
    let user_id = UserId::parse(&id).map_err(|_| refused("user_data has no valid id"))?;
    if terms.signed_in.is_some_and(|own| own.user != user_id) {
        return Err(refused(SIGNED_IN_ALREADY));
    }
    let info = user.get("user_info").map_or("{}", |info| info.get());
    let list = user.get("watchlist").map(|list| list.get());
    let mut sign_in = SignIn {
        member: Member { user: user_id, info: info.into() },
        user_data: user_data.as_str().into(),
        watchlist: Vec::new(),
        is_watchlist_cut: false,
        is_watchlist_invalid: false,
    };
    if let Some(list) = list.filter(|list| terms.settings.watchlists && *list != "null") {
        watch(terms.settings, list, &mut sign_in);
    }
    Ok(Command::SignIn(sign_in))
}

/// Reads the users to watch: each is named once, and there are no more than the app allows.
fn watch(settings: &AppSettings, list: &str, sign_in: &mut SignIn) {
    let ids: Option<Vec<&RawValue>> = serde_json::from_str(list).ok();
    sign_in.is_watchlist_invalid = ids.is_none();
    let mut users = indexmap::IndexSet::new();
    for id in ids.unwrap_or_default() {
        match id_of(id.get()).and_then(|id| UserId::parse(&id).ok()) {
            Some(user) => drop(users.insert(user)),
            None => sign_in.is_watchlist_invalid = true,
        }
    }
    let ids_max = settings.max_watchlist_ids as usize;
    sign_in.is_watchlist_cut = users.len() > ids_max;
    sign_in.watchlist = users.into_iter().take(ids_max).collect();
}

fn unsubscribe(data: Option<&str>) -> Result<Command, Vec<String>> {
    let data = decoded_once(data);
    let data = members(&data).unwrap_or_default();
    let name = text_in(&data, "channel").ok_or_else(|| missing("channel"))?;
    // No socket is in a channel that cannot be.
    match ChannelName::parse(&name) {
        Ok(channel) => Ok(Command::Unsubscribe(channel)),
        Err(_) => Err(vec![error(None, &no_subscription(&cut(&name)))]),
    }
}

/// The object in `data`, which some clients send as JSON text within a JSON string.
fn decoded_once(data: Option<&str>) -> Cow<'_, str> {
    json_text::text_of_json(data.unwrap_or_default())
}

fn missing(parameter: &str) -> Vec<String> {
    vec![error(None, &format!("Missing parameter: data.{parameter}"))]
}

/// Why somebody cannot subscribe: what kind of error it is, its status and its text.
type SubscriptionFault = (ErrorKind, u16, String);

/// Who `channel_data` says it is (pusher-channels 4); without it, who has signed in.
fn member(terms: &Terms<'_>, channel_data: Option<&str>) -> Result<Member, SubscriptionFault> {
    let invalid = |message: &str| (ErrorKind::AuthError, 401, message.to_owned());
    let too_long = |name: &str, max: u32, unit: &str| {
        (ErrorKind::LimitReached, 4301, format!("{name} exceeds the allowed maximum ({max} {unit})"))
    };
    let Some(channel_data) = channel_data else {
        let signed_in = terms.signed_in.cloned();
        return signed_in
            .ok_or_else(|| invalid("channel_data is required to subscribe to a presence channel"));
    };
    let settings = terms.settings;
    let data = members(channel_data).ok_or_else(|| invalid("channel_data is not a JSON object"))?;
    let id = data
        .get("user_id")
        .and_then(|id| id_of(id.get()))
        .ok_or_else(|| invalid("channel_data has no user_id"))?;
    if id.chars().count() > settings.max_member_id_length as usize {
        return Err(too_long("user_id", settings.max_member_id_length, "characters"));
    }
    let info = data.get("user_info").map_or("{}", |info| info.get());
    if info.len() > settings.max_user_info_bytes as usize {
        return Err(too_long("user_info", settings.max_user_info_bytes, "bytes"));
    }
    let user = UserId::parse(&id).map_err(|_| invalid("user_id in channel_data is invalid"))?;
    Ok(Member { user, info: info.into() })
}

/// A string that is not empty, or the digits of an integer.
fn id_of(json: &str) -> Option<String> {
    if is_integer(json) {
        return Some(json.to_owned());
    }
    json_text::text(json).filter(|id| !id.is_empty())
}

/// Reads a client event (pusher-channels 9). Whatever else is in the message goes no further.
fn client_event(terms: &Terms<'_>, message: &Members<'_>, event: &str) -> Result<Command, String> {
    let settings = terms.settings;
    if !settings.client_events {
        return Err(
            "To send client events, you must enable this feature in the Settings page of your dashboard."
                .to_owned(),
        );
    }
    let channel = text_in(message, "channel").ok_or("Missing parameter: channel")?;
    let channel = ChannelName::parse(&channel)
        .ok()
        .filter(|channel| matches!(channel.kind(), ChannelKind::Private | ChannelKind::Presence))
        .ok_or("Client event rejected - only supported on private and presence channels")?;
    if !(terms.is_subscribed)(&channel) {
        return Err(not_connected(&channel));
    }
    if event.chars().count() > settings.max_event_name_length as usize {
        let chars_max = settings.max_event_name_length;
        return Err(format!("The event name exceeds the allowed maximum ({chars_max} characters)"));
    }
    let data = data_of(message.get("data").map_or("null", |data| data.get()));
    if data.len() > settings.max_event_bytes as usize {
        let bytes_max = settings.max_event_bytes;
        return Err(format!(
            "The data content of this event exceeds the allowed maximum ({bytes_max} bytes)"
        ));
    }
    Ok(Command::Publish { channel, event: event.into(), data: data.into() })
}

/// A message with string `data`, in the order in which its members are written.
#[derive(Serialize)]
struct Message<'m> {
    event: &'m str,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'m str>,
    data: &'m str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'m str>,
}

fn message(event: &str, channel: Option<&str>, data: &str) -> String {
    json(&Message { event, channel, data, user_id: None })
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("text and numbers under string keys can always be written")
}

/// The first message to an admitted socket. The timeout is never 0: one library would give up.
pub fn established(session: &Session, activity_timeout_seconds: u64) -> String {
    #[derive(Serialize)]
    struct Established {
        socket_id: String,
        activity_timeout: u64,
    }
    let socket_id = session.socket_id.to_string();
    let data = Established { socket_id, activity_timeout: activity_timeout_seconds.max(1) };
    message("pusher:connection_established", None, &json(&data))
}

/// `pusher:error`, the one message whose data is an object (pusher-channels 2.1).
pub fn error(code: Option<u16>, message: &str) -> String {
    #[derive(Serialize)]
    struct Error<'m> {
        event: &'m str,
        data: Fault<'m>,
    }
    #[derive(Serialize)]
    struct Fault<'m> {
        code: Option<u16>,
        message: &'m str,
    }
    json(&Error { event: "pusher:error", data: Fault { code, message } })
}

/// What a client is told in answer, in this order.
pub fn reply(session: &Session, reply: &Reply<'_>) -> Vec<String> {
    match reply {
        Reply::Pong => vec![message("pusher:pong", None, "{}")],
        // Nothing is told of these.
        Reply::Unsubscribed(_)
        | Reply::SubscribedToAll(_)
        | Reply::SubscribedToNone(..)
        | Reply::Echo { .. }
        | Reply::Permissions => Vec::new(),
        Reply::Subscribed { channel, roster, kept } => {
            let kept = kept.as_ref().map(|kept| kept_event(channel, kept.as_ref()));
            [subscribed(channel, roster.as_deref())].into_iter().chain(kept).collect()
        }
        Reply::NotSubscribed(channel, refusal) => refuse(session, channel, refusal),
        Reply::NotUnsubscribed(channel, _) => vec![error(None, &no_subscription(channel.as_str()))],
        Reply::NotPublished(channel, refusal) => vec![refuse_event(channel, refusal)],
        Reply::SignedIn(sign_in) => vec![signed_in(sign_in)],
        Reply::NotSignedIn(_) => vec![error(Some(SIGN_IN_REFUSED), SIGNED_IN_ALREADY)],
        Reply::Watched { online, offline } => watched(online, offline).into_iter().collect(),
        Reply::WatchlistCut(ids_max) => {
            vec![error(
                Some(4302),
                &format!("The watchlist has more than {ids_max} ids; the rest is not watched"),
            )]
        }
        Reply::WatchlistInvalid => {
            vec![error(None, "The watchlist is no list of user ids; what else is in it is not watched")]
        }
    }
}

fn signed_in(sign_in: &SignIn) -> String {
    #[derive(Serialize)]
    struct SignedIn<'m> {
        user_data: &'m str,
    }
    message("pusher:signin_success", None, &json(&SignedIn { user_data: &sign_in.user_data }))
}

/// Who of the watched users is there and who is not; nothing when nobody is watched (pusher-channels 8.3).
fn watched(online: &[UserId], offline: &[UserId]) -> Option<String> {
    #[derive(Serialize)]
    struct Events<'m> {
        events: Vec<Event<'m>>,
    }
    #[derive(Serialize)]
    struct Event<'m> {
        name: &'m str,
        user_ids: Vec<&'m str>,
    }
    let event = |name, users: &'_ [UserId]| -> Option<(&'static str, Vec<String>)> {
        (!users.is_empty()).then(|| (name, users.iter().map(UserId::to_string).collect()))
    };
    let told: Vec<_> = [event("online", online), event("offline", offline)].into_iter().flatten().collect();
    let events: Vec<Event<'_>> = told
        .iter()
        .map(|(name, ids)| Event { name, user_ids: ids.iter().map(String::as_str).collect() })
        .collect();
    (!events.is_empty()).then(|| message("pusher_internal:watchlist_events", None, &json(&Events { events })))
}

/// The event that a channel kept, or that it keeps none.
fn kept_event(channel: &ChannelName, kept: Option<&Kept>) -> String {
    match kept {
        Some(kept) => message(&kept.event, Some(channel.as_str()), &kept.data),
        None => message("pusher:cache_miss", Some(channel.as_str()), "{}"),
    }
}

/// The answer to a binary frame.
pub fn binary_refused() -> String {
    error(None, "Binary frames are not supported")
}

/// What kind of fault kept a socket out of a channel.
#[derive(Clone, Copy, Serialize)]
enum ErrorKind {
    AuthError,
    LimitReached,
    InvalidChannel,
}

/// The error, and what makes the channel's own error callbacks fire (pusher-channels 3.4).
fn not_subscribed(session: &Session, channel: &str, kind: ErrorKind, status: u16, text: &str) -> Vec<String> {
    #[derive(Serialize)]
    struct SubscriptionError<'m> {
        r#type: ErrorKind,
        error: &'m str,
        status: u16,
    }
    let mut messages = vec![error(None, text)];
    // The java library would try to decrypt it, and fail on a thread where nobody catches that (quirk Q17).
    if session.client == ClientKind::Java && channel.starts_with("private-encrypted-") {
        return messages;
    }
    let event = match session.client {
        ClientKind::Dotnet => SUBSCRIPTION_ERROR_DOTNET,
        ClientKind::Java | ClientKind::Other => SUBSCRIPTION_ERROR,
    };
    let data = json(&SubscriptionError { r#type: kind, error: text, status });
    messages.push(message(event, Some(channel), &data));
    messages
}

/// The answer to a subscribe that was carried out; `roster` is that of a presence channel, with the subscriber in it.
fn subscribed(channel: &ChannelName, roster: Option<&[Member]>) -> String {
    #[derive(Serialize)]
    struct Subscribed<'m> {
        presence: Presence<'m>,
    }
    #[derive(Serialize)]
    struct Presence<'m> {
        ids: Vec<&'m str>,
        hash: Hash<'m>,
        count: usize,
    }
    let presence = |roster: &[Member]| {
        let ids = roster.iter().map(|member| member.user.as_str()).collect();
        json(&Subscribed { presence: Presence { ids, hash: Hash(roster), count: roster.len() } })
    };
    let data = roster.map_or_else(|| "{}".to_owned(), presence);
    message("pusher_internal:subscription_succeeded", Some(channel.as_str()), &data)
}

/// Members as one object: their ids, and what the app tells about each.
struct Hash<'m>(&'m [Member]);

impl Serialize for Hash<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|member| (member.user.as_str(), raw_info(member))))
    }
}

/// What the app tells about a member, to be written as it is.
fn raw_info(member: &Member) -> &RawValue {
    serde_json::from_str(&member.info).unwrap_or(RawValue::NULL)
}

/// The answer to a subscribe that the hub or the shard refused.
fn refuse(session: &Session, channel: &ChannelName, refusal: &Refusal) -> Vec<String> {
    let limit_reached =
        |text: &str| not_subscribed(session, channel.as_str(), ErrorKind::LimitReached, 4100, text);
    match refusal {
        Refusal::SubscribedAlready => {
            vec![error(None, &format!("Existing subscription to channel {channel}"))]
        }
        Refusal::RosterFull => limit_reached("The channel has as many members as it may have"),
        Refusal::TooManyChannels => {
            limit_reached("The connection is subscribed to as many channels as it may be")
        }
        Refusal::RateExceeded(AppRate::Rejoins) => {
            limit_reached("The connection comes back to this channel more often than it may")
        }
        _ => limit_reached("The server cannot do this now"),
    }
}

fn no_subscription(channel: &str) -> String {
    format!("No current subscription to channel {channel}, or subscription in progress")
}

fn not_connected(channel: &ChannelName) -> String {
    format!("Cannot broadcast client event (connection not subscribed to channel {channel})")
}

/// The answer to a client event that the shard refused.
fn refuse_event(channel: &ChannelName, refusal: &Refusal) -> String {
    match refusal {
        Refusal::NotSubscribed => error(None, &not_connected(channel)),
        Refusal::TooManyEvents => error(Some(4301), "Client event rejected due to rate limit"),
        _ => error(None, "The server cannot do this now"),
    }
}

/// What the receivers of a push read; `None` when it is none of theirs. One that is not for a channel names none. A JSON
/// value of another dialect is handed on as its text, a string as what it says (spec 2.15); no name of the protocol's own
/// crosses over.
pub fn encode(push: &Push) -> Option<String> {
    #[derive(Serialize)]
    struct Added<'m> {
        user_id: &'m str,
        user_info: &'m RawValue,
    }
    #[derive(Serialize)]
    struct Removed<'m> {
        user_id: &'m str,
    }
    #[derive(Serialize)]
    struct Count {
        subscription_count: usize,
    }
    let channel = match &push.audience {
        Audience::Channel(channel) => Some(channel.as_str()),
        _ => None,
    };
    Some(match &push.content {
        Content::Event { event, data, user } => {
            json(&Message { event, channel, data, user_id: user.as_ref().map(UserId::as_str) })
        }
        Content::Value { event, .. } if is_own_event(event) => return None,
        Content::Value { event, value } => {
            json(&Message { event, channel, data: &text_of_json(value), user_id: None })
        }
        Content::MemberAdded(member) => {
            let data = Added { user_id: member.user.as_str(), user_info: raw_info(member) };
            message("pusher_internal:member_added", channel, &json(&data))
        }
        Content::MemberRemoved(user) => {
            let data = Removed { user_id: user.as_str() };
            message("pusher_internal:member_removed", channel, &json(&data))
        }
        Content::SubscriptionCount(subscription_count) => {
            let data = json(&Count { subscription_count: *subscription_count });
            message("pusher_internal:subscription_count", channel, &data)
        }
        // One user is there or is not, so there is always something to tell.
        Content::Online(user) => watched(std::slice::from_ref(user), &[]).unwrap_or_default(),
        Content::Offline(user) => watched(&[], std::slice::from_ref(user)).unwrap_or_default(),
    })
}

/// Whether only the server says it.
pub(in crate::dialect) fn is_own_event(event: &str) -> bool {
    event.starts_with("pusher:") || event.starts_with("pusher_internal:")
}

/// The close code and reason that tell a client why the node closes it (pusher-channels 11). One that is not read to
/// is told to come back, as one is whose node stops.
pub fn close(parting: Parting) -> (u16, &'static str) {
    match parting {
        Parting::AppUnregistered => (4001, "App does not exist"),
        Parting::AppDisabled => (4003, "App is disabled"),
        Parting::Terminated => (4009, "You got disconnected by the app."),
        Parting::Unauthorized => (4009, "Connection not authorized within timeout"),
        Parting::NodeStops => (4200, "Server stops, please reconnect"),
        // After a second. Who came at once would find nobody, and pusher-js then waits for fifteen.
        Parting::NodeRestarts => (4100, "Server restarts, please reconnect"),
        Parting::NodeCutOff => (4200, "Server lost the other servers, please reconnect"),
        Parting::SlowReader => (1013, "slow consumer"),
        // 4301 is for events alone: one library would not come back for good.
        Parting::TooManyFrames => (1008, "too many frames"),
        Parting::Silent => (4201, "Pong reply not received in time"),
        // Not asked of its sockets.
        Parting::TokenExpired | Parting::Nonsense | Parting::Unsubscribed => {
            (4009, "Connection not authorized")
        }
    }
}

/// Whether a socket must not get a push that the others do: the java library would try to decrypt it, and fail on a
/// thread where nobody catches that (quirk Q17).
pub fn is_spared(session: &Session, push: &Push) -> bool {
    session.client == ClientKind::Java && spares_some(push)
}

/// Whether there may be sockets that must not get it.
pub fn spares_some(push: &Push) -> bool {
    matches!((&push.audience, &push.content), (Audience::Channel(channel), Content::SubscriptionCount(_)) if channel.is_encrypted())
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
