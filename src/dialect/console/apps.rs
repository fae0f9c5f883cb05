//! Apps: the list of them, one of them, and what registers one.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Fault;
use crate::dialect::gusher::api;
use crate::model::{App, AppKey, AppSettings, KeyPair, Refusal, Registration};

/// An app in the list, with what is there of it on all nodes.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The app.
    pub app: &'a App,
    /// Whether it is switched on.
    pub is_enabled: bool,
    /// Its sockets.
    pub sockets: usize,
    /// Its users.
    pub users: usize,
    /// Its occupied channels.
    pub channels: usize,
}

/// The answer to `GET /console/api/apps`.
pub fn listed<'a>(rows: impl Iterator<Item = Row<'a>>) -> String {
    let row = |Row { app, is_enabled, sockets, users, channels }: Row<'_>| {
        json!({
            "app_key": app.key.as_str(),
            "app_id": app.id,
            "account": app.admin.account,
            "registered": app.registered.timestamp_ms,
            "enabled": is_enabled,
            "connections": sockets,
            "users": users,
            "channels": channels,
        })
    };
    json!({ "apps": rows.map(row).collect::<Vec<_>>() }).to_string()
}

/// One app; its settings are for the super admin.
pub fn told(app: &App, settings: Option<&AppSettings>) -> String {
    json!({
        "app_key": app.key.as_str(),
        "app_id": app.id,
        "secret": app.secret.0,
        "account": app.admin.account,
        "connect_hook": app.connect_hook,
        "registered": app.registered.timestamp_ms,
        "settings": settings.map(AppSettings::members),
    })
    .to_string()
}

/// The answer to what changes settings.
pub fn settings(settings: &AppSettings) -> String {
    Value::Object(settings.members()).to_string()
}

/// The answer to a rotation: the new pair.
pub fn rotated(pair: &KeyPair) -> String {
    json!({ "key": pair.key, "secret": pair.secret.0 }).to_string()
}

/// `POST /console/api/apps`: the same rules as in the private API.
///
/// # Errors
/// 400 for what breaks a rule.
pub fn register(body: &[u8]) -> Result<Registration, Fault> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        app_key: String,
        account: String,
        password: String,
        #[serde(default)]
        connect_hook: String,
    }
    // What the parser has to say might repeat what was typed.
    let wanted: Result<Wanted, _> = serde_json::from_slice(body);
    let Wanted { app_key, account, password, connect_hook } =
        wanted.map_err(|_| Fault::invalid("the body is no app_key, account and password in JSON"))?;
    for (field, text) in [("account", &account), ("password", &password)] {
        if text.is_empty() {
            return Err(Refusal::FieldMissing(field).into());
        }
    }
    let key = AppKey::parse(&app_key)?;
    let registration = Registration { key, account, password, connect_hook, id: None, secret: None };
    api::check_registration(&registration)?;
    Ok(registration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_a_rule_is_named_as_it_is_called_here() {
        let refused = |body: &str| register(body.as_bytes()).err().unwrap().text;
        let body = |account: &str, hook: &str| {
            format!(r#"{{"app_key":"k","account":"{account}","password":"p","connect_hook":"{hook}"}}"#)
        };
        assert_eq!(refused(&body("a:b", "")), "account contains a colon");
        assert_eq!(refused(&body("", "")), "account empty");
        assert_eq!(refused(&body("a", "ftp://x")), "connect_hook is no absolute http or https URL");
        assert_eq!(refused("{}"), "the body is no app_key, account and password in JSON");
        assert!(register(body("a", "http://localhost/").as_bytes()).is_ok());
    }
}
