//! What clients say and what they are answered, message by message.
//!
//! Long because it is a list of cases: each a message of a client beside what it means, and all of one protocol.

use serde_json::{Value, json};

use super::*;
use crate::dialect::pusher::handshake::protocol;
use crate::dialect::signature::hmac_hex;
use crate::model::{App, AppNumber, SocketId};

const KEY: &str = "278d425bdf160c739803";
const SECRET: &str = "7ad3773142a6692b25b8";

fn session(client: ClientKind) -> Session {
    Session { socket_id: SocketId { high: 1234, low: 1234 }, protocol: 7, client }
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

fn parsed(messages: Vec<String>) -> Vec<Value> {
    messages.iter().map(|message| serde_json::from_str(message).unwrap()).collect()
}

fn understood_from(client: ClientKind, text: &str) -> Result<Option<Command>, Vec<Value>> {
    let settings = AppSettings { watchlists: true, ..AppSettings::default() };
    understood_by(&session(client), &settings, None, text)
}

fn understood_by(
    session: &Session,
    settings: &AppSettings,
    signed_in: Option<&Member>,
    text: &str,
) -> Result<Option<Command>, Vec<Value>> {
    let app = App::sample(KEY, SECRET);
    let terms = Terms {
        app: &app,
        settings,
        signed_in,
        is_subscribed: &|channel| !channel.as_str().ends_with("-other"),
    };
    understand(session, &terms, text).map_err(parsed)
}

fn understood(text: &str) -> Result<Option<Command>, Vec<Value>> {
    understood_from(ClientKind::Other, text)
}

fn said(message: &Value) -> Result<Option<Command>, Vec<Value>> {
    understood(&message.to_string())
}

/// The text of the one `pusher:error` without a code that the message is answered with.
fn error_text(text: &str) -> String {
    only_error(understood(text).unwrap_err())
}

fn only_error(answers: Vec<Value>) -> String {
    assert_eq!(answers.len(), 1, "{answers:?}");
    let text = answers[0]["data"]["message"].as_str().unwrap().to_owned();
    assert_eq!(answers[0], json!({ "event": "pusher:error", "data": { "code": null, "message": text } }));
    text
}

/// A subscribe with a good signature.
fn signed(channel: &str, channel_data: Option<&str>) -> Value {
    let data = channel_data.map(|data| format!(":{data}")).unwrap_or_default();
    let auth = format!("{KEY}:{}", hmac_hex(SECRET, &format!("1234.1234:{channel}{data}")));
    let mut message = json!({ "event": "pusher:subscribe", "data": { "channel": channel, "auth": auth } });
    if let Some(channel_data) = channel_data {
        message["data"]["channel_data"] = channel_data.into();
    }
    message
}

fn joined(channel_data: &str) -> Result<Member, Vec<Value>> {
    match said(&signed("presence-x", Some(channel_data)))? {
        Some(Command::Subscribe { member: Some(member), .. }) => Ok(member),
        other => panic!("{other:?}"),
    }
}

/// The type and the status of the `pusher:subscription_error` that follows the error.
fn subscription_error(answers: &[Value]) -> (String, u64) {
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert_eq!(answers[1]["event"], SUBSCRIPTION_ERROR);
    let data: Value = serde_json::from_str(answers[1]["data"].as_str().unwrap()).unwrap();
    assert_eq!(data["error"], answers[0]["data"]["message"]);
    (data["type"].as_str().unwrap().to_owned(), data["status"].as_u64().unwrap())
}

fn subscribe_to(name: &str) -> Result<Option<Command>, Vec<Value>> {
    said(&json!({ "event": "pusher:subscribe", "data": { "channel": name, "auth": "" } }))
}

fn client_event(name: &str, channel: &str, data: &Value) -> Result<(String, String), Vec<Value>> {
    match said(&json!({ "event": name, "channel": channel, "data": data, "user_id": "forged" }))? {
        Some(Command::Publish { event, data, .. }) => Ok((event.to_string(), data.to_string())),
        other => panic!("{other:?}"),
    }
}

// The handshake.

#[test]
fn versions_four_to_seven_are_spoken() {
    let version = |query| protocol(query, false).map(|(version, _)| version);
    assert_eq!(version(None), Ok(7));
    assert_eq!(version(Some("protocol=4&flash=false")), Ok(4));
    assert_eq!(version(Some("version=0.0.0-dev&protocol=5")), Ok(5));
    for malformed in ["protocol=abc", "protocol=", "protocol=7.0", "protocol=%207"] {
        assert_eq!(version(Some(malformed)), Err(Closing::protocol_malformed()), "{malformed}");
    }
    for unknown in ["protocol=1", "protocol=99", "protocol=-1", "protocol=99999999999999999999"] {
        assert_eq!(version(Some(unknown)), Err(Closing::protocol_unsupported()), "{unknown}");
    }
    assert_eq!(protocol(Some("client=js"), true), Err(Closing::protocol_missing()));
}

#[test]
fn libraries_are_known_by_their_names() {
    let client = |query| protocol(Some(query), false).unwrap().1;
    assert_eq!(client("client=java-client&protocol=5"), ClientKind::Java);
    assert_eq!(client("protocol=5&client=pusher-dotnet-client"), ClientKind::Dotnet);
    assert_eq!(client("client=js"), ClientKind::Other);
}

#[test]
fn pc_002_the_first_message_carries_json_in_a_string() {
    assert_eq!(
        established(&session(ClientKind::Other), 120),
        r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1234.1234\",\"activity_timeout\":120}"}"#
    );
}

