//! Several nodes in one thread under a fake clock: random histories of clients, publications, lost messages, nodes that
//! hear late, come and die, beside a naive model. Each client sees what it would see if there were one node.
//!
//! A history is drawn from a seed, which a failure prints; with `WORLD_SEED` in the environment the same are drawn again.

#[path = "support/nodes.rs"]
mod nodes;
#[path = "support/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gusher::dialect::signature::hmac_hex;
use gusher::hub::Stale;
use gusher::model::{AppKey, AppSettings, ChannelName, Publication, SocketId, Target, Webhook};
use nodes::{APP, Nodes};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use world::Peer;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const CHANNELS: [&str; 3] = ["news", "presence-room", "cache-last"];

/// Longer than a dead node goes unnoticed.
const UNTIL_BURIED: Duration = Duration::from_secs(5);

fn settings() -> AppSettings {
    let webhook: Webhook = serde_json::from_value(json!({ "url": "http://127.0.0.1:9/" })).unwrap();
    AppSettings {
        webhooks: vec![webhook],
        webhook_grace: 0,
        activity_timeout: 3_600,
        ..AppSettings::default()
    }
}

fn named(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

/// A client of Pusher Channels, and what it believes of the channels it is in.
struct Client {
    node: u64,
    number: u64,
    peer: Peer,
    /// By channel: the members that it knows of.
    views: BTreeMap<String, BTreeSet<String>>,
    /// What it was published, in order.
    heard: Vec<String>,
}

impl Client {
    fn say(&mut self, message: &Value) {
        self.peer.send(TEXT, message.to_string().as_bytes());
    }

    /// Takes in what it heard. Nobody comes who was there, and nobody goes who was not.
    fn read(&mut self) {
        for text in self.peer.texts() {
            let message: Value = serde_json::from_str(&text).unwrap();
            let channel = message["channel"].as_str().unwrap_or_default().to_owned();
            let data = || serde_json::from_str::<Value>(message["data"].as_str().unwrap()).unwrap();
            let user = || data()["user_id"].as_str().unwrap().to_owned();
            match message["event"].as_str().unwrap() {
                "pusher_internal:subscription_succeeded" => {
                    let ids = data()["presence"]["ids"].as_array().cloned().unwrap_or_default();
                    let ids = ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
                    self.views.insert(channel, ids);
                }
                "pusher_internal:member_added" => {
                    let is_new = self.views.get_mut(&channel).unwrap().insert(user());
                    assert!(is_new, "{} was told twice that {} came", self.number, user());
                }
                "pusher_internal:member_removed" => {
                    let was_there = self.views.get_mut(&channel).unwrap().remove(&user());
                    assert!(was_there, "{} was told twice that {} went", self.number, user());
                }
                event if event.starts_with("pusher") => {}
                event => self.heard.push(format!("{channel} {event}")),
            }
        }
    }
}

/// Nodes, their clients, and who is where.
struct History {
    nodes: Nodes,
    clients: BTreeMap<u64, Client>,
    /// By channel: the clients in it, and as which users.
    rooms: BTreeMap<&'static str, BTreeMap<u64, String>>,
    /// By client: what it is owed.
    owed: BTreeMap<u64, Vec<String>>,
    /// What webhooks are owed.
    notices: Vec<String>,
    counter: u64,
}

impl History {
    fn new(nodes: usize) -> Self {
        Self {
            nodes: Nodes::new(nodes, settings()),
            clients: BTreeMap::new(),
            rooms: BTreeMap::new(),
            owed: BTreeMap::new(),
            notices: Vec::new(),
            counter: 0,
        }
    }

    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn any_node(&self, chosen: usize) -> u64 {
        *self.nodes.nodes.keys().nth(chosen % self.nodes.nodes.len()).unwrap()
    }

    fn any_client(&self, chosen: usize) -> Option<u64> {
        self.clients.keys().nth(chosen % self.clients.len().max(1)).copied()
    }

    fn connect(&mut self, node: usize) -> u64 {
        let (number, node) = (self.count(), self.any_node(node));
        let at = self.nodes.nodes.get_mut(&node).unwrap();
        at.world.settle();
        let (peer, _) = at.world.connect_pusher(&at.app, number);
        let client = Client { node, number, peer, views: BTreeMap::new(), heard: Vec::new() };
        self.clients.insert(number, client);
        number
    }

    /// What changes when a room gets or loses a client; and what webhooks are owed.
    fn change(&mut self, channel: &'static str, change: impl FnOnce(&mut BTreeMap<u64, String>)) {
        let users = |room: &BTreeMap<u64, String>| room.values().cloned().collect::<BTreeSet<_>>();
        let room = self.rooms.entry(channel).or_default();
        let (was_empty, before) = (room.is_empty(), users(room));
        change(room);
        let (is_empty, after) = (room.is_empty(), users(room));
        if was_empty && !is_empty {
            self.notices.push(format!("{channel} occupied"));
        }
        if channel.starts_with("presence-") {
            self.notices.extend(after.difference(&before).map(|user| format!("{channel} + {user}")));
            self.notices.extend(before.difference(&after).map(|user| format!("{channel} - {user}")));
        }
        if !was_empty && is_empty {
            self.notices.push(format!("{channel} vacated"));
        }
    }

    fn subscribe(&mut self, client: u64, channel: &'static str, user: u8) {
        let user = format!("u{user}");
        if self.rooms.get(channel).is_some_and(|room| room.contains_key(&client)) {
            return;
        }
        let data = channel.starts_with("presence-").then(|| format!(r#"{{"user_id":"{user}"}}"#));
        let signed = data.iter().fold(format!("1.{client}:{channel}"), |text, data| format!("{text}:{data}"));
        let auth = format!("{APP}:{}", hmac_hex("", &signed));
        let subscribe = json!({ "event": "pusher:subscribe",
            "data": { "channel": channel, "auth": auth, "channel_data": data } });
        self.clients.get_mut(&client).unwrap().say(&subscribe);
        self.change(channel, |room| drop(room.insert(client, user)));
    }

    fn unsubscribe(&mut self, client: u64, channel: &'static str) {
        let unsubscribe = json!({ "event": "pusher:unsubscribe", "data": { "channel": channel } });
        self.clients.get_mut(&client).unwrap().say(&unsubscribe);
        self.change(channel, |room| drop(room.remove(&client)));
        // What is kept is told again to whoever comes back.
        self.clients.get_mut(&client).unwrap().views.remove(channel);
    }

    fn close(&mut self, client: u64) {
        let mut gone = self.clients.remove(&client).unwrap();
        gone.peer.send(CLOSE, &1000_u16.to_be_bytes());
        self.owed.remove(&client);
        CHANNELS.iter().for_each(|channel| self.change(channel, |room| drop(room.remove(&client))));
    }

    fn publish(&mut self, node: usize, channel: &'static str, except: Option<u64>) {
        let (event, node) = (format!("e{}", self.count()), self.any_node(node));
        let publication = Publication {
            target: Target::Channels(vec![named(channel)]),
            event: (*event).into(),
            data: "{}".into(),
            except: except.map(|low| SocketId { high: 1, low }),
        };
        let at = &self.nodes.nodes[&node];
        at.world.hub.publish(&at.app, &publication).unwrap();
        for client in self.rooms.entry(channel).or_default().keys().filter(|client| Some(**client) != except)
        {
            self.owed.entry(*client).or_default().push(format!("{channel} {event}"));
        }
    }

    fn kill(&mut self, node: usize) {
        let node = self.any_node(node);
        self.nodes.kill(node);
        let gone: Vec<u64> =
            self.clients.values().filter(|client| client.node == node).map(|client| client.number).collect();
        for client in gone {
            self.clients.remove(&client);
            self.owed.remove(&client);
            CHANNELS.iter().for_each(|channel| self.change(channel, |room| drop(room.remove(&client))));
        }
    }

    fn settle(&mut self) {
        self.nodes.settle();
        self.clients.values_mut().for_each(Client::read);
    }

    /// Every node tells the same, and it is so.
    fn agrees(&mut self) {
        self.settle();
        for (number, node) in &self.nodes.nodes {
            for channel in CHANNELS {
                let room = self.rooms.entry(channel).or_default();
                let name = named(channel);
                let counts = node.world.hub.counts(&node.app, &name);
                assert_eq!(counts.subscriptions, room.len(), "{channel} on node {number}");
                let roster = node.world.hub.roster(&node.app, &name);
                let told: BTreeSet<_> = roster.iter().map(|member| member.user.to_string()).collect();
                let users = if channel.starts_with("presence-") {
                    room.values().cloned().collect()
                } else {
                    BTreeSet::new()
                };
                assert_eq!(told, users, "{channel} on node {number}");
            }
        }
        for client in self.clients.values() {
            for (channel, room) in self.rooms.iter().filter(|(channel, _)| channel.starts_with("presence-")) {
                if room.contains_key(&client.number) {
                    let users: BTreeSet<_> = room.values().cloned().collect();
                    assert_eq!(client.views.get(*channel), Some(&users), "what {} believes", client.number);
                }
            }
        }
    }

    /// Every client heard what it is owed, once and in order. What a channel keeps may come on top.
    fn all_heard(&self) {
        for (number, client) in &self.clients {
            let heard: Vec<_> = client.heard.iter().filter(|text| !text.starts_with("cache-")).collect();
            let owed = self.owed.get(number).into_iter().flatten().filter(|text| !text.starts_with("cache-"));
            assert_eq!(heard, owed.collect::<Vec<_>>(), "what {number} heard");
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Connect(usize),
    Close(usize),
    Subscribe(usize, usize, u8),
    Unsubscribe(usize, usize),
    Publish(usize, usize, Option<usize>),
    Start,
    /// A node hears nothing until the next settling.
    Deafen(usize),
    /// A node misses so many messages.
    Lose(usize, u64),
    Kill(usize),
    Pass,
}

fn any_steps(with_loss: bool) -> impl Strategy<Value = Vec<Step>> {
    let any = any::<usize>;
    let channel = 0..CHANNELS.len();
    let step = prop_oneof![
        4 => any().prop_map(Step::Connect),
        2 => any().prop_map(Step::Close),
        8 => (any(), channel.clone(), 0..4_u8).prop_map(|(client, channel, user)| Step::Subscribe(client, channel, user)),
        4 => (any(), channel.clone()).prop_map(|(client, channel)| Step::Unsubscribe(client, channel)),
        6 => (any(), channel, prop::option::of(any())).prop_map(|(node, channel, except)| Step::Publish(node, channel, except)),
        1 => Just(Step::Start),
        u32::from(with_loss) * 2 => any().prop_map(Step::Deafen),
        u32::from(with_loss) * 2 => (any(), 1..4_u64).prop_map(|(node, frames)| Step::Lose(node, frames)),
        u32::from(with_loss) => any().prop_map(Step::Kill),
        1 => Just(Step::Pass),
    ];
    prop::collection::vec(step, 0..40)
}

/// Runs a step; with `settled`, everything is told and heard before the next.
fn run(history: &mut History, step: &Step, settled: bool) {
    match *step {
        Step::Connect(node) => drop(history.connect(node)),
        Step::Start if history.nodes.nodes.len() < 4 => drop(history.nodes.start()),
        Step::Start => {}
        Step::Deafen(node) => {
            let node = history.any_node(node);
            history.nodes.nodes.get_mut(&node).unwrap().is_deaf = true;
        }
        Step::Lose(node, frames) => history.nodes.bus.lose(&history.any_node(node).to_string(), frames),
        Step::Kill(node) if history.nodes.nodes.len() > 1 => history.kill(node),
        Step::Kill(_) => {}
        Step::Pass => history.nodes.pass(Duration::from_secs(1)),
        Step::Publish(node, channel, except) => {
            let except = except.and_then(|client| history.any_client(client));
            history.publish(node, CHANNELS[channel], except);
        }
        Step::Close(client) | Step::Subscribe(client, ..) | Step::Unsubscribe(client, _) => {
            let Some(client) = history.any_client(client) else { return };
            match *step {
                Step::Subscribe(_, channel, user) => history.subscribe(client, CHANNELS[channel], user),
                Step::Unsubscribe(_, channel) => history.unsubscribe(client, CHANNELS[channel]),
                _ => history.close(client),
            }
        }
    }
    if settled {
        // Long enough for whoever is gone to be told of.
        history.nodes.pass(Duration::from_millis(250));
    } else {
        let node = history.clients.values().next().map(|client| client.node);
        if let Some(node) = node.and_then(|node| history.nodes.nodes.get_mut(&node)) {
            node.world.settle();
        }
        history.clients.values_mut().for_each(Client::read);
    }
}

/// Draws histories and runs each with `test`.
fn histories(with_loss: bool, test: impl Fn(&[Step])) {
    let seed = std::env::var("WORLD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand_seed);
    let cases = std::env::var("WORLD_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(40);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&u64::to_be_bytes(seed));
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(&any_steps(with_loss), |steps| {
        test(&steps);
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("WORLD_SEED={seed}: {failure}"));
}

fn rand_seed() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos().into()
}

#[test]
fn gc_073_many_nodes_are_to_their_clients_as_one() {
    histories(false, |steps| {
        let mut history = History::new(3);
        for step in steps {
            run(&mut history, step, true);
            history.agrees();
        }
        history.nodes.pass(UNTIL_BURIED);
        history.agrees();
        history.all_heard();
        let mut owed = history.notices.clone();
        owed.sort();
        let told: Vec<_> =
            history.nodes.told().into_iter().filter(|told| !told.contains("CacheMiss")).collect();
        assert_eq!(told, owed);
    });
}

#[test]
fn rosters_heal_whatever_is_lost_or_late_and_whoever_dies() {
    histories(true, |steps| {
        let mut history = History::new(3);
        for step in steps {
            run(&mut history, step, false);
        }
        history.nodes.nodes.values_mut().for_each(|node| node.is_deaf = false);
        history.nodes.pass(UNTIL_BURIED);
        history.agrees();
    });
}

#[test]
fn what_is_done_to_an_app_while_nobody_can_be_told_is_told_later() {
    let mut nodes = Nodes::new(2, settings());
    nodes.nodes.values_mut().for_each(|node| node.stale.clear());
    nodes.bus.take_down("1");
    nodes.settle();
    nodes.nodes[&1].world.register("new");
    nodes.pass(Duration::from_secs(1));
    assert_eq!(nodes.nodes[&2].stale, []);
    nodes.bus.bring_up("1");
    nodes.pass(Duration::from_secs(1));
    assert_eq!(nodes.nodes[&1].stale, [Stale::AnyApp]);
    assert_eq!(nodes.nodes[&2].stale, [Stale::App(AppKey::stored("new"))]);
    // Of the next message nobody can say what it was.
    nodes.bus.lose("2", 1);
    nodes.pass(Duration::from_secs(2));
    assert_eq!(nodes.nodes[&2].stale.last(), Some(&Stale::AnyApp));
}
