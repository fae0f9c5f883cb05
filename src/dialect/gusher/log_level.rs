//! The calls about the level of the log: `{"level":"info"}`, in and out.

use serde::Deserialize;

use crate::model::{Level, Refusal};

/// `PUT /api/log-level`: the level that is wanted.
///
/// # Errors
/// [`Refusal::ParametersInvalid`] unless the body is a JSON object with a level, whatever type it claims to be of.
pub fn wanted(body: &[u8]) -> Result<Level, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        level: String,
    }
    let wanted = serde_json::from_slice(body).ok().and_then(|Wanted { level }| Level::of_word(&level));
    let words = Level::ALL.map(Level::word).join(", ");
    wanted.ok_or_else(|| {
        Refusal::ParametersInvalid(format!("the body is no JSON object with a level of {words}"))
    })
}

/// The answer to both calls: the level as it is now.
pub fn told(level: Level) -> String {
    format!("{{\"level\":\"{}\"}}\n", level.word())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_can_be_wanted_and_nothing_else() {
        for level in Level::ALL {
            assert_eq!(wanted(told(level).as_bytes()), Ok(level));
        }
        for body in
            ["", "{}", "info", r#"{"level":"INFO"}"#, r#"{"level":null}"#, r#"{"level":"info","app":"a"}"#]
        {
            let Err(Refusal::ParametersInvalid(text)) = wanted(body.as_bytes()) else { panic!("{body}") };
            assert_eq!(text, "the body is no JSON object with a level of debug, info, warn");
        }
    }
}
