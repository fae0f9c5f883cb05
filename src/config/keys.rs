//! The names of the settings: `limits.outbox_bytes_max` as a path, `GUSHER_LIMITS_OUTBOX_BYTES_MAX` in the environment,
//! `--limits-outbox-bytes-max` as a flag. All are read off a tree of defaults, so none is written down twice.

use serde_json::Value;

/// How much of a mistyped name must be right (1 less the edits per letter) to be taken for a known one.
const LIKENESS_MIN: f64 = 0.7;

/// What all variables begin with.
const VARIABLE_PREFIX: &str = "GUSHER_";

/// The paths of all settings of `tree`, those of nested objects joined by dots.
pub(super) fn all(tree: &Value) -> Vec<String> {
    let Value::Object(members) = tree else { return vec![String::new()] };
    members.iter().flat_map(|(name, value)| all(value).into_iter().map(move |key| join(name, &key))).collect()
}

/// The path of `name` in the object at `path`.
pub(super) fn join(path: &str, name: &str) -> String {
    match (path, name) {
        ("", only) | (only, "") => only.to_owned(),
        (path, name) => format!("{path}.{name}"),
    }
}

/// The setting of `tree` at `key`.
pub(super) fn at<'a>(tree: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    key.split('.').try_fold(tree, |tree, name| tree.get_mut(name))
}

/// The environment variable that sets `key`.
pub(super) fn variable(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.replace('.', "_").to_ascii_uppercase())
}

/// The flag that sets `key`.
pub(super) fn flag(key: &str) -> String {
    format!("--{}", key.replace(['.', '_'], "-"))
}

/// The known name that resembles `name` most, if any does.
///
/// A setting typed outside its object (`shards` for `node.shards`) is recognized by its last part. The rest of the path
/// counts for nothing: it is the same for many settings, so it makes strangers look alike.
pub(super) fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    most_like(known.map(|key| (strsim::normalized_damerau_levenshtein(&last(name), &last(&key)), key)))
}

/// The variable of a known setting that resembles the variable `name` most, if any does. One that lacks the name of the
/// object (`GUSHER_SHARDS` for `GUSHER_NODE_SHARDS`) is recognized.
pub(super) fn nearest_variable(name: &str, known: &[String]) -> Option<String> {
    let name = name.strip_prefix(VARIABLE_PREFIX).unwrap_or(name).to_ascii_uppercase();
    let likeness = |key: &String| {
        let variable = variable(key);
        let own = &variable[VARIABLE_PREFIX.len()..];
        let is_end = own.strip_suffix(&name).is_some_and(|object| object.ends_with('_'));
        let likeness = if is_end { 1.0 } else { strsim::normalized_damerau_levenshtein(&name, own) };
        (likeness, variable)
    };
    most_like(known.iter().map(likeness))
}

fn most_like(names: impl Iterator<Item = (f64, String)>) -> Option<String> {
    names
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_the_paths_of_the_leaves() {
        let mut tree = json!({ "b": 1, "a": { "d": "x", "c": { "e": 2 } } });
        assert_eq!(all(&tree), ["b", "a.d", "a.c.e"]);
        assert_eq!(at(&mut tree, "a.c.e"), Some(&mut json!(2)));
        assert_eq!(at(&mut tree, "a.x"), None);
    }

    #[test]
    fn one_key_has_one_variable_and_one_flag() {
        assert_eq!(variable("limits.sockets_max"), "GUSHER_LIMITS_SOCKETS_MAX");
        assert_eq!(flag("api_listen"), "--api-listen");
    }

    #[test]
    fn a_mistyped_name_is_recognized_and_a_strange_one_is_not() {
        let known = || ["listen", "api_listen", "node.shards"].map(String::from).into_iter();
        assert_eq!(nearest("lisen", known()).unwrap(), "listen");
        assert_eq!(nearest("apiListen", known()).unwrap(), "api_listen");
        assert_eq!(nearest("shards", known()).unwrap(), "node.shards");
        assert_eq!(nearest("colour", known()), None);
    }

    #[test]
    fn a_name_in_the_right_object_alone_resembles_nothing() {
        let known = ["limits.sockets_max", "limits.ping_seconds", "node.shards"].map(String::from);
        let nearest_of = |name: &str| nearest(name, known.clone().into_iter());
        assert_eq!(nearest_of("limits.ping_second").unwrap(), "limits.ping_seconds");
        assert_eq!(nearest_of("limits.colour"), None);
        let variable = |name: &str| nearest_variable(name, &known);
        assert_eq!(variable("GUSHER_LIMITS_SOCKET_MAX").unwrap(), "GUSHER_LIMITS_SOCKETS_MAX");
        assert_eq!(variable("GUSHER_SHARDS").unwrap(), "GUSHER_NODE_SHARDS");
        assert_eq!(variable("GUSHER_LIMITS_COLOUR"), None);
        assert_eq!(variable("GUSHER_HOME"), None);
    }
}
