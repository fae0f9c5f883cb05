//! What a node tells the others and learns from them. What it learns of their sockets counts beside its own
//! (`hub/counting.rs`).
//!
//! Always: the order of locks is peers, then a directory, then the rest of the link.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::agenda::Millis;
use super::asked::{Page, Question};
use super::counting::Tidings;
use super::directory::Directory;
use super::link::lock;
use super::peers::{Heard, Peers, Pulse, Rank};
use super::{FollowNumber, Hub, Link, LiveApp, Message, Stale, WhenDown};
use crate::bus::{BusEvent, NotSent, wire};
use crate::model::{
    AppHoldings, AppKey, Audience, Content, Fact, Item, Kept, KeptEvent, NodeId, Push, Recipients, Refusal,
    Relay, Share, UserId,
};

/// How often a node shows that it lives, in milliseconds.
pub(super) const BEAT_EVERY_MS: Millis = 1_000;

/// A node of which nothing was heard for so long is dead, in milliseconds.
pub(super) const SILENCE_MAX_MS: Millis = 3_000;

/// How long a node that hears nobody who serves listens before it takes itself for one that knows everybody: longer than a
/// beat, also of one that is late, in milliseconds. Where somebody serves, that node says who there is.
pub(super) const LISTEN_MS: Millis = BEAT_EVERY_MS + 500;

/// How long changes are gathered before they are told.
pub const GATHER: Duration = Duration::from_millis(5);

impl Hub {
    /// Whether this node knows what the others hold, and hears of each change; always, when there are none.
    pub fn is_joined(&self) -> bool {
        self.link.as_ref().is_none_or(Link::is_ready)
    }

