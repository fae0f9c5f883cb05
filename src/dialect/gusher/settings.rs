//! The settings calls of the private listener: a JSON object of settings by name, in and out.
//!
//! Which settings there are and what they may be is known to the model alone; here are the words about them.

use serde_json::{Map, Value};

use crate::dialect::unique::Unique;
use crate::model::{AppSettings, Refusal, SettingFault, Webhook};

/// How much a mistyped name must resemble a known one (Jaro-Winkler, 0 to 1) to be taken for it.
const LIKENESS_MIN: f64 = 0.75;

/// `PATCH /api/{app_key}/settings`: the settings to change, by name.
///
/// # Errors
/// [`Refusal::ParametersInvalid`] unless the body is a JSON object, whatever type it claims to be of, that has no member
/// twice.
pub fn change(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let invalid = |_| Refusal::ParametersInvalid("the body is no JSON object".to_owned());
    let change = serde_json::from_slice(body).map_err(invalid)?;
    let ambiguous = |error: serde_json::Error| Refusal::ParametersInvalid(error.to_string());
    serde_json::from_slice(body).map(|Unique| change).map_err(ambiguous)
}

/// The settings that a change makes of the present ones: each member replaces a setting, and `null` makes it its
/// default again.
///
/// # Errors
/// [`Refusal::ParametersInvalid`] names the first setting that does not exist or is of another type, and a header that no
/// webhook may set.
pub fn apply(now: &AppSettings, change: Map<String, Value>) -> Result<AppSettings, Refusal> {
    let mut settings = now.clone();
    let has_webhooks = change.contains_key("webhooks");
    for (name, value) in change {
        settings.set(&name, value).map_err(|fault| {
            Refusal::ParametersInvalid(match fault {
                SettingFault::Unknown => unknown(&name),
                SettingFault::Value(fault) => format!("{name} {fault}"),
            })
        })?;
    }
    // Here and not among the rules of the model, so that apps that have such a header from before still load.
    let headers = || settings.webhooks.iter().flat_map(|webhook| webhook.headers.keys());
    match headers().find(|name| has_webhooks && !Webhook::may_set(name)) {
        Some(name) => {
            let name = name.escape_debug().to_string();
            let fault = format!("webhooks has the header {name:.80}, which is not a webhook's to set");
            Err(Refusal::ParametersInvalid(fault))
        }
        None => Ok(settings),
    }
}

/// The answer to both calls: all settings, secrets included.
pub fn told(settings: &AppSettings) -> String {
    format!("{}\n", Value::Object(settings.members()))
}

fn unknown(name: &str) -> String {
    let likeness = |known: &String| strsim::jaro_winkler(name, known);
    let members = AppSettings::default().members();
    let nearest = members.keys().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    let nearest = nearest.filter(|known| likeness(known) >= LIKENESS_MIN);
    let hint = nearest.map(|known| format!(", did you mean {known}?")).unwrap_or_default();
    // Whoever calls chose the name; an answer is one line.
    format!("unknown setting {:.80}{hint}", name.escape_debug().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a body makes of the defaults.
    fn applied(body: &str) -> Result<AppSettings, String> {
        let changed = change(body.as_bytes()).and_then(|change| apply(&AppSettings::default(), change));
        changed.map_err(|refusal| match refusal {
            Refusal::ParametersInvalid(text) => text,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn each_member_replaces_a_setting_and_the_others_stay() {
        let settings =
            applied(r#"{"enabled":false,"allowed_origins":["example.com"],"cache_ttl":null}"#).unwrap();
        let allowed_origins = vec!["example.com".to_owned()];
        assert_eq!(settings, AppSettings { enabled: false, allowed_origins, ..AppSettings::default() });
        assert_eq!(applied("{}").unwrap(), AppSettings::default());
    }

    #[test]
    fn an_unknown_setting_is_named_with_the_nearest() {
        let refused = |body| applied(body).unwrap_err();
        assert_eq!(refused(r#"{"cachettl":1}"#), "unknown setting cachettl, did you mean cache_ttl?");
        assert_eq!(
            refused(r#"{"maxConnections":1}"#),
            "unknown setting maxConnections, did you mean max_connections?"
        );
        assert_eq!(refused(r#"{"zzz":1}"#), "unknown setting zzz");
        assert_eq!(refused(r#"{"a\nb":1}"#), r"unknown setting a\nb");
    }

    #[test]
    fn a_value_of_another_type_is_refused_with_the_name() {
        assert_eq!(applied(r#"{"enabled":1}"#).unwrap_err(), "enabled is not true or false");
    }

    #[test]
    fn a_member_that_is_there_twice_is_refused_at_every_depth() {
        for body in [
            r#"{"enabled":false,"enabled":true}"#,
            r#"{"webhooks":[{"url":"http://x","headers":{"enabled":"1","enabled":"2"}}]}"#,
        ] {
            assert!(applied(body).unwrap_err().starts_with("enabled is there twice"), "{body}");
        }
    }

    #[test]
    fn a_header_that_no_webhook_may_set_is_refused_by_its_name() {
        let with = |header: &str| {
            applied(&format!(
                r#"{{"webhooks":[{{"url":"http://x","headers":{{"X-A":"1","{header}":"2"}}}}]}}"#
            ))
        };
        for header in
            ["Content-Length", "Transfer-Encoding", "Host", "content-type", "X-Pusher-Key", "x-pusher-other"]
        {
            let fault = format!("webhooks has the header {header}, which is not a webhook's to set");
            assert_eq!(with(header).unwrap_err(), fault);
        }
        assert!(with("Authorization").is_ok());
        // One from before keeps nobody from changing something else.
        let mut old = with("X-B").unwrap();
        old.webhooks[0].headers.insert("Host".into(), "x".into());
        assert!(apply(&old, change(br#"{"enabled":false}"#).unwrap()).is_ok());
    }

    #[test]
    fn only_an_object_is_a_change() {
        for body in ["", "[]", "null", "\"x\"", "{", "enabled=false", "{}{}"] {
            assert_eq!(applied(body).unwrap_err(), "the body is no JSON object", "{body}");
        }
    }

    #[test]
    fn all_settings_are_told_in_one_line_under_their_names() {
        let told = told(&AppSettings::default());
        assert!(told.starts_with(r#"{"enabled":true,"client_events":true,"#), "{told}");
        assert!(told.ends_with("}\n") && told.matches('\n').count() == 1, "{told}");
        assert_eq!(applied(&told).unwrap(), AppSettings::default());
    }
}
