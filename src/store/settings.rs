//! The settings of an app as they are stored: one JSON object.
//!
//! Only what differs from its default is written, so a default that changes in a later version reaches all who never
//! chose. A setting that this version does not know is left where it is and told of in the log: it was written by
//! a newer version, which finds it again. An object that makes no sense otherwise is an error, since an app that forgot
//! its limits would be open to what they keep out.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::StoreError;
use crate::model::{AppKey, AppSettings, SettingFault};

/// The object of an app that was never set.
pub(super) const NONE: &str = "{}";

/// The settings of all these rows: the key of an app and its object.
pub(super) fn read_all(rows: Vec<(String, String)>) -> Result<HashMap<String, AppSettings>, StoreError> {
    let read = |(app, text): (String, String)| match read(&text) {
        Ok((settings, unknown)) => {
            for setting in unknown {
                tracing::warn!(app, setting, "a setting of a newer version has no effect");
            }
            Ok((app, settings))
        }
        Err(reason) => Err(StoreError::Settings { app, reason }),
    };
    rows.into_iter().map(read).collect()
}

/// What is to be changed in an object.
pub(super) struct Change {
    /// The settings concerned; none in place of a value that is the default.
    members: Vec<(String, Option<Value>)>,
}

impl Change {
    /// From the settings before to those after it.
    pub(super) fn new(before: &AppSettings, after: &AppSettings) -> Self {
        let (before, defaults) = (before.members(), AppSettings::default().members());
        let changed = after.members().into_iter().filter(|(name, value)| before.get(name) != Some(value));
        let members = changed.map(|(name, value)| {
            let value = Some(value).filter(|value| defaults.get(&name) != Some(value));
            (name, value)
        });
        Self { members: members.collect() }
    }

    /// The object of an app after it.
    pub(super) fn apply(self, app: &AppKey, text: &str) -> Result<String, StoreError> {
        let mut object =
            object(text).map_err(|reason| StoreError::Settings { app: app.as_str().to_owned(), reason })?;
        for (name, value) in self.members {
            match value {
                Some(value) => object.insert(name, value),
                None => object.remove(&name),
            };
        }
        Ok(Value::Object(object).to_string())
    }
}

/// The settings of an object and the names that mean nothing to us; else what is wrong, as the end of a sentence that
/// begins with the settings.
fn read(text: &str) -> Result<(AppSettings, Vec<String>), String> {
    let (mut settings, mut unknown) = (AppSettings::default(), Vec::new());
    for (name, value) in object(text)? {
        match settings.set(&name, value) {
            Ok(()) => {}
            Err(SettingFault::Unknown) => unknown.push(name),
            Err(SettingFault::Value(_)) => return Err(format!("have a broken {name}")),
        }
    }
    settings.check().map_err(|fault| format!("break a rule: {fault}"))?;
    Ok((settings, unknown))
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|_| "are no JSON object".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(text: &str, before: &AppSettings, after: &AppSettings) -> String {
        Change::new(before, after).apply(&AppKey::stored("x"), text).unwrap()
    }

    #[test]
    fn what_differs_from_its_default_is_written_and_nothing_else() {
        let plain = AppSettings::default();
        let set = AppSettings { cache_ttl: 60, max_connections: Some(3), ..AppSettings::default() };
        let written = changed(NONE, &plain, &set);
        assert_eq!(written, r#"{"max_connections":3,"cache_ttl":60}"#);
        assert_eq!(read(&written), Ok((set.clone(), vec![])));
        assert_eq!(changed(&written, &set, &plain), NONE);
    }

    #[test]
    fn what_did_not_change_here_stays_as_it_is() {
        let plain = AppSettings::default();
        let off = AppSettings { enabled: false, ..AppSettings::default() };
        let elsewhere = r#"{"colour":"red","cache_ttl":60}"#;
        assert_eq!(changed(elsewhere, &plain, &off), r#"{"colour":"red","cache_ttl":60,"enabled":false}"#);
    }

    #[test]
    fn what_is_broken_is_named_and_not_shown() {
        for (text, reason) in [
            ("", "are no JSON object"),
            ("[1]", "are no JSON object"),
            (r#"{"cache_ttl":"hidden"}"#, "have a broken cache_ttl"),
            (r#"{"additional_keys":["hidden"]}"#, "have a broken additional_keys"),
            (r#"{"cache_ttl":0}"#, "break a rule: cache_ttl is not between 1 and 604800"),
        ] {
            let error = read_all(vec![("x".to_owned(), text.to_owned())]).unwrap_err().to_string();
            assert_eq!(error, format!(r#"the settings of the app "x" {reason}"#));
        }
    }
}
