//! `gusher app set` and `gusher app show`: the settings of an app through the private API.
//!
//! The names and what they may be are the server's matter, so this knows none. Secrets stay out of what is printed;
//! only `app show --json` hands on the server's answer as it is.

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value};

use super::api::{self, Api, ApiArgs};
use super::app::{aligned, harmless, without_credentials};
use super::{Failure, print_line};

/// What is printed in place of a secret.
const MASK: &str = "***";

pub(super) const SET_HELP: &str = "\
Examples:
  gusher app set demo max_connections=500 client_events=false
  gusher app set demo 'allowed_origins=[\"example.com\",\"*.example.com\"]'
  gusher app set demo 'webhooks=[{\"url\":\"https://backend.example.com/pusher\"}]'
  gusher app set demo max_connections=         back to the default

A value is JSON, or else a text. All are set, or none if one is wrong.";

/// What `gusher app set` is told. No `Debug`: it may hold secrets.
#[derive(Args)]
pub struct SetArgs {
    /// Key of the app
    app: String,
    /// A setting and its value; without a value, its default
    #[arg(required = true, value_name = "NAME=VALUE")]
    settings: Vec<String>,
    #[command(flatten)]
    api: ApiArgs,
}

/// What `gusher app show` is told.
#[derive(Args)]
pub struct ShowArgs {
    /// Key of the app
    app: String,
    /// Print the server's answer instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// Changes settings and prints what they are now.
///
/// # Errors
/// `Usage` for a word that is no `NAME=VALUE`, and without a password; `Runtime` as the server says.
pub(super) fn set(args: &SetArgs) -> Result<(), Failure> {
    let change = change(&args.settings)?;
    let path = ["api", &args.app, "settings"];
    let answer = Api::new(&args.api)?.call_json(Method::PATCH, &path, &Value::Object(change.clone()))?;
    let mut settings: Map<String, Value> = api::decode(&answer)?;
    settings.retain(|name, _| change.contains_key(name));
    print_line(&table(settings))
}

/// Prints all settings.
///
/// # Errors
/// `Usage` without a password; `Runtime` as the server says.
pub(super) fn show(args: &ShowArgs) -> Result<(), Failure> {
    let answer = Api::new(&args.api)?.call(Method::GET, &["api", &args.app, "settings"], &[])?;
    if args.json {
        return print_line(answer.trim_end());
    }
    print_line(&table(api::decode(&answer)?))
}

/// The settings to change by name; the last value of a name counts.
fn change(words: &[String]) -> Result<Map<String, Value>, Failure> {
    let setting = |word: &String| {
        let (name, value) = word.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            Failure::Usage(format!("{word:?} is not NAME=VALUE; see gusher app set --help"))
        })?;
        Ok((name.to_owned(), value_of(value)))
    };
    words.iter().map(setting).collect()
}

/// Nothing stands for the default, which the server writes as null.
fn value_of(text: &str) -> Value {
    match text {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    }
}

/// One setting a line, its value as JSON.
fn table(settings: Map<String, Value>) -> String {
    let head = ["SETTING".to_owned(), "VALUE".to_owned()];
    let row = |(name, value): (String, Value)| [harmless(&name), harmless(&masked(value).to_string())];
    let rows = std::iter::once(head).chain(settings.into_iter().map(row));
    let cells: Vec<_> = rows.map(Vec::from).collect();
    cells.iter().map(|row| aligned(row, &cells)).collect::<Vec<_>>().join("\n")
}

/// A value without the secrets of keys, the headers of webhooks, and the passwords in their addresses.
fn masked(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(masked).collect(),
        Value::Object(members) => members.into_iter().map(masked_member).collect(),
        other => other,
    }
}

fn masked_member((name, value): (String, Value)) -> (String, Value) {
    let value = match (name.as_str(), value) {
        ("secret", _) => MASK.into(),
        ("headers", Value::Object(headers)) => {
            headers.into_iter().map(|(header, _)| (header, Value::from(MASK))).collect()
        }
        ("url", Value::String(url)) => without_credentials(&url).into(),
        (_, other) => masked(other),
    };
    (name, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn changed(words: &[&str]) -> Result<Value, Failure> {
        change(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).map(Value::Object)
    }

    #[test]
    fn a_value_is_json_or_a_text_and_nothing_is_the_default() {
        let words = ["a=1", "b=true", "c=[\"x\"]", "d=x=y", "e=", "f=\"1\"", "a=2"];
        let expected = json!({ "a": 2, "b": true, "c": ["x"], "d": "x=y", "e": null, "f": "1" });
        assert_eq!(changed(&words), Ok(expected));
    }

    #[test]
    fn a_word_without_a_name_or_a_value_is_misuse() {
        for word in ["enabled", "=1", ""] {
            assert_eq!(changed(&["a=1", word]).unwrap_err().exit_code(), 2, "{word}");
        }
    }

    #[test]
    fn the_table_is_aligned_and_holds_no_secret() {
        let settings = json!({
            "enabled": true,
            "additional_keys": [{ "key": "k", "secret": "hidden" }],
            "webhooks": [{ "url": "http://u:hidden@h/", "headers": { "X": "hidden" } }],
        });
        let Value::Object(settings) = settings else { unreachable!() };
        assert_eq!(
            table(settings),
            "SETTING          VALUE\n\
             enabled          true\n\
             additional_keys  [{\"key\":\"k\",\"secret\":\"***\"}]\n\
             webhooks         [{\"url\":\"http://u:***@h/\",\"headers\":{\"X\":\"***\"}}]"
        );
    }
}
