//! The words of the console's calls: what its page sends becomes a noun of the model, and what it is told is JSON.

pub mod apps;
pub mod event;
pub mod feed;
pub mod here;
pub mod session;
pub mod webhooks;

use axum::http::StatusCode;
use serde_json::json;

use super::gusher;
use crate::model::Refusal;

/// Why a call is refused, as the page tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The status of the answer.
    pub status: StatusCode,
    /// A sentence.
    pub text: String,
}

impl Fault {
    /// Nobody is signed in, or no longer.
    pub fn signed_out() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "sign in first")
    }

    /// A call that changes something does not show that it comes from the page.
    pub fn not_from_page() -> Self {
        Self::new(StatusCode::FORBIDDEN, "the request does not come from the console")
    }

    /// It is for the super admin alone.
    pub fn super_only() -> Self {
        Self::new(StatusCode::FORBIDDEN, "this is for the super admin")
    }

    /// There is no such app, or it is not the caller's.
    pub fn app_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no such app")
    }

    /// The app has no such additional key.
    pub fn key_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "the app has no such additional key")
    }

    /// The feed of the app has as many watchers as it may have.
    pub fn too_many_watchers() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too many watch the feed of this app already")
    }

    /// What should be published is longer than the app allows.
    pub(super) fn too_long(bytes_max: u32) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("data is longer than {bytes_max} bytes"))
    }

    /// The call is understood and breaks a rule.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// What the page is told.
    pub fn body(&self) -> String {
        json!({ "error": self.text }).to_string()
    }
}

/// What is no matter of the console is said as the private API says it, with the names that fields have here.
impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let (status, text) = gusher::api::refusal(&refusal);
        match refusal {
            Refusal::NotAuthorized => Self::new(status, "account or password is wrong"),
            Refusal::SignInsExceeded { .. } => Self::new(status, "too many failed sign-ins: try again later"),
            Refusal::AppUnknown => Self::app_unknown(),
            Refusal::AppExists => Self::new(status, "there is an app with this key"),
            Refusal::PatternInvalid(reason) => Self::new(status, format!("pattern error: {reason}")),
            Refusal::PatternTooSlow => Self::new(status, "pattern error: matching takes too long"),
            Refusal::PathUnknown => Self::new(status, "there is nothing at this path"),
            Refusal::MethodNotAllowed => Self::new(status, "this method is not allowed here"),
            _ => Self::new(status, text.replace("auth_", "")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_with_the_names_of_the_console() {
        let fault = Fault::from(Refusal::FieldMissing("auth_account"));
        assert_eq!((fault.status.as_u16(), &*fault.body()), (400, r#"{"error":"account empty"}"#));
    }
}
