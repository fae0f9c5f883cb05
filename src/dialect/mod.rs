//! Between bytes and model: pure functions, one directory per dialect. Only here are close codes, HTTP statuses
//! and the texts of answers known.

pub mod form;
pub mod gusher;
pub mod pusher;
pub mod signature;

use std::borrow::Cow;

use crate::model::{
    App, AppSecret, AppSettings, Audience, ChannelName, Command, Dialect, Member, Parting, Push, Reply,
    SocketId, UserId,
};

/// A dialect's memory of one socket.
#[derive(Clone, Debug)]
pub enum Session {
    /// The user it belongs to.
    Gusher(UserId),
    /// Its public name and what its client can do.
    Pusher(pusher::socket::Session),
}

impl Session {
    /// What the socket speaks.
    pub fn dialect(&self) -> Dialect {
        match self {
            Session::Gusher(_) => Dialect::Gusher,
            Session::Pusher(_) => Dialect::Pusher,
        }
    }

    /// The public name of the socket, if it has one.
    pub fn socket_id(&self) -> Option<SocketId> {
        match self {
            Session::Gusher(_) => None,
            Session::Pusher(session) => Some(session.socket_id),
        }
    }
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
        Session::Gusher(_) => None,
        Session::Pusher(session) => {
            Some(pusher::socket::established(session, settings.activity_timeout.into()))
        }
    }
}

/// Reads a text that a client sent. `None` is one that asks for nothing. In the Gusher dialect all are read and
/// discarded; never forwarded, never answered (spec 1.8).
///
/// # Errors
/// What to send back, in this order.
pub fn understand(session: &Session, terms: &Terms<'_>, text: &str) -> Result<Option<Command>, Vec<String>> {
    match session {
        Session::Gusher(_) => Ok(None),
        Session::Pusher(session) => pusher::socket::understand(session, terms, text),
    }
}

/// The answer to a binary message, if it gets any.
pub fn refuse_binary(session: &Session) -> Option<String> {
    match session {
        Session::Gusher(_) => None,
        Session::Pusher(_) => Some(pusher::socket::binary_refused()),
    }
}

/// What a client is told in answer to a command, in this order.
pub fn reply(session: &Session, reply: &Reply<'_>) -> Vec<String> {
    match session {
        Session::Gusher(_) => Vec::new(),
        Session::Pusher(session) => pusher::socket::reply(session, reply),
    }
}

/// What the receivers of a push read. Users are the Gusher dialect's, channels and those who sign in are Pusher's.
pub fn encode(push: &Push) -> Cow<'_, str> {
    match push.audience {
        Audience::Everyone | Audience::Users(_) => Cow::Borrowed(gusher::socket::encode(push)),
        Audience::Channel(_) | Audience::Watchers(_) => Cow::Owned(pusher::socket::encode(push)),
    }
}

/// Whether there may be receivers of a push that must be spared it: then [`is_spared`] says which.
pub fn spares_some(push: &Push) -> bool {
    pusher::socket::spares_some(push)
}

/// Whether a socket must be spared a push.
pub fn is_spared(session: &Session, push: &Push) -> bool {
    match session {
        Session::Gusher(_) => false,
        Session::Pusher(session) => pusher::socket::is_spared(session, push),
    }
}

/// The close code and reason that tell a socket why it is closed.
pub fn close(session_dialect: Dialect, parting: Parting) -> (u16, &'static str) {
    match session_dialect {
        Dialect::Gusher => gusher::socket::close(parting),
        Dialect::Pusher => pusher::socket::close(parting),
    }
}

/// What a socket is told before it is closed: some old clients know a reason by nothing else (pusher-channels 11).
pub fn last_words(session: &Session, code: u16, reason: &str) -> Option<String> {
    match session {
        Session::Pusher(session) if session.protocol <= 5 => Some(pusher::socket::error(Some(code), reason)),
        _ => None,
    }
}
