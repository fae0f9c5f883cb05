//! What lets pages of other origins make calls from within browsers (Fetch standard, section 3.3), if the operator wants
//! that. It is about the calls alone: sockets know their own origins.
//!
//! Always: credentials that a browser would add by itself, such as a session of the console, are never allowed; a page that
//! may call has to name its own.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, UPGRADE,
    VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Door;
use crate::config::Origins;

/// What a page may be told beside what all may.
const EXPOSED: HeaderValue = HeaderValue::from_static("Retry-After, X-Gusher-Partial");

/// What a call of a page may bear. Beside what calls need, it is what the libraries of Pusher, Echo and Laravel add to all of
/// theirs.
pub const HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, X-CSRF-Token, X-Pusher-Library, X-Requested-With, X-Socket-ID, X-XSRF-Token",
);

/// What a page that may call is told before it does; for ten minutes, so that a change is not long in coming.
const PERMITTED: [(HeaderName, HeaderValue); 3] = [
    (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE")),
    (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
    (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
];

/// Answers a browser that asks first, and tells it in each answer whether its page may read that.
pub async fn allow(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let terms = door.terms();
    if terms.cors_origins == Origins::None || request.headers().contains_key(UPGRADE) {
        return next.run(request).await;
    }
    let origin = request.headers().get(ORIGIN).cloned();
    let asks_first =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = next.run(request).await;
    // A route that lets in pages by its own rule.
    if response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        return response;
    }
    let allowed = origin.and_then(|origin| allowed(&terms.cors_origins, origin));
    // There is something at the path, and it takes no OPTIONS.
    if asks_first && allowed.is_some() && response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response = (StatusCode::NO_CONTENT, PERMITTED).into_response();
    }
    mark(response.headers_mut(), &terms.cors_origins, allowed);
    response
}

/// What a page of this origin is told, if it may call.
fn allowed(origins: &Origins, origin: HeaderValue) -> Option<HeaderValue> {
    let is_allowed = origin.to_str().is_ok_and(|origin| origins.allow(origin));
    is_allowed.then_some(match origins {
        Origins::Any => HeaderValue::from_static("*"),
        _ => origin,
    })
}

fn mark(headers: &mut HeaderMap, origins: &Origins, allowed: Option<HeaderValue>) {
    // Where the answer depends on who asks, no cache may give it to another.
    if *origins != Origins::Any {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(allowed) = allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}
