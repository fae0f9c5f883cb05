//! Several real nodes on a real bus, with one database file. What they do is shown on every kind of bus:
//! [`on_each_bus`] runs a behaviour once for each, at the same time.

use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use gusher::config::BusKind;
use reqwest::Method;
use serde_json::{Value, json};

use super::cluster::{KEY_SETTING, ask, call};
use super::process::{Directory, Serving};
use super::servers::BusServer;
use super::{Server, pusher, soon};

/// Nodes of one cluster, in this process.
pub struct Cluster {
    /// The nodes.
    pub nodes: Vec<Server>,
    /// Where their database file is.
    pub directory: Directory,
    /// What carries messages between them.
    pub bus: BusServer,
}

impl Cluster {
    /// So many nodes, and the app `app`.
    pub async fn start(kind: BusKind, count: usize) -> Self {
        Self::with(kind, count, &[]).await
    }

    /// The same with some settings changed.
    pub async fn with(kind: BusKind, count: usize, settings: &[(&str, &str)]) -> Self {
        let bus = BusServer::start(kind);
        let mut cluster = Self { nodes: Vec::new(), directory: Directory::new(), bus };
        for _ in 0..count {
            cluster.add_with(settings).await;
        }
        cluster.nodes[0].register("app").await;
        cluster.until_known("app").await;
        cluster
    }

    /// So many nodes, the app `app`, and the app `key` of Pusher Channels.
    pub async fn with_pusher(kind: BusKind, count: usize) -> Self {
        let cluster = Self::start(kind, count).await;
        pusher::register(&cluster.nodes[0], json!({})).await;
        cluster.until_known("key").await;
        cluster
    }

    /// One node more.
    pub async fn add(&mut self) {
        self.add_with(&[]).await;
    }

    /// One node more, with some settings changed.
    pub async fn add_with(&mut self, settings: &[(&str, &str)]) {
        let file = self.directory.path("apps.sqlite").to_str().unwrap().to_owned();
        let bus = self.bus.settings();
        let bus = bus.iter().map(|(key, value)| (*key, value.as_str()));
        let usual = [KEY_SETTING, ("sqlfile", &file)].into_iter().chain(bus);
        let settings: Vec<_> = usual.chain(settings.iter().copied()).collect();
        self.nodes.push(Server::with(&settings).await);
    }

    /// One node more, as a process that can be killed.
    pub fn process(&self) -> Serving {
        let bus = self.bus.settings().into_iter().map(|(key, value)| {
            let key = key.strip_prefix("bus.").expect("it is a setting of the bus");
            (key.to_owned(), json!(value))
        });
        let bus = Value::Object(bus.collect());
        self.directory.configure("config.json", &[("sqlfile", json!("apps.sqlite")), ("bus", bus)]);
        self.directory.serve(&["start"])
    }

    async fn until_known(&self, app: &str) {
        for node in &self.nodes {
            until("the app is known", async || node.node_knows(app).await).await;
        }
    }
}

impl Server {
    /// Whether this node knows an app.
    pub async fn node_knows(&self, app: &str) -> bool {
        call(self, Method::GET, &format!("/api/{app}/settings"), "").await.status == 200
    }

    /// Whether this node hears of the others.
    pub async fn is_ready(&self) -> bool {
        self.get("/readyz").await.status == 200
    }
}

/// Runs a behaviour on each kind of bus, and says on which it failed.
pub async fn on_each_bus(behaviour: impl AsyncFn(BusKind)) {
    let on = async |kind| {
        let outcome = AssertUnwindSafe(behaviour(kind)).catch_unwind().await;
        outcome.unwrap_or_else(|failure| {
            eprintln!("that was on {kind:?}");
            panic::resume_unwind(failure)
        });
    };
    join_all(BusServer::KINDS.map(on)).await;
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

/// Waits until a node knows that these users are in the channel `c`.
pub async fn until_there(server: &Server, users: &[&str]) {
    until("it is known who is there", async || ask(server, "/channels/c/users").await == json!(users)).await;
}
