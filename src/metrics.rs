//! Plain counters: each shard owns one set and is its only writer, the door owns another, and each app has one; they
//! are summed when somebody asks. How they are shown is `admin`'s.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::{AppRate, Dialect};

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

    /// It is `amount` now, whatever it was.
    pub fn set(&self, amount: u64) {
        self.0.store(amount, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Lines of the log that were dropped: there is one log in a process, and it knows of no node.
pub static LOG_LINES_DROPPED: Counter = Counter(AtomicU64::new(0));

/// A counter for each dialect.
#[derive(Debug, Default)]
pub struct ByDialect([Counter; Dialect::ALL.len()]);

impl ByDialect {
    /// That of one dialect.
    pub fn of(&self, dialect: Dialect) -> &Counter {
        &self.0[dialect as usize]
    }

    /// The sum of all.
    pub fn get(&self) -> u64 {
        self.0.iter().map(Counter::get).sum()
    }
}

/// A counter for each rate that an app may bound.
#[derive(Debug, Default)]
pub struct ByRate([Counter; AppRate::ALL.len()]);

impl ByRate {
    /// That of one rate.
    pub fn of(&self, rate: AppRate) -> &Counter {
        &self.0[rate as usize]
    }
}

/// Counters that are told apart by few words, or numbers, that the program itself has. It takes a lock for a moment: for
/// what goes wrong, and not for what happens all the time.
#[derive(Debug, Default)]
pub struct Labelled<K>(Mutex<BTreeMap<K, u64>>);

impl<K: Ord + Copy> Labelled<K> {
    /// With these at zero from the beginning, so that the first of a kind is seen as a change.
    pub fn of(known: &[K]) -> Self {
        Self(Mutex::new(known.iter().map(|key| (*key, 0)).collect()))
    }

    /// Adds `amount` to that of `key`.
    pub fn add(&self, key: K, amount: u64) {
        *self.lock().entry(key).or_default() += amount;
    }

    /// The sum of all.
    pub fn get(&self) -> u64 {
        self.lock().values().sum()
    }

    /// All of them.
    pub fn all(&self) -> Vec<(K, u64)> {
        self.lock().iter().map(|(key, count)| (*key, *count)).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<K, u64>> {
        // Nothing that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long something took, in classes: how many took at most so long.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [Counter; Self::BOUNDS_US.len() + 1],
    sum_us: Counter,
}

impl Histogram {
    /// The upper bounds of the classes in microseconds; above them is one more.
    pub const BOUNDS_US: [u64; 16] = [
        100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000, 5_000_000, 10_000_000,
    ];

    /// Something took so long.
    pub fn observe(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.counts[Self::BOUNDS_US.partition_point(|bound| *bound < us)].add(1);
        self.sum_us.add(us);
    }

    /// How many there were in each class, and how long all took together, in microseconds.
    pub fn get(&self) -> ([u64; Self::BOUNDS_US.len() + 1], u64) {
        (std::array::from_fn(|class| self.counts[class].get()), self.sum_us.get())
    }
}

/// What one shard counts.
#[derive(Debug, Default)]
pub struct ShardMetrics {
    /// Turns of its loop.
    pub turns: Counter,
    /// Sockets it holds, those still on their way included (a gauge).
    pub sockets: ByDialect,
    /// Pushes it took from its mailbox.
    pub pushes: Counter,
    /// Frames of pushes handed to sockets: written, or put into their outboxes.
    pub deliveries: Counter,
    /// Pushes that were deflated for those who read that: once each, however many they are.
    pub deflated: Counter,
    /// Bytes that came from sockets, after decryption.
    pub bytes_in: Counter,
    /// Bytes that were taken, by the kernel or by TLS on the way there: before encryption.
    pub bytes_out: Counter,
    /// Socket writes made.
    pub writes: Counter,
    /// Bytes that wait in outboxes, as of its last turn (a gauge).
    pub outbox_bytes: Counter,
    /// Laps over the members of a list: from the turn in which one began to the end of that in which everybody had been
    /// visited.
    pub laps: Histogram,
    /// Batches of socket writes made in one system call each.
    pub ring_batches: Counter,
    /// Times that the way for batches failed; it is not taken again.
    pub ring_failures: Counter,
    /// Sockets cut because they did not read.
    pub slow_cuts: Counter,
    /// Sockets dropped because nothing was heard of them.
    pub silent_cuts: Counter,
    /// Times that the shard could do nothing for a second or more: the process or its machine stood still.
    pub standstills: Counter,
    /// Sockets closed by a node that stops before all was carried out that had been accepted for them.
    pub closed_early: Counter,
    /// Sockets closed because they broke the WebSocket protocol or a limit of it.
    pub violations: Counter,
}

/// What is counted of one app, on this node.
#[derive(Debug, Default)]
pub struct AppMetrics {
    /// Publications accepted.
    pub publications: Counter,
    /// Frames of pushes handed to its sockets.
    pub deliveries: Counter,
    /// What was refused as a bound of the app's own was reached; of frames, the sockets that were closed for them.
    pub exceeded: ByRate,
}

/// Why a socket may be refused; others may come up.
const SOCKET_REFUSALS: &[&str] = &[
    "address_full",
    "app_disabled",
    "app_full",
    "app_unknown",
    "connects_exceeded",
    "draining",
    "hook_busy",
    "hook_failed",
    "hook_refused",
    "hook_timeout",
    "memory_short",
    "not_an_upgrade",
    "not_authorized",
    "origin_not_allowed",
    "overloaded",
    "path_unknown",
    "protocol_unsupported",
    "tls_only",
    "too_many_connects",
];

/// Why a publication may be refused once it was understood; others may come up.
const PUBLICATION_REFUSALS: &[&str] = &[
    "app_disabled",
    "app_unknown",
    "body_too_large",
    "bus_down",
    "overloaded",
    "pattern_too_slow",
    "too_many_publications",
];

/// What may be refused for the address it came from.
const ADDRESS_REFUSALS: &[&str] =
    &["address_not_allowed", "calls_exceeded", "proxy_header", "sign_ins_exceeded"];

/// What a connect hook may come to.
const HOOK_RESULTS: &[&str] = &["accepted", "hook_busy", "hook_failed", "hook_refused", "hook_timeout"];

/// What the control plane counts.
#[derive(Debug)]
pub struct NodeMetrics {
    /// What the process may have in memory before nobody is let in, in bytes; 0 for no bound (a gauge).
    pub memory_bytes_max: Counter,
    /// Publications accepted.
    pub publications: Counter,
    /// Times that an app which nobody registered was refused, as there were as many as there may be.
    pub apps_refused: Counter,
    /// Publications refused, by reasons.
    pub publications_refused: Labelled<&'static str>,
    /// Events that clients published to their channels.
    pub client_events: Counter,
    /// From the head of a request that publishes to its answer.
    pub publish_times: Histogram,
    /// Sockets admitted.
    pub admissions: ByDialect,
    /// Sockets refused, by reasons.
    pub sockets_refused: Labelled<&'static str>,
    /// What signing in to the console came to.
    pub console_sign_ins: Labelled<&'static str>,
    /// Those who watch the feeds of apps (a gauge).
    pub feed_watchers: Counter,
    /// What happened and was not shown to one of them, as it was too much.
    pub feed_skipped: Counter,
    /// What connect hooks came to.
    pub connect_hooks: Labelled<&'static str>,
    /// Subscriptions of this node's sockets (a gauge).
    pub subscriptions: Counter,
    /// Subscriptions refused by the state of the node or of the channel, by reasons.
    pub subscriptions_refused: Labelled<&'static str>,
    /// Channels that sockets of this node are in (a gauge).
    pub channels: Counter,
    /// Kept events of channels given up for others before their time.
    pub kept_events_given_up: Counter,
    /// Facts of other nodes that say nothing to this one: of another version, or of an app it does not know.
    pub facts_skipped: Counter,
    /// Messages of other nodes that were dropped because this one was too slow.
    pub facts_lost: Counter,
    /// Publications of other nodes that came after later ones, and were dropped.
    pub facts_late: Counter,
    /// Publications delivered here alone because the bus was down.
    pub facts_unsent: Counter,
    /// Publications of other nodes dropped as too much waited for the shards, or for patterns.
    pub relays_shed: Counter,
    /// Times that clients were not told who came or went on another node, as too much waited for the shards.
    pub changes_shed: Counter,
    /// Publications of other nodes dropped as their pattern could not be matched here: beyond a bound of this node.
    pub relays_unmatched: Counter,
    /// Messages for other nodes that the bus did not take, by reasons.
    pub messages_unsent: Labelled<&'static str>,
    /// Times that clients were told they are there before the bus had said that it follows what is for them.
    pub follows_late: Counter,
    /// Requests answered with a refusal, by statuses.
    pub refusals: Labelled<u16>,
    /// Requests and connections refused for the address that they came from, by reasons.
    pub address_refusals: Labelled<&'static str>,
    /// Requests whose head did not come in time.
    pub slow_heads: Counter,
    /// Connections that are no sockets, and calls over HTTP/2 (a gauge).
    pub pending_connections: Counter,
    /// Those of them that had to make room for others, by reasons.
    pub seats_given_up: Labelled<&'static str>,
    /// Connections reset because nothing of an answer was taken in time.
    pub unread_answers: Counter,
    /// TLS handshakes that failed or did not come in time.
    pub tls_failures: Counter,
    /// When the certificate of the listeners ends, in seconds since 1970; zero without one (a gauge).
    pub certificate_end_s: Counter,
    /// Orders of a certificate that came to nothing.
    pub certificate_failures: Counter,
    /// Times that a connection could not be accepted for want of descriptors.
    pub accept_failures: Counter,
}

impl Default for NodeMetrics {
    fn default() -> Self {
        Self {
            memory_bytes_max: Counter::default(),
            publications: Counter::default(),
            apps_refused: Counter::default(),
            publications_refused: Labelled::of(PUBLICATION_REFUSALS),
            client_events: Counter::default(),
            publish_times: Histogram::default(),
            admissions: ByDialect::default(),
            sockets_refused: Labelled::of(SOCKET_REFUSALS),
            console_sign_ins: Labelled::of(&["accepted", "refused", "throttled"]),
            feed_watchers: Counter::default(),
            feed_skipped: Counter::default(),
            connect_hooks: Labelled::of(HOOK_RESULTS),
            subscriptions: Counter::default(),
            subscriptions_refused: Labelled::of(&["overloaded", "roster_full"]),
            channels: Counter::default(),
            kept_events_given_up: Counter::default(),
            facts_skipped: Counter::default(),
            facts_lost: Counter::default(),
            facts_late: Counter::default(),
            facts_unsent: Counter::default(),
            relays_shed: Counter::default(),
            changes_shed: Counter::default(),
            relays_unmatched: Counter::default(),
            messages_unsent: Labelled::of(&["down", "full", "too_large"]),
            follows_late: Counter::default(),
            refusals: Labelled::of(&[400, 401, 403, 404, 408, 409, 413, 415, 429, 431, 500, 503]),
            address_refusals: Labelled::of(ADDRESS_REFUSALS),
            slow_heads: Counter::default(),
            pending_connections: Counter::default(),
            seats_given_up: Labelled::of(&["idle", "slow", "standby"]),
            unread_answers: Counter::default(),
            tls_failures: Counter::default(),
            certificate_end_s: Counter::default(),
            certificate_failures: Counter::default(),
            accept_failures: Counter::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_just_as_long_as_a_bound_belongs_to_its_class() {
        let histogram = Histogram::default();
        let times_us = [0, 100, 101, 10_000_000, 10_000_001];
        times_us.into_iter().for_each(|us| histogram.observe(Duration::from_micros(us)));
        let (counts, sum_us) = histogram.get();
        assert_eq!((counts[0], counts[1], counts[15], counts[16]), (2, 1, 1, 1));
        assert_eq!((counts.iter().sum::<u64>(), sum_us), (5, 20_000_202));
    }

    #[test]
    fn what_is_known_stands_at_zero_and_what_is_not_comes_up() {
        let labelled = Labelled::of(&["known"]);
        assert_eq!(labelled.all(), [("known", 0)]);
        labelled.add("other", 2);
        assert_eq!((labelled.all(), labelled.get()), (vec![("known", 0), ("other", 2)], 2));
    }
}
