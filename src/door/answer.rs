//! Answers and path segments, as all routes have them.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;

use super::Door;
use crate::dialect::gusher::api;
use crate::model::Refusal;

/// Why a request was refused, carried by the answer for those who look on.
#[derive(Clone, Debug)]
pub struct Reason(pub String);

/// A successful answer (spec D8).
pub fn json(body: impl Into<Body>) -> Response {
    let content_type = HeaderValue::from_static("application/json; charset=utf-8");
    ([(CONTENT_TYPE, content_type)], body.into()).into_response()
}

/// A refusal as one line of plain text (spec 1.6).
pub fn refuse(refusal: &Refusal) -> Response {
    let (status, text) = api::refusal(refusal);
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    let reason = Reason(text.clone());
    let mut response = (status, headers, text + "\n").into_response();
    response.extensions_mut().insert(reason);
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"Restricted\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    mark(&mut response, refusal);
    response
}

/// What an answer bears that tells of a part of the nodes.
const PARTIAL: HeaderName = HeaderName::from_static("x-gusher-partial");

impl Door {
    /// An answer that tells who is there. While the other nodes are not heard of, or hold apps for which there is no room here,
    /// it says that it may be a part (E22).
    pub(super) fn told_in_part(&self, mut response: Response) -> Response {
        if !self.hub.knows_all() {
            response.headers_mut().insert(PARTIAL, HeaderValue::from_static("true"));
        }
        response
    }
}

/// What is said no to for the address it came from, by the reason; on its way to who counts that.
#[derive(Clone, Copy, Debug)]
pub struct AddressRefused(pub &'static str);

/// Adds what a refusal bears whatever the dialect: how long to wait, where that is known (RFC 9110 section 10.2.3).
pub fn mark(response: &mut Response, refusal: &Refusal) {
    response.headers_mut().extend(refusal.wait_s().map(|wait_s| (RETRY_AFTER, HeaderValue::from(wait_s))));
    if refusal.is_about_address() {
        response.extensions_mut().insert(AddressRefused(refusal.reason()));
    }
}

/// The segment of a path behind its `place`-th slash, decoded; `+` stays `+` (spec 1.6).
///
/// # Errors
/// [`Refusal::PathUnknown`] when it decodes to something with a slash, to no UTF-8, or to a dot segment.
pub fn segment(path: &str, place: usize) -> Result<String, Refusal> {
    let raw = path.split('/').nth(place).unwrap_or_default();
    let decoded = percent_decode_str(raw).decode_utf8().map_err(|_| Refusal::PathUnknown)?;
    match &*decoded {
        "" | "." | ".." => Err(Refusal::PathUnknown),
        text if text.contains('/') => Err(Refusal::PathUnknown),
        text => Ok(text.to_owned()),
    }
}

/// The same, but it may hold a slash or consist of dots: for what is looked up by nothing but its name.
///
/// # Errors
/// [`Refusal::PathUnknown`] when it is empty or decodes to no UTF-8.
pub fn name(path: &str, place: usize) -> Result<String, Refusal> {
    let raw = path.split('/').nth(place).unwrap_or_default();
    let decoded = percent_decode_str(raw).decode_utf8().map_err(|_| Refusal::PathUnknown)?;
    if decoded.is_empty() { Err(Refusal::PathUnknown) } else { Ok(decoded.into_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_a_slash() {
        assert_eq!(name("/x/a%2Fb", 2).unwrap(), "a/b");
        assert_eq!(name("/x/..", 2).unwrap(), "..");
        assert!(name("/x/", 2).is_err() && name("/x", 2).is_err() && name("/x/%FF", 2).is_err());
    }

    #[test]
    fn a_segment_is_decoded_once_and_stays_one() {
        assert_eq!(segment("/ws/a%20b+c/%E5%BC%A0", 2).unwrap(), "a b+c");
        assert_eq!(segment("/ws/a/%E5%BC%A0", 3).unwrap(), "张");
        assert_eq!(segment("/ws/a%252F/x", 2).unwrap(), "a%2F");
        for path in ["/ws/a%2Fb", "/ws/..", "/ws/%2e%2E", "/ws/", "/ws", "/ws/%FF"] {
            assert_eq!(segment(path, 2), Err(Refusal::PathUnknown), "{path}");
        }
    }
}
