//! The form calls of the private listener (spec 1.6, 1.7): what a backend sends becomes a noun of the model, what
//! the hub answers becomes JSON, and a refusal becomes a status and a text.

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use url::Url;

use crate::dialect::form::{Form, FormError};
use crate::model::{
    App, AppKey, AppRate, AppSecret, CREDENTIAL_BYTES_MAX, Pattern, Publication, Reach, Refusal,
    Registration, Target, UserId,
};

/// Account and password of an `Authorization` header (spec 1.6, D15).
///
/// # Errors
/// [`Refusal::NotAuthorized`] unless it is basic authentication with an account and a password.
pub fn credentials(authorization: Option<&[u8]>) -> Result<(String, String), Refusal> {
    let read = || {
        let text = std::str::from_utf8(authorization?).ok()?;
        let (scheme, encoded) = text.split_once(' ')?;
        let decoded =
            STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
        let (account, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        Some((account.to_owned(), password.to_owned()))
    };
    read().ok_or(Refusal::NotAuthorized)
}

/// `POST /api/register`.
///
/// # Errors
/// A field is missing or breaks a rule (spec D6, D16, D27, D30).
pub fn register(form: &Form) -> Result<Registration, Refusal> {
    let key = AppKey::parse(form.required("app_key")?)?;
    let account = form.required("auth_account")?.to_owned();
    let password = form.required("auth_password")?.to_owned();
    let connect_hook = form.get("connect_hook")?.unwrap_or_default().to_owned();
    let registration = Registration { key, account, password, connect_hook, id: None, secret: None };
    check_registration(&registration)?;
    let (id, secret) = (app_id(form)?, app_secret(form)?);
    Ok(Registration { id, secret, ..registration })
}

/// What account, password and connect hook of an app may be, however they came.
///
/// # Errors
/// [`Refusal::FieldInvalid`] names the field as a form does.
pub fn check_registration(registration: &Registration) -> Result<(), Refusal> {
    let Registration { account, password, connect_hook, .. } = registration;
    if account.contains(':') {
        return Err(Refusal::FieldInvalid { field: "auth_account", fault: "contains a colon" });
    }
    // PostgreSQL has none in a text, and for bcrypt a secret begins anew behind it.
    for (field, text) in
        [("auth_account", account), ("auth_password", password), ("connect_hook", connect_hook)]
    {
        if text.contains('\0') {
            return Err(Refusal::FieldInvalid { field, fault: "contains a NUL character" });
        }
    }
    if account.len() + password.len() > CREDENTIAL_BYTES_MAX {
        let fault = "is longer than 72 bytes together with auth_account";
        return Err(Refusal::FieldInvalid { field: "auth_password", fault });
    }
    if !connect_hook.is_empty() && !is_web_address(connect_hook) {
        return Err(Refusal::FieldInvalid {
            field: "connect_hook",
            fault: "is no absolute http or https URL",
        });
    }
    Ok(())
}

/// An id that other software knows the app by already. Empty is as good as absent, as with all fields.
fn app_id(form: &Form) -> Result<Option<String>, Refusal> {
    let Some(id) = form.get("app_id")?.filter(|id| !id.is_empty()) else { return Ok(None) };
    let fault = "is not 1 to 64 letters, digits, - and _";
    App::is_acceptable_id(id)
        .then(|| Some(id.to_owned()))
        .ok_or(Refusal::FieldInvalid { field: "app_id", fault })
}

/// A secret that other software signs with already.
fn app_secret(form: &Form) -> Result<Option<String>, Refusal> {
    let Some(secret) = form.get("app_secret")?.filter(|secret| !secret.is_empty()) else { return Ok(None) };
    let is_valid = AppSecret(secret.to_owned()).is_acceptable();
    let fault = "is not 8 to 128 printable ASCII characters without blanks";
    is_valid.then(|| Some(secret.to_owned())).ok_or(Refusal::FieldInvalid { field: "app_secret", fault })
}

fn is_web_address(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// `POST /api/push/{app_key}`; `compile` makes a pattern of a user_tag.
///
/// # Errors
/// The content is missing or no UTF-8 (spec D28), or the pattern cannot be compiled (spec D5).
pub fn push(
    form: &Form,
    compile: impl FnOnce(&str) -> Result<Pattern, Refusal>,
) -> Result<Publication, Refusal> {
    let data = form.required("content")?.into();
    let target = match form.get("user_tag")?.filter(|tag| !tag.is_empty()) {
        Some(tag) => Target::UsersMatching(compile(tag)?),
        None => Target::Everyone,
    };
    Ok(Publication { target, event: "".into(), data, except: None })
}

/// The answer to a register (spec D1). What the original did not tell comes last.
pub fn registered(app: &App) -> String {
    line(&json!({
        "app_key": app.key.as_str(),
        "auth_account": app.admin.account,
        "auth_password": app.admin.hash.0,
        "connect_hook": app.connect_hook,
        "request_ip": app.request_ip,
        "app_id": app.id,
        "app_secret": app.secret.0,
    }))
}

/// The answer to an unregister, spelt as documented (spec 1.11).
pub fn unregistered() -> String {
    line(&json!({ "message": "Scuess" }))
}

/// The answer to an app-list (spec 1.7, D2, D4): the timestamp is a string of milliseconds.
pub fn listed(apps: &[App]) -> String {
    let entry = |app: &App| {
        json!({
            "app_key": app.key.as_str(),
            "auth_account": app.admin.account,
            "auth_password": app.admin.hash.0,
            "connect_hook": app.connect_hook,
            "request_ip": app.request_ip,
            "date": app.registered.date,
            "timestamp": app.registered.timestamp_ms.to_string(),
            "app_id": app.id,
            "app_secret": app.secret.0,
        })
    };
    line(&json!({ "total": apps.len(), "data": apps.iter().map(entry).collect::<Vec<_>>() }))
}

/// The answer to a push (spec D2, D3).
pub fn pushed(key: &AppKey, publication: &Publication, reach: Reach) -> String {
    let user_tag = match &publication.target {
        Target::Everyone | Target::Channels(_) => "",
        Target::UsersMatching(pattern) => pattern.source(),
    };
    line(&json!({
        "app_key": key.as_str(),
        "content": &*publication.data,
        "user_tag": user_tag,
        "total": reach.users,
        "sockets": reach.sockets,
    }))
}

/// The answer to a listonlineuser: the nulls are a promise of the original (spec 1.11).
pub fn online(key: &AppKey, users: &[UserId]) -> String {
    let tags: Map<String, Value> = users.iter().map(|user| (user.to_string(), Value::Null)).collect();
    line(&json!({ "app_key": key.as_str(), "total": users.len(), "user_tags": tags }))
}

fn line(answer: &Value) -> String {
    format!("{answer}\n")
}

/// The status and the text of a refusal, on both listeners (spec 1.7, 1.8, 1.12).
pub fn refusal(refusal: &Refusal) -> (StatusCode, String) {
    let (status, text) = match refusal {
        Refusal::NotAuthorized => (StatusCode::UNAUTHORIZED, "Not authorized"),
        Refusal::AppUnknown => (StatusCode::NOT_FOUND, "app_key does not exist"),
        Refusal::AppExists => (StatusCode::CONFLICT, "app_key repeat"),
        Refusal::AppIdTaken => (StatusCode::CONFLICT, "app_id repeat"),
        Refusal::KeyTaken => (StatusCode::CONFLICT, "additional_keys has a key that is taken"),
        Refusal::FieldMissing("content") => (StatusCode::BAD_REQUEST, "app_key || content empty"),
        Refusal::FieldMissing(field) => return (StatusCode::BAD_REQUEST, format!("{field} empty")),
        Refusal::FieldInvalid { field, fault } => {
            return (StatusCode::BAD_REQUEST, format!("{field} {fault}"));
        }
        Refusal::ParametersInvalid(reason) => return (StatusCode::BAD_REQUEST, reason.clone()),
        Refusal::PatternInvalid(reason) => {
            return (StatusCode::BAD_REQUEST, format!("user_tag regex error: {reason}"));
        }
        Refusal::PatternTooSlow => (StatusCode::BAD_REQUEST, "user_tag regex error: matching takes too long"),
        Refusal::PathUnknown => (StatusCode::NOT_FOUND, "404 page not found"),
        Refusal::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
        Refusal::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "request body too large"),
        Refusal::TooSlow => (StatusCode::REQUEST_TIMEOUT, "request took too long"),
        Refusal::NotAnUpgrade => (StatusCode::BAD_REQUEST, "Bad Request"),
        Refusal::HookRefused => (StatusCode::FORBIDDEN, "connect hook refused"),
        Refusal::HookFailed => (StatusCode::BAD_GATEWAY, "connect hook error"),
        Refusal::HookTimeout => (StatusCode::GATEWAY_TIMEOUT, "connect hook timeout"),
        Refusal::HookBusy => (StatusCode::SERVICE_UNAVAILABLE, "connect hook busy"),
        Refusal::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "server overloaded"),
        Refusal::AppDisabled => (StatusCode::FORBIDDEN, "app disabled"),
        Refusal::TlsOnly => (StatusCode::FORBIDDEN, "app takes TLS connections only"),
        Refusal::AppFull => (StatusCode::SERVICE_UNAVAILABLE, "app has as many sockets as it may have"),
        Refusal::MemoryShort => (StatusCode::SERVICE_UNAVAILABLE, "server is short of memory"),
        Refusal::RateExceeded(AppRate::Calls) => {
            (StatusCode::TOO_MANY_REQUESTS, "the app's max_calls_per_second is reached")
        }
        Refusal::RateExceeded(AppRate::Publications) => {
            (StatusCode::TOO_MANY_REQUESTS, "the app's max_publications_per_second is reached")
        }
        Refusal::RateExceeded(AppRate::Connects) => {
            (StatusCode::TOO_MANY_REQUESTS, "the app's max_connects_per_second is reached")
        }
        Refusal::BusDown => (StatusCode::SERVICE_UNAVAILABLE, "the bus to the other nodes is down"),
        Refusal::Draining => (StatusCode::SERVICE_UNAVAILABLE, "server stops"),
        Refusal::AddressNotAllowed => (StatusCode::FORBIDDEN, "address not allowed"),
        Refusal::PageNotAllowed => {
            (StatusCode::FORBIDDEN, "page not allowed: see cors.origins and docs/security.md")
        }
        Refusal::BodyEncoded => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "request body encoded"),
        Refusal::AddressFull => {
            (StatusCode::SERVICE_UNAVAILABLE, "this address has as many sockets as it may have")
        }
        Refusal::ConnectsExceeded { .. } => {
            (StatusCode::TOO_MANY_REQUESTS, "too many connects from this address")
        }
        Refusal::CallsExceeded { .. } => (StatusCode::TOO_MANY_REQUESTS, "too many calls from this address"),
        Refusal::SignInsExceeded { .. } => {
            (StatusCode::TOO_MANY_REQUESTS, "too many failed sign-ins, try again later")
        }
        // No call of this dialect can meet these.
        Refusal::SubscribedAlready
        | Refusal::NotSubscribed
        | Refusal::RosterFull
        | Refusal::TooManyChannels
        | Refusal::TooManyEvents
        | Refusal::RateExceeded(AppRate::Frames | AppRate::Rejoins)
        | Refusal::SignedInAlready
        | Refusal::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
    };
    (status, text.to_owned())
}

