//! What a client is owed, in order, beside what it hears: simple enough to be right by looking at it.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

/// A message as a client of Pusher Channels hears it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Heard {
    pub event: String,
    /// Empty when the message names none.
    #[serde(default)]
    pub channel: String,
    pub data: Value,
    pub user_id: Option<String>,
}

impl Heard {
    /// A message with a string for data.
    pub fn new(event: &str, channel: &str, data: impl Into<String>) -> Self {
        Self { event: event.into(), channel: channel.into(), data: Value::String(data.into()), user_id: None }
    }

    /// An error without a code.
    pub fn error(message: &str) -> Self {
        let data = serde_json::json!({ "code": null, "message": message });
        Self { event: "pusher:error".into(), channel: String::new(), data, user_id: None }
    }

    /// What a text says.
    pub fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

#[derive(Debug)]
struct Item {
    what: Heard,
    /// It may be left out.
    is_optional: bool,
    /// The client gave up hearing it: from here all up to this place may be left out, together.
    given_up: Option<usize>,
}

/// What a client is owed on one channel.
#[derive(Debug)]
pub struct Stream {
    items: Vec<Item>,
    /// Up to where it may have heard, going by what it heard.
    places: BTreeSet<usize>,
}

impl Default for Stream {
    fn default() -> Self {
        Self { items: Vec::new(), places: [0].into() }
    }
}

impl Stream {
    /// It is to hear this next.
    pub fn must_hear(&mut self, what: Heard) {
        self.items.push(Item { what, is_optional: false, given_up: None });
    }

    /// It may hear this next, or never.
    pub fn may_hear(&mut self, what: Heard) {
        self.items.push(Item { what, is_optional: true, given_up: None });
    }

    /// From now on it need not hear the rest of what it is owed; what it hears of it still comes without a gap.
    pub fn give_up(&mut self) {
        let end = self.items.len();
        self.items.iter_mut().for_each(|item| item.given_up = item.given_up.or(Some(end)));
    }

    /// It heard this. Whether it may have.
    pub fn hear(&mut self, heard: &Heard) -> bool {
        let reached = self.reached();
        let fitting = |place: &usize| self.items.get(*place).is_some_and(|item| item.what == *heard);
        self.places = reached.into_iter().filter(fitting).map(|place| place + 1).collect();
        !self.places.is_empty()
    }

    /// Whether it may have heard all that it is to hear.
    pub fn is_settled(&self) -> bool {
        self.reached().contains(&self.items.len())
    }

    /// The places where it may be, when some that it is owed is left out.
    fn reached(&self) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<usize> = self.places.iter().copied().collect();
        while let Some(place) = open.pop() {
            if reached.insert(place)
                && let Some(item) = self.items.get(place)
            {
                open.extend(item.is_optional.then_some(place + 1).into_iter().chain(item.given_up));
            }
        }
        reached
    }
}
