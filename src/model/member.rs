//! Members of a presence channel.

use std::sync::Arc;

use super::UserId;

/// A user in a presence channel, however many sockets it holds there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// What the app tells about the user: the text of a JSON value.
    pub info: Arc<str>,
}

/// All members of a presence channel, in the order they joined.
pub type Roster = Arc<[Member]>;