impl From<FormError> for Refusal {
    fn from(error: FormError) -> Self {
        match error {
            FormError::Missing(field) => Refusal::FieldMissing(field),
            other => Refusal::ParametersInvalid(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Admin, AppSecret, Hash, Registered};

    fn basic(text: &str) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(text)).into_bytes()
    }

    #[test]
    fn an_account_ends_at_the_first_colon() {
        let read = credentials(Some(&basic("a:b:c"))).unwrap();
        assert_eq!(read, ("a".to_owned(), "b:c".to_owned()));
    }

    #[test]
    fn anything_else_is_not_authorized() {
        let headers: [Option<&[u8]>; 6] =
            [None, Some(b""), Some(b"Basic"), Some(b"Basic !!"), Some(b"Bearer YTpi"), Some(&[255, 32, 65])];
        for header in headers {
            assert_eq!(credentials(header), Err(Refusal::NotAuthorized), "{header:?}");
        }
        assert_eq!(credentials(Some(&basic("no colon"))), Err(Refusal::NotAuthorized));
    }

    /// Registers an app with one more field.
    fn register_with(field: &str, value: &str) -> Result<Registration, Refusal> {
        let query = format!("app_key=k&auth_account=a&auth_password=p&{field}={value}");
        register(&Form::read(true, Some(&query), None, b"").unwrap())
    }

