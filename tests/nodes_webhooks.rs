//! Webhooks of several real nodes on a real NATS server: told once per cluster, whoever holds the sockets, and whoever
//! starts, stops, stands still or is killed.

mod support;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use support::fleet::{Fleet, until};
use support::pusher::PusherClient;
use support::real_nodes::on_each_bus;

/// So many channels that each node has to tell of some of them.
const CHANNELS: usize = 24;

fn room(number: usize) -> String {
    format!("presence-{number}")
}

/// What is told when somebody comes into a room where nobody is.
fn came(number: usize) -> [String; 2] {
    [format!("channel_occupied {}", room(number)), format!("member_added {} u{number}", room(number))]
}

/// And when it is left again.
fn went(number: usize) -> [String; 2] {
    [format!("channel_vacated {}", room(number)), format!("member_removed {} u{number}", room(number))]
}

async fn join(client: &mut PusherClient, number: usize) {
    client.join(&room(number), json!(format!("u{number}"))).await;
}

async fn expect(fleet: &Fleet, told: &[String]) {
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    fleet.until_told(&told).await;
}

#[tokio::test]
async fn who_comes_and_goes_on_any_node_is_told_once() {
    on_each_bus(async |kind| {
        let fleet = Fleet::start(kind, 3, json!({})).await;
        let mut clients = Vec::new();
        for node in 0..3 {
            clients.push(fleet.connect(node).await);
        }
        let mut told = Vec::new();
        for number in 0..CHANNELS {
            // The same user on two nodes is one member.
            join(&mut clients[number % 3], number).await;
            join(&mut clients[(number + 1) % 3], number).await;
            told.extend(came(number));
        }
        expect(&fleet, &told).await;
        for number in 0..CHANNELS {
            clients[number % 3].leave(&room(number)).await;
            clients[(number + 1) % 3].leave(&room(number)).await;
            told.extend(went(number));
        }
        expect(&fleet, &told).await;
    })
    .await;
}

#[tokio::test]
async fn what_a_killed_node_held_is_told_once_by_the_others_within_five_seconds() {
    on_each_bus(async |kind| {
        let mut fleet = Fleet::start(kind, 3, json!({})).await;
        let mut there = fleet.connect(2).await;
        let mut told = Vec::new();
        for number in 0..CHANNELS {
            join(&mut there, number).await;
            told.extend(came(number));
        }
        expect(&fleet, &told).await;
        fleet.take(2).process.signal(Signal::KILL);
        let killed = Instant::now();
        (0..CHANNELS).for_each(|number| told.extend(went(number)));
        expect(&fleet, &told).await;
        assert!(killed.elapsed() < Duration::from_secs(5), "after {:?}", killed.elapsed());
        // The members of each room went before the room did.
        let order = fleet.told();
        for number in 0..CHANNELS {
            let place = |line: &String| order.iter().position(|told| told == line);
            let [vacated, removed] = went(number);
            assert!(place(&removed) < place(&vacated), "{order:?}");
        }
        // Who comes next is told by those who are left.
        let mut here = fleet.connect(0).await;
        for number in CHANNELS..2 * CHANNELS {
            join(&mut here, number).await;
            told.extend(came(number));
        }
        expect(&fleet, &told).await;
    })
    .await;
}

