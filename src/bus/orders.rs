//! What a node has ordered and its bus has not done yet, the same for every kind of bus with a server.
//!
//! Always: orders are done in the order in which they were given; frames count against the bound from when they were
//! taken until whoever does the order drops its [`Waiting`].

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::NotSent;
use super::events::Events;

/// How long frames that were taken have to go out when the bus is closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Debug)]
pub(super) enum Order {
    Send(String, Bytes, Waiting),
    Follow(String),
    Unfollow(String),
    /// Say when all before this is out. Nothing comes after it.
    Close(oneshot::Sender<()>),
}

/// The place that a frame takes among what waits to go out; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Waiting {
    all_bytes: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The side of the node.
#[derive(Debug)]
pub(super) struct Orders {
    queue: mpsc::UnboundedSender<Order>,
    events: Events,
    /// What waits to go out, in bytes; at most `bytes_max`, so the queue is bounded by it.
    waiting_bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

impl Orders {
    /// A queue in which frames of `bytes_max` bytes may wait, and its other end. Frames are taken while `events` says
    /// that the bus is up.
    pub(super) fn new(events: Events, bytes_max: usize) -> (Self, mpsc::UnboundedReceiver<Order>) {
        let (queue, orders) = mpsc::unbounded_channel();
        (Self { queue, events, waiting_bytes: Arc::default(), bytes_max }, orders)
    }

    /// Takes a frame of at most `frame_bytes_max` bytes.
    ///
    /// # Errors
    /// It was not taken.
    pub(super) fn send(&self, subject: &str, frame: Bytes, frame_bytes_max: usize) -> Result<(), NotSent> {
        if !self.events.is_up() {
            return Err(NotSent::Down);
        }
        if frame.len() > frame_bytes_max {
            return Err(NotSent::TooLarge);
        }
        let bytes = subject.len() + frame.len() + size_of::<Order>();
        if self.waiting_bytes.load(Ordering::Relaxed) + bytes > self.bytes_max {
            return Err(NotSent::Full);
        }
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let waiting = Waiting { all_bytes: Arc::clone(&self.waiting_bytes), bytes };
        self.queue.send(Order::Send(subject.to_owned(), frame, waiting)).map_err(|_| NotSent::Down)
    }

    /// Follows a subject.
    pub(super) fn follow(&self, subject: &str) {
        // It fails only when the node ends.
        let _ = self.queue.send(Order::Follow(subject.to_owned()));
    }

    /// Follows it no longer.
    pub(super) fn unfollow(&self, subject: &str) {
        let _ = self.queue.send(Order::Unfollow(subject.to_owned()));
    }

    /// Whether frames are taken.
    pub(super) fn is_up(&self) -> bool {
        self.events.is_up()
    }

    /// Waits until all that was ordered is done, for a bounded time.
    pub(super) fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (out, is_out) = oneshot::channel();
        let _ = self.queue.send(Order::Close(out));
        Box::pin(async move {
            // In vain while the bus is down.
            let _ = tokio::time::timeout(CLOSE_WITHIN, is_out).await;
        })
    }
}
