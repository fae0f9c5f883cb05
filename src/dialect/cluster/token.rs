//! Tokens: JSON Web Tokens that a backend signs and its clients show (spec 2.3).
//!
//! Always: a token is believed only if one of the public keys proves its signature, by an algorithm that is permitted;
//! `none` and what is signed with a shared secret never are. `exp` and `nbf` hold to the second.

use std::fmt;

use jsonwebtoken::{DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::model::{Algorithm, Permissions, UserId};

/// What the first line of a key in a PEM file begins with.
const PEM_BEGIN: &str = "-----BEGIN ";

/// The token is not to be believed: why is nobody's business.
#[derive(Debug, PartialEq, Eq)]
pub struct Unbelievable;

/// The file holds no public keys that can be used; the text says why, as the end of a sentence.
#[derive(Debug, PartialEq, Eq)]
pub struct KeysInvalid(pub String);

/// Tells good tokens from bad ones.
pub struct Verifier {
    keys: Vec<DecodingKey>,
    validation: Validation,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Verifier({} keys)", self.keys.len())
    }
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// What it says to us.
    pub gusher: Grant,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aud: Option<AudienceClaim>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exp: Option<Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
}

/// Who may do what where. What is absent is empty (spec E18).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Grant {
    #[serde(deserialize_with = "null_is_empty")]
    channels: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    user_id: String,
    /// The app it is for.
    #[serde(deserialize_with = "null_is_empty")]
    pub app_key: String,
}

/// For whom a token is meant: one or several, always told as several.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum AudienceClaim {
    One(String),
    Several(Vec<String>),
}

impl Serialize for AudienceClaim {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            AudienceClaim::One(one) => std::slice::from_ref(one).serialize(serializer),
            AudienceClaim::Several(several) => several.serialize(serializer),
        }
    }
}

fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Verifier {
    /// A verifier with the RSA public keys of a PEM file (spec E14), for tokens that are signed by these algorithms.
    ///
    /// # Errors
    /// [`KeysInvalid`] when one of them cannot be used, or there is none.
    pub fn new(pem: &str, algorithms: &[Algorithm]) -> Result<Self, KeysInvalid> {
        let starts: Vec<usize> = pem.match_indices(PEM_BEGIN).map(|(start, _)| start).collect();
        let ends = starts.iter().skip(1).copied().chain([pem.len()]);
        let key = |(start, end): (&usize, usize)| {
            let key = &pem[*start..end];
            if key.lines().next().is_some_and(|line| line.contains("PRIVATE")) {
                return Err(KeysInvalid(
                    "it holds a private key, which belongs to backends alone".to_owned(),
                ));
            }
            DecodingKey::from_rsa_pem(key.as_bytes())
                .map_err(|_| KeysInvalid("it holds something that is no RSA public key in PEM".to_owned()))
        };
        let keys = starts.iter().zip(ends).map(key).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(KeysInvalid("it holds no key in PEM".to_owned()));
        }
        Ok(Self { keys, validation: validation(algorithms) })
    }

    /// What a token says, if it is to be believed now.
    ///
    /// # Errors
    /// [`Unbelievable`].
    pub fn verify(&self, token: &str) -> Result<Claims, Unbelievable> {
        let decoded = |key| jsonwebtoken::decode::<Claims>(token, key, &self.validation).ok();
        let decoded = self.keys.iter().find_map(decoded).ok_or(Unbelievable)?;
        // Whoever does not know all extensions that are critical must refuse (RFC 7515 section 4.1.11); none is known here.
        if decoded.header.crit.is_some() { Err(Unbelievable) } else { Ok(decoded.claims) }
    }
}

fn validation(algorithms: &[Algorithm]) -> Validation {
    let mut validation = Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.algorithms = algorithms
        .iter()
        .map(|algorithm| match algorithm {
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Rs384 => jsonwebtoken::Algorithm::RS384,
            Algorithm::Rs512 => jsonwebtoken::Algorithm::RS512,
        })
        .collect();
    validation.required_spec_claims.clear();
    validation.leeway = 0;
    validation.validate_nbf = true;
    validation.validate_aud = false;
    validation
}

