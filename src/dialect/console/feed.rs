//! The feed as server-sent events (HTML standard, section 9.2).

use serde_json::{Map, Value, json};

use crate::feed::{Happening, Item};

/// Keeps a connection open on which nothing happens; browsers pass it over.
pub const COMMENT: &str = ":\n\n";

/// Says that the session is over, and with it the feed.
pub const ENDED: &str = "event: ended\ndata: {}\n\n";

/// Says that so much was not shown.
pub fn skipped(count: u64) -> String {
    format!("event: skipped\ndata: {}\n\n", json!({ "count": count }))
}

/// Says how many other nodes there are, of which the feed tells nothing, if that is known.
pub fn nodes(others: Option<usize>) -> String {
    format!("event: nodes\ndata: {}\n\n", json!({ "others": others }))
}

/// Something that happened. JSON has no line breaks of its own, so the data is one line.
pub fn item(item: &Item) -> String {
    let (kind, rest) = members(&item.what);
    let mut data =
        Map::from_iter([("time_ms".to_owned(), item.at_ms.into()), ("kind".to_owned(), kind.into())]);
    if let Value::Object(rest) = rest {
        data.extend(rest);
    }
    format!("event: item\ndata: {}\n\n", Value::Object(data))
}

fn members(what: &Happening) -> (&'static str, Value) {
    match what {
        Happening::Connected { socket, dialect, address, user } => (
            "connected",
            json!({ "socket_id": socket, "dialect": dialect.name(), "address": address, "user": user }),
        ),
        Happening::Disconnected { socket, code, reason } => {
            ("disconnected", json!({ "socket_id": socket, "code": code, "reason": reason }))
        }
        Happening::Subscribed { socket, channel } => {
            ("subscribed", json!({ "socket_id": socket, "channel": channel.as_str() }))
        }
        Happening::Unsubscribed { socket, channel } => {
            ("unsubscribed", json!({ "socket_id": socket, "channel": channel.as_str() }))
        }
        Happening::ClientEvent { socket, channel, event, data } => (
            "client_event",
            json!({ "socket_id": socket, "channel": channel.as_str(), "event": event, "data": data }),
        ),
        Happening::Published { target, event, bytes, data, sockets } => (
            "published",
            json!({
                "target": target,
                "event": event,
                "bytes": bytes,
                "data": data,
                "reach": sockets.map(|sockets| json!({ "sockets": sockets })),
            }),
        ),
        Happening::Refused { is_socket: true, code, reason } => {
            ("refused", json!({ "where": "socket", "code": code, "reason": reason }))
        }
        Happening::Refused { is_socket: false, code, reason } => {
            ("refused", json!({ "where": "api", "status": code, "reason": reason }))
        }
        Happening::Webhook { url, events, status, fault } => {
            ("webhook", json!({ "url": url, "events": events, "status": status, "fault": fault }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_one_event_whatever_was_sent() {
        let what = Happening::ClientEvent {
            socket: "1.2".into(),
            channel: crate::model::ChannelName::parse("news").unwrap(),
            event: "client-a\ndata: b".into(),
            data: "\r\n\n".into(),
        };
        let told = item(&Item { at_ms: 7, what });
        let data = r#"{"time_ms":7,"kind":"client_event","socket_id":"1.2","channel":"news","event":"client-a\ndata: b","data":"\r\n\n"}"#;
        assert_eq!(told, format!("event: item\ndata: {data}\n\n"));
    }
}
