//! What those see who run a node: figures that agree with what was done, who may read them, and whether the node lives
//! and is ready. And that the dashboard, the alerts and the documentation speak of figures that there are.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use gusher::config::BusKind;
use regex::Regex;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::pusher::{self, PusherClient};
use support::real_nodes::Cluster;
use support::{ADMIN, SUPER, Server, send, soon};

const TOKEN: &str = "a-token-of-many-letters";

/// What a scrape showed, by names and labels as they stand there.
struct Scrape {
    text: String,
    figures: BTreeMap<String, f64>,
}

impl Scrape {
    async fn of(server: &Server) -> Self {
        let answer = server.get("/metrics").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let lines = answer.text.lines().filter(|line| !line.starts_with('#'));
        let figures = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        });
        Self { figures: figures.collect(), text: answer.text.clone() }
    }

    fn get(&self, name: &str) -> f64 {
        *self.figures.get(name).unwrap_or_else(|| panic!("there is no {name} in\n{}", self.text))
    }

    /// Whether a figure has this label with this value.
    fn has(&self, (figure, label, value): &Labelled<'_>) -> bool {
        let (start, label) = (format!("{figure}{{"), format!(r#"{label}="{value}""#));
        self.figures.keys().any(|name| name.starts_with(&start) && name.contains(&label))
    }

    /// The names of all families, with `_total` for counters, and their kinds.
    fn families(&self) -> BTreeMap<&str, &str> {
        let kinds = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        kinds.collect()
    }

    /// The names of the labels of a family, without the bounds of a histogram.
    fn labels(&self, family: &str) -> BTreeSet<&str> {
        let of_family = self.figures.keys().filter_map(|name| name.split_once('{'));
        let of_family = of_family.filter(|(name, _)| *name == family);
        of_family
            .flat_map(|(_, labels)| labels.trim_end_matches('}').split("\","))
            .filter_map(|label| Some(label.split_once('=')?.0))
            .collect()
    }
}

/// Waits until a figure is this: some are noted a moment after a client has what they count.
async fn until_shown(server: &Server, name: &str, value: f64) -> Scrape {
    soon(&format!("{name} is {value}"), async {
        loop {
            let scrape = Scrape::of(server).await;
            if scrape.figures.get(name) == Some(&value) {
                return scrape;
            }
        }
    })
    .await
}

async fn with_token(settings: &[(&str, &str)]) -> Server {
    let settings: Vec<_> = [("metrics.token", TOKEN)].iter().chain(settings).copied().collect();
    Server::with(&settings).await
}

#[tokio::test]
async fn figures_agree_with_what_was_done() {
    let server = Server::start().await;
    server.register("x").await;
    let mut clients = Vec::new();
    for tag in ["a", "b", "c"] {
        clients.push(server.connect("x", tag).await);
    }
    for content in ["1", "2", "3", "4", "5"] {
        assert_eq!(server.push("x", content).await.status, StatusCode::OK);
    }
    for client in &mut clients {
        assert_eq!(client.texts_before("5").await, ["1", "2", "3", "4"]);
        client.settle().await;
    }
    assert!(server.try_connect("unknown", "a").await.is_err());
    assert_eq!(server.push("unknown", "lost").await.status, StatusCode::NOT_FOUND);
    let scrape = until_shown(&server, "gusher_deliveries_total", 15.0).await;
    for (name, value) in [
        (r#"gusher_connections{dialect="gusher"}"#, 3.0),
        (r#"gusher_connections{dialect="pusher"}"#, 0.0),
        (r#"gusher_connections_admitted_total{dialect="gusher"}"#, 3.0),
        (r#"gusher_connections_refused_total{reason="app_unknown"}"#, 1.0),
        (r#"gusher_connections_refused_total{reason="overloaded"}"#, 0.0),
        ("gusher_publications_total", 5.0),
        ("gusher_publish_seconds_count", 6.0),
        (r#"gusher_publish_seconds_bucket{le="+Inf"}"#, 6.0),
        (r#"gusher_requests_refused_total{status="404"}"#, 2.0),
        (r#"gusher_app_connections{app="x"}"#, 3.0),
        (r#"gusher_app_publications_total{app="x"}"#, 5.0),
        (r#"gusher_app_deliveries_total{app="x"}"#, 15.0),
        (r#"gusher_app_deliveries_total{app="/others"}"#, 0.0),
        ("gusher_slow_cuts_total", 0.0),
        ("gusher_outbox_bytes", 0.0),
        (r#"gusher_mailbox_bytes{shard="1"}"#, 0.0),
        ("gusher_draining", 0.0),
        (concat!("gusher_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
    ] {
        assert_eq!(scrape.get(name), value, "{name}");
    }
    // One push to each of two shards at least; several may have joined one lap.
    assert!((2.0..=10.0).contains(&scrape.get("gusher_fanout_lap_seconds_count")));
    // Each push is three bytes on the wire, and each settling a ping of at least six.
    assert!(scrape.get("gusher_socket_sent_bytes_total") >= 15.0 * 3.0);
    assert!(scrape.get("gusher_socket_received_bytes_total") >= 3.0 * 6.0);
    assert!(scrape.get("process_resident_memory_bytes") > 1e6);
    assert!(scrape.get("process_open_fds") > 5.0 && scrape.get("process_cpu_seconds_total") > 0.0);
    clients.pop().unwrap().close().await;
    until_shown(&server, r#"gusher_connections{dialect="gusher"}"#, 2.0).await;
}

#[tokio::test]
async fn what_is_refused_is_counted_by_its_reason() {
    let server = pusher::serve(json!({ "enabled": true })).await;
    server.register("x").await;
    let off = json!({ "enabled": false }).to_string();
    let call = server.call(Method::PATCH, "/api/x/settings").basic_auth(SUPER.0, Some(SUPER.1));
    assert_eq!(send(call.body(off)).await.status, StatusCode::OK);
    assert!(server.push("x", "nobody").await.status.is_client_error());
    assert!(server.try_connect("x", "a").await.is_err());
    let scrape = Scrape::of(&server).await;
    assert_eq!(scrape.get(r#"gusher_publications_refused_total{reason="app_disabled"}"#), 1.0);
    assert_eq!(scrape.get("gusher_publications_total"), 0.0);
    assert_eq!(scrape.get(r#"gusher_connections_refused_total{reason="app_disabled"}"#), 1.0);
}

#[tokio::test]
async fn what_waits_for_a_client_that_does_not_read_is_shown() {
    let server = Server::with(&[("limits.outbox_bytes_max", "100000000")]).await;
    server.register("x").await;
    let slow = support::Client::connect_narrow(&server, "x", "slow").await;
    let mut pushed = 0;
    let waiting = soon("something waits", async {
        loop {
            server.push("x", &"m".repeat(500_000)).await;
            pushed += 500_000;
            let waiting = Scrape::of(&server).await.get("gusher_outbox_bytes");
            if waiting > 500_000.0 {
                return waiting;
            }
        }
    })
    .await;
    assert!(waiting < f64::from(pushed) * 1.1, "no more than was pushed");
    drop(slow);
    until_shown(&server, "gusher_outbox_bytes", 0.0).await;
}

#[tokio::test]
async fn channels_and_subscriptions_come_and_go() {
    let server = pusher::serve(json!({ "client_events": true })).await;
    let mut clients = [PusherClient::connect(&server).await, PusherClient::connect(&server).await];
    for client in &mut clients {
        client.subscribe("private-c").await;
    }
    clients[0].subscribe("other").await;
    clients[0].say(json!({ "event": "client-hello", "channel": "private-c", "data": "x" })).await;
    clients[1].until("client-hello").await;
    let scrape = until_shown(&server, "gusher_deliveries_total", 1.0).await;
    assert_eq!(scrape.get("gusher_client_events_total"), 1.0);
    assert_eq!((scrape.get("gusher_channels"), scrape.get("gusher_subscriptions")), (2.0, 3.0));
    assert_eq!(scrape.get(r#"gusher_connections{dialect="pusher"}"#), 2.0);
    assert!(scrape.get("gusher_fanout_lap_seconds_count") >= 1.0);
    clients[0].leave("other").await;
    let [first, _second] = clients;
    first.client.close().await;
    let scrape = until_shown(&server, "gusher_subscriptions", 1.0).await;
    assert_eq!(scrape.get("gusher_channels"), 1.0);
}

#[tokio::test]
async fn figures_are_for_the_super_admin_and_who_has_the_token() {
    let server = with_token(&[]).await;
    server.register("x").await;
    let shown =
        |token: &str| server.call(Method::GET, "/metrics").header("Authorization", format!("Bearer {token}"));
    for wrong in [
        server.call(Method::GET, "/metrics"),
        shown("a-token-of-many-lettert"),
        shown("a-token-of-many-letter"),
        shown(""),
        server.call(Method::GET, "/metrics").header("Authorization", "Bearer"),
        server.call(Method::GET, "/metrics").basic_auth(ADMIN.0, Some(ADMIN.1)),
        server.call(Method::GET, "/metrics").basic_auth(SUPER.0, Some("wrong")),
        server.call(Method::GET, "/metrics").basic_auth("", Some(TOKEN)),
    ] {
        let answer = send(wrong).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(!answer.text.contains("gusher_"), "{}", answer.text);
    }
    for right in [shown(TOKEN), server.call(Method::GET, "/metrics").basic_auth(SUPER.0, Some(SUPER.1))] {
        let answer = send(right).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.text.contains("gusher_publications_total 0\n"), "{}", answer.text);
    }
    let url = format!("http://{}/metrics", server.public());
    let answer = send(reqwest::Client::new().get(url).bearer_auth(TOKEN)).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "the public listener knows no figures");
}

#[tokio::test]
async fn without_a_token_none_is_right_and_public_figures_are_for_all() {
    let server = Server::start().await;
    let call = server.call(Method::GET, "/metrics").header("Authorization", "Bearer ");
    assert_eq!(send(call).await.status, StatusCode::UNAUTHORIZED);
    let server = Server::with(&[("metrics.public", "true")]).await;
    let answer = server.call_as(None, Method::GET, "/metrics").await;
    assert_eq!(answer.status, StatusCode::OK);
    let answer = reqwest::get(format!("http://{}/metrics", server.private())).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
}

#[tokio::test]
async fn no_figure_holds_a_secret_or_what_a_client_sent() {
    let server = with_token(&[]).await;
    pusher::register(&server, json!({ "client_events": true })).await;
    server.register_hooked("x", "http://127.0.0.1:9/Xhook?Xquery").await;
    assert!(server.try_connect("x", "Xtag?token=Xtoken").await.is_err());
    assert!(server.try_connect("Xapp", "Xtag").await.is_err());
    let mut client = PusherClient::connect(&server).await;
    client.subscribe("private-Xchannel").await;
    client.sign_in(json!({ "id": "Xuser" })).await;
    pusher::trigger(&server, "private-Xchannel", "Xevent", "Xdata").await;
    let scrape = Scrape::of(&server).await;
    assert_eq!(scrape.get(r#"gusher_connect_hooks_total{result="hook_failed"}"#), 1.0);
    for secret in [
        "Xhook",
        "Xquery",
        "Xtag",
        "Xtoken",
        "Xapp",
        "Xchannel",
        "Xuser",
        "Xevent",
        "Xdata",
        TOKEN,
        pusher::SECRET,
        SUPER.1,
        "$2b$",
    ] {
        assert!(!scrape.text.contains(secret), "{secret} is in\n{}", scrape.text);
    }
}

#[tokio::test]
async fn so_many_apps_are_named_and_the_others_lose_nothing() {
    let server = Server::with(&[("metrics.apps_max", "2")]).await;
    let mut clients = Vec::new();
    for (app, sockets) in [("three", 3), ("two", 2), ("one", 1), ("none", 0)] {
        server.register(app).await;
        for socket in 0..sockets {
            clients.push(server.connect(app, &format!("tag-{socket}")).await);
        }
        server.push(app, "hello").await;
    }
    for client in &mut clients {
        assert_eq!(client.text().await, "hello");
    }
    let named = |scrape: &Scrape| -> BTreeSet<String> {
        let apps =
            scrape.figures.keys().filter_map(|name| name.strip_prefix("gusher_app_connections{app=\""));
        apps.map(|app| app.trim_end_matches("\"}").to_owned()).collect()
    };
    let scrape = until_shown(&server, "gusher_deliveries_total", 6.0).await;
    assert_eq!(named(&scrape), ["/others", "three", "two"].map(str::to_owned).into());
    assert_eq!(scrape.get(r#"gusher_app_connections{app="/others"}"#), 1.0);
    assert_eq!(scrape.get(r#"gusher_app_publications_total{app="/others"}"#), 2.0);
    assert_eq!(scrape.get(r#"gusher_app_deliveries_total{app="/others"}"#), 1.0);
    // One of the others grows, and one that was named is now one of them.
    for socket in 1..4 {
        clients.push(server.connect("one", &format!("tag-{socket}")).await);
    }
    server.push("two", "again").await;
    let scrape = until_shown(&server, "gusher_deliveries_total", 8.0).await;
    assert_eq!(named(&scrape), ["/others", "three", "one"].map(str::to_owned).into());
    assert_eq!(scrape.get(r#"gusher_app_deliveries_total{app="one"}"#), 1.0, "all that was counted of it");
    let others = scrape.get(r#"gusher_app_deliveries_total{app="/others"}"#);
    assert!((1.0..=3.0).contains(&others), "nothing is taken away, and nothing counted twice: {others}");
    assert_eq!(server.unregister("two").await.status, StatusCode::OK);
    let scrape = Scrape::of(&server).await;
    assert!(scrape.get(r#"gusher_app_deliveries_total{app="/others"}"#) >= others);
}

#[tokio::test]
async fn a_healthy_node_says_so_on_both_listeners() {
    let server = Server::start().await;
    for address in [server.public(), server.private()] {
        for (path, text) in
            [("/healthz", "ok"), ("/livez", "ok"), ("/readyz", "ready"), ("/up", r#"{"health":"OK"}"#)]
        {
            let answer = reqwest::get(format!("http://{address}{path}")).await.unwrap();
            assert_eq!((answer.status(), &*answer.text().await.unwrap()), (StatusCode::OK, text), "{path}");
        }
    }
}

#[tokio::test]
async fn a_node_that_drains_is_not_ready_and_takes_no_orders() {
    let server = Server::with(&[("drain.seconds", "30")]).await;
    server.register("x").await;
    let mut client = server.connect("x", "a").await;
    let (private, ask) = (server.private(), reqwest::Client::new());
    let stopping = tokio::spawn(server.stop());
    // From now on, until the client has ended its side, the node is about to stop.
    assert_eq!(client.closed().await.0, 1001);
    let get = async |path: &str| {
        let answer =
            send(ask.get(format!("http://{private}{path}")).basic_auth(SUPER.0, Some(SUPER.1))).await;
        (answer.status.as_u16(), answer.text)
    };
    assert_eq!(get("/readyz").await, (503, "stopping".to_owned()));
    assert_eq!(get("/livez").await, (200, "ok".to_owned()));
    assert!(get("/metrics").await.1.contains("gusher_draining 1\n"));
    assert_eq!(get("/api/app-list").await.0, 503);
    drop(client);
    stopping.await.expect("it stops");
    assert!(tokio::net::TcpStream::connect(private).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_node_of_several_tells_how_it_fares_with_the_others() {
    let mut cluster = Cluster::start(BusKind::Nats, 2).await;
    let scrape = until_shown(&cluster.nodes[0], "gusher_nodes", 2.0).await;
    assert_eq!((scrape.get("gusher_bus_up"), scrape.get("gusher_bus_ready")), (1.0, 1.0));
    cluster.nodes.pop().unwrap().stop().await;
    until_shown(&cluster.nodes[0], "gusher_nodes", 1.0).await;
    let alone = Server::start().await;
    assert!(!Scrape::of(&alone).await.figures.contains_key("gusher_bus_up"), "there is no bus");
}

// What others read and write about the figures.

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The names in expressions that begin as our figures do.
fn names_in(expressions: &[String]) -> BTreeSet<String> {
    let name = Regex::new(r"\b(?:gusher|process)_[a-z_]+").unwrap();
    expressions.iter().flat_map(|text| name.find_iter(text).map(|name| name.as_str().to_owned())).collect()
}

/// A figure, a label of it, and a value that this may have.
type Labelled<'a> = (&'a str, &'a str, &'a str);

/// What expressions ask of the labels of our figures, but for which node.
fn labels_in(expressions: &[String]) -> BTreeSet<Labelled<'_>> {
    let figure = Regex::new(r"\b(gusher_[a-z_]+)\{([^{}]*)\}").unwrap();
    let label = Regex::new(r#"([a-z_]+)=~?"([^"]*)""#).unwrap();
    let mut found = BTreeSet::new();
    for [figure, labels] in
        expressions.iter().flat_map(|text| figure.captures_iter(text)).map(|found| found.extract().1)
    {
        for [label, values] in label.captures_iter(labels).map(|found| found.extract().1) {
            if label != "instance" {
                found.extend(values.split('|').map(|value| (figure, label, value)));
            }
        }
    }
    found
}

/// All texts in a JSON value that stand at this key.
fn texts_at(value: &Value, key: &str) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(|item| texts_at(item, key)).collect(),
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, member)| match member {
                Value::String(text) if name == key => vec![text.clone()],
                other => texts_at(other, key),
            })
            .collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn the_dashboard_and_the_alerts_name_only_figures_that_there_are() {
    let scrape = Scrape::of(&Server::start().await).await;
    let families = scrape.families();
    let mut shown: BTreeSet<String> = families.keys().map(|name| (*name).to_owned()).collect();
    for (name, _) in families.iter().filter(|(_, kind)| **kind == "histogram") {
        shown.extend(["bucket", "sum", "count"].map(|end| format!("{name}_{end}")));
    }
    let dashboard: Value = serde_json::from_str(&file("deploy/grafana.json")).expect("the dashboard is JSON");
    let mut expressions = texts_at(&dashboard, "expr");
    assert!(expressions.len() > 20 && dashboard["panels"].as_array().unwrap().len() > 10);
    expressions.extend(texts_at(&dashboard, "query"));
    let rules = alert_rules();
    expressions.extend(rules.iter().map(|rule| rule.expression.clone()));
    let unknown: Vec<_> = names_in(&expressions).difference(&shown).cloned().collect();
    assert!(unknown.is_empty(), "no such figures: {unknown:?}");
    let labelled = labels_in(&expressions);
    let unknown: Vec<_> = labelled.iter().filter(|labelled| !scrape.has(labelled)).collect();
    assert!(unknown.is_empty() && labelled.len() > 15, "no such labels: {unknown:?} of {labelled:?}");
}

struct Rule {
    name: String,
    expression: String,
}

/// The alerts, each of which says how long, how bad, and what to do.
fn alert_rules() -> Vec<Rule> {
    use saphyr::{LoadableYamlNode, Yaml};
    let text = file("deploy/alerts.yaml");
    let documents = Yaml::load_from_str(&text).expect("the alerts are YAML");
    let groups = documents[0].as_mapping_get("groups").and_then(Yaml::as_vec).expect("groups");
    let rules = groups.iter().flat_map(|group| {
        group.as_mapping_get("rules").and_then(Yaml::as_vec).expect("a group has rules").iter()
    });
    let text_at = |rule: &Yaml<'_>, path: &[&str]| {
        let found = path.iter().try_fold(rule, |node, key| node.as_mapping_get(key));
        found.and_then(Yaml::as_str).unwrap_or_else(|| panic!("no {path:?} in {rule:?}")).to_owned()
    };
    let rules: Vec<Rule> = rules
        .map(|rule| {
            let name = text_at(rule, &["alert"]);
            assert!(["warning", "critical"].contains(&&*text_at(rule, &["labels", "severity"])), "{name}");
            for path in [&["for"][..], &["annotations", "summary"], &["annotations", "description"]] {
                assert!(!text_at(rule, path).is_empty(), "{name}: {path:?}");
            }
            Rule { expression: text_at(rule, &["expr"]), name }
        })
        .collect();
    assert!(rules.len() >= 10);
    let operations = file("docs/operations.md");
    rules
        .iter()
        .for_each(|rule| assert!(operations.contains(&rule.name), "docs/operations.md lacks {}", rule.name));
    rules
}

#[tokio::test]
async fn the_documentation_has_every_figure_and_no_other() {
    let server = Server::start().await;
    let scrape = Scrape::of(&server).await;
    let row = Regex::new(r"(?m)^\| `((?:gusher|process)_[a-z_]+)` \| (\w+) \| (.*?) \| ").unwrap();
    let text = file("docs/operations.md");
    let documented: BTreeMap<&str, (&str, BTreeSet<&str>)> = row
        .captures_iter(&text)
        .map(|row| {
            let [name, kind, labels] = row.extract().1;
            let labels =
                labels.split(", ").map(|label| label.trim_matches('`')).filter(|label| !label.is_empty());
            (name, (kind, labels.collect()))
        })
        .collect();
    let shown: BTreeMap<&str, (&str, BTreeSet<&str>)> =
        scrape.families().into_iter().map(|(name, kind)| (name, (kind, scrape.labels(name)))).collect();
    assert_eq!(documented, shown);
}

#[tokio::test]
async fn prometheus_reads_what_is_shown() {
    let server = with_token(&[]).await;
    server.register("a\"b\\c").await;
    let shown = Scrape::of(&server).await;
    let (host, port) = (server.private().ip().to_string(), server.private().port().to_string());
    let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/run");
    let mut command = Command::new(guest);
    command.args(["prometheus", &host, &port]).env("METRICS_TOKEN", TOKEN);
    let ended =
        tokio::task::spawn_blocking(move || command.output().expect("the guest can be run")).await.unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    if ended.status.code() == Some(77) {
        eprintln!("{said}");
        return;
    }
    assert!(ended.status.success(), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    let families: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).expect("one family a line")).collect();
    let read: BTreeMap<&str, &str> = families
        .iter()
        .map(|family| (family["name"].as_str().unwrap(), family["type"].as_str().unwrap()))
        .collect();
    // That library names counters without their ends.
    let named =
        shown.families().into_iter().map(|(name, kind)| (name.strip_suffix("_total").unwrap_or(name), kind));
    assert_eq!(read, named.collect());
    assert!(families.iter().all(|family| !family["help"].as_str().unwrap().is_empty()));
    let samples: usize = families.iter().map(|family| family["samples"].as_array().unwrap().len()).sum();
    assert_eq!(samples, shown.figures.len());
    let apps = families.iter().find(|family| family["name"] == "gusher_app_connections").unwrap();
    let is_named = |sample: &Value| sample[1]["app"] == "a\"b\\c" && sample[2] == 0.0;
    assert!(apps["samples"].as_array().unwrap().iter().any(is_named), "{apps}");
}
