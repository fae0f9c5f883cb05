//! How many are there, and who: for those who look at an app.

use super::LiveApp;
use crate::model::UserId;

/// What is there of an app, on all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Sockets.
    pub sockets: usize,
    /// Users: those with a tag, those who signed in and those whom a token names, added up.
    pub users: usize,
    /// Occupied channels, those of single users not counted.
    pub channels: usize,
}

impl LiveApp {
    /// How many are there.
    pub fn census(&self) -> Census {
        let directory = self.directory();
        Census {
            sockets: directory.all_sockets(),
            users: directory.len() + directory.signed_in.len() + directory.bearers.user_count(),
            channels: directory.channels.len(),
        }
    }
}

/// The sockets of a user on all nodes, by what makes them its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserSockets {
    /// They came with its tag.
    pub tagged: usize,
    /// They signed in as it.
    pub signed_in: usize,
    /// Their tokens name it.
    pub bearing: usize,
}

impl LiveApp {
    /// The sockets of a user.
    pub fn sockets_of(&self, user: &UserId) -> UserSockets {
        let directory = self.directory();
        UserSockets {
            tagged: directory.tally(user).total(),
            signed_in: directory.signed_in.tally(user).total(),
            bearing: directory.bearers.tally(user).total(),
        }
    }
}
