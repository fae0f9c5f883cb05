//! The names of the settings: `limits.outbox_bytes_max` as a path, `GUSHER_LIMITS_OUTBOX_BYTES_MAX` in the environment,
//! `--limits-outbox-bytes-max` as a flag. All are read off a tree of defaults, so none is written down twice.

use serde_json::Value;

/// How much a mistyped name must resemble a known one (Jaro-Winkler, 0 to 1) to be taken for it.
const LIKENESS_MIN: f64 = 0.75;

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
    format!("GUSHER_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// The flag that sets `key`.
pub(super) fn flag(key: &str) -> String {
    format!("--{}", key.replace(['.', '_'], "-"))
}

/// The known name that resembles `name` most, if any does.
///
/// A setting typed outside its object (`shards` for `node.shards`) is recognized by its last part.
pub(super) fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |key: &str| {
        let whole = strsim::jaro_winkler(name, key);
        whole.max(strsim::jaro_winkler(&last(name), &last(key)))
    };
    known
        .map(|key| (likeness(&key), key))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, key)| key)
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
}