impl Claims {
    /// Until when it is good, as Unix time in seconds; for ever if it does not say.
    pub fn expires_at_s(&self) -> Option<i64> {
        self.exp.as_ref().and_then(Number::as_f64).map(|at| at as i64)
    }

    /// Whose socket it is; `None` is nobody in particular.
    ///
    /// # Errors
    /// [`Unbelievable`] when no user can be called that.
    pub fn user(&self) -> Result<Option<UserId>, Unbelievable> {
        match self.gusher.user_id.as_str() {
            "" => Ok(None),
            id => UserId::parse(id).map(Some).map_err(|_| Unbelievable),
        }
    }

    /// What the socket may subscribe to.
    pub fn permissions(&self) -> Permissions {
        Permissions::new(self.gusher.channels.iter().cloned())
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::{Value, json};

    use super::*;

    const PUBLIC_ONE: &str = include_str!("../../../tests/data/cluster/one.public.pem");
    const PUBLIC_TWO: &str = include_str!("../../../tests/data/cluster/two.public.pem");
    const PRIVATE_ONE: &str = include_str!("../../../tests/data/cluster/one.private.pem");
    const PRIVATE_TWO: &str = include_str!("../../../tests/data/cluster/two.private.pem");

    fn signed(claims: &Value, pem: &str, algorithm: jsonwebtoken::Algorithm) -> String {
        let key = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
    }

    fn token(claims: &Value) -> String {
        signed(claims, PRIVATE_ONE, jsonwebtoken::Algorithm::RS256)
    }

    fn verifier() -> Verifier {
        Verifier::new(PUBLIC_ONE, &[Algorithm::Rs256]).unwrap()
    }

    fn now() -> u64 {
        jsonwebtoken::get_current_timestamp()
    }

    #[test]
    fn a_token_says_who_may_do_what_where() {
        let said = verifier().verify(&token(&json!({
            "gusher": { "app_key": "a", "user_id": "u", "channels": ["x*"], "remotes": { "r": true } }
        })));
        let claims = said.unwrap();
        assert_eq!(claims.gusher.app_key, "a");
        assert_eq!(claims.user().unwrap().unwrap().as_str(), "u");
        assert!(claims.permissions().allow("xy") && !claims.permissions().allow("x"));
        assert_eq!(claims.expires_at_s(), None);
    }

    #[test]
    fn gc_012_what_no_key_proves_is_not_believed() {
        let claims = json!({ "gusher": { "app_key": "a" } });
        let good = token(&claims);
        let (head, rest) = good.split_once('.').unwrap();
        let (body, signature) = rest.split_once('.').unwrap();
        let secret = EncodingKey::from_secret(PUBLIC_ONE.as_bytes());
        let shared =
            jsonwebtoken::encode(&Header::new(jsonwebtoken::Algorithm::HS256), &claims, &secret).unwrap();
        // {"alg":"none","typ":"JWT"}
        let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.");
        let other = signed(&claims, PRIVATE_TWO, jsonwebtoken::Algorithm::RS256);
        let spoilt = format!("{head}.{body}.{}", signature.chars().rev().collect::<String>());
        for bad in ["", "x", "a.b.c", &shared, &none, &other, &spoilt, &format!("{head}.{body}.")] {
            assert_eq!(verifier().verify(bad), Err(Unbelievable), "{bad}");
        }
        assert!(verifier().verify(&good).is_ok());
    }

    #[test]
    fn only_permitted_algorithms_are_believed() {
        let claims = json!({ "gusher": {} });
        let rs512 = signed(&claims, PRIVATE_ONE, jsonwebtoken::Algorithm::RS512);
        let ps256 = signed(&claims, PRIVATE_ONE, jsonwebtoken::Algorithm::PS256);
        let wide = Verifier::new(PUBLIC_ONE, &[Algorithm::Rs384, Algorithm::Rs512]).unwrap();
        assert!(verifier().verify(&rs512).is_err() && wide.verify(&rs512).is_ok());
        assert!(wide.verify(&token(&claims)).is_err());
        assert!(verifier().verify(&ps256).is_err() && wide.verify(&ps256).is_err());
    }

    #[test]
    fn a_token_with_an_extension_that_must_be_understood_is_not_believed() {
        let key = EncodingKey::from_rsa_pem(PRIVATE_ONE.as_bytes()).unwrap();
        for names in [vec!["exp".to_owned()], vec!["b64".to_owned(), "other".to_owned()], Vec::new()] {
            let mut header = Header::new(jsonwebtoken::Algorithm::RS256);
            header.crit = Some(names);
            let token = jsonwebtoken::encode(&header, &json!({ "gusher": {} }), &key).unwrap();
            assert_eq!(verifier().verify(&token), Err(Unbelievable), "{:?}", header.crit);
        }
    }

    #[test]
    fn several_keys_of_one_file_are_believed() {
        let claims = json!({ "gusher": {} });
        let both =
            Verifier::new(&format!("# ours\n{PUBLIC_ONE}\n{PUBLIC_TWO}"), &[Algorithm::Rs256]).unwrap();
        for private in [PRIVATE_ONE, PRIVATE_TWO] {
            assert!(both.verify(&signed(&claims, private, jsonwebtoken::Algorithm::RS256)).is_ok());
        }
    }

    #[test]
    fn a_file_without_usable_keys_is_refused() {
        let broken = format!("{PUBLIC_ONE}-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n");
        for bad in ["", "no key", PRIVATE_ONE, &broken] {
            assert!(Verifier::new(bad, &[Algorithm::Rs256]).is_err());
        }
    }

    #[test]
    fn gc_014_a_token_is_good_from_nbf_to_exp() {
        let timed = |claims: Value| {
            let mut all = json!({ "gusher": {} });
            all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
            verifier().verify(&token(&all)).is_ok()
        };
        assert!(timed(json!({ "exp": now() + 60, "nbf": now() - 1 })) && timed(json!({})));
        assert!(!timed(json!({ "exp": now() - 2 })) && !timed(json!({ "nbf": now() + 60 })));
        assert!(!timed(json!({ "exp": "soon" })) && !timed(json!({ "exp": 0 })));
    }

    #[test]
    fn gc_015_the_gusher_claim_is_required() {
        for bad in [json!({}), json!({ "gusher": null }), json!({ "gusher": "a" })] {
            assert_eq!(verifier().verify(&token(&bad)), Err(Unbelievable), "{bad}");
        }
    }

    #[test]
    fn a_claim_of_another_type_is_refused() {
        for grant in [json!({ "channels": "a" }), json!({ "channels": [1] }), json!({ "user_id": 1 })] {
            assert!(verifier().verify(&token(&json!({ "gusher": grant }))).is_err(), "{grant}");
        }
    }

    #[test]
    fn issuer_and_audience_are_told_and_not_checked() {
        let claims = json!({ "gusher": { "user_id": "u" }, "iss": "i", "aud": "x", "exp": 9_999_999_999u64 });
        let told = serde_json::to_value(verifier().verify(&token(&claims)).unwrap()).unwrap();
        let grant = json!({ "channels": [], "user_id": "u", "app_key": "" });
        assert_eq!(told, json!({ "gusher": grant, "iss": "i", "aud": ["x"], "exp": 9_999_999_999u64 }));
    }

    #[test]
    fn nobody_in_particular_has_an_empty_id() {
        let user =
            |id: &str| verifier().verify(&token(&json!({ "gusher": { "user_id": id } }))).unwrap().user();
        assert_eq!(user(""), Ok(None));
        assert_eq!(user("a\nb"), Err(Unbelievable));
    }
}
