//! Random calls for the readers of what backends send to the signed API: whatever comes is understood whole, or refused
//! as the backend's own fault.

use axum::http::StatusCode;
use gusher::dialect::pusher::api::{
    Fault, SignedCall, Wanted, auth_key, authenticate, batch, batched, channel, channel_query, channels,
    channels_query, event, fault_body, published, users_query,
};
use gusher::dialect::signature::hmac_hex;
use gusher::model::{
    Admin, App, AppKey, AppSecret, AppSettings, ChannelName, Counts, Hash, Registered, Target,
};
use md5::{Digest, Md5};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

const SECRET: &str = "a-secret";
const NOW: i64 = 1_700_000_000;

/// Bodies that are right, or nearly.
const BODIES: [&str; 6] = [
    r#"{"name":"e","channel":"a","data":"{\"x\":1}","socket_id":"1.2","info":"user_count,subscription_count"}"#,
    r##"{"name":"e","channels":["a","presence-b","#server-to-user-c"],"data":{"x":[1.5e3,null]}}"##,
    r#"{"batch":[{"name":"e","channel":"a","data":"x"},{"name":"f","channel":"cache-b","data":"","info":""}]}"#,
    r#"{"batch":[{"name":"é","channel":"presence-a","data":0,"info":"user_count"}]}"#,
    r#"{"batch":[]}"#,
    "{}",
];

/// Queries that are right, or nearly.
const QUERIES: [&str; 4] = [
    "filter_by_prefix=presence-&info=user_count",
    "info[0]=subscription_count&info%5B1%5D=cache&info[]=user_count",
    "with_user_info=1&auth_key=k&body_md5=m",
    "auth_key=k&auth_timestamp=1700000000&auth_version=1.0&auth_signature=00&body_md5=",
];

/// Pieces that steer a mutation into the depths of a reader.
const PIECES: [&str; 22] = [
    "", "\"", "\\", "\\ud800", "{", "}", "[", "]", ":", ",", "null", "-1", "1e999", "é", "\u{0}", "&", "=",
    "%", "%00", "%F", "+", "#",
];

fn app() -> App {
    App {
        key: AppKey::stored("k"),
        id: "1".into(),
        secret: AppSecret(SECRET.into()),
        admin: Admin { account: "admin".into(), hash: Hash(String::new()) },
        connect_hook: String::new(),
        request_ip: String::new(),
        registered: Registered { timestamp_ms: 0, date: String::new() },
    }
}

/// A refusal blames the backend and says why, in words and as JSON.
fn is_refusal(fault: &Fault) -> Result<(), TestCaseError> {
    prop_assert!(fault.status.is_client_error() && !fault.text.is_empty(), "{fault:?}");
    let (_, json) = fault_body(fault, Some("application/json"));
    let json: Value = serde_json::from_str(&json).expect("it is JSON");
    prop_assert_eq!(&json["error"], &fault.text);
    Ok(())
}

/// What was understood keeps every limit, and can be answered with an object.
fn is_whole(wanted: &Wanted) -> Result<(), TestCaseError> {
    let (publication, settings) = (&wanted.publication, AppSettings::default());
    let Target::Channels(names) = &publication.target else { panic!("{:?}", publication.target) };
    prop_assert!((1..=settings.max_channels_per_event as usize).contains(&names.len()));
    prop_assert!((1..=settings.max_event_name_length as usize).contains(&publication.event.chars().count()));
    prop_assert!(!publication.event.starts_with("pusher:"));
    prop_assert!(publication.data.len() <= settings.max_event_bytes as usize);
    prop_assert!(!wanted.info.cache);
    is_object(&published(&counted(names), wanted.info))
}

fn is_object(answer: &str) -> Result<(), TestCaseError> {
    let is_object = serde_json::from_str::<Value>(answer).is_ok_and(|answer| answer.is_object());
    prop_assert!(is_object, "{answer}");
    Ok(())
}

