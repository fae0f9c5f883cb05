//! Channels with crowds that come and go, on a node in one thread under a fake clock: how often they are counted aloud,
//! and what their coming and going costs.

#[path = "support/world.rs"]
mod world;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use gusher::dialect::signature::hmac_hex;
use gusher::hub::{LiveApp, Subscriber};
use gusher::model::{AppSettings, ChannelName, Member, Publication, SocketId, Target, UserId};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Value, json};
use world::{Peer, SETTINGS, World};

const TEXT: u8 = 1;

/// Up to so many subscriptions each change of their number is told at once.
const COUNTED_AT_ONCE_MAX: usize = 100;

/// Above that it is told no oftener.
const COUNTED_EVERY: Duration = Duration::from_secs(5);

fn world(shards: usize) -> (World, Arc<LiveApp>) {
    let world = World::new(shards, SETTINGS);
    let app = world.register("x");
    let settings = AppSettings {
        subscription_count: true,
        max_presence_members: 1_000_000,
        activity_timeout: 3_600,
        ..AppSettings::default()
    };
    world.configure(&app, settings);
    (world, app)
}

fn ask(peer: &mut Peer, event: &str, channel: &str) {
    let message = json!({ "event": format!("pusher:{event}"), "data": { "channel": channel } });
    peer.send(TEXT, message.to_string().as_bytes());
}

/// The counts among what a client has heard, in order.
fn counts(peer: &mut Peer) -> Vec<usize> {
    let messages = peer.texts().into_iter().map(|text| serde_json::from_str::<Value>(&text).unwrap());
    let counts = messages.filter(|message| message["event"] == "pusher_internal:subscription_count");
    let count = |message: Value| {
        let data: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
        data["subscription_count"].as_u64().unwrap() as usize
    };
    counts.map(count).collect()
}

/// A channel that grows and shrinks, and one client that stays in it.
struct Crowd {
    world: World,
    peers: Vec<Peer>,
    channel: String,
    /// How many of the peers are in it.
    size: usize,
    time: Duration,
    /// What was told last, and when.
    told: (usize, Duration),
}

impl Crowd {
    fn new(peers: u64) -> Self {
        let (mut world, app) = world(2);
        let peers = (0..peers).map(|number| world.connect_pusher(&app, number).0).collect();
        Self { world, peers, channel: String::new(), size: 0, time: Duration::ZERO, told: Default::default() }
    }

    /// Goes on in another channel, in which the first client is.
    fn begin(&mut self, channel: String) {
        (0..self.size).for_each(|peer| ask(&mut self.peers[peer], "unsubscribe", &self.channel));
        self.world.settle();
        self.peers.iter_mut().for_each(|peer| drop(peer.frames()));
        (self.channel, self.size, self.told) = (channel, 0, (0, self.time));
        self.resize(1);
    }

    /// Has clients come or go until there are so many.
    fn resize(&mut self, size: usize) {
        (self.size..size).for_each(|peer| ask(&mut self.peers[peer], "subscribe", &self.channel));
        (size..self.size).for_each(|peer| ask(&mut self.peers[peer], "unsubscribe", &self.channel));
        self.size = size;
        self.world.settle();
        self.hear();
        assert!(size > COUNTED_AT_ONCE_MAX || self.told.0 == size, "{size}, and told {:?}", self.told);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.time + time;
        while self.time < end {
            let step = Duration::from_millis(250).min(end - self.time);
            self.world.pass(step);
            self.time += step;
            self.hear();
        }
    }

    fn hear(&mut self) {
        for count in counts(&mut self.peers[0]) {
            let since = self.time - self.told.1;
            assert!(count <= COUNTED_AT_ONCE_MAX || since >= COUNTED_EVERY, "{count} told after {since:?}");
            self.told = (count, self.time);
        }
        self.peers.iter_mut().for_each(|peer| drop(peer.frames()));
    }
}

/// However a channel grows and shrinks: above a hundred its size is told every five seconds at most, up to a hundred at
/// once, and what was told last is true.
#[test]
fn a_crowd_is_counted_aloud_seldom_and_at_last_rightly() {
    let mut crowd = Crowd::new(112);
    let change = (prop_oneof![1..112_usize, 96..112_usize], 0..24_u64);
    let changes = prop::collection::vec(change, 1..8);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for case in 0..24 {
        let changes = changes.new_tree(&mut runner).unwrap().current();
        println!("{changes:?}");
        crowd.begin(format!("c{case}"));
        for (size, quarters) in changes {
            crowd.resize(size);
            crowd.pass(Duration::from_millis(250 * quarters));
        }
        crowd.pass(COUNTED_EVERY);
        assert_eq!(crowd.told.0, crowd.size);
    }
}

