//! Sockets at `/app/{key}`: what a client says becomes a command, what the server says becomes JSON
//! (pusher-channels 1 to 4, 9, 11).
//!
//! A message is judged here as far as it can be without the hub: whether the socket is subscribed, how full a channel
//! is and how fast a client sends is found out by the shard, which has its refusals worded here. Whatever is refused,
//! the socket stays open. In what is sent, `data` is a JSON string, except in `pusher:error`, where it is an object.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::auth;
use crate::model::{
    Audience, ChannelFault, ChannelKind, ChannelName, Command, Content, Member, Parting, Push, Refusal,
    SocketId, UserId,
};

/// The newest protocol version; who names none speaks it.
const PROTOCOL_NEWEST: u8 = 7;

/// The name that subscribers know a refused subscription by.
const SUBSCRIPTION_ERROR: &str = "pusher:subscription_error";

/// The only name that the dotnet library knows it by.
const SUBSCRIPTION_ERROR_DOTNET: &str = "pusher_internal:subscription_error";

/// What is remembered of a socket that speaks this dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its public name, part of what permissions sign.
    pub socket_id: SocketId,
    /// The protocol version, 4 to 7.
    pub protocol: u8,
    /// The library at the other end.
    pub client: ClientKind,
}

/// The client libraries that need something of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// Any that does not.
    Other,
    /// `pusher-dotnet-client`.
    Dotnet,
    /// `java-client`.
    Java,
}

/// The limits of what a client may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketLimits {
    /// The longest name of a client event, in characters.
    pub event_name_chars_max: usize,
    /// The longest data of a client event, in bytes as delivered.
    pub event_bytes_max: usize,
    /// The longest id of a member, in bytes.
    pub user_id_bytes_max: usize,
    /// The longest `user_info` of a member, in bytes of JSON.
    pub user_info_bytes_max: usize,
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self {
            event_name_chars_max: 200,
            event_bytes_max: 10_240,
            user_id_bytes_max: 128,
            user_info_bytes_max: 1024,
        }
    }
}

/// Why the server closes a socket (pusher-channels 11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The code of the close frame. Never 4300 or more: one library would not come back for good.
    pub code: u16,
    /// The same in words; as long as the foreign text in it.
    pub message: String,
}

impl Closing {
    /// No app has this key.
    pub fn app_unknown(app_key: &str) -> Self {
        let message =
            format!("App key {app_key} not in this cluster. Did you forget to specify the cluster?");
        Self { code: 4001, message }
    }

    /// Nothing is at this path.
    pub fn path_unknown() -> Self {
        Self::new(4005, "Path not found")
    }

    /// The protocol version is no integer.
    pub fn protocol_malformed() -> Self {
        Self::new(4006, "Invalid version string format")
    }

    /// The protocol version is not spoken here.
    pub fn protocol_unsupported() -> Self {
        Self::new(4007, "Unsupported protocol version")
    }

    /// The node has as many sockets as it may have.
    pub fn over_capacity() -> Self {
        Self::new(4100, "Over capacity")
    }

    /// The node stops; another one is there, or will be.
    pub fn reconnect() -> Self {
        Self::new(4200, "Please reconnect immediately")
    }

    fn new(code: u16, message: &str) -> Self {
        Self { code, message: message.to_owned() }
    }
}

/// Reads the protocol version and the library from the query of the upgrade (pusher-channels 1.1).
///
/// # Errors
/// 4006 when the version is no integer, 4007 when it is another one than 4 to 7.
pub fn protocol(query: Option<&str>) -> Result<(u8, ClientKind), Closing> {
    let value = |name| {
        let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        pairs.find_map(|(found, value)| (found == name).then_some(value))
    };
    let version = match value("protocol") {
        None => PROTOCOL_NEWEST,
        Some(text) if !is_integer(&text) => return Err(Closing::protocol_malformed()),
        Some(text) => text
            .parse()
            .ok()
            .filter(|version| (4..=PROTOCOL_NEWEST).contains(version))
            .ok_or_else(Closing::protocol_unsupported)?,
    };
    let client = match value("client").as_deref() {
        Some("pusher-dotnet-client") => ClientKind::Dotnet,
        Some("java-client") => ClientKind::Java,
        _ => ClientKind::Other,
    };
    Ok((version, client))
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// What a client says of itself to the server, as far as the server asks.
type Fields<'t> = BTreeMap<String, &'t RawValue>;

/// The members of a JSON object; of several with one name the last, as JavaScript has it. Their values are not looked
/// into, so no nesting costs stack.
fn fields(text: &str) -> Option<Fields<'_>> {
    serde_json::from_str(text).ok()
}

fn string(fields: &Fields<'_>, name: &str) -> Option<String> {
    serde_json::from_str(fields.get(name)?.get()).ok()
}