fn counted(names: &[ChannelName]) -> Vec<(ChannelName, Counts)> {
    names.iter().map(|name| (name.clone(), Counts { users: 1, subscriptions: 2 })).collect()
}

fn read_body(body: &[u8]) -> Result<(), TestCaseError> {
    let settings = AppSettings::default();
    match event(body, &settings) {
        Ok(wanted) => is_whole(&wanted)?,
        Err(fault) => is_refusal(&fault)?,
    }
    match batch(body, &settings) {
        Ok(events) => {
            prop_assert!(events.len() <= settings.max_batch_events as usize);
            events.iter().try_for_each(is_whole)?;
            let told = events.iter().flat_map(|wanted| match &wanted.publication.target {
                Target::Channels(names) => {
                    names.iter().map(|name| (name.clone(), Counts::default(), wanted.info))
                }
                other => panic!("{other:?}"),
            });
            is_object(&batched(&told.collect::<Vec<_>>()))
        }
        Err(fault) => is_refusal(&fault),
    }
}

fn read_query(query: &str) -> Result<(), TestCaseError> {
    match channels_query(query) {
        Ok((_, info)) => is_object(&channels(&counted(&[named("presence-a")]), info))?,
        Err(fault) => is_refusal(&fault)?,
    }
    for name in ["a", "presence-a", "cache-a", "presence-cache-a"].map(named) {
        match channel_query(query, &name) {
            Ok(info) => is_object(&channel(Counts::default(), info, None))?,
            Err(fault) => is_refusal(&fault)?,
        }
        users_query(query, &name).map_or_else(|fault| is_refusal(&fault), |_| Ok(()))?;
    }
    auth_key(query).map_or_else(|fault| is_refusal(&fault), |_| Ok(()))
}

fn named(name: &str) -> ChannelName {
    ChannelName::parse(name).expect("a name")
}

fn checked(method: &str, path: &str, query: &str, body: &[u8]) -> Result<(), Fault> {
    let call = SignedCall { method, path, query, body };
    authenticate(&call, &app(), &AppSettings::default(), NOW)
}

fn escaped(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The query of a call, signed as the protocol has it: values as they were before they were escaped, by name.
fn signed(method: &str, path: &str, more: &[(String, String)], body: &[u8]) -> String {
    let [key, timestamp, version, digest] = ["auth_key", "auth_timestamp", "auth_version", "body_md5"];
    let own = [(key, "k".into()), (timestamp, NOW.to_string()), (version, "1.0".into())];
    let own = own.into_iter().chain([(digest, hex::encode(Md5::digest(body)))]);
    let mut all: Vec<_> = own.map(|(name, value)| (name.to_owned(), value)).chain(more.to_vec()).collect();
    let query: Vec<_> =
        all.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    all.sort();
    let pairs: Vec<_> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let signature = hmac_hex(SECRET, &format!("{method}\n{path}\n{}", pairs.join("&")));
    format!("{}&auth_signature={signature}", query.join("&"))
}

/// A POST with something changed in its method, path, query or body.
fn tampered(path: &str, query: &str, body: &[u8], change: Index) -> [(String, String, String, Vec<u8>); 5] {
    let (at, in_body) = (change.index(query.len()), change.index(body.len() + 1));
    let digit = if query.as_bytes()[at] == b'0' { "1" } else { "0" };
    let other_query = format!("{}{digit}{}", &query[..at], &query[at + 1..]);
    let other_body = [&body[..in_body], &[0], &body[in_body..]].concat();
    let [post, put] = ["POST", "PUT"].map(str::to_owned);
    let (path, query, body) = (path.to_owned(), query.to_owned(), body.to_vec());
    [
        (put, path.clone(), query.clone(), body.clone()),
        (post.clone(), format!("{path}/"), query.clone(), body.clone()),
        (post.clone(), path.clone(), format!("{query}&x=y"), body.clone()),
        (post.clone(), path.clone(), other_query, body),
        (post, path, query, other_body),
    ]
}

fn mutated(text: &str, mutations: &[(Index, usize, &str)]) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for (place, removed, piece) in mutations {
        let from = place.index(letters.len() + 1);
        let to = letters.len().min(from + removed);
        letters.splice(from..to, piece.chars());
    }
    letters.into_iter().collect()
}

