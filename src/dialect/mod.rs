//! Between bytes and model: pure functions, one directory per dialect. Only here are close codes, HTTP statuses
//! and the texts of answers known.

pub mod cluster;
pub mod console;
pub mod form;
pub mod gusher;
pub mod pusher;
pub mod signature;
pub mod unique;

use std::borrow::Cow;

use crate::model::{
    App, AppSecret, AppSettings, Audience, ChannelName, Command, Dialect, Member, Parting, PermissionChange,
    Permissions, Push, Reply, SocketId, UserId,
};

/// The longest text of a client's that it is told back, in characters. Names of channels fit.
const ECHOED_CHARS_MAX: usize = 1000;

/// A dialect's memory of one socket.
#[derive(Clone, Debug)]
pub enum Session {
    /// The user it belongs to.
    Gusher(UserId),
    /// Its public name and what its client can do.
    Pusher(pusher::socket::Session),
    /// Its public name, its user and what it may subscribe to.
    Cluster(Box<cluster::socket::Session>),
}

impl Session {
    /// What the socket speaks.
    pub fn dialect(&self) -> Dialect {
        match self {
            Session::Gusher(_) => Dialect::Gusher,
            Session::Pusher(_) => Dialect::Pusher,
            Session::Cluster(_) => Dialect::Cluster,
        }
    }

    /// Set when the socket came with a token: the user that this names, if any.
    pub fn bearer(&self) -> Option<Option<&UserId>> {
        match self {
            Session::Gusher(_) | Session::Pusher(_) => None,
            Session::Cluster(session) => Some(session.user.as_ref()),
        }
    }

    /// Changes what a socket that came with a token may subscribe to.
    pub fn permit(&mut self, change: &PermissionChange) {
        let Session::Cluster(session) = self else { return };
        session.permissions = match change {
            PermissionChange::Add(pattern) => session.permissions.with(pattern),
            PermissionChange::Replace(permissions) => permissions.clone().unwrap_or_default(),
        };
    }

    /// Whether a socket that is in a channel may stay there.
    pub fn may_stay_in(&self, channel: &ChannelName) -> bool {
        match self {
            Session::Gusher(_) | Session::Pusher(_) => true,
            Session::Cluster(session) => session.permissions.allow(channel.as_str()),
        }
    }

    /// The name of a socket that came with a token, as its client and backends know it.
    pub fn uuid(&self) -> Option<String> {
        match self {
            Session::Gusher(_) | Session::Pusher(_) => None,
            Session::Cluster(session) => Some(cluster::socket::uuid(session.socket_id)),
        }
    }

    /// The public name of the socket, if it has one.
    pub fn socket_id(&self) -> Option<SocketId> {
        match self {
            Session::Gusher(_) => None,
            Session::Pusher(session) => Some(session.socket_id),
            Session::Cluster(session) => Some(session.socket_id),
        }
    }
}

/// What a client is told instead of what it asked for.
#[derive(Debug)]
pub struct Complaint {
    /// What to send, in this order.
    pub texts: Vec<String>,
    /// It made no sense: a socket that says too much of that is closed.
    pub is_nonsense: bool,
}

/// The start of what a client sent, to be told back to it: a long text is not sent back several times over.
fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(ECHOED_CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// The JSON in a binary message, as some clients send it: an object in UTF-8, or in UTF-16 with the low byte first.
pub fn text_of_binary(message: &[u8]) -> Option<Cow<'_, str>> {
    match message {
        [b'{', 0, ..] if message.len().is_multiple_of(2) => {
            let units = message.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
            Some(Cow::Owned(char::decode_utf16(units).map(|letter| letter.unwrap_or('\u{fffd}')).collect()))
        }
        _ => {
            let is_object = message.trim_ascii_start().starts_with(b"{");
            std::str::from_utf8(message).ok().filter(|_| is_object).map(Cow::Borrowed)
        }
    }
}

/// What a complaint comes to: its code, if that is a number, and what is said of it.
pub fn gist(complaint: &Complaint) -> (Option<u16>, String) {
    let text = complaint.texts.first().map_or("", String::as_str);
    let told: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let data = &told["data"];
    // The data of Pusher's internal events is JSON in a string.
    let inner: Option<serde_json::Value> = data.as_str().and_then(|data| serde_json::from_str(data).ok());
    let data = inner.as_ref().unwrap_or(data);
    let said = ["message", "error"].iter().find_map(|name| data[*name].as_str()).or(told["event"].as_str());
    let code = data["code"].as_u64().and_then(|code| code.try_into().ok());
    (code, said.unwrap_or(text).to_owned())
}

