//! A client of Pusher Channels that signs what it asks for, and the app that it belongs to.

use std::net::SocketAddr;

use gusher::dialect::signature::hmac_hex;
use md5::{Digest, Md5};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use super::{Answer, Client, SUPER, Server, send};

/// The secret of the app `key`.
pub const SECRET: &str = "a-shared-secret";

/// Registers the app `key`, whose id is 77, with these settings.
pub async fn register(server: &Server, settings: Value) {
    let fields = [
        ("app_key", "key"),
        ("auth_account", "admin"),
        ("auth_password", "secret"),
        ("app_id", "77"),
        ("app_secret", SECRET),
    ];
    assert_eq!(server.post("/api/register", &fields).await.status, 200);
    configure(server, settings).await;
}

/// A node with the app.
pub async fn serve(settings: Value) -> Server {
    let server = Server::start().await;
    register(&server, settings).await;
    server
}

/// Changes settings of the app.
pub async fn configure(server: &Server, settings: Value) {
    let call = server.call(Method::PATCH, "/api/key/settings").basic_auth(SUPER.0, Some(SUPER.1));
    let answer = send(call.body(settings.to_string())).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// A signed call for the app `key`, as every server library makes it.
pub async fn call(server: &Server, method: Method, path: &str, body: &str) -> Answer {
    call_as(server, "key", method, path, body).await
}

/// A signed call with a key whose secret is [`SECRET`] too.
pub async fn call_as(server: &Server, key: &str, method: Method, path: &str, body: &str) -> Answer {
    let signed = signed(key, &method, path, body);
    send(server.public_call(method, &signed).body(body.to_owned())).await
}

/// The path of a call, and the query that signs it.
pub fn signed(key: &str, method: &Method, path: &str, body: &str) -> String {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let mut query = format!("auth_key={key}&auth_timestamp={now}&auth_version=1.0");
    if !body.is_empty() {
        query.push_str(&format!("&body_md5={}", hex::encode(Md5::digest(body))));
    }
    let signature = hmac_hex(SECRET, &format!("{method}\n{path}\n{query}"));
    format!("{path}?{query}&auth_signature={signature}")
}

/// Publishes an event.
pub async fn trigger(server: &Server, channel: &str, event: &str, data: &str) -> Answer {
    let body = json!({ "name": event, "channel": channel, "data": data });
    call(server, Method::POST, "/apps/77/events", &body.to_string()).await
}

/// A socket that was greeted.
pub struct PusherClient {
    /// The name that the server gave it.
    pub id: String,
    /// The key of its app.
    key: String,
    /// The socket itself.
    pub client: Client,
}

impl PusherClient {
    /// Connects to the app `key`.
    pub async fn connect(server: &Server) -> Self {
        Self::connect_to(server, "/app/key?protocol=7").await
    }

    /// Connects at a path, which names an app whose secret is [`SECRET`].
    pub async fn connect_to(server: &Server, path: &str) -> Self {
        let (socket, _) = server.open(server.url("ws", server.public(), path)).await.expect("upgraded");
        Self::greeted(Client { socket }, path).await
    }

    /// The same to whoever listens there.
    pub async fn connect_at(address: SocketAddr, path: &str) -> Self {
        let (socket, _) = connect_async(format!("ws://{address}{path}")).await.expect("upgraded");
        Self::greeted(Client { socket }, path).await
    }

    async fn greeted(client: Client, path: &str) -> Self {
        let key = path.split(['/', '?']).nth(2).expect("a path with a key").to_owned();
        let mut client = Self { id: String::new(), key, client };
        let greeting = client.next().await["data"].as_str().map(serde_json::from_str::<Value>);
        let greeting = greeting.expect("a text").expect("JSON in it");
        client.id = greeting["socket_id"].as_str().expect("an id").to_owned();
        client
    }

    /// The next message.
    pub async fn next(&mut self) -> Value {
        let message = serde_json::from_str::<Map<String, Value>>(&self.client.text().await);
        Value::Object(message.expect("every message is one JSON object"))
    }

    /// The next message of that name; others are passed over.
    pub async fn until(&mut self, event: &str) -> Value {
        loop {
            let message = self.next().await;
            if message["event"] == event {
                return message;
            }
        }
    }

    /// Sends a message.
    pub async fn say(&mut self, message: Value) {
        self.client.send(Message::text(message.to_string())).await;
    }

    /// Subscribes to a channel that is no presence channel.
    pub async fn subscribe(&mut self, channel: &str) -> Value {
        let auth = self.sign(&format!("{}:{channel}", self.id));
        self.say(json!({ "event": "pusher:subscribe", "data": { "channel": channel, "auth": auth } })).await;
        self.until("pusher_internal:subscription_succeeded").await
    }

    /// Signs in, and returns the answer.
    pub async fn sign_in(&mut self, user: Value) -> Value {
        let user = user.to_string();
        let auth = self.sign(&format!("{}::user::{user}", self.id));
        self.say(json!({ "event": "pusher:signin", "data": { "auth": auth, "user_data": user } })).await;
        self.next().await
    }

    /// Subscribes as a member of a presence channel.
    pub async fn join(&mut self, channel: &str, user: Value) -> Value {
        self.join_as(channel, json!({ "user_id": user })).await
    }

    /// Subscribes as a member with these `channel_data`.
    pub async fn join_as(&mut self, channel: &str, member: Value) -> Value {
        let member = member.to_string();
        let auth = self.sign(&format!("{}:{channel}:{member}", self.id));
        let data = json!({ "channel": channel, "auth": auth, "channel_data": member });
        self.say(json!({ "event": "pusher:subscribe", "data": data })).await;
        self.until("pusher_internal:subscription_succeeded").await
    }

    /// Leaves a channel, and returns when the server has taken note of it.
    pub async fn leave(&mut self, channel: &str) {
        self.say(json!({ "event": "pusher:unsubscribe", "data": { "channel": channel } })).await;
        self.settle().await;
    }

    /// Returns when the server has taken note of all that was said.
    pub async fn settle(&mut self) {
        self.say(json!({ "event": "pusher:ping" })).await;
        self.until("pusher:pong").await;
    }

    /// What an app's own server would answer: that the client may.
    fn sign(&self, text: &str) -> String {
        format!("{}:{}", self.key, hmac_hex(SECRET, text))
    }
}
