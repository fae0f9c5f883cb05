//! Several nodes in one thread, and a bus that takes its time to follow: who was told that it is subscribed misses nothing
//! from then on, wherever it is published; and what one socket is told keeps its order.
//!
//! A history is drawn from a seed, which a failure prints; with `WORLD_SEED` in the environment the same are drawn again.

#[path = "support/nodes.rs"]
mod nodes;
#[path = "support/seeds.rs"]
mod seeds;
#[path = "support/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use gusher::dialect::signature::hmac_hex;
use gusher::model::{AppSettings, ChannelName, Publication, Target};
use nodes::{APP, Nodes};
use proptest::prelude::*;
use serde_json::{Value, json};
use world::{Frame, Peer};

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const CHANNELS: [&str; 4] = ["news", "sport", "presence-room", "cache-last"];
const NODES: usize = 3;

/// Longer than the bus may take.
const UNTIL_TOLD_ANYWAY: Duration = Duration::from_millis(2_500);

fn settings() -> AppSettings {
    AppSettings { activity_timeout: 3_600, ..AppSettings::default() }
}

/// A client, and what it was told so far.
struct Client {
    node: u64,
    number: u64,
    peer: Peer,
    told: Vec<Value>,
}

impl Client {
    fn say(&mut self, event: &str, data: &Value) {
        self.peer.send(TEXT, json!({ "event": event, "data": data }).to_string().as_bytes());
    }