    /// What operators call the bus, if there is one.
    pub fn bus_name(&self) -> Option<&'static str> {
        self.link.as_ref().map(Link::bus_name)
    }

    /// Something happened on the bus, and is heard `now`. Returns what is to be read again from the store.
    pub fn hear(self: &Arc<Self>, event: &BusEvent, now: Instant) -> Option<Stale> {
        let link = self.link.as_ref()?;
        self.notice_standstill(link, now);
        match event {
            BusEvent::Up => {
                self.come_up(link);
                return Some(Stale::AnyApp);
            }
            BusEvent::Down => {
                link.set_up(false, self.agenda.now());
                self.release(link, link.follows.drawn());
                tracing::warn!("the bus is down");
            }
            BusEvent::Lost(frames) => {
                self.metrics.facts_lost.add(*frames);
                tracing::warn!(frames, "messages of other nodes were lost: this node was too slow");
                // One of them may have told of an app.
                return Some(Stale::AnyApp);
            }
            BusEvent::Frame(frame) => match wire::decode(frame) {
                Ok((sender, Fact::Followed(number))) if sender == link.me() => {
                    link.set_hears(number, self.agenda.now());
                    if lock(&link.isolation).receive(number) {
                        self.changes.notify_one();
                    }
                    self.release(link, number);
                    if link.is_cut_off() && link.hears_since().is_some() {
                        self.come_up(link);
                        return Some(Stale::AnyApp);
                    }
                }
                Ok((sender, _)) if sender == link.me() => {}
                Ok((sender, fact)) => return self.learn(link, sender, fact),
                Err(_) => self.metrics.facts_skipped.add(1),
            },
        }
        None
    }

    /// From now on facts of that subject are heard. Returns what is to be waited for until it is so.
    pub(super) fn follow(&self, link: &Link, subject: &str) -> FollowNumber {
        link.follow(subject);
        let number = link.follows.draw();
        if link.probe(number) == Err(NotSent::Down) {
            // It is followed before the bus is up again, and nothing comes until then.
            self.release(link, number);
        }
        number
    }

    /// Whoever waited for the bus to follow what was asked for up to this number goes on.
    fn release(&self, link: &Link, number: FollowNumber) {
        let shards = link.follows.learn(number);
        shards.iter().for_each(|shard| self.posts[shard].mailbox.post(Message::Followed(number)));
    }

    /// Nobody waits for the bus for ever; and a probe may be lost.
    fn look_at_follows(&self, link: &Link, now: Millis) {
        if let Some(number) = link.follows.overdue(now) {
            self.metrics.follows_late.add(1);
            self.release(link, number);
        }
        let is_awaited = link.follows.is_awaited() || lock(&link.isolation).is_awaited();
        if is_awaited || link.is_up() && link.hears_since().is_none() {
            // A probe that cannot be sent, or is lost, is sent again.
            let _ = link.probe(link.follows.drawn());
        }
    }

    /// Takes leave of the others: this node holds nothing any more.
    pub(super) fn say_bye(&self) {
        if let Some(link) = &self.link {
            self.tell_all(link);
            // What is not told by now is the task of others.
            link.stand_back();
            self.say(link, &link.everybody(), &Fact::Bye);
            link.set_parted();
        }
    }

    /// Lets what was said go out. The last that is done.
    pub async fn close(&self) {
        if let Some(link) = &self.link {
            link.close().await;
        }
    }

    /// Something of this node's share has changed.
    pub(super) fn mark(&self, app: &Arc<LiveApp>, directory: &mut Directory, item: impl FnOnce() -> Item) {
        let Some(link) = &self.link else { return };
        self.enlist(link, app, directory);
        directory.changed.insert(item());
    }

    /// Sends to the other nodes what is published here. Called while the app's directory is held, before anybody here
    /// gets it.
    pub(super) fn relay(&self, relay: impl FnOnce() -> Relay) -> Result<(), Refusal> {
        let Some(link) = &self.link else { return Ok(()) };
        let relay = Relay { number: link.next_relay(), ..relay() };
        let subject = match &relay.to {
            // Every node keeps the last event, so that whoever comes first anywhere is told.
            Recipients::Channel(channel) if channel.is_cached() => link.everybody(),
            Recipients::Channel(channel) => link.channel(&relay.app, channel),
            _ => link.app(&relay.app),
        };
        self.tell(link, &subject, &Fact::Relay(relay))
    }

    /// Sends a fact to the other nodes that follow the subject.
    pub(super) fn tell(&self, link: &Link, subject: &str, fact: &Fact) -> Result<(), Refusal> {
        match link.send(subject, fact) {
            Err(NotSent::Down) if link.when_down() == WhenDown::Local => {
                self.metrics.facts_unsent.add(1);
                Ok(())
            }
            Ok(()) => Ok(()),
            Err(reason) => {
                self.metrics.messages_unsent.add(reason.name(), 1);
                Err(match reason {
                    NotSent::Down => Refusal::BusDown,
                    NotSent::Full => Refusal::Overloaded,
                    NotSent::TooLarge => Refusal::BodyTooLarge,
                })
            }
        }
    }

    /// Sends what is said again, or asked for, when it does not get through.
    pub(super) fn say(&self, link: &Link, subject: &str, fact: &Fact) {
        if let Err(reason) = link.send(subject, fact) {
            self.note_unsent(reason);
        }
    }

    /// Something for other nodes was not sent.
    pub(super) fn note_unsent(&self, reason: NotSent) {
        self.metrics.messages_unsent.add(reason.name(), 1);
        // That the bus is down is in the log.
        let burst = match reason {
            NotSent::Down => return,
            NotSent::Full => &self.bus_full,
            NotSent::TooLarge => &self.bus_too_small,
        };
        if burst.begins(self.agenda.now()) {
            tracing::warn!(%reason, "a message to other nodes was not sent; they learn late what it said");
        }
    }

    /// An app was registered, changed or removed on this node: the others read it again. Where that does not get through,
    /// it is said again later.
    pub(super) fn announce(&self, app: &AppKey) {
        let Some(link) = &self.link else { return };
        if link.send(&link.everybody(), &Fact::AppChanged(app.clone())).is_err() {
            link.note_unannounced(app);
        }
    }

    /// An app is known now: what other nodes hold of it counts.
    pub(super) fn adopt(&self, app: &AppKey) {
        let Some(link) = &self.link else { return };
        let mut peers = lock(&link.peers);
        for node in peers.nodes() {
            let nothing_new = AppHoldings { app: app.clone(), holdings: Vec::new() };
            self.count(&mut peers, node, nothing_new, Tidings::News);
        }
    }

    /// Shows that this node lives, and looks who of the others does.
    pub(super) fn tick_link(&self, last: Millis) {
        let Some(link) = &self.link else { return };
        let now = self.agenda.now();
        let stood_still = Some(now - last).filter(|time| *time > BEAT_EVERY_MS);
        self.look_at_follows(link, now);
        self.look_at_isolation(link, stood_still.unwrap_or_default());
        let mut peers = lock(&link.peers);
        if !link.is_up() {
            return;
        }
        // Whoever stood still heard nothing, whether there was something to hear or not.
        if let Some(time) = stood_still {
            peers.excuse(time, now);
            link.stand_back();
        }
        if now / BEAT_EVERY_MS != last / BEAT_EVERY_MS {
            self.beat(link, &peers);
        }
        link.take_unannounced().iter().for_each(|app| self.announce(app));
        for (node, question) in peers.overdue(now) {
            self.say(link, &link.only(node), &question.fact());
        }
        for node in peers.silent(now.saturating_sub(SILENCE_MAX_MS)) {
            tracing::warn!(%node, "nothing is heard of a node any more");
            if link.is_settled() {
                peers.outlive([node]);
            }
            self.bury(link, &mut peers, node);
        }
        let knows_who = |since| peers.any_ready() || now >= since + LISTEN_MS;
        let has_listened = link.hears_since().is_some_and(knows_who);
        if !link.is_ready() && has_listened && peers.is_complete(now) {
            link.set_ready();
            tracing::info!(nodes = peers.nodes().len() + 1, "joined the other nodes");
        }
        self.ask_owed(link, &mut peers);
        self.share_tasks(link, &mut peers);
    }

    fn come_up(&self, link: &Link) {
        let now = self.agenda.now();
        let mut peers = lock(&link.peers);
        peers.excuse(Millis::MAX, now);
        link.follow(&link.everybody());
        link.follow(&link.only(link.me()));
        link.set_up(true, now);
        self.say(link, &link.everybody(), &Fact::Hello);
        // Behind what it follows: when this is back, the others are heard, and hear this node.
        let _ = link.probe(link.follows.drawn());
        self.beat(link, &peers);
        tracing::info!("the bus is up");
    }

    pub(super) fn beat(&self, link: &Link, peers: &Peers) {
        if link.has_parted() {
            return;
        }
        let number = *lock(&link.number);
        let beat = Fact::Beat {
            number,
            is_ready: link.is_ready(),
            peers: peers.nodes(),
            epoch: link.epoch(),
            members: Some(link.members()),
            is_settled: link.is_settled(),
        };
        self.say(link, &link.everybody(), &beat);
    }

    fn learn(self: &Arc<Self>, link: &Link, sender: NodeId, fact: Fact) -> Option<Stale> {
        let now = self.agenda.now();
        match fact {
            Fact::Relay(relay) => self.take_relay(link, relay, sender),
            Fact::Kept(kept) => self.learn_kept(kept, sender),
            Fact::AppChanged(app) => return Some(Stale::App(app)),
            Fact::Terminate(app, user) => {
                if let Ok(app) = self.apps.find(app.as_str()) {
                    self.close_user(&app, &user);
                }
            }
            Fact::Permit(app, user, change) => {
                if let Ok(app) = self.apps.find(app.as_str()) {
                    self.post_permit(&app, &user, change);
                }
            }
            // It comes late, behind its leave: nobody would take in the answer, and nothing forget the question.
            Fact::Ask { .. } if lock(&link.peers).has_parted(sender) => {}
            Fact::Ask { token, owed_only, is_paced } => {
                self.take_question(link, sender, Question { token, owed_only, is_paced });
            }
            Fact::Taken { token, pages } => self.take_receipt(link, sender, token, pages),
            Fact::Bye => {
                let mut peers = lock(&link.peers);
                peers.part(sender);
                self.bury(link, &mut peers, sender);
            }
            // Said by others to themselves.
            Fact::Followed(_) => {}
            Fact::Hello | Fact::Beat { .. } | Fact::Changed { .. } | Fact::Page { .. } => {
                let mut peers = lock(&link.peers);
                if peers.has_parted(sender) {
                    // It comes late, behind its leave, and would bring the node back.
                    return None;
                }
                let is_beat = matches!(fact, Fact::Beat { .. });
                let met = peers.hear(sender, now);
                let heard = self.hear_peer(link, &mut peers, sender, fact);
                // Whoever is no member cannot know what webhooks were told, unless it outlived who answers; the answer of
                // one that knows says what they were not.
                let tidings = match heard.rank {
                    _ if link.is_settled() => Tidings::News,
                    Rank::Below => Tidings::News,
                    Rank::Above => Tidings::Known,
                    Rank::Equal => Tidings::Hearsay,
                };
                heard.answered.into_iter().for_each(|told| self.count(&mut peers, sender, told, tidings));
                if let Some((standing, owed)) = heard.owed {
                    self.learn_owed(link, sender, standing, owed);
                }
                heard.apps.into_iter().for_each(|told| self.count(&mut peers, sender, told, Tidings::News));
                if let Some((token, pages)) = heard.receipt {
                    self.say(link, &link.only(sender), &Fact::Taken { token, pages });
                }
                if let Some(question) = heard.ask.or(met.ask) {
                    self.say(link, &link.only(sender), &question.fact());
                }
                if is_beat {
                    self.ask_owed(link, &mut peers);
                }
                self.share_tasks(link, &mut peers);
            }
        }
        None
    }

    fn hear_peer(&self, link: &Link, peers: &mut Peers, sender: NodeId, fact: Fact) -> Heard {
        let now = self.agenda.now();
        match fact {
            Fact::Hello => {
                self.beat(link, peers);
                Heard::default()
            }
            Fact::Beat { number, is_ready, peers: known, epoch, members, is_settled } => {
                let others = known.into_iter().filter(|node| *node != link.me()).collect();
                peers.expect(sender, others, now + SILENCE_MAX_MS);
                let acknowledges = members.map_or(Some(link.epoch()), |members| {
                    members.into_iter().find(|(node, _)| *node == link.me()).map(|(_, epoch)| epoch)
                });
                peers.beat(sender, Pulse { number, is_ready, is_settled, epoch, acknowledges }, now)
            }
            Fact::Changed { number, apps, told } => {
                // Before what it is about, so that nobody tells that meanwhile.
                self.learn_told(link, &told);
                peers.changed(sender, number, (apps, told), now)
            }
            Fact::Page { token, number, index, is_last, apps, is_settled, owed, tales, outlived } => {
                let page = Page { token, number, index, is_last, apps, is_settled, owed, tales, outlived };
                peers.page(sender, link.me(), page, now)
            }
            _ => Heard::default(),
        }
    }

    /// A node is gone, and with it all that it held. Where this node is no member, and the members have noticed before, they
    /// say what of that is still to be told.
    fn bury(&self, link: &Link, peers: &mut Peers, node: NodeId) {
        let mut tidings = Tidings::News;
        if !link.is_settled() {
            if peers.is_buried_by_all(node) {
                tidings = Tidings::Known;
            }
            peers.forget_answers();
        }
        lock(&link.answers).forget(node);
        let tables = peers.remove(node);
        for (app, table) in tables {
            let Some(live) = self.apps.find(app.as_str()).ok() else { continue };
            if table.counted_into == Some(live.number) {
                let gone = table.shares.into_iter().map(|(item, share)| (item, share, Share::default()));
                self.count_in(&live, node, gone.collect(), tidings);
            }
        }
        // Last, as whoever takes the tasks over must know what is so.
        self.share_tasks(link, peers);
    }

    /// Delivers to the sockets of this node what was published on another; to these users, if it is for users.
    pub(super) fn deliver(&self, app: &Arc<LiveApp>, relay: Relay, sender: NodeId, users: Vec<UserId>) {
        let Relay { to, event, is_value, user, except, data, kept_ms, number, .. } = relay;
        let (kept, text) = (Arc::clone(&event), Arc::clone(&data));
        let content = match is_value {
            true => Content::Value { event, value: data },
            false => Content::Event { event, data, user },
        };
        let mut directory = app.directory();
        if number > 0 && directory.is_late(&to, sender, number) {
            return self.drop_late(sender);
        }
        let (audience, shards) = match to {
            Recipients::Channel(channel) => {
                let revision = kept_ms.map_or(0, |kept_ms| {
                    let text = if is_value { crate::model::text_of_json(&text).into() } else { text };
                    let event = Kept { event: kept, data: text };
                    self.keep(app, &mut directory, &channel, event, (kept_ms, sender))
                });
                return self.post_to_channel(app, &directory, &channel, content, except, revision);
            }
            Recipients::UsersMatching(_) => {
                let (users, _, shards) = directory.resolve(users);
                (Audience::Users(users.into()), shards)
            }
            Recipients::Everyone => (Audience::Everyone, directory.shards()),
            Recipients::Bearers(user) => {
                let shards = directory.bearers.shards(&user);
                (Audience::Bearers(user), shards)
            }
            Recipients::Socket(socket) => (Audience::Socket(socket), directory.all_shards()),
        };
        self.post(Push { app: app.number, audience, content, except, revision: 0 }, shards);
    }

    /// A publication came after later ones of its node.
    fn drop_late(&self, sender: NodeId) {
        self.metrics.facts_late.add(1);
        if self.link.as_ref().is_some_and(|link| link.late.begins(self.agenda.now())) {
            tracing::warn!(node = %sender, "publications of a node came after later ones, and were dropped");
        }
    }

    fn learn_kept(&self, told: KeptEvent, sender: NodeId) {
        let Ok(app) = self.apps.find(told.app.as_str()) else { return };
        let mut directory = app.directory();
        let kept = Kept { event: told.event, data: told.data };
        let end = self.agenda.now() + told.rest_ms;
        self.keep_until(&app, &mut directory, &told.channel, kept, end, (told.kept_ms, sender));
    }
}
