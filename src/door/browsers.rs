//! What pages of other sites may not do with the browser of somebody who may call (cross-site request forgery, DNS
//! rebinding). It is about the private listener; who is no browser, such as a backend or curl, is not concerned.
//!
//! Always: what a browser says of a request (`Origin`, `Sec-Fetch-Site`) is written by the browser itself, and no page can
//! change or remove it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{ACCEPT_LANGUAGE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use axum::middleware::Next;
use axum::response::Response;

use super::{Door, Listener, Terms, answer};
use crate::config::Origins;
use crate::model::Refusal;

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Refuses what a page has no business with.
pub async fn refuse_foreign_pages(
    State((door, listener)): State<(Arc<Door>, Listener)>,
    request: Request,
    next: Next,
) -> Response {
    let is_refused = listener == Listener::Private && {
        let terms = door.terms();
        let changes = !request.method().is_safe();
        (changes && is_foreign(request.headers(), request.uri(), &terms.cors_origins))
            || is_rebound(&request, &terms)
    };
    if is_refused { answer::refuse(&Refusal::PageNotAllowed) } else { next.run(request).await }
}

/// Whether a request comes from a page that is not this listener's own, and that nobody has allowed. Where the browser does
/// not say how the two sites are related, as it does not over plain HTTP, their names are compared.
fn is_foreign(headers: &HeaderMap, uri: &Uri, allowed: &Origins) -> bool {
    let origin = text(headers, &ORIGIN);
    let is_own = match text(headers, &SITE) {
        Some("same-origin" | "none") => true,
        Some(_) => false,
        None => match origin {
            None => !headers.contains_key(ORIGIN),
            Some(origin) => authority(headers, uri).is_some_and(|authority| is_origin_of(origin, authority)),
        },
    };
    !is_own && !origin.is_some_and(|origin| allowed.allow(origin))
}

/// Whether a browser asks under a name though everybody, or everybody who knows it, may call: a page can have its own name
/// lead to this listener, and is then no page of another site. Addresses, and this machine's own name, cannot be had by it.
fn is_rebound(request: &Request, terms: &Terms) -> bool {
    let headers = request.headers();
    (terms.admin.is_everybody || terms.is_password_known)
        && is_browser(headers)
        && !authority(headers, request.uri()).is_some_and(is_beyond_dns)
}

/// Libraries of backends send some of what browsers send, but none of these. Node sends `*` as a language, and a mode with
/// it. A page can send such a language as well, but no mode: a browser adds that itself, and never over plain HTTP to a name.
fn is_browser(headers: &HeaderMap) -> bool {
    let is_of_node = |languages: &HeaderValue| languages == "*" && headers.contains_key(MODE);
    headers.contains_key(ORIGIN)
        || headers.contains_key(SITE)
        || headers.get(ACCEPT_LANGUAGE).is_some_and(|languages| !is_of_node(languages))
}

fn is_beyond_dns(authority: &str) -> bool {
    let name = host_of(authority);
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    bare.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

/// The host that a request is for, with its port: over HTTP/2 it is part of the address.
fn authority<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    text(headers, &HOST).or_else(|| uri.authority().map(|authority| authority.as_str()))
}

/// Whether an origin, such as `https://admin.example.com`, is at this host and port. A proxy may speak TLS for us, so the
/// scheme says no more than which port is left out.
fn is_origin_of(origin: &str, authority: &str) -> bool {
    let Some((scheme, place)) = origin.split_once("://") else { return false };
    let usual = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let bare = |place: &str| place.strip_suffix(usual).unwrap_or(place).to_ascii_lowercase();
    bare(place) == bare(authority)
}

fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn pages_of_other_sites_are_foreign_and_who_is_no_page_is_not() {
        let host = ("host", "admin.example.com:8002");
        let (own, other) = ("http://admin.example.com:8002", "http://evil.example");
        for (pairs, foreign) in [
            (&[host][..], false),
            (&[host, ("origin", own)], false),
            (&[host, ("origin", "http://ADMIN.example.com:8002")], false),
            (&[("host", "a.example"), ("origin", "https://a.example")], false),
            (&[("host", "a.example:443"), ("origin", "https://a.example")], false),
            (&[("host", "a.example:443"), ("origin", "http://a.example")], true),
            (&[host, ("origin", other)], true),
            (&[host, ("origin", "null")], true),
            (&[host, ("origin", "\u{e9}")], true),
            (&[("origin", own)], true),
            (&[host, ("origin", "http://admin.example.com")], true),
            // What the browser says counts, also where a proxy calls us otherwise.
            (&[("host", "gusher"), ("origin", own), ("sec-fetch-site", "same-origin")], false),
            (&[host, ("sec-fetch-site", "none")], false),
            (&[host, ("sec-fetch-site", "cross-site")], true),
            (&[host, ("origin", own), ("sec-fetch-site", "same-site")], true),
        ] {
            assert_eq!(is_foreign(&headers(pairs), &Uri::default(), &Origins::None), foreign, "{pairs:?}");
        }
        let cross = headers(&[host, ("origin", other), ("sec-fetch-site", "cross-site")]);
        assert!(!is_foreign(&cross, &Uri::default(), &other.parse().unwrap()), "it is allowed");
        let over_http2: Uri = "https://a.example/x".parse().unwrap();
        assert!(!is_foreign(&headers(&[("origin", "https://a.example")]), &over_http2, &Origins::None));
    }

    #[test]
    fn no_name_that_dns_could_change_is_beyond_it() {
        for own in [
            "127.0.0.1",
            "127.0.0.1:8002",
            "[::1]:8002",
            "[::1]",
            "localhost:8002",
            "x.localhost",
            "LOCALHOST.",
        ] {
            assert!(is_beyond_dns(own), "{own}");
        }
        for name in [
            "evil.example",
            "evil.example:8002",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "gusher:8002",
            "",
        ] {
            assert!(!is_beyond_dns(name), "{name}");
        }
    }

    #[test]
    fn a_library_of_a_backend_is_no_browser() {
        let node = [("sec-fetch-mode", "cors"), ("accept-language", "*"), ("user-agent", "node")];
        assert!(!is_browser(&headers(&node)) && !is_browser(&headers(&[("user-agent", "curl/8")])));
        // Over plain HTTP and for its own site, a browser sends no more than this.
        assert!(is_browser(&headers(&[("accept-language", "en-US,en;q=0.5")])));
        // A page chooses the language, and cannot add the mode.
        assert!(is_browser(&headers(&[("accept-language", "*")])));
    }
}
