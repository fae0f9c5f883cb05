//! Nodes of one cluster as processes of their own, to be stopped, frozen and killed: on a real bus, with one
//! database file, the app `key` of Pusher Channels, and a backend that its webhooks tell.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gusher::config::BusKind;
use reqwest::Method;
use serde_json::{Value, json};

use super::cluster::PUBLIC_KEY_FILE;
use super::hook::Hook;
use super::process::{Directory, Serving};
use super::pusher::{PusherClient, SECRET};
use super::servers::BusServer;
use super::{Answer, SUPER, send, soon};

/// Nodes, and what they need.
pub struct Fleet {
    /// What carries the facts.
    pub bus: BusServer,
    /// The backend.
    pub hook: Hook,
    nodes: Vec<Option<Serving>>,
    directory: Arc<Directory>,
    http: reqwest::Client,
}

impl Fleet {
    /// So many nodes, which all know the app with these settings; webhooks are told without a grace unless these say
    /// otherwise.
    pub async fn start(kind: BusKind, count: usize, settings: Value) -> Self {
        let (bus, hook) = (BusServer::start(kind), Hook::answering(200, "").await);
        let directory = Directory::new();
        let settings_of_bus: serde_json::Map<_, _> =
            bus.settings().into_iter().map(|(key, value)| (key.replace("bus.", ""), json!(value))).collect();
        let config = [
            ("sqlfile", json!("apps.sqlite")),
            ("bus", json!(settings_of_bus)),
            ("allow_private_webhooks", json!(true)),
            ("cluster", json!({ "public_pem_file": PUBLIC_KEY_FILE })),
        ];
        directory.configure("config.json", &config);
        let mut fleet =
            Self { bus, hook, nodes: Vec::new(), directory: Arc::new(directory), http: Default::default() };
        fleet.add();
        fleet.register(settings).await;
        (1..count).for_each(|_| fleet.add());
        fleet.until_ready().await;
        fleet
    }

    /// Starts one more node.
    pub fn add(&mut self) {
        self.nodes.push(Some(self.directory.serve(&["start"])));
    }

    /// What starts one more node, on another thread, to be put into the fleet.
    pub fn starting(&self) -> impl FnOnce() -> Serving + Send + 'static {
        let directory = Arc::clone(&self.directory);
        move || directory.serve(&["start"])
    }

    /// Puts a node into the fleet.
    pub fn put(&mut self, node: Serving) {
        self.nodes.push(Some(node));
    }

    /// The node that came last.
    pub fn last(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Puts a node in the place of one that was taken away.
    pub fn set(&mut self, place: usize, node: Serving) {
        self.nodes[place] = Some(node);
    }

    /// Takes a node away, to be stopped or killed.
    pub fn take(&mut self, node: usize) -> Serving {
        self.nodes[node].take().expect("it runs")
    }

    /// A node that runs.
    pub fn node(&self, node: usize) -> &Serving {
        self.nodes[node].as_ref().expect("it runs")
    }

    /// Where clients of a node connect.
    pub fn public(&self, node: usize) -> SocketAddr {
        self.node(node).public
    }

    /// Connects a client of Pusher Channels to a node.
    pub async fn connect(&self, node: usize) -> PusherClient {
        PusherClient::connect_at(self.public(node), "/app/key?protocol=7").await
    }

    /// A call of the private API of a node, as the super admin.
    pub async fn call(&self, node: usize, method: Method, path: &str, body: &Value) -> Answer {
        let url = format!("http://{}{path}", self.node(node).private);
        let call = self.http.request(method, url).basic_auth(SUPER.0, Some(SUPER.1));
        send(if body.is_null() { call } else { call.body(body.to_string()) }).await
    }

    /// Publishes to a channel by way of a node. Whether it was accepted.
    pub async fn publish(&self, node: usize, channel: &str, event: &str, data: Value) -> bool {
        let path = format!("/v1/apps/key/channels/{channel}/messages");
        self.call(node, Method::POST, &path, &json!({ "event": event, "data": data })).await.status == 200
    }

    /// Waits until all nodes that run are ready and know the app.
    pub async fn until_ready(&self) {
        for node in (0..self.nodes.len()).filter(|node| self.nodes[*node].is_some()) {
            until("the node is ready", async || {
                self.call(node, Method::GET, "/readyz", &Value::Null).await.status == 200
                    && self.call(node, Method::GET, "/api/key/settings", &Value::Null).await.status == 200
            })
            .await;
        }
    }

    /// Waits until a node counts so many subscriptions in a channel.
    pub async fn until_counted(&self, node: usize, channel: &str, count: usize) {
        let body = json!({ "name": "count", "channel": channel, "data": "{}", "info": "subscription_count" });
        until("the subscriptions are known", async || {
            let answer = self.signed(node, "/apps/77/events", &body).await;
            answer.json()["channels"][channel]["subscription_count"].as_u64().unwrap_or(0) == count as u64
        })
        .await;
    }

    /// Waits until a node knows of no socket that came with a token.
    pub async fn until_empty(&self, node: usize) {
        until("nobody is there", async || {
            let stats = self.call(node, Method::GET, "/v1/stats", &Value::Null).await.json();
            stats["connections"] == 0
        })
        .await;
    }

    /// What webhooks were told so far, each event as one line, in the order in which it came.
    pub fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        for asked in self.hook.asked() {
            let body: Value = serde_json::from_str(&asked.body).expect("JSON");
            told.extend(body["events"].as_array().expect("events").iter().map(line));
        }
        told
    }

    /// Waits until webhooks were told all of these, and makes sure that they were told nothing else.
    pub async fn until_told(&self, expected: &[&str]) {
        let mut expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        expected.sort();
        let sorted = || {
            let mut told = self.told();
            told.sort();
            told
        };
        let told = tokio::time::timeout(Duration::from_secs(10), async {
            while sorted().len() < expected.len() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let _ = told.await;
        assert_eq!(sorted(), expected);
    }

    async fn register(&self, settings: Value) {
        let fields = [
            ("app_key", "key"),
            ("auth_account", "admin"),
            ("auth_password", "secret"),
            ("app_id", "77"),
            ("app_secret", SECRET),
        ];
        let url = format!("http://{}/api/register", self.node(0).private);
        let call = self.http.post(url).basic_auth(SUPER.0, Some(SUPER.1)).form(&fields);
        assert_eq!(send(call).await.status, 200);
        let mut all = json!({ "webhooks": [{ "url": self.hook.url() }], "webhook_grace": 0 });
        settings.as_object().expect("settings").iter().for_each(|(name, value)| all[name] = value.clone());
        let answer = self.call(0, Method::PATCH, "/api/key/settings", &all).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    /// A signed call of the app's backend.
    async fn signed(&self, node: usize, path: &str, body: &Value) -> Answer {
        let signed = super::pusher::signed("key", &Method::POST, path, &body.to_string());
        let url = format!("http://{}{signed}", self.public(node));
        send(self.http.post(url).body(body.to_string())).await
    }
}

fn line(event: &Value) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    let count = event["subscription_count"].as_u64().map(|count| format!(" {count}")).unwrap_or_default();
    let user = event["user_id"].as_str().map(|user| format!(" {user}")).unwrap_or_default();
    format!("{} {}{user}{count}", text("name"), text("channel"))
}

/// Asks until it is so.
pub async fn until<Asked: Future<Output = bool>>(what: &str, is_so: impl Fn() -> Asked) {
    soon(what, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
