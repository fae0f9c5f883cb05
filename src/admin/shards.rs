//! The figures of the shards: summed where they mean the same, by shard where one may differ.

use std::sync::Arc;

use super::family::Family;
use crate::metrics::{Counter, Histogram, ShardMetrics};
use crate::model::Dialect;

/// All of them.
pub fn families(shards: &[Arc<ShardMetrics>], mailbox_bytes: &[usize]) -> Vec<Family> {
    let sum = |of: fn(&ShardMetrics) -> &Counter| shards.iter().map(|shard| of(shard).get()).sum::<u64>();
    let sockets = Dialect::ALL.map(|dialect| {
        (dialect.name(), shards.iter().map(|shard| shard.sockets.of(dialect).get()).sum::<u64>())
    });
    let by_shard = |amounts: Vec<u64>| (0..).map(|shard: u32| shard.to_string()).zip(amounts);
    let turns = shards.iter().map(|shard| shard.turns.get()).collect();
    let waiting = mailbox_bytes.iter().map(|bytes| *bytes as u64).collect();
    let (classes, sum_us) = laps(shards);
    let mut families = vec![
        Family::gauges("gusher_connections", "Sockets, those about to open included", "dialect", sockets),
        Family::counter("gusher_pushes", "Pushes that shards took", sum(|shard| &shard.pushes)),
        Family::counter("gusher_deliveries", "Pushes handed to sockets", sum(|shard| &shard.deliveries)),
        Family::counter(
            "gusher_pushes_deflated",
            "Pushes deflated, once for each shard",
            sum(|shard| &shard.deflated),
        ),
        Family::times(
            "gusher_fanout_lap_seconds",
            "How long it took until all sockets of a list had been visited",
            [(Vec::new(), classes, sum_us)],
        ),
        Family::counter(
            "gusher_socket_received_bytes",
            "Bytes that came from sockets, after decryption",
            sum(|shard| &shard.bytes_in),
        ),
        Family::counter(
            "gusher_socket_sent_bytes",
            "Bytes sent to sockets, before encryption",
            sum(|shard| &shard.bytes_out),
        ),
        Family::counter("gusher_socket_writes", "Writes to sockets", sum(|shard| &shard.writes)),
        Family::gauge(
            "gusher_outbox_bytes",
            "Bytes that wait for sockets which take none",
            sum(|shard| &shard.outbox_bytes),
        ),
        Family::counter(
            "gusher_uring_batches",
            "Batches of writes made in one system call",
            sum(|shard| &shard.ring_batches),
        ),
        Family::counter(
            "gusher_uring_failures",
            "Shards whose io_uring failed, which write one by one since",
            sum(|shard| &shard.ring_failures),
        ),
        Family::gauges("gusher_mailbox_bytes", "What waits for a shard", "shard", by_shard(waiting)),
        Family::counters("gusher_shard_turns", "Turns of a shard's loop", "shard", by_shard(turns)),
    ];
    families.extend(endings(sum));
    families
}

/// How sockets ended that had not asked for it.
fn endings(sum: impl Fn(fn(&ShardMetrics) -> &Counter) -> u64) -> [Family; 5] {
    [
        Family::counter(
            "gusher_slow_cuts",
            "Sockets cut because they did not read",
            sum(|shard| &shard.slow_cuts),
        ),
        Family::counter(
            "gusher_silent_cuts",
            "Sockets dropped because nothing was heard of them",
            sum(|shard| &shard.silent_cuts),
        ),
        Family::counter(
            "gusher_standstills",
            "Times that a shard stood still for a second or more",
            sum(|shard| &shard.standstills),
        ),
        Family::counter(
            "gusher_closed_early",
            "Sockets closed at a stop before they were sent all that had been accepted for them",
            sum(|shard| &shard.closed_early),
        ),
        Family::counter(
            "gusher_violations",
            "Sockets closed because they broke the protocol or a limit of it",
            sum(|shard| &shard.violations),
        ),
    ]
}

fn laps(shards: &[Arc<ShardMetrics>]) -> ([u64; Histogram::BOUNDS_US.len() + 1], u64) {
    let mut all = ([0; Histogram::BOUNDS_US.len() + 1], 0);
    for (classes, sum_us) in shards.iter().map(|shard| shard.laps.get()) {
        all.0.iter_mut().zip(classes).for_each(|(sum, class)| *sum += class);
        all.1 += sum_us;
    }
    all
}