/// What a client may do: its app, and what the shard knows of its socket.
pub struct Terms<'a> {
    /// The app.
    pub app: &'a App,
    /// What the app allows now.
    pub settings: &'a AppSettings,
    /// Who the socket is signed in as.
    pub signed_in: Option<&'a Member>,
    /// Whether it is in a channel.
    pub is_subscribed: &'a dyn Fn(&ChannelName) -> bool,
}

impl Terms<'_> {
    /// The secret that goes with a key of the app. One client library turns keys into lower case.
    pub fn secret_of(&self, key: &str) -> Option<&AppSecret> {
        if key.eq_ignore_ascii_case(self.app.key.as_str()) {
            return Some(&self.app.secret);
        }
        let more = &self.settings.additional_keys;
        more.iter().find(|pair| key.eq_ignore_ascii_case(&pair.key)).map(|pair| &pair.secret)
    }
}

/// What a socket is told before anything else.
pub fn greet(session: &Session, settings: &AppSettings) -> Option<String> {
    match session {
        Session::Gusher(_) | Session::Cluster(_) => None,
        Session::Pusher(session) => {
            Some(pusher::socket::established(session, settings.activity_timeout.into()))
        }
    }
}

/// Reads a text that a client sent. `None` is one that asks for nothing. In the Gusher dialect all are read and
/// discarded; never forwarded, never answered (spec 1.8).
///
/// # Errors
/// What to send back.
pub fn understand(session: &Session, terms: &Terms<'_>, text: &str) -> Result<Option<Command>, Complaint> {
    match session {
        Session::Gusher(_) => Ok(None),
        Session::Pusher(session) => pusher::socket::understand(session, terms, text)
            .map_err(|texts| Complaint { texts, is_nonsense: false }),
        Session::Cluster(session) => cluster::socket::understand(session, text).map(Some),
    }
}

/// The answer to a binary message without JSON, if it gets any.
pub fn refuse_binary(session: &Session) -> Option<Complaint> {
    match session {
        Session::Gusher(_) => None,
        Session::Pusher(_) => {
            Some(Complaint { texts: vec![pusher::socket::binary_refused()], is_nonsense: false })
        }
        Session::Cluster(session) => Some(cluster::socket::binary_refused(session)),
    }
}

/// What a client is told in answer to a command, in this order.
pub fn reply(session: &Session, reply: &Reply<'_>) -> Vec<String> {
    match session {
        Session::Gusher(_) => Vec::new(),
        Session::Pusher(session) => pusher::socket::reply(session, reply),
        Session::Cluster(session) => cluster::socket::reply(session, reply).into_iter().collect(),
    }
}

/// What the receivers of a push that speak a dialect read; `None` when it is none of theirs.
pub fn encode(push: &Push, dialect: Dialect) -> Option<Cow<'_, str>> {
    match (dialect, &push.audience) {
        (Dialect::Gusher, Audience::Everyone | Audience::Users(_)) => {
            Some(Cow::Borrowed(gusher::socket::encode(push)))
        }
        (Dialect::Pusher, Audience::Channel(_) | Audience::Watchers(_)) => {
            pusher::socket::encode(push).map(Cow::Owned)
        }
        (Dialect::Cluster, Audience::Channel(_) | Audience::Bearers(_) | Audience::Socket(_)) => {
            cluster::socket::encode(push).map(Cow::Owned)
        }
        _ => None,
    }
}

/// What the sockets of a user are told when what they may subscribe to has changed.
pub fn permission_changed(change: &PermissionChange) -> String {
    match change {
        PermissionChange::Add(pattern) => cluster::socket::permission_added(pattern),
        PermissionChange::Replace(permissions) => {
            cluster::socket::permissions_replaced(permissions.as_ref().unwrap_or(&Permissions::default()))
        }
    }
}

/// Whether there may be receivers of a push that must be spared it: then [`is_spared`] says which.
pub fn spares_some(push: &Push) -> bool {
    pusher::socket::spares_some(push)
}

/// Whether a socket must be spared a push.
pub fn is_spared(session: &Session, push: &Push) -> bool {
    match session {
        Session::Gusher(_) | Session::Cluster(_) => false,
        Session::Pusher(session) => pusher::socket::is_spared(session, push),
    }
}

/// The close code and reason that tell a socket why it is closed.
pub fn close(session_dialect: Dialect, parting: Parting) -> (u16, &'static str) {
    match session_dialect {
        Dialect::Gusher => gusher::socket::close(parting),
        Dialect::Pusher => pusher::socket::close(parting),
        Dialect::Cluster => cluster::socket::close(parting),
    }
}

/// What a socket is told before it is closed: some old clients know a reason by nothing else (pusher-channels 11).
pub fn last_words(session: &Session, code: u16, reason: &str) -> Option<String> {
    match session {
        Session::Pusher(session) if session.protocol <= 5 => Some(pusher::socket::error(Some(code), reason)),
        _ => None,
    }
}
