//! The server under test: where it is, and how its dialect says what a measurement needs.
//!
//! Nothing is sent here; each function makes the bytes of one request or one message.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::Serializer;
use md5::{Digest, Md5};
use mio::net::TcpStream;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::dialect::signature::hmac_hex;
use crate::net::stream::Stream;

/// What a path segment holds as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The name of every event.
const EVENT: &str = "bench";

/// The server under test. No `Debug`: it holds a secret.
pub struct Target {
    /// Where sockets connect.
    pub sockets: Endpoint,
    /// Where backends call.
    pub calls: Endpoint,
    /// What it speaks, and the app.
    pub dialect: Dialect,
}

/// A listener of the server.
#[derive(Clone)]
pub struct Endpoint {
    /// Where it is.
    pub address: SocketAddr,
    /// How it is spoken to over TLS, and by which name it is to prove itself.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Endpoint {
    /// One that speaks no TLS.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    /// What is to be spoken on, given a connection. The handshake comes with the first write and the reads behind it.
    ///
    /// # Errors
    /// TLS cannot begin.
    pub fn stream(&self, tcp: TcpStream) -> io::Result<Stream> {
        let stream = Stream::from(tcp);
        let Some((config, name)) = &self.tls else { return Ok(stream) };
        let connection = ClientConnection::new(Arc::clone(config), name.clone());
        connection.map(|connection| stream.under(connection.into())).map_err(io::Error::other)
    }
}

/// What a server speaks, and how it knows us.
pub enum Dialect {
    /// Pusher's protocol, with signed calls.
    Pusher {
        /// Names the app in paths of calls.
        app_id: String,
        /// Names the app to sockets.
        key: String,
        /// Signs calls and subscriptions.
        secret: String,
    },
    /// Gusher's own sockets and its private API. It has no channels: a push is for everyone in the app.
    Gusher {
        /// Names the app.
        key: String,
        /// Who pushes.
        account: String,
        /// The password of that account.
        password: String,
    },
}

/// The channel of that number. All names have one length.
pub fn channel(number: usize) -> String {
    format!("bench-{number:05}")
}

