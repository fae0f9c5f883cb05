//! JSON texts, read one level deep. What lies deeper keeps its spelling, so no number loses a digit and no depth costs
//! stack.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::value::RawValue;

/// What a JSON string says. Half of a surrogate pair, which JSON may hold and Unicode may not, is U+FFFD in it: cut
/// strings are common where a language counts UTF-16.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(pub String);

/// The members of a JSON object; of several with one name the last, as JavaScript has it.
pub type Members<'t> = BTreeMap<Text, &'t RawValue>;

/// The members of an object; `None` if the text is none.
pub fn members(json: &str) -> Option<Members<'_>> {
    strictly(json)
}

/// What a string says; `None` if the text is none.
pub fn text(json: &str) -> Option<String> {
    strictly(json).map(|Text(text)| text)
}

/// Reads what is JSON to the letter: a [`Text`] alone would let control characters through.
fn strictly<'t, T: Deserialize<'t>>(json: &'t str) -> Option<T> {
    let json: &RawValue = serde_json::from_str(json).ok()?;
    serde_json::from_str(json.get()).ok()
}

/// The string of that name in an object.
pub fn text_in(members: &Members<'_>, name: &str) -> Option<String> {
    text(members.get(name)?.get())
}

/// What a JSON value says to clients that expect text: a string what is in it, any other value its own text.
pub fn text_of_json(value: &str) -> Cow<'_, str> {
    text(value).map_or(Cow::Borrowed(value), Cow::Owned)
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As bytes, halves of surrogate pairs are let through.
        deserializer.deserialize_bytes(TextVisitor)
    }
}

/// Lets a map keyed by `Text` be asked with a `&str`: both compare as the text.
impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text, E> {
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Ok(Text(text.to_owned()));
        }
        let mut bytes = bytes.to_vec();
        let mut rest = &mut bytes[..];
        // Three bytes each, as U+FFFD has. No character begins like them.
        while let [first, tail @ ..] = rest {
            if let (0xed, [second @ 0xa0..=0xbf, third, ..]) = (*first, &mut *tail) {
                (*first, *second, *third) = (0xef, 0xbf, 0xbd);
            }
            rest = tail;
        }
        String::from_utf8(bytes).map(Text).map_err(|_| E::custom("the text is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_surrogate_pair_is_a_replacement_character() {
        for (json, said) in [
            (r#""""#, ""),
            (r#""a\"\n\u00e9""#, "a\"\né"),
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""a\ud83db""#, "a\u{fffd}b"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\ud83d\ud83d\ude00é""#, "\u{fffd}😀é"),
            ("\"퟿\u{e000}\u{fffd}\"", "퟿\u{e000}\u{fffd}"),
        ] {
            assert_eq!(text(json).as_deref(), Some(said), "{json}");
        }
        for other in ["1", "null", "[1]", "{}", "\"", r#""\u12""#, r#""a" "#.repeat(2).as_str(), "\"\n\""] {
            assert_eq!(text(other), None, "{other}");
        }
    }

    #[test]
    fn names_of_members_are_read_as_other_strings_are() {
        let members = members(r#"{"a":1,"a":"\ud83d","\ud83d":{"b": 1.10}}"#).unwrap();
        assert_eq!(text_in(&members, "a").as_deref(), Some("\u{fffd}"));
        assert_eq!(members.get("\u{fffd}").map(|value| value.get()), Some(r#"{"b": 1.10}"#));
        for other in ["", "[]", "null", "{", r#"{"a":}"#, "{\"\n\":1}"] {
            assert!(super::members(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_value_that_is_no_string_keeps_its_spelling() {
        for value in ["1.10", r#"{"a": 1.10}"#, "12345678901234567890123"] {
            assert_eq!(text_of_json(value), value);
        }
        assert_eq!(text_of_json(r#""a\ud83d""#), "a\u{fffd}");
    }
}
