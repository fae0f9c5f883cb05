//! The way into a node's queue of events, the same for every kind of bus.
//!
//! Always holds: offering never waits; the queue is bounded; what did not fit is counted and told as `Lost` as soon as
//! there is room again, ahead of all that comes later; an `Up` or `Down` is delayed at most, and then only the
//! last of several is told, behind a `Down` if there was one.

use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::BusEvent;

/// What is made up for at once: a `Lost`, a `Down` and an `Up`.
const CATCH_UP_MAX: usize = 3;

/// One node's queue of events, from the side of the bus. Clones lead into the same queue.
#[derive(Clone, Debug)]
pub(super) struct Events {
    queue: mpsc::Sender<BusEvent>,
    backlog: Arc<Mutex<Backlog>>,
    /// Whoever offers may be no task of the runtime.
    runtime: Handle,
}

/// What the queue did not take and is still to be told.
#[derive(Debug, Default)]
struct Backlog {
    /// Whether a task waits for room. Until it had some, nothing goes past it.
    waiting: bool,
    lost: u64,
    /// Whether the last such event in the queue was an `Up`.
    told_up: bool,
    is_up: bool,
    /// Whether the bus went down since the last such event in the queue.
    was_down: bool,
}

impl Events {
    /// A queue for `events_max` events, but never fewer than can be made up for at once.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(super) fn new(events_max: usize) -> (Self, mpsc::Receiver<BusEvent>) {
        let (queue, receiver) = mpsc::channel(events_max.max(CATCH_UP_MAX));
        let events = Self { queue, backlog: Arc::default(), runtime: Handle::current() };
        (events, receiver)
    }

    /// A frame arrived.
    pub(super) fn frame(&self, frame: Bytes) {
        let mut backlog = self.backlog();
        if !backlog.waiting && self.queue.try_send(BusEvent::Frame(frame)).is_ok() {
            return;
        }
        backlog.lost += 1;
        self.catch_up_soon(&mut backlog);
    }

    /// So many frames were dropped before they came here.
    pub(super) fn lost(&self, frames: u64) {
        let mut backlog = self.backlog();
        backlog.lost += frames;
        self.catch_up_soon(&mut backlog);
    }

    /// The bus came or went. Told only if that is news.
    pub(super) fn set_up(&self, is_up: bool) {
        let mut backlog = self.backlog();
        backlog.was_down |= !is_up;
        backlog.is_up = is_up;
        self.catch_up_soon(&mut backlog);
    }

    /// Whether the bus was up when last heard of.
    pub(super) fn is_up(&self) -> bool {
        self.backlog().is_up
    }

    /// Tells what is to be told, now or by a task when there is room.
    fn catch_up_soon(&self, backlog: &mut Backlog) {
        if backlog.waiting {
            return;
        }
        if let Ok(room) = self.queue.try_reserve_many(CATCH_UP_MAX) {
            backlog.tell(room);
            return;
        }
        backlog.waiting = true;
        let events = self.clone();
        self.runtime.spawn(async move {
            // An error means that nobody listens any more.
            if let Ok(room) = events.queue.reserve_many(CATCH_UP_MAX).await {
                let mut backlog = events.backlog();
                backlog.waiting = false;
                backlog.tell(room);
            }
        });
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backlog {
    /// Puts into the queue what is to be told. Room that is not needed is given back.
    fn tell(&mut self, room: mpsc::PermitIterator<'_, BusEvent>) {
        let lost = (self.lost > 0).then_some(BusEvent::Lost(self.lost));
        let down = (self.told_up && self.was_down).then_some(BusEvent::Down);
        let up = (self.is_up && (!self.told_up || self.was_down)).then_some(BusEvent::Up);
        for (permit, event) in room.zip([lost, down, up].into_iter().flatten()) {
            permit.send(event);
        }
        *self = Self { told_up: self.is_up, is_up: self.is_up, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &'static str) -> BusEvent {
        BusEvent::Frame(Bytes::from_static(text.as_bytes()))
    }

    async fn all(events: Events, mut receiver: mpsc::Receiver<BusEvent>) -> Vec<BusEvent> {
        drop(events);
        let mut all = Vec::new();
        while let Some(event) = receiver.recv().await {
            all.push(event);
        }
        all
    }

    #[tokio::test]
    async fn what_does_not_fit_is_counted_and_told_when_there_is_room() {
        let (events, receiver) = Events::new(3);
        for text in ["1", "2", "3", "4", "5"] {
            events.frame(text.into());
        }
        assert_eq!(all(events, receiver).await, [frame("1"), frame("2"), frame("3"), BusEvent::Lost(2)]);
    }

    #[tokio::test]
    async fn nothing_goes_past_what_is_still_to_be_told() {
        let (events, mut receiver) = Events::new(3);
        for text in ["1", "2", "3", "4"] {
            events.frame(text.into());
        }
        assert_eq!(receiver.recv().await, Some(frame("1")));
        events.frame("5".into());
        assert_eq!(all(events, receiver).await, [frame("2"), frame("3"), BusEvent::Lost(2)]);
    }

    #[tokio::test]
    async fn an_outage_is_told_however_full_the_queue_was() {
        let (events, receiver) = Events::new(3);
        events.set_up(true);
        events.frame("1".into());
        events.frame("2".into());
        events.frame("3".into());
        for is_up in [false, true, false, true] {
            events.set_up(is_up);
        }
        let told = all(events, receiver).await;
        let expected =
            [BusEvent::Up, frame("1"), frame("2"), BusEvent::Lost(1), BusEvent::Down, BusEvent::Up];
        assert_eq!(told, expected);
    }

    #[tokio::test]
    async fn what_is_no_news_is_not_told() {
        let (events, receiver) = Events::new(10);
        for is_up in [false, true, true, false, false] {
            events.set_up(is_up);
        }
        assert_eq!(all(events, receiver).await, [BusEvent::Up, BusEvent::Down]);
    }
}