#[tokio::test]
async fn the_last_count_of_a_killed_node_is_told_by_another() {
    on_each_bus(async |kind| {
        let mut fleet = Fleet::start(kind, 3, json!({ "subscription_count": true })).await;
        let (mut here, mut there) = (fleet.connect(0).await, fleet.connect(2).await);
        let channels: Vec<String> = (0..CHANNELS).map(|number| format!("c{number}")).collect();
        for channel in &channels {
            here.subscribe(channel).await;
            there.subscribe(channel).await;
        }
        let last_told = |fleet: &Fleet, count: usize| {
            let told = fleet.told();
            channels.iter().all(|channel| {
                let line = format!("subscription_count {channel} ");
                told.iter().rev().find(|told| told.starts_with(&line)) == Some(&format!("{line}{count}"))
            })
        };
        until("two are told", async || last_told(&fleet, 2)).await;
        fleet.take(2).process.signal(Signal::KILL);
        until("one is told", async || last_told(&fleet, 1)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_while_nodes_join_and_leave_is_told_once() {
    on_each_bus(async |kind| {
        let mut fleet = Fleet::start(kind, 2, json!({})).await;
        let mut client = fleet.connect(0).await;
        let (mut told, mut there, mut number) = (Vec::new(), VecDeque::new(), 0);
        let mut visit = async |client: &mut PusherClient| {
            join(client, number).await;
            told.extend(came(number));
            there.push_back(number);
            number += 1;
            // Everybody stays for a while, and goes.
            if there.len() > 50
                && let Some(first) = there.pop_front()
            {
                client.leave(&room(first)).await;
                told.extend(went(first));
            }
        };
        for _ in 0..3 {
            for _ in 0..60 {
                visit(&mut client).await;
            }
            // Comes up while others go on.
            let (joined, joining) = tokio::sync::oneshot::channel();
            let starting = fleet.starting();
            std::thread::spawn(move || drop(joined.send(starting())));
            let mut joining = joining;
            let node = loop {
                visit(&mut client).await;
                if let Ok(node) = joining.try_recv() {
                    break node;
                }
            };
            fleet.put(node);
            for _ in 0..60 {
                visit(&mut client).await;
            }
            // And goes, properly.
            let leaving = fleet.take(fleet.last());
            let leaving = std::thread::spawn(move || leaving.stop());
            while !leaving.is_finished() {
                visit(&mut client).await;
            }
        }
        // What the last one could not deliver in the time it had lies in its file, for whoever comes next.
        fleet.add();
        expect(&fleet, &told).await;
    })
    .await;
}

#[tokio::test]
async fn who_stood_still_repeats_nothing() {
    on_each_bus(async |kind| {
        let fleet = Fleet::start(kind, 3, json!({})).await;
        let mut there = fleet.connect(2).await;
        let mut told = Vec::new();
        for number in 0..CHANNELS {
            join(&mut there, number).await;
            told.extend(came(number));
        }
        expect(&fleet, &told).await;
        let frozen = fleet.node(2);
        frozen.process.signal(Signal::STOP);
        (0..CHANNELS).for_each(|number| told.extend(went(number)));
        // What happens meanwhile is told meanwhile.
        let mut here = fleet.connect(0).await;
        for number in CHANNELS..2 * CHANNELS {
            join(&mut here, number).await;
            told.extend(came(number));
        }
        expect(&fleet, &told).await;
        frozen.process.signal(Signal::CONT);
        (0..CHANNELS).for_each(|number| told.extend(came(number)));
        expect(&fleet, &told).await;
        // A node that stood still for a moment only was gone for nobody.
        frozen.process.signal(Signal::STOP);
        for number in CHANNELS..2 * CHANNELS {
            here.leave(&room(number)).await;
            told.extend(went(number));
        }
        frozen.process.signal(Signal::CONT);
        expect(&fleet, &told).await;
    })
    .await;
}

#[tokio::test]
async fn a_bus_that_restarts_repeats_nothing_and_loses_nothing() {
    on_each_bus(async |kind| {
        let mut fleet = Fleet::start(kind, 2, json!({})).await;
        let (mut here, mut there) = (fleet.connect(0).await, fleet.connect(1).await);
        let mut told = Vec::new();
        for number in 0..CHANNELS {
            join(if number % 2 == 0 { &mut here } else { &mut there }, number).await;
            told.extend(came(number));
        }
        expect(&fleet, &told).await;
        fleet.bus.kill();
        for node in 0..2 {
            until("the bus is gone", async || {
                fleet.call(node, Method::GET, "/readyz", &Value::Null).await.status != 200
            })
            .await;
        }
        for number in 0..CHANNELS {
            // Some go, others come, while no node hears another.
            (if number % 2 == 0 { &mut here } else { &mut there }).leave(&room(number)).await;
            told.extend(went(number));
            join(if number % 2 == 0 { &mut here } else { &mut there }, CHANNELS + number).await;
            told.extend(came(CHANNELS + number));
        }
        fleet.bus.restart();
        fleet.until_ready().await;
        expect(&fleet, &told).await;
    })
    .await;
}
