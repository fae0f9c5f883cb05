//! Nodes on several hosts: each in a folder of its own, with their apps on one PostgreSQL server and a NATS server between
//! them.

mod support;

use std::future::Future;
use std::time::{Duration, Instant};

use gusher::config::BusKind;
use gusher::config::read::{self, Overlay};
use gusher::store::Store;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::cluster::call;
use support::postgres::Postgres;
use support::process::{Directory, Process, Serving, run};
use support::servers::BusServer;
use support::{Server, soon};

/// The app that the environment names.
const FIRST: [(&str, &str); 3] =
    [("PUSHER_APP_ID", "77"), ("PUSHER_APP_KEY", "first"), ("PUSHER_APP_SECRET", "first-secret")];

/// Several hosts, with what they have in common.
struct Hosts {
    url: String,
    bus: BusServer,
    folders: Vec<Directory>,
}

impl Hosts {
    /// With a database of their own on the server of all tests.
    async fn new() -> Self {
        Self::on(Postgres::shared()).await
    }

    async fn on(postgres: &Postgres) -> Self {
        Self { url: postgres.database().await, bus: BusServer::start(BusKind::Nats), folders: Vec::new() }
    }

    /// One more host, with a node on the bus.
    async fn node(&mut self) -> Server {
        let bus = self.bus.settings();
        self.start(&bus.each_ref().map(|(key, value)| (*key, value.as_str()))).await
    }

    /// One more host, whose node is on no bus.
    async fn lone_node(&mut self) -> Server {
        self.start(&[]).await
    }

    async fn start(&mut self, settings: &[(&str, &str)]) -> Server {
        let folder = Directory::new();
        let file = folder.path("node.sqlite").to_str().expect("a path in UTF-8").to_owned();
        let own = [("store.url", &*self.url), ("sqlfile", &*file)];
        let server = Server::with(&[&own, settings].concat()).await;
        self.folders.push(folder);
        server
    }

    /// One more host, with a node as a process that is given a first app.
    fn process(&mut self, secret: &str) -> Process {
        let folder = Directory::new();
        let bus = json!({ "kind": "nats", "url": self.bus.url() });
        folder.configure("config.json", &[("bus", bus)]);
        let mut command = folder.gusher(&["start"]);
        command.env("GUSHER_STORE_URL", &self.url).envs(FIRST).env("PUSHER_APP_SECRET", secret);
        self.folders.push(folder);
        Process::start(&mut command)
    }

    /// The database, as another node has it.
    async fn store(&self) -> Store {
        let mut flags = Overlay::default();
        flags.set("store.url", &*self.url);
        let config = read::dev([], &flags).expect("the settings are valid").store;
        Store::connect(&config.expect("there is a server")).await.expect("it lets us in")
    }
}

/// The settings of an app as a node has them; nothing when it knows no such app.
async fn settings(node: &Server, app: &str) -> Option<Value> {
    let answer = call(node, Method::GET, &format!("/api/{app}/settings"), "").await;
    (answer.status == StatusCode::OK).then(|| answer.json())
}

async fn configure(node: &Server, app: &str, settings: Value) -> StatusCode {
    call(node, Method::PATCH, &format!("/api/{app}/settings"), &settings.to_string()).await.status
}

