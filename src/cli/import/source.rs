//! What another server's configuration says: values under their paths, of which each is taken once or named as left.
//!
//! A path is compared without case and underscores, so `maxConnections` and `max_connections` are one. Always true: what is
//! said of a value that is left is its path and never the value, which may be a secret.

use std::collections::{BTreeSet, HashMap};

use indexmap::IndexMap;
use serde_json::Value;

/// The list of apps; all other lists are values.
pub(super) const APPS: &str = "appmanager.array.apps";

/// All that a configuration says and that was not taken yet.
#[derive(Default)]
pub(super) struct Source {
    values: IndexMap<String, Written>,
    /// The paths that were taken, and how they were written.
    taken: HashMap<String, String>,
    /// How the list of apps was written.
    apps: Option<String>,
}

struct Written {
    /// The path as it was written.
    path: String,
    /// The same with the names in quotes, so that a name with dots is told from names within one another.
    spelled: String,
    value: Value,
}

impl Source {
    /// Reads JSON.
    ///
    /// # Errors
    /// It is no JSON object, or says the same in two spellings.
    pub(super) fn json(text: &str) -> Result<Self, String> {
        match serde_json::from_str(text) {
            Ok(tree @ Value::Object(_)) => {
                let mut source = Self::default();
                source.gather("", "", &tree)?;
                Ok(source)
            }
            Ok(_) => Err("it is no JSON object".to_owned()),
            Err(error) => Err(format!("it is no JSON: {error}")),
        }
    }

    fn gather(&mut self, path: &str, spelled: &str, value: &Value) -> Result<(), String> {
        let under = |name: &str| match path {
            "" => (name.to_owned(), format!("{name:?}")),
            _ => (format!("{path}.{name}"), format!("{spelled}.{name:?}")),
        };
        match value {
            // What is empty says nothing.
            Value::Null => Ok(()),
            Value::String(text) if text.is_empty() => Ok(()),
            Value::Array(items) if items.is_empty() => Ok(()),
            Value::Object(members) => members.iter().try_for_each(|(name, value)| {
                let (path, spelled) = under(name);
                self.gather(&path, &spelled, value)
            }),
            Value::Array(items) if normal(path) == APPS => {
                // Two lists would be merged by the places of their apps.
                if let Some(other) = self.apps.replace(spelled.to_owned()) {
                    return Err(twice(&other, spelled));
                }
                items.iter().enumerate().try_for_each(|(at, item)| {
                    let (path, spelled) = under(&at.to_string());
                    self.gather(&path, &spelled, item)
                })
            }
            value => {
                let written =
                    Written { path: path.to_owned(), spelled: spelled.to_owned(), value: value.clone() };
                match self.values.insert(normal(path), written) {
                    Some(other) => Err(twice(&other.spelled, spelled)),
                    None => Ok(()),
                }
            }
        }
    }

    /// Adds a value at `path` that was written under `name`.
    pub(super) fn put(&mut self, path: &str, name: &str, value: Value) {
        let written = Written { path: name.to_owned(), spelled: name.to_owned(), value };
        self.values.insert(normal(path), written);
    }

    /// Takes the value at a path.
    pub(super) fn take(&mut self, path: &str) -> Option<Value> {
        let written = self.values.shift_remove(path)?;
        self.taken.insert(path.to_owned(), written.path);
        Some(written.value)
    }

    /// Whether there is a value at a path that was not taken yet.
    pub(super) fn says(&self, path: &str) -> bool {
        self.values.contains_key(path)
    }

    /// How a path that was taken was written.
    pub(super) fn name(&self, path: &str) -> String {
        self.taken.get(path).map_or(path, String::as_str).to_owned()
    }

    /// Its last part, for what is said of one app.
    pub(super) fn short_name(&self, path: &str) -> String {
        self.name(path).rsplit('.').next().unwrap_or_default().to_owned()
    }

    /// Takes a text; a number counts as one.
    pub(super) fn text(&mut self, path: &str) -> Option<String> {
        Some(match self.take(path)? {
            Value::String(text) => text,
            other => other.to_string(),
        })
    }

    /// The places of the apps in their list.
    pub(super) fn apps(&self) -> BTreeSet<usize> {
        let place = |path: &String| {
            let rest = path.strip_prefix(APPS)?.strip_prefix('.')?;
            rest.split('.').next()?.parse().ok()
        };
        self.values.keys().filter_map(place).collect()
    }

    /// The paths that nobody took, as they were written.
    pub(super) fn left(self) -> Vec<String> {
        self.values.into_values().map(|written| written.path).collect()
    }
}

fn twice(one: &str, other: &str) -> String {
    format!("it says the same twice, as {one} and as {other}: leave one of them out")
}

fn normal(path: &str) -> String {
    path.replace('_', "").to_ascii_lowercase()
}

/// The variables of a `.env` file, in their order. `${NAME}` stands for a variable before it, except between single quotes.
pub(super) fn variables(text: &str) -> IndexMap<String, String> {
    let mut found = IndexMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else { continue };
        let value = value.trim();
        let value = match value.chars().next() {
            Some('\'') => value[1..].split('\'').next().unwrap_or_default().to_owned(),
            Some('"') => expanded(&unquoted(&value[1..]), &found),
            _ => expanded(value.split(" #").next().unwrap_or_default().trim_end(), &found),
        };
        found.insert(name.trim().to_owned(), value);
    }
    found
}

/// What is before the closing quote, with `\` before a character standing for that character.
fn unquoted(text: &str) -> String {
    let mut value = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next().filter(|letter| *letter != '"') {
        value.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    value
}

fn expanded(text: &str, known: &IndexMap<String, String>) -> String {
    let mut parts = text.split("${");
    let mut value = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('}') {
            Some((name, rest)) => {
                value.push_str(known.get(name).map(String::as_str).unwrap_or_default());
                value.push_str(rest);
            }
            None => value.push_str(part),
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_one_in_both_spellings_and_with_dots() {
        for text in [
            r#"{"appManager.array.apps": [{"id": "1"}, {"maxConnections": 5}], "x": ""}"#,
            r#"{"app_manager": {"array": {"apps": [{"id": "1"}, {"max_connections": 5}]}}, "x": []}"#,
        ] {
            let mut source = Source::json(text).unwrap();
            assert_eq!(source.apps().len(), 2);
            assert_eq!(source.take("appmanager.array.apps.1.maxconnections"), Some(5.into()));
            assert_eq!(source.left().len(), 1, "only the id is left");
        }
    }

    #[test]
    fn the_same_in_two_spellings_is_an_error_that_names_both() {
        for (text, one, other) in [
            (
                r#"{"appManager.array.apps": [{"id": 1}], "appManager": {"array": {"apps": [{"key": "k"}]}}}"#,
                r#""appManager.array.apps""#,
                r#""appManager"."array"."apps""#,
            ),
            (r#"{"path_prefix": "/a", "pathPrefix": "/b"}"#, r#""path_prefix""#, r#""pathPrefix""#),
        ] {
            let fault = Source::json(text).err().expect("it is refused");
            assert!(fault.contains(one) && fault.contains(other), "{fault}");
        }
    }

    #[test]
    fn a_dotenv_file_is_read_as_its_owners_read_it() {
        let text =
            "# no\nA=1 # one\nexport B=\"a \\\"b\\\" ${A}\"\nC='${A}'\n\nD=${A}/${NOBODY}x\nnothing\nE=";
        let read = variables(text);
        let values: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let expected = [("A", "1"), ("B", "a \"b\" 1"), ("C", "${A}"), ("D", "1/x"), ("E", "")];
        assert_eq!(values, expected);
    }
}
