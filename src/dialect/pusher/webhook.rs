//! What a webhook posts (pusher-channels 15): events, each written once when it happened, and the envelope around one
//! or several of them.

use serde::Serialize;

use crate::model::{Notice, NoticeEvent, NoticeKind};

/// Says whose app it is.
pub const KEY_HEADER: &str = "X-Pusher-Key";

/// Proves it: the signature of the body under the secret of that key.
pub const SIGNATURE_HEADER: &str = "X-Pusher-Signature";

/// Without a charset: backends compare the whole text.
pub const CONTENT_TYPE: &str = "application/json";

/// One event; its members stand in the order in which they are written.
#[derive(Serialize)]
struct Event<'a> {
    name: NoticeKind,
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_count: Option<usize>,
}

/// A notice as one event in JSON, to be kept and later put into a [`body`].
pub fn event(notice: &Notice) -> String {
    let mut told = Event {
        name: notice.event.kind(),
        channel: notice.channel.as_str(),
        event: None,
        data: None,
        socket_id: None,
        user_id: None,
        subscription_count: None,
    };
    match &notice.event {
        NoticeEvent::ChannelOccupied | NoticeEvent::ChannelVacated | NoticeEvent::CacheMiss => {}
        NoticeEvent::MemberAdded(user) | NoticeEvent::MemberRemoved(user) => {
            told.user_id = Some(user.as_str());
        }
        NoticeEvent::ClientEvent { event, data, socket, user } => {
            (told.event, told.data) = (Some(&**event), Some(&**data));
            told.socket_id = Some(socket.to_string());
            told.user_id = user.as_ref().map(|user| user.as_str());
        }
        NoticeEvent::SubscriptionCount(count) => told.subscription_count = Some(*count),
    }
    serde_json::to_string(&told).expect("an event has no map whose keys could fail")
}

/// The body with these events; `time_ms` is the Unix time in milliseconds of the oldest.
pub fn body<'a>(time_ms: i64, events: impl IntoIterator<Item = &'a str>) -> String {
    let events: Vec<_> = events.into_iter().collect();
    format!(r#"{{"time_ms":{time_ms},"events":[{}]}}"#, events.join(","))
}

/// The kind of an event that was written by [`event`].
pub fn kind(event: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
    }
    // What another version wrote, or a broken file holds, may be anything.
    serde_json::from_str(event).map(|Named { name }| name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::signature::hmac_hex;
    use crate::model::{AppKey, ChannelName, SocketId, UserId};

    const SECRET: &str = "7ad3773142a6692b25b8";

    fn told(channel: &str, event: NoticeEvent) -> String {
        let (app, channel) = (AppKey::stored("k"), ChannelName::parse(channel).unwrap());
        super::event(&Notice { app, channel, at_ms: 0, event })
    }

    fn client_event(user: Option<&str>) -> NoticeEvent {
        NoticeEvent::ClientEvent {
            event: "client-typing".into(),
            data: r#"{"a":1}"#.into(),
            socket: SocketId { high: 1234, low: 1234 },
            user: user.map(|user| UserId::parse(user).unwrap()),
        }
    }

    #[test]
    fn the_vector_of_an_occupied_channel_holds() {
        let body = body(1_327_078_148_132, [&*told("my-channel", NoticeEvent::ChannelOccupied)]);
        let expected =
            r#"{"time_ms":1327078148132,"events":[{"name":"channel_occupied","channel":"my-channel"}]}"#;
        assert_eq!(body, expected);
        let signature = "c19001ae3963ccb13bf618e5b16ba9848e7e74df0993aa0689168e341c6833cf";
        assert_eq!(hmac_hex(SECRET, &body), signature);
    }

    #[test]
    fn the_vector_of_a_client_event_holds() {
        let body = body(1_327_078_148_132, [&*told("presence-foobar", client_event(Some("10")))]);
        let expected = r#"{"time_ms":1327078148132,"events":[{"name":"client_event","channel":"presence-foobar","event":"client-typing","data":"{\"a\":1}","socket_id":"1234.1234","user_id":"10"}]}"#;
        assert_eq!(body, expected);
        let signature = "e5850565726c2334de35ae03617a66fe90a76f4e753960f9286b69c573b3064e";
        assert_eq!(hmac_hex(SECRET, &body), signature);
    }

    #[test]
    fn each_kind_has_its_members() {
        let user = UserId::parse("7").unwrap();
        for (event, members) in [
            (NoticeEvent::ChannelVacated, r#""name":"channel_vacated","channel":"c""#),
            (NoticeEvent::CacheMiss, r#""name":"cache_miss","channel":"c""#),
            (NoticeEvent::MemberAdded(user.clone()), r#""name":"member_added","channel":"c","user_id":"7""#),
            (NoticeEvent::MemberRemoved(user), r#""name":"member_removed","channel":"c","user_id":"7""#),
            (
                NoticeEvent::SubscriptionCount(3),
                r#""name":"subscription_count","channel":"c","subscription_count":3"#,
            ),
            (
                client_event(None),
                r#""name":"client_event","channel":"c","event":"client-typing","data":"{\"a\":1}","socket_id":"1234.1234""#,
            ),
        ] {
            assert_eq!(told("c", event), format!("{{{members}}}"));
        }
    }

    #[test]
    fn several_events_stand_side_by_side() {
        assert_eq!(body(5, ["{}", "{}"]), r#"{"time_ms":5,"events":[{},{}]}"#);
    }
}
