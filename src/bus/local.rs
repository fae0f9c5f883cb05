//! A bus within one process, for tests of nodes and as the plain model of the others: a frame is with all who follow
//! its subject before `send` returns.
//!
//! Always holds: one lock orders all that happens on the bus, so every node sees one order.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::events::Events;
use super::{Bus, BusEvent, NotSent};

/// The largest frame that this bus carries: what a NATS server carries unless it is told otherwise.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// A bus that nodes of this process join. Clones are the same bus.
#[derive(Clone, Debug, Default)]
pub struct LocalBus {
    members: Arc<Mutex<HashMap<String, Member>>>,
}

/// One node, as the bus knows it.
#[derive(Debug)]
struct Member {
    events: Events,
    subjects: HashSet<String>,
    /// Frames still to be dropped on their way to this node.
    to_lose: u64,
    /// What it said while its word is held up, in order.
    held_up: Option<VecDeque<Said>>,
    /// Nothing gets through to it or from it, and nobody is told.
    is_cut: bool,
    /// What it said over a connection that broke, and is under way.
    left_behind: VecDeque<Said>,
}

/// What a node says to its bus.
#[derive(Debug)]
enum Said {
    Send(String, Bytes),
    Follow(String),
    Unfollow(String),
}

impl LocalBus {
    /// A bus that nobody joined yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Joins a node under a name of its own, which the switches below want. The bus is up at once. Dropping what is
    /// returned leaves.
    ///
    /// # Panics
    /// If the name is taken, or outside a tokio runtime.
    pub fn join(&self, name: &str, events_max: usize) -> (Arc<dyn Bus>, mpsc::Receiver<BusEvent>) {
        let (events, receiver) = Events::new(events_max);
        events.set_up(true);
        let member = Member {
            events,
            subjects: HashSet::new(),
            to_lose: 0,
            held_up: None,
            is_cut: false,
            left_behind: VecDeque::new(),
        };
        let former = self.members().insert(name.to_owned(), member);
        assert!(former.is_none(), "a node joined twice under one name");
        (Arc::new(LocalNode { bus: self.clone(), name: name.to_owned() }), receiver)
    }

    /// Takes a node's bus down: it hears nothing and may say nothing until [`LocalBus::bring_up`]. The others do not
    /// notice. Nothing if it is down, or there is no such node.
    pub fn take_down(&self, name: &str) {
        self.set_up(name, false);
    }

    /// Brings a node's bus up again, with all that it follows.
    pub fn bring_up(&self, name: &str) {
        self.set_up(name, true);
    }

    /// From now on no frame gets through to a node or from it, and its bus goes on saying that it is up.
    pub fn cut(&self, name: &str) {
        self.set_cut(name, true);
    }

    /// Frames get through again.
    pub fn mend(&self, name: &str) {
        self.set_cut(name, false);
    }

    /// Drops the next `frames` frames on their way to a node, and tells it.
    pub fn lose(&self, name: &str, frames: u64) {
        if let Some(member) = self.members().get_mut(name) {
            member.to_lose += frames;
        }
    }

    /// From now on what a node says is under way, and with the bus when [`LocalBus::let_through`] says so: frames and what
    /// is to be followed.
    pub fn hold_up(&self, name: &str) {
        if let Some(member) = self.members().get_mut(name) {
            member.held_up.get_or_insert_default();
        }
    }

    /// What a node said meanwhile is there, in the order in which it said it, and nothing is held up any more.
    pub fn let_through(&self, name: &str) {
        let mut members = self.members();
        let said = members.get_mut(name).and_then(|member| member.held_up.take());
        said.into_iter().flatten().for_each(|said| take_in(&mut members, name, said));
    }

    /// What is held up of a node stays under way on a connection that broke: what the node says from now on goes past it.
    pub fn leave_behind(&self, name: &str) {
        if let Some(member) = self.members().get_mut(name) {
            let held_up = member.held_up.take().unwrap_or_default();
            member.left_behind.extend(held_up);
        }
    }

    /// What was left behind arrives.
    pub fn deliver_late(&self, name: &str) {
        let mut members = self.members();
        let said = members.get_mut(name).map(|member| std::mem::take(&mut member.left_behind));
        said.into_iter().flatten().for_each(|said| take_in(&mut members, name, said));
    }

    fn set_cut(&self, name: &str, is_cut: bool) {
        if let Some(member) = self.members().get_mut(name) {
            member.is_cut = is_cut;
        }
    }

    fn set_up(&self, name: &str, is_up: bool) {
        if let Some(member) = self.members().get_mut(name) {
            member.events.set_up(is_up);
        }
    }