    fn subscribe(&mut self, channel: &str) {
        let user = channel.starts_with("presence-").then(|| format!(r#"{{"user_id":"u{}"}}"#, self.number));
        let signed =
            user.iter().fold(format!("1.{}:{channel}", self.number), |text, user| format!("{text}:{user}"));
        let auth = format!("{APP}:{}", hmac_hex("", &signed));
        self.say("pusher:subscribe", &json!({ "channel": channel, "auth": auth, "channel_data": user }));
    }

    fn read(&mut self) -> Vec<Value> {
        let new: Vec<Value> =
            self.peer.texts().iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        self.told.extend(new.iter().cloned());
        new
    }
}

fn connect(nodes: &mut Nodes, node: u64, number: u64) -> Client {
    let at = nodes.nodes.get_mut(&node).unwrap();
    let (peer, _) = at.world.connect_pusher(&at.app, number);
    let mut client = Client { node, number, peer, told: Vec::new() };
    client.read();
    client
}

fn publish(nodes: &Nodes, node: u64, channel: &str, event: &str) {
    let target = Target::Channels(vec![ChannelName::parse(channel).unwrap()]);
    let publication = Publication { target, event: event.into(), data: "{}".into(), except: None };
    let at = &nodes.nodes[&node];
    at.world.hub.publish(&at.app, &publication).unwrap();
}

fn events(told: &[Value]) -> Vec<&str> {
    told.iter().map(|message| message["event"].as_str().unwrap()).collect()
}

const SUBSCRIBED: &str = "pusher_internal:subscription_succeeded";

#[test]
fn the_first_subscriber_is_told_when_the_bus_follows() {
    let mut nodes = Nodes::new(2, settings());
    let (mut first, mut second) = (connect(&mut nodes, 2, 1), connect(&mut nodes, 2, 2));
    nodes.settle();
    nodes.bus.hold_up("2");
    first.subscribe("news");
    first.say("pusher:ping", &json!({}));
    nodes.settle();
    second.subscribe("news");
    nodes.settle();
    publish(&nodes, 1, "news", "missed");
    nodes.settle();
    assert!(first.read().is_empty() && second.read().is_empty());
    nodes.bus.let_through("2");
    nodes.settle();
    assert_eq!(events(&first.read()), [SUBSCRIBED, "pusher:pong"]);
    assert_eq!(events(&second.read()), [SUBSCRIBED]);
    publish(&nodes, 1, "news", "heard");
    nodes.settle();
    assert_eq!((events(&first.read()), events(&second.read())), (vec!["heard"], vec!["heard"]));
}

#[test]
fn a_channel_that_is_followed_already_costs_its_next_subscriber_no_time() {
    let mut nodes = Nodes::new(2, settings());
    let (mut first, mut second) = (connect(&mut nodes, 2, 1), connect(&mut nodes, 2, 2));
    first.subscribe("news");
    nodes.settle();
    nodes.bus.hold_up("2");
    second.subscribe("news");
    // What keeps its last event goes to every node anyhow.
    second.subscribe("cache-last");
    nodes.settle();
    assert_eq!(events(&second.read()), [SUBSCRIBED, SUBSCRIBED, "pusher:cache_miss"]);
}

#[test]
fn a_bus_that_does_not_answer_holds_nobody_up_for_ever() {
    let mut nodes = Nodes::new(2, settings());
    let mut client = connect(&mut nodes, 2, 1);
    nodes.bus.hold_up("2");
    client.subscribe("news");
    nodes.settle();
    assert!(client.read().is_empty());
    nodes.pass(UNTIL_TOLD_ANYWAY);
    assert_eq!(events(&client.read()), [SUBSCRIBED]);
    assert_eq!(nodes.nodes[&2].world.hub.metrics.follows_late.get(), 1);
}

#[test]
fn a_bus_that_is_down_holds_nobody_up() {
    let mut nodes = Nodes::new(2, settings());
    let (mut before, mut after) = (connect(&mut nodes, 2, 1), connect(&mut nodes, 2, 2));
    nodes.bus.hold_up("2");
    before.subscribe("news");
    nodes.settle();
    nodes.bus.take_down("2");
    nodes.settle();
    after.subscribe("sport");
    nodes.settle();
    assert_eq!((events(&before.read()), events(&after.read())), (vec![SUBSCRIBED], vec![SUBSCRIBED]));
}

#[test]
fn a_probe_that_is_lost_is_sent_again() {
    let mut nodes = Nodes::new(2, settings());
    let mut client = connect(&mut nodes, 2, 1);
    nodes.settle();
    nodes.bus.lose("2", 1);
    client.subscribe("news");
    nodes.settle();
    assert!(client.read().is_empty());
    nodes.pass(Duration::from_millis(250));
    assert_eq!(events(&client.read()), [SUBSCRIBED]);
}

#[test]
fn who_leaves_or_ends_while_it_is_not_told_yet_is_gone_for_all() {
    let mut nodes = Nodes::new(2, settings());
    let mut clients: Vec<Client> = (1..=3).map(|number| connect(&mut nodes, 2, number)).collect();
    nodes.settle();
    nodes.bus.hold_up("2");
    for client in &mut clients {
        client.subscribe("presence-room");
        if client.number == 1 {
            client.say("pusher:unsubscribe", &json!({ "channel": "presence-room" }));
        }
    }
    nodes.settle();
    clients[1].peer.send(CLOSE, &1000_u16.to_be_bytes());
    // The third is closed by its node.
    nodes.nodes[&2].world.hub.drain(std::time::Duration::ZERO);
    nodes.settle();
    nodes.bus.let_through("2");
    nodes.settle();
    nodes.settle();
    for client in &mut clients {
        let frames = client.peer.frames();
        let is_subscribed = |frame: &Frame| matches!(frame, Frame::Text(text) if text.contains(SUBSCRIBED));
        assert!(frames.first().is_some_and(is_subscribed), "{}: {frames:?}", client.number);
        assert!(matches!(frames.last(), Some(Frame::Close(_))), "{}: {frames:?}", client.number);
        assert!(client.peer.is_ended(), "{}", client.number);
        client.peer.end();
    }
    nodes.settle();
    let channel = ChannelName::parse("presence-room").unwrap();
    for node in nodes.nodes.values() {
        assert_eq!(node.world.hub.counts(&node.app, &channel).subscriptions, 0);
        assert!(node.world.hub.roster(&node.app, &channel).is_empty());
    }
    assert!(nodes.nodes[&2].world.shards.iter().all(gusher::shard::Shard::is_over));
}

#[derive(Clone, Debug)]
enum Step {
    Connect(u64),
    Subscribe(usize, usize),
    Unsubscribe(usize, usize),
    Publish(u64, usize),
    HoldUp(u64),
    LetThrough(u64),
    Work,
    Read,
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || 1..=NODES as u64;
    let any = any::<usize>;
    let channel = || 0..CHANNELS.len();
    let step = prop_oneof![
        3 => node().prop_map(Step::Connect),
        8 => (any(), channel()).prop_map(|(client, channel)| Step::Subscribe(client, channel)),
        4 => (any(), channel()).prop_map(|(client, channel)| Step::Unsubscribe(client, channel)),
        8 => (node(), channel()).prop_map(|(node, channel)| Step::Publish(node, channel)),
        2 => node().prop_map(Step::HoldUp),
        2 => node().prop_map(Step::LetThrough),
        5 => Just(Step::Work),
        8 => Just(Step::Read),
    ];
    prop::collection::vec(step, 0..60)
}

/// What is published to whom: by client and channel, what it must hear since it was told that it is there.
#[derive(Default)]
struct Model {
    must_hear: BTreeMap<(u64, String), Vec<String>>,
    /// Told that they are there, and did not ask to leave.
    there: BTreeMap<(u64, String), ()>,
}

impl Model {
    fn read(&mut self, client: &mut Client) {
        for message in client.read() {
            if message["event"] == SUBSCRIBED {
                let channel = message["channel"].as_str().unwrap().to_owned();
                self.there.insert((client.number, channel), ());
            }
        }
    }
}

fn run(steps: &[Step]) {
    let mut nodes = Nodes::new(NODES, settings());
    let (mut clients, mut model, mut counter) = (Vec::new(), Model::default(), 0);
    // By client: the channels that it asked for and did not leave.
    let mut asked: BTreeMap<(u64, usize), ()> = BTreeMap::new();
    for step in steps {
        counter += 1;
        match *step {
            Step::Connect(node) => clients.push(connect(&mut nodes, node, counter)),
            Step::Subscribe(client, channel) if !clients.is_empty() => {
                let at = client % clients.len();
                if asked.insert((clients[at].number, channel), ()).is_none() {
                    clients[at].subscribe(CHANNELS[channel]);
                }
            }
            Step::Unsubscribe(client, channel) if !clients.is_empty() => {
                let at = client % clients.len();
                let client = &mut clients[at];
                let name = CHANNELS[channel].to_owned();
                // Only who was told that it is there leaves: so the model knows what it saw.
                if model.there.remove(&(client.number, name.clone())).is_some() {
                    asked.remove(&(client.number, channel));
                    client.say("pusher:unsubscribe", &json!({ "channel": name }));
                    model.must_hear.remove(&(client.number, name));
                }
            }
            Step::Publish(node, channel) => {
                let (channel, event) = (CHANNELS[channel], format!("{node} {counter}"));
                for ((client, _), ()) in model.there.iter().filter(|((_, name), ())| name == channel) {
                    model.must_hear.entry((*client, channel.to_owned())).or_default().push(event.clone());
                }
                publish(&nodes, node, channel, &event);
            }
            Step::HoldUp(node) => nodes.bus.hold_up(&node.to_string()),
            Step::LetThrough(node) => nodes.bus.let_through(&node.to_string()),
            Step::Work => nodes.settle(),
            Step::Read => clients.iter_mut().for_each(|client| model.read(client)),
            Step::Subscribe(..) | Step::Unsubscribe(..) => {}
        }
    }
    (1..=NODES as u64).for_each(|node| nodes.bus.let_through(&node.to_string()));
    nodes.settle();
    for client in &mut clients {
        model.read(client);
        for ((number, channel), must_hear) in &model.must_hear {
            // What one node publishes comes in order; of two nodes either may be first.
            for node in ('1'..='9').take(NODES).filter(|_| *number == client.number) {
                let of_node =
                    |event: &&str| event.starts_with(node) && must_hear.iter().any(|must| must == event);
                let heard: Vec<&str> = events(&client.told).into_iter().filter(of_node).collect();
                let owed: Vec<&str> = must_hear.iter().map(String::as_str).filter(of_node).collect();
                assert_eq!(heard, owed, "client {number} of node {} in {channel}", client.node);
            }
        }
    }
}

#[test]
fn who_was_told_that_it_is_there_misses_nothing_and_hears_nothing_twice() {
    seeds::histories(60, &any_steps(), run);
}
