//! Apps that nobody registered, over several nodes in one thread under a fake clock: each is there where it is used, and
//! nowhere else.

#[path = "support/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use gusher::bus::BusEvent;
use gusher::bus::local::LocalBus;
use gusher::dialect::Session;
use gusher::dialect::cluster::socket;
use gusher::hub::{Attendance, LiveApp};
use gusher::model::{AppKey, ChannelName, Permissions, Refusal, SocketId, UserId, ValueEvent};
use tokio::sync::mpsc::Receiver;
use world::{Peer, World};

const TEXT: u8 = 1;

/// As long as an app that nobody uses may stay. A client that says nothing lives longer.
const UNTIL_FORGOTTEN: Duration = Duration::from_secs(31);

/// Nodes on one bus whose apps need no registration.
struct Nodes(Vec<(World, Receiver<BusEvent>)>);

impl Nodes {
    /// One for each number, which is how many apps it may know at once.
    fn new(apps_max: &[usize]) -> Self {
        let bus = LocalBus::new();
        let node = |(number, apps_max): (u64, &usize)| {
            let (world, events, _) = World::linked_with(2, &bus, number, Some(*apps_max));
            (world, events)
        };
        let mut nodes = Self((1..).zip(apps_max).map(node).collect());
        nodes.pass(Duration::from_secs(2));
        assert!(nodes.0.iter().all(|(world, _)| world.hub.is_joined()));
        nodes
    }

    fn world(&mut self, node: usize) -> &mut World {
        &mut self.0[node].0
    }

    /// Turns until every node has heard all.
    fn settle(&mut self) {
        let mut is_quiet = false;
        while !is_quiet {
            is_quiet = true;
            for (world, events) in &mut self.0 {
                world.settle();
                world.tell_changes();
                while let Ok(event) = events.try_recv() {
                    world.hear(&event);
                    is_quiet = false;
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let step = Duration::from_millis(250);
        for _ in 0..time.as_millis() / step.as_millis() {
            self.0.iter_mut().for_each(|(world, _)| world.pass(step));
            self.settle();
        }
    }

    /// Connects to an app on a node, and subscribes to the channel `c`.
    fn connect(&mut self, node: usize, app: &str, user: &str) -> Peer {
        let session = socket::Session {
            socket_id: socket::random_uuid(SocketId { high: 1, low: 1 }),
            user: Some(UserId::parse(user).unwrap()),
            permissions: Permissions::new(["*".to_owned()]),
            life_s: None,
        };
        let world = self.world(node);
        let live = world.hub.app_or_new(app).unwrap();
        let mut peer = world.connect_as(&live, Session::Cluster(Box::new(session)));
        peer.send(TEXT, br#"{"event":"gusher.subscribe","data":{"channel":"c"}}"#);
        self.settle();
        assert!(heard(&mut peer).contains("subscribe_succeeded"));
        peer
    }

    /// The apps that each node knows, sorted.
    fn known(&mut self, keys: &[&str]) -> Vec<Vec<String>> {
        let known = |world: &World| {
            let there = keys.iter().filter(|key| world.hub.app(key).is_ok());
            there.map(|key| (*key).to_owned()).collect()
        };
        self.0.iter().map(|(world, _)| known(world)).collect()
    }
}

fn heard(peer: &mut Peer) -> String {
    peer.texts().join("\n")
}

fn publish(world: &World, app: &Arc<LiveApp>, channel: &str) {
    let channel = ChannelName::parse_free(channel).unwrap();
    let event = ValueEvent { channel, event: "e".into(), value: "1".into() };
    world.hub.publish_values(app, &[event]).unwrap();
}

#[test]
fn an_app_is_known_where_it_is_used_and_forgotten_when_it_is_not() {
    let mut nodes = Nodes::new(&[10, 10]);
    for _ in 0..2 {
        let mut peer = nodes.connect(0, "chat", "anna");
        nodes.pass(UNTIL_FORGOTTEN);
        assert_eq!(nodes.known(&["chat"]), [["chat"], ["chat"]], "a quiet socket is use enough");
        let there = Attendance { app: AppKey::stored("chat"), sockets: 1, users: 1 };
        assert_eq!(nodes.world(1).hub.attendances(), [there]);
        let live = nodes.world(1).hub.app_or_new("chat").unwrap();
        publish(nodes.world(1), &live, "c");
        drop(live);
        nodes.settle();
        assert!(heard(&mut peer).contains(r#""data":1"#));
        drop(peer);
        nodes.pass(UNTIL_FORGOTTEN);
        assert_eq!(nodes.known(&["chat"]), [[""; 0]; 2]);
    }
}

#[test]
fn whoever_publishes_to_nobody_leaves_nothing_behind_but_an_event_that_is_kept() {
    let mut nodes = Nodes::new(&[10]);
    for (app, channel) in [("plain", "c"), ("keeps", "cache-c")] {
        let live = nodes.world(0).hub.app_or_new(app).unwrap();
        publish(nodes.world(0), &live, channel);
    }
    nodes.pass(UNTIL_FORGOTTEN);
    assert_eq!(nodes.known(&["plain", "keeps"]), [["keeps"]]);
    let kept_s = gusher::model::AppSettings::default().cache_ttl;
    nodes.pass(Duration::from_secs(kept_s.into()) + UNTIL_FORGOTTEN);
    assert_eq!(nodes.known(&["plain", "keeps"]), [[""; 0]]);
}

#[test]
fn an_app_for_which_there_was_no_room_counts_once_there_is() {
    let mut nodes = Nodes::new(&[10, 1]);
    let first = nodes.connect(0, "first", "anna");
    let hub = Arc::clone(&nodes.world(1).hub);
    assert!(hub.knows_all());
    let _second = nodes.connect(0, "second", "berta");
    assert_eq!(nodes.known(&["first", "second"])[1], ["first"]);
    assert!(!hub.knows_all());
    assert_eq!(hub.app_or_new("third").err(), Some(Refusal::Overloaded));
    drop(first);
    nodes.pass(UNTIL_FORGOTTEN);
    let there = Attendance { app: AppKey::stored("second"), sockets: 1, users: 1 };
    assert_eq!(hub.attendances(), [there]);
    assert!(hub.knows_all());
}
