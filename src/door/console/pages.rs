//! The files of the page, compiled in.
//!
//! Always: it loads nothing from anywhere and runs no script but its own.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

use super::gzip;
use crate::door::{Door, answer};
use crate::model::Refusal;

/// What a browser may do with the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The files: name, content type, text. The first is the page itself.
const FILES: &[(&str, &str, &str)] = &[
    ("index.html", HTML, include_str!("page/index.html")),
    ("api.js", SCRIPT, include_str!("page/api.js")),
    ("app.js", SCRIPT, include_str!("page/app.js")),
    ("apps.js", SCRIPT, include_str!("page/apps.js")),
    ("channels.js", SCRIPT, include_str!("page/channels.js")),
    ("charts.js", SCRIPT, include_str!("page/charts.js")),
    ("dom.js", SCRIPT, include_str!("page/dom.js")),
    ("events.js", SCRIPT, include_str!("page/events.js")),
    ("feed.js", SCRIPT, include_str!("page/feed.js")),
    ("fields.js", SCRIPT, include_str!("page/fields.js")),
    ("format.js", SCRIPT, include_str!("page/format.js")),
    ("json.js", SCRIPT, include_str!("page/json.js")),
    ("keys.js", SCRIPT, include_str!("page/keys.js")),
    ("live.js", SCRIPT, include_str!("page/live.js")),
    ("logo.js", SCRIPT, include_str!("page/logo.js")),
    ("main.js", SCRIPT, include_str!("page/main.js")),
    ("overview.js", SCRIPT, include_str!("page/overview.js")),
    ("parts.css", STYLE, include_str!("page/parts.css")),
    ("parts.js", SCRIPT, include_str!("page/parts.js")),
    ("settings.js", SCRIPT, include_str!("page/settings.js")),
    ("signin.js", SCRIPT, include_str!("page/signin.js")),
    ("snippets.js", SCRIPT, include_str!("page/snippets.js")),
    ("style.css", STYLE, include_str!("page/style.css")),
    ("theme.js", SCRIPT, include_str!("page/theme.js")),
    ("webhooks.js", SCRIPT, include_str!("page/webhooks.js")),
];

/// A form in which a file is sent: its bytes, and the tag by which a browser asks whether they have changed.
struct Form {
    body: Bytes,
    tag: HeaderValue,
}

impl Form {
    fn new(body: Bytes, tag: &str) -> Self {
        Self { body, tag: HeaderValue::from_str(tag).expect("hex digits can be a header") }
    }
}

/// The files as they are, and compressed.
static FORMS: LazyLock<Vec<[Form; 2]>> = LazyLock::new(|| {
    let forms = |(_, _, text): &(&str, &str, &'static str)| {
        let digest = hex::encode(&Sha256::digest(text)[..16]);
        let plain = Form::new(Bytes::from_static(text.as_bytes()), &format!("\"{digest}\""));
        [plain, Form::new(gzip::pack(text).into(), &format!("\"{digest}-gzip\""))]
    };
    FILES.iter().map(forms).collect()
});

pub fn routes() -> Router<Arc<Door>> {
    Router::new()
        .route(
            "/console",
            get(|State(door): State<Arc<Door>>, head: Parts| async move { serve(&door, &head, Some(0)) }),
        )
        .route(
            "/console/{file}",
            get(|State(door): State<Arc<Door>>, head: Parts| async move {
                let name = answer::segment(head.uri.path(), 2).unwrap_or_default();
                serve(&door, &head, FILES.iter().position(|(known, _, _)| *known == name))
            }),
        )
}

fn serve(door: &Door, head: &Parts, file: Option<usize>) -> Response {
    if door.hub.is_draining() {
        return answer::refuse(&Refusal::Draining);
    }
    let Some((file, (_, content_type, _))) = file.map(|file| (file, FILES[file])) else {
        return answer::refuse(&Refusal::PathUnknown);
    };
    let is_packed = gzip::is_wanted(&head.headers);
    let form = &FORMS[file][usize::from(is_packed)];
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (VARY, HeaderValue::from_static("accept-encoding")),
        (ETAG, form.tag.clone()),
    ];
    if head.headers.get(IF_NONE_MATCH).is_some_and(|tag| *tag == form.tag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let coding = is_packed.then_some([(CONTENT_ENCODING, HeaderValue::from_static(gzip::NAME))]);
    let mut response = (headers, form.body.clone()).into_response();
    response.headers_mut().extend(coding.into_iter().flatten());
    response
}
