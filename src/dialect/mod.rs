//! Between bytes and model: pure functions, one directory per dialect. Only here are close codes, HTTP statuses
//! and the texts of answers known.

pub mod form;
pub mod gusher;
pub mod pusher;
pub mod signature;

use std::borrow::Cow;

use crate::model::{Dialect, Parting, Push, UserId};

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
}

/// What a socket of `dialect` reads for a push.
pub fn encode(dialect: Dialect, push: &Push) -> Cow<'_, str> {
    match dialect {
        Dialect::Gusher => Cow::Borrowed(gusher::socket::encode(push)),
        Dialect::Pusher => Cow::Owned(pusher::socket::encode(push)),
    }
}

/// The close code and reason that tell a socket of `dialect` why it is closed.
pub fn close(dialect: Dialect, parting: Parting) -> (u16, &'static str) {
    match dialect {
        Dialect::Gusher => gusher::socket::close(parting),
        Dialect::Pusher => pusher::socket::close(parting),
    }
}
