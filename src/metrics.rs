//! Plain counters: each shard owns one set and is its only writer, the door owns another; they are summed when
//! somebody asks.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that goes up, or for a gauge up and down. Reading it orders nothing else.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Takes `amount` away again.
    pub fn subtract(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one shard counts.
#[derive(Debug, Default)]
pub struct ShardMetrics {
    /// Sockets it holds, those still on their way included (a gauge).
    pub sockets: Counter,
    /// Pushes it took from its mailbox.
    pub pushes: Counter,
    /// Frames of pushes handed to sockets: written, or put into their outboxes.
    pub deliveries: Counter,
    /// Pushes that were deflated for those who read that: once each, however many they are.
    pub deflated: Counter,
    /// Bytes that were taken, by the kernel or by TLS on the way there: before encryption.
    pub bytes_out: Counter,
    /// Socket writes made.
    pub writes: Counter,
    /// Batches of socket writes made in one system call each.
    pub ring_batches: Counter,
    /// Times that the way for batches failed; it is not taken again.
    pub ring_failures: Counter,
    /// Sockets cut because they did not read.
    pub slow_cuts: Counter,
    /// Sockets dropped because nothing was heard of them.
    pub silent_cuts: Counter,
    /// Sockets closed because they broke the WebSocket protocol or a limit of it.
    pub violations: Counter,
}

/// What the control plane counts.
#[derive(Debug, Default)]
pub struct NodeMetrics {
    /// Publications accepted.
    pub publications: Counter,
    /// Times that an app which nobody registered was refused, as there were as many as there may be.
    pub apps_refused: Counter,
    /// Publications refused because a shard's mailbox was full, or for the bus.
    pub publications_refused: Counter,
    /// Sockets admitted.
    pub admissions: Counter,
    /// Kept events of channels given up for others before their time.
    pub kept_events_given_up: Counter,
    /// Facts of other nodes that say nothing to this one: of another version, or of an app it does not know.
    pub facts_skipped: Counter,
    /// Messages of other nodes that were dropped because this one was too slow.
    pub facts_lost: Counter,
    /// Publications delivered here alone because the bus was down.
    pub facts_unsent: Counter,
    /// Times that clients were told they are there before the bus had said that it follows what is for them.
    pub follows_late: Counter,
    /// Requests answered with a refusal.
    pub refusals: Counter,
    /// Requests whose head did not come in time.
    pub slow_heads: Counter,
    /// TLS handshakes that failed or did not come in time.
    pub tls_failures: Counter,
    /// Times that a connection could not be accepted for want of descriptors.
    pub accept_failures: Counter,
}
