//! Who is there: channels, members and users.

use std::str::FromStr;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Fault;
use crate::dialect::form::Form;
use crate::model::{ChannelKind, ChannelName, Counts, Member, UserId};

/// How many rows there are without a limit, and how many at most.
const ROWS: usize = 100;
const ROWS_MAX: usize = 1000;

/// Which rows of a list are wanted.
#[derive(Debug)]
pub struct Page {
    /// How their names begin.
    pub prefix: String,
    /// How many at most.
    pub limit: usize,
}

impl Page {
    /// Reads `?prefix=&limit=`.
    ///
    /// # Errors
    /// 400 when the query cannot be read or the limit is none.
    pub fn read(query: Option<&str>) -> Result<Self, Fault> {
        let form = Form::read(false, query, None, &[]).map_err(|error| Fault::invalid(error.to_string()))?;
        let field = |name| form.get(name).map_err(|error| Fault::invalid(error.to_string()));
        let limit = match field("limit")?.filter(|limit| !limit.is_empty()) {
            None => ROWS,
            Some(limit) => usize::from_str(limit).map_err(|_| Fault::invalid("limit is no number"))?,
        };
        Ok(Self { prefix: field("prefix")?.unwrap_or_default().to_owned(), limit: limit.min(ROWS_MAX) })
    }
}

/// The answer to `GET .../channels`: of all that there are, the first.
pub fn channels(channels: &[(ChannelName, Counts)], limit: usize) -> String {
    let row = |(name, counts): &(ChannelName, Counts)| {
        let users = (name.kind() == ChannelKind::Presence).then_some(counts.users);
        json!({ "name": name.as_str(), "subscriptions": counts.subscriptions, "users": users })
    };
    let rows: Vec<Value> = channels.iter().take(limit).map(row).collect();
    json!({ "total": channels.len(), "channels": rows }).to_string()
}

/// The answer to `GET .../channels/{name}/members`.
pub fn members(roster: &[Member]) -> String {
    let row = |member: &Member| {
        let info: Option<&RawValue> = serde_json::from_str(&member.info).ok();
        json!({ "id": member.user.as_str(), "info": info })
    };
    let rows: Vec<Value> = roster.iter().take(ROWS_MAX).map(row).collect();
    json!({ "total": roster.len(), "members": rows }).to_string()
}

/// The answer to `GET .../users`: of all that there are, the first.
pub fn users(users: &[(UserId, usize)], limit: usize) -> String {
    let row = |(user, sockets): &(UserId, usize)| json!({ "user": user.as_str(), "sockets": sockets });
    let rows: Vec<Value> = users.iter().take(limit).map(row).collect();
    json!({ "total": users.len(), "users": rows }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_hundred_rows_unless_it_is_told_otherwise() {
        let limit = |query| Page::read(query).unwrap().limit;
        assert_eq!(
            [None, Some("limit="), Some("limit=7"), Some("limit=5000")].map(limit),
            [100, 100, 7, 1000]
        );
        assert_eq!(Page::read(Some("prefix=a%20b")).unwrap().prefix, "a b");
        assert!(Page::read(Some("limit=-1")).is_err());
    }
}
