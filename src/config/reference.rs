//! The reference of all settings as Markdown, read off the commented file of all defaults: whoever adds a setting there
//! has written it down.
//!
//! A remark stands before what it explains. Its sentences that say what is permitted (`1 to 300`, `true or false`) have
//! a column of their own.

use std::fmt::Write;

use regex::Regex;

use super::{DEFAULT_FILE, RELOADABLE, keys};

/// How a sentence begins that says what is permitted.
const PERMITTED: &str =
    r#"^(\d|At most |At least |More than |Less than |true or false|Letters, digits|"[^"]*" = )"#;

/// A setting, or an object of them, and what is said of it.
struct Entry {
    /// Its path, empty for what is in no object.
    key: String,
    /// As in the file; empty for an object.
    default: String,
    remark: String,
}

/// A table for each object of settings: names, defaults, what is permitted, what it means, and whether it is taken over
/// when a node reads its configuration again.
pub fn reference() -> String {
    let permitted = Regex::new(PERMITTED).expect("a pattern of ours");
    let head = "| setting | variable | default | permitted | at SIGHUP | |\n|---|---|---|---|---|---|\n";
    let mut text = format!("### Outside objects\n\n{head}");
    for entry in entries(DEFAULT_FILE) {
        let Entry { key, default, remark } = entry;
        // Writing to a String does not fail.
        let _ = if default.is_empty() {
            write!(text, "\n### {key}\n\n{}\n\n{head}", escaped(&remark))
        } else {
            let (bounds, meaning): (Vec<_>, Vec<_>) =
                sentences(&remark).into_iter().partition(|sentence| permitted.is_match(sentence));
            let (variable, default) = (keys::variable(&key), if default == "\"\"" { "" } else { &default });
            let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
            let reload = if RELOADABLE.contains(&key.as_str()) { "yes" } else { "" };
            let (bounds, meaning) = (escaped(&bounds.join(" ")), escaped(&meaning.join(" ")));
            writeln!(text, "| `{key}` | `{variable}` | {default} | {bounds} | {reload} | {meaning} |")
        };
    }
    text
}

/// All settings and objects of a commented file, in its order.
fn entries(file: &str) -> Vec<Entry> {
    let (mut found, mut path, mut remark) = (Vec::new(), Vec::new(), Vec::new());
    for line in file.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("//") {
            remark.push(words.trim());
            continue;
        }
        if let Some((name, value)) = member(line) {
            path.push(name);
            let is_object = value == "{";
            let default = if is_object { String::new() } else { value.trim_end_matches(',').to_owned() };
            found.push(Entry { key: path.join("."), default, remark: remark.join(" ") });
            if !is_object {
                path.pop();
            }
        } else if line.starts_with('}') {
            path.pop();
        }
        remark.clear();
    }
    found
}

/// Name and value of a line such as `"listen": ":8001",`.
fn member(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix('"')?.split_once("\": ")
}

/// A sentence ends with a full stop before a blank, or at the end.
fn sentences(remark: &str) -> Vec<&str> {
    let mut sentences: Vec<&str> = Vec::new();
    let mut rest = remark;
    while let Some(end) = rest.find(". ") {
        sentences.push(&rest[..=end]);
        rest = &rest[end + 2..];
    }
    sentences.extend(Some(rest).filter(|rest| !rest.is_empty()));
    sentences
}

/// Without what means something in a cell of a table.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        if "|$*<~".contains(char) {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::typed::Typed;
    use super::*;

    #[test]
    fn every_setting_has_its_row_and_every_number_says_what_is_permitted() {
        let defaults = serde_json::to_value(Typed::default()).unwrap();
        let reference = reference();
        for key in keys::all(&defaults) {
            let row = reference.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
            let cells: Vec<_> = row.unwrap_or_else(|| panic!("no {key}")).split(" | ").collect();
            let default = key.split('.').fold(&defaults, |tree, name| &tree[name]);
            assert!(
                !default.is_number() && !default.is_boolean() || !cells[3].is_empty(),
                "{key}: {cells:?}"
            );
            assert_eq!(cells[4] == "yes", RELOADABLE.contains(&key.as_str()), "{key}");
        }
    }

    #[test]
    fn a_remark_is_parted_into_what_it_means_and_what_is_permitted() {
        let file = "{\n // Some.\n \"a\": {\n  // Most of it\n  // there. 1 to 3; 0 = none. A | B.\n  \"b\": 7,\n },\n \"c\": \"\",\n}";
        let entries = entries(file);
        let keys: Vec<_> = entries.iter().map(|entry| (entry.key.as_str(), entry.default.as_str())).collect();
        assert_eq!(keys, [("a", ""), ("a.b", "7"), ("c", "\"\"")]);
        assert_eq!(entries[0].remark, "Some.");
        assert_eq!(sentences(&entries[1].remark), ["Most of it there.", "1 to 3; 0 = none.", "A | B."]);
        assert_eq!(escaped("A | B, $2a$"), r"A \| B, \$2a\$");
    }
}
