//! The connect hook's form and its verdict (spec 1.9).

use crate::model::{Refusal, UserId};

/// The body that carries the token: a form of one field, `token=` when the client gave none.
pub fn question(token: &str) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair("token", token).finish()
}

/// Judges an answer: a success status and a body that equals the user's id byte for byte (spec D19, D20).
///
/// # Errors
/// [`Refusal::HookFailed`] for any other status, [`Refusal::HookRefused`] for any other body.
pub fn verdict(is_success: bool, body: &[u8], user: &UserId) -> Result<(), Refusal> {
    match body {
        _ if !is_success => Err(Refusal::HookFailed),
        body if body == user.as_str().as_bytes() => Ok(()),
        _ => Err(Refusal::HookRefused),
    }
}

/// Whether an answer would have been a yes but for blanks around it: a common slip, worth a hint in the log.
pub fn differs_by_blanks_only(body: &[u8], user: &UserId) -> bool {
    body != user.as_str().as_bytes() && body.trim_ascii() == user.as_str().trim().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_escaped_as_a_form_field() {
        assert_eq!(question("a b&c=é"), "token=a+b%26c%3D%C3%A9");
        assert_eq!(question(""), "token=");
    }

    #[test]
    fn only_the_equal_body_of_a_success_admits() {
        let user = UserId::parse("A:1").unwrap();
        assert_eq!(verdict(true, b"A:1", &user), Ok(()));
        assert_eq!(verdict(true, b"A:1\n", &user), Err(Refusal::HookRefused));
        assert_eq!(verdict(false, b"A:1", &user), Err(Refusal::HookFailed));
        assert!(differs_by_blanks_only(b"A:1\n", &user));
        assert!(!differs_by_blanks_only(b"A:2", &user));
    }
}
