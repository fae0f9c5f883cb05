//! Permissions: which channels a token lets its socket into (spec 2.7).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Stands for one or more characters; alone, for everything.
const STAR: char = '*';

/// The patterns of one socket, in the order in which they were given. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions(Arc<[Box<str>]>);

/// What a backend changes in the permissions of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PermissionChange {
    /// One more pattern.
    Add(Arc<str>),
    /// These instead. `None` is a list that nobody wrote, which permits nothing either.
    Replace(Option<Permissions>),
}

impl Permissions {
    /// Permissions by these patterns. Any text is a pattern.
    pub fn new(patterns: impl IntoIterator<Item = String>) -> Self {
        Self(patterns.into_iter().map(String::into_boxed_str).collect())
    }

    /// Whether one of them matches the whole name.
    pub fn allow(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern, name))
    }

    /// The same and one more, unless it is among them.
    pub fn with(&self, pattern: &str) -> Self {
        if self.0.iter().any(|known| **known == *pattern) {
            return self.clone();
        }
        Self(self.0.iter().cloned().chain([pattern.into()]).collect())
    }

    /// The patterns as they were written.
    pub fn patterns(&self) -> &[Box<str>] {
        &self.0
    }
}

/// Whether a pattern matches a whole name, in time that grows with the length of both: each piece of literal text is
/// taken where it first occurs, and never tried elsewhere, as whatever follows it fits no worse then.
fn matches(pattern: &str, name: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let mut pieces = pattern.split(STAR);
    let Some(mut rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        let Some(after) = behind_one(rest) else { return false };
        if pieces.peek().is_none() {
            return after.ends_with(piece) && is_one_line(&rest[..rest.len() - piece.len()]);
        }
        let Some(gap) = after.find(piece) else { return false };
        let end = rest.len() - after.len() + gap;
        if !is_one_line(&rest[..end]) {
            return false;
        }
        rest = &rest[end + piece.len()..];
    }
    false
}

/// What follows the first character.
fn behind_one(text: &str) -> Option<&str> {
    let mut chars = text.chars();
    chars.next().map(|_| chars.as_str())
}

/// No star stands for a line break.
fn is_one_line(text: &str) -> bool {
    !text.contains('\n')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    fn allows(pattern: &str, name: &str) -> bool {
        Permissions::new([pattern.to_owned()]).allow(name)
    }

    #[test]
    fn gc_041_a_star_alone_allows_every_channel() {
        assert!(["a", "a/b", "*", "ü 张"].iter().all(|name| allows("*", name)));
    }

    #[test]
    fn gc_042_a_star_within_stands_for_one_or_more_characters() {
        assert!(allows("t*st", "test") && allows("t*st", "tüst") && allows("t*st", "tstst"));
        assert!(["tst", "testx", "xtest", ""].iter().all(|name| !allows("t*st", name)));
    }

    #[test]
    fn gc_043_a_star_at_the_end_stands_for_one_or_more_characters() {
        assert!(allows("app*", "apple") && !allows("app*", "app"));
        assert!(allows("**", "ab") && !allows("**", "a") && allows("*a", "ba") && !allows("*a", "a"));
    }

    #[test]
    fn gc_044_nothing_but_a_star_is_special() {
        assert!(allows("a.c", "a.c") && !allows("a.c", "abc") && allows("[a]", "[a]") && !allows("[a]", "a"));
    }

    #[test]
    fn gc_045_no_patterns_allow_nothing() {
        assert!(!Permissions::default().allow("a") && !Permissions::default().allow(""));
    }

    #[test]
    fn a_pattern_is_added_once() {
        let permissions = Permissions::new(["a".to_owned()]).with("b").with("a");
        assert_eq!(permissions.patterns(), &["a", "b"].map(Box::<str>::from));
    }

    proptest! {
        /// A pattern means what the regular expression in its place does.
        #[test]
        fn a_pattern_is_a_regular_expression_with_one_operator(pattern in "[ab*\n]{0,8}", name in "[ab\n]{0,10}") {
            prop_assume!(pattern != "*");
            let source = pattern.split('*').map(regex::escape).collect::<Vec<_>>().join(".+");
            prop_assert_eq!(allows(&pattern, &name), Regex::new(&format!(r"\A{source}\z")).unwrap().is_match(&name));
        }
    }
}
