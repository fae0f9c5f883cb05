//! Webhooks of others as webhooks of an app here.

use serde_json::{Map, Value, json};

/// What is told under another name there.
const RENAMED: &[(&str, &str)] = &[("cache_missed", "cache_miss")];

const EVENTS: &[&str] = &[
    "channel_occupied",
    "channel_vacated",
    "member_added",
    "member_removed",
    "client_event",
    "cache_miss",
    "subscription_count",
];

/// The list that the setting `webhooks` takes. What has no equivalent is named in `left`, without values.
pub(super) fn taken_over(told: &Value, is_batched: bool, app: &str, left: &mut Vec<String>) -> Value {
    let mut taken = Vec::new();
    if !told.is_array() {
        left.push(format!("app {app}: webhooks: they are no list"));
    }
    for (at, webhook) in told.as_array().into_iter().flatten().enumerate() {
        let place = format!("app {app}: webhooks.{at}");
        let Some(members) =
            webhook.as_object().filter(|members| members.get("url").is_some_and(Value::is_string))
        else {
            left.push(format!("{place}: only webhooks with a url are here"));
            continue;
        };
        let mut own = Map::from_iter([("batch".to_owned(), json!(is_batched))]);
        for (name, value) in members {
            match name.as_str() {
                "url" => drop(own.insert("url".to_owned(), value.clone())),
                "event_types" => drop(own.insert("events".to_owned(), events(value, &place, left))),
                "headers" if is_of_texts(value) => drop(own.insert("headers".to_owned(), value.clone())),
                "filter" if value.is_object() => {
                    drop(own.insert("filter".to_owned(), filter(value, &place, left)))
                }
                other => left.push(format!("{place}.{other}: nothing here is like it")),
            }
        }
        if own.get("events").and_then(Value::as_array).is_some_and(Vec::is_empty) {
            left.push(format!("{place}: none of its events is told here, so it is left out"));
        } else {
            taken.push(Value::Object(own));
        }
    }
    taken.into()
}

fn events(told: &Value, place: &str, left: &mut Vec<String>) -> Value {
    let mut events = Vec::new();
    for event in told.as_array().into_iter().flatten().filter_map(Value::as_str) {
        let own = RENAMED.iter().find(|(name, _)| *name == event).map_or(event, |(_, own)| own);
        if EVENTS.contains(&own) {
            events.push(own);
        } else {
            left.push(format!("{place}: events of the type {event:.40} are not told here"));
        }
    }
    json!(events)
}

fn filter(told: &Value, place: &str, left: &mut Vec<String>) -> Value {
    let known = |name: &str| matches!(name, "channel_name_starts_with" | "channel_name_ends_with");
    let (own, others): (Map<_, _>, Map<_, _>) =
        told.as_object().cloned().unwrap_or_default().into_iter().partition(|(name, _)| known(name));
    left.extend(others.keys().map(|name| format!("{place}.filter.{name}: nothing here is like it")));
    own.into()
}

fn is_of_texts(value: &Value) -> bool {
    value.as_object().is_some_and(|members| members.values().all(Value::is_string))
}
