//! Several nodes in one thread under a fake clock: random histories of clients, publications, lost messages, nodes that
//! hear late, come and die, beside a naive model. Each client sees what it would see if there were one node.
//!
//! Long because it is the model, the steps and, behind them, a list of short histories that were once told wrongly.
//!
//! A history is drawn from a seed, which a failure prints; with `WORLD_SEED` in the environment the same are drawn again.

#[path = "support/nodes.rs"]
mod nodes;
#[path = "support/seeds.rs"]
mod seeds;
#[path = "support/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gusher::dialect::signature::hmac_hex;
use gusher::hub::Stale;
use gusher::model::{AppKey, AppSettings, ChannelName, Publication, Refusal, SocketId, Target, Webhook};
use nodes::{APP, Nodes};
use proptest::prelude::*;
use seeds::histories;
use serde_json::{Value, json};
use world::Peer;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const CHANNELS: [&str; 3] = ["news", "presence-room", "cache-last"];

const TICK: Duration = Duration::from_millis(250);

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

/// Who is gone for less is not told of.
fn with_grace() -> AppSettings {
    AppSettings { webhook_grace: 3, ..settings() }
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
                    // It may have left meanwhile.
                    let is_new = self.views.get_mut(&channel).is_none_or(|view| view.insert(user()));
                    assert!(is_new, "{} was told twice that {} came", self.number, user());
                }
                "pusher_internal:member_removed" => {
                    let was_there = self.views.get_mut(&channel).is_none_or(|view| view.remove(&user()));
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
    /// By frozen node: who of its clients was in which channel, and as which user.
    frozen: BTreeMap<u64, Vec<(u64, &'static str, String)>>,
    /// Those among them that do not stand still, but have no bus.
    cut_off: BTreeSet<u64>,
    /// What webhooks are owed.
    notices: Vec<String>,
    /// How often time may pass while a node hears nothing: beyond that the others take it for dead.
    deaf_max: u32,
    deaf_for: u32,
    counter: u64,
}

impl History {
    fn new(nodes: usize) -> Self {
        Self::with(nodes, settings())
    }

    fn with(nodes: usize, settings: AppSettings) -> Self {
        Self {
            nodes: Nodes::new(nodes, settings),
            clients: BTreeMap::new(),
            rooms: BTreeMap::new(),
            owed: BTreeMap::new(),
            frozen: BTreeMap::new(),
            cut_off: BTreeSet::new(),
            notices: Vec::new(),
            deaf_max: u32::MAX,
            deaf_for: 0,
            counter: 0,
        }
    }

    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// One that does not stand still.
    fn any_node(&self, chosen: usize) -> u64 {
        let awake = self.awake_nodes();
        awake[chosen % awake.len()]
    }

    fn awake_nodes(&self) -> Vec<u64> {
        self.nodes.nodes.keys().copied().filter(|node| !self.frozen.contains_key(node)).collect()
    }

    fn any_client(&self, chosen: usize) -> Option<u64> {
        let awake = self.clients.values().filter(|client| !self.frozen.contains_key(&client.node));
        let awake: Vec<u64> = awake.map(|client| client.number).collect();
        awake.get(chosen % awake.len().max(1)).copied()
    }

    /// How many nodes do not stand still.
    fn awake(&self) -> usize {
        self.awake_nodes().len()
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
        match at.world.hub.publish(&at.app, &publication) {
            Ok(_) => {}
            // Who hears nothing for long takes itself for cut off.
            Err(Refusal::BusDown) => return,
            Err(refusal) => panic!("{refusal:?}"),
        }
        // Who stands still hears it later.
        let frozen = self.frozen.iter().filter(|(node, _)| !self.cut_off.contains(node));
        let frozen = frozen.flat_map(|(_, lost)| lost).filter(|(_, name, _)| *name == channel);
        let there = self.rooms.entry(channel).or_default().keys().chain(frozen.map(|(client, ..)| client));
        for client in there.filter(|client| Some(**client) != except) {
            self.owed.entry(*client).or_default().push(format!("{channel} {event}"));
        }
    }

    fn try_publish(&self, node: u64, channel: &str) -> Result<(), Refusal> {
        let (target, event, data) = (Target::Channels(vec![named(channel)]), "e".into(), "{}".into());
        let at = &self.nodes.nodes[&node];
        let publication = Publication { target, event, data, except: None };
        at.world.hub.publish(&at.app, &publication).map(drop)
    }

    /// The clients of a node are in no channel any more, as others see it. Returns where they were.
    fn lose_clients(&mut self, node: u64) -> Vec<(u64, &'static str, String)> {
        let of_node = |client: &u64, clients: &BTreeMap<u64, Client>| clients[client].node == node;
        let mut lost = Vec::new();
        for channel in CHANNELS {
            let there = self.rooms.get(channel).into_iter().flatten();
            let gone: Vec<_> = there
                .filter(|(client, _)| of_node(client, &self.clients))
                .map(|(client, user)| (*client, channel, user.clone()))
                .collect();
            self.change(channel, |room| {
                room.retain(|client, _| !gone.iter().any(|(lost, ..)| lost == client))
            });
            lost.extend(gone);
        }
        lost
    }

    fn end(&mut self, node: u64) {
        self.lose_clients(node);
        let gone: Vec<u64> =
            self.clients.values().filter(|client| client.node == node).map(|client| client.number).collect();
        for client in gone {
            self.clients.remove(&client);
            self.owed.remove(&client);
        }
    }

    fn kill(&mut self, node: usize) {
        let node = self.any_node(node);
        self.nodes.kill(node);
        self.end(node);
    }

    fn stop(&mut self, node: usize) {
        let node = self.any_node(node);
        self.nodes.stop(node);
        self.end(node);
    }

    /// A node stands still until the others take it for dead.
    fn freeze(&mut self, node: usize) {
        let node = self.any_node(node);
        self.nodes.freeze(node);
        self.miss(node);
    }

    /// The same happens to one whose bus is down.
    fn cut_off(&mut self, node: usize) {
        self.cut_off_node(self.any_node(node));
    }

    /// What it told webhooks is heard by the others, and from now on it tells nothing.
    fn take_bus(&mut self, node: u64) {
        self.settle();
        self.nodes.bus.take_down(&node.to_string());
        self.settle();
    }

    /// The same happens to one whose bus does not say that it carries nothing.
    fn silence(&mut self, node: usize) {
        let node = self.any_node(node);
        self.settle();
        self.nodes.bus.cut(&node.to_string());
        self.cut_off.insert(node);
        self.miss(node);
    }

    fn cut_off_node(&mut self, node: u64) {
        self.take_bus(node);
        self.cut_off.insert(node);
        self.miss(node);
    }

    /// It happens to one node after the other, in this order, until nobody is left who tells; then all are back at once.
    fn cut_off_all(&mut self, first: usize) {
        let mut awake: Vec<u64> = self.awake_nodes();
        let first = first % awake.len();
        awake.rotate_left(first);
        let last = awake.pop().unwrap();
        for node in awake {
            self.cut_off_node(node);
        }
        self.take_bus(last);
        self.nodes.pass(UNTIL_BURIED);
        self.nodes.bus.bring_up(&last.to_string());
        self.thaw();
    }

    fn miss(&mut self, node: u64) {
        self.nodes.pass(UNTIL_BURIED);
        let lost = self.lose_clients(node);
        self.frozen.insert(node, lost);
    }

    fn thaw(&mut self) {
        for (node, lost) in std::mem::take(&mut self.frozen) {
            match self.cut_off.remove(&node) {
                true => {
                    self.nodes.bus.mend(&node.to_string());
                    self.nodes.bus.bring_up(&node.to_string());
                }
                false => self.nodes.thaw(node),
            }
            for channel in CHANNELS {
                let back = lost.iter().filter(|(_, name, _)| *name == channel);
                let back: Vec<_> = back.map(|(client, _, user)| (*client, user.clone())).collect();
                self.change(channel, |room| room.extend(back));
            }
        }
    }

    fn settle(&mut self) {
        self.nodes.settle();
        self.clients.values_mut().for_each(Client::read);
    }

    /// Every node tells the same, and it is so.
    fn agrees(&mut self) {
        self.settle();
        for (number, node) in self.nodes.nodes.iter().filter(|(number, _)| !self.frozen.contains_key(number))
        {
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

    /// What any node said has arrived, and all hear again.
    fn hear_all(&mut self) {
        self.deaf_for = 0;
        for (number, node) in &mut self.nodes.nodes {
            node.is_deaf = false;
            self.nodes.bus.let_through(&number.to_string());
        }
    }

    /// Webhooks were told what is so, and never twice the same.
    fn webhooks_know(&mut self) {
        let mut known = BTreeSet::new();
        for told in self.nodes.told.iter().filter(|told| !told.contains("CacheMiss")) {
            let (matter, is_there) = match told.split(' ').collect::<Vec<_>>()[..] {
                [channel, "occupied"] => (channel.to_owned(), true),
                [channel, "vacated"] => (channel.to_owned(), false),
                [channel, sign, user] => (format!("{channel} {user}"), sign == "+"),
                _ => panic!("{told}"),
            };
            let is_new = if is_there { known.insert(matter.clone()) } else { known.remove(&matter) };
            assert!(is_new, "webhooks were told twice: {told}, after {:?}", self.nodes.told);
            let (channel, user) = matter.split_once(' ').unwrap_or((&matter, ""));
            let is_in_order = match user {
                "" => !known.iter().any(|known| known.starts_with(&format!("{channel} "))),
                _ => known.contains(channel),
            };
            assert!(is_in_order, "members of no channel: {told}, in {:?}", self.nodes.told);
        }
        let mut there = BTreeSet::new();
        for (channel, room) in self.rooms.iter().filter(|(_, room)| !room.is_empty()) {
            there.insert((*channel).to_owned());
            let users = room.values().filter(|_| channel.starts_with("presence-"));
            there.extend(users.map(|user| format!("{channel} {user}")));
        }
        assert_eq!(known, there, "after {:?}", self.nodes.told);
    }

    /// Every client heard what it is owed, once, and on each channel in order. What a channel keeps may come on top.
    fn all_heard(&self) {
        let by_channel = |texts: &[String]| {
            let mut texts = texts.to_vec();
            texts.retain(|text| !text.starts_with("cache-"));
            // It keeps the order of what is equal.
            texts.sort_by_key(|text| text.split(' ').next().map(ToOwned::to_owned));
            texts
        };
        for (number, client) in &self.clients {
            let owed = self.owed.get(number).map(Vec::as_slice).unwrap_or_default();
            assert_eq!(by_channel(&client.heard), by_channel(owed), "what {number} heard");
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
    /// A node closes its sockets and takes leave.
    Stop(usize),
    /// A node stands still for so long that the others take it for dead.
    Freeze(usize),
    /// A node has no bus for so long.
    CutOff(usize),
    /// The same, and its bus says that it is there.
    Silence(usize),
    /// One node after the other, from this one on, has no bus for so long, until none has; then all are back at once.
    CutOffAll(usize),
    /// Who stood still goes on, and who was cut off is back.
    Thaw,
    /// A node stands still for a moment.
    Stumble(usize),
    /// What a node says takes its time.
    HoldUp(usize),
    /// And has arrived.
    LetThrough,
    Pass,
}

/// What may happen besides clients that come, go and publish, and nodes that start.
#[derive(Clone, Copy, Debug, Default)]
struct Mishaps {
    /// Messages are lost.
    losses: bool,
    /// Nodes hear and are heard late.
    delays: bool,
    /// Nodes die, stop, stand still, and are cut off.
    deaths: bool,
}

fn any_steps(mishaps: Mishaps) -> impl Strategy<Value = Vec<Step>> {
    let any = any::<usize>;
    let channel = || 0..CHANNELS.len();
    let [late, lost, dead] = [mishaps.delays, mishaps.losses, mishaps.deaths].map(u32::from);
    let mut steps: Vec<(u32, BoxedStrategy<Step>)> = vec![
        (4, any().prop_map(Step::Connect).boxed()),
        (2, any().prop_map(Step::Close).boxed()),
        (
            8,
            (any(), channel(), 0..4_u8)
                .prop_map(|(client, to, user)| Step::Subscribe(client, to, user))
                .boxed(),
        ),
        (4, (any(), channel()).prop_map(|(client, to)| Step::Unsubscribe(client, to)).boxed()),
        (
            6,
            (any(), channel(), prop::option::of(any()))
                .prop_map(|(at, to, but)| Step::Publish(at, to, but))
                .boxed(),
        ),
        (1, Just(Step::Start).boxed()),
        (1, Just(Step::Pass).boxed()),
        (2 * late, any().prop_map(Step::Deafen).boxed()),
        (2 * late, any().prop_map(Step::HoldUp).boxed()),
        (2 * late, Just(Step::LetThrough).boxed()),
        (2 * lost, (any(), 1..4_u64).prop_map(|(node, frames)| Step::Lose(node, frames)).boxed()),
        (dead, any().prop_map(Step::Kill).boxed()),
        (dead, any().prop_map(Step::Stop).boxed()),
        (dead, any().prop_map(Step::Freeze).boxed()),
        (dead, any().prop_map(Step::CutOff).boxed()),
        (dead, any().prop_map(Step::Silence).boxed()),
        (dead, any().prop_map(Step::CutOffAll).boxed()),
        (2 * dead, Just(Step::Thaw).boxed()),
        (dead, any().prop_map(Step::Stumble).boxed()),
    ];
    steps.retain(|(weight, _)| *weight > 0);
    let step = prop::strategy::Union::new_weighted(steps);
    prop::collection::vec(step, 0..40)
}

/// Runs a step; with `settled`, everything is told and heard before the next.
fn run(history: &mut History, step: &Step, settled: bool) {
    match *step {
        Step::Connect(node) => drop(history.connect(node)),
        Step::Start if history.nodes.nodes.len() < 5 => drop(history.nodes.start()),
        Step::Start => {}
        Step::Deafen(node) => {
            let node = history.any_node(node);
            history.nodes.nodes.get_mut(&node).unwrap().is_deaf = true;
        }
        Step::HoldUp(node) => history.nodes.bus.hold_up(&history.any_node(node).to_string()),
        Step::LetThrough => history.hear_all(),
        Step::Lose(node, frames) => history.nodes.bus.lose(&history.any_node(node).to_string(), frames),
        Step::Kill(_)
        | Step::Stop(_)
        | Step::Freeze(_)
        | Step::CutOff(_)
        | Step::Silence(_)
        | Step::Stumble(_)
            if history.awake() < 2 => {}
        Step::CutOffAll(first) => history.cut_off_all(first),
        Step::Kill(node) => history.kill(node),
        Step::Stop(node) => history.stop(node),
        Step::Freeze(node) => history.freeze(node),
        Step::CutOff(node) => history.cut_off(node),
        Step::Silence(node) => history.silence(node),
        Step::Thaw => history.thaw(),
        Step::Stumble(node) => {
            let node = history.any_node(node);
            history.nodes.freeze(node);
            history.nodes.pass(Duration::from_millis(1_500));
            history.nodes.thaw(node);
        }
        Step::Pass => {
            history.nodes.pass(Duration::from_secs(1));
            history.deaf_for += 1;
            if history.deaf_for >= history.deaf_max {
                history.hear_all();
            }
        }
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
        // Long enough for whoever is gone to be told of, and for who is back.
        let takes_long = matches!(step, Step::Kill(_) | Step::CutOffAll(_) | Step::Thaw);
        history.nodes.pass(if takes_long { UNTIL_BURIED } else { Duration::from_millis(500) });
    } else {
        let node = history.clients.values().next().map(|client| client.node);
        if let Some(node) = node.and_then(|node| history.nodes.nodes.get_mut(&node)) {
            node.world.settle();
        }
        history.clients.values_mut().for_each(Client::read);
    }
}

/// Runs a history in which everything is told and heard before the next happens: all that clients and webhooks are told is
/// exactly what they would be told by one node.
fn run_settled(steps: &[Step]) {
    let mut history = History::new(3);
    for step in steps {
        run(&mut history, step, true);
        history.agrees();
    }
    history.thaw();
    history.nodes.pass(UNTIL_BURIED);
    history.agrees();
    history.all_heard();
    let mut owed = history.notices.clone();
    owed.sort();
    let mut told = history.nodes.told.clone();
    told.retain(|told| !told.contains("CacheMiss"));
    told.sort();
    assert_eq!(told, owed);
    history.webhooks_know();
}

/// Runs a history in which things happen while others are still under way. In the end everybody knows what is so.
fn run_unsettled(steps: &[Step], deaf_max: u32, knows: impl Fn(&mut History)) {
    let mut history = History { deaf_max, ..History::new(3) };
    for step in steps {
        run(&mut history, step, false);
    }
    history.thaw();
    history.hear_all();
    history.nodes.pass(2 * UNTIL_BURIED);
    history.agrees();
    knows(&mut history);
}

#[test]
fn gc_073_many_nodes_are_to_their_clients_as_one() {
    histories(40, &any_steps(Mishaps::default()), run_settled);
}

#[test]
fn webhooks_are_told_once_whoever_starts_stops_dies_or_stands_still() {
    histories(40, &any_steps(Mishaps { deaths: true, ..Mishaps::default() }), run_settled);
}

#[test]
fn webhooks_are_told_once_though_who_is_gone_is_told_of_late() {
    histories(40, &any_steps(Mishaps { deaths: true, ..Mishaps::default() }), |steps| {
        let mut history = History::with(3, with_grace());
        steps.iter().for_each(|step| run(&mut history, step, true));
        history.thaw();
        history.nodes.pass(2 * UNTIL_BURIED);
        history.agrees();
        history.webhooks_know();
    });
}

#[test]
fn webhooks_are_told_once_while_nodes_join_and_hear_late() {
    let mishaps = Mishaps { delays: true, ..Mishaps::default() };
    histories(40, &any_steps(mishaps), |steps| run_unsettled(steps, 1, History::webhooks_know));
}

#[test]
fn webhooks_are_told_once_though_messages_are_lost() {
    let mishaps = Mishaps { delays: true, losses: true, ..Mishaps::default() };
    histories(40, &any_steps(mishaps), |steps| run_unsettled(steps, 1, History::webhooks_know));
}

#[test]
fn rosters_heal_whatever_is_lost_or_late_and_whoever_dies() {
    let mishaps = Mishaps { delays: true, losses: true, deaths: true };
    histories(40, &any_steps(mishaps), |steps| run_unsettled(steps, u32::MAX, |_| ()));
}

#[test]
fn who_starts_while_all_others_hear_or_are_heard_late_tells_nothing_twice() {
    let steps = [
        Step::Connect(2),
        Step::Start,
        Step::Connect(3),
        Step::Subscribe(0, 1, 0),
        Step::Deafen(2),
        Step::HoldUp(0),
        Step::Subscribe(1, 1, 3),
        Step::HoldUp(1),
        Step::Pass,
    ];
    run_unsettled(&steps, 1, History::webhooks_know);
}

#[test]
fn two_that_start_at_once_while_a_third_hears_late_tell_nothing_twice() {
    let steps = [
        Step::Connect(0),
        Step::Subscribe(0, 1, 0),
        Step::Pass,
        Step::HoldUp(0),
        Step::HoldUp(1),
        Step::HoldUp(2),
        Step::Start,
        Step::Start,
        Step::Connect(3),
        Step::Connect(4),
        Step::Subscribe(1, 1, 1),
        Step::Subscribe(2, 1, 2),
        Step::Pass,
    ];
    run_unsettled(&steps, 1, History::webhooks_know);
}

#[test]
fn two_that_stood_still_and_go_on_at_once_repeat_nothing() {
    let steps = [
        Step::Connect(2),
        Step::Subscribe(0, 0, 0),
        Step::Start,
        Step::Freeze(2),
        Step::Freeze(0),
        Step::Thaw,
    ];
    run_unsettled(&steps, u32::MAX, History::webhooks_know);
}

#[test]
fn what_webhooks_were_told_while_a_node_was_cut_off_it_does_not_repeat() {
    for cut in ["1", "2"] {
        let mut history = History::with(2, with_grace());
        let names = ["a", "b", "c", "d", "e", "f"];
        let client = history.connect(0);
        names.iter().for_each(|name| history.subscribe(client, name, 0));
        history.settle();
        names.iter().for_each(|name| history.unsubscribe(client, name));
        history.settle();
        history.nodes.bus.take_down(cut);
        history.nodes.pass(2 * UNTIL_BURIED);
        history.nodes.bus.bring_up(cut);
        history.nodes.pass(2 * UNTIL_BURIED);
        assert_eq!(history.nodes.told.len(), 2 * names.len(), "{:?}", history.nodes.told);
    }
}

#[test]
fn a_node_that_starts_before_a_dead_one_is_missed_repeats_nothing_of_what_that_one_held() {
    let mut history = History::new(2);
    let names = ["a", "b", "c", "d", "e", "f"];
    let client = history.connect(0);
    names.iter().for_each(|name| history.subscribe(client, name, 0));
    history.settle();
    history.kill(0);
    history.nodes.start();
    history.settle();
    let client = history.connect(0);
    names.iter().for_each(|name| history.subscribe(client, name, 0));
    history.nodes.pass(2 * UNTIL_BURIED);
    assert_eq!(history.nodes.told.len(), names.len(), "{:?}", history.nodes.told);
}

#[test]
fn what_two_dead_nodes_held_is_not_reported_again_by_one_that_was_cut_off_when_they_died() {
    let steps = [
        Step::Connect(1),
        Step::Start,
        Step::Subscribe(0, 1, 0),
        Step::CutOff(3),
        Step::Kill(1),
        Step::Kill(1),
    ];
    run_settled(&steps);
}

#[test]
fn what_the_last_that_told_said_of_the_dead_is_known_when_all_return_at_once() {
    let mut history = History::new(2);
    let client = history.connect(0);
    history.subscribe(client, "news", 0);
    history.settle();
    for node in ["1", "2"] {
        history.nodes.bus.take_down(node);
        history.nodes.pass(UNTIL_BURIED);
    }
    ["1", "2"].iter().for_each(|node| history.nodes.bus.bring_up(node));
    history.nodes.pass(2 * UNTIL_BURIED);
    assert_eq!(history.nodes.told, ["news occupied", "news vacated", "news occupied"]);
}

#[test]
fn who_does_not_hear_itself_knows_that_it_is_cut_off_before_others_take_it_for_dead() {
    let mut history = History::new(2);
    let client = history.connect(0);
    history.subscribe(client, "presence-room", 0);
    history.settle();
    let told = history.nodes.told.clone();
    history.nodes.bus.cut("1");
    history.nodes.pass(Duration::from_millis(1_750));
    let hub = |history: &History, node: u64| history.nodes.nodes[&node].world.hub.clone();
    assert_eq!(hub(&history, 2).bus_state().unwrap().nodes, 2, "the other does not know yet");
    assert!(!hub(&history, 1).is_joined());
    let refusal = history.try_publish(1, "news").unwrap_err();
    assert!(matches!(refusal, Refusal::BusDown), "{refusal:?}");
    assert!(history.try_publish(2, "news").is_ok());
    // It takes nobody for dead, and tells webhooks nothing.
    history.unsubscribe(client, "presence-room");
    history.nodes.pass(2 * UNTIL_BURIED);
    assert_eq!(hub(&history, 1).bus_state().unwrap().nodes, 2);
    assert_eq!(hub(&history, 2).bus_state().unwrap().nodes, 1);
    let gone = ["presence-room - u0", "presence-room vacated"];
    assert_eq!(history.nodes.told, [&told[..], &gone.map(str::to_owned)].concat());
    history.nodes.bus.mend("1");
    history.nodes.pass(UNTIL_BURIED);
    assert!(hub(&history, 1).is_joined());
    assert!(history.try_publish(1, "news").is_ok());
    history.webhooks_know();
}

#[test]
fn what_a_node_sent_before_its_connection_broke_does_not_come_after_what_it_sent_since() {
    let mut history = History::new(2);
    let client = history.connect(1);
    history.subscribe(client, "news", 0);
    history.settle();
    history.nodes.bus.hold_up("1");
    history.publish(0, "news", None);
    history.nodes.bus.leave_behind("1");
    history.owed.clear();
    history.publish(0, "news", None);
    history.settle();
    history.nodes.bus.deliver_late("1");
    history.publish(0, "news", None);
    history.settle();
    history.all_heard();
    assert_eq!(history.nodes.nodes[&2].world.hub.metrics.facts_late.get(), 1);
}

/// Time passes by the tick until a node that just starts has joined; how long that took.
fn joins_after(nodes: &mut Nodes) -> Duration {
    let (number, mut time) = (nodes.start(), Duration::ZERO);
    nodes.settle();
    while !nodes.nodes[&number].world.hub.is_joined() {
        nodes.pass(TICK);
        time += TICK;
    }
    time
}

#[test]
fn a_node_joins_at_once_where_others_serve_and_waits_for_a_beat_where_nobody_answers() {
    let mut nodes = Nodes::new(0, settings());
    assert_eq!(joins_after(&mut nodes), Duration::from_millis(1_500));
    assert_eq!(joins_after(&mut nodes), TICK);
    // Whoever serves says who else there is, and that one is waited for.
    nodes.bus.hold_up("1");
    nodes.settle();
    let third = nodes.start();
    nodes.pass(Duration::from_secs(2));
    assert!(!nodes.nodes[&third].world.hub.is_joined());
    nodes.bus.let_through("1");
    nodes.pass(2 * TICK);
    assert!(nodes.nodes[&third].world.hub.is_joined());
}

#[test]
fn the_first_node_tells_webhooks_as_soon_as_it_serves() {
    let mut history = History::new(0);
    history.nodes.start();
    let client = history.connect(0);
    history.subscribe(client, "news", 0);
    history.nodes.pass(Duration::from_millis(1_250));
    assert!(history.nodes.told.is_empty());
    history.nodes.pass(2 * TICK);
    assert_eq!(history.nodes.told, ["news occupied"]);
}

#[test]
fn the_last_node_tells_webhooks_that_all_are_gone() {
    let mut history = History::new(1);
    let client = history.connect(0);
    history.subscribe(client, "news", 0);
    history.settle();
    history.stop(0);
    assert_eq!(history.nodes.told, ["news occupied", "news vacated"]);
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

fn to_channel(data: &str, except: Option<SocketId>) -> Publication {
    let target = Target::Channels(vec![named("news")]);
    Publication { target, event: "e".into(), data: data.into(), except }
}

#[test]
fn what_others_publish_waits_for_slow_shards_in_bounded_room_and_they_are_heard_meanwhile() {
    const COUNT: u64 = 80;
    let mut nodes = Nodes::new(2, settings());
    let subscribe = json!({ "event": "pusher:subscribe", "data": { "channel": "news" } }).to_string();
    let there = nodes.nodes.get_mut(&2).unwrap();
    let (mut peer, _) = there.world.connect_pusher(&there.app, 7);
    peer.send(TEXT, subscribe.as_bytes());
    nodes.settle();
    let pushes = |node: &nodes::Node| node.world.count(|metrics| metrics.pushes.get());
    let before = pushes(&nodes.nodes[&2]);
    // The socket is spared all of it, so that it is not cut off as a slow one.
    let large = to_channel(&"x".repeat(900_000), Some(SocketId { high: 1, low: 7 }));
    let here = nodes.nodes.get_mut(&1).unwrap();
    for _ in 0..COUNT {
        here.world.hub.publish(&here.app, &large).unwrap();
    }
    let (mut other, _) = here.world.connect_pusher(&here.app, 8);
    other.send(TEXT, subscribe.as_bytes());
    here.world.settle();
    here.world.tell_changes();
    let there = nodes.nodes.get_mut(&2).unwrap();
    there.hear_only();
    let hub = &there.world.hub;
    assert_eq!(hub.counts(&there.app, &named("news")).subscriptions, 2, "it was heard behind all that waits");
    let shed = hub.metrics.relays_shed.get();
    assert!(shed > 0 && hub.relays_waiting_bytes() > 0);
    assert!(hub.mailbox_bytes().iter().all(|bytes| *bytes < 34 << 20), "{:?}", hub.mailbox_bytes());
    assert!(hub.relays_waiting_bytes() <= 16 << 20);
    // Nothing goes past what waits, however small.
    let here = nodes.nodes.get_mut(&1).unwrap();
    here.world.hub.publish(&here.app, &to_channel("last", None)).unwrap();
    nodes.nodes.get_mut(&2).unwrap().hear_only();
    while nodes.nodes[&2].world.hub.relays_waiting_bytes() > 0 {
        nodes.settle();
        nodes.nodes[&2].world.hub.work_off();
    }
    nodes.settle();
    assert_eq!(pushes(&nodes.nodes[&2]) - before, COUNT - shed + 1);
    assert_eq!(peer.texts().iter().filter(|text| text.contains(r#""e""#)).count(), 1);
}

#[test]
fn what_is_published_behind_a_pattern_waits_for_it_and_other_apps_do_not() {
    let mut nodes = Nodes::new(2, settings());
    let others = [1, 2].map(|node| nodes.nodes[&node].world.register("y"));
    let there = nodes.nodes.get_mut(&2).unwrap();
    let mut peer = there.world.connect(&there.app, "a1");
    let mut other = there.world.connect(&others[1], "a1");
    nodes.settle();
    let world = &nodes.nodes[&1].world;
    world.push_to(&nodes.nodes[&1].app, "a.", "first").unwrap();
    world.push(&nodes.nodes[&1].app, "second").unwrap();
    world.push_to(&others[0], "^a1$", "other").unwrap();
    let there = nodes.nodes.get_mut(&2).unwrap();
    there.hear_only();
    there.world.settle();
    assert_eq!(other.texts(), ["other"], "one user is looked up at once");
    assert!(peer.texts().is_empty());
    there.world.hub.work_off();
    there.world.settle();
    assert_eq!(peer.texts(), ["first", "second"]);
    assert_eq!(there.world.hub.relays_waiting_bytes(), 0);
}

/// What a newcomer is told is more than a bus carries in one message: 3,000 members that say 1 KB each.
#[test]
fn a_newcomer_learns_of_many_members_that_say_much_of_themselves() {
    let mut nodes = Nodes::new(2, settings());
    let info = "x".repeat(1_000);
    let channel = |number: u64| format!("presence-{number}");
    let node = nodes.nodes.get_mut(&1).unwrap();
    for socket in 1..=3 {
        let (mut peer, _) = node.world.connect_pusher(&node.app, socket);
        for number in socket * 1_000..socket * 1_000 + 1_000 {
            let data = json!({ "user_id": format!("u{socket}"), "user_info": info }).to_string();
            let signature = hmac_hex("", &format!("1.{socket}:{}:{data}", channel(number)));
            let auth = format!("{APP}:{signature}");
            let subscribe = json!({ "event": "pusher:subscribe", "data": { "channel": channel(number),
                "auth": auth, "channel_data": data } });
            peer.send(TEXT, subscribe.to_string().as_bytes());
            node.world.settle();
            peer.frames();
        }
        std::mem::forget(peer);
    }
    nodes.settle();
    let third = nodes.start();
    nodes.pass(Duration::from_secs(5));
    for node in nodes.nodes.values() {
        assert!(node.world.hub.is_joined());
        assert_eq!(node.world.hub.metrics.messages_unsent.get(), 0);
        let members = (1_000..4_000).map(|number| node.world.hub.roster(&node.app, &named(&channel(number))));
        assert!(members.into_iter().all(|members| members.len() == 1 && members[0].info.len() > 1_000));
    }
    assert_eq!(nodes.nodes.len() as u64, third);
}

/// What a node said before it took leave, and is heard behind that, does not bring it back.
#[test]
fn who_took_leave_stays_away_whatever_is_heard_of_it_late() {
    let mut nodes = Nodes::new(2, settings());
    let third = nodes.start();
    nodes.pass(Duration::from_secs(5));
    let nodes_known = |nodes: &Nodes| nodes.nodes[&1].world.hub.bus_state().map(|state| state.nodes);
    assert_eq!(nodes_known(&nodes), Some(3));
    let hub = std::sync::Arc::clone(&nodes.nodes[&third].world.hub);
    hub.drain(Duration::ZERO);
    nodes.settle();
    hub.flush();
    nodes.settle();
    assert_eq!(nodes_known(&nodes), Some(2));
    // It still runs for a while.
    for _ in 0..12 {
        nodes.pass(TICK);
        assert_eq!(nodes_known(&nodes), Some(2));
    }
}