#[test]
fn the_activity_timeout_is_never_zero() {
    assert!(established(&session(ClientKind::Other), 0).contains(r#"\"activity_timeout\":1}"#));
}

// Envelopes.

#[test]
fn pc_023_an_error_is_an_object() {
    assert_eq!(error(Some(4001), "no"), r#"{"event":"pusher:error","data":{"code":4001,"message":"no"}}"#);
    assert_eq!(error(None, "no"), r#"{"event":"pusher:error","data":{"code":null,"message":"no"}}"#);
}

#[test]
fn what_is_no_message_is_answered_with_an_error() {
    for text in ["", "no json", "[]", "\"a\"", "1", "null", "{}", r#"{"event":1}"#] {
        assert_eq!(error_text(text), "Invalid message format", "{text}");
    }
}

#[test]
fn unknown_events_are_named() {
    for name in ["foo", "", "pusher_internal:member_added", "pusher:error", "pusher:connection_established"] {
        let text = json!({ "event": name }).to_string();
        assert_eq!(error_text(&text), format!("Unsupported event received on socket: {name}"));
    }
}

#[test]
fn pings_need_no_data_and_pongs_no_answer() {
    for text in [
        r#"{"event":"pusher:ping"}"#,
        r#"{"event":"pusher:ping","data":{}}"#,
        r#"{"event":"pusher:ping","data":null}"#,
    ] {
        assert_eq!(understood(text), Ok(Some(Command::Ping)));
    }
    assert_eq!(understood(r#"{"event":"pusher:pong","data":{}}"#), Ok(None));
    assert_eq!(reply(&session(ClientKind::Other), &Reply::Pong), [r#"{"event":"pusher:pong","data":"{}"}"#]);
}

#[test]
fn unknown_members_do_not_matter_and_the_last_of_a_name_counts() {
    assert_eq!(understood(r#"{"x":[{}],"event":"foo","event":"pusher:ping"}"#), Ok(Some(Command::Ping)));
}

#[test]
fn no_nesting_exhausts_the_stack() {
    let deep = "[".repeat(200_000);
    let closed = deep.clone() + &"]".repeat(200_000);
    assert_eq!(error_text(&deep), "Invalid message format");
    assert_eq!(understood(&format!(r#"{{"event":"pusher:ping","data":{closed}}}"#)), Ok(Some(Command::Ping)));
    assert!(understood(&format!(r#"{{"event":"pusher:subscribe","data":{closed}}}"#)).is_err());
    assert!(client_event_text(&closed).is_err());
}

fn client_event_text(data: &str) -> Result<Option<Command>, Vec<Value>> {
    understood(&format!(r#"{{"event":"client-x","channel":"private-x","data":{data}}}"#))
}

/// A sign-in with a good signature.
fn signing_in(user_data: &str) -> String {
    let auth = format!("{KEY}:{}", hmac_hex(SECRET, &format!("1234.1234::user::{user_data}")));
    json!({ "event": "pusher:signin", "data": { "auth": auth, "user_data": user_data } }).to_string()
}

fn signed_in_as(user_data: &str) -> Result<SignIn, Vec<Value>> {
    match understood(&signing_in(user_data))? {
        Some(Command::SignIn(sign_in)) => Ok(sign_in),
        other => panic!("{other:?}"),
    }
}

#[test]
fn pc_099_the_vector_of_a_sign_in_is_accepted() {
    let auth = format!("{KEY}:4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba");
    let data = json!({ "auth": auth, "user_data": r#"{"id":"12345"}"# });
    let understood = said(&json!({ "event": "pusher:signin", "data": data })).unwrap();
    let Some(Command::SignIn(sign_in)) = understood else { panic!("{understood:?}") };
    assert_eq!((sign_in.member.user.as_str(), &*sign_in.member.info), ("12345", "{}"));
    assert_eq!(
        reply(&session(ClientKind::Other), &Reply::SignedIn(&sign_in)),
        [r#"{"event":"pusher:signin_success","data":"{\"user_data\":\"{\\\"id\\\":\\\"12345\\\"}\"}"}"#]
    );
}

#[test]
fn pc_100_a_bad_sign_in_is_told_with_a_code() {
    let code = |text: &str| understood(text).unwrap_err()[0]["data"]["code"].clone();
    let forged = signing_in(r#"{"id":"1"}"#).replace(r#"\"1\""#, r#"\"2\""#);
    assert_eq!(code(&forged), 4009);
    assert_eq!(code(r#"{"event":"pusher:signin","data":{"auth":"k:s","user_data":"{}"}}"#), 4009);
    assert_eq!(
        error_text(r#"{"event":"pusher:signin","data":{"auth":"k:s"}}"#),
        "Missing parameter: data.user_data"
    );
    assert_eq!(error_text(r#"{"event":"pusher:signin"}"#), "Missing parameter: data.auth");
}

#[test]
fn pc_101_a_user_has_an_id() {
    for data in ["{}", r#"{"id":""}"#, r#"{"id":7}"#, r#"{"id":"a b"}"#, "[]"] {
        assert_eq!(signed_in_as(data).unwrap_err()[0]["data"]["code"], 4009, "{data}");
    }
    assert!(signed_in_as(&json!({ "id": "u".repeat(200) }).to_string()).is_ok());
    assert!(signed_in_as(&json!({ "id": "u".repeat(201) }).to_string()).is_err());
}

#[test]
fn pc_110_a_watchlist_is_cut_at_its_limit() {
    let ids: Vec<_> = (0..101).map(|id| id.to_string()).collect();
    let sign_in = signed_in_as(&json!({ "id": "a", "watchlist": ids }).to_string()).unwrap();
    assert_eq!((sign_in.watchlist.len(), sign_in.is_watchlist_cut), (100, true));
    let cut = parsed(reply(&session(ClientKind::Other), &Reply::WatchlistCut(100)));
    assert_eq!(cut[0]["data"]["code"], 4302);
}

#[test]
fn what_is_no_id_in_a_watchlist_is_told_and_the_others_are_watched() {
    let watching = |list: Value| {
        let sign_in = signed_in_as(&json!({ "id": "a", "watchlist": list }).to_string()).unwrap();
        let watched: Vec<_> = sign_in.watchlist.iter().map(UserId::to_string).collect();
        (watched.join(" "), sign_in.is_watchlist_invalid)
    };
    assert_eq!(watching(json!(["b", 7, "c"])), ("b 7 c".into(), false));
    assert_eq!(watching(json!(["b", null, { "id": "d" }, "c", "b", ""])), ("b c".into(), true));
    assert_eq!(watching(json!("b")), (String::new(), true));
    assert_eq!(watching(Value::Null), (String::new(), false));
    let told = parsed(reply(&session(ClientKind::Other), &Reply::WatchlistInvalid));
    assert_eq!((&told[0]["event"], &told[0]["data"]["code"]), (&json!("pusher:error"), &Value::Null));
}

#[test]
fn the_key_in_a_permission_may_have_colons() {
    let app = App::sample("a:b", SECRET);
    let settings = AppSettings::default();
    let terms = Terms { app: &app, settings: &settings, signed_in: None, is_subscribed: &|_| false };
    let auth = format!("a:b:{}", hmac_hex(SECRET, "1234.1234:private-x"));
    let ask = json!({ "event": "pusher:subscribe", "data": { "channel": "private-x", "auth": auth } });
    assert!(understand(&session(ClientKind::Other), &terms, &ask.to_string()).is_ok());
    let auth = format!("a:b:{}", hmac_hex(SECRET, "1234.1234::user::{\"id\":\"u\"}"));
    let ask = json!({ "event": "pusher:signin", "data": { "auth": auth, "user_data": "{\"id\":\"u\"}" } });
    assert!(understand(&session(ClientKind::Other), &terms, &ask.to_string()).is_ok());
}

#[test]
fn pc_073_who_is_signed_in_needs_no_channel_data() {
    let own = Member { user: UserId::parse("u1").unwrap(), info: r#"{"n":1}"#.into() };
    let ask = |text: &str| {
        understood_by(&session(ClientKind::Other), &AppSettings::default(), Some(&own), text).unwrap()
    };
    let text = signed("presence-x", None).to_string();
    assert_eq!(
        ask(&text),
        Some(Command::Subscribe { channel: channel("presence-x"), member: Some(own.clone()) })
    );
    let text = signed("presence-x", Some(r#"{"user_id":"u2"}"#)).to_string();
    let Some(Command::Subscribe { member: Some(member), .. }) = ask(&text) else { panic!() };
    assert_eq!(member.user.as_str(), "u2");
}

#[test]
fn pc_105_the_channel_of_a_user_is_for_that_user() {
    let own = Member { user: UserId::parse("u1").unwrap(), info: "{}".into() };
    let ask = |signed_in: Option<&Member>, name: &str| {
        let text =
            json!({ "event": "pusher:subscribe", "data": { "channel": name, "auth": "" } }).to_string();
        understood_by(&session(ClientKind::Other), &AppSettings::default(), signed_in, &text).is_ok()
    };
    assert!(ask(Some(&own), "#server-to-user-u1"));
    assert!(!ask(Some(&own), "#server-to-user-u2"));
    assert!(!ask(None, "#server-to-user-u1"));
}

#[test]
fn pc_107_watched_users_are_told_in_one_message() {
    let users = |ids: &[&str]| ids.iter().map(|id| UserId::parse(id).unwrap()).collect::<Vec<_>>();
    let told = |online, offline| {
        reply(&session(ClientKind::Other), &Reply::Watched { online: users(online), offline: users(offline) })
    };
    assert_eq!(
        told(&["a"], &["b", "c"]),
        [
            r#"{"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"online\",\"user_ids\":[\"a\"]},{\"name\":\"offline\",\"user_ids\":[\"b\",\"c\"]}]}"}"#
        ]
    );
    assert!(told(&[], &["b"])[0].contains("offline") && !told(&[], &["b"])[0].contains("online\\\""));
    assert!(told(&[], &[]).is_empty());
}

#[test]
fn pc_118_who_is_not_subscribed_cannot_publish() {
    assert_eq!(
        error_text(r#"{"event":"client-x","channel":"private-other","data":"d"}"#),
        "Cannot broadcast client event (connection not subscribed to channel private-other)"
    );
}

#[test]
fn binary_frames_are_refused_in_words() {
    assert_eq!(only_error(parsed(vec![binary_refused()])), "Binary frames are not supported");
}

// Subscribing.

#[test]
fn pc_031_the_channel_is_required() {
    for event in ["pusher:subscribe", "pusher:unsubscribe"] {
        for data in [json!(null), json!({}), json!({ "channel": 1 }), json!("no json"), json!([])] {
            let text = json!({ "event": event, "data": data }).to_string();
            assert_eq!(error_text(&text), "Missing parameter: data.channel", "{text}");
        }
        assert_eq!(error_text(&json!({ "event": event }).to_string()), "Missing parameter: data.channel");
    }
}

#[test]
fn pc_032_data_may_be_json_in_a_string() {
    let text = r#"{"event":"pusher:subscribe","data":"{\"channel\":\"a\"}"}"#;
    assert_eq!(understood(text), Ok(Some(Command::Subscribe { channel: channel("a"), member: None })));
    assert!(understood(r#"{"event":"pusher:subscribe","data":"\"{\\\"channel\\\":\\\"a\\\"}\""}"#).is_err());
}

#[test]
fn pc_038_a_public_channel_needs_no_permission() {
    assert_eq!(subscribe_to("a"), Ok(Some(Command::Subscribe { channel: channel("a"), member: None })));
}

#[test]
fn names_of_channels_are_checked() {
    for (name, message) in [
        ("a b", "Invalid channel name: a b".to_owned()),
        ("#user", "Invalid channel name: #user".to_owned()),
        (&*"c".repeat(201), format!("Channel name too long: {}", "c".repeat(201))),
    ] {
        let answers = subscribe_to(name).unwrap_err();
        assert_eq!(answers[0]["data"]["message"], message);
        assert_eq!(answers[1]["channel"], name);
        assert_eq!(subscription_error(&answers), ("InvalidChannel".to_owned(), 400));
    }
}

#[test]
fn pc_060_authorized_channels_need_permission() {
    for kind in ["private-", "presence-", "private-encrypted-"] {
        for cache in ["", "cache-"] {
            let name = format!("{kind}{cache}x");
            let answers = subscribe_to(&name).unwrap_err();
            assert_eq!(answers[0]["data"]["message"], format!("Auth info required to subscribe to {name}"));
        }
    }
    let subscribe = Command::Subscribe { channel: channel("private-x"), member: None };
    assert_eq!(said(&signed("private-x", None)), Ok(Some(subscribe)));
}

#[test]
fn pc_055_a_failed_permission_is_told_to_the_channel() {
    let answers = subscribe_to("private-x").unwrap_err();
    assert_eq!(answers[1]["channel"], "private-x");
    assert_eq!(subscription_error(&answers), ("AuthError".to_owned(), 401));
}

#[test]
fn pc_058_a_private_channel_with_signed_channel_data_has_no_member() {
    let subscribe = Command::Subscribe { channel: channel("private-x"), member: None };
    assert_eq!(said(&signed("private-x", Some(r#"{"user_id":"1"}"#))), Ok(Some(subscribe)));
}

#[test]
fn pc_062_dotnet_gets_the_name_it_knows() {
    let text = r#"{"event":"pusher:subscribe","data":{"channel":"private-x"}}"#;
    let answers = understood_from(ClientKind::Dotnet, text).unwrap_err();
    assert_eq!(answers[1]["event"], "pusher_internal:subscription_error");
}

#[test]
fn java_gets_nothing_it_would_decrypt() {
    let text = r#"{"event":"pusher:subscribe","data":{"channel":"private-encrypted-x"}}"#;
    assert_eq!(understood_from(ClientKind::Java, text).unwrap_err().len(), 1);
    assert_eq!(understood(text).unwrap_err().len(), 2);
}

#[test]
fn a_channel_that_cannot_be_has_no_subscription() {
    let unsubscribe = |name: &str| json!({ "event": "pusher:unsubscribe", "data": { "channel": name } });
    assert_eq!(said(&unsubscribe("a")), Ok(Some(Command::Unsubscribe(channel("a")))));
    assert_eq!(
        error_text(&unsubscribe("a b").to_string()),
        "No current subscription to channel a b, or subscription in progress"
    );
}

// Members.

#[test]
fn a_member_is_what_channel_data_says() {
    let member = joined(r#"{"user_id":"ü1","user_info":{ "n":1.0 },"x":0}"#).unwrap();
    assert_eq!((member.user.as_str(), &*member.info), ("ü1", r#"{ "n":1.0 }"#));
}

#[test]
fn an_integer_id_becomes_its_digits() {
    assert_eq!(joined(r#"{"user_id":10}"#).unwrap().user.as_str(), "10");
    assert_eq!(
        joined(r#"{"user_id":123456789012345678901}"#).unwrap().user.as_str(),
        "123456789012345678901"
    );
}

#[test]
fn nothing_told_about_a_member_is_an_empty_object() {
    assert_eq!(&*joined(r#"{"user_id":"1"}"#).unwrap().info, "{}");
}

#[test]
fn pc_072_a_member_needs_channel_data() {
    let answers = said(&signed("presence-x", None)).unwrap_err();
    assert_eq!(subscription_error(&answers), ("AuthError".to_owned(), 401));
}

#[test]
fn pc_075_channel_data_has_an_id() {
    for bad in [
        "no json",
        "[]",
        "{}",
        r#"{"user_id":""}"#,
        r#"{"user_id":null}"#,
        r#"{"user_id":1.5}"#,
        r#"{"user_id":{}}"#,
        r#"{"user_id":"a\nb"}"#,
    ] {
        let answers = joined(bad).unwrap_err();
        assert_eq!(answers[0]["data"]["code"], Value::Null);
        assert_eq!(subscription_error(&answers).0, "AuthError", "{bad}");
    }
}

#[test]
fn pc_077_user_info_is_limited() {
    let with_info =
        |bytes: usize| joined(&format!(r#"{{"user_id":"1","user_info":"{}"}}"#, "i".repeat(bytes - 2)));
    assert_eq!(with_info(1024).unwrap().info.len(), 1024);
    assert_eq!(subscription_error(&with_info(1025).unwrap_err()), ("LimitReached".to_owned(), 4301));
}

#[test]
fn pc_078_user_ids_are_limited() {
    let with_id = |bytes| joined(&format!(r#"{{"user_id":"{}"}}"#, "u".repeat(bytes)));
    assert!(with_id(128).is_ok());
    assert_eq!(subscription_error(&with_id(129).unwrap_err()), ("LimitReached".to_owned(), 4301));
}

#[test]
fn success_is_an_empty_object_in_a_string() {
    assert_eq!(
        subscribed(&channel("private-encrypted-x"), None),
        r#"{"event":"pusher_internal:subscription_succeeded","channel":"private-encrypted-x","data":"{}"}"#
    );
}

#[test]
fn pc_064_a_roster_is_json_in_a_string() {
    let member = |id: &str, info: &str| Member { user: UserId::parse(id).unwrap(), info: info.into() };
    let roster = [member("71", "{}"), member("11", r#"{"name":"A"}"#)];
    let answer: Value = serde_json::from_str(&subscribed(&channel("presence-x"), Some(&roster))).unwrap();
    assert_eq!(
        answer["data"],
        r#"{"presence":{"ids":["71","11"],"hash":{"71":{},"11":{"name":"A"}},"count":2}}"#
    );
}

// Client events.

#[test]
fn pc_120_data_becomes_a_string() {
    let data = |data: &str| match client_event_text(data).unwrap() {
        Some(Command::Publish { data, .. }) => data.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(data(r#""a \"b\" \u00e9""#), r#"a "b" é"#);
    assert_eq!(
        data("{ \"a b\" : [1.0, \"\\\\\\\" \", 12345678901234567890123 ] }"),
        r#"{"a b":[1.0,"\\\" ",12345678901234567890123]}"#
    );
    assert_eq!(data("null"), "null");
    let absent = understood(r#"{"event":"client-x","channel":"private-x"}"#).unwrap();
    assert!(matches!(absent, Some(Command::Publish { data, .. }) if &*data == "null"));
}

#[test]
fn pc_116_client_events_may_be_switched_off() {
    let text = r#"{"event":"client-x","channel":"public"}"#;
    let settings = AppSettings { client_events: false, ..AppSettings::default() };
    let answers = understood_by(&session(ClientKind::Other), &settings, None, text).unwrap_err();
    assert_eq!(
        only_error(answers),
        "To send client events, you must enable this feature in the Settings page of your dashboard."
    );
}

#[test]
fn pc_117_client_events_are_not_for_public_channels() {
    for name in ["public", "#server-to-user-1", "private x"] {
        assert_eq!(
            only_error(client_event("client-x", name, &json!({})).unwrap_err()),
            "Client event rejected - only supported on private and presence channels"
        );
    }
    let text = r#"{"event":"client-x","data":{}}"#;
    assert_eq!(error_text(text), "Missing parameter: channel");
}

#[test]
fn the_size_of_a_client_event_is_limited() {
    assert!(client_event("client-x", "private-x", &json!("d".repeat(10_240))).is_ok());
    assert_eq!(
        only_error(client_event("client-x", "private-x", &json!("d".repeat(10_241))).unwrap_err()),
        "The data content of this event exceeds the allowed maximum (10240 bytes)"
    );
}

#[test]
fn pc_124_the_name_of_a_client_event_is_limited() {
    let named = |chars: usize| {
        client_event(&format!("client-{}", "ü".repeat(chars - "client-".len())), "private-x", &json!(1))
    };
    assert!(named(200).is_ok());
    only_error(named(201).unwrap_err());
}

// Refusals and pushes.

#[test]
fn each_refusal_of_a_subscription_has_its_words() {
    let refused = |refusal| parsed(refuse(&session(ClientKind::Other), &channel("presence-x"), &refusal));
    assert_eq!(
        only_error(refused(Refusal::SubscribedAlready)),
        "Existing subscription to channel presence-x"
    );
    for limit in [Refusal::RosterFull, Refusal::TooManyChannels] {
        assert_eq!(subscription_error(&refused(limit)), ("LimitReached".to_owned(), 4100));
    }
}

#[test]
fn only_the_rate_of_client_events_has_a_code() {
    let refused = |refusal| parsed(vec![refuse_event(&channel("private-x"), &refusal)]);
    assert_eq!(
        only_error(refused(Refusal::NotSubscribed)),
        "Cannot broadcast client event (connection not subscribed to channel private-x)"
    );
    assert_eq!(
        refused(Refusal::TooManyEvents)[0]["data"],
        json!({ "code": 4301, "message": "Client event rejected due to rate limit" })
    );
}

fn encoded(content: Content) -> String {
    let audience = Audience::Channel(channel("presence-x"));
    encode(&Push { app: AppNumber(0), audience, content, except: None, revision: 0 }).unwrap()
}

#[test]
fn an_event_arrives_as_it_was_published() {
    let event = |data: &str, user| Content::Event { event: "e".into(), data: data.into(), user };
    assert_eq!(encoded(event("not json", None)), r#"{"event":"e","channel":"presence-x","data":"not json"}"#);
    let user = UserId::parse("10").ok();
    assert_eq!(
        encoded(event(r#"{"a":1}"#, user)),
        r#"{"event":"e","channel":"presence-x","data":"{\"a\":1}","user_id":"10"}"#
    );
    let data = "\u{2028} 🦀 \\u0041 \" \u{0}";
    let message: Value = serde_json::from_str(&encoded(event(data, None))).unwrap();
    assert_eq!(message["data"], data);
}

#[test]
fn pc_069_members_come_and_go() {
    let user = UserId::parse("11").unwrap();
    let member = Member { user: user.clone(), info: r#"{"a":1}"#.into() };
    assert_eq!(
        encoded(Content::MemberAdded(member)),
        r#"{"event":"pusher_internal:member_added","channel":"presence-x","data":"{\"user_id\":\"11\",\"user_info\":{\"a\":1}}"}"#
    );
    assert_eq!(
        encoded(Content::MemberRemoved(user)),
        r#"{"event":"pusher_internal:member_removed","channel":"presence-x","data":"{\"user_id\":\"11\"}"}"#
    );
}

/// Every way of the server's to close a socket, but for those of RFC 6455.
fn closes() -> Vec<(u16, String)> {
    let partings = [
        Parting::AppUnregistered,
        Parting::AppDisabled,
        Parting::Terminated,
        Parting::Unauthorized,
        Parting::NodeStops,
        Parting::NodeCutOff,
        Parting::SlowReader,
        Parting::Silent,
    ];
    let closings = [
        Closing::app_unknown("k"),
        Closing::path_unknown(),
        Closing::app_disabled(),
        Closing::over_quota(),
        Closing::tls_only(),
        Closing::origin_not_allowed(),
        Closing::protocol_malformed(),
        Closing::protocol_unsupported(),
        Closing::protocol_missing(),
        Closing::over_capacity(),
        Closing::reconnect(),
    ];
    let partings = partings.map(close).map(|(code, reason)| (code, reason.to_owned()));
    partings.into_iter().chain(closings.map(|closing| (closing.code, closing.message))).collect()
}

#[test]
fn pc_034_no_close_code_keeps_a_library_away_for_good() {
    for (code, reason) in closes() {
        assert!((1000..4300).contains(&code), "{code} {reason}");
    }
}

#[test]
fn pc_036_every_close_has_a_reason_that_fits() {
    for (code, reason) in closes() {
        // What a control frame holds besides the code (RFC 6455 section 5.5).
        assert!((1..=123).contains(&reason.len()), "{code} {reason}");
    }
}
