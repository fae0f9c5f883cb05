//! The bodies of the answers with status 200 (pusher-channels 14): always a JSON object, `{}` when there is nothing
//! to tell, sent as plain `application/json`.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::Info;
use crate::model::{ChannelKind, ChannelName, Counts, Kept, Member};

/// The answer to a publication (14.1): an entry for each of its channels when the backend asked for something.
pub fn published(counts: &[(ChannelName, Counts)], info: Info) -> String {
    match info.is_empty() {
        true => "{}".to_owned(),
        false => channels(counts, info),
    }
}

/// The answer to a batch (14.2): one object for each event, in order, when any of them asked for something.
pub fn batched(events: &[(ChannelName, Counts, Info)]) -> String {
    if events.iter().all(|(_, _, info)| info.is_empty()) {
        return "{}".to_owned();
    }
    let entries: Vec<Value> =
        events.iter().map(|(channel, counts, info)| attributes(channel, *counts, *info).into()).collect();
    json!({ "batch": entries }).to_string()
}

/// The answer to a question for the occupied channels (14.3).
pub fn channels(counts: &[(ChannelName, Counts)], info: Info) -> String {
    let entry = |(channel, counts): &(ChannelName, Counts)| {
        (channel.to_string(), Value::Object(attributes(channel, *counts, info)))
    };
    json!({ "channels": counts.iter().map(entry).collect::<Map<_, _>>() }).to_string()
}

/// The answer to a question for one channel (14.5), where `info` was found to fit; `kept` is the event that it
/// keeps, and for how many seconds yet.
pub fn channel(counts: Counts, info: Info, kept: Option<&(Kept, u64)>) -> String {
    let mut answer = Map::new();
    answer.insert("occupied".into(), (counts.subscriptions > 0).into());
    add_counts(&mut answer, counts, info);
    if info.cache {
        let cache = kept.map_or(Value::Null, |(kept, ttl)| json!({ "data": &*kept.data, "ttl": ttl }));
        answer.insert("cache".into(), cache);
    }
    Value::Object(answer).to_string()
}

/// The answer to a question for the members of a presence channel (14.4).
pub fn users(members: &[Member], with_user_info: bool) -> String {
    #[derive(Serialize)]
    struct Entry<'a> {
        id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_info: Option<&'a RawValue>,
    }
    #[derive(Serialize)]
    struct Answer<'a> {
        users: Vec<Entry<'a>>,
    }
    // What is no JSON is left out rather than spoil the answer.
    let users = members.iter().map(|member| Entry {
        id: member.user.as_str(),
        user_info: with_user_info.then(|| serde_json::from_str(&member.info).ok()).flatten(),
    });
    let answer = Answer { users: users.collect() };
    serde_json::to_string(&answer).expect("texts and JSON are JSON")
}

/// What is told of a channel among others: an attribute that does not fit it is left out (14.6).
fn attributes(channel: &ChannelName, counts: Counts, info: Info) -> Map<String, Value> {
    let mut answer = Map::new();
    let user_count = info.user_count && channel.kind() == ChannelKind::Presence;
    add_counts(&mut answer, counts, Info { user_count, ..info });
    answer
}

fn add_counts(answer: &mut Map<String, Value>, counts: Counts, info: Info) {
    if info.user_count {
        answer.insert("user_count".into(), counts.users.into());
    }
    if info.subscription_count {
        answer.insert("subscription_count".into(), counts.subscriptions.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UserId;

    const NOTHING: Info = Info { user_count: false, subscription_count: false, cache: false };
    const USERS: Info = Info { user_count: true, ..NOTHING };
    const BOTH: Info = Info { subscription_count: true, ..USERS };
    const COUNTS: Counts = Counts { users: 1, subscriptions: 2 };

    fn named(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    #[test]
    fn pc_155_an_attribute_that_does_not_fit_a_channel_is_left_out() {
        let counts = [(named("presence-b"), COUNTS), (named("a"), COUNTS)];
        assert_eq!(published(&counts, NOTHING), "{}");
        assert_eq!(published(&counts, USERS), r#"{"channels":{"presence-b":{"user_count":1},"a":{}}}"#);
        let both = r#"{"channels":{"presence-b":{"user_count":1,"subscription_count":2},"a":{"subscription_count":2}}}"#;
        assert_eq!(published(&counts, BOTH), both);
    }

    #[test]
    fn pc_160_a_batch_answers_with_a_list_when_any_event_asked() {
        let silent = (named("a"), COUNTS, NOTHING);
        let asking = (named("presence-b"), COUNTS, USERS);
        assert_eq!(batched(&[]), "{}");
        assert_eq!(batched(&[silent.clone(), silent.clone()]), "{}");
        assert_eq!(batched(&[asking, silent]), r#"{"batch":[{"user_count":1},{}]}"#);
    }

    #[test]
    fn channels_are_an_object_even_when_there_are_none() {
        assert_eq!(channels(&[], NOTHING), r#"{"channels":{}}"#);
        assert_eq!(channels(&[(named("a"), COUNTS)], NOTHING), r#"{"channels":{"a":{}}}"#);
    }

    #[test]
    fn pc_165_a_channel_always_says_whether_it_is_occupied() {
        assert_eq!(channel(COUNTS, NOTHING, None), r#"{"occupied":true}"#);
        assert_eq!(channel(Counts::default(), NOTHING, None), r#"{"occupied":false}"#);
        let all = Info { cache: true, ..BOTH };
        let told = r#"{"occupied":false,"user_count":0,"subscription_count":0,"cache":null}"#;
        assert_eq!(channel(Counts::default(), all, None), told);
    }

    #[test]
    fn users_are_told_by_id_and_with_their_info_on_request() {
        let member = |user, info: &str| Member { user: UserId::parse(user).unwrap(), info: info.into() };
        let members = [member("1", r#"{"name": "Ä"}"#), member("\"2", "")];
        assert_eq!(users(&[], false), r#"{"users":[]}"#);
        assert_eq!(users(&members, false), r#"{"users":[{"id":"1"},{"id":"\"2"}]}"#);
        assert_eq!(users(&members, true), r#"{"users":[{"id":"1","user_info":{"name": "Ä"}},{"id":"\"2"}]}"#);
    }
}