/// What a subscriber of Pusher's protocol receives.
pub fn delivery(channel: &str, data: &str) -> String {
    format!(r#"{{"event":"{EVENT}","channel":"{channel}","data":"{data}"}}"#)
}

impl Target {
    /// The request that opens socket `number`.
    pub fn upgrade(&self, number: usize) -> Vec<u8> {
        let path = match &self.dialect {
            Dialect::Pusher { key, .. } => {
                format!("/app/{}?protocol=7&client=gusher-bench&version=1.0.0", segment(key))
            }
            Dialect::Gusher { key, .. } => format!("/ws/{}/user-{number}", segment(key)),
        };
        // The nonce of RFC 6455's own example: whether the answer fits it is not what is measured.
        format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.sockets.address
        )
        .into_bytes()
    }

    /// Whether a server's greeting follows the upgrade, and subscriptions are possible.
    pub fn has_channels(&self) -> bool {
        matches!(self.dialect, Dialect::Pusher { .. })
    }

    /// Asks to be a subscriber of `channel`.
    pub fn subscribe(&self, channel: &str) -> String {
        format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{channel}"}}}}"#)
    }

    /// Asks to be a member of a presence channel under the name of `user`, which needs no escaping in JSON.
    pub fn join(&self, socket_id: &str, channel: &str, user: &str) -> String {
        let Dialect::Pusher { key, secret, .. } = &self.dialect else { return String::new() };
        let member = format!(r#"{{"user_id":"{user}"}}"#);
        let signature = hmac_hex(secret, &format!("{socket_id}:{channel}:{member}"));
        let escaped = member.replace('"', "\\\"");
        format!(
            r#"{{"event":"pusher:subscribe","data":{{"channel":"{channel}","auth":"{key}:{signature}","channel_data":"{escaped}"}}}}"#
        )
    }

    /// Asks to be neither any more.
    pub fn unsubscribe(&self, channel: &str) -> String {
        format!(r#"{{"event":"pusher:unsubscribe","data":{{"channel":"{channel}"}}}}"#)
    }

    /// The call that publishes `data`, which needs no escaping in JSON, to `channel`.
    pub fn call(&self, channel: &str, data: &str) -> Vec<u8> {
        let (path, headers, body) = match &self.dialect {
            Dialect::Pusher { app_id, key, secret } => {
                let body = format!(r#"{{"name":"{EVENT}","channels":["{channel}"],"data":"{data}"}}"#);
                let path = format!("/apps/{}/events", segment(app_id));
                let path = format!("{path}?{}", signed(&path, key, secret, &body));
                (path, "Content-Type: application/json\r\n".to_owned(), body)
            }
            Dialect::Gusher { key, account, password } => {
                let body = Serializer::new(String::new()).append_pair("content", data).finish();
                let credentials = STANDARD.encode(format!("{account}:{password}"));
                let headers = format!(
                    "Content-Type: application/x-www-form-urlencoded\r\nAuthorization: Basic {credentials}\r\n"
                );
                (format!("/api/push/{}", segment(key)), headers, body)
            }
        };
        let (host, length) = (self.calls.address, body.len());
        format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
            .into_bytes()
    }
}

/// The query of a signed `POST` (pusher-channels 13). What is signed is not escaped, what is sent is.
pub fn signed(path: &str, key: &str, secret: &str, body: &str) -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let digest = hex::encode(Md5::digest(body));
    let rest = format!("auth_timestamp={seconds}&auth_version=1.0&body_md5={digest}");
    let signature = hmac_hex(secret, &format!("POST\n{path}\nauth_key={key}&{rest}"));
    format!("auth_key={}&{rest}&auth_signature={signature}", segment(key))
}

fn segment(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, SEGMENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::pusher::api::{SignedCall, authenticate};
    use crate::model::{App, AppSettings};

    fn target(dialect: Dialect) -> Target {
        let endpoint = Endpoint::plain("127.0.0.1:1".parse().unwrap());
        Target { sockets: endpoint.clone(), calls: endpoint, dialect }
    }

    fn pusher() -> Target {
        target(Dialect::Pusher { app_id: "3".into(), key: "key".into(), secret: "secret-secret".into() })
    }

    #[test]
    fn a_call_carries_a_signature_that_holds() {
        let call = String::from_utf8(pusher().call("bench-00000", "@data")).unwrap();
        let (head, body) = call.split_once("\r\n\r\n").unwrap();
        let address = head.strip_prefix("POST ").and_then(|rest| rest.split(' ').next()).unwrap();
        let (path, query) = address.split_once('?').unwrap();
        let signed = SignedCall { method: "POST", path, query, body: body.as_bytes() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        let app = App::sample("key", "secret-secret");
        assert!(authenticate(&signed, &app, &AppSettings::default(), now).is_ok(), "{call}");
        assert_eq!(path, "/apps/3/events");
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
    }

    #[test]
    fn a_push_is_a_form_with_basic_authentication() {
        let target =
            target(Dialect::Gusher { key: "a b".into(), account: "me".into(), password: "x".into() });
        let call = String::from_utf8(target.call("", "@1")).unwrap();
        assert!(
            call.starts_with("POST /api/push/a%20b HTTP/1.1\r\n") && call.ends_with("\r\n\r\ncontent=%401")
        );
        assert!(call.contains("Authorization: Basic bWU6eA=="), "{call}");
        assert!(target.upgrade(7).starts_with(b"GET /ws/a%20b/user-7 HTTP/1.1\r\n"));
    }

    #[test]
    fn messages_are_json_with_the_same_data_twice_encoded() {
        let join = pusher().join("1.2", "presence-bench", "@7");
        let message: serde_json::Value = serde_json::from_str(&join).unwrap();
        let member = message["data"]["channel_data"].as_str().unwrap();
        assert_eq!(member, r#"{"user_id":"@7"}"#);
        let signature = hmac_hex("secret-secret", &format!("1.2:presence-bench:{member}"));
        assert_eq!(message["data"]["auth"], format!("key:{signature}"));
        for text in [pusher().subscribe("c"), pusher().unsubscribe("c"), delivery("c", "d")] {
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        }
    }
}
