//! Gusher Cluster: sockets that come with a token, JSON both ways, and an HTTP interface for backends (spec part 2).

pub mod api;
pub mod socket;
pub mod token;

use serde::Serialize;
use serde_json::value::RawValue;

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("text and numbers under string keys can always be written")
}

/// The text of a JSON value, to be written as it is.
fn raw(value: &str) -> &RawValue {
    serde_json::from_str(value).unwrap_or(RawValue::NULL)
}
