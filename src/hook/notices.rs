//! The way of a notice out of the hub: into a bounded queue, without waiting. An app that posts much leaves room to others,
//! and is read by turns with them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::metrics::Counter;
use crate::model::{AppKey, Notice};
use crate::store::has_room;

/// Notices of one app that are read in one turn.
const TURN: usize = 16;

/// After so long without a dropped notice the next one is said again.
const BURST_PAUSE: Duration = Duration::from_secs(60);

/// Takes notices. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Notices(Arc<Shared>);

/// Gives them out. What it still has when it is dropped is lost, and counted.
#[derive(Debug)]
pub struct Posted {
    shared: Arc<Shared>,
    under_way: Vec<Notice>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something was posted, or the queue was closed.
    news: Notify,
    dropped: Counter,
    notices_max: usize,
}

/// The notices of each app in their order, and whose turn it is.
#[derive(Debug, Default)]
struct Queue {
    of_apps: HashMap<AppKey, VecDeque<Notice>>,
    /// The apps that have any, each once.
    turns: VecDeque<AppKey>,
    waiting: usize,
    is_closed: bool,
    last_drop: Option<Instant>,
}

impl Notices {
    /// A queue of at most `notices_max`, and its other end.
    pub fn queue(notices_max: usize) -> (Self, Posted) {
        let (queue, news, dropped) = Default::default();
        let shared = Arc::new(Shared { queue, news, dropped, notices_max });
        (Self(Arc::clone(&shared)), Posted { shared, under_way: Vec::new() })
    }

    /// Hands a notice on. One that finds no room, or nobody at the other end, is counted.
    pub fn post(&self, notice: Notice) {
        let mut queue = self.0.lock();
        if queue.is_closed {
            drop(queue);
            return self.0.dropped.add(1);
        }
        let holds = queue.of_apps.get(&notice.app).map_or(0, VecDeque::len);
        if has_room(holds, self.0.notices_max - queue.waiting) {
            queue.push(notice);
            drop(queue);
            return self.0.news.notify_one();
        }
        let last = queue.last_drop.replace(Instant::now());
        drop(queue);
        self.0.dropped.add(1);
        if last.is_none_or(|last| last.elapsed() > BURST_PAUSE) {
            tracing::warn!(app = %notice.app, "no room: events for webhooks are dropped on their way to the disk");
        }
    }

    /// How many were lost.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.get()
    }
}

impl Posted {
    /// Waits for notices and takes at most so many, from the apps by turns; says how many. None at the end.
    pub async fn take(&mut self, notices_max: usize) -> usize {
        loop {
            let news = self.shared.news.notified();
            {
                let mut queue = self.shared.lock();
                queue.take(notices_max, &mut self.under_way);
                if !self.under_way.is_empty() || queue.is_closed {
                    return self.under_way.len();
                }
            }
            news.await;
        }
    }

    /// The notices that were taken last. They are lost unless [`Posted::done`] follows.
    pub fn taken(&self) -> &[Notice] {
        &self.under_way
    }

    /// Those that were taken last are where they belong.
    pub fn done(&mut self) {
        self.under_way.clear();
    }

    /// The next notice, if there is one.
    pub fn try_next(&mut self) -> Option<Notice> {
        self.shared.lock().take(1, &mut self.under_way);
        self.under_way.pop()
    }

    /// Takes no more in. What is in the queue is still given out.
    pub fn close(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.news.notify_one();
    }

    /// Whether it takes no more in.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().is_closed
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.is_closed = true;
        self.shared.dropped.add((queue.waiting + self.under_way.len()) as u64);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing that can panic runs under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, notice: Notice) {
        self.waiting += 1;
        if let Some(of_app) = self.of_apps.get_mut(&notice.app) {
            return of_app.push_back(notice);
        }
        self.turns.push_back(notice.app.clone());
        self.of_apps.insert(notice.app.clone(), VecDeque::from([notice]));
    }

    fn take(&mut self, notices_max: usize, taken: &mut Vec<Notice>) {
        while taken.len() < notices_max
            && let Some(app) = self.turns.pop_front()
        {
            let Some(of_app) = self.of_apps.get_mut(&app) else { continue };
            let count = of_app.len().min(TURN).min(notices_max - taken.len());
            taken.extend(of_app.drain(..count));
            self.waiting -= count;
            if of_app.is_empty() {
                self.of_apps.remove(&app);
            } else {
                self.turns.push_back(app);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChannelName, NoticeEvent};

    fn notice(app: &str, number: i64) -> Notice {
        let channel = ChannelName::parse("c").unwrap();
        Notice { app: AppKey::stored(app), channel, at_ms: number, event: NoticeEvent::CacheMiss }
    }

    #[tokio::test]
    async fn an_app_that_posts_much_neither_keeps_others_out_nor_waiting() {
        let (notices, mut posted) = Notices::queue(1_000);
        (0..5_000).for_each(|number| notices.post(notice("greedy", number)));
        let refused = notices.dropped();
        assert!((4_000..4_200).contains(&refused), "{refused}");
        (0..50).for_each(|number| notices.post(notice("modest", number)));
        assert_eq!(notices.dropped(), refused, "there is room for others");
        let (mut modest, mut greedy) = (Vec::new(), Vec::new());
        while modest.len() < 50 {
            posted.take(100).await;
            for notice in posted.taken() {
                let of_app = if notice.app.as_str() == "modest" { &mut modest } else { &mut greedy };
                of_app.push(notice.at_ms);
            }
            posted.done();
        }
        assert!(greedy.len() <= 200, "they take turns: {}", greedy.len());
        assert!(modest.iter().copied().eq(0..50) && greedy.iter().copied().eq(0..greedy.len() as i64));
    }

    #[tokio::test]
    async fn what_is_not_taken_to_its_end_is_counted() {
        let (notices, mut posted) = Notices::queue(100);
        (0..10).for_each(|number| notices.post(notice("x", number)));
        assert_eq!(posted.take(3).await, 3);
        posted.done();
        assert_eq!(posted.take(2).await, 2);
        posted.close();
        notices.post(notice("x", 11));
        assert_eq!(notices.dropped(), 1);
        drop(posted);
        assert_eq!(notices.dropped(), 1 + 2 + 5);
    }

    #[tokio::test]
    async fn a_closed_queue_is_read_to_its_end() {
        let (notices, mut posted) = Notices::queue(100);
        notices.post(notice("x", 1));
        posted.close();
        assert_eq!(posted.take(10).await, 1);
        posted.done();
        assert_eq!(posted.take(10).await, 0);
    }
}
