//! `GET /ui`: one page for whoever runs Gusher Cluster (spec 2.2), compiled in. It shows health, totals, apps and the
//! channels of an app, and asks for them with the calls of backends: the page itself holds nothing that is a secret.
//!
//! Always: it loads nothing from anywhere, runs no script but its own, and what it was told is shown as text.

use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::Door;

const STYLE: &str = include_str!("ui/page.css");
const SCRIPT: &str = include_str!("ui/page.js");

/// The page, in one piece.
static PAGE: LazyLock<String> =
    LazyLock::new(|| include_str!("ui/page.html").replace("{STYLE}", STYLE).replace("{SCRIPT}", SCRIPT));

/// What the browser may do with it: apply this style, run this script, call this listener.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let mut policy = "default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'"
        .to_owned();
    for (kind, text) in [("style", STYLE), ("script", SCRIPT)] {
        let digest = STANDARD.encode(Sha256::digest(text));
        let _ = write!(policy, "; {kind}-src 'sha256-{digest}'");
    }
    HeaderValue::from_str(&policy).expect("a policy of ASCII characters can be a header")
});

/// The one route.
pub fn routes() -> Router<Arc<Door>> {
    Router::new().route("/ui", get(|| async { page() }))
}

fn page() -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, POLICY.clone()),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, PAGE.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_names_no_other_place() {
        assert!(PAGE.contains(STYLE) && PAGE.contains(SCRIPT) && !PAGE.contains("{STYLE}"));
        for elsewhere in ["http:", "https:", "src=", "url(", "@import", "<link"] {
            assert!(!PAGE.contains(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn what_was_told_is_shown_as_text_and_nothing_is_kept() {
        let risks =
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Storage", "cookie"];
        for risk in risks {
            assert!(!SCRIPT.contains(risk), "{risk}");
        }
    }
}
