//! A client of Gusher Cluster, the tokens that it shows, and the calls of its backend.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message};

use super::{Answer, Client, SUPER, Server, send};

/// What signs tokens.
pub const PRIVATE_KEY: &str = include_str!("../data/cluster/one.private.pem");

/// What proves them, as a file.
pub const PUBLIC_KEY_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/cluster/one.public.pem");

/// The setting that a node needs for the dialect.
pub const KEY_SETTING: (&str, &str) = ("cluster.public_pem_file", PUBLIC_KEY_FILE);

/// A node with the apps `app` and `other`.
pub async fn serve() -> Server {
    serve_with(&[]).await
}

/// The same with some settings changed.
pub async fn serve_with(settings: &[(&str, &str)]) -> Server {
    let server = Server::with(&[&[KEY_SETTING], settings].concat()).await;
    server.register("app").await;
    server.register("other").await;
    server
}

/// A token of these claims.
pub fn signed(claims: &Value) -> String {
    let key = EncodingKey::from_rsa_pem(PRIVATE_KEY.as_bytes()).expect("the key of the tests is one");
    jsonwebtoken::encode(&Header::new(Algorithm::RS256), claims, &key).expect("claims are JSON")
}

/// A token for the app `app`.
pub fn token(user: &str, channels: &[&str]) -> String {
    token_for("app", user, channels)
}

/// A token for an app.
pub fn token_for(app: &str, user: &str, channels: &[&str]) -> String {
    signed(&json!({ "gusher": { "app_key": app, "user_id": user, "channels": channels } }))
}

/// A call of a backend as the super admin. The body is sent as it is.
pub async fn call(server: &Server, method: Method, path: &str, body: &str) -> Answer {
    let call = server.call(method, path).basic_auth(SUPER.0, Some(SUPER.1));
    send(call.body(body.to_owned())).await
}

/// Posts as the super admin, below `/v1/apps/app`.
pub async fn post(server: &Server, path: &str, body: Value) -> Answer {
    call(server, Method::POST, &format!("/v1/apps/app{path}"), &body.to_string()).await
}

/// Asks as the super admin, below `/v1/apps/app`.
pub async fn ask(server: &Server, path: &str) -> Value {
    let answer = call(server, Method::GET, &format!("/v1/apps/app{path}"), "").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

/// Publishes an event to a channel of `app`.
pub async fn publish(server: &Server, channel: &str, event: &str, data: Value) {
    let body = json!({ "event": event, "data": data });
    let answer = post(server, &format!("/channels/{channel}/messages"), body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// A socket that came with a token.
pub struct ClusterClient {
    /// The socket itself.
    pub client: Client,
}

impl ClusterClient {
    /// Connects to `app` as a user with these permissions.
    pub async fn connect(server: &Server, user: &str, channels: &[&str]) -> Self {
        Self::connect_with(server, "app", &token(user, channels)).await.expect("it is admitted")
    }

    /// Connects to an app with a token, or says how that was refused.
    pub async fn connect_with(server: &Server, app: &str, token: &str) -> Result<Self, (u16, String)> {
        let path = format!("/v1/apps/{app}/ws?token={token}");
        match server.open(server.url("ws", server.public(), &path)).await {
            Ok((socket, _)) => Ok(Self { client: Client { socket } }),
            Err(tungstenite::Error::Http(response)) => {
                let text =
                    response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
                Err((response.status().as_u16(), text))
            }
            Err(error) => panic!("no HTTP answer: {error}"),
        }
    }

    /// Sends a text.
    pub async fn say(&mut self, text: &str) {
        self.client.send(Message::Text(text.into())).await;
    }

    /// Sends an event.
    pub async fn send(&mut self, event: &str, data: Value) {
        self.say(&json!({ "event": event, "data": data }).to_string()).await;
    }

    /// The next message.
    pub async fn next(&mut self) -> Value {
        let text = self.client.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    /// Sends an event and returns the next message.
    pub async fn request(&mut self, event: &str, data: Value) -> Value {
        self.send(event, data).await;
        self.next().await
    }

    /// Subscribes to a channel, which succeeds.
    pub async fn subscribe(&mut self, channel: &str) {
        let reply = self.request("gusher.subscribe", json!({ "channel": channel })).await;
        assert_eq!(reply["event"], "gusher.subscribe_succeeded", "{reply}");
    }

    /// The name that the server gave it.
    pub async fn id(&mut self) -> String {
        let reply = self.request("gusher.ping", Value::Null).await;
        reply["socket_id"].as_str().expect("a name").to_owned()
    }

    /// Makes sure that nothing has come but the answer to this ping.
    pub async fn hears_nothing(&mut self) {
        let reply = self.request("gusher.ping", json!("nothing before")).await;
        assert_eq!(reply["data"], "nothing before", "{reply}");
    }
}
