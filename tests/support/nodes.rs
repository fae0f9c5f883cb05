//! Several nodes in one thread under one fake clock, on a bus within the process that a test can cut and make lose.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gusher::bus::BusEvent;
use gusher::bus::local::LocalBus;
use gusher::hook::Posted;
use gusher::hub::{LiveApp, Stale};
use gusher::model::{AppSettings, NoticeEvent};
use tokio::sync::mpsc::Receiver;

use crate::world::World;

/// The app of all nodes.
pub const APP: &str = "x";

/// One node.
pub struct Node {
    pub world: World,
    pub app: Arc<LiveApp>,
    events: Receiver<BusEvent>,
    notices: Posted,
    /// It hears nothing, and makes up for it later.
    pub is_deaf: bool,
    /// What others may have changed in the store.
    pub stale: Vec<Stale>,
    /// It stands still, since so long.
    pub frozen: Option<Duration>,
}

/// Nodes on one bus.
pub struct Nodes {
    pub bus: LocalBus,
    pub nodes: BTreeMap<u64, Node>,
    /// What webhooks were told, in order.
    pub told: Vec<String>,
    settings: AppSettings,
    next: u64,
}

impl Nodes {
    /// So many nodes that have joined, each with the same app.
    pub fn new(count: usize, settings: AppSettings) -> Self {
        let mut nodes =
            Self { bus: LocalBus::new(), nodes: BTreeMap::new(), told: Vec::new(), settings, next: 1 };
        (0..count).for_each(|_| {
            nodes.start();
        });
        // Longer than it takes until webhooks are told.
        nodes.pass(Duration::from_secs(5));
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
        self.nodes.insert(
            number,
            Node { world, app, events, notices, is_deaf: false, stale: Vec::new(), frozen: None },
        );
        number
    }

    /// A node dies at once and says nothing.
    pub fn kill(&mut self, number: u64) {
        let mut node = self.nodes.remove(&number).unwrap();
        self.told.extend(node.told());
    }

    /// A node closes its sockets, takes leave and ends.
    pub fn stop(&mut self, number: u64) {
        let node = self.nodes.get_mut(&number).unwrap();
        node.world.hub.drain(Duration::ZERO);
        self.settle();
        self.nodes[&number].world.hub.flush();
        self.kill(number);
    }

    /// A node stands still: it does nothing, and what it is sent waits.
    pub fn freeze(&mut self, number: u64) {
        self.nodes.get_mut(&number).unwrap().frozen = Some(Duration::ZERO);
    }

    /// It goes on, and does not know for how long it stood still before it looks at the clock.
    pub fn thaw(&mut self, number: u64) {
        let node = self.nodes.get_mut(&number).unwrap();
        let stood_still = node.frozen.take().unwrap_or_default();
        node.world.skip(stood_still);
    }

    /// Turns until every node has heard all and has nothing left to do.
    pub fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 2 {
            let heard: usize = self.nodes.values_mut().map(|node| node.turn(&mut self.told)).sum();
            quiet = if heard == 0 { quiet + 1 } else { 0 };
        }
    }

    /// Lets time pass on all nodes.
    pub fn pass(&mut self, time: Duration) {
        let step = Duration::from_millis(250);
        for _ in 0..time.as_millis() / step.as_millis() {
            for node in self.nodes.values_mut() {
                match &mut node.frozen {
                    Some(since) => *since += step,
                    None => node.world.pass(step),
                }
            }
            self.settle();
        }
    }
}

impl Node {
    /// Works, tells and hears; how much it heard.
    fn turn(&mut self, told: &mut Vec<String>) -> usize {
        if self.frozen.is_some() {
            return 0;
        }
        self.world.settle();
        self.world.tell_changes();
        told.extend(self.told());
        let mut heard = 0;
        while !self.is_deaf
            && let Ok(event) = self.events.try_recv()
        {
            self.stale.extend(self.world.hear(&event));
            heard += 1;
        }
        self.world.settle();
        self.world.tell_changes();
        told.extend(self.told());
        heard
    }

    /// Hears all that is there, while its shards do nothing, and what takes its time is still to be done.
    pub fn hear_only(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.stale.extend(self.world.hear_only(&event));
        }
    }

    fn told(&mut self) -> Vec<String> {
        let told = std::iter::from_fn(|| self.notices.try_next());
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
