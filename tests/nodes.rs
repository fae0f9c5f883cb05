//! Several nodes on a real bus of each kind, with one database file: they are to clients and backends as one, whatever
//! happens to the server of the bus or to one of them.

mod support;

use std::time::{Duration, Instant};

use gusher::dialect::signature::hmac_hex;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use support::cluster::{ClusterClient, ask, call, post};
use support::pusher::{self, PusherClient};
use support::real_nodes::{Cluster, on_each_bus, until, until_there};
use support::{Server, send};

#[tokio::test]
async fn gc_073_a_publication_on_one_node_reaches_a_subscriber_on_another_once() {
    on_each_bus(async |kind| {
        let cluster = Cluster::start(kind, 2).await;
        let [one, other] = &cluster.nodes[..] else { panic!("two nodes") };
        let mut here = ClusterClient::connect(one, "here", &["*"]).await;
        let mut there = ClusterClient::connect(other, "there", &["*"]).await;
        here.subscribe("c").await;
        there.subscribe("c").await;
        for server in [one, other] {
            until_there(server, &["here", "there"]).await;
            assert_eq!(ask(server, "/users/count").await, json!({ "count": 2 }));
        }
        for number in 1..=3 {
            let message = json!({ "event": "e", "data": number });
            assert_eq!(post(one, "/channels/c/messages", message).await.status, 200);
        }
        for client in [&mut here, &mut there] {
            for number in 1..=3 {
                assert_eq!(client.next().await, json!({ "channel": "c", "event": "e", "data": number }));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn gc_074_a_push_to_a_user_reaches_the_sockets_on_all_nodes() {
    on_each_bus(async |kind| {
        let cluster = Cluster::start(kind, 2).await;
        let mut clients = Vec::new();
        for server in &cluster.nodes {
            clients.push(ClusterClient::connect(server, "u", &["*"]).await);
        }
        let stats = async || call(&cluster.nodes[0], Method::GET, "/v1/stats", "").await.json();
        until("both are known", async || stats().await["connections"] == 2).await;
        assert_eq!(stats().await["users"], 1);
        let answer = post(&cluster.nodes[0], "/users/u/messages", json!({ "data": { "a": 1 } })).await;
        assert_eq!(answer.status, 200);
        for client in &mut clients {
            assert_eq!(client.next().await, json!({ "a": 1 }));
        }
    })
    .await;
}

#[tokio::test]
async fn a_push_by_pattern_counts_and_reaches_the_users_of_all_nodes() {
    on_each_bus(async |kind| {
        let cluster = Cluster::start(kind, 2).await;
        let [one, other] = &cluster.nodes[..] else { panic!("two nodes") };
        let mut here = one.connect("app", "A:1").await;
        let mut there = other.connect("app", "A:2").await;
        one.until_online("app", &["A:1", "A:2"]).await;
        let answer = one.push_to("app", "^A:", "hello").await.json();
        assert_eq!((&answer["total"], &answer["sockets"]), (&json!(2), &json!(2)));
        assert_eq!((here.text().await, there.text().await), ("hello".to_owned(), "hello".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn gc_075_nodes_outlive_their_bus_and_find_each_other_again() {
    on_each_bus(async |kind| {
        let mut cluster = Cluster::start(kind, 2).await;
        let mut there = ClusterClient::connect(&cluster.nodes[1], "there", &["*"]).await;
        there.subscribe("c").await;
        until_there(&cluster.nodes[0], &["there"]).await;
        cluster.bus.kill();
        for server in &cluster.nodes {
            until("the bus is gone", async || !server.is_ready().await).await;
        }
        // What reaches nobody is refused; what is told of the others is what was known last.
        let message = json!({ "event": "e", "data": 1 });
        let refused = post(&cluster.nodes[0], "/channels/c/messages", message.clone()).await;
        assert_eq!((refused.status.as_u16(), &*refused.text), (503, "push error"));
        there.subscribe("d").await;
        assert_eq!(ask(&cluster.nodes[0], "/channels/c/users").await, json!(["there"]));
        cluster.bus.restart();
        for server in &cluster.nodes {
            until("it is ready again", async || server.is_ready().await).await;
        }
        until("the change is known", async || {
            ask(&cluster.nodes[0], "/channels/d/users").await == json!(["there"])
        })
        .await;
        assert_eq!(post(&cluster.nodes[0], "/channels/c/messages", message).await.status, 200);
        assert_eq!(there.next().await["data"], 1);
    })
    .await;
}

#[tokio::test]
async fn gc_006_a_node_is_ready_while_its_bus_is_there() {
    on_each_bus(async |kind| {
        let mut cluster = Cluster::start(kind, 1).await;
        assert_eq!(cluster.nodes[0].get("/readyz").await.text, "ready");
        cluster.bus.kill();
        until("it is not ready", async || !cluster.nodes[0].is_ready().await).await;
        let [(_, name), _] = cluster.bus.settings();
        assert_eq!(cluster.nodes[0].get("/readyz").await.text, format!("{name} not connected"));
        cluster.bus.restart();
        let back = Instant::now();
        until("it is ready again", async || cluster.nodes[0].is_ready().await).await;
        assert!(back.elapsed() < Duration::from_secs(5), "after {:?}", back.elapsed());
    })
    .await;
}

#[tokio::test]
async fn a_node_that_is_cut_off_closes_its_sockets_once_and_serves_again_when_the_bus_carries() {
    on_each_bus(async |kind| {
        let cluster = Cluster::with(kind, 1, &[("bus.isolated_close_seconds", "1")]).await;
        let node = &cluster.nodes[0];
        pusher::register(node, json!({})).await;
        let mut client = PusherClient::connect(node).await;
        client.subscribe("c").await;
        // Its connections stand, and carry nothing.
        cluster.bus.signal(Signal::STOP);
        assert_eq!(client.client.closed().await.0, 4200);
        assert!(!node.is_ready().await);
        assert_eq!(pusher::trigger(node, "c", "e", "lost").await.status, 503);
        let mut client = PusherClient::connect(node).await;
        client.subscribe("c").await;
        cluster.bus.signal(Signal::CONT);
        until("it is ready again", async || node.is_ready().await).await;
        assert_eq!(pusher::trigger(node, "c", "e", "back").await.status, 200);
        assert_eq!(client.until("e").await["data"], "back");
    })
    .await;
}

#[tokio::test]
async fn what_was_done_to_apps_while_the_bus_was_down_holds_when_it_is_back() {
    on_each_bus(async |kind| {
        let mut cluster = Cluster::start(kind, 2).await;
        cluster.bus.kill();
        until("the bus is gone", async || !cluster.nodes[0].is_ready().await).await;
        cluster.nodes[0].register("new").await;
        assert_eq!(cluster.nodes[0].unregister("app").await.status, 200);
        assert!(!cluster.nodes[1].node_knows("new").await);
        cluster.bus.restart();
        until("both are known", async || {
            cluster.nodes[1].node_knows("new").await && !cluster.nodes[1].node_knows("app").await
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn what_is_done_to_an_app_on_one_node_holds_on_all() {
    on_each_bus(async |kind| {
        let cluster = Cluster::start(kind, 2).await;
        let [one, other] = &cluster.nodes[..] else { panic!("two nodes") };
        let mut client = other.connect("app", "a").await;
        let body = json!({ "enabled": false }).to_string();
        let off = call(one, Method::PATCH, "/api/app/settings", &body).await;
        assert_eq!(off.status, 200, "{}", off.text);
        client.closed().await;
        assert_eq!(one.unregister("app").await.status, 200);
        until("the app is gone", async || !other.node_knows("app").await).await;
    })
    .await;
}

#[tokio::test]
async fn a_late_node_knows_who_is_there_before_it_listens() {
    on_each_bus(async |kind| {
        let mut cluster = Cluster::start(kind, 1).await;
        let mut client = ClusterClient::connect(&cluster.nodes[0], "early", &["*"]).await;
        client.subscribe("c").await;
        cluster.add().await;
        assert_eq!(ask(&cluster.nodes[1], "/channels/c/users").await, json!(["early"]));
        assert!(cluster.nodes[1].is_ready().await);
    })
    .await;
}

#[tokio::test]
async fn a_node_that_stops_takes_its_sockets_with_it_at_once() {
    on_each_bus(async |kind| {
        let mut cluster = Cluster::start(kind, 2).await;
        let mut client = ClusterClient::connect(&cluster.nodes[1], "there", &["*"]).await;
        client.subscribe("c").await;
        until_there(&cluster.nodes[0], &["there"]).await;
        cluster.nodes.pop().unwrap().stop().await;
        until_there(&cluster.nodes[0], &[]).await;
    })
    .await;
}

#[tokio::test]
async fn pc_080_members_on_all_nodes_see_each_other() {
    on_each_bus(async |kind| {
        let cluster = Cluster::with_pusher(kind, 2).await;
        let [one, other] = &cluster.nodes[..] else { panic!("two nodes") };
        let mut here = PusherClient::connect(one).await;
        here.join("presence-room", json!("here")).await;
        let members =
            async || pusher::call(other, Method::GET, "/apps/77/channels/presence-room/users", "").await;
        until("the first is known", async || members().await.json()["users"] == json!([{ "id": "here" }]))
            .await;
        let mut there = PusherClient::connect(other).await;
        let welcome = there.join("presence-room", json!("there")).await;
        let welcome: Value = serde_json::from_str(welcome["data"].as_str().unwrap()).unwrap();
        assert_eq!(welcome["presence"]["count"], 2);
        assert_eq!(welcome["presence"]["ids"], json!(["here", "there"]));
        let added = here.next().await;
        assert_eq!(added["event"], "pusher_internal:member_added");
        assert!(added["data"].as_str().unwrap().contains(r#""user_id":"there""#), "{added}");
        there.leave("presence-room").await;
        let removed = here.next().await;
        assert_eq!(removed["event"], "pusher_internal:member_removed");
        assert_eq!(removed["data"], json!({ "user_id": "there" }).to_string());
    })
    .await;
}

#[tokio::test]
async fn what_is_said_of_a_member_first_holds_on_all_nodes_until_it_is_gone() {
    on_each_bus(async |kind| {
        let cluster = Cluster::with_pusher(kind, 2).await;
        let get = async |server: &Server, call: &str, parameter: &str| {
            let path = format!("/apps/77/channels/presence-room{call}");
            let now = jiff::Timestamp::now().as_second();
            let query = format!("auth_key=key&auth_timestamp={now}&auth_version=1.0&{parameter}");
            let signature = hmac_hex(pusher::SECRET, &format!("GET\n{path}\n{query}"));
            let path = format!("{path}?{query}&auth_signature={signature}");
            send(server.public_call(Method::GET, &path)).await.json()
        };
        let said = async |server: &Server| {
            let answer = get(server, "/users", "with_user_info=1").await;
            let users = answer["users"].as_array().unwrap().clone();
            users.into_iter().find(|user| user["id"] == "u").map(|user| user["user_info"]["n"].clone())
        };
        let member = |number: u32| json!({ "user_id": "u", "user_info": { "n": number } });
        let [one, other] = &cluster.nodes[..] else { panic!("two nodes") };
        let mut old = PusherClient::connect(other).await;
        old.join("presence-room", json!("old")).await;
        let mut first = PusherClient::connect(one).await;
        first.join_as("presence-room", member(1)).await;
        let added = old.until("pusher_internal:member_added").await;
        assert!(added["data"].as_str().unwrap().contains(r#"{"n":1}"#), "{added}");
        let (mut here, mut there) = (PusherClient::connect(one).await, PusherClient::connect(other).await);
        here.join_as("presence-room", member(2)).await;
        there.join_as("presence-room", member(3)).await;
        // Each node knows of all sockets before some of them leave.
        let sockets = async |server: &Server| {
            get(server, "", "info=subscription_count").await["subscription_count"].clone()
        };
        until("all are known", async || sockets(one).await == 4 && sockets(other).await == 4).await;
        first.client.close().await;
        here.client.close().await;
        until("two have left", async || sockets(one).await == 2 && sockets(other).await == 2).await;
        for server in [one, other] {
            let mut newcomer = PusherClient::connect(server).await;
            let welcome = newcomer.join("presence-room", json!("new")).await;
            let welcome: Value = serde_json::from_str(welcome["data"].as_str().unwrap()).unwrap();
            assert_eq!(welcome["presence"]["hash"]["u"], json!({ "n": 1 }));
            until("a backend reads the same", async || said(server).await == Some(json!(1))).await;
        }
        there.client.close().await;
        until("it is gone", async || said(one).await.is_none() && said(other).await.is_none()).await;
        let mut again = PusherClient::connect(one).await;
        again.join_as("presence-room", member(4)).await;
        until("it is what it says now", async || said(other).await == Some(json!(4))).await;
    })
    .await;
}

#[tokio::test]
async fn pc_081_the_members_of_a_killed_node_are_removed_for_the_others() {
    on_each_bus(async |kind| {
        let cluster = Cluster::with_pusher(kind, 1).await;
        let doomed = cluster.process();
        let mut here = PusherClient::connect(&cluster.nodes[0]).await;
        here.join("presence-room", json!("here")).await;
        let mut there = PusherClient::connect_at(doomed.public, "/app/key?protocol=7").await;
        there.join("presence-room", json!("there")).await;
        assert_eq!(here.next().await["event"], "pusher_internal:member_added");
        doomed.process.signal(Signal::KILL);
        let removed = here.next().await;
        assert_eq!(removed["event"], "pusher_internal:member_removed");
        assert_eq!(removed["data"], json!({ "user_id": "there" }).to_string());
    })
    .await;
}

#[tokio::test]
async fn pc_171_counts_are_those_of_all_nodes() {
    on_each_bus(async |kind| {
        let cluster = Cluster::with_pusher(kind, 2).await;
        let mut clients = Vec::new();
        for server in &cluster.nodes {
            let mut client = PusherClient::connect(server).await;
            client.subscribe("news").await;
            clients.push(client);
        }
        pusher::configure(&cluster.nodes[0], json!({ "subscription_count": true })).await;
        until("both count on both", async || {
            let mut counts = Vec::new();
            for server in &cluster.nodes {
                counts.push(count(server).await);
            }
            counts == [json!(2), json!(2)]
        })
        .await;
    })
    .await;
}

/// How many subscribe to the channel `news`, as a node tells it.
async fn count(server: &Server) -> Value {
    let body = json!({ "name": "e", "channel": "news", "data": "{}", "info": "subscription_count" });
    let answer = pusher::call(server, Method::POST, "/apps/77/events", &body.to_string()).await;
    answer.json()["channels"]["news"]["subscription_count"].clone()
}

#[tokio::test]
async fn what_a_killed_node_held_is_gone_within_five_seconds() {
    on_each_bus(async |kind| {
        let cluster = Cluster::start(kind, 1).await;
        let doomed = cluster.process();
        let _here = cluster.nodes[0].connect("app", "here").await;
        let _there = doomed.connect("app", "there").await;
        cluster.nodes[0].until_online("app", &["here", "there"]).await;
        doomed.process.signal(Signal::KILL);
        let killed = Instant::now();
        cluster.nodes[0].until_online("app", &["here"]).await;
        assert!(killed.elapsed() < Duration::from_secs(5), "after {:?}", killed.elapsed());
    })
    .await;
}

#[tokio::test]
async fn a_node_that_stood_still_is_back_without_doubles() {
    on_each_bus(async |kind| {
        let cluster = Cluster::start(kind, 1).await;
        let frozen = cluster.process();
        let _there = frozen.connect("app", "there").await;
        cluster.nodes[0].until_online("app", &["there"]).await;
        frozen.process.signal(Signal::STOP);
        cluster.nodes[0].until_online("app", &[]).await;
        frozen.process.signal(Signal::CONT);
        cluster.nodes[0].until_online("app", &["there"]).await;
        let answer = cluster.nodes[0].push("app", "hello").await.json();
        assert_eq!((&answer["total"], &answer["sockets"]), (&json!(1), &json!(1)));
    })
    .await;
}
