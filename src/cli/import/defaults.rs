//! What the other servers do where nothing is said, as far as it is not what is done here.
//!
//! An app should go on as it did, so these are set in each imported app; what its file says goes before. A limit that is
//! wider here than there is left: it refuses nothing.

use serde_json::{Map, Value, json};

use super::Product;

/// The largest `max_client_events_per_second`, for whoever had no limit.
pub(super) const CLIENT_EVENTS_MAX: u32 = 1_000_000;

/// The largest body that nodes take by default; there it is 100 MB, and 10 MB in Sockudo.
const BODY_BYTES: u32 = 10 << 20;

/// Of each app.
pub(super) fn of_apps(product: Product) -> Map<String, Value> {
    let mut defaults = match product {
        Product::Soketi | Product::Sockudo => json!({
            "client_events": false,
            "max_client_events_per_second": CLIENT_EVENTS_MAX,
            "cache_ttl": 3_600,
            "max_event_bytes": 100 << 10,
            "max_user_info_bytes": 2 << 10,
            "max_body_bytes": BODY_BYTES,
        }),
        // A message bounds what is said of a member, and nothing how many they are.
        Product::Reverb => json!({
            "max_client_events_per_second": CLIENT_EVENTS_MAX,
            "max_presence_members": 1_000_000,
            "max_user_info_bytes": 10_000,
        }),
    };
    let (timeout, seconds) = match product {
        Product::Soketi | Product::Reverb => ("activity_timeout", 30),
        Product::Sockudo => ("authorization_timeout", 3_600),
    };
    defaults[timeout] = seconds.into();
    match defaults {
        Value::Object(defaults) => defaults,
        _ => Map::new(),
    }
}

/// Where it listens.
pub(super) fn port(product: Product) -> &'static str {
    match product {
        Product::Soketi | Product::Sockudo => "6001",
        Product::Reverb => "8080",
    }
}

/// The largest message of a client, where less is taken here: soketi takes 100 MB, of which 100 KB may be an event, whose
/// quotes are escaped in the message.
pub(super) fn message_bytes(product: Product) -> Option<i64> {
    (product == Product::Soketi).then_some(256 << 10)
}

/// Whether pages of all origins may make calls.
pub(super) fn is_open_to_pages(product: Product) -> bool {
    product != Product::Reverb
}
