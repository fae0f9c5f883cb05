//! Several nodes in one thread under one fake clock, on a bus within the process that a test can cut and make lose.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gusher::bus::BusEvent;
use gusher::bus::local::LocalBus;
use gusher::hub::{LiveApp, Stale};
use gusher::model::{AppSettings, Notice, NoticeEvent};
use tokio::sync::mpsc::Receiver;

use crate::world::World;

/// The app of all nodes.
pub const APP: &str = "x";

/// One node.
pub struct Node {
    pub world: World,
    pub app: Arc<LiveApp>,
    events: Receiver<BusEvent>,
    notices: Receiver<Notice>,
    /// It hears nothing for now, and makes up for it later.
    pub is_deaf: bool,
    /// What others may have changed in the store.
    pub stale: Vec<Stale>,
}

/// Nodes on one bus.
pub struct Nodes {
    pub bus: LocalBus,
    pub nodes: BTreeMap<u64, Node>,
    settings: AppSettings,
    next: u64,
}

impl Nodes {
    /// So many nodes that have joined, each with the same app.
    pub fn new(count: usize, settings: AppSettings) -> Self {
        let mut nodes = Self { bus: LocalBus::new(), nodes: BTreeMap::new(), settings, next: 1 };
        (0..count).for_each(|_| {
            nodes.start();
        });
        nodes.pass(Duration::from_secs(2));
        assert!(nodes.nodes.values().all(|node| node.world.hub.is_joined()));
        nodes
    }

    /// Starts one more node; it has not joined yet.
    pub fn start(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        let (world, events, notices) = World::linked(2, &self.bus, number);
        let app = world.register(APP);
        world.configure(&app, self.settings.clone());
        self.nodes.insert(number, Node { world, app, events, notices, is_deaf: false, stale: Vec::new() });
        number
    }

    /// A node dies at once and says nothing. Returns what it had still to tell.
    pub fn kill(&mut self, number: u64) -> Vec<String> {
        let mut node = self.nodes.remove(&number).unwrap();
        node.told()
    }

    /// A node takes leave, as at the end of its drain.
    pub fn stop(&mut self, number: u64) -> Vec<String> {
        self.nodes[&number].world.hub.flush();
        self.settle();
        self.kill(number)
    }

    /// Turns until every node has heard all and has nothing left to do.
    pub fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 2 {
            let heard: usize = self.nodes.values_mut().map(Node::turn).sum();
            quiet = if heard == 0 { quiet + 1 } else { 0 };
        }
    }

    /// Lets time pass on all nodes.
    pub fn pass(&mut self, time: Duration) {
        let step = Duration::from_millis(250);
        for _ in 0..time.as_millis() / step.as_millis() {
            self.nodes.values_mut().for_each(|node| node.world.pass(step));
            self.settle();
        }
    }

    /// What all nodes have handed to webhooks since this was last asked.
    pub fn told(&mut self) -> Vec<String> {
        let mut told: Vec<_> = self.nodes.values_mut().flat_map(Node::told).collect();
        told.sort();
        told
    }
}

impl Node {
    /// Works, tells and hears; how much it heard.
    fn turn(&mut self) -> usize {
        self.world.settle();
        self.world.hub.tell_changes();
        let mut heard = 0;
        while !self.is_deaf
            && let Ok(event) = self.events.try_recv()
        {
            self.stale.extend(self.world.hub.hear(&event));
            heard += 1;
        }
        self.world.settle();
        self.world.hub.tell_changes();
        heard
    }

    fn told(&mut self) -> Vec<String> {
        let told = std::iter::from_fn(|| self.notices.try_recv().ok());
        told.map(|notice| match notice.event {
            NoticeEvent::MemberAdded(user) => format!("{} + {user}", notice.channel),
            NoticeEvent::MemberRemoved(user) => format!("{} - {user}", notice.channel),
            NoticeEvent::ChannelOccupied => format!("{} occupied", notice.channel),
            NoticeEvent::ChannelVacated => format!("{} vacated", notice.channel),
            other => format!("{} {other:?}", notice.channel),
        })
        .collect()
    }
}
