//! What happens in an app, for those who look on. Nobody looks most of the time, so showing costs one relaxed load then:
//! what is shown is made by a closure, and only for somebody.
//!
//! Always: whoever shows something never waits for a watcher; what a watcher does not see, be it too much in a second or
//! the watcher too slow, is counted for it; nothing shown holds a secret, nor more of what a client sent than its first
//! [`EXCERPT_BYTES`].

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::model::{ChannelName, Dialect};

/// How much of what was sent is shown, in bytes.
pub const EXCERPT_BYTES: usize = 1024;

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Item {
    /// When, Unix time in milliseconds.
    pub at_ms: i64,
    /// What.
    pub what: Happening,
}

/// What may happen in an app, on this node. Sockets have the name that their clients know, and one of ours where they
/// know none.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A socket opened.
    Connected {
        /// Its name.
        socket: String,
        /// What it speaks.
        dialect: Dialect,
        /// Where the connection comes from, a proxy perhaps.
        address: Option<String>,
        /// Whose it is, if it said so when it came.
        user: Option<String>,
    },
    /// A socket is closed, or its client is gone (1006).
    Disconnected {
        /// Its name.
        socket: String,
        /// The close code.
        code: u16,
        /// The reason that goes with it.
        reason: String,
    },
    /// A socket is in a channel from now on.
    Subscribed {
        /// Its name.
        socket: String,
        /// The channel.
        channel: ChannelName,
    },
    /// A socket left a channel, and stays.
    Unsubscribed {
        /// Its name.
        socket: String,
        /// The channel.
        channel: ChannelName,
    },
    /// A client published to a channel that it is in.
    ClientEvent {
        /// The name of its socket.
        socket: String,
        /// The channel.
        channel: ChannelName,
        /// The event's name.
        event: String,
        /// How its data begins.
        data: String,
    },
    /// A backend published.
    Published {
        /// To whom, in words.
        target: String,
        /// The event's name; empty where there is none.
        event: String,
        /// How long its data is, in bytes.
        bytes: usize,
        /// How its data begins.
        data: String,
        /// The sockets it was for, where that is known.
        sockets: Option<usize>,
    },
    /// A client or a backend was told no.
    Refused {
        /// At a socket, or what would have become one; else a call.
        is_socket: bool,
        /// The status of the answer, or the code that the client was told.
        code: Option<u16>,
        /// In words.
        reason: String,
    },
    /// A webhook was told something, or was to be.
    Webhook {
        /// Where, without what may be secret.
        url: String,
        /// The kinds of the events.
        events: Vec<String>,
        /// The status of the answer, if there was one.
        status: Option<u16>,
        /// What went wrong, if anything did.
        fault: Option<&'static str>,
    },
}

/// The feed of one app.
#[derive(Debug, Default)]
pub struct Feed {
    watchers: AtomicU32,
    /// There while somebody watches.
    stage: Mutex<Option<Box<Stage>>>,
}

/// What is shown goes out here.
#[derive(Debug)]
struct Stage {
    sender: broadcast::Sender<Arc<Item>>,
    per_second_max: u32,
    /// The second that goes on, and how much was shown in it.
    second: i64,
    shown: u32,
    /// What was not shown since somebody watches.
    skipped: u64,
}

impl Feed {
    /// Shows what `make` says, if anybody looks.
    #[inline]
    pub fn show(&self, make: impl FnOnce() -> Happening) {
        if self.watchers.load(Ordering::Relaxed) > 0 {
            self.show_now(make);
        }
    }

    #[cold]
    fn show_now(&self, make: impl FnOnce() -> Happening) {
        self.show_at(Timestamp::now().as_millisecond(), make);
    }

