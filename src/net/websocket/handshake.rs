//! The client's opening handshake (RFC 6455 section 4.2): whether a request asks for a WebSocket, and the answer's
//! proof that it was understood. Writes no response, offers no extension or subprotocol, judges no origin.

use std::fmt;

use axum::http::header::{AsHeaderName, CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use axum::http::{HeaderMap, HeaderValue, Method, Version};
use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, PAD, STANDARD};
use sha1::{Digest, Sha1};

/// Appended to every key before hashing (RFC 6455 section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The length of a key, in bytes, before base64.
const KEY_BYTES: usize = 16;
/// A key is noise, and clients that make it up as text leave stray bits in its last character: they do no harm.
const KEY_BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, PAD.with_decode_allow_trailing_bits(true));

/// What a request lacks to become a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAnUpgrade {
    /// The method is not GET.
    Method,
    /// The HTTP version is not 1.1.
    HttpVersion,
    /// `Upgrade` does not name websocket.
    Upgrade,
    /// `Connection` does not name upgrade.
    Connection,
    /// `Sec-WebSocket-Version` is not 13; the answer should carry `Sec-WebSocket-Version: 13`.
    WebSocketVersion,
    /// `Sec-WebSocket-Key` is not one value of 16 bytes in base64.
    Key,
}

impl fmt::Display for NotAnUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotAnUpgrade::Method => "method is not GET",
            NotAnUpgrade::HttpVersion => "not HTTP/1.1",
            NotAnUpgrade::Upgrade => "no Upgrade: websocket",
            NotAnUpgrade::Connection => "no Connection: upgrade",
            NotAnUpgrade::WebSocketVersion => "Sec-WebSocket-Version is not 13",
            NotAnUpgrade::Key => "Sec-WebSocket-Key is not 16 bytes in base64",
        })
    }
}

impl std::error::Error for NotAnUpgrade {}

/// The value of `Sec-WebSocket-Accept` for a request that asks for a WebSocket.
///
/// # Errors
/// The first thing the request lacks.
pub fn accept(method: &Method, version: Version, headers: &HeaderMap) -> Result<HeaderValue, NotAnUpgrade> {
    if method != Method::GET {
        return Err(NotAnUpgrade::Method);
    }
    if version != Version::HTTP_11 {
        return Err(NotAnUpgrade::HttpVersion);
    }
    if !names(headers, UPGRADE, "websocket") {
        return Err(NotAnUpgrade::Upgrade);
    }
    if !names(headers, CONNECTION, "upgrade") {
        return Err(NotAnUpgrade::Connection);
    }
    if only(headers, SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(NotAnUpgrade::WebSocketVersion);
    }
    let key = only(headers, SEC_WEBSOCKET_KEY).filter(|key| is_key(key)).ok_or(NotAnUpgrade::Key)?;
    HeaderValue::try_from(accept_key(key)).map_err(|_| NotAnUpgrade::Key)
}

/// What proves that the key was read: base64(SHA-1(key + GUID)).
pub fn accept_key(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// Whether `token`, in any case, is in the comma-separated list that may be spread over several fields.
fn names(headers: &HeaderMap, field: impl AsHeaderName, token: &str) -> bool {
    let values = headers.get_all(field).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// The value of a field that must not be repeated.
fn only(headers: &HeaderMap, field: impl AsHeaderName) -> Option<&str> {
    let mut values = headers.get_all(field).into_iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

fn is_key(key: &str) -> bool {
    KEY_BASE64.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn request() -> HeaderMap {
        [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ]
        .into_iter()
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
        .collect()
    }

    fn accept_with(field: &'static str, value: &'static str) -> Result<HeaderValue, NotAnUpgrade> {
        let mut headers = request();
        headers.insert(field, HeaderValue::from_static(value));
        accept(&Method::GET, Version::HTTP_11, &headers)
    }

    #[test]
    fn the_sample_key_of_the_rfc_is_answered() {
        let answer = accept(&Method::GET, Version::HTTP_11, &request()).unwrap();
        assert_eq!(answer, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn tokens_are_found_in_lists_of_any_case() {
        assert!(accept_with("upgrade", "h2c, WebSocket").is_ok());
        assert!(accept_with("connection", "keep-alive,UPGRADE").is_ok());
        let mut headers = request();
        headers.insert("connection", HeaderValue::from_static("keep-alive"));
        headers.append("connection", HeaderValue::from_static("upgrade"));
        assert!(accept(&Method::GET, Version::HTTP_11, &headers).is_ok());
    }

    #[test]
    fn each_lack_is_named() {
        assert_eq!(accept_with("upgrade", "websockets"), Err(NotAnUpgrade::Upgrade));
        assert_eq!(accept_with("connection", "close"), Err(NotAnUpgrade::Connection));
        assert_eq!(accept_with("sec-websocket-version", "8"), Err(NotAnUpgrade::WebSocketVersion));
        assert_eq!(accept(&Method::POST, Version::HTTP_11, &request()), Err(NotAnUpgrade::Method));
        assert_eq!(accept(&Method::GET, Version::HTTP_10, &request()), Err(NotAnUpgrade::HttpVersion));
    }

    #[test]
    fn a_key_is_one_value_of_sixteen_bytes() {
        for key in ["", "c2hvcnQ=", "not base64 at all!!!", "dGhlIHNhbXBsZSBub25jZQ"] {
            assert_eq!(accept_with("sec-websocket-key", key), Err(NotAnUpgrade::Key), "{key}");
        }
        assert!(
            accept_with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZZ==").is_ok(),
            "stray bits at the end"
        );
        let mut headers = request();
        headers.append("sec-websocket-key", HeaderValue::from_static(KEY));
        assert_eq!(accept(&Method::GET, Version::HTTP_11, &headers), Err(NotAnUpgrade::Key));
    }
}