    #[test]
    fn an_app_may_bring_its_id() {
        for good in ["7", "007", "app-id", &"9".repeat(64)] {
            assert_eq!(register_with("app_id", good).unwrap().id.as_deref(), Some(good));
        }
        assert_eq!(register_with("app_id", "").unwrap().id, None);
        for bad in ["a b", "1.5", "é", &"9".repeat(65)] {
            let refused = register_with("app_id", bad).err();
            assert!(matches!(refused, Some(Refusal::FieldInvalid { field: "app_id", .. })), "{bad}");
        }
    }

    #[test]
    fn an_app_may_bring_its_secret() {
        for good in ["7ad37731", &"~".repeat(128)] {
            assert_eq!(register_with("app_secret", good).unwrap().secret.as_deref(), Some(good));
        }
        assert_eq!(register_with("app_secret", "").unwrap().secret, None);
        for bad in ["7ad3773", "with+blank", "sécretsecret", &"~".repeat(129)] {
            let refused = register_with("app_secret", bad).err();
            assert!(matches!(refused, Some(Refusal::FieldInvalid { field: "app_secret", .. })), "{bad}");
        }
    }

    #[test]
    fn what_no_database_would_keep_is_refused() {
        let hook = register_with("connect_hook", "http://localhost/%00").err();
        let query = "app_key=k&auth_account=a%00&auth_password=p";
        let account = register(&Form::read(true, Some(query), None, b"").unwrap()).err();
        for (refused, name) in [(hook, "connect_hook"), (account, "auth_account")] {
            let Some(Refusal::FieldInvalid { field, fault }) = refused else { panic!("{refused:?}") };
            assert_eq!((field, fault), (name, "contains a NUL character"));
        }
    }

    #[test]
    fn id_and_secret_are_told_last() {
        let app = App {
            key: AppKey::parse("k").unwrap(),
            id: "7".into(),
            secret: AppSecret("7ad37731".into()),
            admin: Admin { account: "a".into(), hash: Hash("h".into()) },
            connect_hook: String::new(),
            request_ip: "1.2.3.4:5".into(),
            registered: Registered { timestamp_ms: 1, date: "d".into() },
        };
        let last = r#","app_id":"7","app_secret":"7ad37731"}"#;
        assert!(registered(&app).ends_with(&format!("{last}\n")));
        assert!(listed(&[app]).ends_with(&format!("{last}]}}\n")));
    }
}
