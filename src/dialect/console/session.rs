//! Signing in: what is asked, and what the page is told of its session.

use serde::Deserialize;
use serde_json::json;

use super::Fault;

/// What somebody shows who wants to sign in. The password is in clear, so this is never printed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The account.
    pub account: String,
    /// Its password.
    pub password: String,
    /// The app that it administers; without it the account is the super admin's.
    #[serde(default)]
    pub app_key: Option<String>,
}

impl SignIn {
    /// `POST /console/api/session`.
    ///
    /// # Errors
    /// 400 when the body is something else.
    pub fn read(body: &[u8]) -> Result<Self, Fault> {
        // What the parser has to say might repeat what was typed.
        let read: Result<Self, _> = serde_json::from_slice(body);
        let read = read.map_err(|_| Fault::invalid("the body is no account and password in JSON"))?;
        Ok(Self { app_key: read.app_key.filter(|key| !key.is_empty()), ..read })
    }
}

/// What the page is told of a session.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The account that signed in.
    pub account: &'a str,
    /// The app that it administers; without it is the super admin.
    pub app_key: Option<&'a str>,
    /// What each call shows that changes something.
    pub csrf: &'a str,
    /// Where sockets connect, as the configuration says it.
    pub public: &'a str,
    /// They do so over TLS.
    pub is_tls: bool,
}

impl Told<'_> {
    /// The answer.
    pub fn body(&self) -> String {
        json!({
            "kind": if self.app_key.is_some() { "app" } else { "super" },
            "account": self.account,
            "app_key": self.app_key,
            "csrf": self.csrf,
            "version": env!("CARGO_PKG_VERSION"),
            "hosts": { "public": self.public, "tls": self.is_tls },
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_key_is_none_and_a_fault_does_not_repeat_what_was_typed() {
        let read = |body: &str| SignIn::read(body.as_bytes());
        let body = r#"{"account":"a","password":"p","app_key":""}"#;
        assert!(read(body).is_ok_and(|sign_in| sign_in.app_key.is_none()));
        for bad in ["", "[]", r#"{"account":"a","password":"hidden"#, r#"{"account":"a","pass":"hidden"}"#] {
            let fault = read(bad).err().unwrap();
            assert!(fault.status.as_u16() == 400 && !fault.text.contains("hidden"), "{bad}");
        }
    }
}