    fn show_at(&self, at_ms: i64, make: impl FnOnce() -> Happening) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stage) = stage.as_mut() else { return };
        if stage.second != at_ms / 1000 {
            (stage.second, stage.shown) = (at_ms / 1000, 0);
        }
        if stage.shown >= stage.per_second_max {
            stage.skipped += 1;
            return;
        }
        stage.shown += 1;
        // Without receivers it is for nobody.
        let _ = stage.sender.send(Arc::new(Item { at_ms, what: make() }));
    }

    /// Somebody looks from now on, unless `watchers_max` do already. So much is shown in a second as the first of them
    /// says.
    pub fn watch(self: &Arc<Self>, watchers_max: u32, per_second_max: u32) -> Option<Watcher> {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if self.watchers.load(Ordering::Relaxed) >= watchers_max {
            return None;
        }
        let stage = stage.get_or_insert_with(|| {
            let (sender, _) = broadcast::channel(per_second_max.max(16) as usize);
            Box::new(Stage { sender, per_second_max, second: 0, shown: 0, skipped: 0 })
        });
        self.watchers.fetch_add(1, Ordering::Relaxed);
        let (shown, skipped) = (stage.sender.subscribe(), stage.skipped);
        Some(Watcher { feed: Arc::clone(self), shown, skipped, missed: 0 })
    }
}

/// Somebody who looks, until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    feed: Arc<Feed>,
    shown: broadcast::Receiver<Arc<Item>>,
    /// What had not been shown when it last asked.
    skipped: u64,
    /// What it missed, as it was too slow, and has not asked for.
    missed: u64,
}

impl Watcher {
    /// The next item. It may be dropped before it has one, and misses none by that.
    pub async fn next(&mut self) -> Arc<Item> {
        loop {
            match self.shown.recv().await {
                Ok(item) => return item,
                Err(RecvError::Lagged(missed)) => self.missed += missed,
                // The stage is there as long as this is.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    /// How much it did not see since it last asked.
    pub fn take_skipped(&mut self) -> u64 {
        let stage = self.feed.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = stage.as_ref().map_or(0, |stage| stage.skipped);
        let new = skipped - std::mem::replace(&mut self.skipped, skipped);
        new + std::mem::take(&mut self.missed)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut stage = self.feed.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if self.feed.watchers.fetch_sub(1, Ordering::Relaxed) == 1 {
            *stage = None;
        }
    }
}

/// How a text begins.
pub fn excerpt(text: &str) -> String {
    text[..text.floor_char_boundary(EXCERPT_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16) -> Happening {
        Happening::Refused { is_socket: true, code: Some(code), reason: String::new() }
    }

    async fn next_code(watcher: &mut Watcher) -> Option<u16> {
        match &watcher.next().await.what {
            Happening::Refused { code, .. } => *code,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn nothing_is_made_while_nobody_looks() {
        let feed = Arc::<Feed>::default();
        feed.show(|| panic!("nobody looks"));
        let mut watcher = feed.watch(1, 10).unwrap();
        feed.show(|| refused(1));
        assert_eq!(next_code(&mut watcher).await, Some(1));
        drop(watcher);
        feed.show(|| panic!("nobody looks any more"));
        assert!(feed.stage.lock().unwrap().is_none());
    }

    #[tokio::test]
    async fn so_many_look_at_once() {
        let feed = Arc::<Feed>::default();
        let first = feed.watch(2, 10).unwrap();
        let _second = feed.watch(2, 10).unwrap();
        assert!(feed.watch(2, 10).is_none());
        drop(first);
        assert!(feed.watch(2, 10).is_some());
    }

    #[tokio::test]
    async fn what_is_too_much_in_a_second_is_counted() {
        let feed = Arc::<Feed>::default();
        let mut watcher = feed.watch(1, 3).unwrap();
        (0..5).for_each(|code| feed.show_at(1_000, || refused(code)));
        feed.show_at(2_000, || refused(9));
        for expected in [0, 1, 2, 9] {
            assert_eq!(next_code(&mut watcher).await, Some(expected));
        }
        assert_eq!((watcher.take_skipped(), watcher.take_skipped()), (2, 0));
    }

    #[tokio::test]
    async fn who_is_slow_misses_the_oldest_and_knows_how_many() {
        let feed = Arc::<Feed>::default();
        let mut watcher = feed.watch(1, 16).unwrap();
        for second in 0..20 {
            feed.show_at(1_000 * i64::from(second), || refused(second));
        }
        assert_eq!(next_code(&mut watcher).await, Some(4));
        assert_eq!(watcher.take_skipped(), 4);
    }

    #[test]
    fn an_excerpt_ends_with_a_whole_character() {
        assert_eq!(excerpt(&"ü".repeat(600)).len(), EXCERPT_BYTES);
        assert_eq!(excerpt(&format!("x{}", "ü".repeat(600))).len(), EXCERPT_BYTES - 1);
        assert_eq!(excerpt("short"), "short");
    }
}
