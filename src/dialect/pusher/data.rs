//! The data of an event that somebody publishes: any JSON value, which subscribers get as text.

use crate::model::json;

/// A JSON value as subscribers get it: a string as what it says, any other as its text without blanks.
pub fn data_of(value: &str) -> String {
    json::text(value).unwrap_or_else(|| compact(value))
}

/// Valid JSON without the blanks between its tokens. The tokens keep their spelling, so no number loses a digit.
fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let is_kept = |letter: &char| {
        let kept = in_string || !letter.is_ascii_whitespace();
        in_string ^= *letter == '"' && !escaped;
        escaped = in_string && *letter == '\\' && !escaped;
        kept
    };
    json.chars().filter(is_kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_keeps_its_spelling() {
        for (value, data) in [
            (r#""a \"b\"""#, r#"a "b""#),
            ("1.10", "1.10"),
            ("12345678901234567890123", "12345678901234567890123"),
            (
                r#"{"b": [1E+2, "x \" y"], "a\ud83d": "\ud83d"}"#,
                r#"{"b":[1E+2,"x \" y"],"a\ud83d":"\ud83d"}"#,
            ),
        ] {
            assert_eq!(data_of(value), data);
        }
    }
}
