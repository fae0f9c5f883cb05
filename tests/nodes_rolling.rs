//! A rolling restart under load: real nodes are stopped and started again one after the other while a publisher goes on.
//! While a client is connected it receives all that each node publishes, once and in order. A client that has to connect anew
//! misses what was sent meanwhile. What was on its way between two nodes at either moment it may miss, or receive twice.

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use support::fleet::Fleet;
use support::real_nodes::on_each_bus;
use support::{SUPER, soon};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const NODES: usize = 3;
const CLIENTS: usize = 9;

/// The number of what a node publishes last. What one node publishes arrives in order, so behind that of each node nothing is
/// still on its way.
fn last(node: usize) -> i64 {
    -1 - i64::try_from(node).expect("few nodes")
}

/// By node: where clients and backends go; none while it is stopped.
type Addresses = Arc<Mutex<Vec<Option<(SocketAddr, SocketAddr)>>>>;

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// One stay of a client on a node.
#[derive(Debug)]
struct Stay {
    /// When it was told that it is there.
    since: Instant,
    heard: Vec<i64>,
}

/// The socket of a client that was told that it is subscribed.
async fn enter(address: SocketAddr) -> Option<Socket> {
    let (mut socket, _) = connect_async(format!("ws://{address}/app/key?protocol=7")).await.ok()?;
    let subscribe = json!({ "event": "pusher:subscribe", "data": { "channel": "ticker" } });
    socket.send(Message::text(subscribe.to_string())).await.ok()?;
    loop {
        let text = socket.next().await?.ok()?.into_text().ok()?;
        if text.contains("subscription_succeeded") {
            return Some(socket);
        }
    }
}

/// Listens until it hears the last publication of each node, on whichever node will have it.
async fn listen(client: usize, addresses: Addresses) -> Vec<Stay> {
    let mut stays = Vec::new();
    for attempt in client.. {
        let node = attempt % NODES;
        let address = addresses.lock().unwrap()[node];
        let Some((public, _)) = address else { continue };
        let Some(mut socket) = enter(public).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let mut stay = Stay { since: Instant::now(), heard: Vec::new() };
        while let Some(Ok(message)) = socket.next().await {
            let Ok(message) = serde_json::from_slice::<Value>(&message.into_data()) else { continue };
            if message["event"] == "tick" {
                let number = message["data"].as_str().and_then(|data| data.parse().ok()).expect("a number");
                stay.heard.push(number);
                if (0..NODES).all(|node| stay.heard.contains(&last(node))) {
                    stays.push(stay);
                    return stays;
                }
            }
        }
        stays.push(stay);
    }
    stays
}

/// By node: the numbers of what it accepted, in order, and when each was sent to it.
type Accepted = [Vec<(i64, Instant)>; NODES];

/// Publishes numbers until `is_over`, each on another node, and then the last of each.
async fn publish(addresses: Addresses, is_over: Arc<std::sync::atomic::AtomicBool>) -> Accepted {
    let http = reqwest::Client::new();
    let tick = async |node: usize, number: i64| {
        let (_, private) = addresses.lock().unwrap()[node]?;
        let call = http
            .request(Method::POST, format!("http://{private}/v1/apps/key/channels/ticker/messages"))
            .basic_auth(SUPER.0, Some(SUPER.1))
            .body(json!({ "event": "tick", "data": number }).to_string());
        let sent = Instant::now();
        // Whether one that fails reached anybody, nobody knows; it is not sent again.
        let is_accepted = call.send().await.is_ok_and(|answer| answer.status() == 200);
        is_accepted.then_some((number, sent))
    };
    let mut accepted = Accepted::default();
    let mut node = 0;
    for number in 0.. {
        if is_over.load(std::sync::atomic::Ordering::SeqCst) {
            break;
        }
        accepted[node].extend(tick(node, number).await);
        node = (node + 1) % NODES;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for (node, accepted) in accepted.iter_mut().enumerate() {
        accepted.extend(tick(node, last(node)).await);
        assert_eq!(accepted.last().map(|(number, _)| *number), Some(last(node)), "all nodes are there");
    }
    accepted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rolling_restart_costs_only_what_is_sent_while_a_client_is_away() {
    on_each_bus(async |kind| {
        let mut fleet = Fleet::start(kind, NODES, json!({ "webhooks": [] })).await;
        let address = |fleet: &Fleet, node: usize| Some((fleet.node(node).public, fleet.node(node).private));
        let addresses: Addresses =
            Arc::new(Mutex::new((0..NODES).map(|node| address(&fleet, node)).collect()));
        let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let clients: Vec<_> =
            (0..CLIENTS).map(|client| tokio::spawn(listen(client, Arc::clone(&addresses)))).collect();
        fleet.until_counted(0, "ticker", CLIENTS).await;
        let publisher = tokio::spawn(publish(Arc::clone(&addresses), Arc::clone(&is_over)));
        for node in 0..NODES {
            addresses.lock().unwrap()[node] = None;
            let leaving = fleet.take(node);
            tokio::task::spawn_blocking(move || leaving.stop()).await.expect("it stops");
            let starting = fleet.starting();
            let started = tokio::task::spawn_blocking(starting).await.expect("it starts");
            fleet.set(node, started);
            fleet.until_ready().await;
            addresses.lock().unwrap()[node] = address(&fleet, node);
            fleet.until_counted(node, "ticker", CLIENTS).await;
        }
        is_over.store(true, std::sync::atomic::Ordering::SeqCst);
        let accepted = soon("the publisher ends", publisher).await.expect("it is sound");
        let publications: usize = accepted.iter().map(Vec::len).sum();
        assert!(publications > 100, "{publications} publications");
        let mut restarts = 0;
        for client in clients {
            let stays = soon("the client ends", client).await.expect("it is sound");
            restarts += stays.len() - 1;
            stays
                .iter()
                .enumerate()
                .for_each(|(index, stay)| check(stay, index + 1 == stays.len(), &accepted));
        }
        // Each node had clients when it was stopped.
        assert!(restarts >= NODES, "{restarts} reconnects");
    })
    .await;
}

/// What a client received during a stay; at the end of the last one nothing is on its way.
fn check(stay: &Stay, is_last: bool, accepted: &Accepted) {
    let once: BTreeSet<i64> = stay.heard.iter().copied().collect();
    assert_eq!(once.len(), stay.heard.len(), "something was heard twice: {stay:?}");
    for (node, accepted) in accepted.iter().enumerate() {
        let of_node: Vec<i64> = accepted.iter().map(|(number, _)| *number).collect();
        let place = |number: &i64| of_node.iter().position(|accepted| accepted == number);
        // A publication whose answer was lost may have arrived as well.
        let heard: Vec<usize> = stay.heard.iter().filter_map(place).collect();
        assert!(heard.is_sorted(), "what node {node} published came in another order: {stay:?}");
        let owed_from = accepted.partition_point(|(_, sent)| *sent < stay.since);
        let owed_to = if is_last { accepted.len() } else { heard.last().map_or(0, |last| last + 1) };
        for (number, _) in accepted.get(owed_from..owed_to).unwrap_or_default() {
            assert!(once.contains(number), "{number} of node {node} was missed: {stay:?}");
        }
    }
}