fn mutations() -> impl Strategy<Value = Vec<(Index, usize, &'static str)>> {
    vec((any::<Index>(), 0_usize..3, select(&PIECES[..])), 1..5)
}

/// Any JSON, of a few levels.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        select(&["a", "presence-a", "1.2", "user_count", "#foo", "pusher:x"][..]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let members = btree_map(any::<String>(), inner.clone(), 0..4);
        prop_oneof![
            vec(inner, 0..4).prop_map(Value::from),
            members.prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The members of an event, each as it should be or anything.
fn any_event() -> impl Strategy<Value = Value> {
    let member = |name: &'static str, good: Value| {
        let value = prop_oneof![3 => Just(Some(good)), 1 => any_json().prop_map(Some), 1 => Just(None)];
        value.prop_map(move |value| value.map(|value| (name.to_owned(), value)))
    };
    let members = (
        member("name", json!("e")),
        member("channel", json!("a")),
        member("channels", json!(["a", "b"])),
        member("data", json!("x")),
        member("socket_id", json!("1.2")),
        member("info", json!("user_count")),
    );
    members.prop_map(|(name, channel, channels, data, socket, info)| {
        Value::Object([name, channel, channels, data, socket, info].into_iter().flatten().collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_a_body_or_refused(body in vec(any::<u8>(), 0..200)) {
        read_body(&body)?;
    }

    #[test]
    fn mutated_bodies_are_read_or_refused(body in select(&BODIES[..]), mutations in mutations()) {
        read_body(mutated(body, &mutations).as_bytes())?;
    }

    #[test]
    fn bodies_with_anything_in_them_are_read_or_refused(one in any_event(), batch in vec(any_event(), 0..12)) {
        read_body(one.to_string().as_bytes())?;
        read_body(json!({ "batch": batch }).to_string().as_bytes())?;
    }

    #[test]
    fn random_queries_are_read_or_refused(query: String, bytes in vec(any::<u8>(), 0..50)) {
        read_query(&query)?;
        read_query(&percent_encoding::percent_encode(&bytes, percent_encoding::NON_ALPHANUMERIC).to_string())?;
    }

    #[test]
    fn mutated_queries_are_read_or_refused(query in select(&QUERIES[..]), mutations in mutations()) {
        read_query(&mutated(query, &mutations))?;
    }

    /// What nobody signed is refused with 401, whatever it looks like.
    #[test]
    fn calls_that_nobody_signed_are_refused(
        method: String, path: String, query in select(&QUERIES[..]), mutations in mutations(), body: Vec<u8>,
    ) {
        let fault = checked(&method, &path, &mutated(query, &mutations), &body).unwrap_err();
        prop_assert_eq!(fault.status, StatusCode::UNAUTHORIZED);
        is_refusal(&fault)?;
    }

    /// What is signed is accepted whatever is in it, however it had to be escaped, and whatever order it came in; and
    /// with anything changed it is not.
    #[test]
    fn a_signature_covers_all_of_a_call(
        path in "/apps/1/[ -~é]{0,20}",
        more in btree_map("[a-z_]{1,8}", any::<String>(), 0..4),
        body in vec(any::<u8>(), 0..50),
        turn: Index,
        change: Index,
    ) {
        prop_assume!(!more.contains_key("auth_key"));
        let query = signed("POST", &path, &more.into_iter().collect::<Vec<_>>(), &body);
        let mut pairs: Vec<_> = query.split('&').collect();
        let turn = turn.index(pairs.len());
        pairs.rotate_left(turn);
        let query = pairs.join("&");
        prop_assert_eq!(checked("POST", &path, &query, &body), Ok(()));
        for (method, path, query, body) in tampered(&path, &query, &body, change) {
            prop_assert!(checked(&method, &path, &query, &body).is_err(), "{} {}?{}", method, path, query);
        }
    }
}
