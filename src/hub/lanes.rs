//! What other nodes published and this one cannot deliver at once: a pattern is to be matched first, or the shards have too
//! much mail. So whoever hears the bus never waits, and does nothing that grows with what clients hold.
//!
//! Always: nothing published to an app goes past what waits in its lane, and a lane is there until the last that was taken out
//! of it is delivered; what waits is bounded, and what finds no room is dropped, counted and logged once per burst.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use super::burst::Burst;
use super::link::lock;
use super::walk::{Matching, Walk};
use super::{Hub, Link, LiveApp};
use crate::model::{AppNumber, NodeId, Pattern, Recipients, Relay, UserId};
use crate::turns::{Line, TURN, Turn, Work};

/// What a waiting publication weighs besides its data, in bytes: roughly what it occupies.
const RELAY_BYTES: usize = 512;

/// One app may take this part of the room of all.
const APPS_SHARE: usize = 2;

/// With what is told of the clients of other nodes, a mailbox may hold so many times what publications may fill of it.
const CHANGES_ON_TOP: usize = 4;

/// The lanes of all apps.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: Mutex<HashMap<AppNumber, Lane>>,
    /// What waits in all of them.
    bytes: AtomicUsize,
    /// Those that found no room.
    shed: Burst,
    /// Those whose pattern could not be matched here.
    unmatched: Burst,
    /// What clients were not told of those of other nodes.
    untold: Burst,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<(Relay, NodeId)>,
    bytes: usize,
}

/// Where a publication went.
enum Place {
    /// Nothing waits before it, and it need not wait.
    None(Relay),
    /// It waits, as the first.
    First,
    /// It waits behind others.
    Behind,
    /// There was no room.
    Full,
}

impl Lanes {
    /// Puts a publication into the lane of its app if it must wait, or others do.
    fn put(&self, app: AppNumber, relay: Relay, sender: NodeId, must_wait: bool, bytes_max: usize) -> Place {
        let mut lanes = lock(&self.lanes);
        let is_first = !lanes.contains_key(&app);
        if is_first && !must_wait {
            return Place::None(relay);
        }
        let bytes = weight(&relay);
        let of_app = lanes.get(&app).map_or(0, |lane| lane.bytes);
        let of_all = self.waiting_bytes();
        // An app of which nothing waits finds room besides: two others may have taken all of it.
        let bytes_of_all_max = if of_app == 0 { 2 * bytes_max } else { bytes_max };
        let has_room = of_app + bytes <= bytes_max / APPS_SHARE && of_all + bytes <= bytes_of_all_max;
        // One that is larger than all the room still finds a place where nothing waits.
        if !has_room && of_all > 0 {
            return Place::Full;
        }
        let lane = lanes.entry(app).or_default();
        lane.bytes += bytes;
        lane.waiting.push_back((relay, sender));
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if is_first { Place::First } else { Place::Behind }
    }

