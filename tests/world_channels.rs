//! Channels on a node in one thread under a fake clock: random histories beside a naive model of what every client is
//! owed.
//!
//! A history is drawn from a seed, which a failure prints beside the shortest history that fails the same way; with
//! `WORLD_SEED` in the environment the same histories are drawn again.

#[path = "support/owed.rs"]
mod owed;
#[path = "support/world.rs"]
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gusher::dialect::signature::hmac_hex;
use gusher::hub::LiveApp;
use gusher::model::{AppRate, AppSettings, ChannelName, Counts, Publication, SocketId, Target};
use owed::{Heard, Stream};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;
use world::{Peer, SETTINGS, World, frame};

const TEXT: u8 = 1;
const CLOSE: u8 = 8;

/// Members of a presence channel: fewer than there are users.
const MEMBERS_MAX: usize = 3;

/// How long a cache channel keeps its event.
const TTL_SECONDS: u32 = 3;

/// The channels of a history, whose number is appended.
const CHANNELS: [&str; 5] =
    ["news-", "cache-news-", "private-room-", "presence-room-", "presence-cache-room-"];

fn settings() -> AppSettings {
    AppSettings {
        max_presence_members: MEMBERS_MAX as u32,
        max_client_events_per_second: 1_000_000,
        max_presence_rejoins_per_second: 1_000_000,
        cache_ttl: TTL_SECONDS,
        activity_timeout: 3_600,
        ..AppSettings::default()
    }
}