/// Reads a message of a client. `None` is a message that asks for nothing.
///
/// # Errors
/// What to send back, in this order.
pub fn understand(
    session: &Session,
    app_key: &str,
    secret: &str,
    client_events: bool,
    limits: &SocketLimits,
    text: &str,
) -> Result<Option<Command>, Vec<String>> {
    let malformed = || vec![error(None, "Invalid message format")];
    let message = fields(text).ok_or_else(malformed)?;
    let event = string(&message, "event").ok_or_else(malformed)?;
    let data = message.get("data").map(|data| data.get());
    match event.as_str() {
        "pusher:ping" => Ok(Some(Command::Ping)),
        "pusher:pong" => Ok(None),
        "pusher:subscribe" => subscribe(session, app_key, secret, limits, data).map(Some),
        "pusher:unsubscribe" => unsubscribe(data).map(Some),
        "pusher:signin" => Err(vec![error(Some(4009), "Sign-in is not available on this server")]),
        name if name.starts_with("client-") => match client_event(client_events, limits, &message, &event) {
            Ok(command) => Ok(Some(command)),
            Err(message) => Err(vec![error(None, &message)]),
        },
        name => Err(vec![error(None, &format!("Unsupported event received on socket: {name}"))]),
    }
}

fn subscribe(
    session: &Session,
    app_key: &str,
    secret: &str,
    limits: &SocketLimits,
    data: Option<&str>,
) -> Result<Command, Vec<String>> {
    let data = decoded_once(data);
    let data = fields(&data).unwrap_or_default();
    let name = string(&data, "channel").ok_or_else(channel_missing)?;
    let channel = ChannelName::parse(&name).map_err(|fault| {
        let message = match fault {
            ChannelFault::Invalid => format!("Invalid channel name: {name}"),
            ChannelFault::TooLong => format!("Channel name too long: {name}"),
        };
        not_subscribed(session, &name, ErrorKind::InvalidChannel, 400, &message)
    })?;
    let kind = channel.kind();
    if kind == ChannelKind::Public {
        return Ok(Command::Subscribe { channel, member: None });
    }
    let refused = |(kind, status, message): MemberFault| {
        not_subscribed(session, channel.as_str(), kind, status, &message)
    };
    let channel_data = string(&data, "channel_data");
    let permission = string(&data, "auth");
    auth::check(app_key, secret, session.socket_id, &channel, permission.as_deref(), channel_data.as_deref())
        .map_err(|message| refused((ErrorKind::AuthError, 401, message)))?;
    let member = match kind {
        ChannelKind::Presence => Some(member(limits, channel_data.as_deref()).map_err(refused)?),
        ChannelKind::Public | ChannelKind::Private => None,
    };
    Ok(Command::Subscribe { channel, member })
}

fn unsubscribe(data: Option<&str>) -> Result<Command, Vec<String>> {
    let data = decoded_once(data);
    let data = fields(&data).unwrap_or_default();
    let name = string(&data, "channel").ok_or_else(channel_missing)?;
    // No socket is in a channel that cannot be.
    match ChannelName::parse(&name) {
        Ok(channel) => Ok(Command::Unsubscribe(channel)),
        Err(_) => Err(vec![error(None, &no_subscription(&name))]),
    }
}

/// The object in `data`, which some clients send as JSON text within a JSON string.
fn decoded_once(data: Option<&str>) -> Cow<'_, str> {
    let data = data.unwrap_or_default();
    serde_json::from_str(data).map_or(Cow::Borrowed(data), Cow::Owned)
}

fn channel_missing() -> Vec<String> {
    vec![error(None, "Missing parameter: data.channel")]
}

/// Why somebody cannot be a member: what kind of error it is, its status and its text.
type MemberFault = (ErrorKind, u16, String);

/// Who `channel_data` says it is (pusher-channels 4).
fn member(limits: &SocketLimits, channel_data: Option<&str>) -> Result<Member, MemberFault> {
    let invalid = |message: &str| (ErrorKind::AuthError, 401, message.to_owned());
    let too_long = |name: &str, bytes_max: usize| {
        (ErrorKind::LimitReached, 4301, format!("{name} exceeds the allowed maximum ({bytes_max} bytes)"))
    };
    let channel_data =
        channel_data.ok_or_else(|| invalid("channel_data is required to subscribe to a presence channel"))?;
    let data = fields(channel_data).ok_or_else(|| invalid("channel_data is not a JSON object"))?;
    let id = user_id(&data).ok_or_else(|| invalid("channel_data has no user_id"))?;
    if id.len() > limits.user_id_bytes_max {
        return Err(too_long("user_id", limits.user_id_bytes_max));
    }
    let info = data.get("user_info").map_or("{}", |info| info.get());
    if info.len() > limits.user_info_bytes_max {
        return Err(too_long("user_info", limits.user_info_bytes_max));
    }
    let user = UserId::parse(&id).map_err(|_| invalid("user_id in channel_data is invalid"))?;
    Ok(Member { user, info: info.into() })
}

/// A string that is not empty, or the digits of an integer.
fn user_id(data: &Fields<'_>) -> Option<String> {
    let raw = data.get("user_id")?.get();
    if is_integer(raw) {
        return Some(raw.to_owned());
    }
    string(data, "user_id").filter(|id| !id.is_empty())
}