    /// Takes the next publication of an app. What was taken before is delivered; if nothing waits, the lane is gone.
    fn next(&self, app: AppNumber) -> Option<(Relay, NodeId)> {
        let mut lanes = lock(&self.lanes);
        let lane = lanes.get_mut(&app)?;
        let next = lane.waiting.pop_front();
        match &next {
            Some((relay, _)) => {
                let bytes = weight(relay);
                lane.bytes -= bytes;
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            None => drop(lanes.remove(&app)),
        }
        next
    }

    /// What waits in all of them, in bytes.
    pub fn waiting_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

fn weight(relay: &Relay) -> usize {
    let to = match &relay.to {
        Recipients::UsersMatching(pattern) => pattern.len(),
        _ => 0,
    };
    RELAY_BYTES + relay.data.len() + relay.event.len() + to
}

impl Hub {
    /// Another node published something: it is delivered now, or waits in the lane of its app.
    pub(super) fn take_relay(self: &Arc<Self>, link: &Link, relay: Relay, sender: NodeId) {
        let Ok(app) = self.apps.find(relay.app.as_str()) else {
            self.metrics.facts_skipped.add(1);
            return;
        };
        // One user is looked up at once.
        let user = match &relay.to {
            Recipients::UsersMatching(pattern) => Pattern::read_literal(pattern, link.pattern_limits()),
            _ => None,
        };
        let is_search = matches!(relay.to, Recipients::UsersMatching(_)) && user.is_none();
        let must_wait = is_search || self.check_mailboxes().is_err();
        match self.lanes.put(app.number, relay, sender, must_wait, self.limits.mailbox_bytes_max) {
            Place::None(relay) => {
                let users = user.and_then(|user| app.directory().find(&user));
                self.deliver(&app, relay, sender, users.into_iter().collect());
            }
            Place::First => {
                let carrying = Carrying { hub: Arc::downgrade(self), app: Arc::clone(&app), search: None };
                self.turns.add(Line::Publications(app.number.0), Box::new(carrying));
            }
            Place::Behind => {}
            Place::Full => {
                self.metrics.relays_shed.add(1);
                if self.lanes.shed.begins(self.agenda.now()) {
                    tracing::warn!(app = %app.app.key, "publications of other nodes are dropped: more come than the shards take");
                }
            }
        }
    }

    /// The pattern of a publication could not be matched on this node.
    fn give_up(&self, app: &LiveApp, reason: &dyn std::fmt::Display) {
        self.metrics.relays_unmatched.add(1);
        if self.lanes.unmatched.begins(self.agenda.now()) {
            tracing::warn!(app = %app.app.key, %reason, "a publication of another node is dropped: its pattern cannot be matched here");
        }
    }

    /// Whether the shards take what is to be told of the clients of other nodes. It is small and must not wait, as it goes with
    /// what is counted; so it may come on top of full mailboxes, up to a bound.
    pub(super) fn takes_changes(&self) -> bool {
        let bytes_max = self.limits.mailbox_bytes_max.saturating_mul(CHANGES_ON_TOP);
        let takes = self.posts.iter().all(|post| post.mailbox.waiting_bytes() <= bytes_max);
        if !takes {
            self.metrics.changes_shed.add(1);
            if self.lanes.untold.begins(self.agenda.now()) {
                tracing::warn!(
                    "clients are not told who came or went on other nodes: the shards are too slow"
                );
            }
        }
        takes
    }

    /// What waits for the shards, or for a pattern, of what other nodes published, in bytes.
    pub fn relays_waiting_bytes(&self) -> usize {
        self.lanes.waiting_bytes()
    }
}

/// Empties the lane of an app, in order.
struct Carrying {
    hub: Weak<Hub>,
    app: Arc<LiveApp>,
    /// What was taken out and waits for its pattern.
    search: Option<(Relay, NodeId, Walk<Matching>)>,
}

impl Work for Carrying {
    fn turn(&mut self) -> Turn {
        let Some(hub) = self.hub.upgrade() else { return Turn::Done };
        let until = Instant::now() + TURN;
        loop {
            if hub.check_mailboxes().is_err() {
                return Turn::Later;
            }
            if let Some((relay, sender, mut walk)) = self.search.take() {
                match walk.advance(until) {
                    Ok(true) => hub.deliver(&self.app, relay, sender, walk.found()),
                    Ok(false) => self.search = Some((relay, sender, walk)),
                    Err(reason) => hub.give_up(&self.app, &reason.reason()),
                }
            } else {
                let Some((relay, sender)) = hub.lanes.next(self.app.number) else { return Turn::Done };
                self.begin(&hub, relay, sender);
            }
            if Instant::now() >= until {
                return Turn::Again;
            }
        }
    }
}

impl Carrying {
    /// Delivers a publication, or begins to look for the users that it is for.
    fn begin(&mut self, hub: &Hub, relay: Relay, sender: NodeId) {
        let (Recipients::UsersMatching(pattern), Some(link)) = (&relay.to, &hub.link) else {
            return hub.deliver(&self.app, relay, sender, Vec::<UserId>::new());
        };
        match Pattern::parse(pattern, link.pattern_limits()) {
            Ok(pattern) => {
                let walk = Walk::new(&self.app, Matching(pattern), hub.limits.pattern_time_max);
                self.search = Some((relay, sender, walk));
            }
            Err(error) => hub.give_up(&self.app, &error),
        }
    }
}