    fn members(&self) -> MutexGuard<'_, HashMap<String, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a node said has arrived.
fn take_in(members: &mut HashMap<String, Member>, name: &str, said: Said) {
    match (said, members.get_mut(name)) {
        (Said::Send(..), Some(member)) if member.is_cut => {}
        (Said::Send(subject, frame), _) => {
            members.values_mut().for_each(|member| member.receive(&subject, &frame));
        }
        (Said::Follow(subject), Some(member)) => drop(member.subjects.insert(subject)),
        (Said::Unfollow(subject), Some(member)) => drop(member.subjects.remove(&subject)),
        (_, None) => {}
    }
}

impl Member {
    fn receive(&mut self, subject: &str, frame: &Bytes) {
        if self.is_cut || !self.events.is_up() || !self.subjects.contains(subject) {
            return;
        }
        if self.to_lose > 0 {
            self.to_lose -= 1;
            self.events.lost(1);
        } else {
            self.events.frame(frame.clone());
        }
    }
}

/// What a node holds of the bus.
#[derive(Debug)]
struct LocalNode {
    bus: LocalBus,
    name: String,
}

impl LocalNode {
    /// This node, as the bus knows it: it is there until this is dropped.
    fn with<T>(&self, act: impl FnOnce(&mut Member) -> T) -> Option<T> {
        self.bus.members().get_mut(&self.name).map(act)
    }

    fn say(&self, members: &mut HashMap<String, Member>, said: Said) {
        match members.get_mut(&self.name).and_then(|member| member.held_up.as_mut()) {
            Some(held_up) => held_up.push_back(said),
            None => take_in(members, &self.name, said),
        }
    }
}

impl Bus for LocalNode {
    fn name(&self) -> &'static str {
        "local"
    }

    fn send(&self, subject: &str, frame: Bytes) -> Result<(), NotSent> {
        let mut members = self.bus.members();
        if !members.get(&self.name).is_some_and(|member| member.events.is_up()) {
            return Err(NotSent::Down);
        }
        if frame.len() > FRAME_BYTES_MAX {
            return Err(NotSent::TooLarge);
        }
        self.say(&mut members, Said::Send(subject.to_owned(), frame));
        Ok(())
    }

    fn follow(&self, subject: &str) {
        self.say(&mut self.bus.members(), Said::Follow(subject.to_owned()));
    }

    fn unfollow(&self, subject: &str) {
        self.say(&mut self.bus.members(), Said::Unfollow(subject.to_owned()));
    }

    fn is_up(&self) -> bool {
        self.with(|member| member.events.is_up()).unwrap_or(false)
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        // What was taken is there already.
        Box::pin(std::future::ready(()))
    }
}

impl Drop for LocalNode {
    fn drop(&mut self) {
        self.bus.members().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &'static str) -> BusEvent {
        BusEvent::Frame(Bytes::from_static(text.as_bytes()))
    }

    /// What arrived so far.
    fn heard(receiver: &mut mpsc::Receiver<BusEvent>) -> Vec<BusEvent> {
        std::iter::from_fn(|| receiver.try_recv().ok()).collect()
    }

    #[tokio::test]
    async fn one_node_can_be_taken_down_and_brought_up() {
        let network = LocalBus::new();
        let (a, mut at_a) = network.join("a", 10);
        let (b, mut at_b) = network.join("b", 10);
        a.follow("s");
        b.follow("s");
        network.take_down("b");
        assert_eq!((b.is_up(), b.send("s", "1".into())), (false, Err(NotSent::Down)));
        assert_eq!(a.send("s", "2".into()), Ok(()));
        network.bring_up("b");
        assert_eq!((b.is_up(), b.send("s", "3".into())), (true, Ok(())));
        assert_eq!(heard(&mut at_a), [BusEvent::Up, frame("2"), frame("3")]);
        assert_eq!(heard(&mut at_b), [BusEvent::Up, BusEvent::Down, BusEvent::Up, frame("3")]);
    }

    #[tokio::test]
    async fn what_one_node_says_can_be_held_up() {
        let network = LocalBus::new();
        let (a, mut at_a) = network.join("a", 10);
        let (b, mut at_b) = network.join("b", 10);
        a.follow("s");
        network.hold_up("b");
        b.follow("s");
        assert_eq!((b.send("s", "1".into()), a.send("s", "2".into())), (Ok(()), Ok(())));
        assert_eq!(heard(&mut at_a), [BusEvent::Up, frame("2")]);
        network.let_through("b");
        assert_eq!(a.send("s", "3".into()), Ok(()));
        assert_eq!(heard(&mut at_a), [frame("1"), frame("3")]);
        assert_eq!(heard(&mut at_b), [BusEvent::Up, frame("1"), frame("3")]);
    }

    #[tokio::test]
    async fn frames_can_be_dropped_on_their_way_to_one_node() {
        let network = LocalBus::new();
        let (a, mut at_a) = network.join("a", 10);
        let (b, mut at_b) = network.join("b", 10);
        a.follow("s");
        b.follow("s");
        network.lose("b", 1);
        for text in ["1", "2"] {
            assert_eq!(a.send("s", text.into()), Ok(()));
        }
        assert_eq!(heard(&mut at_a), [BusEvent::Up, frame("1"), frame("2")]);
        assert_eq!(heard(&mut at_b), [BusEvent::Up, BusEvent::Lost(1), frame("2")]);
    }
}