/// Reads a client event (pusher-channels 9). Whatever else is in the message goes no further.
fn client_event(
    enabled: bool,
    limits: &SocketLimits,
    message: &Fields<'_>,
    event: &str,
) -> Result<Command, String> {
    if !enabled {
        return Err(
            "To send client events, you must enable this feature in the Settings page of your dashboard."
                .to_owned(),
        );
    }
    let channel = string(message, "channel").ok_or("Missing parameter: channel")?;
    let channel = ChannelName::parse(&channel)
        .ok()
        .filter(|channel| channel.kind() != ChannelKind::Public)
        .ok_or("Client event rejected - only supported on private and presence channels")?;
    if event.chars().count() > limits.event_name_chars_max {
        let chars_max = limits.event_name_chars_max;
        return Err(format!("The event name exceeds the allowed maximum ({chars_max} characters)"));
    }
    let data = stringified(message.get("data").map(|data| data.get())).ok_or("Invalid message format")?;
    if data.len() > limits.event_bytes_max {
        let bytes_max = limits.event_bytes_max;
        return Err(format!(
            "The data content of this event exceeds the allowed maximum ({bytes_max} bytes)"
        ));
    }
    Ok(Command::Publish { channel, event: event.into(), data: data.into() })
}

/// A JSON value as subscribers get it: a string unchanged, any other as its text without blanks. `None` if a string
/// is no Unicode.
fn stringified(data: Option<&str>) -> Option<String> {
    match data {
        Some(text) if text.starts_with('"') => serde_json::from_str(text).ok(),
        Some(text) => Some(compact(text)),
        None => Some("null".to_owned()),
    }
}

/// Valid JSON without the blanks between its tokens. The tokens keep their spelling, so no number loses a digit.
fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let is_kept = |letter: &char| {
        let kept = in_string || !letter.is_ascii_whitespace();
        in_string ^= *letter == '"' && !escaped;
        escaped = in_string && *letter == '\\' && !escaped;
        kept
    };
    json.chars().filter(is_kept).collect()
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

/// The answer to a ping.
pub fn pong() -> String {
    message("pusher:pong", None, "{}")
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
pub fn subscribed(channel: &ChannelName, roster: Option<&[Member]>) -> String {
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

/// The answer to a subscribe or unsubscribe that the hub or the shard refused.
pub fn refuse(session: &Session, channel: &ChannelName, refusal: &Refusal) -> Vec<String> {
    let limit_reached =
        |text: &str| not_subscribed(session, channel.as_str(), ErrorKind::LimitReached, 4100, text);
    match refusal {
        Refusal::SubscribedAlready => {
            vec![error(None, &format!("Existing subscription to channel {channel}"))]
        }
        Refusal::NotSubscribed => vec![error(None, &no_subscription(channel.as_str()))],
        Refusal::RosterFull => limit_reached("The channel has as many members as it may have"),
        Refusal::TooManyChannels => {
            limit_reached("The connection is subscribed to as many channels as it may be")
        }
        _ => limit_reached("The server cannot do this now"),
    }
}

fn no_subscription(channel: &str) -> String {
    format!("No current subscription to channel {channel}, or subscription in progress")
}

/// The answer to a client event that the shard refused.
pub fn refuse_event(channel: &ChannelName, refusal: &Refusal) -> String {
    match refusal {
        Refusal::NotSubscribed => {
            let text = "Cannot broadcast client event (connection not subscribed to channel ";
            error(None, &format!("{text}{channel})"))
        }
        Refusal::TooManyEvents => error(Some(4301), "Client event rejected due to rate limit"),
        _ => error(None, "The server cannot do this now"),
    }
}

/// What the receivers of a push read. One that is not for a channel names none.
pub fn encode(push: &Push) -> String {
    #[derive(Serialize)]
    struct Added<'m> {
        user_id: &'m str,
        user_info: &'m RawValue,
    }
    #[derive(Serialize)]
    struct Removed<'m> {
        user_id: &'m str,
    }
    let channel = match &push.audience {
        Audience::Channel(channel) => Some(channel.as_str()),
        Audience::Everyone | Audience::Users(_) => None,
    };
    match &push.content {
        Content::Event { event, data, user } => {
            json(&Message { event, channel, data, user_id: user.as_ref().map(UserId::as_str) })
        }
        Content::MemberAdded(member) => {
            let data = Added { user_id: member.user.as_str(), user_info: raw_info(member) };
            message("pusher_internal:member_added", channel, &json(&data))
        }
        Content::MemberRemoved(user) => {
            let data = Removed { user_id: user.as_str() };
            message("pusher_internal:member_removed", channel, &json(&data))
        }
    }
}

/// The close code and reason that tell a client why the node closes it (pusher-channels 11). One that is not read to
/// is told to come back, as one is whose node stops.
pub fn close(parting: Parting) -> (u16, &'static str) {
    match parting {
        Parting::AppUnregistered => (4001, "App does not exist"),
        Parting::NodeStops => (4200, "Server stops, please reconnect"),
        Parting::SlowReader => (1013, "slow consumer"),
        Parting::Silent => (4201, "Pong reply not received in time"),
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