/// Asks until it is so.
async fn until<Asked: Future<Output = bool>>(what: &str, is_so: impl Fn() -> Asked) {
    soon(what, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

async fn until_known(node: &Server, app: &str) {
    until("the app is known", async || settings(node, app).await.is_some()).await;
}

#[tokio::test]
async fn an_app_that_is_registered_on_one_host_is_there_on_another_within_a_second() {
    let mut hosts = Hosts::new().await;
    let (one, other) = (hosts.node().await, hosts.node().await);
    one.register("app").await;
    let registered = Instant::now();
    until_known(&other, "app").await;
    assert!(registered.elapsed() < Duration::from_secs(1), "after {:?}", registered.elapsed());
    let mut client = other.connect("app", "anna").await;
    one.until_online("app", &["anna"]).await;
    assert_eq!(one.push("app", "hello").await.json()["sockets"], 1);
    assert_eq!(client.text().await, "hello");
    assert_eq!(other.get("/api/app-list").await.text, one.get("/api/app-list").await.text);
}

#[tokio::test]
async fn settings_that_are_changed_on_one_host_hold_on_another() {
    let mut hosts = Hosts::new().await;
    let (one, other) = (hosts.node().await, hosts.node().await);
    one.register("app").await;
    until_known(&other, "app").await;
    // Neither undoes what the other does at the same time.
    let both = tokio::join!(
        configure(&one, "app", json!({ "cache_ttl": 60 })),
        configure(&other, "app", json!({ "webhook_grace": 7 })),
    );
    assert_eq!(both, (StatusCode::OK, StatusCode::OK));
    for node in [&one, &other] {
        until("both hold", async || {
            let now = settings(node, "app").await.expect("it is there");
            now["cache_ttl"] == 60 && now["webhook_grace"] == 7
        })
        .await;
    }
    let mut client = other.connect("app", "anna").await;
    assert_eq!(configure(&one, "app", json!({ "enabled": false })).await, StatusCode::OK);
    client.closed().await;
}

#[tokio::test]
async fn an_app_that_is_removed_on_one_host_loses_its_sockets_on_all() {
    let mut hosts = Hosts::new().await;
    let (one, other) = (hosts.node().await, hosts.node().await);
    one.register("app").await;
    until_known(&other, "app").await;
    let mut clients = [one.connect("app", "anna").await, other.connect("app", "bert").await];
    assert_eq!(other.unregister("app").await.status, StatusCode::OK);
    for client in &mut clients {
        assert_eq!(client.closed().await.0, 4001);
    }
    assert_eq!(settings(&one, "app").await, None);
    // Under its old name it is another app.
    other.register("app").await;
    until_known(&one, "app").await;
}

#[tokio::test]
async fn a_node_that_starts_late_knows_all_apps_and_their_settings() {
    let mut hosts = Hosts::new().await;
    let early = hosts.node().await;
    for app in ["one", "two", "three"] {
        early.register(app).await;
    }
    assert_eq!(configure(&early, "two", json!({ "cache_ttl": 60 })).await, StatusCode::OK);
    assert_eq!(early.unregister("one").await.status, StatusCode::OK);
    let late = hosts.node().await;
    assert_eq!(settings(&late, "one").await, None);
    assert_eq!(settings(&late, "two").await, settings(&early, "two").await);
    assert_eq!(settings(&late, "three").await, settings(&early, "three").await);
}

#[tokio::test]
async fn while_the_database_is_away_only_what_needs_it_is_refused() {
    let mut postgres = Postgres::start();
    let mut hosts = Hosts::on(&postgres).await;
    let (one, other) = (hosts.node().await, hosts.node().await);
    one.register("app").await;
    until_known(&other, "app").await;
    let mut client = other.connect("app", "anna").await;
    one.until_online("app", &["anna"]).await;
    postgres.kill();
    let new = [("app_key", "new"), ("auth_account", "a"), ("auth_password", "b")];
    for answer in [
        one.post("/api/register", &new).await,
        one.unregister("app").await,
        call(&one, Method::PATCH, "/api/app/settings", r#"{"cache_ttl":60}"#).await,
        one.get("/api/app-list").await,
    ] {
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{}", answer.text);
        assert!(!answer.text.is_empty() && !answer.text.contains(Postgres::USER.1), "{}", answer.text);
    }
    let mut latecomer = one.connect("app", "bert").await;
    other.until_online("app", &["anna", "bert"]).await;
    assert_eq!(one.push("app", "still here").await.json()["sockets"], 2);
    assert_eq!((client.text().await, latecomer.text().await), ("still here".into(), "still here".into()));
    assert_eq!(one.get("/readyz").await.status, StatusCode::OK);
    postgres.start_again();
    one.register("new").await;
    until_known(&other, "new").await;
    assert_eq!(settings(&one, "app").await.expect("it is there")["cache_ttl"], 1800);
}

#[tokio::test]
async fn what_a_node_could_not_read_again_it_reads_when_the_database_is_back() {
    let mut postgres = Postgres::start();
    let mut hosts = Hosts::on(&postgres).await;
    let node = hosts.node().await;
    node.register("app").await;
    hosts.bus.kill();
    until("the bus is gone", async || node.get("/readyz").await.status != StatusCode::OK).await;
    // Done by a node that nobody hears.
    let store = hosts.store().await;
    let mut elsewhere = store.apps(None).await.expect("one app").remove(0);
    store.remove(&elsewhere.key).await.expect("it is taken away");
    elsewhere.key = "elsewhere".to_owned().into();
    store.insert(&elsewhere).await.expect("it is added");
    postgres.kill();
    hosts.bus.restart();
    until("the bus is back", async || node.get("/readyz").await.status == StatusCode::OK).await;
    assert!(settings(&node, "app").await.is_some());
    postgres.start_again();
    until_known(&node, "elsewhere").await;
    assert_eq!(settings(&node, "app").await, None);
}

#[tokio::test]
async fn nodes_that_start_at_once_with_one_first_app_all_have_it_and_tell_the_others() {
    let mut hosts = Hosts::new().await;
    let there_before = hosts.node().await;
    let starting: Vec<Process> = (0..4).map(|_| hosts.process("first-secret")).collect();
    let serving: Vec<Serving> = starting.into_iter().map(Serving::new).collect();
    until_known(&there_before, "first").await;
    assert_eq!(there_before.get("/api/app-list").await.json()["total"], 1);
    let mut clients = Vec::new();
    for (node, user) in serving.iter().zip(["a", "b", "c", "d"]) {
        clients.push(node.connect("first", user).await);
    }
    there_before.until_online("first", &["a", "b", "c", "d"]).await;
    assert_eq!(there_before.push("first", "hello").await.json()["sockets"], 4);
    for client in &mut clients {
        assert_eq!(client.text().await, "hello");
    }
    let other_secret = hosts.process("another-secret").ended();
    assert_eq!(other_secret.code, Some(1));
    assert!(other_secret.stderr.contains("is there with another id or secret"), "{}", other_secret.stderr);
}

#[tokio::test]
async fn a_node_without_a_bus_knows_what_was_there_when_it_started() {
    let mut hosts = Hosts::new().await;
    let one = hosts.lone_node().await;
    one.register("early").await;
    let other = hosts.lone_node().await;
    assert!(settings(&other, "early").await.is_some());
    one.register("late").await;
    assert_eq!(settings(&other, "late").await, None);
    // It takes nobody's place, and undoes nothing.
    let taken = [("app_key", "late"), ("auth_account", "a"), ("auth_password", "b")];
    assert_eq!(other.post("/api/register", &taken).await.status, StatusCode::CONFLICT);
    assert!(settings(&other, "late").await.is_some(), "it has learned of it");
    assert_eq!(configure(&one, "early", json!({ "cache_ttl": 60 })).await, StatusCode::OK);
    assert_eq!(configure(&other, "early", json!({ "webhook_grace": 7 })).await, StatusCode::OK);
    let next = hosts.lone_node().await;
    assert!(settings(&next, "late").await.is_some());
    let both = settings(&next, "early").await.expect("it is there");
    assert_eq!((&both["cache_ttl"], &both["webhook_grace"]), (&json!(60), &json!(7)));
}

#[tokio::test]
async fn nodes_that_share_a_file_besides_the_database_keep_their_webhooks_apart() {
    let hosts = Hosts::new().await;
    let folder = Directory::new();
    let file = folder.path("node.sqlite");
    let settings = [("store.url", &*hosts.url), ("sqlfile", file.to_str().expect("a path in UTF-8"))];
    let _nodes = [Server::with(&settings).await, Server::with(&settings).await];
    assert!(file.exists() && folder.path("node.sqlite.outbox-1").exists());
}

#[tokio::test]
async fn a_database_that_cannot_be_used_ends_the_start_with_one_line_and_no_secret() {
    let url = Postgres::shared().database().await;
    let password = Postgres::USER.1;
    let folder = Directory::new();
    folder.configure("config.json", &[]);
    let start = |url: &str| run(folder.gusher(&["start"]).env("GUSHER_STORE_URL", url));
    for (url, code, reason) in [
        (&*url.replace(password, "Xwrong"), 1, "password authentication failed"),
        (&*url.replace("127.0.0.1:", "127.0.0.1:1"), 78, "GUSHER_STORE_URL must be a URL"),
        (&*format!("postgres://gusher:{password}@127.0.0.1:1/apps"), 1, "127.0.0.1:1/apps: "),
        (&*format!("{url}?pasword={password}"), 78, "GUSHER_STORE_URL has a parameter that is neither"),
    ] {
        let outcome = start(url);
        assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(reason), "{}", outcome.stderr);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        assert!(
            !outcome.stderr.contains("Xwrong") && !outcome.stderr.contains(password),
            "{}",
            outcome.stderr
        );
    }
}
