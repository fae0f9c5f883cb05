//! Signatures: HMAC-SHA256, written as lower-case hexadecimal digits.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The signature of `text` under `secret`: 64 lower-case hexadecimal digits.
pub fn hmac_hex(secret: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// Whether `signature` is exactly what [`hmac_hex`] gives. How long the comparison takes does not tell where a wrong
/// one differs.
pub fn is_signed(secret: &str, text: &str, signature: &str) -> bool {
    hmac_hex(secret, text).as_bytes().ct_eq(signature.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "7ad3773142a6692b25b8";

    #[test]
    fn the_user_vector_holds() {
        let signature = "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba";
        assert_eq!(hmac_hex(SECRET, r#"1234.1234::user::{"id":"12345"}"#), signature);
    }

    #[test]
    fn only_the_exact_digits_are_a_signature() {
        let signature = hmac_hex(SECRET, "text");
        assert!(is_signed(SECRET, "text", &signature));
        for wrong in ["", &signature[1..], &signature.to_uppercase(), &hmac_hex(SECRET, "texts")] {
            assert!(!is_signed(SECRET, "text", wrong), "{wrong}");
        }
        assert!(!is_signed("another secret", "text", &signature));
    }
}
