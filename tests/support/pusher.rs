//! A client of Pusher Channels that signs what it asks for, and the app that it belongs to.

use gusher::dialect::signature::hmac_hex;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use super::{Client, SUPER, Server, send};

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

/// Changes settings of the app.
pub async fn configure(server: &Server, settings: Value) {
    let call = server.call(Method::PATCH, "/api/key/settings").basic_auth(SUPER.0, Some(SUPER.1));
    let answer = send(call.body(settings.to_string())).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// A socket that was greeted.
pub struct PusherClient {
    /// The name that the server gave it.
    pub id: String,
    client: Client,
}

impl PusherClient {
    /// Connects to the app `key`.
    pub async fn connect(server: &Server) -> Self {
        let (socket, _) =
            connect_async(format!("ws://{}/app/key?protocol=7", server.public())).await.expect("upgraded");
        let mut client = Self { id: String::new(), client: Client { socket } };
        let greeting = client.next().await["data"].as_str().map(serde_json::from_str::<Value>);
        let greeting = greeting.expect("a text").expect("JSON in it");
        client.id = greeting["socket_id"].as_str().expect("an id").to_owned();
        client
    }

    /// The next message.
    pub async fn next(&mut self) -> Value {
        serde_json::from_str(&self.client.text().await).expect("every message is JSON")
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
        let auth = format!("key:{}", hmac_hex(SECRET, &format!("{}:{channel}", self.id)));
        self.say(json!({ "event": "pusher:subscribe", "data": { "channel": channel, "auth": auth } })).await;
        self.until("pusher_internal:subscription_succeeded").await
    }

    /// Subscribes as a member of a presence channel.
    pub async fn join(&mut self, channel: &str, user: Value) -> Value {
        let member = json!({ "user_id": user }).to_string();
        let auth = format!("key:{}", hmac_hex(SECRET, &format!("{}:{channel}:{member}", self.id)));
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
}
