//! Why a signed call is refused, and how that is told (pusher-channels 16.2).

use axum::http::StatusCode;
use serde_json::json;

use crate::dialect::gusher;
use crate::model::Refusal;

/// A refusal as the backend reads it. Libraries choose an exception by the status and pass the text on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The status of the answer.
    pub status: StatusCode,
    /// One line of text.
    pub text: String,
}

impl Fault {
    /// No app has this id.
    pub fn app_unknown(id: &str) -> Self {
        Self { status: StatusCode::NOT_FOUND, text: format!("Could not find app by id {id}") }
    }

    /// The app has no such key, or no app has it.
    pub fn key_unknown() -> Self {
        Self::unauthorized("Unknown auth_key")
    }

    /// The call is understood and breaks a rule.
    pub(super) fn invalid(text: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text: text.into() }
    }

    /// The call does not prove that it comes from the app.
    pub(super) fn unauthorized(text: impl Into<String>) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, text: text.into() }
    }

    /// The body is not that of which the query holds the digest.
    pub fn digest_wrong() -> Self {
        Self::unauthorized("Invalid body_md5")
    }

    /// What should be published is too long.
    pub(super) fn too_large(text: impl Into<String>) -> Self {
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, text: text.into() }
    }
}

/// What is no matter of the dialect is said in the same words everywhere.
impl From<&Refusal> for Fault {
    fn from(refusal: &Refusal) -> Self {
        let (status, text) = gusher::api::refusal(refusal);
        Self { status, text }
    }
}

/// The content type and the body that tell of a fault: a line of text, or JSON where the `Accept` header of the
/// request asks for it by name.
pub fn fault_body(fault: &Fault, accept: Option<&str>) -> (&'static str, String) {
    let media_type = |range: &str| range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let wants_json =
        accept.is_some_and(|ranges| ranges.split(',').any(|range| media_type(range) == "application/json"));
    if wants_json {
        let body = json!({ "error": fault.text, "code": fault.status.as_u16() });
        ("application/json", body.to_string())
    } else {
        ("text/plain; charset=utf-8", format!("{}\n", fault.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pc_172_a_fault_is_plain_text_unless_json_is_asked_for_by_name() {
        let fault = Fault::app_unknown("7");
        for accept in
            [None, Some(""), Some("*/*"), Some("text/html, application/*"), Some("application/jsonp")]
        {
            let told = fault_body(&fault, accept);
            assert_eq!(told, ("text/plain; charset=utf-8", "Could not find app by id 7\n".to_owned()));
        }
        for accept in ["application/json", "text/html, Application/JSON;q=0.9"] {
            let told = fault_body(&fault, Some(accept));
            let body = r#"{"error":"Could not find app by id 7","code":404}"#;
            assert_eq!(told, ("application/json", body.to_owned()));
        }
    }

    #[test]
    fn a_refusal_keeps_its_status() {
        assert_eq!(Fault::from(&Refusal::PathUnknown).status, StatusCode::NOT_FOUND);
        assert_eq!(Fault::from(&Refusal::MethodNotAllowed).status, StatusCode::METHOD_NOT_ALLOWED);
    }
}