fn named(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

#[derive(Clone, Debug)]
enum Ask {
    /// Get into a channel, on a presence channel as this user.
    Subscribe(usize, u8),
    Unsubscribe(usize),
    Whisper(usize),
}

#[derive(Clone, Debug)]
enum Step {
    Connect,
    /// A client goes; politely or not.
    Close(usize, bool),
    /// A client asks for these in one write, and its shard has one turn.
    Say(usize, Vec<Ask>),
    /// A backend publishes to some channels, perhaps sparing a client.
    Publish(Vec<usize>, Option<usize>),
    Turn(usize),
    Settle,
    Pass(u8),
    Read(usize),
}

/// Steps of a history in which so many of six clients that change something in a channel get out of it.
fn steps(leaving: u32) -> impl Strategy<Value = Vec<Step>> {
    let channel = 0..CHANNELS.len();
    let ask = prop_oneof![
        6 - leaving => (channel.clone(), 0..5_u8).prop_map(|(channel, user)| Ask::Subscribe(channel, user)),
        leaving => channel.clone().prop_map(Ask::Unsubscribe),
        2 => channel.clone().prop_map(Ask::Whisper),
    ];
    let client = any::<usize>();
    let step = prop_oneof![
        1 => Just(Step::Connect),
        1 => (client, any::<bool>()).prop_map(|(client, politely)| Step::Close(client, politely)),
        12 => (client, prop::collection::vec(ask, 1..4)).prop_map(|(client, asks)| Step::Say(client, asks)),
        6 => (prop::sample::subsequence((0..CHANNELS.len()).collect::<Vec<_>>(), 1..3), prop::option::of(client))
            .prop_map(|(channels, except)| Step::Publish(channels, except)),
        4 => (0..3_usize).prop_map(Step::Turn),
        1 => Just(Step::Settle),
        1 => (1..3_u8).prop_map(Step::Pass),
        3 => client.prop_map(Step::Read),
    ];
    prop::collection::vec(step, 0..40)
}

struct Client {
    number: u64,
    peer: Peer,
    shard: usize,
    /// By channel; what names none is under the empty name.
    streams: BTreeMap<String, Stream>,
}

impl Client {
    fn stream(&mut self, channel: &str) -> &mut Stream {
        self.streams.entry(channel.to_owned()).or_default()
    }

    fn read(&mut self) {
        for text in self.peer.texts() {
            let heard = Heard::read(&text);
            if heard.event == "pusher:connection_established" {
                continue;
            }
            let number = self.number;
            let stream = self.stream(&heard.channel);
            assert!(stream.hear(&heard), "{number} heard {text}, and is owed {stream:#?}");
        }
    }

    /// It has heard all that it is to hear.
    fn check_settled(&mut self) {
        self.read();
        for stream in self.streams.values() {
            assert!(stream.is_settled(), "{} never heard all of {stream:#?}", self.number);
        }
    }
}

/// A member as it should be: what its first client said of it holds until its last one has left.
#[derive(Debug)]
struct Seated {
    user: String,
    info: String,
    sockets: Vec<u64>,
}

/// A channel as it should be.
#[derive(Debug, Default)]
struct Room {
    /// The numbers of the clients in it, and as whom.
    subscribers: BTreeMap<u64, String>,
    /// Its members in the order they came.
    roster: Vec<Seated>,
    /// What it keeps, and until when.
    kept: Option<(Heard, u64)>,
}

impl Room {
    fn welcome(&self, name: &str) -> Heard {
        let data = if name.starts_with("presence-") {
            let ids: Vec<_> = self.roster.iter().map(|member| format!("\"{}\"", member.user)).collect();
            let hash = self.roster.iter().map(|member| format!("\"{}\":{}", member.user, member.info));
            let (ids, hash, count) = (ids.join(","), hash.collect::<Vec<_>>().join(","), self.roster.len());
            format!(r#"{{"presence":{{"ids":[{ids}],"hash":{{{hash}}},"count":{count}}}}}"#)
        } else {
            "{}".to_owned()
        };
        Heard::new("pusher_internal:subscription_succeeded", name, data)
    }

    fn kept(&self, now_ms: u64) -> Option<&(Heard, u64)> {
        self.kept.as_ref().filter(|(_, end)| *end > now_ms)
    }
}

/// A world beside how it should be.
struct History {
    world: World,
    app: Arc<LiveApp>,
    clients: Vec<Client>,
    rooms: BTreeMap<String, Room>,
    /// By shard: what was posted since its last turn and a newcomer may hear, and whom it spares.
    posted: Vec<Vec<(Heard, u64)>>,
    number: usize,
    /// Counts whatever has to be told apart.
    counter: u64,
    now_ms: u64,
}

impl History {
    fn new(shards: usize, settings: AppSettings) -> Self {
        let world = World::new(shards, SETTINGS);
        let app = world.register("x");
        world.configure(&app, settings);
        let posted = vec![Vec::new(); shards];
        let (clients, rooms) = (Vec::new(), BTreeMap::new());
        Self { world, app, clients, rooms, posted, number: 0, counter: 0, now_ms: 0 }
    }

    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn channel(&self, channel: usize) -> String {
        format!("{}{}", CHANNELS[channel], self.number)
    }

    fn run(&mut self, step: &Step) {
        let index = |client: &usize| *client % self.clients.len().max(1);
        match step {
            Step::Connect => self.connect(),
            Step::Publish(channels, except) => {
                let except =
                    except.and_then(|client| self.clients.get(index(&client))).map(|client| client.number);
                let channels: Vec<_> = channels.iter().map(|channel| self.channel(*channel)).collect();
                self.publish(&channels, except);
            }
            Step::Turn(shard) => self.turn(shard % self.posted.len()),
            Step::Settle => self.settle(),
            Step::Pass(seconds) => {
                self.world.pass(Duration::from_secs((*seconds).into()));
                self.now_ms += u64::from(*seconds) * 1000;
                self.settle();
            }
            Step::Close(..) | Step::Say(..) | Step::Read(_) if self.clients.is_empty() => {}
            Step::Close(client, politely) => self.close(index(client), *politely),
            Step::Say(client, asks) => self.say(index(client), asks),
            Step::Read(client) => {
                let client = index(client);
                self.clients[client].read();
            }
        }
    }

    fn connect(&mut self) {
        let number = self.count();
        let (peer, shard) = self.world.connect_pusher(&self.app, number);
        self.posted.iter_mut().for_each(Vec::clear);
        self.clients.push(Client { number, peer, shard, streams: BTreeMap::new() });
    }

    fn turn(&mut self, shard: usize) {
        self.world.turn_one(shard);
        self.posted[shard].clear();
    }

    fn settle(&mut self) {
        self.world.settle();
        self.posted.iter_mut().for_each(Vec::clear);
        self.agrees();
    }

    /// What the hub tells backends is what should be.
    fn agrees(&self) {
        for (name, room) in &self.rooms {
            let channel = named(name);
            let counts = Counts { users: room.roster.len(), subscriptions: room.subscribers.len() };
            assert_eq!(self.world.hub.counts(&self.app, &channel), counts, "{name}");
            let roster = self.world.hub.roster(&self.app, &channel);
            let told = roster.iter().map(|member| (member.user.as_str(), &*member.info));
            assert!(told.eq(room.roster.iter().map(|member| (&*member.user, &*member.info))), "{name}");
            let kept = self.world.hub.kept(&self.app, &channel);
            let kept = kept.map(|(kept, seconds)| (kept.event.to_string(), seconds));
            let owed = room.kept(self.now_ms);
            let owed = owed.map(|(event, end)| (event.event.clone(), (end - self.now_ms).div_ceil(1000)));
            assert_eq!(kept, owed, "{name}");
        }
    }

    fn publish(&mut self, channels: &[String], except: Option<u64>) {
        let (event, data) = (format!("e{}", self.count()), r#"{"a":"\u0001"}"#);
        let target = Target::Channels(channels.iter().map(|name| named(name)).collect());
        let socket = except.map(|low| SocketId { high: 1, low });
        let publication = Publication { target, event: (*event).into(), data: data.into(), except: socket };
        let reach = self.world.hub.publish(&self.app, &publication).unwrap();
        let mut sockets = 0;
        for name in channels {
            let heard = Heard::new(&event, name, data);
            let is_cached = named(name).is_cached();
            let room = self.rooms.entry(name.clone()).or_default();
            sockets += room.subscribers.len();
            if is_cached {
                room.kept = Some((heard.clone(), self.now_ms + u64::from(TTL_SECONDS) * 1000));
            }
            self.post(heard, except.unwrap_or(0), !is_cached);
        }
        assert_eq!(reach.sockets, sockets);
    }

    /// All in the channel are to hear this, but for one; who comes while it is on its way may, unless what it is
    /// told when it comes includes it.
    fn post(&mut self, heard: Heard, except: u64, is_news_to_newcomers: bool) {
        let Some(room) = self.rooms.get(&heard.channel) else { return };
        let is_meant = |number: &u64| *number != except && room.subscribers.contains_key(number);
        for client in self.clients.iter_mut().filter(|client| is_meant(&client.number)) {
            client.stream(&heard.channel).must_hear(heard.clone());
        }
        if is_news_to_newcomers {
            self.posted.iter_mut().for_each(|posted| posted.push((heard.clone(), except)));
        }
    }

    fn post_count(&mut self, name: &str) {
        let count = self.rooms[name].subscribers.len();
        if !name.starts_with("presence-") && count > 0 && self.app.settings().subscription_count {
            let data = format!(r#"{{"subscription_count":{count}}}"#);
            self.post(Heard::new("pusher_internal:subscription_count", name, data), 0, true);
        }
    }

    fn say(&mut self, client: usize, asks: &[Ask]) {
        let mut bytes = Vec::new();
        for ask in asks {
            let message = match ask {
                Ask::Subscribe(channel, user) => self.subscribe(client, &self.channel(*channel), *user),
                Ask::Unsubscribe(channel) => self.unsubscribe(client, &self.channel(*channel)),
                Ask::Whisper(channel) => self.whisper(client, &self.channel(*channel)),
            };
            bytes.extend(frame(TEXT, message.to_string().as_bytes()));
        }
        let client = &mut self.clients[client];
        client.peer.send_raw(&bytes);
        let shard = client.shard;
        self.turn(shard);
    }

    fn subscribe(&mut self, client: usize, name: &str, user: u8) -> serde_json::Value {
        let (user, info) = (format!("u{user}"), format!(r#"{{"n":{}}}"#, self.count()));
        let number = self.clients[client].number;
        let (data, text) = match name.starts_with("presence-") {
            true => {
                let data = format!(r#"{{"user_id":"{user}","user_info":{info}}}"#);
                (Some(data.clone()), format!("1.{number}:{name}:{data}"))
            }
            false => (None, format!("1.{number}:{name}")),
        };
        let auth = format!("x:{}", hmac_hex("", &text));
        self.enter(client, name, user, info);
        json!({ "event": "pusher:subscribe", "data": { "channel": name, "auth": auth, "channel_data": data } })
    }

    /// A client is let into a channel, or told why not.
    fn enter(&mut self, client: usize, name: &str, user: String, info: String) {
        let (number, shard) = (self.clients[client].number, self.clients[client].shard);
        let room = self.rooms.entry(name.to_owned()).or_default();
        let stream = self.clients[client].streams.entry(name.to_owned()).or_default();
        if room.subscribers.contains_key(&number) {
            let error = Heard::error(&format!("Existing subscription to channel {name}"));
            return self.clients[client].stream("").must_hear(error);
        }
        if name.starts_with("presence-") {
            let is_full = room.roster.len() == MEMBERS_MAX;
            match room.roster.iter_mut().find(|member| member.user == user) {
                Some(member) => member.sockets.push(number),
                None if is_full => {
                    let text = "The channel has as many members as it may have";
                    let data = format!(r#"{{"type":"LimitReached","error":"{text}","status":4100}}"#);
                    stream.must_hear(Heard::new("pusher:subscription_error", name, data));
                    return self.clients[client].stream("").must_hear(Heard::error(text));
                }
                None => {
                    let data = format!(r#"{{"user_id":"{user}","user_info":{info}}}"#);
                    room.roster.push(Seated { user: user.clone(), info, sockets: vec![number] });
                    self.post(Heard::new("pusher_internal:member_added", name, data), 0, false);
                }
            }
        }
        let room = self.rooms.get_mut(name).unwrap();
        room.subscribers.insert(number, user);
        let stream = self.clients[client].stream(name);
        stream.must_hear(room.welcome(name));
        if named(name).is_cached() {
            let miss = || Heard::new("pusher:cache_miss", name, "{}");
            stream.must_hear(room.kept(self.now_ms).map_or_else(miss, |(kept, _)| kept.clone()));
        }
        for (heard, except) in &self.posted[shard] {
            if heard.channel == name && *except != number {
                stream.may_hear(heard.clone());
            }
        }
        self.post_count(name);
    }

    fn unsubscribe(&mut self, client: usize, name: &str) -> serde_json::Value {
        if !self.leave(client, name) {
            let text = format!("No current subscription to channel {name}, or subscription in progress");
            self.clients[client].stream("").must_hear(Heard::error(&text));
        }
        json!({ "event": "pusher:unsubscribe", "data": { "channel": name } })
    }

    /// A client is out of a channel. Whether it was in it.
    fn leave(&mut self, client: usize, name: &str) -> bool {
        let number = self.clients[client].number;
        let Some(room) = self.rooms.get_mut(name) else { return false };
        let Some(user) = room.subscribers.remove(&number) else { return false };
        self.clients[client].stream(name).give_up();
        if let Some(member) = room.roster.iter_mut().find(|member| member.user == user) {
            member.sockets.retain(|socket| *socket != number);
            if member.sockets.is_empty() {
                room.roster.retain(|member| member.user != user);
                let data = format!(r#"{{"user_id":"{user}"}}"#);
                self.post(Heard::new("pusher_internal:member_removed", name, data), 0, false);
            }
        }
        self.post_count(name);
        true
    }

    fn whisper(&mut self, client: usize, name: &str) -> serde_json::Value {
        let (number, event) = (self.clients[client].number, format!("client-{}", self.count()));
        let user = self.rooms.get(name).and_then(|room| room.subscribers.get(&number)).cloned();
        if !name.starts_with("private-") && !name.starts_with("presence-") {
            let error = "Client event rejected - only supported on private and presence channels";
            self.clients[client].stream("").must_hear(Heard::error(error));
        } else if user.is_none() {
            let error =
                format!("Cannot broadcast client event (connection not subscribed to channel {name})");
            self.clients[client].stream("").must_hear(Heard::error(&error));
        } else {
            let user_id = user.filter(|_| name.starts_with("presence-"));
            self.post(Heard { user_id, ..Heard::new(&event, name, "[1]") }, number, true);
        }
        json!({ "event": event, "channel": name, "data": [1] })
    }

    fn close(&mut self, client: usize, politely: bool) {
        let names: Vec<String> = self.rooms.keys().cloned().collect();
        for name in &names {
            self.leave(client, name);
        }
        let Client { mut peer, shard, .. } = self.clients.swap_remove(client);
        if politely {
            peer.send(CLOSE, &1000_u16.to_be_bytes());
            self.turn(shard);
        }
        drop(peer);
        self.turn(shard);
    }

    /// Everybody leaves, and then nothing is left of the history.
    fn end(&mut self) {
        for client in 0..self.clients.len() {
            let is_in = |channel: &usize| {
                let room = self.rooms.get(&self.channel(*channel));
                room.is_some_and(|room| room.subscribers.contains_key(&self.clients[client].number))
            };
            let asks: Vec<Ask> = (0..CHANNELS.len()).filter(is_in).map(Ask::Unsubscribe).collect();
            self.say(client, &asks);
        }
        self.settle();
        for client in &mut self.clients {
            client.check_settled();
            client.streams.clear();
        }
        assert_eq!(self.app.census().channels, 0);
        self.rooms.clear();
        self.number += 1;
    }
}

/// Runs that many histories that begin with so many clients, who are all in all channels if they are a `crowd`.
fn histories(cases: u32, shards: usize, clients: usize, settings: &AppSettings, is_crowd: bool) {
    let seed = std::env::var("WORLD_SEED").map_or_else(|_| seed_of_now(), |seed| seed.parse().unwrap());
    println!("WORLD_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&u64::to_le_bytes(seed));
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    // A history goes on where the one before ended, which saves most of the time; after one that failed, anew.
    let last: RefCell<Option<History>> = RefCell::default();
    let run = |steps: Vec<Step>| {
        let former = last.borrow_mut().take();
        let mut history = former.unwrap_or_else(|| History::new(shards, settings.clone()));
        while history.clients.len() > clients {
            history.close(0, true);
        }
        while history.clients.len() < clients {
            history.connect();
        }
        for client in (0..history.clients.len()).filter(|_| is_crowd) {
            let asks: Vec<_> =
                (0..CHANNELS.len()).map(|channel| Ask::Subscribe(channel, (client % 3) as u8)).collect();
            history.say(client, &asks);
        }
        steps.iter().for_each(|step| history.run(step));
        history.settle();
        history.clients.iter_mut().for_each(Client::check_settled);
        history.end();
        *last.borrow_mut() = Some(history);
        Ok(())
    };
    TestRunner::new_with_rng(config, rng).run(&steps(if is_crowd { 3 } else { 2 }), run).unwrap();
}

fn seed_of_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// Whatever happens in whatever order on whatever shard: everybody hears what was published while it was in the channel,
/// once and in order, unless it was spared; its roster at the start and what it heard since make the true roster; what a
/// channel keeps is heard for as long as it is kept; and the hub counts right.
#[test]
fn everybody_hears_what_it_is_owed_and_nothing_twice() {
    let settings = AppSettings { subscription_count: true, ..settings() };
    histories(1_500, 3, 6, &settings, false);
    histories(500, 1, 4, &settings, false);
}

/// The same while walks through long lists are under way.
#[test]
fn everybody_in_a_crowd_hears_what_it_is_owed() {
    histories(40, 1, 70, &settings(), true);
}

/// A message that gets the client with the id `1.{number}` into a presence channel, as a user of that number.
fn entrance(number: u64, channel: &str) -> Vec<u8> {
    let data = format!(r#"{{"user_id":"{number}"}}"#);
    let auth = format!("x:{}", hmac_hex("", &format!("1.{number}:{channel}:{data}")));
    let data = json!({ "channel": channel, "auth": auth, "channel_data": data });
    json!({ "event": "pusher:subscribe", "data": data }).to_string().into_bytes()
}

fn is_refused(peer: &mut Peer) -> bool {
    peer.texts().iter().any(|text| text.contains("pusher:subscription_error"))
}

#[test]
fn a_socket_comes_back_into_a_presence_channel_no_oftener_than_it_may() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    world.configure(&app, AppSettings { max_presence_rejoins_per_second: 2, ..AppSettings::default() });
    let (mut member, _) = world.connect_pusher(&app, 1);
    let mut is_let_in = |world: &mut World, channel: &str| {
        member.send(TEXT, &entrance(1, channel));
        world.settle();
        let is_let_in = !is_refused(&mut member);
        let leave = json!({ "event": "pusher:unsubscribe", "data": { "channel": channel } });
        member.send(TEXT, leave.to_string().as_bytes());
        world.settle();
        is_let_in
    };
    let rounds: Vec<bool> = (0..5).map(|_| is_let_in(&mut world, "presence-a")).collect();
    assert_eq!(rounds, [true, true, true, false, false], "once, and back twice");
    assert!(is_let_in(&mut world, "presence-b"), "another channel has its own count");
    world.pass(Duration::from_secs(1));
    assert!(is_let_in(&mut world, "presence-a"), "in the next second it may again");
    assert_eq!(app.metrics.exceeded.of(AppRate::Rejoins).get(), 2);
}

#[test]
fn what_clients_cause_waits_for_room_in_the_mailboxes() {
    let mut world = World::new(1, SETTINGS);
    let app = world.register("x");
    let (mut member, _) = world.connect_pusher(&app, 1);
    member.send(TEXT, &entrance(1, "presence-a"));
    world.settle();
    assert!(!is_refused(&mut member));
    let _receiver = world.connect(&app, "u");
    let data = "x".repeat(1 << 20);
    let pushed = (0..100).take_while(|_| world.push(&app, &data).is_ok()).count();
    assert!(pushed < 100, "the mailbox is full");
    let whisper = json!({ "event": "client-a", "channel": "presence-a", "data": "d" });
    member.send(TEXT, whisper.to_string().as_bytes());
    member.send(TEXT, &entrance(1, "presence-b"));
    let public = json!({ "event": "pusher:subscribe", "data": { "channel": "public" } });
    member.send(TEXT, public.to_string().as_bytes());
    world.settle();
    let texts = member.texts().concat();
    assert!(texts.contains("pusher:subscription_error"), "the members of presence-b could not be told");
    assert!(texts.contains("subscription_succeeded"), "of a subscriber of public nobody is told");
    assert_eq!(world.hub.metrics.client_events.get(), 0);
    assert_eq!(world.hub.metrics.subscriptions_refused.get(), 1);
    member.send(TEXT, &entrance(1, "presence-b"));
    world.settle();
    assert!(!is_refused(&mut member));
}