/// How many messages were posted to the shards since the last time.
fn posted(world: &World) -> usize {
    let taken = world.mailboxes.iter().map(|mailbox| {
        let mut mail = VecDeque::new();
        mailbox.take(&mut mail);
        mail.iter().for_each(|message| mailbox.done(message));
        mail.len()
    });
    taken.sum()
}

/// Thousands come and go: what each of them has the hub post does not depend on how many are there.
fn storm(channel: &str, member: impl Fn(u64) -> Option<Member>, posts_max: usize) {
    const SOCKETS: u64 = 4_000;
    const SHARDS: u64 = 4;
    let (world, app) = world(SHARDS as usize);
    let channel = ChannelName::parse(channel).unwrap();
    let at = |low: u64| ((low % SHARDS) as usize, SocketId { high: 1, low });
    for low in 0..SOCKETS {
        let ((shard, socket), member) = (at(low), member(low));
        world
            .hub
            .subscribe(&app, &channel, &Subscriber { shard, socket, member: member.as_ref(), bearer: None })
            .unwrap();
        let posts = posted(&world);
        assert!(posts <= posts_max || low < COUNTED_AT_ONCE_MAX as u64, "{posts} for number {low}");
        assert!(posts <= SHARDS as usize, "{posts} for number {low}");
    }
    for low in (1..SOCKETS).rev() {
        let ((shard, socket), user) = (at(low), member(low).map(|member| member.user));
        let subscriber = Subscriber { shard, socket, member: user.as_ref(), bearer: None };
        world.hub.unsubscribe(&app, &channel, &subscriber, low < SHARDS);
        let posts = posted(&world);
        assert!(posts <= posts_max || low <= COUNTED_AT_ONCE_MAX as u64, "{posts} for number {low}");
        assert!(posts <= SHARDS as usize, "{posts} for number {low}");
    }
    let target = Target::Channels(vec![channel]);
    let event = Publication { target, event: "e".into(), data: "".into(), except: None };
    world.hub.publish(&app, &event).unwrap();
    assert_eq!(posted(&world), 1, "only the shard that still has a subscriber is told");
}

fn user(number: u64) -> Option<Member> {
    Some(Member { user: UserId::parse(&format!("u{number}")).unwrap(), info: "{}".into() })
}

#[test]
fn a_storm_on_a_presence_channel_posts_one_message_to_each_shard_for_each_member() {
    storm("presence-room", user, 4);
}

#[test]
fn a_storm_of_sockets_of_few_users_posts_nothing() {
    storm("presence-room", |number| user(number % 10), 0);
}

#[test]
fn a_storm_on_other_channels_posts_next_to_nothing() {
    for channel in ["news", "cache-news", "private-encrypted-cache-news"] {
        storm(channel, |_| None, 0);
    }
}

/// All at once, with nobody's turn in between: each socket is written its answers and once all that happened since,
/// and each shard is told of each change once.
#[test]
fn a_storm_costs_each_socket_a_few_writes_however_many_there_are() {
    const SOCKETS: u64 = 150;
    const SHARDS: usize = 2;
    let (mut world, app) = world(SHARDS);
    let mut peers: Vec<Peer> = (0..SOCKETS).map(|number| world.connect_pusher(&app, number).0).collect();
    for (event, channel) in (0..20).flat_map(|round| {
        let channel = ["cache-news", "presence-room"][round % 2];
        [("subscribe", channel), ("unsubscribe", channel)]
    }) {
        let before = (world.count(|shard| shard.writes.get()), world.count(|shard| shard.pushes.get()));
        for (number, peer) in peers.iter_mut().enumerate() {
            let member = format!(r#"{{"user_id":"{number}"}}"#);
            let auth = format!("x:{}", hmac_hex("", &format!("1.{number}:{channel}:{member}")));
            let data = json!({ "channel": channel, "auth": auth, "channel_data": member });
            let message = json!({ "event": format!("pusher:{event}"), "data": data });
            peer.send(TEXT, message.to_string().as_bytes());
        }
        world.settle();
        peers.iter_mut().for_each(|peer| drop(peer.frames()));
        let writes = world.count(|shard| shard.writes.get()) - before.0;
        let pushes = world.count(|shard| shard.pushes.get()) - before.1;
        assert!(writes <= 4 * SOCKETS, "{event} {channel}: {writes} writes");
        assert!(pushes <= SHARDS as u64 * SOCKETS, "{event} {channel}: {pushes} pushes");
    }
}
