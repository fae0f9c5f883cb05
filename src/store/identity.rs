//! What an app is known by in signed calls, made up at random where nobody chose it.

/// Bytes of a secret; it is written as twice as many hex characters.
const SECRET_BYTES: usize = 16;

/// A new id (six to nine digits, no leading zero) and a new secret (32 hex characters) for an app.
///
/// Ids are not promised to be unique: the store refuses one that is taken.
///
/// # Errors
/// The system has no randomness to give.
pub fn new_identity() -> Result<(String, String), getrandom::Error> {
    const IDS: std::ops::Range<u32> = 100_000..1_000_000_000;
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret)?;
    let id = IDS.start + getrandom::u32()? % (IDS.end - IDS.start);
    Ok((id.to_string(), secret.iter().map(|byte| format!("{byte:02x}")).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_digits_and_a_long_secret_and_never_the_same_twice() {
        let (id, secret) = new_identity().unwrap();
        assert!((6..=9).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit()), "{id}");
        assert!(secret.len() == 32 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()), "{secret}");
        assert_ne!(new_identity().unwrap().1, secret);
    }
}
