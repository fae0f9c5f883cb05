//! The way of a notice out of the hub: into a bounded queue, without waiting.

use std::sync::Arc;

use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::metrics::Counter;
use crate::model::Notice;

/// Takes notices. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Notices {
    queue: Sender<Notice>,
    dropped: Arc<Counter>,
}

impl Notices {
    /// A queue of at most `notices_max`, and its other end.
    pub fn queue(notices_max: usize) -> (Self, Receiver<Notice>) {
        let (queue, waiting) = mpsc::channel(notices_max);
        (Self { queue, dropped: Arc::default() }, waiting)
    }

    /// Hands a notice on. One that finds the queue full, or nobody at its end, is counted.
    pub fn post(&self, notice: Notice) {
        if self.queue.try_send(notice).is_err() {
            self.dropped.add(1);
        }
    }

    /// How many found no place.
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}
