//! How sockets and signed calls of Pusher Channels reach a node: its prefix, its proxies, how strict it is.

mod support;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::{Client, SUPER, Server, send};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// A node with an app whose key is `key` and whose id is 77.
async fn serve(settings: &[(&str, &str)]) -> Server {
    let server = Server::with(settings).await;
    let fields =
        [("app_key", "key"), ("auth_account", "admin"), ("auth_password", "secret"), ("app_id", "77")];
    assert_eq!(server.post("/api/register", &fields).await.status, StatusCode::OK);
    server
}

/// The first message, or rather its name and code, of a socket at `path` that is forwarded by `proto`.
async fn first(server: &Server, path: &str, proto: &[&str]) -> (String, Value) {
    let mut request = format!("ws://{}{path}", server.public()).into_client_request().unwrap();
    for proto in proto {
        request.headers_mut().append("X-Forwarded-Proto", proto.parse().unwrap());
    }
    let (socket, _) = connect_async(request).await.expect("upgraded");
    let message: Value = serde_json::from_str(&Client { socket }.text().await).unwrap();
    (message["event"].as_str().unwrap().to_owned(), message["data"]["code"].clone())
}

fn is_established(first: (String, Value)) -> bool {
    first.0 == "pusher:connection_established"
}

#[tokio::test]
async fn pc_009_a_strict_node_wants_to_know_the_protocol() {
    let lax = serve(&[]).await;
    assert!(is_established(first(&lax, "/app/key", &[]).await));
    let strict = serve(&[("pusher.strict_protocol", "true")]).await;
    assert_eq!(first(&strict, "/app/key?client=js", &[]).await.1, 4008);
    assert!(is_established(first(&strict, "/app/key?protocol=7", &[]).await));
}

#[tokio::test]
async fn pc_014_tls_is_what_a_trusted_proxy_says() {
    let trusting = serve(&[("trusted_proxies", "127.0.0.0/8")]).await;
    let wary = serve(&[("trusted_proxies", "10.0.0.0/8")]).await;
    for server in [&trusting, &wary] {
        let change = server.call(Method::PATCH, "/api/key/settings").basic_auth(SUPER.0, Some(SUPER.1));
        assert_eq!(send(change.body(r#"{"tls_only":true}"#)).await.status, StatusCode::OK);
        assert_eq!(first(server, "/app/key", &[]).await, ("pusher:error".into(), json!(4000)));
    }
    assert!(is_established(first(&trusting, "/app/key", &["https"]).await));
    assert!(is_established(first(&trusting, "/app/key", &["http, HTTPS"]).await));
    assert_eq!(first(&trusting, "/app/key", &["https", "http"]).await.1, 4000);
    assert_eq!(first(&wary, "/app/key", &["https"]).await.1, 4000);
}

#[tokio::test]
async fn pc_018_what_is_at_the_root_is_under_the_prefix_too() {
    let server = serve(&[("pusher.path_prefix", "/ws-gateway")]).await;
    assert!(is_established(first(&server, "/ws-gateway/app/key", &[]).await));
    assert!(is_established(first(&server, "/app/key", &[]).await));
    assert_eq!(first(&server, "/elsewhere/app/key", &[]).await.1, 4005);
    let status = async |path| server.call_as(None, Method::GET, path).await.status;
    // Whoever signs nothing is heard, but not answered.
    assert_eq!(status("/ws-gateway/apps/77/channels").await, StatusCode::UNAUTHORIZED);
    assert_eq!(status("/ws-gateway/api/app-list").await, StatusCode::NOT_FOUND);
}
